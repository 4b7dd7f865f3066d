// Tasks folded into groups, with counts by state and the edges between groups. Kept up to date task
// by task: a change of one task costs the same whatever the size of its group.

import { emptyCounts } from "./states.js";

export class Group {
  constructor(key, number, kind, stage) {
    this.key = key;
    this.number = number; // of its grouping
    this.kind = kind;
    this.stage = stage;
    this.label = null;
    this.counts = emptyCounts();
    this.members = [];
    this.seconds = 0; // of all members that have ended
    this.timed = 0;
    this.version = 0; // grows with each change
  }

  // The name of its members while all have the same, else what they have in common.
  get title() {
    return this.label ?? this.kind;
  }
}

export class Grouping {
  groups = new Map();
  edges = new Map(); // their numbers -> { from, to, count }, what waits on what
  creations = new Map(); // the same, who has created whom

  constructor(field) {
    this.field = field; // where a task keeps its group of this grouping
  }

  add(task, kind, stage) {
    const key = stage === null ? kind : `${kind}\n${stage}`;
    let group = this.groups.get(key);
    if (group === undefined) {
      group = new Group(key, this.groups.size, kind, stage ?? task.stage);
      group.label = task.name;
      this.groups.set(key, group);
    }
    if (group.label !== task.name) group.label = null;
    group.stage = Math.min(group.stage, task.stage);
    group.members.push(task);
    group.counts[task.state] += 1;
    group.version += 1;
    task[this.field] = group;
  }

  connect(predecessor, task) {
    count(this.edges, predecessor[this.field], task[this.field]);
  }

  create(creator, task) {
    count(this.creations, creator[this.field], task[this.field]);
  }

  move(task, from, to) {
    const group = task[this.field];
    group.counts[from] -= 1;
    group.counts[to] += 1;
    group.version += 1;
  }

  time(task, seconds, number) {
    const group = task[this.field];
    group.seconds += seconds;
    group.timed += number;
  }
}

function count(edges, from, to) {
  const key = `${from.number} ${to.number}`; // not by names, which may hold anything
  const edge = edges.get(key);
  if (edge === undefined) edges.set(key, { from, to, count: 1 });
  else edge.count += 1;
}
