"""What users hold: a graph, and its tasks.

Handles decide nothing. They ask the coordinator, read the core's records, and wait.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakSet

import trio

from trio_actor_graph.calls import Call, Options, WaitsOn
from trio_actor_graph.errors import (
    GraphError,
    GraphStalled,
    TaskCancelled,
    TaskSkipped,
    TrioActorGraphError,
)
from trio_actor_graph.graph.conditions import TaskReference, as_condition
from trio_actor_graph.graph.records import GraphRecord, TaskRecord
from trio_actor_graph.graph.states import TaskState
from trio_actor_graph.graph.stories import explain, is_failure_seen, skip_cause, unseen_failures
from trio_actor_graph.outcome import outcome_error
from trio_actor_graph.results import ResultStore
from trio_actor_graph.task import R_co, Task, TaskCreator

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator

OnFailure = Literal["raise", "continue", "cancel"]

DRAIN_SECONDS: Final = 0.6
"""How long leaving a cancelled graph waits for what still runs: twice the grace period of a plain
function, after which its process is killed. What runs longer is stopped behind the scenes."""


class TaskGraph(TaskCreator):
    """A graph of tasks, made by `Coordinator.open_graph`."""

    def __init__(self, coordinator: Coordinator, record: GraphRecord, on_failure: OnFailure):
        self._coordinator = coordinator
        self._on_failure = on_failure
        self._is_closed = False
        self._stall_story: str | None = None
        self._fatal: TaskRecord | None = None  # whose failure has cancelled the graph
        self._body = trio.CancelScope()
        self._ended = trio.Event()
        self._waiting: dict[TaskRecord, trio.Event] = {}
        self._asking: Counter[TaskRecord] = Counter()  # calls of `result` under way
        self._watchers: WeakSet[_Watcher] = WeakSet()
        self.record = record
        self.results = ResultStore()

    @property
    def name(self) -> str:
        """The name it was opened with."""
        return self.record.name

    @property
    def uid(self) -> int:
        """Its number, unique in this process."""
        return self.record.uid

    @property
    def tasks(self) -> tuple[Task[Any], ...]:
        """Its tasks in the order of their creation, also those that tasks created."""
        return tuple(OwnedTask(self, task) for task in self.record.tasks.values())

    def counts(self) -> dict[TaskState, int]:
        """How many tasks there are in each state."""
        return dict(self.record.counts)

    def add_predecessor(self, task: Task[object], predecessor: WaitsOn) -> None:
        """Make a waiting task wait for one more task (its success), or for a condition.

        Raises:
            GraphError: the task is ready or further, or one of them is not in this graph.
            CycleError: the predecessor waits on the task; the message lists the cycle.
        """
        self._check_open()
        condition = as_condition(predecessor)
        if condition is None or not isinstance(task, TaskReference):
            raise GraphError(f"add_predecessor needs two tasks, not {task!r} and {predecessor!r}")
        record = self.record.tasks.get(task.uid)
        if record is None:
            raise GraphError(f"{task!r} is not in graph {self.name!r}")
        self._coordinator.add_predecessor(record, condition)

    def cancel(self) -> None:
        """End every task that has not ended, and take no more. What runs is stopped."""
        if not self._is_closed:
            self._coordinator.cancel_graph(self.record)

    async def wait_finished(self) -> None:
        """Wait until every task has ended, also those born meanwhile.

        Raises:
            GraphStalled: nothing in the graph could go on.
        """
        await trio.lowlevel.checkpoint()
        while self.record.unfinished:
            await self._ended.wait()
        if self._stall_story is not None:
            raise GraphStalled(self._stall_story)

    def as_completed(self) -> AsyncIterator[Task[Any]]:
        """Iterate over the tasks as they end in any way, first those that have ended already.

        Each task comes once. It is over when every task has come, also those born meanwhile.
        """
        watcher = _Watcher(self)
        self._watchers.add(watcher)
        return watcher

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.record.counts.items() if n)
        return f"<TaskGraph {self.name!r} {counts or 'without tasks'}>"

    # ---- for the coordinator and for tasks --------------------------------------------------

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The life of the graph around the user's body; see `Coordinator.open_graph`."""
        try:
            with self._body:
                yield
                await self.wait_finished()
        except BaseException as error:
            await self._abandon()
            if self._fatal is not None and isinstance(error, (TaskCancelled, TaskSkipped)):
                self._raise_failures(error)  # the body met a consequence; tell the cause
            raise
        finally:
            self._is_closed = True
        if self._fatal is not None:
            await self._abandon()
        if self._on_failure != "continue":
            self._raise_failures(None)

    async def wait_ended(self, task: TaskRecord) -> None:
        if task.is_ended:
            # Not a full checkpoint: collecting ten thousand results would take twice as long.
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        event = self._waiting.get(task)
        if event is None:
            event = self._waiting[task] = trio.Event()
        await event.wait()

    async def wait_result(self, task: TaskRecord) -> None:
        """Wait for the end of a task whose failure will thereby have been seen."""
        self._asking[task] += 1
        try:
            await self.wait_ended(task)
        finally:
            self._asking[task] -= 1
            if not self._asking[task]:
                del self._asking[task]

    def error(self, task: TaskRecord) -> TrioActorGraphError | None:
        if task.state == "cancelled" and self._stall_story is not None:
            return GraphStalled(self._stall_story)
        return outcome_error(self.results.outcome(task)) if task.is_ended else None

    def cancel_task(self, task: TaskRecord) -> None:
        if not self._is_closed:
            self._coordinator.cancel_task(task)

    def on_task_ended(self, task: TaskRecord) -> None:
        event = self._waiting.pop(task, None)
        if event is not None:
            event.set()
        for watcher in self._watchers:
            watcher.tell(task)

    def on_ended(self) -> None:
        ended, self._ended = self._ended, trio.Event()
        ended.set()

    def on_stuck(self, story: str) -> None:
        self._stall_story = story

    def on_failure_told(self, task: TaskRecord) -> None:
        """A failure has been told to all who wait for it; does it end the graph?"""
        if self._on_failure != "cancel" or self._fatal is not None:
            return
        if not self._asking[task] and not is_failure_seen(task):
            self._fatal = task
            self._coordinator.cancel_graph(self.record)
            self._body.cancel()

    def _create(self, call: Call, options: Options) -> Task[Any]:
        self._check_open()
        return OwnedTask(self, self._coordinator.create_task(self, call, options))

    def _check_open(self) -> None:
        if self._is_closed:
            raise GraphError(f"graph {self.name!r} has been closed")

    async def _abandon(self) -> None:
        """Cancel what is left and give it a moment to stop."""
        self._coordinator.cancel_graph(self.record)
        with trio.CancelScope(shield=True), trio.move_on_after(DRAIN_SECONDS):
            await self._coordinator.wait_drained(self.record)

    def _raise_failures(self, cause: BaseException | None) -> None:
        unseen = unseen_failures(self.record)
        if self._fatal is not None and self._fatal not in unseen:
            unseen.insert(0, self._fatal)  # it was, when it ended the graph
        if not unseen:
            return
        # All tasks of a loop that cannot start share one failure, which is told once.
        by_failure = {id(task.failure): task for task in reversed(unseen)}
        errors = [self.error(task) for task in reversed(by_failure.values())]
        raise ExceptionGroup(
            f"{len(unseen)} task(s) of graph {self.name!r} failed",
            [error for error in errors if error is not None],
        ) from cause


class OwnedTask(Task[R_co]):
    """A task, held in the app."""

    __slots__ = ("_graph", "_record")

    def __init__(self, graph: TaskGraph, record: TaskRecord):
        self._graph = graph
        self._record = record

    @property
    def uid(self) -> int:
        return self._record.uid

    @property
    def name(self) -> str:
        return self._record.spec.name

    @property
    def state(self) -> TaskState:
        return self._record.state

    @property
    def attempt(self) -> int:
        return self._record.attempts

    @property
    def error(self) -> TrioActorGraphError | None:
        return self._graph.error(self._record)

    @property
    def predecessors(self) -> tuple[Task[Any], ...]:
        return tuple(OwnedTask(self._graph, task) for task in self._record.predecessors)

    @property
    def successors(self) -> tuple[Task[Any], ...]:
        successors = dict.fromkeys(gate.task for gate in self._record.successors)
        return tuple(OwnedTask(self._graph, task) for task in successors)

    async def result(self) -> R_co:
        if self._record.is_ended:
            await self._graph.wait_ended(self._record)
        else:
            await self._graph.wait_result(self._record)
        return self.result_nowait()

    async def wait(self) -> None:
        await self._graph.wait_ended(self._record)

    def result_nowait(self) -> R_co:
        record = self._record
        if not record.is_ended:
            raise GraphError(f"{record.label} has no result yet: it is {record.state!r}")
        mark_seen(record)
        error = self._graph.error(record)
        if error is not None:
            raise error
        value: R_co = self._graph.results.value(record)
        return value

    def cancel(self) -> None:
        self._graph.cancel_task(self._record)

    def explain(self) -> str:
        return explain(self._record)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnedTask) and other._record is self._record

    def __hash__(self) -> int:
        return self._record.uid


class _Watcher:
    """One reader of `as_completed`. It may be left at any time, and is then forgotten."""

    def __init__(self, graph: TaskGraph):
        self._graph = graph
        self._ended = deque(task for task in graph.record.tasks.values() if task.is_ended)
        self._known = set(self._ended)
        self._event = trio.Event()

    def tell(self, task: TaskRecord) -> None:
        if task not in self._known:
            self._known.add(task)
            self._ended.append(task)
            self._event.set()

    def __aiter__(self) -> _Watcher:
        return self

    async def __anext__(self) -> Task[Any]:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._ended:
            if len(self._known) == len(self._graph.record.tasks):
                raise StopAsyncIteration
            self._event = trio.Event()
            await self._event.wait()
        return OwnedTask(self._graph, self._ended.popleft())


def mark_seen(task: TaskRecord) -> None:
    """Somebody has been told how the task ended, and with it of the failure at the root."""
    task.is_seen = True
    cause = skip_cause(task)
    if cause is not None:
        cause.is_seen = True
