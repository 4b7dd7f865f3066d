"""The worker of a loop without processes: the coordinator's own process.

The same runner as in a subprocess, without link and without encoding of functions. Values are
encoded all the same, so that tasks get copies and tests with such a loop tell the truth.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count

import msgspec
import trio

from trio_actor_graph.buffers.pool import SegmentPool
from trio_actor_graph.calls import AnyFunction
from trio_actor_graph.carrying import Carrier
from trio_actor_graph.engine.api import EngineOwner, StopCounts, Unsendable, WorkerLimits
from trio_actor_graph.graph.failures import WorkerEnd
from trio_actor_graph.local_logs import LocalOutput, noting_records
from trio_actor_graph.messages import RunAttempt, StartUp, WorkerReady, WorkerUnable
from trio_actor_graph.outcome import describe_exception
from trio_actor_graph.worker.functions import FunctionBook
from trio_actor_graph.worker.main import open_worker_context
from trio_actor_graph.worker.output import TaskOutput, open_task_output
from trio_actor_graph.worker.runner import AttemptRunner, RunningAttempt


class LocalEngine:
    """See `api.Engine`.

    Args:
        functions: the coordinator's own.
        setups: the loops' `setup` functions, by loop name.
        pool: where large values go.
        carrier: what goes from a task's context into those that it creates.
        on_record: told of what tasks log: the worker, the attempt, and the record.
        captures_output: what tasks print is logged.
    """

    def __init__(
        self,
        owner: EngineOwner,
        functions: FunctionBook,
        setups: Mapping[str, AnyFunction | None],
        pool: SegmentPool | None = None,
        carrier: Carrier | None = None,
        on_record: Callable[[int, RunAttempt, logging.LogRecord], None] | None = None,
        captures_output: bool = False,
    ):
        self._owner = owner
        self._functions = functions
        self._setups = setups
        self._pool = pool
        self._carrier = carrier
        self._on_record = on_record
        self._captures_output = captures_output
        self._outputs: tuple[TaskOutput, ...] = ()
        self._runners: dict[int, AttemptRunner] = {}
        self._send_start, self._receive_start = trio.open_memory_channel[StartUp](math.inf)
        self._is_stopped = trio.Event()
        self._ended = trio.Event()

    @property
    def stop_counts(self) -> StopCounts:
        return StopCounts()

    async def run(self) -> None:
        first = await self._receive_start.receive()
        with noting_records(), ExitStack() as stack:
            if self._captures_output:
                self._outputs = stack.enter_context(open_task_output(LocalOutput()))
            async with trio.open_nursery() as lives:
                lives.start_soon(self._live, first)
                async for start_up in self._receive_start:
                    lives.start_soon(self._live, start_up)

    def start(self, start_up: StartUp, limits: WorkerLimits) -> None:
        self._send_start.send_nowait(start_up)

    def send(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> Unsendable:
        runner = self._runners.get(worker_id)
        if runner is not None:
            runner.handle(messages)
        return ()

    def kill(self, worker_id: int) -> None:
        """There is no process to end: what does not heed its cancellation goes on."""

    def retire(self, worker_id: int) -> None:
        """Never asked for: nothing wears out here that could be replaced."""

    def seconds_running(self, worker_id: int, attempt_id: int) -> float | None:
        """Nothing could be done about it: what blocks its loop blocks the program."""
        return None

    def pid(self, worker_id: int) -> int | None:
        return os.getpid()

    def take_segment(self, worker_id: int, identity: int) -> int | None:
        """What is put into shared memory here is put there by the coordinator's own pool."""
        return None if self._pool is None else self._pool.take(identity)

    async def stop(self, grace_seconds: float) -> None:
        self._is_stopped.set()
        with trio.move_on_after(grace_seconds):
            while self._runners:
                await self._ended.wait()
                self._ended = trio.Event()

    async def _live(self, start_up: StartUp) -> None:
        worker_id = start_up.worker_id
        send, receive = trio.open_memory_channel[Sequence[msgspec.Struct]](math.inf)
        is_ready = False
        try:
            context = open_worker_context(self._setups[start_up.loop], start_up.worker_index)
            async with context as value, trio.open_nursery() as nursery:
                runner = self._runners[worker_id] = AttemptRunner(
                    start_up.slots,
                    self._functions,
                    send.send_nowait,
                    nursery,
                    count(start_up.first_id),
                    start_up.registered,
                    start_up.loops,
                    worker_context=value,
                    in_place=True,
                    pool=self._pool,
                    carrier=self._carrier,
                )
                runner.on_record = partial(self._note, worker_id)
                if self._outputs:
                    runner.on_ending = self._end_lines
                nursery.start_soon(runner.run)
                is_ready = True
                self._owner.on_messages(worker_id, [WorkerReady(os.getpid())])
                nursery.start_soon(self._forward, worker_id, receive)
                await self._is_stopped.wait()
                nursery.cancel_scope.cancel()
        except (Exception, SystemExit) as error:
            if is_ready:
                raise
            text = describe_exception(error, frames_hidden=2).traceback
            self._owner.on_messages(worker_id, [WorkerUnable(text)])
        finally:
            self._runners.pop(worker_id, None)
            self._ended.set()
            if is_ready:  # its attempts have ended with it, if there were any
                nothing: frozenset[int] = frozenset()
                end = WorkerEnd("the program's own process", running=nothing, begun=nothing)
                self._owner.on_worker_lost(worker_id, end)

    def _end_lines(self, attempt: RunningAttempt) -> None:
        """Log what an attempt has printed of a line that it did not end."""
        with suppress(Exception):
            for output in self._outputs:
                output.end(attempt)

    def _note(self, worker_id: int, attempt: RunningAttempt, record: logging.LogRecord) -> None:
        """Tell the owner of a record; whatever comes of that is not the business of who logs."""
        if self._on_record is not None:
            with suppress(Exception):
                self._on_record(worker_id, attempt.message, record)

    async def _forward(
        self, worker_id: int, reports: trio.MemoryReceiveChannel[Sequence[msgspec.Struct]]
    ) -> None:
        async for messages in reports:
            self._owner.on_messages(worker_id, messages)
