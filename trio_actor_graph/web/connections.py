"""Connections: hypercorn's trio worker, with bounds it does not have and answers that are ours.

`_Connection` and `_Protocol` are hypercorn's, with these differences:

- There is a bound for how many there are, for how long a request head may take, and for how long a
  client may take nothing. Hypercorn shields what it sends from cancellation, so a client that does
  not read would keep the server from stopping; here the socket is closed under it.
- HTTP/1.1 only: neither WebSockets nor HTTP/2, to which hypercorn would switch.
- What cannot be parsed is answered by a problem document.
- An answer given before the whole request was read is not lost: what still comes is read and
  dropped for a moment before the connection is closed, else the kernel would throw the answer away.
- A connection ends soon after its client has gone, whatever its handler waits for.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.logging import Logger
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from trio_actor_graph.complaints import complain
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.problems import (
    MEDIA_TYPE,
    ProblemRaised,
    encode_problem,
    protocol_problem,
)

LINGER_SECONDS: Final = 1.0
"""How long what a client still sends is read and dropped after the last answer to it."""

LEFT_SECONDS: Final = 1.0
"""How long a request may go on when its client has gone, or sends nothing more."""

CLOSE_SECONDS: Final = 1.0
"""How long answers under way may take to be sent when the server stops."""

TURNED_AWAY_MAX: Final = 16
"""How many that are too many are told so at a time; others are closed without a word, since whoever
does not listen has to be waited for, with a descriptor."""

App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application; its scope's `state` has this module's "connection"."""

LOGGER: Final = "trio_actor_graph.web"
"""The name of the logger that is told what goes wrong in a server."""


class Connections:
    """The open connections of one server."""

    def __init__(self, app: App, limits: HttpLimits):
        self._app = wrap_app(cast("Any", app), 0, "asgi")
        self._limits = limits
        self._config = _config(limits)
        self._context = WorkerContext(None)
        self._open: set[_BoundedStream] = set()
        self._all_gone = trio.Event()
        self._accepting = trio.CancelScope()
        self._turned_away = 0  # those who are being told so

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, listener: trio.SocketListener) -> None:
        """Serve whoever connects, until `stop` was called and all have gone."""
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(self._serve_one, [listener], handler_nursery=nursery)

    async def stop(self) -> None:
        """End all connections: at once where no answer is under way, else in a moment."""
        self._accepting.cancel()
        await self._context.terminated.set()
        with _shielded_for(CLOSE_SECONDS):
            while self._open:
                self._all_gone = trio.Event()
                await self._all_gone.wait()
        self.abort()

    def abort(self) -> None:
        """Close all sockets."""
        for stream in tuple(self._open):
            stream.abort()

    async def _serve_one(self, raw_stream: trio.SocketStream) -> None:
        if len(self._open) >= self._limits.connections:
            await self._turn_away(raw_stream)
            return
        stream = _BoundedStream(raw_stream, self._limits.write_seconds)
        self._open.add(stream)
        try:
            with stream.scope:
                connection = _Connection(
                    self._app, self._config, self._context, cast("Any", {}), cast("Any", stream)
                )
                await connection.run()
        except Exception:  # noqa: BLE001  it is told
            # Whatever a client sends, or a handler does, the others are served on.
            complain(LOGGER, logging.WARNING, "a connection has failed", exc_info=True)
        finally:
            stream.abort()
            self._open.discard(stream)
            if not self._open:
                self._all_gone.set()

    async def _turn_away(self, raw_stream: trio.SocketStream) -> None:
        if self._turned_away >= TURNED_AWAY_MAX:
            raw_stream.socket.close()
            return
        self._turned_away += 1
        try:
            await _tell_there_is_no_room(raw_stream)
        finally:
            self._turned_away -= 1


class _BoundedStream:
    """A connection's socket.

    Attributes:
        scope: in which the connection is served.
        lingers: the request that is being answered was not read to its end.
    """

    def __init__(self, stream: trio.SocketStream, write_seconds: float):
        self._stream = stream
        self._write_seconds = write_seconds
        self._reader_left = trio.Event()
        self._reader_left.set()
        self._is_closing = False
        self.socket = stream.socket
        self.scope = trio.CancelScope()
        self.lingers = False

    async def receive_some(self, bytes_max: int) -> bytes:
        if self._is_closing:
            return b""
        self._reader_left = trio.Event()
        try:
            data = await self._stream.receive_some(bytes_max)
            while data and self._drops_input():
                data = await self._stream.receive_some(bytes_max)
            return bytes(data)
        finally:
            self._reader_left.set()

    def _drops_input(self) -> bool:
        return self._is_closing  # which may have changed while it was read

    async def send_all(self, data: bytes) -> None:
        with trio.move_on_after(self._write_seconds) as scope:
            try:
                await self._stream.send_all(data)
            except trio.BusyResourceError:  # `send_eof` is under way: whoever sends has a lock
                raise trio.BrokenResourceError("it is being closed") from None
        if scope.cancelled_caught:
            self.abort()
            raise trio.BrokenResourceError(f"nothing was taken for {self._write_seconds:g} s")

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close it when the client has, or after a moment; what it still sends is dropped."""
        self.end_within(LINGER_SECONDS + LEFT_SECONDS)
        if self.lingers and not self._is_closing:
            self._is_closing = True
            with _shielded_for(LINGER_SECONDS):
                await self._drain()
        self.abort()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _drain(self) -> None:
        try:
            if not self._reader_left.is_set():
                await self._reader_left.wait()
                return
            while await self._stream.receive_some(65536):
                pass
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def end_within(self, seconds: float) -> None:
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + seconds)

    def abort(self) -> None:
        self.socket.close()


class _Protocol(H11Protocol):
    """HTTP/1.1, and nothing else."""

    stream_of_bytes: _BoundedStream

    async def _check_protocol(self, event: h11.Request) -> None:
        """No request changes the protocol."""

    async def _create_stream(self, request: h11.Request) -> None:
        if not request.target.isascii() or request.http_version not in (b"1.0", b"1.1"):
            await self._send_error_response(400)
            await self.send(Closed())
            return
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        plain = h11.Request(
            method=request.method,
            target=request.target,
            headers=headers,
            http_version=request.http_version,
        )
        await super()._create_stream(plain)

    async def _send_error_response(self, status_code: int) -> None:
        await self.send_problem(protocol_problem(status_code))

    async def send_problem(self, raised: ProblemRaised) -> None:
        """Answer a request that there is no more to read of, as the last one."""
        self.stream_of_bytes.lingers = True
        head, body = _problem_answer(raised)
        connection = cast("h11.Connection", self.connection)
        try:  # all of it before anything is waited for: a handler may want to answer too
            parts = [connection.send(e) for e in (head, h11.Data(data=body), h11.EndOfMessage())]
        except h11.LocalProtocolError:
            return  # it has answered
        await self.send(RawData(b"".join(part for part in parts if part)))

    @property
    def has_part_of_head(self) -> bool:
        """A request has begun to arrive, and nothing has been answered."""
        connection = self.connection
        is_idle = isinstance(connection, h11.Connection) and connection.their_state is h11.IDLE
        return is_idle and bool(connection.trailing_data[0])


class _Connection(TCPServer):
    """One connection: hypercorn's, which speaks only HTTP/1.1."""

    stream: Any  # a `_BoundedStream`, which is as much of a stream as is used of one

    async def run(self) -> None:
        socket = self.stream.socket
        try:
            async with TaskGroup() as task_group:
                self._task_group = task_group
                protocol = _Protocol(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(cast("Any", {"connection": self.stream})),
                    False,
                    parse_socket_addr(socket.family, socket.getpeername()),
                    parse_socket_addr(socket.family, socket.getsockname()),
                    self.protocol_send,
                )
                protocol.stream_of_bytes = self.stream
                self.protocol = cast("Any", protocol)
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()
                self.stream.end_within(LEFT_SECONDS)
        except OSError:
            pass  # it has gone
        finally:
            await self._close()

    async def _idle_timeout(self) -> None:
        protocol = cast("_Protocol", self.protocol)
        with trio.move_on_after(self.config.keep_alive_timeout):
            await self.context.terminated.wait()
        with trio.CancelScope(shield=True):
            if protocol.has_part_of_head and not self.context.terminated.is_set():
                await protocol.send_problem(ProblemRaised("request-timeout"))
            await self._initiate_server_close()


def _shielded_for(seconds: float) -> trio.CancelScope:
    return trio.CancelScope(deadline=trio.current_time() + seconds, shield=True)


def _config(limits: HttpLimits) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.logger_class = _Log
    config.h11_max_incomplete_size = limits.head_bytes
    config.keep_alive_timeout = limits.idle_seconds
    config.read_timeout = None  # it would cut long polls and streams, whose clients say nothing
    config.include_server_header = False
    return config


class _Log(Logger):
    """What hypercorn has to tell, which may not harm whoever serves."""

    async def log(self, level: int, message: str, *args: Any, **kwargs: Any) -> None:
        complain(LOGGER, level, message, *args, exc_info=bool(kwargs.get("exc_info")))

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        complain(LOGGER, logging.ERROR, message, *args, exc_info=True)

    async def critical(self, message: str, *args: Any, **kwargs: Any) -> None:
        await self.log(logging.CRITICAL, message, *args, **kwargs)

    async def error(self, message: str, *args: Any, **kwargs: Any) -> None:
        await self.log(logging.ERROR, message, *args, **kwargs)

    async def warning(self, message: str, *args: Any, **kwargs: Any) -> None:
        await self.log(logging.WARNING, message, *args, **kwargs)

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        await self.log(logging.INFO, message, *args, **kwargs)

    async def debug(self, message: str, *args: Any, **kwargs: Any) -> None:
        await self.log(logging.DEBUG, message, *args, **kwargs)


def _problem_answer(raised: ProblemRaised) -> tuple[h11.Response, bytes]:
    body = encode_problem(raised, "")
    headers = [
        ("content-type", MEDIA_TYPE),
        ("content-length", str(len(body))),
        ("connection", "close"),
        *raised.headers.items(),
    ]
    return h11.Response(status_code=raised.status, headers=headers), body


async def _tell_there_is_no_room(stream: trio.SocketStream) -> None:
    """Tell a client that there is no room, without waiting for what it wants."""
    raised = ProblemRaised("too-many-connections", headers={"Retry-After": "1"})
    head, body = _problem_answer(raised)
    writer = h11.Connection(h11.SERVER)
    answer = (writer.send(head) or b"") + (writer.send(h11.Data(data=body)) or b"")
    bounded = _BoundedStream(stream, LINGER_SECONDS)
    bounded.lingers = True
    try:
        with trio.move_on_after(2 * LINGER_SECONDS):
            await bounded.send_all(answer)
            await bounded.send_eof()
            await bounded.aclose()
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        bounded.abort()
