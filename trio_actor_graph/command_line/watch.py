"""Running a graph with its progress shown, and telling how it ended.

Errors are shown to whoever wrote the graph: tracebacks begin in their code, and what tells of a
task is told in a line, since the task's own story is above it.
"""

from __future__ import annotations

import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.loops import WorkerLoop
    from trio_actor_graph.statistics import CoordinatorStatistics

# Where frames lie that are not the user's: in this package and, between us and the user's code, in
# contextlib and importlib.
_NOT_THE_USERS: Final = (
    str(Path(__file__).parents[1]),
    sysconfig.get_path("stdlib"),
    "<frozen ",
)


class Ended(NamedTuple):
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
            print_failures(self.graph, console or make_console(sys.stderr))
        if console is not None:
            print_run_times(self.statistics, self.seconds, console)
        if self.error is not None:
            _print_error(self.error)


def watch(
    builder: Callable[..., Any],
    loops: list[WorkerLoop],
    name: str,
    console: Console | None,
    **options: Any,
) -> Ended:
    """Run the graph that `builder(graph, coordinator)` builds, shown on the console if any.

    Args:
        builder: what builds it.
        loops: the worker loops.
        name: of the graph.
        console: where its progress is shown.
        options: further ones of `open_coordinator`.
    """
    import trio

    return trio.run(_watch, builder, loops, name, console, options)


def make_console(file: Any) -> Console:
    """A console that writes to `file`, a terminal or not."""
    from rich.console import Console

    # Where there is no terminal there is no width either; this one breaks few lines.
    width = None if file is not None and file.isatty() else 100
    return Console(file=file, width=width, highlight=False)


def print_exception(error: BaseException) -> None:
    """Print a traceback that begins where somebody else's code does."""
    import traceback

    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


async def _watch(
    builder: Callable[..., Any],
    loops: list[WorkerLoop],
    name: str,
    console: Console | None,
    options: dict[str, Any],
) -> Ended:
    from contextlib import nullcontext

    from trio_actor_graph.errors import PayloadError
    from trio_actor_graph.observe.progress import show_progress
    from trio_actor_graph.opening import open_coordinator
    from trio_actor_graph.task import Task

    began = time.monotonic()
    graph: TaskGraph | None = None
    value = error = None
    async with open_coordinator(loops, **options) as coordinator:
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
        try:
            value = value.result_nowait() if value.state == "succeeded" else None
        except PayloadError as raised:  # it can be loaded in the workers, perhaps, but not here
            value, error = None, error or raised
    return Ended(graph, value, error, statistics, seconds)


def _print_error(error: Exception) -> None:
    """Print what came out of the function; in short, if it tells of a task: that is told."""
    import traceback

    from trio_actor_graph.errors import TrioActorGraphError

    if not isinstance(error, TrioActorGraphError) or not error.args:
        print_exception(error)
        return
    frames = traceback.extract_tb(error.__traceback__)
    at = [f" at {f.filename}:{f.lineno} in {f.name}" for f in frames if not _is_ours(f.filename)]
    text = f"{type(error).__name__}{''.join(at[-1:])}: {error.args[0]}"
    print(text, file=sys.stderr)  # noqa: T201 - a command line prints


def _is_ours(filename: str) -> bool:
    return filename.startswith(_NOT_THE_USERS)
