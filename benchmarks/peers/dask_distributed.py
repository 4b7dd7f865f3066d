"""dask.distributed: futures of a client, on a local cluster of two processes.

Workers of one thread each, no dashboard; the scheduler runs in the client's process, as it does in
a `LocalCluster`. Many tasks are submitted by one `map` and fetched by one `gather`, which is faster
than one by one. `pure=False`, because equal calls would be one task otherwise.

- Futures are passed as arguments, so chains, trees and arrays never come to the client. A chain is
  submitted hop by hop, a tree level by level by `map`.
- dynamic: tasks submit their children by `worker_client`, as the documentation recommends, and wait
  for them; meanwhile each has left its slot to others, in a thread of its own.
- async: coroutine functions in one worker process with as many slots as are wanted at a time.
- memory: that of the client's process with the scheduler in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import dask
from distributed import Client, LocalCluster, worker_client

from benchmarks.bodies import (
    add,
    increment,
    is_total,
    leaf,
    make_array,
    meet,
    meeting_point,
    no_op,
    no_op_of,
    spin,
    total_of,
    uneven_iterations,
)
from benchmarks.protocol import Answer, answer, first_result, resident_bytes, took


def node(depth: int) -> int:
    """The number of tasks from here on."""
    if not depth:
        return 1
    with worker_client() as client:
        children = client.map(node, [depth - 1] * 2, pure=False)
        return 1 + sum(client.gather(children))


async def nap(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


def wait_for(path: str) -> None:
    """A task that ends when a file is there."""
    while not Path(path).exists():
        sleep(0.01)


def meeting(client: Client) -> None:
    assert len(set(client.gather(client.map(meet, [meeting_point()] * 2, pure=False)))) == 2


def fanout(client: Client, tasks: int) -> Answer:
    began = perf_counter()
    client.gather(client.map(no_op_of, range(tasks), pure=False))
    return took(began)


def ping(client: Client, tasks: int) -> Answer:
    each = []
    for _ in range(tasks):
        began = perf_counter()
        client.submit(no_op, pure=False).result()
        each.append(perf_counter() - began)
    return {"each": each}


def chain(client: Client, tasks: int) -> Answer:
    client.submit(increment, 0, pure=False).result()
    began = perf_counter()
    value: Any = 0
    for _ in range(tasks):
        value = client.submit(increment, value, pure=False)
    last = value.result()
    answer = took(began)
    assert last == tasks
    return answer


def tree(client: Client, leaves: int) -> Answer:
    client.submit(add, 1, 2, pure=False).result()
    began = perf_counter()
    level = client.map(leaf, range(leaves), pure=False)
    while len(level) > 1:
        level = client.map(add, level[::2], level[1::2], pure=False)
    root = level[0].result()
    answer = took(began)
    assert root == leaves * (leaves - 1) // 2
    return answer


def dynamic(client: Client, depth: int) -> Answer:
    client.submit(node, 2, pure=False).result()
    began = perf_counter()
    nodes = client.submit(node, depth, pure=False).result()
    answer = took(began)
    assert nodes == 2 ** (depth + 1) - 1
    return answer


def payload(client: Client, floats: int, readers: int, rounds: int) -> Answer:
    payload_round(client, floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        payload_round(client, floats, readers, start)
    return took(began)


def payload_round(client: Client, floats: int, readers: int, start: int) -> None:
    array = client.submit(make_array, floats, start, pure=False)
    totals = [client.submit(total_of, array, pure=False) for _ in range(readers)]
    for total in client.gather(totals):
        assert is_total(total, floats, start)


def many_naps(client: Client, tasks: int, at_once: int, seconds: float) -> Answer:
    client.gather(client.map(nap, [0] * 100, pure=False))
    began = perf_counter()
    client.gather(client.map(nap, [seconds] * tasks, pure=False))
    return took(began)


def cpu(client: Client, tasks: int, iterations: int) -> Answer:
    return spin_all(client, [iterations] * tasks)


def uneven(client: Client, tasks: int, iterations_per_second: float) -> Answer:
    return spin_all(client, uneven_iterations(tasks, iterations_per_second))


def spin_all(client: Client, sizes: list[int]) -> Answer:
    client.gather(client.map(spin, [1] * 10, pure=False))
    began = perf_counter()
    client.gather(client.map(spin, sizes, pure=False))
    return took(began)


def memory(client: Client, tasks: int, keeps_handles: bool) -> Answer:
    """Dask drops a task whose futures are gone; so they are kept in either case."""
    opened = Path(tempfile.mkdtemp(), "opened")
    first = client.submit(wait_for, str(opened), pure=False)
    before = resident_bytes()
    began = perf_counter()
    futures = client.map(no_op_of, [first] * tasks, pure=False)
    while client.run_on_scheduler(count_tasks) <= tasks:  # it takes them in beside us
        sleep(0.01)
    answer = took(began)
    answer["bytes"] = resident_bytes() - before
    opened.touch()
    client.gather(futures)
    return answer


def count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def start(client: Client, began: float) -> Answer:
    meeting(client)
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
    "start": start,
}


def measure(workload: str, **sizes: Any) -> Answer:
    dask.config.set({"temporary-directory": tempfile.gettempdir()})
    workers = {"n_workers": 2, "threads_per_worker": 1}
    if workload == "async":
        workers = {"n_workers": 1, "threads_per_worker": sizes["at_once"]}
    with (
        LocalCluster(**workers, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        if workload == "start":
            return start(client, **sizes)
        if workload != "async":
            meeting(client)
        fanout(client, 100)
        return WORKLOADS[workload](client, **sizes)


if __name__ == "__main__":
    answer(measure)
