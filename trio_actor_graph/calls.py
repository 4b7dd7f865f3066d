"""What `create_task` accepts, checked and taken apart the same way in the app and in a worker."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType
from typing import Any, Final, TypeAlias, Union

import msgspec

from trio_actor_graph.checks import (
    INTEGER_MAX,
    TIMEOUT_SECONDS_MAX,
    is_duration,
    is_integer,
    is_text,
)
from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import AnyCondition, Condition, TaskReference, as_condition
from trio_actor_graph.retries import RetryPolicy, TaskDefaults, as_policy

AnyFunction: TypeAlias = Callable[..., Any]
"""A task's function; what it takes and returns is the user's business."""

WaitsOn: TypeAlias = Union[
    TaskReference, Condition, "Iterable[TaskReference | Condition | Iterable[TaskReference]]", None
]
"""What `waits_on=` accepts: a condition, a task (its success), or a list (all of them)."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A function, or the name of a registered one, and the arguments to call it with."""

    function: Any  # `AnyFunction | str`, which msgspec cannot look into
    args: tuple[object, ...]
    kwargs: Mapping[str, object]


class Options(msgspec.Struct, frozen=True, gc=False):
    """The keyword arguments of `create_task`, checked.

    Attributes:
        retries: None where nothing was said, as for the next.
        timeout_seconds: infinite where no limit was asked for.
    """

    condition: AnyCondition | None = None
    name: str | None = None
    priority: int = 0
    retries: RetryPolicy | None = None
    timeout_seconds: float | None = None
    worker_loop: str | None = None

    @property
    def is_plain(self) -> bool:
        """Nothing was said but what to wait for, as for most tasks."""
        return (
            self.name is None
            and self.retries is None
            and self.timeout_seconds is None
            and self.worker_loop is None
            and self.priority == 0
        )

    def filled(self, defaults: TaskDefaults) -> Options:
        """These, with the function's defaults where nothing was said."""
        return msgspec.structs.replace(
            self,
            retries=defaults.retries if self.retries is None else self.retries,
            timeout_seconds=(
                defaults.timeout_seconds if self.timeout_seconds is None else self.timeout_seconds
            ),
        )


NO_OPTIONS: Final = Options()
"""What most tasks are created with."""

_NO_KEYWORDS: Final[Mapping[str, object]] = MappingProxyType({})


def take_apart(function: object, args: tuple[object, ...]) -> Call:
    """Unwrap `functools.partial`, so that its arguments are arguments like any other.

    Raises:
        GraphError: not a function that can be a task.
    """
    if type(function) is FunctionType:  # as nearly always
        return Call(function, args, _NO_KEYWORDS)
    kwargs: dict[str, object] = {}
    while isinstance(function, functools.partial):
        kwargs = {**function.keywords, **kwargs}
        args = (*function.args, *args)
        function = function.func
    if not isinstance(function, str) and not callable(function):
        raise GraphError(f"not a function or the name of one: {function!r}")
    return Call(function, args, kwargs)


def check_function(function: AnyFunction) -> None:
    """Refuse a function that cannot be a task; asked once for each function.

    Raises:
        GraphError: it is a generator function, whose calls run nothing.
    """
    called = [function, getattr(function, "__call__", None)]  # noqa: B004  objects with a __call__
    if any(inspect.isasyncgenfunction(f) or inspect.isgeneratorfunction(f) for f in called):
        raise GraphError(f"{function_name(function)!r} is a generator: a task has one result")


def check_options(
    waits_on: WaitsOn,
    name: str | None,
    priority: int,
    retries: int | RetryPolicy | None,
    timeout_seconds: float | None,
    worker_loop: str | None,
) -> Options:
    """Check the options of `create_task`.

    Raises:
        GraphError: one of them is of the wrong type or out of range.
    """
    if (
        name is None
        and retries is None
        and timeout_seconds is None
        and worker_loop is None
        and type(priority) is int
        and priority == 0
    ):
        return NO_OPTIONS if waits_on is None else Options(as_condition(waits_on))
    if name is not None and not is_text(name):
        raise GraphError(f"name must be a string that can be written as UTF-8, not {name!r}")
    if not is_integer(priority):
        raise GraphError(f"priority must be an integer, not {priority!r}")
    if not -INTEGER_MAX - 1 <= priority <= INTEGER_MAX:
        raise GraphError(f"priority must have at most 32 bits: {priority}")
    if timeout_seconds not in (None, math.inf) and not is_duration(timeout_seconds):
        raise GraphError(
            f"timeout_seconds must be a positive number, at most {TIMEOUT_SECONDS_MAX:,.0f}, "
            f"not {timeout_seconds!r}"
        )
    if worker_loop is not None and not isinstance(worker_loop, str):
        raise GraphError(f"worker_loop must be the name of a worker loop, not {worker_loop!r}")
    # Exactly these types: what travels has no room for subclasses, such as numpy's numbers.
    return Options(
        as_condition(waits_on),
        None if name is None else str(name),
        int(priority),
        as_policy(retries),
        None if timeout_seconds is None else float(timeout_seconds),
        None if worker_loop is None else str(worker_loop),
    )


def function_name(function: AnyFunction) -> str:
    """The name of a function for people."""
    return getattr(function, "__name__", None) or type(function).__name__


def qualified_name(function: AnyFunction) -> str:
    """`module:qualname`: the same for a function and for its copy in a worker."""
    named = function if hasattr(function, "__qualname__") else type(function)
    # Methods of built-in types, such as str.upper, have no module of their own.
    module = getattr(named, "__module__", None) or getattr(named, "__objclass__", named).__module__
    return f"{module}:{named.__qualname__}"


def last_name(qualified: str) -> str:
    """The last part of a `module:qualname`: what a function is called where it stands."""
    return qualified.rpartition(":")[2].rpartition(".")[2]


def is_coroutine_function(function: AnyFunction) -> bool:
    """Whether calling it gives a coroutine to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  objects with an async __call__
    )


def split_method(call: Call) -> Call:
    """A method of an object becomes a plain function that gets the object as its first argument.

    So the object is encoded anew with each call, as it is then, not once with the function.
    """
    function = call.function
    if type(function) is FunctionType:
        return call
    owner = getattr(function, "__self__", None)
    if not inspect.ismethod(function) or isinstance(owner, type):
        return call
    return Call(function.__func__, (owner, *call.args), call.kwargs)
