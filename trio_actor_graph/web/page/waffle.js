// An opened group: each of its tasks is a square of its state's colour. Its text is the list of
// tasks, which shows the same group at the same time.

import { tip } from "./announce.js";
import { byId, setText } from "./dom.js";
import { count, seconds } from "./format.js";
import { context, palette } from "./palette.js";
import { STATES, countsText } from "./states.js";

const SQUARES_MAX = 40_000;
const SIZES = { min: 4, max: 22 };

// What did not succeed has a mark beside its colour, like its symbol: lines from point to point.
const [LOW, HALF, HIGH] = [0.28, 0.5, 0.72];
const RISING = [
  [LOW, HIGH],
  [HIGH, LOW],
];
const FALLING = [
  [LOW, LOW],
  [HIGH, HIGH],
];
const arrow = (from, to) => [
  [from, LOW],
  [to, HALF],
  [from, HIGH],
];
const MARKS = {
  failed: [RISING, FALLING],
  skipped: [arrow(LOW, HALF), arrow(HALF, HIGH)],
  cancelled: [RISING],
};

export class Waffle {
  #group = null;
  #columns = 1;
  #size = SIZES.max;
  #cursor = 0;
  #isByKey = false;
  #drawn = "";

  // `onOpen(uid)`: a square was chosen.
  constructor(onOpen) {
    const body = byId("waffle-body");
    const canvas = byId("waffle");
    const at = (event) => this.#at(event.offsetX, event.offsetY);
    canvas.addEventListener("pointermove", (event) => {
      const task = at(event);
      canvas.style.cursor = task === undefined ? "" : "pointer";
      tip(task === undefined ? null : labelOf(task), event);
    });
    canvas.addEventListener("pointerleave", () => tip(null));
    canvas.addEventListener("click", (event) => {
      const task = at(event);
      if (task !== undefined) onOpen(task.uid);
    });
    body.addEventListener("keydown", (event) => this.#onKey(event, onOpen));
  }

  open(group) {
    this.#group = group;
    this.#cursor = 0;
    this.#isByKey = false;
    this.#drawn = "";
    setText(
      byId("waffle-caption"),
      group === null ? "" : "Each square is a task; arrow keys choose one, Enter opens it.",
    );
  }

  draw() {
    const group = this.#group;
    const body = byId("waffle-body");
    const width = body.clientWidth - 24;
    const height = body.clientHeight - 60;
    const parts = [group?.version, width, height, palette().panel, this.#isByKey, this.#cursor];
    const drawn = parts.join(" ");
    if (group === null || width <= 0 || drawn === this.#drawn) return;
    this.#drawn = drawn;
    const number = Math.min(group.members.length, SQUARES_MAX);
    this.#size = Math.max(
      SIZES.min,
      Math.min(SIZES.max, Math.floor(Math.sqrt((width * height) / Math.max(1, number)))),
    );
    while (
      this.#size > SIZES.min &&
      Math.ceil(number / Math.floor(width / this.#size)) * this.#size > height
    )
      this.#size -= 1;
    this.#columns = Math.max(1, Math.floor(width / this.#size));
    this.#paint(group, number, width);
  }

  #paint(group, number, width) {
    const size = this.#size;
    const gap = size > 9 ? 2 : 1;
    const drawing = context(byId("waffle"), width, Math.ceil(number / this.#columns) * size);
    const colours = palette();
    // One colour after the other: changing it for each square takes most of the time.
    for (const state of STATES) {
      drawing.fillStyle = colours[`fill-${state}`];
      for (let i = 0; i < number; i += 1) {
        if (group.members[i].state !== state) continue;
        const x = (i % this.#columns) * size;
        const y = Math.floor(i / this.#columns) * size;
        drawing.fillRect(x, y, size - gap, size - gap);
        if (state in MARKS && size > 7)
          mark(drawing, MARKS[state], { x, y, size: size - gap, colour: colours.panel });
      }
    }
    drawing.strokeStyle = colours.text;
    drawing.lineWidth = 2;
    if (this.#isByKey)
      drawing.strokeRect(
        (this.#cursor % this.#columns) * size + 1,
        Math.floor(this.#cursor / this.#columns) * size + 1,
        size - gap - 2,
        size - gap - 2,
      );
    byId("waffle-body").setAttribute(
      "aria-label",
      `${group.title}: ${countsText(group.counts)}. Arrow keys choose a task, Enter opens it`,
    );
  }

  #at(x, y) {
    const column = Math.floor(x / this.#size);
    if (this.#group === null || column >= this.#columns) return undefined;
    return this.#group.members[Math.floor(y / this.#size) * this.#columns + column];
  }

  #onKey(event, onOpen) {
    const group = this.#group;
    if (group === null) return;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.#columns,
      ArrowDown: this.#columns,
    };
    const last = Math.min(group.members.length, SQUARES_MAX) - 1;
    if (event.key === "Enter") onOpen(group.members[this.#cursor].uid);
    else if (event.key in steps)
      this.#cursor = Math.max(0, Math.min(last, this.#cursor + steps[event.key]));
    else if (event.key === "Home") this.#cursor = 0;
    else if (event.key === "End") this.#cursor = last;
    else return;
    event.preventDefault();
    this.#isByKey = true;
    const label = labelOf(group.members[this.#cursor]).replaceAll("\n", ", ");
    const place = `${count(this.#cursor + 1)} of ${count(group.members.length)}`;
    setText(byId("waffle-caption"), `${label} (${place})`);
    this.draw();
  }
}

function mark(drawing, lines, { x, y, size, colour }) {
  drawing.strokeStyle = colour;
  drawing.lineWidth = 1.4;
  drawing.beginPath();
  for (const [first, ...others] of lines) {
    drawing.moveTo(x + size * first[0], y + size * first[1]);
    for (const [right, down] of others) drawing.lineTo(x + size * right, y + size * down);
  }
  drawing.stroke();
}

function labelOf(task) {
  const took = task.seconds === null ? "" : `, ${seconds(task.seconds)}`;
  const error = task.error ? `\n${task.error}` : "";
  return `${task.name}\ntask ${task.uid}, ${task.state}${took}${error}`;
}
