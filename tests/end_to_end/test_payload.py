"""Core: values to bytes and back, what is said of those that cannot travel, and told exceptions."""

from __future__ import annotations

import dataclasses
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trio_actor_graph import payload
from trio_actor_graph.errors import GraphError, PayloadError
from trio_actor_graph.graph.failures import Raised
from trio_actor_graph.outcome import TEXT_MAX, describe_exception, rebuild
from trio_actor_graph.payload import decode_call, decode_value, encode_call, encode_value
from trio_actor_graph.task import Task


class Handle(Task[object]):
    """A task of nothing but a number."""

    __slots__ = ("_uid",)

    def __init__(self, uid: int):
        self._uid = uid

    @property
    def uid(self) -> int:
        return self._uid

    def __repr__(self) -> str:
        return f"<Task {self._uid}>"


@dataclasses.dataclass(frozen=True)
class Box:
    content: object
    more: object = None


class Slotted:
    __slots__ = ("content",)

    def __init__(self, content: object):
        self.content = content


LOCK = threading.Lock()


# Calls and the tasks in their arguments


def results(uid: int) -> object:
    return f"result {uid}"


def travel(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, Any]]:
    data, inputs = encode_call(args, kwargs, "task 'f'")
    return decode_call(data, results, inputs)


def test_a_call_without_arguments_is_no_bytes() -> None:
    """The most common call costs nothing."""
    assert encode_call((), {}, "task 'f'") == (b"", ())
    assert decode_call(b"", results, ()) == ((), {})


def test_arguments_arrive_as_they_were_given() -> None:
    """Positional and keyword arguments, copied: identical parts stay identical among themselves."""
    shared = [1]
    args, kwargs = travel(shared, Box(shared), a={2: shared}, args=3)
    assert (args, kwargs) == (([1], Box([1])), {"a": {2: [1]}, "args": 3})
    assert args[0] is not shared
    box: Any = args[1]
    assert args[0] is box.content is kwargs["a"][2]


def test_each_attempt_gets_arguments_of_its_own() -> None:
    """What one attempt does to its arguments, the next does not see."""
    data, _ = encode_call(([1],), {}, "task 'f'")
    (first,), _ = decode_call(data, results, ())
    first.append(2)  # type: ignore[attr-defined]
    assert decode_call(data, results, ()) == (([1],), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "uids", "received"),
    [
        ((Handle(1),), {}, (1,), (("result 1",), {})),
        ((), {"k": Handle(1)}, (1,), ((), {"k": "result 1"})),
        (
            ([Handle(2), {"a": (Handle(1),)}],),
            {},
            (2, 1),
            ((["result 2", {"a": ("result 1",)}],), {}),
        ),
        ((Box(Box([Handle(3)])),), {}, (3,), ((Box(Box(["result 3"])),), {})),
        (
            (Handle(1), Handle(1)),
            {"k": [Handle(1)]},
            (1,),
            (("result 1",) * 2, {"k": ["result 1"]}),
        ),
        (({Handle(1): Handle(2)},), {}, (1, 2), (({"result 1": "result 2"},), {})),
        (({Handle(1)},), {}, (1,), (({"result 1"},), {})),
    ],
    ids=["alone", "keyword", "nested", "dataclasses", "repeated", "mapping", "set"],
)
def test_a_task_stands_for_its_result(
    args: tuple[object, ...],
    kwargs: dict[str, object],
    uids: tuple[int, ...],
    received: tuple[tuple[object, ...], dict[str, object]],
) -> None:
    """Wherever it is, it is noted exactly once, and its result is in its place."""
    data, noted = encode_call(args, kwargs, "task 'f'")
    assert noted == uids
    assert decode_call(data, results, noted) == received


def test_tasks_are_noted_once_when_cloudpickle_takes_over() -> None:
    """Plain pickle notes some before it gives up at the lambda; they do not count twice."""

    class Local:
        def __init__(self) -> None:
            self.task = Handle(3)

    args = (Handle(1), lambda: 0, [Handle(2), Handle(1)], Local())
    data, noted = encode_call(args, {}, "task 'f'")
    assert noted == (1, 2, 3)
    (first, function, nested, local), _ = decode_call(data, results, noted)
    assert (first, function(), nested) == ("result 1", 0, ["result 2", "result 1"])  # type: ignore[operator]
    assert local.task == "result 3"  # type: ignore[attr-defined]


def test_a_task_deep_inside_is_found() -> None:
    """As deep as pickle itself goes."""
    value: object = Handle(7)
    for _ in range(200):
        value = [value]
    data, noted = encode_call((value,), {}, "task 'f'")
    assert noted == (7,)
    (inner,), _ = decode_call(data, results, noted)
    while isinstance(inner, list):
        (inner,) = inner
    assert inner == "result 7"


def test_a_task_cannot_travel_otherwise() -> None:
    """Only arguments of `create_task` may hold tasks; anywhere else it is said which one it was."""
    with pytest.raises(GraphError, match="<Task 5> stands inside something that is no argument"):
        pickle.dumps(Handle(5))
    with pytest.raises(PayloadError, match=r"the result of task 'f'\[1\].*<Task 5>"):
        encode_value([1, Handle(5)], "the result of task 'f'")
    data, _ = encode_call(([Handle(5)],), {}, "task 'f'")
    with pytest.raises(GraphError, match="the result of task 5"):
        pickle.loads(data)


def test_encoding_inside_encoding_does_not_mix_up_tasks() -> None:
    """An argument whose own pickling encodes a call leaves the outer call's tasks alone."""
    noted: list[object] = []

    class Nosy:
        def __reduce__(self) -> tuple[Any, ...]:
            noted.append(encode_call((Handle(9),), {}, "task 'inner'")[1])
            return str, ("nosy",)

    _, outer = encode_call((Handle(1), Nosy(), Handle(2)), {}, "task 'outer'")
    assert outer == (1, 2)
    assert noted[-1] == (9,)


def test_failing_leaves_no_trace() -> None:
    """After a refused call a task outside of arguments is still refused, and calls still work."""
    with pytest.raises(PayloadError):
        encode_call((Handle(1), LOCK), {}, "task 'f'")
    with pytest.raises(GraphError):
        pickle.dumps(Handle(1))
    data, _ = encode_call(([Handle(1)],), {}, "task 'f'")

    def missing(uid: int) -> object:
        raise LookupError(uid)

    with pytest.raises(LookupError):
        decode_call(data, missing, (1,))
    with pytest.raises(GraphError):
        pickle.loads(data)


# What cannot travel, and where it sat


def nest(value: object, levels: int) -> object:
    for _ in range(levels):
        value = [value]
    return value


def generate() -> Iterator[int]:
    yield 1


NO_LOCK = "a _thread.lock cannot be pickled (TypeError: cannot pickle '_thread.lock' object)"
NO_GENERATOR = (
    "a builtins.generator cannot be pickled (TypeError: cannot pickle 'generator' object)"
)
LOCKED = f" cannot be sent between processes: {NO_LOCK}"
LOCATIONS: dict[str, tuple[object, str]] = {
    "itself": (LOCK, LOCKED),
    "a generator": (generate(), f" cannot be sent between processes: {NO_GENERATOR}"),
    "a list": ([1, [LOCK]], f"[1][0]{LOCKED}"),
    "a tuple": ((1, LOCK), f"[1]{LOCKED}"),
    "a dict": ({"a": 1, "b": {3: LOCK}}, f"['b'][3]{LOCKED}"),
    "a dataclass": (
        Box(1, Box(LOCK)),
        f".more.content{LOCKED}",
    ),
    "an object": (
        SimpleNamespace(a=1, b=[SimpleNamespace(c=LOCK)]),
        f".b[0].c{LOCKED}",
    ),
    "a set": ({1, LOCK}, f"{{...}}{LOCKED}"),
    "all of them": (
        [{"k": (Box([SimpleNamespace(x=LOCK)]),)}],
        f"[0]['k'][0].content[0].x{LOCKED}",
    ),
    "a long key": (
        {"k" * 100: LOCK},
        f"['{'k' * 39}]{LOCKED}",
    ),
    "an object that shows nothing": (
        [Slotted(LOCK)],
        "[0]" + LOCKED.replace("a _thread.lock", f"a {__name__}.Slotted", 1),
    ),
    "deeper than is searched": (
        nest(LOCK, 20),
        "[0]" * 8 + LOCKED.replace("a _thread.lock", "a builtins.list", 1),
    ),
}


@pytest.mark.parametrize(("value", "told"), LOCATIONS.values(), ids=LOCATIONS.keys())
def test_what_cannot_travel_is_named_with_its_place(value: object, told: str) -> None:
    """The message leads to the smallest part at fault and names its type, for each kind of call."""
    with pytest.raises(PayloadError) as caught:
        encode_value(value, "the result of task 'f'")
    assert str(caught.value) == f"the result of task 'f'{told}"
    with pytest.raises(PayloadError) as caught:
        encode_call((0, value, 2), {"k": 3}, "task 'f'")
    assert str(caught.value) == f"task 'f': argument 2{told}"
    with pytest.raises(PayloadError) as caught:
        encode_call((Handle(1),), {"k": value}, "task 'f'")
    assert str(caught.value) == f"task 'f': argument 'k'{told}"


class RaisesWhenPickled:
    def __reduce__(self) -> str:
        raise RuntimeError("not me")


class RaisesAlways:
    """Nothing that is asked of it works."""

    def __reduce__(self) -> str:
        raise RuntimeError("not me")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __hash__(self) -> int:
        return 1


class RaisesWhenIterated(dict[str, object]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no iter")

    def items(self) -> Any:
        raise RuntimeError("no items")

    def __reduce__(self) -> str:
        raise RuntimeError("not me")


class ErrorWithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class RaisesUntellable:
    def __reduce__(self) -> str:
        raise ErrorWithoutText


ITSELF: list[object] = [LOCK]
ITSELF.append(ITSELF)

AWKWARD: dict[str, object] = {
    "pickling raises": RaisesWhenPickled(),
    "everything raises": RaisesAlways(),
    "everything raises, inside": [RaisesAlways()],
    "a key without repr": {RaisesAlways(): LOCK},
    "iterating raises": RaisesWhenIterated(a=LOCK),
    "the error has no text": RaisesUntellable(),
    "it contains itself": ITSELF,
    "too deep for pickle": nest(0, 100_000),
}


@pytest.mark.parametrize("value", AWKWARD.values(), ids=AWKWARD.keys())
def test_the_most_awkward_values_are_still_a_payload_error(value: object) -> None:
    """Looking for what is at fault must not fail itself."""
    with pytest.raises(PayloadError, match="the result of task 'f'"):
        encode_value(value, "the result of task 'f'")
    with pytest.raises(PayloadError, match="task 'f': argument 1"):
        encode_call((value,), {}, "task 'f'")


def test_the_cause_is_kept() -> None:
    """What pickle itself raised is the `__cause__`, for whoever has to look closer."""
    with pytest.raises(PayloadError) as caught:
        encode_call(([RaisesWhenPickled()],), {}, "task 'f'")
    assert repr(caught.value.__cause__) == "RuntimeError('not me')"


# Sizes


def test_a_value_beyond_the_limit_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is exact, and the message has both numbers."""
    monkeypatch.setattr(payload, "PAYLOAD_BYTES_MAX", 1000)
    monkeypatch.setattr(payload, "SHARED_BYTES_MIN", 900)  # it is far below the limit
    size = len(encode_value(b"", "x"))
    # A pickle of more than 255 bytes has three more bytes of length, and one of frame.
    for length in range(900, 1001):
        data = pickle.dumps(bytes(length), protocol=5)
        if len(data) <= 1000:
            assert encode_value(bytes(length), "x") == data
        else:
            with pytest.raises(PayloadError, match=r"^x: 1,0\d\d bytes, the limit is 1,000$"):
                encode_value(bytes(length), "x")
    assert size < 1000
    with pytest.raises(
        PayloadError, match=r"^the arguments of task 'f': 2,0\d\d bytes, the limit is"
    ):
        encode_call((bytes(1000),), {"k": bytes(1000)[:-1] + b"x"}, "task 'f'")


# Which pickle


def adding(number: int) -> Callable[[int], int]:
    def add(other: int) -> int:
        return number + other

    return add


@pytest.mark.parametrize("function", [lambda x: x + 1, adding(1)], ids=["lambda", "closure"])
def test_functions_without_a_name_travel_by_value(function: Callable[[int], int]) -> None:
    """cloudpickle takes what plain pickle cannot name."""
    assert decode_value(encode_value(function, "function"))(1) == 2


def test_only_those_who_need_it_import_cloudpickle() -> None:
    """Its import takes 20 ms in every worker; values of importable modules do without."""
    program = (
        "import sys, collections\n"
        "from trio_actor_graph.payload import *\n"
        "value = {'a': [collections.Counter, collections.Counter('x'), b'main']}\n"
        "assert decode_value(encode_value(value, 'x')) == value\n"
        "print('cloudpickle' in sys.modules)\n"
        "encode_value(lambda: 0, 'x')\n"
        "print('cloudpickle' in sys.modules)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert told.split() == ["False", "True"]


def test_what_lives_in_main_travels_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain pickle would name it, and another process has another `__main__`."""
    kind = type("OfMain", (), {"__module__": "__main__", "answer": 42})
    monkeypatch.setattr(sys.modules["__main__"], "OfMain", kind, raising=False)
    data = encode_value([kind()], "x")
    monkeypatch.delattr(sys.modules["__main__"], "OfMain")
    (again,) = decode_value(data)
    assert (again.answer, type(again)) == (42, kind)  # in the process it came from: the same class


# Told exceptions


class NeedsArguments(Exception):
    def __init__(self, first: object, *, second: object):
        super().__init__("both are needed")


class OtherClassOnArrival(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return ValueError, ("another",)


class ReduceRaises(Exception):
    def __reduce__(self) -> str:
        raise RuntimeError("not me")


class ReduceExits(Exception):
    def __reduce__(self) -> str:
        raise SystemExit(3)


class StrRaises(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class StrExits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class StrInterrupts(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class StrIsNoText(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


class Text(str):
    __slots__ = ()


class StrIsSubclass(Exception):
    def __str__(self) -> str:
        return Text("a text")


class ExitsOnArrival(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


class NotesAreNoList(Exception):
    def __init__(self) -> None:
        super().__init__("with notes")
        self.__notes__ = 7


class LyingAttributes(Exception):
    def __getattr__(self, name: str) -> object:
        raise SystemExit(name)


def deep_cause() -> Exception:
    error = ValueError("the outermost")
    at: BaseException = error
    for number in range(5000):
        at.__cause__ = ValueError(number)
        at = at.__cause__
    return error


def cyclic_cause() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def own_attribute() -> Exception:
    error = ValueError("itself")
    error.own = error  # type: ignore[attr-defined]
    return error


def deep_group() -> Exception:
    group: Exception = ValueError("innermost")
    for number in range(3000):
        group = ExceptionGroup(f"group {number}", [group])
    return group


EXCEPTIONS: dict[str, tuple[Callable[[], BaseException], str, str, bool]] = {
    "ordinary": (lambda: ValueError("text", 7), "ValueError", "('text', 7)", True),
    "of a module": (lambda: msgspec.ValidationError("x"), "msgspec.ValidationError", "x", True),
    "the system's": (
        lambda: FileNotFoundError(2, "No such file", "name"),
        "FileNotFoundError",
        "[Errno 2] No such file: 'name'",
        True,
    ),
    "an exit": (lambda: SystemExit(3), "SystemExit", "3", True),
    "an interrupt": (KeyboardInterrupt, "KeyboardInterrupt", "", True),
    "10 MB of text": (lambda: ValueError("x" * 10_000_000), "ValueError", "x" * TEXT_MAX, False),
    "needs arguments": (
        lambda: NeedsArguments(1, second=2),
        f"{__name__}.NeedsArguments",
        "both are needed",
        True,
    ),
    "unpicklable": (
        lambda: ValueError(LOCK),
        "ValueError",
        str(LOCK),
        False,
    ),
    "another on arrival": (
        lambda: OtherClassOnArrival("x"),
        f"{__name__}.OtherClassOnArrival",
        "x",
        True,
    ),
    "exits on arrival": (lambda: ExitsOnArrival("x"), f"{__name__}.ExitsOnArrival", "x", True),
    "reduce raises": (lambda: ReduceRaises("x"), f"{__name__}.ReduceRaises", "x", True),
    "reduce exits": (lambda: ReduceExits("x"), f"{__name__}.ReduceExits", "x", True),
    "str raises": (
        lambda: StrRaises("x"),
        f"{__name__}.StrRaises",
        "<its __str__ raised RuntimeError>",
        True,
    ),
    "str exits": (
        lambda: StrExits("x"),
        f"{__name__}.StrExits",
        "<its __str__ raised SystemExit>",
        True,
    ),
    "str interrupts": (
        lambda: StrInterrupts("x"),
        f"{__name__}.StrInterrupts",
        "<its __str__ raised KeyboardInterrupt>",
        True,
    ),
    "str is no text": (
        lambda: StrIsNoText("x"),
        f"{__name__}.StrIsNoText",
        "<its __str__ raised TypeError>",
        True,
    ),
    "str is a subclass": (lambda: StrIsSubclass(), f"{__name__}.StrIsSubclass", "a text", True),
    "notes are no list": (
        NotesAreNoList,
        f"{__name__}.NotesAreNoList",
        "with notes",
        True,
    ),
    "attributes exit": (lambda: LyingAttributes("x"), f"{__name__}.LyingAttributes", "x", True),
    "a deep cause": (deep_cause, "ValueError", "the outermost", True),
    "a cycle of causes": (cyclic_cause, "ValueError", "first", True),
    "an attribute of itself": (own_attribute, "ValueError", "itself", True),
    "a group": (
        lambda: ExceptionGroup("two", [ValueError(1), TypeError(2)]),
        "ExceptionGroup",
        "two (2 sub-exceptions)",
        True,
    ),
    "a group of groups of groups": (
        deep_group,
        "ExceptionGroup",
        "group 2999 (1 sub-exception)",
        False,
    ),
    "an interrupt in a group": (
        lambda: BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError(1)]),
        "BaseExceptionGroup",
        "two (2 sub-exceptions)",
        True,
    ),
}


def tell(error: BaseException) -> Raised:
    """`describe_exception`, such that an exit or interrupt out of it fails one test, not pytest."""
    try:
        return describe_exception(error)
    except BaseException as escaped:
        problem = f"describe_exception raised {type(escaped).__name__}"
    pytest.fail(problem, pytrace=False)


@pytest.mark.parametrize(
    ("make", "type_name", "text", "is_rebuilt"), EXCEPTIONS.values(), ids=EXCEPTIONS.keys()
)
def test_every_exception_can_be_told(
    make: Callable[[], BaseException], type_name: str, text: str, is_rebuilt: bool
) -> None:
    """Type, text and traceback arrive, cut, whatever it does when it is shown or pickled."""
    try:
        raise make()
    except BaseException as error:
        original = error
    told = tell(original)
    assert (told.type_name, told.text) == (type_name, text)
    assert type(told.text) is str
    assert type_name.rpartition(".")[2] in told.traceback
    assert "in test_every_exception_can_be_told" in told.traceback or len(told.traceback) > TEXT_MAX
    assert len(told.traceback) <= TEXT_MAX + 100
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=type(told)) == told
    again = rebuild(told)
    assert type(again) is (type(original) if is_rebuilt else type(None))
    if isinstance(original, BaseExceptionGroup) and isinstance(again, BaseExceptionGroup):
        assert list(map(repr, again.exceptions)) == list(map(repr, original.exceptions))


def test_text_that_no_encoding_knows_travels() -> None:
    """The name of a file may be no UTF-8; its error is told with what stands for those bytes."""
    try:
        open(b"/nowhere/\xff")  # noqa: SIM115, PTH123
    except FileNotFoundError as error:
        told = describe_exception(error)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=type(told)) == told
    assert r"/nowhere/" in told.text
    again = rebuild(told)
    assert isinstance(again, FileNotFoundError)
    assert again.filename == b"/nowhere/\xff"


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    """Where it began and what it came to are worth more than the middle."""
    try:
        raise ValueError("x" * 10_000_000 + "the end")
    except ValueError as error:
        told = describe_exception(error)
    assert told.traceback.startswith("Traceback (most recent call last)")
    assert told.traceback.endswith("the end\n")
    assert "characters left out" in told.traceback


def test_frames_of_the_machinery_can_be_hidden() -> None:
    """A user sees his own frames; asking for more than there are hides all, and does not fail."""

    def inner() -> None:
        raise ValueError("x")

    try:
        inner()
    except ValueError as error:
        one, all_hidden = (describe_exception(error, frames_hidden=n) for n in (1, 99))
    assert "in inner" in one.traceback
    assert "in test_frames" not in one.traceback
    assert all_hidden.traceback.strip() == "ValueError: x"


@pytest.mark.parametrize("pickled", [b"", b"rubbish", pickle.dumps(7), pickle.dumps(ValueError)])
def test_what_is_no_exception_is_not_rebuilt(pickled: bytes) -> None:
    """A pickle that cannot be read, or is of something else, means None."""
    told = describe_exception(ValueError("x"))
    assert rebuild(msgspec.structs.replace(told, pickled=pickled)) is None


def test_code_that_travels_by_value_keeps_the_name_of_its_file() -> None:
    """Tracebacks show it, and it tells copies of a function from functions that wrap it."""
    copy = decode_value(encode_value(lambda: 1, "function"))
    assert copy() == 1
    assert copy.__code__.co_filename == __file__


@pytest.mark.parametrize(
    "args",
    [
        (Handle(1),),
        (Handle(2), Handle(1), Handle(2)),
        tuple(Handle(uid % 300) for uid in range(1_000)),
        (Handle(2), 7, None, Handle(1), "text", Handle(2)),
        (7, b"bytes", 1.5, True),
        ([Handle(1)], 7),
        (Handle(1), [7]),
        ("x" * payload.SHARED_BYTES_MIN, Handle(2)),
    ],
)
def test_plain_arguments_and_others_are_decoded_alike(args: tuple[object, ...]) -> None:
    """With the results in the places of tasks, at whatever depth they stand."""

    def put(value: object) -> object:
        if isinstance(value, list):
            return [put(part) for part in value]
        return f"result {value.uid}" if isinstance(value, Handle) else value

    data, inputs = encode_call(args, {}, "task 'f'")
    uids = re.findall(r"<Task (\d+)>", repr(args))
    assert inputs == tuple(dict.fromkeys(map(int, uids)))
    assert decode_call(data, results, inputs) == (tuple(map(put, args)), {})
