"""`current_task()`: what a running task knows of itself and can do to its graph."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from trio_actor_graph.calls import Call, Options, WaitsOn
from trio_actor_graph.errors import GraphError, ResultReleased, TrioActorGraphError
from trio_actor_graph.graph.conditions import TaskReference, as_condition
from trio_actor_graph.graph.states import TaskState
from trio_actor_graph.outcome import TaskOutcome, outcome_error
from trio_actor_graph.payload import decode_result
from trio_actor_graph.task import R_co, Task, TaskCreator

if TYPE_CHECKING:
    from trio_actor_graph.worker.runner import RunningAttempt

current: ContextVar[CurrentTask] = ContextVar("trio_actor_graph.current_task")


def current_task() -> CurrentTask:
    """The task in whose function, sync or async, this is called.

    Raises:
        GraphError: it is called outside of a task.
    """
    try:
        return current.get()
    except LookupError:
        raise GraphError("current_task() was called outside of a running task") from None


def current_attempt() -> RunningAttempt | None:
    """The attempt in which this is called; None outside of a task."""
    task = current.get(None)
    return None if task is None else task.running


class PredecessorOutcome:
    """How a task that this one waited for has ended.

    Attributes:
        state: "waiting", "ready" or "running" too, where the condition was satisfied without it.
    """

    __slots__ = ("_decoded", "_outcome", "name", "state", "uid")

    def __init__(self, outcome: TaskOutcome):
        self._outcome = outcome
        self._decoded: Any = _UNDECODED
        self.uid: int = outcome.uid
        self.name: str = outcome.name
        self.state: TaskState = outcome.state

    @property
    def result(self) -> Any:  # whatever the function of that task returned
        """Its result, decoded once; None unless it succeeded.

        Raises:
            ResultReleased: its graph has not kept it.
        """
        if self._decoded is _UNDECODED:
            if self._outcome.is_released:
                raise ResultReleased(f"the result of {self} has been released")
            value = self._outcome.value
            self._decoded = None if value is None else decode_result(value, self)
        return self._decoded

    @property
    def error(self) -> TrioActorGraphError | None:
        """The exception that its `Task.result` raises; None if it succeeded or has not ended."""
        if self.state in ("waiting", "ready", "running"):
            return None
        return outcome_error(self._outcome)

    def __str__(self) -> str:
        return f"task {self.name!r} ({self.uid})"

    def __repr__(self) -> str:
        return f"<PredecessorOutcome {self.name!r} {self.uid} {self.state}>"


_UNDECODED: Final = object()


class CurrentTask(TaskReference, TaskCreator):
    """The running task, seen from inside its function.

    The creation of a task reaches the coordinator ahead of the end of this one.
    """

    __slots__ = ("_attempt",)

    def __init__(self, attempt: RunningAttempt):
        self._attempt = attempt

    @property
    def uid(self) -> int:
        return self._attempt.message.uid

    @property
    def name(self) -> str:
        return self._attempt.message.name

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._attempt.message.attempt_number

    @property
    def attempt_id(self) -> int:
        """The number of this attempt: larger for each new one, of whatever task.

        It lets the outside tell a late attempt from the one that replaced it (a fencing token).
        """
        return self._attempt.message.attempt_id

    @property
    def worker_context(self) -> Any:  # whatever the user's `setup` returned
        """What the worker loop's `setup` returned in this process, or None."""
        return self._attempt.runner.worker_context

    @property
    def predecessors(self) -> tuple[PredecessorOutcome, ...]:
        """How the tasks this one waited for ended: those in its arguments, then its condition's."""
        return self._attempt.predecessors()

    @property
    def running(self) -> RunningAttempt:
        """For the worker: the attempt it stands for."""
        return self._attempt

    def _create(self, call: Call, options: Options) -> Task[Any]:
        uid, name = self._attempt.runner.create(self._attempt, call, options)
        return ChildTask(self._attempt, uid, name)

    def add_predecessor(self, task: TaskReference, predecessor: WaitsOn) -> None:
        """Make a task of this graph wait for one more task (its success) or condition.

        It returns at once. If the coordinator refuses, because the task is ready or further or the
        wait would close a cycle, this task fails with that error when it ends.
        """
        condition = as_condition(predecessor)
        if not isinstance(task, TaskReference) or condition is None:
            raise GraphError(f"add_predecessor needs two tasks, not {task!r} and {predecessor!r}")
        self._attempt.runner.add_predecessor(self._attempt, task.uid, condition)

    def __reduce__(self) -> Any:
        raise GraphError("current_task() cannot be sent anywhere; conditions may name it")

    def __repr__(self) -> str:
        return f"<CurrentTask {self.name!r} {self.uid}>"


class ChildTask(Task[R_co]):
    """A task created by a running one, as it sees it: what it knows of it came by messages."""

    __slots__ = ("_attempt", "_is_seen", "_name", "_outcome", "_uid")

    def __init__(self, attempt: RunningAttempt, uid: int, name: str):
        self._attempt = attempt
        self._uid = uid
        self._name = name
        self._outcome: TaskOutcome | None = None
        self._is_seen = False

    @property
    def uid(self) -> int:
        return self._uid

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> TaskState:
        return "waiting" if self._outcome is None else self._outcome.state

    @property
    def error(self) -> TrioActorGraphError | None:
        return None if self._outcome is None else outcome_error(self._outcome)

    async def result(self) -> R_co:
        outcome = await self._wait(is_seen=True)
        error = outcome_error(outcome)
        if error is not None:
            raise error
        return self._value(outcome)

    async def wait(self) -> None:
        await self._wait(is_seen=False)

    def result_nowait(self) -> R_co:
        if self._outcome is None:
            raise GraphError(f"{self!r}: it has no result yet that is known here; await it first")
        error = outcome_error(self._outcome)
        if error is not None:
            self._attempt.runner.mark_seen(self._attempt, self._uid)
            raise error
        return self._value(self._outcome)

    def cancel(self, *, successors: bool = False) -> None:
        self._attempt.runner.cancel_task(self._attempt, self._uid, successors)

    def _value(self, outcome: TaskOutcome) -> R_co:
        assert outcome.value is not None
        value: R_co = decode_result(outcome.value, f"task {self.name!r} ({self.uid})")
        return value

    async def _wait(self, is_seen: bool) -> TaskOutcome:
        if self._outcome is None or (is_seen and not self._is_seen):
            self._outcome = await self._attempt.runner.wait_for(self._attempt, self._uid, is_seen)
            self._is_seen = self._is_seen or is_seen
        return self._outcome
