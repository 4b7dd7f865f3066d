"""What befalls workers and messages, drawn from a seed.

Each worker is dealt a fate when it starts. The number of bad ones is bounded, so that every graph
comes to its end; all else (delays, what gets lost with a death, who heeds a cancellation) goes on.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "lives", "dies starting", "never starts", "starts late", "unable", "dies", "hangs", "worn"
]

WEIGHTS: Final[dict[Kind, int]] = {
    "dies": 10,
    "hangs": 4,
    "worn": 3,
    "dies starting": 3,
    "starts late": 3,
    "never starts": 1,
    "unable": 1,
}


@dataclass(frozen=True)
class Fate:
    """What will happen to a worker, and at which of its steps (a step: it hears, begins, says)."""

    kind: Kind = "lives"
    step: int = 0


@dataclass
class Faults:
    """The lots of one run.

    Attributes:
        bad_fates: how many workers may still have one.
        is_rough: messages may take long, links may lose what was sent before a death.
        drawn: how often each kind of fault came, for people and for tests of the simulation.
    """

    random: random.Random
    bad_fates: int
    is_rough: bool
    drawn: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_seed(cls, seed: int) -> Faults:
        lots = random.Random(f"faults {seed}")
        bad_fates = lots.choice([0, 1, 2, 4, 8, 12])
        return cls(lots, bad_fates, is_rough=lots.random() < 0.6)

    def fate(self) -> Fate:
        """The fate of a worker that starts."""
        if self.bad_fates <= 0 or self.random.random() < 0.3:
            return Fate()
        self.bad_fates -= 1
        (kind,) = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if kind == "unable" and self.random.random() < 0.7:
            kind = "dies"  # a broken loop makes for a dull run
        return Fate(kind, self.random.choice([1, 2, 3, 5, 8, 13, 21, 34]))

    def start_seconds(self, fate: Fate) -> float:
        if fate.kind == "starts late":
            return self.random.uniform(1.0, 40.0)
        return self.random.uniform(0.05, 0.4)

    def delay(self) -> float:
        """How long a frame is under way; its order on its link is kept whatever that is."""
        if self.is_rough and self.random.random() < 0.1:
            return self._draw("frame delayed", self.random.uniform(0.01, 0.5))
        return self.random.choice([0.0, 0.0001, 0.0001, 0.0003])

    def flush_delay(self) -> float:
        """How long a worker collects what it has to say."""
        return self.random.choice([0.0, 0.0, 0.001])

    def frames_lost(self, number: int) -> int:
        """How many of the last frames of a dead worker, still under way, are never read."""
        if not number or not self.is_rough:
            return 0
        lost = self.random.randint(0, number)
        return self._draw("answers lost", lost) if lost else 0

    def are_marks_lost(self) -> bool:
        """Whether nobody can know what a dead worker was running."""
        return self.is_rough and self.random.random() < 0.03 and self._draw("marks lost", True)

    def detection_seconds(self) -> float:
        """How long after its death a worker is reported as lost."""
        return self.random.choice([0.0, 0.001, 0.02, 0.05])

    def exit_seconds(self) -> float:
        """How long a worker takes to go that was told to; the ladder bounds it."""
        if self.random.random() < 0.1:
            return self._draw("refuses to stop", 3.0)
        return self.random.uniform(0.0, 0.2)

    def kill_seconds(self) -> float:
        """From an order to kill to the end of the process: SIGTERM, or SIGKILL some time later."""
        return self.random.choice([0.0, 0.01, 0.1, 0.3])

    def cleanup_seconds(self) -> float | None:
        """How long a cancelled coroutine function cleans up; None: it does not heed it at all."""
        if self.random.random() < 0.1:
            return self._draw("cancel not heeded", None)
        return self.random.choice([0.0, 0.0, 0.01, 0.2])

    def _draw(self, name, value):  # type: ignore[no-untyped-def]  # counts, and hands on
        self.drawn[name] += 1
        return value
