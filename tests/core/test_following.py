"""Core: what travels to a worker together with what it waits for, and what becomes of it there."""

from __future__ import annotations

import pytest

from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import completed, succeeded
from trio_actor_graph.graph.placement import AHEAD_SECONDS
from trio_actor_graph.graph.records import LoopSpec
from trio_actor_graph.graph.scheduler import STOP_GRACE_SECONDS

from .builder import RAISED, Story

SHORT = 1e-5
ONE_SLOT = LoopSpec("default", (1,))
TWO_WORKERS = LoopSpec("default", (1, 1))


def following(s: Story, **options: object):
    """`b`, which went to the worker with `a`, on which it waits."""
    s.learn(0, SHORT)
    a = s.create("a", **options)
    b = s.create("b", inputs=[a])
    assert s.settle() == ["start a on default.0", "start b on default.0"]
    assert b.attempt.follows == (a.attempt,)
    return a, b


def test_a_chain_travels_together(story):
    """Each link follows the one before it, and for everybody else it waits."""
    s = story(ONE_SLOT)
    s.learn(0, SHORT)
    links = [s.create("t0")]
    for index in range(1, 4):
        links.append(s.create(f"t{index}", inputs=[links[-1]]))
    assert s.settle() == [f"start t{i} on default.0" for i in range(4)]
    assert [link.state for link in links] == ["running", "waiting", "waiting", "waiting"]
    assert [link.record.attempts for link in links] == [1, 0, 0, 0]


def test_it_runs_when_what_it_follows_has_succeeded(story):
    s = story(ONE_SLOT)
    a, b = following(s)
    s.succeed(a, SHORT)
    assert s.commands() == ["a succeeded"]
    assert (b.state, b.record.attempts) == ("running", 1)
    assert s.succeed(b, SHORT)
    assert s.settle() == ["b succeeded", "graph g ended"]


def test_inputs_in_one_worker_are_followed_together(story):
    s = story(ONE_SLOT)
    s.learn(0, SHORT)
    a, b = s.create("a"), s.create("b")
    s.create("c", inputs=[a, b])
    assert len(s.settle()) == 3
    s.succeed(a, SHORT)
    s.succeed(b, SHORT)
    assert s.commands() == ["a succeeded", "b succeeded"]
    assert next(t for t in s.tasks.values() if t.record.spec.name == "c").state == "running"


def test_inputs_in_two_workers_are_not(story):
    s = story(TWO_WORKERS)
    s.learn(0, SHORT)
    a, b = s.create("a"), s.create("b")
    s.create("c", inputs=[a, b])
    assert s.settle() == ["start a on default.0", "start b on default.1"]
    s.succeed(a, SHORT)
    s.succeed(b, SHORT)
    assert s.settle() == ["a succeeded", "b succeeded", "start c on default.0"]


def test_what_was_given_to_the_worker_before_is_not_followed(story):
    """It may have ended there already."""
    s = story(LoopSpec("default", (2,)))
    s.learn(0, SHORT)
    a = s.running("a")
    s.create("b", inputs=[a])
    assert s.settle() == []


def test_one_successor_travels_and_the_others_stay(story):
    """They may find an idle worker."""
    s = story(TWO_WORKERS)
    s.learn(0, SHORT)
    a = s.create("a")
    for name in ("b", "c", "d"):
        s.create(name, inputs=[a])
    assert s.settle() == ["start a on default.0", "start b on default.0"]


@pytest.mark.parametrize(
    "reason", ["unknown", "long", "other loop", "completed", "any", "limit", "time limit"]
)
def test_what_does_not_travel(story, reason: str):
    """Only what is known to be short, and waits in the same loop for nothing but success."""
    tasks_max = 5 if reason == "limit" else None
    s = story(LoopSpec("default", (1,), tasks_max=tasks_max), LoopSpec("other", (1,)))
    s.learn(0, SHORT)
    s.learn(2, 2 * AHEAD_SECONDS)
    a = s.create("a")
    c = s.ended("c", "cancelled") if reason == "any" else None
    match reason:
        case "unknown":
            s.create("b", inputs=[a], kind=1)
        case "long":
            s.create("b", inputs=[a], kind=2)
        case "other loop":
            s.create("b", inputs=[a], loop="other")
        case "completed":
            s.create("b", completed(a))
        case "any":
            s.create("b", succeeded(a) | succeeded(c, a))
        case "limit":
            s.create("b", inputs=[a])
        case "time limit":
            s.create("b", inputs=[a], timeout_seconds=1.0)
    if c is None:
        assert s.settle() == ["start a on default.0"]
    else:
        assert "start b on default.0" not in s.settle()


def test_nothing_travels_behind_what_may_be_long(story):
    """A task that is on its way can wait for nothing more."""
    s = story(ONE_SLOT)
    s.learn(0, SHORT)
    s.create("b", inputs=[s.create("a", kind=1)])
    assert s.settle() == ["start a on default.0"]


def test_a_follower_stops_when_what_it_follows_fails(story):
    s = story(ONE_SLOT)
    a, b = following(s)
    s.fail(a)
    assert s.commands() == ["a failed", "stop b", "b skipped"]
    s.stopped(b)
    assert s.settle() == ["graph g ended"]
    assert b.record.attempts == 0


def test_a_retry_is_followed_anew(story):
    s = story(ONE_SLOT)
    a, b = following(s, retries=1)
    s.scheduler.on_attempt_failed(a.attempt_id, RAISED, SHORT, s.now)
    first = b.attempt
    assert s.settle() == ["stop b", "start a on default.0", "start b on default.0"]
    assert b.attempt is not first
    assert b.state == "waiting"
    s.scheduler.on_attempt_stopped(first.attempt_id, s.now)
    s.succeed(a, SHORT)
    assert s.commands() == ["a succeeded"]
    assert b.state == "running"


def test_a_follower_waits_on_for_the_task_that_was_returned(story):
    s = story(ONE_SLOT)
    a, b = following(s)
    c = s.create("c", kind=1)
    s.returns(a, c)
    assert s.settle() == ["stop b"]
    s.stopped(b)
    assert s.settle() == ["start c on default.0"]
    s.succeed(c)
    assert s.settle() == ["c succeeded", "a succeeded", "start b on default.0"]


def test_followers_of_a_task_that_was_given_back_stop(story):
    """Also those that follow these."""
    s = story(LoopSpec("default", (1, 1)))
    s.learn(0, SHORT)
    a = s.create("a")
    b = s.create("b", inputs=[a])
    c = s.create("c", inputs=[b])
    assert len(s.settle()) == 3
    s.give_back(a)
    assert s.commands() == ["stop b", "stop c"]
    assert [t.state for t in (a, b, c)] == ["ready", "waiting", "waiting"]
    s.stopped(b)
    s.stopped(c)
    assert len(s.settle()) == 3


def test_a_follower_that_is_to_wait_for_more_comes_back(story):
    """A task lets its successor wait for more work that it has found."""
    s = story(ONE_SLOT)
    a, b = following(s)
    s.scheduler.on_follower_given_back(b.attempt_id)
    c = s.create("c", kind=1)
    s.add_predecessor(b, c)
    s.succeed(a, SHORT)
    assert s.settle() == ["a succeeded", "start c on default.0"]
    s.succeed(c)
    assert s.settle() == ["c succeeded", "start b on default.0"]
    assert b.record.attempts == 1


def test_a_follower_that_nobody_wants_comes_back_too(story):
    s = story(ONE_SLOT)
    _, b = following(s)
    s.cancel(b)
    assert s.commands() == ["stop b", "b cancelled"]
    s.scheduler.on_follower_given_back(b.attempt_id)
    s.scheduler.on_follower_given_back(b.attempt_id)  # long gone
    assert s.settle() == []


def test_a_task_on_its_way_waits_for_nothing_more(story):
    s = story(ONE_SLOT)
    _, b = following(s)
    c = s.create("c", kind=1)
    with pytest.raises(GraphError, match=r"given to worker default/0, to run .* right after 'a'"):
        s.add_predecessor(b, c)
    assert s.settle() == []


def test_a_task_in_the_same_worker_lets_a_follower_wait_for_more(story):
    """It may be under way to that worker, which then gives it back, unbegun."""
    s = story(LoopSpec("default", (2,)))
    asker = s.running("asker", kind=1)
    _, b = following(s)
    c = s.create("c", kind=2)
    s.add_predecessor(b, c, asker.attempt)
    assert s.commands() == ["stop b"]
    assert b.state == "waiting"
    s.scheduler.on_follower_given_back(b.attempt_id)
    assert (b.state, b.record.attempt) == ("waiting", None)
    assert s.settle() == []


def test_a_follower_is_not_killed_for_before_it_runs(story):
    """What keeps its worker from answering is then something else, and innocent."""
    s = story(ONE_SLOT)
    _, b = following(s)
    s.cancel(b)
    assert s.commands() == ["stop b", "b cancelled"]
    assert s.settle(STOP_GRACE_SECONDS) == []
    assert s.settle(STOP_GRACE_SECONDS) == ["check b"]
    s.checked(b, None)
    assert s.settle(STOP_GRACE_SECONDS / 2) == []
    assert s.settle(STOP_GRACE_SECONDS) == ["check b"]
    s.checked(b, 0.1)
    assert s.settle() == ["kill default.0"]


def test_followers_of_a_lost_worker_wait_again(story):
    """One that has begun, since what it followed had ended unreported, has had its attempt."""
    s = story(ONE_SLOT)
    a, b = following(s)
    c = s.create("c", inputs=[b])
    s.lose(begun=[a, b], running=[b])
    assert s.settle() == ["start worker default.0"]
    assert [t.state for t in (a, b, c)] == ["ready", "waiting", "waiting"]
    assert [t.record.losses for t in (a, b)] == [0, 1]
    assert [t.record.attempts for t in (a, b)] == [1, 1]
    s.worker_ready()
    assert s.settle() == ["start a on default.0"], "what a worker died under comes home first"


def test_a_broken_loop_ends_followers_with_the_rest(story):
    s = story(TWO_WORKERS, ready=False)
    s.learn(0, SHORT)
    a = s.create("a")
    b = s.create("b", inputs=[a])
    assert s.settle() == ["start worker default.0"]
    s.worker_ready()
    assert len(s.settle()) == 2
    s.scheduler.start_worker(s.scheduler.loops["default"], 1)
    s.commands()
    s.scheduler.on_worker_start_failed(s.worker(1).worker_id, "no module")
    s.succeed(a, SHORT)
    assert s.commands() == ["loop default failed", "a succeeded", "stop b", "b failed"]
    s.stopped(b)
    assert s.settle() == ["graph g ended"]
