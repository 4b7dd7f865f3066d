"""Threads for plain functions: one per slot at most, started when first needed, kept.

They are our own and not trio's, because an attempt must not cost a hop through the event loop in
each direction: a thread takes the next attempt itself and answers straight to the link.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

W = TypeVar("W")


class FunctionThreads(Generic[W]):
    """Idle threads wait here for work.

    Args:
        run: does one piece of work and returns the next, or None when there is none.
        name: what the threads are called.
    """

    def __init__(self, run: Callable[[W], W | None], name: str):
        self._run = run
        self._name = name
        self._idle: list[SimpleQueue[W | None]] = []
        self._started = 0
        self._is_closed = False

    @property
    def busy(self) -> int:
        """How many threads are at work."""
        return self._started - len(self._idle)

    def give(self, work: W) -> None:
        """Have an idle thread, or a new one, do the work."""
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = self._start()
        inbox.put(work)

    def close(self) -> None:
        """Have each thread end as soon as it is idle; no more work will be given."""
        self._is_closed = True
        for inbox in list(self._idle):
            inbox.put(None)

    def _start(self) -> SimpleQueue[W | None]:
        self._started += 1
        inbox: SimpleQueue[W | None] = SimpleQueue()
        name = f"{self._name}-{self._started}"
        threading.Thread(target=self._serve, args=(inbox,), name=name, daemon=True).start()
        return inbox

    def _serve(self, inbox: SimpleQueue[W | None]) -> None:
        work = inbox.get()
        while work is not None:
            while work is not None:
                work = self._run(work)
            self._idle.append(inbox)
            if self._is_closed:
                return
            work = inbox.get()
