"""Worker loops as a user describes them, checked once and made uniform."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from trio_actor_graph.calls import AnyFunction, function_name
from trio_actor_graph.checks import is_duration, is_integer, is_text
from trio_actor_graph.engine.api import WorkerLimits
from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.records import LoopSpec

HEARTBEAT_TIMEOUT_SECONDS: Final = 30.0
"""How long a worker may be silent: longer than C code usually holds the interpreter, and shorter
than people wait before they look for what hangs."""

SETUP_TIMEOUT_SECONDS: Final = 300.0
"""How long loading functions and running `setup` may take: a large model from a slow disk takes a
minute or two, and nothing that would go on for ever should be waited for for ever."""

DEFAULT_LOOP: Final = "default"
"""The loop of all functions that are assigned to no other."""


@dataclass(frozen=True)
class WorkerLoop:
    """A named group of workers and the functions that run there.

    Args:
        name: its name; the loop "default" takes what is assigned to no other.
        concurrency: how many of its tasks run at once, over all its processes; by default one for
            each process (one, when there are none).
        processes: how many subprocesses it has. 0: none, its tasks run in the coordinator's own
            process, as trio tasks, plain functions included.
        functions: the functions that run here: functions, or names of registered ones.
        setup: `setup(worker_index)` is run once in each process, before its first task: a function,
            a coroutine function, or one that returns an async context manager, which is left when
            the worker stops. What it returns or yields is `current_task().worker_context`.
        heartbeat_timeout_seconds: how long a process may give no sign of life before it is killed
            and replaced: it is stopped, or C code, or an async function that does not await, holds
            its interpreter. None for ever.
        setup_timeout_seconds: how long a process may take to load the loop's functions and to run
            `setup` before it is killed; and how long a function that it loads later may take until
            that counts towards the time limit of its task. None for ever.
        memory_bytes_soft_max: resident memory of a process above which it gets no more tasks, and
            is replaced once it holds none.
        memory_bytes_hard_max: resident memory of a process above which it is killed, as a loss.
        tasks_max: how many tasks a process is given until it is replaced.

    Raises:
        GraphError: a value of the wrong type or out of range.
    """

    name: str
    concurrency: int | None = None
    processes: int = 1
    functions: Iterable[AnyFunction | str] = ()
    setup: Callable[[int], Any] | None = None
    heartbeat_timeout_seconds: float | None = HEARTBEAT_TIMEOUT_SECONDS
    setup_timeout_seconds: float | None = SETUP_TIMEOUT_SECONDS
    memory_bytes_soft_max: int | None = None
    memory_bytes_hard_max: int | None = None
    tasks_max: int | None = None

    def __post_init__(self) -> None:
        if not is_text(self.name) or not self.name:
            raise GraphError(f"a worker loop's name must be a non-empty string, not {self.name!r}")
        where = f"worker loop {self.name!r}"
        if not is_integer(self.processes) or self.processes < 0:
            raise GraphError(
                f"{where}: processes must be an integer from 0, not {self.processes!r}"
            )
        if self.concurrency is not None:
            if not is_integer(self.concurrency) or self.concurrency < 1:
                raise GraphError(
                    f"{where}: concurrency must be an integer from 1, not {self.concurrency!r}"
                )
            if self.concurrency < self.processes:
                raise GraphError(
                    f"{where}: concurrency {self.concurrency} leaves some of its "
                    f"{self.processes} processes without work"
                )
        if isinstance(self.functions, str) or not isinstance(self.functions, Iterable):
            raise GraphError(f"{where}: functions must be an iterable, not {self.functions!r}")
        if self.setup is not None and not callable(self.setup):
            raise GraphError(f"{where}: setup must be a function, not {self.setup!r}")
        for limit in ("heartbeat_timeout_seconds", "setup_timeout_seconds"):
            value = getattr(self, limit)
            if value is not None and not is_duration(value):
                raise GraphError(f"{where}: {limit} must be a positive number, not {value!r}")
        for limit in ("memory_bytes_soft_max", "memory_bytes_hard_max", "tasks_max"):
            value = getattr(self, limit)
            if value is None:
                continue
            if not is_integer(value) or value < 1:
                raise GraphError(f"{where}: {limit} must be an integer from 1, not {value!r}")
            if self.processes == 0:
                raise GraphError(f"{where}: {limit} needs processes that can be replaced")
        soft, hard = self.memory_bytes_soft_max, self.memory_bytes_hard_max
        if soft is not None and hard is not None and soft > hard:
            raise GraphError(
                f"{where}: memory_bytes_soft_max {soft} is above memory_bytes_hard_max {hard}"
            )
        # Exactly these types: what travels has no room for subclasses, such as numpy's.
        object.__setattr__(self, "name", str(self.name))
        object.__setattr__(self, "functions", tuple(self.functions))

    @property
    def spec(self) -> LoopSpec:
        """What the scheduler needs to know: the concurrency, spread evenly over the processes."""
        workers = max(1, self.processes)
        concurrency = self.concurrency or workers
        each, more = divmod(concurrency, workers)
        slots = tuple(each + (index < more) for index in range(workers))
        return LoopSpec(self.name, slots, is_local=self.processes == 0, tasks_max=self.tasks_max)

    @property
    def limits(self) -> WorkerLimits:
        """What the engine has to watch in each of its workers."""
        return WorkerLimits(
            self.heartbeat_timeout_seconds,
            self.setup_timeout_seconds,
            self.memory_bytes_soft_max,
            self.memory_bytes_hard_max,
        )


def as_worker_loops(
    worker_loops: Iterable[WorkerLoop] | Mapping[str, int] | None,
) -> dict[str, WorkerLoop]:
    """What `open_coordinator` accepts, by name, with a `default` loop added if there is none.

    Raises:
        GraphError: not worker loops, or two of the same name.
    """
    if worker_loops is None:
        worker_loops = ()
    elif isinstance(worker_loops, Mapping):
        limits = cast("Mapping[str, int]", worker_loops)
        worker_loops = [WorkerLoop(name, concurrency=n) for name, n in limits.items()]
    elif isinstance(worker_loops, (str, WorkerLoop)) or not isinstance(worker_loops, Iterable):
        raise GraphError(f"worker_loops must be an iterable of WorkerLoop, not {worker_loops!r}")
    loops: dict[str, WorkerLoop] = {}
    for loop in worker_loops:
        if not isinstance(loop, WorkerLoop):
            raise GraphError(f"not a WorkerLoop: {loop!r}")
        if loop.name in loops:
            raise GraphError(f"two worker loops are called {loop.name!r}")
        loops[loop.name] = loop
    if DEFAULT_LOOP not in loops:
        loops[DEFAULT_LOOP] = WorkerLoop(DEFAULT_LOOP, processes=_cores())
    return loops


def as_registered(
    functions: Iterable[AnyFunction] | Mapping[str, AnyFunction] | None,
) -> dict[str, AnyFunction]:
    """The functions that may be named by string, by that name.

    Raises:
        GraphError: not functions, or two of the same name.
    """
    if functions is None:
        return {}
    if isinstance(functions, Mapping):
        named = list(functions.items())
    elif not isinstance(functions, Iterable):
        raise GraphError(f"functions must be an iterable or a mapping, not {functions!r}")
    else:
        named = [(function_name(function), function) for function in functions]
    registered: dict[str, AnyFunction] = {}
    for name, function in named:
        if not is_text(name) or not callable(function):
            raise GraphError(f"functions: {name!r}: not a function: {function!r}")
        if name in registered:
            raise GraphError(f"functions: two functions are called {name!r}")
        registered[str(name)] = function
    return registered


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
