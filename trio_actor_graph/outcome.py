"""How a task ended, as it travels; and the exceptions made of it at either end."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trio_actor_graph.errors import (
    GraphError,
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
    TimedOut,
)
from trio_actor_graph.graph.states import TaskState
from trio_actor_graph.payload import decode_value, encode_value

TEXT_MAX: Final = 100_000
"""How many characters of an exception's message or traceback travel; more helps nobody."""


class TaskOutcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a task ended.

    Attributes:
        value: its encoded result, if it succeeded.
        failure: why it failed; for a skipped task, why the task at the root of it failed.
        reason: for people, why a skipped or cancelled task did not run.
    """

    uid: int
    name: str
    state: TaskState
    value: bytes | None = None
    failure: Failure | None = None
    reason: str = ""


def outcome_error(outcome: TaskOutcome) -> TrioActorGraphError | None:
    """The exception that stands for an outcome; None if the task succeeded."""
    match outcome.state:
        case "succeeded":
            return None
        case "failed":
            assert outcome.failure is not None
            return failure_error(outcome.failure, outcome.uid, outcome.name)
        case "cancelled":
            return TaskCancelled(_label(outcome) + " was cancelled" + outcome.reason)
        case _:
            skipped = TaskSkipped(_label(outcome) + " was skipped " + outcome.reason)
            if outcome.failure is not None:
                skipped.__cause__ = failure_error(outcome.failure, outcome.uid, outcome.name)
            return skipped


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
        case LostTooOften(losses, how):
            text = f"{label} was running on {losses} workers that died, the last one: {how}"
            return WorkerLost(text, task_uid=uid, task_name=name)
        case CannotStart(loop, text):
            return WorkerStartError(f"worker loop {loop!r} cannot start:\n{text}")
        case Refused(message):
            refused = TaskFailed(f"{label} failed: {message}", task_uid=uid, task_name=name)
            refused.__cause__ = GraphError(message)
            return refused


def rebuild(failure: Raised) -> BaseException | None:
    """The original exception, or None where it cannot be made again."""
    if failure.pickled is None:
        return None
    try:
        exception = decode_value(failure.pickled)
    except Exception:
        return None
    return exception if isinstance(exception, BaseException) else None


def describe_exception(exception: BaseException, *, frames_hidden: int = 0) -> Raised:
    """What a worker tells of an exception. Never raises, whatever the exception does.

    Args:
        frames_hidden: how many of the outermost frames are the worker's own.
    """
    kind = type(exception)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return Raised(
        type_name=module + kind.__qualname__,
        text=_text(exception),
        traceback=_traceback(exception, frames_hidden),
        pickled=_pickled(exception),
    )


def _label(outcome: TaskOutcome) -> str:
    return f"task {outcome.name!r} ({outcome.uid})"


def _text(exception: BaseException) -> str:
    try:
        return str(exception)[:TEXT_MAX]
    except Exception as error:
        return f"<its __str__ raised {type(error).__name__}>"


def _traceback(exception: BaseException, frames_hidden: int) -> str:
    import traceback  # only needed once something has gone wrong

    trace = exception.__traceback__
    for _ in range(frames_hidden):
        trace = trace and trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(exception), exception, trace))
    except Exception:
        text = (
            "".join(traceback.format_tb(trace))
            + f"{type(exception).__name__}: {_text(exception)}\n"
        )
    if len(text) <= TEXT_MAX:
        return text
    half = TEXT_MAX // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _pickled(exception: BaseException) -> bytes | None:
    """The exception's pickle, if another process can make it again from that."""
    try:
        data = encode_value(exception, "exception")
        again: Any = decode_value(data)
    except Exception:
        return None
    return data if type(again) is type(exception) and len(data) <= 10 * TEXT_MAX else None
