"""Observers: they are told what happens to graphs, tasks and workers, and can change nothing.

They are told in the coordinator's task, after the workers have got their orders, so what an
observer does must be short; one that has more to do puts it into a queue of its own. One that
raises is told nothing more: whatever a display or a sink does, the run goes on.

While there is none, a change of a task's state costs one look at an attribute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trio_actor_graph.complaints import complain
from trio_actor_graph.graph.records import Move, WorkerRecord
from trio_actor_graph.logs import LogLine

if TYPE_CHECKING:
    from trio_actor_graph.graph.scheduler import Scheduler
    from trio_actor_graph.handles import TaskGraph
    from trio_actor_graph.observe.spans import Spans

GraphHappening: TypeAlias = Literal["opened", "finished", "cancelled", "stalled", "closed"]
WorkerHappening: TypeAlias = Literal["starting", "ready", "lost", "ended"]


class Observer:
    """What an observer may be told; it overrides what it wants to hear.

    Attributes:
        wants_moves: it is told of moves; noting them is what costs most.
    """

    wants_moves: bool = True

    def on_moves(self, moves: Sequence[Move], at: float) -> None:
        """Tasks came to other states, in this order.

        Args:
            moves: told together because they happened together. The records say what is now.
            at: when, in seconds of `time.perf_counter`.
        """

    def on_graph(self, graph: TaskGraph, happening: GraphHappening) -> None:
        """A graph was opened, or has finished: all its tasks have ended, though more may come.

        A stalled one was cancelled as well, and is told of as "stalled" only.
        """

    def on_worker(self, worker: WorkerRecord, happening: WorkerHappening) -> None:
        """A worker is starting, ready, or gone: "lost" if nobody had asked it to end."""

    def on_log(self, line: LogLine) -> None:
        """A task has logged a line, as it has been put into the store of its graph.

        What it logs in turn arrives here too, so an observer must not log about lines.
        """


class Watch:
    """Who observes one coordinator, what they have still to be told, and what is recorded.

    Args:
        scheduler: whose moves are noted while somebody wants them.
        wake: has `tell` called soon.
        spans: what traces the graphs, if the app does; see `observe/spans.py`.
        records_times: times of tasks are recorded also while there is no observer.

    Attributes:
        is_active: there is an observer, and `tell` is to be called.
        is_recorded: new tasks get times.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        wake: Callable[[], None],
        spans: Spans | None = None,
        records_times: bool = False,
    ):
        self.is_active = False
        self.is_recorded = records_times
        self.spans = spans
        self._scheduler = scheduler
        self._wake = wake
        self._records_times = records_times
        self._observers: list[Observer] = []
        self._is_watched = False  # moves are noted
        self._is_telling = False
        self._news: list[tuple[Any, ...]] = []  # besides moves
        if spans is not None:
            self.add(spans)

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)
        self._change()

    def remove(self, observer: Observer) -> None:
        """Tell it nothing more; does nothing if it is none, as after it has raised."""
        self._observers = [each for each in self._observers if each is not observer]
        self._change()

    def has(self, observer: Observer) -> bool:
        """Whether it is told of anything: not any more after it has failed."""
        return any(each is observer for each in self._observers)

    def in_graph(self, graph: TaskGraph) -> AbstractContextManager[None]:
        """The context in which the block of a graph runs."""
        return nullcontext() if self.spans is None else self.spans.in_graph(graph)

    def note(self, what: str, *about: Any) -> None:
        """Have a method of each observer called, after the moves that led to it."""
        if self.is_active:
            self._news.append((what, *about))
            self._wake()  # there may be nothing else to do

    def tell(self) -> None:
        """Tell what has been noted.

        An observer may ask something of the coordinator that runs commands at once, and so comes
        back here: then what is new is left for the call that is under way, lest those that have
        still to be told hear of it too early.
        """
        if self._is_telling:
            self._wake()
            return
        self._is_telling = True
        try:
            moves = self._scheduler.take_moves() if self._is_watched else []
            if moves:
                self._tell("on_moves", moves, perf_counter())
            news, self._news = self._news, []
            for what, *about in news:
                self._tell(what, *about)
        finally:
            self._is_telling = False

    def tell_line(self, line: LogLine) -> None:
        """Tell of a log line at once: it came before whatever else its worker has reported."""
        if self.is_active:
            self._tell("on_log", line)

    def _tell(self, what: str, *about: Any) -> None:
        for observer in tuple(self._observers):
            try:
                getattr(observer, what)(*about)
            except (Exception, SystemExit):
                self.remove(observer)
                complain(
                    "trio_actor_graph",
                    logging.WARNING,
                    "observer %r has failed in %s and is told nothing more",
                    type(observer).__name__,
                    what,
                    exc_info=True,
                )

    def _change(self) -> None:
        """Note no more than somebody wants to hear."""
        self.is_active = bool(self._observers)
        self.is_recorded = self._records_times or self.is_active
        is_wanted = any(observer.wants_moves for observer in self._observers)
        if self._is_watched != is_wanted:
            self._is_watched = is_wanted
            self._scheduler.watch(is_wanted)
        if not self.is_active:
            self._news.clear()
