"""joblib, and loky, on which it runs; two ways to use the same workers.

- `Parallel`, joblib's own face, for the fan-out, cpu, uneven and payload: it batches short tasks by
  itself as it learns how long they take, and hands arrays above 1 MB to its workers as memory maps
  of files in shared memory. That is what it does best, so nothing of it is changed.
- loky's executor for what comes one by one or from results: `Parallel` is a call for a whole list.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from benchmarks.bodies import (
    is_total,
    make_array,
    meet,
    meeting_point,
    no_op,
    spin,
    total_of,
    uneven_iterations,
)
from benchmarks.peers import futures_style
from benchmarks.protocol import Answer, answer, first_result, took


def meeting(parallel: Parallel) -> None:
    folder = meeting_point()
    assert len(set(parallel(delayed(meet)(folder) for _ in range(2)))) == 2


def fanout(parallel: Parallel, tasks: int) -> Answer:
    began = perf_counter()
    parallel(delayed(no_op)() for _ in range(tasks))
    return took(began)


def cpu(parallel: Parallel, tasks: int, iterations: int) -> Answer:
    return spin_all(parallel, [iterations] * tasks)


def uneven(parallel: Parallel, tasks: int, iterations_per_second: float) -> Answer:
    return spin_all(parallel, uneven_iterations(tasks, iterations_per_second))


def spin_all(parallel: Parallel, sizes: list[int]) -> Answer:
    began = perf_counter()
    parallel(delayed(spin)(iterations) for iterations in sizes)
    return took(began)


def payload(parallel: Parallel, floats: int, readers: int, rounds: int) -> Answer:
    payload_round(parallel, floats, readers, 0)
    began = perf_counter()
    for start in range(rounds):
        payload_round(parallel, floats, readers, start)
    return took(began)


def payload_round(parallel: Parallel, floats: int, readers: int, start: int) -> None:
    (array,) = parallel([delayed(make_array)(floats, start)])
    for total in parallel(delayed(total_of)(array) for _ in range(readers)):
        assert is_total(total, floats, start)


def start(began: float) -> Answer:
    with Parallel(n_jobs=2) as parallel:
        meeting(parallel)
        return first_result(began)


BY_PARALLEL: dict[str, Callable[..., Answer]] = {
    "fanout": fanout,
    "payload": payload,
    "cpu": cpu,
    "uneven": uneven,
}


def measure(workload: str, **sizes: Any) -> Answer:
    if workload == "start":
        return start(**sizes)
    if workload not in BY_PARALLEL:
        with get_reusable_executor(max_workers=2) as executor:
            return futures_style.run(workload, executor, sizes)
    with Parallel(n_jobs=2) as parallel:
        meeting(parallel)
        fanout(parallel, 100)
        return BY_PARALLEL[workload](parallel, **sizes)


if __name__ == "__main__":
    answer(measure)
