"""The functions a worker can run, by number; and the numbers of functions it wants run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from trio_actor_graph.calls import (
    AnyFunction,
    check_function,
    is_coroutine_function,
    qualified_name,
)
from trio_actor_graph.graph.failures import Raised
from trio_actor_graph.messages import DefineFunction
from trio_actor_graph.outcome import describe_exception
from trio_actor_graph.payload import decode_value, encode_value, original_id


class LoadedFunction:
    """A function ready to be called, or the reason why it could not be loaded.

    Attributes:
        mean_seconds: how long it has lately taken; None before its first run.
    """

    __slots__ = ("failure", "function", "is_async", "mean_seconds")

    def __init__(self, function: AnyFunction | None, failure: Raised | None = None):
        self.function = function
        self.failure = failure
        self.is_async = function is not None and is_coroutine_function(function)
        self.mean_seconds: float | None = None


class FunctionBook(Protocol):
    """Functions by number, as the runner of attempts needs them."""

    def load(self, function_id: int) -> LoadedFunction:
        """The function with this number."""
        ...

    def identify(self, function: AnyFunction) -> int:
        """The number by which the coordinator knows the function, or will."""
        ...


class ReceivedFunctions:
    """The functions of a subprocess: they arrive as bytes and are loaded when first run.

    Args:
        coordinator_id: tells copies of its functions from those of others.
        ids: numbers for functions that the coordinator does not know yet.
        send: how the coordinator is told about those.
    """

    def __init__(
        self, coordinator_id: int, ids: Iterator[int], send: Callable[[DefineFunction], None]
    ):
        self._coordinator_id = coordinator_id
        self._ids = ids
        self._send = send
        self._payloads: dict[int, bytes] = {}
        self._loaded: dict[int, LoadedFunction] = {}
        self._lock = threading.RLock()  # importing a module may run anything
        # By identity: functions may be unhashable objects, and equality is theirs to define.
        self._known: dict[int, tuple[int, AnyFunction]] = {}

    def define(self, message: DefineFunction) -> None:
        self._payloads[message.function_id] = message.payload

    def load(self, function_id: int) -> LoadedFunction:
        loaded = self._loaded.get(function_id)
        if loaded is None:
            with self._lock:  # a module is imported once, and a function made once
                loaded = self._loaded.get(function_id) or self._load(function_id)
                self._loaded[function_id] = loaded
        return loaded

    def identify(self, function: AnyFunction) -> int:
        original = original_id(function, self._coordinator_id)
        if original is not None:
            return original
        known = self._known.get(id(function))
        return self._introduce(function) if known is None else known[0]

    def _introduce(self, function: AnyFunction) -> int:
        """Tell the coordinator about a function; known to other threads only once that is sent."""
        with self._lock:
            if (known := self._known.get(id(function))) is not None:
                return known[0]
            check_function(function)
            name = qualified_name(function)
            payload = encode_value(function, f"function {name}")
            number = next(self._ids)
            self._loaded[number] = LoadedFunction(function)
            self._send(DefineFunction(number, name, payload))
            self._known[id(function)] = (number, function)
            return number

    def _load(self, function_id: int) -> LoadedFunction:
        try:
            function: AnyFunction = decode_value(self._payloads[function_id])
        except BaseException as error:  # a module may even call sys.exit when it is imported
            return LoadedFunction(None, describe_exception(error, frames_hidden=2))
        self._known[id(function)] = (function_id, function)
        return LoadedFunction(function)
