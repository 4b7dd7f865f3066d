"""What a worker does between its link being up and being told to stop.

Nothing here knows tractor or the coordinator: a stream comes in, messages go both ways.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from itertools import count
from typing import Any, Final

import trio

from trio_actor_graph.begun import BegunMarks
from trio_actor_graph.calls import AnyFunction
from trio_actor_graph.link import Link
from trio_actor_graph.messages import (
    DefineFunction,
    StartUp,
    StopWorker,
    ToWorker,
    WorkerReady,
    WorkerUnable,
)
from trio_actor_graph.outcome import describe_exception
from trio_actor_graph.payload import decode_value
from trio_actor_graph.worker.functions import ReceivedFunctions
from trio_actor_graph.worker.runner import AttemptRunner

UNABLE_SECONDS: Final = 5.0
"""How long a worker that cannot start waits for the coordinator to have read why."""


async def serve(stream: trio.SocketStream) -> None:
    """Be a worker until the coordinator says stop or closes the link."""
    link: Link[Any] = Link(stream, ToWorker)
    try:
        async with trio.open_nursery() as nursery, aclosing(link.receive()) as batches:
            nursery.start_soon(link.drain)
            first: list[Any] = await anext(batches, [])
            if first:
                start_up, *messages = first
                await _serve_loop(link, start_up, messages, batches)
            nursery.cancel_scope.cancel()
    finally:
        await link.aclose()


async def _serve_loop(
    link: Link[Any], start_up: StartUp, messages: list[Any], batches: AsyncIterator[list[Any]]
) -> None:
    ids = count(start_up.first_id)
    functions = ReceivedFunctions(
        start_up.coordinator_id, ids, lambda message: link.send([message])
    )
    async with AsyncExitStack() as stack:
        try:
            _load(functions, start_up)
            setup = decode_value(start_up.setup) if start_up.setup else None
            context = await stack.enter_async_context(
                open_worker_context(setup, start_up.worker_index)
            )
        except (Exception, SystemExit) as error:
            link.send([WorkerUnable(describe_exception(error, frames_hidden=1).traceback)])
            with trio.move_on_after(UNABLE_SECONDS):
                await anext(batches, None)
            return
        async with trio.open_nursery() as nursery:
            runner = AttemptRunner(
                start_up.slots,
                functions,
                link.send,
                nursery,
                ids,
                start_up.registered,
                start_up.loops,
                worker_context=context,
                marks=BegunMarks(start_up.begun_path, start_up.slots),
            )
            nursery.start_soon(runner.run)
            link.send([WorkerReady(os.getpid())])
            await _take_messages(runner, functions, messages, batches)
            nursery.cancel_scope.cancel()


async def _take_messages(
    runner: AttemptRunner,
    functions: ReceivedFunctions,
    messages: list[Any],
    batches: AsyncIterator[list[Any]],
) -> None:
    """Hand every batch to the runner until there is an end to them."""
    while True:
        for message in messages:
            if isinstance(message, DefineFunction):
                functions.define(message)
        runner.handle(messages)
        if any(isinstance(message, StopWorker) for message in messages):
            return
        try:
            messages = await anext(batches)
        except StopAsyncIteration:
            return


def _load(functions: ReceivedFunctions, start_up: StartUp) -> None:
    """Load the loop's own functions now: if one cannot be imported, the loop cannot start."""
    for message in start_up.functions:
        functions.define(message)
        decode_value(message.payload)
        functions.load(message.function_id)


@asynccontextmanager
async def open_worker_context(setup: AnyFunction | None, index: int) -> AsyncIterator[object]:
    """Run a loop's `setup` and hold what it opened.

    `setup(index)` may be a function, a coroutine function, or return an async context manager,
    which is left when the worker stops.
    """
    if setup is None:
        yield None
        return
    value = setup(index)
    if inspect.isawaitable(value):
        value = await value
    if hasattr(value, "__aenter__") and hasattr(value, "__aexit__"):
        async with value as opened:
            yield opened
    else:
        yield value
