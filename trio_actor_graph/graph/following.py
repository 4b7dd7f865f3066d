"""Which waiting task travels to a worker together with what it waits for.

A chain need not come home. When a task waits only for the success of attempts that are on their
way to one worker, it goes with them, *following* them: the worker begins it when they have
succeeded, on their results, and nobody waits for a round trip. For everybody else it waits until
their success is known. If one of them brings something else, it is told to stop, unbegun.

Only what is known to be short travels, since a task that is on its way can wait for nothing more;
and one successor of each task, since the others may find an idle worker. A task with a time limit
stays: if a worker cannot say what it runs, nobody could tell how far its limit has come.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from trio_actor_graph.graph.durations import Durations
from trio_actor_graph.graph.gates import Gate
from trio_actor_graph.graph.records import AttemptRecord, TaskRecord, WorkerRecord

FOLLOWED_MAX: Final = 8
"""How many attempts one may follow; looking for them takes that long for each of them."""

INPUTS_MAX: Final = 64
"""How many inputs a task may have that follows more than one attempt: all of them are looked at."""

CANDIDATES_MAX: Final = 4
"""How many successors of a task are looked at for one that can follow it."""


class Follower(NamedTuple):
    """A task that may travel.

    Attributes:
        follows: the attempts that it is to follow, in the order of its inputs.
        expected_seconds: how long it is expected to run.
    """

    task: TaskRecord
    follows: tuple[AttemptRecord, ...]
    expected_seconds: float


def find_follower(attempt: AttemptRecord, first_id: int, durations: Durations) -> Follower | None:
    """The task to send along with an attempt that is on its way to a worker.

    Args:
        attempt: the attempt.
        first_id: attempts from this id on are sent in the same frame. Of earlier ones, those may be
            followed that follow others themselves: the worker returns what comes too late.
        durations: what is known of run times.
    """
    task = attempt.task
    if durations.expected(task.spec.kind) is None:
        return None
    for gate in task.successors if len(task.successors) == 1 else task.successors[:CANDIDATES_MAX]:
        follower = gate.task
        if (
            gate is follower.gate
            and follower.state == "waiting"
            and follower.attempt is None
            and _may_travel(follower, attempt.worker)
            and (follows := _followed(gate, attempt, first_id))
            and (expected := durations.expected(follower.spec.kind)) is not None
        ):
            return Follower(follower, follows, expected)
    return None


def _may_travel(task: TaskRecord, worker: WorkerRecord) -> bool:
    return (
        task.returns is None
        and task.spec.timeout_seconds is None
        and task.loop is worker.loop
        and not (task.losses or task.losses_beside or worker.suspects)
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
        if other is None or other.worker is not attempt.worker:
            return ()
        if other.attempt_id < first_id and other.state != "following":
            return ()
        followed.append(other)
    return tuple(followed)
