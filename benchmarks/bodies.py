"""The functions that are run as tasks, and what else all contenders share.

Importable with nothing but the standard library (and numpy, where arrays are made), because each
contender has an environment of its own; so nobody pays for sending functions by value.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

MEETING_SECONDS_MAX = 60.0
"""How long a task waits for the other one in `meet`: longer than any contender needs to start."""


def no_op() -> None:
    """Do nothing: what is measured is everything else."""


def no_op_of(item: object) -> None:
    """Do nothing, for peers that map a function over items."""


def increment(number: int) -> int:
    """One hop of a chain."""
    return number + 1


def leaf(number: int) -> int:
    """One leaf of a tree."""
    return number


def add(one: int, other: int) -> int:
    """One inner node of a tree."""
    return one + other


def add_pair(pair: tuple[int, int]) -> int:
    """The same, for peers that map a function over items."""
    return pair[0] + pair[1]


def spin(iterations: int) -> int:
    """Pure Python that holds the interpreter for a time in proportion to its argument."""
    total = 0
    for number in range(iterations):
        total += number & 7
    return total


def make_array(floats: int, start: int) -> Any:
    """A float64 array with a known sum; 2,500,000 of them are 20 MB."""
    import numpy as np

    return np.arange(start, start + floats, dtype=np.float64)


def total_of(array: Any) -> float:
    """Its sum."""
    return float(array.sum())


def is_total(total: float, floats: int, start: int) -> bool:
    """Whether this is the sum of what `make_array` makes, as far as floats can tell."""
    exact = floats * start + floats * (floats - 1) // 2
    return abs(total - exact) <= 1e-9 * max(1, exact)


def meeting_point() -> str:
    """An empty folder for one use of `meet`; the runner removes it."""
    return tempfile.mkdtemp(prefix="meet-")


def meet(folder: str) -> int:
    """Wait for the same call in another process, so that two workers are up and used; the own pid.

    It makes sure that a contender which starts workers on demand has really started two.
    """
    Path(folder, str(os.getpid())).touch()
    until = monotonic() + MEETING_SECONDS_MAX
    while len(os.listdir(folder)) < 2:  # noqa: PTH208  it is asked a thousand times a second
        if monotonic() > until:
            raise TimeoutError("no second worker came")
        sleep(0.001)
    return os.getpid()


def pairs(items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """The first with the second, the third with the fourth, ..."""
    iterator = iter(items)
    return zip(iterator, iterator, strict=True)


def uneven_iterations(tasks: int, iterations_per_second: float) -> list[int]:
    """Work from 1 us to 200 ms, as many tasks in each decade as in any other, in mixed order.

    Always the same: the seed is fixed.
    """
    dice = random.Random(2026)
    low, high = 1e-6, 0.2
    seconds = [low * (high / low) ** dice.random() for _ in range(tasks)]
    return [max(1, round(each * iterations_per_second)) for each in seconds]


def longest_first(sizes: Iterable[int], parts: int) -> list[list[int]]:
    """Spread work over processes: the largest that is left goes to the one with least so far.

    With sizes as in `uneven_iterations` this is within a small part of a percent of the optimum.
    """
    spread: list[list[int]] = [[] for _ in range(parts)]
    for size in sorted(sizes, reverse=True):
        min(spread, key=sum).append(size)
    return spread
