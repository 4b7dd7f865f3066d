"""Both ends of the tests of actors: what runs in the actor, and how a test gets one.

An actor runs `main` of this module instead of `trio_actor_graph.worker.boot`, and the environment
variable ACTOR_CASE says what it does once it is connected.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import trio

from trio_actor_graph.worker import boot

# In the worker


async def main() -> None:
    await boot.live(CASES[os.environ["ACTOR_CASE"]])


async def echo(link: trio.SocketStream) -> None:
    async for chunk in link:
        if chunk == b"stop\n":
            return
        await link.send_all(chunk)


async def fail(link: trio.SocketStream) -> None:
    raise ValueError("the actor failed on purpose")


async def leave(link: trio.SocketStream) -> None:
    raise SystemExit(3)


async def read_until_broken(link: trio.SocketStream) -> None:
    await link.receive_some(1)
    raise trio.BrokenResourceError


async def loop_for_ever(link: trio.SocketStream) -> None:
    await link.send_all(b"busy\n")
    while True:
        pass


async def hold_interpreter_lock(link: trio.SocketStream) -> None:
    await link.send_all(b"busy\n")
    ctypes.PyDLL(None).sleep(1000)


async def start_program(link: trio.SocketStream) -> None:
    program = subprocess.Popen(["sleep", "1000"])  # noqa: ASYNC220 - it is to outlive this
    await link.send_all(b"%d\n" % program.pid)
    await trio.sleep_forever()


async def fork_itself(link: trio.SocketStream) -> None:
    pid = os.fork()
    if not pid:
        time.sleep(1000)  # noqa: ASYNC251 - in the child, where trio does not run
    await link.send_all(b"%d\n" % pid)
    await trio.sleep_forever()


def _sockets_of_programs() -> list[str]:
    """What a program gets that a task starts without closing any descriptors."""
    listing = subprocess.run(
        ["ls", "-l", "/proc/self/fd"],
        close_fds=False,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [line for line in listing.stdout.splitlines() if "socket:" in line]


def _environment_of_programs() -> dict[str, str]:
    program = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    environment: dict[str, str] = json.loads(subprocess.check_output(program))
    return environment


async def describe(link: trio.SocketStream) -> None:
    await link.send_all(
        json.dumps(
            {
                "path": sys.path,
                "environment": dict(os.environ),
                "environment_of_programs": _environment_of_programs(),
                "sockets_of_programs": _sockets_of_programs(),
                "main": getattr(sys.modules["__main__"], "__file__", None),
                "stdin": sys.stdin.read(),
                "session": os.getsid(0),
            }
        ).encode()
        + b"\n"
    )
    await trio.sleep_forever()


CASES = {
    function.__name__: function
    for function in (
        echo,
        fail,
        leave,
        read_until_broken,
        loop_for_ever,
        hold_interpreter_lock,
        start_program,
        fork_itself,
        describe,
    )
}


# In the coordinator


class Life:
    """One life of one actor, as a test sees it."""

    def __init__(self, house: House, secret: str) -> None:
        self._house = house
        self.secret = secret
        self.scope = trio.CancelScope()
        self.finished = trio.Event()
        self.end: object = None
        self.process: object = None

    async def run(self, module: str, extra: Mapping[str, str], task_status: object) -> None:
        from trio_actor_graph.actors import run_actor

        environment = {**self._house.sockets.environment(self.secret), **extra}
        try:
            with self.scope:
                self.end = await run_actor(
                    "worker", module=module, environment=environment, task_status=task_status
                )
        finally:
            self.finished.set()

    async def link(self) -> trio.SocketStream:
        """Returns the connection; the house closes it."""
        link = await self._house.sockets.accept(self.secret)
        self._house.links.append(link)
        return link


class House:
    """The runtime, the sockets and a nursery for actors."""

    def __init__(self, sockets: object, nursery: trio.Nursery) -> None:
        self.sockets = sockets
        self.nursery = nursery
        self.links: list[trio.SocketStream] = []

    async def spawn(self, case: str = "echo", module: str = "actor_cases", **extra: str) -> Life:
        """Starts an actor; returns as soon as its process exists."""
        life = Life(self, self.sockets.new_secret())

        async def run(task_status: object) -> None:
            await life.run(module, {"ACTOR_CASE": case, **extra}, task_status)

        life.process = await self.nursery.start(run)
        return life


@asynccontextmanager
async def open_house() -> AsyncGenerator[House, None]:
    from trio_actor_graph.actors import open_actor_runtime
    from trio_actor_graph.engine.sockets import open_worker_sockets

    async with (
        open_actor_runtime(),
        open_worker_sockets() as sockets,
        trio.open_nursery() as nursery,
    ):
        house = House(sockets, nursery)
        try:
            yield house
            nursery.cancel_scope.cancel()
        finally:
            for link in house.links:
                link.socket.close()


async def read_line(link: trio.SocketStream) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        chunk = await link.receive_some(65536)
        assert chunk, f"the link ended after {line!r}"
        line += chunk
    return line
