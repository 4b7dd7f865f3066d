"""What an engine is: the way the attempts of a worker loop get run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from trio_actor_graph.errors import PayloadError
from trio_actor_graph.graph.failures import WorkerEnd
from trio_actor_graph.messages import StartUp

Unsendable: TypeAlias = Sequence[tuple[msgspec.Struct, PayloadError]]
"""Messages that cannot be sent, and why."""


class WorkerLimits(NamedTuple):
    """What an engine watches in a worker.

    Attributes:
        heartbeat_timeout_seconds: how long it may show no sign of life; None for ever.
        setup_timeout_seconds: how long it may take from its link being up until it is ready.
        memory_bytes_soft_max: resident memory above which its owner is told; None for no limit.
        memory_bytes_hard_max: resident memory above which it is killed; None for no limit.
    """

    heartbeat_timeout_seconds: float | None = None
    setup_timeout_seconds: float | None = None
    memory_bytes_soft_max: int | None = None
    memory_bytes_hard_max: int | None = None


class StopCounts(NamedTuple):
    """How often each step of stopping a worker was needed.

    Attributes:
        asked: workers that were asked to stop.
        terminated: processes that were sent SIGTERM.
        killed: processes that were sent SIGKILL, those included to which no other step applied;
            but not those ended by a cancellation.
    """

    asked: int = 0
    terminated: int = 0
    killed: int = 0


class EngineOwner(Protocol):
    """Who an engine works for. Both calls come from the owner's trio thread."""

    def on_messages(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> None:
        """A worker has reported; the first report is `WorkerReady` or `WorkerUnable`.

        Raises:
            ProtocolError: what it reported makes no sense; the worker is then killed.
        """
        ...

    def on_worker_lost(self, worker_id: int, end: WorkerEnd) -> None:
        """A worker is gone, and nothing more will come from it."""
        ...

    def on_worker_worn(self, worker_id: int) -> None:
        """A worker uses more memory than its soft limit: let it finish, and replace it."""
        ...


class Engine(Protocol):
    """Starts workers and carries messages to them. Only `run` and `stop` wait."""

    @property
    def stop_counts(self) -> StopCounts:
        """How often each step of stopping a worker was needed so far."""
        ...

    async def run(self) -> None:
        """Do the work; runs until it is cancelled, and then leaves no worker behind."""
        ...

    def start(self, start_up: StartUp, limits: WorkerLimits) -> None:
        """Start a worker. Its owner will hear of it, whatever becomes of it."""
        ...

    def send(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> Unsendable:
        """Send messages in one frame; swallowed if the worker is gone.

        Returns:
            The messages that are too large to be sent at all, each with the error that says so.
        """
        ...

    def kill(self, worker_id: int) -> None:
        """End a worker's process, whatever it is doing: by SIGTERM and, soon after, SIGKILL."""
        ...

    def retire(self, worker_id: int) -> None:
        """Ask a worker that holds nothing to close its context and exit, or else make it."""
        ...

    def seconds_running(self, worker_id: int, attempt_id: int) -> float | None:
        """How long ago the attempt began to run.

        None if it does not: it holds no slot, its function is still loaded, or nobody can know.
        """
        ...

    def pid(self, worker_id: int) -> int | None:
        """The process of a worker, once it has one."""
        ...

    def take_segment(self, worker_id: int, identity: int) -> int | None:
        """The descriptor that a worker has handed over for a value; None if it has not.

        Raises:
            OSError: it has, and there are no descriptors left.
        """
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Ask all workers to stop, and make those that do not.

        Args:
            grace_seconds: how long one that has heard it may take to close its context.
        """
        ...
