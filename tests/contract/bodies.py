"""What the tasks of the stories do, and the types they do it with.

Light imports only: every worker of the tests imports this file.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import trio

from trio_actor_graph import Task, current_task

from .board import Board

# Values


@dataclass(frozen=True)
class Point:
    x: object
    y: object = 0


@dataclass
class Path:
    start: object
    points: list[object]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(NamedTuple):
    left: object
    right: object


class Numbers(list):  # type: ignore[type-arg]
    """A subclass of a builtin container."""


# Functions


def echo(value: Any = None, /, **more: Any) -> Any:
    return (value, more) if more else value


async def echo_async(value: Any = None) -> Any:
    await trio.lowlevel.checkpoint()
    return value


def add(*numbers: int) -> int:
    return sum(numbers)


def is_same(first: object, second: object) -> bool:
    return first is second


def fail(text: str = "no") -> Any:
    raise ValueError(text)


async def fail_async(text: str = "no") -> Any:
    await trio.lowlevel.checkpoint()
    raise ValueError(text)


def noop() -> None:
    pass


async def hold(board: Board, gate: str, value: Any = None) -> Any:
    """Tells that it runs, and returns once the gate is open."""
    board.write(f"{gate} runs")
    await board.pass_gate(gate)
    return value


def hold_blocking(board: Board, gate: str, value: Any = None) -> Any:
    """The same as a plain function: in a process of its own only."""
    board.write(f"{gate} runs")
    board.pass_gate_blocking(gate)
    return value


def write(board: Board, line: object) -> None:
    board.write(line)


def outcomes() -> list[tuple[Any, ...]]:
    """What a task sees of its predecessors, in the order in which it sees them."""
    return [(p.uid, p.name, p.state, p.result, told(p.error)) for p in current_task().predecessors]


def create(function: Callable[..., Any] | str, *args: object, **options: Any) -> int:
    """Creates a child and leaves it to itself."""
    return current_task().create_task(function, *args, **options).uid


def create_and_return(function: Callable[..., Any] | str, *args: object, **options: Any) -> Task:
    return current_task().create_task(function, *args, **options)


async def create_and_return_async(
    function: Callable[..., Any] | str, *args: object, **options: Any
) -> Task:
    await trio.lowlevel.checkpoint()
    return current_task().create_task(function, *args, **options)


# Exceptions


class NeedsTwo(Exception):
    """Cannot be made again from its args."""

    def __init__(self, left: str, right: str):
        super().__init__(f"{left} and {right}")


class Coded(Exception):
    """Can be, with an attribute besides."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class OutOfTheOrdinary(BaseException):
    pass


# Telling errors


def told(error: BaseException | None) -> tuple[Any, ...] | None:
    """An exception as a value to compare: its type, the first line of its text, its cause."""
    if error is None:
        return None
    lines = str(error).splitlines() or [""]
    return (type(error).__name__, lines[0], told(error.__cause__))


def all_told(errors: Iterable[BaseException]) -> list[tuple[Any, ...] | None]:
    return [told(error) for error in errors]
