"""Values to bytes and back, between the coordinator and its workers.

Plain pickle (protocol 5) does it whenever it can. cloudpickle takes over for what plain pickle
cannot name in another process: closures and lambdas, and whatever lives in `__main__`, which a
worker does not run again. That second case cannot be seen from an error, so the pickle is searched
for the name.

A `Task` among the arguments of a call is a data edge. It pickles as a call of `_input`, and while
arguments are encoded its uid is noted; while they are decoded, its result takes its place.
Everything else costs nothing extra, however deeply the tasks are nested.

Pickle is only ever read from one's own workers, over the private link.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from trio_actor_graph.errors import GraphError, PayloadError

PAYLOAD_BYTES_MAX: Final = 1 << 30
"""The largest encoded value, 1 GiB: a frame's length field has 32 bits, and two of these fit."""

_SEARCH_DEPTH_MAX: Final = 8


class _Tasks(threading.local):
    """What `Task`s mean while this thread encodes or decodes arguments."""

    noted: list[int] | None = None
    results: Callable[[int], object] | None = None


FUNCTION_ID: Final = "__trio_actor_graph_function_id__"
"""The attribute by which a function's copy, pickled by value, tells coordinator and number of the
original, and its place, because functools.wraps hands attributes on to other functions."""

FunctionIds = Callable[[object], "tuple[int, int] | None"]
"""The numbers of a coordinator and of a function that it knows; copies of it carry them."""


_tasks = _Tasks()


def encode_call(
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    what: str,
    function_ids: FunctionIds | None = None,
) -> tuple[bytes, tuple[int, ...]]:
    """Encode the arguments of a call.

    Args:
        what: names the call in errors.
        function_ids: see `FunctionIds`.

    Returns:
        The bytes, empty for a call without arguments, and the uids of the tasks inside.

    Raises:
        PayloadError: something in them cannot be pickled; the message says what and where.
    """
    if not args and not kwargs:
        return b"", ()
    noted: list[int] = []
    outer, _tasks.noted = _tasks.noted, noted  # a __reduce__ may come here once more
    try:
        data = _dumps((args, dict(kwargs)) if kwargs else (args,), noted, function_ids)
    except Exception as error:
        raise _call_error(args, kwargs, what, error) from error
    finally:
        _tasks.noted = outer
    _check_size(data, f"the arguments of {what}")
    return data, tuple(dict.fromkeys(noted))


def decode_call(
    data: bytes, results: Callable[[int], object]
) -> tuple[tuple[object, ...], dict[str, Any]]:
    """Decode the arguments of a call, with `results(uid)` in the place of each task."""
    if not data:
        return (), {}
    outer, _tasks.results = _tasks.results, results
    try:
        args, *rest = pickle.loads(data)
    finally:
        _tasks.results = outer
    return args, rest[0] if rest else {}


def encode_value(value: object, what: str, function_ids: FunctionIds | None = None) -> bytes:
    """Encode a value that holds no tasks, for instance a result.

    Raises:
        PayloadError: something in it cannot be pickled; the message says what and where.
    """
    try:
        data = _dumps(value, None, function_ids)
    except Exception as error:
        path, part = _locate(value, what)
        raise PayloadError(_cannot(path, part, error)) from error
    _check_size(data, what)
    return data


def decode_value(data: bytes) -> Any:
    """The value that `encode_value` was given; its type is the task's business, hence `Any`."""
    return pickle.loads(data)


def decode_result(data: bytes, label: str) -> Any:
    """The value that a task has returned, for somebody who asks for it.

    Raises:
        PayloadError: it cannot be decoded in this process, whatever that raises.
    """
    try:
        return decode_value(data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may even call sys.exit
        raise PayloadError(f"the result of {label} cannot be decoded: {brief(error)}") from error


def reduce_task(uid: int, label: object) -> tuple[Callable[[int], object], tuple[int]]:
    """What `Task.__reduce__` returns: a data edge, if arguments are being encoded.

    Args:
        label: names the task in the error, as text.

    Raises:
        GraphError: a task is being pickled for any other purpose.
    """
    if _tasks.noted is None:
        raise GraphError(
            f"{label} stands inside something that is no argument of create_task: a task can be "
            "an argument, or be returned by itself, but cannot travel otherwise"
        )
    _tasks.noted.append(uid)
    return _input, (uid,)


def place_of(function: Any) -> tuple[str, int, str]:
    """Where a function was written; its copies share it, and what wraps it does not."""
    code = function.__code__
    return code.co_filename, code.co_firstlineno, code.co_name


def original_id(function: object, coordinator_id: int) -> int | None:
    """The number of the original, if this is a copy of a function that the coordinator knows."""
    mark = getattr(function, "__dict__", {}).get(FUNCTION_ID)
    if mark is None:
        return None
    (owner, number), place = mark
    return number if owner == coordinator_id and place == place_of(function) else None


def _input(uid: int) -> object:
    if _tasks.results is None:
        raise GraphError(f"the arguments hold the result of task {uid}, decoded outside of a task")
    return _tasks.results(uid)


def _dumps(
    value: object, noted: list[int] | None, function_ids: FunctionIds | None = None
) -> bytes:
    try:
        data = pickle.dumps(value, protocol=5)
    except Exception:
        data = b"__main__"  # plain pickle could not: the same way on as for what it cannot name
    if b"__main__" not in data:
        return data
    from trio_actor_graph import by_value  # imports cloudpickle: only for those who need it

    if noted is not None:
        noted.clear()
    return by_value.dumps(value, function_ids)


def _check_size(data: bytes, what: str) -> None:
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PayloadError(f"{what}: {len(data):,} bytes, the limit is {PAYLOAD_BYTES_MAX:,}")


# ---- telling what could not be pickled ----------------------------------------------------------


def _call_error(
    args: tuple[object, ...], kwargs: Mapping[str, object], what: str, error: Exception
) -> PayloadError:
    parts = {f"argument {i + 1}": a for i, a in enumerate(args)}
    parts |= {f"argument {name!r}": a for name, a in kwargs.items()}
    for where, argument in parts.items():
        if not _is_picklable(argument):
            path, part = _locate(argument, where)
            return PayloadError(f"{what}: {_cannot(path, part, error)}")
    return PayloadError(f"{what}: its arguments cannot be sent to a worker: {brief(error)}")


def _cannot(path: str, part: object, error: Exception) -> str:
    kind = type(part)
    return (
        f"{path} cannot be sent between processes: "
        f"a {kind.__module__}.{kind.__qualname__} cannot be pickled ({brief(error)})"
    )


def brief(error: BaseException) -> str:
    """An exception's type and the beginning of its text, whatever its `__str__` does."""
    try:
        text = str(error)
    except Exception:
        text = "its __str__ raised"
    return f"{type(error).__name__}: {text[:300]}"


def _locate(value: object, path: str) -> tuple[str, object]:
    """Go down to the smallest part that cannot be pickled, as far as parts can be looked at."""
    try:
        for _ in range(_SEARCH_DEPTH_MAX):
            for step, part in _parts(value):
                if not _is_picklable(part):
                    path, value = path + step, part
                    break
            else:
                break
    except Exception:
        return path, value
    return path, value


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r:.40}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("{...}", part) for part in value)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{f.name}", getattr(value, f.name, None)) for f in fields(value))
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type):
        yield from ((f".{name}", part) for name, part in vars(value).items())


def _is_picklable(value: object) -> bool:
    outer = _tasks.noted
    _tasks.noted = [] if outer is not None else None
    try:
        _dumps(value, _tasks.noted)
    except Exception:
        return False
    finally:
        _tasks.noted = outer
    return True
