"""What the core wants done: orders to the workers, and news for those who wait.

The coordinator runs them in one `match`. Each is small and says everything its reader needs.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from trio_actor_graph.graph.records import (
    AttemptRecord,
    GraphRecord,
    LoopRecord,
    TaskRecord,
    WorkerRecord,
)


class StartAttempt(msgspec.Struct, frozen=True, gc=False):
    """Send the attempt to its worker."""

    attempt: AttemptRecord


class StopAttempt(msgspec.Struct, frozen=True, gc=False):
    """Make the attempt end: nobody wants what it brings back."""

    attempt: AttemptRecord


class RecallAttempts(msgspec.Struct, frozen=True, gc=False):
    """Ask a worker to give back up to `count` attempts that it has not begun."""

    worker: WorkerRecord
    count: int


class StartWorker(msgspec.Struct, frozen=True, gc=False):
    """Start the worker.

    Tell of it by `on_worker_ready`, `on_worker_lost` or `on_worker_start_failed`.
    """

    worker: WorkerRecord


class CheckAttempt(msgspec.Struct, frozen=True, gc=False):
    """See how long the attempt has run, and tell by `on_attempt_checked`.

    It may be overdue, or unbegun, in a worker that cannot say so.
    """

    attempt: AttemptRecord


class KillWorker(msgspec.Struct, frozen=True, gc=False):
    """End the worker's process: it runs something that nothing else can stop."""

    worker: WorkerRecord


class RetireWorker(msgspec.Struct, frozen=True, gc=False):
    """Have a worker that holds nothing close what it opened and exit; another takes its place."""

    worker: WorkerRecord


class TellAwaited(msgspec.Struct, frozen=True, gc=False):
    """Tell an attempt how the task it awaits has ended."""

    attempt: AttemptRecord
    task: TaskRecord


class TaskEnded(msgspec.Struct, frozen=True, gc=False):
    """The task has reached a terminal state."""

    task: TaskRecord


class GraphEnded(msgspec.Struct, frozen=True, gc=False):
    """Every task of the graph has ended. More may be created, and this come again."""

    graph: GraphRecord


class GraphStuck(msgspec.Struct, frozen=True, gc=False):
    """Nothing in the graph can go on. It has been cancelled; `story` says what waits on what."""

    graph: GraphRecord
    story: str


class LoopFailed(msgspec.Struct, frozen=True, gc=False):
    """The worker loop cannot start; its tasks fail, now and later."""

    loop: LoopRecord


Command: TypeAlias = (
    StartAttempt
    | StopAttempt
    | RecallAttempts
    | StartWorker
    | CheckAttempt
    | KillWorker
    | RetireWorker
    | TellAwaited
    | TaskEnded
    | GraphEnded
    | GraphStuck
    | LoopFailed
)
