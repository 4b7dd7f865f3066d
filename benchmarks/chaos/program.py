"""The program under test: one coordinator, graphs without end, faults; until its time is over.

`python -m benchmarks.chaos.program '{"seed": 1, "seconds": 20, ...}'` writes a history and nothing
else. It runs in a process of its own, so that whoever judges it also outlives it.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import platform
import resource
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks.chaos import bodies, planted
from benchmarks.chaos.faults import Injector
from benchmarks.chaos.graphs import LIMITS, PROCESSES, random_graph
from benchmarks.chaos.history import note
from benchmarks.chaos.model import TERMINAL, Condition, GraphPlan, TaskPlan, plan_as_json
from trio_actor_graph import (
    Coordinator,
    GraphError,
    Task,
    TaskGraph,
    TrioActorGraphError,
    WorkerLoop,
    completed,
    open_coordinator,
    succeeded,
)

GRAPHS_AT_ONCE: Final = 4

LOOK_SECONDS: Final = 0.1
"""How often the state of every task of an open graph is looked at."""

AFTERMATH_SECONDS: Final = 1.0
"""How long after the end of a graph its tasks are looked at once more: late answers have come."""

HEARTBEAT_TIMEOUT_SECONDS: Final = 2.0
"""Four times the longest pause of a worker: endless loops keep the machine busy besides."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is told.

    Attributes:
        seconds: how long graphs are opened.
        hang_seconds: how long a graph may take before it is given up.
    """

    seed: int
    seconds: float
    hang_seconds: float
    faults: bool = True
    weights: dict[str, float] | None = None


def main() -> None:
    """Run as the settings on the command line say."""
    settings = Settings(**json.loads(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # segfaults are part of the program
    trio.run(warm_up)
    planted.plant_in_coordinator()
    observe_workers()
    gc.collect()
    note("figure", name="python", value=platform.python_version())  # opens the history
    _note_usage("before")
    try:
        trio.run(run, settings)
    except BaseException:  # noqa: BLE001  whatever it is, it is judged elsewhere
        note("crash", text=traceback.format_exc())
    gc.collect()
    _note_usage("after")


async def warm_up() -> None:
    """Open a coordinator and leave it: what is imported on the way is in memory from then on."""
    async with open_coordinator([WorkerLoop("default")], start="eager"):
        pass


async def run(settings: Settings) -> None:
    """Open a coordinator, graphs and faults; note when it is about to be left."""
    note("start", limits=LIMITS, settings=dataclasses.asdict(settings))
    async with open_coordinator(worker_loops()) as coordinator:
        async with trio.open_nursery() as graphs, trio.open_nursery() as services:
            chaos = _Chaos(coordinator, settings, graphs)
            services.start_soon(chaos.watch_ready_work)
            if settings.faults:
                services.start_soon(
                    Injector(coordinator, services, settings.seed, notices_stops()).run
                )
            for _ in range(GRAPHS_AT_ONCE):
                graphs.start_soon(chaos.open_graphs)
            with trio.move_on_after(settings.seconds):
                await chaos.given_up.wait()
            chaos.is_over = True
            services.cancel_scope.cancel()
        note("figure", name="stale reports", value=coordinator.statistics().stale_reports)
        _note_usage("open")
        note("closing")


def worker_loops() -> list[WorkerLoop]:
    """The loops that the plans name."""
    more: dict[str, Any] = {}
    if notices_stops():
        more["heartbeat_timeout_seconds"] = HEARTBEAT_TIMEOUT_SECONDS
    return [
        WorkerLoop(name, concurrency=limit, processes=PROCESSES[name], setup=bodies.load, **more)
        for name, limit in LIMITS.items()
    ]


def notices_stops() -> bool:
    """Whether worker loops have heartbeats, without which a stopped worker stays unnoticed."""
    return any(f.name == "heartbeat_timeout_seconds" for f in dataclasses.fields(WorkerLoop))


class _Chaos:
    """Opens graphs and writes down what becomes of them.

    Attributes:
        is_over: no more graphs are opened.
        given_up: a graph has not ended in time, so the run has failed and ends early.
    """

    def __init__(self, coordinator: Coordinator, settings: Settings, nursery: trio.Nursery):
        self.coordinator = coordinator
        self.settings = settings
        self._nursery = nursery
        self.is_over = False
        self.given_up = trio.Event()
        self._opened = 0

    async def open_graphs(self) -> None:
        while not self.is_over:
            number = self._opened
            self._opened += 1
            await self._open_graph(random_graph(self.settings.seed, number, self.settings.weights))

    async def _open_graph(self, plan: GraphPlan) -> None:
        note("graph", graph=plan.name)
        error = ""
        watch: _Watch | None = None
        try:
            async with self.coordinator.open_graph(plan.name, on_failure="continue") as graph:
                watch = _Watch(graph)
                await self._fill_and_wait(watch, plan)
        except Exception as caught:  # noqa: BLE001  a graph that ends with an error is a finding
            error = "".join(traceback.format_exception_only(caught))
        note("graph_end", graph=plan.name, error=error)
        if watch is not None:
            watch.look()
            self._nursery.start_soon(watch.look_again)
        await trio.lowlevel.checkpoint()

    async def _fill_and_wait(self, watch: _Watch, plan: GraphPlan) -> None:
        watch.create(plan.tasks[: plan.second_wave])
        with trio.move_on_after(self.settings.hang_seconds) as limit:
            await trio.sleep(0.05)
            watch.create(plan.tasks[plan.second_wave :])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.run)
                await watch.graph.wait_finished()
                nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            self.given_up.set()
            watch.give_up()

    async def watch_ready_work(self) -> None:
        """Note for each loop when nothing is ready any more: a lost worker is then not missed."""
        had: set[str] = set()
        while True:
            has = {loop for loop in LIMITS if has_ready_work(self.coordinator, loop)}
            starting = {w.worker_loop for w in self.coordinator.workers if not w.is_ready}
            for loop in had - has - starting:
                note("unwanted", loop=loop)
            had = has | starting
            await trio.sleep(LOOK_SECONDS)


class _Watch:
    """One graph, its tasks by key, and what has been seen of them."""

    def __init__(self, graph: TaskGraph):
        self.graph = graph
        self._tasks: dict[str, Task[Any]] = {}
        self._known: set[str] = set()
        self._states: dict[str, str] = {}

    def create(self, plans: tuple[TaskPlan, ...]) -> None:
        for plan in plans:
            try:
                task: Task[Any] = self.graph.create_task(
                    bodies.function_of(plan),
                    plan,
                    *(self._tasks[key] for key in plan.inputs),
                    waits_on=None if plan.waits_on is None else self._condition(plan.waits_on),
                    name=plan.key,
                    priority=plan.priority,
                    retries=plan.retries,
                    timeout_seconds=plan.timeout_seconds,
                    worker_loop=plan.loop,
                )
            except GraphError:
                return  # cancelled meanwhile: it takes no more
            self._tasks[plan.key] = task
            self._known.add(plan.key)
            note("accepted", key=plan.key, graph=self.graph.name, plan=plan_as_json(plan))

    def _condition(self, condition: Condition) -> Any:
        if condition.kind in ("all", "any"):
            first, *others = (self._condition(part) for part in condition.parts)
            for other in others:
                first = first & other if condition.kind == "all" else first | other
            return first
        count = succeeded if condition.kind == "succeeded" else completed
        tasks = [self._tasks[key] for key in condition.keys]
        return count(tasks, at_least=condition.at_least)

    async def run(self) -> None:
        while True:
            self.look()
            await trio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Note tasks that are new, and states that are terminal or were."""
        for task in self.graph.tasks:
            key = task.name
            if key not in self._known:
                self._known.add(key)
                note("accepted", key=key, graph=self.graph.name)
            state = task.state
            if state != self._states.get(key) and (state in TERMINAL or key in self._states):
                self._states[key] = state
                _note_state(task)

    async def look_again(self) -> None:
        """Later note every state once more: what has ended must not have changed."""
        await trio.sleep(AFTERMATH_SECONDS)
        for task in self.graph.tasks:
            _note_state(task)

    def give_up(self) -> None:
        self.look()
        for task in self.graph.tasks:
            if task.state not in TERMINAL:
                note("stuck", key=task.name, story=f"{task.state}: {task.explain()}"[:500])
        self.graph.cancel()


def _note_state(task: Task[Any]) -> None:
    about = {"key": task.name, "state": task.state, "attempts": task.attempt}
    error = task.error
    if task.state == "succeeded":
        try:
            note("state", **about, result=task.result_nowait())
            return
        except Exception as caught:  # noqa: BLE001  a success without a result is a finding
            error = caught if isinstance(caught, TrioActorGraphError) else None
    kind = "" if error is None else type(error).__name__
    cause = "" if error is None or error.__cause__ is None else type(error.__cause__).__name__
    note("state", **about, error=kind, cause=cause)


def observe_workers() -> None:
    """Write down when the coordinator hears that a worker is ready, and that one is lost."""
    on_messages: Any = Coordinator.on_messages
    on_worker_lost: Any = Coordinator.on_worker_lost
    pids: dict[int, int] = {}
    places: dict[int, tuple[str, int]] = {}

    def hear_messages(self: Coordinator, worker_id: int, *args: Any, **kwargs: Any) -> None:
        on_messages(self, worker_id, *args, **kwargs)
        if worker_id not in pids:
            for worker in self.workers:
                if worker.worker_id == worker_id and worker.is_ready and worker.pid is not None:
                    pids[worker_id] = worker.pid
                    places[worker_id] = worker.worker_loop, worker.index
                    note("ready", worker=worker.pid, loop=worker.worker_loop, index=worker.index)

    def hear_lost(self: Coordinator, worker_id: int, how: Any, *args: Any, **kwargs: Any) -> None:
        pid = pids.pop(worker_id, None)
        if pid is not None:
            note("lost", worker=pid, how=str(getattr(how, "how", how))[:300])
        on_worker_lost(self, worker_id, how, *args, **kwargs)
        if pid is not None and has_ready_work(self, places[worker_id][0]):
            note("wanted", worker=pid)

    watched: Any = Coordinator
    watched.on_messages = hear_messages
    watched.on_worker_lost = hear_lost


def has_ready_work(coordinator: Coordinator, loop: str) -> bool:
    """Whether a task is ready for this loop (told by its key's plan) and no worker has room."""
    return any(
        task.state == "ready" and _loop_of(task) == loop
        for graph in coordinator.graphs
        for task in graph.tasks
    )


def _loop_of(task: Any) -> str:
    name: str = task._record.loop.name  # a task does not tell its loop; this is for a figure only
    return name


def _note_usage(when: str) -> None:
    status = Path("/proc/self/status").read_text()
    (rss,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    value = {"rss KB": rss, "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir())}
    note("figure", name=f"usage {when}", value=value)


if __name__ == "__main__":
    main()
