"""The same work without any scheduler: what a figure could be at best.

- payload: plain calls, one after the other, in one process.
- async: a trio program that does nothing else, under a `CapacityLimiter`.
- cpu: two processes that do half of the tasks each, in a plain loop, at the same time. Their wall
  time says what the two cores give, with whatever they take from each other.
- uneven: likewise, each with its share of the best schedule that is known when all sizes are: the
  longest first, always to the process with least so far.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from benchmarks.bodies import (
    is_total,
    longest_first,
    make_array,
    spin,
    total_of,
    uneven_iterations,
)
from benchmarks.protocol import Answer, answer, took


def payload(floats: int, readers: int, rounds: int) -> Answer:
    payload_round(floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        payload_round(floats, readers, start)
    return took(began)


def payload_round(floats: int, readers: int, start: int) -> None:
    array = make_array(floats, start)
    for _ in range(readers):
        assert is_total(total_of(array), floats, start)


def many_naps(tasks: int, at_once: int, seconds: float) -> Answer:
    import trio

    async def nap(limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            await trio.sleep(seconds)

    async def main() -> Answer:
        limiter = trio.CapacityLimiter(at_once)
        began = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(nap, limiter)
        return took(began)

    return trio.run(main)


def cpu(tasks: int, iterations: int) -> Answer:
    return in_two_processes([[iterations] * (tasks - tasks // 2), [iterations] * (tasks // 2)])


def uneven(tasks: int, iterations_per_second: float) -> Answer:
    return in_two_processes(longest_first(uneven_iterations(tasks, iterations_per_second), 2))


def in_two_processes(shares: list[list[int]]) -> Answer:
    """Both are up and have spun once before they are told to go."""
    links = [Pipe() for _ in shares]
    processes = [
        Process(target=work, args=(theirs, share))
        for (_, theirs), share in zip(links, shares, strict=True)
    ]
    for process in processes:
        process.start()
    for ours, _ in links:
        ours.recv()
    began = perf_counter()
    for ours, _ in links:
        ours.send("go")
    for ours, _ in links:
        ours.recv()
    answer = took(began)
    for process in processes:
        process.join()
    return answer


def work(link: Connection, share: list[int]) -> None:
    spin(1000)
    link.send("ready")
    link.recv()
    for iterations in share:
        spin(iterations)
    link.send("done")


WORKLOADS: dict[str, Callable[..., Answer]] = {
    "payload": payload,
    "async": many_naps,
    "cpu": cpu,
    "uneven": uneven,
}


def measure(workload: str, **sizes: Any) -> Answer:
    return WORKLOADS[workload](**sizes)


if __name__ == "__main__":
    answer(measure)
