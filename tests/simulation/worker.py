"""A simulated worker: its side of the protocol, and nothing of how real ones are made.

It holds attempts, begins them by priority as slots come free, follows their scripts, and reports.
It does what a real one does with a cancellation (a coroutine function cleans up and stops, a plain
one runs on), a time limit (the one is stopped, of the other it tells that it is overdue), a recall
(answered with what has not begun), and the wait for a child (the slot is free meanwhile).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from trio_actor_graph import messages as msg
from trio_actor_graph.graph.conditions import AllOf, AnyCondition, Tasks
from trio_actor_graph.graph.failures import Raised, TimedOut
from trio_actor_graph.outcome import TaskOutcome
from trio_actor_graph.payload import decode_call, decode_value, encode_call, encode_value
from trio_actor_graph.worker.context import ChildTask

from . import scripts as do
from .history import Run
from .scripts import Script, value_of

if TYPE_CHECKING:
    from .engine import SimulatedEngine

OVERDUE_SECONDS = 0.02
"""How long after its time limit a plain function is reported, at most."""


class Running:
    """An attempt that has begun and not ended.

    Attributes:
        pending: a number that changes when what it waits for does, so that old events are void.
        waits_for: the child it awaits.
    """

    def __init__(self, message: msg.RunAttempt, script: Script, run: Run):
        self.message = message
        self.script = script
        self.run = run
        self.acts: Iterator[do.Act] = iter(script.acts(message.attempt_number))
        self.children: list[int] = []
        self.began = 0.0
        self.pending = 0
        self.has_slot = True
        self.is_stopped = False
        self.waits_for: int | None = None

    @property
    def attempt_id(self) -> int:
        return self.message.attempt_id


class SimulatedWorker:
    """One worker, from its start to its death. The engine gives it time, links and its fate."""

    def __init__(self, engine: SimulatedEngine, start_up: msg.StartUp):
        self.engine = engine
        self.worker_id = start_up.worker_id
        self.loop = start_up.loop
        self.index = start_up.worker_index
        self.slots = start_up.slots
        self.is_dead = False
        self.is_hung = False
        self.is_ready = False
        self.deaf_until = 0.0
        self.running: dict[int, Running] = {}
        self.begun: set[int] = set()
        self._uids = count(start_up.first_id)
        self._functions = {function.function_id for function in start_up.functions}
        self._unbegun: dict[int, msg.RunAttempt] = {}
        self._parked: dict[int, msg.RunAttempt] = {}  # those that follow what has not succeeded
        self._results: dict[int, TaskOutcome] = {}  # by attempt id
        self._order: list[tuple[int, int, int]] = []
        self._arrivals = count()
        self._returning: deque[Running] = deque()
        self._reports: list[msgspec.Struct] = []

    @property
    def slots_in_use(self) -> int:
        return sum(r.has_slot for r in self.running.values())

    @property
    def held(self) -> dict[int, msg.RunAttempt]:
        running = {i: r.message for i, r in self.running.items()}
        return {**self._unbegun, **self._parked, **running}

    # ---- what it hears ----------------------------------------------------------------------

    def receive(self, messages: Sequence[msgspec.Struct]) -> None:
        """A frame has arrived."""
        for message in messages:
            match message:
                case msg.DefineFunction(function_id):
                    self._functions.add(function_id)
                case msg.RunAttempt():
                    self._hold(message)
                case msg.CancelAttempt(attempt_id):
                    self._cancel(attempt_id)
                case msg.ReturnAttempts(number):
                    self._give_back(number)
                case msg.AwaitedEnded(attempt_id, outcome):
                    self._hear_outcome(attempt_id, outcome)
                case msg.ForgetFunctions(function_ids):
                    self._functions -= set(function_ids)
                    self.report(msg.FunctionsForgotten(function_ids))
                case _:
                    raise AssertionError(f"a worker was sent {message!r}")
        self._begin_all()

    def _hold(self, message: msg.RunAttempt) -> None:
        assert message.function_id in self._functions, "a function it was never told of"
        assert message.attempt_id not in self.held
        assert message.attempt_id not in self.begun, "an attempt is sent once"
        if message.follows:
            if {*self._unbegun, *self._parked}.issuperset(message.follows):
                self._parked[message.attempt_id] = message
            else:
                self.report(msg.FollowerReturned(message.attempt_id))
        else:
            self._queue(message)

    def _queue(self, message: msg.RunAttempt) -> None:
        self._unbegun[message.attempt_id] = message
        heapq.heappush(self._order, (-message.priority, next(self._arrivals), message.attempt_id))

    def _release_followers(self, message: msg.RunAttempt, value: bytes) -> None:
        outcome = TaskOutcome(message.uid, message.name, "succeeded", value)
        self._results[message.attempt_id] = outcome
        for parked in list(self._parked.values()):
            results = [self._results[i] for i in parked.follows if i in self._results]
            if message.attempt_id in parked.follows and len(results) == len(parked.follows):
                del self._parked[parked.attempt_id]
                by_uid = {o.uid: o for o in results}
                inputs = tuple(by_uid.get(o.uid, o) for o in parked.predecessors or results)
                self.engine.faults.drawn["followed"] += 1
                self._queue(msgspec.structs.replace(parked, predecessors=inputs))

    def _cancel(self, attempt_id: int) -> None:
        if self._unbegun.pop(attempt_id, None) or self._parked.pop(attempt_id, None):
            self.report(msg.AttemptStopped(attempt_id))
            return
        running = self.running.get(attempt_id)
        if running is None or running.is_stopped:
            return
        running.is_stopped = True
        if running.script.is_async:
            seconds = self.engine.faults.cleanup_seconds()
            if seconds is not None or running.waits_for is not None:
                self._stop_waiting(running)
                self._later(running, seconds or 0.0, self._stopped)

    def _stopped(self, running: Running) -> None:
        self._end(running, "stopped", msg.AttemptStopped(running.attempt_id))

    def _give_back(self, number: int) -> None:
        order = sorted(entry for entry in self._order if entry[2] in self._unbegun)
        given_back = tuple(entry[2] for entry in order[max(0, len(order) - number) :])
        for attempt_id in given_back:
            del self._unbegun[attempt_id]
        self.engine.faults.drawn["recall answered"] += 1
        self.report(msg.AttemptsReturned(given_back))

    # ---- beginning and ending ---------------------------------------------------------------

    def _begin_all(self) -> None:
        while self.slots_in_use < self.slots:
            if self._returning:
                running = self._returning.popleft()
                running.has_slot = True
                self._later(running, 0.0, self._go_on)
            elif self._order:
                message = self._unbegun.pop(heapq.heappop(self._order)[2], None)
                if message is not None:
                    self._begin(message)
            else:
                return

    def _begin(self, message: msg.RunAttempt) -> None:
        self.engine.step(self)
        if self.is_dead or self.is_hung:
            return
        values = {o.uid: decode_value(o.value) for o in message.predecessors if o.value is not None}
        uids = [outcome.uid for outcome in message.predecessors]
        (script, *inputs), _ = decode_call(message.arguments, values.__getitem__, uids)
        run = Run(message.attempt_id, message.uid, script, self, inputs)
        running = self.running[message.attempt_id] = Running(message, script, run)
        self.begun.add(message.attempt_id)
        self.engine.on_begun(self, running)
        running.began = self.engine.now
        if message.timeout_seconds is not None:
            late = 0.0 if script.is_async else OVERDUE_SECONDS
            self.engine.after(message.timeout_seconds + late, self, self._time_is_up, running)
        self._later(running, 0.0, self._go_on)

    def _time_is_up(self, running: Running) -> None:
        if self.running.get(running.attempt_id) is not running or running.is_stopped:
            return
        limit = running.message.timeout_seconds or 0.0
        if running.script.is_async:
            seconds = self.engine.now - running.began
            self._stop_waiting(running)
            report = msg.AttemptFailed(running.attempt_id, TimedOut(limit), seconds)
            self._end(running, "timed out", report)
        else:
            running.is_stopped = True
            self.report(msg.AttemptOverdue(running.attempt_id))

    def _end(
        self, running: Running, outcome: str, report: msgspec.Struct, value: object = None
    ) -> None:
        del self.running[running.attempt_id]
        if running in self._returning:
            self._returning.remove(running)
        self.engine.on_ended(self, running, outcome, value)
        self.report(report)
        if isinstance(report, msg.AttemptSucceeded) and not running.is_stopped:
            self._release_followers(running.message, report.value)
        self._begin_all()

    # ---- following a script -----------------------------------------------------------------

    def _later(self, running: Running, seconds: float, then: Callable[[Running], None]) -> None:
        """Have the attempt go on after some time, unless something else happens to it first."""
        running.pending += 1
        number = running.pending

        def go_on() -> None:
            if self.running.get(running.attempt_id) is running and running.pending == number:
                then(running)

        self.engine.after(seconds, self, go_on)

    def _go_on(self, running: Running) -> None:
        for act in running.acts:
            if self.is_dead or self.is_hung or not self._act(running, act):
                return

    def _act(self, running: Running, act: do.Act) -> bool:
        """Do the next thing in a script; whether it goes on at once."""
        attempt_id, seconds = running.attempt_id, self.engine.now - running.began
        match act:
            case do.Work(duration):
                self._later(running, duration, self._go_on)
            case do.Deaf(duration):
                self.deaf_until = self.engine.now + duration
                self.engine.on_deaf(self)
                self._later(running, duration, self._go_on)
            case do.Create():
                self._create(running, act)
                return True
            case do.Await():
                self._await(running, act)
            case do.Cancel(child):
                uid = running.children[child]
                self.engine.on_cancel_asked(running.run, uid)
                self.report(msg.CancelTask(attempt_id, uid))
                return True
            case do.Link(child, predecessor):
                self._link(running, running.children[child], running.children[predecessor])
                return True
            case do.Return():
                run = running.run
                value = value_of(running.script.number, run.inputs, [v for _, v in run.awaited])
                encoded = encode_value(value, "value")
                self._end(
                    running, "value", msg.AttemptSucceeded(attempt_id, encoded, seconds), value
                )
            case do.Raise(is_final):
                running.run.is_final = is_final
                raised = Raised("builtins.ValueError", running.script.name, "no traceback")
                self._end(
                    running, "raised", msg.AttemptFailed(attempt_id, raised, seconds, is_final)
                )
            case do.Tail(child):
                uid = running.children[child]
                report = msg.AttemptReturnedTask(attempt_id, uid, seconds)
                self._end(running, "returned task", report, uid)
            case do.Die():
                self.engine.die(self, "its task has ended the process", status=3)
        return False

    def _create(self, running: Running, act: do.Create) -> None:
        script = act.script
        uid = next(self._uids)
        inputs = [ChildTask(None, running.children[i], "child") for i in act.inputs]  # type: ignore[arg-type]
        arguments, input_uids = encode_call((script, *inputs), {}, script.name)
        after = tuple(running.children[i] for i in act.after)
        parts: list[AnyCondition] = []
        if after:
            parts.append(Tasks(act.outcome, after, act.at_least or len(after)))  # type: ignore[arg-type]
        if act.waits_on_creator:
            parts.append(Tasks("completed", (running.message.uid,), 1))
        condition = None if not parts else parts[0] if len(parts) == 1 else AllOf(tuple(parts))
        running.children.append(uid)
        self.engine.on_created(running.run, uid, script, input_uids, condition)
        self.report(
            msg.CreateTask(
                running.attempt_id,
                uid,
                script.kind,
                script.is_async,
                script.name,
                arguments,
                input_uids,
                condition,
                script.priority,
                script.retries.spec,
                script.timeout_seconds,
                script.loop,
            )
        )

    def _link(self, running: Running, uid: int, predecessor: int) -> None:
        condition = Tasks("completed", (predecessor,), 1)
        for message in list(self._parked.values()):
            if message.uid == uid:
                del self._parked[message.attempt_id]
                self.report(msg.FollowerReturned(message.attempt_id))
        self.engine.on_link_asked(running.run, uid, condition)
        self.report(msg.AddPredecessor(running.attempt_id, uid, condition))

    # ---- awaiting ---------------------------------------------------------------------------

    def _await(self, running: Running, act: do.Await) -> None:
        running.waits_for = running.children[act.child]
        running.has_slot = False
        running.pending += 1
        self.report(msg.AwaitTask(running.attempt_id, running.waits_for, act.is_seen))
        if act.seconds is not None:
            self._later(running, act.seconds, self._give_up)
        self._begin_all()

    def _give_up(self, running: Running) -> None:
        self._stop_waiting(running)
        self._return(running)
        self._begin_all()

    def _stop_waiting(self, running: Running) -> None:
        if running.waits_for is not None:
            self.report(msg.StopAwaiting(running.attempt_id, running.waits_for))
            running.waits_for = None
        if running in self._returning:
            self._returning.remove(running)

    def _hear_outcome(self, attempt_id: int, outcome: TaskOutcome) -> None:
        running = self.running.get(attempt_id)
        if running is None or running.waits_for != outcome.uid:
            return  # it has given up, or was stopped
        value = None if outcome.value is None else decode_value(outcome.value)
        running.run.awaited.append((outcome.uid, value))
        running.waits_for = None
        self._return(running)

    def _return(self, running: Running) -> None:
        running.pending += 1
        self._returning.append(running)

    # ---- what it says -----------------------------------------------------------------------

    def report(self, message: msgspec.Struct) -> None:
        """Say something, together with what else is said soon."""
        if not self._reports:
            self.engine.after(self.engine.faults.flush_delay(), self, self._flush)
        self._reports.append(message)

    def _flush(self) -> None:
        reports, self._reports = self._reports, []
        self.engine.step(self)
        if not (self.is_dead or self.is_hung):
            self.engine.carry_home(self, reports)
