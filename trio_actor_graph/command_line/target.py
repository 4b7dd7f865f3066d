"""What to run: the function that `MODULE:ASYNC_FUNCTION` names, and the loops with it.

The module is the user's and may do anything when it is imported. Whatever is wrong with what was
typed is told as `BadArguments`, in a sentence that names it.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trio_actor_graph.command_line.watch import print_exception

if TYPE_CHECKING:
    from trio_actor_graph.loops import WorkerLoop


class BadArguments(Exception):
    """Whoever typed the command has to change it; the text says what."""


class LoopOption(NamedTuple):
    """What one `--loop` says."""

    name: str
    concurrency: int
    processes: int | None
    """None: what the loop has, as far as there are slots for them."""


def loop_option(text: str) -> LoopOption:
    """Read a `--loop`; for argparse."""
    match = re.fullmatch(r"(?P<name>.+)=(?P<concurrency>\d+)(?:x(?P<processes>\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=CONCURRENCY[xPROCESSES]")
    processes = None if match["processes"] is None else int(match["processes"])
    return LoopOption(match["name"], int(match["concurrency"]), processes)


def load_target(
    target: str, options: list[LoopOption]
) -> tuple[Callable[..., Any], list[WorkerLoop]]:
    """The function that `target` names, and the loops to run with.

    The function is to be called with a graph and a coordinator, also if the user's takes only one.

    Raises:
        BadArguments: there is none, or it is not one to run; a traceback of the module is printed.
    """
    module, function = find_target(target, "MODULE:ASYNC_FUNCTION")
    return _check_builder(function, target), _loops(getattr(module, "LOOPS", None), options)


def find_target(target: str, form: str) -> tuple[Any, Any]:
    """The module that `target` names, and what it names in there.

    Args:
        form: what was to be typed, such as "MODULE:FUNCTION".

    Raises:
        BadArguments: there is none; a traceback of the module is printed.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise BadArguments(f"{target!r} is not {form}")
    module = _import(module_name)
    try:
        return module, attrgetter(name)(module)
    except AttributeError:
        raise BadArguments(
            f"module {module_name!r} ({getattr(module, '__file__', None)}) has no {name!r}"
        ) from None


def without_coordinator(function: Callable[..., Any]) -> Callable[..., Any]:
    """A builder out of a function that takes the graph alone."""
    return lambda graph, _: function(graph)


def takes(function: Callable[..., Any], number: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*[None] * number)
    except TypeError:
        return False
    return True


def _import(name: str) -> Any:
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may do anything
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise BadArguments(
                f"there is no module {missing!r}, neither in {directory} nor installed"
            ) from None
        print_exception(error)
        raise BadArguments(
            f"module {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from None


def _check_builder(function: Any, target: str) -> Callable[..., Any]:
    """See that the function is async and can be called with a graph."""
    from trio_actor_graph.calls import is_coroutine_function

    if not callable(function) or not is_coroutine_function(function):
        raise BadArguments(f"{target!r} is not an async function")
    builder: Callable[..., Any] = function
    signature = inspect.signature(builder)
    wants_coordinator = list(signature.parameters)[1:2] == ["coordinator"]
    if takes(builder, 1) and not wants_coordinator:
        return without_coordinator(builder)
    if takes(builder, 2):
        return builder
    raise BadArguments(
        f"{target!r} can be called neither with a graph nor with a graph and a coordinator: "
        f"its arguments are {signature}"
    )


def _loops(loops: Any, options: list[LoopOption]) -> list[WorkerLoop]:
    """The module's LOOPS, with what the options change and add."""
    from trio_actor_graph.errors import GraphError
    from trio_actor_graph.loops import WorkerLoop, as_worker_loops

    try:
        by_name = as_worker_loops(loops)
    except GraphError as error:
        raise BadArguments(f"LOOPS: {error}") from None
    for option in options:
        loop = by_name.get(option.name) or WorkerLoop(option.name)
        processes = option.processes
        if processes is None:
            processes = min(loop.processes, option.concurrency)
        try:
            by_name[option.name] = replace(
                loop, concurrency=option.concurrency, processes=processes
            )
        except GraphError as error:
            raise BadArguments(f"--loop: {error}") from None
    return list(by_name.values())
