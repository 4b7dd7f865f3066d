"""Random graphs: the same seed and number give the same plan, whatever the timing of a run."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from benchmarks.chaos.model import (
    ALWAYS,
    DEATHS,
    ENDLESS_IN_C,
    LATE_SECONDS,
    Condition,
    GraphPlan,
    TaskPlan,
)

ASYNC, CPU, THREADS, LOCAL = "async", "cpu", "threads", "local"

LIMITS: Final = {ASYNC: 20, CPU: 2, THREADS: 6, LOCAL: 4}
"""How many tasks of each worker loop run at once."""

PROCESSES: Final = {ASYNC: 1, CPU: 2, THREADS: 2, LOCAL: 0}
"""How many processes each worker loop has."""

TASKS_MIN, TASKS_MAX = 5, 40


def random_graph(seed: int, number: int, weights: Mapping[str, float] | None = None) -> GraphPlan:
    """The graph with this number.

    Args:
        weights: how often each kind of task occurs. By default as in `WEIGHTS`, and each graph has
            one task besides that does something evil, of each kind in turn.
    """
    rng = random.Random(f"{seed}/graph/{number}")
    name = f"g{number}"
    tasks: list[TaskPlan] = []
    if weights is None:
        rare = _RARE[number % len(_RARE)](rng)
        tasks.append(replace(rare, key=f"{name}.rare"))
    for index in range(rng.randint(TASKS_MIN, TASKS_MAX)):
        plan = _random_task(rng, f"{name}.t{index}", weights or WEIGHTS)
        tasks.append(_with_predecessors(rng, plan, [task.key for task in tasks]))
    return GraphPlan(name, tuple(tasks), second_wave=rng.randint(len(tasks) // 2, len(tasks)))


# ---- what a task does ---------------------------------------------------------------------------


def _no_op(rng: random.Random) -> TaskPlan:
    return _anywhere(rng, TaskPlan("", "no_op", "", is_async=False))


def _spin(rng: random.Random) -> TaskPlan:
    return _plain(rng, TaskPlan("", "spin", "", is_async=False, seconds=rng.uniform(0.001, 0.02)))


def _sleep(rng: random.Random) -> TaskPlan:
    plan = TaskPlan("", "sleep", "", is_async=False, seconds=rng.uniform(0.005, 0.06))
    return _anywhere(rng, plan)


def _raise(rng: random.Random) -> TaskPlan:
    act = rng.choice(["raise", "raise", "raise", "systemexit"])
    return replace(_no_op(rng), act=act, bad_until=rng.randint(1, 3), retries=rng.randint(0, 3))


def _die(rng: random.Random) -> TaskPlan:
    return replace(_in_process(rng), act=rng.choice(DEATHS), bad_until=rng.randint(1, 2))


def _poison(rng: random.Random) -> TaskPlan:
    return replace(_die(rng), bad_until=ALWAYS)


def _hang_in_c(rng: random.Random) -> TaskPlan:
    return _hang(rng, rng.choice(ENDLESS_IN_C), rng.choice([CPU, CPU, THREADS]))


def _hang_in_python(rng: random.Random) -> TaskPlan:
    return _hang(rng, "loop", rng.choice([CPU, THREADS]))


def _hang_asleep(rng: random.Random) -> TaskPlan:
    return replace(_hang(rng, "sleep forever", rng.choice([ASYNC, LOCAL])), is_async=True)


def _hang_blocking(rng: random.Random) -> TaskPlan:
    return replace(_hang(rng, "block", ASYNC), is_async=True, retries=1)


def _hang(rng: random.Random, act: str, loop: str) -> TaskPlan:
    return TaskPlan(
        "",
        "no_op",
        loop,
        is_async=False,
        act=act,
        bad_until=1,
        retries=rng.randint(0, 1),
        timeout_seconds=round(rng.uniform(0.15, 0.5), 3),
    )


def _late(rng: random.Random) -> TaskPlan:
    """The first attempt answers too late, while the second runs."""
    limit = 0.25
    plan = replace(_hang(rng, "late", THREADS), shape="sleep", timeout_seconds=limit, retries=1)
    return replace(plan, seconds=limit + LATE_SECONDS / 2 - 0.1)


def _await(rng: random.Random) -> TaskPlan:
    loop = rng.choice([ASYNC, ASYNC, LOCAL])
    children = tuple(_child(rng) for _ in range(rng.randint(1, 3)))
    return TaskPlan("", "await", loop, is_async=True, retries=1, children=children)


def _tail(rng: random.Random) -> TaskPlan:
    return _anywhere(rng, TaskPlan("", "tail", "", is_async=False, children=(_child(rng),)))


def _fire(rng: random.Random) -> TaskPlan:
    children = tuple(_child(rng) for _ in range(rng.randint(1, 4)))
    return _anywhere(rng, TaskPlan("", "fire", "", is_async=False, children=children))


def _child(rng: random.Random) -> TaskPlan:
    return rng.choice([_no_op, _no_op, _spin, _sleep, _raise])(rng)


def _anywhere(rng: random.Random, plan: TaskPlan) -> TaskPlan:
    """In any loop; not a plain one in the coordinator's own process, which it would hold up."""
    loop = rng.choice([ASYNC, ASYNC, CPU, THREADS, THREADS, LOCAL])
    is_async = loop == LOCAL or (loop == ASYNC and rng.random() < 0.9)
    return replace(plan, loop=loop, is_async=is_async)


def _plain(rng: random.Random, plan: TaskPlan) -> TaskPlan:
    return replace(plan, loop=rng.choice([CPU, THREADS]))


def _in_process(rng: random.Random) -> TaskPlan:
    loop = rng.choice([ASYNC, CPU, CPU, THREADS])
    return TaskPlan("", "no_op", loop, is_async=loop == ASYNC)


_KINDS: Final[dict[str, Callable[[random.Random], TaskPlan]]] = {
    "no_op": _no_op,
    "spin": _spin,
    "sleep": _sleep,
    "raise": _raise,
    "die": _die,
    "poison": _poison,
    "hang in C": _hang_in_c,
    "hang in Python": _hang_in_python,
    "hang asleep": _hang_asleep,
    "hang blocking": _hang_blocking,
    "late": _late,
    "await": _await,
    "tail": _tail,
    "fire": _fire,
}

WEIGHTS: Final[dict[str, float]] = {
    "no_op": 30,
    "spin": 15,
    "sleep": 20,
    "raise": 8,
    "die": 0.3,
    "hang in C": 0.3,
    "hang in Python": 0.3,
    "hang asleep": 1,
    "late": 0.5,
    "await": 5,
    "tail": 3,
    "fire": 3,
}
"""What ends a process is rare, since each new one costs 0.3 s of CPU time."""


def _die_by(act: str) -> Callable[[random.Random], TaskPlan]:
    return lambda rng: replace(_die(rng), act=act)


_RARE: Final = (
    *(_die_by(act) for act in DEATHS),
    _hang_in_c,
    _hang_in_python,
    _hang_blocking,
    _late,
    _poison,
)


def _random_task(rng: random.Random, key: str, weights: Mapping[str, float]) -> TaskPlan:
    (kind,) = rng.choices(list(weights), list(weights.values()))
    return replace(_KINDS[kind](rng), key=key, priority=rng.choice([0, 0, 0, 5]))


# ---- what it waits for --------------------------------------------------------------------------


def _with_predecessors(rng: random.Random, plan: TaskPlan, earlier: list[str]) -> TaskPlan:
    """Half of the tasks wait: for results, for a condition, or for both."""
    if not earlier or rng.random() < 0.5:
        return plan
    recent = earlier[-12:]
    inputs = _some(rng, recent, 2) if rng.random() < 0.5 else ()
    waits_on = _condition(rng, recent) if not inputs or rng.random() < 0.3 else None
    return replace(plan, inputs=inputs, waits_on=waits_on)


def _condition(rng: random.Random, keys: list[str]) -> Condition:
    if rng.random() < 0.25 and len(keys) > 1:
        parts = (_leaf(rng, keys), _leaf(rng, keys))
        return Condition("all" if rng.random() < 0.5 else "any", parts=parts)
    return _leaf(rng, keys)


def _leaf(rng: random.Random, keys: list[str]) -> Condition:
    counted = _some(rng, keys, 6)
    at_least = rng.randint(1, len(counted)) if rng.random() < 0.6 else None
    kind = "completed" if rng.random() < 0.6 else "succeeded"
    return Condition("completed" if kind == "completed" else "succeeded", counted, at_least)


def _some(rng: random.Random, keys: list[str], most: int) -> tuple[str, ...]:
    return tuple(rng.sample(keys, rng.randint(1, min(most, len(keys)))))
