"""A condition can be content with a part: n of m.

Three replicas are asked. The task that decides runs as soon as two of them have answered; then the
third, which would have taken an hour, is cancelled.
"""

import trio

from trio_actor_graph import WorkerLoop, current_task, open_coordinator, succeeded

SECONDS = {"amsterdam": 0.1, "boston": 3600.0, "cape town": 0.2}


async def ask_replica(place: str) -> str:
    """Ask one replica for the value it has."""
    await trio.sleep(SECONDS[place])
    return "42"


def decide() -> str:
    """Tell what those say that have answered."""
    answers = [p for p in current_task().predecessors if p.state == "succeeded"]
    values = {p.result for p in answers}
    return f"{' and '.join(p.name for p in answers)} say {' or '.join(values)}"


async def main() -> None:
    loops = [WorkerLoop("default", concurrency=10)]
    async with open_coordinator(loops) as coordinator, coordinator.open_graph("read") as graph:
        replicas = [graph.create_task(ask_replica, place, name=place) for place in SECONDS]
        decision = graph.create_task(decide, waits_on=succeeded(replicas, at_least=2))
        print(await decision.result())
        for replica in replicas:
            replica.cancel()  # does nothing to one that has ended
        for replica in replicas:
            print(f"{replica.name}: {replica.state}")


if __name__ == "__main__":
    trio.run(main)
