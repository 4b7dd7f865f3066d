"""What the core knows: graphs, tasks, attempts, worker loops and workers, as plain slotted records.

Only `scheduler.py` writes to them; everybody else reads. They hold no results and no exceptions of
users: `call` and `failure` are values of the outside that the core carries and never opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from trio_actor_graph.graph.ready_queue import ReadyQueue
from trio_actor_graph.graph.states import TASK_STATES, TERMINAL, AttemptState, TaskState

if TYPE_CHECKING:
    from trio_actor_graph.graph.failures import Refused
    from trio_actor_graph.graph.gates import Gate


class TaskSpec(msgspec.Struct, frozen=True, gc=False):
    """What a user asked for when creating a task, as far as scheduling is concerned.

    Attributes:
        name: for people.
        kind: which function it is; durations are learned per kind.
        loop: the name of the worker loop it runs in.
        priority: larger runs first.
        retries: how many times a raised exception is answered by another attempt.
        timeout_seconds: how long one attempt may run; None for no limit.
        is_async: the function is a coroutine function, which can be stopped without a kill.
    """

    name: str
    kind: int
    loop: str
    priority: int = 0
    retries: int = 0
    timeout_seconds: float | None = None
    is_async: bool = False


class LoopSpec(msgspec.Struct, frozen=True):
    """A worker loop, as far as scheduling is concerned.

    Attributes:
        slots: how many attempts each of its workers may run at once, by worker index.
        is_local: its worker is the coordinator's own process, which cannot be killed.
    """

    name: str
    slots: tuple[int, ...]
    is_local: bool = False


class TaskRecord:
    """One task.

    Attributes:
        gate: the root of its condition's gates; None when it waits on nothing.
        attempt: the attempt that counts; None unless it runs.
        attempts: how many attempts were given to a worker, less those known to be unbegun.
        losses: how many of them ended with their worker.
        successors: the gates of other tasks that this one is an input of.
        returns: the task whose end will be this one's end (a tail call).
        returned_by: the tasks that end with this one.
        predecessors: the tasks its condition looks at, in the order written, as keys.
        awaited_by: the attempts that are suspended until this task ends, by attempt id.
        skipped_because: the task whose end made its condition impossible.
        is_seen: somebody has asked for its result, so its failure is not unseen.
    """

    __slots__ = (
        "attempt",
        "attempts",
        "awaited_by",
        "call",
        "failure",
        "gate",
        "graph",
        "is_seen",
        "loop",
        "losses",
        "predecessors",
        "retries_left",
        "returned_by",
        "returns",
        "skipped_because",
        "spec",
        "state",
        "successors",
        "uid",
    )

    def __init__(
        self, uid: int, graph: GraphRecord, spec: TaskSpec, loop: LoopRecord, call: object
    ):
        self.uid = uid
        self.graph = graph
        self.spec = spec
        self.loop = loop
        self.call = call
        self.state: TaskState = "waiting"
        self.gate: Gate | None = None
        self.attempt: AttemptRecord | None = None
        self.attempts = 0
        self.losses = 0
        self.retries_left = spec.retries
        self.predecessors: dict[TaskRecord, None] = {}
        self.successors: list[Gate] = []
        self.returns: TaskRecord | None = None
        # Few tasks have one of these, so most are spared the empty containers.
        self.returned_by: list[TaskRecord] | None = None
        self.awaited_by: dict[int, AttemptRecord] | None = None
        self.skipped_because: TaskRecord | None = None
        self.failure: object = None
        self.is_seen = False

    @property
    def label(self) -> str:
        """How messages name the task."""
        return f"{self.spec.name!r} (task {self.uid})"

    @property
    def is_ended(self) -> bool:
        return self.state in TERMINAL

    def waiting_successors(self) -> Iterator[TaskRecord]:
        """The tasks that still wait, by condition or by having returned it, for this one."""
        for gate in self.successors:
            if gate.task.state == "waiting" and not gate.is_settled:
                yield gate.task
        for task in self.returned_by or ():
            if task.state == "waiting":
                yield task

    def waited_for(self) -> Iterator[TaskRecord]:
        """The tasks it may wait for while it is waiting: a few more than it does wait for."""
        if self.state == "waiting":
            for task in self.predecessors if self.returns is None else (self.returns,):
                if not task.is_ended:
                    yield task


class AttemptRecord:
    """One try to run one task in one worker.

    Attributes:
        expected_seconds: how long it is expected to run.
        has_awaited: it has waited for a task, so it has begun.
        awaits: the tasks it waits for while it runs, by uid; None for none.
        refusal: something wrong it asked for; it will fail with this when it ends.
    """

    __slots__ = (
        "attempt_id",
        "awaits",
        "expected_seconds",
        "has_awaited",
        "refusal",
        "state",
        "task",
        "worker",
    )

    def __init__(
        self, attempt_id: int, task: TaskRecord, worker: WorkerRecord, expected_seconds: float
    ):
        self.attempt_id = attempt_id
        self.task = task
        self.worker = worker
        self.expected_seconds = expected_seconds
        self.state: AttemptState = "assigned"
        self.awaits: dict[int, TaskRecord] | None = None
        self.has_awaited = False
        self.refusal: Refused | None = None


class WorkerRecord:
    """One worker: a process, or the coordinator's own for a loop with no processes.

    Attributes:
        index: its number in its loop, from 0; a worker that replaces a lost one has the same.
        slots: how many attempts it runs at once.
        held: its attempts by attempt id, begun or not.
        suspended: how many of them have given their slot back.
        backlog_seconds: how long `held` is expected to take in all.
        recalling: how many attempts it was asked to give back, while its answer is out.
        has_begun_all: it was asked for what it had not begun, had no more, and was given nothing
            since. Attempts that took their slot back can make such a worker look overloaded.
        quiet_since: when it last reported the end of an attempt, became ready, or was given
            something after it had nothing.
    """

    __slots__ = (
        "backlog_seconds",
        "has_begun_all",
        "held",
        "index",
        "is_ready",
        "is_stopping",
        "loop",
        "quiet_since",
        "recalling",
        "slots",
        "suspended",
        "worker_id",
    )

    def __init__(self, worker_id: int, loop: LoopRecord, index: int):
        self.worker_id = worker_id
        self.loop = loop
        self.index = index
        self.slots = loop.slots[index]
        self.is_ready = False
        self.is_stopping = False
        self.held: dict[int, AttemptRecord] = {}
        self.suspended = 0
        self.backlog_seconds = 0.0
        self.recalling = 0
        self.has_begun_all = False
        self.quiet_since = 0.0

    @property
    def takes_attempts(self) -> bool:
        """It is ready, and not about to be killed."""
        return self.is_ready and not self.is_stopping

    @property
    def free_slots(self) -> int:
        """Slots with nothing to do; negative when attempts are held ahead."""
        return self.slots - len(self.held) + self.suspended


class LoopRecord:
    """One worker loop: the ready tasks assigned to it, and its workers.

    Attributes:
        failure: why it cannot start; its tasks fail with it.
        failed_starts: how many workers in a row were lost before they became ready.
    """

    __slots__ = ("failed_starts", "failure", "is_local", "name", "ready", "slots", "workers")

    def __init__(self, spec: LoopSpec):
        self.name = spec.name
        self.slots = spec.slots
        self.is_local = spec.is_local
        self.ready: ReadyQueue[TaskRecord] = ReadyQueue()
        self.workers: dict[int, WorkerRecord] = {}
        self.failure: object = None
        self.failed_starts = 0


class GraphRecord:
    """One task graph.

    Attributes:
        unfinished: how many of its tasks have not ended.
        suspended: how many of its running tasks have given their slot back.
    """

    __slots__ = ("counts", "is_cancelled", "name", "suspended", "tasks", "uid", "unfinished")

    def __init__(self, uid: int, name: str):
        self.uid = uid
        self.name = name
        self.tasks: dict[int, TaskRecord] = {}
        self.counts: dict[TaskState, int] = dict.fromkeys(TASK_STATES, 0)
        self.unfinished = 0
        self.suspended = 0
        self.is_cancelled = False

    @property
    def is_stalled(self) -> bool:
        """Something waits, and nothing that could end its wait is ready or runs."""
        can_go_on = self.counts["ready"] + self.counts["running"] - self.suspended
        return self.unfinished > 0 and can_go_on == 0
