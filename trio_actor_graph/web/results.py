"""Results as JSON: what JSON can carry is sent, and what it cannot is refused by its type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trio_actor_graph.buffers.segment import encoded_size
from trio_actor_graph.errors import (
    PayloadError,
    ResultReleased,
    TaskCancelled,
    TaskSkipped,
    TrioActorGraphError,
)
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.graph.stories import skip_cause
from trio_actor_graph.web.answers import Answer, json_answer
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.types import Pending, Result
from trio_actor_graph.web.views import error_type, failure_text, traceback_of
from trio_actor_graph.web.waiting import first_of

if TYPE_CHECKING:
    from trio_actor_graph.web.graphs import SeenGraph
    from trio_actor_graph.web.server import HttpServer


class NotJson(Exception):
    """A value that JSON cannot carry; the text says what of it."""


async def answer_result(
    server: HttpServer, seen: SeenGraph, task: TaskRecord, wait_seconds: float
) -> Answer:
    """The result of a task. It counts as asked for, as if the app had called `Task.result`.

    Raises:
        ProblemRaised: there is none, and never will be; or it cannot be told.
    """
    graph = seen.live
    if graph is None:
        if task.state == "succeeded":
            raise ProblemRaised("result-released", "its graph has been closed")
        raise failure_problem(task)
    handle = graph.handle(task)
    if not task.is_ended and wait_seconds > 0:
        with trio.move_on_after(wait_seconds):
            await first_of(lambda: graph.wait_result(task), server.stopping.wait)
    if not task.is_ended:
        return json_answer(Pending(task.uid, task.state), 202, {"Retry-After": "1"})
    if task.state == "succeeded":
        _check_size(server, seen, task)
    try:
        value = handle.result_nowait()
    except ResultReleased as error:
        raise ProblemRaised("result-released", str(error)) from error
    except PayloadError as error:
        raise ProblemRaised("not-json", str(error)) from error
    except TrioActorGraphError as error:
        raise failure_problem(task, error) from error
    try:
        body = encode_result(task.uid, value)
    except NotJson as error:
        raise ProblemRaised("not-json", f"the result of {task.label}: {error}") from error
    if len(body) > server.limits.result_bytes:
        raise _too_large(server, task, len(body))
    return Answer(body)


def encode_result(uid: int, value: Any) -> bytes:
    """A result as JSON.

    Raises:
        NotJson: JSON has nothing for a part of it.
    """
    try:
        body = _encoder.encode(Result(uid, value))
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("it is nested too deep, or holds itself") from None
    except Exception as error:
        raise NotJson(f"{type(error).__name__}: {error}") from error
    # It writes null for what is no number, and nobody could tell it from None.
    if b"null" in body and (path := _path_of_nonfinite(value)) is not None:
        raise NotJson(f"{path} is a float that JSON has no number for")
    return body


def failure_problem(task: TaskRecord, error: TrioActorGraphError | None = None) -> ProblemRaised:
    """The problem that tells how a task has ended that has no result."""
    if isinstance(error, TaskSkipped) or task.state == "skipped":
        cause = skip_cause(task)
        return ProblemRaised(
            "task-skipped",
            str(error) if error is not None else f"{task.label} was skipped",
            error_type="" if cause is None or cause.failure is None else error_type(cause.failure),
            traceback="" if cause is None else traceback_of(cause) or "",
        )
    if isinstance(error, TaskCancelled) or task.state == "cancelled":
        detail = f"{task.label} was cancelled" if error is None else str(error)
        return ProblemRaised("task-cancelled", detail)
    return ProblemRaised(
        "task-failed",
        f"{task.label}: {failure_text(task.failure)}",
        error_type=error_type(task.failure),
        traceback=traceback_of(task) or "",
    )


def _check_size(server: HttpServer, seen: SeenGraph, task: TaskRecord) -> None:
    assert seen.live is not None
    encoded = seen.live.results.outcome(task).value
    if encoded is not None and encoded_size(encoded) > server.limits.result_bytes:
        raise _too_large(server, task, encoded_size(encoded))


def _too_large(server: HttpServer, task: TaskRecord, size: int) -> ProblemRaised:
    bytes_max = server.limits.result_bytes
    return ProblemRaised(
        "not-json", f"the result of {task.label} has {size:,} bytes; at most {bytes_max:,} are sent"
    )


def _refuse(value: Any) -> Any:
    raise NotJson(f"JSON has nothing for {_type_name(type(value))}")


def _type_name(kind: type) -> str:
    try:
        return f"{kind.__module__}.{kind.__qualname__}"
    except Exception:  # noqa: BLE001  a metaclass may do anything
        return "a type without a name"


def _path_of_nonfinite(value: Any) -> str | None:
    """Where a float that is not finite is in a value that has been encoded; None for nowhere."""
    known: set[int] = set()
    pending: list[tuple[str, Any]] = [("it", value)]
    while pending:
        path, at = pending.pop()
        if isinstance(at, float) and not math.isfinite(at):
            return path
        if id(at) in known:
            continue
        if isinstance(at, dict):
            pending += [(f"{path}[{key!r:.40}]", each) for key, each in at.items()]
        elif isinstance(at, (list, tuple, set, frozenset)):
            pending += [(f"{path}[{i}]", each) for i, each in enumerate(at)]
        elif (fields := _fields(at)) is not None:
            pending += [(f"{path}.{name}", getattr(at, name, None)) for name in fields]
        else:
            continue
        known.add(id(at))
    return None


def _fields(value: Any) -> tuple[str, ...] | None:
    """The names of what a struct, a dataclass or the like is made of; None for anything else."""
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__attrs_attrs__", None)
    if isinstance(names, dict):
        return tuple(names)
    return None if names is None else tuple(each.name for each in names)


_encoder: Final = msgspec.json.Encoder(enc_hook=_refuse)
