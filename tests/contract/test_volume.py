"""Contract: graphs of tens of thousands of tasks go through real workers, each task once."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trio_actor_graph import TaskGraph, current_task
from trio_actor_graph.graph.scheduler import Scheduler

from .bodies import add, echo, echo_async
from .conftest import Engine

# The slowest takes 3 s on two cores that have nothing else to do.
SECONDS = 50


def one_more(number: int) -> int:
    return number + 1


async def test_twenty_thousand_tasks_fan_out(engine: Engine) -> None:
    """20,000 independent tasks over two workers give each its own result."""
    number = 20_000
    async with engine.graph("fan-out", engine.loop(processes=2), seconds=SECONDS) as graph:
        root = graph.create_task(echo, 1)
        tasks = [graph.create_task(add, root, n) for n in range(number)]
        await graph.wait_finished()
        assert [t.result_nowait() for t in tasks] == [n + 1 for n in range(number)]
        assert [t.attempt for t in tasks] == [1] * number
        assert len(root.successors) == number


async def test_async_tasks_fan_out(engine: Engine) -> None:
    """5,000 async tasks over a hundred slots."""
    number = 5_000
    async with engine.graph("async", engine.loop(concurrency=100), seconds=SECONDS) as graph:
        tasks = [graph.create_task(echo_async, n) for n in range(number)]
        assert [await t.result() for t in tasks] == list(range(number))


async def test_a_chain_of_ten_thousand(engine: Engine) -> None:
    """10,000 tasks, each of which needs the result of the one before."""
    async with engine.graph("chain", seconds=SECONDS) as graph:
        task = graph.create_task(echo, 0)
        for _ in range(10_000):
            task = graph.create_task(one_more, task)
        assert await task.result() == 10_000


async def test_a_chain_of_ten_thousand_is_skipped(engine: Engine) -> None:
    """The failure of the first of 10,000 in a row skips all others, at once."""
    async with engine.graph("skips", on_failure="continue", seconds=SECONDS) as graph:
        task = graph.create_task(echo, 1, 2)
        for _ in range(10_000):
            task = graph.create_task(one_more, task)
        await task.wait()
        counts = {state: n for state, n in graph.counts().items() if n}
        assert counts == {"failed": 1, "skipped": 10_000}


async def test_ten_thousand_fan_in(engine: Engine) -> None:
    """One task takes the results of 10,000 others, as arguments and as predecessors."""

    def count(numbers: list[int]) -> tuple[int, int]:
        return sum(numbers), sum(p.result for p in current_task().predecessors)

    number = 10_000
    async with engine.graph("fan-in", engine.loop(processes=2), seconds=SECONDS) as graph:
        tasks = [graph.create_task(echo, n) for n in range(number)]
        total = graph.create_task(count, tasks)
        expected = number * (number - 1) // 2
        assert await total.result() == (expected, expected)
        assert total.predecessors == tuple(tasks)


async def test_tasks_born_by_thousands(engine: Engine) -> None:
    """A few tasks create 10,000 others between them, and an async one awaits as many as it made."""

    def sow(number: int) -> None:
        for n in range(number):
            current_task().create_task(echo, n)

    async def reap(number: int) -> int:
        children = [current_task().create_task(echo, n) for n in range(number)]
        return sum([await child.result() for child in children])

    async with engine.graph("born", engine.loop(concurrency=4), seconds=SECONDS) as graph:
        for _ in range(4):
            graph.create_task(sow, 2_000)
        reaper: Any = graph.create_task(reap, 2_000)
        assert await reaper.result() == 2_000 * 1_999 // 2
        await graph.wait_finished()
        assert graph.counts()["succeeded"] == len(graph.tasks) == 5 + 5 * 2_000


async def test_a_crowd_that_awaits_is_served_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first who waits has its task sent at once, and the others theirs in one go."""
    settled: list[int] = []
    settle = Scheduler.settle

    def count_and_settle(self: Scheduler, now: float) -> None:
        settled.append(sum(map(len, (loop.ready for loop in self.loops.values()))))
        settle(self, now)

    async with engine.graph("crowd", seconds=SECONDS) as graph:
        await graph.create_task(echo, 0).result()
        monkeypatch.setattr(Scheduler, "settle", count_and_settle)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(create_and_await, graph, number)
    assert [number for number in settled if number][:2] == [1, 49]


async def create_and_await(graph: TaskGraph, number: int) -> None:
    assert await graph.create_task(echo, number).result() == number
