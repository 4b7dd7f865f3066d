// The stream of events, for as long as it is wanted: lost connections are opened again, later and
// later but never later than RETRY_SECONDS_MAX, and go on after the last event that was seen.
//
// A stream read by `fetch` rather than an EventSource: it can begin at a given event, tells a
// refusal from a lost connection, and is read no faster than its events are used, so a slow page
// loses no memory; the server then says that there is a gap.

import { SseParser } from "./sse.js";

const RETRY_SECONDS = 0.5;
const RETRY_SECONDS_MAX = 8;
const SILENCE_SECONDS = 45; // the server is heard every 15 s: three of them missed
const PASSING = new Set([408, 429]); // refusals that may be none the next time

export class EventStream {
  #url;
  #lastId;
  #onEvents;
  #onState;
  #abort = null;
  #isWanted = true;
  #wake = null;

  // `onEvents(events)` may return a promise: no more is read before it is kept. `onState(state,
  // details)`: "connecting", "live", "lost" with the seconds until the next try, "refused" with the
  // response's status.
  constructor({ url, lastId, onEvents, onState }) {
    this.#url = url;
    this.#lastId = lastId;
    this.#onEvents = onEvents;
    this.#onState = onState;
  }

  start() {
    this.#follow();
    return this;
  }

  stop() {
    this.#isWanted = false;
    this.#abort?.abort();
    this.#wake?.();
  }

  // Does not wait for the next try.
  retryNow() {
    this.#wake?.();
  }

  async #follow() {
    let failures = 0;
    while (this.#isWanted) {
      this.#tell("connecting", {});
      const outcome = await this.#readOnce();
      if (!this.#isWanted) return;
      if (outcome.status !== null) {
        this.#tell("refused", { status: outcome.status });
        if (outcome.status < 500 && !PASSING.has(outcome.status)) return;
      }
      failures = outcome.wasLive ? 1 : failures + 1;
      const limit = Math.min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** (failures - 1));
      const seconds = limit * (0.75 + Math.random() / 2); // not all pages at once
      this.#tell("lost", { seconds });
      await this.#pause(seconds);
    }
  }

  async #readOnce() {
    const abort = new AbortController();
    this.#abort = abort;
    let silence = null;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_SECONDS * 1000);
    };
    let wasLive = false;
    try {
      heard();
      const headers = { Accept: "text/event-stream" };
      if (this.#lastId !== null) headers["Last-Event-ID"] = this.#lastId;
      const response = await fetch(this.#url, { headers, signal: abort.signal, cache: "no-store" });
      if (!response.ok) return { status: response.status, wasLive };
      wasLive = true;
      this.#tell("live", {});
      await this.#readBody(response.body, heard);
    } catch {
      // Whatever it was, it is over, and is tried again.
    } finally {
      clearTimeout(silence);
      abort.abort();
    }
    return { status: null, wasLive };
  }

  async #readBody(body, heard) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new SseParser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || !this.#isWanted) return;
      heard();
      const events = parser.push(value);
      if (parser.lastId !== null) this.#lastId = parser.lastId;
      if (events.length > 0) await this.#onEvents(events);
    }
  }

  #tell(state, details) {
    if (this.#isWanted) this.#onState(state, details);
  }

  #pause(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
