"""Contract: never more tasks at once than a worker loop allows, and as many as it allows.

Proven from inside the tasks: each writes a line when it has its slot and when it gives it back, in
one append each, so the lines of a board are the history of all processes.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
import trio
import trio.lowlevel

from trio_actor_graph import current_task

from .board import Board
from .bodies import add
from .conftest import Engine


def enter(board: Board) -> None:
    board.write(f"+ {os.getpid()}")


def leave(board: Board) -> None:
    board.write(f"- {os.getpid()}")


def most_at_once(board: Board) -> tuple[int, dict[str, int]]:
    """The largest number that was in at once: over all processes, and in each of them."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    most_of_all = 0
    for line in board.lines():
        sign, pid = line.split()
        now[pid] += 1 if sign == "+" else -1
        most[pid] = max(most[pid], now[pid])
        most_of_all = max(most_of_all, now.total())
    assert now.total() == 0
    return most_of_all, dict(most)


def entered(board: Board) -> int:
    return sum(line.startswith("+") for line in board.lines())


async def meet(board: Board, number: int) -> None:
    """Is in until so many have been in: one more at once would show, one fewer would hang."""
    enter(board)
    while entered(board) < number:  # noqa: ASYNC110 - across processes
        await trio.sleep(0.002)
    await trio.lowlevel.checkpoint()
    leave(board)


def meet_blocking(board: Board, number: int) -> None:
    import time

    enter(board)
    while entered(board) < number:
        time.sleep(0.002)
    leave(board)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_async_tasks_fill_the_slots_exactly(
    engine: Engine, board: Board, concurrency: int
) -> None:
    """Of many ready async tasks, exactly as many run at once as the loop has slots."""
    async with engine.graph("async", engine.loop(concurrency=concurrency)) as graph:
        for number in range(8 * concurrency):
            # In rounds: those of a round wait for each other, and none of the next may join.
            round_ends = (number // concurrency + 1) * concurrency
            graph.create_task(meet, board, round_ends)
    assert most_at_once(board)[0] == concurrency
    assert entered(board) == 8 * concurrency


@pytest.mark.parametrize(("concurrency", "processes"), [(1, 1), (3, 1), (2, 2), (5, 2)])
async def test_plain_functions_fill_the_slots_exactly(
    process_engine: Engine, board: Board, concurrency: int, processes: int
) -> None:
    """Plain functions run in threads of their own, as many as there are slots, over processes."""
    loop = process_engine.loop(concurrency=concurrency, processes=processes)
    async with process_engine.graph("plain", loop, start="eager") as graph:
        for number in range(6 * concurrency):
            round_ends = (number // concurrency + 1) * concurrency
            graph.create_task(meet_blocking, board, round_ends)
    most, of_each = most_at_once(board)
    assert most == concurrency
    each, more = divmod(concurrency, processes)
    assert sorted(of_each.values()) == sorted(each + (index < more) for index in range(processes))


async def test_many_short_tasks_never_exceed_the_slots(engine: Engine, board: Board) -> None:
    """Hundreds of short tasks of both kinds, given ahead of time, keep to the limits as well."""

    def short(board: Board) -> None:
        enter(board)
        leave(board)

    async def short_async(board: Board) -> None:
        enter(board)
        await trio.lowlevel.checkpoint()
        leave(board)

    loop = engine.loop(concurrency=4, processes=2)
    async with engine.graph("short", loop) as graph:
        for number in range(600):
            graph.create_task((short, short_async)[number % 2], board)
    most, of_each = most_at_once(board)
    assert entered(board) == 600
    assert 1 <= most <= 4
    assert max(of_each.values()) <= (2 if engine.has_processes else 4)


async def test_awaiting_children_keeps_to_the_limit(engine: Engine, board: Board) -> None:
    """A parent is out while it awaits and in again afterwards; all together keep to the limit.

    Some parents give up waiting, some wait for several at once, some children are plain functions.
    """

    async def parent(board: Board, depth: int) -> int:
        enter(board)
        me = current_task()
        children = [me.create_task(parent, board, depth - 1) for _ in range(2 if depth else 0)]
        children.append(me.create_task(child, board))
        leave(board)
        with trio.move_on_after(0.001):
            await children[-1].result()
        enter(board)
        await trio.lowlevel.checkpoint()
        leave(board)
        results = []

        async def fetch(task: object) -> None:
            results.append(await task.result())  # type: ignore[attr-defined]

        async with trio.open_nursery() as nursery:
            for task in children:
                nursery.start_soon(fetch, task)
        enter(board)
        await trio.sleep(0.001)
        leave(board)
        return sum(results)

    def child(board: Board) -> int:
        enter(board)
        leave(board)
        return 1

    async with engine.graph("mixed", engine.loop(concurrency=2)) as graph:
        tasks = [graph.create_task(parent, board, 2) for _ in range(4)]
        assert [await task.result() for task in tasks] == [7] * 4
    assert most_at_once(board)[0] <= 2


async def test_loops_have_slots_of_their_own(engine: Engine, board: Board) -> None:
    """The limit of one loop is no limit for another; `worker_loop` and `functions` choose it."""

    async def stay(board: Board, name: str) -> str:
        board.write(name)
        for other in ("one", "two", "three"):
            await board.wait_for(other)
        return name

    async def assigned(board: Board) -> str:
        return await stay(board, "three")

    loops = [
        engine.loop("default", 1),
        engine.loop("second", 1),
        engine.loop("third", 1, functions=[assigned]),
    ]
    async with engine.open(*loops) as coordinator, coordinator.open_graph("loops") as graph:
        tasks = [
            graph.create_task(stay, board, "one"),
            graph.create_task(stay, board, "two", worker_loop="second"),
            graph.create_task(assigned, board),
        ]
        assert [await task.result() for task in tasks] == ["one", "two", "three"]
        assert {w.worker_loop: w.slots for w in coordinator.workers} == {
            "default": 1,
            "second": 1,
            "third": 1,
        }
        assert await graph.create_task(add, 1, worker_loop="third").result() == 1


async def test_functions_in_several_processes(process_engine: Engine, board: Board) -> None:
    """A loop of two processes runs two plain functions at once, in different processes."""
    loop = process_engine.loop(concurrency=2, processes=2)
    async with process_engine.graph("two", loop) as graph:
        for _ in range(2):
            graph.create_task(meet_blocking, board, 2)
    assert most_at_once(board)[0] == 2
    assert list(most_at_once(board)[1].values()) == [1, 1]
    assert str(os.getpid()) not in most_at_once(board)[1]
