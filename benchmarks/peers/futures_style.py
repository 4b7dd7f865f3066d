"""The workloads for whatever has `submit` as `concurrent.futures` has it.

Such peers have no dependencies among tasks: chains and trees are driven from the client, which
waits for a result and passes it on. A tree goes level by level, so all of a level is under way
while the client collects the results of the one below.

Arrays travel through the client, once as a result and once for each task that reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from time import perf_counter
from typing import Any

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
from benchmarks.protocol import Answer, took


def meeting(pool: Executor) -> None:
    folder = meeting_point()
    pids = [future.result() for future in [pool.submit(meet, folder) for _ in range(2)]]
    assert len(set(pids)) == 2


def warm_up(pool: Executor) -> None:
    meeting(pool)
    fanout(pool, 100)


def fanout(pool: Executor, tasks: int) -> Answer:
    began = perf_counter()
    for future in [pool.submit(no_op) for _ in range(tasks)]:
        future.result()
    return took(began)


def ping(pool: Executor, tasks: int) -> Answer:
    each = []
    for _ in range(tasks):
        began = perf_counter()
        pool.submit(no_op).result()
        each.append(perf_counter() - began)
    return {"each": each}


def chain(pool: Executor, tasks: int) -> Answer:
    began = perf_counter()
    value = 0
    for _ in range(tasks):
        value = pool.submit(increment, value).result()
    answer = took(began)
    assert value == tasks
    return answer


def tree(pool: Executor, leaves: int) -> Answer:
    began = perf_counter()
    level = [pool.submit(leaf, number) for number in range(leaves)]
    while len(level) > 1:
        level = [pool.submit(add, one.result(), other.result()) for one, other in pairs(level)]
    root = level[0].result()
    answer = took(began)
    assert root == leaves * (leaves - 1) // 2
    return answer


def payload(pool: Executor, floats: int, readers: int, rounds: int) -> Answer:
    payload_round(pool, floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        payload_round(pool, floats, readers, start)
    return took(began)


def payload_round(pool: Executor, floats: int, readers: int, start: int) -> None:
    array = pool.submit(make_array, floats, start).result()
    for future in [pool.submit(total_of, array) for _ in range(readers)]:
        assert is_total(future.result(), floats, start)


def cpu(pool: Executor, tasks: int, iterations: int) -> Answer:
    return spin_all(pool, [iterations] * tasks)


def uneven(pool: Executor, tasks: int, iterations_per_second: float) -> Answer:
    return spin_all(pool, uneven_iterations(tasks, iterations_per_second))


def spin_all(pool: Executor, sizes: list[int]) -> Answer:
    began = perf_counter()
    for future in [pool.submit(spin, iterations) for iterations in sizes]:
        future.result()
    return took(began)


WORKLOADS: dict[str, Callable[..., Answer]] = {
    "fanout": fanout,
    "ping": ping,
    "chain": chain,
    "tree": tree,
    "payload": payload,
    "cpu": cpu,
    "uneven": uneven,
}


def run(workload: str, pool: Executor, sizes: dict[str, Any]) -> Answer:
    """One workload, with two warm workers."""
    warm_up(pool)
    return WORKLOADS[workload](pool, **sizes)
