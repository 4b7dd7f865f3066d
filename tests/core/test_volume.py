"""Simulation: many seeded random programs against the model of `model.py`.

A seed that fails is printed. `TRIO_ACTOR_GRAPH_SEEDS=5000` runs so many; `scripts/dev soak` runs
the long version.
"""

from __future__ import annotations

import os
import random

import pytest

from .model import World

SEEDS = int(os.environ.get("TRIO_ACTOR_GRAPH_SEEDS", "80"))
SOAK_SEEDS = 5_000
ACTS = 250


def run_world(seed: int) -> World:
    chance = random.Random(seed)
    world = World(chance.randrange)
    names, weights = list(World.ACTS), list(World.ACTS.values())
    world.act("open_graph")
    for name in chance.choices(names, weights, k=ACTS):
        world.act(name)
    world.drain()
    return world


@pytest.mark.timeout(600)
def test_random_programs_agree_with_the_model():
    """Whatever happens, each task is in the state that follows from the facts, and all end."""
    run_seeds(range(SEEDS))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_random_programs_agree_with_the_model():
    run_seeds(range(SEEDS, SEEDS + SOAK_SEEDS))


def run_seeds(seeds: range) -> None:
    for seed in seeds:
        try:
            run_world(seed)
        except Exception as error:
            error.add_note(f"seed {seed}: see it again with run_world({seed})")
            raise
