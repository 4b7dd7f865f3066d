"""The way of descriptors from a worker to the coordinator: a datagram socket for each worker.

A descriptor goes ahead of the report that refers to it, and stays in the socket until the
coordinator has read that report; so it outlives the worker that has sent it, as the report does.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from trio_actor_graph.buffers.layout import IDENTITY
from trio_actor_graph.buffers.pool import SegmentPool, is_supported

HAND_OVER_SECONDS: Final = 0.2
"""How long a worker waits for room to hand over a descriptor, before the value takes the link."""

_DESCRIPTOR: Final = struct.Struct("i")


class SegmentSender:
    """A worker's end.

    Args:
        path: where the other end is.
        flush: sends what the worker has to report: the coordinator makes room when it reads that.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: str, flush: Callable[[], None]):
        self._flush = flush
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise

    def hand_over(self, identity: int, descriptor: int) -> None:
        """Send a descriptor with the identity of the value; from any thread.

        Raises:
            OSError: it cannot be sent.
        """
        try:
            self._send(identity, descriptor)
        except BlockingIOError:  # the kernel lets ten wait
            self._flush()
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            poll.poll(HAND_OVER_SECONDS * 1000)
            self._send(identity, descriptor)

    def close(self) -> None:
        self._socket.close()

    def _send(self, identity: int, descriptor: int) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(descriptor))
        self._socket.sendmsg([IDENTITY.pack(identity)], [rights], socket.MSG_DONTWAIT)


class SegmentReceiver:
    """The coordinator's end. It is read only when a reference asks for what is in it.

    So no more waits here than the kernel lets wait, whatever the worker does.

    Raises:
        OSError: there is no descriptor or no place for it.
    """

    def __init__(self, path: str):
        self._path = path
        self._handed: dict[int, int] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(path)
        except BaseException:
            self._socket.close()
            raise

    def take(self, identity: int) -> int | None:
        """The descriptor that was handed over for an identity; None if none was.

        Raises:
            OSError: it was, and this process may not have any more of them.
        """
        while identity not in self._handed:
            try:
                self._receive()
            except BlockingIOError:
                return None
        descriptor = self._handed.pop(identity)
        if descriptor < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return descriptor

    def close(self) -> None:
        """Let go what nobody has taken. What is still in the socket goes with it."""
        self._socket.close()
        for descriptor in self._handed.values():
            if descriptor >= 0:
                os.close(descriptor)
        self._handed.clear()
        with suppress(OSError):
            Path(self._path).unlink()

    def _receive(self) -> None:
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        room = socket.CMSG_SPACE(_DESCRIPTOR.size)
        data, ancillary, _, _ = self._socket.recvmsg(IDENTITY.size, room, flags)
        came = [d for _, _, rights in ancillary for (d,) in _DESCRIPTOR.iter_unpack(rights)]
        unwanted = came[1:]
        if len(data) == IDENTITY.size:
            (identity,) = IDENTITY.unpack(data)
            unwanted.append(self._handed.pop(identity, -1))
            # None has come if there was no room for it in this process.
            self._handed[identity] = came[0] if came else -1
        else:
            unwanted += came[:1]
        for descriptor in unwanted:
            if descriptor >= 0:
                os.close(descriptor)


def open_receiver(begun_path: str) -> SegmentReceiver | None:
    """The coordinator's end for the worker that notes there what it has begun.

    None where it is not to hand over anything: there is no shared memory, or no descriptor left.
    """
    try:
        return SegmentReceiver(_socket_path(begun_path)) if is_supported() else None
    except OSError:
        return None


def open_worker_pool(begun_path: str, flush: Callable[[], None]) -> SegmentPool | None:
    """A worker's pool; None where there is nobody to hand over anything to."""
    try:
        sender = SegmentSender(_socket_path(begun_path), flush)
    except OSError:
        return None
    return SegmentPool(sender)


def _socket_path(begun_path: str) -> str:
    return f"{begun_path}-large"
