"""What no sane function raises or returns, each with what must arrive of it all the same.

Two tables of functions that run as tasks, `RAISED` and `RETURNED`. Whatever their functions do to
whoever shows, compares, encodes or decodes what comes out of them, is done on purpose.

Light imports only: the workers of the tests import this file.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from trio_actor_graph import Task, current_task

HERE = __name__

# Exceptions


class ShowsNothing(Exception):
    """Neither `str` nor `repr` can be had of it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ExitsWhenShown(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class ExitsWhenPickled(Exception):
    def __reduce__(self) -> Any:
        raise SystemExit(3)


class ExitsWhenMade(Exception):
    """It can be pickled, and making it again would end the process."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


class RaisesInApp(Exception):
    """It can be made again where it was raised, and nowhere else."""

    def __reduce__(self) -> Any:
        return _raise_elsewhere, (os.getpid(), str(self))


def _raise_elsewhere(pid: int, text: str) -> RaisesInApp:
    if os.getpid() != pid:
        raise ShowsNothing
    return RaisesInApp(text)


class NeedsKeywords(Exception):
    def __init__(self, *, left: str, right: str):
        self.left = left
        super().__init__(f"{left} and {right}")


class Odd(BaseException):
    pass


class Nested(Exception):
    """Its own way of pickling puts it into a group around itself."""

    def __reduce__(self) -> Any:
        return ExceptionGroup, ("not what was raised", [ValueError(1)])


def raise_shows_nothing() -> NoReturn:
    raise ShowsNothing


def raise_exits_when_shown() -> NoReturn:
    raise ExitsWhenShown("x")


def raise_exits_when_pickled() -> NoReturn:
    raise ExitsWhenPickled("x")


def raise_exits_when_made() -> NoReturn:
    raise ExitsWhenMade("x")


def raise_in_app_only() -> NoReturn:
    raise RaisesInApp("x")


def raise_needs_keywords() -> NoReturn:
    raise NeedsKeywords(left="this", right="that")


def raise_group_of_groups() -> NoReturn:
    inner = BaseExceptionGroup("inner", [SystemExit(1), GeneratorExit(), Odd("o")])
    raise BaseExceptionGroup("outer", [ValueError(1), inner])


def raise_untellable_group() -> NoReturn:
    raise ExceptionGroup("two", [ShowsNothing(), ValueError(threading.Lock())])


def raise_deep_group() -> NoReturn:
    group: Exception = ValueError("innermost")
    for _ in range(3_000):
        group = ExceptionGroup("group", [group])
    raise group


def raise_odd() -> NoReturn:
    raise Odd("o")


def raise_much_text() -> NoReturn:
    raise ValueError("x" * 10_000_000)


def raise_much_text_in_cause() -> NoReturn:
    raise KeyError("small") from ValueError("x" * 10_000_000)


def raise_cycle_of_causes() -> NoReturn:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def raise_cycle_of_contexts() -> NoReturn:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    first.__traceback__ = second.__traceback__ = None
    raise first


def raise_from_itself() -> NoReturn:
    error = ValueError("itself")
    error.__cause__ = error
    raise error


def raise_long_chain() -> NoReturn:
    error: Exception = ValueError(0)
    for number in range(1, 5_000):
        outer = ValueError(number)
        outer.__cause__ = error
        error = outer
    raise error


def raise_deep_recursion() -> NoReturn:
    raise_deep_recursion()


def raise_local_class() -> NoReturn:
    class Local(Exception):
        def __init__(self, code: int):
            super().__init__(f"code {code}")
            self.code = code

    raise Local(7)


def raise_with_lock() -> NoReturn:
    error = ValueError("holds a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def raise_with_traceback() -> NoReturn:
    try:
        raise KeyError("inner")
    except KeyError as inner:
        error = ValueError("holds a traceback")
        error.trace = inner.__traceback__  # type: ignore[attr-defined]
    raise error


def raise_with_task() -> NoReturn:
    raise ValueError(current_task())


def raise_other_on_arrival() -> NoReturn:
    raise Nested("x")


class Raises(NamedTuple):
    """A function that raises, and what its failure says.

    Attributes:
        text: how the exception's text begins.
        cause: the type that `__cause__` has, if it can be made again.
    """

    function: Callable[[], Any]
    type_name: str
    text: str
    cause: str | None


RAISED = [
    Raises(
        raise_shows_nothing,
        f"{HERE}.ShowsNothing",
        "<its __str__ raised RuntimeError>",
        "ShowsNothing",
    ),
    Raises(
        raise_exits_when_shown,
        f"{HERE}.ExitsWhenShown",
        "<its __str__ raised SystemExit>",
        "ExitsWhenShown",
    ),
    Raises(raise_exits_when_pickled, f"{HERE}.ExitsWhenPickled", "x", "ExitsWhenPickled"),
    Raises(raise_exits_when_made, f"{HERE}.ExitsWhenMade", "x", "ExitsWhenMade"),
    Raises(raise_needs_keywords, f"{HERE}.NeedsKeywords", "this and that", "NeedsKeywords"),
    Raises(
        raise_group_of_groups,
        "BaseExceptionGroup",
        "outer (2 sub-exceptions)",
        "BaseExceptionGroup",
    ),
    Raises(raise_untellable_group, "ExceptionGroup", "two (2 sub-exceptions)", None),
    Raises(raise_deep_group, "ExceptionGroup", "group (1 sub-exception)", None),
    Raises(raise_odd, f"{HERE}.Odd", "o", "Odd"),
    Raises(raise_much_text, "ValueError", "x" * 10_000, None),
    Raises(raise_much_text_in_cause, "KeyError", "'small'", "KeyError"),
    Raises(raise_cycle_of_causes, "ValueError", "first", "ValueError"),
    Raises(raise_cycle_of_contexts, "ValueError", "first", "ValueError"),
    Raises(raise_from_itself, "ValueError", "itself", "ValueError"),
    Raises(raise_long_chain, "ValueError", "4999", "ValueError"),
    Raises(
        raise_deep_recursion,
        "RecursionError",
        "maximum recursion depth exceeded",
        "RecursionError",
    ),
    Raises(
        raise_local_class,
        f"{HERE}.raise_local_class.<locals>.Local",
        "code 7",
        "Local",
    ),
    Raises(raise_with_lock, "ValueError", "holds a lock", None),
    Raises(raise_with_traceback, "ValueError", "holds a traceback", None),
    Raises(raise_with_task, "ValueError", "<CurrentTask 'raise_with_task' ", None),
    Raises(raise_other_on_arrival, f"{HERE}.Nested", "x", "Nested"),
]
"""What both engines tell alike."""


# Results


class RaisesWhenPickled:
    def __reduce__(self) -> Any:
        raise ShowsNothing


class ExitsAsPickled:
    def __reduce__(self) -> Any:
        raise SystemExit(3)


class LiesAboutItsClass:
    """What asks for its class runs into an error."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("of no class")

    def __reduce__(self) -> Any:
        raise RuntimeError("nor can it travel")


class NeverEqual:
    """It can travel, but not be compared, hashed, measured or tested for truth."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    def __hash__(self) -> int:
        raise RuntimeError("not to be hashed")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __len__(self) -> int:
        raise RuntimeError("of no length")

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


class FailsOnArrival:
    """It can be pickled, and making it again raises whatever it was told to."""

    def __init__(self, error: type[BaseException]):
        self.error = error

    def __reduce__(self) -> Any:
        return _raise_error, (self.error,)


def _raise_error(error: type[BaseException]) -> NoReturn:
    raise error


def return_lock_deep_inside() -> Any:
    return {"a": [0, {"b": (1, threading.Lock())}]}


def return_raises_when_pickled() -> Any:
    return [RaisesWhenPickled()]


def return_exits_as_pickled() -> Any:
    return ExitsAsPickled()


def return_liar() -> Any:
    return LiesAboutItsClass()


def return_deep_list() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def return_open_file() -> Any:
    with tempfile.TemporaryFile() as file:
        return {"file": file}


def return_generator() -> Any:
    return ["sane", (n for n in "abc")]


def return_task_inside() -> Any:
    return {"task": [current_task().create_task(return_nothing, name="child")]}


def return_self() -> Any:
    return [current_task()]


def return_frame() -> Any:
    return sys._getframe()


def return_nothing() -> None:
    pass


class Refuses(NamedTuple):
    """A function whose result cannot travel, and what its failure says.

    Attributes:
        place: where in the result it was, what it was, and what it said.
        cause: the type of `__cause__`.
    """

    function: Callable[[], Any]
    parts: tuple[str, ...]
    cause: str = "PayloadError"


REFUSED = [
    Refuses(return_lock_deep_inside, ("['a'][1]['b'][1] cannot be sent", "a _thread.lock cannot")),
    Refuses(
        return_raises_when_pickled,
        ("[0] cannot be sent", f"a {HERE}.RaisesWhenPickled", "ShowsNothing"),
    ),
    Refuses(return_exits_as_pickled, ("SystemExit: 3",), "SystemExit"),
    Refuses(return_liar, ("RuntimeError: of no class",), "RuntimeError"),
    Refuses(return_deep_list, ("builtins.list cannot be pickled", "recursion")),
    Refuses(return_open_file, ("['file'] cannot be sent", "cannot be pickled")),
    Refuses(return_generator, ("[1] cannot be sent", "a builtins.generator cannot")),
    Refuses(return_task_inside, ("['task'][0] cannot be sent", "<Task 'child' ")),
    Refuses(return_self, ("[0] cannot be sent", "worker.context.CurrentTask cannot be pickled")),
    Refuses(return_frame, ("a builtins.frame cannot be pickled",)),
]


def return_50_mb() -> bytes:
    return b"x" * 50_000_000


def return_nan() -> Any:
    return [math.nan, {math.nan: -math.inf}]


def return_never_equal() -> Any:
    return [NeverEqual(), NeverEqual]


def return_module() -> Any:
    return {"math": math}


def return_exception() -> Any:
    """An exception that is returned, not raised, is a result like any other."""
    return NeedsTwoReturned("as a value")


class NeedsTwoReturned(Exception):
    pass


def return_cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def return_local_class() -> Any:
    class Local:
        number = 7

    return Local()


def return_classes() -> Any:
    return [int, Task, NeverEqual, type(None), type]


class Keeps(NamedTuple):
    """A function whose result is odd but whole, and how one sees that it has arrived so."""

    function: Callable[[], Any]
    is_whole: Callable[[Any], bool]


KEPT = [
    Keeps(return_50_mb, lambda v: len(v) == 50_000_000 and v[:1] == v[-1:] == b"x"),
    Keeps(return_nan, lambda v: math.isnan(v[0]) and list(v[1].values()) == [-math.inf]),
    Keeps(return_never_equal, lambda v: type(v[0]) is v[1] is NeverEqual),
    Keeps(return_module, lambda v: v == {"math": math} and isinstance(v["math"], ModuleType)),
    Keeps(return_exception, lambda v: repr(v) == "NeedsTwoReturned('as a value')"),
    Keeps(return_cyclic, lambda v: v[0] is v),
    Keeps(return_local_class, lambda v: (v.number, type(v).__name__) == (7, "Local")),
    Keeps(return_classes, lambda v: v == [int, Task, NeverEqual, type(None), type]),
]


def return_failing_on_arrival(error: type[BaseException]) -> Any:
    return FailsOnArrival(error)


FAILING_ON_ARRIVAL: list[tuple[type[BaseException], str]] = [
    # what making the result again raises, and how that is told
    (ValueError, "ValueError"),
    (ShowsNothing, "ShowsNothing"),
    (RecursionError, "RecursionError"),
    (SystemExit, "SystemExit"),
    (GeneratorExit, "GeneratorExit"),
    (Odd, "Odd"),
]
