"""What a task is to do, what it waits for, and what it must compute: plain values.

Shared by the bodies, which do it, and by the checker, which computes it once more. Nothing here
knows the scheduler.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

ALWAYS: Final = 99
"""As `bad_until`: every attempt misbehaves."""

DEATHS: Final = ("exit", "sigkill itself", "segfault")
"""Acts that end the process of the attempt."""

ENDLESS_IN_C: Final = ("sum", "regex", "pow", "exhaust")
"""Acts that never return and hold the interpreter meanwhile."""

ENDLESS: Final = (*ENDLESS_IN_C, "loop", "block", "sleep forever")
"""Acts that never return: "loop" in a plain function, "block" in a coroutine function's thread."""

RAISES: Final = ("raise", "systemexit")

LATE_SECONDS: Final = 0.12
"""How long after its time limit an attempt with the act "late" returns: within the grace period of
a plain function, so its answer comes, and must not count."""

TERMINAL: Final = frozenset({"succeeded", "failed", "skipped", "cancelled"})


@dataclass(frozen=True)
class Condition:
    """A scheduling condition, as a tree.

    Attributes:
        kind: "succeeded" and "completed" count tasks, "all" and "any" combine parts.
        keys: the tasks counted.
        at_least: how many are needed; None for all.
    """

    kind: Literal["succeeded", "completed", "all", "any"]
    keys: tuple[str, ...] = ()
    at_least: int | None = None
    parts: tuple[Condition, ...] = ()

    def all_keys(self) -> set[str]:
        """Every task that it counts."""
        return {*self.keys, *(key for part in self.parts for key in part.all_keys())}

    def holds(self, has: Callable[[str, str], bool]) -> bool:
        """Evaluate; `has(key, "succeeded" or "completed")` tells of one task."""
        if self.kind == "all":
            return all(part.holds(has) for part in self.parts)
        if self.kind == "any":
            return any(part.holds(has) for part in self.parts)
        needed = len(self.keys) if self.at_least is None else self.at_least
        return sum(has(key, self.kind) for key in self.keys) >= needed


@dataclass(frozen=True)
class TaskPlan:
    """One task.

    Attributes:
        shape: "no_op", "spin" (computes), "sleep"; "await" creates `children` and awaits them,
            "tail" returns the first of them, "fire" leaves them alone.
        act: what it does in a bad attempt, see the names above; "" for nothing.
        bad_until: the number of the last attempt that is bad.
        seconds: how long a good attempt takes.
        inputs: the tasks whose results are its arguments.
        waits_on: what else it waits for.
    """

    key: str
    shape: Literal["no_op", "spin", "sleep", "await", "tail", "fire"]
    loop: str
    is_async: bool
    act: str = ""
    bad_until: int = 0
    seconds: float = 0.0
    retries: int = 0
    timeout_seconds: float | None = None
    priority: int = 0
    inputs: tuple[str, ...] = ()
    waits_on: Condition | None = None
    children: tuple[TaskPlan, ...] = ()

    def is_bad(self, number: int) -> bool:
        """Whether the attempt with this number misbehaves."""
        return bool(self.act) and number <= self.bad_until

    def children_of(self, attempt: int) -> tuple[TaskPlan, ...]:
        """The tasks that one attempt creates; another attempt creates others."""
        return tuple(
            replace(child, key=f"{self.key}/{attempt}.{index}")
            for index, child in enumerate(self.children)
        )


@dataclass(frozen=True)
class GraphPlan:
    """One graph.

    Attributes:
        tasks: in the order of their creation.
        second_wave: the index of the first task that is created a moment later.
    """

    name: str
    tasks: tuple[TaskPlan, ...]
    second_wave: int


def value_of(key: str, inputs: Iterable[int] = ()) -> int:
    """What a task with this key computes from these values."""
    return zlib.crc32(f"{key}:{list(inputs)}".encode())


def plan_as_json(plan: TaskPlan) -> dict[str, Any]:
    """The plan as JSON can hold it, without what is as usual."""
    usual = asdict(TaskPlan("", "no_op", "", is_async=False))
    given = asdict(plan)
    return {name: given[name] for name in given if given[name] != usual[name]}


def plan_from_json(values: dict[str, Any]) -> TaskPlan:
    """The inverse of `plan_as_json`."""
    usual: dict[str, Any] = {"key": "", "shape": "no_op", "loop": "", "is_async": False}
    values = usual | values
    waits_on = values.get("waits_on")
    return TaskPlan(
        **values
        | {
            "inputs": tuple(values.get("inputs", ())),
            "waits_on": None if waits_on is None else _condition_from_json(waits_on),
            "children": tuple(plan_from_json(child) for child in values.get("children", ())),
        }
    )


def _condition_from_json(values: dict[str, Any]) -> Condition:
    parts = tuple(_condition_from_json(part) for part in values["parts"])
    return Condition(values["kind"], tuple(values["keys"]), values["at_least"], parts)
