"""The client: what can be asked of a server, of its graphs, and of their tasks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from trio_actor_graph.client.events import GIVE_UP_SECONDS, Events
from trio_actor_graph.client.requests import RequestFailed, Requests, decoded, new_key
from trio_actor_graph.client.sending import condition_as_sent, tasks_as_sent
from trio_actor_graph.errors import (
    GraphError,
    ResultReleased,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    TrioActorGraphError,
)
from trio_actor_graph.graph.states import GraphState, TaskState
from trio_actor_graph.web.types import (
    PAGE_MAX,
    WAIT_SECONDS_MAX,
    Cancellation,
    CreatedGraph,
    CriticalPath,
    Explanation,
    Graph,
    GraphPage,
    Health,
    LogEntry,
    LogPage,
    NewGraph,
    NewPredecessor,
    NewTask,
    NewTasks,
    PushedTasks,
    Result,
    StandsForTask,
    TaskInfo,
    TaskPage,
    TasksCondition,
    TaskSummary,
    TaskType,
    TaskTypes,
    Worker,
    Workers,
)

TIMEOUT_SECONDS: Final = 30.0
"""How long an answer may take, beyond what a long poll waits."""

POLL_SECONDS: Final = 20.0
"""How long one request waits for a result; proxies cut what takes a minute."""


@asynccontextmanager
async def open_client(
    server: str | os.PathLike[str],
    *,
    token: str | None = None,
    token_path: str | os.PathLike[str] | None = None,
) -> AsyncIterator[Client]:
    """Open a client of a server; leaving it ends its connections.

    Args:
        server: its URL, or the path of its Unix socket.
        token: the token, for a URL.
        token_path: or the file that it is in.

    It connects when something is asked. While there is no server, whatever asks raises
    `httpx.ConnectError`, which is a `httpx.TransportError`, as is the loss of a connection.

    Raises:
        GraphError: the URL is none.
        OSError: the file of the token cannot be read.
    """
    text = os.fspath(server)
    is_url = text.startswith(("http://", "https://"))
    if not is_url and "://" in text:
        raise GraphError(f"{text!r} is neither an http URL nor the path of a socket")
    if token_path is not None:
        token = Path(token_path).read_text(encoding="ascii").strip()  # noqa: ASYNC240  it is short
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=None if is_url else text),
        base_url=text if is_url else "http://localhost",
        headers={} if token is None else {"Authorization": f"Bearer {token}"},
        timeout=TIMEOUT_SECONDS,
    ) as http:
        yield Client(http)


class Client:
    """A server, seen from another program; made by `open_client`.

    Everything, here and of graphs and tasks, may raise `RequestFailed`, with what the server says,
    and `httpx.TransportError` if there is no server, or no answer: `httpx.ConnectError`,
    `httpx.ReadTimeout`, and so on. What can be repeated without harm was then tried three times.
    """

    def __init__(self, http: httpx.AsyncClient):
        self._http = http
        self._requests = Requests(http)

    async def health(self) -> Health:
        return await self._requests.get("/v1/health", Health)

    async def workers(self) -> tuple[Worker, ...]:
        """The workers that there are."""
        return (await self._requests.get("/v1/workers", Workers)).workers

    async def task_types(self) -> tuple[TaskType, ...]:
        """What tasks can be made of."""
        return (await self._requests.get("/v1/task-types", TaskTypes)).task_types

    async def graphs(self, state: Sequence[GraphState] = ()) -> tuple[Graph, ...]:
        """All graphs, or those in one of the states; oldest first."""
        found: list[Graph] = []
        cursor: str | None = None
        while True:
            parameters = {"state": tuple(state), "cursor": cursor, "limit": PAGE_MAX}
            page = await self._requests.get("/v1/graphs", GraphPage, parameters)
            found += page.graphs
            cursor = page.next_cursor
            if cursor is None:
                return tuple(found)

    async def create_graph(
        self,
        name: str | None = None,
        tasks: Sequence[NewTask] = (),
        *,
        on_failure: Literal["continue", "cancel"] = "continue",
        keep_results: Literal["all", "needed"] = "all",
        stored_bytes_max: int | None = None,
        key: str | None = None,
    ) -> RemoteGraph:
        """Create a graph with its first tasks, which are then its `pushed`.

        Args:
            name: for people.
            tasks: all of them are created, or the graph is not.
            on_failure: "cancel" ends the graph at the first failure that no `completed` condition
                waits for; it can be read until it is deleted.
            keep_results: "needed" keeps a result only while a task or a `result()` waits for it,
                and those of tasks with `keep_result`.
            stored_bytes_max: how many bytes of encoded results it keeps; by default half of the
                server's memory.
            key: an Idempotency-Key; by default a new one, so that a lost answer does no harm.
        """
        new = NewGraph(name, tasks_as_sent(tasks), on_failure, keep_results, stored_bytes_max)
        made = await self._requests.post("/v1/graphs", new, CreatedGraph, key=key or new_key())
        graph = self.graph(made.graph.uid)
        graph.pushed = tuple(RemoteTask(graph, task.uid) for task in made.tasks)
        return graph

    def graph(self, uid: int) -> RemoteGraph:
        """The graph with a uid; asks nothing."""
        return RemoteGraph(self._requests, uid)

    def events(
        self,
        after: str | None = None,
        kinds: Sequence[str] = (),
        *,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> Events:
        """What happens in all graphs and to workers: `async with` it, then `async for`.

        Args:
            after: the id of the last event that is known; by default it begins with the next one.
            kinds: only these of "task", "graph", "worker" and "log".
            give_up_seconds: how long the server may be away.
        """
        return Events(self._http, "/v1/events", {"kinds": tuple(kinds)}, after, give_up_seconds)


class RemoteGraph:
    """A graph of the server.

    Attributes:
        uid: its uid.
        pushed: the tasks it was created with, if it was created here.
    """

    def __init__(self, requests: Requests, uid: int):
        self.requests = requests
        self.uid = uid
        self.path = f"/v1/graphs/{uid}"
        self.pushed: tuple[RemoteTask, ...] = ()

    def __repr__(self) -> str:
        return f"<RemoteGraph {self.uid}>"

    async def read(self) -> Graph:
        """Its state, and how many tasks are in which."""
        return await self.requests.get(self.path, Graph)

    async def cancel(self) -> Graph:
        """End all its tasks; it takes no more."""
        return await self.requests.post(f"{self.path}/cancel", {}, Graph)

    async def delete(self) -> None:
        """End all its tasks and forget it; only for those created over HTTP."""
        await self.requests.send("DELETE", self.path)

    async def push(self, *tasks: NewTask, key: str | None = None) -> tuple[RemoteTask, ...]:
        """Push tasks: all of them, or none. A `RemoteTask` in their arguments is its result.

        Args:
            key: an Idempotency-Key; by default a new one, so that a lost answer does no harm.

        Raises:
            TypeError: something in a task cannot be sent, or not there.
        """
        path = f"{self.path}/tasks"
        new = NewTasks(tasks_as_sent(tasks))
        pushed = await self.requests.post(path, new, PushedTasks, key=key or new_key())
        return tuple(RemoteTask(self, task.uid) for task in pushed.tasks)

    def task(self, uid: int) -> RemoteTask:
        """The task with a uid; asks nothing."""
        return RemoteTask(self, uid)

    async def tasks(
        self,
        state: Sequence[TaskState] = (),
        *,
        name: str | None = None,
        function: str | None = None,
        worker_loop: str | None = None,
        worker: str | None = None,
    ) -> tuple[TaskSummary, ...]:
        """All its tasks, or those that are meant, in the order of their creation."""
        found: list[TaskSummary] = []
        parameters = {
            "state": tuple(state),
            "name": name,
            "function": function,
            "worker_loop": worker_loop,
            "worker": worker,
            "limit": PAGE_MAX,
        }
        while True:
            page = await self.requests.get(f"{self.path}/tasks", TaskPage, parameters)
            found += page.tasks
            if page.next_cursor is None:
                return tuple(found)
            parameters = {**parameters, "cursor": page.next_cursor}

    async def logs(self, *, level: str | int = 0, after: int = 0) -> tuple[LogEntry, ...]:
        """What its tasks have logged, as far as it is kept."""
        return await _logs(
            self.requests, f"{self.path}/logs", {"level": str(level), "after": after}
        )

    async def critical_path(self) -> CriticalPath:
        """The tasks that made the run as long as it was."""
        return await self.requests.get(f"{self.path}/critical-path", CriticalPath)

    async def picture(self) -> str:
        """A picture of it as it is now, as SVG."""
        return (await self.requests.send("GET", f"{self.path}/picture.svg")).text

    def events(
        self,
        after: str | None = None,
        kinds: Sequence[str] = (),
        *,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> Events:
        """What happens in it, and to workers; see `Client.events`."""
        parameters = {"kinds": tuple(kinds)}
        return Events(self.requests.http, f"{self.path}/events", parameters, after, give_up_seconds)


class RemoteTask(StandsForTask):
    """A task of a graph of the server.

    In the arguments of a `NewTask` it stands for its result, in a `TasksCondition` for itself, and
    as `waits_on` for its success.
    """

    def __init__(self, graph: RemoteGraph, uid: int):
        self._graph = graph
        self._requests = graph.requests
        self._uid = uid
        self.path = f"{graph.path}/tasks/{uid}"

    @property
    def uid(self) -> int:
        return self._uid

    def __repr__(self) -> str:
        return f"<RemoteTask {self._uid}>"

    async def read(self) -> TaskInfo:
        """All there is to know of it, but its result and its logs."""
        return await self._requests.get(self.path, TaskInfo)

    async def explain(self) -> str:
        """Why it is in the state it is in."""
        return (await self._requests.get(f"{self.path}/explain", Explanation)).story

    async def result(self) -> Any:  # whatever the function returned, as JSON
        """Wait until it has ended, and return its result.

        Raises:
            TaskFailed: its function raised.
            TaskSkipped: its condition can no longer hold.
            TaskCancelled: it was cancelled.
            ResultReleased: the result is no longer kept.
            RequestFailed: the server refuses, or JSON cannot carry the result.
            httpx.TransportError: there is no server.
        """
        while True:
            wait = min(POLL_SECONDS, WAIT_SECONDS_MAX)
            try:
                response = await self._requests.send(
                    "GET", f"{self.path}/result", parameters={"wait": wait}
                )
            except RequestFailed as failed:
                error = self._error(failed)
                if error is failed:
                    raise
                raise error from failed
            if response.status_code == httpx.codes.OK:
                return decoded(response, Result).value

    async def cancel(self, *, successors: bool = False) -> TaskInfo:
        """End it, unless it has ended; with all that waits on it, if asked."""
        body = Cancellation(successors)
        return await self._requests.post(f"{self.path}/cancel", body, TaskInfo)

    async def retry(self) -> TaskInfo:
        """Have it run again after it has failed or was cancelled."""
        return await self._requests.post(f"{self.path}/retry", {}, TaskInfo)

    async def add_predecessor(self, waits_on: TasksCondition | RemoteTask) -> TaskInfo:
        """Have it wait for a condition as well, or for the success of a task.

        Raises:
            RequestFailed: it has begun, or they would wait on each other.
            TypeError: it is neither a condition nor a task.
        """
        body = NewPredecessor(condition_as_sent(waits_on))
        return await self._requests.post(f"{self.path}/predecessors", body, TaskInfo)

    async def logs(
        self,
        scope: str = "task",
        *,
        attempt: int | None = None,
        level: str | int = 0,
        after: int = 0,
    ) -> tuple[LogEntry, ...]:
        """What it has logged; with its "ancestors" or "descendants", if that is the scope."""
        parameters = {"scope": scope, "attempt": attempt, "level": str(level), "after": after}
        return await _logs(self._requests, f"{self.path}/logs", parameters)

    def _error(self, failed: RequestFailed) -> TrioActorGraphError:
        detail = failed.problem.detail
        match failed.kind:
            case "task-failed":
                return TaskFailed(
                    detail,
                    task_uid=self._uid,
                    task_name="",
                    remote_traceback=failed.problem.traceback,
                )
            case "task-skipped":
                return TaskSkipped(detail)
            case "task-cancelled":
                return TaskCancelled(detail)
            case "result-released":
                return ResultReleased(detail)
            case _:
                return failed


async def _logs(
    requests: Requests, path: str, parameters: Mapping[str, object]
) -> tuple[LogEntry, ...]:
    found: list[LogEntry] = []
    parameters = {**parameters, "limit": PAGE_MAX}
    while True:
        page = await requests.get(path, LogPage, parameters)
        found += page.lines
        if page.is_end:
            return tuple(found)
        parameters = {**parameters, "cursor": page.next_cursor}
