"""The functions a coordinator knows: their numbers, where they run, and their encoded form.

A function is told by its identity in the app. A worker's copy of it is another object, so what a
worker wants run is told by its encoded form, and its assignment to a loop by its qualified name.
Everything is encoded at most once, and only for loops that have processes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

from trio_actor_graph.calls import (
    AnyFunction,
    check_function,
    function_name,
    is_coroutine_function,
    qualified_name,
)
from trio_actor_graph.errors import GraphError
from trio_actor_graph.loops import DEFAULT_LOOP, WorkerLoop
from trio_actor_graph.messages import DefineFunction
from trio_actor_graph.outcome import describe_exception
from trio_actor_graph.payload import decode_value, encode_value
from trio_actor_graph.worker.functions import LoadedFunction


class FunctionEntry:
    """One function.

    Attributes:
        function: the object itself; None for one that a worker made and nobody decoded here.
        loop: the name of the worker loop it is assigned to.
        is_async: it is a coroutine function; False where that is not known here.
        payload: its encoded form, once that was needed.
    """

    __slots__ = (
        "function",
        "function_id",
        "is_async",
        "loop",
        "name",
        "payload",
        "qualified_name",
    )

    def __init__(self, function_id: int, function: AnyFunction | None, qualified: str, loop: str):
        self.function_id = function_id
        self.function = function
        self.qualified_name = qualified
        self.loop = loop
        self.name = qualified if function is None else function_name(function)
        self.is_async = function is not None and is_coroutine_function(function)
        self.payload: bytes | None = None


class FunctionTable:
    """All functions of one coordinator.

    Args:
        loops: the worker loops, with the functions assigned to them.
        registered: the functions that may be named by string.
        ids: numbers for functions.

    Raises:
        GraphError: a function is assigned twice, or an unknown name is assigned.
    """

    def __init__(
        self,
        loops: Mapping[str, WorkerLoop],
        registered: Mapping[str, AnyFunction],
        ids: Iterator[int],
    ):
        self._ids = ids
        self.coordinator_id = next(ids)
        # The entries keep their functions, so that no identity is used again.
        self._by_identity: dict[object, FunctionEntry] = {}
        self._by_id: dict[int, FunctionEntry] = {}
        self._by_payload: dict[tuple[str, bytes], FunctionEntry] = {}
        self._loop_by_name: dict[str, str] = {}
        self._of_loop: dict[str, list[FunctionEntry]] = {name: [] for name in loops}
        for loop in loops.values():
            for function in loop.functions:
                self._assign(loop, function, registered)
        self._registered = {name: self.entry(function) for name, function in registered.items()}

    @property
    def registered_names(self) -> frozenset[str]:
        return frozenset(self._registered)

    def assigned_to(self, loop: str) -> list[FunctionEntry]:
        return self._of_loop[loop]

    def entry(self, function: AnyFunction) -> FunctionEntry:
        """The entry of a function, made if it is new."""
        entry = self._by_identity.get(_identity(function))
        if entry is None:
            check_function(function)
            name = qualified_name(function)
            loop = self._loop_by_name.get(name, DEFAULT_LOOP)
            entry = self._add(FunctionEntry(next(self._ids), function, name, loop))
            self._by_identity[_identity(function)] = entry
        return entry

    def known_id(self, function: object) -> tuple[int, int] | None:
        """The numbers of this coordinator and of a function, if it has one already."""
        entry = self._by_identity.get(_identity(function))
        return None if entry is None else (self.coordinator_id, entry.function_id)

    def define(self, entry: FunctionEntry) -> DefineFunction:
        """The message that tells a worker about a function.

        Raises:
            PayloadError: the function cannot be pickled.
        """
        if entry.payload is None:
            what = f"function {entry.qualified_name}"
            entry.payload = encode_value(entry.function, what, self.known_id)
        return DefineFunction(entry.function_id, entry.qualified_name, entry.payload)

    def named(self, name: str) -> FunctionEntry:
        """The registered function of that name.

        Raises:
            GraphError: there is none.
        """
        entry = self._registered.get(name)
        if entry is None:
            names = ", ".join(map(repr, sorted(self._registered))) or "none"
            raise GraphError(f"unknown function {name!r}: registered are {names}")
        return entry

    def by_id(self, function_id: int) -> FunctionEntry:
        return self._by_id[function_id]

    def receive(self, message: DefineFunction) -> bool:
        """Take note of a function that a worker wants run under a number of its own.

        Returns:
            False if the function was known under another number, by which it will be called.
        """
        same = self._by_payload.get((message.qualified_name, message.payload))
        if same is not None:
            self._by_id[message.function_id] = same
            return False
        loop = self._loop_by_name.get(message.qualified_name, DEFAULT_LOOP)
        entry = FunctionEntry(message.function_id, None, message.qualified_name, loop)
        entry.payload = message.payload
        self._by_payload[message.qualified_name, message.payload] = self._add(entry)
        return True

    def _add(self, entry: FunctionEntry) -> FunctionEntry:
        self._by_id[entry.function_id] = entry
        return entry

    def _assign(
        self, loop: WorkerLoop, function: AnyFunction | str, registered: Mapping[str, AnyFunction]
    ) -> None:
        where = f"worker loop {loop.name!r}"
        if isinstance(function, str):
            if function not in registered:
                raise GraphError(f"{where}: unknown function {function!r}: it is not registered")
            function = registered[function]
        if not callable(function):
            raise GraphError(f"{where}: not a function: {function!r}")
        entry = self._by_identity.get(_identity(function))
        if entry is not None:
            raise GraphError(
                f"function {entry.name!r} is assigned twice: to {entry.loop!r} and to {loop.name!r}"
            )
        entry = self.entry(function)
        entry.loop = loop.name
        self._of_loop[loop.name].append(entry)
        if "<lambda>" not in entry.qualified_name:
            self._loop_by_name[entry.qualified_name] = loop.name


def _identity(function: object) -> object:
    """What tells a function from others; a bound method is a new object each time it is got."""
    if inspect.ismethod(function):
        return id(function.__self__), id(function.__func__)
    return id(function)


class OwnFunctions:
    """The functions of a worker that is the coordinator's own process: no encoding in between."""

    def __init__(self, table: FunctionTable):
        self._table = table
        self._loaded: dict[int, LoadedFunction] = {}

    def load(self, function_id: int) -> LoadedFunction:
        loaded = self._loaded.get(function_id)
        if loaded is None:
            entry = self._table.by_id(function_id)
            loaded = self._loaded[function_id] = self._load(entry)
        return loaded

    def _load(self, entry: FunctionEntry) -> LoadedFunction:
        if entry.function is None:
            assert entry.payload is not None
            try:
                entry.function = decode_value(entry.payload)
            except BaseException as error:  # noqa: BLE001  a module may even exit when imported
                return LoadedFunction(None, describe_exception(error, frames_hidden=2))
        return LoadedFunction(entry.function)

    def identify(self, function: AnyFunction) -> int:
        return self._table.entry(function).function_id
