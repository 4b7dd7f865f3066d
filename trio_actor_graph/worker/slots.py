"""The slots of a worker and the attempts it holds: who may begin, decided under one lock.

Two kinds of threads take from here, the one that runs trio and those that run plain functions, so
that a plain function's thread can go from one attempt to the next without asking trio. The number
of attempts that hold a slot never exceeds the number of slots.
"""

from __future__ import annotations

import bisect
import threading
from collections import deque
from collections.abc import Callable, Iterable

from trio_actor_graph.begun import BegunMarks
from trio_actor_graph.messages import RunAttempt
from trio_actor_graph.worker.following import Followers


class Slots:
    """Attempts not begun, by priority and then order of arrival, and free slots.

    An attempt that gave its slot back while it waited comes before all that have not begun. One
    that was released by another's success comes in the place of that one, so that a chain is run
    to its end before what came later.

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
        # Sorted: (-priority, place among the arrivals, the later released the smaller, attempt id).
        # Nearly all are put at its end. Some are no longer unbegun.
        self._order: deque[tuple[int, int, int, int]] = deque()
        self._followers = Followers()
        self._arrivals = 0
        self._released = 0
        self._returning: deque[tuple[int, Callable[[], None]]] = deque()

    def hold(self, attempts: Iterable[RunAttempt]) -> tuple[int, ...]:
        """Take attempts that are to begin when there is a slot for them.

        Returns:
            Those that are not held, because what they follow is not (or no longer) waiting here.
        """
        refused = []
        with self._lock:
            for attempt in attempts:
                self._arrivals += 1
                if not attempt.follows:
                    self._put(attempt, self._arrivals, 0)
                elif self._followers.is_refused(attempt.uid):
                    refused.append(attempt.attempt_id)
                elif all(map(self._is_waiting, attempt.follows)):
                    self._followers.park(attempt)
                else:
                    refused.append(attempt.attempt_id)
        return tuple(refused)

    def release_followers(self, attempt: RunAttempt, value: bytes) -> int:
        """Release those that waited for nothing more than the success of this attempt.

        Returns:
            How many those were.
        """
        # Asked without the lock: who follows an attempt is known from before it began.
        if not self._followers.is_followed(attempt.attempt_id):
            return 0
        with self._lock:
            place, released = self._followers.release(attempt, value)
            for follower in reversed(released):
                self._released += 1
                self._put(follower, place, -self._released)
        return len(released)

    def keep_followers(self, attempt_id: int) -> None:
        """An attempt has ended in another way: those that follow it stay where they are."""
        if self._followers.is_followed(attempt_id):
            with self._lock:
                self._followers.forget(attempt_id)

    def take_parked(self, uid: int) -> int | None:
        """Remove the attempt of a task that follows others, or keep one from being taken in.

        Returns:
            It, if it was here.
        """
        with self._lock:
            return self._followers.take(uid)

    def begin(self) -> RunAttempt | None:
        """Take a slot for the next attempt; None if there is no slot or no attempt."""
        with self._lock:
            return self._begin()

    def mark(self, attempt_id: int, *, is_loading: bool = False) -> None:
        """Note that code of the attempt, which holds a slot, is going to run.

        Args:
            is_loading: its function is loaded first. Mark it again when that is done.
        """
        if self._marks is not None:
            with self._lock:
                self._marks.set(self._slot_of[attempt_id], attempt_id, is_loading=is_loading)

    def unmark(self, attempt_id: int) -> None:
        """Note that none of it runs yet, nor anything else in its slot."""
        if self._marks is not None:
            with self._lock:
                self._marks.set(self._slot_of[attempt_id], 0)

    def release(self, attempt_id: int) -> None:
        """Give a slot back: to one who waits to return, else to whoever begins next."""
        with self._lock:
            granted = self._release(attempt_id)
        if granted is not None:
            granted()

    def pass_on(self, attempt_id: int) -> RunAttempt | None:
        """Give the slot to the attempt that begins next: the way of a thread from one to the other.

        What is noted of the slot stays, if there is such an attempt. The thread has to `mark` it
        at once, or to `unmark` it before it does anything else. That saves noting in between, for
        a moment, that nothing runs.

        Returns:
            The attempt that has the slot now; None if it is free, or was given to somebody else.
        """
        with self._lock:
            if not self._returning and (following := self._next()) is not None:
                self._slot_of[following.attempt_id] = self._slot_of.pop(attempt_id)
                return following
            granted = self._release(attempt_id)
        if granted is not None:
            granted()
        return None

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
            if self._unbegun.pop(attempt_id, None) is None:
                return self._followers.drop(attempt_id)
            self._followers.forget(attempt_id)
            return True

    def take_last(self, number: int) -> tuple[int, ...]:
        """Remove up to `number` attempts that could begin, from the end of the order."""
        taken: list[int] = []
        with self._lock:
            while self._order and len(taken) < number:
                attempt_id = self._order.pop()[3]
                if self._unbegun.pop(attempt_id, None) is not None:
                    self._followers.forget(attempt_id)
                    taken.append(attempt_id)
        return tuple(reversed(taken))

    def drop_all(self) -> None:
        """Forget every attempt that has not begun."""
        with self._lock:
            self._unbegun.clear()
            self._order.clear()
            self._followers.clear()

    def _is_waiting(self, attempt_id: int) -> bool:
        return attempt_id in self._unbegun or attempt_id in self._followers

    def _put(self, attempt: RunAttempt, place: int, turn: int) -> None:
        self._unbegun[attempt.attempt_id] = attempt
        entry = (-attempt.priority, place, turn, attempt.attempt_id)
        order = self._order
        if not order or entry > order[-1]:
            order.append(entry)
        elif entry < order[0]:
            order.appendleft(entry)
        else:
            bisect.insort(order, entry)

    def _begin(self) -> RunAttempt | None:
        if not self._free:
            return None
        attempt = self._next()
        if attempt is not None:
            self._slot_of[attempt.attempt_id] = self._free.pop()
        return attempt

    def _next(self) -> RunAttempt | None:
        """Take the first in the order; it is to have a slot."""
        while self._order:
            _, place, _, attempt_id = self._order.popleft()
            attempt = self._unbegun.pop(attempt_id, None)
            if attempt is not None:
                self._followers.began(attempt_id, place)
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
