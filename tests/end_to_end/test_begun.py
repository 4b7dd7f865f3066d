"""Collaboration: the file in which a worker notes what it does, written and read in one process."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from trio_actor_graph.begun import (
    ENDED_MAX,
    BegunMarks,
    last_beat,
    seconds_since_begun,
    take_begun,
)
from trio_actor_graph.graph.placement import HELD_AHEAD_MAX


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "begun")


def test_what_holds_a_slot_runs_and_what_gave_it_back_has_begun(path: str) -> None:
    """The coordinator learns both, and the file is gone then."""
    marks = BegunMarks(path, 3)
    marks.set(0, 11)
    marks.set(1, 12)
    marks.set(1, 0)
    marks.set(2, 13)
    marks.set(2, 14)  # handed on without a moment in between
    assert take_begun(path) == ({11, 14}, {11, 12, 13, 14})
    assert not Path(path).exists()
    assert take_begun(path) == (frozenset(), frozenset())


def test_an_attempt_that_took_its_slot_again_runs(path: str) -> None:
    """It awaited a task meanwhile; and then it has begun, whether it holds a slot or not."""
    marks = BegunMarks(path, 1)
    marks.set(0, 1)
    marks.set(0, 0)
    marks.set(0, 1)
    assert take_begun(path) == ({1}, {1})


def test_all_that_a_worker_may_hold_is_remembered(path: str) -> None:
    """As many as it may have ended without having reported it, however many there were before."""
    slots = 4
    marks = BegunMarks(path, slots)
    for attempt_id in range(1, 10_001):
        marks.set(attempt_id % slots, attempt_id)
    running, begun = take_begun(path)
    assert running == {9_997, 9_998, 9_999, 10_000}
    assert begun == set(range(10_000 - 2 * slots - ENDED_MAX + 1, 10_001))
    assert ENDED_MAX > HELD_AHEAD_MAX


def test_how_long_an_attempt_has_held_its_slot(path: str) -> None:
    """Counted from when it took the slot last; None if it holds none."""
    marks = BegunMarks(path, 2)
    marks.set(1, 7)
    first = seconds_since_begun(path, 7, 300)
    assert first is not None
    assert 0 <= first < 60
    assert seconds_since_begun(path, 8, 300) is None
    marks.set(1, 0)
    assert seconds_since_begun(path, 7, 300) is None
    assert seconds_since_begun(path + "-gone", 7, 300) is None


def test_what_is_still_loaded_does_not_run(path: str) -> None:
    """But it holds its slot, and is to blame for what happens meanwhile; and it has a limit."""
    marks = BegunMarks(path, 1)
    marks.set(0, 7, is_loading=True)
    assert seconds_since_begun(path, 7, 300) is None
    assert seconds_since_begun(path, 7, None) is None
    seconds = seconds_since_begun(path, 7, 0)
    assert seconds is not None
    assert 0 <= seconds < 60
    marks.set(0, 7)
    assert seconds_since_begun(path, 7, 300) is not None
    marks.set(0, 8, is_loading=True)
    assert take_begun(path) == ({8}, {7, 8})


def test_the_last_heartbeat_can_be_read(path: str) -> None:
    """By the clock of the whole machine; None before the first, and before there is a file."""
    assert last_beat(path) is None
    marks = BegunMarks(path, 1)
    assert last_beat(path) is None
    before = time.monotonic()
    marks.beat()
    beat = last_beat(path)
    assert beat is not None
    assert before <= beat <= time.monotonic()


@pytest.mark.parametrize("seed", range(5))
def test_a_file_cut_or_damaged_anywhere_can_be_read(path: str, seed: int) -> None:
    """Whatever stands in it, its reader gets numbers or nothing, and never an error."""
    chance = random.Random(seed)
    marks = BegunMarks(path, 3)
    marks.beat()
    for attempt_id in range(1, 20):
        marks.set(attempt_id % 3, attempt_id)
    whole = Path(path).read_bytes()
    for _ in range(200):
        data = bytearray(whole[: chance.choice([chance.randrange(100), len(whole)])])
        for _ in range(min(len(data), chance.randrange(30))):
            data[chance.randrange(min(100, len(data)))] = chance.randrange(256)
        Path(path).write_bytes(data)
        last_beat(path)
        seconds_since_begun(path, 17, 300)
        running, begun = take_begun(path)
        assert running <= begun
