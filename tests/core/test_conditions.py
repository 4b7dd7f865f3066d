"""Core: what may be written as a scheduling condition, and what it becomes."""

from __future__ import annotations

import msgspec
import pytest

from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import (
    AllOf,
    AnyCondition,
    AnyOf,
    TaskReference,
    Tasks,
    as_condition,
    completed,
    leaves,
    succeeded,
)


class Ref(TaskReference):
    def __init__(self, uid: int):
        self._uid = uid

    @property
    def uid(self) -> int:
        return self._uid

    def __repr__(self) -> str:
        return f"<{self._uid}>"


A, B, C = Ref(1), Ref(2), Ref(3)
ALL_A = Tasks("succeeded", (1,), 1)
ALL_B = Tasks("succeeded", (2,), 1)
ALL_C = Tasks("succeeded", (3,), 1)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (succeeded(A), ALL_A),
        (succeeded(A, B), Tasks("succeeded", (1, 2), 2)),
        (completed(A, B, at_least=1), Tasks("completed", (1, 2), 1)),
        (succeeded([A, B], C), Tasks("succeeded", (1, 2, 3), 3)),
        (succeeded([[A], (b for b in [B, {C}])]), Tasks("succeeded", (1, 2, 3), 3)),
        (succeeded(A, [A, B], B), Tasks("succeeded", (1, 2), 2)),
        (as_condition(None), None),
        (as_condition(A), ALL_A),
        (as_condition([A, B]), Tasks("succeeded", (1, 2), 2)),
        (as_condition([A, A]), ALL_A),
        (as_condition(succeeded(A)), ALL_A),
        (as_condition([succeeded(A), completed(B)]), AllOf((ALL_A, completed(B)))),
        (as_condition([A, succeeded(B), C]), AllOf((ALL_A, ALL_B, ALL_C))),
        (as_condition([A, B, completed(C)]), AllOf((Tasks("succeeded", (1, 2), 2), completed(C)))),
        (succeeded(A) & succeeded(B), AllOf((ALL_A, ALL_B))),
        (succeeded(A) & B & [C], AllOf((ALL_A, ALL_B, ALL_C))),
        (succeeded(A) & (succeeded(B) & C), AllOf((ALL_A, ALL_B, ALL_C))),
        (succeeded(A) | B | C, AnyOf((ALL_A, ALL_B, ALL_C))),
        (succeeded(A) | (succeeded(B) & C), AnyOf((ALL_A, AllOf((ALL_B, ALL_C))))),
        (as_condition([succeeded(A) & B, C]), AllOf((ALL_A, ALL_B, ALL_C))),
    ],
)
def test_a_condition_becomes_flat_data(condition: object, expected: AnyCondition | None):
    """Tasks become uids, duplicates and nesting of one kind go, and a list means all of it."""
    assert condition == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (succeeded, "succeeded() was given no tasks"),
        (lambda: completed([[], ()]), "completed() was given no tasks"),
        (lambda: succeeded("ab"), "not a task: 'ab'"),
        (lambda: succeeded([A, b"x"]), "not a task: b'x'"),
        (lambda: succeeded(A, 7), "not a task: 7"),
        (lambda: succeeded(None), "not a task: None"),
        (
            lambda: succeeded(A, completed(B)),
            f"{completed(B)!r} is a condition: combine conditions with & and |, or in a list",
        ),
        (
            lambda: succeeded(A, at_least=0),
            "succeeded(at_least=0): at_least must be an integer from 1",
        ),
        (
            lambda: succeeded(A, at_least=True),
            "succeeded(at_least=True): at_least must be an integer from 1",
        ),
        (
            lambda: completed(A, at_least=1.0),
            "completed(at_least=1.0): at_least must be an integer from 1",
        ),
        (
            lambda: completed(A, A, at_least=2),
            "completed(at_least=2) can never hold: it is given only 1 task(s)",
        ),
        (lambda: as_condition("ab"), "not a task, a condition or a list of them: 'ab'"),
        (lambda: as_condition(7), "not a task, a condition or a list of them: 7"),
        (
            lambda: as_condition([]),
            "waits_on is empty: give None for a task that waits on nothing",
        ),
        (lambda: succeeded(A) & None, "None cannot be part of a condition"),
        (lambda: succeeded(A) | 7, "not a task, a condition or a list of them: 7"),
    ],
)
def test_what_is_no_condition_is_refused_by_name(make, message: str):
    """The message names the value that is wrong."""
    with pytest.raises(GraphError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "condition",
    [
        Tasks("succeeded", (), 0),
        Tasks("succeeded", (1,), 2),
        Tasks("succeeded", (1,), 0),
        AllOf(()),
        AnyOf((ALL_A, AllOf(()))),
    ],
)
def test_a_condition_that_nobody_could_have_written_is_refused(condition: AnyCondition):
    """One that came over a link and could never hold, or never be decided, is not let in."""
    with pytest.raises(GraphError):
        list(leaves(condition))


def test_leaves_come_in_the_order_written():
    condition = (succeeded(A) & completed(B)) | C
    assert list(leaves(condition)) == [ALL_A, completed(B), ALL_C]
    assert list(leaves(None)) == []


def test_a_condition_built_by_a_long_loop_stays_flat():
    """Ten thousand times & is one list of parts, not a tree that deep."""
    condition = succeeded(A) & B
    for uid in range(3, 10_001):
        condition = condition & Ref(uid)
    assert len(condition.parts) == 10_000


def test_a_condition_travels():
    """What msgspec makes of a condition and back is the same condition."""
    condition = (succeeded(A) & completed(B, C, at_least=1)) | C
    travelled = msgspec.msgpack.decode(msgspec.msgpack.encode(condition), type=AnyCondition)
    assert travelled == condition
