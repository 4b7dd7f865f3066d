"""How long tasks of a kind take, learned from those that have ended.

An exponentially weighted mean: it follows a change within a few tens of tasks and needs two numbers
per kind. It decides only how much a worker may hold ahead, so a wrong guess costs a little time and
never an outcome.
"""

from __future__ import annotations

from typing import Final

WEIGHT: Final = 0.2
"""How much the newest duration counts: the mean follows a change within some ten tasks."""


def running_mean(mean: float | None, seconds: float) -> float:
    """The mean after one more duration."""
    return seconds if mean is None else mean + WEIGHT * (seconds - mean)


class Durations:
    """Mean run time in seconds by kind of task."""

    __slots__ = ("_means",)

    def __init__(self) -> None:
        self._means: dict[int, float] = {}

    def learn(self, kind: int, seconds: float) -> None:
        self._means[kind] = running_mean(self._means.get(kind), seconds)

    def forget(self, kind: int) -> None:
        """There will be no more tasks of this kind."""
        self._means.pop(kind, None)

    def expected(self, kind: int) -> float | None:
        """The mean so far, or None when no task of this kind has ended yet."""
        return self._means.get(kind)
