"""Why a task failed, as data. The coordinator turns these into the exceptions of `errors.py`."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Raised(msgspec.Struct, frozen=True, tag="raised", array_like=True):
    """The function raised, in its worker.

    Attributes:
        type_name: the exception's qualified type name.
        text: its message.
        traceback: its formatted traceback, causes included.
        pickled: the exception itself, or None where it cannot be pickled.
    """

    type_name: str
    text: str
    traceback: str
    pickled: bytes | None = None


class TimedOut(msgspec.Struct, frozen=True, tag="timed out", array_like=True):
    """An attempt ran longer than the task's `timeout_seconds`."""

    seconds: float


class WorkerEnd(msgspec.Struct, frozen=True, array_like=True):
    """How a worker ended.

    Attributes:
        how: for people: its pid and exit status or signal, and what it was killed for.
        pid: its process; None if there never was one.
        status: the process's exit status; negative: the signal that ended it.
        stderr: the last lines that it wrote to stderr.
        running: the attempts that held a slot at that moment; None when nobody knows, and then all
            that it held count.
        begun: the attempts that had begun, whether they still ran or not; None as above.
    """

    how: str
    pid: int | None = None
    status: int | None = None
    stderr: str = ""
    running: frozenset[int] | None = None
    begun: frozenset[int] | None = None

    @property
    def was_alone(self) -> bool:
        """At most one attempt was running, as far as is known."""
        return self.running is None or len(self.running) <= 1


class LostTooOften(msgspec.Struct, frozen=True, tag="worker lost", array_like=True):
    """The worker died under the task `losses` times, in `attempts` attempts; `end` is the last."""

    losses: int
    attempts: int
    end: WorkerEnd


class CannotStart(msgspec.Struct, frozen=True, tag="worker start", array_like=True):
    """The task's worker loop cannot start. `text` holds the traceback of its worker."""

    loop: str
    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused", array_like=True):
    """The task asked the graph for something that is not allowed.

    Attributes:
        is_cycle: what it asked for would have closed a cycle of waits.
    """

    message: str
    is_cycle: bool = False


class StoreFull(msgspec.Struct, frozen=True, tag="store full", array_like=True):
    """The task's result has no room: `size` bytes, where `stored` of at most `limit` are taken."""

    size: int
    stored: int
    limit: int


AttemptFailure: TypeAlias = Raised | TimedOut | Refused | StoreFull
Failure: TypeAlias = Raised | TimedOut | LostTooOften | CannotStart | Refused | StoreFull


def failure_line(failure: object) -> str:
    """A failure in a line, the first of what it says."""
    match failure:
        case Raised():
            return f"{failure.type_name}: {_first_line(failure.text)}".removesuffix(": ")
        case TimedOut(seconds):
            return f"ran longer than {seconds:g} s"
        case LostTooOften():
            return f"{failure.losses} workers died under it: {_first_line(failure.end.how)}"
        case WorkerEnd():
            return f"its worker was lost: {_first_line(failure.how)}"
        case CannotStart():
            last_line = failure.text.rstrip().rpartition("\n")[2]
            return f"worker loop {failure.loop!r} cannot start: {last_line}"
        case Refused():
            return _first_line(failure.message)
        case StoreFull():
            return f"its result of {failure.size:,} bytes has no room"
        case _:
            return type(failure).__name__


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0]
