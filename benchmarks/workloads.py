"""What is measured: one table of workloads, with their sizes, figures and goals as data.

A measurement is one run of one variant of a workload by one contender. Most workloads have one
variant; `growth` has one for each number of tasks, each in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from benchmarks.goals import Figure, Goal, Limit, NoWorseThanAny, Steady, Times, Within

Sizes = Mapping[str, Any]
Answer = Mapping[str, Any]
"""What a script has printed; the runner adds `wall`, from its start to the end of its exit."""

PEERS = ("executor", "executor_map", "pool", "loky", "dask", "ray", "parsl", "trio_parallel")
"""Those that are schedulers too; not the bare programs."""


@dataclass(frozen=True)
class Variant:
    """One set of sizes, and how an answer becomes figures."""

    sizes: Sizes
    figures: Mapping[Figure, Callable[[Sizes, Answer], float]]


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        tiny: sizes for a test of the suite itself, in place of the ordinary ones.
        repeats_max: for what takes long.
        seconds_max: how long a measurement may take until it is given up.
    """

    id: str
    what: str
    variants: tuple[Variant, ...]
    goals: tuple[Goal, ...]
    tiny: Sizes
    repeats_max: int = 1000
    seconds_max: float = 180
    figures: Mapping[str, Figure] = field(init=False)

    def __post_init__(self) -> None:
        figures = {figure.name: figure for v in self.variants for figure in v.figures}
        object.__setattr__(self, "figures", figures)


def tasks_a_second(sizes: Sizes, answer: Answer) -> float:
    return float(sizes["tasks"] / answer["seconds"])


def tree_tasks_a_second(sizes: Sizes, answer: Answer) -> float:
    """Leaves and the sums above them."""
    return float((2 * sizes["leaves"] - 1) / answer["seconds"])


def nodes_a_second(sizes: Sizes, answer: Answer) -> float:
    return float((2 ** (sizes["depth"] + 1) - 1) / answer["seconds"])


def microseconds_a_task(sizes: Sizes, answer: Answer) -> float:
    return float(answer["seconds"] / sizes["tasks"] * 1e6)


def median_microseconds(sizes: Sizes, answer: Answer) -> float:
    return median(answer["each"]) * 1e6


def p99_microseconds(sizes: Sizes, answer: Answer) -> float:
    return quantiles(answer["each"], n=100)[98] * 1e6


def milliseconds_a_round(sizes: Sizes, answer: Answer) -> float:
    return float(answer["seconds"] / sizes["rounds"] * 1e3)


def seconds(sizes: Sizes, answer: Answer) -> float:
    return float(answer["seconds"])


def bytes_a_task(sizes: Sizes, answer: Answer) -> float:
    return float(answer["bytes"] / sizes["tasks"])


def wall(sizes: Sizes, answer: Answer) -> float:
    return float(answer["wall"])


def first(sizes: Sizes, answer: Answer) -> float:
    return float(answer["first"])


RATE = Figure("tasks/s", "more")


def growth_variant(tasks: int) -> Variant:
    return Variant({"tasks": tasks}, {Figure(f"tasks/s at {tasks:,}", "more"): tasks_a_second})


WORKLOADS = (
    Workload(
        "fanout",
        "10,000 independent no-ops, results in hand",
        (Variant({"tasks": 10_000}, {RATE: tasks_a_second}),),
        (
            Times("tasks/s", 5, ("executor",)),
            Times("tasks/s", 1.5, ("pool",)),
            Times("tasks/s", 20, ("ray",)),
            Times("tasks/s", 50, ("dask",)),
        ),
        tiny={"tasks": 20},
    ),
    Workload(
        "ping",
        "one no-op submitted and awaited, 500 times",
        (
            Variant(
                {"tasks": 500},
                {
                    Figure("median us", "less"): median_microseconds,
                    Figure("p99 us", "less"): p99_microseconds,
                },
            ),
        ),
        (
            Times("median us", 1, ("executor", "trio_parallel")),
            Times("p99 us", 1, ("executor", "trio_parallel")),
        ),
        tiny={"tasks": 5},
    ),
    Workload(
        "chain",
        "1,000 tasks, each on the result of the one before",
        (Variant({"tasks": 1_000}, {Figure("us a hop", "less", 1): microseconds_a_task}),),
        (Limit("us a hop", 20), Times("us a hop", 50, ("ray", "dask"))),
        tiny={"tasks": 5},
    ),
    Workload(
        "tree",
        "4,096 leaves summed pairwise",
        (Variant({"leaves": 4_096}, {RATE: tree_tasks_a_second}),),
        (Times("tasks/s", 20, ("ray",)), Times("tasks/s", 50, ("dask",))),
        tiny={"leaves": 8},
    ),
    Workload(
        "dynamic",
        "a binary tree of depth 12, each task created inside the one above it",
        (Variant({"depth": 12}, {RATE: nodes_a_second}),),
        (Times("tasks/s", 20, ("ray", "dask")),),
        tiny={"depth": 2},
    ),
    Workload(
        "payload",
        "20 MB of float64 made by one task and summed by four others, ten rounds",
        (
            Variant(
                {"floats": 2_500_000, "readers": 4, "rounds": 10},
                {Figure("ms a round", "less", 1): milliseconds_a_round},
            ),
        ),
        (
            Times("ms a round", 1, ("ray",)),
            NoWorseThanAny("ms a round", PEERS, is_better=True),
            Within("ms a round", 2, "bare"),
        ),
        tiny={"floats": 1_000, "readers": 4, "rounds": 1},
    ),
    Workload(
        "async",
        "10,000 tasks that sleep 10 ms, 1,000 at a time in one process",
        (
            Variant(
                {"tasks": 10_000, "at_once": 1_000, "seconds": 0.01},
                {Figure("wall s", "less", 3): seconds},
            ),
        ),
        (Within("wall s", 1.5, "bare"),),
        tiny={"tasks": 20, "at_once": 10, "seconds": 0.001},
    ),
    Workload(
        "cpu",
        "200 tasks of 10 ms of pure Python on two processes",
        (Variant({"tasks": 200}, {Figure("wall s", "less", 3): seconds}),),
        (Within("wall s", 1.03, "bare"), NoWorseThanAny("wall s", PEERS)),
        tiny={"tasks": 4},
    ),
    Workload(
        "memory",
        "100,000 tasks that wait on one",
        (
            Variant(
                {"tasks": 100_000, "keeps_handles": False},
                {
                    Figure("bytes a task", "less"): bytes_a_task,
                    Figure("creations/s", "more"): tasks_a_second,
                },
            ),
            Variant(
                {"tasks": 100_000, "keeps_handles": True},
                {Figure("bytes a task with its handle", "less"): bytes_a_task},
            ),
        ),
        (Limit("bytes a task", 1_500), Limit("creations/s", 100_000)),
        tiny={"tasks": 20},
    ),
    Workload(
        "growth",
        "fan-outs of 1,000 to 1,000,000 no-ops",
        tuple(map(growth_variant, (1_000, 10_000, 100_000, 1_000_000))),
        (Steady("tasks/s at 1,000,000", "tasks/s at 10,000", 0.75),),
        tiny={"tasks": 20},
        repeats_max=3,
        seconds_max=600,
    ),
    Workload(
        "start",
        "a fresh interpreter, two workers that have both done a task, and a clean exit",
        (
            Variant(
                {},
                {Figure("s", "less", 2): wall, Figure("s to the first result", "less", 2): first},
            ),
        ),
        (
            Times("s", 2, ("dask",)),
            Times("s", 5, ("ray", "parsl")),
            Within("s", 1.2, "bare_tractor"),
        ),
        tiny={},
    ),
    Workload(
        "uneven",
        "500 tasks from 1 us to 200 ms of pure Python, mixed",
        (Variant({"tasks": 500}, {Figure("wall s", "less", 2): seconds}),),
        (Within("wall s", 1.1, "bare"),),
        tiny={"tasks": 20},
    ),
)
BY_ID = {workload.id: workload for workload in WORKLOADS}
