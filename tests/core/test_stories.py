"""Core: what is told about tasks: their explanation, stalls, failures that nobody has seen."""

from __future__ import annotations

import pytest

from trio_actor_graph.graph import commands as do
from trio_actor_graph.graph.conditions import completed, succeeded
from trio_actor_graph.graph.failures import (
    CannotStart,
    LostTooOften,
    Raised,
    Refused,
    StoreFull,
    TimedOut,
    WorkerEnd,
    failure_line,
)
from trio_actor_graph.graph.records import LoopSpec
from trio_actor_graph.graph.retrying import RetrySpec
from trio_actor_graph.graph.stories import (
    CAUSE_CHARACTERS_MAX,
    SHOWN_MAX,
    explain,
    skip_cause,
    stall_story,
    unseen_failures,
)

FOUR = LoopSpec("default", (4,))


# ---- explain ---------------------------------------------------------------------------------


def test_a_waiting_task_names_what_it_waits_for(story):
    """Only what still matters: nothing that has ended, nothing that is decided."""
    s = story(FOUR)
    a, b, c = s.running("a"), s.running("b"), s.running("c")
    d = s.create("d", succeeded(a, b, c, at_least=2) & completed(c))
    assert explain(d.record) == (
        "'d' (task 4) waits for 2 more of 3 to have succeeded: 'a' (task 1) [running], "
        "'b' (task 2) [running], 'c' (task 3) [running]; "
        "1 more of 1 to have completed: 'c' (task 3) [running]"
    )
    s.succeed(a)
    s.succeed(b)
    assert explain(d.record) == (
        "'d' (task 4) waits for 1 more of 1 to have completed: 'c' (task 3) [running]"
    )
    assert s.commands() == ["a succeeded", "b succeeded"]


def test_each_state_is_explained(story):
    s = story(LoopSpec("default", (1,)))
    a = s.ended("a")
    assert explain(a.record) == "'a' (task 1) succeeded after 1 attempt"
    b = s.running("b")
    assert explain(b.record) == "'b' (task 2) runs, attempt 1 on worker default/0"
    c = s.create("c")
    assert explain(c.record) == (
        "'c' (task 3) is ready and waits for a slot of worker loop 'default' "
        "(1 worker, 0 starting, 1 task ready)"
    )
    s.awaits(b, c)
    assert explain(b.record) == (
        "'b' (task 2) runs, attempt 1 on worker default/0 and awaits 'c' (task 3) [ready]"
    )
    s.settle()
    s.fail(c)
    assert explain(c.record) == "'c' (task 3) failed after 1 attempt: ValueError: no"
    d = s.create("d", c)
    assert explain(d.record) == "'d' (task 4) was skipped because 'c' (task 3) failed"
    e = s.create("e", d)
    assert explain(e.record) == (
        "'e' (task 5) was skipped because 'd' (task 4) was skipped, because 'c' (task 3) failed"
    )
    f = s.create("f")
    s.cancel(f)
    assert explain(f.record) == "'f' (task 6) was cancelled after 0 attempts"
    s.commands()


def test_a_task_that_is_put_off_tells_why_and_until_when(story):
    s = story()
    a = s.create("a", retry=RetrySpec(3, delay_seconds=2.0, jitter=0.0))
    s.settle()
    s.fail(a, Raised("shop.NoMoney", "\n7 left\nof 10", "Traceback ..."))
    told = "'a' (task 1) has failed in 1 attempt (shop.NoMoney: 7 left) and is put off"
    assert explain(a.record) == told
    assert explain(a.record, s.now) == f"{told}: the next one comes in 2.0 s"
    assert explain(a.record, s.now + 5) == f"{told}: the next one comes in 0.0 s"
    assert s.settle(2.0) == ["start a on default.0"]
    s.fail(a, TimedOut(0.5))
    assert explain(a.record, s.now) == (
        "'a' (task 1) has failed in 2 attempts (ran longer than 0.5 s) and is put off: "
        "the next one comes in 4.0 s"
    )


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Raised("KeyError", "", "Traceback ..."), "KeyError"),
        (Raised("E", "x" * 999, "Traceback ..."), f"E: {'x' * (CAUSE_CHARACTERS_MAX - 3)}..."),
        (TimedOut(3.0), "ran longer than 3 s"),
        (Refused("it is not in graph 'g'\nat all"), "it is not in graph 'g'"),
        (StoreFull(1_000_000, 1, 10), "its result of 1,000,000 bytes has no room"),
    ],
)
def test_a_failed_task_tells_its_cause_in_a_line(story, failure: object, told: str):
    s = story()
    a = s.running("a")
    s.fail(a, failure)
    assert explain(a.record) == f"'a' (task 1) failed after 1 attempt: {told}"
    assert s.commands() == ["a failed"]


def test_other_causes_are_told_in_a_line_too():
    end = WorkerEnd("pid 7 was killed by SIGSEGV\nfor some reason")
    assert failure_line(end) == "its worker was lost: pid 7 was killed by SIGSEGV"
    lost = LostTooOften(3, 4, end)
    assert failure_line(lost) == "3 workers died under it: pid 7 was killed by SIGSEGV"
    start = CannotStart("cpu", "Traceback ...\nImportError: no numpy\n")
    assert failure_line(start) == "worker loop 'cpu' cannot start: ImportError: no numpy"
    assert failure_line(object()) == "object"


def test_a_tail_call_is_explained(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.returns(a, b)
    assert explain(a.record) == "'a' (task 1) ends as the task it returned, 'b' (task 2), running"


def test_long_lists_are_cut(story):
    s = story(FOUR)
    many = [s.create(f"p{i}") for i in range(SHOWN_MAX + 5)]
    last = s.create("last", many)
    assert explain(last.record).endswith("[ready], ... 5 more")


def test_the_cause_of_a_skip_is_at_the_root(story):
    s = story()
    a = s.running("a")
    c = s.create("c", s.create("b", a))
    assert skip_cause(c.record) is None
    s.cancel(a)
    assert skip_cause(c.record) is a.record
    assert s.commands() == ["stop a", "a cancelled", "b skipped", "c skipped"]


# ---- stalls ----------------------------------------------------------------------------------


def test_a_stall_names_the_awaiting_first(story):
    """With hundreds of waiting tasks the few that explain the stall must not be cut."""
    s = story()
    x = s.running("x")
    waiting = [s.create(f"w{i}", x) for i in range(30)]
    a = s.running("a")
    s.awaits(a, waiting[0])
    s.awaits(x, a)
    s.scheduler.settle(s.now)
    commands = s.scheduler.take_commands()
    (stuck,) = [c for c in commands if isinstance(c, do.GraphStuck)]
    lines = stuck.story.splitlines()
    assert lines[:4] == [
        "graph 'g' is stalled:",
        "  'x' (task 1) runs and awaits 'a' (task 32) [running]",
        "  'a' (task 32) runs and awaits 'w0' (task 2) [waiting]",
        "  'w0' (task 2) waits for 1 more of 1 to have succeeded: 'x' (task 1) [running]",
    ]
    assert lines[-1] == f"  ... and {32 - SHOWN_MAX} more"


def test_the_story_of_a_finished_graph_is_short(story):
    assert stall_story(story().graph) == "graph 'g' is stalled:\n"


# ---- failures that nobody has seen -----------------------------------------------------------


def unseen(s) -> list[str]:
    return [t.spec.name for t in unseen_failures(s.graph)]


def test_a_completed_condition_on_the_failed_task_has_seen_it(story):
    s = story()
    a = s.ended("a", "failed")
    assert unseen(s) == ["a"]
    s.create("b", completed(a))
    assert unseen(s) == []


def test_a_completed_condition_on_a_task_skipped_because_of_it_has_seen_it(story):
    """Whichever of two failures came first: both are why the task was skipped."""
    s = story(FOUR)
    a, b = s.running("a"), s.running("b")
    c = s.create("c", [a, b])
    d = s.create("d", c)
    s.fail(a)
    s.fail(b)
    assert unseen(s) == ["a", "b"]
    s.create("e", completed(d))
    assert unseen(s) == []
    assert s.commands() == ["a failed", "c skipped", "d skipped", "b failed"]


def test_asking_for_the_result_of_a_skipped_task_has_seen_its_cause(story):
    s = story()
    a = s.ended("a", "failed")
    b = s.create("b", a)
    b.record.is_seen = True
    assert unseen(s) == []
    assert s.commands() == ["b skipped"]


def test_a_task_that_ends_as_a_failed_one_has_its_failure(story):
    """One failure is told of once, by the one whose name the user knows."""
    s = story()
    a, b = s.running("a"), s.running("b")
    s.returns(a, b)
    s.fail(b)
    assert unseen(s) == ["a"]
    a.record.is_seen = True
    assert unseen(s) == []
    assert s.commands() == ["b failed", "a failed"]


def test_a_skip_through_a_tail_call_is_seen_only_if_somebody_looks(story):
    """`a` ends as the skipped `b`: the failure behind it is seen through `a`, not by `a`."""
    s = story(FOUR)
    x, a = s.running("x"), s.running("a")
    b = s.create("b", x)
    s.returns(a, b)
    s.fail(x)
    assert unseen(s) == ["x"]
    s.create("c", completed(a))
    assert unseen(s) == []
    assert s.commands() == ["x failed", "b skipped", "a skipped"]


def test_a_caller_that_was_cancelled_has_seen_nothing(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.returns(a, b)
    s.cancel(a)
    s.fail(b)
    assert unseen(s) == ["b"]
    assert s.commands() == ["a cancelled", "b failed"]


def test_success_and_cancellation_are_no_failures(story):
    s = story()
    s.ended("a")
    s.ended("b", "cancelled")
    assert unseen(s) == []
