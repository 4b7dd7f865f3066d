// The states of a task: their order, which of them are final, and how they are drawn. Each has a
// symbol (a <symbol> of index.html) and a name beside its colour, so that nobody needs colours.

export const STATES = [
  "waiting",
  "ready",
  "running",
  "succeeded",
  "failed",
  "skipped",
  "cancelled",
];

export const TERMINAL = new Set(["succeeded", "failed", "skipped", "cancelled"]);

// The state as which an attempt is shown that came out so: the words of `AttemptInfo.outcome`.
export const OUTCOMES = {
  succeeded: "succeeded",
  "returned a task": "succeeded",
  failed: "failed",
  "timed out": "failed",
  "worker lost": "failed",
  cancelled: "cancelled",
};

// In the order in which a bar of progress fills: what is done first, what has not begun last.
export const BAR_ORDER = [
  "succeeded",
  "failed",
  "skipped",
  "cancelled",
  "running",
  "ready",
  "waiting",
];

export function emptyCounts() {
  return { waiting: 0, ready: 0, running: 0, succeeded: 0, failed: 0, skipped: 0, cancelled: 0 };
}

export function endedOf(counts) {
  return counts.succeeded + counts.failed + counts.skipped + counts.cancelled;
}

export function totalOf(counts) {
  return endedOf(counts) + counts.waiting + counts.ready + counts.running;
}

// The state that says most about several tasks together: trouble, then movement, then rest.
export function leadingState(counts) {
  const total = totalOf(counts);
  if (counts.failed > 0) return "failed";
  if (counts.running > 0) return "running";
  if (counts.ready > 0) return "ready";
  if (counts.waiting > 0) return "waiting";
  if (counts.succeeded === total) return "succeeded";
  return counts.skipped >= counts.cancelled ? "skipped" : "cancelled";
}

// "12 succeeded, 3 running": only what there is.
export function countsText(counts) {
  const parts = STATES.filter((state) => counts[state] > 0).map(
    (state) => `${counts[state].toLocaleString("en")} ${state}`,
  );
  return parts.join(", ") || "no tasks";
}
