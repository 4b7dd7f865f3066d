"""`python -m benchmarks.profile`: where the time of one task goes, so that it adds up.

Three stories, each told by probes around a few functions of the package:

- a task among 10,000 that are independent: what the coordinator's thread does for it, by parts; the
  rest of the wall time is the event loop and waiting. Beside it, what it costs the workers.
- a hop of a chain of 1,000: the same.
- a single task, created and awaited: one moment after the other, across both processes.

A probe adds its own time to what it measures, so the wall time without probes stands beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

import trio
from rich.console import Console
from rich.table import Table

from benchmarks.bodies import increment, no_op
from trio_actor_graph import Coordinator, TaskGraph, WorkerLoop, open_coordinator
from trio_actor_graph.engine.processes import ProcessEngine
from trio_actor_graph.graph.scheduler import Scheduler
from trio_actor_graph.link import FrameReader, Link

RUNS = 9
TASKS = 10_000
HOPS = 1_000
PINGS = 2_000

Rows = dict[str, float]
"""What -> microseconds a task."""

PARTS = {
    (Scheduler, "on_task_created"): "create: the core's record of it",
    (Scheduler, "settle"): "dispatch: which worker gets it",
    (Coordinator, "_run_commands"): "dispatch: messages made, ended tasks told",
    (ProcessEngine, "send"): "dispatch: encoded and given to the kernel",
    (FrameReader, "feed"): "completion: decoded",
    (Coordinator, "on_messages"): "completion: taken in and stored",
}


class Probes:
    """Sums the time spent in functions of one thread, without that of others inside them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside: list[float] = []
        self._originals: list[tuple[type, str, Any]] = []

    def put_in(self) -> None:
        for (owner, name), part in PARTS.items():
            original = getattr(owner, name)
            self._originals.append((owner, name, original))
            setattr(owner, name, self.around(part, original))

    def take_out(self) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def probed(*args: Any, **options: Any) -> Any:
            began = perf_counter()
            self._inside.append(0.0)
            try:
                return function(*args, **options)
            finally:
                took = perf_counter() - began
                self.seconds[part] = self.seconds.get(part, 0.0) + took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return probed


def cpu_seconds(pid: int) -> float:
    """The processor time of a process's threads, to the nanosecond (Linux)."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9


# ---- many tasks ---------------------------------------------------------------------------------


async def fan_out(graph: TaskGraph, probes: Probes) -> None:
    tasks = create(probes, lambda: [graph.create_task(no_op) for _ in range(TASKS)])
    await tasks[-1].wait()
    await graph.wait_finished()
    began = perf_counter()
    for task in tasks:
        await task.result()
    probes.seconds["results: awaited and decoded"] = perf_counter() - began


async def chain(graph: TaskGraph, probes: Probes) -> None:
    def create_all() -> list[Any]:
        tasks = [graph.create_task(increment, 0)]
        for _ in range(HOPS - 1):
            tasks.append(graph.create_task(increment, tasks[-1]))
        return tasks

    tasks = create(probes, create_all)
    assert await tasks[-1].result() == HOPS


def create(probes: Probes, create_all: Callable[[], list[Any]]) -> list[Any]:
    return probes.around("create: checked, encoded, its handle", create_all)()


async def story_of_many(
    coordinator: Coordinator, run: Callable[[TaskGraph, Probes], Any], tasks: int
) -> Rows:
    """The median run of several, in microseconds a task."""
    stories = []
    for _ in range(RUNS):
        probes = Probes()
        async with coordinator.open_graph() as graph:
            pids = [worker.pid for worker in coordinator.workers if worker.pid is not None]
            before = sum(map(cpu_seconds, pids))
            probes.put_in()
            began = perf_counter()
            try:
                await run(graph, probes)
            finally:
                wall = perf_counter() - began
                probes.take_out()
            workers = sum(map(cpu_seconds, pids)) - before
        story = probes.seconds
        story["the event loop, and waiting"] = wall - sum(story.values())
        story["= wall time"] = wall
        story["beside it: processor time of the workers"] = workers
        stories.append({part: seconds / tasks * 1e6 for part, seconds in story.items()})
    stories.sort(key=lambda story: story["= wall time"])
    middle = stories[len(stories) // 2]
    middle["wall time without probes"] = await bare_wall(coordinator, run) / tasks * 1e6
    return middle


async def bare_wall(coordinator: Coordinator, run: Callable[[TaskGraph, Probes], Any]) -> float:
    walls = []
    for _ in range(RUNS):
        async with coordinator.open_graph() as graph:
            began = perf_counter()
            await run(graph, Probes())
            walls.append(perf_counter() - began)
    return median(walls)


# ---- a single task ------------------------------------------------------------------------------

MOMENTS = {
    "created": "create_task",
    "sending": "dispatch: which worker gets it, its message made",
    "begun": "encoded, through the kernel, decoded in the worker, begun",
    "heard": "its function, its report, and back: the coordinator woken",
    "told": "completion: decoded, taken in, stored, who waits is told",
    "resumed": "the event loop goes on with who waits",
}


async def story_of_one(coordinator: Coordinator) -> Rows:
    """The mean of the middle half of many, which adds up as medians would not."""
    moments: dict[str, float] = {}
    stories = []
    whole = []
    async with coordinator.open_graph() as graph:
        for _ in range(PINGS):
            began = perf_counter()
            await graph.create_task(no_op).result()
            whole.append(perf_counter() - began)
        originals = (Link.send, FrameReader.feed, Coordinator.on_messages)
        Link.send = noting(moments, Link.send, "sending", None)  # type: ignore[method-assign]
        FrameReader.feed = noting(moments, FrameReader.feed, "heard", None)  # type: ignore[method-assign]
        Coordinator.on_messages = noting(moments, Coordinator.on_messages, None, "told")  # type: ignore[method-assign]
        try:
            for _ in range(PINGS):
                began = perf_counter()
                task = graph.create_task(perf_counter)
                moments["created"] = perf_counter()
                moments["begun"] = await task.result()  # the clock is one for the whole machine
                moments["resumed"] = perf_counter()
                stories.append([began, *(moments[name] for name in MOMENTS)])
        finally:
            Link.send, FrameReader.feed, Coordinator.on_messages = originals  # type: ignore[method-assign]
    stories.sort(key=lambda times: times[-1] - times[0])
    middle = stories[len(stories) // 4 : -len(stories) // 4]
    steps = zip(*([b - a for a, b in pairwise(t)] for t in middle), strict=True)
    rows = {what: fmean(s) * 1e6 for what, s in zip(MOMENTS.values(), steps, strict=True)}
    rows["= from its creation to its result"] = sum(rows.values())
    rows["without probes, median"] = median(whole) * 1e6
    return rows


def noting(
    moments: dict[str, float], function: Callable[..., Any], before: str | None, after: str | None
) -> Any:
    def noted(*args: Any) -> Any:
        if before is not None:
            moments[before] = perf_counter()
        value = function(*args)
        if after is not None:
            moments[after] = perf_counter()
        return value

    return noted


# ---- all of it ----------------------------------------------------------------------------------


async def profile() -> dict[str, Rows]:
    loops = [WorkerLoop("default", processes=2)]
    async with open_coordinator(loops, start="eager") as coordinator:
        for function in (no_op, perf_counter, partial(increment, 0)):
            async with coordinator.open_graph() as graph:
                for _ in range(200):
                    graph.create_task(function)
        return {
            f"one of {TASKS:,} independent no-ops": await story_of_many(
                coordinator, fan_out, TASKS
            ),
            f"one of {HOPS:,} hops of a chain": await story_of_many(coordinator, chain, HOPS),
            "one no-op, created and awaited": await story_of_one(coordinator),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    stories = trio.run(profile)
    if options.json:
        print(json.dumps(stories, indent=2))
        return
    for title, rows in stories.items():
        table = Table("us", "what", title=title, title_justify="left")
        for what, microseconds in rows.items():
            table.add_row(f"{microseconds:.1f}", what)
        Console().print(table)


if __name__ == "__main__":
    main()
