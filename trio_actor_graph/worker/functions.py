"""The functions a worker can run, by number; and the numbers of functions it wants run.

A number means something to the coordinator only as long as it has not asked for the function to be
forgotten. So it is named in two steps: `identify`, which may take its time, and then, in one with
the report that names it, a look whether it is still known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from trio_actor_graph.calls import (
    AnyFunction,
    check_function,
    is_coroutine_function,
    qualified_name,
)
from trio_actor_graph.errors import InternalError
from trio_actor_graph.graph.failures import Raised
from trio_actor_graph.messages import DefineFunction
from trio_actor_graph.outcome import describe_exception
from trio_actor_graph.payload import decode_value, encode_value, original_id


class LoadedFunction:
    """A function ready to be called, or the reason why it could not be loaded.

    Attributes:
        error: what loading it raised; `failure` is that, described.
        mean_seconds: how long it has lately taken; None before its first run.
    """

    __slots__ = ("error", "failure", "function", "is_async", "mean_seconds")

    def __init__(self, function: AnyFunction | None, error: BaseException | None = None):
        self.function = function
        self.error = error
        self.failure: Raised | None = None
        if error is not None:
            self.failure = describe_exception(error, frames_hidden=2)
            BaseException.with_traceback(error, None)  # which holds everything that was at hand
        self.is_async = function is not None and is_coroutine_function(function)
        self.mean_seconds: float | None = None


NOT_LOADED: Final = LoadedFunction(None)
"""Stands for a function until it is loaded."""


class FunctionBook(Protocol):
    """Functions by number, as the runner of attempts needs them. For use in any thread."""

    def get(self, function_id: int) -> LoadedFunction:
        """The function with this number; `NOT_LOADED` if loading it may take its time."""
        ...

    def load(self, function_id: int) -> LoadedFunction:
        """The function with this number, loaded in this thread if need be."""
        ...

    def identify(self, function: AnyFunction) -> int:
        """A number by which the coordinator knows the function, or will."""
        ...

    def knows(self, function_id: int) -> bool:
        """Whether a number that `identify` gave has not been forgotten since."""
        ...

    def define(self, message: DefineFunction) -> None:
        """The coordinator calls a function by this number from now on."""
        ...

    def forget(self, function_ids: Iterable[int]) -> None:
        """The coordinator uses these numbers no more, unless it defines them anew."""
        ...


class ReceivedFunctions:
    """The functions of a subprocess: they arrive as bytes and are loaded when first run.

    A copy of a function of the app carries the number of the original. That is worth something if
    it was defined here, or if it is one that the coordinator never forgets, and those are the
    numbers below the coordinator's own.

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
        self._known: set[int] = set()
        self._payloads: dict[int, bytes] = {}  # of those not loaded yet
        self._loaded: dict[int, LoadedFunction] = {}
        # By identity: functions may be unhashable objects, and equality is theirs to define.
        self._numbers: dict[int, tuple[int, AnyFunction]] = {}
        self._lock = threading.Lock()  # held for a moment only, since trio's thread takes it
        # A function is made once, and while it is made others can be: it may import anything.
        self._loading: dict[int, threading.RLock] = {}
        self._introducing = threading.RLock()

    def get(self, function_id: int) -> LoadedFunction:
        return self._loaded.get(function_id, NOT_LOADED)

    def load(self, function_id: int) -> LoadedFunction:
        with self._lock:
            loading = self._loading.setdefault(function_id, threading.RLock())
        with loading:
            loaded = self._loaded.get(function_id)
            if loaded is None:
                loaded = self._load(function_id)
        with self._lock:
            self._loading.pop(function_id, None)
        return loaded

    def define(self, message: DefineFunction) -> None:
        with self._lock:
            self._known.add(message.function_id)
            if message.payload:  # else it may only be named
                self._payloads[message.function_id] = message.payload

    def forget(self, function_ids: Iterable[int]) -> None:
        with self._lock:
            for number in function_ids:
                self._known.discard(number)
                self._payloads.pop(number, None)
                loaded = self._loaded.pop(number, None)
                if loaded is not None and self._number_of(loaded.function) == number:
                    del self._numbers[id(loaded.function)]

    def knows(self, function_id: int) -> bool:
        return function_id in self._known or function_id < self._coordinator_id

    def identify(self, function: AnyFunction) -> int:
        original = original_id(function, self._coordinator_id)
        if original is not None and self.knows(original):
            return original
        number = self._number_of(function)
        return self._introduce(function) if number is None else number

    def _number_of(self, function: AnyFunction | None) -> int | None:
        known = self._numbers.get(id(function))
        return None if known is None else known[0]

    def _introduce(self, function: AnyFunction) -> int:
        """Tell the coordinator about a function; known to other threads only once that is sent."""
        with self._introducing:
            if (number := self._number_of(function)) is not None:
                return number
            check_function(function)
            name = qualified_name(function)
            payload = encode_value(function, f"function {name}")
            number = next(self._ids)
            loaded = LoadedFunction(function)
            with self._lock:  # the coordinator may have it forgotten before we come to keep it
                self._send(DefineFunction(number, name, payload))
                self._keep(number, loaded)
            return number

    def _load(self, function_id: int) -> LoadedFunction:
        payload = self._payloads.get(function_id)
        try:
            if payload is None:
                raise InternalError(f"function {function_id} was forgotten while it was wanted")
            loaded = LoadedFunction(decode_value(payload))
        except BaseException as error:  # a module may even call sys.exit when it is imported
            loaded = LoadedFunction(None, error)
        with self._lock:
            if payload is not None and self._payloads.get(function_id) is payload:
                self._keep(function_id, loaded)  # it was not forgotten meanwhile
        return loaded

    def _keep(self, number: int, loaded: LoadedFunction) -> None:
        self._payloads.pop(number, None)
        self._known.add(number)
        self._loaded[number] = loaded
        if loaded.function is not None:
            self._numbers[id(loaded.function)] = (number, loaded.function)
