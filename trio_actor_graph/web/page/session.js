// One graph that is being watched: its store, filled from pages and kept up to date by the stream.
//
// Events wait in a queue until the next frame has time for them. After a gap the pages are read
// again into a new store; the old one is shown meanwhile, and what comes meanwhile waits.

import { ApiError, readPages } from "./api.js";
import { RunStore } from "./store.js";
import { EventStream } from "./stream.js";

const QUEUE_MAX = 20_000; // events; then the stream is read no further until there is room
const CHECK_EVERY = 64; // events between two looks at the clock

export class Session {
  store = new RunStore();
  isLoading = true;
  #stream = null;
  #queue = [];
  #at = 0;
  #room = null;
  #isOpen = true;
  #loading = 0;

  // `handlers`: onChange(), onEvents(at) with the time of the newest, onLog(line), onGraph(event),
  // onState(state, details), onError(error), wake().
  constructor(graphUid, handlers) {
    this.graphUid = graphUid;
    this.handlers = handlers;
  }

  // Reads the pages and follows; again after an error, if that is wanted.
  async open() {
    const lastId = await this.#load();
    if (lastId === null || !this.#isOpen) return;
    this.#stream ??= new EventStream({
      url: `/v1/graphs/${this.graphUid}/events`,
      lastId,
      onEvents: (events) => this.#take(events),
      onState: (state, details) => this.handlers.onState(state, details),
    }).start();
  }

  close() {
    this.#isOpen = false;
    this.#stream?.stop();
    this.#room?.();
  }

  retryNow() {
    this.#stream?.retryNow();
  }

  // Applies events until the deadline; returns whether some are left. The work of a frame.
  drain(deadline) {
    if (this.isLoading || this.#at >= this.#queue.length) return false;
    for (let n = 1; this.#at < this.#queue.length && !this.isLoading; n += 1) {
      this.#at += 1;
      try {
        this.#apply(this.#queue[this.#at - 1]);
      } catch (error) {
        reportError(error); // of this event; the others can be used all the same
      }
      if (n % CHECK_EVERY === 0 && performance.now() > deadline - 4) break;
    }
    const isMore = this.#at < this.#queue.length;
    if (!isMore || this.#at > QUEUE_MAX) {
      this.#queue.splice(0, this.#at);
      this.#at = 0;
    }
    if (this.#queue.length - this.#at < QUEUE_MAX) this.#room?.();
    this.handlers.onEvents(this.store.lastAt);
    this.handlers.onChange();
    return isMore && !this.isLoading;
  }

  // Reads the pages into a new store. Returns the id of the event to follow after, null if it
  // failed.
  async #load() {
    const number = (this.#loading += 1);
    const isWanted = () => this.#isOpen && number === this.#loading;
    const store = new RunStore();
    const isFirst = this.store.order.length === 0;
    let lastId = null;
    this.isLoading = true;
    try {
      await readPages(
        `/v1/graphs/${this.graphUid}/tasks`,
        (page) => {
          lastId ??= page.last_event_id;
          store.applyPage(page.tasks);
          if (isFirst) this.#show(store);
        },
        { isWanted },
      );
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (isWanted()) this.handlers.onError(error);
      return null;
    }
    if (!isWanted()) return null;
    this.isLoading = false;
    this.#show(store);
    this.handlers.wake();
    return lastId;
  }

  #show(store) {
    this.store = store;
    this.handlers.onChange();
  }

  #take(events) {
    for (const event of events) this.#queue.push(event);
    this.handlers.wake();
    if (this.#queue.length - this.#at < QUEUE_MAX) return undefined;
    return new Promise((resolve) => {
      this.#room = () => {
        this.#room = null;
        resolve();
      };
    });
  }

  #apply({ kind, data }) {
    if (kind === "task") this.store.applyEvent(JSON.parse(data));
    else if (kind === "log") this.handlers.onLog(JSON.parse(data).line);
    else if (kind === "graph") this.handlers.onGraph(JSON.parse(data));
    else if (kind === "gap") this.#load();
  }
}
