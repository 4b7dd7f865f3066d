// One task: what it waited for, where and when it ran, what went wrong, what it logged, and what
// may be done about it. Read anew when the store says that it has changed; only what differs is
// drawn again, so that focus, selection and scrolling stay.

import { announce, toast } from "./announce.js";
import { post, read } from "./api.js";
import { conditionElement } from "./condition.js";
import { confirmed } from "./confirm.js";
import { attemptParts, factsOf, logElement, tracebackParts } from "./detail-parts.js";
import { byId, el, icon, setStateMark, setText, stateMark } from "./dom.js";
import { count, plural } from "./format.js";
import { taskAddress } from "./router.js";
import { TERMINAL } from "./states.js";

// In the order in which one asks: what went wrong first.
const SECTIONS = [
  ...["state", "story", "traceback", "facts", "attempts"],
  ...["condition", "before", "after"],
];
const LINKS_MAX = 40;
const LOG_PAGE = 500;
const LOG_LINES_MAX = 2_000; // the last ones
const REREAD_MS = 400;
const RETRY_MS = 2_000; // after the server did not answer

export class Detail {
  uid = null;
  #graphUid = null;
  #opening = 0; // grows when another task is opened: what was asked for the one before is too late
  #version = -1;
  #notBefore = 0;
  #isReading = false;
  #sections = new Map();
  #logCursor = null;
  #lastLog = 0;
  #isReadingLogs = false;
  #hasMoreLogs = false;
  #task = null;

  // `taskOf(uid)` is what the store knows of a task; `onClose()` when it is closed here;
  // `onStep(by)` wants the task that many rows further down the list.
  constructor({ taskOf, onClose, onStep, onRefused }) {
    this.taskOf = taskOf;
    this.onClose = onClose;
    this.onStep = onStep;
    this.onRefused = onRefused;
    this.panel = byId("detail");
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.onClose();
    });
  }

  open(graphUid, uid) {
    if (this.uid === uid && this.#graphUid === graphUid) return;
    this.uid = uid;
    this.#graphUid = graphUid;
    this.#opening += 1;
    this.#readAnew();
    this.#isReading = false;
    this.#isReadingLogs = false;
    this.#logCursor = null;
    this.#lastLog = 0;
    this.#task = null;
    // Who goes through the list with the buttons stays on them, and is told where that has led.
    const held = this.panel.contains(document.activeElement) && document.activeElement.dataset.step;
    this.#make();
    this.panel.hidden = false;
    byId("board").classList.add("has-detail");
    (held ? this.panel.querySelector(`[data-step="${held}"]`) : this.title).focus();
    const task = this.taskOf(uid);
    if (held && task !== undefined) announce(`${task.name}, ${task.state}`);
    this.draw();
  }

  close() {
    this.uid = null;
    this.#opening += 1;
    this.panel.hidden = true;
    this.panel.replaceChildren();
    byId("board").classList.remove("has-detail");
  }

  // Reads the task again if it has changed since. Called as often as one likes.
  draw() {
    if (this.uid === null || this.#isReading) return;
    const version = this.taskOf(this.uid)?.version ?? 0;
    if (version === this.#version || performance.now() < this.#notBefore) return;
    this.#version = version;
    this.#notBefore = performance.now() + REREAD_MS;
    this.#read();
  }

  #readAnew(afterMs = 0) {
    this.#version = -1;
    this.#notBefore = performance.now() + afterMs;
  }

  get isStale() {
    return this.uid !== null && this.#version !== (this.taskOf(this.uid)?.version ?? 0);
  }

  // A line that was logged just now.
  addLog(line) {
    if (line.task_uid !== this.uid || line.graph_uid !== this.#graphUid) return;
    if (this.#isReadingLogs || this.#logCursor === null) this.#hasMoreLogs = true;
    else this.#appendLogs([line]);
  }

  get #path() {
    return `/v1/graphs/${this.#graphUid}/tasks/${this.uid}`;
  }

  #make() {
    this.#sections.clear();
    this.mark = stateMark("waiting");
    this.title = el("h2", { id: "detail-title", tabindex: "-1" }, `Task ${this.uid}`);
    this.actions = el("span", { class: "group" });
    this.body = el("div", {
      class: "detail-body",
      tabindex: "0",
      role: "group",
      "aria-label": "What is known of the task",
    });
    this.panel.replaceChildren(this.#makeHead(), this.body);
    for (const name of SECTIONS) {
      const place = el("div");
      this.#sections.set(name, { place, drawn: "" });
      this.body.append(place);
      if (name === "traceback") this.body.append(this.#makeLogs());
    }
  }

  #makeHead() {
    const button = (name, label, onclick, more = {}) =>
      el(
        "button",
        { type: "button", class: "quiet square", "aria-label": label, onclick, ...more },
        icon(name),
      );
    const step = (name, label, by) =>
      button(name, label, () => this.onStep(by), { "data-step": name });
    return el(
      "div",
      { class: "panel-head" },
      this.title,
      el("span", { class: "grow" }),
      this.actions,
      el(
        "span",
        { class: "group" },
        step("up", "Previous in the list", -1),
        step("down", "Next in the list", 1),
      ),
      button("close", "Close", () => this.onClose()),
    );
  }

  #makeLogs() {
    this.logList = el("ul", { class: "log", tabindex: "0", "aria-label": "Log lines" });
    this.logHead = el("h3", {}, "Log");
    this.logPlace = el("div", { hidden: true }, this.logHead, this.logList);
    return this.logPlace;
  }

  async #read() {
    const opening = this.#opening;
    const isOpen = () => opening === this.#opening;
    this.#isReading = true;
    try {
      const info = await read(this.#path);
      if (isOpen()) this.#drawInfo(info);
      if (isOpen()) await this.#readLogs(isOpen);
    } catch (error) {
      if (isOpen()) this.#onError(error);
    } finally {
      if (isOpen()) this.#isReading = false;
    }
  }

  #onError(error) {
    const isOver = error.status >= 400 && error.status < 500 && error.status !== 401;
    if (!isOver) this.#readAnew(RETRY_MS);
    if (!this.onRefused(error))
      this.#section("story", error.message, () => [el("p", { class: "story" }, error.message)]);
  }

  // Page by page to the end. Lines that are told of meanwhile come after those still to be read, so
  // they are left out, and it is read on once more.
  async #readLogs(isOpen) {
    this.#isReadingLogs = true;
    try {
      do {
        this.#hasMoreLogs = false;
        const more =
          this.#logCursor === null ? "" : `&cursor=${encodeURIComponent(this.#logCursor)}`;
        const page = await read(`${this.#path}/logs?limit=${LOG_PAGE}${more}`);
        if (!isOpen()) return;
        this.#logCursor = page.next_cursor;
        this.#appendLogs(page.lines);
        if (!page.is_end) this.#hasMoreLogs = true;
      } while (this.#hasMoreLogs);
    } finally {
      if (isOpen()) this.#isReadingLogs = false;
    }
  }

  #appendLogs(lines) {
    for (const line of lines) {
      if (line.number <= this.#lastLog) continue;
      this.#lastLog = line.number;
      this.logList.append(logElement(line));
      if (this.logList.childElementCount > LOG_LINES_MAX) this.logList.firstChild.remove();
    }
    const number = this.logList.childElementCount;
    this.logPlace.hidden = number === 0;
    setText(
      this.logHead,
      `Log, ${plural(number, "line")}${number >= LOG_LINES_MAX ? " (the last)" : ""}`,
    );
  }

  #drawInfo(info) {
    const { task } = info;
    this.#task = task;
    setText(this.title, task.name);
    this.title.title = task.name;
    setStateMark(this.mark, task.state);
    this.#drawActions(task);
    this.#section("state", task.state, () => [el("div", { class: "detail-top" }, this.mark)]);
    this.#section("story", info.story, () => [el("p", { class: "story" }, info.story)]);
    const facts = factsOf(info);
    this.#section("facts", facts, () => [
      el(
        "dl",
        { class: "facts" },
        ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
        ...this.#kin(info),
      ),
    ]);
    this.#section("traceback", info.traceback, () =>
      tracebackParts(info.traceback ?? (task.state === "failed" ? task.error : null)),
    );
    this.#section("attempts", info.attempts, () => attemptParts(info.attempts));
    this.#section("condition", info.waits_on, () => this.#conditionParts(info.waits_on));
    this.#drawLinks("before", "Predecessors", task.predecessors);
    this.#drawLinks("after", "Successors", info.successors);
  }

  // Draws the section if its data differ from what it shows.
  #section(name, data, make) {
    const section = this.#sections.get(name);
    const drawn = JSON.stringify(data ?? null);
    if (section.drawn === drawn) return;
    section.drawn = drawn;
    section.place.replaceChildren(...make());
  }

  #kin({ task, returned }) {
    const parts = [];
    const add = (name, uid) => {
      if (uid !== null) parts.push(el("dt", {}, name), el("dd", {}, this.#link(uid)));
    };
    add("Created by", task.creator);
    add("Returned", returned);
    return parts;
  }

  #conditionParts(condition) {
    if (condition === null) return [];
    return [el("h3", {}, "Waits on"), conditionElement(condition, (task) => this.#link(task))];
  }

  #drawLinks(name, title, uids) {
    const shown = uids.slice(0, LINKS_MAX);
    const states = shown.map((uid) => this.taskOf(uid)?.state);
    this.#section(name, [uids.length, shown, states], () => {
      if (uids.length === 0) return [];
      const items = shown.map((uid) => {
        const task = this.taskOf(uid);
        const mark = task === undefined ? null : stateMark(task.state);
        return el(
          "li",
          {},
          el(
            "a",
            { href: taskAddress(this.#graphUid, uid) },
            mark,
            el("span", {}, task?.name ?? `task ${uid}`),
          ),
        );
      });
      if (uids.length > LINKS_MAX)
        items.push(el("li", { class: "cell-dim" }, `and ${count(uids.length - LINKS_MAX)} more`));
      return [
        el("h3", {}, `${title} (${count(uids.length)})`),
        el("ul", { class: "links" }, ...items),
      ];
    });
  }

  #link(uid) {
    return el(
      "a",
      { href: taskAddress(this.#graphUid, uid) },
      this.taskOf(uid)?.name ?? `task ${uid}`,
    );
  }

  #drawActions(task) {
    const canRetry = task.state === "failed" || task.state === "cancelled";
    const kind = !TERMINAL.has(task.state) ? "cancel" : canRetry ? "retry" : "none";
    if (this.actions.dataset.kind === kind) return;
    const hadFocus = this.actions.contains(document.activeElement);
    this.actions.dataset.kind = kind;
    const retry = () =>
      el("button", { type: "button", class: "quiet", onclick: () => this.#retry() }, "Retry");
    const cancel = () =>
      el(
        "button",
        { type: "button", class: "quiet danger", onclick: () => this.#cancel() },
        "Cancel task",
      );
    this.actions.replaceChildren(
      ...(kind === "none" ? [] : [kind === "retry" ? retry() : cancel()]),
    );
    if (hadFocus) (this.actions.firstChild ?? this.title).focus();
  }

  async #cancel() {
    const { name, state } = this.#task;
    const doing = state === "running" ? "It is running now; what it has done so far is lost. " : "";
    const answer = await confirmed({
      title: `Cancel “${name}”?`,
      text: `${doing}Tasks that need its result will be skipped.`,
      yes: "Cancel task",
      choice: "Cancel all that wait on it, too",
    });
    if (answer === null) return;
    await this.#act("cancel", { successors: answer.checked }, `“${name}” is being cancelled.`);
  }

  async #retry() {
    await this.#act("retry", {}, `“${this.#task.name}” is tried again.`);
  }

  async #act(verb, body, said) {
    const path = `${this.#path}/${verb}`;
    try {
      await post(path, body);
      announce(said);
      this.#readAnew(); // whatever the events say
      this.draw();
    } catch (error) {
      if (!this.onRefused(error)) toast(error.message);
    }
  }
}
