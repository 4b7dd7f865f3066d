"""Who reads the link: trio, or the thread of functions while it has nothing else to do.

A message that trio reads goes through its event loop and from there to the thread that runs plain
functions: two switches of threads, each with its wait for the interpreter, which is most of what a
single small task costs. So where there is one slot, and with it one thread, that thread waits in
the link itself, runs what it has read, and answers straight to the socket; trio sleeps.

It is the thread's turn from when it first comes home to nothing more to run. While it runs short
functions it looks at the link between them. When one takes longer than `AWAY_SECONDS`, it is trio's
turn, so that cancellations, recalls and the end of the link are heard; until the thread is home
again. It stays trio's as long as anything runs there, for what is said to coroutine functions is
trio's to hear.

Whoever reads holds `Link.reading` from before the bytes are taken until the messages are taken in,
so everything happens in the order in which it was said, whoever heard it.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final, Protocol

import msgspec
import trio

from trio_actor_graph.link import Link
from trio_actor_graph.messages import StopWorker, WorkerStopping

AWAY_SECONDS: Final = 0.005
"""How long the thread may not have looked at the link before trio reads. Less would have trio read,
for nothing, beside functions that take some milliseconds."""

LOOK_SECONDS: Final = 0.001
"""How often the thread looks at the link between short functions: a look costs it 2 us."""


class Taker(Protocol):
    """What takes in the messages: the runner of attempts."""

    def handle(self, messages: Sequence[msgspec.Struct]) -> None:
        """Take in a batch, and begin what there are slots for; in trio."""
        ...

    def take_in(self, messages: Sequence[msgspec.Struct]) -> None:
        """Take in a batch, in the thread, while nothing runs in trio."""
        ...

    def is_idle(self) -> bool:
        """Whether nothing runs, neither here nor there."""
        ...


class LinkReading:
    """The reading of one worker's link.

    Attributes:
        is_thread_waiting: the thread waits in the link.
    """

    def __init__(self, link: Link[Any], taker: Taker):
        self.is_thread_waiting = False
        self._link = link
        self._taker = taker
        self._token = trio.lowlevel.current_trio_token()
        self._trio_waits = trio.CancelScope()
        self._is_threads_turn = False
        self._looked = 0.0
        self._reads = self._reads_seen = 0
        self._is_over = False
        self._grace_seconds = 0.0
        self._error: Exception | None = None

    # ---- in trio ----------------------------------------------------------------------------

    async def run(self, messages: Sequence[msgspec.Struct]) -> float:
        """Take in these first messages and all that arrive, until there is an end to them.

        Returns:
            For how many seconds plain functions that still run are to be waited for.

        Raises:
            ProtocolError: the coordinator does not speak the protocol.
        """
        try:
            with self._link.reading:
                self._take_in(messages, is_trio=True)
            while not self._is_over:
                await self._wait_or_read()
        finally:
            self._is_over = True
        if self._error is not None:
            raise self._error
        return self._grace_seconds

    async def _wait_or_read(self) -> None:
        with trio.CancelScope() as self._trio_waits:
            if self._is_threads_turn:
                await trio.sleep_forever()
            else:
                await self._link.wait_readable()
        if self._link.reading.acquire(blocking=False):  # else the thread has come home
            try:
                if not self._is_threads_turn and not self._is_over:
                    self._read(waits=False, is_trio=True)
            finally:
                self._link.reading.release()

    def look_after_thread(self) -> bool:
        """Have trio read if the thread is away for long; to be called again and again while it is.

        Returns:
            Whether it has read anything since the last call.
        """
        reads, self._reads_seen = self._reads_seen, self._reads
        is_away = self._is_threads_turn and perf_counter() - self._looked > AWAY_SECONDS
        if is_away and self._link.reading.acquire(blocking=False):
            self._is_threads_turn = False
            self._link.reading.release()
            self._wake_trio()
        return reads != self._reads

    # ---- in the thread ----------------------------------------------------------------------

    def wait(self) -> bool:
        """Wait until something arrives, and take it in.

        Returns:
            False if it is trio that reads.
        """
        if self.is_thread_waiting:  # another thread, that was started while the first came home
            return False
        with self._link.reading:
            if self._is_over or self.is_thread_waiting:
                return False
            self._set_turn(self._taker.is_idle())  # then nothing begins in trio, unless it reads
            if not self._is_threads_turn:
                return False
            self.is_thread_waiting = True
            try:
                self._read(waits=True, is_trio=False)
            finally:
                self.is_thread_waiting = False
            self._reads += 1
            self._looked = perf_counter()
        return not self._is_over

    def look(self) -> None:
        """Between two functions: take in what has arrived, unless trio does or it was just done."""
        now = perf_counter()
        if self._is_threads_turn and now - self._looked > LOOK_SECONDS:
            self._looked = now
            if self._link.reading.acquire(blocking=False):  # else somebody else reads just now
                try:
                    if self._is_threads_turn and not self._is_over:
                        self._look()
                finally:
                    self._link.reading.release()

    def _look(self) -> None:
        """Read, unless something runs in trio: what is said to that is trio's to hear."""
        self._set_turn(self._taker.is_idle())
        if self._is_threads_turn:
            self._read(waits=False, is_trio=False)

    # ---- in either, with the lock -----------------------------------------------------------

    def _read(self, *, waits: bool, is_trio: bool) -> None:
        try:
            messages = self._link.read(waits=waits)
            if messages is None:
                self._end(0.0)
            elif messages:
                self._take_in(messages, is_trio)
        except Exception as error:  # `run` raises it, and is not left waiting for a thread
            self._error = error
            self._end(0.0)

    def _take_in(self, messages: Sequence[msgspec.Struct], is_trio: bool) -> None:
        if is_trio:
            self._taker.handle(messages)
        else:
            self._taker.take_in(messages)
        for message in messages:
            if type(message) is StopWorker:
                self._link.send([WorkerStopping()])
                self._end(message.grace_seconds)

    def _set_turn(self, is_threads: bool) -> None:
        if self._is_threads_turn is not is_threads:
            self._is_threads_turn = is_threads
            self._token.run_sync_soon(self._wake_trio)

    def _end(self, grace_seconds: float) -> None:
        if not self._is_over:
            self._is_over = True
            self._grace_seconds = grace_seconds
            self._token.run_sync_soon(self._wake_trio)

    def _wake_trio(self) -> None:
        self._trio_waits.cancel()
