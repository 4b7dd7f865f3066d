"""Which tasks made a run as long as it was.

Seen from its end: what ended last could not begin before something else was there, and that not
before something else again. A task can begin when the last of its predecessors has ended or, if it
was created later than that, when its creator (or the app) created it. What lies between that moment
and its begin is waiting: for a slot, for a worker to start, for attempts before. This is the method
of critical path analysis (Kelley and Walker, "Critical-path planning and scheduling", 1959) on what
has happened instead of on a plan.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from trio_actor_graph.graph.records import GraphRecord, TaskRecord

SHOWN_MAX: Final = 50
"""How many steps the text of a path shows: the rest in its middle is counted."""

Because = Literal["created by the app", "created by a task", "predecessor", "returned"]


class CriticalStep(NamedTuple):
    """One task of the path.

    Attributes:
        because: what it could not begin before: its creation, or the end of the step before.
        waited_seconds: from then until its last attempt began.
        seconds: how long that ran; for one that created the next, until it did so.
        attempts: how many there were; more than one explain waiting.
    """

    uid: int
    name: str
    worker: str
    because: Because
    waited_seconds: float
    seconds: float
    attempts: int


class CriticalPath(NamedTuple):
    """The tasks that made the run as long as it was, from the first to the one that ended last.

    While tasks run, the last one is that of them which has run for longest.

    Attributes:
        seconds: from the creation of the first to the end of the last, or until now if that still
            runs: the sum of the steps.
    """

    seconds: float
    steps: tuple[CriticalStep, ...]

    @property
    def waited_seconds(self) -> float:
        """How much of that nothing of the path ran."""
        return sum(step.waited_seconds for step in self.steps)

    def __str__(self) -> str:
        if not self.steps:
            return "no task has run"
        head = (
            f"{self.seconds:.3f} s in {len(self.steps)} steps, "
            f"of which {self.waited_seconds:.3f} s nothing of them ran"
        )
        lines = [head, "  waited      ran  task"]
        lines += map(_line, self.steps)
        if len(self.steps) > SHOWN_MAX:
            half = SHOWN_MAX // 2
            left_out = len(self.steps) - 2 * half
            lines[2 + half : -half] = [f"     ... {left_out} more steps ..."]
        return "\n".join(lines)


def critical_path(graph: GraphRecord, now: float) -> CriticalPath:
    """Find the path so far; without steps if nothing has run.

    Args:
        graph: its tasks, of which times are recorded.
        now: by the clock of these times.
    """
    running = [task for task in graph.tasks.values() if _is_running(task)]
    ran = [task for task in graph.tasks.values() if _has_run(task)]
    last = min(running, key=_begin, default=None) or max(ran, key=_end, default=None)
    steps: list[CriticalStep] = []
    end = until = 0.0
    if last is not None:
        end = until = now if running else _end(last)
    # Each task is met twice at most, for its creating and for its end. The bound is for records of
    # tasks that were tried again, which may have been made to wait for what they had created.
    while last is not None and len(steps) < 2 * len(graph.tasks):
        step, last, until = _step(last, until)
        steps.append(step)
    steps.reverse()
    return CriticalPath(end - until, tuple(steps))


def _step(task: TaskRecord, until: float) -> tuple[CriticalStep, TaskRecord | None, float]:
    """One step, which counts until then.

    Returns:
        The step, the task before it, and from when the one and until when the other counts.
    """
    if task.returns is not None and _has_run(task.returns) and _end(task.returns) <= until:
        since = _end(task.returns)
        waited = until - since
        step = CriticalStep(
            task.uid, task.spec.name, task.worker_name or "", "returned", waited, 0.0, 0
        )
        return step, task.returns, since
    began = min(_begin(task), until)
    before, because, since = _cause(task, began)
    since = min(since, began)
    step = CriticalStep(
        task.uid,
        task.spec.name,
        task.worker_name or "",
        because,
        began - since,
        until - began,
        task.attempts,
    )
    return step, before, since


def _cause(task: TaskRecord, began: float) -> tuple[TaskRecord | None, Because, float]:
    """What a task could not begin before: the task to blame, in what role, and when it was there.

    A predecessor that ended later was not waited for: its condition held without it.
    """
    created = task.created_at or began
    ended = [p for p in task.predecessors if p.ended_at is not None and p.ended_at <= began]
    latest = max(ended, key=_end, default=None)
    # By the same clock in another process, so a moment may separate cause and consequence.
    if latest is not None and _end(latest) >= created and _has_run(latest):
        return latest, "predecessor", _end(latest)
    if task.creator is not None and _has_run(task.creator):
        return task.creator, "created by a task", created
    return None, "created by the app", created


def _has_run(task: TaskRecord) -> bool:
    return task.began_at is not None and task.ended_at is not None


def _is_running(task: TaskRecord) -> bool:
    is_given = task.attempt is not None and task.attempt.given_at is not None
    return is_given and task.state == "running"


def _begin(task: TaskRecord) -> float:
    began_at = task.began_at if task.attempt is None else task.attempt.given_at
    assert began_at is not None
    return began_at


def _end(task: TaskRecord) -> float:
    assert task.ended_at is not None
    return task.ended_at


def _line(step: CriticalStep) -> str:
    tries = f", {step.attempts} attempts" if step.attempts > 1 else ""
    where = f" in {step.worker}" if step.worker else ""
    return (
        f"{step.waited_seconds:8.3f} {step.seconds:8.3f}  {step.name} ({step.uid})"
        f"{where}{tries}, {step.because}"
    )
