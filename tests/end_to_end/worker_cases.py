"""A worker in this process, with a test in the coordinator's place.

`serve` runs over a socket pair, so a test sees every message and decides when each one is sent.
Functions travel by name: they are the same objects on both sides, and may wait for the test.
"""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from trio_actor_graph.link import Link
from trio_actor_graph.messages import (
    AttemptSucceeded,
    DefineFunction,
    FromWorker,
    RunAttempt,
    StartUp,
    StopWorker,
    WorkerReady,
)
from trio_actor_graph.payload import decode_value, encode_call, encode_value
from trio_actor_graph.worker.main import serve

M = TypeVar("M", bound=msgspec.Struct)

COORDINATOR = 5
FIRST_ID = 1 << 36
HANG_SECONDS = 20


@dataclasses.dataclass
class Worker:
    """The other end of a worker's link.

    Attributes:
        begun_path: where it notes what runs.
        messages: what it has sent and nobody has looked at.
        history: all that it has sent.
        ended: set when it has closed its end.
        may_read: what it sends is read while this is set.
    """

    link: Link[Any]
    begun_path: str
    messages: list[Any] = dataclasses.field(default_factory=list)
    history: list[Any] = dataclasses.field(default_factory=list)
    ended: trio.Event = dataclasses.field(default_factory=trio.Event)
    arrived: trio.Event = dataclasses.field(default_factory=trio.Event)
    may_read: trio.Event = dataclasses.field(default_factory=trio.Event)
    defined: set[int] = dataclasses.field(default_factory=set)

    def send(self, *messages: msgspec.Struct) -> None:
        self.link.send(messages)

    def run(
        self, attempt_id: int, function: Callable[..., Any], *args: object, **more: Any
    ) -> None:
        """Have an attempt of a function of this module run, as function number 100 and so on."""
        number = more.pop("number", None) or 100 + NUMBERS.setdefault(function, len(NUMBERS))
        if number not in self.defined:
            self.defined.add(number)
            self.send(define(number, function))
        self.send(attempt(attempt_id, number, *args, **more))

    async def expect(self, kind: type[M], attempt_id: int | None = None) -> M:
        """The next message of a kind, of an attempt; those before it stay."""
        with trio.fail_after(HANG_SECONDS):
            while True:
                for message in self.messages:
                    is_its = attempt_id in (None, getattr(message, "attempt_id", None))
                    if isinstance(message, kind) and is_its:
                        self.messages.remove(message)
                        return message
                assert not self.ended.is_set(), self.messages
                await self.arrived.wait()

    async def result(self, attempt_id: int) -> Any:
        return decode_value((await self.expect(AttemptSucceeded, attempt_id)).value)

    async def receive(self) -> None:
        async with aclosing(self.link.receive()) as batches:
            async for batch in batches:
                self.messages += batch
                self.history += batch
                self.arrived.set()
                self.arrived = trio.Event()
                await self.may_read.wait()
        self.ended.set()
        self.arrived.set()


NUMBERS: dict[Callable[..., Any], int] = {}


def define(number: int, function: Callable[..., Any]) -> DefineFunction:
    return DefineFunction(number, f"m:{function.__name__}", encode_value(function, "f"))


def attempt(attempt_id: int, function_id: int, *args: object, **more: Any) -> RunAttempt:
    options = {"priority": 0, "timeout_seconds": None, "retry_on": None, "predecessors": (), **more}
    arguments, _ = encode_call(args, {}, "f")
    return RunAttempt(
        attempt_id=attempt_id,
        uid=1000 + attempt_id,
        attempt_number=1,
        name="f",
        function_id=function_id,
        arguments=arguments,
        **options,
    )


@asynccontextmanager
async def open_worker(
    folder: Path, *, slots: int = 2, heartbeat_seconds: float | None = None, **more: Any
) -> AsyncIterator[Worker]:
    ours, theirs = (
        trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair()
    )
    worker = Worker(Link(ours, FromWorker), str(folder / "begun"))
    worker.may_read.set()
    try:
        with trio.fail_after(2 * HANG_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, theirs)
                nursery.start_soon(worker.link.drain)
                nursery.start_soon(worker.receive)
                options = {"setup": None, "functions": (), "registered": frozenset(), **more}
                worker.send(
                    StartUp(
                        coordinator_id=COORDINATOR,
                        worker_id=1,
                        worker_index=0,
                        loop="default",
                        slots=slots,
                        first_id=FIRST_ID,
                        begun_path=worker.begun_path,
                        heartbeat_seconds=heartbeat_seconds,
                        loops=frozenset({"default"}),
                        **options,
                    )
                )
                await worker.expect(WorkerReady)
                yield worker
                if not worker.ended.is_set():
                    worker.send(StopWorker())
                    await worker.ended.wait()
                nursery.cancel_scope.cancel()
    finally:
        await worker.link.aclose()


class Gate:
    """A function waits at it, in whichever thread; the test sees it there, and lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.opened.wait(2 * HANG_SECONDS)

    async def wait_reached(self) -> None:
        with trio.fail_after(HANG_SECONDS):
            await trio.to_thread.run_sync(self.reached.wait, HANG_SECONDS)
        assert self.reached.is_set()
