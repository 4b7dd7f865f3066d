"""Segments as they are mapped in this process, to be looked at.

A mapping lives as long as anybody looks at a part of it; and in a worker somewhat longer, since the
next value may be in the same memory, or the next task may need the same value, and to map it anew
costs as much as to read it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import threading
from typing import Any, Final
from weakref import WeakSet

from trio_actor_graph.buffers import layout
from trio_actor_graph.buffers.layout import IDENTITY, IDENTITY_AT
from trio_actor_graph.buffers.segment import (
    Reference,
    decode_reference,
    descriptors_max,
    is_reference,
    open_segment,
    read_segment,
)

WINDOWS_MAX: Final = 8
"""How many mappings of segments a worker keeps, used or not, so that it need not make them anew."""


def loads(encoded: bytes) -> Any:
    """The value of a layout, or of a reference to one."""
    view = windows.look(encoded) if is_reference(encoded) else memoryview(encoded)
    return layout.loads(view)


class Windows:
    """The segments that are mapped in this process; for use in any thread.

    Attributes:
        keeps: mappings that nobody looks at are kept until `trim`, which has to be called then.
    """

    def __init__(self) -> None:
        self.keeps = False
        self._lock = threading.Lock()
        self._kept: list[_Window] = []  # the last used one last
        self._mapped: WeakSet[mmap.mmap] = WeakSet()  # the others

    def look(self, reference: bytes) -> memoryview:
        """The layout that a reference refers to.

        Raises:
            SegmentGone: it is not there any more.
        """
        _, _, identity, size = found = decode_reference(reference)
        if self.keeps:
            with self._lock:
                view = self._look(found)
            if view is not None:
                return view
        descriptor = open_segment(found.path, identity)
        try:
            if len(self._mapped) >= descriptors_max():
                return memoryview(read_segment(descriptor, size))
            mapping = mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._mapped.add(mapping)
        return memoryview(mapping)

    @property
    def is_busy(self) -> bool:
        """Whether some thread, perhaps this one, is just at work on the windows."""
        return self._lock.locked()

    def unlock_unused(self) -> None:
        """Let the makers of segments that nobody looks at write other values into them."""
        if self._kept:
            with self._lock:
                self._unlock_unused()

    def trim(self) -> None:
        """Let go what nobody has looked at for a while."""
        with self._lock:
            self._unlock_unused()
            for window in self._kept[:]:
                if window.seen_unused:
                    self._remove(window)
                else:
                    window.seen_unused = not window.is_locked

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        """Leave all mappings to those who look at them, here and in the child.

        Both have the same open files, so to unlock one here would unlock it under the child.
        """
        kept, self._kept = self._kept, []
        for window in kept:
            os.close(window.descriptor)
        self._lock.release()

    def _look(self, reference: Reference) -> memoryview | None:
        """The same by a mapping that is kept; None if that is not possible."""
        _, _, identity, size = reference
        for window in self._kept:
            if window.is_locked and window.identity == identity:
                return self._used(window)
        self._unlock_unused()
        try:
            inode = os.stat(reference.path).st_ino  # noqa: PTH116  it may be called often
        except OSError:
            return None
        for window in self._kept:
            if window.inode == inode and not window.is_locked:
                if window.size >= size and window.lock(identity):
                    return self._used(window)
                self._remove(window)
                break
        if len(self._kept) >= WINDOWS_MAX:
            unused = next((window for window in self._kept if not window.is_locked), None)
            if unused is None:
                return None
            self._remove(unused)
        window = _Window(open_segment(reference.path, identity), identity, size, inode)
        self._kept.append(window)
        return self._used(window)

    def _used(self, window: _Window) -> memoryview:
        window.seen_unused = False
        self._kept.remove(window)
        self._kept.append(window)
        return memoryview(window.mapping)

    def _unlock_unused(self) -> None:
        for window in self._kept:
            # A memoryview of it counts once, however many parts of that there are. Besides there
            # are the window's own reference and the argument.
            if window.is_locked and sys.getrefcount(window.mapping) <= 2:
                window.unlock()

    def _remove(self, window: _Window) -> None:
        self._kept.remove(window)
        window.mapping.close()
        os.close(window.descriptor)


class _Window:
    """A segment that is mapped, and locked as long as anybody may look at the value in it."""

    __slots__ = (
        "descriptor",
        "identity",
        "inode",
        "is_locked",
        "mapping",
        "seen_unused",
        "size",
    )

    def __init__(self, descriptor: int, identity: int, size: int, inode: int):
        self.descriptor = descriptor
        self.identity = identity
        self.size = size
        self.inode = inode
        self.is_locked = True
        self.seen_unused = False
        try:
            self.mapping = mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
        except BaseException:
            os.close(descriptor)
            raise

    def lock(self, identity: int) -> bool:
        """Lock it if that value is in it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        (self.identity,) = IDENTITY.unpack_from(self.mapping, IDENTITY_AT)
        self.is_locked = True
        if self.identity != identity:
            self.unlock()
        return self.is_locked

    def unlock(self) -> None:
        """Nobody looks at it: let its maker write another value into it."""
        self.is_locked = False
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)


windows: Final = Windows()
"""Those of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=windows.before_fork,
        after_in_parent=windows.after_fork,
        after_in_child=windows.after_fork,
    )
