"""Contract: a cancelled task is over at once, wherever it was, and takes with it what needs it."""

from __future__ import annotations

import os
import random
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from trio_actor_graph import (
    GraphError,
    Task,
    TaskCancelled,
    TaskSkipped,
    completed,
    current_task,
)
from trio_actor_graph.graph import scheduler

from .board import Board
from .bodies import echo, echo_async, hold, hold_blocking, noop, told, write
from .conftest import Engine


async def cancelled_error(task: Task) -> Any:
    with pytest.raises(TaskCancelled) as caught:
        await task.result()
    return told(caught.value)


def as_told(task: Task) -> Any:
    return ("TaskCancelled", f"task {task.name!r} ({task.uid}) was cancelled", None)


async def tidy(board: Board, name: str) -> None:
    """Runs until it is cancelled, and needs a moment to clean up."""
    try:
        board.write(f"{name} runs")
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
            board.write(f"{name} cleaned up")


async def test_a_task_can_be_cancelled_in_any_state(engine: Engine, board: Board) -> None:
    """Waiting, ready or running: a cancelled task is so at once, and skips others."""
    async with engine.open(engine.loop(concurrency=1)) as coordinator:
        async with coordinator.open_graph("states") as graph:
            running = graph.create_task(tidy, board, "running")
            ready = graph.create_task(write, board, "ready ran")
            waiting = graph.create_task(write, board, "waiting ran", waits_on=ready)
            behind = [graph.create_task(echo, t) for t in (running, ready, waiting)]
            after = graph.create_task(echo, "after", waits_on=completed(behind, waiting))
            await board.wait_for("running runs")
            tasks = (waiting, ready, running)
            assert [t.state for t in tasks] == ["waiting", "ready", "running"]
            for task in tasks:
                task.cancel()
                assert task.state == "cancelled"
            assert [t.state for t in behind] == ["skipped"] * 3
            for task in tasks:
                assert await cancelled_error(task) == as_told(task)
                assert told(task.error) == as_told(task)
            with pytest.raises(TaskSkipped) as caught:
                await behind[0].result()
            text = f"task 'echo' ({behind[0].uid}) was skipped because task 'tidy' ({running.uid})"
            expected = ("TaskSkipped", f"{text} was cancelled", as_told(running))
            assert told(caught.value) == expected
            assert await after.result() == "after"
            await board.wait_for("running cleaned up")
        assert board.lines() == ["running runs", "running cleaned up"]


async def test_cancelling_what_has_ended_changes_nothing(engine: Engine, board: Board) -> None:
    """A cancel that comes too late is no error and does nothing, and so is a second one."""
    async with engine.graph("late", on_failure="continue") as graph:
        good = graph.create_task(echo, 1)
        bad = graph.create_task(echo, 1, 2)
        skipped = graph.create_task(noop, waits_on=bad)
        gone = graph.create_task(noop, waits_on=good)
        gone.cancel()
        await graph.wait_finished()
        states = [t.state for t in graph.tasks]
        for task in (good, bad, skipped, gone):
            task.cancel()
        assert [t.state for t in graph.tasks] == states
        assert states == ["succeeded", "failed", "skipped", "cancelled"]
        assert await good.result() == 1


async def test_a_waiter_wakes_when_its_task_is_cancelled(engine: Engine, board: Board) -> None:
    """Whoever waits for a task's result is told of its cancellation."""
    async with engine.graph("waiters") as graph:
        task = graph.create_task(hold, board, "held")
        errors: list[Any] = []

        async def wait(task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            errors.append(await cancelled_error(task))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                await nursery.start(lambda task_status: wait(task_status))
            await board.wait_for("held runs")
            task.cancel()
        assert errors == [as_told(task)] * 3


async def test_a_cancelled_graph_ends_all_its_tasks(engine: Engine, board: Board) -> None:
    """`graph.cancel` ends every task, refuses new ones, and leaves without an error."""
    async with engine.open(engine.loop(concurrency=2)) as coordinator:
        async with coordinator.open_graph("whole") as graph:
            done = graph.create_task(echo, 1)
            await done.wait()
            running = [graph.create_task(tidy, board, name) for name in "ab"]
            graph.create_task(write, board, "ready ran")
            graph.create_task(write, board, "waiting ran", waits_on=completed(running))
            for name in "ab":
                await board.wait_for(f"{name} runs")
            graph.cancel()
            assert [t.state for t in graph.tasks] == ["succeeded", *["cancelled"] * 4]
            with pytest.raises(GraphError, match="graph 'whole' has been cancelled"):
                graph.create_task(echo, 2)
            graph.cancel()
            await graph.wait_finished()
            assert await done.result() == 1
        for name in "ab":
            await board.wait_for(f"{name} cleaned up")
        assert sorted(board.lines()) == ["a cleaned up", "a runs", "b cleaned up", "b runs"]
        async with coordinator.open_graph("next") as graph:
            assert await graph.create_task(echo, 3).result() == 3


async def test_leaving_a_cancelled_graph_waits_for_cleanup(engine: Engine, board: Board) -> None:
    """When the body fails, leaving the graph waits a moment for what its tasks clean up."""
    async with engine.open() as coordinator:
        with pytest.raises(KeyError):  # noqa: PT012 - leaving a graph is under test
            async with coordinator.open_graph("body") as graph:
                graph.create_task(tidy, board, "task")
                await board.wait_for("task runs")
                raise KeyError
        assert board.lines() == ["task runs", "task cleaned up"]


async def test_a_task_cancels_its_child(engine: Engine, board: Board) -> None:
    """`cancel` of a child inside a task works as outside, and waiting for it tells how it ended."""

    async def parent(board: Board) -> list[Any]:
        running = current_task().create_task(tidy, board, "child")
        waiting = current_task().create_task(echo, waits_on=running)
        await board.wait_for("child runs")
        running.cancel()
        await waiting.wait()
        await running.wait()
        return [running.state, waiting.state]

    def leave_it_cancelled(board: Board) -> None:
        before = current_task().create_task(hold, board, "before")
        current_task().create_task(write, board, "never", waits_on=before).cancel()

    async with engine.graph("inside") as graph:
        assert await graph.create_task(parent, board).result() == ["cancelled", "skipped"]
        await graph.create_task(leave_it_cancelled, board).result()
        never = graph.tasks[-1]
        await never.wait()  # while what it waits for still runs
        assert never.state == "cancelled"
        board.open("before")
        await graph.wait_finished()
        await board.wait_for("child cleaned up")
        assert "never" not in board.lines()


async def test_a_cancelled_parent_leaves_its_children(engine: Engine, board: Board) -> None:
    """Cancelling a task that awaits its child ends the parent; the child runs on."""

    async def parent(board: Board) -> None:
        await current_task().create_task(hold, board, "child", 5).result()

    async with engine.graph("orphan", engine.loop(concurrency=1)) as graph:
        task = graph.create_task(parent, board)
        await board.wait_for("child runs")
        task.cancel()
        child = graph.tasks[1]
        assert (task.state, child.state) == ("cancelled", "running")
        board.open("child")
        assert await child.result() == 5


async def test_what_a_cancelled_task_still_creates_is_dropped(engine: Engine, board: Board) -> None:
    """A task's cleanup after its cancellation can create tasks, which nobody wants any more."""

    async def stubborn(board: Board) -> None:
        try:
            board.write("runs")
            await trio.sleep_forever()
        finally:
            current_task().create_task(write, board, "born too late")
            board.write("cleaned up")

    async with engine.graph("late") as graph:
        task = graph.create_task(stubborn, board)
        await board.wait_for("runs")
        task.cancel()
        await board.wait_for("cleaned up")
        assert await graph.create_task(echo, 1).result() == 1
        assert [t.state for t in graph.tasks] == ["cancelled", "succeeded"]
    assert board.lines() == ["runs", "cleaned up"]


async def test_a_running_plain_function_is_killed(process_engine: Engine, board: Board) -> None:
    """Cancelling a plain function kills its process; others in it run again, losing no attempt."""
    loop = process_engine.loop(concurrency=3)
    async with process_engine.graph("killed", loop) as graph:
        neighbours = [
            graph.create_task(hold_blocking, board, "plain", 1),
            graph.create_task(hold, board, "async", 2),
        ]
        # More often than workers may be lost under a task that is to blame for it.
        for times in range(1, 5):
            await board.wait_for("plain runs", times)
            await board.wait_for("async runs", times)
            victim = graph.create_task(hold_blocking, board, f"victim {times}")
            behind = graph.create_task(echo, victim)
            await board.wait_for(f"victim {times} runs")
            victim.cancel()
            assert (victim.state, behind.state) == ("cancelled", "skipped")
        await board.wait_for("plain runs", 5)
        board.open("plain")
        board.open("async")
        assert [await task.result() for task in neighbours] == [1, 2]


async def test_a_plain_function_that_ends_in_time_is_not_killed(
    process_engine: Engine, board: Board
) -> None:
    """A cancelled plain function that returns within the grace period costs no process."""
    async with process_engine.graph("grace") as graph:
        pid = await graph.create_task(os.getpid).result()
        task = graph.create_task(hold_blocking, board, "held")
        await board.wait_for("held runs")
        task.cancel()
        board.open("held")
        await trio.sleep(0.5)  # longer than the grace period
        assert await graph.create_task(os.getpid).result() == pid
        assert task.state == "cancelled"


async def test_cancelling_a_parent_does_not_cost_its_childs_process(
    process_engine: Engine, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled parent does not wait for the slot its child has, so no process is killed."""
    monkeypatch.setattr(scheduler, "STOP_GRACE_SECONDS_ASYNC", 0.3)

    async def parent(board: Board) -> None:
        await current_task().create_task(hold_blocking, board, "child", 5).result()

    loop = process_engine.loop(concurrency=1)
    async with process_engine.graph("parent", loop) as graph:
        task = graph.create_task(parent, board)
        await board.wait_for("child runs")
        task.cancel()
        await trio.sleep(0.6)  # longer than the grace period
        board.open("child")
        assert await graph.tasks[1].result() == 5
    assert board.lines() == ["child runs"]


async def test_what_is_cancelled_while_it_is_loaded_does_not_run(
    process_engine: Engine,
    board: Board,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A coroutine function that a plain one's thread goes on with can still be cancelled then."""
    module = types.ModuleType("slow_to_import")
    text = f"""
import sys
sys.path.append({str(Path(__file__).parent.parent)!r})
from pathlib import Path
from contract.board import Board
async def write(board):
    board.write("ran")
import os
if os.getpid() != {os.getpid()}:
    board = Board(Path({str(tmp_path)!r}))
    board.write("loading")
    board.pass_gate_blocking("load")
"""
    (tmp_path / "slow_to_import.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    exec(text, module.__dict__)
    monkeypatch.setitem(sys.modules, "slow_to_import", module)
    async with process_engine.open(process_engine.loop(concurrency=2)) as coordinator:
        async with coordinator.open_graph("loading", on_failure="continue") as graph:
            await graph.create_task(echo_async).result()
            beside = graph.create_task(hold, board, "beside")
            await board.wait_for("beside runs")
            # Held ahead behind a plain function only if both are known to be short.
            learn = coordinator._scheduler.durations.learn
            for function in (hold_blocking, module.write):
                learn(coordinator._functions.entry(function).function_id, 0.0)
            graph.create_task(hold_blocking, board, "first")
            late = graph.create_task(module.write, board)
            await board.wait_for("first runs")
            assert late.state == "running"
            board.open("first")
            await board.wait_for("loading")
            late.cancel()
            # What is sent after the cancellation has run, so that has arrived.
            behind = graph.create_task(echo_async, 1)
            board.open("beside")
            assert await behind.result() == 1
            board.open("load")
        assert (late.state, beside.state) == ("cancelled", "succeeded")
        async with coordinator.open_graph("after") as graph:
            assert await graph.create_task(echo, 2).result() == 2
    assert board.lines() == ["beside runs", "first runs", "loading"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_ten_thousand_cancels_race_completions(engine: Engine, seed: int) -> None:
    """Every task ends in exactly one state: whoever comes first, and never again."""
    number = 10_000
    lots = random.Random(seed)
    ends: dict[int, list[str]] = {}
    loop = engine.loop(processes=2)
    async with engine.graph("race", loop, on_failure="continue", seconds=60) as graph:
        tasks = [graph.create_task(echo, n) for n in range(number)]
        roots = tasks[::100]
        later = [graph.create_task(echo, root) for root in roots]

        async def watch() -> None:
            async for task in graph.as_completed():
                ends.setdefault(task.uid, []).append(task.state)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await tasks[0].wait()
            for task in lots.sample(tasks, number):
                task.cancel(successors=lots.random() < 0.5)
                if lots.random() < 0.01:
                    await trio.lowlevel.checkpoint()
        counts = graph.counts()
    assert counts["succeeded"]
    assert counts["cancelled"]
    assert sum(counts[state] for state in ("succeeded", "cancelled", "skipped")) == len(ends)
    assert len(ends) == number + len(later)
    for task in (*tasks, *later):
        assert ends[task.uid] == [task.state]
    values = [task.result_nowait() for task in tasks if task.state == "succeeded"]
    assert values == [n for n, task in enumerate(tasks) if task.state == "succeeded"]


async def test_cancelling_a_task_with_its_successors(engine: Engine, board: Board) -> None:
    """What waits on it ends with it, whatever its condition; the rest goes on."""
    async with engine.graph("wide", on_failure="continue") as graph:
        held = graph.create_task(hold, board, "gate")
        beside = graph.create_task(echo, 1)
        by_edge = graph.create_task(echo, held)
        by_any = graph.create_task(echo, 2, waits_on=completed(held))
        far = graph.create_task(echo, by_any)
        await beside.wait()
        held.cancel(successors=True)
        assert [t.state for t in (held, by_edge, by_any, far)] == ["cancelled"] * 4
        board.open("gate")
    assert beside.state == "succeeded"


async def cancel_children(board: Board) -> list[str]:
    me = current_task()
    first = me.create_task(hold, board, "gate")
    second = me.create_task(echo, 1, waits_on=completed(first))
    first.cancel(successors=True)
    await first.wait()
    await second.wait()
    return [first.state, second.state]


async def test_a_task_cancels_another_with_its_successors(engine: Engine, board: Board) -> None:
    async with engine.graph("inside") as graph:
        states = await graph.create_task(cancel_children, board).result()
        board.open("gate")
    assert states == ["cancelled", "cancelled"]
