"""A scheduler to tell stories with: tasks by name, commands as short texts, time by hand.

Every act is followed by `check_invariants`. A test reads the commands of each act (`commands`,
`settle`); one that leaves some unread fails, see the fixture `story`.
"""

from __future__ import annotations

from collections.abc import Iterable

from trio_actor_graph.graph import commands as do
from trio_actor_graph.graph.conditions import TaskReference, as_condition
from trio_actor_graph.graph.failures import Raised, WorkerEnd
from trio_actor_graph.graph.invariants import check_invariants
from trio_actor_graph.graph.records import (
    AttemptRecord,
    GraphRecord,
    LoopSpec,
    TaskRecord,
    TaskSpec,
    WorkerRecord,
)
from trio_actor_graph.graph.retrying import RetrySpec
from trio_actor_graph.graph.scheduler import Scheduler

RAISED = Raised("ValueError", "no", "Traceback ...")
KILLED = WorkerEnd("pid 1 was killed")


class Handle(TaskReference):
    """A task of a story. It remembers its last attempt, also when that no longer counts."""

    __slots__ = ("attempt", "record")

    def __init__(self, record: TaskRecord):
        self.record = record
        self.attempt: AttemptRecord | None = None

    @property
    def uid(self) -> int:
        return self.record.uid

    @property
    def state(self) -> str:
        return self.record.state

    @property
    def attempt_id(self) -> int:
        assert self.attempt is not None, f"{self.record.label} was never started"
        return self.attempt.attempt_id


class Story:
    """A scheduler with one graph "g"; by default one loop "default", one worker of two slots."""

    def __init__(self, *loops: LoopSpec, ready: bool = True):
        self.scheduler = Scheduler(loops or (LoopSpec("default", (2,)),))
        self.now = 100.0
        self.tasks: dict[int, Handle] = {}
        self.graph = self.open("g")
        if ready:
            for loop in self.scheduler.loops.values():
                for index in range(len(loop.slots)):
                    worker = self.scheduler.start_worker(loop, index)
                    self.scheduler.on_worker_ready(worker.worker_id, self.now)
            self.scheduler.take_commands()

    def open(self, name: str) -> GraphRecord:
        return self.scheduler.on_graph_opened(len(self.scheduler.graphs) + 1, name)

    def create(
        self,
        name: str,
        waits_on: object = None,
        *,
        inputs: Iterable[Handle] = (),
        graph: GraphRecord | None = None,
        loop: str = "default",
        kind: int = 0,
        retries: int = 0,
        **options: object,
    ) -> Handle:
        if retries:
            options["retry"] = RetrySpec(retries)
        spec = TaskSpec(name, kind, loop, **options)  # type: ignore[arg-type]
        uid = len(self.tasks) + 1
        condition = as_condition(waits_on)
        record = self.scheduler.on_task_created(
            graph or self.graph, uid, spec, "call", [t.uid for t in inputs], condition
        )
        handle = self.tasks[uid] = Handle(record)
        return handle

    def running(self, name: str, waits_on: object = None, **options: object) -> Handle:
        """A task that runs; its start is not among the commands to read."""
        task = self.create(name, waits_on, **options)  # type: ignore[arg-type]
        assert f"start {name}" in [line.partition(" on ")[0] for line in self.settle()]
        return task

    def ended(self, name: str, state: str = "succeeded") -> Handle:
        """A task that has ended; its end is not among the commands to read."""
        task = self.running(name)
        {"succeeded": self.succeed, "failed": self.fail, "cancelled": self.cancel}[state](task)
        assert f"{name} {state}" in self.commands()
        return task

    def settle(self, seconds: float = 0.0) -> list[str]:
        self.now += seconds
        self.scheduler.settle(self.now)
        deadline = self.scheduler.next_deadline()
        assert deadline is None or deadline > self.now, "settle clears every deadline that has come"
        return self.commands()

    def commands(self) -> list[str]:
        check_invariants(self.scheduler)
        commands = self.scheduler.take_commands()
        for command in commands:
            if isinstance(command, do.StartAttempt):
                self.tasks[command.attempt.task.uid].attempt = command.attempt
        return [text_of(command) for command in commands]

    # ---- what happens -----------------------------------------------------------------------

    def succeed(self, task: Handle, seconds: float = 1.0) -> bool:
        ended = self.scheduler.on_attempt_succeeded(task.attempt_id, seconds, self.now)
        return ended is task.record

    def fail(self, task: Handle, failure: object = RAISED) -> None:
        self.scheduler.on_attempt_failed(
            task.attempt_id,
            failure,  # type: ignore[arg-type]
            1.0,
            self.now,
        )

    def cancel(self, task: Handle, *, successors: bool = False) -> None:
        self.scheduler.on_task_cancelled(task.record, successors=successors)

    def try_again(self, task: Handle) -> None:
        self.scheduler.on_task_tried_again(task.record)

    def returns(self, task: Handle, returned: Handle | int) -> None:
        uid = returned if isinstance(returned, int) else returned.uid
        self.scheduler.on_attempt_returned_task(task.attempt_id, uid, 1.0, self.now)

    def awaits(self, task: Handle, awaited: Handle) -> None:
        self.scheduler.on_attempt_awaits(task.attempt_id, awaited.uid)

    def stops_awaiting(self, task: Handle, awaited: Handle) -> None:
        self.scheduler.on_attempt_stopped_awaiting(task.attempt_id, awaited.uid)

    def stopped(self, task: Handle) -> None:
        self.scheduler.on_attempt_stopped(task.attempt_id, self.now)

    def checked(self, task: Handle, seconds: float | None) -> None:
        self.scheduler.on_attempt_checked(task.attempt_id, seconds, self.now)

    def add_predecessor(
        self, task: Handle, waits_on: object, asker: AttemptRecord | None = None
    ) -> None:
        condition = as_condition(waits_on)
        assert condition is not None
        self.scheduler.on_predecessor_added(task.record, condition, asker)

    def worker(self, index: int = 0, loop: str = "default") -> WorkerRecord:
        workers = self.scheduler.loops[loop].workers.values()
        return next(w for w in workers if w.index == index)

    def worker_ready(self, index: int = 0, loop: str = "default") -> None:
        self.scheduler.on_worker_ready(self.worker(index, loop).worker_id, self.now)

    def lose(
        self,
        index: int = 0,
        loop: str = "default",
        begun: Iterable[Handle] | None = None,
        running: Iterable[Handle] | None = None,
    ) -> None:
        """A worker dies; what had begun was running unless `running` says otherwise."""
        ids = None if begun is None else frozenset(t.attempt_id for t in begun)
        still = ids if running is None else frozenset(t.attempt_id for t in running)
        end = WorkerEnd(KILLED.how, running=still, begun=ids)
        self.scheduler.on_worker_lost(self.worker(index, loop).worker_id, end, self.now)

    def give_back(self, *tasks: Handle, index: int = 0) -> None:
        ids = [t.attempt_id for t in tasks]
        self.scheduler.on_attempts_given_back(self.worker(index).worker_id, ids, self.now)

    def learn(self, kind: int, seconds: float) -> None:
        self.scheduler.durations.learn(kind, seconds)


def text_of(command: do.Command) -> str:
    match command:
        case do.StartAttempt(attempt):
            return f"start {attempt.task.spec.name} on {_place(attempt.worker)}"
        case do.StopAttempt(attempt):
            return f"stop {attempt.task.spec.name}"
        case do.RecallAttempts(worker, count):
            return f"recall {count} from {_place(worker)}"
        case do.StartWorker(worker):
            return f"start worker {_place(worker)}"
        case do.KillWorker(worker):
            return f"kill {_place(worker)}"
        case do.RetireWorker(worker):
            return f"retire {_place(worker)}"
        case do.TellAwaited(attempt, task):
            return f"tell {attempt.task.spec.name} that {task.spec.name} {task.state}"
        case do.TaskEnded(task):
            return f"{task.spec.name} {task.state}"
        case do.GraphEnded(graph):
            return f"graph {graph.name} ended"
        case do.GraphStuck(graph):
            return f"graph {graph.name} stuck"
        case do.LoopFailed(loop):
            return f"loop {loop.name} failed"
        case do.CheckAttempt(attempt):
            return f"check {attempt.task.spec.name}"


def _place(worker: WorkerRecord) -> str:
    return f"{worker.loop.name}.{worker.index}"
