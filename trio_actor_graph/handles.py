"""What users hold: a graph, and its tasks.

Handles decide nothing. They ask the coordinator, read the core's records, and wait.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakSet

import trio

from trio_actor_graph.calls import Call, Options, WaitsOn
from trio_actor_graph.clock import scheduler_seconds, unix_seconds
from trio_actor_graph.errors import (
    GraphError,
    GraphStalled,
    ResultReleased,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    TrioActorGraphError,
)
from trio_actor_graph.graph.conditions import TaskReference, as_condition
from trio_actor_graph.graph.reading import ancestors, descendants
from trio_actor_graph.graph.records import EndedAttempt, GraphRecord, TaskRecord
from trio_actor_graph.graph.states import TERMINAL, GraphState, TaskState
from trio_actor_graph.graph.stories import explain, is_failure_seen, skip_cause, unseen_failures
from trio_actor_graph.logs import LogLine, LogStore, select
from trio_actor_graph.needs import Needs
from trio_actor_graph.outcome import attempt_error, outcome_error
from trio_actor_graph.results import ResultStore
from trio_actor_graph.task import FailedAttempt, R_co, Task, TaskCreator

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.observe.critical_path import CriticalPath
    from trio_actor_graph.observe.drawing import Direction

OnFailure = Literal["raise", "continue", "cancel"]
KeepResults = Literal["all", "needed"]
LogScope = Literal["task", "ancestors", "descendants", "graph"]

DRAIN_SECONDS: Final = 0.6
"""How long leaving a cancelled graph waits for what still runs: twice the grace period of a plain
function, after which its process is killed. What runs longer is stopped behind the scenes."""


class TaskGraph(TaskCreator):
    """A graph of tasks, made by `Coordinator.open_graph`.

    Attributes:
        opened_at: when it was opened, in Unix seconds.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        record: GraphRecord,
        on_failure: OnFailure,
        results: ResultStore,
        keep_results: KeepResults,
    ):
        self._coordinator = coordinator
        self._on_failure: OnFailure = on_failure
        self._is_closed = False
        self._stall_story: str | None = None
        self._fatal: TaskRecord | None = None  # whose failure has cancelled the graph
        self._body = trio.CancelScope()
        self._ended = trio.Event()
        self._waiting: dict[TaskRecord, trio.Event] = {}
        self._asking: Counter[TaskRecord] = Counter()  # calls of `result` under way
        self._watchers: WeakSet[_Watcher] = WeakSet()
        self.opened_at = unix_seconds(perf_counter())
        self._ended_at: float | None = None
        self._has_watchers = False  # asked for each task that ends; a WeakSet takes long to say
        self.record = record
        self.results = results
        self.log_store = LogStore()
        self.counts_needs = keep_results == "needed"
        self._needs = Needs(results.release) if self.counts_needs else None
        self._dropped: deque[TaskRecord] = deque()  # whose handles are gone; from any thread
        self._token = trio.lowlevel.current_trio_token()

    @property
    def name(self) -> str:
        """The name it was opened with."""
        return self.record.name

    @property
    def uid(self) -> int:
        """Its number, unique in this process."""
        return self.record.uid

    @property
    def state(self) -> GraphState:
        """What can be expected of it.

        "running": some task has not ended. "idle": all have, more may be created. "cancelled" and
        "stalled" (nothing could go on): it takes no more. "closed": its block has been left.
        """
        if self._is_closed:
            return "closed"
        if self._stall_story is not None:
            return "stalled"
        if self.record.is_cancelled:
            return "cancelled"
        return "running" if self.record.unfinished else "idle"

    @property
    def stall_story(self) -> str | None:
        """What waits on what, if it is stalled."""
        return self._stall_story

    @property
    def on_failure(self) -> OnFailure:
        """What it was opened with."""
        return self._on_failure

    @property
    def ended_at(self) -> float | None:
        """When its last task ended, in Unix seconds; None while some have not, or before any."""
        return None if self.record.unfinished else self._ended_at

    @property
    def tasks(self) -> tuple[Task[Any], ...]:
        """Its tasks in the order of their creation, also those that tasks created."""
        return tuple(map(self.handle, self.record.tasks.values()))

    @property
    def stored_bytes(self) -> int:
        """How many bytes of encoded results it keeps now."""
        self._drop_needs()
        return self.results.stored_bytes

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

    def trace(self, path: str | Path) -> None:
        """Write a trace of what has run so far, for ui.perfetto.dev or chrome://tracing.

        A lane per worker slot, a slice per attempt, arrows along dependencies.

        Args:
            path: a `.json` or `.json.gz` file.

        Raises:
            GraphError: another suffix, or no times were recorded: that takes
                `open_coordinator(record_times=True)`, or an observer.
            OSError: it cannot be written.
        """
        from trio_actor_graph.observe.trace import write_trace

        self._check_recorded()
        write_trace(self.record, Path(path))

    def critical_path(self) -> CriticalPath:
        """Which tasks made the run, so far, as long as it was. `print` shows it as a table.

        Raises:
            GraphError: no times were recorded: that takes `open_coordinator(record_times=True)`, or
                an observer.
        """
        from trio_actor_graph.observe.critical_path import critical_path

        self._check_recorded()
        return critical_path(self.record, perf_counter())

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
        self._has_watchers = True
        return watcher

    def logs(
        self,
        of: Task[object] | None = None,
        scope: LogScope | None = None,
        *,
        attempt: int | None = None,
        level: int | str | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> tuple[LogLine, ...]:
        """What its tasks have logged so far, in order, as far as that is kept; also when closed.

        Args:
            of: a task of the graph.
            scope: whose lines. "task": its own; "ancestors": also those of its predecessors and
                creators, and so on; "descendants": also those of the tasks in which it has a part;
                "graph": of all tasks. By default "task" if there is one, else "graph".
            attempt: only lines of the attempt of this number.
            level: only lines of at least this level, as a number or a name.
            after: only lines with larger numbers: the number of the last that is known already.
            limit: how many lines at most, the first of them.

        Raises:
            GraphError: the task is not in this graph, or there is no such scope or level.
        """
        lines = self._lines_of(of, scope, after)
        return select(lines, level, attempt, limit)

    @property
    def logs_dropped(self) -> int:
        """How many lines were logged that `logs` does not give, because there were too many."""
        return self.log_store.dropped

    def _lines_of(
        self, of: Task[object] | None, scope: LogScope | None, after: int
    ) -> Iterator[LogLine]:
        if scope is None:
            scope = "graph" if of is None else "task"
        if scope == "graph":
            return self.log_store.of_all(after)
        if not isinstance(of, TaskReference) or (task := self.record.tasks.get(of.uid)) is None:
            raise GraphError(f"logs: {of!r} is not a task of graph {self.name!r}")
        if scope == "task":
            uids = [task.uid]
        elif scope == "ancestors":
            uids = [task.uid, *(each.uid for each in ancestors(task))]
        elif scope == "descendants":
            below = descendants(self.record.tasks.values(), task)
            uids = [task.uid, *(each.uid for each in below)]
        else:
            raise GraphError(f"logs: there is no scope {scope!r}")
        return self.log_store.of_tasks(uids, after)

    def draw(
        self,
        path: str | os.PathLike[str],
        *,
        nodes_max: int | None = None,
        direction: Direction = "right",
    ) -> None:
        """Write a picture of the graph as it is now: tasks and conditions with their states.

        It needs the extra ``draw``, but for ``.dot`` and ``.mmd``. A file that is there already is
        replaced once the new one is whole. The program waits meanwhile: a tenth of a second for a
        small graph, seconds for a hundred thousand tasks.

        Args:
            path: the file; its suffix is the format: .svg, .png, .html, .dot or .mmd.
            nodes_max: above so many nodes tasks of one type and stage are folded together with
                counts; by default 200.
            direction: where work goes, "right" or "down".

        Raises:
            GraphError: another suffix, wrong options, or a library that is missing.
            OSError: the file cannot be written.
        """
        from trio_actor_graph.observe.drawing import NODES_MAX, draw

        most = NODES_MAX if nodes_max is None else nodes_max
        draw(self.record, path, nodes_max=most, direction=direction)

    def _repr_html_(self) -> str:
        """How a notebook shows the graph: its picture or, without igraph, a table of counts."""
        import secrets

        from trio_actor_graph.observe.drawing import render_counts, render_svg

        try:
            return render_svg(self.record, identifier=f"graph-{secrets.token_hex(6)}")
        except ModuleNotFoundError:
            return render_counts(self.record)

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

    @property
    def cancelled_because(self) -> TaskRecord | None:
        """The task whose failure has cancelled it, by `on_failure="cancel"`."""
        return self._fatal

    async def wait_ended(self, task: TaskRecord) -> None:
        if task.is_ended:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        event = self._waiting.get(task)
        if event is None:
            event = self._waiting[task] = trio.Event()
        self._coordinator.run_due()
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

    def cancel_task(self, task: TaskRecord, *, successors: bool) -> None:
        if not self._is_closed:
            self._coordinator.cancel_task(task, successors=successors)

    def retry_task(self, task: TaskRecord) -> None:
        self._check_open()
        self._coordinator.retry_task(task)

    def handle(self, task: TaskRecord) -> OwnedTask[Any]:
        """A handle of a task; where results are kept as needed, it is a reason to keep one."""
        if self._needs is None:
            return OwnedTask(self, task)
        self._needs.hold(task)
        return _CountedTask(self, task)

    def forget_handle(self, task: TaskRecord) -> None:
        """A handle is gone; called in whatever thread its last reference went."""
        self._dropped.append(task)
        with suppress(trio.RunFinishedError):  # the program is over
            self._token.run_sync_soon(self._drop_needs, idempotent=True)

    def hold(self, *tasks: TaskRecord) -> None:
        """These are inputs of a task, or what one ends as."""
        if self._needs is not None:
            self._needs.hold_all(tasks)

    def hold_child(self, task: TaskRecord, creator: TaskRecord) -> None:
        """A running task has created one."""
        if self._needs is not None:
            self._needs.hold_child(task, creator)

    def check_kept(self, inputs: Iterable[int]) -> None:
        """Refuse a new task that needs a result which is no longer there.

        Raises:
            ResultReleased: one of the inputs has been released.
        """
        if self._needs is not None:
            for uid in inputs:
                task = self.record.tasks.get(uid)
                if task is not None and self.results.is_released(task):
                    raise ResultReleased(f"the result of {task.label} has been released")

    def _drop_needs(self) -> None:
        while self._needs is not None and self._dropped:
            self._needs.drop(self._dropped.popleft())

    def on_task_ended(self, task: TaskRecord) -> None:
        if self._waiting and (event := self._waiting.pop(task, None)) is not None:
            event.set()
        if self._has_watchers:
            self._tell_watchers(task)
        if self._needs is not None:  # only now, because a watcher may ask for its result
            self._drop_needs()
            self._needs.on_ended(task)

    def _tell_watchers(self, task: TaskRecord) -> None:
        for watcher in self._watchers:
            watcher.tell(task)
        self._has_watchers = bool(self._watchers)

    def on_ended(self) -> None:
        self._ended_at = unix_seconds(perf_counter())
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
        if self._needs is not None:
            self._drop_needs()
        return self.handle(self._coordinator.create_task(self, call, options))

    def _check_open(self) -> None:
        if self._is_closed:
            raise GraphError(f"graph {self.name!r} has been closed")

    def _check_recorded(self) -> None:
        tasks = self.record.tasks.values()
        if tasks and all(task.times is None for task in tasks):
            raise GraphError(
                f"no times were recorded in graph {self.name!r}: "
                "open the coordinator with record_times=True"
            )

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
        return tuple(map(self._graph.handle, self._record.predecessors))

    @property
    def successors(self) -> tuple[Task[Any], ...]:
        successors = dict.fromkeys(gate.task for gate in self._record.successors)
        return tuple(map(self._graph.handle, successors))

    async def result(self) -> R_co:
        if self._record.state in TERMINAL:
            # Not a full checkpoint: collecting ten thousand results would take twice as long.
            await trio.lowlevel.checkpoint_if_cancelled()
        while self._record.state not in TERMINAL:  # it may be tried again as soon as it has ended
            await self._graph.wait_result(self._record)
        return self.result_nowait()

    async def wait(self) -> None:
        await self._graph.wait_ended(self._record)

    def result_nowait(self) -> R_co:
        record = self._record
        if record.state == "succeeded":
            record.is_seen = True
            value: R_co = self._graph.results.value(record)
            return value
        if record.state not in TERMINAL:
            raise GraphError(f"{record.label} has no result yet: it is {record.state!r}")
        mark_seen(record)
        error = self._graph.error(record)
        assert error is not None
        raise error

    def logs(
        self, *, attempt: int | None = None, level: int | str | None = None
    ) -> tuple[LogLine, ...]:
        return select(self._graph.log_store.of_tasks([self._record.uid]), level, attempt)

    def cancel(self, *, successors: bool = False) -> None:
        self._graph.cancel_task(self._record, successors=successors)

    def retry(self) -> None:
        self._graph.retry_task(self._record)

    @property
    def failed_attempts(self) -> tuple[FailedAttempt, ...]:
        return tuple(_failed_attempt(self._record, ended) for ended in self._record.history or ())

    def explain(self) -> str:
        return explain(self._record, scheduler_seconds())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnedTask) and other._record is self._record

    def __hash__(self) -> int:
        return self._record.uid


class _CountedTask(OwnedTask[R_co]):
    """A handle whose end is told, so that its result need not be kept for it any more."""

    __slots__ = ()

    def __del__(self) -> None:
        self._graph.forget_handle(self._record)


class _Watcher:
    """One reader of `as_completed`. It may be left at any time, and is then forgotten."""

    def __init__(self, graph: TaskGraph):
        self._graph = graph
        ended = [task for task in graph.record.tasks.values() if task.is_ended]
        self._ended = deque(map(graph.handle, ended))
        self._known = set(ended)
        self._event = trio.Event()

    def tell(self, task: TaskRecord) -> None:
        if task not in self._known:
            self._known.add(task)
            self._ended.append(self._graph.handle(task))
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
        return self._ended.popleft()


def mark_seen(task: TaskRecord) -> None:
    """Somebody has been told how the task ended, and with it of the failure at the root."""
    task.is_seen = True
    cause = skip_cause(task)
    if cause is not None:
        cause.is_seen = True


def _failed_attempt(task: TaskRecord, ended: EndedAttempt) -> FailedAttempt:
    error = attempt_error(ended.failure, ended.number, task.uid, task.spec.name)
    assert isinstance(error, TaskFailed)
    return FailedAttempt(ended.number, ended.attempt_id, ended.worker, error)
