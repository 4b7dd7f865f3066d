"""Workers in subprocesses: tractor actors, with a link each.

A worker's life is one trio task here, in this order: its process is spawned, its link comes up, it
is told what it is, messages flow; then the link closes or the process ends, whichever is noticed
first, the process is made to end, and the owner is told how. The process is what counts: a link can
be held open by a grandchild, and a call to a dead actor would never return.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec
import trio

from trio_actor_graph.begun import seconds_since_begun, take_begun
from trio_actor_graph.engine.api import EngineOwner, Unsendable
from trio_actor_graph.engine.sockets import WorkerSockets, open_worker_sockets
from trio_actor_graph.errors import PayloadError, ProtocolError, TrioActorGraphError
from trio_actor_graph.link import Link
from trio_actor_graph.messages import FromWorker, StartUp, StopWorker, WorkerUnable

START_SECONDS: Final = 60.0
"""How long a worker may take from its spawn until its link is up (0.3 s when the machine is idle).
A start that hangs is reported by nobody, so there has to be a limit; it is killed and retried."""

LAST_WORDS_SECONDS: Final = 0.02
"""How long the link of a dead process is read. Its end comes at once if nobody else holds it."""

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
        self.reason = ""  # why it was made to end, if it did not by itself

    def kill(self) -> None:
        self.is_killed = True
        if self.process is None:
            self.talk.cancel()
        else:
            self.process.kill()


class _Started:
    """Takes note of the process as soon as there is one."""

    def __init__(self, life: _Life, task_status: Any):
        self._life = life
        self._task_status = task_status

    def started(self, process: Any) -> None:
        self._life.process = process
        self._task_status.started()


class ProcessEngine:
    """See `api.Engine`. Nothing is opened, and tractor not imported, before the first start."""

    def __init__(self, owner: EngineOwner):
        self._owner = owner
        self._lives: dict[int, _Life] = {}
        self._send_start, self._receive_start = trio.open_memory_channel[_Life](math.inf)
        self._sockets: WorkerSockets | None = None

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
            self._sockets = sockets
            lives.start_soon(self._live, first, sockets)
            async for life in self._receive_start:
                lives.start_soon(self._live, life, sockets)

    def start(self, start_up: StartUp) -> None:
        life = self._lives[start_up.worker_id] = _Life(start_up)
        self._send_start.send_nowait(life)

    def send(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> Unsendable:
        life = self._lives.get(worker_id)
        if life is None or life.link is None:
            return ()
        try:
            life.link.send(messages)
        except PayloadError:
            return list(self._send_one_by_one(life.link, messages))
        return ()

    def _send_one_by_one(
        self, link: Link[Any], messages: Sequence[msgspec.Struct]
    ) -> Iterator[tuple[msgspec.Struct, PayloadError]]:
        for message in messages:
            try:
                link.send([message])
            except PayloadError as error:
                yield message, error

    def kill(self, worker_id: int) -> None:
        life = self._lives.get(worker_id)
        if life is not None:
            life.kill()

    def seconds_running(self, worker_id: int, attempt_id: int) -> float | None:
        path = _begun_path(self._sockets, worker_id) if self._sockets else ""
        return seconds_since_begun(path, attempt_id)

    def pid(self, worker_id: int) -> int | None:
        life = self._lives.get(worker_id)
        if life is None or life.process is None:
            return None
        pid: int = life.process.pid
        return pid

    async def stop(self, grace_seconds: float) -> None:
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
                await nursery.start(self._run_process, life, sockets.environment(secret))
                if life.process is not None:
                    if life.is_killed:
                        life.process.kill()
                    await self._talk(life, sockets, secret)
                    with trio.move_on_after(EXIT_SECONDS):
                        await life.ended.wait()
                    life.process.kill()
        finally:
            sockets.forget(secret)
            del self._lives[worker_id]
            begun = take_begun(_begun_path(sockets, worker_id))
            self._owner.on_worker_lost(worker_id, life.reason + life.how, begun)

    @trio.lowlevel.enable_ki_protection
    async def _run_process(
        self,
        life: _Life,
        environment: dict[str, str],
        task_status: Any = trio.TASK_STATUS_IGNORED,  # its type has no name in trio 0.23
    ) -> None:
        """Spawn the process and stay with it until it has ended."""
        from trio_actor_graph.actors import run_actor

        start_up = life.start_up
        name = f"{start_up.loop}-{start_up.worker_index}-{start_up.worker_id}"
        started = _Started(life, task_status)
        try:
            end = await run_actor(
                name,
                module="trio_actor_graph.worker.boot",
                environment=environment,
                task_status=started,
            )
            life.how = _how(life.process.pid, end.returncode, end.error)
        except (OSError, TrioActorGraphError) as error:  # no process, or no runtime any more
            life.how = f"{type(error).__name__}: {error}"
            if life.process is None:
                task_status.started()
        finally:
            life.ended.set()
            # What it has sent is still there to be read; its end follows, unless a grandchild
            # holds the link open.
            life.talk.deadline = trio.current_time() + LAST_WORDS_SECONDS

    async def _talk(self, life: _Life, sockets: WorkerSockets, secret: str) -> None:
        """Exchange messages until the link or the process has come to its end."""
        with life.talk:
            try:
                with trio.fail_after(START_SECONDS):
                    stream = await sockets.accept(secret)
            except trio.TooSlowError:
                life.reason = f"it was not up within {START_SECONDS:g} s, and was killed: "
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
