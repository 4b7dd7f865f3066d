"""Bugs planted on purpose: a checker that does not see them sees nothing.

They are put in from outside, into the process that needs them, and each time one has done its harm
it says so in the history: a bug that never struck proves nothing either.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.chaos.history import note

PLANT_VARIABLE: Final = "CHAOS_PLANT"
"""The environment variable that names the bug of a run."""


@dataclass(frozen=True)
class Plant:
    """A bug, and the run that is to show it.

    Attributes:
        weights: which tasks the run is made of.
        faults: whether the usual faults are injected too; they would hide some bugs by replacing
            the workers that suffer from them.
    """

    about: str
    in_coordinator: Callable[[], None] | None
    in_worker: Callable[[], None] | None
    weights: dict[str, float]
    faults: bool


def plant_in_coordinator() -> None:
    _plant("in_coordinator")


def plant_in_worker() -> None:
    """Called where the bodies are imported, in the coordinator's process too: its own loop."""
    _plant("in_worker")


def _plant(where: str) -> None:
    plant = PLANTS.get(os.environ.get(PLANT_VARIABLE, ""))
    put_in = None if plant is None else getattr(plant, where)
    if put_in is not None:
        put_in()


def _count_old_attempts() -> None:
    """The result of a superseded attempt counts as if it came from the current one."""
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.messages import AttemptSucceeded

    original: Any = Coordinator.on_messages

    def on_messages(self: Any, worker_id: int, messages: Any, *args: Any, **kwargs: Any) -> None:
        for message in messages:
            if isinstance(message, AttemptSucceeded):
                attempt = self._scheduler.attempts.get(message.attempt_id)
                if attempt is not None and _is_superseded(attempt):
                    note("plant")
                    attempt.task.attempt = attempt
        original(self, worker_id, messages, *args, **kwargs)

    _put(Coordinator, on_messages=on_messages)


def _is_superseded(attempt: Any) -> bool:
    return attempt.task.attempt is not attempt and attempt.task.state == "running"


def _skip_releases() -> None:
    """A slot is sometimes not freed at the end of an attempt."""
    from trio_actor_graph.worker.slots import Slots

    original: Any = Slots._release
    rng = random.Random(os.getpid())

    def release(self: Any, *args: Any, **kwargs: Any) -> Any:
        if rng.random() < 0.1:
            note("plant")
            return None
        return original(self, *args, **kwargs)

    _put(Slots, _release=release)


def _release_twice() -> None:
    """A slot is sometimes freed twice, and two attempts run where one may."""
    from trio_actor_graph.worker.slots import Slots

    original: Any = Slots._release
    rng = random.Random(os.getpid())

    def release(self: Any, *args: Any, **kwargs: Any) -> Any:
        granted = original(self, *args, **kwargs)
        if self._free and len(self._free) < 50 and rng.random() < 0.1:
            note("plant")
            self._free.append(self._free[0])
        return granted

    _put(Slots, _release=release)


def _miss_deaths() -> None:
    """The loss of a worker is sometimes not told to the scheduler."""
    from trio_actor_graph.coordinator import Coordinator

    original: Any = Coordinator.on_worker_lost
    rng = random.Random(0)

    def on_worker_lost(self: Any, worker_id: int, *args: Any, **kwargs: Any) -> None:
        if not self._is_closed and rng.random() < 0.5:
            note("plant")
            return
        original(self, worker_id, *args, **kwargs)

    _put(Coordinator, on_worker_lost=on_worker_lost)


def _put(owner: Any, **functions: Any) -> None:
    for name, function in functions.items():
        setattr(owner, name, function)


_HARMLESS: Final = {"no_op": 30.0, "spin": 15.0, "sleep": 20.0, "await": 5.0, "fire": 3.0}

CONTROL: Final = "no bug"
"""The run in which there is nothing to catch, so that what the others show is their bug."""

PLANTS: Final[dict[str, Plant]] = {
    CONTROL: Plant(
        "the same tasks, and nothing planted",
        None,
        None,
        _HARMLESS | {"late": 15.0, "die": 1.0},
        faults=False,
    ),
    "drop the attempt check": Plant(
        "what a superseded attempt answers counts",
        _count_old_attempts,
        None,
        _HARMLESS | {"late": 40.0},
        faults=False,
    ),
    "skip a release": Plant(
        "a slot is sometimes not given back", None, _skip_releases, _HARMLESS, faults=False
    ),
    "release twice": Plant(
        "a slot is sometimes given back twice",
        None,
        _release_twice,
        # A worker is seldom given more than it has slots for, but while some await, their slots are
        # given to others, and those that return are too many.
        {"await": 60.0, "sleep": 30.0, "no_op": 10.0},
        faults=False,
    ),
    "miss a death": Plant(
        "the loss of a worker is sometimes not heard of",
        _miss_deaths,
        None,
        _HARMLESS | {"die": 4.0},
        faults=True,
    ),
}
