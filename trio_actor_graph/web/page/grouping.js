// Tasks folded into groups, with counts by state and the edges between groups. Kept up to date task
// by task: a change of one task costs the same whatever the size of its group.
//
// What is folded together is of one type: one function. Tasks of a function may have names of their
// own ("page 17", an address, "train A"); a group has the name that its tasks share, if they do.

import { emptyCounts } from "./states.js";

export class Group {
  #name = null; // what all members are called, null if they differ
  #stem = null; // the same but for their numbers

  constructor(key, kind) {
    this.key = key;
    this.kind = kind;
    this.number = 0; // of its grouping
    this.stage = 0;
    this.version = 0; // grows with each change
    this.clear();
  }

  clear() {
    this.counts = emptyCounts();
    this.members = [];
    this.seconds = 0; // of all members that have ended
    this.timed = 0;
    this.#name = null;
    this.#stem = null;
    this.version += 1;
  }

  add(task) {
    if (this.members.length === 0) {
      this.#name = task.name;
      this.#stem = stemOf(task.name);
    } else if (this.#name !== task.name) {
      this.#name = null;
      if (this.#stem !== null && this.#stem !== stemOf(task.name)) this.#stem = null;
    }
    this.members.push(task);
    this.counts[task.state] += 1;
    this.version += 1;
  }

  // The name of its members while all have the same, else what their names have in common but for
  // numbers, else their function.
  get title() {
    return this.#name ?? this.#stem ?? this.kind;
  }
}

// "page 17" and "page 18" are both "page #".
function stemOf(name) {
  return name.replace(/\d+/g, "#");
}

export class Grouping {
  groups = new Map();
  edges = new Map(); // their numbers -> { from, to, count }, what waits on what
  creations = new Map(); // the same, who has created whom
  #known = new Map(); // those of before it was cleared

  constructor(field) {
    this.field = field; // where a task keeps its group of this grouping
  }

  // To be filled again. A group that comes again stays the same object, for whoever looks at it.
  clear() {
    for (const [key, group] of this.groups) this.#known.set(key, group);
    for (const group of this.groups.values()) group.clear();
    this.groups.clear();
    this.edges.clear();
    this.creations.clear();
  }

  add(task, kind, stage) {
    const key = stage === null ? kind : `${kind}\n${stage}`;
    let group = this.groups.get(key);
    if (group === undefined) {
      group = this.#known.get(key) ?? new Group(key, kind);
      Object.assign(group, { number: this.groups.size, stage: stage ?? task.stage });
      this.groups.set(key, group);
    }
    group.stage = Math.min(group.stage, task.stage);
    group.add(task);
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
