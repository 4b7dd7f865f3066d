"""What the records say, put in words that observers and a retry need. Readers only.

A condition is not kept once its gates are made, because most tasks are never asked for theirs. The
gates say all of it again: a leaf by the tasks that count towards it, an inner gate by its children.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from trio_actor_graph.graph.conditions import AllOf, AnyCondition, AnyOf, Tasks
from trio_actor_graph.graph.gates import Gate
from trio_actor_graph.graph.records import GraphRecord, Move, TaskRecord


def condition_of(task: TaskRecord) -> AnyCondition | None:
    """What a task waits or waited for, its arguments included; None for nothing.

    It takes as long as its predecessors have successors; for many tasks see `conditions_of`.
    """
    return conditions_of_tasks((task,)).get(task)


def conditions_of(graph: GraphRecord) -> dict[TaskRecord, AnyCondition]:
    """The same for every task of a graph that waits or waited for something."""
    return conditions_of_tasks(graph.tasks.values())


def conditions_of_tasks(tasks: Iterable[TaskRecord]) -> dict[TaskRecord, AnyCondition]:
    """The same for those of some tasks that wait or waited for something."""
    leaves: dict[TaskRecord, dict[Gate, list[int]]] = {t: {} for t in tasks if t.predecessors}
    for predecessor in dict.fromkeys(p for task in leaves for p in task.predecessors):
        for gate in predecessor.successors:
            if gate.task in leaves:
                leaves[gate.task].setdefault(gate, []).append(predecessor.uid)
    found = ((task, _condition(task, gates)) for task, gates in leaves.items())
    return {task: condition for task, condition in found if condition is not None}


def last_outcome(task: TaskRecord) -> str | None:
    """How the last attempt that has ended came out; None if there is none, or its history says so.

    Returns:
        "succeeded", "returned a task" or "cancelled".
    """
    times = task.times
    if times is None or times.began_at is None:
        return None
    if task.history and task.history[-1].began_at == times.began_at:
        return None
    if times.was_cut_off:
        return "cancelled"
    return "succeeded" if task.returns is None else "returned a task"


def run_ended_by(move: Move) -> tuple[float, float] | None:
    """When the attempt that has ended by a move began and ended; None if none has, or unknown.

    The task may have gone on since: to another attempt, whose times it then has.
    """
    task, attempt = move.task, move.attempt
    if attempt is None or move.happening in _ENDS_NO_ATTEMPT:
        return None
    began, until = task.began_at, task.ran_until
    for ended in reversed(task.history or ()):
        if ended.attempt_id == attempt.attempt_id:
            began, until = ended.began_at, ended.ended_at
            break
    else:
        if task.attempt is not None or task.attempts != move.attempts:
            return None
    return None if began is None or until is None else (began, until)


_ENDS_NO_ATTEMPT: Final = frozenset(
    {"condition satisfied", "given to a worker", "given back unbegun"}
)


def led_by(task: TaskRecord) -> TaskRecord | None:
    """The task that created it or, if the app did, its first predecessor; None for neither."""
    return task.creator or next(iter(task.predecessors), None)


def chain(task: TaskRecord, tasks_max: int | None = None) -> list[TaskRecord]:
    """The tasks that led to this one, from the first to itself.

    Each was led to by the one before it, as `led_by` says.

    Args:
        task: the last of the chain.
        tasks_max: how many are asked for at most, the last ones.
    """
    steps = {task: None}
    before = led_by(task)
    # It may lead back into itself: a task can be made to wait for what has come of its own.
    while before is not None and before not in steps and len(steps) != tasks_max:
        steps[before] = None
        before = led_by(before)
    return list(reversed(steps))


def ancestors(task: TaskRecord) -> Iterator[TaskRecord]:
    """The tasks that had a part in it: predecessors and creators, theirs too, the nearest first."""
    return reach(task, _before)


def descendants(tasks: Iterable[TaskRecord], task: TaskRecord) -> Iterator[TaskRecord]:
    """The tasks in which this one has a part, the nearest first.

    Args:
        tasks: all of its graph, since a record does not know which tasks it has created.
    """
    created: dict[TaskRecord, list[TaskRecord]] = {}
    for each in tasks:
        if each.creator is not None:
            created.setdefault(each.creator, []).append(each)

    def after(at: TaskRecord) -> Iterator[TaskRecord]:
        yield from (gate.task for gate in at.successors)
        yield from created.get(at, ())

    return reach(task, after)


def reach(
    start: TaskRecord, neighbours: Callable[[TaskRecord], Iterator[TaskRecord]]
) -> Iterator[TaskRecord]:
    """Each task that can be reached from `start`, without it, once, by how many steps it takes."""
    known = {start}
    pending = deque([start])
    while pending:
        for task in neighbours(pending.popleft()):
            if task not in known:
                known.add(task)
                pending.append(task)
                yield task


def _condition(task: TaskRecord, leaves: dict[Gate, list[int]]) -> AnyCondition | None:
    """The condition whose gates are these leaves and all above them, in the order of the leaves."""
    if task.gate is None or not leaves:
        return None
    children: dict[Gate, dict[Gate, None]] = {}  # in order
    for leaf in leaves:
        gate = leaf
        while gate.parent is not None:
            siblings = children.setdefault(gate.parent, {})
            if gate in siblings:
                break
            siblings[gate] = None
            gate = gate.parent

    order = [task.gate]  # from the root down, by a worklist: conditions may be nested deep
    for gate in order:
        order.extend(children.get(gate, ()))
    built: dict[Gate, AnyCondition] = {}
    for gate in reversed(order):
        if gate.outcome is not None:
            built[gate] = Tasks(gate.outcome, tuple(leaves[gate]), gate.needed)
        else:
            parts = tuple(built[child] for child in children[gate])
            # A gate over gates needs all of them or one; where there is one it is the same.
            built[gate] = AllOf(parts) if gate.needed == gate.total else AnyOf(parts)
    return built[task.gate]


def _before(task: TaskRecord) -> Iterator[TaskRecord]:
    if task.creator is not None:
        yield task.creator
    yield from task.predecessors
