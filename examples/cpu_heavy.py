"""A plain function that needs the processor gets faster with processes, not with threads.

The same primes are counted by one process and by two; the second line is the speed-up, nearly 2
where two cores have nothing else to do. Starting the workers is not part of it: `start="eager"` has
them ready before.
"""

import time

import trio

from trio_actor_graph import WorkerLoop, open_coordinator

PARTS = [(start, start + 25_000) for start in range(100_000, 400_000, 25_000)]


def count_primes(start: int, end: int) -> int:
    """Count the primes from start up to end, the slow way."""
    return sum(all(n % d for d in range(3, int(n**0.5) + 1, 2)) for n in range(start | 1, end, 2))


async def count_with(processes: int) -> tuple[int, float]:
    loops = [WorkerLoop("default", processes=processes)]
    async with open_coordinator(loops, start="eager") as coordinator:
        began = time.perf_counter()
        async with coordinator.open_graph("primes") as graph:
            parts = [graph.create_task(count_primes, *part) for part in PARTS]
            total = sum([await part.result() for part in parts])
        return total, time.perf_counter() - began


async def main() -> None:
    total, seconds_alone = await count_with(processes=1)
    again, seconds_together = await count_with(processes=2)
    assert again == total
    print(f"{total} primes")
    print(f"two processes are {seconds_alone / seconds_together:.1f} times as fast as one")


if __name__ == "__main__":
    trio.run(main)
