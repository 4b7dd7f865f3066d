// What is known of one graph: its tasks, from pages of a snapshot and the events that follow, and
// what is counted of them. Pure: no document, no network, no clock.
//
// The snapshot is a little newer than the event id it comes with, so some events tell what is known
// already. Applying an event twice, or an old one before a new one, ends in the same state, and
// each end of a task and each attempt is counted once.

import { Grouping } from "./grouping.js";
import { restage } from "./stages.js";
import { OUTCOMES, STATES, TERMINAL, emptyCounts } from "./states.js";

export const SLOWEST_MAX = 200; // kept at hand; more are found by sorting the list
const BARS_MAX = 200_000; // attempts for the timeline; the oldest go first
// More than this are no help to anybody, and a long chain has a stage for each task.
const STAGE_GROUPS_MAX = 200;
const KINDS_MAX = 500;
const OTHER_KIND = "(others)";
const RATE_SECONDS = 5;
const CLOCK_SECONDS = 0.05; // between a move and its being told
const BUCKETS_MAX = 3_600;

// Versions are counted over all stores: what was seen of one is not met again in the next.
let lastVersion = 0;

export class RunStore {
  tasks = new Map();
  order = []; // as they were created
  counts = emptyCounts();
  failed = new Set();
  running = new Set();
  slow = []; // the slowest that have ended, slowest first
  bars = []; // one for each attempt that has ended, for the timeline
  barsDropped = 0;
  version = 0; // another one with each change
  structureVersion = 0; // grows when tasks or edges come
  lastAt = 0;
  firstAt = Infinity;
  byKind = new Grouping("kindGroup");
  #byStage = new Grouping("stageGroup"); // null if there are too many
  #isStaged = true; // false: an edge has come late, and tasks are further down than they were
  #endings = new Map(); // second -> how many tasks ended in it
  #kinds = new Set();
  #orphans = new Map(); // uid of a predecessor not seen yet -> tasks that wait on it

  // Takes tasks as `/v1/graphs/{g}/tasks` lists them.
  applyPage(tasks) {
    for (const data of tasks) this.#applySummary(data);
  }

  // Takes one "task" event.
  applyEvent(event) {
    let task = this.tasks.get(event.uid);
    this.#note(event.at);
    if (task === undefined)
      task = this.#add(event, event.happening === "created" ? event.at : null);
    if (event.happening === "predecessor added") this.#learn(task, event.predecessors);
    else this.#follow(task, event);
    this.#stamp(task);
  }

  #follow(task, event) {
    const before = task.state;
    const isNewAttempt = event.attempt > task.attempt;
    if (!TERMINAL.has(event.state)) this.#forgetEnd(task);
    task.attempt = event.attempt;
    if (event.worker) task.worker = event.worker;
    if (event.state === "running" && (before !== "running" || isNewAttempt)) {
      // Given to a worker: it begins now, or a little later, which is told when it has ended.
      const at = event.at;
      Object.assign(task, { beganAt: at, givenAt: at, endedAt: null, seconds: null, took: null });
      task.error = null;
    }
    if (event.happening === "given back unbegun")
      Object.assign(task, { beganAt: null, givenAt: null, worker: null });
    else if (event.state !== "running") this.#endAttempt(task, event, before);
    if (event.error) task.error = event.error;
    this.#move(task, event.state);
  }

  #applySummary(data) {
    let task = this.tasks.get(data.uid);
    if (task === undefined) task = this.#add(data, data.created_at);
    else if (data.predecessors.length > task.predecessors.length)
      this.#learn(task, data.predecessors);
    task.attempt = data.attempt;
    task.worker = data.worker;
    task.createdAt = data.created_at;
    task.beganAt = data.began_at;
    task.givenAt = data.began_at;
    task.error = data.error;
    for (const at of [data.created_at, data.began_at, data.ended_at]) this.#note(at);
    task.took = data.state === "running" ? null : data.seconds;
    if (TERMINAL.has(data.state)) this.#time(task, data.ended_at, data.seconds);
    else this.#forgetEnd(task);
    this.#move(task, data.state);
    const bar = OUTCOMES[data.outcome];
    if (bar !== undefined && task.took !== null && data.worker !== null)
      this.#addBar(task, data.began_at, data.began_at + task.took, bar);
    this.#stamp(task);
  }

  #stamp(task) {
    lastVersion += 1;
    task.version = this.version = lastVersion;
  }

  // How many tasks ended in each of the last `length` seconds before `now`, oldest first.
  endingsUntil(now, length) {
    const last = Math.floor(now);
    return Array.from({ length }, (_, i) => this.#endings.get(last - length + 1 + i) ?? 0);
  }

  // Tasks per second, over the last few whole seconds.
  rate(now) {
    const last = Math.floor(now);
    let ended = 0;
    for (let i = 1; i <= RATE_SECONDS; i += 1) ended += this.#endings.get(last - i) ?? 0;
    const span = Math.min(RATE_SECONDS, Math.max(1, last - Math.floor(this.firstAt)));
    return ended / span;
  }

  // The tasks that took longest, those that still run among them, slowest first.
  slowest(now, length = SLOWEST_MAX) {
    const running = [...this.running].filter((task) => task.beganAt !== null);
    const all = [...running, ...this.slow];
    const took = (task) => secondsOf(task, now) ?? 0;
    return all.sort((a, b) => took(b) - took(a)).slice(0, length);
  }

  // Groups by type and stage; null where there would be too many.
  get byStage() {
    this.settle();
    return this.#byStage;
  }

  // To be called before one looks at stages: late edges may come by the thousand, and are sorted in
  // together.
  settle() {
    if (this.#isStaged) return;
    this.#isStaged = true;
    restage(this.order, this.tasks);
    for (const group of this.byKind.groups.values())
      group.stage = group.members.reduce((least, { stage }) => Math.min(least, stage), Infinity);
    this.#fillByStage();
  }

  // The group here that a group of another store stands for; null if there is none.
  groupLike(group) {
    return this.byStage?.groups.get(group.key) ?? this.byKind.groups.get(group.key) ?? null;
  }

  #add(data, createdAt) {
    const task = {
      uid: data.uid,
      name: data.name,
      function: data.function,
      state: "waiting",
      loop: data.worker_loop,
      attempt: 0,
      worker: null,
      createdAt,
      givenAt: null,
      beganAt: null,
      endedAt: null,
      seconds: null, // of a task that has ended: how long its last attempt took
      took: null, // the same, also while it is to be tried again
      error: null,
      creator: data.creator ?? null,
      predecessors: data.predecessors ?? [],
      stage: 0,
      barAttempt: 0,
      version: 0,
      index: this.order.length,
      stageGroup: null,
      kindGroup: null,
    };
    task.stage = this.#stageOf(task);
    this.tasks.set(task.uid, task);
    this.order.push(task);
    this.counts.waiting += 1;
    this.byKind.add(task, this.#kindOf(task), null);
    this.#addByStage(task);
    const creator = this.tasks.get(task.creator);
    if (creator !== undefined) this.byKind.create(creator, task);
    if (creator !== undefined) this.#byStage?.create(creator, task);
    for (const uid of task.predecessors) this.#connect(uid, task);
    for (const successor of this.#orphans.get(task.uid) ?? []) this.#link(task, successor);
    this.#orphans.delete(task.uid);
    this.structureVersion += 1;
    return task;
  }

  #addByStage(task) {
    this.#byStage?.add(task, this.#kindOf(task), task.stage);
    if (this.#byStage?.groups.size > STAGE_GROUPS_MAX) this.#byStage = null;
  }

  // It waits on these; some are known, others were added when it was there already.
  #learn(task, uids) {
    const known = new Set(task.predecessors);
    const added = uids.filter((uid) => !known.has(uid));
    if (added.length === 0) return;
    task.predecessors = [...task.predecessors, ...added];
    for (const uid of added) {
      this.#connect(uid, task);
      if (this.tasks.has(uid)) this.#stamp(this.tasks.get(uid)); // it has one successor more
    }
    this.structureVersion += 1;
  }

  #fillByStage() {
    this.#byStage?.clear();
    for (const task of this.order) this.#addByStage(task);
    const byStage = this.#byStage;
    if (byStage === null) return;
    for (const task of this.order) {
      const creator = this.tasks.get(task.creator);
      if (creator !== undefined) byStage.create(creator, task);
      if (task.seconds !== null) byStage.time(task, task.seconds, 1);
      for (const uid of task.predecessors) {
        const predecessor = this.tasks.get(uid);
        if (predecessor !== undefined) byStage.connect(predecessor, task);
      }
    }
  }

  // The longest way to it from a task that waits on nothing; who created a task comes before it
  // too.
  #stageOf(task) {
    let stage = 0;
    for (const uid of task.predecessors) {
      const predecessor = this.tasks.get(uid);
      if (predecessor !== undefined) stage = Math.max(stage, predecessor.stage + 1);
    }
    const creator = this.tasks.get(task.creator);
    return creator === undefined ? stage : Math.max(stage, creator.stage + 1);
  }

  #connect(uid, task) {
    const predecessor = this.tasks.get(uid);
    if (predecessor !== undefined) this.#link(predecessor, task);
    else if (this.#orphans.has(uid)) this.#orphans.get(uid).push(task);
    else this.#orphans.set(uid, [task]);
  }

  #link(predecessor, task) {
    if (predecessor.stage >= task.stage) this.#isStaged = false;
    this.byKind.connect(predecessor, task);
    this.#byStage?.connect(predecessor, task);
  }

  #kindOf(task) {
    if (this.#kinds.has(task.function)) return task.function;
    if (this.#kinds.size >= KINDS_MAX) return OTHER_KIND;
    this.#kinds.add(task.function);
    return task.function;
  }

  #move(task, state) {
    const before = task.state;
    if (before === state || !STATES.includes(state)) return;
    this.counts[before] -= 1;
    this.counts[state] += 1;
    this.byKind.move(task, before, state);
    this.#byStage?.move(task, before, state);
    if (before === "running") this.running.delete(task);
    if (before === "failed") this.failed.delete(task);
    if (state === "running") this.running.add(task);
    if (state === "failed") this.failed.add(task);
    task.state = state;
  }

  #endAttempt(task, event, before) {
    // A task that followed another in its worker was never seen to run, but says how long it did.
    const hasRun = before === "running" || (event.seconds ?? null) !== null;
    if (hasRun) task.took = event.seconds ?? null;
    if (hasRun && task.worker !== null) {
      const [from, to] = timesOf(task, event);
      task.beganAt = from;
      this.#addBar(task, from, to, outcomeOf(event.state));
    }
    if (!TERMINAL.has(event.state)) return;
    // It may end later than its last attempt, as another task that it has returned.
    if (!TERMINAL.has(before)) this.#time(task, event.at, task.took);
    else if (event.seconds) this.#time(task, task.endedAt, event.seconds);
  }

  #time(task, endedAt, seconds) {
    if (!TERMINAL.has(task.state) && endedAt !== null) {
      const second = Math.floor(endedAt);
      this.#endings.set(second, (this.#endings.get(second) ?? 0) + 1);
      if (this.#endings.size > BUCKETS_MAX) this.#endings.delete(this.#endings.keys().next().value);
    }
    this.#forgetSeconds(task);
    task.endedAt = endedAt;
    task.seconds = seconds;
    if (seconds === null) return;
    this.#count(task, seconds, 1);
    this.#noteSlow(task);
  }

  #forgetSeconds(task) {
    if (task.seconds === null) return;
    this.#count(task, -task.seconds, -1);
    const known = this.slow.indexOf(task);
    if (known >= 0) this.slow.splice(known, 1);
    task.seconds = null;
  }

  #count(task, seconds, number) {
    this.byKind.time(task, seconds, number);
    this.#byStage?.time(task, seconds, number);
  }

  // It is tried again, or an old event tells of the time before its end.
  #forgetEnd(task) {
    if (task.endedAt === null) return;
    this.#forgetSeconds(task);
    const second = Math.floor(task.endedAt);
    const left = (this.#endings.get(second) ?? 1) - 1;
    if (left > 0) this.#endings.set(second, left);
    else this.#endings.delete(second);
    Object.assign(task, { endedAt: null, error: null });
  }

  #noteSlow(task) {
    const { slow } = this;
    if (slow.length >= SLOWEST_MAX) {
      if (task.seconds <= slow.at(-1).seconds) return;
      slow.pop();
    }
    let low = 0;
    let high = slow.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (slow[middle].seconds >= task.seconds) low = middle + 1;
      else high = middle;
    }
    slow.splice(low, 0, task);
  }

  #addBar(task, from, to, state) {
    if (task.attempt <= task.barAttempt || to < from) return;
    task.barAttempt = task.attempt;
    this.bars.push({ task, worker: task.worker, from, to, state, attempt: task.attempt });
    this.firstAt = Math.min(this.firstAt, from);
    if (this.bars.length <= BARS_MAX) return;
    const dropped = BARS_MAX / 10;
    this.bars.splice(0, dropped);
    this.barsDropped += dropped;
  }

  #note(at) {
    if (at === null || at === undefined) return;
    if (at > this.lastAt) this.lastAt = at;
    if (at < this.firstAt) this.firstAt = at;
  }
}

// How long its function ran, or has run so far; null if it has not begun.
export function secondsOf(task, now) {
  if (task.seconds !== null) return task.seconds;
  if (task.state === "running" && task.beganAt !== null) return Math.max(0, now - task.beganAt);
  return null;
}

// When the attempt that has ended began and ended. With its seconds the event says it exactly;
// without, it may tell the beginning of an attempt before it.
function timesOf(task, event) {
  const began = event.began_at ?? null;
  const took = event.seconds ?? null;
  if (took !== null) return began === null ? [event.at - took, event.at] : [began, began + took];
  const given = task.givenAt ?? began ?? event.at;
  return [began !== null && began >= given - CLOCK_SECONDS ? began : given, event.at];
}

// An attempt whose task goes on, to be tried again, has failed.
function outcomeOf(state) {
  if (state === "ready") return "failed";
  return state === "waiting" ? "succeeded" : state;
}
