"""What can be done with graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from trio_actor_graph.web.answers import EVENT_STREAM, Answer, Streamed, json_answer
from trio_actor_graph.web.paging import decode_cursor, encode_cursor
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.pushing import check_batch, create, kept
from trio_actor_graph.web.queries import EventsQuery, GraphsQuery, said
from trio_actor_graph.web.routing import Asked, Route
from trio_actor_graph.web.sse import stream_events
from trio_actor_graph.web.types import CreatedGraph, Graph, GraphPage, NewGraph


async def list_graphs(asked: Asked) -> Answer:
    """The graphs that there are, oldest first."""
    query: GraphsQuery = asked.query
    graphs = asked.serving.graphs
    after = decode_cursor("graphs", said(query.cursor))
    found = [
        seen
        for seen in graphs.all()
        if seen.record.uid > after and (not query.state or seen.state in query.state)
    ]
    page = list(islice(found, query.limit))
    is_last = len(found) <= len(page)
    cursor = None if is_last else encode_cursor("graphs", page[-1].record.uid)
    return json_answer(GraphPage(tuple(map(graphs.view, page)), cursor))


async def create_graph(asked: Asked) -> Answer:
    """Create a graph with its first tasks: all of it happens, or nothing.

    It stays open, and takes more tasks, until it is deleted.
    """
    new: NewGraph = asked.body
    server = asked.serving
    # Before anything is opened.
    batch = check_batch(server.coordinator, new.tasks, None, may_refer=asked.may_refer)
    graph = await server.graphs.open(server.nursery, new)
    try:
        tasks = create(server.coordinator, graph, batch)
        server.graphs.keep(graph, kept(graph, new.tasks, tasks))
    except Exception:  # somebody has been quick to cancel it
        await server.graphs.delete(graph.uid)
        raise
    view = server.graphs.view(server.graphs.get(graph.uid))
    return json_answer(CreatedGraph(view, tasks), 201, {"Location": f"/v1/graphs/{graph.uid}"})


async def read_graph(asked: Asked) -> Answer:
    """A graph: its state, and how many of its tasks are in which."""
    graphs = asked.serving.graphs
    body = msgspec.json.encode(graphs.view(graphs.get(asked.path["graph"])))
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if _matches(asked.headers.get("if-none-match"), etag):
        return Answer(status=304, headers=headers)
    return Answer(body, headers=headers)


async def cancel_graph(asked: Asked) -> Answer:
    """End every task of a graph that has not ended; it takes no more."""
    graphs = asked.serving.graphs
    graphs.get_live(asked.path["graph"]).cancel()
    return json_answer(graphs.view(graphs.get(asked.path["graph"])))


async def delete_graph(asked: Asked) -> Answer:
    """Cancel what is left of a graph that was created over HTTP, and forget it."""
    await asked.serving.graphs.delete(asked.path["graph"])
    return Answer(status=204)


async def graph_events(asked: Asked) -> Streamed:
    """What happens in a graph, as server-sent events; and what happens to workers."""
    asked.serving.graphs.get(asked.path["graph"])
    return _events(asked, asked.path["graph"])


async def all_events(asked: Asked) -> Streamed:
    """What happens in all graphs and to workers, as server-sent events."""
    return _events(asked, None)


def _events(asked: Asked, graph_uid: int | None) -> Streamed:
    query: EventsQuery = asked.query
    # A browser that comes back sends its own; the parameter is where it had begun.
    after = asked.headers.get("last-event-id") or said(query.after)
    kinds = frozenset(kind for text in query.kinds for kind in text.split(",") if kind)
    unknown = kinds - _KINDS
    if unknown:
        names = ", ".join(sorted(_KINDS))
        raise ProblemRaised("bad-parameter", f"kinds are {names}, not {', '.join(sorted(unknown))}")
    return stream_events(asked.serving, after, graph_uid, kinds)


_KINDS: Final = frozenset({"task", "graph", "worker", "log"})


def _matches(if_none_match: str | None, etag: str) -> bool:
    tags: Iterable[str] = (if_none_match or "").split(",")
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in tags)


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/graphs",
        name="listGraphs",
        handler=list_graphs,
        query=GraphsQuery,
        answers={200: GraphPage},
        problems=("bad-cursor",),
    ),
    Route(
        method="POST",
        path="/v1/graphs",
        name="createGraph",
        handler=create_graph,
        body=NewGraph,
        answers={201: CreatedGraph},
        problems=("graph-closed", "bad-batch", "too-many-graphs"),
        has_key=True,
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}",
        name="readGraph",
        handler=read_graph,
        headers={"If-None-Match": "The ETag of an earlier answer: 304 if nothing has changed."},
        answers={200: Graph, 304: None},
        problems=("unknown-graph",),
    ),
    Route(
        method="DELETE",
        path="/v1/graphs/{graph}",
        name="deleteGraph",
        handler=delete_graph,
        answers={204: None},
        problems=("unknown-graph", "not-remote"),
    ),
    Route(
        method="POST",
        path="/v1/graphs/{graph}/cancel",
        name="cancelGraph",
        handler=cancel_graph,
        answers={200: Graph},
        problems=("unknown-graph", "graph-closed"),
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/events",
        name="streamGraphEvents",
        handler=graph_events,
        query=EventsQuery,
        headers={"Last-Event-ID": "The id of the last event that was received."},
        answers={200: EVENT_STREAM},
        problems=("unknown-graph", "too-many-subscribers"),
    ),
    Route(
        method="GET",
        path="/v1/events",
        name="streamEvents",
        handler=all_events,
        query=EventsQuery,
        headers={"Last-Event-ID": "The id of the last event that was received."},
        answers={200: EVENT_STREAM},
        problems=("too-many-subscribers",),
    ),
)
