"""A small program that is left, or waits to be killed.

`python -m benchmarks.chaos.left_program HOW` prints how many seconds leaving its coordinator took.
"held" prints the pids of its workers instead, once all of them are in C code, and then stays.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import repeat

import trio

from benchmarks.chaos.history import PATH_VARIABLE, note
from trio_actor_graph import Coordinator, WorkerLoop, open_coordinator

WORKERS = 3


class LeavingError(Exception):
    """The body of the program has failed."""


def hold_interpreter() -> None:
    note("holding")
    deque(repeat(None), maxlen=0)


def sleep() -> None:
    time.sleep(600)


async def idle(coordinator: Coordinator) -> float:
    return time.monotonic()


async def cancelled_in_c(coordinator: Coordinator) -> float:
    """The graph is cancelled, and everything left in good order."""
    async with coordinator.open_graph() as graph:
        for _ in range(WORKERS):
            graph.create_task(hold_interpreter)
        await all_hold()
        began = time.monotonic()
        graph.cancel()
    return began


async def failed_in_c(coordinator: Coordinator) -> float:
    async with coordinator.open_graph() as graph:
        for _ in range(WORKERS):
            graph.create_task(hold_interpreter)
        await all_hold()
        raise LeavingError(time.monotonic())


async def stopped_idle(coordinator: Coordinator) -> float:
    stop_all(coordinator)
    return time.monotonic()


async def stopped_at_work(coordinator: Coordinator) -> float:
    async with coordinator.open_graph() as graph:
        tasks = [graph.create_task(sleep) for _ in range(WORKERS)]
        await trio.sleep(0.3)  # all workers are idle: each begins its task within milliseconds
        states = [task.state for task in tasks]
        assert states == ["running"] * WORKERS, states
        stop_all(coordinator)
        raise LeavingError(time.monotonic())


async def held(coordinator: Coordinator) -> float:
    async with coordinator.open_graph() as graph:
        for _ in range(WORKERS):
            graph.create_task(hold_interpreter)
        await all_hold()
        print(*(worker.pid for worker in coordinator.workers), flush=True)
        await trio.sleep(600)  # it is killed before
    return 0.0


WAYS: dict[str, Callable[[Coordinator], Awaitable[float]]] = {
    "idle": idle,
    "all in C code, graph cancelled": cancelled_in_c,
    "all in C code, body failed": failed_in_c,
    "all SIGSTOPped, idle": stopped_idle,
    "all SIGSTOPped at work, body failed": stopped_at_work,
    "held": held,
}


async def all_hold() -> None:
    """Wait until every worker is in C code: a moment after it has said that it will be."""
    path = trio.Path(os.environ[PATH_VARIABLE])
    text = ""
    while text.count("holding") < WORKERS:
        text = await path.read_text() if await path.exists() else ""
        await trio.sleep(0.02)
    await trio.sleep(0.1)


def stop_all(coordinator: Coordinator) -> None:
    for worker in coordinator.workers:
        if worker.pid is not None:
            os.kill(worker.pid, signal.SIGSTOP)


async def main(how: str) -> None:
    began = 0.0
    try:
        loops = [WorkerLoop("default", processes=WORKERS)]
        async with open_coordinator(loops, start="eager") as coordinator:
            began = await WAYS[how](coordinator)
    except LeavingError as error:
        (began,) = error.args
    print(time.monotonic() - began)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
