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


class LostTooOften(msgspec.Struct, frozen=True, tag="worker lost", array_like=True):
    """The worker died under the task `losses` times; `how` tells of the last time."""

    losses: int
    how: str


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


Failure: TypeAlias = Raised | TimedOut | LostTooOften | CannotStart | Refused
