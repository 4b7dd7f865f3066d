"""Core: when a tree of gates opens or shuts."""

from __future__ import annotations

import itertools
from typing import cast

import pytest

from trio_actor_graph.graph.gates import Gate
from trio_actor_graph.graph.ready_queue import ReadyQueue
from trio_actor_graph.graph.records import TaskRecord

TASK = cast("TaskRecord", object())


def gate(needed: int, total: int, parent: Gate | None = None) -> Gate:
    return Gate(TASK, "succeeded" if parent is None else None, needed, total, parent)


@pytest.mark.parametrize(
    ("needed", "total", "inputs", "told"),
    [
        (1, 1, "h", [True]),
        (1, 1, "m", [False]),
        (3, 3, "hhh", [None, None, True]),
        (3, 3, "hmh", [None, False, None]),
        (1, 3, "hhm", [True, None, None]),
        (1, 3, "mmh", [None, None, True]),
        (1, 3, "mmm", [None, None, False]),
        (2, 3, "hmh", [None, None, True]),
        (2, 3, "mmh", [None, False, None]),
    ],
)
def test_n_of_m(needed: int, total: int, inputs: str, told: list[bool | None]):
    """It tells of its decision once, as early as it can be made; later inputs change nothing."""
    one = gate(needed, total)
    assert [one.count(i == "h") for i in inputs] == told


@pytest.mark.parametrize("combine", ["all", "any"])
def test_a_tree_decides_like_its_formula(combine: str):
    """Every order and outcome of inputs to (a, b) and (1 of c, d): decided once, and rightly."""
    for order, hits in itertools.product(
        itertools.permutations("abcd"), itertools.product([True, False], repeat=4)
    ):
        root = Gate(TASK, None, 2 if combine == "all" else 1, 2)
        left, right = gate(2, 2, root), gate(1, 2, root)
        leaf = {"a": left, "b": left, "c": right, "d": right}
        told = [leaf[name].count(dict(zip("abcd", hits, strict=True))[name]) for name in order]
        a, b, c, d = hits
        expected = (a and b) and (c or d) if combine == "all" else (a and b) or (c or d)
        assert [t for t in told if t is not None] == [expected]
        assert (root.is_open, root.is_shut) == (expected, not expected)


def test_a_part_of_a_settled_tree_is_settled():
    """What a decided tree still looks at matters no more: nothing waits for it."""
    root = Gate(TASK, None, 1, 2)
    left, right = gate(1, 1, root), gate(2, 2, root)
    assert not right.is_settled
    left.count(True)
    assert right.is_settled
    assert root.is_settled


def test_one_more_input_is_needed_on_top():
    root = Gate(TASK, None, 2, 2)
    root.require_one_more()
    assert [root.count(True) for _ in range(3)] == [None, None, True]


# ---- the ready queue -------------------------------------------------------------------------


def queue_of(*pairs: tuple[str, int]) -> ReadyQueue[str]:
    queue: ReadyQueue[str] = ReadyQueue()
    for item, priority in pairs:
        queue.push(item, priority)
    return queue


def test_larger_priorities_come_first_and_equal_ones_in_order():
    queue = queue_of(("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1))
    assert list(queue.items()) == ["b", "d", "a", "c", "e"]
    assert [queue.pop() for _ in range(len(queue))] == ["b", "d", "a", "c", "e"]
    assert not queue


def test_what_was_given_back_comes_before_its_equals():
    queue = queue_of(("a", 0), ("b", 1))
    queue.push_first("c", 0)
    assert queue.first() == "b"
    assert list(queue.items()) == ["b", "c", "a"]


def test_an_item_can_leave_from_the_middle():
    """Discarding is harmless for what is not there, and the last of a priority takes it along."""
    queue = queue_of(("a", 0), ("b", 0), ("c", 7))
    queue.discard("b", 0)
    queue.discard("c", 7)
    queue.discard("c", 7)
    queue.discard("b", 3)
    assert (list(queue.items()), len(queue), queue.first()) == (["a"], 1, "a")


@pytest.mark.parametrize("ask", [ReadyQueue.first, ReadyQueue.pop])
def test_an_empty_queue_has_no_first(ask):
    with pytest.raises(IndexError):
        ask(ReadyQueue())
