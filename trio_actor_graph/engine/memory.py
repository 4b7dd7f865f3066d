"""Looks at how much memory a worker uses, where its loop has limits for that.

The kernel has limits of its own, and none that fits: RLIMIT_AS counts addresses instead of memory
(a mapped file, an allocator that reserves), RLIMIT_RSS does nothing, and a control group is the
administrator's. So the resident memory is read ten times a second, which costs 25 us each time. A
process that grows by gigabytes within that time is beyond this, and the kernel's to end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from trio_actor_graph.engine.api import WorkerLimits

MEMORY_CHECK_SECONDS: Final = 0.1
"""How often a worker's memory is looked at: in this time Python can fill some 100 MiB anew."""


def resident_bytes(pid: int) -> int | None:
    """Returns how much memory a process uses; None if it has ended, or where nobody can tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def wait_outgrown(pid: int, limits: WorkerLimits, on_worn: Callable[[], bool]) -> str:
    """Waits until a process is above its hard limit, and returns that as a reason to kill it.

    Args:
        pid: the process, alive.
        limits: its limits.
        on_worn: called when it is found above the soft limit, until it returns True.
    """
    soft, hard = limits.memory_bytes_soft_max, limits.memory_bytes_hard_max
    is_worn_told = soft is None
    while True:
        used = resident_bytes(pid) or 0
        if hard is not None and used > hard:
            return f"it used {_mebi(used)}, more than memory_bytes_hard_max of {_mebi(hard)}"
        if soft is not None and used > soft and not is_worn_told:
            is_worn_told = on_worn()
        await trio.sleep(MEMORY_CHECK_SECONDS)


def _mebi(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
