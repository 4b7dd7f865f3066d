"""Whose result may still be asked for: counted reasons to keep it, for graphs that keep the needed.

A reason is a handle in the app, a task that waits or waited for it and has not ended (it may be
retried), a running task that created it (which has a handle), or a task that ends as it and is kept
itself. With the last reason of an ended task its result goes.

What is about to be needed must be held before the commands of its event are run: they tell of ended
tasks, and with those go the reasons that were theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trio_actor_graph.graph.records import TaskRecord


class Needs:
    """The reasons to keep the results of one graph.

    Args:
        release: called with an ended task that nobody needs any more.
    """

    __slots__ = ("_children", "_let_gone", "_reasons", "_release")

    def __init__(self, release: Callable[[TaskRecord], None]):
        self._release = release
        self._reasons: dict[TaskRecord, int] = {}
        self._let_gone: set[TaskRecord] = set()  # that need no more what they ended as
        self._children: dict[TaskRecord, list[TaskRecord]] = {}

    def hold(self, task: TaskRecord) -> None:
        """One more reason to keep the result of this task, and of the one it ends or ended as."""
        reasons = self._reasons
        while True:
            reasons[task] = reasons.get(task, 0) + 1
            if task not in self._let_gone:
                return
            self._let_gone.discard(task)
            assert task.returns is not None
            task = task.returns

    def hold_all(self, tasks: Iterable[TaskRecord]) -> None:
        for task in tasks:
            self.hold(task)

    def hold_child(self, task: TaskRecord, creator: TaskRecord) -> None:
        """A running task has a handle of one that it created, until it ends."""
        self.hold(task)
        self._children.setdefault(creator, []).append(task)

    def drop(self, *tasks: TaskRecord) -> None:
        """One reason less to keep the result of each of these tasks."""
        pending = list(tasks)
        while pending:  # a loop, because chains of tail calls get long
            task = pending.pop()
            left = self._reasons[task] - 1
            if left:
                self._reasons[task] = left
                continue
            del self._reasons[task]
            if task.is_ended:
                pending.extend(self._let_go(task))

    def on_ended(self, task: TaskRecord) -> None:
        """A task has ended: it needs neither its inputs nor its children any more."""
        unneeded = self._let_go(task) if task not in self._reasons else ()
        self.drop(*task.predecessors, *self._children.pop(task, ()), *unneeded)

    def _let_go(self, task: TaskRecord) -> Iterable[TaskRecord]:
        self._release(task)
        if task.returns is None or task in self._let_gone:
            return ()
        self._let_gone.add(task)
        return (task.returns,)
