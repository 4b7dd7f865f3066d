"""What happened, as the app and the task bodies saw it: written line by line, read back whole.

Each event is one JSON object, appended to one file by one `write`. Nothing is synced: what was
written survives the death of its process, and the machine is not expected to die. All processes of
a machine share the monotonic clock, so the lines of different processes can be ordered by time.

A process killed in the middle of its `write` leaves half a line. Lines therefore *begin* with the
newline: half a line spoils nothing but itself, and an attempt killed while it writes its first line
has done nothing yet.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.model import TaskPlan, plan_from_json

PATH_VARIABLE: Final = "CHAOS_HISTORY"
"""The environment variable that tells every process of a run where to write."""

_descriptor: int | None = None


def note(event: str, **fields: Any) -> float:
    """Append an event; returns its time, which was taken before it was written."""
    global _descriptor
    if _descriptor is None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        _descriptor = os.open(os.environ[PATH_VARIABLE], flags, 0o600)
    now = time.monotonic()
    line = json.dumps({"event": event, "t": round(now, 6), "pid": os.getpid(), **fields})
    os.write(_descriptor, b"\n" + line.encode())
    return now


def read_events(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The events of a run in the order of their times, and the number of half lines."""
    events: list[dict[str, Any]] = []
    torn = 0
    for line in path.read_bytes().split(b"\n"):
        try:
            if line:
                events.append(json.loads(line))
        except ValueError:
            torn += 1
    return sorted(events, key=lambda event: event["t"]), torn


@dataclass
class Attempt:
    """One run of a task's body.

    Attributes:
        attempt: its id.
        number: which attempt of its task it was told to be, from 1.
        ended: when it wrote its last line; None if it never did.
        how: "ok", "tail", "raise", "cancelled"; "" if it did not end.
        detail: the type of what it raised, or the key of the task it returned.
        inputs: key and attempt of each result it was given.
        seen: name and state of each predecessor, as it was told.
        waits: when it began and ended to await a child; the last end may be missing.
        children: the tasks it was about to create.
        deaths: (time, act) if it was about to end its own process.
    """

    key: str
    attempt: int
    number: int
    pid: int
    began: float
    inputs: list[tuple[str, int]]
    seen: list[tuple[str, str]]
    ended: float | None = None
    how: str = ""
    detail: str = ""
    waits: list[list[float]] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    deaths: list[tuple[float, str]] = field(default_factory=list)


@dataclass
class Sighting:
    """A terminal state as the app saw it.

    Attributes:
        attempts: how many attempts the scheduler has counted.
        error: the type of the error, if it did not succeed.
        cause: the type of the error's cause.
    """

    t: float
    state: str
    attempts: int
    result: dict[str, Any] | None = None
    error: str = ""
    cause: str = ""


@dataclass
class Cancel:
    """A cancel of a task.

    Attributes:
        before: its state just before the call.
        after: its state just after.
        successors: what waited on it was to be cancelled too.
        also: what ended in the call besides.
    """

    t: float
    before: str
    after: str
    successors: bool = False
    also: tuple[str, ...] = ()


@dataclass
class TaskHistory:
    """All that is known of one task.

    Attributes:
        is_accepted: the app has seen it in its graph.
        cancelled_with: when it ended in the cancel of another task, and of which.
        stuck: the story of the task when its graph was given up.
    """

    key: str
    plan: TaskPlan
    graph: str = ""
    is_accepted: bool = False
    sightings: list[Sighting] = field(default_factory=list)
    cancels: list[Cancel] = field(default_factory=list)
    cancelled_with: list[tuple[float, str]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    stuck: str | None = None

    @property
    def last(self) -> Sighting | None:
        return self.sightings[-1] if self.sightings else None

    @property
    def state(self) -> str:
        """Its first terminal state; "" if it had none."""
        return self.sightings[0].state if self.sightings else ""


@dataclass
class GraphHistory:
    """A graph: when it was cancelled and with how many tasks unfinished; how leaving it ended."""

    name: str
    cancels: list[tuple[float, int]] = field(default_factory=list)
    given_up: float | None = None
    error: str = ""


@dataclass
class WorkerHistory:
    """One worker process.

    Attributes:
        signals: (time, kind) of what was done to it from outside.
        continued: when it got SIGCONT.
        wanted: when it was lost, tasks of its loop were ready that no worker had room for.
        replaced: when its successor, with the same loop and index, was ready.
    """

    pid: int
    loop: str
    index: int
    ready: float
    signals: list[tuple[float, str]] = field(default_factory=list)
    continued: list[float] = field(default_factory=list)
    lost: float | None = None
    how: str = ""
    wanted: bool = False
    replaced: float | None = None

    @property
    def is_harmed(self) -> bool:
        """Something was done to it that it cannot survive."""
        return any(kind != "pause" for _, kind in self.signals)

    @property
    def lost_or_never(self) -> float:
        return inf if self.lost is None else self.lost


@dataclass
class History:
    """A whole run.

    Attributes:
        limits: how many tasks of each loop may run at once.
        workers: by pid; those that were ready once.
        closing: when the coordinator was about to be left.
        killed_at_start: when, and the loop and index of the worker.
    """

    limits: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, TaskHistory] = field(default_factory=dict)
    graphs: dict[str, GraphHistory] = field(default_factory=dict)
    workers: dict[int, WorkerHistory] = field(default_factory=dict)
    closing: float = inf
    crash: str = ""
    plant_bites: int = 0
    killed_at_start: list[tuple[float, str, int]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[dict[str, Any]]) -> History:
        history = cls()
        for event in events:
            getattr(history, f"_on_{event['event']}")(event)
        return history

    def attempts(self) -> Iterator[Attempt]:
        for task in self.tasks.values():
            yield from task.attempts

    # ---- what the app notes -----------------------------------------------------------------

    def _on_start(self, event: dict[str, Any]) -> None:
        self.limits = event["limits"]

    def _on_graph(self, event: dict[str, Any]) -> None:
        self.graphs[event["graph"]] = GraphHistory(event["graph"])

    def _on_accepted(self, event: dict[str, Any]) -> None:
        """`plan` is missing for a task that a task created: it came with "child"."""
        task = self.tasks.get(event["key"])
        if task is None:
            plan = plan_from_json(event.get("plan") or {"key": event["key"]})
            task = self.tasks[event["key"]] = TaskHistory(event["key"], plan)
        elif "plan" in event:
            task.plan = plan_from_json(event["plan"])
        task.graph = event["graph"]
        task.is_accepted = True

    def _on_state(self, event: dict[str, Any]) -> None:
        self.tasks[event["key"]].sightings.append(
            Sighting(
                event["t"],
                event["state"],
                event.get("attempts", 0),
                event.get("result"),
                event.get("error", ""),
                event.get("cause", ""),
            )
        )

    def _on_cancel(self, event: dict[str, Any]) -> None:
        cancel = Cancel(
            event["began"],
            event["before"],
            event["after"],
            event.get("successors", False),
            tuple(event.get("also", ())),
        )
        self.tasks[event["key"]].cancels.append(cancel)
        for key in cancel.also:
            self.tasks[key].cancelled_with.append((cancel.t, event["key"]))

    def _on_cancel_graph(self, event: dict[str, Any]) -> None:
        self.graphs[event["graph"]].cancels.append((event["began"], event["unfinished"]))

    def _on_stuck(self, event: dict[str, Any]) -> None:
        self.tasks[event["key"]].stuck = event["story"]
        self.graphs[self.tasks[event["key"]].graph].given_up = event["t"]

    def _on_graph_end(self, event: dict[str, Any]) -> None:
        self.graphs[event["graph"]].error = event["error"]

    def _on_ready(self, event: dict[str, Any]) -> None:
        worker = WorkerHistory(event["worker"], event["loop"], event["index"], event["t"])
        for old in self.workers.values():
            is_same = (old.loop, old.index) == (worker.loop, worker.index)
            if is_same and old.lost is not None and old.replaced is None:
                old.replaced = event["t"]
        self.workers[worker.pid] = worker

    def _on_lost(self, event: dict[str, Any]) -> None:
        worker = self.workers.get(event["worker"])
        if worker is not None:  # else it died before it was ready
            worker.lost, worker.how = event["t"], event["how"]

    def _on_wanted(self, event: dict[str, Any]) -> None:
        if event["worker"] in self.workers:
            self.workers[event["worker"]].wanted = True

    def _on_unwanted(self, event: dict[str, Any]) -> None:
        """The ready work of a loop has gone, and nothing was started for it."""
        for worker in self.workers.values():
            if worker.loop == event["loop"] and worker.replaced is None:
                worker.wanted = False

    def _on_signal(self, event: dict[str, Any]) -> None:
        if event["worker"] in self.workers:
            self.workers[event["worker"]].signals.append((event["t"], event["kind"]))
        else:
            place = event.get("loop", ""), event.get("index", 0)
            self.killed_at_start.append((event["t"], *place))

    def _on_continue(self, event: dict[str, Any]) -> None:
        self.workers[event["worker"]].continued.append(event["t"])

    def _on_closing(self, event: dict[str, Any]) -> None:
        self.closing = event["t"]

    def _on_crash(self, event: dict[str, Any]) -> None:
        self.crash = event["text"]

    def _on_figure(self, event: dict[str, Any]) -> None:
        self.figures[event["name"]] = event["value"]

    # ---- what the bodies note ---------------------------------------------------------------

    def _on_begin(self, event: dict[str, Any]) -> None:
        task = self.tasks.get(event["key"])
        if task is None:  # its acceptance is noted a moment after `create_task` has returned
            plan = TaskPlan(event["key"], "no_op", "", is_async=False)
            task = self.tasks[event["key"]] = TaskHistory(event["key"], plan)
        inputs = [(key, attempt) for key, attempt in event["inputs"]]
        seen = [(name, state) for name, state in event["seen"]]
        task.attempts.append(
            Attempt(
                event["key"],
                event["attempt"],
                event["number"],
                event["pid"],
                event["t"],
                inputs,
                seen,
            )
        )

    def _on_child(self, event: dict[str, Any]) -> None:
        plan = plan_from_json(event["plan"])
        child = self.tasks.setdefault(plan.key, TaskHistory(plan.key, plan))
        child.plan = plan
        self._attempt(event).children.append(plan.key)

    def _on_suspend(self, event: dict[str, Any]) -> None:
        self._attempt(event).waits.append([event["t"]])

    def _on_resume(self, event: dict[str, Any]) -> None:
        self._attempt(event).waits[-1].append(event["t"])

    def _on_dying(self, event: dict[str, Any]) -> None:
        self._attempt(event).deaths.append((event["t"], event["act"]))

    def _on_end(self, event: dict[str, Any]) -> None:
        attempt = self._attempt(event)
        attempt.ended, attempt.how, attempt.detail = event["t"], event["how"], event["detail"]

    def _on_plant(self, event: dict[str, Any]) -> None:
        self.plant_bites += 1

    def _attempt(self, event: dict[str, Any]) -> Attempt:
        """The latest attempt with this id in this process: one that ran twice stays two."""
        for attempt in reversed(self.tasks[event["key"]].attempts):
            if (attempt.attempt, attempt.pid) == (event["attempt"], event["pid"]):
                return attempt
        raise KeyError(f"{event} without a beginning")
