"""How long tasks of a kind take, learned from those that have ended.

An exponentially weighted mean: it follows a change within a few tens of tasks and needs two numbers
per kind. It decides only how much a worker may hold ahead, so a wrong guess costs a little time and
never an outcome.
"""

from __future__ import annotations

from typing import Final

_WEIGHT: Final = 0.2


class Durations:
    """Mean run time in seconds by kind of task."""

    __slots__ = ("_means",)

    def __init__(self) -> None:
        self._means: dict[int, float] = {}

    def learn(self, kind: int, seconds: float) -> None:
        mean = self._means.get(kind)
        self._means[kind] = seconds if mean is None else mean + _WEIGHT * (seconds - mean)

    def expected(self, kind: int) -> float | None:
        """The mean so far, or None when no task of this kind has ended yet."""
        return self._means.get(kind)
