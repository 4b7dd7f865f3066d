"""Scheduling conditions: what a task waits for, written over the uids of other tasks.

A condition is plain data. `succeeded` and `completed` make the leaves, `&` and `|` combine them.
It holds no task objects, so the same value is used by the coordinator, travels in a message when
a task creates another one, and can be read by any observer. `gates.py` has the running counterpart
that counts towards it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal, TypeAlias, Union

import msgspec

from trio_actor_graph.errors import GraphError

Outcome = Literal["succeeded", "completed"]


class TaskReference:
    """Whatever stands for a task: a handle in the app, a handle inside a worker."""

    __slots__ = ()

    @property
    def uid(self) -> int:
        """The task's number, unique in the process of the coordinator."""
        raise NotImplementedError


TaskOrTasks: TypeAlias = Union[TaskReference, "Iterable[TaskOrTasks]"]
"""A task, or an iterable of tasks, nested as deep as you like."""


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """What a task waits for. Combine with ``&`` (both) and ``|`` (either)."""

    def __bool__(self) -> bool:
        raise GraphError("combine conditions with & and |: `and`, `or` and `not` lose one of them")

    def __and__(self, other: object) -> AllOf:
        return AllOf(_parts(AllOf, self, other))

    def __or__(self, other: object) -> AnyOf:
        return AnyOf(_parts(AnyOf, self, other))


class Tasks(Condition, tag="tasks", frozen=True, array_like=True):
    """At least `at_least` of `uids` succeeded, or (`outcome` "completed") ended in any way."""

    outcome: Outcome
    uids: tuple[int, ...]
    at_least: int

    @property
    def is_of_one(self) -> bool:
        """It looks at one task."""
        return len(self.uids) == self.at_least == 1


class AllOf(Condition, tag="all", frozen=True, array_like=True):
    """Every one of `parts` holds."""

    parts: tuple[AnyCondition, ...]


class AnyOf(Condition, tag="any", frozen=True, array_like=True):
    """At least one of `parts` holds."""

    parts: tuple[AnyCondition, ...]


AnyCondition: TypeAlias = Tasks | AllOf | AnyOf


def succeeded(*tasks: TaskOrTasks, at_least: int | None = None) -> Tasks:
    """Holds once all, or at least `at_least`, of the tasks have succeeded.

    Args:
        tasks: tasks, or iterables of tasks. A task named twice counts once.
        at_least: how many must succeed; None means all of them.

    Raises:
        GraphError: no tasks, something that is no task, or `at_least` out of range.
    """
    return _tasks_condition("succeeded", tasks, at_least)


def completed(*tasks: TaskOrTasks, at_least: int | None = None) -> Tasks:
    """Holds once all, or at least `at_least`, of the tasks have ended in any way.

    A failed, skipped or cancelled task counts. Arguments and errors as for `succeeded`.
    """
    return _tasks_condition("completed", tasks, at_least)


def as_condition(waits_on: object) -> AnyCondition | None:
    """Turn what `waits_on=` accepts into a condition.

    None stays None, a task means its success, a list (or any iterable) means all of its members.
    """
    if waits_on is None or isinstance(waits_on, (Tasks, AllOf, AnyOf)):
        return waits_on
    if isinstance(waits_on, TaskReference):
        return Tasks("succeeded", (waits_on.uid,), 1)
    members = _members(waits_on)
    if not members:
        raise GraphError("waits_on is empty: give None for a task that waits on nothing")
    # In the order written, which is the order of the task's predecessors.
    parts: list[object] = []
    for is_condition, run in groupby(members, lambda member: isinstance(member, Condition)):
        if is_condition:
            parts.extend(run)
        else:
            parts.append(_tasks_condition("succeeded", run, None))
    return as_condition(parts[0]) if len(parts) == 1 else AllOf(_parts(AllOf, *parts))


def leaves(condition: AnyCondition | None) -> Iterator[Tasks]:
    """The `Tasks` conditions inside, in the order they were written.

    Raises:
        GraphError: a part that `succeeded`, `completed`, ``&`` and ``|`` would not have made.
    """
    pending = [condition] if condition is not None else []
    while pending:
        part = pending.pop()
        if isinstance(part, Tasks):
            if not 1 <= part.at_least <= len(part.uids):
                raise GraphError(f"{part!r} asks for {part.at_least} of {len(part.uids)} tasks")
            yield part
        else:
            if not part.parts:
                raise GraphError(f"{part!r} has no parts")
            pending.extend(reversed(part.parts))


def _members(value: object) -> list[object]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise GraphError(f"not a task, a condition or a list of them: {value!r}")
    return list(value)


def _parts(kind: type[AllOf] | type[AnyOf], *operands: object) -> tuple[AnyCondition, ...]:
    """The operands of a combination, with nested ones of the same kind spliced in.

    Splicing keeps a condition built by a long loop of ``&`` flat instead of a deep tree.
    """
    parts: list[AnyCondition] = []
    for operand in operands:
        condition = as_condition(operand)
        if condition is None:
            raise GraphError("None cannot be part of a condition")
        if isinstance(condition, kind):
            parts.extend(condition.parts)
        else:
            parts.append(condition)
    return tuple(parts)


def _tasks_condition(outcome: Outcome, tasks: Iterable[object], at_least: int | None) -> Tasks:
    uids = tuple(dict.fromkeys(_flat_uids(tasks)))
    if not uids:
        raise GraphError(f"{outcome}() was given no tasks")
    if at_least is None:
        return Tasks(outcome, uids, len(uids))
    if isinstance(at_least, bool) or not isinstance(at_least, int) or at_least < 1:
        raise GraphError(f"{outcome}(at_least={at_least!r}): at_least must be an integer from 1")
    if at_least > len(uids):
        raise GraphError(
            f"{outcome}(at_least={at_least}) can never hold: it is given only {len(uids)} task(s)"
        )
    return Tasks(outcome, uids, at_least)


def _flat_uids(tasks: Iterable[object]) -> Iterator[int]:
    pending = [iter(tasks)]
    while pending:
        for member in pending[-1]:
            if isinstance(member, Condition):
                raise GraphError(
                    f"{member!r} is a condition: combine conditions with & and |, or in a list"
                )
            if isinstance(member, TaskReference):
                yield member.uid
                continue
            if isinstance(member, (str, bytes)) or not isinstance(member, Iterable):
                raise GraphError(f"not a task: {member!r}")
            pending.append(iter(member))
            break
        else:
            pending.pop()
