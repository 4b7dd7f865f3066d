"""A dynamic task-graph scheduler for Trio; see `open_coordinator`.

The public names are imported when they are first used: a worker needs few of them, and what it
imports decides how soon it can begin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.errors import (
        CycleError,
        GraphError,
        GraphStalled,
        InternalError,
        PayloadError,
        ProtocolError,
        ResultReleased,
        ResultStoreFull,
        TaskCancelled,
        TaskFailed,
        TaskSkipped,
        TaskTimeout,
        TrioActorGraphError,
        WorkerLost,
        WorkerStartError,
    )
    from trio_actor_graph.graph.conditions import Condition, completed, succeeded
    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.logs import LogLine
    from trio_actor_graph.loops import WorkerLoop
    from trio_actor_graph.opening import open_coordinator
    from trio_actor_graph.retries import RetryPolicy, task_defaults
    from trio_actor_graph.statistics import (
        CoordinatorStatistics,
        RunTime,
        WorkerStatistics,
    )
    from trio_actor_graph.task import FailedAttempt, Task
    from trio_actor_graph.worker.context import CurrentTask, PredecessorOutcome, current_task

_MODULES = {
    "coordinator": ("Coordinator",),
    "errors": (
        "CycleError",
        "GraphError",
        "GraphStalled",
        "InternalError",
        "PayloadError",
        "ProtocolError",
        "ResultReleased",
        "ResultStoreFull",
        "TaskCancelled",
        "TaskFailed",
        "TaskSkipped",
        "TaskTimeout",
        "TrioActorGraphError",
        "WorkerLost",
        "WorkerStartError",
    ),
    "graph.conditions": ("Condition", "completed", "succeeded"),
    "handles": ("TaskGraph",),
    "logs": ("LogLine",),
    "loops": ("WorkerLoop",),
    "opening": ("open_coordinator",),
    "statistics": ("CoordinatorStatistics", "RunTime", "WorkerStatistics"),
    "retries": ("RetryPolicy", "task_defaults"),
    "task": ("FailedAttempt", "Task"),
    "worker.context": ("CurrentTask", "PredecessorOutcome", "current_task"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Condition",
    "Coordinator",
    "CoordinatorStatistics",
    "CurrentTask",
    "CycleError",
    "FailedAttempt",
    "GraphError",
    "GraphStalled",
    "InternalError",
    "LogLine",
    "PayloadError",
    "PredecessorOutcome",
    "ProtocolError",
    "ResultReleased",
    "ResultStoreFull",
    "RetryPolicy",
    "RunTime",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskGraph",
    "TaskSkipped",
    "TaskTimeout",
    "TrioActorGraphError",
    "WorkerLoop",
    "WorkerLost",
    "WorkerStartError",
    "WorkerStatistics",
    "completed",
    "current_task",
    "open_coordinator",
    "succeeded",
    "task_defaults",
]


def __getattr__(name: str) -> Any:  # whatever the name stands for
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
