"""Contract: retry policies, per task and per function, and the attempts that stay visible."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import pytest
import trio

from trio_actor_graph import (
    GraphError,
    RetryPolicy,
    TaskFailed,
    TaskSkipped,
    TaskTimeout,
    current_task,
    open_coordinator,
    task_defaults,
)

from .board import Board
from .conftest import Engine


class Transient(Exception):
    """Worth another attempt."""


def fail_with(board: Board, kind: type[Exception]) -> None:
    board.write(kind.__name__)
    raise kind(f"attempt {current_task().attempt}")


async def fail_with_async(board: Board, kind: type[Exception]) -> None:
    await trio.lowlevel.checkpoint()
    fail_with(board, kind)


def is_transient(error: BaseException) -> bool:
    return isinstance(error, Transient)


def cannot_tell(error: BaseException) -> bool:
    if isinstance(error, TaskTimeout):
        return False
    raise LookupError("no idea")


@pytest.mark.parametrize("function", [fail_with, fail_with_async])
@pytest.mark.parametrize("retry_on", [Transient, (OSError, Transient), is_transient])
async def test_only_wanted_exceptions_are_retried(
    engine: Engine, board: Board, function: Any, retry_on: Any
) -> None:
    """A type, a tuple of types, or a predicate decide, in the worker, on the true exception."""
    policy = RetryPolicy(2, retry_on=retry_on)
    async with engine.graph("g", on_failure="continue") as graph:
        wanted = graph.create_task(function, board, Transient, retries=policy)
        await wanted.wait()
        unwanted = graph.create_task(function, board, ValueError, retries=policy)
    assert board.lines() == [*["Transient"] * 3, "ValueError"]
    assert (wanted.attempt, unwanted.attempt) == (3, 1)


async def test_a_predicate_that_raises_ends_the_task_with_its_own_exception(
    engine: Engine, board: Board
) -> None:
    """The predicate's error is told beside it."""
    async with engine.graph("g", on_failure="continue") as graph:
        policy = RetryPolicy(2, retry_on=cannot_tell)
        task = graph.create_task(fail_with, board, ValueError, retries=policy)
    assert board.lines() == ["ValueError"]
    assert "ValueError: attempt 1" in str(task.error)
    assert "LookupError" in str(task.error)


def test_a_predicate_made_for_other_exceptions_can_be_used() -> None:
    """It is asked about a timeout when the policy is made, and says no by raising."""
    policy = RetryPolicy(1, retry_on=lambda error: error.response == 503)  # type: ignore[attr-defined]
    assert not policy.spec.is_timeout_retried


async def fail_with_group(board: Board, *kinds: type[Exception]) -> None:
    board.write("group")
    raise ExceptionGroup("g", [kind() for kind in kinds])


async def test_a_group_is_retried_if_all_in_it_are(engine: Engine, board: Board) -> None:
    """A nursery in the task makes a group of whatever is raised there."""
    policy = RetryPolicy(1, retry_on=(Transient, OSError))
    async with engine.graph("g", on_failure="continue") as graph:
        all_wanted = graph.create_task(fail_with_group, board, Transient, OSError, retries=policy)
        mixed = graph.create_task(fail_with_group, board, Transient, KeyError, retries=policy)
    assert (all_wanted.attempt, mixed.attempt) == (2, 1)


async def test_a_default_policy_that_cannot_travel_is_refused_when_registered() -> None:
    """Not when a task names the function, which is too late for anybody to hear."""
    frame = sys._getframe()

    @task_defaults(retries=RetryPolicy(1, retry_on=lambda error: frame is error))
    def named() -> None: ...

    with pytest.raises(GraphError, match="retry_on"):
        async with open_coordinator(functions={"named": named}):
            pass


async def test_a_retry_comes_after_its_delay(engine: Engine, board: Board) -> None:
    """Meanwhile the task is ready, says that it is put off, and others run."""
    policy = RetryPolicy(1, delay_seconds=0.3, jitter=0.0)
    async with engine.graph("g", engine.loop(concurrency=1), on_failure="continue") as graph:
        began = trio.current_time()
        task = graph.create_task(fail_with, board, ValueError, retries=policy)
        await board.wait_for("ValueError")
        while task.state == "running":  # noqa: ASYNC110 - its report is under way
            await trio.sleep(0.002)
        told = r"1 attempt \(ValueError.*\) and is put off: the next one comes in 0\.\d s$"
        assert re.search(told, task.explain())
        assert await graph.create_task(len, "abc").result() == 3
        assert task.state == "ready"
        await task.wait()
        assert trio.current_time() - began >= 0.3
    assert board.lines() == ["ValueError"] * 2


async def test_attempts_stay_visible_with_their_errors(engine: Engine, board: Board) -> None:
    """Number, worker and error of each one that brought nothing."""
    async with engine.graph("g", on_failure="continue") as graph:
        task = graph.create_task(fail_with, board, ValueError, retries=2, name="t")
    attempts = task.failed_attempts
    assert [(a.number, a.worker) for a in attempts] == [(n, "default/0") for n in (1, 2, 3)]
    assert len({a.attempt_id for a in attempts}) == 3
    assert [str(a.error.__cause__) for a in attempts] == [f"attempt {n}" for n in (1, 2, 3)]
    assert "fail_with" in attempts[0].error.remote_traceback


@task_defaults(retries=RetryPolicy(2, retry_on=Transient), timeout_seconds=30)
def flaky(board: Board, kind: type[Exception]) -> None:
    fail_with(board, kind)


@task_defaults(timeout_seconds=0.05, retries=0)
async def slow() -> None:
    await trio.sleep(0.2)


def create_flaky(board: Board, by_name: bool) -> Any:
    function: Any = "flaky" if by_name else flaky
    return current_task().create_task(function, board, Transient)


async def test_a_function_brings_its_defaults(engine: Engine, board: Board) -> None:
    """`create_task` overrides each; nothing said is the default."""
    async with engine.graph("g", on_failure="continue") as graph:
        by_default = graph.create_task(flaky, board, Transient)
        overridden = graph.create_task(flaky, board, Transient, retries=0)
        limited = graph.create_task(slow)
        unlimited = graph.create_task(slow, timeout_seconds=math.inf)
    assert (by_default.attempt, overridden.attempt) == (3, 1)
    assert isinstance(limited.error, TaskTimeout)
    assert unlimited.error is None


@pytest.mark.parametrize("by_name", [False, True])
async def test_defaults_hold_for_tasks_that_tasks_create(
    engine: Engine, board: Board, by_name: bool
) -> None:
    """Also for a registered function, of which the worker knows the name only."""
    async with (
        engine.open(functions=[flaky]) as coordinator,
        coordinator.open_graph("g", on_failure="continue") as graph,
    ):
        graph.create_task(create_flaky, board, by_name)
    assert board.lines() == ["Transient"] * 3


async def test_a_timeout_is_retried_if_the_policy_wants_it(engine: Engine) -> None:
    """`TaskTimeout` is asked about like any exception."""
    async with engine.graph("g", on_failure="continue") as graph:
        one = graph.create_task(slow, retries=RetryPolicy(1, retry_on=ValueError))
        two = graph.create_task(slow, retries=RetryPolicy(1, retry_on=TaskTimeout))
    assert (one.attempt, two.attempt) == (1, 2)
    assert all(isinstance(task.error, TaskTimeout) for task in (one, two))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "retries below 0": ({"retries": -1}, "retries"),
    "retries yes": ({"retries": True}, "retries"),
    "a negative delay": ({"retries": 1, "delay_seconds": -1}, "delay_seconds"),
    "a delay that is no number": ({"retries": 1, "delay_seconds": math.nan}, "delay_seconds"),
    "a longest delay in words": ({"retries": 1, "delay_seconds_max": "1"}, "delay_seconds_max"),
    "a shrinking factor": ({"retries": 1, "factor": 0.5}, "factor"),
    "too much jitter": ({"retries": 1, "jitter": 1.5}, "jitter"),
    "a delay beyond the longest": ({"retries": 1, "delay_seconds": 300}, "delay_seconds_max"),
    "a delay of False": ({"retries": 1, "delay_seconds": False}, "delay_seconds"),
    "retry_on: text": ({"retries": 1, "retry_on": "ValueError"}, "retry_on"),
    "retry_on: no exception type": ({"retries": 1, "retry_on": int}, "retry_on"),
    "retry_on: a tuple of texts": ({"retries": 1, "retry_on": ("a",)}, "retry_on"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_policy_is_refused(case: str) -> None:
    """By name and value, where it is made."""
    arguments, name = WRONG[case]
    with pytest.raises(GraphError, match=name):
        RetryPolicy(**arguments)


async def test_an_unpicklable_predicate_is_refused_at_creation(engine: Engine) -> None:
    """Nothing is left of the task."""
    frame = sys._getframe()
    policy = RetryPolicy(1, retry_on=lambda error: frame is error)
    async with engine.graph("g") as graph:
        with pytest.raises(GraphError, match="retry_on"):
            graph.create_task(len, "a", retries=policy)
        assert graph.tasks == ()


async def test_a_failure_that_is_not_retried_is_told_as_ever(engine: Engine, board: Board) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with engine.graph("g") as graph:
            graph.create_task(
                fail_with, board, ValueError, retries=RetryPolicy(3, retry_on=OSError)
            )
    assert isinstance(caught.value.exceptions[0], TaskFailed)


def fail_until_told(board: Board) -> int:
    board.write("ran")
    if len(board.lines()) < 2:
        raise ValueError("not yet")
    return 7


def double(number: int) -> int:
    return 2 * number


async def test_a_failed_task_is_tried_again_with_what_was_skipped(
    engine: Engine, board: Board
) -> None:
    """Under the same handles: `result` waits again, and the failure is forgotten."""
    async with engine.graph("g") as graph:
        first = graph.create_task(fail_until_told, board)
        second = graph.create_task(double, first)
        with pytest.raises(TaskSkipped):
            await second.result()
        assert (first.state, first.attempt) == ("failed", 1)
        first.retry()
        assert (first.state, second.state) == ("ready", "waiting")
        assert await second.result() == 14
        assert (first.result_nowait(), first.attempt, first.error) == (7, 2, None)
        with pytest.raises(GraphError, match="only what failed or was cancelled"):
            first.retry()


async def test_a_cancelled_task_is_tried_again(engine: Engine, board: Board) -> None:
    async with engine.graph("g") as graph:
        task = graph.create_task(double, graph.create_task(trio.sleep, 0.05, name="pause"))
        task.cancel()
        await task.wait()
        task.retry()
        with pytest.raises(TaskFailed, match="TypeError"):
            await task.result()


async def test_where_results_are_kept_as_needed_nothing_is_tried_again(
    engine: Engine, board: Board
) -> None:
    async with engine.open() as coordinator:
        options: dict[str, Any] = {"keep_results": "needed", "on_failure": "continue"}
        async with coordinator.open_graph("g", **options) as graph:
            task = graph.create_task(fail_until_told, board)
            await task.wait()
            with pytest.raises(GraphError, match="keep_results='needed'"):
                task.retry()
        with pytest.raises(GraphError, match="has been closed"):
            task.retry()
