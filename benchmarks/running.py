"""All measurements of a run, in turns, and what they come to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.bodies import spin
from benchmarks.contenders import NAMES, Contender
from benchmarks.environments import Python, Unavailable
from benchmarks.goals import OURS, Verdict
from benchmarks.processes import MeasurementFailed, Script, measure
from benchmarks.workloads import Sizes, Workload

Pythons = Mapping[str, Python | Unavailable]
Tell = Callable[[str], None]


@dataclass
class Outcome:
    """How one contender did in one workload.

    Attributes:
        values: figure -> its value in each repeat.
        failure: why there is nothing (more) of it.
        remark: where it did less than the others.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    failure: str | None = None
    remark: str | None = None

    @property
    def medians(self) -> dict[str, float]:
        return {} if self.failure else {name: median(all_) for name, all_ in self.values.items()}

    @property
    def repeats(self) -> int:
        return max(map(len, self.values.values()), default=0)


@dataclass
class Results:
    """One workload, all contenders that take part."""

    workload: Workload
    outcomes: dict[str, Outcome]

    @property
    def verdicts(self) -> list[Verdict]:
        medians = {key: outcome.medians for key, outcome in self.outcomes.items()}
        return [
            verdict
            for goal in self.workload.goals
            for verdict in goal.judge(self.workload.figures, medians, NAMES)
        ]

    def advantage(self, contender: str, figure: str) -> float | None:
        """How many times better ours is than this contender."""
        ours = self.outcomes[OURS].medians.get(figure) if OURS in self.outcomes else None
        theirs = self.outcomes[contender].medians.get(figure)
        if contender == OURS or ours is None or theirs is None:
            return None
        return self.workload.figures[figure].advantage(ours, theirs)


def run_workload(
    workload: Workload,
    contenders: Iterable[Contender],
    pythons: Pythons,
    repeats: int,
    work: Mapping[str, float],
    tell: Tell,
    is_tiny: bool = False,
) -> Results:
    """Measure one workload, contender after contender, and again.

    A contender that has failed once is not asked again in this workload.
    """
    outcomes = {
        contender.key: _beginning(contender, workload, pythons, is_tiny)
        for contender in contenders
        if workload.id in contender.workloads
    }
    for repeat in range(min(repeats, workload.repeats_max)):
        for contender in contenders:
            outcome = outcomes.get(contender.key)
            if outcome is None or outcome.failure or repeat >= contender.repeats_max:
                continue
            python = pythons[contender.key]
            assert isinstance(python, Python)
            tell(f"{workload.id} {repeat + 1}/{repeats} {contender.name}")
            try:
                _measure_once(workload, contender, python, work, outcome, is_tiny)
            except MeasurementFailed as error:
                outcome.failure = f"failed: {error}"
                tell(f"{workload.id}: {contender.name} failed: {error}")
    return Results(workload, outcomes)


def _beginning(
    contender: Contender, workload: Workload, pythons: Pythons, is_tiny: bool
) -> Outcome:
    python = pythons[contender.key]
    if isinstance(python, Unavailable):
        return Outcome(failure=f"not installed: {python.reason}")
    fewer = contender.fewer.get(workload.id)
    if not fewer or is_tiny:
        return Outcome()
    return Outcome(remark="at " + ", ".join(f"{value:,} {name}" for name, value in fewer.items()))


def _measure_once(
    workload: Workload,
    contender: Contender,
    python: Python,
    work: Mapping[str, float],
    outcome: Outcome,
    is_tiny: bool,
) -> None:
    """All variants of a workload, each in a process of its own."""
    for variant in workload.variants[: 1 if is_tiny else None]:
        sizes = sizes_of(variant.sizes, workload, contender, work, is_tiny)
        script = Script(python.path, contender.module, workload.id, sizes)
        answer = measure(script, workload.seconds_max)
        for figure, compute in variant.figures.items():
            outcome.values.setdefault(figure.name, []).append(compute(sizes, answer))


def sizes_of(
    sizes: Sizes,
    workload: Workload,
    contender: Contender,
    work: Mapping[str, float],
    is_tiny: bool,
) -> dict[str, Any]:
    """What is handed to the script: the sizes, the contender's exceptions, how much work 1 s is."""
    exceptions = workload.tiny if is_tiny else contender.fewer.get(workload.id, {})
    more = {"cpu": ("iterations",), "uneven": ("iterations_per_second",)}.get(workload.id, ())
    return {**sizes, **exceptions, **{name: work[name] for name in more}}


def calibrate(is_tiny: bool = False) -> dict[str, float]:
    """How many iterations of `spin` are a second, and 10 ms, on this machine when it is idle.

    The fastest of many tries: whatever else runs here can only make them slower.
    """
    iterations = 100_000
    fastest = min(_timed(spin, iterations) for _ in range(30))
    per_second = iterations / fastest / (1000 if is_tiny else 1)
    return {"iterations": round(per_second / 100), "iterations_per_second": round(per_second)}


def _timed(function: Callable[[int], object], argument: int) -> float:
    began = perf_counter()
    function(argument)
    return perf_counter() - began


def tell_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
