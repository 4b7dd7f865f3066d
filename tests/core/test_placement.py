"""Core: which worker gets what, what it holds ahead, and how that is called back."""

from __future__ import annotations

import pytest

from trio_actor_graph.graph import placement
from trio_actor_graph.graph.records import LoopSpec

from .builder import Story

SHORT, LONG = 1, 2
TWO_WORKERS = LoopSpec("default", (1, 1))


def create_many(s: Story, number: int, **options: object) -> None:
    for index in range(number):
        s.create(f"t{index}", **options)


def test_free_slots_are_filled_evenly(story):
    s = story(LoopSpec("default", (3, 3)))
    create_many(s, 4)
    assert s.settle() == [
        "start t0 on default.0",
        "start t1 on default.1",
        "start t2 on default.0",
        "start t3 on default.1",
    ]


def test_larger_priorities_are_placed_first(story):
    s = story(LoopSpec("default", (1,)))
    a = s.running("a")
    s.create("low", priority=-1)
    s.create("first")
    s.create("second")
    s.create("high", priority=3)
    order = []
    for _ in range(4):
        s.succeed(a)
        (started,) = [c for c in s.settle() if c.startswith("start")]
        order.append(started.split()[1])
        a = next(t for t in s.tasks.values() if t.state == "running")
    assert order == ["high", "first", "second", "low"]


@pytest.mark.parametrize("seconds", [None, 0.006, 1.0])
def test_nothing_is_held_ahead_of_what_may_be_long(story, seconds: float | None):
    """Neither when it is known to be long, nor when nothing is known of it."""
    s = story(LoopSpec("default", (1,)))
    if seconds is not None:
        s.learn(SHORT, seconds)
    create_many(s, 3, kind=SHORT)
    assert s.settle() == ["start t0 on default.0"]


def test_short_tasks_are_held_ahead_for_a_few_milliseconds(story):
    """1 ms each: what fits into 5 ms a slot, with 10 us of overhead for each."""
    s = story(LoopSpec("default", (1,)))
    s.learn(SHORT, 1e-3)
    create_many(s, 9, kind=SHORT)
    assert s.settle() == [f"start t{i} on default.0" for i in range(4)]


def test_a_worker_holds_at_most_so_many_ahead(story, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placement, "HELD_AHEAD_MAX", 5)
    s = story(LoopSpec("default", (2,)))
    s.learn(SHORT, 1e-6)
    create_many(s, 20, kind=SHORT)
    assert len(s.settle()) == 2 + 5


def test_free_slots_come_before_holding_ahead(story):
    s = story(TWO_WORKERS)
    s.learn(SHORT, 1e-3)
    create_many(s, 3, kind=SHORT)
    assert s.settle() == [
        "start t0 on default.0",
        "start t1 on default.1",
        "start t2 on default.0",
    ]


def stuck_story(story) -> Story:
    """Worker 0 runs "t0", far too long, and holds "t2"; worker 1 has just become idle."""
    s = story(TWO_WORKERS)
    s.learn(SHORT, 1e-3)
    create_many(s, 3, kind=SHORT)
    s.settle()
    s.succeed(s.tasks[2], seconds=1e-3)
    assert s.commands() == ["t1 succeeded"]
    return s


def test_what_a_silent_worker_holds_ahead_is_called_back(story):
    """Not at once: it may be about to come to it. It goes to the idle worker."""
    s = stuck_story(story)
    assert s.settle() == []
    assert s.scheduler.next_deadline() == s.now + placement.RECALL_AFTER_SECONDS
    assert s.settle(placement.RECALL_AFTER_SECONDS) == ["recall 1 from default.0"]
    assert (s.settle(1.0), s.scheduler.next_deadline()) == ([], None), "it is asked once at a time"
    s.give_back(s.tasks[3])
    assert s.settle() == ["start t2 on default.1"]
    assert (s.tasks[3].record.attempts, s.scheduler.next_deadline()) == (1, None)


def test_a_worker_that_has_begun_all_is_not_asked_again(story):
    """Else the two would talk every 10 ms for as long as its attempts run."""
    s = stuck_story(story)
    assert s.settle(0.01) == ["recall 1 from default.0"]
    s.give_back()
    assert (s.settle(1.0), s.scheduler.next_deadline()) == ([], None)


def test_a_worker_that_was_given_more_since_is_asked_again(story):
    """The answer crossed with an assignment: that one is unbegun for certain."""
    s = stuck_story(story)
    assert s.settle(0.01) == ["recall 1 from default.0"]
    s.create("long", kind=LONG)
    s.create("t3", kind=SHORT)
    assert s.settle() == ["start long on default.1", "start t3 on default.0"]
    s.give_back()
    s.succeed(s.tasks[4])
    assert s.settle() == ["long succeeded"]
    assert s.settle(0.01) == ["recall 1 from default.0"]


def test_two_silent_workers_and_one_free_slot(story):
    """One of them is asked, and the other's deadline does not keep the caller awake."""
    s = story(LoopSpec("default", (1, 1, 1)))
    s.learn(SHORT, 1e-3)
    create_many(s, 5, kind=SHORT)
    s.settle()
    s.succeed(s.tasks[3], seconds=1e-3)
    assert s.settle() == ["t2 succeeded"]
    assert s.settle(0.02) == ["recall 1 from default.0"]
    assert s.scheduler.next_deadline() is None


def test_attempts_that_took_their_slot_back_are_no_hoard_for_long(story):
    """Two begun attempts in one slot look like one held ahead; one vain question settles it."""
    s = story(TWO_WORKERS)
    s.create("a")
    s.create("b")
    s.settle()
    a, b = s.tasks[1], s.tasks[2]
    s.awaits(a, b)
    c = s.running("c")
    s.succeed(b)
    assert (s.worker(0).free_slots, s.settle()) == (-1, ["b succeeded", "tell a that b succeeded"])
    assert s.settle(0.02) == ["recall 1 from default.0"]
    s.give_back()
    assert (s.settle(9.0), s.scheduler.next_deadline()) == ([], None)
    assert c.state == "running"


def test_given_back_tasks_keep_their_order(story):
    s = story(LoopSpec("default", (1,)))
    s.learn(SHORT, 1e-3)
    create_many(s, 4, kind=SHORT)
    s.settle()
    s.give_back(*(s.tasks[i] for i in (2, 3, 4)))
    assert [t.spec.name for t in s.tasks[1].record.loop.ready.items()] == ["t1", "t2", "t3"]
    assert s.tasks[2].record.attempts == 0
    assert s.settle() == [f"start t{i} on default.0" for i in (1, 2, 3)]


def test_a_stopped_attempt_may_be_given_back(story):
    s = stuck_story(story)
    s.settle(0.01)
    s.cancel(s.tasks[3])
    s.give_back(s.tasks[3])
    assert s.settle() == ["stop t2", "t2 cancelled"]


def test_another_worker_is_started_for_what_is_stuck_ahead(story):
    """Nothing is ready and nobody idle, but one more process may be started."""
    s = story(TWO_WORKERS, ready=False)
    s.learn(SHORT, 1e-3)
    s.create("t0", kind=SHORT)
    assert s.settle() == ["start worker default.0"]
    s.worker_ready()
    s.settle()
    s.create("t1", kind=SHORT)
    assert s.settle() == ["start t1 on default.0"]
    assert s.scheduler.next_deadline() == s.now + 0.01
    assert s.settle(0.01) == ["start worker default.1"]
    assert (s.settle(1.0), s.scheduler.next_deadline()) == ([], None), "it is coming"
    s.worker_ready(1)
    assert s.settle() == ["recall 1 from default.0"]
    s.give_back(s.tasks[2])
    assert s.settle() == ["start t1 on default.1"]


def test_an_idle_worker_comes_before_another_start(story):
    s = story(LoopSpec("default", (1, 1, 1)), ready=False)
    create_many(s, 2)
    assert s.settle() == ["start worker default.0", "start worker default.1"]
    s.worker_ready(0)
    s.worker_ready(1)
    s.settle()
    s.learn(SHORT, 1e-3)
    s.create("short", kind=SHORT)
    assert s.settle() == ["start short on default.0"]
    s.succeed(s.tasks[2])
    assert s.settle(0.02) == ["t1 succeeded", "recall 1 from default.0"]


def test_silence_counts_from_the_first_work(story):
    """A worker that was idle for an hour and is given work has not been silent for an hour."""
    s = story(TWO_WORKERS)
    s.now += 3600.0
    s.learn(SHORT, 1e-3)
    create_many(s, 3, kind=SHORT)
    s.settle()
    s.succeed(s.tasks[2], seconds=1e-3)
    assert s.settle(0.001) == ["t1 succeeded"]


def test_a_worker_about_to_be_killed_is_no_place(story):
    """Its free slots are none, and it is not asked for what it holds: that comes back anyway."""
    s = story(TWO_WORKERS)
    s.learn(SHORT, 1e-3)
    s.create("a", kind=SHORT)
    s.create("b")
    s.settle()
    s.create("c", kind=SHORT)
    assert s.settle() == ["start c on default.0"]
    s.cancel(s.tasks[2])
    assert s.settle() == ["stop b", "b cancelled"]
    assert s.settle(0.3) == ["kill default.1"]
    s.stopped(s.tasks[2])
    assert s.settle(1.0) == []
    assert s.scheduler.next_deadline() is None


def test_what_a_worker_about_to_be_killed_holds_is_not_called_back(story):
    s = story(TWO_WORKERS)
    create_many(s, 2)
    s.settle()
    s.learn(SHORT, 1e-3)
    s.create("ahead", kind=SHORT)
    assert s.settle() == ["start ahead on default.0"]
    s.cancel(s.tasks[1])
    assert s.settle() == ["stop t0", "t0 cancelled"]
    assert s.settle(0.3) == ["kill default.0"]
    s.succeed(s.tasks[2])
    assert (s.settle(1.0), s.scheduler.next_deadline()) == (["t1 succeeded"], None)
    s.lose(begun=[s.tasks[1]])
    assert s.settle() == ["start ahead on default.1"]
