"""What a simulated task does: a script in its arguments, which the simulated worker follows.

The functions are real ones, since the app creates tasks of functions; nobody ever calls them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, TypeAlias

from trio_actor_graph import RetryPolicy


class Work(NamedTuple):
    """Takes time."""

    seconds: float


class Deaf(NamedTuple):
    """Takes time, in which its worker neither hears nor says anything: C code holds the GIL."""

    seconds: float


class Create(NamedTuple):
    """Creates a child.

    Attributes:
        inputs: which earlier children are among its arguments.
        after: which earlier children it waits on besides.
        outcome: "succeeded" or "completed".
        at_least: how many of those.
        waits_on_creator: it waits on the task that creates it, too.
    """

    script: Script
    inputs: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    outcome: str = "succeeded"
    at_least: int = 0
    waits_on_creator: bool = False


class Await(NamedTuple):
    """Waits for a child, for so long at most."""

    child: int
    is_seen: bool = True
    seconds: float | None = None


class Cancel(NamedTuple):
    child: int


class Link(NamedTuple):
    """Makes a child wait for another one; refused if that is too late or a cycle."""

    child: int
    predecessor: int


class Return(NamedTuple):
    """Ends with the value of the script."""


class Raise(NamedTuple):
    is_final: bool = False


class Tail(NamedTuple):
    """Ends by returning a child."""

    child: int


class Die(NamedTuple):
    """Ends its worker's process."""


Act: TypeAlias = Work | Deaf | Create | Await | Cancel | Link | Return | Raise | Tail | Die


@dataclass(frozen=True)
class Script:
    """One task.

    Attributes:
        kind: the name of its function.
        attempts: what it does in its first attempt, its second, and so on; the last for all more.
    """

    number: int
    kind: str
    attempts: tuple[tuple[Act, ...], ...]
    loop: str = "default"
    priority: int = 0
    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(0))
    timeout_seconds: float | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def is_async(self) -> bool:
        return self.kind.endswith("async")

    def acts(self, attempt_number: int) -> tuple[Act, ...]:
        return self.attempts[min(attempt_number, len(self.attempts)) - 1]


def value_of(number: int, inputs: Sequence[object], awaited: Sequence[object]) -> int:
    """What a script returns, from what it was given and what it has awaited (None: a failure)."""
    return zlib.crc32(repr((number, list(inputs), list(awaited))).encode())


# By their kind the scheduler learns how long tasks take, and with that how many to give ahead.


def quick(script: Script, *inputs: int) -> NoReturn:
    raise AssertionError("nobody calls it")


def slow(script: Script, *inputs: int) -> NoReturn:
    raise AssertionError("nobody calls it")


async def quick_async(script: Script, *inputs: int) -> NoReturn:
    raise AssertionError("nobody calls it")


async def slow_async(script: Script, *inputs: int) -> NoReturn:
    raise AssertionError("nobody calls it")


FUNCTIONS = {f.__name__: f for f in (quick, slow, quick_async, slow_async)}
