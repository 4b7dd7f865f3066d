"""How a pickle and the buffers that were left out of it stand in a row of bytes.

mark, number of buffers, identity of the value, bytes of the pickle | bytes of each buffer |
the pickle | the buffers, each at a multiple of 64
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

MARK: Final = 0x03
"""With what every layout begins, and no other encoded value."""

IDENTITY: Final = struct.Struct("=Q")
IDENTITY_AT: Final = 8

_HEAD: Final = struct.Struct("=BxxxIQQ")
_SIZE_BYTES: Final = 8
_ALIGNMENT: Final = 64  # what numpy and processors like


def loads(view: memoryview) -> Any:
    """The value of a layout; its buffers are read-only where the layout is, and not copied."""
    _, number, _, pickle_size = _HEAD.unpack_from(view)
    at = _HEAD.size + number * _SIZE_BYTES
    pickled = view[at : at + pickle_size]
    at += pickle_size
    buffers = []
    for size in struct.unpack_from(f"={number}Q", view, _HEAD.size):
        at = _aligned(at)
        buffers.append(view[at : at + size])
        at += size
    return pickle.loads(pickled, buffers=buffers)


def layout_size(pickled: bytes, buffers: Sequence[pickle.PickleBuffer]) -> int:
    """How many bytes a layout takes."""
    at = _HEAD.size + len(buffers) * _SIZE_BYTES + len(pickled)
    for buffer in buffers:
        at = _aligned(at) + memoryview(buffer).nbytes
    return at


def parts(
    identity: int, pickled: bytes, buffers: Sequence[pickle.PickleBuffer]
) -> Iterator[tuple[int, memoryview]]:
    """What stands where in a layout. The head, which makes it one, comes last."""
    sizes = struct.pack(f"={len(buffers)}Q", *(memoryview(buffer).nbytes for buffer in buffers))
    at = _HEAD.size
    for part in (memoryview(sizes), memoryview(pickled)):
        yield at, part
        at += part.nbytes
    for buffer in buffers:
        at = _aligned(at)
        with buffer.raw() as view:
            yield at, view
            at += view.nbytes
    yield 0, memoryview(_HEAD.pack(MARK, len(buffers), identity, len(pickled)))


def as_bytes(pickled: bytes, buffers: Sequence[pickle.PickleBuffer]) -> bytes:
    """A layout that is in no segment."""
    data = bytearray(layout_size(pickled, buffers))
    for at, part in parts(0, pickled, buffers):
        data[at : at + part.nbytes] = part
    return bytes(data)


def _aligned(at: int) -> int:
    return (at + _ALIGNMENT - 1) & -_ALIGNMENT
