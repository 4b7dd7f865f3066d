"""trio-parallel: a call in a worker process, awaited by a trio task of its own.

A nursery starts a trio task for each piece of work, as its documentation does, under a limiter of
two. Its default cache keeps idle workers alive. There are no dependencies among tasks, so chains
and trees are driven result by result; a tree level by level.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import trio
import trio_parallel

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
from benchmarks.protocol import Answer, answer, first_result, took

Call = tuple[Any, ...]
"""A function and its arguments."""


async def run_all(calls: Sequence[Call], limiter: trio.CapacityLimiter) -> list[Any]:
    results: list[Any] = [None] * len(calls)

    async def run(index: int, call: Call) -> None:
        results[index] = await trio_parallel.run_sync(*call, limiter=limiter)

    async with trio.open_nursery() as nursery:
        for index, call in enumerate(calls):
            nursery.start_soon(run, index, call)
    return results


async def meeting(limiter: trio.CapacityLimiter) -> None:
    assert len(set(await run_all([(meet, meeting_point())] * 2, limiter))) == 2


async def fanout(limiter: trio.CapacityLimiter, tasks: int) -> Answer:
    began = perf_counter()
    await run_all([(no_op,)] * tasks, limiter)
    return took(began)


async def ping(limiter: trio.CapacityLimiter, tasks: int) -> Answer:
    each = []
    for _ in range(tasks):
        began = perf_counter()
        await trio_parallel.run_sync(no_op, limiter=limiter)
        each.append(perf_counter() - began)
    return {"each": each}


async def chain(limiter: trio.CapacityLimiter, tasks: int) -> Answer:
    began = perf_counter()
    value = 0
    for _ in range(tasks):
        value = await trio_parallel.run_sync(increment, value, limiter=limiter)
    answer = took(began)
    assert value == tasks
    return answer


async def tree(limiter: trio.CapacityLimiter, leaves: int) -> Answer:
    began = perf_counter()
    level = await run_all([(leaf, number) for number in range(leaves)], limiter)
    while len(level) > 1:
        level = await run_all([(add, *pair) for pair in pairs(level)], limiter)
    answer = took(began)
    assert level == [leaves * (leaves - 1) // 2]
    return answer


async def payload(limiter: trio.CapacityLimiter, floats: int, readers: int, rounds: int) -> Answer:
    await payload_round(limiter, floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        await payload_round(limiter, floats, readers, start)
    return took(began)


async def payload_round(
    limiter: trio.CapacityLimiter, floats: int, readers: int, start: int
) -> None:
    array = await trio_parallel.run_sync(make_array, floats, start, limiter=limiter)
    for total in await run_all([(total_of, array)] * readers, limiter):
        assert is_total(total, floats, start)


async def cpu(limiter: trio.CapacityLimiter, tasks: int, iterations: int) -> Answer:
    return await spin_all(limiter, [iterations] * tasks)


async def uneven(limiter: trio.CapacityLimiter, tasks: int, iterations_per_second: float) -> Answer:
    return await spin_all(limiter, uneven_iterations(tasks, iterations_per_second))


async def spin_all(limiter: trio.CapacityLimiter, sizes: list[int]) -> Answer:
    began = perf_counter()
    await run_all([(spin, iterations) for iterations in sizes], limiter)
    return took(began)


async def start(limiter: trio.CapacityLimiter, began: float) -> Answer:
    await meeting(limiter)
    return first_result(began)


WORKLOADS: dict[str, Callable[..., Awaitable[Answer]]] = {
    "fanout": fanout,
    "ping": ping,
    "chain": chain,
    "tree": tree,
    "payload": payload,
    "cpu": cpu,
    "uneven": uneven,
}


async def main(workload: str, sizes: dict[str, Any]) -> Answer:
    limiter = trio.CapacityLimiter(2)
    if workload == "start":
        return await start(limiter, **sizes)
    await meeting(limiter)
    await fanout(limiter, 100)
    return await WORKLOADS[workload](limiter, **sizes)


def measure(workload: str, **sizes: Any) -> Answer:
    return trio.run(partial(main, workload, sizes))


if __name__ == "__main__":
    answer(measure)
