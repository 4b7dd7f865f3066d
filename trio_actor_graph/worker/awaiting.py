"""Awaiting other tasks inside a running one, whose slot is free meanwhile.

An attempt holds its slot while none of its parts awaits a task. The first wait gives the slot back,
the end of the last one takes it again; where several parts wait at the same time, one whose wait is
over goes on without a slot until then. Anything else could leave a nursery of waits stuck behind
the slot that one of them holds.

An attempt that is being stopped (cancelled, over its time limit, its worker closing) does not wait
for a slot: its cleanup would wait for those who wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec
import trio

from trio_actor_graph.messages import AwaitTask, StopAwaiting
from trio_actor_graph.outcome import TaskOutcome
from trio_actor_graph.worker.slots import Slots

if TYPE_CHECKING:
    from trio_actor_graph.worker.runner import RunningAttempt


class Waiter:
    """Everybody in one attempt who waits for one task."""

    __slots__ = ("event", "is_seen", "number", "outcome")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.number = 0
        self.is_seen = False
        self.outcome: TaskOutcome | None = None


class Waits:
    """What one attempt waits for. Used in the trio thread only.

    Attributes:
        number: how many waits are under way.
        by_uid: the tasks waited for.
        has_slot: the attempt holds its slot.
        returning: set once a wait for the slot is over; None when the attempt does not wait for it.
        since: when the first of the waits under way began.
        seconds: how long it has waited before that.
    """

    __slots__ = ("by_uid", "has_slot", "number", "returning", "seconds", "since")

    def __init__(self) -> None:
        self.by_uid: dict[int, Waiter] = {}
        self.number = 0
        self.has_slot = True
        self.returning: trio.Event | None = None
        self.since = 0.0
        self.seconds = 0.0


class Awaiting:
    """The waits of all attempts of one worker.

    Args:
        report: takes a report to the coordinator, to be sent soon.
        begin_all: begins what there are slots for.
    """

    def __init__(
        self,
        slots: Slots,
        report: Callable[[msgspec.Struct], None],
        begin_all: Callable[[], None],
    ):
        self._slots = slots
        self._report = report
        self._begin_all = begin_all
        self._token = trio.lowlevel.current_trio_token()
        self._is_closing = False

    async def wait_for(self, attempt: RunningAttempt, uid: int, is_seen: bool) -> TaskOutcome:
        """Wait until a task of the graph has ended.

        Args:
            is_seen: its result is asked for, so that a failure counts as seen.
        """
        waits = attempt.waits
        if waits is None:
            waits = attempt.waits = Waits()
        waiter = waits.by_uid.get(uid)
        if waiter is None:
            waiter = waits.by_uid[uid] = Waiter()
        if not waiter.number or (is_seen and not waiter.is_seen):
            waiter.is_seen = is_seen
            self._report(AwaitTask(attempt.message.attempt_id, uid, is_seen))
        waiter.number += 1
        self._give_slot_back(attempt, waits)
        try:
            await waiter.event.wait()
        finally:
            waiter.number -= 1
            if not waiter.number and waits.by_uid.get(uid) is waiter:
                del waits.by_uid[uid]
                self._report(StopAwaiting(attempt.message.attempt_id, uid))
            await self._take_slot_again(attempt, waits)
        assert waiter.outcome is not None
        return waiter.outcome

    def tell(self, attempt: RunningAttempt, outcome: TaskOutcome) -> None:
        """A task that the attempt may wait for has ended."""
        waits = attempt.waits
        if waits is not None and (waiter := waits.by_uid.pop(outcome.uid, None)) is not None:
            waiter.outcome = outcome
            waiter.event.set()

    def go_on_without_slot(self, attempt: RunningAttempt) -> None:
        """End a wait for the slot, if there is one: the attempt is stopped, or waits elsewhere."""
        waits = attempt.waits
        if waits is not None and waits.returning is not None:
            waits.returning.set()
            waits.returning = None
            self._slots.forget(attempt.message.attempt_id)

    def close(self, attempts: Iterable[RunningAttempt]) -> None:
        """The worker closes: nobody waits for a slot any more."""
        self._is_closing = True
        for attempt in list(attempts):
            self.go_on_without_slot(attempt)

    def _give_slot_back(self, attempt: RunningAttempt, waits: Waits) -> None:
        waits.number += 1
        if waits.has_slot:
            waits.has_slot = False
            waits.since = perf_counter()
            self._slots.release(attempt.message.attempt_id)
            self._begin_all()
        else:
            self.go_on_without_slot(attempt)

    async def _take_slot_again(self, attempt: RunningAttempt, waits: Waits) -> None:
        waits.number -= 1
        if waits.number or waits.has_slot or attempt.is_stopped or self._is_closing:
            return
        returning = waits.returning = trio.Event()

        def grant() -> None:  # in whichever thread gives its slot
            self._token.run_sync_soon(self._return_slot, attempt, waits, returning)

        if self._slots.return_to(attempt.message.attempt_id, grant):
            self._return_slot(attempt, waits, returning)
            return
        # Shielded, because a scope of the user's around this wait ends this wait only, and what
        # follows must have a slot. The attempt's own end is told by `go_on_without_slot`.
        deadline = attempt.scope.deadline if attempt.scope is not None else float("inf")
        with trio.CancelScope(shield=True, deadline=deadline):
            await returning.wait()
        if waits.returning is returning:
            self.go_on_without_slot(attempt)

    def _return_slot(self, attempt: RunningAttempt, waits: Waits, returning: trio.Event) -> None:
        if waits.returning is not returning:  # it has gone on without
            self._slots.release(attempt.message.attempt_id)
            self._begin_all()
            return
        waits.returning = None
        waits.has_slot = True
        waits.seconds += perf_counter() - waits.since
        returning.set()
