// The workers and what each does. Read now and then: what they need of processors and memory is no
// event.

import { byId, el, setText } from "./dom.js";
import { bytes, count, plural } from "./format.js";
import { taskAddress } from "./router.js";

const NAMED_MAX = 2; // tasks of one worker that are named; the rest is a number

export class Workers {
  #rows = new Map();
  #cpu = new Map(); // worker id -> { at, used } of the last reading
  #note = byId("workers-note");

  draw(workers) {
    const at = performance.now() / 1000;
    const left = new Set(this.#rows.keys());
    for (const worker of workers) {
      left.delete(worker.worker_id);
      let row = this.#rows.get(worker.worker_id);
      if (row === undefined) this.#rows.set(worker.worker_id, (row = new WorkerRow()));
      row.draw(worker, this.#cpuShare(worker, at));
    }
    for (const id of left) {
      this.#rows.get(id).element.remove();
      this.#rows.delete(id);
      this.#cpu.delete(id);
    }
    const slots = workers.reduce((sum, worker) => sum + worker.slots, 0);
    setText(
      this.#note,
      workers.length === 0
        ? "none has been started"
        : `${count(workers.length)} with ${plural(slots, "slot")}`,
    );
  }

  // Of one processor, since the last reading; null for the first.
  #cpuShare({ worker_id: id, cpu_seconds: used }, at) {
    const before = this.#cpu.get(id);
    if (used === null) return null;
    this.#cpu.set(id, { at, used });
    return before === undefined || at - before.at < 0.2
      ? null
      : Math.max(0, (used - before.used) / (at - before.at));
  }
}

class WorkerRow {
  #doing = "";

  constructor() {
    this.pid = el("small");
    this.name = document.createTextNode("");
    this.fill = el("i", { class: "fill-running" });
    this.busy = el("span");
    this.cpu = el("td", { class: "number" });
    this.memory = el("td", { class: "number" });
    this.doing = el("td", { class: "doing" });
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, this.fill);
    this.element = el(
      "tr",
      {},
      el("td", { class: "worker-name" }, this.name, this.pid),
      el("td", {}, el("span", { class: "busy" }, bar, this.busy)),
      this.cpu,
      this.memory,
      this.doing,
    );
    byId("workers").append(this.element);
  }

  draw(worker, cpu) {
    const running = worker.running.filter((attempt) => !attempt.is_awaiting);
    const busy = Math.min(worker.slots, running.length);
    this.name.data = worker.name;
    setText(this.pid, worker.pid === null ? "" : `pid ${worker.pid}`);
    this.fill.style.width = `${(busy / Math.max(1, worker.slots)) * 100}%`;
    setText(this.busy, `${count(busy)} of ${count(worker.slots)}`);
    if (cpu !== null) setText(this.cpu, `${Math.round(cpu * 100)} %`);
    setText(this.memory, bytes(worker.memory_bytes));
    this.#drawDoing(worker);
  }

  #drawDoing(worker) {
    const named = worker.running.slice(0, NAMED_MAX);
    const more = worker.held - named.length;
    const doing = JSON.stringify([
      worker.is_ready,
      more,
      named.map(({ graph_uid: graph, task_uid: task, is_awaiting: awaits }) => [
        graph,
        task,
        awaits,
      ]),
    ]);
    if (doing === this.#doing) return;
    this.#doing = doing;
    const parts = named.flatMap(
      ({ graph_uid: graph, task_uid: task, name, is_awaiting: awaits }, i) => [
        i > 0 ? ", " : "",
        el("a", { href: taskAddress(graph, task) }, name),
        awaits ? " (awaits)" : "",
      ],
    );
    if (more > 0) parts.push(named.length > 0 ? ` and ${count(more)} more` : count(more));
    if (parts.length === 0)
      parts.push(el("span", { class: "cell-dim" }, worker.is_ready ? "idle" : "starting"));
    this.doing.replaceChildren(...parts);
  }
}
