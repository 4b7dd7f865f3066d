"""Records as the structs that are sent: reads, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from trio_actor_graph.clock import scheduler_seconds, unix_seconds_if
from trio_actor_graph.graph.conditions import AllOf, AnyCondition, Tasks
from trio_actor_graph.graph.failures import (
    CannotStart,
    LostTooOften,
    Raised,
    Refused,
    StoreFull,
    TimedOut,
    WorkerEnd,
)
from trio_actor_graph.graph.reading import condition_of, last_outcome
from trio_actor_graph.graph.records import AttemptRecord, TaskRecord, WorkerRecord
from trio_actor_graph.graph.stories import explain
from trio_actor_graph.logs import LogLine, cut
from trio_actor_graph.outcome import failure_error
from trio_actor_graph.web.types import (
    CONDITION_DEPTH_MAX,
    PAGE_MAX,
    AttemptInfo,
    HeldAttempt,
    LogEntry,
    TaskInfo,
    TasksCondition,
    TaskSummary,
    Worker,
)

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.statistics import WorkerStatistics

LINE_CHARACTERS_MAX: Final = 300
"""How much of an error is shown in a list."""

NAME_SHOWN_MAX: Final = 200
"""How much of a name is shown: as much as it may have when it comes over HTTP. The app may give
longer ones, and each is in every event and on every page."""


def shown_name(name: str) -> str:
    """A name as it is shown: with a mark if it was cut, and in characters that UTF-8 has."""
    return cut(name, NAME_SHOWN_MAX)


def task_summary(task: TaskRecord, now: float) -> TaskSummary:
    """A task in a list; `now` is of `time.perf_counter`."""
    state = task.state
    attempt = task.attempt
    is_running = state == "running" and attempt is not None
    began_at = attempt.given_at if is_running and attempt is not None else task.began_at
    seconds = task.ran_seconds
    if is_running and began_at is not None:
        seconds = max(0.0, now - began_at)
    creator = task.creator
    return TaskSummary(
        uid=task.uid,
        name=shown_name(task.spec.name),
        function=shown_name(task.spec.function),
        state=state,
        worker_loop=task.loop.name,
        attempt=task.attempts,
        worker=task.worker_name,
        created_at=unix_seconds_if(task.created_at),
        began_at=unix_seconds_if(began_at),
        ended_at=unix_seconds_if(task.ended_at),
        seconds=seconds,
        error=None if state in _WITHOUT_ERROR else first_line(task),
        creator=None if creator is None else creator.uid,
        predecessors=first_uids(task.predecessors),
        outcome=None if is_running or task.began_at is None else _ended_attempt_outcome(task),
    )


def _ended_attempt_outcome(task: TaskRecord) -> str | None:
    outcome = last_outcome(task)
    if outcome is None and task.history:
        return _outcome_of(task.history[-1].failure)
    return outcome


_WITHOUT_ERROR: Final = frozenset({"waiting", "ready", "running", "succeeded", "cancelled"})


def task_info(task: TaskRecord) -> TaskInfo:
    """All there is to know of a task."""
    condition = condition_of(task)
    waits_on, is_cut = (None, False) if condition is None else condition_view(condition)
    successors = dict.fromkeys(gate.task for gate in task.successors)
    return TaskInfo(
        task=task_summary(task, perf_counter()),
        graph_uid=task.graph.uid,
        priority=task.spec.priority,
        retries=task.spec.retry.retries,
        timeout_seconds=task.spec.timeout_seconds,
        waits_on=waits_on,
        successors=first_uids(successors),
        returned=None if task.returns is None else task.returns.uid,
        attempts=tuple(_attempts(task)),
        traceback=traceback_of(task),
        story=cut(explain(task, scheduler_seconds())),
        is_waits_on_cut=is_cut,
    )


def condition_view(condition: AnyCondition) -> tuple[TasksCondition, bool]:
    """A condition as a client would have written it, and whether it was cut.

    Below `CONDITION_DEPTH_MAX`, where a client could not have written it, stands an empty one. The
    app may nest conditions as deep as it likes, and encoding them is recursive, as is this.
    """
    is_cut = False

    def view(part: AnyCondition, depth: int) -> TasksCondition:
        nonlocal is_cut
        if isinstance(part, Tasks):
            return _leaf_view(part)
        if depth == CONDITION_DEPTH_MAX:
            is_cut = True
            return TasksCondition()
        parts = tuple([view(each, depth + 1) for each in part.parts])
        return (
            TasksCondition(all_of=parts)
            if isinstance(part, AllOf)
            else TasksCondition(any_of=parts)
        )

    return view(condition, 1), is_cut


def _leaf_view(condition: Tasks) -> TasksCondition:
    at_least = None if condition.at_least == len(condition.uids) else condition.at_least
    if condition.outcome == "succeeded":
        return TasksCondition(succeeded=condition.uids, at_least=at_least)
    return TasksCondition(completed=condition.uids, at_least=at_least)


def first_line(task: TaskRecord) -> str | None:
    """What went wrong, in a line; for a skipped task, which one before it ended how."""
    if task.state == "skipped":
        # Not the one at the root of it, which may be a long way off for each of many tasks.
        cause = task.skipped_because
        return None if cause is None else _cut(f"because {cause.label} is {cause.state}")
    return None if task.failure is None else _cut(failure_text(task.failure))


def failure_text(failure: object) -> str:
    """A failure in words, without its traceback."""
    match failure:
        case Raised(type_name, text):
            return f"{type_name}: {text}"
        case TimedOut(seconds):
            return f"TaskTimeout: it ran longer than {seconds:g} s"
        case LostTooOften(losses, _, end):
            return f"WorkerLost: {losses} workers died under it, the last one: {end.how}"
        case CannotStart(loop, text):
            last = text.rstrip().rpartition("\n")[2]
            return f"WorkerStartError: worker loop {loop!r} cannot start: {last}"
        case Refused(message):
            return f"GraphError: {message}"
        case StoreFull(size, _, limit):
            return f"ResultStoreFull: its result of {size:,} bytes has no room in {limit:,}"
        case WorkerEnd(how):
            return f"WorkerLost: {how}"
        case _:
            return str(failure)


def error_type(failure: object) -> str:
    """The name of the exception that a failure stands for."""
    return failure.type_name if isinstance(failure, Raised) else failure_text(failure).split(":")[0]


def traceback_of(task: TaskRecord) -> str | None:
    """The traceback of a failed task, as its worker has written it."""
    failure = task.failure
    if task.state != "failed" or failure is None:
        return None
    if isinstance(failure, Raised):
        return failure.traceback
    if isinstance(failure, CannotStart):
        return failure.text
    if isinstance(failure, LostTooOften):
        return str(failure_error(failure, task.uid, task.spec.name))
    return None


def worker_view(
    coordinator: Coordinator, worker: WorkerStatistics, record: WorkerRecord | None
) -> Worker:
    """A worker, with what it holds."""
    held = () if record is None else tuple(record.held.values())[:PAGE_MAX]
    cpu_seconds, memory_bytes = process_usage(worker.pid)
    return Worker(
        worker_id=worker.worker_id,
        name=f"{worker.worker_loop}/{worker.index}",
        worker_loop=worker.worker_loop,
        pid=worker.pid,
        is_ready=worker.is_ready,
        slots=worker.slots,
        held=worker.held,
        cpu_seconds=cpu_seconds,
        memory_bytes=memory_bytes,
        running=tuple(map(_running, held)),
    )


def log_entry(line: LogLine) -> LogEntry:
    """A line of a log."""
    return LogEntry(
        number=line.number,
        created_at=line.created,
        level=line.level,
        level_name=line.level_name,
        logger=line.logger,
        text=line.text,
        exception=line.exception,
        graph_uid=line.graph_uid,
        task_uid=line.task_uid,
        task_name=shown_name(line.task_name),
        attempt=line.attempt,
        worker=line.worker,
        pathname=line.pathname,
        line_number=line.line_number,
        extra=line.extra,
    )


def process_usage(pid: int | None) -> tuple[float | None, int | None]:
    """CPU seconds and resident bytes of a process; None where nobody can tell."""
    if pid is None:
        return None, None
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None, None
    # The name in parentheses may hold anything, also spaces and parentheses.
    fields = stat.rpartition(b")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def pid_of(coordinator: Coordinator, worker_id: int) -> int | None:
    """The process of a worker; None while it starts."""
    return next((w.pid for w in coordinator.workers if w.worker_id == worker_id), None)


def _running(attempt: AttemptRecord) -> HeldAttempt:
    task = attempt.task
    return HeldAttempt(
        graph_uid=task.graph.uid,
        task_uid=task.uid,
        name=shown_name(task.spec.name),
        attempt=max(1, task.attempts),
        given_at=unix_seconds_if(attempt.given_at),
        is_awaiting=attempt.state == "suspended",
    )


def _attempts(task: TaskRecord) -> Iterator[AttemptInfo]:
    for ended in task.history or ():
        failure = ended.failure
        yield AttemptInfo(
            number=ended.number,
            worker=ended.worker,
            began_at=unix_seconds_if(ended.began_at),
            ended_at=unix_seconds_if(ended.ended_at),
            outcome=_outcome_of(failure),
            error=failure.traceback if isinstance(failure, Raised) else failure_text(failure),
        )
    attempt = task.attempt
    if attempt is not None and task.state == "running":
        given_at = attempt.given_at
        yield AttemptInfo(
            number=max(1, task.attempts),
            worker=attempt.worker.name,
            began_at=unix_seconds_if(given_at),
            ended_at=None,
            outcome="running",
        )
    elif (outcome := last_outcome(task)) is not None:
        yield AttemptInfo(
            number=max(1, task.attempts),
            worker=task.worker_name,
            began_at=unix_seconds_if(task.began_at),
            ended_at=unix_seconds_if(task.ran_until),
            outcome=outcome,
        )


def _outcome_of(failure: object) -> str:
    if isinstance(failure, WorkerEnd):
        return "worker lost"
    return "timed out" if isinstance(failure, TimedOut) else "failed"


def first_uids(tasks: Iterable[TaskRecord]) -> tuple[int, ...]:
    """The uids of as many tasks as one page may have."""
    return tuple([task.uid for task in islice(tasks, PAGE_MAX)])


def _cut(text: str) -> str:
    line = text.strip().partition("\n")[0]
    # `cut` besides takes out what UTF-8 has no bytes for.
    return cut(line if len(line) <= LINE_CHARACTERS_MAX else f"{line[: LINE_CHARACTERS_MAX - 1]}…")
