"""Contract: an async task can await its children, and gives its slot back meanwhile."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
import trio.testing

from trio_actor_graph import TaskCancelled, TaskFailed, TaskSkipped, current_task

from .board import POLL_SECONDS, Board
from .bodies import add, all_told, echo, echo_async, fail, fail_async, hold, told, write
from .conftest import Engine


async def dig(board: Board, depth: int) -> int:
    board.write(f"down {depth}")
    below = await current_task().create_task(dig, board, depth - 1).result() if depth else 0
    board.write(f"up {depth}")
    return below + 1


async def test_one_slot_is_enough_for_nested_awaiting(engine: Engine, board: Board) -> None:
    """With concurrency 1 a task awaits its child, that its own, and so on, without a deadlock."""
    async with engine.graph("deep", engine.loop(concurrency=1)) as graph:
        assert await graph.create_task(dig, board, 5).result() == 6
    down = [f"down {n}" for n in (5, 4, 3, 2, 1, 0)]
    assert board.lines() == [*down, *(f"up {n}" for n in range(6))]


async def test_many_nests_share_one_slot(engine: Engine, board: Board) -> None:
    """Ten tasks of depth 4, plain functions at the bottom, one slot: all of them come through."""

    async def nest(depth: int) -> int:
        if not depth:
            return await current_task().create_task(add, 1).result()
        return 1 + await current_task().create_task(nest, depth - 1).result()

    async with engine.graph("nests", engine.loop(concurrency=1)) as graph:
        tasks = [graph.create_task(nest, 4) for _ in range(10)]
        assert [await task.result() for task in tasks] == [5] * 10


async def test_children_can_be_awaited_together(engine: Engine) -> None:
    """A nursery inside a task awaits many children at once, several times the same one too."""

    async def gather(number: int) -> list[int]:
        results = [-1] * number * 2

        async def fetch(index: int, child: Any) -> None:
            results[index] = await child.result()

        async with trio.open_nursery() as nursery:
            for index in range(number):
                child = current_task().create_task((add, echo_async)[index % 2], index)
                nursery.start_soon(fetch, index, child)
                nursery.start_soon(fetch, number + index, child)
        return results

    async with engine.graph("gather", engine.loop(concurrency=1)) as graph:
        tasks = [graph.create_task(gather, 20) for _ in range(3)]
        assert [await task.result() for task in tasks] == [[*range(20), *range(20)]] * 3


async def test_results_inside_are_as_outside(engine: Engine) -> None:
    """A child awaited inside gives result, state and error as they are, also a second time."""

    async def parent() -> Any:
        child = current_task().create_task(echo, {"a": (1, None)})
        before = (child.state, child.error)
        first = await child.result()
        await child.wait()
        return before, first, await child.result(), (child.state, child.error, child.name)

    async with engine.graph("inside") as graph:
        value = {"a": (1, None)}
        expected = (("waiting", None), value, value, ("succeeded", None, "echo"))
        assert await graph.create_task(parent).result() == expected


async def test_an_abandoned_await_leaves_the_child_alone(engine: Engine, board: Board) -> None:
    """`move_on_after` around an await ends the waiting only; it can be awaited again later."""

    async def parent(board: Board) -> tuple[Any, ...]:
        child = current_task().create_task(hold, board, "child", 5, worker_loop="other")
        with trio.move_on_after(0.02) as scope:
            await child.result()
        board.write("abandoned")
        await board.pass_gate("go on")
        return scope.cancelled_caught, await child.result()

    loops = engine.loop(concurrency=1), engine.loop("other")
    async with engine.graph("abandoned", *loops, seconds=6) as graph:
        task = graph.create_task(parent, board)
        await board.wait_for("abandoned")
        await board.wait_for("child runs")
        while "awaits" in task.explain():  # noqa: ASYNC110
            await trio.sleep(POLL_SECONDS)
        # It has its slot again: nobody else of its loop runs while it goes on.
        waiting = graph.create_task(write, board, "next")
        board.open("child")
        await graph.tasks[1].wait()
        assert (task.state, waiting.state) == ("running", "ready")
        board.open("go on")
        assert await task.result() == (True, 5)
        assert graph.tasks[1].state == "succeeded"


async def test_a_failing_child_raises_inside(engine: Engine) -> None:
    """Awaiting a child that fails, is skipped or cancelled raises that inside the task."""

    async def parent() -> list[Any]:
        me = current_task()
        bad = me.create_task(fail, "bad luck", name="bad")
        async_bad = me.create_task(fail_async, "bad luck", name="bad")
        skipped = me.create_task(echo, bad, name="skipped")
        cancelled = me.create_task(trio.sleep_forever, name="cancelled")
        cancelled.cancel()
        errors = []
        for child in (bad, async_bad, skipped, cancelled):
            try:
                await child.result()
            except (TaskFailed, TaskSkipped, TaskCancelled) as error:
                errors.append((child.uid, child.state, told(error), told(child.error)))
        return errors

    async with engine.graph("failing") as graph:
        results = await graph.create_task(parent).result()
        uids = [uid for uid, *_ in results]
        assert uids == [task.uid for task in graph.tasks[1:]]
        bad, other, skipped, cancelled = uids
        why = ("ValueError", "bad luck", None)
        failed = ("TaskFailed", f"task 'bad' ({bad}) failed: ValueError: bad luck", why)
        expected = [
            ("failed", failed),
            ("failed", ("TaskFailed", f"task 'bad' ({other}) failed: ValueError: bad luck", why)),
            (
                "skipped",
                (
                    "TaskSkipped",
                    f"task 'skipped' ({skipped}) was skipped because task 'bad' ({bad}) failed",
                    failed,
                ),
            ),
            (
                "cancelled",
                ("TaskCancelled", f"task 'cancelled' ({cancelled}) was cancelled", None),
            ),
        ]
        assert results == [(uid, s, e, e) for uid, (s, e) in zip(uids, expected, strict=True)]


async def test_an_uncaught_failure_of_a_child_fails_its_parent(engine: Engine) -> None:
    """A child's error that its parent does not catch is the parent's, the child's as its cause."""

    async def parent() -> None:
        await current_task().create_task(fail, "bad luck", name="child").result()

    async with engine.open() as coordinator:
        with pytest.raises(ExceptionGroup) as caught:
            async with coordinator.open_graph("uncaught") as graph:
                task = graph.create_task(parent, name="parent")
        child = graph.tasks[1]
        text = f"task 'child' ({child.uid}) failed: ValueError: bad luck"
        failed = f"task 'parent' ({task.uid}) failed: trio_actor_graph.errors.TaskFailed: {text}"
        [error] = caught.value.exceptions
        assert told(error)[:2] == ("TaskFailed", failed)  # type: ignore[index]
        assert told(error.__cause__)[:2] == ("TaskFailed", text)  # type: ignore[index]
        assert (task.state, child.state) == ("failed", "failed")


@pytest.mark.parametrize("way", ["result", "wait"])
async def test_only_asking_for_the_result_sees_a_failure(engine: Engine, way: str) -> None:
    """A failure whose `result` was awaited in a worker is seen; one only waited for is not."""

    async def parent(way: str) -> str:
        child = current_task().create_task(fail, name="child")
        try:
            await getattr(child, way)()
        except TaskFailed:
            return "raised"
        return child.state

    async with engine.open() as coordinator:
        errors: tuple[BaseException, ...] = ()
        try:
            async with coordinator.open_graph("seen") as graph:
                task = graph.create_task(parent, way)
        except ExceptionGroup as group:
            errors = group.exceptions
        child = graph.tasks[1]
        assert task.state == "succeeded"
        text = f"task 'child' ({child.uid}) failed: ValueError: no"
        expected = {
            "result": ("raised", []),
            "wait": ("failed", [("TaskFailed", text, ("ValueError", "no", None))]),
        }
        assert (task.result_nowait(), all_told(errors)) == expected[way]


async def test_a_result_asked_for_after_waiting_is_seen(engine: Engine) -> None:
    """`wait` first and `result` afterwards sees the failure all the same."""

    async def parent() -> str:
        child = current_task().create_task(fail)
        await child.wait()
        with contextlib.suppress(TaskFailed):
            await child.result()
        return child.state

    async with engine.graph("later") as graph:
        assert await graph.create_task(parent).result() == "failed"


async def test_a_worker_says_what_it_does_not_know(engine: Engine) -> None:
    """What a worker does not know of a child is refused with a clear error."""

    async def parent() -> list[str]:
        from trio_actor_graph import GraphError

        child = current_task().create_task(echo)
        texts = []
        for ask in (
            child.result_nowait,
            child.explain,
            lambda: child.attempt,
            lambda: child.predecessors,
            lambda: child.successors,
        ):
            try:
                ask()
            except GraphError as error:
                texts.append(str(error).split(": ", 1)[1])
        return texts

    names = ("explain", "attempt", "predecessors", "successors")
    async with engine.open() as coordinator, coordinator.open_graph("limits") as graph:
        assert await graph.create_task(parent).result() == [
            "it has no result yet that is known here; await it first",
            *(f"{name} is known to the coordinator, not inside a worker" for name in names),
        ]


async def test_what_has_been_awaited_is_known_inside(engine: Engine) -> None:
    """After `wait` a child's `result_nowait` and `error` answer inside as they do outside."""

    async def parent() -> tuple[Any, ...]:
        children = [current_task().create_task(echo, n) for n in range(3)]
        bad = current_task().create_task(fail, name="bad")
        async with trio.open_nursery() as nursery:
            for child in (*children, bad):
                nursery.start_soon(child.wait)
        try:
            bad.result_nowait()
        except TaskFailed as error:
            raised = told(error)
        return [c.result_nowait() for c in children], bad.state, raised, told(bad.error), bad.uid

    async with engine.graph("known") as graph:
        results, state, raised, error, uid = await graph.create_task(parent).result()
        text = f"task 'bad' ({uid}) failed: ValueError: no"
        assert (results, state, raised) == ([0, 1, 2], "failed", error)
        assert error == ("TaskFailed", text, ("ValueError", "no", None))


async def test_one_part_waits_and_another_asks(engine: Engine, board: Board) -> None:
    """A failure is seen when any part of the task asks for the result, whoever waited before."""

    async def fail_later(board: Board) -> None:
        await board.pass_gate("asked")
        raise ValueError("no")

    async def parent(board: Board) -> None:
        child = current_task().create_task(fail_later, board)

        async def ask() -> None:
            board.open("asked")
            with contextlib.suppress(TaskFailed):
                await child.result()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.wait)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask)

    async with engine.graph("seen", on_failure="raise") as graph:
        await graph.create_task(parent, board).result()
        await graph.wait_finished()
        assert [t.state for t in graph.tasks] == ["succeeded", "failed"]


async def test_parts_of_a_task_await_by_turns(engine: Engine, board: Board) -> None:
    """A part that begins to await while another takes the slot back disturbs neither."""

    async def parent(board: Board) -> str:
        first, second = (
            current_task().create_task(hold, board, gate, worker_loop="other")
            for gate in ("first", "second")
        )

        async def await_second() -> None:
            # The first has ended, and the slot it was given up for is taken by another task.
            await board.pass_gate("first seen")
            await second.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.wait)
            nursery.start_soon(await_second)
        board.write("parent ends")
        return "fine"

    loops = [engine.loop(concurrency=1), engine.loop("other")]
    async with engine.graph("turns", *loops) as graph:
        task = graph.create_task(parent, board)
        await board.wait_for("first runs")
        beside = graph.create_task(hold, board, "beside")
        await board.wait_for("beside runs")
        board.open("first")
        await graph.tasks[1].wait()
        board.open("first seen")
        await board.wait_for("second runs")
        board.open("second")
        await graph.tasks[2].wait()
        assert (task.state, beside.state) == ("running", "running")
        board.open("beside")
        assert await task.result() == "fine"
        assert (beside.state, board.lines()[-1]) == ("succeeded", "parent ends")
