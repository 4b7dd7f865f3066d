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
from trio_actor_graph.buffers.handing_over import open_worker_pool
from trio_actor_graph.buffers.pool import SPARE_SECONDS, SegmentPool
from trio_actor_graph.buffers.windows import windows
from trio_actor_graph.calls import AnyFunction
from trio_actor_graph.carrying import Carrier
from trio_actor_graph.link import FRAME_BYTES_MAX, REPORT_BYTES_MAX, Link
from trio_actor_graph.messages import (
    StartUp,
    ToWorker,
    WorkerReady,
    WorkerUnable,
)
from trio_actor_graph.outcome import describe_exception
from trio_actor_graph.payload import decode_value
from trio_actor_graph.worker.functions import ReceivedFunctions
from trio_actor_graph.worker.logs import open_log_sender
from trio_actor_graph.worker.output import open_task_output
from trio_actor_graph.worker.reading import LinkReading
from trio_actor_graph.worker.runner import AttemptRunner

UNABLE_SECONDS: Final = 5.0
"""How long a worker that cannot start waits for the coordinator to have read why."""


async def serve(stream: trio.SocketStream) -> None:
    """Be a worker until the coordinator says stop or closes the link."""
    link: Link[Any] = Link(
        stream,
        ToWorker,
        sent_frame_bytes_max=REPORT_BYTES_MAX,
        received_frame_bytes_max=FRAME_BYTES_MAX,
    )
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
    async with trio.open_nursery() as beating, AsyncExitStack() as stack:
        stack.callback(beating.cancel_scope.cancel)  # the last of all
        sender = stack.enter_context(open_log_sender(start_up.logs, link))
        try:
            _load(functions, start_up)
            setup = decode_value(start_up.setup) if start_up.setup else None
            context = await stack.enter_async_context(
                open_worker_context(setup, start_up.worker_index)
            )
            if sender is not None:
                sender.see_installed()
            marks = BegunMarks(start_up.begun_path, start_up.slots)
        except (Exception, SystemExit) as error:
            link.send([WorkerUnable(describe_exception(error, frames_hidden=1).traceback)])
            with trio.move_on_after(UNABLE_SECONDS):
                await anext(batches, None)
            return
        if start_up.heartbeat_seconds is not None:
            beating.start_soon(_beat, marks, start_up.heartbeat_seconds)
        async with trio.open_nursery() as nursery:
            # Its lambda looks for a runner that is there as soon as there is a value.
            pool = open_worker_pool(start_up.begun_path, lambda: runner.flush())  # noqa: PLW0108
            runner = AttemptRunner(
                start_up.slots,
                functions,
                link.send,
                nursery,
                ids,
                start_up.registered,
                start_up.loops,
                worker_context=context,
                marks=marks,
                wait_for_room=link.wait_for_room,
                pool=pool,
                carrier=Carrier(start_up.carried),
            )
            if sender is not None:
                sender.attach(runner)
                if start_up.logs is not None and start_up.logs.captures_output:
                    out, err = stack.enter_context(open_task_output(sender))
                    sender.at_ends(out.end, err.end)
            reading = LinkReading(link, runner)
            if start_up.slots == 1:
                runner.reading = reading
            nursery.start_soon(runner.run)
            if pool is not None:
                nursery.start_soon(_trim, pool)
            link.send([WorkerReady(os.getpid())])
            try:
                grace_seconds = await reading.run(messages)
            finally:
                runner.close()
            graceful_until = trio.current_time() + grace_seconds
            nursery.cancel_scope.cancel()
        with trio.move_on_at(graceful_until):
            await runner.wait_threads()


async def _beat(marks: BegunMarks, seconds: float) -> None:
    """Note again and again that trio runs here; begins with one beat, before anybody can wait."""
    while True:
        marks.beat()
        await trio.sleep(seconds)


async def _trim(pool: SegmentPool) -> None:
    """Let go the memory of large values that is not used again."""
    windows.keeps = True
    while True:
        await trio.sleep(SPARE_SECONDS)
        pool.trim()
        windows.trim()


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
