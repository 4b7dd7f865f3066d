"""Runs attempts: coroutine functions as trio tasks, plain functions in threads of their own.

The same code runs in a subprocess and, for a loop without processes, inside the coordinator's own;
there plain functions are called where they stand, in a trio task.

What goes back to the coordinator is collected and sent in batches: at once when there is nothing
more to begin, before anything that may take long, and at the latest after `FLUSH_SECONDS` of short
ones.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from time import perf_counter
from typing import Any, Final

import msgspec
import trio

from trio_actor_graph.begun import BegunMarks
from trio_actor_graph.buffers.pool import SegmentPool
from trio_actor_graph.buffers.windows import windows
from trio_actor_graph.calls import (
    AnyFunction,
    Call,
    Options,
    function_name,
    is_coroutine_function,
    split_method,
)
from trio_actor_graph.carrying import Carrier, take_up
from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import AnyCondition
from trio_actor_graph.graph.durations import running_mean
from trio_actor_graph.graph.failures import Raised, TimedOut
from trio_actor_graph.messages import (
    AddPredecessor,
    AttemptFailed,
    AttemptOverdue,
    AttemptReturnedTask,
    AttemptsReturned,
    AttemptStopped,
    AttemptSucceeded,
    AwaitedEnded,
    AwaitTask,
    CancelAttempt,
    CancelTask,
    CreateTask,
    DefineFunction,
    FollowerReturned,
    ForgetFunctions,
    FunctionsForgotten,
    Logged,
    ReturnAttempts,
    RunAttempt,
)
from trio_actor_graph.outcome import TaskOutcome, describe_exception
from trio_actor_graph.payload import (
    decode_call,
    encode_call,
    encode_plain_value,
    encode_value,
)
from trio_actor_graph.retries import encoded_retry_on
from trio_actor_graph.task import Task
from trio_actor_graph.worker.awaiting import Awaiting, Waits
from trio_actor_graph.worker.context import CurrentTask, PredecessorOutcome, current
from trio_actor_graph.worker.functions import NOT_LOADED, FunctionBook, LoadedFunction
from trio_actor_graph.worker.reading import LinkReading
from trio_actor_graph.worker.retry_rules import RetryRules
from trio_actor_graph.worker.slots import Slots
from trio_actor_graph.worker.threads import FunctionThreads

FLUSH_SECONDS: Final = 0.001
"""How long reports of short functions are collected: ten times what sending them costs."""

SHORT_SECONDS: Final = 0.0002
"""A function that has lately taken less than this may begin before earlier reports are sent."""

TICK_SECONDS: Final = 0.01
"""How often a worker that runs plain functions looks for time limits, for unsent reports, and for a
thread that does not read the link because its function takes long."""

_NONE: Final = encode_value(None, "None")
"""What functions return that return nothing: not worth a pickle each."""


class RunningAttempt:
    """An attempt that has begun, and what it waits for.

    Attributes:
        loaded: its function; `NOT_LOADED` before a thread has loaded it.
        scope: what stops it; None for a plain function in a thread, which cannot be stopped, and
            while a function is loaded there.
        is_stopped: it was cancelled, or is over its time limit and the coordinator knows.
        waits: what it waits for, and whether it has its slot; None before it has waited.
    """

    __slots__ = (
        "_outcomes",
        "began",
        "is_stopped",
        "loaded",
        "message",
        "runner",
        "scope",
        "waits",
    )

    def __init__(self, runner: AttemptRunner, message: RunAttempt, loaded: LoadedFunction):
        self.runner = runner
        self.message = message
        self.loaded = loaded
        self.began = perf_counter()
        self.scope: trio.CancelScope | None = None
        self.is_stopped = False
        self.waits: Waits | None = None
        self._outcomes: tuple[PredecessorOutcome, ...] | None = None

    def predecessors(self) -> tuple[PredecessorOutcome, ...]:
        if self._outcomes is None:
            self._outcomes = tuple(map(PredecessorOutcome, self.message.predecessors))
        return self._outcomes

    def forget_results(self) -> None:
        """It has ended, and is not to keep the results of others in memory."""
        self._outcomes = None

    def arguments(self) -> tuple[tuple[object, ...], dict[str, Any]]:
        """The arguments, with results in the place of tasks."""
        if not self.message.arguments:
            return (), {}
        outcomes = {outcome.uid: outcome for outcome in self.predecessors()}
        return decode_call(
            self.message.arguments, lambda uid: outcomes[uid].result, tuple(outcomes)
        )

    def seconds(self) -> float:
        """How long it has run, without the time it waited for other tasks."""
        waited = 0.0 if self.waits is None else self.waits.seconds
        return max(0.0, perf_counter() - self.began - waited)

    def load(self) -> None:
        """Load its function, in a thread for functions: that may import anything."""
        self.loaded = self.runner.load(self.message.function_id)
        self.began = perf_counter()


class AttemptRunner:
    """One worker's attempts.

    Args:
        slots: how many run at once.
        functions: where functions come from and how they are named.
        send: takes reports to the coordinator, from any thread, without waiting.
        nursery: where coroutine functions run.
        uids: numbers for the tasks that tasks create.
        registered: the names by which tasks may ask for functions.
        loops: the names of all worker loops.
        marks: where to note what runs, for the case that the process dies.
        in_place: plain functions are called in the trio thread, not in threads of their own.
        wait_for_room: waits, in a thread, until there is room for more to send.
        pool: where large values go.
        carrier: what goes from a task's context into those that it creates.

    Attributes:
        reading: the link, if the thread of functions is to read it; for one slot only.
        unsent_lines: about how many log lines wait to be sent.
        on_loaded: called when a function has been loaded, which may have imported anything.
        on_ending: called with each attempt before its end is reported.
        on_record: called with an attempt and a record that it logs, where those are noted; see
            `local_logs.py`.
    """

    def __init__(
        self,
        slots: int,
        functions: FunctionBook,
        send: Callable[[Sequence[msgspec.Struct]], None],
        nursery: trio.Nursery,
        uids: Iterator[int],
        registered: frozenset[str],
        loops: frozenset[str],
        worker_context: object = None,
        marks: BegunMarks | None = None,
        in_place: bool = False,
        wait_for_room: Callable[[], None] = lambda: None,
        pool: SegmentPool | None = None,
        carrier: Carrier | None = None,
    ):
        self.worker_context = worker_context
        self.reading: LinkReading | None = None
        self.unsent_lines = 0
        self.on_loaded: Callable[[], None] | None = None
        self.on_ending: Callable[[RunningAttempt], None] | None = None
        self.on_record: Callable[[RunningAttempt, logging.LogRecord], None] | None = None
        self._carrier = carrier or Carrier()
        self._slots = Slots(slots, marks)
        self._awaiting = Awaiting(self._slots, self._report_soon, self._begin_all)
        self._functions = functions
        self._send = send
        self._wait_for_room = wait_for_room
        self._nursery = nursery
        self._uids = uids
        self._registered = registered
        self._loops = loops
        self._in_place = in_place
        self._pool = pool
        self._rules = RetryRules((KeyboardInterrupt,) if in_place else ())
        self._token = trio.lowlevel.current_trio_token()
        self._threads = FunctionThreads(self._run_and_go_on, "trio_actor_graph")
        self._running: dict[int, RunningAttempt] = {}
        self._is_closed = False
        self._reports: deque[msgspec.Struct] = deque()
        self._naming = threading.Lock()  # held for a moment: see `functions.py`
        self._flushing = threading.Lock()
        self._flushed = perf_counter()
        self._has_threads = trio.Event()
        self._is_watching = False

    # ---- what the coordinator says (trio thread) --------------------------------------------

    def handle(self, messages: Sequence[msgspec.Struct]) -> None:
        """Take a batch of the coordinator's messages."""
        self.take_in(messages)
        self._begin_all()
        if self._reports:
            self.flush_soon()

    def is_idle(self) -> bool:
        return not self._running

    def take_in(self, messages: Sequence[msgspec.Struct]) -> None:
        """Take a batch, and begin nothing; also in the thread, if nothing runs in trio."""
        attempts = [message for message in messages if type(message) is RunAttempt]
        others = messages if not attempts else [m for m in messages if type(m) is not RunAttempt]
        for message in others:  # first, because a thread may begin an attempt as soon as it is held
            if isinstance(message, DefineFunction):
                self._functions.define(message)
            elif isinstance(message, ForgetFunctions):
                self._forget(message.function_ids)
        for attempt_id in self._slots.hold(attempts):
            self._report(FollowerReturned(attempt_id))
        for message in others:
            self._handle(message)

    def _handle(self, message: msgspec.Struct) -> None:
        match message:
            case CancelAttempt(attempt_id):
                self._cancel(attempt_id)
            case ReturnAttempts(count):
                self._report(AttemptsReturned(self._slots.take_last(count)))
            case AwaitedEnded(attempt_id, outcome):
                if (running := self._running.get(attempt_id)) is not None:
                    self._awaiting.tell(running, outcome)

    def _forget(self, function_ids: tuple[int, ...]) -> None:
        with self._naming:
            self._functions.forget(function_ids)
            self._report(FunctionsForgotten(function_ids))

    def close(self) -> None:
        """Begin nothing more."""
        self._is_closed = True
        self._slots.drop_all()
        self._threads.close()

    async def wait_threads(self) -> None:
        """Wait until no plain function runs in a thread any more."""
        while self._busy_threads():  # noqa: ASYNC110  to be told would cost each of them a call
            await trio.sleep(TICK_SECONDS / 2)

    async def run(self) -> None:
        """Look after what runs; as long as the runner is used, in its nursery."""
        try:
            while True:
                await self._has_threads.wait()
                self._has_threads = trio.Event()
                await self._watch_threads()
                self._is_watching = False
                if self._busy_threads():  # since the last look, and did not ask to be watched
                    self._watch()
        finally:
            self._awaiting.close(self._running.values())

    async def _watch_threads(self) -> None:
        """While plain functions run: look at their time limits and send what they have reported.

        And for one tick more, so that a thread that is given one small task after the other need
        not ask for it each time.
        """
        is_busy = True
        while is_busy:
            await trio.sleep(TICK_SECONDS)
            is_busy = bool(self._busy_threads())
            if self._reports:
                self.flush()
            if self.reading is not None:
                is_busy |= self.reading.look_after_thread()
            for running in list(self._running.values()):
                self._check_time_limit(running)

    def _watch(self) -> None:
        """Have the threads watched (trio thread)."""
        self._is_watching = True
        self._has_threads.set()

    def _busy_threads(self) -> int:
        """How many threads are at work."""
        is_one_waiting = self.reading is not None and self.reading.is_thread_waiting
        return self._threads.busy - is_one_waiting

    def flush(self) -> None:
        """Send what has been reported; from any thread.

        Taking and sending are one step: if two threads could send in another order than they took,
        the end of a task would overtake what it created.
        """
        windows.unlock_unused()  # before anybody hears that the values are needed no more
        with self._flushing:
            self._flushed = perf_counter()
            self.unsent_lines = 0
            batch: list[msgspec.Struct] = []
            try:
                while True:
                    batch.append(self._reports.popleft())
            except IndexError:
                pass
            if batch:
                self._send_all(batch)

    def _send_all(self, batch: Sequence[msgspec.Struct]) -> None:
        try:
            self._send(batch)
        except Exception:  # one of them cannot be encoded: the others must not be lost with it
            for report in batch:
                try:
                    self._send([report])
                except Exception as error:
                    if isinstance(report, Logged):
                        continue
                    attempt_id: int = getattr(report, "attempt_id", 0)
                    self._send([AttemptFailed(attempt_id, describe_exception(error), 0.0)])

    # ---- what tasks ask for (the thread of the task) ----------------------------------------

    def create(self, attempt: RunningAttempt, call: Call, options: Options) -> tuple[int, str]:
        """Report the creation of a task; return its uid and name."""
        self._check_running(attempt)
        if not self._in_place:
            call = split_method(call)
        function = call.function
        number: int | str
        if isinstance(function, str):
            self._check_known("function", function, self._registered)
            what = number = function
            is_async = False  # the coordinator knows
        else:
            what, is_async = function_name(function), is_coroutine_function(function)
            number = self._functions.identify(function)
        if options.worker_loop is not None:
            self._check_known("worker loop", options.worker_loop, self._loops)
        name = options.name or what
        policy = options.retries
        retry_on = None if policy is None else encoded_retry_on(policy)
        # The last that may fail: what is in shared memory has to be reported.
        arguments, inputs = encode_call(call.args, call.kwargs, f"task {name!r}", None, self._pool)
        uid = next(self._uids)
        creation = CreateTask(
            attempt.message.attempt_id,
            uid,
            number,
            is_async,
            name,
            arguments,
            inputs,
            options.condition,
            options.priority,
            None if policy is None else policy.spec,
            options.timeout_seconds,
            options.worker_loop,
            retry_on,
            self._carrier.capture(),
        )
        self._report_creation(creation, function)
        self._flush_in_time(attempt)
        return uid, name

    def _report_creation(self, creation: CreateTask, function: AnyFunction | str) -> None:
        """Report it by a number that has not been forgotten since it was looked up."""
        while True:
            with self._naming:
                if isinstance(function, str) or self._functions.knows(int(creation.function)):
                    self._report(creation)
                    return
            number = self._functions.identify(function)
            creation = msgspec.structs.replace(creation, function=number)

    def add_predecessor(self, attempt: RunningAttempt, uid: int, condition: AnyCondition) -> None:
        """Report it; an attempt of that task that waits here for others is given back before."""
        self._check_running(attempt)
        if (parked := self._slots.take_parked(uid)) is not None:
            self._report(FollowerReturned(parked))
        self._report(AddPredecessor(attempt.message.attempt_id, uid, condition))
        self._flush_in_time(attempt)

    def cancel_task(self, attempt: RunningAttempt, uid: int, successors: bool) -> None:
        self._check_running(attempt)
        self._report(CancelTask(attempt.message.attempt_id, uid, successors))
        self._flush_in_time(attempt)

    def mark_seen(self, attempt: RunningAttempt, uid: int) -> None:
        """Report that the result of an ended task was asked for once more; nothing is awaited."""
        self._check_running(attempt)
        self._report(AwaitTask(attempt.message.attempt_id, uid, is_seen=True))
        self._flush_in_time(attempt)

    async def wait_for(self, attempt: RunningAttempt, uid: int, is_seen: bool) -> TaskOutcome:
        """Wait until a task of the graph has ended; the slot is free meanwhile.

        Raises:
            GraphError: the task has ended, or is a plain function, which cannot wait.
        """
        self._check_running(attempt)
        if not attempt.loaded.is_async:
            raise GraphError(
                "only a running async task can await the tasks it created; "
                "a plain function can return one instead"
            )
        return await self._awaiting.wait_for(attempt, uid, is_seen)

    # ---- beginning and ending ---------------------------------------------------------------

    def _begin_all(self) -> None:
        """Begin whatever there are slots for (trio thread)."""
        while (message := self._slots.begin()) is not None:
            self._start(self._begun(message))

    def _begun(self, message: RunAttempt) -> RunningAttempt:
        loaded = self._functions.get(message.function_id)
        running = self._running[message.attempt_id] = RunningAttempt(self, message, loaded)
        return running

    def load(self, function_id: int) -> LoadedFunction:
        """Load a function; in a thread for functions."""
        loaded = self._functions.load(function_id)
        if self.on_loaded is not None:
            self.on_loaded()
        return loaded

    def _start(self, running: RunningAttempt) -> None:
        """Set an attempt going that has its slot (trio thread)."""
        if self._is_closed:
            return
        if running.loaded.is_async or self._in_place:
            running.scope = trio.CancelScope()
            if running.is_stopped:  # while it was loaded
                running.scope.cancel()
            self._nursery.start_soon(self._run_async, running)
        else:
            self._threads.give(running)
            self._watch()

    async def _run_async(self, running: RunningAttempt) -> None:
        scope = running.scope
        assert scope is not None
        limit = running.message.timeout_seconds
        running.began = perf_counter()
        if limit is not None:
            scope.deadline = trio.current_time() + limit
        current.set(CurrentTask(running))
        report: msgspec.Struct = AttemptStopped(running.message.attempt_id)
        try:
            with scope:
                report = await self._call_async(running)
        except BaseException as error:
            if self._is_meant_for_all(error):
                raise
            report = self._failed(running, error, describe_exception(error, frames_hidden=2))
        if scope.cancelled_caught and not running.is_stopped:
            report = _timed_out(running, limit or 0.0)
        self._end(running, report)
        if running.waits is None or running.waits.has_slot:
            self._slots.release(running.message.attempt_id)
        self._begin_all()
        self.flush_soon()

    def _is_meant_for_all(self, error: BaseException) -> bool:
        """The cancellation of the whole worker; or Ctrl-C, in the program's own process."""
        if self._in_place and _has(error, KeyboardInterrupt):
            return True
        return _has(error, trio.Cancelled) and trio.current_effective_deadline() == -math.inf

    async def _call_async(self, running: RunningAttempt) -> msgspec.Struct:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._slots.mark(running.message.attempt_id)
        if running.loaded.function is None:
            return self._not_loaded(running)
        args, kwargs = running.arguments()
        if running.message.context is not None:  # in the context of a trio task of its own
            take_up(running.message.context)
        try:
            value = running.loaded.function(*args, **kwargs)
        except StopIteration as error:  # out of a coroutine it would be a RuntimeError
            return self._failed(running, error, describe_exception(error, frames_hidden=1))
        limit = running.message.timeout_seconds
        if running.loaded.is_async:
            value = await value
        elif limit is not None and running.seconds() > limit:  # it could not be stopped
            return _timed_out(running, limit)
        return self._succeeded(running, value)

    def _run_and_go_on(self, running: RunningAttempt) -> RunningAttempt | None:
        """Run a plain function in this thread, and find the next one to run in it.

        Where a function is not loaded yet, only this thread can tell whether it is a plain one.
        """
        attempt_id = running.message.attempt_id
        if running.loaded is NOT_LOADED:
            self._slots.mark(attempt_id, is_loading=True)
            running.load()
        self._slots.mark(attempt_id)
        if running.loaded.is_async:
            self._token.run_sync_soon(self._start, running)
            return self._go_on_with(self._slots.begin())
        self._run_plain(running)
        if self.reading is not None:
            self.reading.look()
        return self._go_on_with(self._slots.pass_on(attempt_id))

    def _go_on_with(self, message: RunAttempt | None) -> RunningAttempt | None:
        """Find what is to run in this thread, beginning with the attempt that has its slot.

        A coroutine function is handed to trio, and its slot with it; the thread then looks for
        another slot, and whatever it does from there may happen while that function runs.
        """
        while True:
            while message is not None:
                next_one = self._begun(message)
                if not next_one.loaded.is_async:
                    self._flush_before(next_one)
                    return next_one
                self._slots.unmark(message.attempt_id)
                self._token.run_sync_soon(self._start, next_one)
                message = self._slots.begin()
            self.flush()
            if not self._wait_in_link():
                return None
            message = self._slots.begin()

    def _wait_in_link(self) -> bool:
        """Take in what comes next; False if that is trio's business."""
        if self.reading is None or not self.reading.wait():
            return False
        if not self._is_watching:  # there was nothing to watch, and trio sleeps
            self._is_watching = True
            self._token.run_sync_soon(self._watch)
        return True

    def _run_plain(self, running: RunningAttempt) -> None:
        report: msgspec.Struct
        token = current.set(CurrentTask(running))
        running.began = perf_counter()
        loaded = running.loaded
        try:
            if running.is_stopped:  # while it was loaded
                report = AttemptStopped(running.message.attempt_id)
            elif loaded.function is None:
                report = self._not_loaded(running)
            else:
                args, kwargs = running.arguments()
                if running.message.context is None:
                    value = loaded.function(*args, **kwargs)
                else:
                    context = copy_context()  # so that the next in this thread finds nothing of it
                    context.run(take_up, running.message.context)
                    value = context.run(loaded.function, *args, **kwargs)
                report = self._succeeded(running, value)
        except BaseException as error:  # SystemExit and KeyboardInterrupt end the task only
            report = self._failed(running, error, describe_exception(error, frames_hidden=1))
        finally:
            current.reset(token)
        self._end(running, report)

    def _end(self, running: RunningAttempt, report: msgspec.Struct) -> None:
        """Report the end of an attempt, and only then release those that follow it."""
        attempt_id = running.message.attempt_id
        del self._running[attempt_id]
        running.forget_results()
        if self.on_ending is not None:
            self.on_ending(running)
        is_wanted = not running.is_stopped  # asked before: see `_check_time_limit`
        self._report(report)
        if not isinstance(report, AttemptSucceeded) or not is_wanted:
            self._slots.keep_followers(attempt_id)
        elif self._slots.release_followers(running.message, report.value) > 1:
            self._token.run_sync_soon(self._begin_all, idempotent=True)  # this thread begins one

    def _succeeded(self, running: RunningAttempt, value: object) -> msgspec.Struct:
        attempt_id = running.message.attempt_id
        seconds = running.seconds()
        if isinstance(value, Task):
            return AttemptReturnedTask(attempt_id, value.uid, seconds, running.began)
        loaded = running.loaded
        loaded.mean_seconds = running_mean(loaded.mean_seconds, seconds)
        if value is None:
            return AttemptSucceeded(attempt_id, _NONE, seconds, running.began)
        encoded = encode_plain_value(value)
        if encoded is None:
            name = f"the result of task {running.message.name!r}"
            encoded = encode_value(value, name, pool=self._pool)
        return AttemptSucceeded(attempt_id, encoded, seconds, running.began)

    def _failed(
        self, running: RunningAttempt, error: BaseException, failure: Raised
    ) -> AttemptFailed:
        seconds = running.seconds()
        failure, is_final = self._rules.judge(running.message.retry_on, error, failure)
        attempt_id = running.message.attempt_id
        return AttemptFailed(attempt_id, failure, seconds, is_final, running.began)

    def _not_loaded(self, running: RunningAttempt) -> AttemptFailed:
        loaded = running.loaded
        assert loaded.error is not None
        assert loaded.failure is not None
        return self._failed(running, loaded.error, loaded.failure)

    def _cancel(self, attempt_id: int) -> None:
        if self._slots.drop(attempt_id):
            self._report(AttemptStopped(attempt_id))
            return
        running = self._running.get(attempt_id)
        if running is not None:
            running.is_stopped = True
            if running.scope is not None:
                running.scope.cancel()
                self._awaiting.go_on_without_slot(running)

    def _check_time_limit(self, running: RunningAttempt) -> None:
        limit = running.message.timeout_seconds
        if limit is None or running.scope is not None or running.is_stopped:
            return
        if running.loaded is NOT_LOADED:  # looked at by the coordinator, should that never end
            return
        if running.seconds() > limit:
            # In this order, since `_end` has it the other way round: if that takes it for wanted
            # still, its success is reported ahead of this.
            self._report(AttemptOverdue(running.message.attempt_id))
            running.is_stopped = True
            self.flush()

    # ---- reports ----------------------------------------------------------------------------

    def _report(self, report: msgspec.Struct) -> None:
        self._reports.append(report)

    def report_line(self, line: Logged, seconds: float) -> bool:
        """Report a log line; True if nothing was sent for so many seconds. From any thread."""
        self._reports.append(line)
        self.unsent_lines += 1
        return perf_counter() - self._flushed > seconds

    @property
    def is_flushing(self) -> bool:
        """Whether some thread, perhaps this one, is just sending."""
        return self._flushing.locked()

    def _report_soon(self, report: msgspec.Struct) -> None:
        self._report(report)
        self.flush_soon()

    def _flush_before(self, next_one: RunningAttempt) -> None:
        """Send before beginning what may take long, or when reports have waited long enough."""
        mean = next_one.loaded.mean_seconds
        is_short = mean is not None and mean < SHORT_SECONDS
        if not is_short or perf_counter() - self._flushed > FLUSH_SECONDS:
            self._slots.unmark(next_one.message.attempt_id)
            self.flush()
            self._wait_for_room()

    def _flush_in_time(self, attempt: RunningAttempt) -> None:
        if attempt.scope is not None:
            self.flush_soon()
            return
        if perf_counter() - self._flushed > FLUSH_SECONDS:
            self.flush()
        self._wait_for_room()  # outside of all locks, because trio's thread must never wait for it

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call something in trio's thread; from any thread."""
        self._token.run_sync_soon(call)

    def flush_soon(self) -> None:
        """Send once the trio tasks that can run now have run, all their reports together."""
        self._token.run_sync_soon(self.flush, idempotent=True)

    def _check_running(self, attempt: RunningAttempt) -> None:
        if self._running.get(attempt.message.attempt_id) is not attempt:
            label = f"task {attempt.message.name!r} ({attempt.message.uid})"
            raise GraphError(f"{label} has ended: it can do nothing more in its graph")

    @staticmethod
    def _check_known(kind: str, name: str, known: frozenset[str]) -> None:
        if name not in known:
            names = ", ".join(map(repr, sorted(known))) or "none"
            raise GraphError(f"unknown {kind} {name!r}: there are {names}")


def _timed_out(running: RunningAttempt, limit: float) -> AttemptFailed:
    attempt_id = running.message.attempt_id
    return AttemptFailed(attempt_id, TimedOut(limit), running.seconds(), began_at=running.began)


def _has(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether it is one of that kind, or a group with one in it, however deep."""
    pending = [error]
    while pending:
        part = pending.pop()
        if isinstance(part, kind):
            return True
        if isinstance(part, BaseExceptionGroup):
            pending.extend(part.exceptions)
    return False
