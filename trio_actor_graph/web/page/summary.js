// The strip on top: how far it is, how many tasks are in each state, how fast it goes.

import { byId, el, icon, setAttribute, setText } from "./dom.js";
import { count, percent, plural, rate, seconds } from "./format.js";
import { context, palette } from "./palette.js";
import { BAR_ORDER, STATES, countsText, endedOf, totalOf } from "./states.js";

const SPARK_SECONDS = 60;

export class Summary {
  #tiles = new Map();
  #bar = new Bar(byId("progress"));

  // `onState(state)`: the tile of that state was pressed.
  constructor(onState) {
    for (const state of STATES) {
      const number = el("span", { class: "tile-count" }, "0");
      const label = el("span", { class: `state state-${state}` }, icon(state), state);
      const tile = el(
        "button",
        { type: "button", class: "tile none", "aria-pressed": "false", "data-state": state },
        number,
        label,
      );
      tile.addEventListener("click", () => onState(state));
      this.#tiles.set(state, { tile, number });
      byId("tiles").append(tile);
    }
  }

  // `graph` is what the server says of it, or null; `chosen` the states that the list shows.
  draw(store, graph, now, chosen) {
    const { counts } = store;
    const total = totalOf(counts);
    const ended = endedOf(counts);
    setText(byId("percent"), percent(ended, total));
    setText(
      byId("ended-of"),
      total === 0 ? "no tasks yet" : `${count(ended)} of ${plural(total, "task")} ended`,
    );
    this.#bar.draw(counts);
    setAttribute(
      byId("progress"),
      "aria-valuenow",
      String(total === 0 ? 0 : Math.floor((ended / total) * 100)),
    );
    setAttribute(byId("progress"), "aria-valuetext", countsText(counts));
    for (const [state, { tile, number }] of this.#tiles) {
      setText(number, count(counts[state]));
      tile.classList.toggle("none", counts[state] === 0);
      setAttribute(tile, "aria-pressed", String(chosen.has(state)));
    }
    this.#drawTimes(store, graph, now, total > 0 && ended === total);
  }

  #drawTimes(store, graph, now, isOver) {
    const began = graph?.created_at ?? (Number.isFinite(store.firstAt) ? store.firstAt : null);
    const until = isOver ? (graph?.ended_at ?? store.lastAt) : now;
    const took = began === null ? null : Math.max(0, until - began);
    setText(byId("elapsed"), took === null ? "–" : seconds(took));
    // Over: the mean of the whole run says more than the rate of now, which is 0.
    const perSecond = isOver && took > 0 ? endedOf(store.counts) / took : store.rate(now);
    setText(byId("rate"), rate(perSecond));
    setText(byId("rate-label"), isOver ? "Mean per second" : "Tasks per second");
    this.#drawSpark(store, isOver ? until : now);
  }

  #drawSpark(store, now) {
    const canvas = byId("spark");
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0) return;
    const endings = store.endingsUntil(now, SPARK_SECONDS);
    const most = Math.max(1, ...endings);
    const drawing = context(canvas, width, height);
    const colours = palette();
    drawing.fillStyle = colours.line;
    drawing.fillRect(0, height - 1, width, 1);
    drawing.fillStyle = colours["fill-succeeded"];
    const step = width / SPARK_SECONDS;
    endings.forEach((number, i) => {
      const high = (number / most) * (height - 2);
      if (number > 0)
        drawing.fillRect(
          i * step,
          height - 1 - Math.max(1.5, high),
          Math.max(1, step - 0.6),
          Math.max(1.5, high),
        );
    });
    setAttribute(
      canvas,
      "aria-label",
      `Tasks ended in each of the last ${SPARK_SECONDS} seconds, at most ${count(most)}`,
    );
  }
}

// A bar whose parts are states. Its parts are made once and only change their widths.
export class Bar {
  #parts = new Map();

  constructor(element) {
    for (const state of BAR_ORDER) {
      if (state === "waiting") continue; // the ground of the bar
      const part = el("i", { class: `fill-${state}` });
      this.#parts.set(state, { part, width: null });
      element.append(part);
    }
  }

  draw(counts) {
    const total = Math.max(1, totalOf(counts));
    for (const [state, known] of this.#parts) {
      const width = `${((counts[state] / total) * 100).toFixed(2)}%`;
      if (known.width !== width) known.part.style.width = width;
      known.width = width;
    }
  }
}
