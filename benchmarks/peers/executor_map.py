"""`ProcessPoolExecutor.map`, a task for each item; a second way to use the same peer.

With its default chunksize of 1: a chunk of items is one task, which fails or is cancelled as a
whole. It does the same as `submit`, so only the fan-out is told.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from benchmarks.bodies import no_op_of
from benchmarks.peers import futures_style
from benchmarks.protocol import Answer, answer, took


def measure(workload: str, tasks: int) -> Answer:
    assert workload == "fanout"
    with ProcessPoolExecutor(2) as pool:
        futures_style.warm_up(pool)
        began = perf_counter()
        for _ in pool.map(no_op_of, range(tasks)):
            pass
        return took(began)


if __name__ == "__main__":
    answer(measure)
