"""Frames of messages over a connected stream socket: the traffic between coordinator and worker.

A frame is four bytes of length, big-endian, and a msgpack array of messages. Sending never waits:
it hands the bytes to the kernel at once, from whichever thread has them, and what the kernel will
not take yet is kept in order and drained by a trio task. That saves a switch of tasks or threads
for every message there and back, which is most of what a small task costs. Reading can be done from
any thread too, and can wait there; who reads when is for its user to decide.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio

from trio_actor_graph.errors import PayloadError, ProtocolError

M = TypeVar("M")

FRAME_BYTES_MAX: Final = (1 << 32) - 1
"""The largest frame for a worker: what four bytes of length can say. An attempt travels with its
arguments and with the results of all its predecessors."""

REPORT_BYTES_MAX: Final = (1 << 30) + (1 << 26)
"""The largest frame from a worker: one value of the largest size (`payload.PAYLOAD_BYTES_MAX`, 1
GiB) and 64 MiB for all the rest of its message, such as a condition on five million tasks. The
coordinator reads nothing that says it is longer: workers run code that it does not trust."""

UNSENT_BYTES_MAX: Final = 1 << 26
"""How much may wait for the peer to read, 64 MiB, before threads that would send more wait too:
a few hundred times what the kernel holds, so that a peer that is busy for a moment holds up nobody,
and little beside what a worker process uses anyway."""

READ_BYTES: Final = 1 << 16
"""How much is read at once. For more than 128 KiB the C library may map memory anew each time, and
then a read of a hundred bytes costs 18 us instead of 1."""

READ_BYTES_MAX: Final = 1 << 18
"""The same after a read that got all it could take: what a Unix socket holds with the kernel's
usual buffer of 208 KiB."""

_HEADER_BYTES: Final = 4

_SEND_FLAGS: Final = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT

_encoder = msgspec.msgpack.Encoder()


def encode_frames(
    messages: Sequence[msgspec.Struct], bytes_max: int | None = None
) -> Iterable[bytes]:
    """The messages as one frame, or as several if one would be too large.

    Args:
        bytes_max: the largest frame that the peer reads; by default `FRAME_BYTES_MAX`.

    Raises:
        PayloadError: a single message is too large for a frame.
    """
    body = _encoder.encode(messages)
    if bytes_max is None:
        bytes_max = FRAME_BYTES_MAX
    if len(body) <= bytes_max:
        return (len(body).to_bytes(_HEADER_BYTES, "big") + body,)
    if len(messages) == 1:
        raise PayloadError(f"a message of {len(body):,} bytes; the limit is {bytes_max:,}")
    half = len(messages) // 2
    return (
        *encode_frames(messages[:half], bytes_max),
        *encode_frames(messages[half:], bytes_max),
    )


class FrameReader(Generic[M]):
    """Bytes in, lists of messages out, however the bytes are cut.

    Args:
        kind: the union of messages that may arrive.
        bytes_max: the largest frame that is read.
    """

    # A union of types is no type to a type checker.
    def __init__(self, kind: Any, bytes_max: int = REPORT_BYTES_MAX):
        self._bytes_max = bytes_max
        self._decoder: msgspec.msgpack.Decoder[list[M]] = msgspec.msgpack.Decoder(list[kind])
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """Take what has arrived and return the messages that are now complete.

        Raises:
            ProtocolError: what arrived is not a frame of these messages.
        """
        buffer = self._buffer
        buffer += data
        messages: list[M] = []
        at = 0
        while len(buffer) - at >= _HEADER_BYTES:
            size = int.from_bytes(buffer[at : at + _HEADER_BYTES], "big")
            if size > self._bytes_max:
                raise ProtocolError(f"a frame of {size:,} bytes; the limit is {self._bytes_max:,}")
            end = at + _HEADER_BYTES + size
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                messages += self._decode(view[at + _HEADER_BYTES : end])
            at = end
        if at:
            del buffer[:at]
        return messages

    def _decode(self, body: memoryview) -> list[M]:
        try:
            with body:
                return self._decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # not UTF-8; too deep
            raise ProtocolError(f"not a frame of messages: {error}") from error


class Link(Generic[M]):
    """One end of a link.

    Args:
        stream: connected; the link owns it from now on.
        kind: the union of messages that may arrive.
        sent_frame_bytes_max: the largest frame that the peer reads.
        received_frame_bytes_max: the largest frame that is read from it. The defaults of both are
            the coordinator's.

    Attributes:
        reading: held by whoever reads, also while waiting in a thread, where several threads do.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        kind: Any,
        *,
        sent_frame_bytes_max: int | None = None,
        received_frame_bytes_max: int = REPORT_BYTES_MAX,
    ):
        self._stream = stream
        self._sent_frame_bytes_max = sent_frame_bytes_max
        self._reader: FrameReader[M] = FrameReader(kind, received_frame_bytes_max)
        # A second descriptor for the same socket, to use it from any thread without waiting.
        self._socket = socket.fromfd(stream.socket.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(True)  # for `read`; all else says that it is not to wait
        self._descriptor = self._socket.fileno()
        self.reading = threading.Lock()
        self._lock = threading.Lock()
        self._read_bytes = READ_BYTES
        self._room = threading.Condition(self._lock)
        self._waiting = 0  # threads, for room
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._has_unsent = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._is_broken = False

    def send(self, messages: Sequence[msgspec.Struct]) -> None:
        """Send the messages as one frame, in order with earlier calls. Never waits.

        A link whose peer has gone swallows them: its end is told by the reader.
        """
        for frame in encode_frames(messages, self._sent_frame_bytes_max):
            with self._lock:
                self._send(frame)

    @property
    def has_room(self) -> bool:
        """Whether no more than `UNSENT_BYTES_MAX` waits for the peer to read."""
        return self._unsent_bytes <= UNSENT_BYTES_MAX

    @property
    def is_sending(self) -> bool:
        """Whether some thread, perhaps this one, is just about to send."""
        return self._lock.locked()

    def wait_for_room(self, seconds: float | None = None) -> None:
        """Wait until there is room, or for so many seconds.

        For threads other than trio's, which drains the link while they wait; and with no lock held
        that trio's thread may want, or not for long.
        """
        if self.has_room:
            return
        if not self._lock.acquire(timeout=-1 if seconds is None else seconds):
            return  # it is this thread's, which was interrupted while it sent
        try:
            self._waiting += 1
            try:
                self._room.wait_for(lambda: self.has_room, seconds)
            finally:
                self._waiting -= 1
        finally:
            self._lock.release()

    async def receive(self) -> AsyncGenerator[list[M], None]:
        """Whatever has arrived, batch by batch, until the peer closes its end.

        Raises:
            ProtocolError: the peer does not speak the protocol.
        """
        while True:
            await self.wait_readable()
            messages = self.read()
            if messages is None:
                return
            if messages:
                yield messages

    async def wait_readable(self) -> None:
        """Wait until `read` has something to tell."""
        with suppress(OSError, trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(self._descriptor)

    def read(self, *, waits: bool = False) -> list[M] | None:
        """The messages that have arrived; None at the end of the link.

        Args:
            waits: wait until something has arrived, perhaps only a part of a message. For threads,
                which `aclose` wakes.

        Raises:
            ProtocolError: the peer does not speak the protocol.
        """
        # The socket itself, not the stream: after a read that emptied it, asking it once more, as
        # the stream does, would cost a system call for each message there and back.
        try:
            data = self._socket.recv(self._read_bytes, 0 if waits else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            return None
        self._read_bytes = READ_BYTES if len(data) < READ_BYTES else READ_BYTES_MAX
        return self._reader.feed(data) if data else None

    async def drain(self) -> None:
        """Send what the kernel would not take at once; runs as long as the link is used."""
        while True:
            await self._has_unsent.wait()
            self._has_unsent = trio.Event()
            while self._unsent:
                try:
                    await trio.lowlevel.wait_writable(self._descriptor)
                except trio.ClosedResourceError:
                    return
                with self._lock:
                    self._push()

    @property
    def unsent_bytes(self) -> int:
        """How much waits for the peer to read."""
        return self._unsent_bytes

    async def aclose(self) -> None:
        with self._lock:
            self._break()
        trio.lowlevel.notify_closing(self._descriptor)
        with suppress(OSError):  # the peer has gone
            self._socket.shutdown(socket.SHUT_RD)
        with self.reading:  # a thread that waited there has let go of the descriptor
            self._socket.close()
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    def _send(self, frame: bytes) -> None:
        if self._is_broken:
            return
        self._unsent.append(memoryview(frame))
        self._unsent_bytes += len(frame)
        if len(self._unsent) == 1:
            self._push()
        if self._unsent:
            self._wake_drain()

    def _push(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent[0], _SEND_FLAGS)
                self._unsent_bytes -= sent
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._break()
        if self._waiting and self.has_room:
            self._room.notify_all()

    def _break(self) -> None:
        """Forget what can no longer be sent."""
        self._is_broken = True
        self._unsent.clear()
        self._unsent_bytes = 0
        self._room.notify_all()

    def _wake_drain(self) -> None:
        wake: Callable[[], None] = self._set_has_unsent
        try:
            in_trio = trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            in_trio = False
        if in_trio:
            wake()
        else:
            self._token.run_sync_soon(wake, idempotent=True)

    def _set_has_unsent(self) -> None:
        self._has_unsent.set()
