"""Figures, and whether they meet their goals: pure, from numbers to verdicts.

A goal is data in `workloads`. What it is judged by are the medians of one run, never figures of
another machine or day; so it is a matter of ratios wherever there is somebody to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

OURS = "ours"

Medians = Mapping[str, Mapping[str, float]]
"""Contender -> name of a figure -> the median of its repeats. Who was not measured is absent."""


@dataclass(frozen=True)
class Figure:
    """A number by which a workload is told, such as tasks a second."""

    name: str
    better: Literal["more", "less"]
    decimals: int = 0

    def text(self, value: float) -> str:
        return f"{value:,.{self.decimals}f}"

    def advantage(self, ours: float, theirs: float) -> float:
        """How many times better ours is: twice as fast is 2, whichever way it is counted."""
        better, worse = (ours, theirs) if self.better == "more" else (theirs, ours)
        return better / worse if worse else float("inf")


@dataclass(frozen=True)
class Verdict:
    """How one goal was met.

    Attributes:
        measured: the ratio, or the figure; None if something it needs was not measured.
        bound: what it was compared with.
    """

    goal: str
    bound: float
    measured: float | None
    text: str
    is_met: bool | None


@dataclass(frozen=True)
class Times:
    """Ours is so many times better than each of some contenders; 1: better at all."""

    figure: str
    factor: float
    contenders: tuple[str, ...]

    def judge(
        self, figures: Mapping[str, Figure], medians: Medians, names: Mapping[str, str]
    ) -> Iterator[Verdict]:
        figure = figures[self.figure]
        for contender in self.contenders:
            goal = f"{self.figure}: {_times(self.factor)} {names.get(contender, contender)}"
            ours, theirs = (_median(medians, who, self.figure) for who in (OURS, contender))
            if ours is None or theirs is None:
                yield _unmeasured(goal, self.factor, names, {OURS: ours, contender: theirs})
                continue
            measured = figure.advantage(ours, theirs)
            # "Better" leaves no room for being equal, "5 times better" does for 5.
            is_met = measured > 1 if self.factor == 1 else measured >= self.factor
            yield Verdict(goal, self.factor, measured, f"{measured:.2f}x", is_met)


@dataclass(frozen=True)
class NoWorseThanAny:
    """Ours is at least as good as the best of the peers that were measured."""

    figure: str
    peers: tuple[str, ...]
    is_better: bool = False
    """Being equal is not enough."""

    def judge(
        self, figures: Mapping[str, Figure], medians: Medians, names: Mapping[str, str]
    ) -> Iterator[Verdict]:
        figure = figures[self.figure]
        goal = f"{self.figure}: {'better' if self.is_better else 'no worse'} than every peer"
        ours = _median(medians, OURS, self.figure)
        theirs = {
            who: median
            for who in self.peers
            if (median := _median(medians, who, self.figure)) is not None
        }
        if ours is None or not theirs:
            yield _unmeasured(goal, 1, names, {OURS: ours, "any peer": 1 if theirs else None})
            return
        best = min(theirs, key=lambda who: figure.advantage(ours, theirs[who]))
        measured = figure.advantage(ours, theirs[best])
        is_met = measured > 1 if self.is_better else measured >= 1
        yield Verdict(goal, 1, measured, f"{measured:.2f}x the best, {names[best]}", is_met)


@dataclass(frozen=True)
class Within:
    """Ours is at most so many times the figure of a contender that does without a scheduler."""

    figure: str
    factor: float
    contender: str

    def judge(
        self, figures: Mapping[str, Figure], medians: Medians, names: Mapping[str, str]
    ) -> Iterator[Verdict]:
        goal = (
            f"{self.figure}: at most {self.factor:g}x {names.get(self.contender, self.contender)}"
        )
        ours, theirs = (_median(medians, who, self.figure) for who in (OURS, self.contender))
        if ours is None or theirs is None:
            yield _unmeasured(goal, self.factor, names, {OURS: ours, self.contender: theirs})
            return
        measured = figures[self.figure].advantage(theirs, ours)
        yield Verdict(goal, self.factor, measured, f"{measured:.3f}x", measured <= self.factor)


@dataclass(frozen=True)
class Limit:
    """Ours, taken by itself, is at most (or at least) so much."""

    figure: str
    limit: float

    def judge(
        self, figures: Mapping[str, Figure], medians: Medians, names: Mapping[str, str]
    ) -> Iterator[Verdict]:
        figure = figures[self.figure]
        side = "at least" if figure.better == "more" else "at most"
        goal = f"{self.figure}: {side} {self.limit:,g}"
        ours = _median(medians, OURS, self.figure)
        if ours is None:
            yield _unmeasured(goal, self.limit, names, {OURS: None})
            return
        is_met = ours >= self.limit if figure.better == "more" else ours <= self.limit
        yield Verdict(goal, self.limit, ours, figure.text(ours), is_met)


@dataclass(frozen=True)
class Steady:
    """One figure of ours is at least this share of another one."""

    figure: str
    other: str
    share: float

    def judge(
        self, figures: Mapping[str, Figure], medians: Medians, names: Mapping[str, str]
    ) -> Iterator[Verdict]:
        goal = f"{self.figure}: at least {self.share:.0%} of {self.other}"
        ours, other = (_median(medians, OURS, name) for name in (self.figure, self.other))
        if ours is None or other is None:
            yield _unmeasured(goal, self.share, names, {OURS: None})
            return
        measured = figures[self.figure].advantage(ours, other)
        yield Verdict(goal, self.share, measured, f"{measured:.0%}", measured >= self.share)


Goal = Times | NoWorseThanAny | Within | Limit | Steady


def summary(verdicts: list[Verdict]) -> str:
    """How many goals are met, in words."""
    met = sum(verdict.is_met is True for verdict in verdicts)
    missed = sum(verdict.is_met is False for verdict in verdicts)
    unmeasured = len(verdicts) - met - missed
    return f"{met} goals met, {missed} NOT met, {unmeasured} not measured"


def _times(factor: float) -> str:
    return "better than" if factor == 1 else f"at least {factor:g}x better than"


def _median(medians: Medians, contender: str, figure: str) -> float | None:
    return medians.get(contender, {}).get(figure)


def _unmeasured(
    goal: str, bound: float, names: Mapping[str, str], who: Mapping[str, float | None]
) -> Verdict:
    missing = [names.get(name, name) for name, median in who.items() if median is None]
    return Verdict(goal, bound, None, f"no figure of {' and '.join(missing)}", None)
