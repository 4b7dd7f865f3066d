// Which attempt is drawn in which lane of its worker: one lane for each slot that was used at once.
// Pure. The slots themselves have no numbers; an attempt goes to the lane that was free for the
// shortest time.

const LANES_MAX = 64; // of one worker; more cannot be told apart, and share lanes
const SLACK_SECONDS = 0.0005; // attempts right after each other, seen by two clocks

export class Lanes {
  workers = new Map(); // name -> lanes, each a list of bars in the order of their ends

  // Adds bars; those of one call may be in any order.
  add(bars) {
    for (const bar of bars.toSorted((a, b) => a.from - b.from)) {
      let lanes = this.workers.get(bar.worker);
      if (lanes === undefined) this.workers.set(bar.worker, (lanes = []));
      place(bar, lanes);
    }
  }

  // Puts what runs into lanes that are free: [{ lane, bar }]. Nothing is kept of it.
  placeRunning(worker, bars) {
    const lanes = this.workers.get(worker) ?? [];
    const taken = new Set();
    return bars.map((bar) => {
      let lane = 0;
      while (taken.has(lane) || endOf(lanes[lane]) > bar.from + SLACK_SECONDS) lane += 1;
      lane = Math.min(lane, LANES_MAX - 1);
      taken.add(lane);
      return { lane, bar };
    });
  }
}

function place(bar, lanes) {
  let best = null;
  for (const lane of lanes) {
    const end = endOf(lane);
    if (end <= bar.from + SLACK_SECONDS && (best === null || end > endOf(best))) best = lane;
  }
  if (best !== null) best.push(bar);
  else if (!isInGap(bar, lanes)) placeAtLast(bar, lanes);
}

// An attempt that took long is told of after short ones that began later: it may fit before those.
function isInGap(bar, lanes) {
  for (const lane of lanes) {
    const next = firstAfter(lane, bar.from + SLACK_SECONDS);
    if (next < lane.length && lane[next].from + SLACK_SECONDS < bar.to) continue;
    lane.splice(next, 0, bar);
    return true;
  }
  return false;
}

function placeAtLast(bar, lanes) {
  if (lanes.length < LANES_MAX) lanes.push([bar]);
  else lanes.reduce((a, b) => (endOf(a) <= endOf(b) ? a : b)).push(bar);
}

// The index of the first bar that ends after `at`.
export function firstAfter(bars, at) {
  let low = 0;
  let high = bars.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bars[middle].to < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

function endOf(lane) {
  return lane === undefined || lane.length === 0 ? -Infinity : lane.at(-1).to;
}
