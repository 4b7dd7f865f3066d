"""The peer `concurrent.futures.ProcessPoolExecutor`, one workload a process."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from benchmarks.bodies import no_op


def fanout(pool: ProcessPoolExecutor, tasks: int) -> list[float]:
    began = perf_counter()
    for future in [pool.submit(no_op) for _ in range(tasks)]:
        future.result()
    return [perf_counter() - began]


def ping(pool: ProcessPoolExecutor, tasks: int) -> list[float]:
    seconds = []
    for _ in range(tasks):
        began = perf_counter()
        pool.submit(no_op).result()
        seconds.append(perf_counter() - began)
    return seconds


def main(workload: str, tasks: int) -> None:
    with ProcessPoolExecutor(2) as pool:
        fanout(pool, 100)  # both processes are up, as ours are
        print(json.dumps({"fanout": fanout, "ping": ping}[workload](pool, tasks)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
