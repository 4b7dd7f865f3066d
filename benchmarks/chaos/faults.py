"""Who does harm from outside: signals to workers, cut links, cancels.

The order of the faults, their pauses and whom they would like to hit come from the seed. Whom they
do hit depends on who is there: a fault is noted with the process, and whether that one was running
something is found out afterwards, from what the bodies wrote.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from benchmarks.chaos.graphs import LOCAL
from benchmarks.chaos.history import note
from benchmarks.chaos.model import TERMINAL
from trio_actor_graph import Coordinator, Task, TaskGraph

T = TypeVar("T")

SIGKILL, SIGTERM, SIGSTOP, PAUSE, LINK = "SIGKILL", "SIGTERM", "SIGSTOP", "pause", "link cut"
AT_START, CANCEL, CANCEL_GRAPH = "SIGKILL at start", "cancel", "cancel of a graph"
CANCEL_MORE: Final = "cancel with successors"

KINDS: Final = (SIGKILL, SIGTERM, SIGSTOP, PAUSE, LINK, AT_START, CANCEL, CANCEL_MORE, CANCEL_GRAPH)
"""SIGSTOP stays; a pause is a SIGSTOP that SIGCONT ends."""

_RATES: Final = {CANCEL: 3, CANCEL_MORE: 2}
"""How many of each kind come in one round; one of all others."""

PAUSE_SECONDS: Final = (0.15, 0.5)
"""How long a pause lasts: less than it takes until a worker counts as hung."""

GAP_SECONDS: Final = (0.1, 0.9)
"""The time between two faults: half of them end a process, and the tasks do so too."""


@dataclass(frozen=True)
class Fault:
    """What is planned: after a gap, this kind; `choice` (0 to 1) picks whom it meets."""

    gap_seconds: float
    kind: str
    choice: float
    pause_seconds: float


def fault_plan(seed: int) -> Iterator[Fault]:
    """Faults without end: every kind once or more in each round, in random order."""
    rng = random.Random(f"{seed}/faults")
    while True:
        kinds = [kind for kind in KINDS for _ in range(_RATES.get(kind, 1))]
        rng.shuffle(kinds)
        for kind in kinds:
            gap, pause = rng.uniform(*GAP_SECONDS), rng.uniform(*PAUSE_SECONDS)
            yield Fault(gap, kind, rng.random(), pause)


class Injector:
    """Carries out a plan.

    Args:
        notices_stops: a worker that is stopped for ever is noticed by the coordinator; else each
            SIGSTOP is followed by a SIGCONT after all.
    """

    def __init__(
        self, coordinator: Coordinator, nursery: trio.Nursery, seed: int, notices_stops: bool
    ):
        self._coordinator = coordinator
        self._nursery = nursery
        self._plan = fault_plan(seed)
        self._notices_stops = notices_stops
        self._hit: set[int] = set()  # pids, each at most once
        self._killed_at_start: set[str] = set()  # loops, until a worker of theirs was ready

    async def run(self) -> None:
        for fault in self._plan:
            await trio.sleep(fault.gap_seconds)
            self._inject(fault)

    def _inject(self, fault: Fault) -> None:
        if fault.kind in (CANCEL, CANCEL_MORE):
            self._cancel_task(fault)
        elif fault.kind == CANCEL_GRAPH:
            self._cancel_graph(fault)
        elif fault.kind == AT_START:
            self._nursery.start_soon(self._kill_at_start)
        elif (pid := self._ready_worker(fault)) is not None:
            self._hit.add(pid)
            self._harm(pid, fault)

    def _harm(self, pid: int, fault: Fault) -> None:
        kind = fault.kind
        if kind == SIGSTOP and not self._notices_stops:
            kind = PAUSE
        note("signal", worker=pid, kind=kind)
        if kind == LINK:
            cut_link(pid)
        elif kind in (SIGSTOP, PAUSE):
            send_signal(pid, signal.SIGSTOP)
            if kind == PAUSE:
                self._nursery.start_soon(self._continue, pid, fault.pause_seconds)
        else:
            send_signal(pid, signal.Signals[kind])

    async def _continue(self, pid: int, pause_seconds: float) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(pause_seconds)
        if any(worker.pid == pid for worker in self._coordinator.workers):
            note("continue", worker=pid)
            send_signal(pid, signal.SIGCONT)
            self._hit.discard(pid)

    def _ready_worker(self, fault: Fault) -> int | None:
        """A worker with a process of its own that has met no fault yet; rather one with work."""
        workers = [w for w in self._coordinator.workers if w.worker_loop != LOCAL and w.is_ready]
        for worker in workers:
            self._killed_at_start.discard(worker.worker_loop)
        able = [w for w in workers if w.pid is not None and w.pid not in self._hit]
        busy = [w for w in able if w.held]
        chosen = _pick(busy or able, fault.choice)
        return None if chosen is None else chosen.pid

    async def _kill_at_start(self) -> None:
        """Kill the next worker that starts; one of each loop in a row, as three break it."""
        with trio.move_on_after(3):
            while True:
                for worker in self._coordinator.workers:
                    is_young = not worker.is_ready and worker.pid is not None
                    if is_young and worker.worker_loop not in self._killed_at_start:
                        self._killed_at_start.add(worker.worker_loop)
                        assert worker.pid is not None
                        note(
                            "signal",
                            worker=worker.pid,
                            kind=AT_START,
                            loop=worker.worker_loop,
                            index=worker.index,
                        )
                        send_signal(worker.pid, signal.SIGKILL)
                        return
                await trio.sleep(0.02)

    def _cancel_task(self, fault: Fault) -> None:
        tasks = [
            (task, graph)
            for graph in self._coordinator.graphs
            for task in graph.tasks
            if task.state not in TERMINAL
        ]
        running = [(task, graph) for task, graph in tasks if task.state == "running"]
        found = _pick(tasks if fault.kind == CANCEL_MORE else running or tasks, fault.choice)
        if found is not None:
            cancel_task(*found, successors=fault.kind == CANCEL_MORE)

    def _cancel_graph(self, fault: Fault) -> None:
        graph = _pick(list(self._coordinator.graphs), fault.choice)
        if graph is not None:
            cancel_graph(graph)


def cancel_task(task: Task[object], graph: TaskGraph, *, successors: bool) -> None:
    """Cancel a task, and note its state before and after, and what else of its graph has ended.

    The whole graph is looked at, since a task does not tell who has returned it and ends as it.
    """
    before = task.state
    others = [t for t in graph.tasks if t.state not in TERMINAL and t.uid != task.uid]
    began = time.monotonic()
    task.cancel(successors=successors)
    also = sorted(other.name for other in others if other.state in TERMINAL) if successors else []
    note(
        "cancel",
        key=task.name,
        began=began,
        before=before,
        after=task.state,
        successors=successors,
        also=also,
    )


def cancel_graph(graph: TaskGraph) -> None:
    """Cancel a graph, and note how many of its tasks had not ended."""
    unfinished = sum(task.state not in TERMINAL for task in graph.tasks)
    began = time.monotonic()
    graph.cancel()
    note("cancel_graph", graph=graph.name, began=began, unfinished=unfinished)


def send_signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def cut_link(pid: int) -> None:
    """Shut down our end of the connection on which this worker's tasks travel.

    It is found from outside, among the descriptors of this process: the socket named "link" whose
    other end the kernel knows to be that process's.
    """
    for path in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                with socket.socket(fileno=os.dup(int(path.name))) as copy:
                    if _is_link_to(copy, pid):
                        copy.shutdown(socket.SHUT_RDWR)


def _is_link_to(candidate: socket.socket, pid: int) -> bool:
    if candidate.family != socket.AF_UNIX or not str(candidate.getsockname()).endswith("/link"):
        return False
    layout = struct.Struct("3i")  # struct ucred: pid, uid, gid
    found = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    return bool(layout.unpack(found)[0] == pid)


def _pick(candidates: Sequence[T], choice: float) -> T | None:
    return candidates[int(choice * len(candidates))] if candidates else None
