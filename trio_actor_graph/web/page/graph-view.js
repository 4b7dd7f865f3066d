// The graph as it runs: single tasks while there are few, else groups of one type and stage,
// layered from left to right. A group can be opened: then each of its tasks is a square
// (waffle.js).
//
// Nodes are links and buttons, so that keyboards and screen readers have them too; the edges
// between them are drawn below and are told in each node's label.

import { byId, el, icon, setAttribute, setText, svg } from "./dom.js";
import { count, plural, seconds } from "./format.js";
import { GROUP_HEIGHT, GroupNode, squaresHeight } from "./group-node.js";
import { layeredLayout } from "./layout.js";
import { textWidth } from "./palette.js";
import { taskAddress } from "./router.js";

const SINGLE_MAX = 150; // more single tasks are no picture any more
const LAYER_MAX = 24; // nor are so many above each other: they are folded at first
const GROUPS_MAX = 60;
const LAYOUT_MS = 400;
const GAPS = {
  single: { layerGap: 46, nodeGap: 10 },
  group: { layerGap: 40, nodeGap: 22 },
};
// A node is as wide as its name, where there is room for that: of all layers beside each other.
const NODE_WIDTH = { min: 158, max: 420 };
const BESIDE_NAME = { single: 108, group: 30 }; // symbol, time and borders
const SINGLE_HEIGHT = 32;
const TALL_HEIGHT = 60; // a name in two lines, and the time below
const SQUARES_GROUPS_MAX = 16;
const SCALE_MIN = 0.55; // smaller cannot be read: then one scrolls
const SCALE_MAX = 1.25;
const STEP = 1.25;

export class GraphView {
  #nodes = new Map(); // key -> what is shown of it
  #edges = [];
  #shown = { store: null, structure: -1, level: "", room: 0, at: 0 };
  #size = { width: 0, height: 0 };
  #scale = null; // null: as it fits
  #fold = null; // null: as is best
  #chosen = null;

  constructor({ graphUid, onOpenGroup, invalidate }) {
    this.graphUid = graphUid;
    this.onOpenGroup = onOpenGroup;
    this.invalidate = invalidate;
    byId("graph-larger").addEventListener("click", () => this.#zoom(STEP));
    byId("graph-smaller").addEventListener("click", () => this.#zoom(1 / STEP));
    byId("graph-fit").addEventListener("click", () => this.#zoom(null));
    byId("graph-fold").addEventListener("click", () => {
      this.#fold = !this.#isFolded;
      invalidate();
    });
    new ResizeObserver(() => {
      this.#fit();
      invalidate(); // there may be room for more of the names
    }).observe(byId("graph-body"));
  }

  // Marks the task that is open.
  choose(uid) {
    this.#chosen = uid;
    for (const node of this.#nodes.values())
      node.element.classList.toggle("chosen", node.uid !== null && node.uid === uid);
  }

  draw(store, now) {
    store.settle();
    const level = this.#levelOf(store);
    const known = this.#shown;
    const isOther = known.store !== store || known.level !== level;
    const isResized = known.room !== byId("graph-body").clientWidth;
    if (isOther || isResized || known.structure !== store.structureVersion) {
      if (!isOther && performance.now() - known.at < LAYOUT_MS) this.invalidate();
      else this.#lay(store, level);
    }
    for (const node of this.#nodes.values()) node.update(now);
    for (const edge of this.#edges) edge.path.classList.toggle("live", edge.isLive());
  }

  get #isFolded() {
    return this.#shown.level !== "single";
  }

  #levelOf(store) {
    const size = store.order.length;
    const isSmall = size <= SINGLE_MAX;
    byId("graph-fold").hidden = !isSmall || size === 0;
    if (isSmall && this.#fold !== true) {
      const layered = store.order.map(({ stage }) => ({ layer: stage }));
      if (this.#fold === false || highest(layered) <= LAYER_MAX) return "single";
    }
    return store.byStage !== null && store.byStage.groups.size <= GROUPS_MAX ? "stage" : "kind";
  }

  #lay(store, level) {
    const room = byId("graph-body").clientWidth;
    this.#shown = { store, structure: store.structureVersion, level, room, at: performance.now() };
    const isSingle = level === "single";
    const { nodes, edges } = isSingle ? singles(store) : groups(store, level);
    const size = sizesOf(nodes, room, isSingle ? "single" : "group");
    if (!isSingle) addSquares(nodes, size.nodeWidth);
    else if (size.isCut && this.#hasHeight(nodes, size))
      for (const node of nodes) node.height = TALL_HEIGHT;
    const pairs = edges.map((edge) => [edge.from, edge.to]);
    const { width, height, places, paths } = layeredLayout(nodes, pairs, size);
    this.#size = { width, height: height + 24 };
    this.#place(nodes, places, size, isSingle, store);
    this.#drawEdges(edges, paths);
    setAttribute(byId("graph-fold"), "aria-pressed", String(!isSingle));
    setAttribute(byId("graph-nodes"), "aria-label", isSingle ? "Tasks" : "Groups of tasks");
    setText(byId("graph-note"), noteOf(store, level, nodes.length));
    this.#fit();
  }

  // Whether all layers have room for tall nodes.
  #hasHeight(nodes, { layers, nodeWidth, layerGap, nodeGap }) {
    const { clientWidth, clientHeight } = byId("graph-body");
    const scale = scaleFor((clientWidth - 32) / (layers * (nodeWidth + layerGap) - layerGap));
    return highest(nodes) * (TALL_HEIGHT + nodeGap) * scale <= clientHeight - 52;
  }

  #place(nodes, places, size, isSingle, store) {
    const kept = new Map();
    for (const { id, item, height } of nodes) {
      let node = this.#nodes.get(id);
      if (node === undefined || node.item !== item) {
        node?.remove();
        node = isSingle
          ? new SingleNode(item, this.graphUid())
          : new GroupNode(item, this.onOpenGroup);
        byId("graph-nodes").append(node.place);
        node.element.addEventListener("pointerenter", () => this.#mark(id));
        node.element.addEventListener("pointerleave", () => this.#mark(null));
        node.element.addEventListener("focus", () => this.#mark(id));
        node.element.addEventListener("blur", () => this.#mark(null));
      }
      this.#nodes.delete(id);
      kept.set(id, node);
      node.resize(size.nodeWidth, height);
      const { x, y } = places.get(id);
      Object.assign(node.place.style, {
        left: `${x}px`,
        top: `${y}px`,
        width: `${size.nodeWidth}px`,
        height: `${height}px`,
      });
    }
    for (const node of this.#nodes.values()) node.remove();
    this.#nodes = kept;
    this.#empty(store);
    this.choose(this.#chosen);
  }

  #empty(store) {
    const body = byId("graph-body");
    const hint = body.querySelector(".empty");
    if (store.order.length > 0) hint?.remove();
    else if (hint === null)
      body.append(
        el("p", { class: "empty" }, "No tasks yet. They appear here as they are created."),
      );
  }

  #drawEdges(edges, paths) {
    byId("graph-edges").replaceChildren();
    this.#edges = edges.map((edge, i) => {
      const path = svg("path", { d: paths[i], class: edge.isCreation ? "creation" : "" });
      if (edge.count > 1)
        path.style.strokeWidth = `${Math.min(5, 1.4 + Math.log10(edge.count) * 0.8)}px`;
      byId("graph-edges").append(path);
      return { ...edge, path };
    });
  }

  #mark(id) {
    for (const { from, to, path } of this.#edges)
      path.classList.toggle("marked", id !== null && (from === id || to === id));
  }

  #zoom(factor) {
    this.#scale =
      factor === null
        ? null
        : Math.min(2.5, Math.max(0.2, (this.#scale ?? this.#fitting()) * factor));
    this.#fit();
  }

  #fitting() {
    const { clientWidth, clientHeight } = byId("graph-body");
    const fits = Math.min(
      (clientWidth - 32) / this.#size.width,
      (clientHeight - 28) / this.#size.height,
    );
    return scaleFor(fits);
  }

  // The stage takes the room that it covers, centred where there is more.
  #fit() {
    const { clientWidth, clientHeight } = byId("graph-body");
    if (clientWidth === 0 || this.#size.width === 0) return;
    const scale = this.#scale ?? this.#fitting();
    const wide = this.#size.width * scale;
    const high = this.#size.height * scale;
    const left = Math.max(16, (clientWidth - wide) / 2);
    const top = Math.max(14, (clientHeight - high) / 2);
    byId("graph-stage").style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    Object.assign(byId("graph-room").style, {
      width: `${Math.max(clientWidth, wide + 32)}px`,
      height: `${Math.max(clientHeight, high + 28)}px`,
    });
  }
}

class SingleNode {
  #version = -1;

  constructor(task, graphUid) {
    this.item = task;
    this.uid = task.uid;
    this.icon = icon(task.state);
    this.mark = el("span", { class: "state" }, this.icon);
    this.time = el("span", { class: "node-meta" });
    this.element = el(
      "a",
      { class: "node single", href: taskAddress(graphUid, task.uid), title: titleOf(task) },
      this.mark,
      el("span", { class: "node-name" }, task.name),
      this.time,
    );
    this.place = el("li", {}, this.element);
  }

  resize(width, height) {
    this.element.classList.toggle("tall", height === TALL_HEIGHT);
  }

  update(now) {
    const task = this.item;
    const isRunning = task.state === "running";
    if (!isRunning && this.#version === task.version) return;
    const took = task.seconds ?? (isRunning && task.beganAt !== null ? now - task.beganAt : null);
    setText(this.time, took === null ? "" : seconds(took));
    if (this.#version === task.version) return;
    this.#version = task.version;
    this.mark.className = `state state-${task.state}`;
    this.icon.firstChild.setAttribute("href", `#i-${task.state}`);
    const kept = ["chosen", "tall"].filter((name) => this.element.classList.contains(name));
    this.element.className = ["node single", `lead-${task.state}`, ...kept].join(" ");
    const waits =
      task.predecessors.length > 0 ? `, after ${plural(task.predecessors.length, "task")}` : "";
    this.element.setAttribute(
      "aria-label",
      `${task.name}, task ${task.uid}, ${task.state}${waits}`,
    );
  }

  remove() {
    this.place.remove();
  }
}

// The function is told where the name is not that.
function titleOf({ name, function: called }) {
  return name === called ? name : `${name}\n${called}`;
}

function sizesOf(nodes, room, kind) {
  const gaps = GAPS[kind];
  const layers = new Set(nodes.map((node) => node.layer)).size;
  const names = nodes.map(({ item }) => textWidth(item.name ?? item.title));
  const wanted = Math.ceil(Math.max(0, ...names)) + BESIDE_NAME[kind];
  const each = Math.floor((room - 32 + gaps.layerGap) / Math.max(1, layers)) - gaps.layerGap;
  const nodeWidth = Math.max(NODE_WIDTH.min, Math.min(wanted, each, NODE_WIDTH.max));
  return { nodeWidth, layers, isCut: wanted > nodeWidth, ...gaps };
}

function scaleFor(fits) {
  return Math.min(SCALE_MAX, Math.max(SCALE_MIN, fits));
}

// Of many groups only their bars are shown.
function addSquares(nodes, width) {
  if (nodes.length > SQUARES_GROUPS_MAX) return;
  for (const node of nodes) node.height += squaresHeight(node.item, width);
}

function singles(store) {
  const nodes = store.order.map((task) => ({
    id: task.uid,
    layer: task.stage,
    height: SINGLE_HEIGHT,
    item: task,
  }));
  const edges = [];
  for (const task of store.order) {
    for (const uid of task.predecessors) {
      const from = store.tasks.get(uid);
      if (from !== undefined)
        edges.push({
          from: uid,
          to: task.uid,
          count: 1,
          isLive: () => from.state === "running" || task.state === "running",
        });
    }
    // Who has created it, unless it waits on that one anyway.
    if (!store.tasks.has(task.creator) || task.predecessors.includes(task.creator)) continue;
    edges.push({
      from: task.creator,
      to: task.uid,
      count: 1,
      isCreation: true,
      isLive: () => false,
    });
  }
  return { nodes, edges };
}

// The largest groups; how many smaller ones there are is said in the note.
function groups(store, level) {
  const grouping = level === "stage" ? store.byStage : store.byKind;
  const all = [...grouping.groups.values()];
  const shown = new Set(
    all.length <= GROUPS_MAX
      ? all
      : all.toSorted((a, b) => b.members.length - a.members.length).slice(0, GROUPS_MAX - 1),
  );
  const nodes = [...shown].map((group) => ({
    id: group.key,
    layer: group.stage,
    height: GROUP_HEIGHT,
    item: group,
  }));
  const edges = [];
  for (const { from, to, count: number } of grouping.edges.values()) {
    if (!shown.has(from) || !shown.has(to)) continue;
    edges.push({
      from: from.key,
      to: to.key,
      count: number,
      isLive: () => from.counts.running > 0 && to.counts.waiting + to.counts.running > 0,
    });
  }
  for (const [key, { from, to, count: number }] of grouping.creations) {
    if (grouping.edges.has(key) || !shown.has(from) || !shown.has(to)) continue;
    edges.push({
      from: from.key,
      to: to.key,
      count: number,
      isCreation: true,
      isLive: () => false,
    });
  }
  return { nodes, edges };
}

// How many nodes the largest layer has.
function highest(nodes) {
  const sizes = new Map();
  for (const { layer } of nodes) sizes.set(layer, (sizes.get(layer) ?? 0) + 1);
  return Math.max(0, ...sizes.values());
}

function noteOf(store, level, shown) {
  if (level === "single") return plural(shown, "task");
  const grouping = level === "stage" ? store.byStage : store.byKind;
  const how = level === "stage" ? "by type and stage" : "by type";
  const hidden = grouping.groups.size - shown;
  const rest = hidden > 0 ? `, ${count(hidden)} smaller ones not shown` : "";
  return `${plural(store.order.length, "task")} in ${plural(shown, "group")} ${how}${rest}`;
}
