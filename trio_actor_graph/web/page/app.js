// The live page: puts its parts together. Each part has a file of its own; here is who tells whom.

import { announce, toast } from "./announce.js";
import { ApiError, post, read, readPages } from "./api.js";
import { confirmed } from "./confirm.js";
import { Detail } from "./detail.js";
import { byId } from "./dom.js";
import { count, plural, seconds } from "./format.js";
import { Frames } from "./frames.js";
import { GraphView } from "./graph-view.js";
import { Head } from "./head.js";
import { login } from "./login.js";
import { graphAddress, routeOf, taskAddress } from "./router.js";
import { Session } from "./session.js";
import { countsText, endedOf, totalOf } from "./states.js";
import { RunStore } from "./store.js";
import { Summary } from "./summary.js";
import { TaskList } from "./task-list.js";
import { startTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { Waffle } from "./waffle.js";
import { Workers } from "./workers.js";

const TICK_MS = 250;
const POLL_MS = 1_000; // for the list of graphs and the workers, which are no events
const POLL_MS_MANY = 5_000; // the list is then long
const GRAPHS_FEW = 100;
const WAIT_SHOWN_SECONDS = 0.001; // on the critical path; less is no waiting

class App {
  session = null; // null while there is no graph
  graphs = [];
  #emptyStore = new RunStore();
  #frames = new Frames();
  #clockOffset = null; // of the server's clock to ours, by the fastest event so far
  #isLoggingIn = false;
  #failedBefore = 0;
  #wasOver = false;
  #polled = 0;
  #pathVersion = -1;
  #isPolling = false;
  #wantsPoll = false;

  constructor() {
    const frames = this.#frames;
    this.wake = frames.work((deadline) => this.session?.drain(deadline) ?? false);
    this.views = {
      summary: frames.view(() => this.#drawSummary(), 120),
      list: frames.view(() => this.list.draw(this.store, this.now()), 200),
      graph: frames.view(() => this.#drawGraph(), 150),
      timeline: frames.view(
        () => this.timeline.draw(this.store, this.now(), this.isOver, this.isLoading),
        100,
      ),
      detail: frames.view(() => this.#drawDetail(), 200),
    };
    const open = (uid) => this.openTask(uid);
    this.summary = new Summary((state) => this.list.toggleState(state));
    this.list = new TaskList({
      onOpen: open,
      onChange: (change) => this.#onListChange(change),
      invalidate: () => this.views.list.invalidate(),
    });
    this.graph = new GraphView({
      graphUid: () => this.session?.graphUid ?? null,
      onOpenGroup: (group) => this.openGroup(group),
      invalidate: () => this.views.graph.invalidate(),
    });
    this.waffle = new Waffle(open);
    this.timeline = new Timeline({
      onOpen: open,
      invalidate: () => this.views.timeline.invalidate(),
    });
    this.workers = new Workers();
    this.head = new Head();
    this.detail = new Detail({
      taskOf: (uid) => this.store.tasks.get(uid),
      onClose: () => this.closeTask(),
      onStep: (by) => this.list.step(by),
      onRefused: (error) => this.onRefused(error),
    });
  }

  get store() {
    return this.session?.store ?? this.#emptyStore;
  }

  get isLoading() {
    return this.session?.isLoading ?? true;
  }

  get current() {
    return this.graphs.find((graph) => graph.uid === this.session?.graphUid) ?? null;
  }

  get isOver() {
    const { counts } = this.store;
    return !this.isLoading && totalOf(counts) > 0 && endedOf(counts) === totalOf(counts);
  }

  // Unix seconds by the server's clock.
  now() {
    return Date.now() / 1000 + (this.#clockOffset ?? 0);
  }

  async start() {
    startTheme(() => this.redraw());
    this.#listen();
    await this.#poll();
    setInterval(() => this.#tick(), TICK_MS);
  }

  #listen() {
    addEventListener("hashchange", () => this.#follow());
    addEventListener("resize", () => this.views.summary.invalidate());
    addEventListener("online", () => this.session?.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.redraw();
    });
    byId("graph-select").addEventListener(
      "change",
      (event) => (location.hash = graphAddress(event.target.value)),
    );
    byId("reconnect").addEventListener("click", () => this.session?.retryNow());
    byId("cancel-graph").addEventListener("click", () => this.#cancelGraph());
    byId("graph-back").addEventListener("click", () => {
      this.openGroup(null);
      byId("graph-body").focus();
    });
    byId("skip").addEventListener("click", (event) => {
      event.preventDefault();
      this.list.focus();
    });
  }

  // ---- what is shown ----------------------------------------------------------------------------

  #follow() {
    const { graph, task } = routeOf(location.hash);
    const uid = graph ?? newest(this.graphs)?.uid ?? null;
    if (uid === null) return;
    if (this.session?.graphUid !== uid) this.#openGraph(uid);
    if (task === null) this.detail.close();
    else this.detail.open(uid, task);
    this.graph.choose(task);
    this.views.graph.invalidate();
  }

  // Leaves the graph that is shown: nothing of it stays.
  #closeGraph() {
    this.session?.close();
    this.session = null;
    this.#wasOver = false;
    this.#failedBefore = 0;
    this.#clockOffset = null;
    this.list.path = new Map();
    this.#pathVersion = -1;
    this.detail.close();
    this.openGroup(null);
    this.timeline.reset();
    this.head.notice(null);
    this.redraw();
  }

  #openGraph(uid) {
    this.#closeGraph();
    this.session = new Session(uid, {
      onChange: () => this.redraw(),
      onEvents: (at) => this.#watchClock(at),
      onLog: (line) => this.detail.addLog(line),
      onGraph: () => this.#poll(),
      onState: (state, details) => this.#onConnection(state, details),
      onError: (error) => this.#onLoadError(error),
      wake: this.wake,
    });
    this.session.open();
    byId("trace-link").href = `/v1/graphs/${uid}/trace`;
    byId("picture-link").href = `/v1/graphs/${uid}/picture.svg`;
    this.head.draw(this.graphs, this.session?.graphUid ?? null);
    this.redraw();
  }

  openTask(uid) {
    if (this.session !== null) location.hash = taskAddress(this.session.graphUid, uid);
  }

  closeTask() {
    const { uid } = this.detail;
    if (this.session !== null) location.hash = graphAddress(this.session.graphUid);
    this.detail.close();
    if (uid !== null) this.list.focus();
  }

  openGroup(group) {
    const isOpen = group !== null;
    const hadFocus = byId("graph-nodes").contains(document.activeElement);
    this.waffle.open(group);
    this.list.showGroup(group);
    byId("graph-body").hidden = isOpen;
    byId("waffle-body").hidden = !isOpen;
    byId("graph-back").hidden = !isOpen;
    for (const id of ["graph-larger", "graph-smaller", "graph-fit"]) byId(id).hidden = isOpen;
    if (isOpen && hadFocus) byId("waffle-body").focus();
    this.views.graph.invalidate();
  }

  #onListChange(change) {
    if (change.group === null) this.openGroup(null);
    if (this.session !== null) this.#readPath();
    this.views.summary.invalidate();
  }

  redraw() {
    this.#keepGroup();
    for (const view of Object.values(this.views)) view.invalidate();
  }

  // The pages were read anew: the group that is open is another object, or is no more.
  #keepGroup() {
    const { group } = this.list;
    if (group === null || this.isLoading) return;
    const now = this.store.groupLike(group);
    if (now !== group) this.openGroup(now);
  }

  // Time goes on without events: what runs takes longer.
  #tick() {
    this.#polled += 1;
    if (document.hidden) return;
    if (this.session !== null && !this.isOver)
      for (const name of ["summary", "timeline", "list", "graph"]) this.views[name].invalidate();
    if (this.detail.isStale) this.views.detail.invalidate();
    const pause = this.graphs.length > GRAPHS_FEW ? POLL_MS_MANY : POLL_MS;
    if (this.#polled % (pause / TICK_MS) !== 0) return;
    this.#poll();
    if (this.session !== null) this.#readPath();
  }

  #drawSummary() {
    this.summary.draw(this.store, this.current, this.now(), this.list.states);
    this.#tellProgress();
    const { counts } = this.store;
    const title = this.isOver
      ? counts.failed > 0
        ? "✕"
        : "✓"
      : `${Math.floor((endedOf(counts) / Math.max(1, totalOf(counts))) * 100)} %`;
    document.title = this.current === null ? "trio-actor-graph" : `${title} ${this.current.name}`;
  }

  #drawGraph() {
    if (byId("waffle-body").hidden) this.graph.draw(this.store, this.now());
    else this.waffle.draw();
  }

  #drawDetail() {
    this.detail.draw();
    if (this.detail.isStale) setTimeout(() => this.views.detail.invalidate(), 200);
  }

  // An event that has just come happened a moment ago; the fastest one tells most about the clocks.
  #watchClock(at) {
    this.#clockOffset = Math.max(at - Date.now() / 1000, this.#clockOffset ?? -Infinity);
  }

  // The critical path is found by the server; it is asked again while it is looked at and things
  // change.
  async #readPath() {
    const { store, graphUid } = this.session;
    if (this.list.view !== "path" || this.#pathVersion === store.version) return;
    this.#pathVersion = store.version;
    try {
      const { steps } = await read(`/v1/graphs/${graphUid}/critical-path`);
      if (graphUid !== this.session?.graphUid) return;
      this.list.path = new Map(steps.map((step) => [step.uid, waitText(step)]));
      this.views.list.invalidate();
    } catch (error) {
      if (!this.onRefused(error)) toast(error.message);
    }
  }

  // ---- what is said -----------------------------------------------------------------------------

  #tellProgress() {
    const { counts, failed } = this.store;
    if (this.isLoading) return;
    if (this.isOver && !this.#wasOver) announce(`All tasks have ended: ${countsText(counts)}.`);
    else if (failed.size > this.#failedBefore) {
      const last = [...failed].at(-1);
      announce(
        failed.size === 1
          ? `${last.name} failed.`
          : `${count(failed.size)} tasks failed, the last is ${last.name}.`,
      );
    }
    this.#wasOver = this.isOver;
    this.#failedBefore = failed.size;
  }

  #onConnection(state, details) {
    if (state === "refused" && details.status === 401) this.#login();
    else if (state === "refused" && details.status === 404) this.#onGone();
    else this.head.drawConnection(state, details);
  }

  #onGone() {
    this.graphs = this.graphs.filter((graph) => graph.uid !== this.session.graphUid);
    this.#closeGraph();
    toast("That graph is not there any more.");
    location.hash = "";
    this.#poll();
  }

  // ---- the server -------------------------------------------------------------------------------

  async #poll() {
    if (this.#isLoggingIn) return;
    this.#wantsPoll = this.#isPolling;
    if (this.#isPolling) return;
    this.#isPolling = true;
    try {
      await this.#pollOnce();
    } finally {
      this.#isPolling = false;
    }
    if (this.#wantsPoll) this.#poll();
  }

  async #pollOnce() {
    try {
      const graphs = [];
      await readPages("/v1/graphs", (page) => graphs.push(...page.graphs));
      this.graphs = graphs;
      const { workers } = await read("/v1/workers");
      this.workers.draw(workers);
      this.timeline.setSlots(workers);
      if (this.session === null) this.#follow();
      this.head.draw(this.graphs, this.session?.graphUid ?? null);
      if (graphs.length === 0 && this.session === null) this.head.drawNone();
      await this.#checkGone();
    } catch (error) {
      if (!this.onRefused(error) && this.session === null) {
        this.head.say("lost", error.message);
      }
    }
  }

  // A graph that is not listed may have been deleted, or be newer than the list.
  async #checkGone() {
    if (this.session === null || this.current !== null) return;
    const { session } = this;
    try {
      await read(`/v1/graphs/${session.graphUid}`);
    } catch (error) {
      if (error.status !== 404) throw error;
      if (session === this.session) this.#onGone();
    }
  }

  // Returns whether that was all there is to do about it.
  onRefused(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) this.#login();
    return error.status === 401;
  }

  #onLoadError(error) {
    if (this.onRefused(error)) return;
    if (error.status === 404) this.#onGone();
    else setTimeout(() => this.session?.isLoading && this.session.open(), POLL_MS);
  }

  async #login() {
    if (this.#isLoggingIn) return;
    this.#isLoggingIn = true;
    await login();
    this.#isLoggingIn = false;
    // It may be another server, with other graphs by the same numbers.
    this.graphs = [];
    this.#closeGraph();
    this.head.draw(this.graphs, null);
    this.#poll();
  }

  async #cancelGraph() {
    const graph = this.current;
    const { counts } = this.store;
    const left = totalOf(counts) - endedOf(counts);
    const answer = await confirmed({
      title: `Cancel the graph “${graph.name}”?`,
      text: `${plural(left, "task")} not ended yet: all are cancelled, and what runs is stopped.`,
      yes: "Cancel graph",
    });
    if (answer === null) return;
    try {
      await post(`/v1/graphs/${graph.uid}/cancel`, {});
      announce(`Graph ${graph.name} is being cancelled.`);
    } catch (error) {
      if (!this.onRefused(error)) toast(error.message);
    }
  }
}

// The newest that still runs, else the newest.
function newest(graphs) {
  return graphs.findLast((graph) => graph.state === "running") ?? graphs.at(-1) ?? null;
}

function waitText({ waited_seconds: waited }) {
  return waited < WAIT_SHOWN_SECONDS ? "" : `waited ${seconds(waited)}`;
}

const app = new App();
app.start();
