"""Making segments, and using their memory again.

New memory is written by `pwrite`, which costs a third of what a mapping does and tells that there
is none left by an error, not by a signal; memory that is there already is written through a
mapping. A seal sees to it that no segment gets shorter under one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import pickle
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from trio_actor_graph.buffers.layout import IDENTITY, IDENTITY_AT, layout_size, parts
from trio_actor_graph.buffers.segment import (
    NAME,
    Reference,
    SegmentGone,
    decode_reference,
    open_segment,
)

SHARED_MEMORY_PART: Final = 0.5
"""Which part of the machine's memory one value may take in shared memory."""

SPARE_BYTES_MAX: Final = 1 << 28
"""How much memory without a value, 256 MiB, a process keeps to use it again."""

SPARE_SECONDS: Final = 1.0
"""How long it keeps that: so long at least, and not twice as long."""

MADE_MAX: Final = 32
"""How many segments a process remembers to have made, and so may use again."""

COPIED_BYTES: Final = 1 << 23
"""How much is copied at once, 8 MiB in half a millisecond, while other Python threads wait."""


class Sender(Protocol):
    """What hands over descriptors; they are closed here afterwards."""

    def hand_over(self, identity: int, descriptor: int) -> None:
        """Hand over the descriptor of the segment that holds this value."""
        ...


class SegmentPool:
    """Makes segments, in any thread, and uses their memory again.

    Args:
        sender: hands over descriptors to the coordinator's process; without it they are for this
            one, see `take`.

    Attributes:
        bytes_max: the largest value that it takes.
    """

    def __init__(self, sender: Sender | None = None):
        self._sender = sender
        self._lock = threading.Lock()
        self._made: list[_Made] = []
        self._handed: dict[int, int] = {}
        self._issued: list[tuple[bytes, int]] = []
        self._next_identity = int.from_bytes(os.urandom(7), "big") + 1
        self._is_closed = False
        self.bytes_max = int(
            os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * SHARED_MEMORY_PART
        )

    def put(self, pickled: bytes, buffers: Sequence[pickle.PickleBuffer]) -> bytes | None:
        """Put a value into shared memory and hand it over.

        Returns:
            The reference to it; None if that was not possible, for want of memory or descriptors.
        """
        size = layout_size(pickled, buffers)
        try:
            made = self._get(size)
        except OSError:
            return None
        try:
            identity = self._new_identity()
            made.write_layout(identity, pickled, buffers, size)
            descriptor = self._share(made, identity)
        except BaseException as error:
            self._drop(made)
            if isinstance(error, OSError):
                return None
            raise
        reference = Reference(os.getpid(), descriptor, identity, size).encode()
        with self._lock:
            made.is_busy = False
            if made not in self._made:  # forgotten, or the pool was closed meanwhile
                made.close()
            if self._sender is None:
                self._handed[identity] = descriptor
            else:
                self._issued.append((reference, descriptor))
        return reference

    def take(self, identity: int) -> int | None:
        """The descriptor of what was put in this process."""
        return self._handed.pop(identity, None)

    def trim(self) -> bool:
        """Let go what has not been used for a while.

        Returns:
            Whether there is nothing more that could become of no use.
        """
        with self._lock:
            self._close_issued()
            for made in self._made[:]:
                if not made.is_free():
                    made.unmap()
                    made.seen_free = False
                elif made.seen_free:
                    self._remove(made)
                else:
                    made.seen_free = True
            return not self._made

    def close(self) -> None:
        """Let everything go; what others have of it remains theirs."""
        with self._lock:
            self._is_closed = True
            for made in self._made:
                if not made.is_busy:
                    made.close()
            self._made.clear()
            for descriptor in (*self._handed.values(), *(issued[1] for issued in self._issued)):
                os.close(descriptor)
            self._handed.clear()
            self._issued.clear()

    def _get(self, size: int) -> _Made:
        """A segment nobody else has, of about that size or to become so."""
        with self._lock:
            self._close_issued()
            fitting = [made for made in self._made if made.size <= 2 * size]
            for made in sorted(fitting, key=lambda made: -made.size):
                if made.is_free(to_use_it=True):
                    return made
            self._make_room()
            made = _Made()
            if not self._is_closed:
                self._made.append(made)
            return made

    def _make_room(self) -> None:
        """Let go the oldest of what does not fit, so that there is not too much of it."""
        free = [made for made in self._made if made.is_free()]
        spare_bytes = sum(made.size for made in free)
        while free and (spare_bytes > SPARE_BYTES_MAX or len(self._made) >= MADE_MAX):
            spare_bytes -= free[0].size
            self._remove(free.pop(0))
        in_use = [made for made in self._made if not made.is_busy]
        while in_use and len(self._made) >= MADE_MAX:
            self._remove(in_use.pop(0))  # it will not be used again

    def _new_identity(self) -> int:
        with self._lock:
            self._next_identity += 1
            return self._next_identity

    def _share(self, made: _Made, identity: int) -> int:
        """A descriptor that holds the lock, for the references in this process; hand it over."""
        descriptor = os.open(f"/proc/self/fd/{made.descriptor}", os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if self._sender is not None:
                self._sender.hand_over(identity, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _close_issued(self) -> None:
        """Close the descriptors of references that nobody in this process has any more.

        A worker needs them until it has reported the value, and as long as other tasks of its may
        ask for it, of whom the coordinator knows nothing yet.
        """
        still: list[tuple[bytes, int]] = []
        for issued in self._issued:
            if sys.getrefcount(issued[0]) > 2:  # in the pair, and the argument
                still.append(issued)
            else:
                os.close(issued[1])
        self._issued = still

    def _drop(self, made: _Made) -> None:
        with self._lock:
            self._remove(made)

    def _remove(self, made: _Made) -> None:
        with suppress(ValueError):
            self._made.remove(made)
        made.close()


class _Made:
    """A segment that this process has made.

    Attributes:
        size: how much of it was touched.
        is_busy: something is being written into it.
        seen_free: when it was looked at last, nobody had it.
    """

    __slots__ = ("_mapping", "descriptor", "is_busy", "seen_free", "size")

    def __init__(self) -> None:
        self.descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.size = 0
        self.seen_free = False
        self.is_busy = True
        self._mapping: mmap.mmap | None = None

    def is_free(self, *, to_use_it: bool = False) -> bool:
        """Whether nobody else has it; if so, it may be taken to write another value into it."""
        if self.is_busy:
            return False
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if to_use_it:  # who comes late finds no value, as soon as he can have the lock
            os.pwrite(self.descriptor, bytes(IDENTITY.size), IDENTITY_AT)
            self.is_busy = True
            self.seen_free = False
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        return True

    def write_layout(
        self, identity: int, pickled: bytes, buffers: Sequence[pickle.PickleBuffer], size: int
    ) -> None:
        """Write a layout over whatever is here."""
        if self._mapping is None and self.size >= size:
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            self._mapping = mmap.mmap(self.descriptor, self.size, flags)
        for at, part in parts(identity, pickled, buffers):
            self._write(part, at)
        self.size = max(self.size, size)

    def _write(self, data: memoryview, at: int) -> None:
        mapping = self._mapping
        if mapping is not None and at + len(data) <= len(mapping):
            for begin in range(0, len(data), COPIED_BYTES):
                part = data[begin : begin + COPIED_BYTES]
                mapping[at + begin : at + begin + len(part)] = part
            return
        while data:
            written = os.pwrite(self.descriptor, data, at)
            data, at = data[written:], at + written

    def unmap(self) -> None:
        """Its memory is not to count as this process's while others use it."""
        if self._mapping is not None and not self.is_busy:
            self._mapping.close()
            self._mapping = None

    def close(self) -> None:
        self.is_busy = False
        self.unmap()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def is_supported() -> bool:
    """Whether segments can be made here, and opened by other processes of this user.

    Those of a process that may not be looked into (PR_SET_DUMPABLE) cannot be opened.
    """
    try:
        if Path("/proc/self/fd").stat().st_uid != os.geteuid():
            return False
        pool = SegmentPool()
        try:
            reference = pool.put(b"", ())
            if reference is None:
                return False
            found = decode_reference(reference)
            os.close(open_segment(found.path, found.identity))
        finally:
            pool.close()
    except (AttributeError, OSError, SegmentGone, ValueError):
        return False
    return True


def open_pool() -> SegmentPool | None:
    """A pool for this process itself; None where there is no shared memory."""
    return SegmentPool() if is_supported() else None
