"""Wiring a task to what it waits for: a condition becomes gates among its predecessors.

Everything is looked up before anything is changed, so a refused condition leaves no trace.
"""

from __future__ import annotations

from collections.abc import Sequence

from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import AllOf, AnyCondition, Outcome, Tasks, leaves
from trio_actor_graph.graph.gates import Gate
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.graph.states import TERMINAL


def wire(task: TaskRecord, inputs: Sequence[int], condition: AnyCondition | None) -> None:
    """Have a new task wait for the success of `inputs`, and for a condition; one of them is given.

    Raises:
        GraphError: a task that is not in its graph, or a condition that is none.
    """
    if len(inputs) == 1 and condition is None:
        _wire_to_one(task, inputs[0], "succeeded")
        return
    if not inputs and isinstance(condition, Tasks) and condition.is_of_one:
        _wire_to_one(task, condition.uids[0], condition.outcome)
        return
    required = condition
    if inputs:
        uids = tuple(dict.fromkeys(inputs))
        required = Tasks("succeeded", uids, len(uids))
        if condition is not None:
            required = AllOf((required, condition))
    assert required is not None
    task.predecessors = look_up(task, required)
    task.gate = build_gates(task, required)


def _wire_to_one(task: TaskRecord, uid: int, outcome: Outcome) -> None:
    """The short way for a task that waits for one other, as in every chain."""
    predecessor = task.graph.tasks.get(uid)
    if predecessor is None:
        raise _unknown(task, uid)
    task.predecessors = {predecessor: None}
    task.gate = Gate(task, outcome, 1, 1)
    predecessor.add_successor(task.gate)
    if predecessor.state in TERMINAL:
        task.gate.count(predecessor.state == "succeeded" or outcome == "completed")
        if task.gate.is_shut:
            task.skipped_because = predecessor


def look_up(task: TaskRecord, condition: AnyCondition) -> dict[TaskRecord, None]:
    """The tasks a condition names, in the order written.

    Raises:
        GraphError: one of them is not in the task's graph, or the condition is none.
    """
    tasks = task.graph.tasks
    found: dict[TaskRecord, None] = {}
    for leaf in leaves(condition):
        for uid in leaf.uids:
            predecessor = tasks.get(uid)
            if predecessor is None:
                raise _unknown(task, uid)
            found[predecessor] = None
    return found


def _unknown(task: TaskRecord, uid: int) -> GraphError:
    return GraphError(
        f"{task.label} cannot wait on task {uid}: "
        f"there is no such task in graph {task.graph.name!r}"
    )


def build_gates(task: TaskRecord, condition: AnyCondition, parent: Gate | None = None) -> Gate:
    """Make the tree of gates for a condition and count what has ended already."""
    root: Gate | None = None
    ended: list[tuple[Gate, TaskRecord]] = []
    pending: list[tuple[AnyCondition, Gate | None]] = [(condition, parent)]
    while pending:
        part, above = pending.pop()
        if isinstance(part, Tasks):
            gate = Gate(task, part.outcome, part.at_least, len(part.uids), above)
            for uid in part.uids:
                predecessor = task.graph.tasks[uid]
                predecessor.add_successor(gate)
                if predecessor.state in TERMINAL:
                    ended.append((gate, predecessor))
        else:
            number = len(part.parts)
            gate = Gate(task, None, number if isinstance(part, AllOf) else 1, number, above)
            pending.extend((child, gate) for child in reversed(part.parts))
        root = root or gate
    assert root is not None
    for gate, predecessor in ended:
        gate.count(predecessor.state == "succeeded" or gate.outcome == "completed")
        if root.is_shut and task.skipped_because is None:
            task.skipped_because = predecessor
    return root


def with_one_more(task: TaskRecord, root: Gate) -> Gate:
    """The root of a task's gates, made to need all it needed and one more input.

    A root that needs all its inputs anyway takes it itself, so that a thousand predecessors added
    one by one do not become a thousand gates on top of each other.
    """
    if root.outcome is None and root.needed == root.total:
        root.require_one_more()
        return root
    task.gate = root.parent = Gate(task, None, needed=2, total=2)
    return task.gate
