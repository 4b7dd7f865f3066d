"""The API of the original trio_graph_scheduler: its programs run with their imports renamed.

    from trio_actor_graph.classic import TaskGraph, execute_graph

The original's module names work too (`trio_actor_graph.classic.graph`, `.execution`, `.nodes`), so
replacing the package's name in the imports is all there is to do.

Worker loops here have no processes (`WorkerLoop(..., processes=0)`): as in the original, tasks run
as trio tasks in the program's own process. Nothing else would do. Task functions are handed the
graph and their node, the same objects that the program holds; they are often closures, are given
functions as arguments, and return whatever they like. Only a node's uid goes through the scheduler.
Arguments and results stay on the nodes, so they are never pickled, and successors get the very
object that was returned. What ought to run in processes of its own is written for
`trio_actor_graph.open_coordinator`.

Three things differ. A failed predecessor is noticed: its wait tasks run, or become
"predecessor_failed", where the original left them waiting for ever. `execute_graph` returns when
the last task has ended, not at the next poll. Wrong use raises `GraphError`, where the original had
an `AssertionError`, a `KeyError` or a debugger.
"""

from __future__ import annotations

from trio_actor_graph.classic.execution import execute_graph
from trio_actor_graph.classic.graph import TaskGraph
from trio_actor_graph.classic.nodes import Node, TaskNode, WaitTaskNode

__all__ = ["Node", "TaskGraph", "TaskNode", "WaitTaskNode", "execute_graph"]
