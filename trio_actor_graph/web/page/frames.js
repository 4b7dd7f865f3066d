// When things are drawn. Views say that they are out of date; they are drawn together in the next
// animation frame, none more often than its interval, and none takes more than about a tenth of the
// time: a view that takes long to draw is drawn the less often. Nothing is drawn in a tab nobody
// sees.

const FRAME_MS = 10; // what is left of 16 ms when the browser has had its part
const HIDDEN_MS = 100; // browsers make it a second after a while
const SHARE = 10; // a view that took 30 ms rests 300 ms

export class Frames {
  #views = [];
  #work = [];
  #asked = false;

  constructor() {
    // A frame that was asked for does not come while the tab is hidden.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.#asked) setTimeout(() => this.#run(), HIDDEN_MS);
    });
  }

  // Calls `draw` soon after each `invalidate()` of the returned view.
  view(draw, intervalMs) {
    const view = { draw, intervalMs, isStale: false, restsUntil: 0 };
    view.invalidate = () => {
      view.isStale = true;
      this.#ask();
    };
    this.#views.push(view);
    return view;
  }

  // `step(deadline)` works until the deadline and returns whether there is more; hidden tabs
  // included.
  work(step) {
    this.#work.push(step);
    return () => this.#ask();
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    if (document.hidden) setTimeout(() => this.#run(), HIDDEN_MS);
    else requestAnimationFrame(() => this.#run());
  }

  #run() {
    this.#asked = false;
    const deadline = performance.now() + (document.hidden ? HIDDEN_MS / 2 : FRAME_MS);
    let isMore = false;
    for (const step of this.#work) isMore = step(deadline) || isMore;
    if (!document.hidden) isMore = this.#draw(deadline) || isMore;
    if (isMore) this.#ask();
  }

  #draw(deadline) {
    let isMore = false;
    for (const view of [...this.#views]) {
      if (!view.isStale) continue;
      const began = performance.now();
      if (began < view.restsUntil || began > deadline) {
        isMore = true;
        continue;
      }
      view.isStale = false;
      try {
        view.draw();
      } catch (error) {
        reportError(error); // of this one; the others are drawn all the same
      }
      const took = performance.now() - began;
      view.restsUntil = began + Math.max(view.intervalMs, took * SHARE);
      // Who was drawn goes to the end, so that all have their turn when time is short.
      this.#views.push(this.#views.splice(this.#views.indexOf(view), 1)[0]);
    }
    return isMore;
  }
}
