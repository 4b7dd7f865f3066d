"""What the tests of the HTTP server have in common: a server to talk to, and task functions."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from trio_actor_graph import Coordinator, WorkerLoop, current_task, open_coordinator
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.server import HttpServer


def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    The second line of this is nobody's business.
    """
    return a + b


def echo(*args: Any, **kwargs: Any) -> Any:
    return {"args": list(args), "kwargs": kwargs}


def fail(text: str = "no") -> None:
    raise ValueError(text)


def fail_once() -> int:
    if current_task().attempt == 1:
        raise ValueError("the first time")
    return current_task().attempt


def die_once() -> int:
    if current_task().attempt == 1:
        os._exit(3)
    return current_task().attempt


def nonfinite() -> Any:
    return {"x": [1.0, float("nan")], "y": None}


def cannot_set_up(worker_index: int) -> None:
    raise OSError("no such device")


class Odd:
    """A class that JSON knows nothing of."""


def odd() -> Any:
    return [1, Odd()]


@dataclasses.dataclass
class Point:
    x: int
    y: float | None


def point() -> Point:
    return Point(1, None)


def large(size: int) -> str:
    return "x" * size


def spawn(number: int) -> int:
    task = current_task()
    for each in range(number):
        task.create_task("add", each)
    return number


async def sleep(seconds: float) -> float:
    await trio.sleep(seconds)
    return seconds


async def forever() -> None:
    await trio.sleep_forever()


def spin() -> None:
    while True:
        time.sleep(0.01)


FUNCTIONS = [
    *(
        add,
        echo,
        fail,
        fail_once,
        die_once,
        nonfinite,
        odd,
        point,
        large,
        spawn,
        sleep,
        forever,
        spin,
    ),
]

# Tasks in the coordinator's own process begin at once; where it matters, tests take processes.
HERE = (WorkerLoop("default", processes=0, concurrency=100),)


@dataclasses.dataclass
class Serving:
    """A server, its coordinator and a client of it that has the token."""

    coordinator: Coordinator
    server: HttpServer
    http: httpx.AsyncClient

    async def create(
        self, *tasks: dict[str, Any], name: str | None = None
    ) -> tuple[int, list[int]]:
        """Create a graph of these tasks; returns its uid and theirs."""
        body: dict[str, Any] = {"tasks": list(tasks)}
        if name is not None:
            body["name"] = name
        answer = await self.http.post("/v1/graphs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["graph"]["uid"], [task["uid"] for task in answer.json()["tasks"]]

    async def wait_running(self) -> dict[str, Any]:
        """Wait until some worker runs something; returns that worker."""
        with trio.fail_after(20):
            while True:
                for worker in (await self.get("/v1/workers"))["workers"]:
                    if worker["is_ready"] and worker["running"]:
                        return dict(worker)
                await trio.sleep(0.02)

    async def get(self, path: str, **parameters: Any) -> Any:
        answer = await self.http.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def result(self, graph: int, task: int, wait: float = 20) -> Any:
        answer = await self.get(f"/v1/graphs/{graph}/tasks/{task}/result", wait=wait)
        return answer["value"]


@asynccontextmanager
async def serving(
    loops: Iterable[WorkerLoop] = HERE, *, port: int | None = 0, **options: Any
) -> AsyncIterator[Serving]:
    limits = HttpLimits(**options.pop("limits", {}))
    async with (
        open_coordinator(loops, functions=FUNCTIONS) as coordinator,
        coordinator.serve_http(port=port, limits=limits, **options) as server,
        client_of(server) as http,
    ):
        yield Serving(coordinator, server, http)


def client_of(server: HttpServer, **options: Any) -> httpx.AsyncClient:
    """A client with the token."""
    path = None if server.socket_path is None else str(server.socket_path)
    headers = {} if server.token is None else {"Authorization": f"Bearer {server.token}"}
    transport = httpx.AsyncHTTPTransport(uds=path)
    return httpx.AsyncClient(
        base_url=server.url, transport=transport, headers=headers, timeout=30, **options
    )


def is_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Hold an answer to be a problem document of this kind, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["title"]
    return problem


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so that nobody tells of."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
