"""How a task ended, as it travels; and the exceptions made of it at either end."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trio_actor_graph.errors import (
    CycleError,
    GraphError,
    ResultStoreFull,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    TaskTimeout,
    TrioActorGraphError,
    WorkerLost,
    WorkerStartError,
)
from trio_actor_graph.graph.failures import (
    CannotStart,
    Failure,
    LostTooOften,
    Raised,
    Refused,
    StoreFull,
    TimedOut,
    WorkerEnd,
)
from trio_actor_graph.graph.states import TaskState
from trio_actor_graph.payload import decode_value, encode_value

TEXT_MAX: Final = 100_000
"""How many characters of an exception's message or traceback travel; more helps nobody."""


class TaskOutcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a task ended.

    Attributes:
        value: its encoded result, if it succeeded.
        failure: why it failed.
        cause: for a skipped task, how the task at the root of that ended.
        is_released: it succeeded, and its result is no longer kept.
    """

    uid: int
    name: str
    state: TaskState
    value: bytes | None = None
    failure: Failure | None = None
    cause: TaskOutcome | None = None
    is_released: bool = False


def outcome_error(outcome: TaskOutcome) -> TrioActorGraphError | None:
    """The exception that stands for an outcome; None if the task succeeded."""
    match outcome.state:
        case "succeeded":
            return None
        case "failed":
            assert outcome.failure is not None
            return failure_error(outcome.failure, outcome.uid, outcome.name)
        case "cancelled":
            return TaskCancelled(f"{_label(outcome)} was cancelled")
        case _:
            return _skipped_error(outcome)


def _skipped_error(outcome: TaskOutcome) -> TaskSkipped:
    cause = outcome.cause
    if cause is None:
        return TaskSkipped(f"{_label(outcome)} was skipped")
    ended = "was cancelled" if cause.state == "cancelled" else cause.state
    error = TaskSkipped(f"{_label(outcome)} was skipped because {_label(cause)} {ended}")
    error.__cause__ = outcome_error(cause)
    return error


def failure_error(failure: Failure, uid: int, name: str) -> TrioActorGraphError:
    """The exception that stands for a task's failure."""
    label = f"task {name!r} ({uid})"
    match failure:
        case Raised():
            error = TaskFailed(
                f"{label} failed: {failure.type_name}: {failure.text}",
                task_uid=uid,
                task_name=name,
                remote_traceback=failure.traceback,
            )
            error.__cause__ = rebuild(failure)
            return error
        case TimedOut(seconds):
            text = f"{label} ran longer than its timeout of {seconds:g} s and was stopped"
            return TaskTimeout(text, task_uid=uid, task_name=name)
        case LostTooOften(losses, attempts, end):
            text = f"{label} was running on {losses} workers that died, the last one: {end.how}"
            return worker_lost(text, end, attempts, uid, name)
        case CannotStart(loop, text):
            # What it comes down to stands at the end of a traceback, and is told first.
            frames, _, last = text.rstrip().rpartition("\n")
            return WorkerStartError(f"worker loop {loop!r} cannot start: {last}\n{frames}".rstrip())
        case Refused(message, is_cycle):
            refused = TaskFailed(f"{label} failed: {message}", task_uid=uid, task_name=name)
            refused.__cause__ = CycleError(message) if is_cycle else GraphError(message)
            return refused
        case StoreFull(size, stored, limit):
            text = (
                f"{label}: its result of {size:,} bytes has no room: its graph keeps {stored:,} of "
                f"at most {limit:,} bytes (stored_bytes_max)"
            )
            return ResultStoreFull(text, task_uid=uid, task_name=name)


def attempt_error(
    failure: Failure | WorkerEnd, number: int, uid: int, name: str
) -> TrioActorGraphError:
    """The exception that stands for what became of one attempt, counted from 1."""
    if isinstance(failure, WorkerEnd):
        text = f"attempt {number} of {name!r} (task {uid}) was lost: {failure.how}"
        return worker_lost(text, failure, number, uid, name)
    return failure_error(failure, uid, name)


def worker_lost(text: str, end: WorkerEnd, attempts: int, uid: int, name: str) -> WorkerLost:
    """The error that tells how a worker ended."""
    if end.stderr:
        text += f"\nIts last lines on stderr:\n{end.stderr.rstrip()}"
    error = WorkerLost(text, task_uid=uid, task_name=name)
    error.pid, error.exit_status = end.pid, end.status
    error.attempts, error.stderr = attempts, end.stderr
    return error


def rebuild(failure: Raised) -> BaseException | None:
    """The original exception, or None where it cannot be made again."""
    return None if failure.pickled is None else _unpickled(failure.pickled)


def describe_exception(exception: BaseException, *, frames_hidden: int = 0) -> Raised:
    """What a worker tells of an exception. Never raises, whatever the exception does.

    Args:
        frames_hidden: how many of the outermost frames are the worker's own.
    """
    return Raised(
        type_name=_type_name(type(exception)),
        text=_text(exception),
        traceback=_traceback(exception, frames_hidden),
        pickled=_pickled(exception),
    )


def _label(outcome: TaskOutcome) -> str:
    return f"task {outcome.name!r} ({outcome.uid})"


def _type_name(kind: type[BaseException]) -> str:
    try:
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        return _encodable(f"{module}{kind.__qualname__}")
    except BaseException:  # a metaclass may do anything
        return "an exception whose type cannot be named"


def _text(exception: BaseException) -> str:
    try:
        return _encodable(str(exception)[:TEXT_MAX])
    except BaseException as error:
        return f"<its __str__ raised {type(error).__name__}>"


def _traceback(exception: BaseException, frames_hidden: int) -> str:
    import traceback  # only needed once something has gone wrong

    trace = exception.__traceback__
    for _ in range(frames_hidden):
        trace = trace and trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(exception), exception, trace))
    except BaseException:
        text = (
            "".join(traceback.format_tb(trace))
            + f"{_type_name(type(exception))}: {_text(exception)}\n"
        )
    if len(text) > TEXT_MAX:
        half = TEXT_MAX // 2
        left_out = f"\n... {len(text) - 2 * half} characters left out ...\n"
        text = text[:half] + left_out + text[-half:]
    return _encodable(text)


def _encodable(text: str) -> str:
    """The text without lone surrogates, which names of files may hold and UTF-8 cannot."""
    return text.encode(errors="backslashreplace").decode()


def _pickled(exception: BaseException) -> bytes | None:
    """The exception's pickle, if another process can make it again from that.

    By its own way of pickling; or, since that fails for an ``__init__`` with arguments of its own,
    from its class, `args` and attributes, without calling ``__init__``.
    """
    for parts in (exception, (type(exception), exception.args, _attributes(exception))):
        try:
            data = encode_value(parts, "exception")
        except BaseException:  # noqa: S112  # the next way, or none
            continue
        if type(_unpickled(data)) is type(exception):
            return data if len(data) <= 10 * TEXT_MAX else None
    return None


def _unpickled(data: bytes) -> BaseException | None:
    try:
        parts: Any = decode_value(data)
        if isinstance(parts, tuple):
            kind, args, attributes = parts
            parts = kind.__new__(kind, *args)
            parts.__dict__.update(attributes)
    except BaseException:
        return None
    return parts if isinstance(parts, BaseException) else None


def _attributes(exception: BaseException) -> dict[str, object]:
    try:
        return dict(vars(exception))
    except BaseException:
        return {}
