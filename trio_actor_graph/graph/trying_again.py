"""Trying an ended task again: what goes back to waiting with it, and what does not.

A task that failed or was cancelled waits once more for its condition, under the same number. With
it go back the tasks that were skipped because of it, and those that ended as it (tail calls). What
has gone on because of its end, such as a task that waited for its completion, stays where it is: an
open gate is never shut again.

The gates of what still waits have counted the end that does not count any more, so they are made
anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from trio_actor_graph.errors import CycleError, GraphError
from trio_actor_graph.graph.conditions import AnyCondition
from trio_actor_graph.graph.reading import conditions_of_tasks, reach
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.graph.states import TaskState
from trio_actor_graph.graph.transitions import move_task
from trio_actor_graph.graph.wiring import build_gates


def check_may_be_tried_again(task: TaskRecord) -> None:
    """Refuse what cannot be tried again.

    Raises:
        GraphError: its state, its graph's or what became of its function stand against it.
        CycleError: what goes back to waiting would wait for itself: since the task ended, others
            that it waits for were made to wait for its end.
    """
    if task.graph.is_cancelled:
        raise GraphError(f"{task.label}: graph {task.graph.name!r} is cancelled, nothing more runs")
    if not task.graph.can_try_again:
        raise GraphError(
            f"{task.label}: its graph was opened with keep_results='needed', so what it needs "
            "may be gone"
        )
    if task.state == "skipped" and (cause := task.skipped_because) is not None:
        raise GraphError(
            f"{task.label} was skipped because of {cause.label}: try that one again, and this will "
            "wait for it again"
        )
    if task.state not in ("failed", "cancelled"):
        raise GraphError(
            f"{task.label} is {task.state!r}: only what failed or was cancelled can be"
        )
    if task.returns is not None and task.returns.state == task.state:
        raise GraphError(
            f"{task.label} has returned {task.returns.label}: try that one again, and this will "
            "end with it again"
        )
    if task.call is None:
        raise GraphError(f"{task.label} was refused when it was created: there is nothing to run")
    if _would_wait_for_itself(task):
        raise CycleError(
            f"{task.label} cannot be tried again: since it ended, tasks that it or what was "
            "skipped with it waits for were made to wait for it"
        )


def go_back(task: TaskRecord) -> list[TaskRecord]:
    """Bring an ended task, and what ended only because of it, back to waiting.

    Returns:
        Those that wait again, for the caller to settle their conditions.
    """
    if task.returns is not None:  # it was cancelled when it had run
        assert task.returns.returned_by is not None
        task.returns.returned_by.remove(task)
        task.returns = None
    back: list[TaskRecord] = []
    level: list[tuple[TaskRecord, TaskState]] = [(task, task.state)]
    _wait_again(task, "tried again")
    while level:
        unended = [each for each, _ in level]
        back += unended
        level = [*_no_longer_skipped(unended), *_no_longer_ended_as(level)]
    return back


def _wait_again(task: TaskRecord, happening: str) -> None:
    move_task(task, happening)
    task.graph.unfinished += 1
    task.failure = task.skipped_because = None
    if task.times is not None:
        task.times.end_at = None
    task.failures = task.losses = task.losses_beside = 0
    task.is_seen = False


def _no_longer_skipped(unended: Iterable[TaskRecord]) -> list[tuple[TaskRecord, TaskState]]:
    """Make the gates anew that have counted these; return the tasks that may run after all."""
    counted = dict.fromkeys(
        gate.task
        for task in unended
        for gate in task.successors
        if gate.task.state in ("waiting", "skipped", "cancelled") and not _is_open(gate.task)
    )
    freed: list[tuple[TaskRecord, TaskState]] = []
    for task, condition in _take_conditions(counted).items():
        # It follows nothing in a worker: that would take the success of all it looks at.
        assert task.attempt is None
        task.skipped_because = None
        task.gate = build_gates(task, condition)
        # One that was skipped because of what it returned has an open gate, and is not here.
        if task.state == "skipped" and not task.gate.is_shut:
            freed.append((task, task.state))
            _wait_again(task, "may run after all")
    return freed


def _is_open(task: TaskRecord) -> bool:
    return task.gate is not None and task.gate.is_open


def _take_conditions(tasks: Collection[TaskRecord]) -> dict[TaskRecord, AnyCondition]:
    """The conditions of these tasks, whose gates count nothing any more."""
    conditions = conditions_of_tasks(tasks)
    for predecessor in dict.fromkeys(p for task in tasks for p in task.predecessors):
        kept = [gate for gate in predecessor.successors if gate.task not in tasks]
        predecessor.successors = kept or ()
    return conditions


def _no_longer_ended_as(
    unended: Iterable[tuple[TaskRecord, TaskState]],
) -> list[tuple[TaskRecord, TaskState]]:
    """Those that had ended as one of these, which they returned."""
    back: list[tuple[TaskRecord, TaskState]] = []
    for returned, state in unended:
        for task in returned.returned_by or ():
            if task.returns is returned and task.state == state:
                back.append((task, state))
                _wait_again(task, "what it returned waits again")
    return back


def _would_wait_for_itself(task: TaskRecord) -> bool:
    """Whether there is a cycle among what would wait again and what waits now.

    It counts whatever might go back, by whatever part of a condition, so that it may refuse a
    little too much, and never too little. Among the others there is no cycle yet.
    """
    back = {task, *reach(task, _might_go_back_with)}
    entered: set[TaskRecord] = set()
    left: set[TaskRecord] = set()
    for start in back:
        if start in left:
            continue
        entered.add(start)
        path = [(start, _might_wait_on(start, back))]
        while path:
            at, waiting = path[-1]
            following = next(waiting, None)
            if following is None:
                left.add(at)
                path.pop()
            elif following not in entered:
                entered.add(following)
                path.append((following, _might_wait_on(following, back)))
            elif following not in left:
                return True
    return False


def _might_go_back_with(task: TaskRecord) -> Iterator[TaskRecord]:
    """The tasks that may have been skipped because of this one, or have ended as it."""
    yield from (gate.task for gate in task.successors if gate.task.state == "skipped")
    yield from (t for t in task.returned_by or () if t.returns is task and t.is_ended)


def _might_wait_on(task: TaskRecord, back: Collection[TaskRecord]) -> Iterator[TaskRecord]:
    """The tasks that would wait for this one if those went back to waiting."""
    if task not in back:
        yield from task.waiting_successors()
    for gate in task.successors:
        if gate.task in back or (task in back and gate.task.state == "waiting"):
            yield gate.task
    for each in task.returned_by or ():
        if each.returns is task and (each in back or (task in back and each.state == "waiting")):
            yield each
