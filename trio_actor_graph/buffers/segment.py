"""A segment as everybody knows it: what refers to it, and how it is opened."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final, NamedTuple

from trio_actor_graph.buffers.layout import IDENTITY, IDENTITY_AT

DESCRIPTORS_PART: Final = 0.25
"""Which part of the descriptors that a process may have (`ulimit -n`) may be segments it keeps, and
as many again segments it has mapped. Beyond, values are copied into memory of its own."""

REFERENCE_MARK: Final = b"\x02"
"""With what every reference begins, and no other encoded value."""

NAME: Final = "trio-actor-graph"
"""What such a file is called in /proc, for people and for `open_segment`."""

_LINK: Final = f"/memfd:{NAME} (deleted)"
_REFERENCE: Final = struct.Struct("=cxxxIiQQ")


class SegmentGone(Exception):
    """What a reference refers to is not there any more."""


class Reference(NamedTuple):
    """What refers to a value in shared memory.

    Attributes:
        pid: the process in which the descriptor means the segment.
        identity: of the value: another one in the same segment has another.
        size: how many bytes its layout has.
    """

    pid: int
    descriptor: int
    identity: int
    size: int

    @property
    def path(self) -> str:
        """How other processes open the segment."""
        return f"/proc/{self.pid}/fd/{self.descriptor}"

    def encode(self) -> bytes:
        return _REFERENCE.pack(REFERENCE_MARK, *self)


def is_reference(encoded: bytes) -> bool:
    """Whether an encoded value is in shared memory."""
    return encoded[:1] == REFERENCE_MARK


def decode_reference(encoded: bytes) -> Reference:
    """What an encoded value refers to.

    Raises:
        SegmentGone: it is no reference, and so refers to nothing.
    """
    try:
        return Reference(*_REFERENCE.unpack(encoded)[1:])
    except struct.error:
        raise SegmentGone("not a reference") from None


def encoded_size(encoded: bytes) -> int:
    """How much memory an encoded value takes, wherever it is."""
    return decode_reference(encoded).size if is_reference(encoded) else len(encoded)


def open_segment(path: str, identity: int) -> int:
    """A descriptor that holds the lock of the segment in which this value is.

    Raises:
        SegmentGone: there is no such segment, or another value in it.
    """
    try:
        if os.readlink(path) != _LINK:  # noqa: PTH115  to open anything else might do something
            raise SegmentGone(f"{path} is something else by now")
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        raise SegmentGone(f"{path} is there no more") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if identity_in(descriptor) != identity:
            raise SegmentGone(f"{path} is another value by now")
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise SegmentGone(f"{path} is about to be another value") from None
        raise
    return descriptor


def identity_in(descriptor: int) -> int:
    """Which value is in a segment; 0 for none."""
    data = os.pread(descriptor, IDENTITY.size, IDENTITY_AT)
    return int(IDENTITY.unpack(data)[0]) if len(data) == IDENTITY.size else 0


def read_segment(descriptor: int, size: int) -> bytes:
    """A copy of the layout in a segment."""
    data = os.pread(descriptor, size, 0)
    while len(data) < size:  # it reads 2 GiB at once
        more = os.pread(descriptor, size - len(data), len(data))
        if not more:
            raise SegmentGone(f"{len(data):,} of {size:,} bytes are there")
        data += more
    return data


def descriptors_max() -> int:
    """How many descriptors of this process may be segments that it keeps, or has mapped."""
    import resource  # there is none on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return int((1 << 20 if soft == resource.RLIM_INFINITY else soft) * DESCRIPTORS_PART)
