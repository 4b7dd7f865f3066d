"""A live display of a graph that runs: its tasks by name and state, and what each worker holds.

The display looks at the graph now and then, in a task of its own that belongs to nobody's nursery.
What it has seen is drawn in a thread, so that a terminal that is slow, or stopped by Ctrl-S, holds
up nobody. Looking at a large graph takes a while (0.15 s for 100,000 tasks), so it is done the less
often the longer it takes. A display that fails is not shown any more, and nothing else happens.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trio_actor_graph.graph.states import TASK_STATES, TERMINAL, TaskState

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.statistics import WorkerStatistics

LIVE_SECONDS: Final = 0.1
"""How often a terminal is drawn: often enough to look alive."""

LINE_SECONDS: Final = 1.0
"""How often there is a line where there is no terminal: a log should stay readable."""

LOOK_SHARE_MAX: Final = 0.03
"""How much of the coordinator's time may go into looking at the graph."""

ROWS_MAX: Final = 12
"""How many task names, and how many workers, are shown; more do not fit beside each other."""

STYLES: Final[dict[TaskState, str]] = {
    "waiting": "dim",
    "ready": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "bold red",
    "skipped": "magenta",
    "cancelled": "magenta",
}
_ALWAYS_SHOWN: Final = frozenset({"waiting", "ready", "running", "succeeded"})


class Snapshot(NamedTuple):
    """What there was to see at one moment.

    Attributes:
        counts: the graph's tasks by state.
        by_name: the same for each task name; empty for a display that does not show it.
    """

    graph_name: str
    seconds: float
    counts: dict[TaskState, int]
    by_name: dict[str, dict[TaskState, int]]
    workers: tuple[WorkerStatistics, ...]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        return sum(number for state, number in self.counts.items() if state in TERMINAL)


@asynccontextmanager
async def show_progress(
    graph: TaskGraph, coordinator: Coordinator, console: Console | None = None
) -> AsyncIterator[None]:
    """Show the graph's progress while the body runs.

    On a terminal this is a table that is drawn again and again, and stays as it was at the end;
    anywhere else it is a line a second, and one at the end. No failure of the display reaches the
    body.

    Args:
        graph: the graph to show.
        coordinator: its coordinator, whose workers are shown.
        console: where to show it; by default stdout.
    """
    watcher = _Watcher(graph, coordinator, console or Console())
    # Not a nursery's task: a nursery would wrap the body's exceptions in groups.
    trio.lowlevel.spawn_system_task(watcher.run, name="show_progress")
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await watcher.stop()


class _Watcher:
    """Takes snapshots and has them shown, until it is stopped or the display fails."""

    def __init__(self, graph: TaskGraph, coordinator: Coordinator, console: Console):
        self._graph = graph
        self._coordinator = coordinator
        self._console = console
        self._began = time.monotonic()
        self._looked_seconds = 0.0
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._limiter = trio.CapacityLimiter(1)  # not of the threads that the program shares

    async def run(self) -> None:
        try:
            await self._run()
        except Exception:  # noqa: BLE001, S110 - whatever a terminal does, the run goes on
            pass
        finally:
            self._stopped.set()

    async def stop(self) -> None:
        self._stop.set()
        await self._stopped.wait()

    async def _run(self) -> None:
        is_live = is_live_terminal(self._console)
        display: _Display = _LiveTable(self._console) if is_live else _Lines(self._console)
        interval = LIVE_SECONDS if is_live else LINE_SECONDS
        try:
            await self._in_thread(display.open)
            while not self._stop.is_set():
                if is_live:
                    await self._show(display)
                pause = max(interval, self._looked_seconds / LOOK_SHARE_MAX)
                with trio.move_on_after(pause):
                    await self._stop.wait()
                if not is_live and not self._stop.is_set():
                    await self._show(display)
            await self._show(display, is_last=True)
        finally:
            with trio.CancelScope(shield=True):
                await self._in_thread(display.close)

    async def _show(self, display: _Display, is_last: bool = False) -> None:
        began = time.monotonic()
        snapshot = self._look(display.shows_names)
        self._looked_seconds = time.monotonic() - began
        await self._in_thread(lambda: display.show(snapshot, is_last))

    def _look(self, with_names: bool) -> Snapshot:
        by_name: dict[str, dict[TaskState, int]] = {}
        for task in self._graph.tasks if with_names else ():
            counts = by_name.setdefault(task.name, {})
            state = task.state
            counts[state] = counts.get(state, 0) + 1
        return Snapshot(
            self._graph.name,
            time.monotonic() - self._began,
            self._graph.counts(),
            by_name,
            self._coordinator.workers,
        )

    async def _in_thread(self, function: Callable[[], object]) -> None:
        await trio.to_thread.run_sync(function, limiter=self._limiter)


def is_live_terminal(console: Console) -> bool:
    """Whether something can be drawn again and again; FORCE_COLOR alone does not make it so."""
    with suppress(Exception):
        return console.is_interactive and console.file.isatty()
    return False


# Displays, which live in a thread


class _Display(Protocol):
    shows_names: bool

    def open(self) -> None: ...

    def close(self) -> None: ...

    def show(self, snapshot: Snapshot, is_last: bool) -> None: ...


class _Lines:
    """A line now and then, for logs and pipes."""

    shows_names = False

    def __init__(self, console: Console):
        self._file = console.file

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def show(self, snapshot: Snapshot, is_last: bool) -> None:
        self._file.write(progress_line(snapshot) + "\n")
        self._file.flush()


class _LiveTable:
    """Tables that are drawn over themselves."""

    shows_names = True

    def __init__(self, console: Console):
        self._live = Live(console=console, auto_refresh=False)

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot, is_last: bool) -> None:
        parts: list[RenderableType] = [_headline(snapshot), _task_table(snapshot)]
        if snapshot.workers and not is_last:  # at the end no worker holds anything
            parts += ["", _worker_table(snapshot.workers)]
        self._live.update(Group(*parts), refresh=True)


def progress_line(snapshot: Snapshot) -> str:
    """The state of a run in one line of text."""
    counts = snapshot.counts
    parts = [f"{snapshot.seconds:7.1f} s  {snapshot.ended} of {snapshot.total} tasks ended"]
    shown: tuple[TaskState, ...] = ("running", "failed", "skipped", "cancelled")
    parts += [f"{counts[state]} {state}" for state in shown if counts.get(state)]
    return ", ".join(parts)


def _headline(snapshot: Snapshot) -> Table:
    line = Table.grid(padding=(0, 2))
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_row(
        Text(snapshot.graph_name, "bold"),
        ProgressBar(max(1, snapshot.total), snapshot.ended, width=20),
        Text(f"{snapshot.ended} of {snapshot.total} tasks ended"),
        Text(f"{snapshot.seconds:.1f} s", "dim"),
    )
    return line


def _task_table(snapshot: Snapshot) -> Table:
    states: list[TaskState] = [
        s for s in TASK_STATES if s in _ALWAYS_SHOWN or snapshot.counts.get(s)
    ]
    table = _new_table("task", *states)
    rows = list(snapshot.by_name.items())
    if len(rows) > ROWS_MAX:
        rest: dict[TaskState, int] = {}
        for _, counts in rows[ROWS_MAX - 1 :]:
            for state, number in counts.items():
                rest[state] = rest.get(state, 0) + number
        rows[ROWS_MAX - 1 :] = [(f"{len(rows) - ROWS_MAX + 1} other names", rest)]
    for name, counts in rows:
        numbers = [_number(counts.get(state, 0), STYLES[state]) for state in states]
        table.add_row(_name(name), *numbers)
    return table


def _worker_table(workers: tuple[WorkerStatistics, ...]) -> Table:
    table = _new_table("worker", "pid", "load", "")
    table.columns[3].justify = "left"
    for worker in workers[:ROWS_MAX]:
        running = min(worker.held, worker.slots)
        load = Text(f"{running} of {worker.slots}")
        if not worker.is_ready:
            load = Text("starting", "yellow")
        elif worker.held > running:
            load.append(f" +{worker.held - running}", "dim")
        table.add_row(
            _name(f"{worker.worker_loop}/{worker.index}"),
            Text(str(worker.pid or ""), "dim"),
            load,
            ProgressBar(worker.slots, running, width=20),
        )
    if len(workers) > ROWS_MAX:
        table.add_row(f"{len(workers) - ROWS_MAX} more", "", "", "")
    return table


def _new_table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, min_width=14)  # may be narrowed, as the others may not
    for other in others:
        table.add_column(other, justify="right", no_wrap=True, min_width=len(other))
    return table


def _name(name: str) -> Text:
    return Text(name, no_wrap=True, overflow="ellipsis")


def _number(number: int, style: str) -> Text:
    return Text(f"{number:,}", style) if number else Text("-", "dim")
