"""Contract: a graph that cannot go on says so, and names what waits on what."""

# ruff: noqa: PT012 - what raises is leaving a graph, and that takes a block

from __future__ import annotations

from typing import Any

import pytest
import trio

from trio_actor_graph import GraphStalled, Task, completed, current_task, succeeded
from trio_actor_graph.handles import OnFailure

from .board import Board
from .bodies import echo, hold, noop
from .conftest import Engine


async def await_a_child_that_waits_on_me() -> None:
    me = current_task()
    await me.create_task(noop, waits_on=completed(me), name="child").result()


def story(graph: Any) -> str:
    parent, child = graph.tasks
    return (
        f"graph {graph.name!r} is stalled:\n"
        f"  'parent' (task {parent.uid}) runs and awaits 'child' (task {child.uid}) [waiting]\n"
        f"  'child' (task {child.uid}) waits for 1 more of 1 to have completed: "
        f"'parent' (task {parent.uid}) [running]"
    )


async def test_an_await_cycle_is_told_by_the_result(engine: Engine) -> None:
    """A task awaiting a child that waits on it stalls the graph, which every `result` then says."""
    async with engine.open() as coordinator:
        with pytest.raises(GraphStalled) as caught:
            async with coordinator.open_graph("asked") as graph:
                task = graph.create_task(await_a_child_that_waits_on_me, name="parent")
                await task.result()
        assert str(caught.value) == story(graph)
        assert [t.state for t in graph.tasks] == ["cancelled", "cancelled"]
        for task in graph.tasks:
            with pytest.raises(GraphStalled) as again:
                await task.result()
            assert str(again.value) == str(task.error) == story(graph)
        async with coordinator.open_graph("next") as graph:
            assert await graph.create_task(echo, 1).result() == 1


async def test_an_await_cycle_is_told_by_the_graphs_end(engine: Engine) -> None:
    """Nobody asks, and the graph's end raises GraphStalled by itself, not in a group."""
    policies: list[OnFailure] = ["raise", "continue", "cancel"]
    async with engine.open() as coordinator:
        for on_failure in policies:
            with pytest.raises(GraphStalled) as caught:
                async with coordinator.open_graph("left", on_failure=on_failure) as graph:
                    graph.create_task(await_a_child_that_waits_on_me, name="parent")
            assert str(caught.value) == story(graph)


async def test_a_body_may_handle_a_stall(engine: Engine) -> None:
    """`wait_finished` raises GraphStalled too, and so does the end all the same."""
    async with engine.open() as coordinator:
        with pytest.raises(GraphStalled):
            async with coordinator.open_graph("handled") as graph:
                graph.create_task(await_a_child_that_waits_on_me, name="parent")
                with pytest.raises(GraphStalled) as caught:
                    await graph.wait_finished()
                assert str(caught.value) == story(graph)


async def test_returning_a_task_that_waits_on_oneself_fails(engine: Engine) -> None:
    """A tail call into a task that waits on the caller fails it, with the names."""
    from trio_actor_graph import TaskFailed

    def parent() -> Task:
        me = current_task()
        return me.create_task(noop, waits_on=succeeded(me), name="child")

    async with engine.graph("tail") as graph:
        task = graph.create_task(parent, name="parent")
        with pytest.raises(TaskFailed) as caught:
            await task.result()
        child = graph.tasks[1]
        path = f"'parent' (task {task.uid}) waits on 'child' (task {child.uid}) waits on "
        assert path in str(caught.value)
        assert child.state == "skipped"


async def test_two_tasks_awaiting_each_others_children_stall(engine: Engine, board: Board) -> None:
    """A cycle over several tasks, each of which only awaits its own child, is found as well."""

    async def parent(board: Board, mine: str, other: str) -> None:
        child = current_task().create_task(noop, waits_on=completed(current_task()), name=mine)
        board.write(mine)
        await board.wait_for(other)
        await child.result()

    async with engine.open() as coordinator:
        with pytest.raises(GraphStalled) as caught:
            async with coordinator.open_graph("two") as graph:
                graph.create_task(parent, board, "a", "b", name="first")
                graph.create_task(parent, board, "b", "a", name="second")
        lines = str(caught.value).splitlines()
        assert lines[0] == "graph 'two' is stalled:"
        assert [line.split("'")[1] for line in lines[1:]][:2] == ["first", "second"]
        assert sorted(line.split("'")[1] for line in lines[3:]) == ["a", "b"]


async def test_a_graph_with_work_to_do_is_not_stalled(engine: Engine, board: Board) -> None:
    """While anything runs, or the body can still cancel or create, no stall is called out."""

    async def parent(board: Board) -> int:
        children = [current_task().create_task(hold, board, f"{n}", n) for n in range(3)]
        return sum([await child.result() for child in reversed(children)])

    async with engine.graph("busy", engine.loop(concurrency=1)) as graph:
        task = graph.create_task(parent, board)
        for number in range(3):
            await board.wait_for(f"{number} runs")
            board.open(f"{number}")
        assert await task.result() == 3


async def test_one_stalled_graph_leaves_others_alone(engine: Engine, board: Board) -> None:
    """A stall ends its own graph only."""
    async with engine.open() as coordinator, coordinator.open_graph("healthy") as healthy:
        held = healthy.create_task(hold, board, "held", 1)
        await board.wait_for("held runs")
        with trio.fail_after(10), pytest.raises(GraphStalled):
            async with coordinator.open_graph("ill") as ill:
                ill.create_task(await_a_child_that_waits_on_me)
        assert held.state == "running"
        board.open("held")
        assert await held.result() == 1
