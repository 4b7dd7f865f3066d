"""The slots of a worker and the attempts it holds: who may begin, decided under one lock.

Two kinds of threads take from here, the one that runs trio and those that run plain functions, so
that a plain function's thread can go from one attempt to the next without asking trio. The number
of attempts that hold a slot never exceeds the number of slots.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterable

from trio_actor_graph.begun import BegunMarks
from trio_actor_graph.messages import RunAttempt


class Slots:
    """Attempts not begun, by priority and then order of arrival, and free slots.

    An attempt that gave its slot back while it waited comes before all that have not begun.

    Args:
        number: how many attempts hold a slot at once.
        marks: where to note which attempt runs in which slot, for the case that the process dies.
    """

    def __init__(self, number: int, marks: BegunMarks | None = None):
        self._lock = threading.Lock()
        self._marks = marks
        self._free = list(range(number))
        self._slot_of: dict[int, int] = {}
        self._unbegun: dict[int, RunAttempt] = {}
        self._order: list[tuple[int, int, int]] = []  # a heap: (-priority, arrival, attempt id)
        self._arrivals = 0
        self._returning: deque[tuple[int, Callable[[], None]]] = deque()

    def hold(self, attempts: Iterable[RunAttempt]) -> None:
        """Take attempts that are to begin when there is a slot for them."""
        with self._lock:
            for attempt in attempts:
                self._arrivals += 1
                self._unbegun[attempt.attempt_id] = attempt
                entry = (-attempt.priority, self._arrivals, attempt.attempt_id)
                heapq.heappush(self._order, entry)

    def begin(self) -> RunAttempt | None:
        """Take a slot for the next attempt; None if there is no slot or no attempt."""
        with self._lock:
            return self._begin()

    def mark(self, attempt_id: int) -> None:
        """Note that code of the attempt, which holds a slot, is going to run."""
        if self._marks is not None:
            with self._lock:
                self._marks.set(self._slot_of[attempt_id], attempt_id)

    def release(self, attempt_id: int) -> None:
        """Give a slot back: to one who waits to return, else to whoever begins next."""
        with self._lock:
            granted = self._release(attempt_id)
        if granted is not None:
            granted()

    def release_and_begin(self, attempt_id: int) -> RunAttempt | None:
        """`release` and `begin` in one: the way of a thread from one attempt to the next."""
        with self._lock:
            granted = self._release(attempt_id)
            following = self._begin()
        if granted is not None:
            granted()
        return following

    def return_to(self, attempt_id: int, granted: Callable[[], None]) -> bool:
        """Take a slot again; if there is none, `granted` is called (from any thread) with one.

        Returns:
            True if the slot is taken already, and `granted` will not be called.
        """
        with self._lock:
            if self._free:
                self._take_again(self._free.pop(), attempt_id)
                return True
            self._returning.append((attempt_id, granted))
            return False

    def forget(self, attempt_id: int) -> None:
        """Take back a `return_to` whose slot has not been granted."""
        with self._lock:
            self._returning = deque(r for r in self._returning if r[0] != attempt_id)

    def drop(self, attempt_id: int) -> bool:
        """Forget an attempt that has not begun; False if there is none."""
        with self._lock:
            return self._unbegun.pop(attempt_id, None) is not None

    def take_last(self, number: int) -> tuple[int, ...]:
        """Remove up to `number` attempts that have not begun, from the end of the order."""
        with self._lock:
            order = sorted(entry for entry in self._order if entry[2] in self._unbegun)
            taken = tuple(entry[2] for entry in order[max(0, len(order) - number) :])
            for attempt_id in taken:
                del self._unbegun[attempt_id]
            return taken

    def drop_all(self) -> None:
        """Forget every attempt that has not begun."""
        with self._lock:
            self._unbegun.clear()

    def _begin(self) -> RunAttempt | None:
        if not self._free:
            return None
        while self._order:
            attempt = self._unbegun.pop(heapq.heappop(self._order)[2], None)
            if attempt is not None:
                self._slot_of[attempt.attempt_id] = self._free.pop()
                return attempt
        return None

    def _release(self, attempt_id: int) -> Callable[[], None] | None:
        """Free a slot, or hand it to the first who waits to return, who is then to be told."""
        slot = self._slot_of.pop(attempt_id)
        if self._returning:
            returning_id, granted = self._returning.popleft()
            self._take_again(slot, returning_id)
            return granted
        if self._marks is not None:
            self._marks.set(slot, 0)
        self._free.append(slot)
        return None

    def _take_again(self, slot: int, attempt_id: int) -> None:
        self._slot_of[attempt_id] = slot
        if self._marks is not None:
            self._marks.set(slot, attempt_id)
