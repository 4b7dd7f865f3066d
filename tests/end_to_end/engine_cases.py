"""Both ends of the tests of the process engine: an owner that keeps what it is told, and the awful
bodies that its workers run.

Above the engine there is no coordinator here: nothing is retried, nothing is replaced.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import trio

from trio_actor_graph import messages as msg
from trio_actor_graph.engine.api import WorkerLimits
from trio_actor_graph.engine.processes import ProcessEngine
from trio_actor_graph.errors import ProtocolError
from trio_actor_graph.graph.failures import WorkerEnd
from trio_actor_graph.payload import encode_call, encode_value

NO_LIMITS = WorkerLimits()

# In the coordinator


class Owner:
    """Keeps what an engine tells of its workers."""

    def __init__(self) -> None:
        self.messages: dict[int, list[Any]] = {}
        self.ends: dict[int, WorkerEnd] = {}
        self.worn: list[int] = []
        self.refused: type[Any] | None = None
        self._changed = trio.Event()

    def on_messages(self, worker_id: int, messages: Sequence[Any]) -> None:
        self.messages.setdefault(worker_id, []).extend(messages)
        self._change()
        if self.refused is not None and any(isinstance(m, self.refused) for m in messages):
            raise ProtocolError(f"a {self.refused.__name__} at this time")

    def on_worker_lost(self, worker_id: int, end: WorkerEnd) -> None:
        self.ends[worker_id] = end
        self._change()

    def on_worker_worn(self, worker_id: int) -> None:
        self.worn.append(worker_id)
        self._change()

    async def wait(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Worker:
    """One worker of the engine, as a test sees it."""

    def __init__(self, owner: Owner, engine: ProcessEngine, worker_id: int) -> None:
        self.owner = owner
        self.engine = engine
        self.worker_id = worker_id
        self._attempt_ids = count(worker_id * 1000 + 1)

    @property
    def messages(self) -> list[Any]:
        return self.owner.messages.get(self.worker_id, [])

    @property
    def pid(self) -> int:
        pid = self.engine.pid(self.worker_id)
        assert pid is not None
        return pid

    async def ready(self) -> Worker:
        await self.owner.wait(lambda: self.messages or self.worker_id in self.owner.ends)
        assert self.messages == [msg.WorkerReady(self.pid)]
        return self

    async def has_process(self) -> Worker:
        while self.engine.pid(self.worker_id) is None:  # noqa: ASYNC110 - nobody is told
            await trio.sleep(0.001)
        return self

    def run(self, function: Callable[..., Any], *args: object) -> int:
        """Gives it a task, which gets the next attempt id; returns that."""
        attempt_id = next(self._attempt_ids)
        payload = encode_value(function, "a body")
        arguments, _ = encode_call(args, {}, "a body")
        attempt = msg.RunAttempt(
            attempt_id=attempt_id,
            uid=attempt_id,
            attempt_number=1,
            name=function.__name__,
            function_id=attempt_id,
            priority=0,
            timeout_seconds=None,
            arguments=arguments,
            retry_on=None,
            predecessors=(),
        )
        define = msg.DefineFunction(attempt_id, function.__qualname__, payload)
        assert not self.engine.send(self.worker_id, [define, attempt])
        return attempt_id

    async def end(self) -> WorkerEnd:
        await self.owner.wait(lambda: self.worker_id in self.owner.ends)
        return self.owner.ends[self.worker_id]


class Engine:
    """The engine of one test, and its owner."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.engine = ProcessEngine(self.owner)
        self._ids = count(1)

    def start(
        self,
        limits: WorkerLimits = NO_LIMITS,
        setup: Callable[..., Any] | None = None,
        slots: int = 2,
    ) -> Worker:
        worker_id = next(self._ids)
        start_up = msg.StartUp(
            coordinator_id=1,
            worker_id=worker_id,
            worker_index=0,
            loop="loop",
            slots=slots,
            first_id=worker_id << 36,
            begun_path="",
            heartbeat_seconds=None,
            setup=None if setup is None else encode_value(setup, "setup"),
            functions=(),
            registered=frozenset(),
            loops=frozenset(["loop"]),
        )
        self.engine.start(start_up, limits)
        return Worker(self.owner, self.engine, worker_id)


@asynccontextmanager
async def open_engine() -> AsyncGenerator[Engine]:
    engine = Engine()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.engine.run)
        try:
            yield engine
        finally:
            nursery.cancel_scope.cancel()


# In the worker


def say(text: str) -> None:
    print(text, file=sys.stderr)


def touch(path: str) -> None:
    Path(path).touch()


def kill_itself() -> None:
    say("last words")
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_itself() -> None:
    say("last words")
    os.kill(os.getpid(), signal.SIGTERM)


def segfault() -> None:
    say("last words")
    ctypes.string_at(0)


def abort() -> None:
    say("last words")
    os.abort()


def exit_at_once() -> None:
    say("last words")
    os._exit(7)


async def exit_in_the_trio_thread() -> None:
    say("last words")
    trio.lowlevel.current_trio_token().run_sync_soon(sys.exit, 3)
    await trio.sleep_forever()


async def crash_trio() -> None:
    say("last words")
    trio.lowlevel.current_trio_token().run_sync_soon(divmod, 1, 0)
    await trio.sleep_forever()


async def drop_the_link() -> None:
    """And live on, without a look at anything."""
    say("last words")
    _link().shutdown(socket.SHUT_RDWR)
    time.sleep(1000)  # noqa: ASYNC251 - as C code in the wrong place would


async def talk_nonsense() -> None:
    say("last words")
    _link().sendall(b"\0\0\0\1\xff")
    await trio.sleep_forever()


def _link() -> socket.socket:
    """A second descriptor of the socket that leads to the coordinator."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):
            found = socket.socket(fileno=os.dup(int(name)))
            if str(found.getpeername()).endswith("/link"):
                found.setblocking(True)
                return found
            found.close()
    raise AssertionError("this process has no link")


def loop_in_python(path: str) -> None:
    touch(path)
    while True:
        pass


def hold_interpreter(path: str) -> None:
    """Never comes back, and nothing else in the process gets to run."""
    touch(path)
    ctypes.PyDLL(None).sleep(1000)


async def hold_trio(path: str) -> None:
    touch(path)
    time.sleep(1000)  # noqa: ASYNC251 - the mistake that a heartbeat is to find


async def ignore_sigterm(path: str) -> None:
    """What only SIGKILL ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    touch(path)
    ctypes.PyDLL(None).sleep(1000)


async def handle_sigterm(path: str) -> None:
    def handle(*_: object) -> None:
        say("handled")
        os._exit(5)

    signal.signal(signal.SIGTERM, handle)
    touch(path)
    await trio.sleep_forever()


def grow(path: str, mebibytes: int) -> None:
    """Uses that much memory, and keeps it while it sleeps."""
    kept = bytearray(mebibytes << 20)
    for at in range(0, len(kept), 4096):
        kept[at] = 1
    touch(path)
    time.sleep(1000)


async def wait_for(path: str) -> None:
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
        await trio.sleep(0.005)
