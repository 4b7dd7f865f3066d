// Which attempt is drawn in which lane of its worker: one lane for each slot that was used at once. Pure.
// The slots themselves have no numbers; an attempt goes to the lane that was free for the shortest time.

export const LANES_MAX = 64; // of one worker; more cannot be told apart, and then share the last ones
const SLACK_SECONDS = 0.0005; // attempts right after each other, seen by two clocks

export class Lanes {
  workers = new Map(); // name -> lanes, each a list of bars in the order of their ends

  add(bar) {
    let lanes = this.workers.get(bar.worker);
    if (lanes === undefined) this.workers.set(bar.worker, (lanes = []));
    this.#laneFor(lanes, bar.from).push(bar);
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

  #laneFor(lanes, from) {
    let best = null;
    for (const lane of lanes) {
      const end = endOf(lane);
      if (end <= from + SLACK_SECONDS && (best === null || end > endOf(best))) best = lane;
    }
    if (best !== null) return best;
    if (lanes.length < LANES_MAX) {
      lanes.push([]);
      return lanes.at(-1);
    }
    return lanes.reduce((a, b) => (endOf(a) <= endOf(b) ? a : b));
  }
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
