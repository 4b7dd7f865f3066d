"""Following events: one stream after the other, as if it had been one.

A stream may end at any time, since networks and servers do. The next one begins after the last
event that was received, and what was lost for good is told as a `GapEvent`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import httpx
import msgspec
import trio

from trio_actor_graph.client.requests import RequestFailed, given, problem_of
from trio_actor_graph.web.types import Event

SILENCE_SECONDS: Final = 45.0
"""How long a stream may be silent before it is taken for dead: three heartbeats."""

RETRY_SECONDS: Final = 0.2
"""How long to wait before the first try to connect again; it doubles, up to `RETRY_SECONDS_MAX`."""

RETRY_SECONDS_MAX: Final = 5.0
"""See `RETRY_SECONDS`."""

GIVE_UP_SECONDS: Final = 60.0
"""How long a server may be away until that is an error: it was perhaps restarted."""

CLOSE_SECONDS: Final = 2.0
"""How long the end of a stream may take, which is not cancelled: with TLS the server is told."""

_MEANWHILE: Final = frozenset({429, 502, 503, 504})


class Events(AsyncIterator[Event]):
    """The events of a server, from now on or from a known one on. Use it by `async with`.

    Attributes:
        last_id: the id of the last event that was returned; where another one may begin.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        path: str,
        parameters: Mapping[str, object],
        after: str | None,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ):
        self._http = http
        self._path = path
        self._parameters = given(parameters)
        self._give_up_seconds = give_up_seconds
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._text = b""
        self._received: deque[tuple[str, Event]] = deque()
        self._resume_at = after
        self._is_closed = False
        self._failures = 0  # since something was received
        self._away_since = 0.0
        self.last_id = after

    async def __aenter__(self) -> Events:
        await self._connect_again()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Event:
        """The next event; after `aclose` there is none.

        Raises:
            RequestFailed: the server refuses; for the events of a graph also when that is gone.
            httpx.TransportError: the server has been away for too long.
        """
        if self._is_closed:
            raise StopAsyncIteration
        while not self._received:
            if self._chunks is None:
                await self._connect_again()
            assert self._chunks is not None
            try:
                data = await anext(self._chunks)
            except (StopAsyncIteration, httpx.TransportError) as error:
                await self._disconnect()
                await self._pause_after(_as_transport_error(error))
            else:
                self._failures = 0
                self._take(data)
        self.last_id, event = self._received.popleft()
        return event

    async def aclose(self) -> None:
        """End the stream; does nothing if it has ended."""
        self._is_closed = True
        await self._disconnect()

    async def _connect_again(self) -> None:
        while self._chunks is None:
            try:
                await self._connect()
            except (httpx.TransportError, RequestFailed) as error:
                if isinstance(error, RequestFailed) and error.status not in _MEANWHILE:
                    raise
                await self._pause_after(error)

    async def _pause_after(self, error: httpx.TransportError | RequestFailed) -> None:
        """Wait before the next try: the longer, the more have brought nothing; or raise the error.

        A stream that ended at once has brought nothing as well, however often there is another.
        """
        now = trio.current_time()
        if not self._failures:
            self._away_since = now
        pause = min(RETRY_SECONDS * 2.0**self._failures, RETRY_SECONDS_MAX)
        self._failures += 1
        if now + pause > self._away_since + self._give_up_seconds:
            self._failures = 0
            raise error
        await trio.sleep(pause)

    async def _connect(self) -> None:
        headers = {"Accept": "text/event-stream"}
        if self._resume_at is not None:
            headers["Last-Event-ID"] = self._resume_at
        timeout = httpx.Timeout(SILENCE_SECONDS)
        request = self._http.build_request(
            "GET", self._path, params=self._parameters, headers=headers, timeout=timeout
        )
        response = await self._http.send(request, stream=True)
        if response.is_error:
            await response.aread()
            raise RequestFailed(problem_of(response))
        self._response = response
        self._chunks = response.aiter_raw()
        self._text = b""
        # If it knew a place, what it has missed since is told first, and may still be lost.
        if self._resume_at is None:
            self._resume_at = response.headers.get("Last-Event-ID")

    async def _disconnect(self) -> None:
        response, chunks = self._response, self._chunks
        self._response = self._chunks = None
        if response is None or chunks is None:
            return
        with (
            trio.move_on_after(CLOSE_SECONDS) as scope,
            suppress(httpx.HTTPError, httpx.StreamError),
        ):
            scope.shield = True
            await response.aclose()
            # httpx leaves its generators to the garbage collector, of which trio complains; once
            # the connection has been closed, going on ends them.
            async for _ in chunks:
                pass

    def _take(self, data: bytes) -> None:
        *whole, self._text = (self._text + data).split(b"\n\n")
        for block in whole:
            parts = [line.partition(b": ") for line in block.split(b"\n")]
            fields = {name: value for name, _, value in parts}
            if (place := fields.get(b"id")) is not None:  # also of a block without an event
                self._resume_at = place.decode()
            if self._resume_at is not None and (encoded := fields.get(b"data")) is not None:
                self._received.append((self._resume_at, _decoder.decode(encoded)))


def _as_transport_error(error: Exception) -> httpx.TransportError:
    """Why a stream has ended; its regular end is none that anybody wanted."""
    if isinstance(error, httpx.TransportError):
        return error
    return httpx.RemoteProtocolError("the server has ended the stream of events")


_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Event)
