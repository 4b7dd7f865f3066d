"""What `trio-actor-graph logs` does: run a graph, and show what its tasks have logged."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from trio_actor_graph.command_line.target import BadArguments
from trio_actor_graph.command_line.watch import make_console, watch

if TYPE_CHECKING:
    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.loops import WorkerLoop
    from trio_actor_graph.task import Task

NAMES_TOLD_MAX: Final = 20
"""How many names of tasks are told to whoever asked for one that there is not."""


def level_option(text: str) -> int:
    """Read a `--level`; for argparse."""
    number = int(text) if text.isdecimal() else logging.getLevelNamesMapping().get(text.upper())
    if number is None or number > logging.CRITICAL:
        names = ", ".join(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
        raise argparse.ArgumentTypeError(f"{text!r} is not a level: {names}, or a number")
    return number


def show_logs(
    builder: Callable[..., Any],
    loops: list[WorkerLoop],
    name: str,
    level: int,
    task: str | None,
) -> bool:
    """Run the graph that `builder(graph, coordinator)` builds, and print its lines.

    Args:
        builder: what builds it.
        loops: the worker loops.
        name: of the graph.
        level: the least level of lines to show.
        task: the name or uid of the tasks whose lines are shown; None for all.

    Returns:
        Whether a task failed, or the builder.

    Raises:
        BadArguments: there was no such task.
    """
    if not logging.root.handlers:  # nobody has configured it: all there is to see is in the tree
        logging.root.addHandler(logging.NullHandler())
        logging.root.setLevel(min(level, logging.root.level))
    console = make_console(sys.stdout)
    ended = watch(builder, loops, name, console, log_level=level, capture_output=True)
    if ended.graph is not None:
        from trio_actor_graph.observe.log_tree import log_tree, nodes_of

        graph = ended.graph
        uids = None if task is None else {each.uid for each in _find(graph, task)}
        lines = [line for line in graph.logs(level=level) if uids is None or line.task_uid in uids]
        console.print()
        console.print(log_tree(graph.name, nodes_of(graph), lines, graph.logs_dropped))
    ended.tell(console)
    return ended.has_failed


def _find(graph: TaskGraph, name_or_uid: str) -> list[Task[Any]]:
    tasks = graph.tasks
    found = [each for each in tasks if name_or_uid in (each.name, str(each.uid))]
    if not found:
        names = list(dict.fromkeys(each.name for each in tasks))
        told = ", ".join(map(repr, names[:NAMES_TOLD_MAX])) or "none"
        more = ", ..." if len(names) > NAMES_TOLD_MAX else ""
        raise BadArguments(f"there was no task {name_or_uid!r}: there were {told}{more}")
    return found
