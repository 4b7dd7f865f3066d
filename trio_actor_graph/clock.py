"""Times for people, out of the clock by which runs are measured.

Inside, times are seconds of `time.perf_counter`: on Linux all processes of a machine share it, and
nobody sets it back. People are told Unix seconds.
"""

from __future__ import annotations

import time
from typing import Final

import trio

_OFFSET: Final = time.time() - time.perf_counter()


def unix_seconds(perf_counter_seconds: float) -> float:
    """When that was, in seconds since 1970.

    The difference between the clocks is taken once, so two times never change their order.
    """
    return perf_counter_seconds + _OFFSET


def unix_seconds_if(perf_counter_seconds: float | None) -> float | None:
    """The same for a time that may not be known."""
    return None if perf_counter_seconds is None else unix_seconds(perf_counter_seconds)


def scheduler_seconds() -> float | None:
    """Now, by the clock by which graphs go on; None where no trio runs."""
    try:
        return trio.current_time()
    except RuntimeError:
        return None
