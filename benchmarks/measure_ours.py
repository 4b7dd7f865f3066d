"""This package, one workload a process."""

from __future__ import annotations

import json
import sys
from time import perf_counter

import trio

from benchmarks.bodies import no_op
from trio_actor_graph import TaskGraph, WorkerLoop, open_coordinator


async def fanout(graph: TaskGraph, tasks: int) -> list[float]:
    began = perf_counter()
    for task in [graph.create_task(no_op) for _ in range(tasks)]:
        await task.result()
    return [perf_counter() - began]


async def ping(graph: TaskGraph, tasks: int) -> list[float]:
    seconds = []
    for _ in range(tasks):
        began = perf_counter()
        await graph.create_task(no_op).result()
        seconds.append(perf_counter() - began)
    return seconds


async def main(workload: str, tasks: int) -> None:
    async with (
        open_coordinator([WorkerLoop("default", processes=2)], start="eager") as coordinator,
        coordinator.open_graph(workload) as graph,
    ):
        await fanout(graph, 100)  # as the peers do
        print(json.dumps(await {"fanout": fanout, "ping": ping}[workload](graph, tasks)))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
