"""A run as a timeline that Perfetto (ui.perfetto.dev) and chrome://tracing show.

The file is in the Trace Event Format: a process per worker, a thread (a lane) per slot, a slice per
attempt, an arrow along each dependency and from each task to those it created, and a counter of the
tasks that run. See "Trace Event Format", Google, 2016:
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

Which slot an attempt had is not recorded: lanes are filled so that slices do not overlap, which
takes as many lanes as attempts ran at once. Those that waited for others had given their slot back,
and may take lanes beyond the slots.
"""

from __future__ import annotations

import gzip
import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import msgspec

from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.failures import TimedOut, WorkerEnd
from trio_actor_graph.graph.reading import last_outcome
from trio_actor_graph.graph.records import EndedAttempt, GraphRecord, TaskRecord
from trio_actor_graph.logs import cut
from trio_actor_graph.observe.files import write_whole

ARROWS_MAX: Final = 100_000
"""How many arrows one trace has: viewers become slow beyond, and who has more sees none of them."""

NAME_CHARACTERS_MAX: Final = 200
"""How much of a name stands in a trace: it is there once for each attempt."""

_COLOURS: Final = {
    "failed": "terrible",
    "timed out": "terrible",
    "worker lost": "terrible",
    "cancelled": "grey",
}
"""Colours that the viewers know by name, for what did not go well."""

_COORDINATOR: Final = 0
_Event = dict[str, Any]


class _Run(NamedTuple):
    """One attempt that ran from `began` to `ended`, by the clock of the records.

    Attributes:
        is_begin_known: it did begin then; else that is when it was given to the worker.
    """

    task: TaskRecord
    worker: str
    number: int
    began: float
    ended: float
    outcome: str
    is_begin_known: bool = True


def write_trace(graph: GraphRecord, path: Path) -> None:
    """Write the trace of a graph, running or ended, to a `.json` or `.json.gz` file.

    Raises:
        GraphError: another suffix.
        OSError: it cannot be written.
    """
    is_packed = path.name.lower().endswith(".json.gz")
    if not is_packed and path.suffix.lower() != ".json":
        raise GraphError(f"a trace is a .json or a .json.gz file, not {path.name!r}")
    encoded = msgspec.json.encode(trace_of(graph))
    write_whole(path, gzip.compress(encoded, 6) if is_packed else encoded)


def trace_of(graph: GraphRecord) -> dict[str, Any]:
    """The trace as one JSON object; times in microseconds since the first task was created."""
    now = perf_counter()
    runs = sorted(_runs(graph, now), key=lambda run: run.began)
    created = [task.created_at for task in graph.tasks.values() if task.created_at is not None]
    started = min(created, default=now)
    builder = _Builder(started, now)
    builder.add_runs(runs)
    builder.add_not_run(graph.tasks.values())
    builder.add_arrows(graph.tasks.values())
    builder.add_counter()
    return {
        "traceEvents": [*builder.names(graph.name), *builder.events],
        "displayTimeUnit": "ms",
        "otherData": {"graph": _shown(graph.name), "tasks": len(graph.tasks), **builder.left_out},
    }


class _Builder:
    """Collects events; lanes and processes get their numbers when they are first needed."""

    def __init__(self, started: float, now: float) -> None:
        self.events: list[_Event] = []
        self.left_out: dict[str, int] = {}
        self._started = started
        self._now = now
        self._workers: dict[str, int] = {}
        self._lanes: dict[str, int] = {}  # how many there are, by worker
        self._runs: list[_Run] = []
        self._placed: dict[TaskRecord, tuple[int, int, float, float]] = {}

    def add_runs(self, runs: Iterable[_Run]) -> None:
        """A slice for each, in the first lane of its worker that is free at its begin."""
        free: dict[str, list[int]] = {}
        busy: dict[str, list[tuple[float, int]]] = {}
        for run in runs:
            ends, lanes = busy.setdefault(run.worker, []), free.setdefault(run.worker, [])
            while ends and ends[0][0] <= run.began:
                heapq.heappush(lanes, heapq.heappop(ends)[1])
            placed = run
            if not lanes and not run.is_begin_known and len(ends) >= _slots(run):
                # It was given to the worker ahead, and cannot have begun before there was a slot.
                if run.ended <= ends[0][0]:
                    continue  # nor has it ever
                placed = run._replace(began=ends[0][0])
                lanes.append(heapq.heappop(ends)[1])
            if not lanes:
                self._lanes[run.worker] = self._lanes.get(run.worker, 0) + 1
                lanes.append(self._lanes[run.worker])
            lane = heapq.heappop(lanes)
            heapq.heappush(ends, (placed.ended, lane))
            self._runs.append(placed)
            self._add_run(placed, self._process(placed.worker), lane)

    def _add_run(self, run: _Run, process: int, lane: int) -> None:
        task = run.task
        self._placed[task] = (process, lane, run.began, run.ended)
        arguments: _Event = {"uid": task.uid, "attempt": run.number, "outcome": run.outcome}
        if task.creator is not None:
            arguments["created by"] = f"{_shown(task.creator.spec.name)} ({task.creator.uid})"
        event: _Event = {
            "ph": "X",
            "name": _shown(task.spec.name),
            "cat": run.outcome,
            "pid": process,
            "tid": lane,
            "ts": self._microseconds(run.began),
            "dur": round((run.ended - run.began) * 1e6, 3),
            "args": arguments,
        }
        if run.outcome in _COLOURS:
            event["cname"] = _COLOURS[run.outcome]
        self.events.append(event)

    def add_not_run(self, tasks: Iterable[TaskRecord]) -> None:
        """A mark at the end of each task that has ended without having run."""
        for task in tasks:
            if task.is_ended and task not in self._placed and task.ended_at is not None:
                self.events.append(
                    {
                        "ph": "i",
                        "s": "t",
                        "name": f"{_shown(task.spec.name)} {task.state}",
                        "cat": task.state,
                        "pid": _COORDINATOR,
                        "tid": 1,
                        "ts": self._microseconds(task.ended_at),
                        "args": {"uid": task.uid},
                    }
                )

    def add_arrows(self, tasks: Iterable[TaskRecord]) -> None:
        """From the end of each predecessor, and from a creator where it created the task."""
        arrows: list[_Event] = []
        number = 0
        for task, source, at in self._dependencies(tasks):
            number += 1
            if number > ARROWS_MAX:
                continue
            process, lane, began, _ = self._placed[task]
            kind = {"name": "created" if at else "waits for", "cat": "dependency", "id": number}
            from_process, from_lane, from_began, from_ended = self._placed[source]
            # Inside the slice it comes from, to which the viewer binds it: at its very end it would
            # belong to the next one, or by rounding to none. What a task created may have become
            # known only when that had ended.
            leaves = max(min(at or from_ended, from_ended - 1e-7), from_began)
            arrows.append(
                {"ph": "s", "pid": from_process, "tid": from_lane, **kind}
                | {"ts": self._microseconds(leaves)}
            )
            arrows.append(
                {"ph": "f", "bp": "e", "pid": process, "tid": lane, **kind}
                | {"ts": self._microseconds(began)}
            )
        if number > ARROWS_MAX:
            self.left_out["arrows left out"] = number
        else:
            self.events += arrows

    def _dependencies(
        self, tasks: Iterable[TaskRecord]
    ) -> Iterator[tuple[TaskRecord, TaskRecord, float]]:
        """A task, what it depends on, and when that created it (0 for a predecessor)."""
        for task in tasks:
            if task in self._placed:
                for predecessor in task.predecessors:
                    if predecessor in self._placed:
                        yield task, predecessor, 0.0
                if task.creator in self._placed:
                    assert task.creator is not None
                    assert task.created_at is not None
                    yield task, task.creator, task.created_at

    def add_counter(self) -> None:
        """How many attempts run, at each moment that this changes."""
        changes: dict[float, int] = {}
        for run in self._runs:
            changes[run.began] = changes.get(run.began, 0) + 1
            changes[run.ended] = changes.get(run.ended, 0) - 1
        running = 0
        for when in sorted(changes):
            running += changes[when]
            self.events.append(
                {
                    "ph": "C",
                    "name": "running",
                    "pid": _COORDINATOR,
                    "ts": self._microseconds(when),
                    "args": {"tasks": running},
                }
            )

    def names(self, graph_name: str) -> Iterator[_Event]:
        """What processes and lanes are called."""
        yield _name("process_name", _COORDINATOR, 0, f"graph {_shown(graph_name)}")
        yield _name("thread_name", _COORDINATOR, 1, "ended without running")
        for worker, process in self._workers.items():
            yield _name("process_name", process, 0, f"worker {worker}")
            for lane in range(1, self._lanes[worker] + 1):
                yield _name("thread_name", process, lane, f"slot {lane}")

    def _process(self, worker: str) -> int:
        return self._workers.setdefault(worker, len(self._workers) + 1)

    def _microseconds(self, when: float) -> float:
        return round((when - self._started) * 1e6, 3)


def _shown(name: str) -> str:
    return cut(name, NAME_CHARACTERS_MAX)


def _name(kind: str, process: int, lane: int, name: str) -> _Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": lane, "args": {"name": name}}


def _runs(graph: GraphRecord, now: float) -> Iterator[_Run]:
    """The attempts of which is known when they ran, those that run now included."""
    for task in graph.tasks.values():
        history = task.history or ()
        for ended in history:
            if ended.began_at is not None and ended.ended_at is not None:
                yield _Run(
                    task,
                    ended.worker,
                    ended.number,
                    ended.began_at,
                    ended.ended_at,
                    _outcome(ended),
                    not ended.was_cut_off,
                )
        if task.attempt is not None and task.attempt.given_at is not None:
            if task.state == "running":
                given, worker = task.attempt.given_at, task.attempt.worker.name
                yield _Run(task, worker, task.attempts, min(given, now), now, "running", False)
        elif (outcome := last_outcome(task)) is not None:
            yield _last_run(task, outcome)


def _last_run(task: TaskRecord, outcome: str) -> _Run:
    """The attempt that is not in the task's history."""
    times = task.times
    assert times is not None
    assert times.began_at is not None
    assert times.ran_until is not None
    assert times.ran_in is not None
    began, ended, worker = times.began_at, times.ran_until, times.ran_in.name
    return _Run(task, worker, task.attempts, began, ended, outcome, not times.was_cut_off)


def _slots(run: _Run) -> int:
    """How many attempts its worker runs at once."""
    index = int(run.worker.rpartition("/")[2])
    return run.task.loop.slots[index]


def _outcome(ended: EndedAttempt) -> str:
    if isinstance(ended.failure, WorkerEnd):
        return "worker lost"
    return "timed out" if isinstance(ended.failure, TimedOut) else "failed"
