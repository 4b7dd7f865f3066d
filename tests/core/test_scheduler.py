"""Core: the scheduler's events, each a short story with every command it leads to."""

from __future__ import annotations

import pytest

from trio_actor_graph.errors import CycleError, GraphError, InternalError
from trio_actor_graph.graph.conditions import completed, succeeded
from trio_actor_graph.graph.failures import (
    CannotStart,
    LostTooOften,
    Raised,
    Refused,
    TimedOut,
    WorkerEnd,
)
from trio_actor_graph.graph.invariants import check_invariants
from trio_actor_graph.graph.records import LOSSES_BESIDE_MAX, LoopSpec, TaskSpec
from trio_actor_graph.graph.stories import unseen_failures

from .builder import KILLED, RAISED

LOCAL = LoopSpec("default", (2,), is_local=True)
LAST_END = WorkerEnd(KILLED.how)
NOTHING_BEGUN = WorkerEnd(KILLED.how, running=frozenset(), begun=frozenset())
ONE_SLOT = LoopSpec("default", (1,))
TWO_WORKERS = LoopSpec("default", (1, 1))


# ---- tasks and conditions --------------------------------------------------------------------


def test_a_task_without_a_condition_runs_at_once(story):
    """Created, ready; settled, running; reported, succeeded; the graph has ended."""
    s = story()
    a = s.create("a")
    assert (a.state, s.commands()) == ("ready", [])
    assert s.settle() == ["start a on default.0"]
    assert (a.state, a.record.attempts) == ("running", 1)
    assert s.succeed(a)
    assert a.state == "succeeded"
    assert s.settle() == ["a succeeded", "graph g ended"]


def test_a_task_waits_for_its_predecessor(story):
    s = story()
    a = s.running("a")
    b = s.create("b", a)
    assert s.settle() == []
    s.succeed(a)
    assert b.state == "ready"
    assert s.settle() == ["a succeeded", "start b on default.0"]


def test_an_input_is_waited_for_like_a_predecessor(story):
    """Data edges and the condition must both hold."""
    s = story()
    a, b = s.running("a"), s.running("b")
    c = s.create("c", completed(b), inputs=[a, a])
    assert list(c.record.predecessors) == [a.record, b.record]
    s.fail(b)
    assert c.state == "waiting"
    s.succeed(a)
    assert s.settle() == ["b failed", "a succeeded", "start c on default.0"]


@pytest.mark.parametrize("inputs", [[], iter(())])
def test_no_inputs_and_no_condition_is_waiting_for_nothing(story, inputs):
    """Also when the inputs are an iterator, whose emptiness shows late."""
    s = story()
    assert s.create("a", inputs=inputs).state == "ready"


def test_a_task_is_skipped_when_its_condition_can_no_longer_hold(story):
    """And so is what waits for it; what waits for its end in any way runs."""
    s = story()
    a = s.running("a")
    b = s.create("b", a)
    c = s.create("c", b)
    d = s.create("d", completed(c))
    s.fail(a)
    assert s.settle() == ["a failed", "b skipped", "c skipped", "start d on default.0"]
    assert (b.record.skipped_because, c.record.skipped_because) == (a.record, b.record)
    assert d.state == "running"


def test_a_condition_decided_by_what_has_ended_already(story):
    s = story()
    a, b = s.ended("a"), s.ended("b", "failed")
    assert s.create("c", a).state == "ready"
    d = s.create("d", [a, b])
    assert (d.state, d.record.skipped_because) == ("skipped", b.record)
    assert s.create("e", succeeded(a, b, at_least=1)).state == "ready"
    assert s.create("f", succeeded(b) | completed(a)).state == "ready"
    assert s.commands() == ["d skipped"]


def test_a_condition_that_holds_early_does_not_hold_twice(story):
    """One of two is enough: the second one's end changes nothing."""
    s = story()
    a, b = s.running("a"), s.running("b")
    c = s.create("c", succeeded(a, b, at_least=1))
    s.succeed(a)
    assert s.settle() == ["a succeeded", "start c on default.0"]
    s.succeed(c)
    s.fail(b)
    assert s.settle() == ["c succeeded", "b failed", "graph g ended"]


def test_refused_creations(story):
    """A wrong creation raises with the names of what is wrong, and leaves nothing behind."""
    s = story()
    other = s.open("other")
    a = s.create("a", graph=other)
    with pytest.raises(GraphError) as unknown_loop:
        s.create("b", loop="gpu")
    assert str(unknown_loop.value) == "unknown worker loop 'gpu': there are 'default'"
    with pytest.raises(GraphError) as unknown_task:
        s.create("b", a)
    assert str(unknown_task.value) == (
        "'b' (task 2) cannot wait on task 1: there is no such task in graph 'g'"
    )
    s.scheduler.on_graph_cancelled(s.graph)
    with pytest.raises(GraphError) as cancelled:
        s.create("b")
    assert str(cancelled.value) == "graph 'g' has been cancelled: it takes no more tasks"
    assert (len(s.graph.tasks), s.commands()) == (0, [])


def test_a_task_number_is_given_once(story):
    s = story()
    a = s.create("a")
    with pytest.raises(InternalError, match="two tasks of graph 'g' have the number 1"):
        s.scheduler.on_task_created(s.graph, a.uid, a.record.spec)
    check_invariants(s.scheduler)


def test_a_task_refused_after_its_birth_fails(story):
    """A worker has a handle of it already, so it must end."""
    s = story()
    task = s.scheduler.on_task_refused(s.graph, 1, TaskSpec("a", 0, "no such loop"), "no loop")
    assert (task.state, task.failure) == ("failed", Refused("no loop"))
    assert s.settle() == ["a failed", "graph g ended"]


def test_a_graph_ends_again_after_new_tasks(story):
    """The end of a graph is the end of what it has, not of what it may get."""
    s = story()
    s.ended("a")
    assert s.settle() == ["graph g ended"]
    b = s.running("b")
    s.succeed(b)
    assert s.settle() == ["b succeeded", "graph g ended"]


def test_a_graph_is_closed_only_when_all_has_ended(story):
    s = story()
    a = s.running("a")
    with pytest.raises(InternalError, match="graph 'g' closed with 1 tasks to go"):
        s.scheduler.on_graph_closed(s.graph)
    s.succeed(a)
    s.scheduler.on_graph_closed(s.graph)
    assert s.settle() == ["a succeeded"], "nobody is told of the end of a graph that is closed"


# ---- retries ---------------------------------------------------------------------------------


def test_a_retry_is_another_attempt(story):
    """Its failure is forgotten when a later attempt succeeds."""
    s = story()
    a = s.running("a", retries=1)
    first = a.attempt_id
    s.fail(a)
    assert s.settle() == ["start a on default.0"]
    assert (a.attempt_id > first, a.record.attempts) == (True, 2)
    s.succeed(a)
    assert (a.state, a.record.failure) == ("succeeded", None)
    assert s.settle() == ["a succeeded", "graph g ended"]


def test_retries_run_out(story):
    s = story()
    a = s.running("a", retries=2)
    for _ in range(2):
        s.fail(a)
        assert s.settle() == ["start a on default.0"]
    s.fail(a, TimedOut(5.0))
    assert (a.state, a.record.failure, a.record.attempts) == ("failed", TimedOut(5.0), 3)
    assert s.settle() == ["a failed", "graph g ended"]


def test_a_retry_goes_behind_those_that_wait(story):
    s = story(ONE_SLOT)
    a = s.running("a", retries=1)
    s.create("b")
    s.fail(a)
    assert s.settle() == ["start b on default.0"]


def test_wrong_use_is_not_retried(story):
    """A function that asked for something impossible would ask again."""
    s = story()
    a = s.running("a", retries=3)
    s.scheduler.on_attempt_refused(a.attempt_id, Refused("a cycle"))
    assert s.commands() == []
    assert not s.succeed(a)
    assert (a.state, a.record.failure) == ("failed", Refused("a cycle"))
    assert s.settle() == ["a failed", "graph g ended"]


# ---- tail calls ------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_task_ends_as_the_task_it_returned(story, end: str, when: str):
    """Whether that has ended before or ends after; what waits for it sees its own end."""
    s = story()
    a = s.running("a")
    b = s.running("b")
    c = s.create("c", completed(a))
    finish = {"succeeded": s.succeed, "failed": s.fail, "cancelled": s.cancel}[end]
    if when == "before":
        finish(b)
    s.returns(a, b)
    if when == "after":
        assert (a.state, a.record.returns) == ("waiting", b.record)
        finish(b)
    stops = ["stop b"] if end == "cancelled" else []
    assert s.settle() == [*stops, f"b {end}", f"a {end}", "start c on default.0"]
    assert (a.state, a.record.failure) == (end, b.record.failure)
    assert c.state == "running"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_task_is_skipped_like_the_task_it_returned(story, when: str):
    s = story()
    a, x = s.running("a"), s.running("x")
    b = s.create("b", x)
    if when == "before":
        s.fail(x)
    s.returns(a, b)
    if when == "after":
        s.fail(x)
    assert s.settle() == ["x failed", "b skipped", "a skipped", "graph g ended"]
    assert a.record.skipped_because is x.record


def test_tail_calls_form_a_chain(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.returns(a, b)
    c = s.running("c")
    s.returns(b, c)
    s.succeed(c)
    assert s.settle() == ["c succeeded", "b succeeded", "a succeeded", "graph g ended"]


@pytest.mark.parametrize("how", ["itself", "a successor", "another graph", "nothing"])
def test_returning_what_cannot_be_is_a_failure(story, how: str):
    s = story()
    a = s.running("a")
    if how == "itself":
        s.returns(a, a)
        text = "'a' (task 1) returned a task that waits on it: 'a' (task 1) waits on 'a' (task 1)"
    elif how == "a successor":
        s.returns(a, s.create("b", a))
        text = (
            "'a' (task 1) returned a task that waits on it: "
            "'a' (task 1) waits on 'b' (task 2) waits on 'a' (task 1)"
        )
    else:
        s.returns(a, s.create("b", graph=s.open("other")) if how == "another graph" else 77)
        text = "'a' (task 1) returned a task of another graph"
    is_cycle = how in ("itself", "a successor")
    assert (a.state, a.record.failure) == ("failed", Refused(text, is_cycle))
    assert s.commands()[:1] == ["a failed"]


def test_a_refusal_comes_before_the_returned_task(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.scheduler.on_attempt_refused(a.attempt_id, Refused("no"))
    s.returns(a, b)
    assert s.commands() == ["a failed"]


def test_cancelling_the_caller_leaves_the_returned_task(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.returns(a, b)
    s.cancel(a)
    assert s.settle() == ["a cancelled"]
    s.succeed(b)
    assert s.settle() == ["b succeeded", "graph g ended"]


# ---- awaiting --------------------------------------------------------------------------------


def test_an_attempt_that_awaits_gives_its_slot_back(story):
    """With one slot a task can await its own child: no deadlock."""
    s = story(ONE_SLOT)
    a = s.running("a")
    b = s.create("b")
    assert s.settle() == []
    s.awaits(a, b)
    assert (a.attempt.state, s.graph.suspended) == ("suspended", 1)
    assert s.settle() == ["start b on default.0"]
    s.succeed(b)
    assert (a.attempt.state, s.graph.suspended) == ("assigned", 0)
    assert s.settle() == ["b succeeded", "tell a that b succeeded"]
    s.succeed(a)
    assert s.settle() == ["a succeeded", "graph g ended"]


def test_awaiting_an_ended_task_is_answered_at_once(story):
    s = story()
    b = s.ended("b", "failed")
    a = s.running("a")
    s.awaits(a, b)
    assert (a.attempt.state, s.commands()) == ("assigned", ["tell a that b failed"])


def test_awaiting_twice_is_awaiting_once(story):
    """Two trio tasks of one function may wait for the same task: one answer, no miscount."""
    s = story()
    a, b = s.running("a"), s.running("b")
    s.awaits(a, b)
    s.awaits(a, b)
    s.succeed(b)
    assert s.commands() == ["b succeeded", "tell a that b succeeded"]
    assert (a.attempt.state, s.worker().suspended) == ("assigned", 0)


def test_awaiting_several_tasks_lasts_until_the_last(story):
    s = story(LoopSpec("default", (3,)))
    a, b, c = s.running("a"), s.running("b"), s.running("c")
    s.awaits(a, b)
    s.awaits(a, c)
    s.succeed(c)
    assert (a.attempt.state, s.commands()) == (
        "suspended",
        ["c succeeded", "tell a that c succeeded"],
    )
    s.stops_awaiting(a, b)
    assert a.attempt.state == "assigned"
    s.succeed(b)
    assert s.commands() == ["b succeeded"]


def test_awaiting_may_be_given_up(story):
    """Also what it never awaited, and what has been answered already."""
    s = story()
    a, b = s.running("a"), s.running("b")
    s.stops_awaiting(a, b)
    s.awaits(a, b)
    s.stops_awaiting(a, b)
    s.stops_awaiting(a, b)
    assert (a.attempt.state, b.record.awaited_by, s.commands()) == ("assigned", {}, [])


def test_a_task_awaited_by_two_attempts_tells_both(story):
    s = story(LoopSpec("default", (3,)))
    a, b, c = s.running("a"), s.running("b"), s.running("c")
    s.awaits(a, c)
    s.awaits(b, c)
    s.succeed(c)
    assert s.commands() == ["c succeeded", "tell a that c succeeded", "tell b that c succeeded"]


def test_awaiting_a_task_of_another_graph_is_refused(story):
    s = story()
    a = s.running("a")
    b = s.create("b", graph=s.open("other"))
    with pytest.raises(GraphError) as caught:
        s.awaits(a, b)
    assert str(caught.value) == (
        "'a' (task 1) cannot await task 2: there is no such task in graph 'g'"
    )
    assert a.attempt.state == "assigned"


def test_a_cancelled_task_awaits_nothing_more(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.awaits(a, b)
    s.cancel(a)
    assert (a.attempt.state, b.record.awaited_by, s.graph.suspended) == ("cancelling", {}, 0)
    s.awaits(a, b)
    assert b.record.awaited_by == {}
    s.succeed(b)
    assert s.commands() == ["stop a", "a cancelled", "b succeeded"]


def test_a_function_may_end_while_it_awaits(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.awaits(a, b)
    s.succeed(a)
    s.succeed(b)
    assert s.settle() == ["a succeeded", "b succeeded", "graph g ended"]


def test_a_worker_lost_while_its_attempts_await(story):
    """They forget what they awaited, and nothing is told to a worker that is gone."""
    s = story(ONE_SLOT, LoopSpec("other", (1,)))
    a = s.running("a")
    b = s.running("b", loop="other")
    s.awaits(a, b)
    s.lose()
    assert (a.state, b.record.awaited_by, s.graph.suspended) == ("ready", {}, 0)
    s.succeed(b)
    assert s.settle() == ["b succeeded", "start worker default.0"]


def test_nothing_is_told_to_attempts_of_the_same_lost_worker(story):
    """The awaited task fails with the worker that its awaiter was on as well."""
    s = story(LoopSpec("default", (2,)), LoopSpec("other", (1,)))
    c = s.running("c", loop="other")
    b = s.running("b")
    for _ in range(2):
        s.lose()
        assert s.settle(1.0) == ["start worker default.0"]
        s.worker_ready()
        assert s.settle() == ["start b on default.0"]
    s.awaits(b, c)
    a = s.running("a")
    s.awaits(a, b)
    s.lose()
    assert (b.state, a.state) == ("failed", "ready")
    assert s.settle(1.0) == ["b failed", "start worker default.0"]


# ---- late predecessors -----------------------------------------------------------------------


def test_a_waiting_task_can_wait_for_more(story):
    s = story(LoopSpec("default", (3,)))
    a, b, c = s.running("a"), s.running("b"), s.create("c")
    d = s.create("d", succeeded(a, b, at_least=1))
    s.settle()
    s.add_predecessor(d, completed(c))
    s.succeed(a)
    assert (d.state, s.commands()) == ("waiting", ["a succeeded"])
    s.fail(c)
    assert (d.state, s.commands()) == ("ready", ["c failed"])
    assert list(d.record.predecessors) == [a.record, b.record, c.record]


def test_a_late_predecessor_may_have_ended(story):
    s = story()
    a, b = s.ended("a"), s.ended("b", "failed")
    x = s.running("x")
    waiting, skipped = s.create("w", x), s.create("k", x)
    s.add_predecessor(waiting, a)
    s.add_predecessor(skipped, [a, b])
    assert (waiting.state, skipped.state) == ("waiting", "skipped")
    assert skipped.record.skipped_because is b.record
    s.succeed(x)
    assert (waiting.state, s.commands()) == ("ready", ["k skipped", "x succeeded"])


@pytest.mark.parametrize("state", ["ready", "running", "succeeded", "cancelled"])
def test_it_is_too_late_for_a_predecessor(story, state: str):
    s = story(ONE_SLOT)
    b = s.ended("b")
    if state == "ready":
        s.running("x")
    a = s.create("a") if state == "ready" else s.running("a")
    {"succeeded": s.succeed, "cancelled": s.cancel}.get(state, lambda task: None)(a)
    s.settle()
    with pytest.raises(GraphError) as caught:
        s.add_predecessor(a, b)
    assert str(caught.value) == (
        f"too late to add a predecessor to {a.record.label}: it is {state!r}, and only "
        "a task that still waits for its condition can wait for more"
    )


def test_it_is_too_late_after_a_tail_call(story):
    s = story(LoopSpec("default", (3,)))
    a, b, c = s.running("a", completed(s.ended("x"))), s.running("b"), s.running("c")
    s.returns(a, b)
    with pytest.raises(GraphError, match="it has run, and only a task that still waits"):
        s.add_predecessor(a, c)


def test_a_cycle_is_refused_and_told(story):
    s = story()
    x = s.running("x")
    a = s.create("a", x)
    b = s.create("b", a)
    c = s.create("c", b)
    with pytest.raises(CycleError) as caught:
        s.add_predecessor(a, [x, c])
    assert str(caught.value) == (
        "these tasks would wait on each other for ever: 'a' (task 2) waits on 'c' (task 4) "
        "waits on 'b' (task 3) waits on 'a' (task 2)"
    )
    with pytest.raises(CycleError, match=r"for ever: 'a' \(task 2\) waits on 'a' \(task 2\)$"):
        s.add_predecessor(a, a)
    assert list(a.record.predecessors) == [x.record]
    s.succeed(x)
    assert s.settle() == ["x succeeded", "start a on default.0"]


def test_a_short_cycle_among_many_successors_is_found(story):
    """From the predecessor's side it is one step; from the task's side it is the last of many."""
    s = story()
    x = s.running("x")
    a = s.create("a", x)
    for number in range(20):
        s.create(f"b{number}", a)
    last = s.create("last", a)
    with pytest.raises(CycleError):
        s.add_predecessor(a, last)


def test_what_no_longer_waits_makes_no_cycle(story):
    """`b` needs one of two and has it, so it may come before `a` although `a` is the other."""
    s = story(LoopSpec("default", (3,)))
    x, y = s.running("x"), s.running("y")
    a = s.create("a", y)
    b = s.create("b", succeeded(a, x, at_least=1) & completed(y))
    s.succeed(x)
    s.add_predecessor(a, b)
    s.succeed(y)
    assert s.settle() == ["x succeeded", "y succeeded", "start b on default.0"]


def test_a_cancelled_caller_makes_no_cycle(story):
    """`a` had returned `b` but was cancelled: what waits for both may come before `b`."""
    s = story(LoopSpec("default", (9,)))
    x, a = s.running("x"), s.running("a")
    b = s.create("b", x)
    s.returns(a, b)
    c = s.create("c", completed(a, [s.running(name) for name in "defgh"]))
    s.cancel(a)
    s.add_predecessor(b, c)
    assert s.settle() == ["a cancelled"]
    with pytest.raises(CycleError):
        s.add_predecessor(c, b)


def test_a_refused_predecessor_changes_nothing(story):
    s = story()
    x = s.running("x")
    a = s.create("a", x)
    other = s.create("o", graph=s.open("other"))
    with pytest.raises(GraphError, match=r"'a' \(task 2\) cannot wait on task 3"):
        s.add_predecessor(a, [x, other])
    s.succeed(x)
    assert (a.state, s.commands()) == ("ready", ["x succeeded"])


# ---- cancelling ------------------------------------------------------------------------------


def test_a_waiting_task_is_cancelled(story):
    s = story()
    x = s.running("x")
    a = s.create("a", x)
    s.create("b", a)
    s.cancel(a)
    s.succeed(x)
    assert s.settle() == ["a cancelled", "b skipped", "x succeeded", "graph g ended"]
    s.cancel(a)
    assert s.settle() == []


def test_a_cancelled_ready_task_leaves_the_queue_at_once(story):
    """No worker is started for it, and nothing of it stays behind."""
    s = story(ready=False)
    a = s.create("a")
    s.cancel(a)
    assert len(a.record.loop.ready) == 0
    assert s.settle() == ["a cancelled", "graph g ended"]


def test_a_running_task_is_cancelled_and_its_attempt_stopped(story):
    """The task has ended at once; its slot is free when the worker says so."""
    s = story(ONE_SLOT)
    a = s.running("a")
    s.create("b")
    s.cancel(a)
    assert a.attempt.state == "cancelling"
    assert s.settle() == ["stop a", "a cancelled"]
    s.stopped(a)
    assert s.settle() == ["start b on default.0"]
    assert s.scheduler.next_deadline() is None


@pytest.mark.parametrize("how", ["succeeded", "failed", "returned"])
def test_what_a_stopped_attempt_brings_back_is_dropped_and_counted(story, how: str):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.cancel(a)
    for _ in range(2):  # once for the attempt nobody wants, once for one that is not known any more
        if how == "succeeded":
            assert not s.succeed(a)
        else:
            s.fail(a) if how == "failed" else s.returns(a, b)
    assert (a.state, s.scheduler.stale_reports) == ("cancelled", 2)
    assert s.commands() == ["stop a", "a cancelled"]


def test_what_is_given_back_while_told_to_stop_has_stopped(story):
    """The two messages cross on their way."""
    s = story()
    a = s.running("a")
    s.cancel(a)
    s.give_back(a)
    assert s.settle() == ["stop a", "a cancelled", "graph g ended"]
    assert s.scheduler.attempts == {}


def test_events_of_unknown_attempts_and_workers_are_harmless(story):
    s = story()
    s.scheduler.on_attempt_refused(99, Refused("no"))
    s.scheduler.on_attempt_awaits(99, 1)
    s.scheduler.on_attempt_stopped_awaiting(99, 1)
    s.scheduler.on_attempt_stopped(99, 0.0)
    s.scheduler.on_attempt_overdue(99, 0.0)
    s.scheduler.on_attempt_checked(99, 9.0, 0.0)
    s.scheduler.on_attempts_given_back(99, [1], 0.0)
    s.scheduler.on_attempts_given_back(1, [99], 0.0)
    s.scheduler.on_worker_ready(99, 0.0)
    s.scheduler.on_worker_lost(99, KILLED, 0.0)
    s.scheduler.on_worker_start_failed(99, "no")
    assert s.settle() == []


def test_an_illegal_event_is_refused_by_name(story):
    """A worker that stops what it was not told to stop breaks the protocol."""
    s = story()
    a = s.running("a")
    with pytest.raises(InternalError) as caught:
        s.stopped(a)
    assert str(caught.value) == (
        "attempt 1 of 'a' (task 1) is 'assigned' and cannot take 'stopped'"
    )


def test_a_cancelled_graph_ends_everything_and_skips_nothing(story):
    s = story(ONE_SLOT)
    done, a = s.ended("done"), s.running("a")
    b = s.create("b")
    s.create("c", [a, b])
    s.scheduler.on_graph_cancelled(s.graph)
    assert s.settle() == [
        *("stop a", "a cancelled", "b cancelled", "c cancelled"),
        "graph g ended",
    ]
    assert (done.state, len(b.record.loop.ready)) == ("succeeded", 0)


# ---- what does not stop is killed ------------------------------------------------------------


@pytest.mark.parametrize(("is_async", "grace"), [(False, 0.3), (True, 5.0)])
def test_the_worker_of_what_does_not_stop_is_killed(story, is_async: bool, grace: float):
    s = story()
    a, b = s.running("a", is_async=is_async), s.running("b")
    s.cancel(a)
    assert s.settle() == ["stop a", "a cancelled"]
    assert s.scheduler.next_deadline() == s.now + grace
    assert s.settle(grace / 2) == []
    assert s.settle(grace / 2) == ["kill default.0"]
    assert s.settle(100.0) == []
    s.lose()
    assert (b.state, b.record.losses, b.record.attempts) == ("ready", 0, 1)
    assert s.settle() == ["start worker default.0"]


def test_one_kill_is_enough(story):
    s = story()
    a, b = s.running("a"), s.running("b")
    s.cancel(a)
    s.settle()
    s.cancel(b)
    s.settle(0.1)
    assert s.settle(1.0) == ["kill default.0"]
    s.create("c")
    assert s.settle() == [], "nothing is given to a worker about to die"
    s.lose()
    assert s.settle() == ["start worker default.0"]


def test_the_coordinators_own_process_is_never_killed(story):
    s = story(LOCAL)
    a = s.running("a")
    s.cancel(a)
    assert s.settle() == ["stop a", "a cancelled", "graph g ended"]
    assert (s.scheduler.next_deadline(), s.settle(100.0)) == (None, [])


def test_an_overdue_attempt_is_stopped_and_its_task_retried(story):
    s = story(TWO_WORKERS)
    a = s.running("a", retries=1, timeout_seconds=2.0)
    old = a.attempt_id
    s.scheduler.on_attempt_overdue(old, s.now)
    assert s.settle() == ["stop a", "start a on default.1"]
    s.scheduler.on_attempt_overdue(old, s.now)
    assert s.settle(0.3) == ["kill default.0"]
    s.scheduler.on_attempt_overdue(a.attempt_id, s.now)
    assert (a.state, a.record.failure) == ("failed", TimedOut(2.0))
    assert s.commands() == ["stop a", "a failed"]


# ---- time limits of workers that cannot tell --------------------------------------------------


@pytest.mark.parametrize(("is_async", "slack"), [(False, 0.3), (True, 5.0)])
def test_an_attempt_long_past_its_limit_is_looked_at(story, is_async: bool, slack: float):
    """Its worker should have told. If it has run that long, its worker cannot even answer."""
    s = story(TWO_WORKERS)
    a = s.running("a", is_async=is_async, timeout_seconds=2.0, retries=1)
    b = s.running("b")
    assert s.scheduler.next_deadline() == s.now + 2.0 + slack
    assert s.settle(1.9 + slack) == []
    assert s.settle(0.1) == ["check a"]
    s.checked(a, 2.0 + slack)
    assert s.commands() == ["stop a", "kill default.0"]
    s.lose()
    assert (a.state, a.record.losses, a.record.attempts) == ("ready", 0, 1)
    assert s.settle() == ["start worker default.0"]
    s.worker_ready()
    assert s.settle() == ["start a on default.0"]
    assert s.settle(2.0 + slack) == ["check a"]
    s.checked(a, 2.0 + slack)
    assert (a.state, a.record.failure, b.state) == ("failed", TimedOut(2.0), "running")
    assert s.commands() == ["stop a", "a failed", "kill default.0"]


@pytest.mark.parametrize(("seconds", "later"), [(None, 2.3), (0.5, 1.8), (2.29, 0.3)])
def test_an_attempt_that_has_not_run_so_long_is_looked_at_again(story, seconds, later: float):
    """It began late, or holds no slot: when it may be due, and never at once, it is asked again."""
    s = story()
    a = s.running("a", timeout_seconds=2.0)
    assert s.settle(2.3) == ["check a"]
    s.checked(a, seconds)
    assert (a.state, s.commands()) == ("running", [])
    assert s.scheduler.next_deadline() == pytest.approx(s.now + later)
    assert s.settle(later - 0.01) == []
    assert s.settle(0.02) == ["check a"]
    s.checked(a, 2.4)
    assert s.settle() == ["stop a", "a failed", "kill default.0", "graph g ended"]


@pytest.mark.parametrize("how", ["succeeds", "fails", "is cancelled", "is lost"])
def test_an_attempt_that_has_ended_is_not_looked_at(story, how: str):
    """Neither is one whose end comes between the question and its answer."""
    s = story()
    a = s.running("a", timeout_seconds=2.0)
    b = s.running("b", timeout_seconds=1.0)
    first = b.attempt_id
    assert s.settle(1.3) == ["check b"]
    for task in (a, b):
        {"succeeds": s.succeed, "fails": s.fail, "is cancelled": s.cancel}.get(how, id)(task)
    if how == "is lost":
        s.lose()
    s.settle()
    s.scheduler.on_attempt_checked(first, 9.0, s.now)
    if how == "is cancelled":
        s.stopped(a)
        s.stopped(b)
    assert s.settle(100.0) == []
    assert s.scheduler.next_deadline() is None
    assert b.state == {"succeeds": "succeeded", "fails": "failed", "is lost": "ready"}.get(
        how, "cancelled"
    )


def test_limits_in_the_coordinators_own_process_are_its_own_affair(story):
    """What blocks that loop blocks the coordinator too, so there is nothing to look at."""
    s = story(LOCAL)
    s.running("a", timeout_seconds=2.0)
    s.running("b", is_async=True, timeout_seconds=2.0)
    assert (s.scheduler.next_deadline(), s.settle(100.0)) == (None, [])


# ---- workers ---------------------------------------------------------------------------------


def test_workers_start_for_ready_tasks(story):
    """As many as the tasks need, each index once."""
    s = story(LoopSpec("default", (2, 2, 2)), ready=False)
    for name in "abc":
        s.create(name)
    assert s.settle() == ["start worker default.0", "start worker default.1"]
    s.worker_ready(1)
    assert s.settle() == ["start a on default.1", "start b on default.1"]
    s.worker_ready(0)
    assert s.settle() == ["start c on default.0"]


def test_tasks_of_a_lost_worker_run_again_in_their_order(story):
    """Begun ones are counted as losses and attempts, unbegun ones as neither."""
    s = story(LoopSpec("default", (3,)))
    a, b, c = s.create("a"), s.create("b"), s.create("c")
    s.settle()
    s.lose(begun=[a, c])
    assert [(t.record.losses, t.record.attempts) for t in (a, b, c)] == [(1, 1), (0, 0), (1, 1)]
    assert s.settle() == ["start worker default.0"]
    s.worker_ready()
    assert s.settle() == [f"start {name} on default.0" for name in "abc"]


@pytest.mark.parametrize("still", [True, False], ids=["awaits still", "has awaited"])
def test_what_awaits_is_blamed_much_later(story, still: bool):
    """It ran nothing when its worker died; but if its children are to blame, it must end once."""
    s = story(ONE_SLOT, LoopSpec("other", (1,)))
    a = s.running("a")
    b = s.running("b", loop="other")
    for number in range(1, LOSSES_BESIDE_MAX + 1):
        s.awaits(a, b)
        if not still:
            s.stops_awaiting(a, b)
        s.lose(begun=[])
        record = a.record
        assert (record.losses, record.losses_beside, record.attempts) == (0, number, number)
        if number < LOSSES_BESIDE_MAX:
            assert s.settle(10.0) == ["start worker default.0"]
            s.worker_ready()
            assert s.settle() == ["start a on default.0"]
    last = LostTooOften(LOSSES_BESIDE_MAX, LOSSES_BESIDE_MAX, LAST_END)
    assert (a.state, a.record.failure) == ("failed", last)
    assert s.settle() == ["a failed"]


def test_who_begun_is_unknown_then_all_have(story):
    s = story()
    a, b = s.create("a"), s.create("b")
    s.settle()
    s.lose()
    assert (a.record.losses, b.record.losses) == (1, 1)
    assert s.settle() == ["start worker default.0"]


def test_a_task_that_workers_die_of_fails(story):
    s = story(ONE_SLOT)
    a = s.running("a")
    for _ in range(2):
        s.lose()
        assert s.settle(1.0) == ["start worker default.0"]
        s.worker_ready()
        assert s.settle() == ["start a on default.0"]
    s.lose()
    assert (a.state, a.record.failure) == ("failed", LostTooOften(3, 3, LAST_END))
    assert s.settle() == ["a failed", "graph g ended"]


def test_a_stopped_attempt_ends_with_its_worker(story):
    s = story()
    a = s.running("a")
    s.cancel(a)
    s.lose()
    assert s.settle() == ["stop a", "a cancelled", "graph g ended"]
    assert s.scheduler.next_deadline() is None


def test_a_loop_whose_worker_cannot_start_is_broken(story):
    """Its tasks fail, now and later; its other workers finish what they have."""
    s = story(TWO_WORKERS, ready=False)
    s.create("a")
    s.settle()
    s.worker_ready()
    s.settle()
    a = s.tasks[1]
    b = s.create("b")
    late = s.create("late", a)
    assert s.settle() == ["start worker default.1"]
    s.scheduler.on_worker_start_failed(s.worker(1).worker_id, "no numpy")
    assert s.settle() == ["loop default failed", "b failed"]
    assert b.record.failure == CannotStart("default", "no numpy")
    c = s.create("c")
    assert (c.state, s.commands()) == ("failed", ["c failed"])
    s.succeed(a)
    assert s.settle() == ["a succeeded", "late failed", "graph g ended"]
    assert late.record.failure == CannotStart("default", "no numpy")


def test_a_retry_in_a_broken_loop_fails(story):
    s = story(TWO_WORKERS, ready=False)
    s.create("a", retries=1)
    s.create("b")
    s.settle()
    s.worker_ready()
    s.settle()
    s.scheduler.on_worker_start_failed(s.worker(1).worker_id, "no numpy")
    s.fail(s.tasks[1])
    assert s.settle() == ["loop default failed", "b failed", "a failed", "graph g ended"]
    assert s.tasks[1].record.failure == CannotStart("default", "no numpy")


def test_workers_lost_before_they_begin_anything_break_the_loop(story):
    """Five in a row do; an attempt that brings something starts the count anew."""
    s = story(ONE_SLOT, ready=False)
    a = s.create("a")
    for way in ("lost", "ready", "lost", "works", "lost", "ready", "lost", "lost", "lost"):
        assert "start worker default.0" in s.settle(10.0)
        if way in ("ready", "works"):
            s.worker_ready()
            s.settle()
        if way == "works":
            s.fail(a)
            a = s.create("a")
        s.lose(begun=[])
    text = "5 workers in a row were lost before they began anything: pid 1 was killed"
    assert a.record.failure == CannotStart("default", text)
    assert s.settle() == ["loop default failed", "a failed", "graph g ended"]


def test_two_failed_starts_are_one_broken_loop(story):
    s = story(TWO_WORKERS, ready=False)
    s.create("a")
    s.create("b")
    s.settle()
    first, second = s.worker(0).worker_id, s.worker(1).worker_id
    s.scheduler.on_worker_start_failed(first, "no")
    s.scheduler.on_worker_start_failed(second, "no")
    assert s.settle() == ["loop default failed", "a failed", "b failed", "graph g ended"]


# ---- stalls ----------------------------------------------------------------------------------


def test_a_task_that_awaits_itself_stalls_its_graph(story):
    s = story()
    a = s.running("a")
    s.awaits(a, a)
    assert s.settle() == ["graph g stuck", "stop a", "a cancelled", "graph g ended"]


def test_a_task_that_awaits_its_successor_stalls_its_graph(story):
    s = story()
    a = s.running("a")
    b = s.create("b", a)
    s.awaits(a, b)
    assert s.settle() == [
        *("graph g stuck", "stop a", "a cancelled", "b cancelled"),
        "graph g ended",
    ]


def test_no_stall_while_something_can_go_on(story):
    s = story()
    a, c = s.running("a"), s.running("c")
    b = s.create("b", a)
    s.awaits(a, b)
    assert s.settle() == []
    s.succeed(c)
    assert s.settle()[:2] == ["c succeeded", "graph g stuck"]


def test_a_tail_call_to_one_that_awaits_the_caller_stalls(story):
    """`b` awaits `a`, and `a` ends as `b`: found although nothing has ended just then."""
    s = story()
    a, b = s.running("a"), s.running("b")
    s.awaits(b, a)
    assert s.settle() == []
    s.returns(a, b)
    assert s.settle()[0] == "graph g stuck"


def test_what_a_stall_cancels_is_placed_no_more(story):
    """The stalled attempts hold their slots until they stop, and settle knows that already."""
    s = story(TWO_WORKERS, ready=False)
    other = s.open("other")
    s.learn(1, 1e-4)
    s.create("a")
    assert s.settle() == ["start worker default.0"]
    s.worker_ready()
    assert s.settle() == ["start a on default.0"]
    a = s.tasks[1]
    s.awaits(a, a)
    s.create("b", graph=other, kind=1)
    assert s.settle() == [
        *("graph g stuck", "stop a", "a cancelled", "graph g ended"),
        "start b on default.0",
    ]
    assert s.settle(0.01) == ["start worker default.1"]


# ---- loss of nothing -------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_returned_is_the_callers(story, when: str):
    """What the caller ends as is one failure, whether it came before or after it was returned."""
    s = story()
    a, b = s.running("a"), s.running("b")
    if when == "before":
        s.fail(b)
    s.returns(a, b)
    if when == "after":
        s.fail(b)
    assert s.settle() == ["b failed", "a failed", "graph g ended"]
    assert unseen_failures(s.graph) == [a.record]
    a.record.is_seen = True
    assert unseen_failures(s.graph) == []


def test_a_failure_is_unseen_until_somebody_looks(story):
    s = story()
    a = s.ended("a", "failed")
    assert unseen_failures(s.graph) == [a.record]
    a.record.is_seen = True
    assert unseen_failures(s.graph) == []
    assert a.record.failure == RAISED == Raised("ValueError", "no", "Traceback ...")
