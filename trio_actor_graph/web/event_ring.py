"""The events of one server: gathered from the coordinator, numbered, and kept for a while.

Each event is encoded once, when the first reader wants it; whoever comes later gets the same bytes.
A reader goes through the ring at its own pace, and learns by a `gap` what was dropped meanwhile.
The ring is bounded by the number of events and by their bytes.

Nothing is gathered while nobody reads, because a run should cost then what it costs without a
server. So the ring *wakes* when somebody asks for events, or for a place to begin at, and sleeps
again when that is a while ago. Ids are "EPOCH-NUMBER", with another epoch after each sleep and in
each server: an id of another epoch is answered by a gap of unknown size.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from sys import getsizeof
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import trio

from trio_actor_graph.clock import unix_seconds, unix_seconds_if
from trio_actor_graph.graph.reading import run_ended_by
from trio_actor_graph.graph.records import PREDECESSOR_ADDED, Move, WorkerRecord
from trio_actor_graph.logs import LogLine, cut
from trio_actor_graph.observers import GraphHappening, Observer, WorkerHappening
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.types import (
    Event,
    GapEvent,
    GraphEvent,
    LogEntry,
    LogEvent,
    TaskEvent,
    WorkerEvent,
)
from trio_actor_graph.web.views import first_line, first_uids, log_entry, pid_of, shown_name

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.handles import TaskGraph

EventKind = str
CHUNK_EVENTS: Final = 500
"""How many events are written at a time: some 100 KB, encoded in a millisecond or two."""

CHUNK_BYTES_MAX: Final = 1024 * 1024
"""And how large they may be in all, but for the first: what they are encoded to waits in memory
for each reader that is slow."""

LOG_EVENT_CHARACTERS_MAX: Final = 2_000
"""How much of a log line's text, of its traceback and of its extra attributes an event has. All of
them are in the logs, by the number of the line: `logs?after=NUMBER-1&limit=1`."""

_EVENT_BYTES: Final = 600
"""What an event and its entry take besides texts, on 64-bit CPython."""

_UID_BYTES: Final = 40
"""What one uid in it takes."""


class Entry:
    """An event in the ring: as a struct, and when somebody has wanted it as what is sent instead.

    Attributes:
        event: the struct, or the bytes.
        size: about how many bytes it takes.
    """

    __slots__ = ("event", "graph_uid", "kind", "number", "size")

    def __init__(self, number: int, kind: EventKind, graph_uid: int | None, event: Event):
        self.number = number
        self.kind = kind
        self.graph_uid = graph_uid
        self.size = _size_of(event)
        self.event: Event | bytes = event

    def encoded(self, epoch: str) -> bytes:
        """As it is sent: an event of a stream of server-sent events."""
        if not isinstance(self.event, bytes):
            self.event = encode_event(self.kind, f"{epoch}-{self.number}", self.event)
            self.size = getsizeof(self.event)
        return self.event


class Chunk(NamedTuple):
    """What a reader has next.

    Attributes:
        gap: what was dropped before `entries`.
        after: the number before the first of them.
        last: the number of the last of them.
    """

    entries: list[Entry]
    gap: GapEvent | None
    after: int
    last: int


class EventRing(Observer):
    """The last events of one server; an observer of its coordinator while it is awake.

    Attributes:
        is_awake: events are gathered.
    """

    def __init__(self, coordinator: Coordinator, limits: HttpLimits):
        self._coordinator = coordinator
        self._limits = limits
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._last = 0
        self._began = 0
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
        return self.id_of(self._last)

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

    def take(self, after: int) -> Chunk | None:
        """The next events after a number, None for none, and what was dropped before.

        At most `CHUNK_EVENTS` of them, and `CHUNK_BYTES_MAX`; but one there is, if there are any.
        """
        if after >= self._last:
            return None
        gap = None
        if after < self._began:
            gap = GapEvent(missed=None)
            after = self._began
        if not self._entries:
            return Chunk([], gap, after, after)
        first = self._entries[0].number
        if after + 1 < first:
            gap = gap or GapEvent(missed=first - after - 1)
            after = first - 1
        start = after + 1 - first
        entries = _first_bytes(islice(self._from(start), CHUNK_EVENTS))
        return Chunk(entries, gap, after, after + len(entries))

    async def wait_after(self, number: int) -> None:
        """Wait until there is an event after this number."""
        while number >= self._last:
            await self._news.wait()

    def id_of(self, number: int) -> str:
        """The id of the event of this number: whoever follows from there misses none after it."""
        return f"{self._epoch}-{number}"

    def encode_gap(self, gap: GapEvent, number: int) -> bytes:
        """The gap as it is sent; its id is that of the last event before what follows."""
        return encode_event("gap", self.id_of(number), gap)

    def encode(self, entries: list[Entry]) -> bytes:
        """These events as they are sent; they have been taken just now."""
        epoch = self._epoch
        before = sum([entry.size for entry in entries])
        encoded = [entry.encoded(epoch) for entry in entries]
        self._bytes += sum([entry.size for entry in entries]) - before
        return b"".join(encoded)

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
                elif self.is_awake:
                    self._have_itself_told()
        finally:
            self._sleep()

    def _wake(self) -> None:
        self._wanted_until = perf_counter() + self._limits.events_kept_seconds
        if not self.is_awake:
            self.is_awake = True
            self._coordinator.add_observer(self)
        else:
            self._have_itself_told()

    def _have_itself_told(self) -> None:
        """Begin again, in another epoch, if it is no observer any more, as after it has raised.

        It should not raise; but if it did every stream would be silent for good, as if alive.
        """
        if not self._coordinator.is_observed_by(self):
            self._begin_epoch()
            self._coordinator.add_observer(self)
            self._tell()

    def _sleep(self) -> None:
        if self.is_awake:
            self.is_awake = False
            self._coordinator.remove_observer(self)
            self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._entries.clear()
        self._bytes = 0
        self._epoch = secrets.token_hex(4)
        # The number of no event: whoever reads gets the gap there.
        self._last = self._began = self._last + 1

    def on_moves(self, moves: Sequence[Move], at: float) -> None:
        when = unix_seconds(at)
        for move in moves:
            event = _task_event(move, when)
            self._add("task", event.graph_uid, event)
        self._tell()

    def on_graph(self, graph: TaskGraph, happening: GraphHappening) -> None:
        at = unix_seconds(perf_counter())
        self._add("graph", graph.uid, GraphEvent(graph.uid, shown_name(graph.name), happening, at))
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
        self._add("log", line.graph_uid, LogEvent(_shortened(log_entry(line))))
        self._tell()

    def _add(self, kind: EventKind, graph_uid: int | None, event: Event) -> None:
        self._last = number = self._last + 1
        entries = self._entries
        entry = Entry(number, kind, graph_uid, event)
        entries.append(entry)
        self._bytes += entry.size
        limits = self._limits
        # The last one stays, however large, so that there is something to tell the gap before.
        while len(entries) > 1 and (
            len(entries) > limits.events or self._bytes > limits.events_bytes
        ):
            self._bytes -= entries.popleft().size

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()


def _task_event(move: Move, at: float) -> TaskEvent:
    task = move.task
    is_new = move.happening == "created"
    is_linked = is_new or move.happening == PREDECESSOR_ADDED
    began_at, ran_until = run_ended_by(move) or (None, None)
    return TaskEvent(
        graph_uid=task.graph.uid,
        uid=task.uid,
        name=shown_name(task.spec.name),
        function=shown_name(task.spec.function),
        state=move.state,
        happening=move.happening,
        at=at,
        attempt=move.attempts,
        worker=_worker_of(move),
        worker_loop=task.loop.name,
        began_at=unix_seconds_if(began_at),
        seconds=None if began_at is None or ran_until is None else max(0.0, ran_until - began_at),
        error=first_line(task) if move.state in ("failed", "skipped") else None,
        creator=task.creator.uid if is_new and task.creator is not None else None,
        predecessors=first_uids(task.predecessors) if is_linked else (),
    )


def _worker_of(move: Move) -> str | None:
    # Not the record's `worker_name`: it may have been given to another worker since.
    if move.attempt is not None:
        return move.attempt.worker.name
    return None if move.task.ran_in is None else move.task.ran_in.name


def _shortened(line: LogEntry) -> LogEntry:
    """A line with no more text than an event has; most are short and stay what they are."""
    most = LOG_EVENT_CHARACTERS_MAX
    exception, extra = line.exception, line.extra
    is_short = len(line.text) <= most and (exception is None or len(exception) <= most)
    if is_short and not extra:
        return line
    shown: dict[str, str] = {}
    room = most
    for name, value in extra.items():
        room -= len(name)
        if room <= 0:
            break
        shown[name] = cut(value, room)
        room -= len(value)
    return msgspec.structs.replace(
        line,
        text=cut(line.text, most),
        exception=None if exception is None else cut(exception, most),
        extra=shown,
    )


def _size_of(event: Event) -> int:
    """About how many bytes it takes until it is encoded; quick, since each event is asked."""
    match event:
        case TaskEvent():
            texts = getsizeof(event.name) + getsizeof(event.error)
            return _EVENT_BYTES + texts + _UID_BYTES * len(event.predecessors)
        case LogEvent(line):
            texts = getsizeof(line.text) + getsizeof(line.exception) + getsizeof(line.task_name)
            names = getsizeof(line.pathname) + getsizeof(line.logger)
            extra = sum(getsizeof(n) + getsizeof(v) + 50 for n, v in line.extra.items())
            return _EVENT_BYTES + texts + names + extra
        case _:
            return _EVENT_BYTES  # with names that are short, or cut


def _first_bytes(entries: Iterable[Entry]) -> list[Entry]:
    """Those of them that one chunk has room for: at least the first."""
    chunk: list[Entry] = []
    room = CHUNK_BYTES_MAX
    for entry in entries:
        room -= entry.size
        if room < 0 and chunk:
            break
        chunk.append(entry)
    return chunk


def encode_event(kind: EventKind, id_: str, event: Event) -> bytes:
    """One event of a stream: its JSON has no line breaks, so it is one line of data."""
    try:
        data = _encoder.encode(event)
    except UnicodeEncodeError:
        # Half a surrogate pair, which UTF-8 has no bytes for; one text must not end all streams.
        text = json.dumps(msgspec.to_builtins(event), ensure_ascii=False)
        data = text.encode("utf-8", "replace")
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id_.encode(), kind.encode(), data)


_encoder: Final = msgspec.json.Encoder()
