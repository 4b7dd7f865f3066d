"""The events of one server: gathered from the coordinator, numbered, and kept for a while.

Each event is encoded once, when the first reader wants it; whoever comes later gets the same bytes.
A reader goes through the ring at its own pace, and learns by a `gap` what was dropped meanwhile.

Nothing is gathered while nobody reads, because a run should cost then what it costs without a
server. So the ring *wakes* when somebody asks for events, or for a place to begin at, and sleeps
again when that is a while ago. Ids are "EPOCH-NUMBER", with another epoch after each sleep and in
each server: an id of another epoch is answered by a gap of unknown size.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trio_actor_graph.clock import unix_seconds
from trio_actor_graph.graph.records import Move, TaskRecord, WorkerRecord
from trio_actor_graph.logs import LogLine
from trio_actor_graph.observers import GraphHappening, Observer, WorkerHappening
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.types import (
    PAGE_MAX,
    Event,
    GapEvent,
    GraphEvent,
    LogEvent,
    TaskEvent,
    WorkerEvent,
)
from trio_actor_graph.web.views import first_line, log_entry, pid_of

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.handles import TaskGraph

EventKind = str
CHUNK_EVENTS: Final = 500
"""How many events are written at a time: some 100 KB, encoded in a millisecond or two."""


class Entry:
    """An event in the ring."""

    __slots__ = ("_encoded", "event", "graph_uid", "kind", "number")

    def __init__(self, number: int, kind: EventKind, graph_uid: int | None, event: Event):
        self.number = number
        self.kind = kind
        self.graph_uid = graph_uid
        self.event = event
        self._encoded: bytes | None = None

    def encoded(self, epoch: str) -> bytes:
        """As it is sent: an event of a stream of server-sent events."""
        if self._encoded is None:
            self._encoded = encode_event(self.kind, f"{epoch}-{self.number}", self.event)
        return self._encoded


class EventRing(Observer):
    """The last events of one server; an observer of its coordinator while it is awake.

    Attributes:
        is_awake: events are gathered.
    """

    def __init__(self, coordinator: Coordinator, limits: HttpLimits):
        self._coordinator = coordinator
        self._limits = limits
        self._entries: deque[Entry] = deque(maxlen=limits.events)
        self._last = 0
        self._epoch = secrets.token_hex(4)
        self._readers = 0
        self._wanted_until = 0.0
        self.is_awake = False
        self._news = trio.Event()

    @property
    def readers(self) -> int:
        """How many streams there are."""
        return self._readers

    @property
    def last_id(self) -> str:
        """The id of the newest event; who asks for it may follow from there."""
        self._wake()
        return f"{self._epoch}-{self._last}"

    # ---- reading ----------------------------------------------------------------------------

    def begin_reading(self, after: str | None) -> tuple[int, GapEvent | None]:
        """Count one reader more, until `end_reading`.

        Args:
            after: the id of the last event it knows; None to begin with the next one.

        Returns:
            The number of the event it is at, and what it has missed.
        """
        self._readers += 1
        self._wake()
        number = self._number(after)
        if after is not None and number is None:
            return self._last, GapEvent(missed=None)
        return self._last if number is None else number, None

    def end_reading(self) -> None:
        self._readers -= 1
        self._wanted_until = perf_counter() + self._limits.events_kept_seconds

    def take(self, after: int) -> tuple[list[Entry], GapEvent | None]:
        """The next events after a number, at most `CHUNK_EVENTS`, and what was dropped before."""
        if after >= self._last:
            return [], None
        first = self._entries[0].number
        gap = None
        if after + 1 < first:
            gap = GapEvent(missed=first - after - 1)
            after = first - 1
        start = after + 1 - first
        return list(islice(self._from(start), CHUNK_EVENTS)), gap

    async def wait_after(self, number: int) -> None:
        """Wait until there is an event after this number."""
        while number >= self._last:
            await self._news.wait()

    def encode_gap(self, gap: GapEvent, number: int) -> bytes:
        """The gap as it is sent; its id is that of the last event before what follows."""
        return encode_event("gap", f"{self._epoch}-{number}", gap)

    def encode(self, entries: list[Entry]) -> bytes:
        epoch = self._epoch
        return b"".join([entry.encoded(epoch) for entry in entries])

    def _from(self, start: int) -> Iterator[Entry]:
        # Both ends of a deque are near, its middle is not.
        if start <= len(self._entries) // 2:
            return islice(self._entries, start, None)
        newest = list(islice(reversed(self._entries), len(self._entries) - start))
        return reversed(newest)

    def _number(self, after: str | None) -> int | None:
        epoch, _, number = (after or "").rpartition("-")
        if epoch != self._epoch or not number.isdecimal() or len(number) > 18:
            return None
        return int(number) if int(number) <= self._last else None

    # ---- gathering --------------------------------------------------------------------------

    async def run(self) -> None:
        """Let the ring sleep when nobody has wanted it for a while; and at the end."""
        try:
            while True:
                await trio.sleep(max(1.0, self._limits.events_kept_seconds / 10))
                if self.is_awake and not self._readers and perf_counter() > self._wanted_until:
                    self._sleep()
        finally:
            self._sleep()

    def _wake(self) -> None:
        self._wanted_until = perf_counter() + self._limits.events_kept_seconds
        if not self.is_awake:
            self.is_awake = True
            self._coordinator.add_observer(self)

    def _sleep(self) -> None:
        if self.is_awake:
            self.is_awake = False
            self._coordinator.remove_observer(self)
            self._entries.clear()
            self._epoch, self._last = secrets.token_hex(4), 0

    def on_moves(self, moves: Sequence[Move], at: float) -> None:
        when = unix_seconds(at)
        for move in moves:
            event = _task_event(move, when)
            self._add("task", event.graph_uid, event)
        self._tell()

    def on_graph(self, graph: TaskGraph, happening: GraphHappening) -> None:
        at = unix_seconds(perf_counter())
        self._add("graph", graph.uid, GraphEvent(graph.uid, graph.name, happening, at))
        self._tell()

    def on_worker(self, worker: WorkerRecord, happening: WorkerHappening) -> None:
        event = WorkerEvent(
            worker_id=worker.worker_id,
            name=worker.name,
            worker_loop=worker.loop.name,
            happening=happening,
            at=unix_seconds(perf_counter()),
            pid=pid_of(self._coordinator, worker.worker_id),
        )
        self._add("worker", None, event)
        self._tell()

    def on_log(self, line: LogLine) -> None:
        self._add("log", line.graph_uid, LogEvent(log_entry(line)))
        self._tell()

    def _add(self, kind: EventKind, graph_uid: int | None, event: Event) -> None:
        self._last = number = self._last + 1
        self._entries.append(Entry(number, kind, graph_uid, event))

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()


def _task_event(move: Move, at: float) -> TaskEvent:
    task = move.task
    is_new = move.happening == "created"
    has_ended = move.state in ("succeeded", "failed") and task.began_at is not None
    return TaskEvent(
        graph_uid=task.graph.uid,
        uid=task.uid,
        name=task.spec.name,
        state=move.state,
        happening=move.happening,
        at=at,
        # What has moved since has been counted too, so only this much is sure.
        attempt=0 if move.happening in _BEFORE_ATTEMPTS else task.attempts,
        worker=_worker_of(move),
        worker_loop=task.loop.name,
        began_at=None if task.began_at is None else unix_seconds(task.began_at),
        seconds=_seconds(task) if has_ended else None,
        error=first_line(task) if move.state == "failed" else None,
        creator=task.creator.uid if is_new and task.creator is not None else None,
        predecessors=_uids(task) if is_new and task.predecessors else (),
    )


_BEFORE_ATTEMPTS: Final = frozenset({"created", "condition satisfied"})


def _worker_of(move: Move) -> str | None:
    if move.attempt is not None:
        return move.attempt.worker.name
    return None if move.task.ran_in is None else move.task.ran_in.name


def _seconds(task: TaskRecord) -> float | None:
    if task.began_at is None or task.ended_at is None:
        return None
    return max(0.0, task.ended_at - task.began_at)


def _uids(task: TaskRecord) -> tuple[int, ...]:
    return tuple(each.uid for each in islice(task.predecessors, PAGE_MAX))


def encode_event(kind: EventKind, id_: str, event: Event) -> bytes:
    """One event of a stream: its JSON has no line breaks, so it is one line of data."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        id_.encode(),
        kind.encode(),
        _encoder.encode(event),
    )


_encoder: Final = msgspec.json.Encoder()
