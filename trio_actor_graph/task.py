"""What `Task` is wherever one is held: in the app, or inside a running task in a worker."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack, overload

from trio_actor_graph.calls import AnyFunction, Call, Options, WaitsOn, check_options, take_apart
from trio_actor_graph.errors import GraphError, TaskFailed, TrioActorGraphError
from trio_actor_graph.graph.conditions import TaskReference
from trio_actor_graph.graph.states import TaskState
from trio_actor_graph.logs import LogLine
from trio_actor_graph.payload import DataEdge
from trio_actor_graph.retries import NO_DEFAULTS, RetryPolicy, defaults_of

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class FailedAttempt(NamedTuple):
    """An attempt that brought no result.

    Attributes:
        number: counts the attempts of its task from 1.
        attempt_id: grows with every attempt of any task.
        worker: its worker loop and the worker's index in it, "cpu/0".
        error: `TaskFailed`, `TaskTimeout`, or `WorkerLost`.
    """

    number: int
    attempt_id: int
    worker: str
    error: TaskFailed


class Task(TaskReference, DataEdge, Generic[R_co]):
    """A task of a graph, whose function returns an `R_co`.

    Handles are light and made on demand; two of the same task are equal. As an argument of
    `create_task`, anywhere inside the arguments, a task stands for its result.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """The name given at creation, by default the function's."""
        raise NotImplementedError

    @property
    def state(self) -> TaskState:
        """One of "waiting", "ready", "running", "succeeded", "failed", "skipped", "cancelled".

        "running" means that it was given to a worker. Inside a worker this is what was last heard.
        """
        raise NotImplementedError

    @property
    def error(self) -> TrioActorGraphError | None:
        """The exception that `result` would raise, or None if there is none (yet)."""
        raise NotImplementedError

    @property
    def attempt(self) -> int:
        """How many attempts there were so far: 0 before the first."""
        raise self._only_in_app("attempt")

    @property
    def failed_attempts(self) -> tuple[FailedAttempt, ...]:
        """The attempts that failed or were lost with their worker, the last hundred of them."""
        raise self._only_in_app("failed_attempts")

    @property
    def predecessors(self) -> tuple[Task[Any], ...]:
        """The tasks it waits or waited for, those in its arguments first."""
        raise self._only_in_app("predecessors")

    @property
    def successors(self) -> tuple[Task[Any], ...]:
        """The tasks that wait or waited for it."""
        raise self._only_in_app("successors")

    def logs(
        self, *, attempt: int | None = None, level: int | str | None = None
    ) -> tuple[LogLine, ...]:
        """What the task has logged so far, in order; see `TaskGraph.logs`.

        Args:
            attempt: only what this attempt of it has logged; they count from 1.
            level: only lines of at least this level, as a number or a name.

        Raises:
            GraphError: there is no such level; or this is inside a worker.
        """
        raise self._only_in_app("logs")

    def result_nowait(self) -> R_co:
        """The result of a task that has ended; errors as `result`.

        Raises:
            GraphError: the task has not ended.
        """
        raise self._only_in_app("result_nowait")

    def explain(self) -> str:
        """Why the task is in the state it is in: what it waits for, or where it runs."""
        raise self._only_in_app("explain")

    async def result(self) -> R_co:
        """Wait until the task has ended, and return its result.

        Inside an async task this gives the slot back while it waits.

        Raises:
            TaskFailed: its function raised (or `TaskTimeout`, `WorkerLost`).
            TaskSkipped: its scheduling condition can no longer hold.
            TaskCancelled: it was cancelled.
            GraphStalled: its graph could not go on.
            WorkerStartError: its worker loop cannot start.
        """
        raise NotImplementedError

    async def wait(self) -> None:
        """Wait until the task has ended in any way. A failure does not count as seen by this."""
        raise NotImplementedError

    def cancel(self, *, successors: bool = False) -> None:
        """End the task, unless it has ended. It is "cancelled" at once; what runs is stopped.

        Args:
            successors: end everything that waits on it as well, by whatever condition.
        """
        raise NotImplementedError

    def retry(self) -> None:
        """Have a task that failed or was cancelled run again, whatever its retries.

        It waits again under the same uid, and so do the tasks that were skipped because of it and
        those that had returned it; `result` waits again too. What has gone on because of its end,
        by a `completed` condition, stays as it is.

        Raises:
            GraphError: it neither failed nor was cancelled (a skipped task waits again with the one
                it was skipped for); or its graph is cancelled or closed, or keeps only the results
                that are needed.
            CycleError: it would wait for itself by now.
        """
        raise self._only_in_app("retry")

    def _only_in_app(self, what: str) -> GraphError:
        return GraphError(f"{self!r}: {what} is known to the coordinator, not inside a worker")

    def __repr__(self) -> str:
        return f"<Task {self.name!r} {self.uid} {self.state}>"


class TaskOptions(TypedDict, total=False):
    """The keyword arguments of `create_task`."""

    waits_on: WaitsOn
    name: str | None
    priority: int
    retries: int | RetryPolicy | None
    timeout_seconds: float | None
    worker_loop: str | None


class TaskCreator:
    """Whatever can create tasks: a graph in the app, a running task in a worker."""

    __slots__ = ()

    @overload
    def create_task(
        self,
        function: Callable[..., Coroutine[Any, Any, Task[T]]],
        *args: object,
        **options: Unpack[TaskOptions],
    ) -> Task[T]: ...
    @overload
    def create_task(
        self,
        function: Callable[..., Coroutine[Any, Any, Task[T] | T]],
        *args: object,
        **options: Unpack[TaskOptions],
    ) -> Task[T]: ...
    @overload
    def create_task(
        self, function: Callable[..., Task[T]], *args: object, **options: Unpack[TaskOptions]
    ) -> Task[T]: ...
    @overload
    def create_task(
        self, function: Callable[..., Task[T] | T], *args: object, **options: Unpack[TaskOptions]
    ) -> Task[T]: ...
    @overload
    def create_task(
        self, function: str, *args: object, **options: Unpack[TaskOptions]
    ) -> Task[Any]: ...
    def create_task(
        self,
        function: AnyFunction | str,
        *args: object,
        waits_on: WaitsOn = None,
        name: str | None = None,
        priority: int = 0,
        retries: int | RetryPolicy | None = None,
        timeout_seconds: float | None = None,
        worker_loop: str | None = None,
    ) -> Task[Any]:
        """Create a task that will call `function(*args)`. Returns at once.

        Args:
            function: plain or coroutine function, or the name of a registered one. Give keyword
                arguments by `functools.partial`. It is encoded when first used.
            args: its arguments. A `Task` anywhere inside is a data edge: this task waits for its
                success and gets its result in its place.
            waits_on: a condition made by `succeeded` and `completed`, a task (its success), or a
                list (all of them).
            name: for people; by default the function's name.
            priority: among tasks that are ready, larger runs first.
            retries: how many times an exception is answered by another attempt; or a
                `RetryPolicy`. By default what `task_defaults` says of the function, else 0.
            timeout_seconds: how long one attempt may run before it is stopped as `TaskTimeout`. By
                default what `task_defaults` says of the function, else for ever, as `math.inf`.
            worker_loop: the loop to run in; by default the one the function is assigned to.

        Raises:
            GraphError: wrong use; the message names the thing and the value.
            PayloadError: an argument, or the function, cannot be pickled.
        """
        options = check_options(waits_on, name, priority, retries, timeout_seconds, worker_loop)
        call = take_apart(function, args)
        defaults = defaults_of(call.function)
        if defaults is not NO_DEFAULTS:
            options = options.filled(defaults)
        return self._create(call, options)

    def _create(self, call: Call, options: Options) -> Task[Any]:
        raise NotImplementedError
