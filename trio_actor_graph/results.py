"""The result store of one graph: encoded results, decoded when somebody asks for the first time."""

from __future__ import annotations

from typing import Any, cast

from trio_actor_graph.errors import PayloadError
from trio_actor_graph.graph.failures import Failure
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.graph.stories import skip_cause
from trio_actor_graph.outcome import TaskOutcome
from trio_actor_graph.payload import decode_value


class ResultStore:
    """Results by task uid. It lives as long as its graph or a handle of one of its tasks."""

    __slots__ = ("_decoded", "_encoded")

    def __init__(self) -> None:
        self._encoded: dict[int, bytes] = {}
        self._decoded: dict[int, Any] = {}

    def put(self, uid: int, encoded: bytes) -> None:
        """Keep a result. Exactly once per task: a second one would be a bug of the scheduler."""
        assert uid not in self._encoded
        self._encoded[uid] = encoded

    def value(self, task: TaskRecord) -> Any:  # whatever the function returned
        """The result of a succeeded task; the same object at each call.

        Raises:
            PayloadError: it cannot be decoded in this process.
        """
        uid = _holder(task).uid
        try:
            return self._decoded[uid]
        except KeyError:
            pass
        try:
            value = decode_value(self._encoded[uid])
        except Exception as error:
            raise PayloadError(
                f"the result of {task.label} cannot be decoded: {type(error).__name__}: {error}"
            ) from error
        self._decoded[uid] = value
        return value

    def outcome(self, task: TaskRecord) -> TaskOutcome:
        """How a task has ended, or that it has not."""
        uid, name, state = task.uid, task.spec.name, task.state
        if state == "succeeded":
            return TaskOutcome(uid, name, state, self._encoded[_holder(task).uid])
        if state == "failed":
            return TaskOutcome(uid, name, state, failure=_failure(task))
        cause = skip_cause(task)
        if state == "skipped" and cause is not None:
            root = TaskOutcome(cause.uid, cause.spec.name, cause.state, failure=_failure(cause))
            return TaskOutcome(uid, name, state, cause=root)
        return TaskOutcome(uid, name, state)


def _holder(task: TaskRecord) -> TaskRecord:
    """The task whose own result it is: for one that returned a task, the last of that chain."""
    while task.returns is not None:
        task = task.returns
    return task


def _failure(task: TaskRecord) -> Failure | None:
    return cast("Failure | None", task.failure)  # the core carries it as an opaque value
