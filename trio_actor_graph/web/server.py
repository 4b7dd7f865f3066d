"""The server: its socket, its token and its life, inside the coordinator's own nursery."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trio_actor_graph.engine.sockets import private_folder
from trio_actor_graph.errors import GraphError
from trio_actor_graph.web.access import Access, new_token_at
from trio_actor_graph.web.connections import Connections
from trio_actor_graph.web.event_ring import EventRing
from trio_actor_graph.web.gate import Gate
from trio_actor_graph.web.graphs import Graphs
from trio_actor_graph.web.idempotency import IdempotencyKeys
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.openapi import openapi_document
from trio_actor_graph.web.routing import build_router
from trio_actor_graph.web.server_routes import package_version
from trio_actor_graph.web.table import ROUTES

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator

BACKLOG: Final = 128
SOCKET_NAME: Final = "http"
TOKEN_NAME: Final = "http-token"  # noqa: S105  the name of a file


class HttpServer:
    """A server that runs; made by `Coordinator.serve_http`.

    Attributes:
        url: where it is: "http://127.0.0.1:PORT"; "http://localhost" for a Unix socket.
        socket_path: its Unix socket; None where it listens at a port.
        token: what clients have to send; None where the socket's file decides who gets in.
        token_path: the file it is in.
        coordinator, limits: whose, and how much it takes on.
        graphs, ring, keys, access, connections, nursery, stopping, openapi: for its routes.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        place: _Place,
        hosts: Iterable[str],
        limits: HttpLimits,
        nursery: trio.Nursery,
    ):
        self.url = place.url
        self.socket_path = place.socket_path
        self.token = place.token
        self.token_path = place.token_path
        self.coordinator = coordinator
        self.limits = limits
        self.nursery = nursery
        self.stopping = trio.Event()
        self.graphs = Graphs(coordinator, limits, self.stopping)
        self.ring = EventRing(coordinator, limits)
        self.keys = IdempotencyKeys(limits)
        self.access = Access(place.token, place.port, hosts, place.is_remote, limits)
        self.openapi = _document(place.token is not None)
        self.connections = Connections(Gate(self, build_router(self, ROUTES)), limits)

    def __repr__(self) -> str:
        return f"<HttpServer {self.socket_path or self.url}>"


class _Place:
    """Where a server listens, and what it asks for.

    Attributes:
        is_remote: other machines may reach it.
    """

    def __init__(
        self,
        listening: socket.socket,
        url: str,
        *,
        socket_path: Path | None = None,
        port: int | None = None,
        token: str | None = None,
        token_path: Path | None = None,
        is_remote: bool = False,
    ):
        self.listening = listening
        self.url = url
        self.socket_path = socket_path
        self.port = port
        self.token = token
        self.token_path = token_path
        self.is_remote = is_remote


@asynccontextmanager
async def open_server(
    coordinator: Coordinator,
    socket_path: str | os.PathLike[str] | None,
    *,
    host: str,
    port: int | None,
    token_path: str | os.PathLike[str] | None,
    allow_remote: bool,
    hosts: Iterable[str],
    limits: HttpLimits,
) -> AsyncIterator[HttpServer]:
    """Serve a coordinator; see `Coordinator.serve_http`."""
    failure: BaseException | None = None
    with ExitStack() as stack:
        place = _open_place(stack, socket_path, host, port, token_path, allow_remote)
        # The body's exception is carried around the nursery, which would wrap it in a group.
        async with trio.open_nursery() as nursery:
            server = HttpServer(coordinator, place, hosts, limits, nursery)
            coordinator.add_observer(server.graphs)
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(place.listening))
            try:
                async with trio.open_nursery() as connections:
                    connections.start_soon(server.connections.serve, listener)
                    nursery.start_soon(server.ring.run)
                    try:
                        yield server
                    except BaseException as error:  # noqa: BLE001  it is raised below
                        failure = error
                    server.stopping.set()
                    await server.connections.stop()
                    connections.cancel_scope.cancel()
            finally:
                coordinator.remove_observer(server.graphs)
                server.connections.abort()
                nursery.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure


@cache
def _document(needs_token: bool) -> bytes:
    return openapi_document(ROUTES, package_version(), needs_token)


# ---- where it listens -------------------------------------------------------------------------


def _open_place(
    stack: ExitStack,
    socket_path: str | os.PathLike[str] | None,
    host: str,
    port: int | None,
    token_path: str | os.PathLike[str] | None,
    allow_remote: bool,
) -> _Place:
    if port is None:
        if token_path is not None:
            raise GraphError("a Unix socket has no token: its file says who may use it")
        path = Path(socket_path or f"{stack.enter_context(private_folder())}/{SOCKET_NAME}")
        listening = stack.enter_context(_unix_socket(path))
        return _Place(listening, "http://localhost", socket_path=path)
    if socket_path is not None:
        raise GraphError("give either socket_path or port")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise GraphError(f"port must be a number from 0 to 65535, not {port!r}")
    is_remote = not _is_loopback(host)
    if is_remote and not allow_remote:
        raise GraphError(
            f"{host!r} can be reached from other machines, and nothing of this is encrypted: "
            "say allow_remote=True if that is what you want"
        )
    listening = stack.enter_context(_tcp_socket(host, port))
    path = Path(token_path or f"{stack.enter_context(private_folder())}/{TOKEN_NAME}")
    token = new_token_at(path)
    bound = listening.getsockname()
    shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return _Place(
        listening,
        f"http://{shown}:{bound[1]}",
        port=bound[1],
        token=token,
        token_path=path,
        is_remote=is_remote,
    )


@contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """A socket that only its owner may connect to; its file goes at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        try:
            ours = _listen_at(listening, path)
        except FileExistsError as error:
            raise GraphError(f"cannot listen at {path}: it is in use") from error
        except OSError as error:
            raise GraphError(f"cannot listen at {path}: {error}") from error
        try:
            yield listening
        finally:
            with suppress(OSError):
                if path.lstat().st_ino == ours:
                    path.unlink()


def _listen_at(listening: socket.socket, path: Path) -> int:
    """Listen, and return the number of the socket's inode.

    The socket gets its name only when it listens, else another server that starts would take it for
    a dead one's. A link, unlike a rename, replaces nothing.
    """
    _remove_dead_socket(path)
    hidden = path.parent / f".{secrets.token_hex(4)}"
    listening.bind(os.fspath(hidden))
    try:
        # Nobody can connect before it listens, so it is never open to others.
        hidden.chmod(0o600)
        listening.listen(BACKLOG)
        os.link(hidden, path)
        return hidden.stat().st_ino
    finally:
        hidden.unlink()


def _remove_dead_socket(path: Path) -> None:
    """Remove the file of a server that was killed; not that of one that lives.

    Raises:
        OSError: no socket can have this path.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        found = None
        with suppress(FileNotFoundError):
            found = path.lstat()
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, BlockingIOError):
            return  # there is none; or it lives, and has much to do
        except ConnectionRefusedError:
            is_socket = found is not None and stat.S_ISSOCK(found.st_mode)
            if is_socket and found == path.lstat():  # nobody has taken it over meanwhile
                path.unlink()


@contextmanager
def _tcp_socket(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise GraphError(f"cannot listen at {host}:{port}: {error}") from error
    with listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError as error:
            raise GraphError(f"cannot listen at {host}:{port}: {error}") from error
        yield listening


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
