"""Results as JSON: what JSON can carry is sent, and what it cannot is refused by its type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
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
from trio_actor_graph.web.limits import RESULT_BYTES_MAX
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
    """The result of a task. With its answer it counts as asked for, as by `Task.result`.

    To wait for it does not: a client that waits would keep the app from learning of a failure.

    Raises:
        ProblemRaised: there is none, and never will be; or it cannot be told.
    """
    graph = seen.live
    # Also while it waits, because it is a reason to keep the result.
    handle = None if graph is None else graph.handle(task)
    if graph is not None and not task.is_ended and wait_seconds > 0:
        with trio.move_on_after(wait_seconds):
            await first_of(lambda: graph.wait_ended(task), server.stopping.wait)
    if graph is None or handle is None or graph.state == "closed":
        if task.state == "succeeded":
            raise ProblemRaised("result-released", "its graph has been closed")
        raise failure_problem(task)
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
        body = encode_result(task.uid, value, server.limits.result_bytes)
    except NotJson as error:
        raise ProblemRaised("not-json", f"the result of {task.label}: {error}") from error
    return Answer(body)


def encode_result(uid: int, value: Any, bytes_max: int = RESULT_BYTES_MAX) -> bytes:
    """A result as JSON.

    Raises:
        NotJson: JSON has nothing for a part of it, or it is too large.
    """
    try:
        body = _encoder.encode(Result(uid, value))
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("it is nested too deep, or holds itself") from None
    except Exception as error:
        raise NotJson(f"{type(error).__name__}: {error}") from error
    if len(body) > bytes_max:
        raise NotJson(_too_large(len(body), bytes_max))
    if type(value) not in _PLAIN:
        _check_whole(body)
    # It writes null for what is no number, and nobody could tell it from None.
    if b"null" in body and _has_nonfinite(value):
        raise NotJson(f"{_path_of_nonfinite(value)} is a float that JSON has no number for")
    return body


def _check_whole(body: bytes) -> None:
    """See that it is JSON: bytes that a `msgspec.Raw` holds were written as they are."""
    try:
        _whole.decode(body)
        body.decode()  # strings are passed over there
    except (ValueError, RecursionError) as error:
        raise NotJson(f"a msgspec.Raw in it is no JSON: {error}") from None


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
    encoded, bytes_max = seen.live.results.outcome(task).value, server.limits.result_bytes
    if encoded is not None and encoded_size(encoded) > bytes_max:
        text = _too_large(encoded_size(encoded), bytes_max)
        raise ProblemRaised("not-json", f"the result of {task.label}: {text}")


def _too_large(size: int, bytes_max: int) -> str:
    return f"it has {size:,} bytes; at most {bytes_max:,} are sent"


def _refuse(value: Any) -> Any:
    raise NotJson(f"JSON has nothing for {_type_name(type(value))}")


def _type_name(kind: type) -> str:
    try:
        return f"{kind.__module__}.{kind.__qualname__}"
    except Exception:  # noqa: BLE001  a metaclass may do anything
        return "a type without a name"


# What is looked through has been encoded, so it holds no cycle, and has no more parts than its JSON
# has bytes: there may be millions, and nothing is kept for those that were seen.


def _has_nonfinite(value: Any) -> bool:
    pending: list[Iterable[Any]] = [(value,)]
    while pending:
        for each in pending.pop():
            if type(each) in _PLAIN:
                continue
            if isinstance(each, float):
                if not math.isfinite(each):
                    return True
            elif isinstance(each, dict):
                pending.append(each.values())
            elif isinstance(each, _LISTS):
                pending.append(each)
            elif (fields := _fields(each)) is not None:
                pending.append([getattr(each, name, None) for name in fields])
    return False


def _path_of_nonfinite(value: Any) -> str:
    """Where the first float that is not finite is in a value that has one."""
    keys: list[tuple[str, Any]] = []
    levels = [_parts([value])]
    while levels:
        for form, key, each in levels[-1]:
            if isinstance(each, float) and not math.isfinite(each):
                path = [form.format(key) for form, key in [*keys, (form, key)][1:]]
                return f"it{''.join(path)}"
            if type(each) not in _PLAIN:
                keys.append((form, key))
                levels.append(_parts(each))
                break
        else:
            levels.pop()
            if keys:
                keys.pop()
    return "something in it"  # it was changed meanwhile


def _parts(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """What a value is made of: how a path tells the key or index of each, that, and itself."""
    if isinstance(value, dict):
        return (("[{!r:.40}]", key, each) for key, each in value.items())
    if isinstance(value, _LISTS):
        return (("[{}]", i, each) for i, each in enumerate(value))
    return ((".{}", name, getattr(value, name, None)) for name in _fields(value) or ())


def _fields(value: Any) -> tuple[str, ...] | None:
    """The names of what a struct, a dataclass or the like is made of; None for anything else."""
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__attrs_attrs__", None)
    if isinstance(names, dict):
        return tuple(names)
    return None if names is None else tuple(each.name for each in names)


_PLAIN: Final = frozenset({str, int, bool, type(None), bytes})
_LISTS: Final = (list, tuple, set, frozenset)
_encoder: Final = msgspec.json.Encoder(enc_hook=_refuse)
_whole: Final = msgspec.json.Decoder(msgspec.Raw)
