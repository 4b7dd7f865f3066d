"""Collaboration: the slots of a worker, the order of what it holds, the file of what has begun."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from worker_cases import attempt

from trio_actor_graph.begun import BegunMarks, take_begun
from trio_actor_graph.messages import RunAttempt
from trio_actor_graph.worker.slots import Slots


def noted(path: Path) -> tuple[set[int], set[int]]:
    """What is noted as running, and as begun."""
    os.link(path, f"{path}.copy")
    running, begun = take_begun(f"{path}.copy")
    return set(running), set(begun)


def test_a_slot_that_is_passed_on_is_always_noted(tmp_path: Path) -> None:
    """As that of the one before, until it is said what runs now, or that nothing does."""
    path = tmp_path / "begun"
    slots = Slots(1, BegunMarks(str(path), 1))
    slots.hold([attempt(i, 1) for i in (1, 2, 3)])
    assert slots.begin() is not None
    assert noted(path) == (set(), set())
    slots.mark(1)
    assert noted(path) == ({1}, {1})
    assert slots.pass_on(1) is not None
    assert noted(path) == ({1}, {1})
    slots.mark(2)
    assert noted(path) == ({2}, {1, 2})
    assert slots.pass_on(2) is not None
    slots.unmark(3)
    assert noted(path) == (set(), {1, 2})
    slots.mark(3)
    assert noted(path) == ({3}, {1, 2, 3})
    assert slots.pass_on(3) is None
    assert noted(path) == (set(), {1, 2, 3})


def test_who_waits_to_return_comes_before_those_that_have_not_begun() -> None:
    """Also where a thread would pass its slot on."""
    slots = Slots(1)
    slots.hold([attempt(i, 1) for i in (1, 2)])
    assert slots.begin() is not None
    granted: list[int] = []
    assert not slots.return_to(7, lambda: granted.append(7))
    assert slots.pass_on(1) is None
    assert granted == [7]
    assert slots.pass_on(7) is not None


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_by_priority_and_then_by_arrival(seed: int) -> None:
    """With some dropped, some given back from its end, some released by what has succeeded."""
    drawn = random.Random(seed)
    slots = Slots(1)
    held: dict[int, RunAttempt] = {}
    key: dict[int, tuple[int, ...]] = {}
    ids = iter(range(1, 10_000))
    follows: dict[int, list[RunAttempt]] = {}
    released = 0
    for _ in range(300):
        match drawn.choice(("hold", "hold", "drop", "take", "run", "run")):
            case "hold":
                first = attempt(next(ids), 1, priority=drawn.randrange(3))
                others = [
                    attempt(next(ids), 1, priority=drawn.randrange(3), follows=(first.attempt_id,))
                    for _ in range(drawn.randrange(3))
                ]
                assert slots.hold([first, *others]) == ()
                held[first.attempt_id] = first
                key[first.attempt_id] = (-first.priority, first.attempt_id, 0)
                follows[first.attempt_id] = others
            case "drop" if held:
                attempt_id = drawn.choice(list(held))
                assert slots.drop(attempt_id)
                del held[attempt_id]
            case "take":
                number = drawn.randrange(4)
                order = sorted(held, key=key.__getitem__)
                expected = order[max(0, len(order) - number) :]
                assert slots.take_last(number) == tuple(expected)
                for attempt_id in expected:
                    del held[attempt_id]
            case "run" if held:
                expected_id = min(held, key=key.__getitem__)
                begun = slots.begin()
                assert begun is not None
                assert begun.attempt_id == expected_id
                del held[expected_id]
                followers = follows.pop(expected_id, [])
                assert slots.release_followers(begun, b"") == len(followers)
                for follower in reversed(followers):
                    released += 1
                    held[follower.attempt_id] = follower
                    place = key[expected_id][1]
                    key[follower.attempt_id] = (-follower.priority, place, -released)
                slots.release(expected_id)
