"""The transition function: everything that changes the state of graphs, tasks and workers.

Each `on_*` method is an event. It checks first and changes afterwards, so an event that is refused
(`GraphError`) leaves everything as it was. What follows from it is appended to the commands, which
the coordinator takes and runs. Giving ready tasks to workers is not done per event but once per
batch of events, in `settle`.

Time is a number of seconds from any monotonic clock, passed in as `now`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Final

import msgspec

from trio_actor_graph.errors import CycleError, GraphError, InternalError
from trio_actor_graph.graph import commands as do
from trio_actor_graph.graph.conditions import AnyCondition
from trio_actor_graph.graph.durations import Durations
from trio_actor_graph.graph.failures import (
    AttemptFailure,
    CannotStart,
    LostTooOften,
    Raised,
    Refused,
    StoreFull,
    TimedOut,
    WorkerEnd,
)
from trio_actor_graph.graph.following import find_follower
from trio_actor_graph.graph.placement import (
    OVERHEAD_SECONDS,
    deadlines,
    fill,
    has_room_ahead,
    recall_due,
    restart_delay,
    workers_to_start,
)
from trio_actor_graph.graph.records import (
    HISTORY_MAX,
    HISTORY_SIZE_MAX,
    LOSSES_BESIDE_MAX,
    LOSSES_MAX,
    PREDECESSOR_ADDED,
    AttemptRecord,
    EndedAttempt,
    GraphRecord,
    LoopRecord,
    LoopSpec,
    Move,
    TaskRecord,
    TaskSpec,
    WorkerRecord,
)
from trio_actor_graph.graph.retrying import retry_delay
from trio_actor_graph.graph.states import TERMINAL
from trio_actor_graph.graph.stories import stall_story, wait_path, waiting_on
from trio_actor_graph.graph.transitions import move_task, next_attempt_state
from trio_actor_graph.graph.trying_again import check_may_be_tried_again, go_back
from trio_actor_graph.graph.wiring import build_gates, look_up, wire, with_one_more

FAILED_STARTS_MAX: Final = 5
"""How many workers in a row may be lost before they have begun anything, although there was
something to do, until their loop counts as broken. One or two are bad luck."""

STOP_GRACE_SECONDS: Final = 0.3
"""How long a plain function that nobody wants any more may run on before its process is killed.
Long enough for one that is about to end, short enough that a cancel works within a second."""

STOP_GRACE_SECONDS_ASYNC: Final = 5.0
"""The same for a coroutine function, which was cancelled and may be cleaning up."""

LIMIT_SLACK_SECONDS: Final = 0.3
"""How long after its time limit a plain function is looked at by the coordinator, because its
worker has not reported it: it holds the interpreter. One that can report does so within 0.02 s."""


class Scheduler:
    """All graphs and workers of one coordinator.

    Args:
        loops: the worker loops.
        worker_ids: numbers for new workers.
        recording_clock: of the times that are recorded of tasks; nothing is decided by it.
    """

    def __init__(
        self,
        loops: Iterable[LoopSpec],
        worker_ids: Iterator[int] | None = None,
        recording_clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.loops = {spec.name: LoopRecord(spec) for spec in loops}
        self.graphs: dict[int, GraphRecord] = {}
        self.workers: dict[int, WorkerRecord] = {}
        self.attempts: dict[int, AttemptRecord] = {}
        self.durations = Durations()
        self.stale_reports = 0
        self.workers_lost = 0
        self._worker_ids = count(1) if worker_ids is None else worker_ids
        self._recording_clock = recording_clock
        self._last_attempt_id = 0
        self._commands: list[do.Command] = []
        self._touched: dict[int, GraphRecord] = {}  # graphs that may have ended or stalled
        self._stopping: list[AttemptRecord] = []  # told to stop since the last `settle`
        self._stop_deadlines: list[tuple[float, int]] = []  # a heap of (when, attempt id)
        self._limit_checks: list[tuple[float, int]] = []  # the same
        self._put_off: dict[int, TaskRecord] = {}  # retries that wait for their time, by task uid
        self._retries: list[tuple[float, int]] = []  # a heap of (when, task uid), some outdated
        self._retiring: dict[int, WorkerRecord] = {}
        self._moves: list[Move] | None = None

    def take_commands(self) -> list[do.Command]:
        """What has to be done since the last call, in order."""
        commands, self._commands = self._commands, []
        return commands

    def watch(self, is_watched: bool) -> None:
        """Note every move of a task from now on, or no more."""
        self._moves = [] if is_watched else None
        for graph in self.graphs.values():
            graph.moves = self._moves

    def take_moves(self) -> list[Move]:
        """What has been noted since the last call, in order. Only while it is watched."""
        assert self._moves is not None
        moves = self._moves[:]
        self._moves.clear()
        return moves

    def is_put_off(self, task: TaskRecord) -> bool:
        """Whether the task's next attempt waits for its time."""
        return self._put_off.get(task.uid) is task

    # ---- graphs and tasks -------------------------------------------------------------------

    def on_graph_opened(self, uid: int, name: str, *, can_try_again: bool = True) -> GraphRecord:
        graph = self.graphs[uid] = GraphRecord(uid, name, self._moves, can_try_again)
        return graph

    def on_graph_closed(self, graph: GraphRecord) -> None:
        """Forget a graph whose tasks have all ended; its records live on with their handles."""
        if graph.unfinished:
            raise InternalError(f"graph {graph.name!r} closed with {graph.unfinished} tasks to go")
        del self.graphs[graph.uid]
        self._touched.pop(graph.uid, None)
        if graph.counts["succeeded"] < len(graph.tasks):
            for task in graph.tasks.values():
                task.call = None  # nothing is tried again any more

    def on_task_created(
        self,
        graph: GraphRecord,
        uid: int,
        spec: TaskSpec,
        call: object = None,
        inputs: Sequence[int] = (),
        condition: AnyCondition | None = None,
    ) -> TaskRecord:
        """Add a task that waits for the success of `inputs` and for `condition`.

        Raises:
            GraphError: an unknown worker loop, or a task that is not in this graph.
        """
        if graph.is_cancelled:
            raise GraphError(f"graph {graph.name!r} has been cancelled: it takes no more tasks")
        loop = self.loops.get(spec.loop)
        if loop is None:
            known = ", ".join(map(repr, self.loops))
            raise GraphError(f"unknown worker loop {spec.loop!r}: there are {known}")
        task = TaskRecord(uid, graph, spec, loop, call)
        if inputs or condition is not None:
            wire(task, inputs, condition)
        self._add(task)
        self._settle_condition(task)
        return task

    def on_task_refused(
        self, graph: GraphRecord, uid: int, spec: TaskSpec, message: str
    ) -> TaskRecord:
        """Add a task that a worker has already got a handle of, but that cannot be: it fails."""
        loop = self.loops.get(spec.loop) or next(iter(self.loops.values()))
        task = TaskRecord(uid, graph, spec, loop, None)
        self._add(task)
        task.failure = Refused(message)
        self._end(task, "refused")
        return task

    def on_predecessor_added(
        self, task: TaskRecord, condition: AnyCondition, asker: AttemptRecord | None = None
    ) -> list[TaskRecord]:
        """Make a waiting task wait for `condition` as well.

        Args:
            asker: the attempt that asks for it. Its worker keeps from beginning the task, if that
                has gone there to follow others: had they succeeded, this would have been heard.

        Returns:
            Those of its predecessors that it had not before.

        Raises:
            GraphError: the task is ready or further, or a predecessor is not in its graph.
            CycleError: a predecessor waits, directly or not, on the task.
        """
        if task.state != "waiting" or task.gate is None or task.returns is not None:
            is_now = f"it is {task.state!r}" if task.returns is None else "it has run"
            raise GraphError(
                f"too late to add a predecessor to {task.label}: {is_now}, and only "
                "a task that still waits for its condition can wait for more"
            )
        following = task.attempt
        if following is not None and (asker is None or asker.worker is not following.worker):
            others = ", ".join(followed.task.label for followed in following.follows)
            raise GraphError(
                f"too late to add a predecessor to {task.label}: it was given to worker "
                f"{following.worker.name}, to run there right after {others}"
            )
        predecessors = look_up(task, condition)
        if path := wait_path(task, *predecessors):
            raise CycleError(f"these tasks would wait on each other for ever: {path}")
        if following is not None:
            self._stop(following)
            self._stop_followers(following)
        new = [each for each in predecessors if each not in task.predecessors]
        task.predecessors = {**task.predecessors, **predecessors}
        build_gates(task, condition, parent=with_one_more(task, task.gate))
        moves = task.graph.moves
        if moves is not None:
            moves.append(Move(task, PREDECESSOR_ADDED, "waiting", None, task.attempts))
        self._settle_condition(task)
        return new

    def on_task_cancelled(self, task: TaskRecord, *, successors: bool = False) -> None:
        """End a task that nobody wants, and have its attempt stopped. Ended ones stay ended.

        Args:
            successors: end everything that waits on it too, by whatever condition.
        """
        if task.state in TERMINAL:
            return
        if not successors:
            self._end(task, "cancelled")
            return
        # All of them are known before the first ends, so that none becomes ready meanwhile.
        for each in list(waiting_on(task)):
            self._end(each, "cancelled", spread=False)

    def on_task_tried_again(self, task: TaskRecord) -> None:
        """Have a task that failed or was cancelled run again, and what ended because of it wait.

        Take the commands before: they may tell of its end.

        Raises:
            GraphError: it cannot be; the message says why.
            CycleError: it would wait for itself.
        """
        check_may_be_tried_again(task)
        for each in go_back(task):
            if each.state == "waiting" and each.returns is None:
                self._settle_condition(each)
        self._touched[task.graph.uid] = task.graph

    def on_graph_cancelled(self, graph: GraphRecord) -> None:
        """End every task of the graph, and take no more."""
        graph.is_cancelled = True
        for task in list(graph.tasks.values()):
            if task.state not in TERMINAL:
                # Nothing may become ready while its siblings wait for their turn to be cancelled.
                self._end(task, "cancelled", spread=False)
        self._touched[graph.uid] = graph

    # ---- attempts ---------------------------------------------------------------------------

    def on_attempt_succeeded(
        self, attempt_id: int, seconds: float, now: float
    ) -> TaskRecord | None:
        """A function has returned.

        Returns:
            The task, whose result is to be kept; None when nobody wants it any more.
        """
        attempt = self._reported(attempt_id, seconds, now)
        if attempt is None:
            return None
        if attempt.refusal is not None:
            self._fail(attempt, attempt.refusal)
            return None
        self._end(attempt.task, "function returned")
        return attempt.task

    def on_attempt_failed(
        self,
        attempt_id: int,
        failure: AttemptFailure,
        seconds: float,
        now: float,
        *,
        is_final: bool = False,
    ) -> None:
        """A function has raised, or was stopped by the worker at its time limit.

        Args:
            is_final: this failure is not to be retried.
        """
        attempt = self._reported(attempt_id, seconds, now)
        if attempt is None:
            return
        if is_final or isinstance(failure, (Refused, StoreFull)):
            self._fail(attempt, failure)
        else:
            self._fail_or_retry(attempt, failure, now)

    def on_attempt_returned_task(
        self, attempt_id: int, returned_uid: int, seconds: float, now: float
    ) -> None:
        """A function has returned another task, as which its own task is going to end."""
        attempt = self._reported(attempt_id, seconds, now)
        if attempt is None:
            return
        task = attempt.task
        returned = task.graph.tasks.get(returned_uid)
        if attempt.refusal is not None:
            self._fail(attempt, attempt.refusal)
        elif returned is None:
            self._fail(attempt, Refused(f"{task.label} returned a task of another graph"))
        elif path := wait_path(task, returned):
            message = f"{task.label} returned a task that waits on it: {path}"
            self._fail(attempt, Refused(message, is_cycle=True))
        else:
            self._tail_call(attempt, returned)

    def on_attempt_refused(self, attempt_id: int, refusal: Refused) -> None:
        """A running function asked for something wrong; it learns of it by failing at its end."""
        attempt = self.attempts.get(attempt_id)
        if attempt is not None:
            attempt.refusal = refusal

    def on_attempt_awaits(self, attempt_id: int, uid: int) -> None:
        """A running function waits for a task of its graph; meanwhile its slot is free.

        Waiting twice for the same task is waiting once.

        Raises:
            GraphError: a task that is not in its graph.
        """
        attempt = self.attempts.get(attempt_id)
        if attempt is None or attempt.state == "cancelling":
            return
        task = attempt.task.graph.tasks.get(uid)
        if task is None:
            raise GraphError(
                f"{attempt.task.label} cannot await task {uid}: "
                f"there is no such task in graph {attempt.task.graph.name!r}"
            )
        if task.state in TERMINAL:
            self._commands.append(do.TellAwaited(attempt, task))
            return
        if attempt.awaits is None:
            attempt.awaits = {}
        if task.awaited_by is None:
            task.awaited_by = {}
        attempt.awaits[uid] = task
        task.awaited_by[attempt_id] = attempt
        if attempt.state == "assigned":
            self._suspend(attempt)

    def on_attempt_stopped_awaiting(self, attempt_id: int, uid: int) -> None:
        """A running function has given up waiting for a task."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None or not attempt.awaits or uid not in attempt.awaits:
            return
        task = attempt.awaits.pop(uid)
        assert task.awaited_by is not None
        del task.awaited_by[attempt_id]
        if not attempt.awaits and attempt.state == "suspended":
            self._resume(attempt)

    def on_attempt_stopped(self, attempt_id: int, now: float) -> None:
        """An attempt that was told to stop has ended, or was never begun."""
        attempt = self.attempts.get(attempt_id)
        if attempt is not None:
            attempt.worker.quiet_since = now
            self._end_attempt(attempt, "stopped")

    def on_attempt_overdue(self, attempt_id: int, now: float) -> None:
        """A plain function has run past its time limit, and only its process's end can stop it."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None or not attempt.is_wanted:
            return
        task = attempt.task
        self._cut_off(attempt)
        self._fail_or_retry(attempt, TimedOut(task.spec.timeout_seconds or 0.0), now)
        if attempt.state != "cancelling":  # else the end of its task has stopped it
            self._stop(attempt)

    def on_attempt_checked(self, attempt_id: int, seconds: float | None, now: float) -> None:
        """An attempt was found to have run for so long, or not to run (None)."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return
        if not attempt.is_wanted:
            self._stop_late(attempt, is_running=seconds is not None, now=now)
            return
        task = attempt.task
        limit = (task.spec.timeout_seconds or 0.0) + _limit_slack(task)
        if seconds is None or seconds < limit:
            when = now + max(limit - (seconds or 0.0), LIMIT_SLACK_SECONDS)
            heapq.heappush(self._limit_checks, (when, attempt_id))
            return
        self.on_attempt_overdue(attempt_id, now)
        self._kill(attempt.worker)  # it had its grace, and cannot even answer

    def on_attempts_given_back(
        self, worker_id: int, attempt_ids: Sequence[int], now: float
    ) -> None:
        """A worker returns attempts that it has not begun; nobody is to blame.

        It answers each `RecallAttempts` with this, even if it has nothing to give back.
        """
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        if len(attempt_ids) >= worker.recalling:
            worker.has_begun_all = False  # there may be more where these come from
        worker.recalling = 0
        worker.quiet_since = now
        # From behind, because each goes to the front of the queue.
        for attempt_id in reversed(attempt_ids):
            attempt = self.attempts.get(attempt_id)
            if attempt is not None:
                self._give_back(attempt)

    def on_follower_given_back(self, attempt_id: int) -> None:
        """A worker gives back what follows others: it came too late, or is to wait for more."""
        attempt = self.attempts.get(attempt_id)
        if attempt is not None:
            self._give_back(attempt)

    def _give_back(self, attempt: AttemptRecord) -> None:
        self._end_attempt(attempt, "given back unbegun")
        attempt.worker.given -= 1
        self._stop_followers(attempt)
        self._queue_again(attempt, "given back unbegun", begun=False)

    # ---- workers ----------------------------------------------------------------------------

    def on_worker_ready(self, worker_id: int, now: float) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None:
            worker.is_ready = True
            worker.quiet_since = now

    def on_worker_start_failed(self, worker_id: int, text: str) -> None:
        """A worker's import or `setup` failed: its loop is broken, and so are the loop's tasks."""
        worker = self._remove_worker(worker_id)
        if worker is not None:
            self._break_loop(worker.loop, text)

    def on_worker_worn(self, worker_id: int) -> None:
        """A worker should be replaced: it gets no more attempts, and goes when it holds none.

        One that has not been given any gets one first.
        """
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        if worker.given:
            self._retire(worker)
        else:
            worker.tasks_max = 1  # else there would be no end of new ones

    def on_worker_lost(self, worker_id: int, end: WorkerEnd, now: float) -> None:
        """A worker is gone with everything it held."""
        worker = self._remove_worker(worker_id)
        if worker is None:
            return
        lost = list(worker.held.values())
        stopped = {attempt.task for attempt in lost if attempt.state == "cancelling"}
        killed_for = {attempt for attempt in lost if attempt.has_to_do_with(stopped)}
        # All of them before any task ends, so that nothing more is told to attempts of this worker.
        for attempt in lost:
            self._end_attempt(attempt, "worker lost")
        for attempt in reversed(lost):
            self._lose_attempt(attempt, worker, end, attempt in killed_for)
        if not worker.is_stopping:
            self._count_loss(worker, end, now, had_work=bool(lost))

    def _remove_worker(self, worker_id: int) -> WorkerRecord | None:
        worker = self.workers.pop(worker_id, None)
        if worker is not None:
            del worker.loop.workers[worker_id]
            self._retiring.pop(worker_id, None)
            if worker.loop.reserved is worker:
                worker.loop.reserved = None
        return worker

    def _lose_attempt(
        self, attempt: AttemptRecord, worker: WorkerRecord, end: WorkerEnd, was_killed_for: bool
    ) -> None:
        """Put the task of a lost attempt back, or give it up.

        Args:
            was_killed_for: the worker was killed to stop what this attempt awaited there.
        """
        task, attempt_id = attempt.task, attempt.attempt_id
        was_running = end.running is None or attempt_id in end.running
        has_begun = (
            was_running or attempt.has_awaited or end.begun is None or attempt_id in end.begun
        )
        worker.has_begun = worker.has_begun or has_begun
        blamed_for = None
        if attempt.is_wanted and has_begun:
            if task.state == "waiting":  # it followed what ended with the worker, unreported
                task.attempts += 1
            told = msgspec.structs.replace(
                end, running=None, begun=None
            )  # what people want to know
            self._cut_off(attempt)
            self._remember(attempt, told)
            if worker.is_stopping:  # to stop one attempt; it takes innocent ones with it
                task.losses_beside += was_killed_for
            elif was_running and (end.was_alone or task.losses < LOSSES_MAX - 1):
                task.losses += 1
            else:
                task.losses_beside += was_running or attempt.has_awaited
            if task.losses >= LOSSES_MAX or task.losses_beside >= LOSSES_BESIDE_MAX:
                blamed_for = told
        self._queue_again(attempt, "worker lost", begun=has_begun, blamed_for=blamed_for)

    def _count_loss(
        self, worker: WorkerRecord, end: WorkerEnd, now: float, *, had_work: bool
    ) -> None:
        """Put off the start of the next worker, or give the loop up."""
        loop = worker.loop
        self.workers_lost += 1
        loop.losses_in_row += 1
        loop.start_after = now + restart_delay(loop.losses_in_row)
        if not worker.has_begun and (had_work or not worker.is_ready):
            loop.failed_starts += 1
            if loop.failed_starts >= FAILED_STARTS_MAX:
                text = f"{loop.failed_starts} workers in a row were lost before they began anything"
                stderr = f"\n{end.stderr}" if end.stderr else ""
                self._break_loop(loop, f"{text}: {end.how}{stderr}")

    # ---- once per batch ---------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Give ready tasks to workers, start workers, and say which graphs ended or stalled.

        Take the commands before the next event: it may end a task that is about to be sent.
        """
        if self._touched:
            self._check_graphs()  # first, because to cancel a stalled one changes who holds a slot
        if self._retries:
            self._queue_retries(now)
        for loop in self.loops.values():
            first_id = self._last_attempt_id + 1
            if loop.has_ready or loop.reserved is not None:
                self._hand_out(loop, now)
            for worker in loop.workers.values():
                if worker.tails and worker.takes_attempts:
                    self._send_followers(worker, first_id, now)
            if loop.failure is None:
                for index in workers_to_start(loop, now):
                    self.start_worker(loop, index)
                if loop.start_after is not None and loop.start_after <= now:
                    loop.start_after = None
            for worker, number in recall_due(loop, now):
                worker.recalling = number
                worker.has_begun_all = True  # until the answer, or more work, says otherwise
                self._commands.append(do.RecallAttempts(worker, number))
        for worker in self._retiring.values():
            if not worker.held and not worker.is_stopping:
                worker.is_stopping = True
                self._commands.append(do.RetireWorker(worker))
        if self._stopping or self._stop_deadlines:
            self._watch_stops(now)
        if self._limit_checks:
            self._watch_limits(now)

    def _hand_out(self, loop: LoopRecord, now: float) -> None:
        """Give ready tasks to workers."""
        can_be_followed = not loop.is_local and loop.tasks_max is None
        for worker, task, expected in fill(loop, self.durations):
            attempt = self._assign(task, worker, expected, now)
            task.attempts += 1
            move_task(task, "given to a worker")
            self._commands.append(do.StartAttempt(attempt))
            if task.successors and can_be_followed:
                worker.tails.append(attempt)

    def _send_followers(self, worker: WorkerRecord, first_id: int, now: float) -> None:
        """Have a worker's attempts followed by what may travel with them, while there is room.

        Args:
            first_id: attempts from this id on are not sent yet.
        """
        tails = worker.tails
        while tails:
            tail = tails.popleft()
            if tail.state != "following" and tail.attempt_id < first_id:
                continue  # it may have ended in the worker
            found = find_follower(tail, first_id, self.durations)
            if found is None:
                continue
            if not has_room_ahead(worker, found.expected_seconds):
                tails.appendleft(tail)
                return
            seconds = OVERHEAD_SECONDS + found.expected_seconds
            following = self._assign(found.task, worker, seconds, now, found.follows)
            self._commands.append(do.StartAttempt(following))
            if found.task.successors:
                tails.append(following)

    def start_worker(self, loop: LoopRecord, index: int) -> WorkerRecord:
        """Have the worker with this index started (it must not exist)."""
        worker = WorkerRecord(next(self._worker_ids), loop, index)
        self.workers[worker.worker_id] = loop.workers[worker.worker_id] = worker
        self._commands.append(do.StartWorker(worker))
        return worker

    def next_deadline(self) -> float | None:
        """When `settle` has something to do even if nothing happens; None for never."""
        heaps = (self._stop_deadlines, self._limit_checks, self._retries)
        times = [heap[0][0] for heap in heaps if heap]
        for loop in self.loops.values():
            times += deadlines(loop)
        return min(times) if times else None

    # ---- conditions -------------------------------------------------------------------------

    def _add(self, task: TaskRecord) -> None:
        graph = task.graph
        if graph.tasks.setdefault(task.uid, task) is not task:
            raise InternalError(f"two tasks of graph {graph.name!r} have the number {task.uid}")
        graph.counts["waiting"] += 1
        if graph.moves is not None:
            graph.moves.append(Move(task, "created", "waiting", None, 0))
        graph.unfinished += 1

    def _settle_condition(self, task: TaskRecord) -> None:
        """Move a waiting task on if what has ended already decides its condition."""
        gate = task.gate
        if gate is None or gate.is_open:
            self._make_ready(task)
        elif gate.is_shut:
            self._end(task, "condition can no longer hold")

    def _make_ready(self, task: TaskRecord) -> None:
        move_task(task, "condition satisfied")
        loop = task.loop
        attempt = task.attempt
        if loop.failure is not None:
            self._end_unstartable(task)
        elif attempt is not None:  # it is where it is to run, and may have begun
            task.attempts += 1
            move_task(task, "given to a worker")
            attempt.state = next_attempt_state(attempt, "what it follows succeeded")
            attempt.worker.following -= 1
            attempt.follows = ()
        else:
            loop.queue_of(task).push(task, task.spec.priority)

    def _tail_call(self, attempt: AttemptRecord, returned: TaskRecord) -> None:
        """From now on, or at once, a task ends as the one that it returned."""
        task = attempt.task
        move_task(task, "function returned a task")
        self._stop_followers(attempt)
        if returned.returned_by is None:
            returned.returned_by = []
        returned.returned_by.append(task)
        if returned.state in TERMINAL:
            self._end(task, f"returned task {returned.state}", returned=returned)
        else:
            self._touched[task.graph.uid] = task.graph  # what it returned may be stuck already
            task.attempt = None
            task.returns = returned

    # ---- the end of a task ------------------------------------------------------------------

    def _end(
        self,
        task: TaskRecord,
        happening: str,
        *,
        spread: bool = True,
        returned: TaskRecord | None = None,
    ) -> None:
        """Bring a task to a terminal state, and with it whatever that decides.

        A worklist, not recursion: a chain of a hundred thousand skipped tasks is one call.

        Args:
            spread: False leaves the tasks that wait on it alone, for a caller who ends them too.
            returned: the ended task that this one had returned.
        """
        if task.state in TERMINAL:
            return
        self._end_one(task, happening, returned)
        if not spread or not (task.successors or task.returned_by):
            return
        pending: list[tuple[TaskRecord, str, TaskRecord | None]] = []
        while True:
            if task.returned_by is not None:
                pending.extend((t, f"returned task {task.state}", task) for t in task.returned_by)
            self._count_in_successors(task, pending)
            while pending:
                task, happening, returned = pending.pop()
                if task.state not in TERMINAL:
                    break
            else:
                return
            self._end_one(task, happening, returned)

    def _end_one(self, task: TaskRecord, happening: str, returned: TaskRecord | None) -> None:
        """Bring one task to a terminal state."""
        graph = task.graph
        if task.state == "ready":
            self._unqueue(task)
        move_task(task, happening)
        graph.unfinished -= 1
        self._touched[graph.uid] = graph
        self._detach(task, returned)
        self._commands.append(do.TaskEnded(task))
        if task.awaited_by is not None:
            for waiting in task.awaited_by.values():
                self._tell_awaited(waiting, task)
            task.awaited_by = None

    def _detach(self, task: TaskRecord, returned: TaskRecord | None) -> None:
        """Cut an ended task loose from its attempt, its arguments and the task it returned."""
        attempt = task.attempt
        if attempt is not None:
            task.attempt = None
            if attempt.state != "ended":
                if attempt.state != "following":
                    self._cut_off(attempt)
                self._stop(attempt)
        if task.state == "succeeded" or not task.graph.can_try_again:
            task.call = None
        if returned is not None:
            task.returns = returned
            task.failure = returned.failure
            task.skipped_because = returned.skipped_because

    def _count_in_successors(
        self, task: TaskRecord, lost: list[tuple[TaskRecord, str, TaskRecord | None]]
    ) -> None:
        """Count an ended task in its successors' gates: queue the ready ones, list the lost."""
        succeeded = task.state == "succeeded"
        for gate in task.successors:
            settled = gate.count(succeeded or gate.outcome == "completed")
            successor = gate.task
            if settled is None or successor.state != "waiting":
                continue
            if not settled:
                successor.skipped_because = task
                lost.append((successor, "condition can no longer hold", None))
            elif successor.loop.failure is None:
                self._make_ready(successor)
            else:
                move_task(successor, "condition satisfied")
                successor.failure = successor.loop.failure
                lost.append((successor, "worker loop cannot start", None))

    def _fail(self, attempt: AttemptRecord, failure: AttemptFailure) -> None:
        """End a task as failed, whatever its retries."""
        self._remember(attempt, failure)
        attempt.task.failure = failure
        self._end(attempt.task, "function raised")

    def _fail_or_retry(
        self, attempt: AttemptRecord, failure: Raised | TimedOut, now: float
    ) -> None:
        task = attempt.task
        retry = task.spec.retry
        may_retry = retry.is_timeout_retried or not isinstance(failure, TimedOut)
        if task.failures >= retry.retries or not may_retry:
            self._fail(attempt, failure)
            return
        self._remember(attempt, failure)
        self._stop_followers(attempt)
        task.failures += 1
        move_task(task, "function raised, retries left")
        task.attempt = None
        delay = retry_delay(retry, task.failures, attempt.attempt_id)
        if delay > 0.0 and task.loop.failure is None:
            task.retry_at = now + delay
            self._put_off[task.uid] = task
            heapq.heappush(self._retries, (task.retry_at, task.uid))
        else:
            self._requeue(task, first=False)

    def _queue_retries(self, now: float) -> None:
        """Queue the tasks whose retry was put off until now."""
        while self._retries and self._retries[0][0] <= now:
            when, uid = heapq.heappop(self._retries)
            task = self._put_off.get(uid)
            if task is not None and task.retry_at == when:
                del self._put_off[uid]
                task.retry_at = None
                self._requeue(task, first=False)

    def _unqueue(self, task: TaskRecord) -> None:
        """Take a ready task that ends out of whatever holds it until its turn."""
        if task.retry_at is not None:
            task.retry_at = None
            del self._put_off[task.uid]
        else:
            task.loop.queue_of(task).discard(task, task.spec.priority)

    def _remember(self, attempt: AttemptRecord, failure: AttemptFailure | WorkerEnd) -> None:
        task = attempt.task
        if task.history is None:
            task.history = []
        name, times = attempt.worker.name, task.times
        at: tuple[float | None, float | None, bool] = (None, None, False)
        if times is not None:
            at = (times.began_at, times.ran_until, times.was_cut_off)
        ended = EndedAttempt(attempt.attempt_id, task.attempts, name, failure, *at)
        task.history.append(ended)
        size = sum(each.size for each in task.history)
        while len(task.history) > HISTORY_MAX or (
            size > HISTORY_SIZE_MAX and len(task.history) > 1
        ):
            size -= task.history.pop(0).size

    def _cut_off(self, attempt: AttemptRecord) -> None:
        """Note when an attempt ended to count that will not report its end."""
        times = attempt.task.times
        if times is not None and not times.was_cut_off:  # as one that is past its limit was before
            times.cut_off(attempt, self._recording_clock())

    def _queue_again(
        self,
        attempt: AttemptRecord,
        happening: str,
        *,
        begun: bool,
        blamed_for: WorkerEnd | None = None,
    ) -> None:
        """Put a task back whose attempt ended without an outcome, or blame it for lost workers."""
        task = attempt.task
        if not attempt.is_wanted:
            return
        if task.state == "waiting":  # it followed others
            assert blamed_for is None, "what has lost a worker does not travel"
            task.attempt = None
            return
        if not begun:
            task.attempts -= 1
        if blamed_for is not None:
            losses = task.losses + task.losses_beside
            task.failure = LostTooOften(losses, task.attempts, blamed_for)
            task.loop.losses_in_row = 0  # this loss has brought something: a clear error
            self._end(task, "worker lost too often")
            return
        move_task(task, happening)
        task.attempt = None
        self._requeue(task, first=True)

    def _requeue(self, task: TaskRecord, *, first: bool) -> None:
        """Queue a task that has just become ready again."""
        loop = task.loop
        if loop.failure is not None:
            self._end_unstartable(task)
        elif first:
            loop.queue_of(task).push_first(task, task.spec.priority)
        else:
            loop.queue_of(task).push(task, task.spec.priority)

    # ---- attempts and workers, inside -------------------------------------------------------

    def _assign(
        self,
        task: TaskRecord,
        worker: WorkerRecord,
        expected: float,
        now: float,
        follows: tuple[AttemptRecord, ...] = (),
    ) -> AttemptRecord:
        """Give a task to a worker, to begin when there is a slot and what it follows has ended."""
        self._last_attempt_id += 1
        attempt = AttemptRecord(self._last_attempt_id, task, worker, expected, follows)
        if follows:
            worker.following += 1
            for followed in follows:
                if followed.followers is None:
                    followed.followers = [attempt]
                else:
                    followed.followers.append(attempt)
        if not worker.held:
            worker.quiet_since = now
        worker.has_begun_all = False
        worker.given += 1
        if worker.given == worker.tasks_max:
            self._retire(worker)
        if task.is_suspect:
            worker.suspects[attempt.attempt_id] = attempt
        self.attempts[attempt.attempt_id] = worker.held[attempt.attempt_id] = attempt
        worker.backlog_seconds += expected
        task.attempt = attempt
        if task.spec.timeout_seconds is not None and not worker.loop.is_local:
            when = now + task.spec.timeout_seconds + _limit_slack(task)
            heapq.heappush(self._limit_checks, (when, attempt.attempt_id))
        return attempt

    def _reported(self, attempt_id: int, seconds: float, now: float) -> AttemptRecord | None:
        """Take note of an attempt's end; None when the attempt no longer counts."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            self.stale_reports += 1
            return None
        worker, task = attempt.worker, attempt.task
        worker.quiet_since = now
        worker.has_begun = True
        worker.loop.failed_starts = worker.loop.losses_in_row = 0
        self._end_attempt(attempt, "reported its end")
        if task.attempt is not attempt:
            self.stale_reports += 1
            return None
        self.durations.learn(task.spec.kind, seconds)
        return attempt

    def _end_attempt(self, attempt: AttemptRecord, happening: str) -> None:
        worker = attempt.worker
        if attempt.state != "assigned":
            self._leave_state(attempt)
        attempt.state = next_attempt_state(attempt, happening)
        del self.attempts[attempt.attempt_id]
        del worker.held[attempt.attempt_id]
        if worker.suspects:
            worker.suspects.pop(attempt.attempt_id, None)
        if worker.held:
            worker.backlog_seconds -= attempt.expected_seconds
        else:
            worker.backlog_seconds = 0.0

    def _stop(self, attempt: AttemptRecord) -> None:
        """Have an attempt stopped that no task points at any more."""
        attempt.is_perhaps_unbegun = attempt.state == "following"
        self._leave_state(attempt)
        attempt.state = next_attempt_state(attempt, "asked to stop")
        attempt.task.attempt = None
        self._stopping.append(attempt)
        self._commands.append(do.StopAttempt(attempt))

    def _stop_followers(self, attempt: AttemptRecord) -> None:
        """Have those stopped that wait in the worker for a success that this attempt did not bring.

        Their tasks wait on, and so do those that follow these.
        """
        pending = [attempt]
        while pending:
            for follower in pending.pop().followers or ():
                if follower.state == "following":
                    self._stop(follower)
                    pending.append(follower)

    def _leave_state(self, attempt: AttemptRecord) -> None:
        """Take an attempt that ends or is to end out of the counts of its state."""
        if attempt.state == "suspended":
            self._forget_awaits(attempt)
            self._count_suspended(attempt, -1)
        elif attempt.state == "following":
            attempt.worker.following -= 1
            attempt.follows = ()

    def _watch_stops(self, now: float) -> None:
        """Have the workers killed that still run what they were told to stop long ago."""
        for attempt in self._stopping:
            if not attempt.worker.loop.is_local:
                is_async = attempt.task.spec.is_async
                grace = STOP_GRACE_SECONDS_ASYNC if is_async else STOP_GRACE_SECONDS
                heapq.heappush(self._stop_deadlines, (now + grace, attempt.attempt_id))
        self._stopping.clear()
        while self._stop_deadlines:
            when, attempt_id = self._stop_deadlines[0]
            late = self.attempts.get(attempt_id)
            if late is not None and when > now:
                break
            heapq.heappop(self._stop_deadlines)
            if late is None:
                continue
            if late.is_perhaps_unbegun:
                self._commands.append(do.CheckAttempt(late))
            else:
                self._kill(late.worker)

    def _stop_late(self, attempt: AttemptRecord, *, is_running: bool, now: float) -> None:
        """An attempt was told to stop when it followed others, and its worker has not answered.

        If it runs there is no other way than to end its worker. If not, the worker runs something
        else that keeps it from answering, and is not to be ended for that.
        """
        if not attempt.is_perhaps_unbegun:
            return  # a check of its time limit, from before
        if is_running:
            self._kill(attempt.worker)
        else:
            heapq.heappush(self._stop_deadlines, (now + STOP_GRACE_SECONDS, attempt.attempt_id))

    def _kill(self, worker: WorkerRecord) -> None:
        if not worker.is_stopping:
            worker.is_stopping = True
            self._commands.append(do.KillWorker(worker))

    def _retire(self, worker: WorkerRecord) -> None:
        worker.is_retiring = True
        self._retiring[worker.worker_id] = worker

    def _watch_limits(self, now: float) -> None:
        """Have those looked at that should have been reported as overdue by their worker."""
        while self._limit_checks:
            when, attempt_id = self._limit_checks[0]
            attempt = self.attempts.get(attempt_id)
            if attempt is not None and not attempt.is_wanted:
                attempt = None
            if attempt is not None and when > now:
                break
            heapq.heappop(self._limit_checks)
            if attempt is not None:
                self._commands.append(do.CheckAttempt(attempt))

    def _suspend(self, attempt: AttemptRecord) -> None:
        attempt.state = next_attempt_state(attempt, "awaits a task")
        attempt.has_awaited = True
        self._count_suspended(attempt, +1)

    def _resume(self, attempt: AttemptRecord) -> None:
        attempt.state = next_attempt_state(attempt, "awaits nothing more")
        self._count_suspended(attempt, -1)

    def _count_suspended(self, attempt: AttemptRecord, change: int) -> None:
        attempt.worker.suspended += change
        attempt.task.graph.suspended += change
        self._touched[attempt.task.graph.uid] = attempt.task.graph

    def _forget_awaits(self, attempt: AttemptRecord) -> None:
        for task in (attempt.awaits or {}).values():
            assert task.awaited_by is not None
            del task.awaited_by[attempt.attempt_id]
        attempt.awaits = None

    def _tell_awaited(self, attempt: AttemptRecord, task: TaskRecord) -> None:
        assert attempt.awaits is not None
        del attempt.awaits[task.uid]
        attempt.told = task
        self._commands.append(do.TellAwaited(attempt, task))
        if not attempt.awaits:
            self._resume(attempt)

    def _break_loop(self, loop: LoopRecord, text: str) -> None:
        if loop.failure is not None:
            return
        loop.failure = CannotStart(loop.name, text)
        self._commands.append(do.LoopFailed(loop))
        for queue in (loop.ready, loop.suspects):
            while queue:
                self._end_unstartable(queue.pop())
        for task in [task for task in self._put_off.values() if task.loop is loop]:
            self._end_unstartable(task)

    def _end_unstartable(self, task: TaskRecord) -> None:
        task.failure = task.loop.failure
        self._end(task, "worker loop cannot start")

    def _check_graphs(self) -> None:
        while self._touched:
            _, graph = self._touched.popitem()
            if graph.is_stalled:
                story = stall_story(graph)
                self._commands.append(do.GraphStuck(graph, story))
                self.on_graph_cancelled(graph)
            elif not graph.unfinished:
                self._commands.append(do.GraphEnded(graph))


def _limit_slack(task: TaskRecord) -> float:
    """How long past its limit a task may be before its worker is taken for unable to say so."""
    return STOP_GRACE_SECONDS_ASYNC if task.spec.is_async else LIMIT_SLACK_SECONDS
