"""What the core knows: graphs, tasks, attempts, worker loops and workers, as plain slotted records.

Only `scheduler.py` writes to them; everybody else reads. They hold no results and no exceptions of
users: `call` and `failure` are values of the outside that the core carries and never opens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from trio_actor_graph.graph.failures import AttemptFailure, Raised, Refused, WorkerEnd
from trio_actor_graph.graph.ready_queue import ReadyQueue
from trio_actor_graph.graph.retrying import NO_RETRIES, RetrySpec
from trio_actor_graph.graph.states import TASK_STATES, TERMINAL, AttemptState, TaskState

if TYPE_CHECKING:
    from trio_actor_graph.graph.gates import Gate

LOSSES_MAX: Final = 3
"""How many workers may die under a task before it fails. The loss of one or two is bad luck or a
neighbour's fault; three in a row is the task, the more so as the third time it ran alone."""

LOSSES_BESIDE_MAX: Final = 10
"""How many workers may die while a task, innocent as far as one can see, is in them: it awaited
others at that moment, or was a suspect and did not run alone after all, or a child of it had to be
stopped by ending their worker. But such a task may be the cause, and would begin anew for ever."""

HISTORY_MAX: Final = 100
"""How many unsuccessful attempts a task remembers, the last ones: enough to see the pattern, and
bounded for a task that is retried for ever."""

HISTORY_SIZE_MAX: Final = 1_000_000
"""How large they may be in all, in characters and bytes: exceptions may carry anything."""


_NOTHING: Final[Mapping[TaskRecord, None]] = MappingProxyType({})


class TaskSpec(msgspec.Struct, frozen=True, gc=False):
    """What a user asked for when creating a task, as far as scheduling is concerned.

    Attributes:
        name: for people.
        kind: which function it is; durations are learned per kind.
        function: its name, for people: as it is registered or, if it is not, its own.
        loop: the name of the worker loop it runs in.
        priority: larger runs first.
        retry: when a failed attempt is answered by another one.
        timeout_seconds: how long one attempt may run; None for no limit.
        is_async: the function is a coroutine function, which can be stopped without a kill.
    """

    name: str
    kind: int
    loop: str
    priority: int = 0
    retry: RetrySpec = NO_RETRIES
    timeout_seconds: float | None = None
    is_async: bool = False
    function: str = ""


class LoopSpec(msgspec.Struct, frozen=True):
    """A worker loop, as far as scheduling is concerned.

    Attributes:
        slots: how many attempts each of its workers may run at once, by worker index.
        is_local: its worker is the coordinator's own process, which cannot be killed.
        tasks_max: how many tasks a worker is given until it is replaced; None for no limit.
    """

    name: str
    slots: tuple[int, ...]
    is_local: bool = False
    tasks_max: int | None = None


class TaskRecord:
    """One task.

    Attributes:
        creator: the task that created it; None if the app did.
        times: when things happened to it; None where that is not recorded.
        gate: the root of its condition's gates; None when it waits on nothing.
        attempt: the attempt that counts; None unless it runs, or waits in a worker for what it
            follows.
        attempts: how many attempts were given to a worker, less those known to be unbegun and those
            that follow others.
        failures: how many of them failed.
        losses: how many of them were running when their worker died.
        losses_beside: how many ended with their worker and are not held against it.
        retry_at: when it is queued again after a failure; None when nothing is put off.
        history: the attempts that brought nothing, the last `HISTORY_MAX`; None for none.
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
        "creator",
        "failure",
        "failures",
        "gate",
        "graph",
        "history",
        "is_seen",
        "loop",
        "losses",
        "losses_beside",
        "predecessors",
        "retry_at",
        "returned_by",
        "returns",
        "skipped_because",
        "spec",
        "state",
        "successors",
        "times",
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
        self.creator: TaskRecord | None = None
        self.times: TaskTimes | None = None
        self.state: TaskState = "waiting"
        self.gate: Gate | None = None
        self.attempt: AttemptRecord | None = None
        self.attempts = 0
        self.failures = 0
        self.losses = 0
        self.losses_beside = 0
        self.retry_at: float | None = None
        self.returns: TaskRecord | None = None
        # Few tasks have all of these, so most are spared the empty containers.
        self.predecessors: Mapping[TaskRecord, None] = _NOTHING
        self.successors: list[Gate] | tuple[()] = ()
        self.returned_by: list[TaskRecord] | None = None
        self.awaited_by: dict[int, AttemptRecord] | None = None
        self.history: list[EndedAttempt] | None = None
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

    @property
    def created_at(self) -> float | None:
        """When it was created; this and the following are None where nothing is recorded."""
        return None if self.times is None else self.times.created_at

    @property
    def began_at(self) -> float | None:
        """When its last attempt that has ended began; None again when another one is sent."""
        return None if self.times is None else self.times.began_at

    @property
    def ran_until(self) -> float | None:
        """When that ended."""
        return None if self.times is None else self.times.ran_until

    @property
    def ran_in(self) -> WorkerRecord | None:
        """The worker in which that was."""
        return None if self.times is None else self.times.ran_in

    @property
    def ended_at(self) -> float | None:
        """When it ended; None while it has not, or where that is not recorded."""
        if self.times is None or not self.is_ended:
            return None
        return self.times.ran_until if self.times.end_at is None else self.times.end_at

    @property
    def ran_seconds(self) -> float | None:
        """How long that attempt took, what it waited for others included."""
        times = self.times
        if times is None or times.began_at is None or times.ran_until is None:
            return None
        return max(0.0, times.ran_until - times.began_at)

    @property
    def worker_name(self) -> str | None:
        """The worker that its attempt was given to, or in which the last one ran, "cpu/0"."""
        worker = self.ran_in if self.attempt is None else self.attempt.worker
        return None if worker is None else worker.name

    @property
    def is_suspect(self) -> bool:
        """Its next attempt is the last that may end with its worker, and so must run alone there.

        Where a worker has one slot every attempt does.
        """
        return self.losses >= LOSSES_MAX - 1 and max(self.loop.slots) > 1

    def add_successor(self, gate: Gate) -> None:
        """A gate of another task counts this one."""
        if isinstance(self.successors, tuple):
            self.successors = [gate]
        else:
            self.successors.append(gate)

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


class EndedAttempt(msgspec.Struct, frozen=True, gc=False):
    """An attempt that did not bring its task to an end, or to a bad one.

    Attributes:
        number: counts the attempts of its task from 1.
        worker: its worker loop and the worker's index in it, "cpu/0".
        failure: what went wrong, or how its worker ended.
        began_at: when it began, by the clock of a task's times; None where that is not recorded.
        ended_at: when it ended; None where that is not recorded.
        was_cut_off: nobody has reported these; see `TaskTimes`.
    """

    attempt_id: int
    number: int
    worker: str
    failure: AttemptFailure | WorkerEnd
    began_at: float | None = None
    ended_at: float | None = None
    was_cut_off: bool = False

    @property
    def size(self) -> int:
        """About how much memory it holds on to."""
        failure = self.failure
        if isinstance(failure, Raised):
            return len(failure.text) + len(failure.traceback) + len(failure.pickled or b"")
        return len(failure.stderr) if isinstance(failure, WorkerEnd) else 0


class TaskTimes(msgspec.Struct, gc=False):
    """When things happened to a task, in seconds of `time.perf_counter`, which all processes share.

    The coordinator notes them if it is asked to record them or is observed; the core decides
    nothing by them.

    Attributes:
        created_at: when it was created.
        began_at: when the last attempt began that has ended; None again when another one is sent.
        ran_until: when that attempt ended.
        ran_in: the worker that it ran in.
        was_cut_off: it reported no end, being cancelled, or lost with its worker, or past its time
            limit. Then it counts as begun when it was sent, and as ended when it did not count
            any more.
        end_at: when the task ended, if that was not by the end of that attempt.
    """

    created_at: float
    began_at: float | None = None
    ran_until: float | None = None
    ran_in: WorkerRecord | None = None
    was_cut_off: bool = False
    end_at: float | None = None

    def forget_run(self) -> None:
        """Another attempt is sent to a worker."""
        self.began_at = self.ran_until = self.ran_in = None
        self.was_cut_off = False

    def cut_off(self, attempt: AttemptRecord, at: float) -> None:
        """An attempt will report no end that counts."""
        self.began_at, self.ran_until, self.ran_in = attempt.given_at, at, attempt.worker
        self.was_cut_off = True


class AttemptRecord:
    """One try to run one task in one worker.

    Attributes:
        given_at: when it was sent to its worker, by the clock of a task's times; None where that is
            not recorded.
        expected_seconds: how long it is expected to run.
        has_awaited: it has waited for a task, so it has begun.
        awaits: the tasks it waits for while it runs, by uid; None for none.
        told: the awaited task that ended last.
        refusal: something wrong it asked for; it will fail with this when it ends.
        follows: the attempts in the same worker whose success it waits for there; see `following`.
        followers: the attempts that follow it; None for none.
        is_perhaps_unbegun: it was told to stop when it followed others.
    """

    __slots__ = (
        "attempt_id",
        "awaits",
        "expected_seconds",
        "followers",
        "follows",
        "given_at",
        "has_awaited",
        "is_perhaps_unbegun",
        "refusal",
        "state",
        "task",
        "told",
        "worker",
    )

    def __init__(
        self,
        attempt_id: int,
        task: TaskRecord,
        worker: WorkerRecord,
        expected_seconds: float,
        follows: tuple[AttemptRecord, ...] = (),
    ):
        self.attempt_id = attempt_id
        self.task = task
        self.worker = worker
        self.expected_seconds = expected_seconds
        self.given_at: float | None = None
        self.state: AttemptState = "following" if follows else "assigned"
        self.follows = follows
        self.followers: list[AttemptRecord] | None = None
        self.is_perhaps_unbegun = False
        self.awaits: dict[int, TaskRecord] | None = None
        self.told: TaskRecord | None = None
        self.has_awaited = False
        self.refusal: Refused | None = None

    def has_to_do_with(self, tasks: Collection[TaskRecord]) -> bool:
        """It awaits one of these tasks, or was told last of the end of one."""
        return self.told in tasks or any(task in tasks for task in (self.awaits or {}).values())

    @property
    def is_wanted(self) -> bool:
        """What it brings counts: its task has neither ended nor been given to another attempt."""
        return self.task.attempt is self


class WorkerRecord:
    """One worker: a process, or the coordinator's own for a loop with no processes.

    Attributes:
        index: its number in its loop, from 0; a worker that replaces a lost one has the same.
        slots: how many attempts it runs at once.
        held: its attempts by attempt id, begun or not.
        suspended: how many of them have given their slot back.
        following: how many of them follow others.
        backlog_seconds: how long `held` is expected to take in all.
        recalling: how many attempts it was asked to give back, while its answer is out.
        has_begun_all: it was asked for what it had not begun, had no more, and was given nothing
            since. Attempts that took their slot back can make such a worker look overloaded.
        given: how many attempts it was given, less those given back.
        has_begun: it has begun at least one attempt.
        is_retiring: it gets no more attempts, and is replaced when it holds none.
        suspects: its attempts that are to run alone in it; more than one only while others await.
        tasks_max: how many attempts it is given until it is replaced; None for no limit.
        tails: its attempts that something could follow, once there is room for more in it.
        quiet_since: when it last reported the end of an attempt, became ready, or was given
            something after it had nothing.
    """

    __slots__ = (
        "backlog_seconds",
        "following",
        "given",
        "has_begun",
        "has_begun_all",
        "held",
        "index",
        "is_ready",
        "is_retiring",
        "is_stopping",
        "loop",
        "quiet_since",
        "recalling",
        "slots",
        "suspects",
        "suspended",
        "tails",
        "tasks_max",
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
        self.following = 0
        self.backlog_seconds = 0.0
        self.recalling = 0
        self.has_begun_all = False
        self.given = 0
        self.has_begun = False
        self.is_retiring = False
        self.suspects: dict[int, AttemptRecord] = {}
        self.tasks_max = loop.tasks_max
        self.tails: deque[AttemptRecord] = deque()
        self.quiet_since = 0.0

    @property
    def name(self) -> str:
        """How people tell it from others."""
        return f"{self.loop.name}/{self.index}"

    @property
    def takes_attempts(self) -> bool:
        """It is ready, not about to be killed, and nothing in it is to be left alone."""
        return (
            self.is_ready
            and not self.is_stopping
            and self.loop.reserved is not self
            and (not self.suspects or all(a.state == "suspended" for a in self.suspects.values()))
        )

    @property
    def running(self) -> int:
        """How many of its attempts run or are about to."""
        return len(self.held) - self.suspended

    @property
    def free_slots(self) -> int:
        """Slots with nothing to do; negative when attempts are held ahead."""
        return self.slots - len(self.held) + self.suspended + self.following


class LoopRecord:
    """One worker loop: the ready tasks assigned to it, and its workers.

    Attributes:
        suspects: ready tasks that are to run alone in a worker.
        reserved: the worker that gets nothing more until it can take a suspect.
        failure: why it cannot start; its tasks fail with it.
        failed_starts: how many workers in a row were lost before they had begun anything.
        losses_in_row: how many workers were lost since an attempt last brought something.
        start_after: no worker is started before; None when nothing holds it back.
    """

    __slots__ = (
        "failed_starts",
        "failure",
        "is_local",
        "losses_in_row",
        "name",
        "ready",
        "reserved",
        "slots",
        "start_after",
        "suspects",
        "tasks_max",
        "workers",
    )

    def __init__(self, spec: LoopSpec):
        self.name = spec.name
        self.slots = spec.slots
        self.is_local = spec.is_local
        self.tasks_max = spec.tasks_max
        self.ready: ReadyQueue[TaskRecord] = ReadyQueue()
        self.suspects: ReadyQueue[TaskRecord] = ReadyQueue()
        self.reserved: WorkerRecord | None = None
        self.workers: dict[int, WorkerRecord] = {}
        self.failure: object = None
        self.failed_starts = 0
        self.losses_in_row = 0
        self.start_after: float | None = None

    @property
    def has_ready(self) -> bool:
        return bool(self.ready or self.suspects)

    def queue_of(self, task: TaskRecord) -> ReadyQueue[TaskRecord]:
        """Where a ready task of this loop waits for its turn."""
        return self.suspects if task.is_suspect else self.ready


PREDECESSOR_ADDED: Final = "predecessor added"


class Move(NamedTuple):
    """A task has come to a state, or waits for more than before, for those who watch.

    Attributes:
        happening: what has brought it there, in the words of `states.TASK_TRANSITIONS`; "created"
            for a new task, `PREDECESSOR_ADDED` for one that is where it was and waits for more.
        attempt: the one that counted at that moment.
        attempts: how many there had been by then, this one included; the number of the last.
    """

    task: TaskRecord
    happening: str
    state: TaskState
    attempt: AttemptRecord | None
    attempts: int


class GraphRecord:
    """One task graph.

    Attributes:
        can_try_again: tasks that did not succeed keep what they would call, for another try.
        moves: where moves of its tasks are noted, one list for all graphs; None if nobody watches.
        unfinished: how many of its tasks have not ended.
        suspended: how many of its running tasks have given their slot back.
    """

    __slots__ = (
        "can_try_again",
        "counts",
        "is_cancelled",
        "moves",
        "name",
        "suspended",
        "tasks",
        "uid",
        "unfinished",
    )

    def __init__(
        self, uid: int, name: str, moves: list[Move] | None = None, can_try_again: bool = True
    ):
        self.uid = uid
        self.name = name
        self.can_try_again = can_try_again
        self.moves = moves
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
