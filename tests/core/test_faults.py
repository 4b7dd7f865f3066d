"""Core: retries with delays, workers that die, wear out or come back too often, wide cancels."""

from __future__ import annotations

import pytest

from trio_actor_graph.graph.conditions import completed, succeeded
from trio_actor_graph.graph.failures import LostTooOften, Raised, StoreFull, TimedOut, WorkerEnd
from trio_actor_graph.graph.placement import RESTART_SECONDS, RESTART_SECONDS_MAX, restart_delay
from trio_actor_graph.graph.records import (
    HISTORY_MAX,
    HISTORY_SIZE_MAX,
    LOSSES_BESIDE_MAX,
    LoopSpec,
)
from trio_actor_graph.graph.retrying import RetrySpec, retry_delay

from .builder import KILLED, RAISED

ONE_SLOT = LoopSpec("default", (1,))
TWO_WORKERS = LoopSpec("default", (2, 2))
STEADY = RetrySpec(3, delay_seconds=1.0, factor=3.0, delay_seconds_max=5.0, jitter=0.0)


# ---- retries ---------------------------------------------------------------------------------


def test_a_retry_is_put_off_without_holding_a_slot(story):
    """Others run meanwhile; the delay grows by its factor up to its maximum."""
    s = story(ONE_SLOT)
    a = s.running("a", retry=STEADY)
    for delay in (1.0, 3.0, 5.0):
        s.fail(a)
        assert (a.state, s.settle()) == ("ready", [])
        b = s.running("b")
        s.succeed(b)
        assert s.settle() == ["b succeeded"]
        assert s.scheduler.next_deadline() == s.now + delay
        assert s.settle(delay - 0.01) == []
        assert s.settle(0.01) == ["start a on default.0"]
    s.fail(a)
    assert s.settle() == ["a failed", "graph g ended"]


def test_a_graph_with_a_retry_put_off_is_not_stalled(story):
    s = story()
    a = s.running("a", retry=STEADY)
    b = s.create("b", a)
    s.fail(a)
    assert (s.settle(), b.state) == ([], "waiting")


def test_a_task_cancelled_while_put_off_is_never_started(story):
    s = story()
    a = s.running("a", retry=STEADY)
    s.fail(a)
    s.cancel(a)
    assert s.settle() == ["a cancelled", "graph g ended"]
    assert s.settle(9.0) == []
    assert s.scheduler.next_deadline() is None


def test_a_final_failure_is_not_retried(story):
    s = story()
    a = s.running("a", retries=3)
    s.scheduler.on_attempt_failed(a.attempt_id, RAISED, 1.0, s.now, is_final=True)
    assert s.settle() == ["a failed", "graph g ended"]


def test_a_timeout_is_retried_only_if_the_policy_wants_it(story):
    s = story()
    a = s.running("a", retry=RetrySpec(1, is_timeout_retried=False), timeout_seconds=1.0)
    s.fail(a, TimedOut(1.0))
    assert s.settle() == ["a failed", "graph g ended"]


def test_a_result_without_room_fails_its_task_at_once(story):
    """Another attempt would find no more room."""
    s = story()
    a = s.running("a", retries=3)
    s.fail(a, StoreFull(10, 5, 12))
    assert s.settle() == ["a failed", "graph g ended"]


def test_jitter_takes_off_at_most_its_part():
    """The delays of many attempts spread over the whole of it."""
    spec = RetrySpec(9, delay_seconds=2.0, factor=1.0, jitter=0.5)
    delays = [retry_delay(spec, 1, attempt_id) for attempt_id in range(1, 1001)]
    assert 1.0 <= min(delays) < 1.01
    assert 1.99 < max(delays) <= 2.0


def test_a_delay_beyond_all_numbers_is_the_longest():
    spec = RetrySpec(9999, delay_seconds=1.0, factor=1e6, delay_seconds_max=7.0, jitter=0.0)
    assert retry_delay(spec, 5000, 1) == 7.0


def test_failed_and_lost_attempts_stay_visible(story):
    """Each with its number, worker and failure; those given back unbegun are none."""
    s = story(ONE_SLOT)
    a = s.running("a", retries=2)
    s.fail(a)
    s.settle()
    s.give_back(a)
    s.settle()
    s.lose(begun=[a])
    s.settle()
    s.worker_ready()
    s.settle()
    s.fail(a, TimedOut(1.0))
    s.settle()
    s.succeed(a)
    assert s.settle() == ["a succeeded", "graph g ended"]
    history = [(e.number, e.worker, e.failure) for e in a.record.history or ()]
    assert history == [
        (1, "default/0", RAISED),
        (2, "default/0", KILLED),
        (3, "default/0", TimedOut(1.0)),
    ]


def test_a_task_remembers_its_last_attempts_only(story):
    s = story()
    a = s.running("a", retries=HISTORY_MAX + 5)
    for _ in range(HISTORY_MAX + 5):
        s.fail(a)
        s.settle()
    assert [e.number for e in a.record.history or ()] == list(range(6, HISTORY_MAX + 6))


# ---- lost workers ----------------------------------------------------------------------------


def lose_twice(s, *tasks):
    """Both times everything was running; the second leaves suspects behind."""
    for _ in range(2):
        s.lose(begun=tasks)
        s.settle(1.0)
        s.worker_ready()
        commands = s.settle()
    return commands


def test_a_suspect_runs_alone(story):
    """After two losses together, each has its third attempt in a worker for itself."""
    s = story(LoopSpec("default", (3,)))
    a, b = s.create("a"), s.create("b")
    s.settle()
    assert lose_twice(s, a, b) == ["start a on default.0"]
    c = s.create("c")
    assert (b.state, c.state, s.settle()) == ("ready", "ready", [])
    s.lose(begun=[a])
    assert (a.state, b.record.losses) == ("failed", 2)
    assert s.settle(1.0) == ["a failed", "start worker default.0"]
    s.worker_ready()
    assert s.settle() == ["start b on default.0"]
    s.succeed(b)
    assert s.settle() == ["b succeeded", "start c on default.0"]


def test_a_worker_is_kept_free_for_a_suspect(story):
    """Where all are busy, the one with least to do gets nothing more until it is idle."""
    s = story(TWO_WORKERS)
    a = s.running("a")
    others = [s.running(f"x{n}") for n in range(3)]
    place = a.attempt.worker.index
    with_a = [t for t in (a, *others) if t.attempt.worker.index == place]
    for _ in range(2):
        s.lose(place, begun=[a])
        s.settle(1.0)
        s.worker_ready(place)
        s.settle()
        if a.record.losses < 2:
            place = a.attempt.worker.index
    assert a.record.is_suspect
    assert len(with_a) == 2
    assert a.attempt.worker.running == 1  # whichever worker it got, nothing else is there
    more = s.create("more")
    s.settle()
    assert more.attempt is None or more.attempt.worker is not a.attempt.worker
    s.succeed(a)
    assert more.state == "running" or "start more" in " ".join(s.settle())
    s.commands()


def test_a_suspect_that_awaits_lets_its_children_run_beside_it(story):
    """Else it would wait for ever where there is one worker."""
    s = story(LoopSpec("default", (2,)))
    a = s.create("a")
    s.settle()
    lose_twice(s, a)
    child = s.create("child")
    assert s.settle() == []
    s.awaits(a, child)
    assert s.settle() == ["start child on default.0"]
    s.succeed(child)
    assert s.settle() == ["child succeeded", "tell a that child succeeded"]
    s.succeed(a)
    assert s.settle() == ["a succeeded", "graph g ended"]


def test_a_task_whose_children_must_be_killed_beside_it_ends_once(story):
    """Its worker goes with each child that cannot be stopped otherwise; that is not for ever."""
    s = story(ONE_SLOT)
    parent = s.running("parent")
    for number in range(1, LOSSES_BESIDE_MAX + 1):
        child = s.create(f"child{number}")
        s.awaits(parent, child)
        s.settle()
        s.cancel(child)
        s.settle()
        assert "kill default.0" in s.settle(1.0)
        s.lose(begun=[child])
        assert (parent.record.losses, parent.record.losses_beside) == (0, number)
        s.settle()
        if parent.state == "ready":
            s.worker_ready()
            s.settle()
    assert isinstance(parent.record.failure, LostTooOften)


def test_what_is_killed_beside_others_is_innocent(story):
    """However often that happens."""
    s = story(LoopSpec("default", (2,)))
    innocent = s.running("innocent", priority=1)
    for number in range(2 * LOSSES_BESIDE_MAX):
        other = s.running(f"other{number}")
        s.cancel(other)
        s.settle()
        assert "kill default.0" in s.settle(1.0)
        s.lose(begun=[innocent, other])
        s.settle()
        s.worker_ready()
        assert "start innocent on default.0" in s.settle()
    assert (innocent.record.losses, innocent.record.losses_beside) == (0, 0)


def test_a_suspect_that_was_not_alone_is_not_blamed(story):
    """A neighbour that had awaited goes on beside it, and ends their worker."""
    s = story(LoopSpec("default", (2, 2)), LoopSpec("other", (1,)))
    x = s.running("x", loop="other")
    a, q = s.create("a"), s.create("q")
    s.settle()
    s.awaits(q, x)
    place = q.attempt.worker.index
    s.lose(1 - place, begun=[a])
    s.settle()
    beside = s.running("beside")
    s.settle()
    s.lose(place if a.attempt.worker.index == place else 1 - place, begun=[a])
    s.settle(1.0)
    for index in (0, 1):
        if any(w.index == index and not w.is_ready for w in s.scheduler.workers.values()):
            s.worker_ready(index)
    s.settle()
    if beside.state == "running":
        s.succeed(beside)
    s.settle()
    assert (a.state, a.record.losses) == ("running", 2)
    worker = a.attempt.worker
    if q.state == "running" and q.attempt.worker is worker:
        s.succeed(x)
    s.commands()
    end = WorkerEnd(KILLED.how, running=frozenset({a.attempt_id, 999}), begun=frozenset())
    s.scheduler.on_worker_lost(worker.worker_id, end, s.now)
    assert (a.state, a.record.losses, a.record.losses_beside) == ("ready", 2, 1)
    s.commands()


def test_two_suspects_of_one_worker_are_both_left_alone(story):
    """One that awaits lets the other in; when that has gone the first is still alone."""
    s = story(LoopSpec("default", (2,)), LoopSpec("other", (1,)))
    x = s.running("x", loop="other")
    a, b = s.create("a"), s.create("b")
    s.settle()
    assert lose_twice(s, a, b) == ["start a on default.0"]
    s.awaits(a, x)
    assert s.settle() == ["start b on default.0"]
    s.succeed(x)
    s.succeed(b)
    s.create("c")
    assert s.settle() == ["x succeeded", "tell a that x succeeded", "b succeeded"]
    s.succeed(a)
    assert s.settle() == ["a succeeded", "start c on default.0"]


def test_tasks_that_end_their_workers_are_given_up_one_by_one(story):
    """Each blamed one starts the delays anew, so a hundred of them are no matter of hours."""
    s = story(ONE_SLOT)
    tasks = [s.create(f"t{n}") for n in range(20)]
    s.settle()
    began = s.now
    while any(task.state != "failed" for task in tasks):
        s.lose(begun=[task for task in tasks if task.state == "running"])
        s.settle()
        while not s.scheduler.loops["default"].workers and s.scheduler.loops["default"].ready:
            s.settle(0.01)
        if s.scheduler.loops["default"].workers:
            s.worker_ready()
            s.settle()
    assert s.now - began < 20 * 3 * 2 * RESTART_SECONDS


def test_a_retry_put_off_fails_with_its_loop(story):
    """It does not wait for a time at which nothing could start."""
    s = story(LoopSpec("default", (1, 1)), ready=False)
    a, b = s.create("a", retry=STEADY), s.create("b")
    s.settle()
    s.worker_ready(0)
    s.settle()
    s.fail(a)
    s.settle()
    s.scheduler.on_worker_start_failed(s.worker(1).worker_id, "no numpy")
    assert "a failed" in s.settle()
    assert a.record.failure == b.record.failure if b.state == "failed" else a.record.failure
    s.commands()


def test_the_next_deadline_is_never_past(story):
    """Also where one worker hoards and another may not be started yet."""
    s = story(LoopSpec("default", (1, 1)))
    s.learn(0, 0.0001)
    tasks = [s.create(name) for name in "abcd"]
    s.settle()
    for task in [t for t in tasks if t.attempt.worker.index == 1]:
        s.cancel(task)
        s.commands()
        s.stopped(task)
    for _ in range(3):
        s.lose(1, begun=[])
        for seconds in (0.0, 0.02, 0.02, 0.1, 0.3):
            s.settle(seconds)  # asserts it
        if any(w.index == 1 for w in s.scheduler.workers.values()):
            s.worker_ready(1)


def test_a_worker_worn_from_the_start_takes_one_task_first(story):
    """A limit below what a process needs makes slow progress, not none."""
    s = story(ONE_SLOT)
    s.scheduler.on_worker_worn(s.worker().worker_id)
    a, b = s.create("a"), s.create("b")
    assert s.settle() == ["start a on default.0"]
    s.succeed(a)
    assert s.settle() == ["a succeeded", "retire default.0"]
    assert b.state == "ready"


def test_a_task_remembers_no_more_than_so_much(story):
    s = story()
    a = s.running("a", retries=50)
    large = Raised("ValueError", "x" * HISTORY_SIZE_MAX, "")
    for failure in (large, RAISED, large):
        s.fail(a, failure)
        s.settle()
    assert [e.failure for e in a.record.history or ()] == [large]


def test_what_a_retiring_worker_holds_ahead_is_called_back(story):
    s = story(LoopSpec("default", (1, 1), tasks_max=3))
    s.learn(0, 0.0001)
    tasks = [s.create(f"t{n}") for n in range(6)]
    s.settle()
    for task in [t for t in tasks if t.attempt.worker.index == 1]:
        s.succeed(task, 0.0001)
    s.settle()
    s.lose(1, begun=[])
    more = s.create("more")
    s.settle()
    s.worker_ready(1)
    s.settle()
    s.succeed(more)
    assert "recall 1 from default.0" in s.settle(0.02)


def test_a_cancelled_suspect_frees_its_worker(story):
    s = story(LoopSpec("default", (2,)))
    a, b = s.create("a"), s.create("b")
    s.settle()
    lose_twice(s, a, b)
    c = s.create("c")
    assert s.settle() == []
    s.cancel(b)
    s.succeed(a)
    assert s.settle() == ["b cancelled", "a succeeded", "start c on default.0"]
    assert c.state == "running"


def test_where_a_worker_has_one_slot_nobody_is_a_suspect(story):
    s = story(ONE_SLOT)
    a = s.create("a")
    s.settle()
    assert lose_twice(s, a) == ["start a on default.0"]
    assert not a.record.is_suspect
    assert s.create("b").state == "ready"


def test_what_had_ended_unreported_runs_again_without_blame(story):
    """It had begun, so the next attempt has a new number; it was not what the worker died of."""
    s = story(LoopSpec("default", (1,)))
    s.learn(0, 1e-5)
    a, b, c = s.create("a"), s.create("b"), s.create("c")
    s.settle()
    s.lose(begun=[a, b], running=[b])
    facts = [(t.record.attempts, t.record.losses) for t in (a, b, c)]
    assert facts == [(1, 0), (1, 1), (0, 0)]
    assert s.settle() == ["start worker default.0"]


def test_a_task_is_blamed_with_the_end_of_its_last_worker(story):
    s = story(ONE_SLOT)
    a = s.create("a")
    s.settle()
    lose_twice(s, a)
    end = WorkerEnd("process 7 was ended by SIGSEGV", 7, -11, "Fatal error", None, None)
    s.scheduler.on_worker_lost(s.worker().worker_id, end, s.now)
    assert a.record.failure == LostTooOften(3, 3, end)
    assert s.settle() == ["a failed", "graph g ended"]


@pytest.mark.parametrize(
    ("losses", "seconds"),
    [(1, 0.0), (2, RESTART_SECONDS), (3, 2 * RESTART_SECONDS), (99, RESTART_SECONDS_MAX)],
)
def test_restarts_are_put_off_ever_longer(losses, seconds):
    assert restart_delay(losses) == seconds


def test_a_lost_worker_is_replaced_at_once_and_the_next_one_later(story):
    """Until an attempt brings something; the loop's other workers go on meanwhile."""
    s = story(ONE_SLOT)
    a, b = s.create("a"), s.create("b")
    s.settle()
    s.lose(begun=[a])
    assert s.settle() == ["start worker default.0"]
    s.worker_ready()
    s.settle()
    s.lose(begun=[a])
    assert s.settle() == []
    assert s.scheduler.next_deadline() == s.now + RESTART_SECONDS
    assert s.settle(RESTART_SECONDS) == ["start worker default.0"]
    s.worker_ready()
    assert s.settle() == ["start a on default.0"]
    s.succeed(a)
    s.settle()
    s.lose(begun=[b])
    assert s.settle() == ["start worker default.0"]


# ---- workers that wear out -------------------------------------------------------------------


def test_a_worker_is_replaced_after_so_many_tasks(story):
    """It gets exactly that many, ends them, and goes; its place is taken when there is work."""
    s = story(LoopSpec("default", (1,), tasks_max=3))
    s.learn(0, 1e-5)
    tasks = [s.create(name) for name in "abcd"]
    assert s.settle() == [f"start {name} on default.0" for name in "abc"]
    for task in tasks[:3]:
        s.succeed(task)
    assert s.settle() == ["a succeeded", "b succeeded", "c succeeded", "retire default.0"]
    s.lose(begun=[])
    assert s.settle() == ["start worker default.0"]
    s.worker_ready()
    assert s.settle() == ["start d on default.0"]


def test_what_is_given_back_does_not_count_as_given(story):
    s = story(LoopSpec("default", (1, 1), tasks_max=2))
    s.learn(0, 1e-5)
    s.create("a")
    s.settle()
    first = s.tasks[1].attempt.worker
    s.give_back(s.tasks[1], index=first.index)
    assert first.given == 0
    s.settle()


def test_a_worn_worker_finishes_what_it_holds(story):
    s = story(LoopSpec("default", (2,)))
    a, b = s.running("a"), s.running("b")
    s.scheduler.on_worker_worn(s.worker().worker_id)
    c = s.create("c")
    s.succeed(a)
    assert s.settle() == ["a succeeded"]
    s.succeed(b)
    assert s.settle() == ["b succeeded", "retire default.0"]
    s.lose(begun=[])
    assert s.settle() == ["start worker default.0"]
    assert c.state == "ready"


def test_a_retired_worker_counts_as_no_loss(story):
    s = story(LoopSpec("default", (1,), tasks_max=1))
    for name in "abcdefgh":
        task = s.create(name)
        s.settle()
        if task.state == "ready":
            s.worker_ready()
            s.settle()
        s.succeed(task)
        assert f"{name} succeeded" in s.settle()
        s.lose(begun=[])
    loop = s.scheduler.loops["default"]
    assert (loop.losses_in_row, loop.failed_starts, loop.failure) == (0, 0, None)


def test_a_retiring_worker_lets_children_run(story):
    """Where every worker is to be replaced and one holds a task that awaits another of the loop."""
    s = story(LoopSpec("default", (1,), tasks_max=1))
    parent = s.running("parent")
    child = s.create("child")
    assert s.settle() == []
    s.awaits(parent, child)
    assert s.settle() == ["start child on default.0"]
    s.succeed(child)
    assert s.settle() == ["child succeeded", "tell parent that child succeeded"]
    s.succeed(parent)
    assert s.settle() == ["parent succeeded", "graph g ended", "retire default.0"]


# ---- cancelling what waits -------------------------------------------------------------------


def test_cancelling_with_successors_ends_all_that_waits(story):
    """By whatever condition, and however far; what does not wait on it goes on."""
    s = story()
    a = s.running("a")
    other = s.running("other")
    b = s.create("b", completed(a))
    c = s.create("c", succeeded(b, other, at_least=1))
    s.create("d", inputs=[c])
    free = s.create("free", other)
    s.cancel(a, successors=True)
    assert s.settle() == [
        *("stop a", "a cancelled", "b cancelled", "c cancelled", "d cancelled"),
    ]
    assert (free.state, other.state) == ("waiting", "running")


def test_cancelling_an_ended_task_does_nothing(story):
    """Nothing waits on it any more, whatever else its successors wait for."""
    s = story()
    a, b = s.running("a"), s.running("b")
    waiting = s.create("waiting", [a, b])
    s.succeed(a)
    s.cancel(a, successors=True)
    assert (a.state, waiting.state, s.settle()) == ("succeeded", "waiting", ["a succeeded"])


def test_cancelling_with_successors_ends_what_returned_the_task(story):
    s = story()
    a = s.running("a")
    b = s.create("b")
    s.returns(a, b)
    s.settle()
    s.cancel(b, successors=True)
    assert (a.state, b.state) == ("cancelled", "cancelled")
    s.commands()
