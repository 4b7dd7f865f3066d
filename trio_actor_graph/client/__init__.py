"""A client of the HTTP API, for other programs that run on trio. Needs httpx, the extra "client".

It uses the words of the API, and its structs (`trio_actor_graph.web.types`):

    async with open_client("http://127.0.0.1:8000", token=token) as client:
        graph = await client.create_graph("sums")
        first, = await graph.push(NewTask("add", args=(1, 2)))
        second, = await graph.push(NewTask("add", args=(first, 3)))
        print(await second.result())
"""

from trio_actor_graph.extras import missing_extra

try:
    import httpx as _httpx  # noqa: F401  everything here stands on it
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        missing_extra("trio_actor_graph.client needs", "client", error), name=error.name
    ) from error

from trio_actor_graph.client.api import Client, RemoteGraph, RemoteTask, open_client
from trio_actor_graph.client.events import Events
from trio_actor_graph.client.requests import RequestFailed
from trio_actor_graph.web.types import NewTask, RetryOptions, TasksCondition

__all__ = [
    "Client",
    "Events",
    "NewTask",
    "RemoteGraph",
    "RemoteTask",
    "RequestFailed",
    "RetryOptions",
    "TasksCondition",
    "open_client",
]
