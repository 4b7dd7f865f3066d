"""What a worker was doing when it died, and that it is alive, known without a message per task.

Both stand in a small file that the worker maps into its memory and the coordinator reads; it
outlives the process, whatever ended it. All of it is eight-byte numbers:

    the time of the last heartbeat, 0 before the first | how many slots there are
    for each slot: since when the attempt in it has held it
    for each slot: the id of that attempt, 0 for none
    the ids of the attempts that gave a slot back last, a ring; 0 where there were none yet

The worker writes a slot before it begins and after it ends, so the coordinator knows exactly which
attempts held one when the process died, and how long one has held it even if the process is deaf.
The ring tells who had begun besides: ended, perhaps not reported yet.

Nobody locks anything. A number is written by one store of the processor, so it is never torn; a
reader may see only some of several numbers, and is written to live with that.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

ENDED_MAX: Final = 2_048
"""How many attempts that gave their slot back are remembered. Those whose end the coordinator has
not heard of are among the last it gave this worker: at most the 1,000 held ahead
(`placement.HELD_AHEAD_MAX`) and one for each slot. The rest is for those that await tasks."""

_NUMBER_BYTES: Final = 8
_BEAT, _SLOTS, _HEADER = 0, 1, 2  # places, in numbers


class BegunMarks:
    """The worker's side. `set` and `beat` may be called from any thread, `set` for one at a time.

    Args:
        path: the file, made here, in the private folder of the coordinator.
        slots: how many attempts run at once.

    Raises:
        OSError: there is no room for the file.
    """

    def __init__(self, path: str, slots: int):
        size = (_HEADER + 2 * slots + slots + ENDED_MAX) * _NUMBER_BYTES
        with Path(path).open("w+b") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a full disk would else be a SIGBUS, later
                os.posix_fallocate(file.fileno(), 0, size)
            view = memoryview(mmap.mmap(file.fileno(), size))
        self._ids = view.cast("q")
        self._times = view.cast("d")
        self._ids[_SLOTS] = slots
        self._held = [0] * slots
        self._since_at = _HEADER
        self._id_at = _HEADER + slots
        self._ended_at = _HEADER + 2 * slots
        self._ended_size = slots + ENDED_MAX
        self._ended = 0

    def set(self, slot: int, attempt_id: int, *, is_loading: bool = False) -> None:
        """Note what runs in a slot from now on; 0 for nothing.

        Args:
            is_loading: it is only being loaded yet: that time is not the task's.
        """
        before = self._held[slot]
        # In the ring before it leaves the slot, so that it is always in one of them.
        if before and before != attempt_id:
            self._ids[self._ended_at + self._ended % self._ended_size] = before
            self._ended += 1
        self._held[slot] = attempt_id
        now = time.monotonic()
        self._times[self._since_at + slot] = -now if is_loading else now
        self._ids[self._id_at + slot] = attempt_id

    def beat(self) -> None:
        """Note that the worker is alive."""
        self._times[_BEAT] = time.monotonic()


class _Marks:
    """The coordinator's side: what stood in the file at one moment, or nearly one."""

    def __init__(self, data: bytes):
        whole = data[: len(data) // _NUMBER_BYTES * _NUMBER_BYTES]
        self.ids = memoryview(whole).cast("q")
        self.times = memoryview(whole).cast("d")
        slots = self.ids[_SLOTS] if len(self.ids) > _SLOTS else 0
        if not 0 <= slots <= (len(self.ids) - _HEADER) // 2:
            slots = 0  # the worker died, or stands, in the middle of making it
        self.slots = slots

    def running(self) -> frozenset[int]:
        return frozenset(self.ids[_HEADER + self.slots : _HEADER + 2 * self.slots]) - {0}

    def ended(self) -> frozenset[int]:
        return frozenset(self.ids[_HEADER + 2 * self.slots :]) - {0}

    def since(self, attempt_id: int) -> float | None:
        """The time at which it was noted: below zero while it is loaded."""
        for slot in range(self.slots):
            if self.ids[_HEADER + self.slots + slot] == attempt_id:
                return self.times[_HEADER + slot]
        return None


def take_begun(path: str) -> tuple[frozenset[int], frozenset[int]]:
    """What a dead worker had begun; its file is removed.

    Returns:
        The ids of the attempts that held a slot when it died, and of all that had begun: those, and
        the last that gave their slot back.
    """
    marks = _read(path)
    with suppress(OSError):
        Path(path).unlink()
    if marks is None:
        return frozenset(), frozenset()  # it died before it could run anything
    running = marks.running()
    return running, running | marks.ended()


def last_beat(path: str) -> float | None:
    """When the worker was last alive, as `time.monotonic()`, which is one for the whole machine.

    None before the first time.
    """
    marks = _read(path)
    return (marks.times[_BEAT] or None) if marks is not None and len(marks.times) else None


def seconds_since_begun(
    path: str, attempt_id: int, loading_seconds_max: float | None
) -> float | None:
    """How long an attempt has run; None if it holds no slot, or its function is still loaded.

    Args:
        loading_seconds_max: what takes longer to load counts as running; None for never.
    """
    # Read twice, because the id may be new and the time still that of the one before.
    reads = [marks.since(attempt_id) for marks in (_read(path), _read(path)) if marks is not None]
    times = [since for since in reads if since is not None]
    if len(times) < 2:
        return None
    since = max(times, key=abs)
    seconds = time.monotonic() - abs(since)
    is_loading = since < 0 and (loading_seconds_max is None or seconds < loading_seconds_max)
    return None if is_loading else seconds


def _read(path: str) -> _Marks | None:
    try:
        return _Marks(Path(path).read_bytes())
    except OSError:
        return None
