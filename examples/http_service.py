"""A coordinator is served over HTTP, and another program uses it.

Here both are in one file: the service, which knows the functions, and a client, which knows only
their names. They could as well be on two sides of a socket's file, or of a network.
"""

from pathlib import Path

import trio

from trio_actor_graph import WorkerLoop, open_coordinator
from trio_actor_graph.client import NewTask, TasksCondition, open_client


def count(text: str) -> int:
    """Count the words."""
    return len(text.split())


def total(counts: list[int]) -> int:
    """Add the counts up."""
    return sum(counts)


def fail() -> None:
    """Do what cannot be done."""
    raise ValueError("no luck")


async def use(socket_path: Path) -> None:
    """Be the other program."""
    async with open_client(socket_path) as client:
        types = [task_type.name for task_type in await client.task_types()]
        print("it can", ", ".join(types))
        graph = await client.create_graph("texts")
        async with graph.events(kinds=["graph"]) as events:
            first, second, bad = await graph.push(
                NewTask("count", args=("to be or not to be",)),
                NewTask("count", args=("that is the question",)),
                NewTask("fail"),
            )
            (both,) = await graph.push(
                NewTask(
                    "total",
                    args=([first, second],),
                    waits_on=TasksCondition(completed=(bad.uid,)),
                )
            )
            print("words:", await both.result())
            print("the other one:", (await bad.read()).task.error)
            await anext(events)
        counts = (await graph.read()).counts
        print("tasks:", {state: number for state, number in counts.items() if number})
        await graph.delete()


async def main() -> None:
    async with (
        open_coordinator([WorkerLoop("default")], functions=[count, total, fail]) as coordinator,
        coordinator.serve_http() as server,
    ):
        assert server.socket_path is not None
        await use(server.socket_path)


if __name__ == "__main__":
    trio.run(main)
