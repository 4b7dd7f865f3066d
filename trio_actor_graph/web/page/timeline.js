// The timeline: what ran when, a lane for each slot of each worker. It follows the run, shows all
// of it, or stays where one has moved it. Its text says how busy each worker was in the part that
// is shown.

import { tip } from "./announce.js";
import { byId, setAttribute, setText } from "./dom.js";
import { percent, seconds } from "./format.js";
import { Lanes, firstAfter } from "./lanes.js";
import { context, palette } from "./palette.js";
import { fitted, tickStep, tickText } from "./timeline-text.js";

const GUTTER = 104; // names of workers
const AXIS = 22;
const LANE = { min: 5, max: 20 };
const NAME_HEIGHT = 15;
const FOLLOW_SECONDS = 30;
const SPAN = { min: 0.01, max: 7 * 86_400 };
const BAR_TEXT = "#0c1016"; // has contrast on each of the fills, light and dark
const STEP = 1.6;
const MARKS = { failed: "✕", cancelled: "⊘" }; // beside the colour of what did not succeed
const MARK_WIDTH = 12;

export class Timeline {
  #store = null;
  #lanes = new Lanes();
  #taken = 0; // bars of the store that are in lanes, those dropped included
  #dropped = 0;
  #mode = "follow"; // "all", "fixed"
  #span = FOLLOW_SECONDS;
  #from = 0;
  #isChosen = false; // somebody has chosen the mode: it is not changed any more
  #rows = [];
  #laneHeight = LANE.max;
  #rowsHeight = 0;
  #now = 0;
  #slots = new Map();
  #drag = null;
  #last = { from: 0, to: 1, width: 1 };

  constructor({ onOpen, invalidate }) {
    this.onOpen = onOpen;
    this.invalidate = invalidate;
    const press = (id, act) => byId(id).addEventListener("click", act);
    press("timeline-follow", () => this.#choose("follow"));
    press("timeline-all", () => this.#choose("all"));
    press("timeline-earlier", () => this.#move(-0.3));
    press("timeline-later", () => this.#move(0.3));
    press("timeline-in", () => this.#zoom(1 / STEP, 0.5));
    press("timeline-out", () => this.#zoom(STEP, 0.5));
    byId("timeline-body").addEventListener("keydown", (event) => this.#onKey(event));
    byId("timeline-body").addEventListener("scroll", () => invalidate());
    new ResizeObserver(() => invalidate()).observe(byId("timeline-body"));
    this.#listen(byId("timeline"));
  }

  // Another graph: begins anew, also if there is none.
  reset() {
    this.#store = null;
    this.#lanes = new Lanes();
    this.#taken = this.#dropped = 0;
    this.#isChosen = false;
    this.#mode = "follow";
    this.#span = FOLLOW_SECONDS;
  }

  setSlots(workers) {
    this.#slots = new Map(workers.map((worker) => [worker.name, worker.slots]));
  }

  draw(store, now, isOver, isLoading) {
    this.#now = now;
    if (!isLoading) this.#take(store); // all at once they find better lanes
    if (!this.#isChosen) this.#mode = isOver ? "all" : "follow";
    const running = this.#running(store);
    this.#layRows(running);
    const [from, to] = this.#range(store, now, isOver);
    const body = byId("timeline-body");
    const width = body.clientWidth;
    const height = body.clientHeight;
    if (width < GUTTER + 40 || height < 40) return;
    this.#last = { from, to, width };
    byId("timeline-room").style.height = `${Math.max(height, this.#height())}px`;
    const drawing = context(byId("timeline"), width, height);
    this.#drawAxis(drawing, width, height, from, to, store.firstAt);
    const busy = this.#drawRows(drawing, width, height, from, to, running);
    this.#drawNow(drawing, width, height, from, to, isOver ? null : now);
    this.#tell(busy, from, to);
  }

  #take(store) {
    if (this.#store !== store || this.#dropped !== store.barsDropped) {
      this.#store = store;
      this.#lanes = new Lanes();
      this.#dropped = store.barsDropped;
      this.#taken = store.barsDropped;
    }
    const end = store.barsDropped + store.bars.length;
    if (this.#taken < end) this.#lanes.add(store.bars.slice(this.#taken - store.barsDropped));
    this.#taken = end;
  }

  // What is known to have begun, by worker; a worker holds more tasks than it has slots for.
  #running(store) {
    const byWorker = new Map();
    for (const task of store.running) {
      if (task.worker === null || task.beganAt === null) continue;
      if (!byWorker.has(task.worker)) byWorker.set(task.worker, []);
      byWorker.get(task.worker).push({
        task,
        worker: task.worker,
        from: task.beganAt,
        to: this.#now,
        state: "running",
        attempt: task.attempt,
      });
    }
    const placed = new Map();
    for (const [worker, bars] of byWorker) {
      bars.sort((a, b) => a.from - b.from);
      placed.set(
        worker,
        this.#lanes.placeRunning(worker, bars.slice(0, this.#slots.get(worker) ?? bars.length)),
      );
    }
    return placed;
  }

  // Each worker has at least the height of its name.
  #layRows(running) {
    const names = new Set([
      ...this.#lanes.workers.keys(),
      ...running.keys(),
      ...this.#slots.keys(),
    ]);
    const blocks = [...names].sort().map((name) => {
      const ended = this.#lanes.workers.get(name) ?? [];
      const placed = running.get(name) ?? [];
      const most = Math.max(1, ended.length, ...placed.map(({ lane }) => lane + 1));
      return { name, ended, running: placed, most };
    });
    const lanes = blocks.reduce((sum, block) => sum + block.most, 0);
    const room = byId("timeline-body").clientHeight - AXIS - 6;
    const single = blocks.filter((block) => block.most === 1).length;
    const spare = Math.max(0, room - single * NAME_HEIGHT);
    const fits = lanes > single ? spare / (lanes - single) : LANE.max;
    this.#laneHeight = Math.max(LANE.min, Math.min(LANE.max, Math.floor(fits)));
    this.#rows = [];
    let y = 0;
    for (const { name, ended, running: placed, most } of blocks) {
      const top = y;
      const base = this.#rows.length;
      for (let lane = 0; lane < most; lane += 1, y += this.#laneHeight) {
        this.#rows.push({
          worker: name,
          y,
          isFirst: lane === 0,
          bars: ended[lane] ?? [],
          running: null,
        });
      }
      for (const { lane, bar } of placed) this.#rows[base + lane].running = bar;
      y = Math.max(y, top + NAME_HEIGHT);
    }
    this.#rowsHeight = y;
  }

  #height() {
    return AXIS + this.#rowsHeight + 6;
  }

  #range(store, now, isOver) {
    const first = Number.isFinite(store.firstAt) ? store.firstAt : now - 1;
    const end = isOver ? Math.max(store.lastAt, first + 0.01) : now;
    if (this.#mode === "all") return [first - (end - first) * 0.01, end + (end - first) * 0.01];
    if (this.#mode === "follow") {
      const span = this.#isChosen
        ? this.#span
        : Math.min(this.#span, Math.max(3, (end - first) * 1.05));
      return [end - span * 0.98, end + span * 0.02];
    }
    return [this.#from, this.#from + this.#span];
  }

  #drawAxis(drawing, width, height, from, to, first) {
    const colours = palette();
    const step = tickStep((to - from) / ((width - GUTTER) / 90));
    const base = Number.isFinite(first) ? first : from;
    drawing.font = "11px system-ui, sans-serif";
    drawing.textBaseline = "middle";
    drawing.textAlign = "center";
    for (let tick = Math.ceil((from - base) / step) * step; base + tick <= to; tick += step) {
      const x = this.#x(base + tick);
      if (x < GUTTER) continue;
      drawing.fillStyle = colours.line;
      drawing.fillRect(Math.round(x), AXIS - 4, 1, height);
      drawing.fillStyle = colours.dim;
      if (x > GUTTER + 12 && x < width - 20)
        drawing.fillText(tickText(tick, step), x, AXIS / 2 - 1);
    }
  }

  #drawRows(drawing, width, height, from, to) {
    const busy = new Map();
    const top = byId("timeline-body").scrollTop;
    const colours = palette();
    for (const row of this.#rows) {
      const y = AXIS + row.y - top;
      if (row.isFirst) busy.set(row.worker, { seconds: 0, lanes: 0, attempts: 0 });
      const tally = busy.get(row.worker);
      tally.lanes += 1;
      if (y + this.#laneHeight < AXIS || y > height) continue;
      if (row.isFirst) this.#drawName(drawing, row.worker, y, width, colours);
      drawing.save();
      drawing.beginPath();
      drawing.rect(GUTTER, AXIS, width - GUTTER, height - AXIS);
      drawing.clip();
      this.#drawBars(drawing, row, y, from, to, colours, tally);
      drawing.restore();
    }
    return busy;
  }

  #drawName(drawing, name, y, width, colours) {
    if (y < AXIS - 2) return;
    drawing.fillStyle = colours.line;
    drawing.fillRect(0, y - 1, width, 1);
    drawing.fillStyle = colours.dim;
    drawing.textAlign = "left";
    drawing.fillText(
      fitted(drawing, name, GUTTER - 20),
      14,
      y + Math.max(NAME_HEIGHT, this.#laneHeight) / 2,
    );
  }

  #drawBars(drawing, row, y, from, to, colours, tally) {
    const height = this.#laneHeight > 8 ? this.#laneHeight - 3 : this.#laneHeight - 1;
    let covered = -1; // pixels that have a bar: a second one would not be seen
    let style = "";
    const one = (bar) => {
      tally.seconds += Math.min(bar.to, to) - Math.max(bar.from, from);
      tally.attempts += 1;
      const x = Math.max(GUTTER - 2, this.#x(bar.from));
      const right = this.#x(bar.to);
      if (right <= covered && bar.state !== "failed") return;
      const wide = Math.max(1, right - x - (right - x > 4 ? 1 : 0));
      covered = x + wide < 1 ? covered : Math.max(covered, Math.floor(x + wide));
      if (style !== bar.state) drawing.fillStyle = colours[`fill-${bar.state}`];
      style = bar.state;
      // Thin ones cover whole pixels, else they are a haze.
      drawing.fillRect(wide < 2 ? Math.floor(x) : x, y + 1, wide, height);
      const text = wide < 44 ? (MARKS[bar.state] ?? "") : textOf(bar);
      if (text === "" || wide < MARK_WIDTH || height < 12) return;
      drawing.fillStyle = BAR_TEXT;
      drawing.textAlign = "left";
      const inset = Math.min(5, (wide - 10) / 2);
      drawing.fillText(fitted(drawing, text, Math.max(10, wide - 10)), x + inset, y + 1 + height / 2);
      style = "";
    };
    for (let i = firstAfter(row.bars, from); i < row.bars.length && row.bars[i].from <= to; i += 1)
      one(row.bars[i]);
    if (row.running !== null && row.running.from <= to && row.running.to >= from) one(row.running);
  }

  #drawNow(drawing, width, height, from, to, now) {
    if (now === null || now < from || now > to) return;
    drawing.fillStyle = palette().accent;
    drawing.fillRect(Math.round(this.#x(now)), AXIS - 4, 1, height);
  }

  #tell(busy, from, to) {
    const span = to - from;
    const modes = { follow: "follows the run", all: "whole run", fixed: "stays here" };
    setText(byId("timeline-note"), `${seconds(span)}, ${modes[this.#mode]}`);
    for (const mode of ["follow", "all"])
      setAttribute(byId(`timeline-${mode}`), "aria-pressed", String(this.#mode === mode));
    const parts = [...busy].map(([name, { seconds: worked, lanes, attempts }]) => {
      const share = percent(Math.min(worked, span * lanes), span * lanes);
      return `${name}: ${attempts} attempts, busy ${share} of ${lanes} lanes`;
    });
    setText(
      byId("timeline-text"),
      `${seconds(span)} shown. ${parts.join(". ")}. The list of tasks has the same as text.`,
    );
  }

  #x(at) {
    const { from, to, width } = this.#last;
    return GUTTER + ((at - from) / (to - from)) * (width - GUTTER - 6);
  }

  #choose(mode) {
    this.#mode = mode;
    this.#span = FOLLOW_SECONDS;
    this.#isChosen = true;
    this.invalidate();
  }

  #move(part) {
    const { from, to } = this.#last;
    this.#show(from + (to - from) * part, to - from);
  }

  #zoom(factor, at) {
    const { from, to } = this.#last;
    const span = Math.min(SPAN.max, Math.max(SPAN.min, (to - from) * factor));
    if (this.#mode === "follow") {
      this.#span = span;
      this.#isChosen = true;
      this.invalidate();
    } else {
      this.#show(from + (to - from - span) * at, span);
    }
  }

  #show(from, span) {
    this.#mode = "fixed";
    this.#isChosen = true;
    this.#from = from;
    this.#span = span;
    this.invalidate();
  }

  #onKey(event) {
    const acts = {
      ArrowLeft: () => this.#move(-0.15),
      ArrowRight: () => this.#move(0.15),
      "+": () => this.#zoom(1 / STEP, 0.5),
      "=": () => this.#zoom(1 / STEP, 0.5),
      "-": () => this.#zoom(STEP, 0.5),
      Home: () => this.#choose("all"),
      End: () => this.#choose("follow"),
    };
    if (!(event.key in acts) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  }

  #listen(canvas) {
    const share = (event) =>
      Math.max(0, (event.offsetX - GUTTER) / (canvas.clientWidth - GUTTER - 6));
    // With Ctrl, as in maps: the wheel alone scrolls the page.
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        this.#zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, share(event));
      },
      { passive: false },
    );
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 0) this.#drag = { x: event.offsetX, ...this.#last, moved: false };
    });
    canvas.addEventListener("pointermove", (event) => this.#onPointer(event, canvas));
    canvas.addEventListener("pointerup", (event) => {
      const bar = this.#drag?.moved === false ? this.#barAt(event.offsetX, event.offsetY) : null;
      this.#drag = null;
      if (bar !== null) this.onOpen(bar.task.uid);
    });
    canvas.addEventListener("pointerleave", () => {
      this.#drag = null;
      tip(null);
    });
  }

  #onPointer(event, canvas) {
    const drag = this.#drag;
    if (drag !== null && (drag.moved || Math.abs(event.offsetX - drag.x) > 4)) {
      drag.moved = true;
      tip(null);
      const perPixel = (drag.to - drag.from) / (drag.width - GUTTER - 6);
      this.#show(drag.from - (event.offsetX - drag.x) * perPixel, drag.to - drag.from);
      return;
    }
    const bar = this.#barAt(event.offsetX, event.offsetY);
    canvas.style.cursor = bar === null ? "" : "pointer";
    tip(bar === null ? null : labelOf(bar), event);
  }

  #barAt(x, y) {
    const depth = y - AXIS + byId("timeline-body").scrollTop;
    const row = this.#rows.find((each) => each.y <= depth && depth < each.y + this.#laneHeight);
    if (row === undefined || x < GUTTER || y < AXIS) return null;
    const { from, to, width } = this.#last;
    const perPixel = (to - from) / (width - GUTTER - 6);
    const at = from + (x - GUTTER) * perPixel;
    const { running } = row;
    if (running !== null && running.from <= at && running.to >= at) return running;
    const bar = row.bars[firstAfter(row.bars, at - 1.5 * perPixel)];
    return bar !== undefined && bar.from <= at + 1.5 * perPixel ? bar : null;
  }
}

function textOf({ task, state }) {
  return state in MARKS ? `${MARKS[state]} ${task.name}` : task.name;
}

function labelOf({ task, attempt, state, from, to, worker }) {
  const how = `task ${task.uid}, attempt ${attempt}, ${state}`;
  return `${task.name}\n${how}\n${seconds(to - from)} on ${worker}`;
}
