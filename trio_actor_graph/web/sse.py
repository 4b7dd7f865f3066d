"""Server-sent events: one reader's stream, from the ring to its connection.

A stream ends when its reader goes, or the server stops. One that cannot keep up gets a `gap`
instead of what was dropped meanwhile; it never holds up the run, nor other readers.

Its head, its beginning and its heartbeats have the id of the place it is at, so that a reader for
whom there was no event yet, or for a long time, comes back to that place as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_actor_graph.web.answers import EVENT_STREAM, Streamed
from trio_actor_graph.web.event_ring import Entry
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.waiting import first_of

if TYPE_CHECKING:
    from trio_actor_graph.web.server import HttpServer

GATHER_SECONDS: Final = 0.02
"""How long events are gathered after some were written: fifty writes a second look live, and each
costs 0.2 ms whatever is in it."""

RETRY_MILLISECONDS: Final = 1000
"""How long a browser waits before it connects again; long enough not to hammer a server that is
being restarted."""

_HEADERS: Final = (
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would wait for a full buffer
)


def stream_events(
    server: HttpServer, after: str | None, graph_uid: int | None, kinds: frozenset[str]
) -> Streamed:
    """A stream of events.

    Args:
        after: the id of the last event that the reader knows; None to begin with the next one.
        graph_uid: only those of this graph, and of workers; None for all.
        kinds: only these; empty for all.

    Raises:
        ProblemRaised: there are too many streams.
    """
    if server.ring.readers >= server.limits.subscribers:
        raise ProblemRaised("too-many-subscribers", headers={"Retry-After": "5"})

    def is_wanted(entry: Entry) -> bool:
        if graph_uid is not None and entry.graph_uid not in (graph_uid, None):
            return False
        return not kinds or entry.kind in kinds

    return Streamed(_Stream(server, after, is_wanted).write)


class _Stream:
    def __init__(self, server: HttpServer, after: str | None, is_wanted: Callable[[Entry], bool]):
        self._server = server
        self._after = after
        self._is_wanted = is_wanted

    async def write(self, receive: Any, send: Any) -> None:
        ring = self._server.ring
        self._number, gap = ring.begin_reading(self._after)
        self._send = send
        try:
            place = ring.id_of(self._number).encode()
            headers = (*_HEADERS, (b"last-event-id", place))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            begin = f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            if gap is None:
                begin += b"id: %b\n\n" % place
            else:
                begin += ring.encode_gap(gap, self._number)
            await self._write(begin)
            await first_of(self._write_events, lambda: _gone(receive), self._server.stopping.wait)
            if not self._server.stopping.is_set():
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            ring.end_reading()

    async def _write_events(self) -> None:
        ring, seconds = self._server.ring, self._server.limits.heartbeat_seconds
        while True:
            with trio.move_on_at(self._written_at + seconds):
                await ring.wait_after(self._number)
            while await self._write_chunk():
                pass
            # Not only where nothing happens: what happens may be nothing that is wanted here.
            if trio.current_time() >= self._written_at + seconds:
                await self._write(f": alive\nid: {ring.id_of(self._number)}\n\n".encode())
            await trio.sleep(GATHER_SECONDS)

    async def _write_chunk(self) -> bool:
        """Write the next events; returns whether there were any to go through."""
        ring = self._server.ring
        chunk = ring.take(self._number)
        if chunk is None:
            return False
        data = b"" if chunk.gap is None else ring.encode_gap(chunk.gap, chunk.after)
        self._number = chunk.last
        data += ring.encode(list(filter(self._is_wanted, chunk.entries)))
        if data:
            await self._write(data)
        else:
            await trio.lowlevel.checkpoint()
        return True

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._written_at = trio.current_time()


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
