"""The private folder in which workers find their coordinator, and the socket in it.

A worker is let in by what only it can have: it runs as the same user (the folder is 0700, and on
Linux the kernel says whose process is calling), and it knows the **secret** that was put into its
environment when it was spawned. Pickles travel on the connection that follows, so anybody else is
dropped before a byte of his is looked at.

`link` takes one connection per worker, on which tasks travel; `accept` hands it over.

A coordinator that is killed cannot remove its folder, so each coordinator removes those of dead
ones. Which are dead is told by a lock (`flock`) on the folder itself, because the kernel drops a
lock with its process, and a number such as a pid would be used again. Between the creation of a
folder and its lock somebody else may take the folder for a dead one's: whoever makes a folder
checks after locking that it is still there, and else makes another.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import socket
import stat
import struct
import sys
import tempfile
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from pathlib import Path

import trio

from trio_actor_graph.worker import boot

FOLDER_PREFIX = "trio-actor-graph-"

# sockaddr_un holds 108 bytes on Linux and 104 elsewhere, with a zero at the end.
SOCKET_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103
# Room for the longest name of a socket within a folder: tractor's git main keeps its own there.
SOCKET_NAME_BYTES_MAX = 32

SECRET_BYTES = 24
# A worker says hello at once after it has connected; this is for a machine that swaps.
HELLO_TIMEOUT_SECONDS = 10
# Workers connect in bursts, when a loop of many processes starts.
BACKLOG = 512

# How long to wait when there are no descriptors left for a new connection.
ACCEPT_RETRY_SECONDS = 0.1
_NO_ROOM_NOW = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

_SECRET_LENGTH = len(secrets.token_hex(SECRET_BYTES))


@contextlib.asynccontextmanager
async def open_worker_sockets() -> AsyncGenerator[WorkerSockets]:
    """Opens the socket in a new private folder; removes both at the end in every case."""
    await trio.to_thread.run_sync(remove_stale_folders)
    failure: BaseException | None = None
    with private_folder() as folder:
        sockets = WorkerSockets(folder)
        try:
            async with trio.open_nursery() as nursery:
                await sockets.listen(nursery)
                try:
                    yield sockets
                except BaseException as error:  # noqa: BLE001 - raised again below
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            sockets.close()
    # Raised here, because the nursery would wrap the body's exception into a group.
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame


class WorkerSockets:
    """Where workers connect. Made by `open_worker_sockets`.

    Attributes:
        folder: the private folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._expected: dict[str, _Expected] = {}
        self._listener: trio.SocketListener | None = None
        _open_sockets.add(self)

    def new_secret(self) -> str:
        """Returns the secret for one worker, which may connect from now on.

        It is valid until `accept` has ended, in any way, or `forget` was called.
        """
        secret = secrets.token_hex(SECRET_BYTES)
        self._expected[secret] = _Expected()
        return secret

    def environment(self, secret: str) -> dict[str, str]:
        """Returns the environment variables by which a worker finds and convinces us."""
        return {
            boot.FOLDER_VARIABLE: self.folder,
            boot.OWNER_VARIABLE: str(os.getpid()),
            boot.SECRET_VARIABLE: secret,
        }

    async def accept(self, secret: str) -> trio.SocketStream:
        """Waits for the worker that presents this secret and returns its connection.

        The worker may have connected before the call. However the call ends, the secret ends with
        it.
        """
        expected = self._expected[secret]
        try:
            await expected.arrived.wait()
            stream, expected.stream = expected.stream, None
            assert stream is not None
            return stream
        finally:
            self.forget(secret)

    def forget(self, secret: str) -> None:
        """Makes the secret worthless; a connection that nobody has accepted is closed."""
        expected = self._expected.pop(secret, None)
        if expected is not None and expected.stream is not None:
            expected.stream.socket.close()

    async def listen(self, nursery: trio.Nursery) -> None:
        """Lets workers connect; for `open_worker_sockets`."""
        self._listener = await _open_listener(f"{self.folder}/{boot.LINK_SOCKET}")
        nursery.start_soon(_accept_all, self._listener, self._greet, nursery)

    def close(self) -> None:
        """Ends all connections that were not accepted."""
        if self._listener is not None:
            self._listener.socket.close()
        for secret in list(self._expected):
            self.forget(secret)

    @trio.lowlevel.enable_ki_protection
    async def _greet(self, stream: trio.SocketStream) -> None:
        """Finds out who has connected; drops everybody who is not expected."""
        secret = None
        try:
            if _is_our_user(stream):
                with trio.move_on_after(HELLO_TIMEOUT_SECONDS):
                    secret = await _read_secret(stream)
        finally:
            if not self._hand_over(secret, stream):
                stream.socket.close()

    def _hand_over(self, presented: bytes | None, stream: trio.SocketStream) -> bool:
        if presented is None:
            return False
        for secret, expected in self._expected.items():
            if secrets.compare_digest(secret.encode("ascii"), presented):
                if expected.stream is not None or expected.arrived.is_set():
                    return False
                expected.stream = stream
                expected.arrived.set()
                return True
        return False

    def drop_after_fork(self) -> None:
        """Closes our descriptors in a forked child, whose copies would keep connections open."""
        sockets = [
            expected.stream.socket for expected in self._expected.values() if expected.stream
        ]
        if self._listener is not None:
            sockets.append(self._listener.socket)
        for open_socket in sockets:
            with contextlib.suppress(OSError):
                os.close(open_socket.detach())


class _Expected:
    """A worker that has been given its secret."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.stream: trio.SocketStream | None = None


async def _open_listener(path: str) -> trio.SocketListener:
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    try:
        await listening.bind(path)
        listening.listen(BACKLOG)
        return trio.SocketListener(listening)
    except BaseException:
        listening.close()
        raise


@trio.lowlevel.enable_ki_protection
async def _accept_all(
    listener: trio.SocketListener,
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    nursery: trio.Nursery,
) -> None:
    """Gives each connection to the handler; unlike trio.serve_listeners it leaves closing to it."""
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in _NO_ROOM_NOW:
                raise
            await trio.sleep(ACCEPT_RETRY_SECONDS)
        else:
            nursery.start_soon(handler, stream)


async def _read_secret(stream: trio.SocketStream) -> bytes | None:
    """Reads up to the newline and not a byte further: what follows are frames."""
    line = b""
    try:
        while len(line) <= _SECRET_LENGTH and not line.endswith(b"\n"):
            chunk = await stream.receive_some(_SECRET_LENGTH + 1 - len(line))
            if not chunk:
                return None
            line += chunk
    except trio.BrokenResourceError:
        return None
    return line[:-1] if line.endswith(b"\n") else None


def _is_our_user(stream: trio.SocketStream) -> bool:
    """Asks the kernel who is calling; where it cannot be asked, the folder's mode must do."""
    if sys.platform != "linux":
        return True
    layout = struct.Struct("3i")  # struct ucred: pid, uid, gid
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    _, uid, _ = layout.unpack(credentials)
    return bool(uid == os.geteuid())


# Folders


@contextlib.contextmanager
def private_folder() -> Generator[str]:
    """Makes a folder that only its owner can enter, locked as ours, and removes it at the end."""
    folder, lock = _make_folder()
    _folder_locks.add(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _folder_locks.discard(lock)
        os.close(lock)


def remove_stale_folders() -> None:
    """Removes the folders left by coordinators of this user that were killed."""
    for parent in _parents():
        try:
            with os.scandir(parent) as entries:
                names = [entry.path for entry in entries if entry.name.startswith(FOLDER_PREFIX)]
        except OSError:
            continue
        for path in names:
            _remove_if_stale(path)


def _make_folder() -> tuple[str, int]:
    while True:
        folder = _make_unlocked_folder()
        lock = _lock_folder(folder)
        if lock is not None:
            return folder, lock
        # Somebody who cleaned up took it for a dead one's before it was locked.


def _make_unlocked_folder() -> str:
    problems: list[str] = []
    for parent in _parents():
        try:
            folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent)
        except OSError as error:
            problems.append(str(error))
            continue
        if len(os.fsencode(folder)) + 1 + SOCKET_NAME_BYTES_MAX <= SOCKET_PATH_BYTES_MAX:
            return folder
        Path(folder).rmdir()
        problems.append(f"{folder} is too long for the path of a socket")
    raise OSError(f"no place for a private folder: {'; '.join(problems)}")


def _parents() -> Iterator[str]:
    """Yields the places for private folders, best first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_absolute() and _is_our_folder(runtime):
        yield runtime
    yield tempfile.gettempdir()
    yield "/tmp"  # noqa: S108 - the folder made in it is private


def _lock_folder(folder: str) -> int | None:
    """Returns a descriptor that holds the folder's lock; None when the folder is not ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.lstat(folder)):
            return descriptor
    except OSError:  # locked by its owner, or removed
        pass
    os.close(descriptor)
    return None


def _remove_if_stale(folder: str) -> None:
    if not _is_our_folder(folder):
        return
    lock = _lock_folder(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _is_our_folder(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


# Forks of the coordinator, such as multiprocessing's, get copies of all descriptors. A copy of a
# connection keeps it open, a copy of a lock keeps a folder, after the coordinator has ended.
_open_sockets: weakref.WeakSet[WorkerSockets] = weakref.WeakSet()
_folder_locks: set[int] = set()


def _drop_after_fork() -> None:
    for sockets in list(_open_sockets):
        sockets.drop_after_fork()
    for lock in _folder_locks:
        with contextlib.suppress(OSError):
            os.close(lock)
    _folder_locks.clear()


os.register_at_fork(after_in_child=_drop_after_fork)
