"""How a measuring script is called and answers; the other side is in `processes`.

    python -m benchmarks.SCRIPT WORKLOAD '{"tasks": 10000}'

It runs one workload once and prints one line of JSON: what it has measured. Sizes and answers of
each workload are in `workloads`. Whatever else gets printed before that line is ignored.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

Answer = dict[str, Any]


def answer(measure: Callable[..., Answer]) -> None:
    """Call `measure(workload, **sizes)` as the command line says, and print what it returns."""
    print(json.dumps(measure(sys.argv[1], **json.loads(sys.argv[2]))))


def took(began: float) -> Answer:
    """The answer of most workloads: the seconds since `perf_counter()` was `began`."""
    return {"seconds": perf_counter() - began}


def first_result(began: float) -> Answer:
    """The answer of `start`: the seconds since the runner has started this process.

    The monotonic clock is one for the whole machine, so the runner's reading can be passed on.
    """
    return {"first": monotonic() - began}


def resident_bytes() -> int:
    """The memory this process has now, after a collection of garbage (Linux)."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
