"""Who is measured: one table of contenders, with what each needs and takes part in.

A contender that has no way to say a workload is not in it. Those that cannot do a workload's full
size in about a minute get a smaller one; figures are rates then, and the table says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.goals import OURS

HEAVY_REPEATS_MAX = 3
"""For peers that take seconds to start; more would make the suite take an hour."""

OF_A_POOL = ("fanout", "ping", "chain", "tree", "payload", "cpu", "start", "uneven")
"""What can be said where the client drives and tasks know nothing of each other."""


@dataclass(frozen=True)
class Contender:
    """One of those that are compared.

    Attributes:
        module: its script, run by `python -m`.
        workloads: the ids of those that it takes part in.
        is_general: it is a scheduler, so that it is told where it has no part.
        requirements: what its own environment needs; empty: it runs in ours.
        reports: the distributions whose versions are told.
        fewer: sizes that differ, by workload.
    """

    key: str
    name: str
    module: str
    workloads: tuple[str, ...]
    is_general: bool = True
    requirements: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    fewer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    repeats_max: int = 1000


CONTENDERS = (
    Contender(
        OURS,
        "trio-actor-graph",
        "benchmarks.measure_ours",
        (*OF_A_POOL, "dynamic", "async", "memory", "growth"),
        reports=("trio-actor-graph", "trio", "tractor", "msgspec", "numpy"),
    ),
    Contender(
        "bare",
        "the bare program",
        "benchmarks.bare",
        ("payload", "async", "cpu", "uneven"),
        is_general=False,
    ),
    Contender(
        "bare_tractor",
        "the bare tractor program",
        "benchmarks.bare_tractor",
        ("start",),
        is_general=False,
    ),
    Contender("executor", "ProcessPoolExecutor.submit", "benchmarks.peers.executor", OF_A_POOL),
    Contender(
        "executor_map",
        "ProcessPoolExecutor.map",
        "benchmarks.peers.executor_map",
        ("fanout",),
        is_general=False,
    ),
    Contender("pool", "Pool.imap(chunksize=1)", "benchmarks.peers.pool", (*OF_A_POOL, "growth")),
    Contender(
        "loky",
        "joblib/loky",
        "benchmarks.peers.loky_joblib",
        OF_A_POOL,
        requirements=("joblib", "numpy"),
        reports=("joblib",),
    ),
    Contender(
        "trio_parallel",
        "trio-parallel",
        "benchmarks.peers.trio_parallel_peer",
        OF_A_POOL,
        requirements=("trio-parallel", "numpy"),
        reports=("trio-parallel", "trio"),
    ),
    Contender(
        "dask",
        "Dask",
        "benchmarks.peers.dask_distributed",
        (*OF_A_POOL, "dynamic", "async", "memory"),
        requirements=("dask", "distributed", "numpy"),
        reports=("dask", "distributed"),
        # A task that waits for its children holds a thread: its rate falls with the depth.
        fewer={"dynamic": {"depth": 8}, "memory": {"tasks": 10_000}},
        repeats_max=HEAVY_REPEATS_MAX,
    ),
    Contender(
        "ray",
        "Ray",
        "benchmarks.peers.ray_core",
        (*OF_A_POOL, "dynamic", "async", "memory"),
        requirements=("ray", "numpy"),
        reports=("ray",),
        fewer={"memory": {"tasks": 10_000}},
        repeats_max=HEAVY_REPEATS_MAX,
    ),
    Contender(
        "parsl",
        "Parsl",
        "benchmarks.peers.parsl_htex",
        (*OF_A_POOL, "dynamic"),
        requirements=("parsl", "numpy"),
        reports=("parsl",),
        repeats_max=HEAVY_REPEATS_MAX,
    ),
)
BY_KEY = {contender.key: contender for contender in CONTENDERS}
NAMES = {contender.key: contender.name for contender in CONTENDERS}
