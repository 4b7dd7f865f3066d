"""The engine of simulated workers: time, links, and the deaths of workers.

One heap of events, which `run` works off by trio's clock. Frames keep their order on a link and
take as long as the lots say. When a worker dies, the last frames under way may be lost; the others
arrive before its end is reported, and nothing after. All of this is what a real link does.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import msgspec
import trio

from trio_actor_graph import messages as msg
from trio_actor_graph.engine.api import EngineOwner, StopCounts, Unsendable, WorkerLimits
from trio_actor_graph.graph.conditions import AnyCondition
from trio_actor_graph.graph.failures import WorkerEnd

from .faults import Fate, Faults
from .history import Death, History, Run
from .scripts import Script
from .verdict import Facts
from .worker import Running, SimulatedWorker

START_SECONDS = 60.0
"""How long a worker may take to start until it is killed."""


class Frame:
    """Messages under way to the coordinator."""

    def __init__(self, when: float, messages: Sequence[msgspec.Struct]):
        self.when = when
        self.messages = messages
        self.is_lost = False


class Link:
    """When the last frame in each direction arrives, and those under way to the coordinator."""

    def __init__(self) -> None:
        self.there = 0.0
        self.home = 0.0
        self.frames: list[Frame] = []


class SimulatedEngine:
    """See `trio_actor_graph.engine.api.Engine`.

    Args:
        check: called after whatever the owner was told.
    """

    def __init__(
        self,
        owner: EngineOwner,
        faults: Faults,
        history: History,
        facts: Facts,
        check: Callable[[], None],
    ):
        self.faults = faults
        self.history = history
        self.facts = facts
        self.workers: dict[int, SimulatedWorker] = {}
        self._owner = owner
        self._check = check
        self._links: dict[int, Link] = {}
        self._fates: dict[int, Fate] = {}
        self._steps: dict[int, int] = {}
        self._limits: dict[int, WorkerLimits] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._alarm = trio.CancelScope()
        self._changed = trio.Event()  # a worker has gone
        self._counts = StopCounts()

    # ---- what a coordinator asks for --------------------------------------------------------

    @property
    def stop_counts(self) -> StopCounts:
        return self._counts

    @property
    def now(self) -> float:
        return trio.current_time()

    async def run(self) -> None:
        try:
            while True:
                with self._alarm:
                    await trio.sleep_forever()
                while self._events and self._events[0][0] <= self.now:
                    heapq.heappop(self._events)[2]()
                when = self._events[0][0] if self._events else math.inf
                self._alarm = trio.CancelScope(deadline=when)
        finally:
            for worker in list(self.workers.values()):
                self._bury(worker, self._end_of(worker, "its engine was stopped", None))

    def start(self, start_up: msg.StartUp, limits: WorkerLimits) -> None:
        worker = SimulatedWorker(self, start_up)
        self.workers[worker.worker_id] = worker
        self._links[worker.worker_id] = Link()
        self._limits[worker.worker_id] = limits
        self._steps[worker.worker_id] = 0
        fate = self._fates[worker.worker_id] = self.faults.fate()
        self.faults.drawn[fate.kind] += 1
        self.note(worker, f"starts; its fate: {fate.kind} at step {fate.step}")
        self.history.check_limit(worker.loop, list(self.workers.values()))
        seconds = self.faults.start_seconds(fate)
        if fate.kind == "never starts":
            self._at(START_SECONDS, lambda: self.die(worker, "it was not up in time", status=-9))
        elif fate.kind == "dies starting":
            self._at(seconds, lambda: self.die(worker, "it died while it started", status=1))
        else:
            self.after(seconds, worker, self._is_up, worker, fate)

    def send(self, worker_id: int, messages: Sequence[msgspec.Struct]) -> Unsendable:
        worker, link = self.workers.get(worker_id), self._links.get(worker_id)
        if worker is None or link is None or worker.is_dead:
            return ()
        assert worker.is_ready, "nothing is sent to a worker that is not up"
        link.there = max(link.there, self.now + self.faults.delay())
        self.note(worker, f"is sent {_brief(messages)}")
        self.after(link.there - self.now, worker, self._arrive, worker, list(messages))
        return ()

    def kill(self, worker_id: int) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None:
            self.note(worker, "is to be killed")
            self._at(self.faults.kill_seconds(), lambda: self.die(worker, "killed", status=-9))

    def retire(self, worker_id: int) -> None:
        worker = self.workers[worker_id]
        assert not worker.held, "only a worker that holds nothing is asked to go"
        self.note(worker, "is asked to go")
        seconds = self.faults.exit_seconds()
        self._at(seconds, lambda: self.die(worker, "it went as it was asked to", status=0))

    def seconds_running(self, worker_id: int, attempt_id: int) -> float | None:
        worker = self.workers.get(worker_id)
        running = worker.running.get(attempt_id) if worker is not None else None
        if running is None or not running.has_slot:
            return None
        return self.now - running.began

    def pid(self, worker_id: int) -> int | None:
        return worker_id if worker_id in self.workers else None

    async def stop(self, grace_seconds: float) -> None:
        for worker in list(self.workers.values()):
            seconds = min(self.faults.exit_seconds(), grace_seconds)
            self._at(seconds, lambda w=worker: self.die(w, "told to stop", status=0))  # type: ignore[misc]
        while self.workers:
            await self._changed.wait()
            self._changed = trio.Event()

    # ---- time -------------------------------------------------------------------------------

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        when = self.now + seconds
        heapq.heappush(self._events, (when, next(self._numbers), event))
        self._alarm.deadline = min(self._alarm.deadline, when)

    def after(
        self, seconds: float, worker: SimulatedWorker, event: Callable[..., None], *args: Any
    ) -> None:
        """Have something happen in a worker: not if it is gone, later while it is deaf."""

        def happen() -> None:
            if worker.is_dead or worker.is_hung:
                return
            if self.now < worker.deaf_until:
                self._at(worker.deaf_until - self.now, happen)
            else:
                event(*args)

        self._at(seconds, happen)

    def step(self, worker: SimulatedWorker) -> None:
        """A worker hears, begins or says something: the moment at which its fate may meet it."""
        if worker.is_dead:
            return
        self._steps[worker.worker_id] += 1
        fate = self._fates[worker.worker_id]
        if self._steps[worker.worker_id] != fate.step:
            return
        if fate.kind == "dies":
            self.die(worker, "its fate", status=-11)
        elif fate.kind == "hangs":
            worker.is_hung = True
            self.on_deaf(worker)
        elif fate.kind == "worn" and worker.is_ready:
            self.note(worker, "is worn")
            self._owner.on_worker_worn(worker.worker_id)

    # ---- links ------------------------------------------------------------------------------

    def _arrive(self, worker: SimulatedWorker, messages: Sequence[msgspec.Struct]) -> None:
        self.step(worker)
        if not (worker.is_dead or worker.is_hung):
            worker.receive(messages)
            self.history.check_limit(worker.loop, list(self.workers.values()))

    def carry_home(self, worker: SimulatedWorker, messages: Sequence[msgspec.Struct]) -> None:
        link = self._links[worker.worker_id]
        link.home = max(link.home, self.now + self.faults.delay())
        frame = Frame(link.home, messages)
        link.frames.append(frame)

        def deliver() -> None:
            if frame.is_lost or worker.worker_id not in self.workers:
                return
            link.frames.remove(frame)
            self.note(worker, f"is heard: {_brief(messages)}")
            for message in messages:
                self._note_told(message)
            self._owner.on_messages(worker.worker_id, messages)
            self._check()

        self._at(link.home - self.now, deliver)

    def _note_told(self, message: msgspec.Struct) -> None:
        run = self.history.runs.get(getattr(message, "attempt_id", 0))
        ends = (msg.AttemptSucceeded, msg.AttemptFailed, msg.AttemptReturnedTask)
        if run is not None and isinstance(message, ends):
            run.is_told = True
            if not self.history.is_wanted(run):
                self.faults.drawn["stale report"] += 1

    # ---- lives ------------------------------------------------------------------------------

    def _is_up(self, worker: SimulatedWorker, fate: Fate) -> None:
        if fate.kind == "unable":
            self.facts.broken_loops.add(worker.loop)
            self.carry_home(worker, [msg.WorkerUnable("Traceback\nImportError: no module")])
        else:
            worker.is_ready = True
            self.carry_home(worker, [msg.WorkerReady(worker.worker_id)])

    def on_deaf(self, worker: SimulatedWorker) -> None:
        """A worker gives no sign of life from now on; it is killed if that lasts too long."""
        self.note(worker, "hangs" if worker.is_hung else f"is deaf until {worker.deaf_until:.4f}")
        limit = self._limits[worker.worker_id].heartbeat_timeout_seconds
        until = math.inf if worker.is_hung else worker.deaf_until
        if limit is not None and self.now + limit < until:
            how = f"it gave no sign of life for {limit:g} s"
            self._at(limit, lambda: self.die(worker, how, status=-9))

    def die(self, worker: SimulatedWorker, how: str, *, status: int) -> None:
        """The process ends, and is reported once what is left of its words has been read."""
        if worker.is_dead:
            return
        end = self._end_of(worker, how, status)
        worker.is_dead = True
        for running in worker.running.values():
            self.history.end(running.run, "died")
        frames = self._links[worker.worker_id].frames
        for frame in frames[len(frames) - self.faults.frames_lost(len(frames)) :]:
            frame.is_lost = True
        last = max((frame.when for frame in frames if not frame.is_lost), default=self.now)
        self.note(worker, f"dies: {how}; running {sorted(end.running or ())}")
        seconds = last - self.now + self.faults.detection_seconds()
        self._at(seconds, lambda: self._bury(worker, end))

    def _end_of(self, worker: SimulatedWorker, how: str, status: int | None) -> WorkerEnd:
        running = frozenset(r.attempt_id for r in worker.running.values() if r.has_slot)
        begun = frozenset(worker.begun)
        if status and self.faults.are_marks_lost():
            self.history.are_marks_lost = True
            return WorkerEnd(how, worker.worker_id, status)
        return WorkerEnd(how, worker.worker_id, status, "", running, begun)

    def _bury(self, worker: SimulatedWorker, end: WorkerEnd) -> None:
        if self.workers.pop(worker.worker_id, None) is None:
            return
        worker.is_dead = True
        for running in worker.running.values():
            if running.run.outcome is None:
                self.history.end(running.run, "died")
        running_uids = frozenset(r.message.uid for r in worker.running.values())
        self.history.deaths.append(Death(worker, running_uids))
        self.note(worker, "is reported as lost")
        self._owner.on_worker_lost(worker.worker_id, end)
        self._changed.set()
        self._check()

    # ---- what workers do --------------------------------------------------------------------

    def on_begun(self, worker: SimulatedWorker, running: Running) -> None:
        message = running.message
        self.note(worker, f"begins {message.attempt_id} of {message.name} ({message.uid})")
        self.history.begin(running.run)

    def on_ended(
        self, worker: SimulatedWorker, running: Running, outcome: str, value: object
    ) -> None:
        self.note(worker, f"ends {running.attempt_id}: {outcome}")
        self.history.end(running.run, outcome, value)
        if outcome == "returned task":
            self.facts.on_returned(running.run, value)

    def on_created(
        self,
        run: Run,
        uid: int,
        script: Script,
        inputs: Sequence[int],
        condition: AnyCondition | None,
    ) -> None:
        self.facts.on_created(uid, script, inputs, condition, creator=run)

    def on_cancel_asked(self, run: Run, uid: int) -> None:
        self.facts.cancelled.add(uid)

    def on_link_asked(self, run: Run, uid: int, condition: AnyCondition) -> None:
        self.facts.on_link_asked(uid, condition)

    def note(self, worker: SimulatedWorker, text: str) -> None:
        number = worker.worker_id - self.facts.first_worker_id
        self.history.note(self.now, f"{worker.loop}/{worker.index} #{number} {text}")


def _brief(messages: Sequence[msgspec.Struct]) -> str:
    parts = []
    for message in messages:
        about = getattr(message, "attempt_id", getattr(message, "attempt_ids", ""))
        uid = getattr(message, "uid", "")
        parts.append(f"{type(message).__name__}({about}{', ' if uid else ''}{uid})")
    return " ".join(parts)
