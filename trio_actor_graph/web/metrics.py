"""Numbers for Prometheus, in its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from trio_actor_graph.graph.states import TASK_STATES
from trio_actor_graph.web.views import process_usage, shown_name

if TYPE_CHECKING:
    from trio_actor_graph.statistics import RunTime
    from trio_actor_graph.web.server import HttpServer

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]


def metrics_text(server: HttpServer) -> str:
    """All metrics of one server and its coordinator."""
    statistics = server.coordinator.statistics()
    workers = statistics.workers
    usage = {w.worker_id: process_usage(w.pid) for w in workers}
    labels = {
        w.worker_id: {"worker": f"{w.worker_loop}/{w.index}", "worker_loop": w.worker_loop}
        for w in workers
    }
    held = {w.worker_id: float(w.held) for w in workers}
    stops = statistics.stops
    rows = _by_shown_name(statistics.run_times)
    families = [
        _family(
            "tasks",
            "gauge",
            "Tasks of the open graphs by state.",
            [({"state": s}, statistics.tasks.get(s, 0)) for s in TASK_STATES],
        ),
        _family("graphs", "gauge", "Open graphs.", [({}, len(server.coordinator.graphs))]),
        _family(
            "stored_result_bytes",
            "gauge",
            "Encoded results that the open graphs keep.",
            [({}, sum(graph.stored_bytes for graph in server.coordinator.graphs))],
        ),
        _family(
            "attempts_total",
            "counter",
            "Attempts that ended with an outcome, by task name and worker.",
            [(_row(task, worker), number) for (task, worker), (number, _) in rows.items()],
        ),
        _family(
            "attempt_seconds_total",
            "counter",
            "How long their functions ran.",
            [(_row(task, worker), seconds) for (task, worker), (_, seconds) in rows.items()],
        ),
        _family(
            "worker_ready",
            "gauge",
            "Whether a worker is ready.",
            [(labels[w.worker_id], float(w.is_ready)) for w in workers],
        ),
        _family(
            "worker_slots",
            "gauge",
            "How many attempts a worker runs at once.",
            [(labels[w.worker_id], w.slots) for w in workers],
        ),
        _family(
            "worker_held_attempts",
            "gauge",
            "Attempts given to a worker that have not ended.",
            [(labels[uid], number) for uid, number in held.items()],
        ),
        _family(
            "worker_cpu_seconds_total",
            "counter",
            "User and system time of a worker's process.",
            [(labels[uid], cpu) for uid, (cpu, _) in usage.items() if cpu is not None],
        ),
        _family(
            "worker_resident_bytes",
            "gauge",
            "Resident memory of a worker's process.",
            [(labels[uid], size) for uid, (_, size) in usage.items() if size is not None],
        ),
        _family(
            "workers_lost_total",
            "counter",
            "Workers that ended although nobody had asked them to.",
            [({}, statistics.workers_lost)],
        ),
        _family(
            "worker_stops_total",
            "counter",
            "How often worker processes were asked to stop, and by what.",
            [({"by": name}, number) for name, number in stops._asdict().items()],
        ),
        _family(
            "stale_reports_total",
            "counter",
            "Reports of attempts that nobody wanted any more.",
            [({}, statistics.stale_reports)],
        ),
        _family(
            "http_connections", "gauge", "Open HTTP connections.", [({}, len(server.connections))]
        ),
        _family(
            "http_event_streams", "gauge", "Open streams of events.", [({}, server.ring.readers)]
        ),
    ]
    return "".join(families)


def _by_shown_name(rows: Iterable[RunTime]) -> dict[tuple[str, str], tuple[int, float]]:
    """Attempts and seconds by task name and worker; names that are cut may be the same then."""
    sums: dict[tuple[str, str], tuple[int, float]] = {}
    for row in rows:
        key = (shown_name(row.name), row.worker)
        attempts, seconds = sums.get(key, (0, 0.0))
        sums[key] = (attempts + row.attempts, seconds + row.seconds)
    return sums


def _row(task: str, worker: str) -> dict[str, str]:
    return {"task": task, "worker": worker}


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    name = f"trio_actor_graph_{name}"
    lines = [f"# HELP {name} {text}\n# TYPE {name} {kind}\n"]
    lines += [f"{name}{_labels(labels)} {_number(value)}\n" for labels, value in samples]
    return "".join(lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
