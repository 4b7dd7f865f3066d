"""Simulation: random graphs on simulated workers under seeded faults, each seed on its own.

A seed that fails tells itself and its story. ``SIMULATION_SEED=17 pytest tests/simulation`` runs
that one alone. What a seed has shown once gets a test with a name, on the smallest plan that shows
it, because seeds mean something else after each change of the planner.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from unittest import mock

import pytest

from trio_actor_graph import Coordinator, WorkerLoop
from trio_actor_graph.graph.scheduler import Scheduler

from . import plans as app
from . import scripts as do
from .faults import Faults
from .plans import FOREVER, GraphPlan, Plan
from .scripts import Script
from .world import Wrong, run_plan, run_seed

SEEDS = 120
BATCH = 20
SOAK_SEEDS = 5_000

ONE_SEED = os.environ.get("SIMULATION_SEED")
all_seeds = pytest.mark.skipif(ONE_SEED is not None, reason="one seed was asked for")


def run_seeds(seeds: range) -> Counter[str]:
    drawn: Counter[str] = Counter()
    for seed in seeds:
        drawn += run_seed(seed)
    return drawn


@pytest.mark.skipif(ONE_SEED is None, reason="SIMULATION_SEED names no seed")
def test_one_seed() -> None:
    """The seed that was asked for."""
    run_seed(int(ONE_SEED or "0"))


@all_seeds
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_seeds(first: int) -> None:
    """Whatever befalls workers and messages, every task ends once, as it must."""
    run_seeds(range(first, first + BATCH))


@all_seeds
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_seeds() -> None:
    """The same for thousands; each kind of fault comes, and each has bitten."""
    drawn = run_seeds(range(SEEDS, SEEDS + SOAK_SEEDS))
    kinds = {
        *("dies", "hangs", "worn", "dies starting", "never starts", "starts late", "unable"),
        *("frame delayed", "answers lost", "marks lost", "refuses to stop", "cancel not heeded"),
        *("stale report", "recall answered", "followed"),
    }
    assert kinds - drawn.keys() == set()


@all_seeds
def test_a_seed_is_the_same_run_each_time() -> None:
    """Else a seed that fails could not be replayed."""
    assert run_seed(3) == run_seed(3)


# ---- bugs on purpose: a simulation that does not see them would prove nothing -------------------


def is_caught(seeds: range) -> bool:
    try:
        run_seeds(seeds)
    except Wrong:
        return True
    return False


@all_seeds
def test_a_missed_death_is_caught() -> None:
    """A coordinator that does not hear of lost workers gets stuck, and that is seen."""
    with mock.patch.object(Coordinator, "on_worker_lost"):
        assert is_caught(range(20))


@all_seeds
def test_a_slot_that_is_never_released_is_caught() -> None:
    """A scheduler that forgets to count a slot as free again breaks a rule."""

    def forgetful(self: Scheduler, attempt: object) -> None:
        attempt.state = "assigned"  # type: ignore[attr-defined]

    with mock.patch.object(Scheduler, "_resume", forgetful):
        assert is_caught(range(40))


@all_seeds
def test_a_stale_report_that_counts_is_caught() -> None:
    """A scheduler that lets the end of a cancelled attempt end its task breaks a rule."""
    real = Scheduler._reported

    def gullible(self: Scheduler, attempt_id: int, seconds: float, now: float) -> object:
        attempt = self.attempts.get(attempt_id)
        reported = real(self, attempt_id, seconds, now)
        return attempt if reported is None else reported

    with mock.patch.object(Scheduler, "_reported", gullible):
        assert is_caught(range(200))


# ---- what seeds have shown ----------------------------------------------------------------------


def calm() -> Faults:
    """Nothing befalls anybody."""
    return Faults(random.Random(0), bad_fates=0, is_rough=False)


def one_graph(loop: WorkerLoop, *steps: app.Step) -> Plan:
    return Plan((loop,), (GraphPlan("continue", "all", steps),))


CHILD = Script(2, "slow", ((do.Work(0.1), do.Return()),))
PARENT = Script(1, "slow_async", ((do.Create(CHILD), do.Await(0), do.Return()),))


@all_seeds
def test_a_retiring_worker_whose_task_awaits_a_child_of_its_loop() -> None:
    """Its last task waits for one that needs a worker of the same loop: it gets one."""
    run_plan(one_graph(WorkerLoop("default", tasks_max=1), app.NewTask(PARENT)), calm(), "retiring")


@all_seeds
def test_a_parent_whose_child_has_to_be_killed_in_the_same_process() -> None:
    """It is innocent each time, and yet not run again and again without end."""
    endless = Script(2, "slow", ((do.Work(FOREVER), do.Return()),), timeout_seconds=0.2)
    parent = Script(1, "slow_async", ((do.Create(endless), do.Await(0), do.Return()),))
    run_plan(one_graph(WorkerLoop("default"), app.NewTask(parent)), calm(), "killed child", 200)
