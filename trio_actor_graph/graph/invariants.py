"""What is true of a scheduler between any two events, checked from scratch.

Slow on purpose: it recomputes every count. Tests call it after each event; a program may call it
when something looks wrong.
"""

from __future__ import annotations

from trio_actor_graph.errors import InternalError
from trio_actor_graph.graph.records import (
    LOSSES_MAX,
    AttemptRecord,
    GraphRecord,
    LoopRecord,
    TaskRecord,
    WorkerRecord,
)
from trio_actor_graph.graph.scheduler import Scheduler
from trio_actor_graph.graph.states import TASK_STATES


def check_invariants(scheduler: Scheduler) -> None:
    """Raise `InternalError` with the first broken rule."""
    for graph in scheduler.graphs.values():
        _check_graph(graph)
        for task in graph.tasks.values():
            _check_task(scheduler, task)
    for worker in scheduler.workers.values():
        _check_worker(scheduler, worker)
    for loop in scheduler.loops.values():
        _check_loop(scheduler, loop)
    held = {a for w in scheduler.workers.values() for a in w.held}
    _require(held == scheduler.attempts.keys(), "each attempt is held by exactly one worker")


def _require(holds: bool, rule: str, *about: object) -> None:
    if not holds:
        raise InternalError(f"broken rule: {rule} {' '.join(map(repr, about))}")


def _check_graph(graph: GraphRecord) -> None:
    states = [t.state for t in graph.tasks.values()]
    counts = {state: states.count(state) for state in TASK_STATES}
    _require(counts == graph.counts, "counts match the tasks", counts, graph.counts)
    unfinished = sum(not t.is_ended for t in graph.tasks.values())
    _require(unfinished == graph.unfinished, "unfinished counts what has not ended", graph.name)
    suspended = sum(
        t.attempt is not None and t.attempt.state == "suspended" for t in graph.tasks.values()
    )
    _require(suspended == graph.suspended, "suspended counts the suspended", graph.name)


def _check_task(scheduler: Scheduler, task: TaskRecord) -> None:
    label = task.label
    if task.attempt is None:
        _require(task.state != "running", "what runs has an attempt", label)
    else:
        if task.state == "waiting":
            _check_following(task.attempt)
        else:
            _require(task.state == "running", "what has an attempt runs or follows", label)
        current = scheduler.attempts.get(task.attempt.attempt_id)
        _require(current is task.attempt, "the attempt of a running task is known", label)
        _require(task.attempt.state not in ("cancelling", "ended"), "and it is wanted", label)
    is_put_off = scheduler.is_put_off(task)
    _require((task.retry_at is not None) == is_put_off, "what is put off has a time", label)
    _require(not is_put_off or task.state == "ready", "only what is ready is put off", label)
    _require(task.losses <= LOSSES_MAX, "losses are bounded", label)
    if task.is_ended:
        is_kept = task.state != "succeeded" and task.graph.can_try_again
        _require(is_kept or task.call is None, "arguments are kept for another try only", label)
        _require(not task.awaited_by, "nobody awaits an ended task", label)
    for attempt in (task.awaited_by or {}).values():
        _require(task.uid in (attempt.awaits or ()), "awaits agree", label)
    _require(task.failure is None or task.state == "failed", "only failed has a failure", label)
    _check_condition(task)


def _check_following(attempt: AttemptRecord) -> None:
    label = attempt.task.label
    _require(attempt.state == "following", "a waiting task's attempt follows others", label)
    missing = {task for task in attempt.task.predecessors if task.state != "succeeded"}
    followed = {a.task for a in attempt.follows if a.task.state != "succeeded"}
    _require(missing == followed, "it follows all that its task waits for", label)
    for other in attempt.follows:
        is_there = other.worker is attempt.worker and other.attempt_id < attempt.attempt_id
        _require(is_there, "it follows what went to its worker ahead of it", label)
        is_wanted = other.is_wanted or other.task.state == "succeeded"
        _require(is_wanted, "it follows what may yet succeed", label)


def _check_condition(task: TaskRecord) -> None:
    """A task waits exactly as long as its condition, evaluated afresh, is undecided."""
    gate = task.gate
    for predecessor in task.predecessors:
        for leaf in predecessor.successors:
            if leaf.task is task:
                # What is tried again ends twice, and a settled gate does not mind.
                counts_once = leaf.is_settled or leaf.hits + leaf.misses <= leaf.total
                _require(counts_once, "no input counts twice", task.label)
    if task.state == "waiting" and task.returns is None:
        _require(gate is not None, "what waits has a condition", task.label)
        assert gate is not None
        _require(not gate.is_open and not gate.is_shut, "what waits is undecided", task.label)
    if task.state in ("ready", "running", "succeeded"):
        _require(gate is None or gate.is_open, "nothing runs before its condition", task.label)
    if task.returns is not None and task.state == "waiting":
        _require(not task.returns.is_ended, "a returned task ends both", task.label)


def _check_worker(scheduler: Scheduler, worker: WorkerRecord) -> None:
    name = (worker.loop.name, worker.index)
    _require(worker.is_ready or not worker.held, "only a ready worker holds attempts", name)
    suspended = sum(a.state == "suspended" for a in worker.held.values())
    _require(suspended == worker.suspended, "suspended counts the worker's suspended", name)
    following = sum(a.state == "following" for a in worker.held.values())
    _require(following == worker.following, "following counts those that follow others", name)
    backlog = sum(a.expected_seconds for a in worker.held.values())
    _require(abs(backlog - worker.backlog_seconds) < 1e-6, "the backlog adds up", name)
    _require(worker.loop.workers.get(worker.worker_id) is worker, "its loop knows it", name)
    for attempt in worker.held.values():
        _require(attempt.worker is worker, "held attempts point back", name)
        _require(scheduler.attempts.get(attempt.attempt_id) is attempt, "and are known", name)


def _check_loop(scheduler: Scheduler, loop: LoopRecord) -> None:
    indexes = [w.index for w in loop.workers.values()]
    _require(len(indexes) == len(set(indexes)), "one worker per index", loop.name)
    queued = {*loop.ready.items(), *loop.suspects.items()}
    length = len(loop.ready) + len(loop.suspects)
    _require(len(queued) == length, "the queues know their length", loop.name)
    _require(all(t.is_suspect for t in loop.suspects.items()), "only suspects are set apart")
    _require(not any(t.is_suspect for t in loop.ready.items()), "and all of them")
    ready = {
        t
        for graph in scheduler.graphs.values()
        for t in graph.tasks.values()
        if t.state == "ready" and t.loop is loop and t.retry_at is None
    }
    _require(queued == ready, "what is ready is queued, and nothing else", loop.name)
