// The parts of one task's page that are made of data alone.

import { el, icon } from "./dom.js";
import { clock, seconds } from "./format.js";
import { OUTCOMES, TERMINAL } from "./states.js";

export function factsOf({ task, priority, retries, timeout_seconds: limit }) {
  const facts = [
    ["Number", String(task.uid)],
    ["Function", task.function],
    ["Worker loop", task.worker_loop],
  ];
  const add = (name, value) => {
    if (value !== null && value !== "") facts.push([name, value]);
  };
  add("Worker", task.worker);
  add("Created", clock(task.created_at, { thousandths: true }));
  add("Began", clock(task.began_at, { thousandths: true }));
  add("Ended", clock(task.ended_at, { thousandths: true }));
  if (TERMINAL.has(task.state)) add("Took", seconds(task.seconds));
  add("Attempts", retries > 0 ? `${task.attempt} of at most ${retries + 1}` : String(task.attempt));
  if (priority !== 0) add("Priority", String(priority));
  if (limit !== null) add("Time limit", seconds(limit));
  return facts;
}

export function tracebackParts(text) {
  if (text === null) return [];
  const title = isTraceback(text) ? "Traceback" : "Error";
  const kind = `text ${wrapOf(text)} ${title === "Error" ? "" : "traceback"}`;
  return [
    el("h3", {}, title),
    el("pre", { class: kind, tabindex: "0", "aria-label": title }, text),
  ];
}

// The lines of a traceback stay whole; a line of words is broken so that all of it can be read.
function wrapOf(text) {
  return isTraceback(text) ? "" : "words";
}

function isTraceback(text) {
  return text.includes("Traceback (most recent call last)");
}

export function attemptParts(attempts) {
  if (attempts.length === 0) return [];
  const rows = attempts.map(
    ({ number, worker, began_at: began, ended_at: ended, outcome, error }) => {
      const took = began !== null && ended !== null ? seconds(ended - began) : "";
      const told = error
        ? el(
            "details",
            {},
            el("summary", {}, outcomeMark(outcome)),
            el("pre", { class: `text ${wrapOf(error)}` }, error),
          )
        : outcomeMark(outcome);
      return el(
        "tr",
        {},
        el("td", {}, String(number)),
        el("td", {}, worker ?? ""),
        el("td", {}, clock(began)),
        el("td", { class: "number" }, took),
        el("td", {}, told),
      );
    },
  );
  const heads = ["Attempt", "Worker", "Began", "Took", "Outcome"].map((text) =>
    el("th", { scope: "col", class: text === "Took" ? "number" : null }, text),
  );
  return [
    el("h3", {}, "Attempts"),
    el(
      "table",
      { class: "plain attempts" },
      el("thead", {}, el("tr", {}, ...heads)),
      el("tbody", {}, ...rows),
    ),
  ];
}

function outcomeMark(outcome) {
  const state = OUTCOMES[outcome] ?? "running";
  return el("span", { class: `state state-${state}` }, icon(state), outcome);
}

export function logElement({ created_at: at, level, level_name: name, text, exception, logger }) {
  const grade = level >= 40 ? "level-error" : level >= 30 ? "level-warning" : "";
  const said = exception ? `${text}\n${exception}` : text;
  return el(
    "li",
    { title: logger },
    el("time", {}, clock(at, { thousandths: true })),
    el("span", { class: grade }, name),
    el("span", { class: `text-cell ${grade}` }, said),
  );
}
