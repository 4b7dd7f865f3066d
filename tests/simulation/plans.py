"""Random graphs, and what the app does with them: data, drawn from a seed before anything runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from trio_actor_graph import RetryPolicy, WorkerLoop

from . import scripts as do
from .scripts import FUNCTIONS, Act, Script

FOREVER = 1e6
"""How long a script works that is only ever stopped."""


# What the app does, one thing after the other


class NewTask(NamedTuple):
    """Create a task.

    Attributes:
        inputs: which earlier tasks are among its arguments.
        waits_on: its condition, see `ConditionTree`.
    """

    script: Script
    inputs: tuple[int, ...] = ()
    waits_on: Any = None


class Pause(NamedTuple):
    seconds: float


class CancelTask(NamedTuple):
    index: int
    successors: bool = False


class LinkTasks(NamedTuple):
    """Make a task wait for more; refused if that is too late or a cycle."""

    index: int
    waits_on: Any


class CancelGraph(NamedTuple):
    pass


class Ask(NamedTuple):
    """Another trio task of the app waits for a task, for so long at most."""

    index: int
    is_result: bool = True
    seconds: float | None = None


class Watch(NamedTuple):
    """Another trio task of the app iterates over the tasks as they end, for so long at most."""

    seconds: float | None = None


class Leave(NamedTuple):
    """The body raises an exception."""


Step: TypeAlias = NewTask | Pause | CancelTask | LinkTasks | CancelGraph | Ask | Watch | Leave

ConditionTree: TypeAlias = Any
"""("succeeded" or "completed", indexes, at_least) or ("all" or "any", trees)."""


@dataclass(frozen=True)
class GraphPlan:
    on_failure: str
    keep_results: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """All that the app does in one simulation; its graphs run beside each other."""

    loops: tuple[WorkerLoop, ...]
    graphs: tuple[GraphPlan, ...]

    @classmethod
    def of_seed(cls, seed: int) -> Plan:
        return _Planner(random.Random(f"plan {seed}")).plan()


class _Planner:
    def __init__(self, lots: random.Random):
        self._lots = lots
        self._numbers = count(1)
        self._loop_names = ["default", "a", "b"][: lots.choice([1, 1, 2, 3])]

    def plan(self) -> Plan:
        graphs = tuple(self._graph() for _ in range(self._lots.choice([1, 1, 2])))
        return Plan(tuple(map(self._loop, self._loop_names)), graphs)

    def _chance(self, probability: float) -> bool:
        return self._lots.random() < probability

    def _loop(self, name: str) -> WorkerLoop:
        processes = self._lots.choice([1, 1, 2, 3])
        return WorkerLoop(
            name,
            concurrency=processes + self._lots.choice([0, 0, 1, 3]),
            processes=processes,
            functions=tuple(FUNCTIONS) if name == "a" else (),
            heartbeat_timeout_seconds=self._lots.choice([0.5, 5.0, 30.0]),
            tasks_max=self._lots.choice([None, None, None, 1, 3, 10]),
        )

    # ---- graphs -----------------------------------------------------------------------------

    def _graph(self) -> GraphPlan:
        steps: list[Step] = []
        can_be_cut = self._chance(0.25)
        tasks = self._lots.choice([1, 3, 6, 12, 25])
        known = 0
        while known < tasks:
            new = self._chain(known) if self._chance(0.2) else [self._task(known)]
            steps.extend(new)
            known += len(new)
            while self._chance(0.3):
                steps.append(self._other_step(known))
        if can_be_cut:
            cut = Leave() if self._chance(0.3) else CancelGraph()
            steps.insert(self._lots.randint(0, len(steps)), cut)
        on_failure = self._lots.choice(["continue", "continue", "raise", "cancel"])
        return GraphPlan(on_failure, self._lots.choice(["all", "all", "needed"]), tuple(steps))

    def _other_step(self, known: int) -> Step:
        index = self._lots.randrange(known)
        patience = self._lots.choice([None, 0.0, 0.1, 3.0])
        kind = self._lots.choice(["pause", "pause", "cancel", "link", "ask", "ask", "watch"])
        if kind == "pause":
            return Pause(self._lots.choice([0.0, 0.0001, 0.01, 0.3, 2.0]))
        if kind == "cancel":
            return CancelTask(index, self._chance(0.3))
        if kind == "link" and known > 1:
            return LinkTasks(index, self._condition(known))
        if kind == "watch":
            return Watch(patience)
        return Ask(index, self._chance(0.7), patience)

    def _task(self, known: int) -> NewTask:
        inputs: tuple[int, ...] = ()
        waits_on = None
        if known and self._chance(0.5):
            inputs = self._some(known, 3)
        if known and self._chance(0.4):
            waits_on = self._condition(known)
        return NewTask(self._script(0), inputs, waits_on)

    def _chain(self, known: int) -> list[NewTask]:
        """Quick tasks of one loop, each on one or two before it, which may travel together."""
        loop = self._lots.choice(self._loop_names)
        tasks: list[NewTask] = []
        for index in range(self._lots.randint(2, 6)):
            kind = self._lots.choice(["quick", "quick", "quick_async"])
            end = self._lots.choice([do.Return(), do.Return(), do.Return(), do.Raise(), do.Die()])
            ends = [do.Return()] if self._chance(0.5) else [end, do.Return()]
            script = Script(
                next(self._numbers),
                kind,
                tuple((do.Work(self._seconds(kind)), each) for each in ends),
                loop=loop,
                retries=self._retries(),
            )
            inputs = sorted({known + index - 1 - self._lots.choice([0, 0, 1]) for _ in range(2)})
            tasks.append(NewTask(script, tuple(i for i in inputs if i >= known and index)))
        return tasks

    def _some(self, known: int, most: int) -> tuple[int, ...]:
        number = self._lots.randint(1, min(most, known))
        return tuple(self._lots.sample(range(known), number))

    def _condition(self, known: int, depth: int = 0) -> ConditionTree:
        if depth < 2 and self._chance(0.25):
            parts = [self._condition(known, depth + 1) for _ in range(self._lots.randint(2, 3))]
            return (self._lots.choice(["all", "any"]), parts)
        indexes = self._some(known, 5)
        at_least = len(indexes) if self._chance(0.5) else self._lots.randint(1, len(indexes))
        return (self._lots.choice(["succeeded", "completed"]), indexes, at_least)

    # ---- scripts ----------------------------------------------------------------------------

    def _script(self, depth: int) -> Script:
        kind = self._lots.choice(sorted(FUNCTIONS))
        # A plain child that has to be killed would take its creator with it, each time anew.
        can_be_stopped = depth == 0 or kind.endswith("async")
        limit = self._lots.choice([0.05, 0.5, 3.0]) if self._chance(0.2) else None
        limit = limit if can_be_stopped else None
        attempts = [self._acts(kind, depth, limit, is_last=False) for _ in range(self._bad())]
        attempts.append(self._acts(kind, depth, limit, is_last=True))
        return Script(
            next(self._numbers),
            kind,
            tuple(attempts),
            loop=self._lots.choice(self._loop_names),
            priority=self._lots.choice([0, 0, 0, 1, -1]),
            retries=self._retries(),
            timeout_seconds=limit,
        )

    def _bad(self) -> int:
        """How many attempts come to nothing before one that may be better."""
        return self._lots.choice([0, 0, 0, 0, 1, 1, 2, 4])

    def _retries(self) -> RetryPolicy:
        return RetryPolicy(
            self._lots.choice([0, 0, 1, 2, 5]),
            delay_seconds=self._lots.choice([0.0, 0.0, 0.01, 1.0]),
            jitter=self._lots.choice([0.0, 0.5]),
            retry_on=self._lots.choice([None, None, (ValueError,)]),
        )

    def _acts(
        self, kind: str, depth: int, limit: float | None, *, is_last: bool
    ) -> tuple[Act, ...]:
        acts: list[Act] = [do.Work(self._seconds(kind))]
        children = self._lots.choice([0, 0, 0, 1, 1, 2, 3]) if depth < 2 else 0
        children = min(children, 2 - depth) if depth else children
        acts.extend([self._create(child, depth) for child in range(children)])
        for child in range(children):
            created = acts[1 + child]
            assert isinstance(created, do.Create)
            acts.extend(self._with_child(child, children, kind, created.script))
        if children:
            acts.append(do.Work(self._seconds(kind)))
        if not kind.endswith("async") and self._chance(0.03):
            acts.append(do.Deaf(self._lots.choice([0.05, 1.0, 100.0])))
        if limit is not None and self._chance(0.1 if is_last else 0.5):
            acts.append(do.Work(FOREVER))
        return (*acts, self._end(children, is_last=is_last))

    def _seconds(self, kind: str) -> float:
        if kind.startswith("quick"):
            return self._lots.choice([0.0, 0.00001, 0.0001])
        return self._lots.choice([0.001, 0.01, 0.1, 1.0])

    def _create(self, child: int, depth: int) -> do.Create:
        script = self._script(depth + 1)
        before = range(child)
        inputs = tuple(i for i in before if self._chance(0.3))
        after = tuple(i for i in before if self._chance(0.3))
        at_least = self._lots.randint(1, len(after)) if after else 0
        outcome = self._lots.choice(["succeeded", "completed"])
        return do.Create(script, inputs, after, outcome, at_least, self._chance(0.05))

    def _with_child(self, child: int, children: int, kind: str, script: Script) -> Sequence[Act]:
        if script.is_async and self._chance(0.05):
            return [do.Cancel(child)]
        if self._chance(0.05) and child + 1 < children:
            return [do.Link(child + 1, child)]
        if kind.endswith("async") and self._chance(0.6):
            seconds = self._lots.choice([None, None, None, 0.0, 0.01, 1.0])
            return [do.Await(child, self._chance(0.7), seconds)]
        return []

    def _end(self, children: int, *, is_last: bool) -> Act:
        if not is_last:
            return do.Die() if self._chance(0.3) else do.Raise(self._chance(0.1))
        if children and self._chance(0.2):
            return do.Tail(self._lots.randrange(children))
        if self._chance(0.03):
            return do.Die()
        return do.Raise() if self._chance(0.08) else do.Return()
