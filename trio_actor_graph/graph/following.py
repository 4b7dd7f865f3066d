"""Which waiting task travels to a worker together with what it waits for.

A chain need not come home. When a task waits only for the success of attempts that go to one worker
in one batch, it goes with them, *following* them: the worker begins it when they have succeeded, on
their results, and nobody waits for a round trip. For everybody else it waits until their success is
known. If one of them brings something else, the follower is told to stop, unbegun.

Only what is known to be short travels, since a task that is on its way can wait for nothing more;
and one successor of each task, since the others may find an idle worker.
"""

from __future__ import annotations

from typing import Final

from trio_actor_graph.graph.durations import Durations
from trio_actor_graph.graph.gates import Gate
from trio_actor_graph.graph.placement import has_room_ahead
from trio_actor_graph.graph.records import AttemptRecord, TaskRecord, WorkerRecord

FOLLOWED_MAX: Final = 8
"""How many attempts one may follow; looking for them takes that long for each of them."""

INPUTS_MAX: Final = 64
"""How many inputs a task may have that follows more than one attempt: all of them are looked at."""

CANDIDATES_MAX: Final = 4
"""How many successors of a task are looked at for one that can follow it."""


def find_follower(
    attempt: AttemptRecord, first_id: int, durations: Durations
) -> tuple[TaskRecord, tuple[AttemptRecord, ...], float] | None:
    """The task to send along with an attempt that was just given to a worker.

    Args:
        attempt: the attempt.
        first_id: the first attempt id of this batch; earlier ones may have ended in their worker.
        durations: what is known of run times.

    Returns:
        The task, the attempts it follows, and how long it is expected to run; None for none.
    """
    worker = attempt.worker
    if durations.expected(attempt.task.spec.kind) is None:
        return None
    for gate in attempt.task.successors[:CANDIDATES_MAX]:
        task = gate.task
        if gate is not task.gate or not _may_travel(task, worker):
            continue
        expected = durations.expected(task.spec.kind)
        if expected is None or not has_room_ahead(worker, expected):
            continue
        followed = _followed(gate, attempt, first_id)
        if followed:
            return task, followed, expected
    return None


def _may_travel(task: TaskRecord, worker: WorkerRecord) -> bool:
    return (
        task.state == "waiting"
        and task.attempt is None
        and task.returns is None
        and task.loop is worker.loop
        and not (task.losses or task.losses_beside)
        and not worker.suspects
    )


def _followed(gate: Gate, attempt: AttemptRecord, first_id: int) -> tuple[AttemptRecord, ...]:
    """The attempts whose success is all that the gate still needs; () if it needs anything else."""
    missing = gate.total - gate.hits
    if gate.outcome != "succeeded" or gate.needed != gate.total or gate.misses:
        return ()
    if missing == 1:
        return (attempt,)
    if missing > FOLLOWED_MAX or gate.total > INPUTS_MAX:
        return ()
    followed = []
    for predecessor in gate.task.predecessors:
        if predecessor.state == "succeeded":
            continue
        other = predecessor.attempt
        if other is None or other.worker is not attempt.worker or other.attempt_id < first_id:
            return ()
        followed.append(other)
    return tuple(followed)
