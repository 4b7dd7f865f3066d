"""Changing state by the tables of `states.py`, and in no other way.

An event that the tables do not know is a bug of ours, and is refused loudly.
"""

from __future__ import annotations

from trio_actor_graph.errors import InternalError
from trio_actor_graph.graph.records import AttemptRecord, Move, TaskRecord
from trio_actor_graph.graph.states import ATTEMPT_TRANSITIONS, TASK_TRANSITIONS, AttemptState


def move_task(task: TaskRecord, happening: str) -> None:
    """The one place where a task changes its state."""
    before = task.state
    try:
        after = TASK_TRANSITIONS[before, happening]
    except KeyError:
        raise InternalError(f"{task.label} is {before!r} and cannot take {happening!r}") from None
    task.state = after
    graph = task.graph
    counts = graph.counts
    counts[before] -= 1
    counts[after] += 1
    if graph.moves is not None:
        graph.moves.append(Move(task, happening, after, task.attempt, task.attempts))


def next_attempt_state(attempt: AttemptRecord, happening: str) -> AttemptState:
    """The state an attempt goes to from its own when this happens."""
    try:
        return ATTEMPT_TRANSITIONS[attempt.state, happening]
    except KeyError:
        raise InternalError(
            f"attempt {attempt.attempt_id} of {attempt.task.label} is {attempt.state!r} "
            f"and cannot take {happening!r}"
        ) from None
