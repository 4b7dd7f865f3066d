"""Simulation: hypothesis looks for a short history after which scheduler and model disagree."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from .model import World


class Histories(RuleBasedStateMachine):
    """Lets one thing of `World.ACTS` happen after another; each is followed by all checks."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(lambda number: 0)

    @initialize()
    def open_graph(self) -> None:
        self.world.act("open_graph")

    @rule(
        name=st.sampled_from(
            [n for n, weight in World.ACTS.items() for _ in range(math.ceil(weight))]
        ),
        choices=st.lists(st.integers(0, 2**16), max_size=12),
    )
    def something_happens(self, name: str, choices: list[int]) -> None:
        pending = iter(choices)
        self.world.draw = lambda number: next(pending, 0) % number
        self.world.act(name)

    @rule()
    def one_round_of_work(self) -> None:
        """What usually happens, so that histories come somewhere."""
        self.world.draw = lambda number: 0
        for name in ("settle", "worker_ready", "settle", "begin", "settle"):
            self.world.act(name)

    def teardown(self) -> None:
        self.world.drain()


Histories.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,  # the same run everywhere; `test_volume.py` is there for new histories
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestHistories = Histories.TestCase
