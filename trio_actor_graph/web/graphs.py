"""The graphs that can be seen over HTTP: those the app has open, and those opened over HTTP.

The latter are opened here, each in a task of its own, and stay open until somebody deletes them or
the server ends. Graphs that the app has closed can be read for a while, by their records alone:
their results belong to the app, and go when it lets them go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trio_actor_graph.errors import GraphError, GraphStalled, TaskFailed, WorkerStartError
from trio_actor_graph.graph.records import GraphRecord, TaskRecord
from trio_actor_graph.graph.states import GraphState
from trio_actor_graph.logs import LogStore, cut
from trio_actor_graph.observers import GraphHappening, Observer
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.types import Graph, NewGraph
from trio_actor_graph.web.views import shown_name
from trio_actor_graph.web.waiting import first_of

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.task import Task


class SeenGraph:
    """A graph as HTTP sees it.

    Attributes:
        log_store: what its tasks have logged.
        live: its handle; None if it has been closed.
    """

    def __init__(
        self,
        record: GraphRecord,
        log_store: LogStore,
        live: TaskGraph | None,
        view: Graph | None = None,
    ):
        self.record = record
        self.log_store = log_store
        self.live = live
        self._view = view

    def view(self, is_remote: bool) -> Graph:
        if self.live is not None:
            return _view(self.live, is_remote)
        assert self._view is not None
        return self._view

    @property
    def state(self) -> GraphState:
        return "closed" if self.live is None else self.live.state


class _Remote:
    """A graph that was opened over HTTP."""

    def __init__(self, graph: TaskGraph):
        self.graph = graph
        self.is_deleted = trio.Event()
        self.is_closed = trio.Event()


class Graphs(Observer):
    """All graphs that one server shows.

    Args:
        stopping: set when the server ends.
    """

    wants_moves = False

    def __init__(self, coordinator: Coordinator, limits: HttpLimits, stopping: trio.Event):
        self._coordinator = coordinator
        self._limits = limits
        self._stopping = stopping
        self._kept: dict[int, list[Task[Any]]] = {}  # handles, by the uid of an open graph
        self._remote: dict[int, _Remote] = {}
        self._closed: dict[int, SeenGraph] = {}  # oldest first
        self._opening = 0

    def all(self) -> list[SeenGraph]:
        """All of them, oldest first."""
        live = (
            SeenGraph(graph.record, graph.log_store, graph) for graph in self._coordinator.graphs
        )
        seen = {each.record.uid: each for each in (*self._closed.values(), *live)}
        return [seen[uid] for uid in sorted(seen)]

    def get(self, uid: int) -> SeenGraph:
        """The graph with a uid.

        Raises:
            ProblemRaised: there is none.
        """
        graph = self._coordinator.graph(uid)
        if graph is not None:
            return SeenGraph(graph.record, graph.log_store, graph)
        if uid in self._closed:
            return self._closed[uid]
        raise ProblemRaised("unknown-graph", f"there is no graph {uid}")

    def get_live(self, uid: int) -> TaskGraph:
        """The same for something that a closed graph cannot do.

        Raises:
            ProblemRaised: there is none, or it has been closed.
        """
        seen = self.get(uid)
        if seen.live is None:
            raise ProblemRaised("graph-closed", f"graph {seen.record.name!r} has been closed")
        return seen.live

    def get_open(self, uid: int) -> TaskGraph:
        """The same for new tasks.

        Raises:
            ProblemRaised: there is none, or it takes none.
        """
        graph = self.get_live(uid)
        if graph.state not in ("running", "idle"):
            raise ProblemRaised("graph-closed", f"graph {graph.name!r} is {graph.state}")
        return graph

    def is_remote(self, uid: int) -> bool:
        return uid in self._remote

    def view(self, seen: SeenGraph) -> Graph:
        return seen.view(seen.record.uid in self._remote)

    # ---- those opened over HTTP -------------------------------------------------------------

    async def open(self, nursery: trio.Nursery, new: NewGraph) -> TaskGraph:
        """Open a graph that stays open until it is deleted, without its tasks.

        Raises:
            ProblemRaised: there are too many.
        """
        if len(self._remote) + self._opening >= self._limits.remote_graphs:
            raise ProblemRaised("too-many-graphs", f"{self._limits.remote_graphs} are open")
        self._opening += 1
        # Its tasks would live as long as it is open, with handles among their arguments.
        new = msgspec.structs.replace(new, tasks=())
        try:
            graph: TaskGraph = await nursery.start(self._hold, new)
        finally:
            self._opening -= 1
        return graph

    async def delete(self, uid: int) -> None:
        """End whatever runs in a graph that was opened over HTTP, and close it.

        Raises:
            ProblemRaised: it is not one of those.
        """
        remote = self._remote.get(uid)
        if remote is None:
            graph = self.get(uid)
            raise ProblemRaised(
                "not-remote", f"graph {graph.record.name!r} was not created over HTTP"
            )
        remote.is_deleted.set()
        await remote.is_closed.wait()

    async def _hold(self, new: NewGraph, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        remote: _Remote | None = None
        try:
            async with self._coordinator.open_graph(
                new.name,
                on_failure=new.on_failure,
                keep_results=new.keep_results,
                stored_bytes_max=new.stored_bytes_max,
            ) as graph:
                remote = self._remote[graph.uid] = _Remote(graph)
                task_status.started(graph)
                try:
                    await remote.is_deleted.wait()
                except trio.Cancelled:
                    # By a failure that has ended the graph, which can be read all the same; or by
                    # the end of the server, which has been told by then.
                    with trio.CancelScope(shield=True):
                        await first_of(remote.is_deleted.wait, self._stopping.wait)
                    raise
                finally:
                    graph.cancel()
        except* (GraphError, GraphStalled, TaskFailed, WorkerStartError):
            # A stall and failures were told as states; or the coordinator has been closed. Whatever
            # becomes of a client's tasks is no reason to end the server.
            pass
        finally:
            if remote is not None:
                del self._remote[remote.graph.uid]
                remote.is_closed.set()

    # ---- results that clients want to read --------------------------------------------------

    def keep(self, graph: TaskGraph, tasks: list[TaskRecord]) -> None:
        """Keep the results of these tasks until their graph is closed."""
        if tasks:
            self._kept.setdefault(graph.uid, []).extend(map(graph.handle, tasks))

    # ---- those the app has closed -----------------------------------------------------------

    def on_graph(self, graph: TaskGraph, happening: GraphHappening) -> None:
        if happening != "closed":
            return
        self._kept.pop(graph.uid, None)
        if graph.uid in self._remote:
            return
        view = _view(graph, False, "closed")
        self._closed[graph.uid] = SeenGraph(graph.record, graph.log_store, None, view)
        while self._has_too_many_closed():
            del self._closed[next(iter(self._closed))]

    def _has_too_many_closed(self) -> bool:
        limits, closed = self._limits, self._closed.values()
        return (
            len(closed) > limits.closed_graphs
            or sum(len(seen.record.tasks) for seen in closed) > limits.closed_tasks
            or sum(len(seen.log_store) for seen in closed) > limits.closed_log_lines
            or sum(seen.log_store.size for seen in closed) > limits.closed_log_bytes
        )


def _view(graph: TaskGraph, is_remote: bool, state: GraphState | None = None) -> Graph:
    story, fatal = graph.stall_story, graph.cancelled_because
    return Graph(
        uid=graph.uid,
        name=shown_name(graph.name),
        state=state or graph.state,
        counts=graph.counts(),
        stored_bytes=graph.stored_bytes,
        is_remote=is_remote,
        created_at=graph.opened_at,
        ended_at=graph.ended_at,
        story=None if story is None else cut(story),
        log_lines_dropped=graph.logs_dropped,
        on_failure=graph.on_failure,
        keep_results="needed" if graph.counts_needs else "all",
        stored_bytes_max=graph.results.bytes_max,
        cancelled_because=None if fatal is None else fatal.uid,
    )
