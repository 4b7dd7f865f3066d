"""Contract: how long results are kept, and what happens when there is no room."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trio_actor_graph import (
    GraphError,
    ResultReleased,
    ResultStoreFull,
    Task,
    TaskGraph,
    completed,
    current_task,
)

from .board import Board
from .bodies import add, echo, hold
from .conftest import Engine

SIZE = 100_000


def block(number: int = 0) -> bytes:
    return bytes([number]) * SIZE


def last_byte(*blocks: bytes) -> list[int]:
    return [block[-1] for block in blocks]


def read_predecessors() -> list[int]:
    return [p.result[-1] for p in current_task().predecessors]


def return_block(number: int) -> Task[bytes]:
    return current_task().create_task(block, number)


async def make_and_use(number: int) -> int:
    made = current_task().create_task(block, number)
    await made.wait()
    used = current_task().create_task(last_byte, made)
    return (await used.result())[0]


@asynccontextmanager
async def keeping_the_needed(engine: Engine, **options: Any) -> AsyncIterator[TaskGraph]:
    """A graph that keeps results as long as they are needed."""
    async with (
        engine.open() as coordinator,
        coordinator.open_graph("g", keep_results="needed", **options) as graph,
    ):
        yield graph


def stored(graph: TaskGraph) -> int:
    """How many large results there are."""
    return graph.stored_bytes // SIZE


async def test_all_results_are_kept_by_default(engine: Engine) -> None:
    """Also those that nobody could find but by looking through the graph's tasks."""
    async with engine.graph("g") as graph:
        for number in range(3):
            graph.create_task(block, number)
        await graph.wait_finished()
        assert stored(graph) == 3
        assert [task.result_nowait()[0] for task in graph.tasks] == [0, 1, 2]


async def test_a_result_goes_with_its_last_handle_and_successor(engine: Engine) -> None:
    """It is there as long as one of them can ask for it."""
    async with keeping_the_needed(engine) as graph:
        a = graph.create_task(block, 7)
        b = graph.create_task(last_byte, a)
        assert await b.result() == [7]
        assert stored(graph) == 1
        assert len(await a.result()) == SIZE
        del a
        gc.collect()
        assert stored(graph) == 0
        released = graph.tasks[0]
        assert released.state == "succeeded"
        with pytest.raises(ResultReleased, match=r"block.*released"):
            released.result_nowait()
        with pytest.raises(ResultReleased):
            await released.result()


async def test_what_nobody_could_ask_for_is_not_kept_at_all(engine: Engine) -> None:
    async with keeping_the_needed(engine) as graph:
        for number in range(5):
            graph.create_task(block, number)
        await graph.wait_finished()
        assert stored(graph) == 0


async def test_a_waiting_successor_keeps_what_it_needs(engine: Engine, board: Board) -> None:
    """By data edge or condition, until it has ended itself."""
    async with keeping_the_needed(engine) as graph:
        held = graph.create_task(hold, board, "gate")
        a = graph.create_task(block, 3)
        by_edge = graph.create_task(last_byte, a, waits_on=held)
        by_condition = graph.create_task(read_predecessors, waits_on=completed(a))
        await a.wait()
        del a
        assert await by_condition.result() == [3]
        gc.collect()
        assert stored(graph) == 1
        board.open("gate")
        assert await by_edge.result() == [3]
        await graph.wait_finished()
        assert stored(graph) == 0


async def test_a_late_predecessor_is_kept_too(engine: Engine, board: Board) -> None:
    async with keeping_the_needed(engine) as graph:
        held = graph.create_task(hold, board, "gate")
        a = graph.create_task(block, 9)
        late = graph.create_task(read_last, waits_on=held)
        graph.add_predecessor(late, a)
        await a.wait()
        del a
        gc.collect()
        board.open("gate")
        assert await late.result() == 9


def read_last() -> int:
    last: int = current_task().predecessors[-1].result[-1]
    return last


async def test_a_running_creator_keeps_what_it_created(engine: Engine) -> None:
    """It has a handle, of which the app knows nothing."""
    async with keeping_the_needed(engine) as graph:
        assert await graph.create_task(make_and_use, 5).result() == 5
        await graph.wait_finished()
        assert stored(graph) == 0


async def test_a_tail_call_keeps_the_result_it_ends_with(engine: Engine) -> None:
    """As long as somebody may ask for the one that returned it, and no longer."""
    async with keeping_the_needed(engine) as graph:
        task = graph.create_task(return_block, 4)
        await graph.wait_finished()
        gc.collect()
        assert stored(graph) == 1
        assert task.result_nowait()[-1] == 4
        for _ in range(3):  # handles that come and go change nothing
            assert len(graph.tasks) == 2
        assert task.result_nowait()[-1] == 4
        del task
        gc.collect()
        assert stored(graph) == 0


async def test_a_handle_found_again_keeps_what_its_task_ended_as(
    engine: Engine, board: Board
) -> None:
    """Although every earlier handle of it had gone."""
    async with keeping_the_needed(engine) as graph:
        held = graph.create_task(hold, board, "gate")
        task = graph.create_task(return_block, 4)
        await task.wait()
        own = graph.tasks[2]  # the one that it ended as, which keeps the result
        del task
        gc.collect()
        consumer = graph.create_task(last_byte, graph.tasks[1], waits_on=held)
        del own
        gc.collect()
        board.open("gate")
        assert await consumer.result() == [4]


async def test_results_that_nobody_needs_make_room_at_once(engine: Engine) -> None:
    """However many arrive together."""
    async with keeping_the_needed(
        engine, stored_bytes_max=2 * SIZE, on_failure="continue"
    ) as graph:
        for number in range(100):
            graph.create_task(block, number)
        await graph.wait_finished()
        assert graph.counts()["succeeded"] == 100


async def test_as_completed_hands_out_results_that_are_there(engine: Engine) -> None:
    async with keeping_the_needed(engine) as graph:
        seen = []
        for number in range(6):
            graph.create_task(block, number)
        ended = graph.as_completed()
        async for task in ended:
            seen.append((await task.result())[0])
        del task, ended
        gc.collect()
        assert sorted(seen) == list(range(6))
        assert stored(graph) == 0


async def test_a_result_without_room_fails_its_task(engine: Engine) -> None:
    """The error tells the bytes; what is stored stays, and smaller results still find room."""
    async with (
        engine.open() as coordinator,
        coordinator.open_graph(
            "g", on_failure="continue", stored_bytes_max=2 * SIZE + 10_000
        ) as graph,
    ):
        tasks = [graph.create_task(block, n, retries=3) for n in range(3)]
        await graph.wait_finished()
        failed = [task for task in tasks if task.state == "failed"]
        assert len(failed) == 1
        assert isinstance(failed[0].error, ResultStoreFull)
        assert "stored_bytes_max" in str(failed[0].error)
        assert failed[0].attempt == 1
        assert stored(graph) == 2
        assert await graph.create_task(add, 1, 2).result() == 3


async def test_released_results_make_room(engine: Engine) -> None:
    """With room for two at a time, a hundred in turn find theirs."""
    async with keeping_the_needed(engine, stored_bytes_max=2 * SIZE + 10_000) as graph:
        total = 0
        for number in range(30):
            total += (await graph.create_task(block, number).result())[0]
        assert total == sum(range(30))


async def test_a_task_cannot_be_given_a_released_result(engine: Engine) -> None:
    """It is refused at the call, and nothing has changed."""
    async with keeping_the_needed(engine) as graph:
        graph.create_task(block, 1)
        await graph.wait_finished()
        with pytest.raises(ResultReleased):
            graph.create_task(echo, graph.tasks[0])
        assert len(graph.tasks) == 1
        after = graph.create_task(echo, 3, waits_on=graph.tasks[0])
        assert await after.result() == 3


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"keep_results": "some"}, "keep_results"),
        ({"stored_bytes_max": -1}, "stored_bytes_max"),
        ({"stored_bytes_max": 1.5}, "stored_bytes_max"),
    ],
)
async def test_wrong_options_are_refused(engine: Engine, options: Any, name: str) -> None:
    async with engine.open() as coordinator:
        with pytest.raises(GraphError, match=name):
            async with coordinator.open_graph("g", **options):
                pass
