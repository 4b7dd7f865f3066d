"""Who waits on whom, found and told: cycles, stalls, the explanation of one task, unseen failures.

Readers only. Every walk is a loop with a worklist, because chains get long; every text is cut,
because graphs get large.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from trio_actor_graph.graph.failures import failure_line
from trio_actor_graph.graph.gates import Gate
from trio_actor_graph.graph.records import AttemptRecord, GraphRecord, TaskRecord

SHOWN_MAX: Final = 20
"""How many tasks one message names at most; enough to see the pattern."""

CAUSE_CHARACTERS_MAX: Final = 200
"""How much of a failure stands in a story: two lines of a terminal. `Task.error` has all of it."""


def wait_path(task: TaskRecord, *predecessors: TaskRecord) -> str:
    """The cycle that there would be if `task` waited on `predecessors`, as text; "" for none.

    A condition that could hold without the wait (any of two, n of m) counts as a wait all the same.
    """
    targets = dict.fromkeys(predecessors)
    # Both ways in step, and done when either has seen all it can: often one side is tiny. A loop of
    # ten thousand tail calls hangs a new task without predecessors to an ever longer tail, and a
    # fan-in built link by link hangs ever more tasks to one without successors.
    ahead = _walk([task], TaskRecord.waiting_successors)
    behind = _walk(targets, TaskRecord.waited_for)
    for successor, predecessor in zip(ahead, behind, strict=False):
        if successor in targets or predecessor is task:
            return _cycle(task, targets)
    return ""


def _cycle(task: TaskRecord, targets: Collection[TaskRecord]) -> str:
    came_from: dict[TaskRecord, TaskRecord | None] = {task: None}
    pending = [task]
    while pending:
        at = pending.pop()
        if at in targets:
            return _chain([task, *_back(came_from, at)])
        for successor in at.waiting_successors():
            if successor not in came_from:
                came_from[successor] = at
                pending.append(successor)
    return ""


def waiting_on(task: TaskRecord) -> Iterator[TaskRecord]:
    """The task, and everything that waits for it, directly or not."""
    return _walk([task], TaskRecord.waiting_successors)


def stall_story(graph: GraphRecord) -> str:
    """What waits on what in a graph where nothing can go on.

    Attempts that await come first: without one of them there is no stall.
    """
    unfinished = [t for t in graph.tasks.values() if not t.is_ended]
    unfinished.sort(key=lambda t: t.state != "running")
    lines = [f"{task.label} {_waits_for(task)}" for task in unfinished[:SHOWN_MAX]]
    if len(unfinished) > SHOWN_MAX:
        lines.append(f"... and {len(unfinished) - SHOWN_MAX} more")
    return f"graph {graph.name!r} is stalled:\n" + "\n".join(f"  {line}" for line in lines)


def explain(task: TaskRecord, now: float | None = None) -> str:
    """Why a task is in the state it is in.

    Args:
        now: the scheduler's time, to tell how long it is put off.
    """
    match task.state:
        case "waiting" if task.attempt is not None:
            return f"{task.label} {_waits_for(task)}, to run right after it{_where(task.attempt)}"
        case "waiting":
            return f"{task.label} {_waits_for(task)}"
        case "ready" if task.retry_at is not None:
            tries = counted(task.attempts, "attempt")
            return f"{task.label} has failed in {tries}{_last_cause(task)} {_put_off(task, now)}"
        case "ready":
            what = "a worker of its own" if task.is_suspect else "a slot"
            return (
                f"{task.label} is ready and waits for {what} of worker loop {task.loop.name!r}"
                f" ({_workers_text(task)})"
            )
        case "running":
            return f"{task.label} runs, attempt {task.attempts}{_where(task.attempt)}"
        case "skipped":
            return f"{task.label} was skipped {_because(task)}"
        case _:
            cause = "" if task.failure is None else f": {_cut(failure_line(task.failure))}"
            return f"{task.label} {_ended(task)} after {counted(task.attempts, 'attempt')}{cause}"


def counted(number: int, thing: str) -> str:
    """So many of something: "1 attempt", "3 attempts"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def skip_cause(task: TaskRecord) -> TaskRecord | None:
    """The task that failed or was cancelled at the root of a skip."""
    cause = task.skipped_because
    while cause is not None and cause.skipped_because is not None:
        cause = cause.skipped_because
    return cause


def unseen_failures(graph: GraphRecord) -> list[TaskRecord]:
    """The failed tasks that nobody has taken notice of.

    A failure is seen when its result was asked for, when a "completed" condition waits on the task
    or on one skipped because of it, or when another task ends as it (which then is the failure).
    """
    if not graph.counts["failed"]:
        return []
    noticed = {t for t in graph.tasks.values() if _is_noticed(t)}
    # Backwards from the skipped ones: forwards from each failure would visit shared tasks again and
    # again, which takes minutes where a thousand failures skip the same hundred thousand tasks.
    pending = [t for t in noticed if t.state == "skipped"]
    while pending:
        for cause in _causes(pending.pop()):
            if cause.state in ("failed", "skipped") and cause not in noticed:
                noticed.add(cause)
                if cause.state == "skipped":
                    pending.append(cause)
    return [t for t in graph.tasks.values() if t.state == "failed" and t not in noticed]


def is_failure_seen(failed: TaskRecord) -> bool:
    """Whether one failure has been taken notice of; see `unseen_failures`."""
    return any(map(_is_noticed, _walk([failed], _skipped_successors)))


def _skipped_successors(task: TaskRecord) -> Iterator[TaskRecord]:
    return (gate.task for gate in task.successors if gate.task.state == "skipped")


def _is_noticed(task: TaskRecord) -> bool:
    if task.state not in ("failed", "skipped"):
        return False
    return (
        task.is_seen
        or any(t.state == "failed" for t in task.returned_by or ())
        or any(gate.outcome == "completed" for gate in task.successors)
    )


def _causes(skipped: TaskRecord) -> Iterable[TaskRecord]:
    return skipped.predecessors if skipped.returns is None else (skipped.returns,)


def _walk(
    start: Iterable[TaskRecord], neighbours: Callable[[TaskRecord], Iterator[TaskRecord]]
) -> Iterator[TaskRecord]:
    """Each task that can be reached from `start`, itself included, once."""
    known: set[TaskRecord] = set()
    pending = [iter(start)]
    while pending:
        for task in pending[-1]:
            if task not in known:
                known.add(task)
                yield task
                pending.append(neighbours(task))
                break
        else:
            pending.pop()


def _where(attempt: AttemptRecord | None) -> str:
    if attempt is None:
        return ""
    awaits = f" and awaits {_labels(attempt.awaits.values())}" if attempt.awaits else ""
    return f" on worker {attempt.worker.name}{awaits}"


def _last_cause(task: TaskRecord) -> str:
    if not task.history:
        return ""
    return f" ({_cut(failure_line(task.history[-1].failure))})"


def _put_off(task: TaskRecord, now: float | None) -> str:
    """When the next attempt comes, where both times are known."""
    if now is None or task.retry_at is None:
        return "and is put off"
    return f"and is put off: the next one comes in {max(0.0, task.retry_at - now):.1f} s"


def _cut(text: str) -> str:
    is_long = len(text) > CAUSE_CHARACTERS_MAX
    return f"{text[:CAUSE_CHARACTERS_MAX]}..." if is_long else text


def _because(task: TaskRecord) -> str:
    cause = task.skipped_because
    if cause is None:
        return ""
    root = skip_cause(task) or cause
    via = "" if root is cause else f", because {root.label} {_ended(root)}"
    return f"because {cause.label} {_ended(cause)}{via}"


def _ended(task: TaskRecord) -> str:
    return {"cancelled": "was cancelled", "skipped": "was skipped"}.get(task.state, task.state)


def _waits_for(task: TaskRecord) -> str:
    if task.returns is not None:
        return f"ends as the task it returned, {_with_state(task.returns)}"
    if task.attempt is not None and task.attempt.awaits:
        return f"runs and awaits {_labels(task.attempt.awaits.values())}"
    gate = task.gate
    if gate is None:
        return f"is {task.state}"
    return f"waits for {_gate_text(task, gate)}"


def _gate_text(task: TaskRecord, root: Gate) -> str:
    """Each leaf that has not settled, with the tasks it still looks at."""
    open_inputs: dict[Gate, list[TaskRecord]] = {}
    for predecessor in task.predecessors:
        if predecessor.is_ended:
            continue
        for gate in predecessor.successors:
            if gate.task is task and not gate.is_settled:
                open_inputs.setdefault(gate, []).append(predecessor)
    parts = [
        f"{gate.needed - gate.hits} more of {len(tasks)} to have {gate.outcome}: {_labels(tasks)}"
        for gate, tasks in open_inputs.items()
    ]
    return "; ".join(parts) if parts else "nothing more"


def _workers_text(task: TaskRecord) -> str:
    workers = task.loop.workers.values()
    ready = sum(w.is_ready for w in workers)
    starting = len(workers) - ready
    queued = len(task.loop.ready) + len(task.loop.suspects)
    tasks = counted(queued, "task")
    return f"{counted(ready, 'worker')}, {starting} starting, {tasks} ready"


def _with_state(task: TaskRecord) -> str:
    return f"{task.label}, {task.state}"


def _labels(tasks: Iterable[TaskRecord]) -> str:
    tasks = list(tasks)
    shown = ", ".join(f"{t.label} [{t.state}]" for t in tasks[:SHOWN_MAX])
    return shown if len(tasks) <= SHOWN_MAX else f"{shown}, ... {len(tasks) - SHOWN_MAX} more"


def _chain(tasks: list[TaskRecord]) -> str:
    labels = [t.label for t in tasks]
    if len(labels) > SHOWN_MAX:
        half = SHOWN_MAX // 2
        labels[half:-half] = [f"... {len(labels) - SHOWN_MAX} more ..."]
    return " waits on ".join(labels)


def _back(
    came_from: dict[TaskRecord, TaskRecord | None], at: TaskRecord | None
) -> Iterator[TaskRecord]:
    while at is not None:
        yield at
        at = came_from[at]
