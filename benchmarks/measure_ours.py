"""This package, by its public names alone; one workload a process.

Results are awaited one after the other, as a program does that needs them all. Graphs of large
values are opened with `keep_results="needed"`, as the guide advises; the others with the defaults.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

import trio

from benchmarks.bodies import (
    add,
    increment,
    is_total,
    leaf,
    make_array,
    meet,
    meeting_point,
    no_op,
    pairs,
    spin,
    total_of,
    uneven_iterations,
)
from benchmarks.protocol import Answer, answer, first_result, resident_bytes, took
from trio_actor_graph import Coordinator, TaskGraph, WorkerLoop, open_coordinator


@asynccontextmanager
async def warm_coordinator() -> AsyncIterator[Coordinator]:
    """Two processes that have both run something."""
    loops = [WorkerLoop("default", processes=2)]
    async with open_coordinator(loops, start="eager") as coordinator:
        async with coordinator.open_graph("warm up") as graph:
            await meeting(graph)
            await fanout(graph, 100)
        yield coordinator


async def meeting(graph: TaskGraph) -> None:
    folder = meeting_point()
    pids = [await task.result() for task in [graph.create_task(meet, folder) for _ in range(2)]]
    assert len(set(pids)) == 2


async def fanout(graph: TaskGraph, tasks: int) -> Answer:
    began = perf_counter()
    for task in [graph.create_task(no_op) for _ in range(tasks)]:
        await task.result()
    return took(began)


async def ping(graph: TaskGraph, tasks: int) -> Answer:
    each = []
    for _ in range(tasks):
        began = perf_counter()
        await graph.create_task(no_op).result()
        each.append(perf_counter() - began)
    return {"each": each}


async def chain(graph: TaskGraph, tasks: int) -> Answer:
    await graph.create_task(increment, 0).result()
    began = perf_counter()
    task = graph.create_task(increment, 0)
    for _ in range(tasks - 1):
        task = graph.create_task(increment, task)
    last = await task.result()
    answer = took(began)
    assert last == tasks
    return answer


async def tree(graph: TaskGraph, leaves: int) -> Answer:
    await graph.create_task(add, graph.create_task(leaf, 1), graph.create_task(leaf, 2)).result()
    began = perf_counter()
    level = [graph.create_task(leaf, number) for number in range(leaves)]
    while len(level) > 1:
        level = [graph.create_task(add, one, other) for one, other in pairs(level)]
    root = await level[0].result()
    answer = took(began)
    assert root == leaves * (leaves - 1) // 2
    return answer


async def cpu(graph: TaskGraph, tasks: int, iterations: int) -> Answer:
    await graph.create_task(spin, 1).result()
    return await spin_all(graph, [iterations] * tasks)


async def uneven(graph: TaskGraph, tasks: int, iterations_per_second: float) -> Answer:
    await graph.create_task(spin, 1).result()
    return await spin_all(graph, uneven_iterations(tasks, iterations_per_second))


async def spin_all(graph: TaskGraph, sizes: list[int]) -> Answer:
    began = perf_counter()
    for task in [graph.create_task(spin, iterations) for iterations in sizes]:
        await task.result()
    return took(began)


async def dynamic(depth: int) -> Answer:
    """Timed until the graph has ended: nobody but the tasks themselves knows how many there are."""
    from benchmarks.bodies_ours import node

    async with warm_coordinator() as coordinator:
        async with coordinator.open_graph("warm up") as graph:
            graph.create_task(node, 2)
        began = perf_counter()
        async with coordinator.open_graph("dynamic") as graph:
            graph.create_task(node, depth)
        answer = took(began)
        assert graph.counts()["succeeded"] == 2 ** (depth + 1) - 1
        return answer


async def payload(floats: int, readers: int, rounds: int) -> Answer:
    async with (
        warm_coordinator() as coordinator,
        coordinator.open_graph("payload", keep_results="needed") as graph,
    ):
        await payload_round(graph, floats, readers, 0)
        began = perf_counter()
        for start in range(rounds):
            await payload_round(graph, floats, readers, start)
        return took(began)


async def payload_round(graph: TaskGraph, floats: int, readers: int, start: int) -> None:
    array = graph.create_task(make_array, floats, start)
    for task in [graph.create_task(total_of, array) for _ in range(readers)]:
        assert is_total(await task.result(), floats, start)


async def many_naps(tasks: int, at_once: int, seconds: float) -> Answer:
    """One process, as a loop of coroutine functions usually has."""
    from benchmarks.bodies_ours import nap

    loops = [WorkerLoop("default", concurrency=at_once)]
    async with (
        open_coordinator(loops, start="eager") as coordinator,
        coordinator.open_graph("async") as graph,
    ):
        for task in [graph.create_task(nap, 0) for _ in range(100)]:
            await task.result()
        began = perf_counter()
        for task in [graph.create_task(nap, seconds) for _ in range(tasks)]:
            await task.result()
        return took(began)


async def memory(tasks: int, keeps_handles: bool) -> Answer:
    """What one task costs the coordinator's process while it waits for one that does not end.

    That one runs as a trio task of this program, in a loop without processes, and waits for an
    event. The time is that of the calls of `create_task` alone.
    """
    opened = trio.Event()

    async def gate() -> None:
        await opened.wait()

    loops = [
        WorkerLoop("default", processes=2),
        WorkerLoop("here", processes=0, functions=[gate]),
    ]
    async with (
        open_coordinator(loops, start="eager") as coordinator,
        coordinator.open_graph("memory") as graph,
    ):
        await fanout(graph, 100)
        first = graph.create_task(gate)
        before = resident_bytes()
        began = perf_counter()
        handles = create_waiting(graph, tasks, first, keeps_handles)
        answer = took(began)
        for _ in range(10):  # whatever the coordinator does about them belongs to it
            await trio.sleep(0.01)
        answer["bytes"] = resident_bytes() - before
        assert graph.counts()["waiting"] == tasks
        opened.set()
        await graph.wait_finished()
        del handles
        return answer


def create_waiting(graph: TaskGraph, tasks: int, first: Any, keeps_handles: bool) -> list[Any]:
    if keeps_handles:
        return [graph.create_task(no_op, waits_on=first) for _ in range(tasks)]
    for _ in range(tasks):
        graph.create_task(no_op, waits_on=first)
    return []


async def start(began: float) -> Answer:
    """Workers start when there is work for them: two tasks that need each other, so two of them."""
    async with (
        open_coordinator([WorkerLoop("default", processes=2)]) as coordinator,
        coordinator.open_graph("start") as graph,
    ):
        await meeting(graph)
        return first_result(began)


async def in_graph(workload: Callable[..., Awaitable[Answer]]) -> Answer:
    """Run a workload that needs a graph and nothing special."""
    async with warm_coordinator() as coordinator, coordinator.open_graph("measured") as graph:
        return await workload(graph)


IN_GRAPH: dict[str, Callable[..., Awaitable[Answer]]] = {
    "fanout": fanout,
    "growth": fanout,
    "ping": ping,
    "chain": chain,
    "tree": tree,
    "cpu": cpu,
    "uneven": uneven,
}
ALONE: dict[str, Callable[..., Awaitable[Answer]]] = {
    "dynamic": dynamic,
    "payload": payload,
    "async": many_naps,
    "memory": memory,
    "start": start,
}


def measure(workload: str, **sizes: Any) -> Answer:
    if workload in ALONE:
        return trio.run(partial(ALONE[workload], **sizes))
    return trio.run(in_graph, partial(IN_GRAPH[workload], **sizes))


if __name__ == "__main__":
    answer(measure)
