// A condition as one reads it: "all of: 3 succeeded, any 2 of 5 completed", with its tasks as
// links.

import { el } from "./dom.js";

const SHOWN_MAX = 30; // tasks of one part that are named

// `link(uid)` makes the element for a task.
export function conditionElement(condition, link) {
  return el("div", { class: "condition" }, ...partsOf(condition, link));
}

function partsOf(condition, link) {
  if (condition.all_of) return joined(condition.all_of, " and ", link);
  if (condition.any_of) return joined(condition.any_of, " or ", link);
  const tasks = condition.succeeded ?? condition.completed;
  if (!tasks) return ["…"]; // nested too deep to be sent
  const what = condition.succeeded ? "succeeded" : "completed";
  const least = condition.at_least ?? tasks.length;
  const needed =
    tasks.length === 1
      ? what
      : least === tasks.length
        ? `all ${tasks.length} ${what}`
        : `${least} of ${tasks.length} ${what}`;
  const named = tasks.slice(0, SHOWN_MAX).flatMap((task, i) => [i > 0 ? ", " : "", link(task)]);
  const more = tasks.length > SHOWN_MAX ? ` and ${tasks.length - SHOWN_MAX} more` : "";
  return [`${needed}: `, ...named, more];
}

function joined(conditions, word, link) {
  return conditions.flatMap((condition, i) => [
    i > 0 ? word : "",
    "(",
    ...partsOf(condition, link),
    ")",
  ]);
}
