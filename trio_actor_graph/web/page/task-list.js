// The list of tasks: any number of them, with an element for each row one sees. It is a grid to
// screen readers: the focus stays on it, and `aria-activedescendant` says which row the arrow keys
// have reached.

import { byId, el, icon, setAttribute, setText } from "./dom.js";
import { clock, count, plural, seconds } from "./format.js";
import { secondsOf } from "./store.js";
import { STATES } from "./states.js";

const ROW = 30; // --row of style.css
const SPARE = 6; // rows above and below those one sees

const COLUMNS = [
  { key: "state", title: "State", by: (task) => STATES.indexOf(task.state) },
  { key: "name", title: "Task", by: (task) => task.name },
  { key: "worker", title: "Worker", by: (task) => task.worker ?? "" },
  {
    key: "began",
    title: "Began",
    by: (task) => task.beganAt ?? task.givenAt ?? Infinity,
    isNumber: true,
  },
  { key: "took", title: "Took", by: (task, now) => secondsOf(task, now) ?? -1, isNumber: true },
];

const ARROWS = { none: "", ascending: " ↑", descending: " ↓" };

const VIEWS = {
  all: { states: [], sort: null },
  running: { states: ["running"], sort: null },
  failed: { states: ["failed"], sort: null },
  slowest: { states: [], sort: { key: "took", isDown: true } },
  path: { states: [], sort: null },
};

export class TaskList {
  view = "all";
  states = new Set();
  group = null;
  path = new Map(); // the critical path, for the view of that name: uid -> a remark
  #text = "";
  #sort = null;
  #rows = [];
  #pool = [];
  #active = 0;
  #activeUid = null;
  #grid = byId("grid");
  #heads = new Map();

  // `onOpen(uid)`: a task was chosen. `onChange(change)`: what is shown has changed; with a group of
  // null also that no group is wanted any more.
  constructor({ onOpen, onChange, invalidate }) {
    this.onOpen = onOpen;
    this.onChange = onChange;
    this.invalidate = invalidate;
    this.#makeHead();
    for (const button of document.querySelectorAll(".view"))
      button.addEventListener("click", () => this.show(button.dataset.view));
    byId("filter").addEventListener("input", (event) => {
      this.#text = event.target.value.trim().toLowerCase();
      this.#toTop();
    });
    byId("filter").addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown") return;
      event.preventDefault();
      this.#grid.focus();
    });
    this.#grid.addEventListener("scroll", () => this.#drawRows());
    this.#grid.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#drawRows()).observe(this.#grid);
  }

  show(view) {
    this.view = view;
    this.states = new Set(VIEWS[view].states);
    this.#sort = VIEWS[view].sort;
    this.#toTop();
  }

  toggleState(state) {
    if (this.states.has(state)) this.states.delete(state);
    else this.states.add(state);
    const only = this.states.size === 1 ? [...this.states][0] : null;
    const isView = only === "running" || only === "failed";
    this.view = isView ? only : ["slowest", "path"].includes(this.view) ? this.view : "all";
    this.#toTop();
  }

  showGroup(group) {
    this.group = group;
    this.#toTop();
  }

  // Opens the task that is so many rows below the one that was chosen last.
  step(by) {
    const index = this.#active + by;
    if (this.#rows[index] === undefined) return;
    this.#activate(index);
    this.#open(index);
  }

  focus() {
    this.#grid.focus();
  }

  draw(store, now) {
    this.now = now;
    this.#rows = this.#select(store, now);
    this.#keepActive();
    const number = this.#rows.length;
    byId("rows").style.height = `${number * ROW}px`;
    setAttribute(this.#grid, "aria-rowcount", String(number + 1));
    setText(
      byId("list-note"),
      number === store.order.length
        ? plural(number, "task")
        : `${count(number)} of ${plural(store.order.length, "task")}`,
    );
    this.#drawControls();
    this.#drawRows();
  }

  #select(store, now) {
    const { states, group } = this;
    let rows = store.order;
    if (this.view === "path")
      rows = [...this.path.keys()].map((uid) => store.tasks.get(uid)).filter(Boolean);
    else if (group !== null) rows = group.members;
    else if (states.size === 1 && states.has("failed"))
      rows = [...store.failed].reverse(); // the last first
    else if (states.size === 1 && states.has("running")) rows = [...store.running];
    const text = this.#text;
    if (states.size > 0 || text !== "") {
      const number = /^#?\d+$/.test(text) ? Number(text.replace("#", "")) : null;
      rows = rows.filter(
        (task) =>
          (states.size === 0 || states.has(task.state)) &&
          (text === "" || task.uid === number || isCalled(task, text)),
      );
    }
    if (this.#sort === null) return rows;
    if (this.view === "slowest" && group === null && text === "" && states.size === 0)
      return store.slowest(now);
    return sorted(rows, this.#sort, now);
  }

  #keepActive() {
    if (this.#rows[this.#active]?.uid === this.#activeUid) return;
    const found =
      this.#activeUid === null ? -1 : this.#rows.findIndex((task) => task.uid === this.#activeUid);
    this.#active = found >= 0 ? found : Math.min(this.#active, Math.max(0, this.#rows.length - 1));
    if (found < 0) this.#activeUid = null;
  }

  #drawControls() {
    for (const button of document.querySelectorAll(".view")) {
      setAttribute(
        button,
        "aria-pressed",
        String(
          button.dataset.view === this.view && (this.view !== "all" || this.states.size === 0),
        ),
      );
    }
    for (const { key } of COLUMNS) {
      const way =
        this.#sort?.key === key ? (this.#sort.isDown ? "descending" : "ascending") : "none";
      setAttribute(this.#heads.get(key).cell, "aria-sort", way);
      setText(this.#heads.get(key).arrow, ARROWS[way]);
    }
    this.#drawChips();
  }

  #drawChips() {
    const chips = byId("chips");
    const isWhole = this.group === null || this.view === "path";
    const title = isWhole ? "" : groupText(this.group);
    if (chips.dataset.title === title) return;
    chips.dataset.title = title;
    chips.hidden = title === "";
    const clear = el(
      "button",
      {
        type: "button",
        class: "quiet square",
        "aria-label": "Show all groups",
        onclick: () => this.onChange({ group: null }),
      },
      icon("close"),
    );
    chips.replaceChildren(
      ...(title === "" ? [] : [el("span", { class: "chip" }, el("span", {}, title), clear)]),
    );
  }

  #drawRows() {
    const first = Math.max(0, Math.floor(this.#grid.scrollTop / ROW) - SPARE);
    const number = Math.ceil(this.#grid.clientHeight / ROW) + 2 * SPARE;
    const last = Math.min(this.#rows.length, first + number);
    while (this.#pool.length < last - first)
      this.#pool.push(new Row(this.#pool.length, (index) => this.#open(index)));
    while (this.#pool.length > Math.max(0, last - first)) this.#pool.pop().element.remove();
    let active = null; // its element, if it is among them
    this.#pool.forEach((row, i) => {
      const index =
        first + ((i - (first % this.#pool.length) + this.#pool.length) % this.#pool.length);
      const task = this.#rows[index];
      const remark = (this.view === "path" && this.path.get(task.uid)) || null;
      const isActive = index === this.#active && this.#activeUid !== null;
      row.draw(task, remark, index, isActive, this.now);
      if (index === this.#active) active = row.element.id;
    });
    setAttribute(this.#grid, "aria-activedescendant", active);
  }

  #open(index) {
    this.#active = index;
    const task = this.#rows[index];
    if (task === undefined) return;
    this.#activeUid = task.uid;
    this.#drawRows();
    this.onOpen(task.uid);
  }

  #onKey(event) {
    if (event.target !== this.#grid) return;
    const page = Math.max(1, Math.floor(this.#grid.clientHeight / ROW) - 2);
    const last = this.#rows.length - 1;
    const isFirstKey = this.#activeUid === null;
    const steps = {
      ArrowDown: isFirstKey ? 0 : 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.key === "Enter" || event.key === " ") this.#open(this.#active);
    else if (event.key in steps)
      this.#activate(Math.max(0, Math.min(last, this.#active + steps[event.key])));
    else return;
    event.preventDefault();
  }

  #activate(index) {
    if (this.#rows[index] === undefined) return;
    this.#active = index;
    this.#activeUid = this.#rows[index].uid;
    const top = index * ROW;
    const room = this.#grid.clientHeight - 2 * ROW; // below the head
    if (top < this.#grid.scrollTop) this.#grid.scrollTop = top;
    else if (top > this.#grid.scrollTop + room) this.#grid.scrollTop = top - room;
    this.#drawRows();
  }

  #toTop() {
    this.#grid.scrollTop = 0;
    this.#active = 0;
    this.#activeUid = null;
    this.onChange({});
    this.invalidate();
  }

  #makeHead() {
    for (const { key, title, isNumber } of COLUMNS) {
      const arrow = el("span", { "aria-hidden": "true" });
      const button = el(
        "button",
        { type: "button", onclick: () => this.#sortBy(key) },
        title,
        arrow,
      );
      const cell = el(
        "div",
        { role: "columnheader", "aria-sort": "none", class: isNumber ? "number" : null },
        button,
      );
      this.#heads.set(key, { cell, arrow });
      byId("grid-head").append(cell);
    }
  }

  // Up, down, and back to the order of creation.
  #sortBy(key) {
    if (this.#sort?.key !== key) this.#sort = { key, isDown: false };
    else this.#sort = this.#sort.isDown ? null : { key, isDown: true };
    if (this.view === "slowest") this.view = "all";
    this.#toTop();
  }
}

class Row {
  #task = undefined;
  #version = -1;
  #index = -1;

  constructor(number, onOpen) {
    this.icon = icon("waiting");
    this.stateText = document.createTextNode("");
    this.state = el("span", { role: "gridcell", class: "state" }, this.icon, this.stateText);
    this.name = document.createTextNode("");
    this.note = el("span", { class: "cell-error" });
    this.title = el("span", { role: "gridcell" }, this.name, this.note);
    this.worker = el("span", { role: "gridcell", class: "cell-dim" });
    this.began = el("span", { role: "gridcell", class: "number cell-dim" });
    this.took = el("span", { role: "gridcell", class: "number" });
    this.element = el(
      "div",
      { class: "row", role: "row", id: `row-${number}` },
      this.state,
      this.title,
      this.worker,
      this.began,
      this.took,
    );
    this.element.addEventListener("click", () => onOpen(this.#index));
    byId("rows").append(this.element);
  }

  draw(task, remark, index, isActive, now) {
    if (this.#index !== index) {
      this.#index = index;
      this.element.style.transform = `translateY(${index * ROW}px)`;
      this.element.setAttribute("aria-rowindex", String(index + 2));
    }
    this.element.classList.toggle("active", isActive);
    setAttribute(this.element, "aria-selected", String(isActive));
    const took = secondsOf(task, now);
    setText(this.took, seconds(took));
    setText(this.note, remark ?? task.error ?? "");
    this.note.className = remark === null ? "cell-error" : "cell-remark";
    if (this.#task === task && this.#version === task.version) return;
    this.#task = task;
    this.#version = task.version;
    this.state.className = `state state-${task.state}`;
    this.icon.firstChild.setAttribute("href", `#i-${task.state}`);
    this.stateText.data = task.state;
    this.name.data = task.name;
    const called = task.function === task.name ? "" : ` of ${task.function}`;
    this.title.title = `${task.name}, task ${task.uid}${called}`;
    setText(this.worker, task.worker ?? "");
    setText(this.began, clock(task.beganAt ?? task.givenAt));
  }
}

function sorted(rows, { key, isDown }, now) {
  const { by } = COLUMNS.find((column) => column.key === key);
  const sign = isDown ? -1 : 1;
  const keys = rows.map((task, i) => ({ task, i, by: by(task, now) }));
  keys.sort((a, b) => (a.by < b.by ? -sign : a.by > b.by ? sign : a.i - b.i));
  return keys.map(({ task }) => task);
}

function isCalled(task, text) {
  return task.name.toLowerCase().includes(text) || task.function.toLowerCase().includes(text);
}

function groupText(group) {
  return `Only ${group.title} (stage ${group.stage + 1})`;
}
