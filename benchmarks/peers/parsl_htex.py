"""Parsl: apps on its HighThroughputExecutor, with two workers of one block on this machine.

Loopback only and not encrypted, no monitoring, no usage tracking. The workers' manager holds some
tasks ahead for both, which about doubles the rate and costs nothing where there is one manager. The
block of workers is started at the first look of Parsl's strategy, every 0.1 s instead of 5 s.

Futures are passed as arguments, so chains and trees are driven by Parsl; what tasks return passes
through the client's process all the same, with the arrays.

- dynamic: workers cannot create tasks; a `join_app` can, in the client's process, and ends as the
  apps that it returns. Each inner node is one, and the leaves are apps on the workers.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from benchmarks import bodies
from benchmarks.bodies import is_total, meeting_point, pairs, uneven_iterations
from benchmarks.protocol import Answer, answer, first_result, took

no_op = parsl.python_app(bodies.no_op)
increment = parsl.python_app(bodies.increment)
leaf = parsl.python_app(bodies.leaf)
add = parsl.python_app(bodies.add)
spin = parsl.python_app(bodies.spin)
make_array = parsl.python_app(bodies.make_array)
total_of = parsl.python_app(bodies.total_of)
meet = parsl.python_app(bodies.meet)


@parsl.join_app
def node(depth: int) -> Any:
    """The futures of its children."""
    if depth == 1:
        return [no_op(), no_op()]
    return [node(depth - 1), node(depth - 1)]


def meeting() -> None:
    folder = meeting_point()
    assert len({future.result() for future in [meet(folder) for _ in range(2)]}) == 2


def fanout(tasks: int) -> Answer:
    began = perf_counter()
    for future in [no_op() for _ in range(tasks)]:
        future.result()
    return took(began)


def ping(tasks: int) -> Answer:
    each = []
    for _ in range(tasks):
        began = perf_counter()
        no_op().result()
        each.append(perf_counter() - began)
    return {"each": each}


def chain(tasks: int) -> Answer:
    began = perf_counter()
    value: Any = 0
    for _ in range(tasks):
        value = increment(value)
    last = value.result()
    answer = took(began)
    assert last == tasks
    return answer


def tree(leaves: int) -> Answer:
    began = perf_counter()
    level = [leaf(number) for number in range(leaves)]
    while len(level) > 1:
        level = [add(one, other) for one, other in pairs(level)]
    root = level[0].result()
    answer = took(began)
    assert root == leaves * (leaves - 1) // 2
    return answer


def dynamic(depth: int) -> Answer:
    began = perf_counter()
    node(depth).result()
    return took(began)


def payload(floats: int, readers: int, rounds: int) -> Answer:
    payload_round(floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        payload_round(floats, readers, start)
    return took(began)


def payload_round(floats: int, readers: int, start: int) -> None:
    array = make_array(floats, start)
    for future in [total_of(array) for _ in range(readers)]:
        assert is_total(future.result(), floats, start)


def cpu(tasks: int, iterations: int) -> Answer:
    return spin_all([iterations] * tasks)


def uneven(tasks: int, iterations_per_second: float) -> Answer:
    return spin_all(uneven_iterations(tasks, iterations_per_second))


def spin_all(sizes: list[int]) -> Answer:
    began = perf_counter()
    for future in [spin(iterations) for iterations in sizes]:
        future.result()
    return took(began)


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
    "cpu": cpu,
    "uneven": uneven,
}


def config() -> Config:
    executor = HighThroughputExecutor(
        label="two",
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        max_workers_per_node=2,
        prefetch_capacity=20,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )
    return Config(
        executors=[executor],
        strategy="none",
        strategy_period=0.1,
        usage_tracking=0,
        run_dir=str(Path(tempfile.gettempdir(), "runinfo")),
        initialize_logging=False,
    )


def measure(workload: str, **sizes: Any) -> Answer:
    logging.getLogger("parsl").setLevel(logging.WARNING)
    with parsl.load(config()):
        if workload == "start":
            return start(**sizes)
        meeting()
        fanout(100)
        return WORKLOADS[workload](**sizes)


if __name__ == "__main__":
    answer(measure)
