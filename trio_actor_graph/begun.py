"""What a worker was running when it died, known without a message per task.

Each slot of a worker has sixteen bytes in a file: the id of the attempt that runs there, or 0, and
since when. The worker, which maps the file, writes them before it begins and after it ends. When
its process is gone, whatever ended it, the coordinator reads what was there at that moment; and
when an attempt should have ended long ago, how long it has run, even if the process is deaf.
"""

from __future__ import annotations

import mmap
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_MARK: Final = struct.Struct("<qd")  # attempt id; time.monotonic(), one clock for the whole machine


class BegunMarks:
    """The worker's side.

    Args:
        path: the file, made here, in the private folder of the coordinator.
        slots: how many attempts run at once.
    """

    def __init__(self, path: str, slots: int):
        with Path(path).open("w+b") as file:
            file.truncate(slots * _MARK.size)
            self._map = mmap.mmap(file.fileno(), 0)

    def set(self, slot: int, attempt_id: int) -> None:
        """Note what runs in a slot from now on; 0 for nothing."""
        _MARK.pack_into(self._map, slot * _MARK.size, attempt_id, time.monotonic())


def take_begun(path: str) -> frozenset[int]:
    """The ids of the attempts that a dead worker was running; its file is removed."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return frozenset()  # it died before it could run anything
    with suppress(FileNotFoundError):
        Path(path).unlink()
    return frozenset(attempt_id for attempt_id, _ in _MARK.iter_unpack(data) if attempt_id)


def seconds_since_begun(path: str, attempt_id: int) -> float | None:
    """How long an attempt has held its slot; None if it holds none."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    begun: dict[int, float] = dict(_MARK.iter_unpack(data))
    return time.monotonic() - begun[attempt_id] if attempt_id in begun else None
