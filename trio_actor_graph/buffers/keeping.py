"""Segments that the coordinator keeps for others, as long as they may ask for what is in them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from trio_actor_graph.buffers.segment import (
    Reference,
    SegmentGone,
    decode_reference,
    descriptors_max,
    identity_in,
    read_segment,
)


class Segment:
    """A segment that is kept. With the last reference to this object it is let go."""

    __slots__ = ("_close", "_descriptor", "_kept")

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._kept, self._close = _kept, os.close  # which may be gone when the interpreter ends
        _kept.add(descriptor)

    def __del__(self) -> None:  # in any thread
        self._kept.discard(self._descriptor)
        self._close(self._descriptor)


_kept: set[int] = set()  # the descriptors of all segments


def take_over(encoded: bytes, take: Callable[[int], int | None]) -> tuple[bytes, Segment | None]:
    """Make the segment that a reference refers to one that this process keeps.

    Args:
        take: gives the descriptor that was handed over for an identity; None if none was.

    Returns:
        The value as everybody can read it while the segment is kept. Where there are no descriptors
        to spare, it is copied, and there is none to keep.

    Raises:
        SegmentGone: nothing was handed over that fits the reference.
        OSError: it was, and there was no descriptor left to take it.
    """
    _, _, identity, size = decode_reference(encoded)
    descriptor = take(identity)
    if descriptor is None:
        raise SegmentGone("nothing was handed over for it")
    segment = Segment(descriptor)
    if not _is_segment(descriptor, identity, size):
        raise SegmentGone("what was handed over for it is something else")
    if len(_kept) > descriptors_max():
        return read_segment(descriptor, size), None
    return Reference(os.getpid(), descriptor, identity, size).encode(), segment


def _is_segment(descriptor: int, identity: int, size: int) -> bool:
    """Whether that value is in it, and nobody can make the file shorter under a mapping."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return False
    is_fixed = bool(seals & fcntl.F_SEAL_SHRINK) and os.fstat(descriptor).st_size >= size
    return is_fixed and identity_in(descriptor) == identity
