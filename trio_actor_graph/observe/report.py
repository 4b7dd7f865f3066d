"""The end of a run, told to people: what failed and why, and where the time went."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trio_actor_graph.errors import TaskFailed, WorkerStartError

if TYPE_CHECKING:
    from rich.console import Console

    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.statistics import CoordinatorStatistics, RunTime
    from trio_actor_graph.task import Task

FAILURES_MAX: Final = 10
"""How many different failures are told; who has more looks at one after the other anyway."""

COMPARED_MAX: Final = 1_000
"""How many failed tasks are looked at to find those; each one's error is made for it."""

TEXT_LINES_MAX: Final = 6
"""How many lines of one exception's text are told."""

TIMES_MAX: Final = 40
"""How many rows the table of times has."""

_FRAME = re.compile(
    r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE
)


def print_failures(graph: TaskGraph, console: Console) -> None:
    """Tell which tasks failed and why, and how many could not run because of it."""
    counts = graph.counts()
    if counts["failed"] or counts["skipped"] or counts["cancelled"]:
        console.print()
    if failed := counts["failed"]:
        _print_line(console, Text(f"{_tasks(failed)} failed", "bold red"))
        told = 0
        for lines, alike in _distinct(_in_state(graph, "failed")):
            _print_failure(console, lines, alike)
            told += alike
        if told < failed:
            _print_line(console, Text(f"... and {failed - told:,} more", "dim"), 2)
    if skipped := counts["skipped"]:
        _print_line(console, Text(f"{_tasks(skipped)} skipped", "bold magenta"))
        for task, _ in zip(_in_state(graph, "skipped"), range(FAILURES_MAX), strict=False):
            _print_line(console, Text(f"{task.error}"), 2)
        if skipped > FAILURES_MAX:
            _print_line(console, Text(f"... and {skipped - FAILURES_MAX:,} more", "dim"), 2)
    if cancelled := counts["cancelled"]:
        _print_line(console, Text(f"{_tasks(cancelled)} cancelled", "bold magenta"))


def print_run_times(statistics: CoordinatorStatistics, seconds: float, console: Console) -> None:
    """Tell for how long which tasks ran, and in which worker.

    Args:
        statistics: what the coordinator says.
        seconds: how long the run took, all in all.
        console: where to tell it.
    """
    rows = _by_name(statistics.run_times)
    if not rows:
        return
    spent = sum(row.seconds for row in rows)
    console.print()
    headline = Text("where the time went", "bold")
    headline.append(f": {spent:.1f} s in tasks during {seconds:.1f} s", "not bold")
    _print_line(console, headline)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("  task")  # the names are cut before the numbers are
    table.add_column("worker")
    for heading in ("runs", "seconds", "mean", "longest"):
        table.add_column(heading, justify="right", no_wrap=True)
    name = None
    for row in rows[:TIMES_MAX]:
        table.add_row(
            Text("" if row.name == name else f"  {row.name}", no_wrap=True, overflow="ellipsis"),
            Text(row.worker, no_wrap=True, overflow="ellipsis"),
            f"{row.attempts:,}",
            f"{row.seconds:.2f}",
            _duration(row.seconds / row.attempts),
            _duration(row.seconds_max),
        )
        name = row.name
    console.print(table)
    if len(rows) > TIMES_MAX:
        _print_line(console, Text(f"... and {len(rows) - TIMES_MAX:,} more", "dim"), 2)


def failure_lines(error: BaseException) -> list[str]:
    """An error's text, cut to what fits into a report, and where it was raised."""
    text = str(error.args[0]) if error.args else str(error)
    lines = text.strip().splitlines() or [type(error).__name__]
    if isinstance(error, WorkerStartError):  # the rest is a traceback
        del lines[1:]
    if len(lines) > TEXT_LINES_MAX:
        lines[TEXT_LINES_MAX - 1 :] = ["..."]
    trace = error.remote_traceback if isinstance(error, TaskFailed) else text
    where = _where(trace)
    return [*lines, f"at {where}"] if where else lines


def _distinct(tasks: Iterator[Task[Any]]) -> Iterator[tuple[list[str], int]]:
    """The different failures, each as lines, with how many tasks it struck."""
    found: dict[tuple[str, ...], tuple[list[str], int]] = {}
    for task, _ in zip(tasks, range(COMPARED_MAX), strict=False):
        assert task.error is not None
        lines = failure_lines(task.error)
        key = (task.name, lines[0].removeprefix(f"task {task.name!r} ({task.uid})"), *lines[1:])
        first, alike = found.get(key, (lines, 0))
        found[key] = (first, alike + 1)
    for (lines, alike), _ in zip(found.values(), range(FAILURES_MAX), strict=False):
        yield lines, alike


def _print_failure(console: Console, lines: list[str], alike: int) -> None:
    first, *others = lines
    line = Text(first)
    if alike > 1:
        line.append(f" (and {_others(alike - 1)} the same way)", "dim")
    _print_line(console, line, 2)
    for other in others:
        _print_line(console, Text(other, "dim"), 4)


def _where(trace: str) -> str:
    """The last place in a traceback that is somebody's own code, else the last one."""
    frames = list(_FRAME.finditer(trace))
    if not frames:
        return ""
    foreign = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
    own = [frame for frame in frames if not frame["file"].startswith((*foreign, "<"))]
    frame = (own or frames)[-1]
    return f"{frame['file']}:{frame['line']} in {frame['function']}"


def _by_name(rows: tuple[RunTime, ...]) -> list[RunTime]:
    """The rows of each task name together, what took longest first."""
    spent: dict[str, float] = {}
    for row in rows:
        spent[row.name] = spent.get(row.name, 0.0) + row.seconds
    return sorted(rows, key=lambda row: (-spent[row.name], row.name, row.worker))


def _in_state(graph: TaskGraph, state: str) -> Iterator[Task[Any]]:
    return (task for task in graph.tasks if task.state == state)


def _print_line(console: Console, text: Text, indent: int = 0) -> None:
    """Print text, on a terminal broken between words; anywhere else a line stays a line."""
    if console.is_terminal:
        console.print(Padding.indent(text, indent), highlight=False)
    else:
        console.print(Text(" " * indent) + text, soft_wrap=True, highlight=False)


def _tasks(number: int) -> str:
    return "1 task" if number == 1 else f"{number:,} tasks"


def _others(number: int) -> str:
    return "1 other" if number == 1 else f"{number:,} others"


def _duration(seconds: float) -> str:
    """A duration with three digits and a fitting unit."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.0f} us"
