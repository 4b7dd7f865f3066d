// A group in the picture of the graph: its name, how far it is, and, where there is room, its tasks
// as squares. Of a large group each square stands for several tasks.

import { el, icon, setText } from "./dom.js";
import { count, plural, seconds } from "./format.js";
import { context, palette } from "./palette.js";
import { emptyCounts, countsText, endedOf, leadingState, totalOf } from "./states.js";
import { Bar } from "./summary.js";

export const GROUP_HEIGHT = 64;
const WIDTH = 136; // of the squares
const SQUARES_MAX = 27 * 44;

// How high the squares of a group are, with what is above them.
export function squaresHeight(group) {
  const { rows, pitch } = gridOf(group.members.length);
  return rows === 0 ? 0 : rows * pitch + 6;
}

function gridOf(members) {
  if (members <= 1) return { rows: 0, columns: 1, pitch: 0, each: 1 };
  const pitch = members <= 45 ? 11 : members <= 200 ? 8 : 5;
  const columns = Math.floor(WIDTH / pitch);
  const each = Math.ceil(members / SQUARES_MAX);
  return { rows: Math.ceil(Math.ceil(members / each) / columns), columns, pitch, each };
}

export class GroupNode {
  #version = -1;
  #drawn = "";
  #squares = null;

  // `onOpen(group)`: it was pressed.
  constructor(group, onOpen) {
    this.item = group;
    this.uid = null;
    this.name = el("span", { class: "node-name" });
    this.meta = el("span", { class: "node-meta one-line" });
    const bar = el("span", { class: "bar" });
    this.bar = new Bar(bar);
    this.element = el(
      "button",
      { type: "button", class: "node", onclick: () => onOpen(group) },
      this.name,
      this.meta,
      bar,
    );
    this.place = el("li", {}, this.element);
  }

  // Squares come and go with the room there is for them.
  resize(height) {
    const hasRoom = height > GROUP_HEIGHT;
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
    this.element.title = group.title;
    this.#drawMeta(group, ended === total ? count(total) : `${count(ended)} / ${count(total)}`);
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

  // What has no room goes to a second line, which is not seen: the mean time first.
  #drawMeta({ counts, seconds: all, timed }, progress) {
    const parts = [el("span", {}, progress), el("span", { class: "grow" })];
    for (const state of ["failed", "running"]) {
      if (counts[state] > 0)
        parts.push(
          el("span", { class: `state state-${state}` }, icon(state), count(counts[state])),
        );
    }
    if (timed > 0) parts.push(el("span", {}, `∅ ${seconds(all / timed)}`));
    this.meta.replaceChildren(...parts);
  }

  #drawSquares() {
    const colours = palette();
    const drawn = `${this.item.version} ${colours.panel}`;
    if (this.#squares === null || drawn === this.#drawn) return;
    this.#drawn = drawn;
    const { members } = this.item;
    const { rows, columns, pitch, each } = gridOf(members.length);
    const drawing = context(this.#squares, WIDTH, rows * pitch);
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

function stateOf(members, from, number) {
  if (number === 1) return members[from].state;
  const counts = emptyCounts();
  const end = Math.min(members.length, from + number);
  for (let i = from; i < end; i += 1) counts[members[i].state] += 1;
  return leadingState(counts);
}
