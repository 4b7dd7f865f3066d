// The head of the page: which graph, how it is, and whether the server is heard.

import { announce } from "./announce.js";
import { byId, el, icon, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";
import { endedOf } from "./states.js";

const STATE_ICONS = { running: "running", cancelled: "cancelled", stalled: "failed" };
const CONNECTION_TEXTS = { connecting: "Connecting", live: "Live", refused: "Refused" };

export class Head {
  #connection = "";
  #drawn = "";
  #pill = "";

  // Draws the graphs there are, newest first, and the state of the one that is shown.
  draw(graphs, uid) {
    const select = byId("graph-select");
    const shown = graphs.toReversed();
    const drawn = JSON.stringify(shown.map((graph) => [graph.uid, graph.name, graph.state]));
    select.hidden = shown.length === 0;
    if (this.#drawn !== drawn) {
      this.#drawn = drawn;
      const text = ({ uid: number, name, state }) => `${name} (${number}), ${state}`;
      select.replaceChildren(
        ...shown.map((graph) => el("option", { value: graph.uid }, text(graph))),
      );
    }
    if (uid !== null) select.value = String(uid);
    this.#drawState(graphs.find((graph) => graph.uid === uid) ?? null);
  }

  // There is no graph at all.
  drawNone() {
    this.notice("There is no graph yet. It appears here as soon as one is opened.");
    this.say("live", "Waiting for a graph");
  }

  // What the stream of events says of itself.
  drawConnection(state, { seconds }) {
    const before = this.#connection;
    // The next try of a lost connection is no news; nothing flickers.
    if (state === "connecting" && before === "lost") return;
    this.#connection = state;
    const lost = `Connection lost, next try in ${Math.ceil(seconds)} s`;
    this.say(state, state === "lost" ? lost : CONNECTION_TEXTS[state]);
    byId("reconnect").hidden = state !== "lost";
    if (state === "live" && before === "lost") announce("Connected again.");
    if (state === "lost" && before !== "lost")
      announce("The connection is lost. It is tried again.");
  }

  say(state, text) {
    setAttribute(byId("connection"), "data-state", state);
    setText(byId("connection"), text);
  }

  notice(text, isBad = false) {
    const element = byId("notice");
    element.hidden = text === null;
    element.classList.toggle("bad", isBad);
    setText(element, text ?? "");
  }

  #drawState(graph) {
    const pill = byId("graph-state");
    pill.hidden = graph === null;
    byId("cancel-graph").hidden = graph === null || graph.state !== "running";
    if (graph?.story) this.notice(graph.story, true);
    if (graph === null) return;
    const { text, look } = pillOf(graph);
    if (this.#pill === text) return;
    this.#pill = text;
    pill.className = `pill state state-${look}`;
    pill.replaceChildren(icon(look), text);
  }
}

// The state of a graph, and what went wrong in it: one that is idle may have come to a bad end.
function pillOf({ state, counts }) {
  const bad = ["failed", "cancelled", "skipped"].find((each) => counts[each] > 0);
  const isTold = bad !== undefined && bad !== state;
  const text = isTold ? `${state}, ${count(counts[bad])} ${bad}` : state;
  const atRest = bad ?? (endedOf(counts) > 0 ? "succeeded" : "waiting");
  return { text, look: STATE_ICONS[state] ?? atRest };
}
