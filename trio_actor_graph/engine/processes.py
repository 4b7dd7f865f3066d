"""Workers in subprocesses: tractor actors, with a link each.

A worker's life is one trio task here, in this order: its process is spawned, its link comes up, it
is told what it is, messages flow; then the link closes or the process ends, whichever is noticed
first, the process is made to end, and the owner is told how. The process is what counts: a link can
be held open by a grandchild, and a call to a dead actor would never return.

Beside it runs what watches it: for silence (`heartbeat`), for its memory (`memory`), and what
passes on its stderr (`worker_stderr`). How a worker is made to end is in `stopping`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec
import trio

from trio_actor_graph.begun import seconds_since_begun, take_begun
from trio_actor_graph.buffers.handing_over import open_receiver
from trio_actor_graph.engine.actor_life import live
from trio_actor_graph.engine.actor_process import ActorProcess
from trio_actor_graph.engine.api import EngineOwner, StopCounts, Unsendable, WorkerLimits
from trio_actor_graph.engine.heartbeat import beat_seconds, wait_silent
from trio_actor_graph.engine.life import WorkerLife
from trio_actor_graph.engine.memory import wait_outgrown
from trio_actor_graph.engine.runtime_use import RuntimeUse
from trio_actor_graph.engine.sockets import WorkerSockets, open_worker_sockets
from trio_actor_graph.engine.stopping import CLOSE_SECONDS, StopLadder
from trio_actor_graph.engine.worker_stderr import StderrForwarder, open_stderr_forwarder
from trio_actor_graph.errors import PayloadError, ProtocolError, TrioActorGraphError
from trio_actor_graph.link import Link
from trio_actor_graph.messages import FromWorker, StartUp, WorkerUnable

START_SECONDS: Final = 60.0
"""How long a worker may take from its spawn until its link is up (0.3 s when the machine is idle).
A start that hangs is reported by nobody, so there has to be a limit; it is killed and retried."""

LAST_WORDS_SECONDS: Final = 0.02
"""How long the link of a dead process is read: its end comes at once if nobody else holds it. And
how long a process whose link has ended is waited for: it may be about to say why, and to end."""

EXIT_SECONDS: Final = 0.5
"""How long a process that was asked to stop may live on after it has closed its link."""


_INSIDE_A_WORKER: Final = (
    "a coordinator inside a worker cannot start processes; give it loops with processes=0, or have "
    "the task create its tasks by current_task().create_task"
)


class _Started:
    """Takes note of the process as soon as there is one."""

    def __init__(self, life: WorkerLife, runtime: RuntimeUse, task_status: Any):
        self._life = life
        self._runtime = runtime
        self._task_status = task_status

    def started(self, process: ActorProcess) -> None:
        self._life.on_process(process)
        self._runtime.put_off_no_more(self._life.start_up.worker_id)
        self._task_status.started()


class ProcessEngine:
    """See `api.Engine`. Nothing is opened, and tractor not imported, before the first start."""

    def __init__(self, owner: EngineOwner):
        self._owner = owner
        self._lives: dict[int, WorkerLife] = {}
        self._send_start, self._receive_start = trio.open_memory_channel[WorkerLife](math.inf)
        self._sockets: WorkerSockets | None = None
        self._nursery: trio.Nursery | None = None
        self._runtime = RuntimeUse()
        self._ladder = StopLadder()

    @property
    def stop_counts(self) -> StopCounts:
        return self._ladder.counts

    async def run(self) -> None:
        first = await self._receive_start.receive()
        from trio_actor_graph.worker.boot import IS_WORKER

        if IS_WORKER:
            self._refuse(first)
            async for life in self._receive_start:
                self._refuse(life)
        async with (
            open_stderr_forwarder() as forwarder,
            open_worker_sockets() as sockets,
            trio.open_nursery() as services,
        ):
            services.start_soon(self._runtime.hold)
            try:
                async with trio.open_nursery() as lives:
                    self._sockets, self._nursery = sockets, lives
                    lives.start_soon(self._live, first, sockets, forwarder)
                    async for life in self._receive_start:
                        lives.start_soon(self._live, life, sockets, forwarder)
            finally:
                self._runtime.let_go()

    def start(self, start_up: StartUp, limits: WorkerLimits) -> None:
        life = self._lives[start_up.worker_id] = WorkerLife(start_up, limits)
        self._runtime.put_off(start_up.worker_id)
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
        if life is None or life.is_terminated or life.is_killed:
            return
        life.note("it was stopped on purpose")
        if life.process is None or self._nursery is None:
            life.kill()
        else:
            life.is_stopping = True
            self._nursery.start_soon(self._ladder.terminate, life)

    def retire(self, worker_id: int) -> None:
        life = self._lives.get(worker_id)
        if life is not None and not life.is_stopping and self._nursery is not None:
            life.note("it was replaced on purpose")
            life.is_stopping = True
            self._nursery.start_soon(self._ladder.descend, life, CLOSE_SECONDS)

    def seconds_running(self, worker_id: int, attempt_id: int) -> float | None:
        life = self._lives.get(worker_id)
        if life is None or self._sockets is None:
            return None
        path = _begun_path(self._sockets, worker_id)
        return seconds_since_begun(path, attempt_id, life.limits.setup_timeout_seconds)

    def pid(self, worker_id: int) -> int | None:
        life = self._lives.get(worker_id)
        return None if life is None or life.process is None else life.process.pid

    def take_segment(self, worker_id: int, identity: int) -> int | None:
        life = self._lives.get(worker_id)
        return None if life is None or life.segments is None else life.segments.take(identity)

    async def stop(self, grace_seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            for life in self._lives.values():
                if life.process is None:
                    life.kill()
                elif life.is_stopping:
                    nursery.start_soon(life.ended.wait)
                else:
                    life.note("it was stopped with its coordinator")
                    nursery.start_soon(self._ladder.descend, life, grace_seconds)

    def _refuse(self, life: WorkerLife) -> None:
        """A worker's actor has closed itself to the outside, and can have no actors of its own."""
        self._owner.on_messages(life.start_up.worker_id, [WorkerUnable(_INSIDE_A_WORKER)])

    @trio.lowlevel.enable_ki_protection
    async def _live(
        self, life: WorkerLife, sockets: WorkerSockets, forwarder: StderrForwarder
    ) -> None:
        worker_id = life.start_up.worker_id
        secret = sockets.new_secret()
        try:
            async with trio.open_nursery() as nursery:
                environment = sockets.environment(secret)
                await nursery.start(self._run_process, life, environment, forwarder)
                if life.process is not None:
                    self._watch(life, nursery, _begun_path(sockets, worker_id))
                    await self._talk(life, sockets, secret)
                    await self._see_off(life)
                nursery.cancel_scope.cancel()
        finally:
            sockets.forget(secret)
            self._runtime.put_off_no_more(worker_id)
            del self._lives[worker_id]
            if life.stderr is not None:
                life.stderr.close()
            running, begun = take_begun(_begun_path(sockets, worker_id))
            self._owner.on_worker_lost(worker_id, life.end(running, begun))

    @trio.lowlevel.enable_ki_protection
    async def _run_process(
        self,
        life: WorkerLife,
        environment: dict[str, str],
        forwarder: StderrForwarder,
        task_status: Any = trio.TASK_STATUS_IGNORED,  # its type has no name in trio 0.23
    ) -> None:
        """Spawn the process and stay with it until it has ended."""
        start_up = life.start_up
        error = None
        try:
            life.stderr = forwarder.open_pipe()
            end = await live(
                f"{start_up.loop}-{start_up.worker_index}-{start_up.worker_id}",
                module="trio_actor_graph.worker.boot",
                environment=environment,
                stderr=life.stderr.write_end,
                talk=self._runtime.talk,
                task_status=_Started(life, self._runtime, task_status),
            )
            error = end.error
        except (OSError, TrioActorGraphError) as failure:  # no process, or no runtime any more
            error = f"{type(failure).__name__}: {failure}"
            if life.process is None:
                task_status.started()
        finally:
            life.on_ended(error)
            # What it has sent is still there to be read; its end follows, unless a grandchild
            # holds the link open.
            life.talk.deadline = trio.current_time() + LAST_WORDS_SECONDS

    async def _talk(self, life: WorkerLife, sockets: WorkerSockets, secret: str) -> None:
        """Exchange messages until the link or the process has come to its end."""
        with life.talk:
            try:
                with trio.fail_after(START_SECONDS):
                    stream = await sockets.accept(secret)
            except trio.TooSlowError:
                self._kill(life, f"it was not up within {START_SECONDS:g} s")
                return
            link: Link[Any] = Link(stream, FromWorker)
            life.segments = open_receiver(_begun_path(sockets, life.start_up.worker_id))
            try:
                start_up = msgspec.structs.replace(
                    life.start_up,
                    begun_path=_begun_path(sockets, life.start_up.worker_id),
                    heartbeat_seconds=beat_seconds(life.limits.heartbeat_timeout_seconds),
                )
                link.send([start_up])
                await self._exchange(life, link)
            finally:
                life.link = None
                if life.segments is not None:
                    life.segments.close()
                await link.aclose()

    async def _exchange(self, life: WorkerLife, link: Link[Any]) -> None:
        life.link = link
        async with trio.open_nursery() as nursery, aclosing(link.receive()) as batches:
            nursery.start_soon(link.drain)
            try:
                async for messages in batches:
                    if for_owner := life.heed(messages):
                        self._owner.on_messages(life.start_up.worker_id, for_owner)
            except ProtocolError as error:  # a worker that talks nonsense is as good as dead
                self._kill(life, f"it sent what is no message ({error})")
            nursery.cancel_scope.cancel()

    async def _see_off(self, life: WorkerLife) -> None:
        """Wait for the end of a process that has no link any more."""
        with trio.move_on_after(EXIT_SECONDS if life.is_stopping else LAST_WORDS_SECONDS):
            await life.ended.wait()
        if not life.ended.is_set():
            self._kill(life, "it dropped its link")
            await life.ended.wait()

    def _watch(self, life: WorkerLife, nursery: trio.Nursery, begun_path: str) -> None:
        """Have the worker killed when it goes beyond one of its limits."""
        limits = life.limits
        if limits.memory_bytes_soft_max is not None or limits.memory_bytes_hard_max is not None:
            nursery.start_soon(self._watch_memory, life)
        if limits.heartbeat_timeout_seconds is not None:
            seconds = limits.heartbeat_timeout_seconds
            nursery.start_soon(self._watch_heartbeat, life, begun_path, seconds)
        if limits.setup_timeout_seconds is not None:
            nursery.start_soon(self._watch_setup, life, limits.setup_timeout_seconds)

    @trio.lowlevel.enable_ki_protection
    async def _watch_memory(self, life: WorkerLife) -> None:
        assert life.process is not None
        reason = await wait_outgrown(life.process.pid, life.limits, lambda: self._tell_worn(life))
        self._kill(life, reason)

    @trio.lowlevel.enable_ki_protection
    async def _watch_heartbeat(self, life: WorkerLife, begun_path: str, seconds: float) -> None:
        await life.is_ready.wait()
        self._kill(life, await wait_silent(begun_path, seconds))

    @trio.lowlevel.enable_ki_protection
    async def _watch_setup(self, life: WorkerLife, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await life.is_ready.wait()
        if not life.is_ready.is_set():
            self._kill(life, f"it was not ready within {seconds:g} s")

    def _tell_worn(self, life: WorkerLife) -> bool:
        if life.is_ready.is_set():
            self._owner.on_worker_worn(life.start_up.worker_id)
        return life.is_ready.is_set()

    def _kill(self, life: WorkerLife, reason: str) -> None:
        if not life.ended.is_set():
            life.note(f"{reason}, and was killed")
            self._ladder.kill(life)


def _begun_path(sockets: WorkerSockets, worker_id: int) -> str:
    return f"{sockets.folder}/begun-{worker_id}"
