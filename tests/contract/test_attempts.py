"""Contract: retries give a task further attempts, time limits end them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

import pytest
import trio

from trio_actor_graph import TaskFailed, TaskTimeout, WorkerLost, current_task
from trio_actor_graph.graph import scheduler

from .board import POLL_SECONDS, Board
from .bodies import add, all_told, echo, hold, hold_blocking, told
from .conftest import Engine


def fail_until(board: Board, attempt: int) -> int:
    me = current_task()
    board.write(f"attempt {me.attempt}")
    if me.attempt < attempt:
        raise ValueError(f"attempt {me.attempt}")
    return me.attempt


async def fail_until_async(board: Board, attempt: int) -> int:
    await trio.lowlevel.checkpoint()
    return fail_until(board, attempt)


@pytest.mark.parametrize("function", [fail_until, fail_until_async])
async def test_retries_answer_exceptions(engine: Engine, board: Board, function: Any) -> None:
    """A task with n retries has up to n + 1 attempts, numbered from 1; the last counts."""
    async with engine.graph("retries") as graph:
        task = graph.create_task(function, board, 3, retries=5)
        assert task.attempt == 0
        assert await task.result() == 3
        assert (task.state, task.attempt, task.error) == ("succeeded", 3, None)
        assert board.lines() == ["attempt 1", "attempt 2", "attempt 3"]
        exhausted = graph.create_task(function, board, 9, retries=2, name="t")
        with pytest.raises(TaskFailed) as caught:
            await exhausted.result()
        assert told(caught.value) == (
            "TaskFailed",
            f"task 't' ({exhausted.uid}) failed: ValueError: attempt 3",
            ("ValueError", "attempt 3", None),
        )
        assert (exhausted.attempt, len(board.lines())) == (3, 6)


async def test_a_retry_goes_behind_others(engine: Engine, board: Board) -> None:
    """A task that is tried again waits its turn among the ready ones, and keeps its data edges."""

    def flaky(board: Board, numbers: list[int]) -> list[int]:
        board.write(f"flaky {current_task().attempt}")
        numbers.append(0)
        if current_task().attempt == 1:
            raise ValueError
        return numbers

    async with engine.graph("turns", engine.loop(concurrency=1)) as graph:
        held = graph.create_task(hold, board, "held", 1)
        task = graph.create_task(flaky, board, [held], retries=1)
        for number in range(2):
            graph.create_task(_write_after, board, number, waits_on=held)
        await board.wait_for("held runs")
        board.open("held")
        assert await task.result() == [1, 0]
    assert board.lines() == ["held runs", "flaky 1", "0", "1", "flaky 2"]


def _write_after(board: Board, line: object) -> None:
    board.write(line)


async def test_children_of_a_failed_attempt_stay(engine: Engine) -> None:
    """Tasks that a failed attempt has created run, and the next attempt creates its own."""

    def parent() -> None:
        current_task().create_task(echo, current_task().attempt)
        if current_task().attempt < 3:
            raise ValueError

    async with engine.open() as coordinator:
        async with coordinator.open_graph("children") as graph:
            graph.create_task(parent, retries=2)
        assert [t.result_nowait() for t in graph.tasks] == [None, 1, 2, 3]


async def test_an_async_task_is_stopped_at_its_time_limit(engine: Engine, board: Board) -> None:
    """An async task past `timeout_seconds` is cancelled, cleans up, and fails with TaskTimeout."""

    async def sleep(board: Board) -> None:
        try:
            await trio.sleep_forever()
        finally:
            board.write("cleaned up")

    async with engine.graph("limits") as graph:
        beside = graph.create_task(hold, board, "beside", 1, timeout_seconds=20)
        task = graph.create_task(sleep, board, name="t", timeout_seconds=0.05)
        with pytest.raises(TaskTimeout) as caught:
            await task.result()
        text = f"task 't' ({task.uid}) ran longer than its timeout of 0.05 s and was stopped"
        assert told(caught.value) == ("TaskTimeout", text, None)
        assert (caught.value.task_uid, caught.value.task_name) == (task.uid, "t")
        assert (task.state, task.attempt, beside.state) == ("failed", 1, "running")
        board.open("beside")
        assert await beside.result() == 1
        assert board.lines() == ["beside runs", "cleaned up"]


async def test_time_limits_can_be_retried(engine: Engine, board: Board) -> None:
    """A time limit holds for one attempt, and retries answer it too."""

    async def slow_at_first() -> int:
        if current_task().attempt == 1:
            await trio.sleep_forever()
        return current_task().attempt

    async with engine.graph("again") as graph:
        assert await graph.create_task(slow_at_first, timeout_seconds=0.05, retries=1).result() == 2


async def test_time_before_the_attempt_does_not_count(engine: Engine, board: Board) -> None:
    """Waiting for predecessors and for a slot is no part of the time limit."""
    async with engine.graph("waiting", engine.loop(concurrency=1)) as graph:
        held = graph.create_task(hold, board, "held")
        tasks = [
            graph.create_task(add, 1, waits_on=held, timeout_seconds=0.2),
            graph.create_task(add, 2, timeout_seconds=0.2),
        ]
        await board.wait_for("held runs")
        await trio.sleep(0.3)  # longer than the limit, whatever else happens
        board.open("held")
        assert [await task.result() for task in tasks] == [1, 2]


async def test_a_swallowed_time_limit_still_ends_the_task(engine: Engine, board: Board) -> None:
    """A task whose cleanup raises at its time limit fails, and so does one that ends on its own."""

    async def raise_in_cleanup() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    async with engine.graph("cleanup") as graph:
        task = graph.create_task(raise_in_cleanup, timeout_seconds=0.05, name="t")
        with pytest.raises(TaskFailed) as caught:
            await task.result()
        assert told(caught.value) == (
            "TaskFailed",
            f"task 't' ({task.uid}) failed: ValueError: in cleanup",
            ("ValueError", "in cleanup", None),
        )


async def test_a_plain_function_is_killed_at_its_time_limit(
    process_engine: Engine, board: Board
) -> None:
    """The process of a plain function past its limit is killed; its neighbours run again."""
    loop = process_engine.loop(concurrency=3)
    async with process_engine.graph("killed", loop, on_failure="continue") as graph:
        first = await graph.create_task(os.getpid).result()
        neighbours = [
            graph.create_task(hold_blocking, board, "plain", 1),
            graph.create_task(hold, board, "async", 2),
        ]
        await board.wait_for("plain runs")
        await board.wait_for("async runs")
        slow = graph.create_task(hold_blocking, board, "never", name="slow", timeout_seconds=0.1)
        await slow.wait()
        text = f"task 'slow' ({slow.uid}) ran longer than its timeout of 0.1 s and was stopped"
        assert all_told([slow.error]) == [("TaskTimeout", text, None)]  # type: ignore[list-item]
        await board.wait_for("plain runs", times=2)
        await board.wait_for("async runs", times=2)
        board.open("plain")
        board.open("async")
        assert [await task.result() for task in neighbours] == [1, 2]
        assert await graph.create_task(os.getpid).result() != first


async def test_a_plain_function_within_its_limit_is_left_alone(process_engine: Engine) -> None:
    """A limit that is not reached changes nothing: the same process goes on."""
    async with process_engine.graph("quick") as graph:
        pids = {await graph.create_task(os.getpid, timeout_seconds=5).result() for _ in range(3)}
        assert len(pids) == 1


async def test_a_time_limit_does_not_wait_for_a_slot(engine: Engine, board: Board) -> None:
    """A task that awaits a child in its only slot is stopped at its limit; the child goes on."""

    async def parent(board: Board) -> None:
        await current_task().create_task(hold, board, "child", 5).result()

    loop = engine.loop(concurrency=1)
    async with engine.graph("limits", loop, on_failure="continue") as graph:
        task = graph.create_task(parent, board, timeout_seconds=0.3)
        await task.wait()
        assert type(task.error) is TaskTimeout
        await board.wait_for("child runs")
        assert graph.tasks[1].state == "running"
        board.open("child")
        assert await graph.tasks[1].result() == 5
    assert board.lines() == ["child runs"]


async def test_a_plain_function_is_late_in_the_own_process_too() -> None:
    """There it cannot be stopped, but what it returns after its limit is not its result."""
    async with Engine("local").graph("late", on_failure="continue") as graph:
        task = graph.create_task(time.sleep, 0.1, name="late", timeout_seconds=0.02)
        await task.wait()
        text = f"task 'late' ({task.uid}) ran longer than its timeout of 0.02 s and was stopped"
        assert told(task.error) == ("TaskTimeout", text, None)


def hold_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(1000)


async def block_its_loop() -> None:
    while True:
        pass


@pytest.mark.parametrize("function", [hold_the_interpreter, block_its_loop])
async def test_a_worker_that_cannot_tell_a_time_limit_is_killed(
    process_engine: Engine, board: Board, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C code that holds the interpreter, or a loop that is blocked: TaskTimeout, a new worker."""
    monkeypatch.setattr(scheduler, "STOP_GRACE_SECONDS_ASYNC", 0.3)
    loop = process_engine.loop(concurrency=2)
    async with process_engine.graph("deaf", loop, on_failure="continue") as graph:
        first = await graph.create_task(os.getpid).result()
        beside = graph.create_task(hold, board, "beside", 2)
        await board.wait_for("beside runs")
        task = graph.create_task(function, name="deaf", timeout_seconds=0.1)
        await task.wait()
        text = f"task 'deaf' ({task.uid}) ran longer than its timeout of 0.1 s and was stopped"
        assert (told(task.error), task.attempt) == (("TaskTimeout", text, None), 1)
        await board.wait_for("beside runs", times=2)
        board.open("beside")
        assert await beside.result() == 2
        assert await graph.create_task(os.getpid).result() != first


async def test_a_worker_lost_under_what_awaits_counts(
    process_engine: Engine, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task whose process dies while it awaits a child ran nothing; still that has an end."""
    monkeypatch.setattr(scheduler, "LOSSES_BESIDE_MAX", 3)

    async def deadly(board: Board) -> None:
        board.write(f"attempt {current_task().attempt} of {os.getpid()}")
        await current_task().create_task(hold, board, "child", worker_loop="other").result()

    loops = [process_engine.loop(concurrency=1), Engine("local").loop("other")]
    async with process_engine.graph("losses", *loops, on_failure="continue") as graph:
        task = graph.create_task(deadly, board, name="deadly")
        for attempt in (1, 2, 3):
            await board.wait_for("child runs", attempt)
            while "awaits" not in task.explain():  # noqa: ASYNC110
                await trio.sleep(POLL_SECONDS)
            begun = [line for line in board.lines() if line.startswith("attempt")]
            assert begun[-1].startswith(f"attempt {attempt} of ")
            pid = int(begun[-1].rpartition(" ")[2])
            os.kill(pid, signal.SIGKILL)
        await task.wait()
        assert (type(task.error), task.attempt, len(begun)) == (WorkerLost, 3, 3)
        board.open("child")
