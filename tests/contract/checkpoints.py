"""Cancelling a piece of code at its first checkpoint, at its second, until it gets through.

A story is told again and again. It marks the piece with ``with cut.here():``; in telling number n
the piece is cancelled when its trio task waits for the n-th time since the piece began (before it
begins, for n = 0). A trio instrument counts: it sees each time the task gives up control, be it at
a checkpoint of the test, of this package or of trio, shielded or not.

Light imports only: workers import this file to run such stories in a task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import trio

# A nursery whose body is through leaves it to its children to notice a cancellation.
UNCANCELLABLE = {"cancel_shielded_checkpoint", "_nested_child_finished"}


class Cut(trio.abc.Instrument):
    """When the piece is cancelled in this telling, and what came of it.

    Attributes:
        number: the checkpoint at which it is cancelled, 0 for the time before it begins.
        came: the piece has reached that checkpoint.
        is_shielded: what it waited for there cannot be cancelled.
        is_through: the piece has come to its end.
        where: what it waited for there, innermost last.
    """

    def __init__(self, number: int):
        self.number = number
        self.came = False
        self.is_shielded = False
        self.is_through = False
        self.where = "before its beginning"
        self._seen = 0
        self._task: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope()

    @contextmanager
    def here(self) -> Iterator[None]:
        """The piece to be cancelled. It runs in the trio task that calls this.

        It may end without having noticed only where its last checkpoint is a shielded one.

        Raises:
            AssertionError: it has swallowed the cancellation.
        """
        self._task = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(self)
        if self.number == 0:
            self._cancel()
        try:
            with self._scope:
                yield
                self.is_through = True
        finally:
            trio.lowlevel.remove_instrument(self)
        assert self.came == self._scope.cancelled_caught or self.is_shielded, "it was swallowed"
        assert self.is_through != self._scope.cancelled_caught

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task and not self.came:
            self._seen += 1
            if self._seen == self.number:
                self._note_where(task)
                self._cancel()
                self.is_shielded |= not task._cancel_status.effectively_cancelled

    def _cancel(self) -> None:
        self.came = True
        self._scope.cancel()

    def _note_where(self, task: trio.lowlevel.Task) -> None:
        frames = [
            (Path(frame.f_code.co_filename).name, line, frame.f_code.co_name)
            for frame, line in task.iter_await_frames()
        ]
        self.where = " > ".join(f"{name} ({file}:{line})" for file, line, name in frames)
        self.is_shielded = not UNCANCELLABLE.isdisjoint(name for _, _, name in frames[-3:])


async def at_each_checkpoint(story: Callable[[Cut], Awaitable[None]]) -> int:
    """Tell the story with a cut at each checkpoint in turn, and at last without any.

    Returns:
        How many checkpoints its piece has.

    Raises:
        AssertionError: with the number of the checkpoint as a note.
    """
    for number in count():
        cut = Cut(number)
        try:
            await story(cut)
        except BaseException as error:
            error.add_note(f"cancelled at checkpoint {number}: {cut.where}")
            raise
        if not cut.came:
            return number - 1
    raise AssertionError("unreachable")
