"""One life of one worker: what is known of it, and the plain calls that act on it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trio_actor_graph.buffers.handing_over import SegmentReceiver
from trio_actor_graph.engine.api import WorkerLimits
from trio_actor_graph.engine.worker_stderr import WorkerStderr
from trio_actor_graph.graph.failures import WorkerEnd
from trio_actor_graph.link import Link
from trio_actor_graph.messages import StartUp, StopWorker, WorkerReady, WorkerStopping

if TYPE_CHECKING:  # the engine of a program without processes imports no tractor
    from trio_actor_graph.engine.actor_process import ActorProcess


class WorkerLife:
    """A worker, from the order to start it to the end of its process.

    Attributes:
        start_up: what kind of worker it is.
        limits: what is watched in it.
        process: its process, once there is one.
        stderr: what it writes there, once it can.
        link: its link, while that is up.
        segments: what it has handed over, while its link is up; None if it cannot.
        talk: around every wait for its link.
        is_ready: set when it has said so.
        has_heard: set when it has answered that it heard it is to stop, or has ended.
        ended: set when its process has ended.
        is_killed: whether it was ordered to end at once, perhaps before it had a process.
        is_stopping: whether it was told to end in some way, so that its end is no accident.
        is_terminated: whether it was sent SIGTERM.
    """

    def __init__(self, start_up: StartUp, limits: WorkerLimits) -> None:
        self.start_up = start_up
        self.limits = limits
        self.process: ActorProcess | None = None
        self.stderr: WorkerStderr | None = None
        self.link: Link[Any] | None = None
        self.segments: SegmentReceiver | None = None
        self.talk = trio.CancelScope()
        self.is_ready = trio.Event()
        self.has_heard = trio.Event()
        self.ended = trio.Event()
        self.is_killed = False
        self.is_stopping = False
        self.is_terminated = False
        self._is_asked = False
        self._reasons: list[str] = []
        self._how = "it did not start"
        self._status: int | None = None

    def on_process(self, process: ActorProcess) -> None:
        self.process = process
        if self.stderr is not None:
            self.stderr.close_write_end()
        if self.is_killed:  # ordered while the process was being made
            process.kill()

    def on_ended(self, error: str | None) -> None:
        """Its process has ended, or there never was one; `error` is what tells more of it."""
        self.has_heard.set()
        self.ended.set()
        if self.process is not None and self.process.returncode is not None:
            self._status = self.process.returncode
            self._how = _how(self.process.pid, self._status, error)
        elif error is not None:
            self._how = error

    def heed(self, messages: Sequence[msgspec.Struct]) -> Sequence[msgspec.Struct]:
        """Takes note of what it says about itself; returns what is for its owner."""
        if not self.is_ready.is_set() and any(isinstance(m, WorkerReady) for m in messages):
            self.is_ready.set()
        if self._is_asked and any(isinstance(m, WorkerStopping) for m in messages):
            self.has_heard.set()
            return [m for m in messages if not isinstance(m, WorkerStopping)]
        return messages

    def ask_to_stop(self, functions_seconds: float) -> bool:
        self.is_stopping = True
        if self.link is None:
            return False
        self._is_asked = True
        self.link.send([StopWorker(functions_seconds)])
        return True

    def terminate(self) -> None:
        self.is_stopping = self.is_terminated = True
        if self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        self.is_stopping = self.is_killed = True
        if self.process is None:
            self.talk.cancel()
        else:
            self.process.kill()

    def note(self, reason: str) -> None:
        """Has the report of its end say why it came to that."""
        if reason not in self._reasons:
            self._reasons.append(reason)

    def end(self, running: frozenset[int], begun: frozenset[int]) -> WorkerEnd:
        """Returns the report of its end."""
        reasons = ", ".join(self._reasons)
        return WorkerEnd(
            how=f"{reasons}: {self._how}" if reasons else self._how,
            pid=None if self.process is None else self.process.pid,
            status=self._status,
            stderr="" if self.stderr is None else self.stderr.text(),
            running=running,
            begun=begun,
        )


def _how(pid: int, status: int, error: str | None) -> str:
    """How a process ended, for people."""
    if status < 0:
        try:
            ended = f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            ended = f"was ended by signal {-status}"
    else:
        ended = f"exited with status {status}"
    return f"process {pid} {ended}" + (f"\n{error}" if error else "")
