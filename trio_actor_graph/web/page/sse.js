// Server-sent events, out of pieces of text as they come. Pure.

export class SseParser {
  #rest = "";
  #kind = "";
  #data = [];
  #id = null;
  lastId = null; // of what is complete: what was cut off is to be sent again

  // Returns the events that are complete now, as { kind, data, id }; data is left as text.
  push(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) this.#take(line.endsWith("\r") ? line.slice(0, -1) : line, events);
    return events;
  }

  #take(line, events) {
    if (line === "") {
      if (this.#data.length > 0) {
        const data = this.#data.length === 1 ? this.#data[0] : this.#data.join("\n");
        events.push({ kind: this.#kind || "message", data, id: this.#id });
      }
      this.lastId = this.#id;
      this.#kind = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: a heartbeat
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#kind = value;
    else if (field === "id") this.#id = value;
  }
}
