"""What workers write to stderr: passed on as it comes, and its last lines kept.

What a dying process says last (a traceback, a C library's complaint, the kernel's reason in a
wrapper's words) is often the only explanation there is, so it belongs to the report of its end. A
worker's stderr therefore is a pipe. Its reader is a trio task; what it reads goes on to this
program's descriptor 2, whatever that is at the time, by a thread: a terminal that somebody has
stopped must not stop the coordinator. While it is stopped the worker may fill its pipe, and then
waits, as it would have done at the terminal itself.

The pipe is not read to its end, because a daemon that a task has started may hold it open for ever:
when the process has ended, all it has written is in the pipe, and that is taken at once.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from trio_actor_graph.engine.actor_process import open_pipe

STDERR_BYTES_MAX: Final = 4096
"""How much of a worker's last stderr is kept: two or three tracebacks."""

STDERR_LINES_MAX: Final = 20
"""How many of its last lines are: a screen that also shows what it belongs to."""

FLUSH_SECONDS: Final = 0.2
"""How long the end of a coordinator waits for a stderr that takes nothing."""

_READ_BYTES: Final = 1 << 16  # what a pipe holds
_LAST_READS_MAX: Final = 16  # the largest pipe an ordinary user can have, one MiB
_STDERR: Final = 2

_in_thread: Any = trio.to_thread.run_sync  # trio-typing, which tractor brings, knows an older one


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_stderr_forwarder() -> AsyncGenerator[StderrForwarder]:
    """Opens what passes on the stderr of any number of workers; at its end all of it is out."""
    async with trio.open_nursery() as nursery:
        forwarder = StderrForwarder(nursery)
        try:
            yield forwarder
        finally:
            forwarder.end_soon()


class StderrForwarder:
    """Passes on what workers write. Made by `open_stderr_forwarder`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        # One chunk at a time, so that none is torn by another; and threads of our own, so that a
        # stopped terminal does not use up those of the program.
        self._limiter = trio.CapacityLimiter(1)
        self._scopes: set[trio.CancelScope] = set()
        self._deadline = math.inf
        # A descriptor 2 that is opened later is not meant for us.
        self._is_wanted = _is_open(_STDERR)

    def open_pipe(self) -> WorkerStderr:
        """Opens the stderr of one worker; it has to be closed.

        Raises:
            OSError: there are no descriptors left.
        """
        stderr = WorkerStderr()
        self._nursery.start_soon(self._forward, stderr)
        return stderr

    def end_soon(self) -> None:
        """Leaves what is not out yet a last moment."""
        self._deadline = trio.current_time() + FLUSH_SECONDS
        for scope in self._scopes:
            scope.deadline = self._deadline

    @trio.lowlevel.enable_ki_protection
    async def _forward(self, stderr: WorkerStderr) -> None:
        with trio.CancelScope(shield=True, deadline=self._deadline) as scope:
            self._scopes.add(scope)
            try:
                while chunk := await stderr.read():
                    if self._is_wanted:
                        await _in_thread(
                            _write_all, chunk, abandon_on_cancel=True, limiter=self._limiter
                        )
            finally:
                self._scopes.discard(scope)


class WorkerStderr:
    """The stderr of one worker: a pipe, and what has come out of it.

    Attributes:
        write_end: the descriptor for the process.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = open_pipe()
        os.set_blocking(self._read_end, False)
        self._is_closed = False
        self._unread = b""
        self._last = b""

    def text(self) -> str:
        """Returns the last lines."""
        lines = self._last.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-STDERR_LINES_MAX:])

    async def read(self) -> bytes:
        """Waits for what comes next; nothing means that nothing more will come."""
        while not self._unread and not self._is_closed:
            try:
                await trio.lowlevel.wait_readable(self._read_end)
            except trio.ClosedResourceError:
                break
            if not self._is_closed and self._take() == 0:
                break
        chunk, self._unread = self._unread, b""
        return chunk

    def close_write_end(self) -> None:
        """Leaves the other end to the process; does nothing the second time."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        """Takes what an ended process has left in the pipe, and closes it."""
        self.close_write_end()
        if self._is_closed:
            return
        for _ in range(_LAST_READS_MAX):
            if not self._take():
                break
        self._is_closed = True
        trio.lowlevel.notify_closing(self._read_end)
        os.close(self._read_end)

    def _take(self) -> int | None:
        """Reads what is there and returns how much: 0 at the pipe's end, None for nothing yet."""
        try:
            chunk = os.read(self._read_end, _READ_BYTES)
        except BlockingIOError:
            return None
        self._unread += chunk
        self._last = (self._last + chunk)[-STDERR_BYTES_MAX:]
        return len(chunk)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _write_all(chunk: bytes) -> None:
    """Writes to stderr, for as long as that takes; what it refuses is lost. In a thread."""
    rest = memoryview(chunk)
    while rest:
        try:
            rest = rest[os.write(_STDERR, rest) :]
        except BlockingIOError:  # somebody has made it so
            waiting = select.poll()
            waiting.register(_STDERR, select.POLLOUT)
            waiting.poll()
        except OSError:  # closed, or a pipe that nobody reads any more
            return
