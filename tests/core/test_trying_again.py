"""Core: an ended task is tried again, and what goes back to waiting with it."""

from __future__ import annotations

import pytest

from trio_actor_graph.errors import CycleError, GraphError
from trio_actor_graph.graph.conditions import AllOf, AnyOf, Tasks, completed, succeeded
from trio_actor_graph.graph.failures import CannotStart, Refused
from trio_actor_graph.graph.reading import (
    ancestors,
    chain,
    condition_of,
    conditions_of,
    descendants,
)
from trio_actor_graph.graph.records import LoopSpec, TaskSpec

FOUR_SLOTS = LoopSpec("default", (4,))


def test_a_failed_task_runs_again_under_its_number(story):
    s = story()
    a = s.ended("a", "failed")
    s.settle()
    s.try_again(a)
    assert (a.state, a.record.failure, s.graph.unfinished) == ("ready", None, 1)
    assert s.settle() == ["start a on default.0"]
    assert s.succeed(a)
    assert (a.state, a.record.attempts) == ("succeeded", 2)
    assert s.settle() == ["a succeeded", "graph g ended"]


def test_its_retries_are_there_again(story):
    s = story()
    a = s.running("a", retries=1)
    for _ in range(2):
        s.fail(a)
        s.settle()
    assert a.state == "failed"
    s.try_again(a)
    s.settle()
    s.fail(a)
    assert a.state == "ready"
    s.settle()


def test_what_was_skipped_because_of_it_waits_again(story):
    """A chain of them, and not what another failure has skipped too."""
    s = story(FOUR_SLOTS)
    a, other = s.running("a"), s.running("other")
    b = s.create("b", a)
    c = s.create("c", b)
    d = s.create("d", succeeded(b, other))
    s.fail(a)
    s.fail(other)
    assert s.settle() == [
        "a failed", "b skipped", "d skipped", "c skipped", "other failed", "graph g ended",
    ]  # fmt: skip
    s.try_again(a)
    assert [t.state for t in (a, b, c, d)] == ["ready", "waiting", "waiting", "skipped"]
    s.settle()
    s.succeed(a)
    assert s.settle() == ["a succeeded", "start b on default.0"]
    s.try_again(other)
    assert d.state == "waiting"
    s.settle()
    s.succeed(other)
    s.succeed(b)
    assert s.settle()[:2] == ["other succeeded", "b succeeded"]
    assert (c.state, d.state) == ("running", "running")


def test_what_has_gone_on_because_of_its_end_stays(story):
    s = story(FOUR_SLOTS)
    a = s.ended("a", "failed")
    after = s.running("after", completed(a))
    s.try_again(a)
    s.settle()
    s.succeed(a)
    s.succeed(after)
    assert s.settle() == ["a succeeded", "after succeeded", "graph g ended"]


def test_what_still_waits_counts_its_next_end_and_not_its_last(story):
    s = story(FOUR_SLOTS)
    a, b, c = s.running("a"), s.running("b"), s.running("c")
    two = s.create("two", completed(a, b, c, at_least=2))
    s.fail(a)
    s.settle()
    s.try_again(a)
    s.settle()
    s.succeed(b)
    assert two.state == "waiting"
    s.succeed(a)
    assert two.state == "ready"
    s.settle()


def test_a_cancelled_task_waits_for_its_condition_again(story):
    s = story()
    a = s.running("a")
    b = s.create("b", a)
    s.cancel(b)
    s.settle()
    s.try_again(b)
    assert b.state == "waiting"
    s.succeed(a)
    assert s.settle() == ["a succeeded", "start b on default.0"]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_had_returned_it_ends_with_it_again(story, end: str):
    s = story()
    a = s.running("a")
    b = s.running("b")
    s.returns(b, a)
    {"failed": s.fail, "cancelled": s.cancel}[end](a)
    assert b.state == end
    s.settle()
    s.try_again(a)
    assert (a.state, b.state) == ("ready", "waiting")
    s.settle()
    s.succeed(a)
    assert b.state == "succeeded"
    s.settle()


def test_what_had_returned_a_skipped_one_waits_again(story):
    s = story()
    a = s.running("a")
    child, b = s.create("child", a), s.running("b")
    s.returns(b, child)
    s.fail(a)
    assert b.state == "skipped"
    s.settle()
    s.try_again(a)
    assert (child.state, b.state) == ("waiting", "waiting")
    s.settle()


def test_a_task_cancelled_after_it_had_returned_another_runs_again(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.returns(b, a)
    s.cancel(b)
    s.settle()
    s.try_again(b)
    assert (b.state, b.record.returns) == ("ready", None)
    s.settle()
    s.succeed(a)
    assert b.state == "running"
    s.succeed(b)
    assert s.settle() == ["a succeeded", "b succeeded", "graph g ended"]


def test_what_cannot_be_tried_again(story):
    s = story()
    good, bad = s.ended("good"), s.ended("bad", "failed")
    skipped = s.create("skipped", bad)
    refused = s.scheduler.on_task_refused(s.graph, 99, TaskSpec("refused", 0, "default"), "no")
    waiting = s.create("waiting", s.running("running"))
    s.settle()
    for task, text in (
        (good.record, "'good' (task 1) is 'succeeded'"),
        (waiting.record, "is 'waiting': only what failed or was cancelled"),
        (skipped.record, "was skipped because of 'bad' (task 2): try that one again"),
        (refused, "was refused when it was created"),
    ):
        with pytest.raises(GraphError, match=r".") as caught:
            s.scheduler.on_task_tried_again(task)
        assert text in str(caught.value)
    s.scheduler.on_graph_cancelled(s.graph)
    s.commands()
    with pytest.raises(GraphError, match="graph 'g' is cancelled, nothing more runs"):
        s.try_again(bad)


def test_a_task_that_ended_as_another_is_not_tried_again_itself(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.returns(b, a)
    s.fail(a)
    s.settle()
    with pytest.raises(GraphError, match=r"'b' \(task 2\) has returned 'a' \(task 1\): try that"):
        s.try_again(b)


def test_nothing_is_made_to_wait_for_itself(story):
    s = story()
    bad = s.running("bad")
    gate = s.create("gate", bad)
    late = s.create("late", s.running("slow"))
    after = s.create("after", [gate, late])
    s.fail(bad)
    s.settle()
    assert after.state == "skipped"
    s.add_predecessor(late, completed(after))  # it has ended, so there is nothing to wait for
    with pytest.raises(CycleError, match="were made to wait for it"):
        s.try_again(bad)
    assert (bad.state, gate.state, after.state) == ("failed", "skipped", "skipped")


def test_a_loop_that_cannot_start_fails_it_again(story):
    s = story()
    a = s.ended("a", "failed")
    b = s.create("b", a)
    s.settle()
    s.scheduler.on_worker_start_failed(s.worker().worker_id, "no module")
    s.commands()
    s.try_again(a)
    assert (a.state, b.state) == ("failed", "skipped")
    assert a.record.failure == CannotStart("default", "no module")
    s.settle()


def test_conditions_are_read_back_from_the_gates(story):
    """Their parts come in the order of the predecessors, which may not be that of an "or"."""
    s = story(FOUR_SLOTS)
    a, b, c = s.create("a"), s.create("b"), s.create("c")
    condition = succeeded(a, b, at_least=1) & (completed(c) | succeeded(b))
    d = s.create("d", condition, inputs=[a])
    s.settle()
    expected = AllOf(
        (
            Tasks("succeeded", (a.uid,), 1),
            AllOf(
                (
                    Tasks("succeeded", (a.uid, b.uid), 1),
                    AnyOf((Tasks("succeeded", (b.uid,), 1), Tasks("completed", (c.uid,), 1))),
                )
            ),
        )
    )
    assert condition_of(d.record) == expected
    assert conditions_of(s.graph) == {d.record: expected}
    assert condition_of(a.record) is None


def test_who_led_to_a_task(story):
    s = story(FOUR_SLOTS)
    a = s.create("a")
    b = s.create("b", a)
    c = s.create("c")
    c.record.creator = b.record
    d = s.create("d", [c, a])
    s.settle()
    assert [t.spec.name for t in chain(d.record)] == ["a", "b", "c", "d"]
    assert [t.spec.name for t in ancestors(d.record)] == ["c", "a", "b"]
    below = descendants(s.graph.tasks.values(), a.record)
    assert [t.spec.name for t in below] == ["b", "d", "c"]


def test_a_chain_ends_that_leads_back_into_itself(story):
    s = story(FOUR_SLOTS)
    d = s.running("d")
    a = s.create("a", s.running("hold"))
    c = s.create("c", succeeded(a, d, at_least=1))
    s.succeed(d)
    s.settle()
    assert c.state == "running"
    b = s.create("b")
    b.record.creator = c.record
    a.record.predecessors = {b.record: None, **a.record.predecessors}
    s.settle()
    assert [t.spec.name for t in chain(a.record)] == ["c", "b", "a"]
    assert [t.spec.name for t in chain(a.record, 2)] == ["b", "a"]


def test_a_deep_condition_is_read_back(story):
    s = story(FOUR_SLOTS)
    a, b = s.create("a"), s.create("b")
    condition = succeeded(a)
    for _ in range(1_200):  # in twice as many levels, which no recursion gets through
        condition = (condition | completed(b)) & succeeded(a)
    c = s.create("c", condition)
    s.settle()
    found, depth = condition_of(c.record), 0
    while not isinstance(found, Tasks):
        found, depth = found.parts[0], depth + 1
    assert (depth, found) == (2_400, Tasks("succeeded", (a.uid,), 1))


def test_a_closed_graph_keeps_no_calls(story):
    s = story()
    bad = s.ended("bad", "failed")
    skipped = s.create("skipped", bad)
    s.settle()
    assert (bad.record.call, skipped.record.call) == ("call", "call")
    s.scheduler.on_graph_closed(s.graph)
    assert (bad.record.call, skipped.record.call) == (None, None)


def test_refusals_are_failures_that_cannot_be_tried_again(story):
    """Wrong use inside the function can, though: it may have been the world's fault."""
    s = story()
    a = s.running("a")
    s.scheduler.on_attempt_refused(a.attempt_id, Refused("wrong"))
    s.succeed(a)
    assert a.state == "failed"
    s.settle()
    s.try_again(a)
    assert a.state == "ready"
    s.settle()
