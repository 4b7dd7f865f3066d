"""The functions a worker can run, by number; and the numbers of functions it wants run."""

from __future__ import annotations

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
from trio_actor_graph.payload import FUNCTION_ID, decode_value, encode_value


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
        ids: numbers for functions that the coordinator does not know yet.
        send: how the coordinator is told about those.
    """

    def __init__(self, ids: Iterator[int], send: Callable[[DefineFunction], None]):
        self._ids = ids
        self._send = send
        self._payloads: dict[int, bytes] = {}
        self._loaded: dict[int, LoadedFunction] = {}
        # By identity: functions may be unhashable objects, and equality is theirs to define.
        self._known: dict[int, tuple[int, AnyFunction]] = {}

    def define(self, message: DefineFunction) -> None:
        self._payloads[message.function_id] = message.payload

    def load(self, function_id: int) -> LoadedFunction:
        loaded = self._loaded.get(function_id)
        if loaded is None:
            loaded = self._loaded[function_id] = self._load(function_id)
        return loaded

    def identify(self, function: AnyFunction) -> int:
        original = getattr(function, "__dict__", {}).get(FUNCTION_ID)
        if original is not None:
            return int(original)  # a copy of one that the coordinator knows
        known = self._known.get(id(function))
        if known is None:
            check_function(function)
            name = qualified_name(function)
            payload = encode_value(function, f"function {name}")
            known = self._known[id(function)] = (next(self._ids), function)
            self._loaded[known[0]] = LoadedFunction(function)
            self._send(DefineFunction(known[0], name, payload))
        return known[0]

    def _load(self, function_id: int) -> LoadedFunction:
        try:
            function: AnyFunction = decode_value(self._payloads[function_id])
        except BaseException as error:  # a module may even call sys.exit when it is imported
            return LoadedFunction(None, describe_exception(error, frames_hidden=2))
        self._known[id(function)] = (function_id, function)
        return LoadedFunction(function)
