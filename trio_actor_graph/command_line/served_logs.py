"""What `trio-actor-graph logs --at SERVER` does: show what the tasks of a served graph have logged.

Either all there is now, as a tree, or each line as it comes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from trio_actor_graph.command_line.logs import matching
from trio_actor_graph.command_line.target import BadArguments
from trio_actor_graph.command_line.watch import make_console
from trio_actor_graph.extras import missing_extra

if TYPE_CHECKING:
    from rich.console import Console

    from trio_actor_graph.client import Client, RemoteGraph
    from trio_actor_graph.logs import LogLine
    from trio_actor_graph.web.types import Graph, LogEntry, TaskSummary


class Wanted(NamedTuple):
    """Which lines are asked for, and where.

    Attributes:
        server: the URL of the server, or the path of its socket.
        token_path: the file of its token, for a URL.
        graph: the graph's name or uid; None for the newest.
        level: the least level of lines to show.
        task: the name or uid of the tasks whose lines are shown; None for all.
        follows: each line is shown as it comes, until the graph is closed.
    """

    server: str
    token_path: str | None
    graph: str | None
    level: int
    task: str | None
    follows: bool


def show_served_logs(wanted: Wanted) -> None:
    """Print the lines that are asked for.

    Raises:
        BadArguments: there is no such server, graph or task, or the server refuses.
    """
    import trio

    try:
        trio.run(_show, wanted)
    except ImportError as error:
        raise BadArguments(missing_extra("--at needs", "client", error)) from None


async def _show(wanted: Wanted) -> None:
    import httpx

    from trio_actor_graph.client import RequestFailed, open_client
    from trio_actor_graph.errors import GraphError

    console = make_console(sys.stdout)
    try:
        async with open_client(wanted.server, token_path=wanted.token_path) as client:
            graph, about = await _find_graph(client, wanted.graph)
            if wanted.follows:
                await _follow(graph, wanted, console)
            else:
                await _print_tree(graph, about, wanted, console)
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise BadArguments(f"no server answers at {wanted.server}: {reason}") from None
    except (GraphError, OSError, RequestFailed) as error:
        raise BadArguments(str(error)) from None


async def _find_graph(client: Client, name_or_uid: str | None) -> tuple[RemoteGraph, Graph]:
    """The newest graph of that name or uid."""
    graphs = await client.graphs()
    if name_or_uid is None and not graphs:
        raise BadArguments("there is no graph yet")
    names = [(each.uid, each.name) for each in graphs]
    uid = names[-1][0] if name_or_uid is None else max(matching("graph", names, name_or_uid))
    return client.graph(uid), next(each for each in graphs if each.uid == uid)


async def _print_tree(graph: RemoteGraph, about: Graph, wanted: Wanted, console: Console) -> None:
    from trio_actor_graph.observe.log_tree import TaskNode, log_tree

    # Tasks come before their lines, so all of the lines' tasks are known when they are asked for
    # last.
    entries = await graph.logs(level=wanted.level)
    tasks = await graph.tasks()
    uids = _uids(tasks, wanted.task)
    lines = [_line(each) for each in entries if uids is None or each.task_uid in uids]
    nodes = [TaskNode(each.uid, each.name, each.state, _parent(each)) for each in tasks]
    console.print(log_tree(about.name, nodes, lines, about.log_lines_dropped))


async def _follow(graph: RemoteGraph, wanted: Wanted, console: Console) -> None:
    from trio_actor_graph.client import RequestFailed
    from trio_actor_graph.observe.log_tree import line_text
    from trio_actor_graph.web.types import GapEvent, GraphEvent, LogEvent

    last = 0

    def show(entries: Iterable[LogEntry]) -> None:
        nonlocal last
        for entry in entries:
            if entry.number <= last:
                continue
            last = entry.number
            if entry.level >= wanted.level and _is_of(entry, wanted.task):
                # Not wrapped: somebody may look for words in it.
                console.print(line_text(_line(entry), with_task=True), soft_wrap=True)

    async with graph.events(kinds=("log", "graph")) as events:
        # From here on nothing is missed: what was logged before is read, what comes is an event.
        show(await graph.logs())
        if (await graph.read()).state == "closed":
            return
        try:
            async for event in events:
                match event:
                    case LogEvent(entry):
                        show((entry,))
                    case GapEvent():
                        show(await graph.logs(after=last))
                    case GraphEvent(happening="closed", graph_uid=uid) if uid == graph.uid:
                        return
        except RequestFailed as error:
            if error.kind != "unknown-graph":  # that is one that was deleted meanwhile
                raise


def _uids(tasks: Iterable[TaskSummary], name_or_uid: str | None) -> set[int] | None:
    if name_or_uid is None:
        return None
    return matching("task", [(each.uid, each.name) for each in tasks], name_or_uid)


def _is_of(entry: LogEntry, name_or_uid: str | None) -> bool:
    return name_or_uid is None or name_or_uid in (entry.task_name, str(entry.task_uid))


def _parent(task: TaskSummary) -> int | None:
    return task.creator or next(iter(task.predecessors), None)


def _line(entry: LogEntry) -> LogLine:
    from trio_actor_graph.logs import LogLine

    values = msgspec.structs.asdict(entry)
    return LogLine(created=values.pop("created_at"), **values)
