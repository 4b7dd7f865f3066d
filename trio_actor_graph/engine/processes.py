"""Workers in subprocesses: tractor actors, with a link each.

A worker's life is one trio task here, in this order: its process is spawned, its link comes up, it
is told what it is, messages flow; then the link closes or the process ends, whichever is noticed
first, the process is made to end, and the owner is told how. The process is what counts: a link can
be held open by a grandchild, and a call to a dead actor would never return.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec
import trio

from trio_actor_graph.begun import take_begun
from trio_actor_graph.engine.api import EngineOwner
from trio_actor_graph.engine.sockets import WorkerSockets, open_worker_sockets
from trio_actor_graph.errors import ProtocolError, TrioActorGraphError
from trio_actor_graph.link import Link
from trio_actor_graph.messages import FromWorker, StartUp, StopWorker, WorkerUnable

START_SECONDS: Final = 60.0
"""How long a worker may take from its spawn until its link is up (0.3 s when the machine is idle).
A start that hangs is reported by nobody, so there has to be a limit; it is killed and retried."""

EXIT_SECONDS: Final = 0.5
"""How long a process may live on after it has closed its link, before it is killed."""


_INSIDE_A_WORKER: Final = (
    "a coordinator inside a worker cannot start processes; give it loops with processes=0, or have "
    "the task create its tasks by current_task().create_task"
)


class _Life:
    """One worker's life, as far as it has come."""

    def __init__(self, start_up: StartUp):
        self.start_up = start_up
        self.process: Any = None  # an ActorProcess, whose module is only imported when needed
        self.link: Link[Any] | None = None
        self.talk = trio.CancelScope()
        self.ended = trio.Event()
        self.is_killed = False
        self.how = "it did not start"

    def kill(self) -> None:
        self.is_killed = True
        self.talk.cancel()
        if self.process is not None:
            self.process.kill()


class ProcessEngine:
    """See `api.Engine`. Nothing is opened, and tractor not imported, before the first start."""

    def __init__(self, owner: EngineOwner):
        self._owner = owner
        self._lives: dict[int, _Life] = {}
        self._send_start, self._receive_start = trio.open_memory_channel[_Life](1_000_000)
        self._is_stopping = False

    async def run(self) -> None:
        first = await self._receive_start.receive()
        from trio_actor_graph.worker.boot import IS_WORKER

        if IS_WORKER:
            self._refuse(first)
            async for life in self._receive_start:
                self._refuse(life)
        from trio_actor_graph.actors import open_actor_runtime  # imports tractor: 0.1 s

        async with (
            open_worker_sockets() as sockets,
            open_actor_runtime(),
            trio.open_nursery() as lives,
        ):
            lives.start_soon(self._live, first, sockets)
            async for life in self._receive_start:
                lives.start_soon(self._live, life, sockets)

    def start(self, start_up: StartUp) -> None:
        life = self._lives[start_up.worker_id] = _Life(start_up)
        self._send_start.send_nowait(life)

    def send(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> None:
        life = self._lives.get(worker_id)
        if life is not None and life.link is not None:
            life.link.send(messages)

    def kill(self, worker_id: int) -> None:
        life = self._lives.get(worker_id)
        if life is not None:
            life.kill()

    def pid(self, worker_id: int) -> int | None:
        life = self._lives.get(worker_id)
        if life is None or life.process is None:
            return None
        pid: int = life.process.pid
        return pid

    async def stop(self, grace_seconds: float) -> None:
        self._is_stopping = True
        lives = list(self._lives.values())
        with trio.move_on_after(grace_seconds):
            for life in lives:
                if life.link is None:
                    life.kill()
                else:
                    life.link.send([StopWorker()])
            for life in lives:
                if life.process is not None:
                    await life.ended.wait()
        for life in lives:
            life.kill()

    def _refuse(self, life: _Life) -> None:
        """A worker's actor has closed itself to the outside, and can have no actors of its own."""
        self._owner.on_messages(life.start_up.worker_id, [WorkerUnable(_INSIDE_A_WORKER)])

    @trio.lowlevel.enable_ki_protection
    async def _live(self, life: _Life, sockets: WorkerSockets) -> None:
        worker_id = life.start_up.worker_id
        secret = sockets.new_secret()
        try:
            async with trio.open_nursery() as nursery:
                life.process = await nursery.start(
                    self._run_process, life, sockets.environment(secret)
                )
                if life.is_killed:
                    life.process.kill()
                await self._talk(life, sockets, secret)
                with trio.move_on_after(EXIT_SECONDS):
                    await life.ended.wait()
                life.process.kill()
        except TrioActorGraphError as error:  # of actors.py: the runtime is not to be had
            life.how = str(error)
        finally:
            del self._lives[worker_id]
        self._owner.on_worker_lost(worker_id, life.how, take_begun(_begun_path(sockets, worker_id)))

    @trio.lowlevel.enable_ki_protection
    async def _run_process(
        self,
        life: _Life,
        environment: dict[str, str],
        task_status: Any = trio.TASK_STATUS_IGNORED,  # its type has no name in trio 0.23
    ) -> None:
        from trio_actor_graph.actors import run_actor

        start_up = life.start_up
        name = f"{start_up.loop}-{start_up.worker_index}-{start_up.worker_id}"
        try:
            end = await run_actor(
                name,
                module="trio_actor_graph.worker.boot",
                environment=environment,
                task_status=task_status,
            )
            life.how = _how(life.process.pid, end.returncode, end.error)
        finally:
            life.ended.set()
            life.talk.cancel()

    async def _talk(self, life: _Life, sockets: WorkerSockets, secret: str) -> None:
        """Exchange messages until the link or the process has come to its end."""
        with life.talk:
            try:
                with trio.fail_after(START_SECONDS):
                    stream = await sockets.accept(secret)
            except trio.TooSlowError:
                return
            link: Link[Any] = Link(stream, FromWorker)
            try:
                path = _begun_path(sockets, life.start_up.worker_id)
                link.send([msgspec.structs.replace(life.start_up, begun_path=path)])
                await self._exchange(life, link)
            finally:
                life.link = None
                await link.aclose()

    async def _exchange(self, life: _Life, link: Link[Any]) -> None:
        life.link = link
        async with trio.open_nursery() as nursery, aclosing(link.receive()) as batches:
            nursery.start_soon(link.drain)
            with suppress(ProtocolError):  # a worker that talks nonsense is as good as dead
                async for messages in batches:
                    self._owner.on_messages(life.start_up.worker_id, messages)
            nursery.cancel_scope.cancel()


def _begun_path(sockets: WorkerSockets, worker_id: int) -> str:
    return f"{sockets.folder}/begun-{worker_id}"


def _how(pid: int, returncode: int, error: str | None) -> str:
    """How a process ended, for people."""
    if returncode < 0:
        try:
            ended = f"was ended by {signal.Signals(-returncode).name}"
        except ValueError:
            ended = f"was ended by signal {-returncode}"
    else:
        ended = f"exited with status {returncode}"
    return f"process {pid} {ended}" + (f"\n{error}" if error else "")
