"""The command line: `trio-actor-graph demo`, and `run` and `logs` of `MODULE:ASYNC_FUNCTION`.

All build a graph by an async function, watch it while it runs, and tell at the end what failed and
where the time went. What that takes is imported when it is known that there is something to run.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from trio_actor_graph.command_line.files import picture_option, trace_option, write_files
from trio_actor_graph.command_line.logs import level_option, show_logs
from trio_actor_graph.command_line.serve import SERVE_HELP
from trio_actor_graph.command_line.serve import add_options as add_serve_options
from trio_actor_graph.command_line.serve import serve as serve_until_signal
from trio_actor_graph.command_line.served_logs import Wanted, show_served_logs
from trio_actor_graph.command_line.target import (
    BadArguments,
    load_target,
    loop_option,
    without_coordinator,
)
from trio_actor_graph.command_line.watch import make_console, watch

EXIT_FAILED: Final = 1
EXIT_ARGUMENTS: Final = 2
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` returns; argparse has no public name for it."""

EXAMPLES = """\
examples:
  trio-actor-graph demo
  trio-actor-graph run pipeline:build
  trio-actor-graph run pipeline:build --loop http=20 --loop cpu=4x4 --name nightly
  trio-actor-graph run pipeline:build --trace trace.json --draw graph.html --critical-path
  trio-actor-graph logs pipeline:build --level debug --task count
  trio-actor-graph logs --at http://127.0.0.1:8000 --token-file token --follow
  trio-actor-graph serve service:coordinator --port 8000 --token-file token
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

LOGS_HELP = """\
Run the task graph that an async function builds, as `run` does, and print what its tasks have
logged, printed and written to stderr: each task below the one that created it or that it waited
for, with its lines.

With --at no graph is run: shown are the lines of a graph that another program serves over HTTP.
"""

RUN_STATUS = """\
exit status:
  0  every task went well
  1  a task failed, or the function raised, or a file cannot be written
  2  bad arguments: no such module or function, or not an async one
  130  interrupted by Ctrl-C
"""

SERVE_STATUS = """\
exit status:
  0  ended by SIGTERM
  2  bad arguments: no such module or function, or the server cannot listen there
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
    for add in (_add_demo, _add_run, _add_logs, _add_serve):
        add(commands)
    return parser


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="count the words of Python's documentation: a real run that needs no network",
        description="Count the words of Python's documentation: pydoc's pages are served on this "
        "machine, fetched in a loop of async tasks, counted in two processes and added up. "
        "One page is missing on purpose.",
    )
    demo.set_defaults(command=_demo)


def _add_run(commands: Commands) -> None:
    run = commands.add_parser(
        "run",
        help="run the graph that an async function of yours builds",
        description=RUN_HELP,
        epilog=f"{EXAMPLES}\n{RUN_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_target(run)
    run.add_argument(
        "--quiet",
        action="store_true",
        help="show no progress and no times; print what the function returned, "
        "and what failed on stderr",
    )
    run.add_argument(
        "--draw",
        type=picture_option,
        metavar="FILE",
        help="draw the graph at the end: a .svg, .png, .html, .dot or .mmd file",
    )
    run.add_argument(
        "--trace",
        type=trace_option,
        metavar="FILE",
        help="write a timeline at the end for ui.perfetto.dev: a .json or .json.gz file",
    )
    run.add_argument(
        "--critical-path",
        action="store_true",
        help="print at the end which tasks made the run as long as it was",
    )
    run.set_defaults(command=_run)


def _add_logs(commands: Commands) -> None:
    logs = commands.add_parser(
        "logs",
        help="print what the tasks of such a graph, or of a served one, have logged",
        description=LOGS_HELP,
        epilog=f"{EXAMPLES}\n{RUN_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_target(logs, is_needed=False)
    logs.add_argument(
        "--at",
        metavar="SERVER",
        help="show a graph of this server instead: its URL, or the path of its socket",
    )
    logs.add_argument("--token-file", metavar="PATH", help="with --at: the file of the token")
    logs.add_argument(
        "--graph",
        metavar="NAME_OR_UID",
        help="with --at: which graph; by default the newest",
    )
    logs.add_argument(
        "--follow",
        action="store_true",
        help="with --at: print each line as it comes, until the graph is closed",
    )
    logs.add_argument(
        "--level",
        default="INFO",
        type=level_option,
        help="show lines of at least this level; by default INFO",
    )
    logs.add_argument(
        "--task", metavar="NAME_OR_UID", help="show the lines of these tasks; by default of all"
    )
    logs.set_defaults(command=_logs)


def _add_serve(commands: Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve a coordinator of yours over HTTP",
        description=SERVE_HELP,
        epilog=SERVE_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_serve_options(serve)
    serve.set_defaults(command=_serve)


def _add_target(command: argparse.ArgumentParser, *, is_needed: bool = True) -> None:
    command.add_argument(
        "target",
        nargs=None if is_needed else "?",
        metavar="MODULE:ASYNC_FUNCTION",
        help="what builds the graph",
    )
    command.add_argument(
        "--loop",
        action="append",
        default=[],
        type=loop_option,
        metavar="NAME=CONCURRENCY[xPROCESSES]",
        help="have a worker loop run that many tasks at once, over that many processes; "
        "of a loop in LOOPS this changes only the numbers; repeatable",
    )
    command.add_argument("--name", help="the graph's name; by default the target")


# The commands


def _help(parser: argparse.ArgumentParser, _: argparse.Namespace) -> int:
    parser.print_help(sys.stderr)
    return EXIT_ARGUMENTS


def _demo(_: argparse.Namespace) -> int:
    from trio_actor_graph.demo import words
    from trio_actor_graph.demo.top_words import print_top_words

    console = make_console(sys.stdout)
    console.print(
        f"Counting the words of {words.PAGES} pages of Python's documentation, written by pydoc\n"
        "and served on this machine. One more page is missing on purpose.\n",
    )
    builder = without_coordinator(words.count_documentation)
    ended = watch(builder, words.LOOPS, "word counts", console)
    if ended.error is None:
        print_top_words(ended.value, console)
    ended.tell(console)
    # The missing page has failed, as it should.
    return 0 if ended.error is None else EXIT_FAILED


def _run(arguments: argparse.Namespace) -> int:
    try:
        builder, loops = load_target(arguments.target, arguments.loop)
    except BadArguments as error:
        print(f"trio-actor-graph run: {error}", file=sys.stderr)
        return EXIT_ARGUMENTS
    console = None if arguments.quiet else make_console(sys.stdout)
    wants_times = bool(arguments.critical_path or arguments.trace or arguments.draw)
    name = arguments.name or arguments.target
    ended = watch(builder, loops, name, console, record_times=wants_times)
    ended.tell(console)
    if ended.graph is not None and arguments.critical_path:
        print(f"\n{ended.graph.critical_path()}", file=sys.stderr if console is None else None)
    has_failed = ended.has_failed
    if ended.graph is not None:
        try:
            write_files(ended.graph, arguments.draw, arguments.trace)
        except BadArguments as error:
            print(f"trio-actor-graph run: {error}", file=sys.stderr)
            has_failed = True
    if ended.value is not None:
        if console is not None:
            console.print()
        print(_as_text(ended.value))
    return EXIT_FAILED if has_failed else 0


def _logs(arguments: argparse.Namespace) -> int:
    try:
        if arguments.at is not None:
            return _served_logs(arguments)
        if arguments.target is None:
            raise BadArguments("what builds the graph must be given, or --at")
        if arguments.graph or arguments.token_file or arguments.follow:
            raise BadArguments("--graph, --token-file and --follow go with --at")
        builder, loops = load_target(arguments.target, arguments.loop)
        name = arguments.name or arguments.target
        has_failed = show_logs(builder, loops, name, arguments.level, arguments.task)
    except BadArguments as error:
        print(f"trio-actor-graph logs: {error}", file=sys.stderr)
        return EXIT_ARGUMENTS
    return EXIT_FAILED if has_failed else 0


def _served_logs(arguments: argparse.Namespace) -> int:
    if arguments.target or arguments.loop or arguments.name:
        raise BadArguments("with --at nothing is run: it takes no function, --loop or --name")
    show_served_logs(
        Wanted(
            arguments.at,
            arguments.token_file,
            arguments.graph,
            arguments.level,
            arguments.task,
            arguments.follow,
        )
    )
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    try:
        return serve_until_signal(arguments)
    except BadArguments as error:
        print(f"trio-actor-graph serve: {error}", file=sys.stderr)
        return EXIT_ARGUMENTS


def _as_text(value: object) -> str:
    from pprint import pformat

    return value if isinstance(value, str) else pformat(value)


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


if __name__ == "__main__":
    sys.exit(main())
