"""Gates: how a task counts towards its scheduling condition, in constant time per ended task.

A condition becomes a small tree of gates. Every gate, leaf or not, is the same counter: it opens
when `needed` of its `total` inputs have hit, and it shuts (can never open) when so many missed that
`needed` is out of reach. A leaf's inputs are tasks: an ended task hits a "completed" gate always
and a "succeeded" gate if it succeeded. An inner gate's inputs are its children: `all of` needs
every child, `any of` needs one. Each gate settles once, so a whole fan-in of n tasks costs O(n).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_actor_graph.graph.conditions import Outcome
    from trio_actor_graph.graph.records import TaskRecord


class Gate:
    """Counts hits and misses; see the module's text.

    Attributes:
        task: the task that waits on the tree of which this gate is part.
        parent: the gate this one is an input of, or None for the root.
        outcome: which ended tasks count as a hit; None for a gate over other gates.
    """

    __slots__ = ("hits", "misses", "needed", "outcome", "parent", "task", "total")

    def __init__(
        self,
        task: TaskRecord,
        outcome: Outcome | None,
        needed: int,
        total: int,
        parent: Gate | None = None,
    ):
        self.task = task
        self.outcome: Outcome | None = outcome
        self.needed = needed
        self.total = total
        self.parent = parent
        self.hits = 0
        self.misses = 0

    @property
    def is_open(self) -> bool:
        return self.hits >= self.needed

    @property
    def is_shut(self) -> bool:
        return self.total - self.misses < self.needed

    @property
    def is_settled(self) -> bool:
        """No further input matters: this gate, or one that it is part of, is open or shut."""
        gate: Gate | None = self
        while gate is not None:
            if gate.is_open or gate.is_shut:
                return True
            gate = gate.parent
        return False

    def require_one_more(self) -> None:
        """Ask for one more input, of a gate that needs every one of them."""
        self.needed += 1
        self.total += 1

    def count(self, hit: bool) -> bool | None:
        """Count one input; say whether the whole tree has thereby settled.

        Returns:
            True when the root has just opened, False when it has just shut, else None.
        """
        gate: Gate | None = self
        while gate is not None:
            settled = gate.hits >= gate.needed or gate.total - gate.misses < gate.needed
            if hit:
                gate.hits += 1
            else:
                gate.misses += 1
            if settled:
                return None
            if gate.hits >= gate.needed:
                hit = True
            elif gate.total - gate.misses < gate.needed:
                hit = False
            else:
                return None
            gate = gate.parent
        return hit
