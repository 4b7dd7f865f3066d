"""The functions a coordinator knows: their numbers, where they run, and their encoded form.

A function is told by its identity in the app. A worker's copy of it is another object, so what a
worker wants run is told by its encoded form, and its assignment to a loop by its qualified name.
Everything is encoded at most once, and only for loops that have processes.

**Forgetting.** Functions that can be imported are as many as somebody has written. Closures and the
like are made while a program runs, hold what they close over, and would pile up. So one that no
open graph uses is forgotten, in two steps, since workers may name what they were told of at any
time: it is *leaving* while each worker that knows a number of it is asked to forget that, and it is
gone when all have answered. Who wants it meanwhile just takes it back, and to workers it is then
defined anew. A worker's answer is behind whatever it named the function for, so after the last
answer nobody can mean it any more.

Copies in a worker carry the number of the original. What a function or the arguments of a call have
embedded of other known functions is noted while they are encoded: those stay as long as the outer
one is used, and the worker is told that it may name them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Final

from trio_actor_graph.buffers.pool import SegmentPool
from trio_actor_graph.calls import (
    AnyFunction,
    Call,
    check_function,
    function_name,
    is_coroutine_function,
    last_name,
    qualified_name,
)
from trio_actor_graph.errors import GraphError, InternalError, PayloadError
from trio_actor_graph.graph.records import TaskSpec
from trio_actor_graph.loops import DEFAULT_LOOP, WorkerLoop
from trio_actor_graph.messages import DefineFunction
from trio_actor_graph.payload import decode_value, encode_any_call, encode_plain, encode_value
from trio_actor_graph.worker.functions import LoadedFunction

_BY_NAME: Final = {"PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "MEMOIZE", "STACK_GLOBAL"}
"""What the pickle of a name to import consists of, besides its end."""

_BY_NAME_BYTES_MAX: Final = 1_000
"""No name is longer, and what is longer need not be looked through."""


class FunctionEntry:
    """One function.

    Attributes:
        function: the object itself; None for one that a worker made and nobody decoded here.
        numbers: the numbers it goes by: its own, `function_id`, and others by workers who made it.
        loop: the name of the worker loop it is assigned to.
        task_type: what its tasks are counted as, for people: the name by which it is registered or,
            if it is not, its own.
        is_async: it is a coroutine function; False where that is not known here.
        payload: its encoded form, once that was needed.
        embedded: the other functions of which there are copies with their numbers in `payload`.
        spec: that of its tasks for which no options were given; None before the first.
        is_kept: it is never forgotten.
        users: how many open graphs use it.
        is_stale: no graph has used it since it was to be forgotten: `payload` is of the past.
        is_leaving: it is to be forgotten when those asked have answered.
        unanswered: the workers that were asked to forget a number of it, and those numbers.
        is_forgotten: it is in no table any more.
    """

    __slots__ = (
        "embedded",
        "function",
        "function_id",
        "is_async",
        "is_forgotten",
        "is_kept",
        "is_leaving",
        "is_stale",
        "loop",
        "name",
        "numbers",
        "payload",
        "qualified_name",
        "spec",
        "task_type",
        "unanswered",
        "users",
    )

    def __init__(self, function_id: int, function: AnyFunction | None, qualified: str, loop: str):
        self.function_id = function_id
        self.function = function
        self.qualified_name = qualified
        self.loop = loop
        self.name = qualified if function is None else function_name(function)
        self.task_type = last_name(qualified) if function is None else self.name
        self.is_async = function is not None and is_coroutine_function(function)
        self.numbers = [function_id]
        self.payload: bytes | None = None
        self.embedded: tuple[FunctionEntry, ...] = ()
        self.spec: TaskSpec | None = None
        self.is_kept = False
        self.users = 0
        self.is_stale = False
        self.is_leaving = False
        self.unanswered: list[tuple[int, int]] = []
        self.is_forgotten = False


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
        # The entries keep their functions, so that no identity is used again.
        self._by_identity: dict[object, FunctionEntry] = {}
        self._by_id: dict[int, FunctionEntry] = {}
        self._by_payload: dict[tuple[str, bytes], FunctionEntry] = {}
        self._loop_by_name: dict[str, str] = {}
        self._used_by: dict[int, set[FunctionEntry]] = {}  # by the uid of an open graph
        self._unused: set[FunctionEntry] = set()  # by any, and not kept
        self._asked: set[FunctionEntry] = set()  # to be forgotten, with answers still to come
        self._forgotten: list[int] = []
        # What each worker may name, by its id; True where it has the function too.
        self._known_by: dict[int, dict[int, bool]] = {}
        self._of_loop: dict[str, list[FunctionEntry]] = {name: [] for name in loops}
        for loop in loops.values():
            for function in loop.functions:
                self._assign(loop, function, registered)
        self._registered = {name: self.entry(function) for name, function in registered.items()}
        for name, entry in self._registered.items():
            entry.task_type = name
        for entry in self._by_id.values():
            entry.is_kept = True
        # Only now, so that workers can tell by their numbers which ones are never forgotten.
        self.coordinator_id = next(ids)

    @property
    def registered_names(self) -> frozenset[str]:
        return frozenset(self._registered)

    @property
    def registered(self) -> Mapping[str, FunctionEntry]:
        return self._registered

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
        entry.is_leaving = False
        return entry

    def known_id(self, function: object) -> tuple[int, int] | None:
        """The numbers of this coordinator and of a function, if it has one already."""
        entry = self._by_identity.get(_identity(function))
        return None if entry is None else (self.coordinator_id, entry.function_id)

    def encode(self, entry: FunctionEntry) -> None:
        """Encode a function, if that was not done since an open graph uses it.

        Raises:
            PayloadError: the function cannot be pickled.
        """
        if entry.payload is not None and not entry.is_stale:
            return
        noted: dict[FunctionEntry, None] = {}
        what = f"function {entry.qualified_name}"
        entry.payload = encode_value(entry.function, what, partial(self._note, noted))
        entry.is_stale = False
        noted.pop(entry, None)
        entry.embedded = self._nameable(noted)
        for used in self._used_by.values():
            if entry in used:  # it has run without being encoded, in a loop without processes
                self._mark_used(used, entry.embedded)

    def encode_call(
        self, call: Call, task_name: str, pool: SegmentPool | None
    ) -> tuple[bytes, tuple[int, ...], tuple[FunctionEntry, ...]]:
        """Encode the arguments of a call that has some, as `payload.encode_call` does.

        Returns:
            The bytes, the uids of the tasks inside, and the functions inside.
        """
        if not call.kwargs and (encoded := encode_plain(call.args)) is not None:
            data, inputs = encoded
            return data, inputs, ()
        noted: dict[FunctionEntry, None] = {}
        what = f"task {task_name!r}"
        ids = partial(self._note, noted)
        data, inputs = encode_any_call(call.args, call.kwargs, what, ids, pool)
        return data, inputs, self._nameable(noted) if noted else ()

    def _note(self, noted: dict[FunctionEntry, None], function: object) -> tuple[int, int] | None:
        """`known_id`, taking note of the entry."""
        numbers = self.known_id(function)
        if numbers is not None:
            noted[self._by_id[numbers[1]]] = None
        return numbers

    def _nameable(self, noted: Iterable[FunctionEntry]) -> tuple[FunctionEntry, ...]:
        """Those that a worker may name: what it names has to be encoded then."""
        for entry in noted:
            with suppress(PayloadError):
                self.encode(entry)
        return tuple(entry for entry in noted if entry.payload is not None)

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

    def find(self, function: int | str) -> FunctionEntry | None:
        """The function with this number, or registered by this name; None if there is none."""
        return (
            self._registered.get(function)
            if isinstance(function, str)
            else self._by_id.get(function)
        )

    # ---- what workers know -------------------------------------------------------------------

    def on_worker_started(
        self, worker_id: int, entries: Iterable[FunctionEntry]
    ) -> tuple[DefineFunction, ...]:
        """A worker starts; returns the definitions that it gets at once."""
        self._known_by[worker_id] = {}
        return tuple(d for entry in entries for d in self.definitions(worker_id, entry))

    def definitions(
        self, worker_id: int, entry: FunctionEntry, embedded: tuple[FunctionEntry, ...] = ()
    ) -> Sequence[DefineFunction]:
        """What a worker must be told before it runs a function with arguments that embed others.

        Raises:
            PayloadError: the function cannot be pickled.
        """
        known = self._known_by[worker_id]
        number = entry.function_id
        has_it = known.get(number, False)
        if has_it and not entry.embedded and not embedded:
            return ()
        told: list[DefineFunction] = []
        if not has_it:
            if entry.payload is None:
                self.encode(entry)
            assert entry.payload is not None
            known[number] = True
            told.append(DefineFunction(number, entry.qualified_name, entry.payload))
        for other in (*entry.embedded, *embedded):
            if other.function_id not in known and not (other.is_kept or other.is_forgotten):
                known[other.function_id] = False
                told.append(DefineFunction(other.function_id, other.qualified_name, b""))
        return told

    def receive(self, worker_id: int, message: DefineFunction) -> None:
        """Take note of a function that a worker wants run under a number of its own."""
        key = message.qualified_name, message.payload
        entry = self._by_payload.get(key)
        if entry is None:
            loop = self._loop_by_name.get(message.qualified_name, DEFAULT_LOOP)
            entry = FunctionEntry(message.function_id, None, message.qualified_name, loop)
            entry.payload = message.payload
            entry.is_kept = _is_name(message.payload)
            self._by_payload[key] = self._add(entry)
        else:  # known by another number already, by which it will be called
            entry.numbers.append(message.function_id)
            self._by_id[message.function_id] = entry
            entry.is_leaving = False
        self._known_by[worker_id][message.function_id] = True

    def on_worker_lost(self, worker_id: int) -> None:
        """A worker is gone: it names nothing any more, and answers nothing."""
        for number in self._known_by.pop(worker_id, {}):
            self._drop_alias(number)
        for entry in list(self._asked):
            for asked_id, number in entry.unanswered[:]:
                if asked_id == worker_id:
                    self._on_answer(entry, asked_id, number)

    # ---- forgetting --------------------------------------------------------------------------

    def use(self, graph: int, entry: FunctionEntry, embedded: tuple[FunctionEntry, ...]) -> None:
        """An open graph has a task that runs the function, with arguments that embed others."""
        used = self._used_by.get(graph)
        if used is None:
            used = self._used_by[graph] = set()
        if entry not in used:
            self._mark_used(used, (entry, *entry.embedded))
        if embedded:
            self._mark_used(used, embedded)

    def on_graph_closed(self, graph: int, local_workers: Iterable[int]) -> dict[int, list[int]]:
        """A graph was closed: begin to forget what no graph uses any more.

        Args:
            local_workers: the workers that are this process. They know every function.

        Returns:
            For each worker that is to be asked, by its id, the numbers that it is to forget.
        """
        for entry in self._used_by.pop(graph, ()):
            entry.users -= 1
            if not entry.users:
                self._unused.add(entry)
        asked: dict[int, list[int]] = {}
        local_workers = tuple(local_workers)
        for entry in list(self._unused):
            if entry.is_kept:
                self._unused.discard(entry)
            elif not entry.is_leaving and not _is_importable(entry):
                self._begin_to_forget(entry, asked, local_workers)
        return asked

    def on_forgotten(self, worker_id: int, numbers: Iterable[int]) -> None:
        """A worker has answered: it will not name these numbers, unless they are defined anew."""
        for number in numbers:
            entry = self._by_id.get(number)
            if entry is not None and (worker_id, number) in entry.unanswered:
                self._on_answer(entry, worker_id, number)

    def take_forgotten(self) -> list[int]:
        """The numbers of the functions that were forgotten since this was last asked."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def _mark_used(self, used: set[FunctionEntry], entries: Iterable[FunctionEntry]) -> None:
        for entry in entries:
            if entry not in used and not entry.is_forgotten:
                used.add(entry)
                entry.users += 1
                entry.is_leaving = entry.is_stale = False
                self._unused.discard(entry)

    def _begin_to_forget(
        self, entry: FunctionEntry, asked: dict[int, list[int]], local_workers: Iterable[int]
    ) -> None:
        entry.is_leaving = entry.is_stale = True
        told = [
            (worker_id, number)
            for worker_id, known in self._known_by.items()
            for number in entry.numbers
            if known.pop(number, None) is not None
        ]
        told += ((worker_id, entry.function_id) for worker_id in local_workers)
        for worker_id, number in told:
            asked.setdefault(worker_id, []).append(number)
        entry.unanswered += told
        self._asked.add(entry)
        self._forget_if_answered(entry)

    def _on_answer(self, entry: FunctionEntry, worker_id: int, number: int) -> None:
        entry.unanswered.remove((worker_id, number))
        self._drop_alias(number)
        self._forget_if_answered(entry)

    def _drop_alias(self, number: int) -> None:
        """Drop a number that one worker only has named a function by."""
        entry = self._by_id.get(number)
        if entry is not None and number != entry.function_id:
            entry.numbers.remove(number)
            del self._by_id[number]

    def _forget_if_answered(self, entry: FunctionEntry) -> None:
        if entry.unanswered:
            return
        self._asked.discard(entry)
        if not entry.is_leaving:
            return
        entry.is_forgotten = True
        self._unused.discard(entry)
        self._forgotten.append(entry.function_id)
        for number in entry.numbers:
            del self._by_id[number]
        if self._by_identity.get(_identity(entry.function)) is entry:
            del self._by_identity[_identity(entry.function)]
        if entry.payload is not None:
            key = entry.qualified_name, entry.payload
            if self._by_payload.get(key) is entry:
                del self._by_payload[key]

    # ---- inside ------------------------------------------------------------------------------

    def _add(self, entry: FunctionEntry) -> FunctionEntry:
        self._by_id[entry.function_id] = entry
        self._unused.add(entry)
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
    if type(function) is not FunctionType and inspect.ismethod(function):
        return id(function.__self__), id(function.__func__)
    return id(function)


def _is_importable(entry: FunctionEntry) -> bool:
    """Whether it is what can be found in a module under its name."""
    module, _, name = entry.qualified_name.partition(":")
    try:
        found: object = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part)
    except Exception:  # noqa: BLE001  it is any callable object, whose attributes may be anything
        return False
    return found is entry.function


def _is_name(payload: bytes) -> bool:
    """Whether it is the pickle of nothing but a name to import."""
    if len(payload) > _BY_NAME_BYTES_MAX:
        return False
    import pickletools  # 7 ms, for those only whose workers make functions of their own

    return {op.name for op, _, _ in pickletools.genops(payload)} <= _BY_NAME | {"STOP"}


class OwnFunctions:
    """The functions of a worker that is the coordinator's own process: no encoding in between.

    Used by all such workers, so that numbers which one was told to forget are still there for the
    others.
    """

    def __init__(self, table: FunctionTable):
        self._table = table
        self._loaded: dict[int, LoadedFunction] = {}

    def get(self, function_id: int) -> LoadedFunction:
        loaded = self._loaded.get(function_id)
        if loaded is None:
            entry = self._table.find(function_id)
            if entry is None:
                text = f"function {function_id} was forgotten while it was wanted"
                return LoadedFunction(None, InternalError(text))
            loaded = self._loaded[function_id] = self._load(entry)
        return loaded

    load = get

    def identify(self, function: AnyFunction) -> int:
        return self._table.entry(function).function_id

    def knows(self, function_id: int) -> bool:
        entry = self._table.find(function_id)
        return entry is not None and not entry.is_leaving

    def define(self, message: DefineFunction) -> None:
        """Never called: what is defined anywhere is in the table."""

    def forget(self, function_ids: Iterable[int]) -> None:
        for number in function_ids:
            self._loaded.pop(number, None)

    def _load(self, entry: FunctionEntry) -> LoadedFunction:
        if entry.function is None:
            assert entry.payload is not None
            try:
                entry.function = decode_value(entry.payload)
            except BaseException as error:  # noqa: BLE001  a module may even exit when imported
                return LoadedFunction(None, error)
        return LoadedFunction(entry.function)
