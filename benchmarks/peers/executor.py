"""`concurrent.futures.ProcessPoolExecutor`: `submit`, a future for each task.

With its defaults for this platform: forked workers, which start fastest.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.peers import futures_style
from benchmarks.protocol import Answer, answer, first_result


def start(began: float) -> Answer:
    with ProcessPoolExecutor(2) as pool:
        futures_style.meeting(pool)
        return first_result(began)


def measure(workload: str, **sizes: Any) -> Answer:
    if workload == "start":
        return start(**sizes)
    with ProcessPoolExecutor(2) as pool:
        return futures_style.run(workload, pool, sizes)


if __name__ == "__main__":
    answer(measure)
