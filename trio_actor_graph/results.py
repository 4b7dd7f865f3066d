"""The result store of one graph: encoded results, decoded when somebody asks for the first time."""

from __future__ import annotations

import os
from typing import Any, Final, cast

from trio_actor_graph.buffers.keeping import Segment
from trio_actor_graph.buffers.segment import encoded_size
from trio_actor_graph.errors import ResultReleased
from trio_actor_graph.graph.failures import Failure, StoreFull
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.graph.stories import skip_cause
from trio_actor_graph.outcome import TaskOutcome
from trio_actor_graph.payload import decode_result

STORED_MEMORY_PART: Final = 0.5
"""Which part of the machine's memory the results of one graph may take by default: beyond it the
machine would soon swap or kill, which helps nobody to find the cause."""


def default_stored_bytes_max() -> int:
    """How many bytes of results a graph keeps at most if nothing is said."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(memory * STORED_MEMORY_PART)


class ResultStore:
    """Results by task uid. It lives as long as its graph or a handle of one of its tasks.

    Args:
        bytes_max: how many bytes of encoded results it takes.

    Attributes:
        stored_bytes: how many it holds now.
        released: how many results it has let go.
    """

    __slots__ = ("_bytes_max", "_decoded", "_encoded", "_segments", "released", "stored_bytes")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._encoded: dict[int, bytes] = {}
        self._decoded: dict[int, Any] = {}
        self._segments: dict[int, Segment] = {}
        self.stored_bytes = 0
        self.released = 0

    @property
    def bytes_max(self) -> int:
        return self._bytes_max

    def has_room(self, size: int) -> bool:
        """Whether a result of so many bytes can be kept."""
        return self.stored_bytes + size <= self._bytes_max

    def lack_of_room(self, size: int) -> StoreFull | None:
        """Why a result of so many bytes cannot be kept; None if it can."""
        if self.has_room(size):
            return None
        return StoreFull(size, self.stored_bytes, self._bytes_max)

    def put(self, uid: int, encoded: bytes, size: int, segment: Segment | None = None) -> None:
        """Keep a result. Exactly once per task: a second one would be a bug of the scheduler.

        Args:
            uid: of the task.
            encoded: the result.
            size: how many bytes it takes, wherever they are.
            segment: where it is, if it is in shared memory.
        """
        assert uid not in self._encoded
        self._encoded[uid] = encoded
        if segment is not None:
            self._segments[uid] = segment
        self.stored_bytes += size

    def release(self, task: TaskRecord) -> None:
        """Let go the result of a task, if it has one of its own."""
        encoded = self._encoded.pop(task.uid, None)
        if encoded is not None:
            self._decoded.pop(task.uid, None)
            self._segments.pop(task.uid, None)
            self.stored_bytes -= encoded_size(encoded)
            self.released += 1

    def is_released(self, task: TaskRecord) -> bool:
        """Whether the task has succeeded and its result is no longer here."""
        return task.state == "succeeded" and _holder(task).uid not in self._encoded

    def value(self, task: TaskRecord) -> Any:  # whatever the function returned
        """The result of a succeeded task; the same object at each call.

        Raises:
            PayloadError: it cannot be decoded in this process.
            ResultReleased: it is no longer kept.
        """
        uid = _holder(task).uid
        if uid in self._decoded:
            return self._decoded[uid]
        if uid not in self._encoded:
            raise ResultReleased(
                f"the result of {task.label} has been released: its graph was opened with "
                "keep_results='needed', and nothing could ask for it any more"
            )
        value = decode_result(self._encoded[uid], task.label)
        self._decoded[uid] = value
        return value

    def outcome(self, task: TaskRecord) -> TaskOutcome:
        """How a task has ended, or that it has not."""
        uid, name, state = task.uid, task.spec.name, task.state
        if state == "succeeded":
            value = self._encoded.get(_holder(task).uid)
            return TaskOutcome(uid, name, state, value, is_released=value is None)
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
