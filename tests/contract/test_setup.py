"""Contract: what a worker sets up once, for all tasks that it runs."""

# ruff: noqa: PT012 - what raises is leaving a graph, and that takes a block

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from trio_actor_graph import Coordinator, GraphError, WorkerStartError, current_task
from trio_actor_graph.graph import scheduler

from .board import Board
from .bodies import echo, hold, noop, told
from .conftest import Engine


def context() -> Any:
    return current_task().worker_context


async def context_async() -> Any:
    await trio.lowlevel.checkpoint()
    return current_task().worker_context


def set_up(board: Board, index: int) -> dict[str, int]:
    board.write(f"set up {index}")
    return {"index": index}


async def set_up_async(board: Board, index: int) -> dict[str, int]:
    await trio.lowlevel.checkpoint()
    return set_up(board, index)


@asynccontextmanager
async def set_up_managed(board: Board, index: int) -> AsyncIterator[dict[str, int]]:
    yield await set_up_async(board, index)
    await trio.lowlevel.checkpoint()
    board.write(f"closed {index}")


@pytest.mark.parametrize("setup", [set_up, set_up_async, set_up_managed])
async def test_setup_gives_every_task_its_worker_context(
    engine: Engine, board: Board, setup: Any
) -> None:
    """`setup` runs once a process, before its first task; its value is every task's context."""
    loop = engine.loop(setup=partial(setup, board))
    async with engine.open(loop, start="eager") as coordinator:
        assert board.lines() == ["set up 0"]
        async with coordinator.open_graph("contexts") as graph:
            tasks = [graph.create_task(f) for f in (context, context_async) * 2]
            assert [await task.result() for task in tasks] == [{"index": 0}] * 4
            assert current_worker_is_same(engine, await graph.create_task(identity).result())
        assert board.lines() == ["set up 0"]
    closed = ["closed 0"] if setup is set_up_managed else []
    assert board.lines() == ["set up 0", *closed]


def identity() -> int:
    return os.getpid()


def current_worker_is_same(engine: Engine, pid: int) -> bool:
    return (pid == os.getpid()) is not engine.has_processes


async def test_a_context_is_one_object(engine: Engine) -> None:
    """All tasks of a process share one context object, which they may change."""

    def count() -> int:
        current_task().worker_context.append(0)
        return len(current_task().worker_context)

    async with engine.graph("shared", engine.loop(setup=lambda _: [])) as graph:
        assert [await graph.create_task(count).result() for _ in range(3)] == [1, 2, 3]


async def test_without_setup_there_is_no_context(engine: Engine) -> None:
    """A loop without `setup` has None as its context."""
    async with engine.graph("none") as graph:
        assert await graph.create_task(context).result() is None


async def test_each_process_has_its_index(process_engine: Engine, board: Board) -> None:
    """`setup` is called with the number of the process in its loop, counted from 0."""
    loop = process_engine.loop(concurrency=3, processes=3, setup=partial(set_up_managed, board))
    async with process_engine.open(loop, start="eager") as coordinator:
        assert sorted(board.lines()) == ["set up 0", "set up 1", "set up 2"]
        assert sorted(w.index for w in coordinator.workers) == [0, 1, 2]
        assert [w.is_ready for w in coordinator.workers] == [True] * 3
    assert sorted(board.lines()[3:]) == ["closed 0", "closed 1", "closed 2"]


async def test_the_body_ends_before_the_context_closes(engine: Engine, board: Board) -> None:
    """Tasks end before their worker's context is left."""
    loop = engine.loop(setup=partial(set_up_managed, board))
    async with engine.graph("order", loop) as graph:
        graph.create_task(hold, board, "task")
        await board.wait_for("task runs")
        board.open("task")
    assert board.lines() == ["set up 0", "task runs", "closed 0"]


@asynccontextmanager
async def break_at_start(index: int) -> AsyncIterator[None]:
    raise LookupError(f"no database for {index}")
    yield


def break_plain(index: int) -> None:
    raise LookupError(f"no database for {index}")


def leave_at_start(index: int) -> None:
    raise SystemExit(f"no database for {index}")


async def test_a_failing_setup_fails_the_loops_tasks(engine: Engine) -> None:
    """A loop whose `setup` fails fails its tasks, told once at the end; other loops go on."""
    setups = {f.__name__: f for f in (break_at_start, break_plain, leave_at_start)}
    loops = [engine.loop(name, setup=setup) for name, setup in setups.items()]
    async with engine.open(engine.loop(), *loops) as coordinator:
        for name in setups:
            with pytest.raises(ExceptionGroup) as caught:
                async with coordinator.open_graph("ill") as graph:
                    ill = [graph.create_task(echo, n, worker_loop=name) for n in range(3)]
                    await ill[0].wait()
                    good = graph.create_task(echo, 5)
                    ill.append(graph.create_task(echo, waits_on=good, worker_loop=name))
                    await ill[3].wait()
                    assert await good.result() == 5
            assert caught.value.message == "4 task(s) of graph 'ill' failed"
            [error] = caught.value.exceptions
            kind = "SystemExit" if name == "leave_at_start" else "LookupError"
            first = f"worker loop {name!r} cannot start: {kind}: no database for 0"
            assert told(error) == ("WorkerStartError", first, None)
            assert str(error).count("no database for 0") == 1
            assert "Traceback (most recent call last):" in str(error)
            assert [t.state for t in ill] == ["failed"] * 4
            for task in ill:
                with pytest.raises(WorkerStartError) as again:
                    await task.result()
                assert str(again.value) == str(task.error) == str(error)
            async with coordinator.open_graph("again", on_failure="continue") as graph:
                task = graph.create_task(echo, worker_loop=name)
            assert told(task.error) == told(error)


async def test_an_eager_start_tells_a_failing_setup(engine: Engine) -> None:
    """With start="eager" a loop that cannot start is an error of `open_coordinator`."""
    with pytest.raises(WorkerStartError, match="worker loop 'ill' cannot start"):
        async with engine.open(engine.loop(), engine.loop("ill", setup=break_plain), start="eager"):
            pytest.fail("the body must not run")


async def test_a_failing_close_is_not_the_tasks_problem(
    process_engine: Engine, board: Board
) -> None:
    """A context that fails while it is left, in a process of its own, changes no result."""

    @asynccontextmanager
    async def break_at_end(index: int) -> AsyncIterator[int]:
        yield 1
        board.write("closing")
        raise LookupError("at the end")

    async with process_engine.graph("close", process_engine.loop(setup=break_at_end)) as graph:
        assert await graph.create_task(context).result() == 1
    assert board.lines() == ["closing"]


async def test_registered_functions_can_be_named(engine: Engine) -> None:
    """`functions` gives names to functions: by their own, or by a mapping; others are unknown."""
    async with engine.graph("names", functions=[echo, context]) as graph:
        assert await graph.create_task("echo", 1).result() == 1
        task = graph.create_task("context")
        assert (task.name, await task.result()) == ("context", None)
        with pytest.raises(GraphError, match="unknown function 'print'"):
            graph.create_task("print")


async def test_a_loop_takes_registered_names(engine: Engine) -> None:
    """A loop's `functions` may be names of registered ones, and run there wherever named."""

    def parent() -> Any:
        return current_task().create_task("where")

    loops = [engine.loop(), engine.loop("other", functions=["where"], setup=lambda _: "other")]
    async with engine.graph("assigned", *loops, functions={"where": context}) as graph:
        tasks = [graph.create_task(f) for f in ("where", context, parent)]
        assert [await task.result() for task in tasks] == ["other"] * 3
        assert await graph.create_task("where", worker_loop="default").result() is None


async def test_leaving_closes_the_context_of_a_worker_that_is_busy(
    engine: Engine, board: Board
) -> None:
    """Leaving the coordinator with a parent that awaits a child in one slot: contexts are left."""

    async def parent(board: Board) -> None:
        await current_task().create_task(hold, board, "child").result()

    async def use(coordinator: Coordinator, board: Board) -> None:
        async with coordinator.open_graph("busy", on_failure="continue") as graph:
            graph.create_task(parent, board)

    loop = engine.loop(concurrency=1, setup=partial(set_up_managed, board))
    async with trio.open_nursery() as nursery:
        async with engine.open(loop) as coordinator:
            nursery.start_soon(use, coordinator, board)
            await board.wait_for("child runs")
        assert board.lines() == ["set up 0", "child runs", "closed 0"]


@pytest.mark.parametrize("strict", [False, True], ids=["loose", "strict"])
def test_a_context_of_the_own_process_that_fails_to_close_is_told(strict: bool) -> None:
    """There is nobody else to tell: its exception comes out of the coordinator, in no group."""

    @asynccontextmanager
    async def break_at_end(index: int) -> AsyncIterator[int]:
        yield 1
        raise LookupError("at the end")

    async def main() -> None:
        local = Engine("local")
        async with local.graph("close", local.loop(setup=break_at_end)) as graph:
            assert await graph.create_task(context).result() == 1

    with pytest.raises(LookupError, match="at the end"):
        trio.run(main, strict_exception_groups=strict)


async def hang(index: int) -> None:
    await trio.sleep_forever()


async def test_a_setup_that_hangs_breaks_its_loop(
    process_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is killed and tried again a few times; then the loop is given up, saying why."""
    monkeypatch.setattr(scheduler, "FAILED_STARTS_MAX", 2)
    loop = process_engine.loop(setup=hang, setup_timeout_seconds=0.8)
    async with process_engine.graph("setup", loop, on_failure="continue") as graph:
        task = graph.create_task(noop)
    assert isinstance(task.error, WorkerStartError)
    assert "not ready within 0.8 s" in str(task.error)
