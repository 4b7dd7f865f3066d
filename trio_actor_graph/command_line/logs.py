"""What `trio-actor-graph logs` does: run a graph, and show what its tasks have logged."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from trio_actor_graph.command_line.target import BadArguments
from trio_actor_graph.command_line.watch import make_console, watch

if TYPE_CHECKING:
    from trio_actor_graph.loops import WorkerLoop

NAMES_TOLD_MAX: Final = 20
"""How many names are told to whoever asked for one that there is not."""


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
        tasks = [(each.uid, each.name) for each in graph.tasks]
        uids = None if task is None else matching("task", tasks, task)
        lines = [line for line in graph.logs(level=level) if uids is None or line.task_uid in uids]
        console.print()
        console.print(log_tree(graph.name, nodes_of(graph), lines, graph.logs_dropped))
    ended.tell(console)
    return ended.has_failed


def matching(what: str, named: Iterable[tuple[int, str]], name_or_uid: str) -> set[int]:
    """The uids of those that have this name or uid.

    Args:
        what: what they are, for the error.
        named: the uid and name of each.
        name_or_uid: what is looked for.

    Raises:
        BadArguments: there is none.
    """
    named = list(named)
    found = {uid for uid, name in named if name_or_uid in (name, str(uid))}
    if not found:
        names = list(dict.fromkeys(name for _, name in named))
        told = ", ".join(map(repr, names[:NAMES_TOLD_MAX])) or "none"
        more = ", ..." if len(names) > NAMES_TOLD_MAX else ""
        raise BadArguments(f"there was no {what} {name_or_uid!r}: there were {told}{more}")
    return found
