"""The command line: `trio-actor-graph demo` and `trio-actor-graph run MODULE:ASYNC_FUNCTION`.

Both build a graph by an async function, watch it while it runs, and tell at the end what failed and
where the time went. What that takes is imported when it is known that there is something to run.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import io
import os
import re
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.loops import WorkerLoop
    from trio_actor_graph.statistics import CoordinatorStatistics

EXIT_FAILED: Final = 1
EXIT_ARGUMENTS: Final = 2
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT

EXAMPLES = """\
examples:
  trio-actor-graph demo
  trio-actor-graph run pipeline:build
  trio-actor-graph run pipeline:build --loop http=20 --loop cpu=4x4 --name nightly
  python -m trio_actor_graph run package.module:build --quiet > result.txt
"""

RUN_HELP = """\
Run the task graph that an async function builds, and watch it.

The module is imported with the current directory on the search path. The function is called as
`await function(graph)` with an open TaskGraph, or as `await function(graph, coordinator)` if it
takes two. It creates tasks by `graph.create_task(...)` and need not wait for them. What it returns
is printed at the end; for a task, its result. If the module has LOOPS, a list of WorkerLoop or
whatever else `open_coordinator` takes, the tasks run in these.

  # pipeline.py
  from trio_actor_graph import WorkerLoop

  async def fetch(url): ...
  def count(page): ...

  LOOPS = [WorkerLoop("http", concurrency=10, functions=[fetch])]

  async def build(graph):
      return graph.create_task(count, graph.create_task(fetch, "http://..."))
"""

RUN_STATUS = """\
exit status:
  0  every task went well
  1  a task failed, or the function raised
  2  bad arguments: no such module or function, or not an async one
  130  interrupted by Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # not None, nor of a program that runs us
                stream.reconfigure(errors="backslashreplace")
        arguments = _parser().parse_args(argv)
        status: int = arguments.command(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read what we print has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_FAILED
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            return EXIT_INTERRUPTED
        raise
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trio-actor-graph",
        description="Run graphs of tasks in worker processes, and watch them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the versions and exit")
    parser.set_defaults(command=partial(_help, parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="count the words of Python's documentation: a real run that needs no network",
        description="Count the words of Python's documentation: pydoc's pages are served on this "
        "machine, fetched in a loop of async tasks, counted in two processes and added up. "
        "One page is missing on purpose.",
    )
    demo.set_defaults(command=_demo)

    run = commands.add_parser(
        "run",
        help="run the graph that an async function of yours builds",
        description=RUN_HELP,
        epilog=f"{EXAMPLES}\n{RUN_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("target", metavar="MODULE:ASYNC_FUNCTION", help="what builds the graph")
    run.add_argument(
        "--loop",
        action="append",
        default=[],
        type=_loop_option,
        metavar="NAME=CONCURRENCY[xPROCESSES]",
        help="have a worker loop run that many tasks at once, over that many processes; "
        "of a loop in LOOPS this changes only the numbers; repeatable",
    )
    run.add_argument("--name", help="the graph's name; by default the target")
    run.add_argument(
        "--quiet",
        action="store_true",
        help="show no progress and no times; print what the function returned, "
        "and what failed on stderr",
    )
    run.set_defaults(command=_run)
    return parser


# The commands


def _help(parser: argparse.ArgumentParser, _: argparse.Namespace) -> int:
    parser.print_help(sys.stderr)
    return EXIT_ARGUMENTS


def _demo(_: argparse.Namespace) -> int:
    from trio_actor_graph.demo import words
    from trio_actor_graph.demo.top_words import print_top_words

    console = _console(sys.stdout)
    console.print(
        f"Counting the words of {words.PAGES} pages of Python's documentation, written by pydoc\n"
        "and served on this machine. One more page is missing on purpose.\n",
    )
    builder = _without_coordinator(words.count_documentation)
    ended = _watch(builder, words.LOOPS, "word counts", console)
    if ended.error is None:
        print_top_words(ended.value, console)
    ended.tell(console)
    # The missing page has failed, as it should.
    return 0 if ended.error is None else EXIT_FAILED


def _run(arguments: argparse.Namespace) -> int:
    try:
        builder, loops = _load(arguments.target, arguments.loop)
    except _BadArguments as error:
        print(f"trio-actor-graph run: {error}", file=sys.stderr)
        return EXIT_ARGUMENTS
    console = None if arguments.quiet else _console(sys.stdout)
    ended = _watch(builder, loops, arguments.name or arguments.target, console)
    ended.tell(console)
    if ended.value is not None:
        if console is not None:
            console.print()
        print(_as_text(ended.value))
    return EXIT_FAILED if ended.has_failed else 0


class _Version(argparse.Action):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{**kwargs, "nargs": 0})

    def __call__(self, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        found = {}
        for package in ("trio-actor-graph", "trio", "tractor"):
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "(not installed)"
        ours = found.pop("trio-actor-graph")
        python = ".".join(map(str, sys.version_info[:3]))
        others = ", ".join(f"{name} {number}" for name, number in found.items())
        print(f"trio-actor-graph {ours} (Python {python}, {others})")
        sys.exit(0)


# What to run


class _BadArguments(Exception):
    """Whoever typed the command has to change it; the text says what."""


class _LoopOption(NamedTuple):
    name: str
    concurrency: int
    processes: int | None


def _loop_option(text: str) -> _LoopOption:
    match = re.fullmatch(r"(?P<name>.+)=(?P<concurrency>\d+)(?:x(?P<processes>\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=CONCURRENCY[xPROCESSES]")
    processes = None if match["processes"] is None else int(match["processes"])
    return _LoopOption(match["name"], int(match["concurrency"]), processes)


def _load(target: str, options: list[_LoopOption]) -> tuple[Callable[..., Any], list[WorkerLoop]]:
    """The function that `target` names, and the loops to run with."""
    module_name, _, function_name = target.partition(":")
    if not module_name or not function_name:
        raise _BadArguments(f"{target!r} is not MODULE:ASYNC_FUNCTION")
    module = _import(module_name)
    try:
        function = attrgetter(function_name)(module)
    except AttributeError:
        raise _BadArguments(
            f"module {module_name!r} ({getattr(module, '__file__', None)}) has no {function_name!r}"
        ) from None
    return _check_builder(function, target), _loops(getattr(module, "LOOPS", None), options)


def _import(name: str) -> Any:
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may do anything
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise _BadArguments(
                f"there is no module {missing!r}, neither in {directory} nor installed"
            ) from None
        _print_exception(error)
        raise _BadArguments(f"module {name!r} cannot be imported: {_short(error)}") from None


def _check_builder(function: Any, target: str) -> Callable[..., Any]:
    """See that the function is async and can be called with a graph."""
    from trio_actor_graph.calls import is_coroutine_function

    if not callable(function) or not is_coroutine_function(function):
        raise _BadArguments(f"{target!r} is not an async function")
    builder: Callable[..., Any] = function
    signature = inspect.signature(builder)
    wants_coordinator = list(signature.parameters)[1:2] == ["coordinator"]
    if _takes(signature, 1) and not wants_coordinator:
        return _without_coordinator(builder)
    if _takes(signature, 2):
        return builder
    raise _BadArguments(
        f"{target!r} can be called neither with a graph nor with a graph and a coordinator: "
        f"its arguments are {signature}"
    )


def _takes(signature: inspect.Signature, number: int) -> bool:
    try:
        signature.bind(*[None] * number)
    except TypeError:
        return False
    return True


def _without_coordinator(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda graph, _: function(graph)


def _loops(loops: Any, options: list[_LoopOption]) -> list[WorkerLoop]:
    """The module's LOOPS, with what the options change and add."""
    from trio_actor_graph.errors import GraphError
    from trio_actor_graph.loops import WorkerLoop, as_worker_loops

    try:
        by_name = as_worker_loops(loops)
    except GraphError as error:
        raise _BadArguments(f"LOOPS: {error}") from None
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
            raise _BadArguments(f"--loop: {error}") from None
    return list(by_name.values())


# Running it


class _Ended(NamedTuple):
    """How a run went: all there is to tell."""

    graph: TaskGraph | None
    value: Any
    error: Exception | None
    statistics: CoordinatorStatistics
    seconds: float

    @property
    def has_failed(self) -> bool:
        failed = self.graph is not None and self.graph.counts()["failed"] > 0
        return failed or self.error is not None

    def tell(self, console: Console | None) -> None:
        """Print what failed, and where the time went; without a console only that, on stderr."""
        from trio_actor_graph.observe.report import print_failures, print_run_times

        if self.graph is not None:
            print_failures(self.graph, console or _console(sys.stderr))
        if console is not None:
            print_run_times(self.statistics, self.seconds, console)
        if self.error is not None:
            _print_error(self.error)


def _watch(
    builder: Callable[..., Any], loops: list[WorkerLoop], name: str, console: Console | None
) -> _Ended:
    import trio

    return trio.run(_watch_async, builder, loops, name, console)


async def _watch_async(
    builder: Callable[..., Any], loops: list[WorkerLoop], name: str, console: Console | None
) -> _Ended:
    """Run a graph, shown on the console if there is one."""
    from contextlib import nullcontext

    from trio_actor_graph.coordinator import open_coordinator
    from trio_actor_graph.observe.progress import show_progress
    from trio_actor_graph.task import Task

    began = time.monotonic()
    graph: TaskGraph | None = None
    value = error = None
    async with open_coordinator(loops) as coordinator:
        try:
            async with coordinator.open_graph(name, on_failure="continue") as graph:
                shown = show_progress(graph, coordinator, console) if console else nullcontext()
                async with shown:
                    value = await builder(graph, coordinator)
                    await graph.wait_finished()
        except Exception as raised:  # noqa: BLE001 - it is told when the coordinator has closed
            error = raised
        seconds = time.monotonic() - began
        statistics = coordinator.statistics()
    if isinstance(value, Task):
        value = value.result_nowait() if value.state == "succeeded" else None
    return _Ended(graph, value, error, statistics, seconds)


# Printing


def _console(file: Any) -> Console:
    from rich.console import Console

    # Where there is no terminal there is no width either; this one breaks few lines.
    width = None if file is not None and file.isatty() else 100
    return Console(file=file, width=width, highlight=False)


def _as_text(value: object) -> str:
    from pprint import pformat

    return value if isinstance(value, str) else pformat(value)


def _print_error(error: Exception) -> None:
    """Print what came out of the function; in short, if it tells of a task: that is told."""
    import traceback

    from trio_actor_graph.errors import TrioActorGraphError

    if not isinstance(error, TrioActorGraphError) or not error.args:
        _print_exception(error)
        return
    frames = traceback.extract_tb(error.__traceback__)
    at = [f" at {f.filename}:{f.lineno} in {f.name}" for f in frames if not _is_ours(f.filename)]
    print(f"{type(error).__name__}{''.join(at[-1:])}: {error.args[0]}", file=sys.stderr)


def _print_exception(error: BaseException) -> None:
    """Print a traceback that begins where somebody else's code does."""
    import traceback

    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _is_ours(filename: str) -> bool:
    ours = str(Path(__file__).parent)
    standard = sysconfig.get_path(
        "stdlib"
    )  # contextlib between us, importlib between us and a module
    return filename.startswith((ours, standard, "<frozen "))


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
