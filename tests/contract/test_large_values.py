"""Contract: large arguments and results: shared, read-only, counted, and gone with their reason.

Where segments are is told by the descriptors and the mappings of all processes that take part.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from trio_actor_graph import (
    Coordinator,
    GraphError,
    ResultStoreFull,
    Task,
    TaskFailed,
    TaskGraph,
    completed,
    current_task,
)
from trio_actor_graph.buffers.pool import is_supported

from .board import Board
from .conftest import Engine

pytestmark = pytest.mark.skipif(not is_supported(), reason="no segments on this system")

SIZE = 1 << 20
NAME = "memfd:trio-actor-graph"


@dataclass
class Table:
    name: str
    columns: dict[str, Any]


# What the tasks do


def make(number: float, size: int = SIZE) -> Any:
    return np.full(size // 8, number)


async def make_async(number: float) -> Any:
    await trio.lowlevel.checkpoint()
    return make(number)


def make_table(number: float) -> Table:
    return Table("t", {"a": make(number), "b": make(number + 1), "n": 3})


def total(*arrays: Any) -> float:
    return float(sum(array.sum() for array in arrays))


async def total_async(*arrays: Any) -> float:
    await trio.lowlevel.checkpoint()
    return total(*arrays)


def is_writeable(array: Any) -> bool:
    return bool(array.flags.writeable)


def change(array: Any) -> None:
    array += 1


def total_of_predecessors() -> float:
    return total(*(p.result for p in current_task().predecessors))


async def make_and_await(number: float) -> float:
    child = current_task().create_task(make, number)
    array = await child.result()
    inner = current_task().create_task(total, array, make(number))
    return float(await inner.result()) + total(array)


def tail_call(number: float) -> Task[Any]:
    return current_task().create_task(make, number)


def fail_with(array: Any) -> None:
    raise ValueError(array.sum())


def hold(board: Board, array: Any) -> float:
    board.write("held")
    board.pass_gate_blocking("gate")
    return total(array)


async def hold_for_ever(board: Board, array: Any) -> Any:
    board.write("held")
    await trio.sleep_forever()
    return array


def die_once(board: Board, array: Any) -> Any:
    if current_task().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return array


def die() -> None:
    if current_task().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


# Looking


def segments(pids: set[int]) -> list[str]:
    """Every descriptor and mapping of a segment in these processes."""
    found = []
    for pid in pids:
        with suppress(FileNotFoundError):  # the process has ended
            for path in list(Path(f"/proc/{pid}/fd").iterdir()):
                with suppress(FileNotFoundError):  # such as the listing's own
                    found.append(f"{pid}: {path.readlink()}")
            found += Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in found if NAME in line]


async def none_left(coordinator: Coordinator) -> None:
    """Wait until no process has a segment: spare memory goes after a second or two."""
    with trio.fail_after(10):
        while segments({os.getpid(), *(w.pid for w in coordinator.workers if w.pid)}):  # noqa: ASYNC110
            await trio.sleep(0.02)


@asynccontextmanager
async def needed(coordinator: Coordinator, **more: Any) -> AsyncIterator[TaskGraph]:
    async with coordinator.open_graph("g", keep_results="needed", **more) as graph:
        yield graph


# Stories


async def test_large_values_go_everywhere(engine: Engine) -> None:
    """Results and arguments, of the app and of tasks, plain and async, alone and inside others."""
    async with engine.open(engine.loop(processes=2)) as coordinator:
        async with needed(coordinator) as graph:
            array = make(1)
            a, b = graph.create_task(make, 2), graph.create_task(make_async, 3)
            table = graph.create_task(make_table, 4)
            sums = [
                graph.create_task(total, a, b, array),
                graph.create_task(total_async, array, array, a),
                graph.create_task(total_of_predecessors, waits_on=completed(a, b)),
                graph.create_task(make_and_await, 5),
                graph.create_task(total, graph.create_task(tail_call, 6)),
            ]
            n = SIZE // 8
            assert [await s.result() for s in sums] == [6 * n, 4 * n, 5 * n, 15 * n, 6 * n]
            got = await table.result()
            assert got == Table("t", {**got.columns})
            assert (got.columns["a"] == 4).all()
            assert (got.columns["b"] == 5).all()
            assert await graph.create_task(total, got.columns["a"]).result() == 4 * n
            assert await a.result() is await a.result()
            del a, b, table, sums, got
        await none_left(coordinator)


async def test_arrays_arrive_read_only(engine: Engine) -> None:
    """What one task changed, others would see. Smaller ones are copies, and can be changed."""
    async with engine.graph("g", on_failure="continue") as graph:
        a = graph.create_task(make, 1)
        assert not (await a.result()).flags.writeable
        assert not await graph.create_task(is_writeable, a).result()
        assert not await graph.create_task(is_writeable, make(1)).result()
        assert await graph.create_task(is_writeable, make(1, 1000)).result()
        with pytest.raises(TaskFailed, match="read-only"):
            await graph.create_task(change, a).result()
        assert ((await a.result()) == 1).all()


async def test_a_large_value_does_not_travel_over_the_link(
    process_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what refers to it does."""
    sent = received = 0
    async with process_engine.open() as coordinator, needed(coordinator) as graph:
        await graph.create_task(total).result()
        (life,) = coordinator._processes._lives.values()
        send, feed = life.link.send, life.link._reader.feed

        def counting_send(messages: Any) -> None:
            nonlocal sent
            from trio_actor_graph.link import encode_frames

            sent += sum(map(len, encode_frames(messages)))
            send(messages)

        def counting_feed(data: Any) -> Any:
            nonlocal received
            received += len(data)
            return feed(data)

        monkeypatch.setattr(life.link, "send", counting_send)
        monkeypatch.setattr(life.link._reader, "feed", counting_feed)
        a = graph.create_task(make, 1, 20 * SIZE)
        assert await graph.create_task(total, a, make(2)).result() == (20 + 2) * SIZE // 8
        assert 0 < sent < 10_000
        assert 0 < received < 10_000


async def test_stored_bytes_count_what_is_shared(engine: Engine) -> None:
    async with engine.open() as coordinator:
        async with needed(
            coordinator, stored_bytes_max=2 * SIZE + 1000, on_failure="continue"
        ) as graph:
            tasks = [graph.create_task(make, number) for number in range(3)]
            await graph.wait_finished()
            assert 2 * SIZE <= graph.stored_bytes <= 2 * SIZE + 1000
            (failed,) = [task for task in tasks if task.state == "failed"]
            assert isinstance(failed.error, ResultStoreFull)
            tasks.clear()
            del failed
            assert graph.stored_bytes == 0
            await none_left(coordinator)
            assert (await graph.create_task(make, 7).result())[0] == 7
        await none_left(coordinator)


async def test_results_outlive_their_graph_with_a_handle_and_go_with_it(engine: Engine) -> None:
    async with engine.open() as coordinator:
        async with coordinator.open_graph("g") as graph:
            task = graph.create_task(make, 3)
        assert segments({os.getpid()})
        assert (await task.result() == 3).all()
        del task, graph
        await none_left(coordinator)


async def test_results_outlive_their_coordinator_with_a_handle(engine: Engine) -> None:
    async with engine.open() as coordinator, coordinator.open_graph("g") as graph:
        task = graph.create_task(make, 3)
    assert (task.result_nowait() == 3).all()
    array = task.result_nowait()
    del task, graph, coordinator
    assert (array == 3).all()


async def test_arguments_go_when_their_task_has_ended(engine: Engine, board: Board) -> None:
    """Not before, and although the graph goes on; in whatever way it has ended."""
    async with engine.open() as coordinator, needed(coordinator, on_failure="continue") as graph:
        gate = graph.create_task(hold, board, make(1), worker_loop="default")
        kept = graph.create_task(total, make(2), waits_on=gate)
        ended = [
            graph.create_task(total, make(3), waits_on=gate),
            graph.create_task(fail_with, make(4), waits_on=gate),
        ]
        ended[0].cancel()
        skipped = graph.create_task(total, make(5), waits_on=ended[0])
        if engine.has_processes:
            await board.wait_for("held")
        board.open("gate")
        assert await gate.result() == SIZE // 8
        assert await kept.result() == 2 * SIZE // 8
        await graph.wait_finished()
        assert skipped.state == "skipped"
        assert coordinator._lent == {}
        assert await graph.create_task(total, make(6)).result() == 6 * SIZE // 8
        await none_left(coordinator)


async def test_a_refused_creation_leaves_nothing(engine: Engine) -> None:
    async with engine.open() as coordinator:
        with pytest.raises(GraphError, match="unknown worker loop"):
            async with coordinator.open_graph("g") as graph:
                graph.create_task(total, make(1), worker_loop="none")
        await none_left(coordinator)


async def test_a_cancelled_attempt_leaves_nothing(engine: Engine, board: Board) -> None:
    """Neither its arguments nor what it brings back for nobody."""
    async with engine.open() as coordinator:
        async with needed(coordinator) as graph:
            task = graph.create_task(hold_for_ever, board, graph.create_task(make, 1))
            await board.wait_for("held")
            task.cancel()
            await graph.wait_finished()
        await none_left(coordinator)


async def late(board: Board) -> Any:
    board.write("began")
    with trio.CancelScope(shield=True):
        await board.pass_gate("gate")
    child = current_task().create_task(total, make(1))
    return child and make(2)


async def test_what_a_stale_attempt_brings_is_let_go(engine: Engine, board: Board) -> None:
    async with engine.open() as coordinator:
        async with needed(coordinator) as graph:
            task = graph.create_task(late, board)
            await board.wait_for("began")
            task.cancel()
            await graph.wait_finished()
            board.open("gate")
            while not coordinator.statistics().stale_reports:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert graph.counts()["cancelled"] == 1
        await none_left(coordinator)


# Deaths


async def test_a_result_outlives_its_worker(process_engine: Engine) -> None:
    """Made before, and by the task that the worker died of; and arguments are there once more."""
    async with process_engine.open() as coordinator, needed(coordinator) as graph:
        a = graph.create_task(make, 3)
        await a.wait()
        killed = graph.create_task(die)
        after = graph.create_task(die_once, "board", a, waits_on=killed)
        given = graph.create_task(die_once, "board", make(4), waits_on=after)
        assert (await a.result() == 3).all()
        assert (await after.result() == 3).all()
        assert (await given.result() == 4).all()
        assert [task.attempt for task in (a, killed, after, given)] == [1, 2, 2, 2]
        del a, killed, after, given
        await none_left(coordinator)


async def test_a_report_outlives_its_worker(process_engine: Engine) -> None:
    """The coordinator reads it, and what was handed over with it, when the worker is dead."""
    async with process_engine.open() as coordinator, needed(coordinator) as graph:
        pid = await graph.create_task(os.getpid).result()
        (life,) = coordinator._processes._lives.values()
        a = graph.create_task(make, 5)
        coordinator._run_commands()  # sent; and from here on the coordinator reads nothing
        assert select.select([life.link._descriptor], [], [], 20)[0]
        os.kill(pid, signal.SIGKILL)
        wait_ended(pid)
        assert (await a.result() == 5).all()
        assert a.attempt == 1


def wait_ended(pid: int) -> None:
    """Until the process is dead, waited for or not."""
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.002)


async def test_a_worker_that_dies_while_it_writes_leaves_nothing(process_engine: Engine) -> None:
    async with process_engine.open() as coordinator, needed(coordinator) as graph:
        task = graph.create_task(make_deadly)
        array, _ = await task.result()
        assert (array == 1).all()
        assert task.attempt == 2
        del task, array
        await none_left(coordinator)


class DeadlyOnTheWay:
    """Ends its process when its second half is to be pickled."""

    def __init__(self) -> None:
        self.array = make(1)

    def __reduce__(self) -> Any:
        if current_task().attempt == 1:
            from trio_actor_graph.buffers import pool

            write = pool._Made._write

            def die_in_the_middle(made: Any, data: Any, at: int) -> None:
                write(made, data[: len(data) // 2], at)
                if len(data) >= SIZE:
                    os.kill(os.getpid(), signal.SIGKILL)

            pool._Made._write = die_in_the_middle  # type: ignore[method-assign]
        return list, ((self.array, 2),)


def make_deadly() -> Any:
    return DeadlyOnTheWay()


async def test_many_values_at_once(engine: Engine) -> None:
    """More than the kernel lets wait on their way, from several slots."""
    async with engine.open(engine.loop(concurrency=4, processes=2)) as coordinator:
        async with needed(coordinator) as graph:
            made = [graph.create_task(make, number, 300_000) for number in range(100)]
            sums = graph.create_task(total, *made)
            children = graph.create_task(create_many)
            assert await sums.result() == sum(range(100)) * (300_000 // 8)
            assert await children.result() == 50 * (300_000 // 8)
            del made, sums, children
        await none_left(coordinator)


async def create_many() -> float:
    task = current_task()
    children = [task.create_task(total, make(1, 300_000)) for _ in range(50)]
    return float(sum([await child.result() for child in children]))


async def test_where_there_are_no_segments_everything_works(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on other systems: values go over the link, and arrays are copies."""
    monkeypatch.setattr("trio_actor_graph.buffers.handing_over.is_supported", lambda: False)
    monkeypatch.setattr("trio_actor_graph.buffers.pool.is_supported", lambda: False)
    async with engine.open(engine.loop(processes=2)) as coordinator, needed(coordinator) as graph:
        a = graph.create_task(make, 1)
        sums = [graph.create_task(total, a, make(2)) for _ in range(3)]
        assert [await s.result() for s in sums] == [3 * SIZE // 8] * 3
        assert (await a.result()).flags.writeable
        assert not segments({os.getpid(), *(w.pid for w in coordinator.workers if w.pid)})


async def test_nonsense_references_end_their_worker(process_engine: Engine) -> None:
    """And the task is tried again, as after any other nonsense."""
    async with process_engine.open() as coordinator, needed(coordinator) as graph:
        task = graph.create_task(lie)
        assert await task.result() == [7]
        assert task.attempt == 2


def lie() -> Any:
    if current_task().attempt == 1:
        from trio_actor_graph.worker import runner

        runner.encode_value = lambda *args, **more: b"\x02" + bytes(31)  # type: ignore[assignment]
    return [7]
