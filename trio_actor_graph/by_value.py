"""Pickling by value what cannot be pickled by name. Apart, as cloudpickle takes 20 ms to import."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pickle import PickleBuffer
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakSet

import cloudpickle

from trio_actor_graph.payload import FUNCTION_ID, place_of


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, taught some more.

    - Modules of a subclass of ModuleType, as trio 0.23's, are modules.
    - functools.cache around a function without a name to import can be made again.
    - The copy of a class with __slots__ has them too, so that its instances can come back; and a
      class that comes back leaves the one it was copied from as that is.
    - The copy of a function tells which function of the coordinator it is a copy of, and its code
      in which file it stands, which tracebacks show (cloudpickle 3.1.3 leaves that out).
    """

    def __init__(
        self,
        file: io.BytesIO,
        function_id: Callable[[object], tuple[int, int] | None] | None,
        leave_out: Callable[[PickleBuffer], bool] | None,
    ):
        super().__init__(file, protocol=5, buffer_callback=leave_out)
        self._function_id = function_id

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType) and sys.modules.get(obj.__name__) is obj:
            return import_module, (obj.__name__,)
        if isinstance(obj, _CachedFunction) and not _has_a_name(obj):
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if isinstance(obj, CodeType):
            reduced: Any = self.dispatch_table[CodeType](obj)
            return _with_filename(obj, reduced)
        reduced = super().reducer_override(obj)
        if not isinstance(reduced, tuple):
            return reduced  # by name
        if isinstance(obj, FunctionType):
            return self._with_id(obj, reduced)
        return _as_class(obj, reduced) if isinstance(obj, type) and len(reduced) == 6 else reduced

    def _with_id(self, function: FunctionType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
        """Put the function's number among the attributes of its copy, not of itself."""
        number = self._function_id(function) if self._function_id else None
        if number is None or len(reduced) != 6:
            return reduced
        make, arguments, (attributes, slots), *rest = reduced
        marked = {**attributes, FUNCTION_ID: (number, place_of(function))}
        return make, arguments, (marked, slots), *rest


def _with_filename(code: CodeType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    make, arguments, *rest = reduced
    named = (code.co_filename if part == _NO_FILENAME else part for part in arguments)
    return make, tuple(named), *rest


_NO_FILENAME = "<dynamic-code>"

_classes: WeakSet[type] = WeakSet()  # those that are whole in this process


def _as_class(kind: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    _classes.add(kind)
    make, arguments, state, *items, fill = reduced
    slots = vars(kind).get("__slots__")  # not if they are empty, which a NamedTuple refuses
    if slots and len(arguments) == 6 and isinstance(arguments[3], dict):
        attributes = {**arguments[3], "__slots__": slots}
        arguments = (*arguments[:3], attributes, *arguments[4:])
    return make, arguments, (fill, state), *items, _fill_class_once


def _fill_class_once(kind: type, state: tuple[Any, Any]) -> type:
    """Give a copy of a class what the class has; the class itself, or an older copy, has it."""
    if kind not in _classes:
        fill, attributes = state
        fill(kind, attributes)
        _classes.add(kind)
    return kind


_CachedFunction = type(lru_cache(len))


def dumps(
    value: object,
    function_id: Callable[[object], tuple[int, int] | None] | None = None,
    leave_out: Callable[[PickleBuffer], bool] | None = None,
) -> bytes:
    """The pickle of a value, with functions and classes of `__main__`, and closures, inside it.

    Args:
        function_id: the numbers of its coordinator and of a function, if it has them.
        leave_out: pickle's `buffer_callback`.
    """
    with io.BytesIO() as file:
        _Pickler(file, function_id, leave_out).dump(value)
        return file.getvalue()


def _has_a_name(function: Any) -> bool:
    """Whether a worker can import the function by its name."""
    return function.__module__ != "__main__" and "<locals>" not in function.__qualname__


def _cached(function: Callable[..., Any], parameters: dict[str, Any]) -> object:
    return lru_cache(**parameters)(function)
