"""What a history tells besides right and wrong: which faults bit, and how long things took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from benchmarks.chaos.checker import Facts
from benchmarks.chaos.history import Attempt, History, WorkerHistory
from benchmarks.chaos.model import ALWAYS, DEATHS, ENDLESS, ENDLESS_IN_C, TERMINAL

AT_START: Final = "SIGKILL at start"

SIGNALS: Final = ("SIGKILL", "SIGTERM", "SIGSTOP", "pause", "link cut")
"""What is done to workers from outside, by the names in the history."""

FATAL_SIGNALS: Final = ("SIGKILL", "SIGTERM", "SIGSTOP", "link cut")


@dataclass(frozen=True)
class Bites:
    """How many faults of a kind there were, and how many hit something.

    A signal has bitten when its worker was running a task, a cancel when its task had not ended.
    """

    injected: int
    bitten: int


@dataclass(frozen=True)
class Times:
    """A collection of durations, in seconds."""

    number: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return ordered[ceil(share * len(ordered)) - 1]

        return cls(len(ordered), at(0.5), at(0.99), ordered[-1])


def faults(history: History) -> dict[str, Bites]:
    """Every kind of fault, also those that never occurred."""
    counts: dict[str, list[bool]] = {kind: [] for kind in _ALL_KINDS}
    for kind, has_bitten in _faults(history):
        counts[kind].append(has_bitten)
    return {kind: Bites(len(bites), sum(bites)) for kind, bites in counts.items()}


def detection(history: History) -> dict[str, Times]:
    """By kind of death: from the fault until the coordinator has noticed the loss."""
    facts = Facts(history)
    seconds: dict[str, list[float]] = defaultdict(list)
    for worker in history.workers.values():
        death = _death(facts, worker)
        if death is not None and worker.lost is not None:
            began, kind = death
            seconds[kind].append(worker.lost - began)
    return {kind: Times.of(found) for kind, found in sorted(seconds.items())}


def recovery(history: History) -> dict[str, Times]:
    """From a worker's death until its successor was ready; where work was waiting for it."""
    facts = Facts(history)
    seconds: dict[str, list[float]] = defaultdict(list)
    for worker in history.workers.values():
        if worker.lost is None or worker.replaced is None or not worker.wanted:
            continue
        death = _death(facts, worker)
        was_killed = any(
            (loop, index) == (worker.loop, worker.index) and worker.lost < t < worker.replaced
            for t, loop, index in history.killed_at_start
        )
        kind = "after one that was killed at start" if was_killed else "at the first try"
        seconds[kind].append(worker.replaced - (worker.lost if death is None else death[0]))
    return {kind: Times.of(found) for kind, found in sorted(seconds.items())}


def stopping(history: History) -> dict[str, Times]:
    """How long what was cancelled, or over its limit, went on: until its end or its process's.

    Workers that were harmed from outside are left out.
    """
    facts = Facts(history)
    seconds: dict[str, list[float]] = defaultdict(list)
    for attempt in history.attempts():
        task = history.tasks[attempt.key]
        worker = history.workers.get(attempt.pid)
        ended = facts.ended_at(attempt)
        if worker is None or worker.signals or attempt.deaths or ended >= history.closing:
            continue
        how = "async" if task.plan.is_async else "plain"
        cancelled = facts.cancelled_at(task)
        if attempt.began < cancelled < ended:
            seconds[f"cancelled, {how}"].append(ended - cancelled)
        elif task.plan.timeout_seconds is not None and facts.is_over_limit(attempt):
            limit = attempt.began + task.plan.timeout_seconds
            kind = _kind_of_work(facts, attempt)
            seconds[f"over its limit, {kind}"].append(max(0.0, ended - limit))
    return {kind: Times.of(found) for kind, found in sorted(seconds.items())}


def _kind_of_work(facts: Facts, attempt: Attempt) -> str:
    plan = facts.history.tasks[attempt.key].plan
    if plan.act in ENDLESS_IN_C:
        return "C code"
    plans = [facts.history.tasks[a.key].plan for a in facts.by_process[attempt.pid]]
    if plan.is_async and any(p.act == "block" for p in plans):
        return "in a worker that an async task blocks"
    return "async" if plan.is_async else "plain"


# ---- kinds --------------------------------------------------------------------------------------

_RAISED, _POISON, _LATE = "raised, retried", "WorkerLost", "late answer"

_LIMITS: Final = {
    **dict.fromkeys(ENDLESS_IN_C, "time limit in C code"),
    "loop": "time limit in Python",
    "block": "time limit in a blocking async task",
    "sleep forever": "time limit in an async task",
}

_ALL_KINDS: Final = (
    *SIGNALS,
    AT_START,
    "cancel",
    "cancel with successors",
    "cancel of a graph",
    *DEATHS,
    "SystemExit",
    _RAISED,
    *dict.fromkeys(_LIMITS.values()),
    _LATE,
    _POISON,
)


def _faults(history: History) -> Iterator[tuple[str, bool]]:
    facts = Facts(history)
    for worker in history.workers.values():
        for t, kind in worker.signals:
            yield kind, any(a.began <= t < facts.ended_at(a) for a in facts.by_process[worker.pid])
    yield from ((AT_START, True) for _ in history.killed_at_start)
    for graph in history.graphs.values():
        for _, unfinished in graph.cancels:
            yield "cancel of a graph", unfinished > 0
    for task in history.tasks.values():
        for cancel in task.cancels:
            kind = "cancel with successors" if cancel.successors else "cancel"
            # That with successors must have taken some, too.
            is_bite = cancel.before not in TERMINAL and (cancel.also or not cancel.successors)
            yield kind, bool(is_bite)
        if task.plan.bad_until == ALWAYS and task.plan.act in DEATHS and task.attempts:
            yield _POISON, task.last is not None and task.last.error == _POISON
    for attempt in history.attempts():
        yield from _own_faults(facts, attempt)


def _own_faults(facts: Facts, attempt: Attempt) -> Iterator[tuple[str, bool]]:
    """What an attempt did to itself, or was stopped for."""
    task = facts.history.tasks[attempt.key]
    for _, act in attempt.deaths:
        yield act, True
    if attempt.how == "raise":
        yield ("SystemExit" if attempt.detail == "SystemExit" else _RAISED), True
    if task.plan.is_bad(attempt.number) and task.plan.act in ENDLESS:
        yield _LIMITS[task.plan.act], facts.is_over_limit(attempt)
    if task.plan.is_bad(attempt.number) and task.plan.act == "late":
        yield _LATE, attempt.how == "ok" and facts.accepted_attempt(task) is not attempt


def _death(facts: Facts, worker: WorkerHistory) -> tuple[float, str] | None:
    """When and of what a worker died, if it was by one thing alone."""
    deaths = [death for a in facts.by_process[worker.pid] for death in a.deaths]
    fatal = [
        (t, kind)
        for t, kind in worker.signals
        if kind in FATAL_SIGNALS and t <= worker.lost_or_never
    ]
    if len(deaths) + len(fatal) != 1:
        return None
    return (deaths + fatal)[0]
