"""Observers: they are told what happens to graphs, tasks and workers, and can change nothing.

They are told in the coordinator's task, after the workers have got their orders, so what an
observer does must be short; one that has more to do puts it into a queue of its own. One that
raises is told nothing more: whatever a display or a sink does, the run goes on.

While there is none, a change of a task's state costs one look at an attribute.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trio_actor_graph.graph.records import Move, WorkerRecord
from trio_actor_graph.logs import LogLine

if TYPE_CHECKING:
    from trio_actor_graph.handles import TaskGraph

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


class Observers:
    """All observers of one coordinator."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def __bool__(self) -> bool:
        return bool(self._observers)

    @property
    def want_moves(self) -> bool:
        """Whether any of them is to be told of moves."""
        return any(observer.wants_moves for observer in self._observers)

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def remove(self, observer: Observer) -> None:
        """Tell it nothing more; does nothing if it is none, as after it has raised."""
        self._observers = [each for each in self._observers if each is not observer]

    def tell(self, what: str, *about: Any) -> None:
        """Call a method of each.

        Args:
            what: its name.
            about: its arguments.
        """
        for observer in tuple(self._observers):
            try:
                getattr(observer, what)(*about)
            except Exception:
                self.remove(observer)
                logging.getLogger("trio_actor_graph").warning(
                    "observer %r has failed in %s and is told nothing more",
                    type(observer).__name__,
                    what,
                    exc_info=True,
                )
