// A group in the picture of the graph: its name, how far it is, how many of its tasks are in each
// state, and, where there is room, its tasks as squares. Of a large group each square stands for
// several tasks.

import { el, icon, setText } from "./dom.js";
import { count, plural, seconds, short } from "./format.js";
import { context, palette } from "./palette.js";
import { emptyCounts, countsText, endedOf, leadingState, totalOf } from "./states.js";
import { Bar } from "./summary.js";

export const GROUP_HEIGHT = 82;
const BORDERS = 22; // beside the squares
const SQUARES_MAX = 27 * 44;

// What one wants to know first; what has no room at the end is in the tip and in the label.
const STATES_SHOWN = ["failed", "cancelled", "skipped", "running", "ready", "waiting", "succeeded"];

// How high the squares of a group are, with what is above them.
export function squaresHeight(group, width) {
  const { rows, pitch } = gridOf(group.members.length, width);
  return rows === 0 ? 0 : rows * pitch + 6;
}

function gridOf(members, width) {
  if (members <= 1) return { rows: 0, columns: 1, pitch: 0, each: 1 };
  const pitch = members <= 45 ? 11 : members <= 200 ? 8 : 5;
  const columns = Math.floor((width - BORDERS) / pitch);
  const each = Math.ceil(members / SQUARES_MAX);
  return { rows: Math.ceil(Math.ceil(members / each) / columns), columns, pitch, each };
}

export class GroupNode {
  #version = -1;
  #drawn = "";
  #squares = null;
  #width = 0;

  // `onOpen(group)`: it was pressed.
  constructor(group, onOpen) {
    this.item = group;
    this.uid = null;
    this.name = el("span", { class: "node-name" });
    this.progress = el("span");
    this.mean = el("span", { class: "mean" });
    this.states = el("span", { class: "node-meta one-line" });
    const bar = el("span", { class: "bar" });
    this.bar = new Bar(bar);
    this.element = el(
      "button",
      { type: "button", class: "node", onclick: () => onOpen(group) },
      this.name,
      el("span", { class: "node-meta" }, this.progress, this.mean),
      this.states,
      bar,
    );
    this.place = el("li", {}, this.element);
  }

  // Squares come and go with the room there is for them.
  resize(width, height) {
    const hasRoom = height > GROUP_HEIGHT;
    if (this.#width !== width) this.#drawn = "";
    this.#width = width;
    if (hasRoom === (this.#squares !== null)) return;
    this.#squares?.remove();
    this.#squares = hasRoom ? el("canvas", { "aria-hidden": "true" }) : null;
    if (hasRoom) this.element.append(this.#squares);
    this.#drawn = "";
  }

  update() {
    this.#drawSquares();
    const group = this.item;
    if (this.#version === group.version) return;
    this.#version = group.version;
    const { counts } = group;
    const total = totalOf(counts);
    const ended = endedOf(counts);
    setText(this.name, group.title);
    this.element.title = tipOf(group);
    const { seconds: all, timed } = group;
    setText(this.progress, ended === total ? count(total) : `${count(ended)} / ${count(total)}`);
    setText(this.mean, timed > 0 ? `∅ ${seconds(all / timed)}` : "");
    this.#drawStates(counts);
    this.bar.draw(counts);
    this.element.className = `node lead-${leadingState(counts)}`;
    this.element.setAttribute(
      "aria-label",
      `${group.title}, ${plural(total, "task")}: ${countsText(counts)}. Open`,
    );
  }

  remove() {
    this.place.remove();
  }

  // What has no room goes to a second line, which is not seen.
  #drawStates(counts) {
    const there = STATES_SHOWN.filter((state) => counts[state] > 0);
    this.states.replaceChildren(
      ...there.map((state) =>
        el("span", { class: `state state-${state}` }, icon(state), short(counts[state])),
      ),
    );
  }

  #drawSquares() {
    const colours = palette();
    const drawn = `${this.item.version} ${colours.panel}`;
    if (this.#squares === null || drawn === this.#drawn) return;
    this.#drawn = drawn;
    const { members } = this.item;
    const { rows, columns, pitch, each } = gridOf(members.length, this.#width);
    const drawing = context(this.#squares, this.#width - BORDERS, rows * pitch);
    for (let i = 0, at = 0; at < members.length; i += 1, at += each) {
      drawing.fillStyle = colours[`fill-${stateOf(members, at, each)}`];
      drawing.fillRect(
        (i % columns) * pitch,
        Math.floor(i / columns) * pitch,
        pitch - 1,
        pitch - 1,
      );
    }
  }
}

// The function is told where the name is not that.
function tipOf({ title, kind, counts }) {
  return [title, ...(title === kind ? [] : [kind]), countsText(counts)].join("\n");
}

function stateOf(members, from, number) {
  if (number === 1) return members[from].state;
  const counts = emptyCounts();
  const end = Math.min(members.length, from + number);
  for (let i = from; i < end; i += 1) counts[members[i].state] += 1;
  return leadingState(counts);
}
