"""One run of one seed: the app with its plan, the coordinator, simulated workers with their fates.

`run_seed(seed)` is the same run each time, also in what trio leaves to chance. If anything is wrong
it raises `Wrong`, which tells the seed, how to run it again, and the story of the run.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import trio
import trio.testing

from trio_actor_graph import (
    Coordinator,
    GraphError,
    GraphStalled,
    ResultReleased,
    Task,
    TaskFailed,
    TaskGraph,
    TrioActorGraphError,
    WorkerStartError,
    completed,
    open_coordinator,
    opening,
    succeeded,
)
from trio_actor_graph.graph.conditions import as_condition
from trio_actor_graph.graph.invariants import check_invariants
from trio_actor_graph.graph.stories import explain

from . import plans as app
from .engine import SimulatedEngine
from .faults import Faults
from .history import History
from .plans import GraphPlan, Plan
from .scripts import FUNCTIONS
from .verdict import ENDED, Facts, Verdict

VIRTUAL_SECONDS_MAX = 3_000.0
"""How long a run may take: far longer than all of its works, waits and bad fates together."""

STORY_LINES = 200

STEPS_MAX = 5_000
"""How many steps trio's tasks may take at one moment of virtual time: more than there is to do."""


class Wrong(Exception):
    """A seed has shown that something is wrong."""


class Left(Exception):
    """What the body of a graph raises to leave it."""


def run_seed(seed: int) -> Counter[str]:
    """Simulate one seed; which faults have come.

    Raises:
        Wrong: something was not as it must be.
    """
    return run_plan(Plan.of_seed(seed), Faults.of_seed(seed), f"seed {seed}")


def run_plan(
    plan: Plan, faults: Faults, name: str, virtual_seconds: float = VIRTUAL_SECONDS_MAX
) -> Counter[str]:
    """Simulate a plan under faults.

    Args:
        virtual_seconds: how long it may take.

    Raises:
        Wrong: something was not as it must be.
    """
    world = World(plan, faults, virtual_seconds)
    try:
        with _no_chance():
            clock = trio.testing.MockClock(autojump_threshold=0)
            trio.run(world.main, clock, clock=clock)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Wrong(world.story(name)) from error
    return faults.drawn


@contextmanager
def _no_chance() -> Iterator[None]:
    """What trio leaves to chance, the order in which tasks run, is the same in each run."""
    from trio._core import _run

    with (
        mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch.object(_run, "_r", random.Random(0)),
    ):
        yield


class World:
    """One run."""

    def __init__(self, plan: Plan, faults: Faults, virtual_seconds: float):
        self.plan = plan
        self._virtual_seconds = virtual_seconds
        self.faults = faults
        self.history = History()
        self.facts = Facts()
        self.coordinator: Coordinator | None = None
        self._last_state: list[str] = []
        self._events = 0
        self._make_engine: Callable[..., Any] = functools.partial(
            SimulatedEngine,
            faults=faults,
            history=self.history,
            facts=self.facts,
            check=self.check,
        )

    async def main(self, clock: trio.testing.MockClock) -> None:
        coordinator = functools.partial(Coordinator, make_engine=self._make_engine)
        with mock.patch.object(opening, "Coordinator", coordinator):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_clock)
                still = _StandsStill(self, nursery.cancel_scope, clock)
                trio.lowlevel.add_instrument(still)
                await self._use()
                nursery.cancel_scope.cancel()
        assert not still.has_come, "it is busy for ever, and time stands still"

    async def _use(self) -> None:
        async with open_coordinator(self.plan.loops, functions=FUNCTIONS) as self.coordinator:
            self._prepare(self.coordinator)
            async with trio.open_nursery() as nursery:
                for number, graph in enumerate(self.plan.graphs):
                    nursery.start_soon(GraphRun(self, graph, number).run)
            await self._nothing_is_left(self.coordinator)
        self.check()

    async def _watch_clock(self) -> None:
        """Where nothing goes on any more the clock jumps to here."""
        await trio.sleep(self._virtual_seconds)
        self.keep_state()
        raise AssertionError("it is stuck")

    def keep_state(self) -> None:
        """Keep the state for the story, as it is now."""
        self._last_state = self._state()

    def _prepare(self, coordinator: Coordinator) -> None:
        scheduler = self.history.scheduler = coordinator._scheduler
        self.history.limits = {name: sum(lp.slots) for name, lp in scheduler.loops.items()}

    def check(self) -> None:
        """What holds between any two events; looked at less often the more there is to look at."""
        assert self.coordinator is not None
        scheduler = self.coordinator._scheduler
        self._events += 1
        if self._events % (1 + sum(len(g.tasks) for g in scheduler.graphs.values()) // 15):
            return
        check_invariants(scheduler)
        if self.coordinator.is_due:
            return  # there are commands to come
        for loop in scheduler.loops.values():
            if loop.ready and loop.failure is None:
                able = [w for w in loop.workers.values() if w.takes_attempts and w.free_slots > 0]
                idle = [w for w in able if not w.is_retiring]
                assert not idle, f"something is ready, and {idle[0].name} has nothing to do"

    async def _nothing_is_left(self, coordinator: Coordinator) -> None:
        """What nobody wants any more comes to its end, and nothing is kept for it."""
        scheduler = coordinator._scheduler
        while scheduler.attempts:  # noqa: ASYNC110  nobody tells when the last one has gone
            await trio.sleep(1)
        await trio.sleep(100)  # for deadlines of what is long over
        self.check()
        assert scheduler.next_deadline() is None
        assert not scheduler.graphs
        assert coordinator.graphs == ()
        assert not coordinator._draining
        assert not coordinator._outgoing
        assert not any(worker.held for worker in scheduler.workers.values())
        assert all(run.outcome for run in self.history.runs.values()), "an attempt runs for ever"

    def story(self, name: str) -> str:
        """All that helps to see what went wrong."""
        lines = self.history.lines[-STORY_LINES:]
        state = self._last_state or self._state()
        again = "SIMULATION_SEED=<seed> pytest tests/simulation runs one again"
        faults = ", ".join(f"{n} {kind}" for kind, n in sorted(self.faults.drawn.items()))
        return "\n".join([f"{name} ({again})", f"faults: {faults}", "", *lines, "", *state])

    def _state(self) -> list[str]:
        if self.coordinator is None:
            return ["it did not open"]
        scheduler = self.coordinator._scheduler
        lines = [f"next deadline: {scheduler.next_deadline()}"]
        for loop in scheduler.loops.values():
            workers = [
                (w.name, "ready" if w.is_ready else "starting", sorted(w.held))
                for w in loop.workers.values()
            ]
            lines.append(f"loop {loop.name}: {len(loop.ready)} ready, workers {workers}")
        for graph in scheduler.graphs.values():
            for task in graph.tasks.values():
                lines += [] if task.is_ended else [explain(task)]
        return lines


class _StandsStill(trio.abc.Instrument):
    """Notices tasks that keep each other busy, so that the clock never jumps."""

    def __init__(
        self, world: World, scope: trio.CancelScope, clock: trio.testing.MockClock
    ) -> None:
        self.has_come = False
        self._clock = clock
        self._world = world
        self._scope = scope
        self._now = 0.0
        self._steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.has_come:
            self._clock.jump(0.001)  # it cannot end without time
            return
        now = trio.current_time()
        self._steps = self._steps + 1 if now == self._now else 0
        self._now = now
        if self._steps == STEPS_MAX:
            self.has_come = True
            self._world.keep_state()
            self._scope.cancel()


class GraphRun:
    """What the app does with one graph."""

    def __init__(self, world: World, plan: GraphPlan, number: int):
        assert world.coordinator is not None
        self._world = world
        self._plan = plan
        self._number = number
        self._coordinator = world.coordinator
        self._facts = world.facts
        self._tasks: list[Task[Any] | None] = []
        self._is_cut = False

    async def run(self) -> None:
        graphs: list[TaskGraph] = []
        try:
            async with self._coordinator.open_graph(
                f"g{self._number}",
                on_failure=self._plan.on_failure,  # type: ignore[arg-type]
                keep_results=self._plan.keep_results,  # type: ignore[arg-type]
            ) as graph:
                graphs.append(graph)
                await self._use(graph)
        except* Left:
            self._is_cut = True
        except* GraphStalled:
            self._is_cut = True
            assert self._can_stall(), "nothing in its plan could have stalled it"
        except* (TaskFailed, WorkerStartError):
            assert self._plan.on_failure != "continue"
            self._is_cut |= self._plan.on_failure == "cancel"
        (graph,) = graphs
        self._world.history.note(trio.current_time(), f"graph {self._number} is over")
        Verdict(graph.tasks, self._facts, self._world.history, self._is_cut).judge()

    async def _use(self, graph: TaskGraph) -> None:
        async with trio.open_nursery() as others:
            for step in self._plan.steps:
                await self._do(step, graph, others)
                self._world.check()
            await graph.wait_finished()
            others.cancel_scope.cancel()

    async def _do(self, step: app.Step, graph: TaskGraph, others: trio.Nursery) -> None:
        match step:
            case app.NewTask():
                self._tasks.append(self._create(step, graph))
            case app.Pause(seconds):
                await trio.sleep(seconds)
            case app.CancelTask(index, successors):
                self._cancel(self._tasks[index], successors)
            case app.LinkTasks(index, waits_on):
                self._link(graph, self._tasks[index], waits_on)
            case app.CancelGraph():
                self._is_cut = True
                self._note(f"cancels graph {self._number}")
                graph.cancel()
            case app.Ask(index, is_result, seconds):
                if (task := self._tasks[index]) is not None:
                    others.start_soon(self._ask, task, is_result, seconds)
            case app.Watch(seconds):
                others.start_soon(self._watch, graph, seconds)
            case app.Leave():
                self._is_cut = True
                raise Left

    def _note(self, text: str) -> None:
        self._world.history.note(trio.current_time(), f"the app {text}")

    def _create(self, step: app.NewTask, graph: TaskGraph) -> Task[Any] | None:
        script = step.script
        inputs = [self._tasks[i] for i in step.inputs]
        waits_on = None if step.waits_on is None else self._condition(step.waits_on)
        if None in inputs or (waits_on is None and step.waits_on is not None):
            return None
        try:
            task = graph.create_task(
                FUNCTIONS[script.kind],
                script,
                *inputs,
                waits_on=waits_on,
                name=script.name,
                priority=script.priority,
                retries=script.retries,
                timeout_seconds=script.timeout_seconds,
                worker_loop=script.loop,
            )
        except GraphError:
            assert self._is_cut or self._plan.on_failure == "cancel" or self._can_stall()
            return None
        uids = [t.uid for t in inputs if t is not None]
        self._facts.on_created(task.uid, script, uids, as_condition(waits_on))
        self._note(f"creates {task!r}")
        return task

    def _condition(self, tree: app.ConditionTree) -> Any:
        """The condition of a tree; None if one of its tasks could not be created."""
        if tree[0] in ("all", "any"):
            parts = [self._condition(part) for part in tree[1]]
            if any(part is None for part in parts):
                return None
            combine = (lambda a, b: a & b) if tree[0] == "all" else (lambda a, b: a | b)
            return functools.reduce(combine, parts)
        tasks = [self._tasks[index] for index in tree[1]]
        if any(task is None for task in tasks):
            return None
        make = succeeded if tree[0] == "succeeded" else completed
        return make(tasks, at_least=tree[2])  # type: ignore[arg-type]

    def _cancel(self, task: Task[Any] | None, successors: bool) -> None:
        if task is None:
            return
        before = task.state
        self._facts.cancelled.add(task.uid)
        self._facts.are_successors_cancelled |= successors
        self._note(f"cancels {task!r}{' and all after it' if successors else ''}")
        task.cancel(successors=successors)
        assert task.state == (before if before in ENDED else "cancelled"), "it ends at once"

    def _link(self, graph: TaskGraph, task: Task[Any] | None, tree: app.ConditionTree) -> None:
        waits_on = self._condition(tree)
        if task is None or waits_on is None:
            return
        try:
            graph.add_predecessor(task, waits_on)
        except GraphError:
            return
        condition = as_condition(waits_on)
        assert condition is not None
        self._note(f"makes {task!r} wait for more")
        self._facts.tasks[task.uid].conditions.append(condition)

    async def _ask(self, task: Task[Any], is_result: bool, seconds: float | None) -> None:
        with trio.move_on_after(seconds if seconds is not None else float("inf")) as patience:
            try:
                await (task.result() if is_result else task.wait())
            except ResultReleased:
                assert self._plan.keep_results == "needed"
            except TrioActorGraphError as error:
                told = str(error)
                assert told == str(task.error)
            if not patience.cancel_called:
                assert task.state in ENDED

    async def _watch(self, graph: TaskGraph, seconds: float | None) -> None:
        seen: set[int] = set()
        with trio.move_on_after(seconds if seconds is not None else float("inf")):
            async for task in graph.as_completed():
                assert task.uid not in seen, "each task comes once"
                assert task.state in ENDED
                seen.add(task.uid)

    def _can_stall(self) -> bool:
        return "waits_on_creator=True" in repr(self._plan)
