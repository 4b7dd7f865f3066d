"""What truly happened to each attempt, as only the workers know; and what must never happen.

The engine writes here what its workers do. Rules that concern more than one moment of the scheduler
are checked as it happens: an attempt begins once; no attempt of a task begins while another one
runs that is still wanted; no loop runs more than its limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trio_actor_graph.graph.scheduler import Scheduler

from .scripts import Script

if TYPE_CHECKING:
    from .worker import SimulatedWorker


@dataclass
class Run:
    """One attempt that has begun.

    Attributes:
        inputs: the values it was given.
        awaited: the uids of the children it has awaited, and the values it was told.
        outcome: how it ended: "value", "raised", "returned task", "timed out", "stopped", "died".
        value: with "value", the value; with "returned task", the uid.
        is_told: the frame with its outcome has reached the coordinator.
    """

    attempt_id: int
    uid: int
    script: Script
    worker: SimulatedWorker
    inputs: list[object]
    awaited: list[tuple[int, object]] = field(default_factory=list)
    outcome: str | None = None
    value: object = None
    is_final: bool = False
    is_told: bool = False


@dataclass
class Death:
    """A worker's end, and the tasks that were running there, by uid."""

    worker: SimulatedWorker
    running: frozenset[int]


class History:
    """All runs of one simulation."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}  # by attempt id
        self.by_uid: dict[int, list[Run]] = {}
        self.deaths: list[Death] = []
        self.scripts: dict[int, Script] = {}
        self.are_marks_lost = False
        self.lines: list[str] = []
        self.scheduler: Scheduler | None = None
        self.limits: dict[str, int] = {}

    def note(self, now: float, text: str) -> None:
        self.lines.append(f"{now:10.4f}  {text}")

    def begin(self, run: Run) -> None:
        """An attempt begins to run."""
        assert run.attempt_id not in self.runs, f"attempt {run.attempt_id} begins twice"
        for other in self.by_uid.get(run.uid, ()):
            assert other.attempt_id < run.attempt_id, "a later attempt has a larger id"
            is_running = other.outcome is None and not other.worker.is_dead
            assert not (is_running and self.is_wanted(other)), f"task {run.uid} runs twice"
        self.runs[run.attempt_id] = run
        self.by_uid.setdefault(run.uid, []).append(run)

    def check_limit(self, loop: str, workers: list[SimulatedWorker]) -> None:
        """All workers of a loop together run no more than its concurrency."""
        living = [w for w in workers if w.loop == loop and not w.is_dead]
        assert len({w.index for w in living}) == len(living), "one worker per index"
        holding = sum(w.slots_in_use for w in living)
        assert holding <= self.limits[loop], f"{loop} runs {holding} at once"

    def is_wanted(self, run: Run) -> bool:
        assert self.scheduler is not None
        attempt = self.scheduler.attempts.get(run.attempt_id)
        return attempt is not None and attempt.state != "cancelling"

    def end(self, run: Run, outcome: str, value: object = None) -> None:
        assert run.outcome is None
        run.outcome, run.value = outcome, value
