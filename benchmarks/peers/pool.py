"""`multiprocessing.Pool`: `imap` with chunks of one, so that each item is a task as elsewhere.

A single task is `apply`, and so is each hop of a chain, as there are no dependencies. A tree goes
level by level.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import Pool
from time import perf_counter
from typing import Any

from benchmarks.bodies import (
    add_pair,
    increment,
    is_total,
    leaf,
    make_array,
    meet,
    meeting_point,
    no_op,
    no_op_of,
    pairs,
    spin,
    total_of,
    uneven_iterations,
)
from benchmarks.protocol import Answer, answer, first_result, took


def meeting(pool: Any) -> None:
    assert len(set(pool.imap(meet, [meeting_point()] * 2, chunksize=1))) == 2


def fanout(pool: Any, tasks: int) -> Answer:
    began = perf_counter()
    for _ in pool.imap(no_op_of, range(tasks), chunksize=1):
        pass
    return took(began)


def ping(pool: Any, tasks: int) -> Answer:
    each = []
    for _ in range(tasks):
        began = perf_counter()
        pool.apply(no_op)
        each.append(perf_counter() - began)
    return {"each": each}


def chain(pool: Any, tasks: int) -> Answer:
    began = perf_counter()
    value = 0
    for _ in range(tasks):
        value = pool.apply(increment, (value,))
    answer = took(began)
    assert value == tasks
    return answer


def tree(pool: Any, leaves: int) -> Answer:
    began = perf_counter()
    level = list(pool.imap(leaf, range(leaves), chunksize=1))
    while len(level) > 1:
        level = list(pool.imap(add_pair, pairs(level), chunksize=1))
    answer = took(began)
    assert level == [leaves * (leaves - 1) // 2]
    return answer


def payload(pool: Any, floats: int, readers: int, rounds: int) -> Answer:
    payload_round(pool, floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        payload_round(pool, floats, readers, start)
    return took(began)


def payload_round(pool: Any, floats: int, readers: int, start: int) -> None:
    array = pool.apply(make_array, (floats, start))
    for total in pool.imap(total_of, [array] * readers, chunksize=1):
        assert is_total(total, floats, start)


def cpu(pool: Any, tasks: int, iterations: int) -> Answer:
    return spin_all(pool, [iterations] * tasks)


def uneven(pool: Any, tasks: int, iterations_per_second: float) -> Answer:
    return spin_all(pool, uneven_iterations(tasks, iterations_per_second))


def spin_all(pool: Any, sizes: list[int]) -> Answer:
    began = perf_counter()
    for _ in pool.imap(spin, sizes, chunksize=1):
        pass
    return took(began)


def start(pool: Any, began: float) -> Answer:
    meeting(pool)
    return first_result(began)


WORKLOADS: dict[str, Callable[..., Answer]] = {
    "fanout": fanout,
    "growth": fanout,
    "ping": ping,
    "chain": chain,
    "tree": tree,
    "payload": payload,
    "cpu": cpu,
    "uneven": uneven,
}


def measure(workload: str, **sizes: Any) -> Answer:
    with Pool(2) as pool:
        if workload == "start":
            return start(pool, **sizes)
        meeting(pool)
        fanout(pool, 100)
        return WORKLOADS[workload](pool, **sizes)


if __name__ == "__main__":
    answer(measure)
