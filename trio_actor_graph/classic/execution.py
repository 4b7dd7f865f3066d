"""`execute_graph`, under the name of the original's module."""

from __future__ import annotations

from trio_actor_graph.classic.graph import TaskGraph


async def execute_graph(graph: TaskGraph, finish_polling_initial_delay: float = 60) -> None:
    """Run the tasks of a graph, and those created meanwhile; return when all have ended.

    A task that fails stays "failed" on its node and raises nothing here.

    Args:
        graph: the graph, which can be executed once.
        finish_polling_initial_delay: how long a graph without any task is given to get its first.
            There is no polling: a graph with tasks is finished when the last one has ended.

    Raises:
        GraphError: the graph has been executed before.
        CycleError: wait links made before close a cycle; the message lists the tasks on it.
    """
    await graph.execute(finish_polling_initial_delay)
