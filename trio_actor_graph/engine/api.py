"""What an engine is: the way the attempts of a worker loop get run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from trio_actor_graph.errors import PayloadError
from trio_actor_graph.messages import StartUp

Unsendable: TypeAlias = Sequence[tuple[msgspec.Struct, PayloadError]]
"""Messages that cannot be sent, and why."""


class EngineOwner(Protocol):
    """Who an engine works for. Both calls come from the owner's trio thread."""

    def on_messages(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> None:
        """A worker has reported; the first report is `WorkerReady` or `WorkerUnable`."""
        ...

    def on_worker_lost(self, worker_id: int, how: str, begun: frozenset[int]) -> None:
        """A worker is gone, and nothing more will come from it.

        Args:
            how: for people, how it ended.
            begun: the ids of the attempts that it was running.
        """
        ...


class Engine(Protocol):
    """Starts workers and carries messages to them. Only `run` and `stop` wait."""

    async def run(self) -> None:
        """Do the work; runs until it is cancelled, and then leaves no worker behind."""
        ...

    def start(self, start_up: StartUp) -> None:
        """Start a worker. Its owner will hear of it, whatever becomes of it."""
        ...

    def send(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> Unsendable:
        """Send messages in one frame; swallowed if the worker is gone.

        Returns:
            The messages that are too large to be sent at all, each with the error that says so.
        """
        ...

    def kill(self, worker_id: int) -> None:
        """End a worker's process at once, whatever it is doing."""
        ...

    def seconds_running(self, worker_id: int, attempt_id: int) -> float | None:
        """How long ago the attempt took its slot; None if it holds none, or nobody can know."""
        ...

    def pid(self, worker_id: int) -> int | None:
        """The process of a worker, once it has one."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Ask all workers to stop; kill those that still run after `grace_seconds`."""
        ...
