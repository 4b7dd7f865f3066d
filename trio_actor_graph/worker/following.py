"""Attempts that wait in the worker for others: a chain of tasks need not come home between two.

Such a *follower* is parked until all that it follows have succeeded here, and goes on with their
results. Where one of them ends in another way, it stays parked until the coordinator takes it back:
what becomes of its task is decided there.
"""

from __future__ import annotations

from typing import Final

import msgspec

from trio_actor_graph.graph.states import TERMINAL
from trio_actor_graph.messages import RunAttempt
from trio_actor_graph.outcome import TaskOutcome

REFUSED_MAX: Final = 1_000
"""How many tasks are remembered that are to wait for more than their attempts, which may be under
way, know of: as many as a worker holds ahead."""


class _Parked:
    """A follower.

    Attributes:
        missing: the attempts whose success it waits for.
        outcomes: of those that have succeeded.
    """

    __slots__ = ("attempt", "missing", "outcomes")

    def __init__(self, attempt: RunAttempt):
        self.attempt = attempt
        self.missing = set(attempt.follows)
        self.outcomes: dict[int, TaskOutcome] = {}


class _Followed:
    """An attempt that others follow.

    Attributes:
        place: where it stood in the order of arrival, once it has begun.
        followers: the ids of those; some may have been taken back meanwhile.
    """

    __slots__ = ("followers", "place")

    def __init__(self) -> None:
        self.place = 0
        self.followers: list[int] = []


class Followers:
    """The parked attempts of a worker. Used under the lock of its `Slots`.

    What is remembered of an attempt that is followed goes with it, however it ends; so it is never
    more than what the worker holds.
    """

    def __init__(self) -> None:
        self._parked: dict[int, _Parked] = {}
        self._id_by_uid: dict[int, int] = {}
        self._followed: dict[int, _Followed] = {}
        self._refused: dict[int, None] = {}  # the uids of tasks that are to wait for more

    def __contains__(self, attempt_id: int) -> bool:
        return attempt_id in self._parked

    def is_followed(self, attempt_id: int) -> bool:
        return attempt_id in self._followed

    def park(self, attempt: RunAttempt) -> None:
        self._parked[attempt.attempt_id] = _Parked(attempt)
        self._id_by_uid[attempt.uid] = attempt.attempt_id
        for attempt_id in set(attempt.follows):
            self._followed.setdefault(attempt_id, _Followed()).followers.append(attempt.attempt_id)

    def began(self, attempt_id: int, place: int) -> None:
        """Note where an attempt stood in the order: its followers are to stand there."""
        if (followed := self._followed.get(attempt_id)) is not None:
            followed.place = place

    def release(self, attempt: RunAttempt, value: bytes) -> tuple[int, list[RunAttempt]]:
        """An attempt has succeeded: take out those that waited for nothing more.

        Returns:
            Where they are to stand in the order of arrival; and they, their predecessors completed.
        """
        followed = self._followed.pop(attempt.attempt_id, None)
        if followed is None:  # the worker is closing
            return 0, []
        outcome = TaskOutcome(attempt.uid, attempt.name, "succeeded", value)
        released = []
        for attempt_id in followed.followers:
            parked = self._parked.get(attempt_id)
            if parked is None:
                continue
            parked.missing.discard(attempt.attempt_id)
            parked.outcomes[attempt.attempt_id] = outcome
            if not parked.missing:
                self._remove(parked.attempt)
                released.append(_completed(parked))
        return followed.place, released

    def drop(self, attempt_id: int) -> bool:
        """Forget a parked attempt; False if there is none. Its own followers stay parked."""
        parked = self._parked.get(attempt_id)
        if parked is None:
            return False
        self._remove(parked.attempt)
        self.forget(attempt_id)
        return True

    def take(self, uid: int) -> int | None:
        """Forget the parked attempt of a task, and tell which it was.

        If there is none, one may be under way, and is not to be parked when it arrives.
        """
        attempt_id = self._id_by_uid.get(uid)
        if attempt_id is not None:
            self.drop(attempt_id)
        else:
            self._refused[uid] = None
            if len(self._refused) > REFUSED_MAX:
                del self._refused[next(iter(self._refused))]
        return attempt_id

    def is_refused(self, uid: int) -> bool:
        """Whether a task's attempt that arrives is not to be parked; this is true once."""
        return bool(self._refused) and self._refused.pop(uid, self) is None

    def forget(self, attempt_id: int) -> None:
        """An attempt is not going to succeed here: nothing releases its followers any more."""
        self._followed.pop(attempt_id, None)

    def clear(self) -> None:
        self._parked.clear()
        self._id_by_uid.clear()
        self._followed.clear()

    def _remove(self, attempt: RunAttempt) -> None:
        del self._parked[attempt.attempt_id]
        if self._id_by_uid.get(attempt.uid) == attempt.attempt_id:
            del self._id_by_uid[attempt.uid]


def _completed(parked: _Parked) -> RunAttempt:
    """The attempt with the outcomes of what it has followed."""
    predecessors = tuple([parked.outcomes[attempt_id] for attempt_id in parked.attempt.follows])
    if parked.attempt.predecessors:
        by_uid = {outcome.uid: outcome for outcome in predecessors}
        predecessors = tuple(
            old if old.state in TERMINAL else by_uid.get(old.uid, old)
            for old in parked.attempt.predecessors
        )
    return msgspec.structs.replace(parked.attempt, predecessors=predecessors)
