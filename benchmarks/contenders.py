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
        "bare processes",
        "benchmarks.bare",
        ("payload", "async", "cpu", "uneven"),
        is_general=False,
    ),
    Contender(
        "bare_tractor", "bare tractor", "benchmarks.bare_tractor", ("start",), is_general=False
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
)
BY_KEY = {contender.key: contender for contender in CONTENDERS}
NAMES = {contender.key: contender.name for contender in CONTENDERS}
