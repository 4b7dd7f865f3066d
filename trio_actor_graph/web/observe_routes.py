"""What a graph has done, to look at: its logs, its picture, its trace and its critical path."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trio_actor_graph.errors import GraphError
from trio_actor_graph.extras import missing_extra
from trio_actor_graph.graph.reading import ancestors, descendants
from trio_actor_graph.graph.records import GraphRecord, TaskRecord
from trio_actor_graph.logs import LogLine, select
from trio_actor_graph.observe.critical_path import critical_path
from trio_actor_graph.observe.trace import trace_of
from trio_actor_graph.web.answers import Answer, json_answer
from trio_actor_graph.web.graphs import SeenGraph
from trio_actor_graph.web.paging import decode_cursor, encode_cursor
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.queries import LogsQuery, PictureQuery, TaskLogsQuery, said
from trio_actor_graph.web.routing import Asked, Route
from trio_actor_graph.web.task_routes import task_asked_for
from trio_actor_graph.web.types import CriticalPath, CriticalStep, LogPage
from trio_actor_graph.web.views import log_entry, shown_name

if TYPE_CHECKING:
    from trio_actor_graph.observe.drawing.picture import Picture

SVG: Final = "image/svg+xml"

LOG_PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""How large a page of log lines may be before it ends early: lines may have 128 KiB each."""

_NUMBER: Final = re.compile("[0-9]{1,9}")

_threads: Final = trio.CapacityLimiter(1)
"""Laying out and encoding take a while; one at a time leaves the program its other core."""


async def graph_logs(asked: Asked) -> Answer:
    """What the tasks of a graph have logged, in the order of its arrival."""
    query: LogsQuery = asked.query
    return _logs(asked.serving.graphs.get(asked.path["graph"]), query, None, None)


async def task_logs(asked: Asked) -> Answer:
    """What a task has logged; with what led to it or what came of it, if asked."""
    query: TaskLogsQuery = asked.query
    task = task_asked_for(asked)
    tasks = [task]
    if query.scope == "ancestors":
        tasks += ancestors(task)
    elif query.scope == "descendants":
        tasks += descendants(task.graph.tasks.values(), task)
    return _logs(asked.serving.graphs.get(asked.path["graph"]), query, tasks, said(query.attempt))


def _logs(
    seen: SeenGraph, query: LogsQuery, tasks: list[TaskRecord] | None, attempt: int | None
) -> Answer:
    what = f"logs-{seen.record.uid}"
    after = decode_cursor(what, cursor) if (cursor := said(query.cursor)) else query.after
    store = seen.log_store
    found = store.of_all(after) if tasks is None else store.of_tasks([t.uid for t in tasks], after)
    level = int(query.level) if _NUMBER.fullmatch(query.level) else query.level
    try:
        lines = select(found, level, attempt, query.limit + 1)
    except GraphError as error:
        raise ProblemRaised("bad-parameter", str(error)) from error
    page = _first_bytes(lines[: query.limit])
    last = page[-1].number if page else after
    return json_answer(
        LogPage(
            lines=tuple(map(log_entry, page)),
            next_cursor=encode_cursor(what, last),
            is_end=len(page) == len(lines),
            dropped=store.dropped,
        )
    )


def _first_bytes(lines: tuple[LogLine, ...]) -> tuple[LogLine, ...]:
    size = 0
    for number, line in enumerate(lines):
        size += line.size
        if size > LOG_PAGE_BYTES_MAX and number:
            return lines[:number]
    return lines


async def draw_graph(asked: Asked) -> Answer:
    """A picture of a graph as it is now; above a few hundred tasks like ones are folded."""
    query: PictureQuery = asked.query
    try:
        from trio_actor_graph.observe.drawing.seeing import picture_of

        picture = picture_of(_record(asked))
        svg = await _in_thread(partial(_svg, picture, query))
    except ModuleNotFoundError as error:
        detail = missing_extra("pictures need", "draw", error)
        raise ProblemRaised("not-supported", detail) from error
    # It is shown by itself too, where a script or a link in it would be a page's.
    policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return Answer(svg, media_type=SVG, headers={"Content-Security-Policy": policy})


def _svg(picture: Picture, query: PictureQuery) -> bytes:
    from trio_actor_graph.observe.drawing.folding import fold
    from trio_actor_graph.observe.drawing.scene import scene_of
    from trio_actor_graph.observe.drawing.svg import svg_text

    scene = scene_of(fold(picture, query.nodes_max, query.direction), query.direction)
    return svg_text(scene, "task-graph").encode()


def _record(asked: Asked) -> GraphRecord:
    """The record of the graph that the path names.

    Raises:
        ProblemRaised: there is none, or it is too large to be gone through at once.
    """
    server = asked.serving
    record = server.graphs.get(asked.path["graph"]).record
    tasks_max, edges_max = server.limits.observed_tasks, server.limits.observed_edges
    if len(record.tasks) > tasks_max:
        raise _too_large(f"{len(record.tasks):,} tasks", f"{tasks_max:,}")
    # Each is gone through, and a graph of few tasks may have as many as their number squared.
    edges = sum([len(task.predecessors) for task in record.tasks.values()])
    if edges > edges_max:
        raise _too_large(f"tasks with {edges:,} predecessors in all", f"{edges_max:,}")
    return record


def _too_large(what: str, most: str) -> ProblemRaised:
    return ProblemRaised(
        "graph-too-large", f"it has {what}, and at most {most} are looked at together"
    )


async def trace_graph(asked: Asked) -> Answer:
    """What ran when and where, in the Trace Event Format that Perfetto and Chrome read."""
    trace = trace_of(_record(asked))
    encode = partial(msgspec.json.encode, trace)
    body = await _in_thread(encode)
    name = f'attachment; filename="graph-{asked.path["graph"]}-trace.json"'
    return Answer(body, headers={"Content-Disposition": name})


async def _in_thread(work: Callable[[], bytes]) -> bytes:
    """Do what only computes. When the server stops it is not waited for, and its bytes are lost."""
    # trio < 0.23 calls it `cancellable`, and the type stubs know no other name.
    how: dict[str, Any] = {"abandon_on_cancel": True}
    done: bytes = await trio.to_thread.run_sync(work, limiter=_threads, **how)
    return done


async def find_critical_path(asked: Asked) -> Answer:
    """The tasks that made the run as long as it was, from the first to the last."""
    path = critical_path(_record(asked), perf_counter())
    steps = tuple(
        CriticalStep(
            uid=step.uid,
            name=shown_name(step.name),
            worker=step.worker,
            because=step.because,
            waited_seconds=step.waited_seconds,
            seconds=step.seconds,
            attempts=step.attempts,
        )
        for step in path.steps
    )
    return json_answer(CriticalPath(path.seconds, steps))


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/graphs/{graph}/logs",
        name="readGraphLogs",
        handler=graph_logs,
        query=LogsQuery,
        answers={200: LogPage},
        problems=("unknown-graph", "bad-cursor"),
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/tasks/{task}/logs",
        name="readTaskLogs",
        handler=task_logs,
        query=TaskLogsQuery,
        answers={200: LogPage},
        problems=("unknown-graph", "unknown-task", "bad-cursor"),
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/picture.svg",
        name="drawGraph",
        handler=draw_graph,
        query=PictureQuery,
        answers={200: SVG},
        problems=("unknown-graph", "graph-too-large", "not-supported"),
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/trace",
        name="traceGraph",
        handler=trace_graph,
        answers={200: msgspec.Raw},
        problems=("unknown-graph", "graph-too-large"),
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/critical-path",
        name="findCriticalPath",
        handler=find_critical_path,
        answers={200: CriticalPath},
        problems=("unknown-graph", "graph-too-large"),
    ),
)
