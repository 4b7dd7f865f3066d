"""The coordinator: the one owner of graphs, results and workers.

Whatever happens arrives here as a plain call: from handles in the app, from engines, from the
clock. Each call tells the pure core (`graph.scheduler`) and wakes the coordinator's task, which
runs the commands that have piled up since, in one `match`, and sends each worker one frame. All of
it is synchronous code in one thread, so there are no locks and nothing is seen half done.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trio_actor_graph import messages as msg
from trio_actor_graph.buffers.keeping import Segment, take_over
from trio_actor_graph.buffers.pool import SPARE_SECONDS, SegmentPool, open_pool
from trio_actor_graph.buffers.segment import SegmentGone, encoded_size, is_reference
from trio_actor_graph.calls import AnyFunction, Call, Options, split_method
from trio_actor_graph.carrying import Carrier
from trio_actor_graph.checks import is_integer, is_text
from trio_actor_graph.engine.api import Engine, EngineOwner
from trio_actor_graph.engine.local import LocalEngine
from trio_actor_graph.engine.processes import ProcessEngine
from trio_actor_graph.engine.stopping import CLOSE_SECONDS
from trio_actor_graph.errors import (
    CycleError,
    GraphError,
    InternalError,
    PayloadError,
    ProtocolError,
    ResultReleased,
)
from trio_actor_graph.extras import missing_extra
from trio_actor_graph.functions import FunctionEntry, FunctionTable, OwnFunctions
from trio_actor_graph.graph import commands as do
from trio_actor_graph.graph.conditions import AnyCondition
from trio_actor_graph.graph.failures import CannotStart, Refused, WorkerEnd
from trio_actor_graph.graph.records import (
    AttemptRecord,
    GraphRecord,
    LoopRecord,
    TaskRecord,
    TaskSpec,
    TaskTimes,
    WorkerRecord,
)
from trio_actor_graph.graph.retrying import NO_RETRIES
from trio_actor_graph.graph.scheduler import Scheduler
from trio_actor_graph.handles import KeepResults, OnFailure, TaskGraph, mark_seen
from trio_actor_graph.log_delivery import LogDelivery
from trio_actor_graph.log_keeping import LogKeeping
from trio_actor_graph.loops import WorkerLoop
from trio_actor_graph.observers import Observer, Watch
from trio_actor_graph.outcome import TaskOutcome, describe_exception, failure_error
from trio_actor_graph.payload import encode_value
from trio_actor_graph.results import ResultStore, default_stored_bytes_max
from trio_actor_graph.retries import NEVER, defaults_of, encoded_retry_on
from trio_actor_graph.statistics import CoordinatorStatistics, RunTimes, WorkerStatistics

if TYPE_CHECKING:
    from trio_actor_graph.observe.spans import Spans
    from trio_actor_graph.web.limits import HttpLimits
    from trio_actor_graph.web.server import HttpServer

ASKED_MAX: Final = 10_000
"""How many noted questions for results may stand before those of ended attempts are dropped."""

_ID_BITS: Final = 36
"""Each worker numbers what its tasks create by itself, below its own number shifted by this: 68
billion for each of 131,072 workers stay below 2**53, the largest integer that JSON readers keep."""

# One count for the whole process: a task of another coordinator is then unknown, never mistaken.
_ids = count(1)
_worker_ids = count(1)


_INFINITE: Final = math.inf

# Ctrl-C waits until a change of the core is complete.
_whole = trio.lowlevel.enable_ki_protection


class TaskCall(msgspec.Struct, frozen=True, gc=False):
    """What the core carries for a task and never opens: what to run, and with what."""

    function: FunctionEntry
    arguments: bytes
    retry_on: bytes | None = None
    embedded: tuple[FunctionEntry, ...] = ()
    context: bytes | None = None


class Coordinator:
    """Made by `open_coordinator`. Opens graphs, and tells what the workers do."""

    def __init__(
        self,
        loops: dict[str, WorkerLoop],
        registered: Mapping[str, AnyFunction],
        make_engine: Callable[[EngineOwner], Engine] = ProcessEngine,
        log_delivery: LogDelivery | None = None,
        carried: tuple[str, ...] = (),
        spans: Spans | None = None,
        records_times: bool = False,
    ):
        self._functions = FunctionTable(loops, registered, _ids)
        self._pool = open_pool()
        self._pool_used = trio.Event()
        self._lent: dict[TaskRecord, Segment] = {}  # with arguments of tasks that may run
        specs = (loop.spec for loop in loops.values())
        self._scheduler = Scheduler(specs, _worker_ids, perf_counter)
        self._loops = loops
        self._in_processes = {name for name, loop in loops.items() if loop.processes > 0}
        self._graphs: dict[int, TaskGraph] = {}
        self._run_times = RunTimes()
        self._asked: set[tuple[int, int]] = set()  # (attempt id, uid) whose result is awaited
        self._outgoing: dict[int, list[msgspec.Struct]] = {}
        self.is_due = False  # something is to be run soon
        self._was_run_early = False  # in this turn of the event loop
        self._crash: Exception | None = None  # met in a user's task
        self._wake = trio.Event()
        self._alarm = trio.CancelScope()  # its deadline is when the core next wants to be asked
        self._workers_changed = trio.Event()
        self._draining: dict[GraphRecord, trio.Event] = {}
        self._failed: list[TaskRecord] = []  # not told yet to all who wait for them
        self._turn_at = 0.0  # when commands were last run
        self._watch = Watch(self._scheduler, self.wake, spans, records_times)
        self._is_closed = False
        self._thread = threading.get_ident()
        self._logs = LogKeeping(
            log_delivery or LogDelivery(),
            self._scheduler,
            self._graphs,
            self._watch,
            lambda worker: self._engine(worker.loop).pid(worker.worker_id),
        )
        self._carrier = Carrier(carried)
        setups = {name: loop.setup for name, loop in loops.items()}
        self._processes = make_engine(self)
        self._local = LocalEngine(
            self,
            OwnFunctions(self._functions),
            setups,
            self._pool,
            self._carrier,
            self._logs.note_record,
            self._logs.delivery.captures_output,
        )
        # Encoded now, so that an unpicklable setup is refused where it was written.
        self._setups = {
            name: encode_value(loop.setup, f"worker loop {name!r}: setup", self._functions.known_id)
            for name, loop in loops.items()
            if loop.setup is not None and loop.processes > 0
        }
        for function in registered.values():
            if (policy := defaults_of(function).retries) is not None:
                encoded_retry_on(policy)
        for name, loop in loops.items():
            if loop.processes > 0:
                for entry in self._functions.assigned_to(name):
                    self._functions.encode(entry)

    # ---- what users see ---------------------------------------------------------------------

    @asynccontextmanager
    async def open_graph(
        self,
        name: str | None = None,
        *,
        on_failure: OnFailure = "raise",
        keep_results: KeepResults = "all",
        stored_bytes_max: int | None = None,
    ) -> AsyncIterator[TaskGraph]:
        """Open a task graph; leaving it waits for every task, also those born meanwhile.

        An exception in the body cancels the graph.

        Args:
            name: for people; by default "graph-N".
            on_failure: what a failure does that no `completed` condition and no `result()` has
                seen. "raise": leaving raises an ExceptionGroup of them. "continue": they stay on
                their tasks. "cancel": the first one cancels graph and body, and then as "raise".
            keep_results: "all" until the graph and every handle of it are gone; or "needed", which
                releases a result when no task and no handle can ask for it any more.
            stored_bytes_max: how many bytes of encoded results it keeps; a task whose result has no
                room fails with `ResultStoreFull`. By default half of the machine's memory.

        Raises:
            GraphError: the coordinator has been closed, or an argument is not what it should be.
            GraphStalled: nothing in the graph could go on.
            ExceptionGroup: of `TaskFailed` and `WorkerStartError`, for unseen failures.
        """
        if self._is_closed:
            raise GraphError("the coordinator has been closed: it opens no more graphs")
        if on_failure not in ("raise", "continue", "cancel"):
            raise GraphError(
                f"on_failure must be 'raise', 'continue' or 'cancel', not {on_failure!r}"
            )
        if name is not None and not is_text(name):
            raise GraphError(f"a graph's name must be a string, not {name!r}")
        if keep_results not in ("all", "needed"):
            raise GraphError(f"keep_results must be 'all' or 'needed', not {keep_results!r}")
        if stored_bytes_max is None:
            stored_bytes_max = default_stored_bytes_max()
        elif not is_integer(stored_bytes_max) or stored_bytes_max < 0:
            raise GraphError(
                f"stored_bytes_max must be an integer from 0, not {stored_bytes_max!r}"
            )
        uid = next(_ids)
        record = self._scheduler.on_graph_opened(
            uid, name or f"graph-{uid}", can_try_again=keep_results == "all"
        )
        results = ResultStore(stored_bytes_max)
        graph = TaskGraph(self, record, on_failure, results, keep_results)
        self._graphs[uid] = graph
        self._watch.note("on_graph", graph, "opened")
        try:
            with self._watch.in_graph(graph):
                async with graph.opened():
                    yield graph
        finally:
            self._watch.note("on_graph", graph, "closed")
            self._run_commands()  # what leaving it has led to needs the graph once more
            del self._graphs[uid]
            self._logs.delivery.forget_chain()
            self._scheduler.on_graph_closed(record)
            for task in [task for task in self._lent if task.graph is record]:
                del self._lent[task]  # they could have been tried again
            self._forget_functions(uid)

    @property
    def is_recorded(self) -> bool:
        """Whether it is noted when tasks are created, given to workers, and run.

        It is if it was opened with `record_times=True`, and while there is an observer.
        """
        return self._watch.is_recorded

    @property
    def graphs(self) -> tuple[TaskGraph, ...]:
        """The open graphs, oldest first."""
        return tuple(self._graphs.values())

    @property
    def workers(self) -> tuple[WorkerStatistics, ...]:
        """The workers that there are now, each with its loop, process and load."""
        if self._is_closed:
            return ()
        return tuple(
            WorkerStatistics(
                worker_id=w.worker_id,
                worker_loop=w.loop.name,
                index=w.index,
                pid=self._engine(w.loop).pid(w.worker_id),
                is_ready=w.is_ready,
                slots=w.slots,
                held=len(w.held),
            )
            for w in self._scheduler.workers.values()
        )

    def graph(self, uid: int) -> TaskGraph | None:
        """The open graph of this number; None if there is none."""
        return self._graphs.get(uid)

    @property
    def worker_records(self) -> Mapping[int, WorkerRecord]:
        """What the core knows of the workers, by their numbers; to be read only."""
        return self._scheduler.workers

    @property
    def registered_functions(self) -> Mapping[str, FunctionEntry]:
        """The functions that may be named by string, by name."""
        return self._functions.registered

    def check_sendable(self, function: str, worker_loop: str | None) -> None:
        """Refuse a registered function that cannot be sent to the processes where it is to run.

        Raises:
            GraphError: there is no such function, or it cannot be pickled.
        """
        entry = self._functions.named(function)
        if (worker_loop or entry.loop) in self._in_processes:
            plain = split_method(Call(entry.function, (), {}))
            if plain.args:  # the object of a method is sent with each call
                self._functions.encode_call(plain, entry.name, None)
                entry = self._functions.entry(plain.function)
            self._functions.encode(entry)

    @property
    def loop_names(self) -> tuple[str, ...]:
        """The names of the worker loops."""
        return tuple(self._loops)

    def serve_http(
        self,
        socket_path: str | os.PathLike[str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        token_path: str | os.PathLike[str] | None = None,
        allow_remote: bool = False,
        hosts: Iterable[str] = (),
        limits: HttpLimits | None = None,
    ) -> AbstractAsyncContextManager[HttpServer]:
        """Serve this coordinator over HTTP while the block runs; see `docs/http.md`.

        Without arguments it listens at a Unix socket in a private folder, `server.socket_path`,
        which only this user can use. Needs the extra "web": hypercorn and starlette.

        Args:
            socket_path: where to put the Unix socket instead. It has mode 0600.
            host, port: listen at this address instead; port 0 takes a free one. Clients have to
                send `server.token`, which is also in the file `server.token_path`.
            token_path: the file of the token. It is made with mode 0600; if there is one, the token
                is the one in it. By default a new one in a private folder.
            allow_remote: listen at an address that other machines can reach. Nothing is encrypted:
                that is for a private network, or for a proxy to do.
            hosts: names by which clients may call the server, besides localhost and addresses.
            limits: how much it takes on.

        Raises:
            GraphError: an argument is not what it should be, or the address cannot be had.
        """
        self._check_open()
        try:
            from trio_actor_graph.web.limits import HttpLimits
            from trio_actor_graph.web.server import open_server
        except ModuleNotFoundError as error:
            raise GraphError(missing_extra("serving needs", "web", error)) from error
        return open_server(
            self,
            socket_path,
            host=host,
            port=port,
            token_path=token_path,
            allow_remote=allow_remote,
            hosts=hosts,
            limits=limits or HttpLimits(),
        )

    def statistics(self) -> CoordinatorStatistics:
        """What has been done so far, as one frozen value."""
        counts: dict[str, int] = {}
        for graph in self._graphs.values():
            for state, number in graph.counts().items():
                counts[state] = counts.get(state, 0) + number
        return CoordinatorStatistics(
            tasks=counts,
            workers=self.workers,
            run_times=self._run_times.rows(),
            stale_reports=self._scheduler.stale_reports,
            workers_lost=self._scheduler.workers_lost,
            stops=self._processes.stop_counts,
        )

    @_whole
    def add_observer(self, observer: Observer) -> None:
        """Tell an observer from now on of what happens to graphs, tasks and workers."""
        self._check_open()
        self._watch.add(observer)

    def is_observed_by(self, observer: Observer) -> bool:
        """Whether an observer is told of anything: not any more after it has failed."""
        return self._watch.has(observer)

    @_whole
    def remove_observer(self, observer: Observer) -> None:
        """Tell it nothing more; does nothing if it is none."""
        self._watch.remove(observer)

    # ---- what handles ask for ---------------------------------------------------------------

    @_whole
    def create_task(self, graph: TaskGraph, call: Call, options: Options) -> TaskRecord:
        self._check_open()
        functions = self._functions
        if isinstance(call.function, str):
            entry = functions.named(call.function)
            options = options.filled(defaults_of(entry.function))
        else:
            entry = functions.entry(call.function)
        loop = options.worker_loop or entry.loop
        if loop in self._in_processes:
            plain = split_method(call)
            if plain is not call and not isinstance(plain.function, str):
                call, entry = plain, functions.entry(plain.function)
            functions.encode(entry)
        spec, retry_on = _spec_of(entry, options, loop)
        segment = None
        if call.args or call.kwargs:
            arguments, inputs, embedded = functions.encode_call(call, spec.name, self._pool)
            if is_reference(arguments):
                arguments, segment = self._take_over(None, arguments)
            task_call = TaskCall(entry, arguments, retry_on, embedded, self._carrier.capture())
        else:
            inputs = ()
            task_call = TaskCall(entry, b"", retry_on, (), self._carrier.capture())
        task = self._add_task(graph, next(_ids), spec, task_call, inputs, options.condition)
        if self._watch.is_recorded:
            task.times = TaskTimes(perf_counter())
        if segment is not None:
            self._lent[task] = segment
        self.wake()
        return task

    @_whole
    def add_predecessor(self, task: TaskRecord, condition: AnyCondition) -> None:
        self._check_open()
        self._add_predecessor(task, condition)
        self.wake()

    @_whole
    def cancel_task(self, task: TaskRecord, *, successors: bool) -> None:
        self._check_open()
        self._scheduler.on_task_cancelled(task, successors=successors)
        self.wake()

    @_whole
    def retry_task(self, task: TaskRecord) -> None:
        self._check_open()
        self._run_commands()  # its end is told before it goes back to waiting
        self._scheduler.on_task_tried_again(task)
        self.wake()

    @_whole
    def cancel_graph(self, graph: GraphRecord) -> None:
        if not graph.is_cancelled and graph.uid in self._graphs:
            self._watch.note("on_graph", self._graphs[graph.uid], "cancelled")
        self._scheduler.on_graph_cancelled(graph)
        self.wake()

    async def wait_drained(self, graph: GraphRecord) -> None:
        """Wait until nothing of the graph runs any more, wanted or not."""
        if self._has_attempts(graph) and not self._is_closed:
            await self._draining.setdefault(graph, trio.Event()).wait()

    # ---- what engines report ----------------------------------------------------------------

    @_whole
    def on_messages(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> None:
        """Take what a worker has sent.

        Raises:
            ProtocolError: something in it makes no sense; what came before it was taken.
        """
        now = trio.current_time()
        try:
            for message in messages:
                if type(message) is msg.AttemptSucceeded:  # most are, and `match` takes its time
                    self._take_result(worker_id, message, now)
                elif type(message) is msg.Logged:
                    self._logs.take(worker_id, message)
                else:
                    self._take_message(worker_id, message, now)
        finally:
            self._run_commands()

    @_whole
    def on_worker_lost(self, worker_id: int, end: WorkerEnd) -> None:
        self._functions.on_worker_lost(worker_id)
        self._forget_durations()
        if (worker := self._scheduler.workers.get(worker_id)) is not None:
            was_asked = worker.is_stopping or worker.is_retiring or self._is_closed
            self._watch.note("on_worker", worker, "ended" if was_asked else "lost")
        self._scheduler.on_worker_lost(worker_id, end, trio.current_time())
        self._workers_changed.set()
        self._run_commands()

    @_whole
    def on_worker_worn(self, worker_id: int) -> None:
        self._scheduler.on_worker_worn(worker_id)
        self.wake()

    def _take_message(self, worker_id: int, message: msgspec.Struct, now: float) -> None:
        scheduler = self._scheduler
        match message:
            case msg.AttemptFailed(attempt_id, failure, seconds, is_final):
                _require(0.0 <= seconds < _INFINITE, message)
                attempt = self._attempt(worker_id, attempt_id)
                if attempt is not None:
                    _note_run(attempt, message)
                    self._run_times.add(attempt.task.spec.name, attempt.worker, seconds)
                scheduler.on_attempt_failed(attempt_id, failure, seconds, now, is_final=is_final)
            case msg.AttemptReturnedTask(attempt_id, uid, seconds):
                _require(0.0 <= seconds < _INFINITE, message)
                attempt = self._attempt(worker_id, attempt_id)
                if attempt is not None:
                    _note_run(attempt, message)
                self._take_returned_task(attempt_id, uid, seconds, now)
            case msg.CreateTask():
                self._create_for_attempt(worker_id, message)
            case msg.DefineFunction(function_id):
                _require(function_id >> _ID_BITS == worker_id, message)
                self._functions.receive(worker_id, message)
            case msg.FunctionsForgotten(function_ids):
                self._functions.on_forgotten(worker_id, function_ids)
                self._forget_durations()
            case msg.AwaitTask(attempt_id, uid, is_seen):
                self._attempt(worker_id, attempt_id)
                if is_seen:
                    self._asked.add((attempt_id, uid))
                self._await_for_attempt(attempt_id, uid)
            case msg.StopAwaiting(attempt_id, uid):
                self._attempt(worker_id, attempt_id)
                self._asked.discard((attempt_id, uid))
                scheduler.on_attempt_stopped_awaiting(attempt_id, uid)
            case msg.AddPredecessor(attempt_id):
                self._add_predecessor_for_attempt(self._attempt(worker_id, attempt_id), message)
            case msg.CancelTask(attempt_id, uid, successors):
                self._cancel_for_attempt(self._attempt(worker_id, attempt_id), uid, successors)
            case msg.AttemptsReturned(attempt_ids):
                for attempt_id in attempt_ids:
                    attempt = self._attempt(worker_id, attempt_id)
                    _require(attempt is None or not attempt.has_awaited, message)
                scheduler.on_attempts_given_back(worker_id, attempt_ids, now)
            case msg.FollowerReturned(attempt_id):
                attempt = self._held_attempt(worker_id, attempt_id)
                _require(attempt is None or not attempt.has_awaited, message)
                scheduler.on_follower_given_back(attempt_id)
            case msg.AttemptStopped(attempt_id):
                attempt = self._attempt(worker_id, attempt_id)
                _require(attempt is None or attempt.state == "cancelling", message)
                scheduler.on_attempt_stopped(attempt_id, now)
            case msg.AttemptOverdue(attempt_id):
                self._attempt(worker_id, attempt_id)
                scheduler.on_attempt_overdue(attempt_id, now)
            case msg.WorkerReady():
                scheduler.on_worker_ready(worker_id, now)
                self._workers_changed.set()
                if (ready := scheduler.workers.get(worker_id)) is not None:
                    self._watch.note("on_worker", ready, "ready")
            case msg.WorkerUnable(text):
                worker = scheduler.workers.get(worker_id)
                _require(worker is None or not worker.is_ready, message)
                if worker is not None:
                    self._watch.note("on_worker", worker, "lost")
                scheduler.on_worker_start_failed(worker_id, text)
                self._processes.kill(worker_id)
            case _:
                _require(False, message)

    def _attempt(self, worker_id: int, attempt_id: int) -> AttemptRecord | None:
        """The attempt that a worker says to have begun; None for one of the past.

        Raises:
            ProtocolError: it was given to another worker, or cannot have begun.
        """
        attempt = self._scheduler.attempts.get(attempt_id)
        if attempt is None:
            return None
        if attempt.worker.worker_id != worker_id or attempt.state == "following":
            self._held_attempt(worker_id, attempt_id)
            raise ProtocolError(f"it has begun {attempt.task.label} ahead of what that follows")
        return attempt

    def _held_attempt(self, worker_id: int, attempt_id: int) -> AttemptRecord | None:
        """The attempt that a worker speaks of; None for one of the past.

        Raises:
            ProtocolError: it was given to another worker.
        """
        attempt = self._scheduler.attempts.get(attempt_id)
        if attempt is not None and attempt.worker.worker_id != worker_id:
            raise ProtocolError(f"it speaks of an attempt of {attempt.worker.name}")
        return attempt

    def _take_result(self, worker_id: int, message: msg.AttemptSucceeded, now: float) -> None:
        scheduler = self._scheduler
        attempt_id, value, seconds = message.attempt_id, message.value, message.seconds
        if not 0.0 <= seconds < _INFINITE:
            _require(False, message)
        attempt = self._attempt(worker_id, attempt_id)
        segment = None
        if is_reference(value):
            try:
                value, segment = self._take_over(worker_id, value)
            except OSError as error:
                failure = describe_exception(error)
                scheduler.on_attempt_failed(attempt_id, failure, seconds, now, is_final=True)
                return
        if attempt is None or attempt.task.attempt is not attempt:
            scheduler.on_attempt_succeeded(attempt_id, seconds, now)  # counts what came too late
            return
        results = self._graphs[attempt.task.graph.uid].results
        size = len(value) if segment is None else encoded_size(value)
        if not results.has_room(size):
            self._run_commands()  # tasks that have ended may need some of the others no more
            lack = results.lack_of_room(size)
            if lack is not None:
                _note_run(attempt, message)
                scheduler.on_attempt_failed(attempt_id, lack, seconds, now)
                return
        times = attempt.task.times
        if times is not None:
            if attempt.has_awaited or not 0.0 <= message.began_at < _INFINITE:
                _note_run(attempt, message)
            else:  # written out: it is done for each task, as long as somebody may ask
                times.began_at = message.began_at
                times.ran_until = message.began_at + seconds
                times.ran_in = attempt.worker
        task = scheduler.on_attempt_succeeded(attempt_id, seconds, now)
        if task is not None:
            results.put(task.uid, value, size, segment)
            self._run_times.add(task.spec.name, attempt.worker, seconds)

    def _take_returned_task(self, attempt_id: int, uid: int, seconds: float, now: float) -> None:
        attempt = self._scheduler.attempts.get(attempt_id)
        is_wanted = attempt is not None and attempt.is_wanted
        self._scheduler.on_attempt_returned_task(attempt_id, uid, seconds, now)
        if attempt is not None and is_wanted and attempt.task.returns is not None:
            self._graphs[attempt.task.graph.uid].hold(attempt.task.returns)

    # ---- what running tasks ask for ---------------------------------------------------------

    def _create_for_attempt(self, worker_id: int, message: msg.CreateTask) -> None:
        attempt = self._attempt(worker_id, message.attempt_id)
        arguments, segment, refusal = message.arguments, None, ""
        if is_reference(arguments):
            try:
                arguments, segment = self._take_over(worker_id, arguments)
            except OSError as error:
                refusal = f"its arguments: {error}"
        if attempt is None or not attempt.is_wanted:
            return  # nobody wants the creator any more, so nobody wants its children
        graph = self._graphs[attempt.task.graph.uid]
        is_new = message.uid not in graph.record.tasks
        _require(is_new and message.uid >> _ID_BITS == worker_id, message)
        entry = self._functions.find(message.function)
        _require(entry is not None, message)
        assert entry is not None
        spec, retry_on = _spec_of_message(message, entry)
        call = TaskCall(entry, arguments, retry_on, (), message.context)
        try:
            if refusal:
                raise GraphError(refusal)
            task = self._add_task(graph, message.uid, spec, call, message.inputs, message.condition)
        except (GraphError, ResultReleased) as error:
            task = self._scheduler.on_task_refused(graph.record, message.uid, spec, str(error))
        else:
            if segment is not None:
                self._lent[task] = segment
        task.creator = attempt.task
        if self._watch.is_recorded:
            task.times = TaskTimes(perf_counter())
        graph.hold_child(task, attempt.task)
        self.wake()

    def _take_over(self, worker_id: int | None, encoded: bytes) -> tuple[bytes, Segment | None]:
        """Keep a value that is in shared memory; it goes with the segment returned.

        Args:
            worker_id: the worker that has sent it; None for one of this process.

        Raises:
            ProtocolError: there is no such value.
            OSError: there are no descriptors left.
        """
        worker = self._scheduler.workers.get(worker_id) if worker_id is not None else None
        if worker_id is None or (worker is not None and worker.loop.is_local):
            assert self._pool is not None
            self._pool_used.set()
            take = self._pool.take
        else:
            take = partial(self._processes.take_segment, worker_id)
        try:
            return take_over(encoded, take)
        except SegmentGone as error:
            raise ProtocolError(f"it sent a value that is not there: {error}") from error

    async def _trim_pool(self, pool: SegmentPool) -> None:
        """While the memory of large values may become of no use, let it go in time."""
        try:
            while True:
                await self._pool_used.wait()
                self._pool_used = trio.Event()
                while not pool.trim():  # noqa: ASYNC110  it is told nothing, and asks
                    await trio.sleep(SPARE_SECONDS)
        finally:
            pool.close()

    def _add_predecessor_for_attempt(
        self, attempt: AttemptRecord | None, message: msg.AddPredecessor
    ) -> None:
        if attempt is None or not attempt.is_wanted:
            return
        task = attempt.task.graph.tasks.get(message.uid)
        try:
            if task is None:
                raise GraphError(f"task {message.uid} is not in graph {attempt.task.graph.name!r}")
            self._add_predecessor(task, message.condition, attempt)
        except GraphError as error:
            refusal = Refused(str(error), isinstance(error, CycleError))
            self._scheduler.on_attempt_refused(message.attempt_id, refusal)

    def _await_for_attempt(self, attempt_id: int, uid: int) -> None:
        try:
            self._scheduler.on_attempt_awaits(attempt_id, uid)
        except GraphError as error:
            # Its creation was refused too; the wait must not last for ever.
            attempt = self._scheduler.attempts[attempt_id]
            refused = TaskOutcome(uid, str(uid), "failed", failure=Refused(str(error)))
            self._post(attempt.worker, msg.AwaitedEnded(attempt_id, refused))

    def _cancel_for_attempt(
        self, attempt: AttemptRecord | None, uid: int, successors: bool
    ) -> None:
        task = attempt.task.graph.tasks.get(uid) if attempt is not None else None
        if task is not None:
            self._scheduler.on_task_cancelled(task, successors=successors)

    def _add_task(
        self,
        graph: TaskGraph,
        uid: int,
        spec: TaskSpec,
        call: TaskCall,
        inputs: Sequence[int],
        condition: AnyCondition | None,
    ) -> TaskRecord:
        counts_needs = graph.counts_needs
        if counts_needs and inputs:
            graph.check_kept(inputs)
        task = self._scheduler.on_task_created(graph.record, uid, spec, call, inputs, condition)
        if counts_needs:
            graph.hold(*task.predecessors)
        self._functions.use(graph.uid, call.function, call.embedded)
        return task

    def _add_predecessor(
        self, task: TaskRecord, condition: AnyCondition, asker: AttemptRecord | None = None
    ) -> None:
        new = self._scheduler.on_predecessor_added(task, condition, asker)
        self._graphs[task.graph.uid].hold(*new)

    # ---- the coordinator's task -------------------------------------------------------------

    def wake(self) -> None:
        """Have the commands run soon."""
        if not self.is_due:
            self.is_due = True
            self._wake.set()

    @_whole
    def run_due(self) -> None:
        """Run what is to be run soon, for the first who is about to wait in this turn.

        That saves a turn of the event loop, which is a tenth of a single task's time; and a crowd
        is served together by `run`.
        """
        if self.is_due and not self._was_run_early:
            self._was_run_early = True
            try:
                self._run_commands()
            except Exception as error:  # noqa: BLE001  not the business of who happens to wait
                self._crash = error
                self._wake.set()

    @_whole
    async def run(self) -> None:
        """Run commands whenever there are some."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._was_run_early = False
            if self._crash is not None:
                raise self._crash
            if self.is_due:
                self._run_commands()

    @_whole
    async def watch_deadlines(self) -> None:
        """Ask the core again when a deadline of its own has come."""
        while True:
            with self._alarm:
                await trio.sleep(math.inf)
            deadline = self._scheduler.next_deadline()
            self._alarm = trio.CancelScope(deadline=math.inf if deadline is None else deadline)
            self._run_commands()

    def _run_commands(self) -> None:
        self.is_due = False
        self._turn_at = perf_counter()
        scheduler = self._scheduler
        scheduler.settle(trio.current_time())
        for command in scheduler.take_commands():
            if type(command) is do.StartAttempt:  # these two are nearly all; `match` takes longer
                self._send_attempt(command.attempt)
            elif type(command) is do.TaskEnded:
                self._tell_ended(command.task)
            else:
                self._run_command(command)
        self._send_frames()
        # Now all have been told who wait for them; and not before, because what follows may end
        # tasks that were to be sent.
        if len(self._asked) > ASKED_MAX:
            known = self._scheduler.attempts
            self._asked = {asked for asked in self._asked if asked[0] in known}
        if self._failed:
            failed, self._failed = self._failed, []
            for task in failed:
                self._graphs[task.graph.uid].on_failure_told(task)
        if self._watch.is_active:
            self._watch.tell()
        deadline = scheduler.next_deadline()
        if deadline is not None and deadline < self._alarm.deadline:
            self._alarm.deadline = deadline
        for graph in tuple(self._draining):
            if not self._has_attempts(graph):
                self._draining.pop(graph).set()

    def _run_command(self, command: do.Command) -> None:
        match command:
            case do.TellAwaited(attempt, task):
                if (attempt.attempt_id, task.uid) in self._asked:
                    self._asked.discard((attempt.attempt_id, task.uid))
                    mark_seen(task)
                outcome = self._graphs[task.graph.uid].results.outcome(task)
                self._post(attempt.worker, msg.AwaitedEnded(attempt.attempt_id, outcome))
            case do.StopAttempt(attempt):
                self._post(attempt.worker, msg.CancelAttempt(attempt.attempt_id))
            case do.RecallAttempts(worker, number):
                self._post(worker, msg.ReturnAttempts(number))
            case do.GraphEnded(graph):
                if graph.uid in self._graphs:
                    self._graphs[graph.uid].on_ended()
                    self._watch.note("on_graph", self._graphs[graph.uid], "finished")
            case do.GraphStuck(graph, story):
                self._graphs[graph.uid].on_stuck(story)
                self._watch.note("on_graph", self._graphs[graph.uid], "stalled")
            case do.StartWorker(worker):
                self._start_worker(worker)
            case do.CheckAttempt(attempt):
                engine = self._engine(attempt.worker.loop)
                seconds = engine.seconds_running(attempt.worker.worker_id, attempt.attempt_id)
                now = trio.current_time()
                self._scheduler.on_attempt_checked(attempt.attempt_id, seconds, now)
                self.wake()
            case do.KillWorker(worker):
                self._engine(worker.loop).kill(worker.worker_id)
            case do.RetireWorker(worker):
                self._engine(worker.loop).retire(worker.worker_id)
            case do.LoopFailed():
                self._workers_changed.set()

    def _tell_ended(self, task: TaskRecord) -> None:
        self._graphs[task.graph.uid].on_task_ended(task)
        if task.state == "failed":
            self._failed.append(task)
        if task.times is not None and (task.state != "succeeded" or task.returns is not None):
            task.times.end_at = perf_counter()
        if self._lent and task.call is None:
            self._lent.pop(task, None)

    def _send_attempt(self, attempt: AttemptRecord) -> None:
        task, worker = attempt.task, attempt.worker
        call = task.call
        assert isinstance(call, TaskCall)
        entry = call.function
        if not worker.loop.is_local:
            for definition in self._functions.definitions(worker.worker_id, entry, call.embedded):
                self._post(worker, definition)
        context = call.context
        number = task.attempts + (attempt.state == "following")
        if task.times is not None:
            attempt.given_at = self._turn_at
            if number > 1:
                task.times.forget_run()
            if self._watch.spans is not None:
                context = self._watch.spans.begin_attempt(attempt, context)
        predecessors: tuple[TaskOutcome, ...] = ()
        if len(task.predecessors) > len(attempt.follows):  # of the others it knows all
            outcome = self._graphs[task.graph.uid].results.outcome
            predecessors = tuple(map(outcome, task.predecessors))
        spec = task.spec
        self._post(
            worker,
            msg.RunAttempt(
                attempt.attempt_id,
                task.uid,
                number,
                spec.name,
                entry.function_id,
                spec.priority,
                spec.timeout_seconds,
                call.arguments,
                call.retry_on,
                predecessors,
                tuple([a.attempt_id for a in attempt.follows]) if attempt.follows else (),
                context,
            ),
        )

    def _send_frames(self) -> None:
        """Send each worker what there is for it, in one frame."""
        if not self._outgoing:
            return
        outgoing, self._outgoing = self._outgoing, {}
        for worker_id, batch in outgoing.items():
            worker = self._scheduler.workers.get(worker_id)
            if worker is not None:
                for message, error in self._engine(worker.loop).send(worker_id, batch):
                    self._on_unsendable(worker, message, error)

    def _on_unsendable(
        self, worker: WorkerRecord, message: msgspec.Struct, error: PayloadError
    ) -> None:
        """A message is too large, with the results of all predecessors; its attempt fails."""
        failure = describe_exception(error)
        match message:
            case msg.RunAttempt(attempt_id, follows=[_, *_]):
                self._scheduler.on_follower_given_back(attempt_id)  # fails when it goes by itself
            case msg.RunAttempt(attempt_id):
                now = trio.current_time()
                self._scheduler.on_attempt_failed(attempt_id, failure, 0.0, now, is_final=True)
            case msg.AwaitedEnded(attempt_id, outcome):
                failed = TaskOutcome(outcome.uid, outcome.name, "failed", failure=failure)
                self._post(worker, msg.AwaitedEnded(attempt_id, failed))
            case _:
                raise InternalError(f"{type(message).__name__} is too large") from error
        self.wake()

    def _post(self, worker: WorkerRecord, message: msgspec.Struct) -> None:
        """Have the message sent with the frame that goes to this worker next."""
        batch = self._outgoing.get(worker.worker_id)
        if batch is None:
            self._outgoing[worker.worker_id] = [message]
        else:
            batch.append(message)

    def _start_worker(self, worker: WorkerRecord) -> None:
        self._watch.note("on_worker", worker, "starting")
        loop = worker.loop.name
        entries = [] if worker.loop.is_local else self._functions.assigned_to(loop)
        definitions = self._functions.on_worker_started(worker.worker_id, entries)
        self._engine(worker.loop).start(
            msg.StartUp(
                coordinator_id=self._functions.coordinator_id,
                worker_id=worker.worker_id,
                worker_index=worker.index,
                loop=loop,
                slots=worker.slots,
                first_id=worker.worker_id << _ID_BITS,
                begun_path="",  # the engine knows where, and how often a heart is to beat
                heartbeat_seconds=None,
                setup=self._setups.get(loop),
                functions=definitions,
                registered=self._functions.registered_names,
                loops=frozenset(self._loops),
                logs=None if worker.loop.is_local else self._logs.delivery.settings(),
                carried=self._carrier.variables,
            ),
            self._loops[loop].limits,
        )

    def _forget_functions(self, closed_graph: int) -> None:
        """Have the workers forget the functions that no open graph uses any more."""
        workers = self._scheduler.workers
        local = [w.worker_id for w in workers.values() if w.loop.is_local and w.is_ready]
        asked = self._functions.on_graph_closed(closed_graph, local)
        for worker_id, numbers in asked.items():
            if worker_id in workers:
                self._post(workers[worker_id], msg.ForgetFunctions(tuple(numbers)))
        self._forget_durations()
        self.wake()

    def _forget_durations(self) -> None:
        for kind in self._functions.take_forgotten():
            self._scheduler.durations.forget(kind)

    def _engine(self, loop: LoopRecord) -> Engine:
        return self._local if loop.is_local else self._processes

    def _has_attempts(self, graph: GraphRecord) -> bool:
        return any(a.task.graph is graph for a in self._scheduler.attempts.values())

    def _check_open(self) -> None:
        if threading.get_ident() != self._thread:
            raise GraphError(
                "called in another thread than the coordinator's: use trio.from_thread"
            )
        if self._is_closed:
            raise GraphError("the coordinator has been closed")

    # ---- opening and closing ----------------------------------------------------------------

    async def serve(self) -> None:
        """Everything that runs as long as the coordinator is open."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._processes.run)
            nursery.start_soon(self._local.run)
            nursery.start_soon(self.run)
            nursery.start_soon(self.watch_deadlines)
            if self._pool is not None:
                nursery.start_soon(self._trim_pool, self._pool)

    async def start_workers(self) -> None:
        """Start every worker and wait until all are ready.

        Raises:
            WorkerStartError: one of them cannot start.
        """
        loops = self._scheduler.loops.values()
        while True:
            for loop in loops:
                if isinstance(loop.failure, CannotStart):
                    raise failure_error(loop.failure, 0, "")
                self._start_missing(loop)
            if all(w.is_ready for loop in loops for w in loop.workers.values()):
                return
            await self._workers_changed.wait()
            self._workers_changed = trio.Event()

    def _start_missing(self, loop: LoopRecord) -> None:
        """Start the loop's workers that there are not, because none were yet or some were lost."""
        taken = {worker.index for worker in loop.workers.values()}
        for index in range(len(loop.slots)):
            if index not in taken:
                self._scheduler.start_worker(loop, index)
                self.wake()

    async def stop(self) -> None:
        """Let the workers close what they opened and exit."""
        self.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._processes.stop, CLOSE_SECONDS)
            nursery.start_soon(self._local.stop, CLOSE_SECONDS)

    @_whole
    def close(self) -> None:
        """Take no more tasks, and end those of graphs that are still open in other trio tasks."""
        self._is_closed = True
        for graph in self._graphs.values():
            self._scheduler.on_graph_cancelled(graph.record)
        self._run_commands()
        for drained in self._draining.values():
            drained.set()


def _spec_of(entry: FunctionEntry, options: Options, loop: str) -> tuple[TaskSpec, bytes | None]:
    """How a task is scheduled, and which of its exceptions are retried.

    Where nothing was said, it is the same for all tasks of a function.
    """
    is_plain = options.is_plain
    if is_plain and entry.spec is not None:
        return entry.spec, None
    policy = options.retries or NEVER
    spec = TaskSpec(
        options.name or entry.name,
        entry.function_id,
        loop,
        options.priority,
        policy.spec,
        _limit(options.timeout_seconds),
        entry.is_async,
        entry.task_type,
    )
    if is_plain:
        entry.spec = spec
    return spec, encoded_retry_on(policy)


def _spec_of_message(
    message: msg.CreateTask, entry: FunctionEntry
) -> tuple[TaskSpec, bytes | None]:
    """How a task that a worker creates is scheduled, and which of its exceptions are retried.

    A worker that names a registered function does not know its defaults.
    """
    retry, retry_on, limit = message.retries, message.retry_on, message.timeout_seconds
    if isinstance(message.function, str):
        defaults = defaults_of(entry.function)
        if retry is None and defaults.retries is not None:
            retry, retry_on = defaults.retries.spec, encoded_retry_on(defaults.retries)
        if limit is None:
            limit = defaults.timeout_seconds
    spec = TaskSpec(
        message.name,
        entry.function_id,
        message.worker_loop or entry.loop,
        message.priority,
        retry or NO_RETRIES,
        _limit(limit),
        message.is_async or entry.is_async,
        entry.task_type,
    )
    if entry.spec is not None and spec == entry.spec:
        spec = entry.spec  # one for many takes less memory
    return spec, retry_on


def _limit(timeout_seconds: float | None) -> float | None:
    """The time limit for the core, in which infinity is none."""
    return None if timeout_seconds == math.inf else timeout_seconds


def _note_run(
    attempt: AttemptRecord,
    report: msg.AttemptSucceeded | msg.AttemptFailed | msg.AttemptReturnedTask,
) -> None:
    """Note when and where an attempt ran that has reported its end, if it still counts.

    Raises:
        ProtocolError: there is no such time.
    """
    times = attempt.task.times
    if times is None or not attempt.is_wanted:
        return
    _require(0.0 <= report.began_at < _INFINITE, report)
    times.began_at = report.began_at
    times.ran_until = report.began_at + report.seconds
    if attempt.has_awaited:  # its own seconds are without those
        times.ran_until = max(times.ran_until, perf_counter())
    times.ran_in = attempt.worker


def _require(makes_sense: bool, message: msgspec.Struct) -> None:
    if not makes_sense:
        raise ProtocolError(f"what it sent makes no sense here: {message!r:.200}")
