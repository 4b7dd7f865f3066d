"""What the tasks do, in the workers: as their plan says, with a line written before and after.

Which act an attempt performs depends on its number, so a task that kills its process does so once
or twice and succeeds then. The last line of an attempt is written inside the function, before it
returns: what the checker takes for running is never more than what the scheduler takes for it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections import deque
from itertools import repeat
from typing import Any

import trio

from benchmarks.chaos import planted
from benchmarks.chaos.history import note
from benchmarks.chaos.model import (
    DEATHS,
    ENDLESS_IN_C,
    LATE_SECONDS,
    TaskPlan,
    plan_as_json,
    value_of,
)
from trio_actor_graph import Task, current_task

Result = dict[str, Any]

planted.plant_in_worker()


def load(worker_index: int) -> None:
    """The setup of every loop: with it, the bodies are imported before a worker is ready."""


class PlannedError(Exception):
    """What a task raises that is to raise."""


class ChildError(Exception):
    """A child that was awaited did not succeed."""


def no_op(plan: TaskPlan, *inputs: Result) -> Result | Task[Result]:
    """Shapes have functions of their own, because the scheduler learns how long each takes."""
    return run_plain(plan, inputs)


def spin(plan: TaskPlan, *inputs: Result) -> Result | Task[Result]:
    return run_plain(plan, inputs)


def sleep(plan: TaskPlan, *inputs: Result) -> Result | Task[Result]:
    return run_plain(plan, inputs)


def parent(plan: TaskPlan, *inputs: Result) -> Result | Task[Result]:
    return run_plain(plan, inputs)


async def no_op_async(plan: TaskPlan, *inputs: Result) -> Result | Task[Result]:
    return await run_async(plan, inputs)


async def sleep_async(plan: TaskPlan, *inputs: Result) -> Result | Task[Result]:
    return await run_async(plan, inputs)


async def parent_async(plan: TaskPlan, *inputs: Result) -> Result | Task[Result]:
    return await run_async(plan, inputs)


def function_of(plan: TaskPlan) -> Any:
    """The function that carries out a plan."""
    if plan.shape in ("await", "tail", "fire"):
        return parent_async if plan.is_async else parent
    if plan.is_async:
        return sleep_async if plan.shape == "sleep" else no_op_async
    return {"no_op": no_op, "spin": spin, "sleep": sleep}[plan.shape]


class Body:
    """One attempt; as a context manager it writes how the attempt ended."""

    def __init__(self, plan: TaskPlan, inputs: tuple[Result, ...]):
        task = current_task()
        self.plan = plan
        self.inputs = inputs
        self.number = task.attempt
        self.attempt = task.attempt_id
        self.is_bad = plan.is_bad(self.number)
        self._ended = False

    def __enter__(self) -> Body:
        self.note(
            "begin",
            number=self.number,
            inputs=[(result["key"], result["attempt"]) for result in self.inputs],
            seen=[(p.name, p.state) for p in current_task().predecessors],
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            how = "cancelled" if kind is trio.Cancelled else "raise"
            self.note("end", how=how, detail=kind.__name__)

    def note(self, event: str, **fields: Any) -> None:
        note(event, key=self.plan.key, attempt=self.attempt, **fields)

    def result(self, values: list[int]) -> Result:
        self.note("end", how="ok", detail="")
        return {
            "key": self.plan.key,
            "attempt": self.attempt,
            "pid": os.getpid(),
            "value": value_of(self.plan.key, values),
        }

    def values(self) -> list[int]:
        return [result["value"] for result in self.inputs]

    def misbehave(self) -> None:
        """Do what plain and coroutine functions do alike."""
        act = self.plan.act
        if act == "raise":
            raise PlannedError(self.plan.key)
        if act == "systemexit":
            raise SystemExit(3)
        if act in DEATHS:
            self.note("dying", act=act)
            _die(act)
        if act in ENDLESS_IN_C:
            _hang_in_c(act)
        while act in ("loop", "block"):
            pass

    def create(self, plan: TaskPlan) -> Task[Result]:
        self.note("child", plan=plan_as_json(plan))
        child: Task[Result] = current_task().create_task(
            function_of(plan),
            plan,
            name=plan.key,
            retries=plan.retries,
            timeout_seconds=plan.timeout_seconds,
            worker_loop=plan.loop,
        )
        return child

    def children(self) -> list[Task[Result]]:
        return [self.create(plan) for plan in self.plan.children_of(self.attempt)]

    def finish_parent(self) -> Result | Task[Result]:
        """The end of the shapes "tail" and "fire"."""
        children = self.children()
        if self.plan.shape == "fire":
            return self.result([])
        self.note("end", how="tail", detail=children[0].name)
        return children[0]

    async def await_children(self) -> list[int]:
        values = []
        for child in self.children():
            self.note("suspend")
            await child.wait()
            self.note("resume")
            if child.state != "succeeded":
                raise ChildError(child.name)
            values.append(child.result_nowait()["value"])
        return values


def run_plain(plan: TaskPlan, inputs: tuple[Result, ...]) -> Result | Task[Result]:
    with Body(plan, inputs) as body:
        if body.is_bad and plan.act == "late":
            time.sleep((plan.timeout_seconds or 0.0) + LATE_SECONDS)
            return body.result(body.values())
        if body.is_bad:
            body.misbehave()
        if plan.shape == "spin":
            _spin(plan.seconds)
        elif plan.shape == "sleep":
            time.sleep(plan.seconds)
        elif plan.shape in ("tail", "fire"):
            return body.finish_parent()
        return body.result(body.values())


async def run_async(plan: TaskPlan, inputs: tuple[Result, ...]) -> Result | Task[Result]:
    with Body(plan, inputs) as body:
        if body.is_bad and plan.act == "sleep forever":
            await trio.sleep_forever()
        if body.is_bad:
            body.misbehave()
        if plan.shape == "sleep":
            await trio.sleep(plan.seconds)
        elif plan.shape in ("tail", "fire"):
            return body.finish_parent()
        elif plan.shape == "await":
            return body.result(await body.await_children())
        return body.result(body.values())


def _spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def _die(act: str) -> None:
    if act == "exit":
        os._exit(3)
    if act == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


def _hang_in_c(act: str) -> None:
    """Never return to the interpreter, which is held all the time."""
    if act == "sum":
        sum(range(10**12))
    elif act == "regex":
        re.match(r"(a+)+$", "a" * 60 + "b")
    elif act == "pow":
        pow(3, (1 << 4_000_000) - 1, (1 << 200_000) - 1)
    else:
        deque(repeat(None), maxlen=0)
