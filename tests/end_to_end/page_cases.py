"""What the tests of the live page have in common: functions to watch, a server, and a visit to it.

Playwright's own loop cannot live beside trio's, so a visit is a plain function that runs in a
thread; `trio.from_thread` brings it back for a look at the coordinator.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
from browser import chromium_path, open_browser_page

from trio_actor_graph import Coordinator, TaskGraph, WorkerLoop, current_task, open_coordinator
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.server import HttpServer

T = TypeVar("T")

EVIL_NAME = "<img src=x onerror=document.title='broken'>"
WAIT_MS = 20_000
"""How long something may take to be seen; on a busy machine a browser is slow."""


# Functions


async def wait_for_file(path: str) -> str:
    while not await trio.Path(path).exists():  # noqa: ASYNC110  another process writes it
        await trio.sleep(0.01)
    return path


async def add(*numbers: object) -> int:
    await trio.lowlevel.checkpoint()
    return len(numbers)


def fail(text: str) -> None:
    logging.getLogger("page").warning("about to fail")
    print("<i>printed</i>")
    raise ValueError(text)


def fail_once(text: str) -> int:
    if current_task().attempt == 1:
        raise ValueError(text)
    return current_task().attempt


# Surroundings


@asynccontextmanager
async def open_workers() -> AsyncIterator[Coordinator]:
    """A coordinator with two workers."""
    chromium_path()  # without a browser there is nothing to test
    loops = [WorkerLoop("default", concurrency=4), WorkerLoop("other", functions=[fail, fail_once])]
    async with open_coordinator(loops, capture_output=True) as coordinator:
        yield coordinator


@asynccontextmanager
async def open_served(**limits: Any) -> AsyncIterator[tuple[Coordinator, HttpServer]]:
    """A coordinator with two workers and an HTTP server on the loopback."""
    async with (
        open_workers() as coordinator,
        coordinator.serve_http(port=0, limits=HttpLimits(**limits)) as server,
    ):
        yield coordinator, server


async def hold_graph(
    coordinator: Coordinator,
    name: str,
    path: str,
    task_status: trio.TaskStatus[TaskGraph] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keeps a graph open until its one task has ended, in whatever way."""
    async with coordinator.open_graph(name, on_failure="continue") as graph:
        graph.create_task(wait_for_file, path)
        task_status.started(graph)
        await graph.wait_finished()


@dataclasses.dataclass
class Serving:
    """A server that ends when `stop` is set."""

    server: HttpServer
    port: int
    stop: trio.Event
    stopped: trio.Event


async def serve(
    coordinator: Coordinator,
    token_path: Path,
    port: int,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until it is told to stop; at the same port with the same token, as often as wanted."""
    stopped = trio.Event()
    async with coordinator.serve_http(port=port, token_path=token_path) as server:
        port = int(server.url.rpartition(":")[2])
        serving = Serving(server, port, trio.Event(), stopped)
        task_status.started(serving)
        await serving.stop.wait()
    stopped.set()


async def visit(
    server: HttpServer,
    look: Callable[[Any], T],
    expected_errors: Sequence[str] = (),
    **options: Any,
) -> T:
    """Opens the page, signs in as a person does, and returns what `look(page)` returns.

    Fails if the page has asked another server for anything, or has said an error on its console.
    """
    asked: set[str] = set()

    def run() -> T:
        with open_browser_page("about:blank", expected_errors, **options) as page:
            page.set_default_timeout(WAIT_MS)
            page.on("request", lambda request: asked.add(request.url))
            page.goto(server.url)
            page.fill("#token", server.token)
            page.keyboard.press("Enter")
            page.wait_for_selector("#connection[data-state=live]")
            return look(page)

    result = await trio.to_thread.run_sync(run)
    assert {url for url in asked if not url.startswith(f"{server.url}/")} == set()
    return result


def ask(function: Callable[[], T]) -> T:
    """Runs a function where the coordinator lives, out of a visit."""
    return trio.from_thread.run_sync(function)


def wait_text(page: Any, selector: str, text: str) -> None:
    """Waits until the first element of a selector has this text in it."""
    script = "([s, t]) => document.querySelector(s)?.textContent.includes(t)"
    page.wait_for_function(script, arg=[selector, text])


def pass_time(page: Any, polls: int = 2) -> None:
    """Lets the page come round to what it does every second so many times, by its own clock."""
    script = """(length) => new Promise((resolve) => {
      let left = length;
      const timer = setInterval(() => (left -= 1) < 0 && resolve(clearInterval(timer)), 250);
    })"""
    page.evaluate(script, 4 * polls)


def tiles(page: Any) -> dict[str, int]:
    """The counts on top of the page."""
    script = (
        "() => Object.fromEntries([...document.querySelectorAll('.tile')].map("
        "(tile) => [tile.dataset.state, tile.querySelector('.tile-count').textContent]))"
    )
    return {state: int(text.replace(",", "")) for state, text in page.evaluate(script).items()}
