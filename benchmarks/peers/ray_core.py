"""Ray: tasks are remote functions, results live in its object store until they are fetched.

A local node of its own with two CPUs, no dashboard, no logs to the driver, no usage statistics.
References are passed as arguments, so chains, trees and arrays never come to the driver; arrays are
read from shared memory without a copy.

- dynamic: a task returns references of the tasks it has created, and the driver follows them level
  by level. Waiting for them inside the task, as one would write it first, makes Ray start a process
  for each task that waits, thousands of them.
- async: one asyncio actor with 1,000 calls at a time, in one process.
- memory: the driver's; what Ray's other processes take for each task is not counted.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import ray

from benchmarks import bodies
from benchmarks.bodies import is_total, meeting_point, pairs, uneven_iterations
from benchmarks.protocol import Answer, answer, first_result, resident_bytes, took

no_op = ray.remote(bodies.no_op)
increment = ray.remote(bodies.increment)
leaf = ray.remote(bodies.leaf)
add = ray.remote(bodies.add)
spin = ray.remote(bodies.spin)
make_array = ray.remote(bodies.make_array)
total_of = ray.remote(bodies.total_of)
meet = ray.remote(bodies.meet)


@ray.remote
def node(depth: int) -> list[Any]:
    """References of its children."""
    return [node.remote(depth - 1) for _ in range(2)] if depth else []


@ray.remote(max_concurrency=1_000)
class Sleeper:
    """One process in which coroutines run."""

    async def nap(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@ray.remote
def wait_for(path: str) -> None:
    """A task that ends when a file is there."""
    while not Path(path).exists():
        sleep(0.01)


def meeting() -> None:
    folder = meeting_point()
    assert len(set(ray.get([meet.remote(folder) for _ in range(2)]))) == 2


def fanout(tasks: int) -> Answer:
    began = perf_counter()
    ray.get([no_op.remote() for _ in range(tasks)])
    return took(began)


def ping(tasks: int) -> Answer:
    each = []
    for _ in range(tasks):
        began = perf_counter()
        ray.get(no_op.remote())
        each.append(perf_counter() - began)
    return {"each": each}


def chain(tasks: int) -> Answer:
    ray.get([increment.remote(0) for _ in range(10)])
    began = perf_counter()
    value: Any = 0
    for _ in range(tasks):
        value = increment.remote(value)
    last = ray.get(value)
    answer = took(began)
    assert last == tasks
    return answer


def tree(leaves: int) -> Answer:
    ray.get([add.remote(leaf.remote(1), leaf.remote(2)) for _ in range(10)])
    began = perf_counter()
    level = [leaf.remote(number) for number in range(leaves)]
    while len(level) > 1:
        level = [add.remote(one, other) for one, other in pairs(level)]
    root = ray.get(level[0])
    answer = took(began)
    assert root == leaves * (leaves - 1) // 2
    return answer


def dynamic(depth: int) -> Answer:
    follow(3)
    began = perf_counter()
    nodes = follow(depth)
    answer = took(began)
    assert nodes == 2 ** (depth + 1) - 1
    return answer


def follow(depth: int) -> int:
    level, nodes = [node.remote(depth)], 0
    while level:
        nodes += len(level)
        level = [child for children in ray.get(level) for child in children]
    return nodes


def payload(floats: int, readers: int, rounds: int) -> Answer:
    payload_round(floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        payload_round(floats, readers, start)
    return took(began)


def payload_round(floats: int, readers: int, start: int) -> None:
    array = make_array.remote(floats, start)
    for total in ray.get([total_of.remote(array) for _ in range(readers)]):
        assert is_total(total, floats, start)


def many_naps(tasks: int, at_once: int, seconds: float) -> Answer:
    sleeper = Sleeper.options(max_concurrency=at_once).remote()
    ray.get([sleeper.nap.remote(0) for _ in range(100)])
    began = perf_counter()
    ray.get([sleeper.nap.remote(seconds) for _ in range(tasks)])
    return took(began)


def cpu(tasks: int, iterations: int) -> Answer:
    return spin_all([iterations] * tasks)


def uneven(tasks: int, iterations_per_second: float) -> Answer:
    return spin_all(uneven_iterations(tasks, iterations_per_second))


def spin_all(sizes: list[int]) -> Answer:
    ray.get([spin.remote(1) for _ in range(10)])
    began = perf_counter()
    ray.get([spin.remote(iterations) for iterations in sizes])
    return took(began)


def memory(tasks: int, keeps_handles: bool) -> Answer:
    """Ray drops a task nobody holds a reference of; so the handles are kept in either case."""
    opened = Path(tempfile.mkdtemp(), "opened")
    first = wait_for.remote(str(opened))
    waiting = ray.remote(bodies.no_op_of)
    before = resident_bytes()
    began = perf_counter()
    handles = [waiting.remote(first) for _ in range(tasks)]
    answer = took(began)
    sleep(1)
    answer["bytes"] = resident_bytes() - before
    opened.touch()
    ray.get(handles)
    return answer


def start(began: float) -> Answer:
    meeting()
    return first_result(began)


WORKLOADS: dict[str, Callable[..., Answer]] = {
    "fanout": fanout,
    "ping": ping,
    "chain": chain,
    "tree": tree,
    "dynamic": dynamic,
    "payload": payload,
    "async": many_naps,
    "cpu": cpu,
    "uneven": uneven,
    "memory": memory,
}


def measure(workload: str, **sizes: Any) -> Answer:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=tempfile.gettempdir(),
        _node_ip_address="127.0.0.1",
    )
    try:
        if workload == "start":
            return start(**sizes)
        meeting()
        fanout(100)
        return WORKLOADS[workload](**sizes)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    answer(measure)
