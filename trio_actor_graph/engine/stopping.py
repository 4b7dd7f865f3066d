"""How a worker is stopped: a ladder, with a bound for each step.

    ask        by a message. A worker that heard it says so at once; then it has time to close what
               it opened. One that does not say so is not going to hear anything.
    SIGTERM    ends C code, since its default action needs no interpreter, and gives a handler that
               a task has installed its moment.
    SIGKILL    ends everything, processes that are stopped or that ignore SIGTERM included.

Where nothing is to be waited for (the program is being cancelled, a worker hangs, or uses too much
memory), only the last step is taken. Signals go to the worker's process group, and so to the
programs that its tasks have started.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

from trio_actor_graph.engine.api import StopCounts

ASK_SECONDS: Final = 0.3
"""How long a worker may take to answer that it heard it is to stop; an idle one takes 1 ms, one
that is busy with Python code 10."""

TERM_SECONDS: Final = 0.2
"""How long a process may live after SIGTERM. With ASK_SECONDS it makes half a second, so that a
coordinator is left within a second whatever its workers do."""

FUNCTIONS_SECONDS: Final = 0.3
"""How long a worker that stops waits for plain functions that still run."""

CLOSE_SECONDS: Final = 2.0
"""How long a worker may take to close its context: one that is replaced, and all of them when their
coordinator is left in good order."""


class Stoppable(Protocol):
    """A worker as the ladder sees it.

    Attributes:
        has_heard: set when it has answered that it heard it is to stop.
        ended: set when its process has ended, and `has_heard` with it.
        is_terminated: whether somebody has sent it SIGTERM, and sees to the rest.
    """

    has_heard: trio.Event
    ended: trio.Event
    is_terminated: bool

    def ask_to_stop(self, functions_seconds: float) -> bool:
        """Send it the message; False while it has no link for that."""
        ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def note(self, reason: str) -> None:
        """Have the report of its end say why."""
        ...


class StopLadder:
    """Stops workers, and counts what was needed for it.

    Attributes:
        counts: what was needed so far.
    """

    def __init__(self) -> None:
        self.counts = StopCounts()

    async def descend(self, worker: Stoppable, grace_seconds: float) -> None:
        """Goes down the whole ladder, and returns when the process has ended.

        Args:
            worker: which one.
            grace_seconds: how long it may take to close what it opened.
        """
        if not worker.ask_to_stop(FUNCTIONS_SECONDS):  # it has begun nothing
            self.kill(worker)
            await worker.ended.wait()
            return
        self._count(asked=1)
        if not await _is_set_within(ASK_SECONDS, worker.has_heard):
            worker.note(f"did not answer within {ASK_SECONDS:g} s")
        elif not await _is_set_within(grace_seconds, worker.ended):
            worker.note(f"did not end within {grace_seconds:g} s")
        await self.terminate(worker)

    async def terminate(self, worker: Stoppable) -> None:
        """Goes down from SIGTERM, and returns when the process has ended."""
        if worker.is_terminated or worker.ended.is_set():
            await worker.ended.wait()
            return
        self._count(terminated=1)
        worker.terminate()
        if not await _is_set_within(TERM_SECONDS, worker.ended):
            self.kill(worker)
            await worker.ended.wait()

    def kill(self, worker: Stoppable) -> None:
        """Takes the last step only."""
        if not worker.ended.is_set():
            self._count(killed=1)
            worker.kill()

    def _count(self, asked: int = 0, terminated: int = 0, killed: int = 0) -> None:
        now = self.counts
        self.counts = StopCounts(
            now.asked + asked, now.terminated + terminated, now.killed + killed
        )


async def _is_set_within(seconds: float, event: trio.Event) -> bool:
    with trio.move_on_after(seconds):
        await event.wait()
    return event.is_set()
