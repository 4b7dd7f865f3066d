"""What a coordinator tells of itself in numbers, as frozen values."""

from __future__ import annotations

from typing import Final

import msgspec

from trio_actor_graph.engine.api import StopCounts
from trio_actor_graph.graph.records import WorkerRecord


class WorkerStatistics(msgspec.Struct, frozen=True):
    """One worker, now.

    Attributes:
        index: its number in its worker loop, from 0.
        pid: its process; the coordinator's own for a loop without processes, None while starting.
        held: the attempts given to it that have not ended; up to `slots` of them run.
    """

    worker_id: int
    worker_loop: str
    index: int
    pid: int | None
    is_ready: bool
    slots: int
    held: int


class RunTime(msgspec.Struct, frozen=True):
    """How long the tasks of one name have run in one worker.

    Attributes:
        worker: "loop/index"; a worker that replaced a lost one continues its row.
        attempts: how many attempts ended there with an outcome.
        seconds: how long their functions ran in all.
        seconds_max: how long the longest ran.
    """

    name: str
    worker: str
    attempts: int
    seconds: float
    seconds_max: float


class CoordinatorStatistics(msgspec.Struct, frozen=True):
    """What `Coordinator.statistics` returns.

    Attributes:
        tasks: tasks of the open graphs by state.
        workers: the workers that there are.
        run_times: where the time went.
        stale_reports: reports of attempts that nobody wanted any more; they were dropped.
        workers_lost: workers that ended although nobody had asked them to.
        stops: how many worker processes were asked to stop, sent SIGTERM, and SIGKILL.
    """

    tasks: dict[str, int]
    workers: tuple[WorkerStatistics, ...]
    run_times: tuple[RunTime, ...]
    stale_reports: int
    workers_lost: int = 0
    stops: StopCounts = StopCounts()


RUN_TIME_NAMES_MAX: Final = 1_000
"""How many task names have rows of their own; programs with more give each task a name, and would
find nothing in so long a table."""

OTHER_NAMES: Final = "(other names)"
"""The row of all further names."""


class RunTimes:
    """Sums run times by task name and worker."""

    __slots__ = ("_names", "_sums")

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._sums: dict[tuple[str, str, int], list[float]] = {}

    def add(self, name: str, worker: WorkerRecord, seconds: float) -> None:
        sums = self._sums.get((name, worker.loop.name, worker.index))
        if sums is None:
            self._add_row(name, worker, seconds)
            return
        sums[0] += 1
        sums[1] += seconds
        if seconds > sums[2]:
            sums[2] = seconds

    def _add_row(self, name: str, worker: WorkerRecord, seconds: float) -> None:
        if name != OTHER_NAMES and name not in self._names:
            if len(self._names) >= RUN_TIME_NAMES_MAX:
                self.add(OTHER_NAMES, worker, seconds)
                return
            self._names.add(name)
        self._sums[name, worker.loop.name, worker.index] = [1, seconds, seconds]

    def rows(self) -> tuple[RunTime, ...]:
        return tuple(
            RunTime(name, f"{loop}/{index}", int(attempts), seconds, longest)
            for (name, loop, index), (attempts, seconds, longest) in self._sums.items()
        )
