"""Values to bytes and back, between the coordinator and its workers.

Plain pickle (protocol 5) does it whenever it can. cloudpickle takes over for what plain pickle
cannot name in another process: closures and lambdas, and whatever lives in `__main__`, which a
worker does not run again. That second case cannot be seen from an error, so the pickle is searched
for the name.

A `Task` among the arguments of a call is a data edge. It pickles as a call of `_input`, and while
arguments are encoded its uid is noted; while they are decoded, its result takes its place.
Everything else costs nothing extra, however deeply the tasks are nested. Where all arguments are
tasks and plain values, as in most small calls, the tasks are left out of the pickle, which has a
list of them instead; and where all are tasks, as in chains and reductions, there is no pickle at
all. That takes 1.5 us and 0.8 us instead of 4.6, and as much less at the other end.

Large values, if they may, go into shared memory, and what is left is a reference: see `buffers`.
Buffers, as those of numpy's arrays, are left out of the pickle then, and come back read-only.

An encoded value begins with a byte that tells its form:

    0x80  a pickle; of a call: (args,), (args, kwargs), or (args, None, where which input goes)
    0x01  a call with nothing but tasks: a byte for each argument, which input it is
    0x02  a reference to shared memory
    0x03  what would stand in shared memory, if there had been room

Pickle is only ever read from one's own workers, over the private link.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from trio_actor_graph.buffers import layout, windows
from trio_actor_graph.buffers.pool import SegmentPool
from trio_actor_graph.errors import GraphError, PayloadError

PAYLOAD_BYTES_MAX: Final = 1 << 30
"""The largest encoded value that travels over a link, 1 GiB: a frame's length field has 32 bits,
and two of these fit. In shared memory it may be larger (`buffers.pool.SHARED_MEMORY_PART`)."""

SHARED_BYTES_MIN: Final = 1 << 18
"""From which size on, 256 KiB, a buffer, or what is left of a value without its buffers, goes into
shared memory. That costs 0.1 ms whatever the size; less goes faster through the link."""

_PICKLE: Final = 0x80  # with which every pickle begins

_SEARCH_DEPTH_MAX: Final = 8


_PLAIN: Final = frozenset({type(None), bool, int, float})
"""What has no parts and can always be pickled; as can str and bytes, which may be large."""


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
    pool: SegmentPool | None = None,
) -> tuple[bytes, tuple[int, ...]]:
    """Encode the arguments of a call.

    Args:
        what: names the call in errors.
        function_ids: see `FunctionIds`.
        pool: where large ones go; without it they stay in the bytes.

    Returns:
        The bytes, empty for a call without arguments, and the uids of the tasks inside.

    Raises:
        PayloadError: something in them cannot be pickled; the message says what and where.
    """
    if not kwargs:
        if not args:
            return b"", ()
        if (encoded := encode_plain(args)) is not None:
            return encoded
    return encode_any_call(args, kwargs, what, function_ids, pool)


def encode_any_call(
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    what: str,
    function_ids: FunctionIds | None = None,
    pool: SegmentPool | None = None,
) -> tuple[bytes, tuple[int, ...]]:
    """`encode_call` for one that `encode_plain` has refused, or was not asked about."""
    noted: list[int] = []
    outer, _tasks.noted = _tasks.noted, noted  # a __reduce__ may come here once more
    large: list[pickle.PickleBuffer] | None = None if pool is None else []
    try:
        given = args if pool is None else _whole_arguments(args)
        data = _dumps((given, dict(kwargs)) if kwargs else (given,), noted, function_ids, large)
    except Exception as error:
        raise _call_error(args, kwargs, what, error) from error
    finally:
        _tasks.noted = outer
    data = _place(data, large, pool, "the arguments of ", what)
    return data, tuple(dict.fromkeys(noted))


def decode_call(
    data: bytes, results: Callable[[int], object], inputs: Sequence[int]
) -> tuple[tuple[object, ...], dict[str, Any]]:
    """Decode the arguments of a call, with results in the place of tasks.

    Args:
        data: what `encode_call` returned.
        results: gives the result of the task with a uid.
        inputs: the uids that `encode_call` returned, and perhaps more.
    """
    if not data:
        return (), {}
    if data[0] == _TASKS_MARK:
        return tuple([results(inputs[number]) for number in data[1:]]), {}
    outer, _tasks.results = _tasks.results, results
    try:
        call = decode_value(data)
    finally:
        _tasks.results = outer
    if len(call) < _PARTS_WITH_TASKS:
        return call[0], call[1] if len(call) > 1 else {}
    args, _, tasks = call
    for at, number in tasks:
        args[at] = results(inputs[number])
    return tuple(args), {}


_PARTS_WITH_TASKS: Final = 3  # of an encoded call from which tasks were left out
_TASKS_MARK: Final = 0x01  # begins a call with nothing but tasks; then which input, for each
_INPUTS_MAX: Final = 256  # that fit into a byte each


def encode_plain(args: tuple[object, ...]) -> tuple[bytes, tuple[int, ...]] | None:
    """Encode arguments that are plain values and tasks; None if there are others, or large ones."""
    tasks: list[tuple[int, int]] = []  # where one stands, and its uid
    for at, value in enumerate(args):
        if not _is_plain(value):
            if not isinstance(value, DataEdge):
                return None
            tasks.append((at, value.uid))
    if not tasks:
        data = pickle.dumps((args,), protocol=5)
        return (data, ()) if len(data) < SHARED_BYTES_MIN else None
    if len(args) == 1:
        return _FIRST_INPUT, (tasks[0][1],)
    inputs = tuple(dict.fromkeys([uid for _, uid in tasks]))
    numbers = {uid: number for number, uid in enumerate(inputs)}
    if len(tasks) == len(args) and len(inputs) <= _INPUTS_MAX:
        return bytes([_TASKS_MARK, *[numbers[uid] for _, uid in tasks]]), inputs
    others: list[object] = [*args]
    for at, _ in tasks:
        others[at] = None
    call = (others, None, [(at, numbers[uid]) for at, uid in tasks])
    data = pickle.dumps(call, protocol=5)
    return (data, inputs) if len(data) < SHARED_BYTES_MIN else None


_FIRST_INPUT: Final = bytes([_TASKS_MARK, 0])  # the arguments of every link of a chain


def encode_value(
    value: object,
    what: str,
    function_ids: FunctionIds | None = None,
    pool: SegmentPool | None = None,
) -> bytes:
    """Encode a value that holds no tasks, for instance a result.

    Args:
        pool: where a large one goes; without it it stays in the bytes.

    Raises:
        PayloadError: something in it cannot be pickled; the message says what and where.
    """
    if (plain := encode_plain_value(value)) is not None:
        return plain
    large: list[pickle.PickleBuffer] | None = None if pool is None else []
    try:
        data = _dumps(value if pool is None else _whole(value), None, function_ids, large)
    except Exception as error:
        path, part = _locate(value, what)
        raise PayloadError(_cannot(path, part, error)) from error
    return _place(data, large, pool, "", what)


def encode_plain_value(value: object) -> bytes | None:
    """Encode what has no parts, and always can be; None for others, and for large ones."""
    if _is_plain(value):
        data = pickle.dumps(value, protocol=5)
        if len(data) < SHARED_BYTES_MIN:
            return data
    return None


def _is_plain(value: object) -> bool:
    """Whether it has no parts, and does not show at once that it is large: that costs a copy."""
    if isinstance(value, (str, bytes)):
        return type(value) in (str, bytes) and len(value) < SHARED_BYTES_MIN
    return type(value) in _PLAIN


def decode_value(data: bytes) -> Any:
    """The value that `encode_value` was given; its type is the task's business, hence `Any`."""
    return pickle.loads(data) if data[0] == _PICKLE else windows.loads(data)


def decode_result(data: bytes, label: object) -> Any:
    """The value that a task has returned, for somebody who asks for it.

    Args:
        label: names the task in the error, as text.

    Raises:
        PayloadError: it cannot be decoded in this process, whatever that raises.
    """
    try:
        return decode_value(data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may even call sys.exit
        raise PayloadError(f"the result of {label} cannot be decoded: {brief(error)}") from error


class DataEdge:
    """What stands for the result of a task where it is among the arguments of a call."""

    __slots__ = ()

    @property
    def uid(self) -> int:
        """The number of the task."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return reduce_task(self.uid, self)


def reduce_task(uid: int, label: object) -> tuple[Callable[[int], object], tuple[int]]:
    """How a data edge is pickled, if arguments are being encoded.

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
    value: object,
    noted: list[int] | None,
    function_ids: FunctionIds | None = None,
    large: list[pickle.PickleBuffer] | None = None,
) -> bytes:
    """The pickle of a value, without the large buffers in it if there is a list for them."""
    leave_out = None if large is None else _leave_out(large)
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=leave_out)
    except Exception:
        data = b"__main__"  # plain pickle could not: the same way on as for what it cannot name
    if b"__main__" not in data:
        return data
    from trio_actor_graph import by_value  # imports cloudpickle: only for those who need it

    if noted is not None:
        noted.clear()
    if large is not None:
        large.clear()
    return by_value.dumps(value, function_ids, leave_out)


def _leave_out(large: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    """What asks of each buffer whether it is to be in the pickle, and keeps it if not."""

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        with memoryview(buffer) as view:
            if view.nbytes < SHARED_BYTES_MIN:
                return True
        large.append(buffer)
        return False

    return is_small


class _Whole:
    """Stands for large bytes, which pickle would copy, and leaves them out of the pickle too."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray):
        self._value = value

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self._value), (pickle.PickleBuffer(self._value),)


def _whole(value: Any) -> Any:
    is_large = type(value) in (bytes, bytearray) and len(value) >= SHARED_BYTES_MIN
    return _Whole(value) if is_large else value


def _whole_arguments(args: tuple[object, ...]) -> tuple[object, ...]:
    """The same, but for what can be changed and may be somewhere else among them, too."""
    if bytes not in map(type, args):
        return args
    return tuple(_whole(value) if type(value) is bytes else value for value in args)


def _place(
    data: bytes,
    large: list[pickle.PickleBuffer] | None,
    pool: SegmentPool | None,
    part: str,
    what: str,
) -> bytes:
    """Put a value where it is to be: a large one into shared memory, if that is possible."""
    if pool is not None and (large or len(data) >= SHARED_BYTES_MIN):
        size = layout.layout_size(data, large or ())
        if size > pool.bytes_max:
            raise PayloadError(f"{part}{what}: {size:,} bytes, the limit is {pool.bytes_max:,}")
        reference = pool.put(data, large or ())
        if reference is not None:
            return reference
        if large:
            _check_size(size, part, what)
            return layout.as_bytes(data, large)
    _check_size(len(data), part, what)
    return data


def _check_size(size: int, part: str, what: str) -> None:
    if size > PAYLOAD_BYTES_MAX:
        raise PayloadError(f"{part}{what}: {size:,} bytes, the limit is {PAYLOAD_BYTES_MAX:,}")


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
