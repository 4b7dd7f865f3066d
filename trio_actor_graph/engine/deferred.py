"""Modules that are imported when they are first asked for something, and not before.

tractor imports at once what it needs for ways of working that few programs use, and each of its
actors does so again: that is more than half of what its import takes. A stand-in takes such a
module's place in `sys.modules` and is replaced by it when somebody uses it, so nothing is missing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def imports_deferred(modules: Mapping[str, Iterable[str]]) -> Generator[None]:
    """Puts off the imports of modules that happen in its body, but for those that happened before.

    Args:
        modules: the modules, with their packages; and of each the functions that others take out
            of it while they are imported. Nothing but functions can be taken so.
    """
    stand_ins = {
        name: _StandIn(name, functions)
        for name, functions in modules.items()
        if name not in sys.modules
    }
    sys.modules.update(stand_ins)
    yield
    for name, stand_in in stand_ins.items():
        package, _, last = name.rpartition(".")
        if sys.modules.get(name) is stand_in and package in sys.modules:
            setattr(sys.modules[package], last, stand_in)


@contextlib.contextmanager
def module_left_out(name: str, classes: Iterable[str]) -> Generator[None]:
    """Has the body find a module that has some empty classes, and nothing else."""
    empty = sys.modules[name] = ModuleType(name)
    for class_name in classes:
        setattr(empty, class_name, type(class_name, (), {}))
    try:
        yield
    finally:
        del sys.modules[name]


class _StandIn(ModuleType):
    """Takes the place of a module until that is used."""

    def __init__(self, name: str, functions: Iterable[str]) -> None:
        super().__init__(name)
        for function in functions:
            setattr(self, function, _calling(self, function))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # who looks through all modules asks for these
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        return getattr(_module_behind(self), name)


def _calling(stand_in: _StandIn, name: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return getattr(_module_behind(stand_in), name)(*args, **options)

    call.__name__ = call.__qualname__ = name
    return call


def _module_behind(stand_in: _StandIn) -> ModuleType:
    name = stand_in.__name__
    if sys.modules.get(name) is stand_in:
        del sys.modules[name]
    return import_module(name)
