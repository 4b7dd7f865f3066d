"""What a worker was running when it died, known without a message per task.

Each slot of a worker has eight bytes in a file that both sides map: the id of the attempt that runs
there, or 0. The worker writes them before it begins and after it ends; that costs 0.2 us. When its
process is gone, whatever ended it, the coordinator reads what was there at that moment.
"""

from __future__ import annotations

import mmap
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

_ATTEMPT_ID: Final = struct.Struct("<q")


class BegunMarks:
    """The worker's side.

    Args:
        path: the file, made here, in the private folder of the coordinator.
        slots: how many attempts run at once.
    """

    def __init__(self, path: str, slots: int):
        with Path(path).open("w+b") as file:
            file.truncate(slots * _ATTEMPT_ID.size)
            self._map = mmap.mmap(file.fileno(), 0)

    def set(self, slot: int, attempt_id: int) -> None:
        """Note what runs in a slot from now on; 0 for nothing."""
        _ATTEMPT_ID.pack_into(self._map, slot * _ATTEMPT_ID.size, attempt_id)


def take_begun(path: str) -> frozenset[int]:
    """The ids of the attempts that a dead worker was running; its file is removed."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return frozenset()  # it died before it could run anything
    with suppress(FileNotFoundError):
        Path(path).unlink()
    return frozenset(attempt_id for (attempt_id,) in _ATTEMPT_ID.iter_unpack(data) if attempt_id)
