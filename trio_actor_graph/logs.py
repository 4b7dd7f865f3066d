"""Log lines that tasks wrote: what one is, and where those of a graph are kept.

The store only keeps what it is given and finds it again; who gives it what is `log_delivery`.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Final

import msgspec

from trio_actor_graph.errors import GraphError

LINES_MAX: Final = 100_000
"""How many lines a graph keeps, the last ones: ten for each task of a graph of 10,000, and more
than anybody reads. With short lines they take about 60 MB."""

BYTES_MAX: Final = 1 << 26
"""How large they may be in all, 64 MiB by `LogLine.size`: a thousand lines of the largest size."""

LINE_CHARACTERS_MAX: Final = 1 << 16
"""How long the text of one line may be, and its traceback: more is a file, and no line of a log."""

CUT_MARK: Final = " ... (cut)"
"""What stands at the end of a text that was longer."""

_LINE_BYTES: Final = 400
"""What a line takes besides its texts, on 64-bit CPython."""

_LEVEL_MAX: Final = 2**31 - 1


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """Something that a task logged, or wrote to stdout or stderr.

    Attributes:
        number: grows with each line of its coordinator, so it is a cursor.
        created: when it was logged, in seconds since 1970.
        level: as in `logging`: 20 is INFO.
        level_name: the name of that level where it was logged.
        logger: the name of the logger.
        text: the message; of a dict that structlog has made, its event.
        exception: the traceback that was logged with it.
        graph_uid: the graph; None for a line that was logged outside of all tasks, or by a task
            whose graph is gone.
        task_uid: the task; None for a line that was logged outside of all tasks.
        task_name: its name; empty if that is not known any more.
        attempt: which attempt of the task, from 1; 0 for none.
        worker: its worker loop and the worker's index in it, "cpu/0".
        pathname: the file of the code that logged it.
        line_number: and the line there.
        extra: the attributes given by `extra=`, and structlog's values, as text.
    """

    number: int
    created: float
    level: int
    level_name: str
    logger: str
    text: str
    exception: str | None
    graph_uid: int | None
    task_uid: int | None
    task_name: str
    attempt: int
    worker: str
    pathname: str
    line_number: int
    extra: dict[str, str]

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        texts = len(self.text) + len(self.exception or "")
        extra = sum(len(name) + len(value) + 150 for name, value in self.extra.items())
        return _LINE_BYTES + texts + extra


_number = attrgetter("number")


class LogStore:
    """The lines of one graph, the last of them, each found by its task.

    Args:
        lines_max: how many it keeps.
        bytes_max: how large they may be in all.

    Attributes:
        dropped: how many lines there were that it does not keep: dropped here, or on their way.
    """

    def __init__(self, lines_max: int = LINES_MAX, bytes_max: int = BYTES_MAX):
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self._lines: list[LogLine] = []
        self._first = 0  # in `_lines`: those before it are gone
        self._bytes = 0
        self._by_task: dict[int, deque[LogLine]] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._lines) - self._first

    @property
    def size(self) -> int:
        """About how much memory its lines take."""
        return self._bytes

    def put(self, line: LogLine) -> None:
        """Keep a line, whose number is larger than those of all before it."""
        self._lines.append(line)
        self._bytes += line.size
        if line.task_uid is not None:
            self._by_task.setdefault(line.task_uid, deque()).append(line)
        while len(self) > self._lines_max or (self._bytes > self._bytes_max and len(self) > 1):
            self._drop_first()

    def of_all(self, after: int = 0) -> Iterator[LogLine]:
        """All lines with larger numbers, in order."""
        first = max(self._first, bisect_right(self._lines, after, lo=self._first, key=_number))
        return (self._lines[at] for at in range(first, len(self._lines)))

    def of_tasks(self, uids: Iterable[int], after: int = 0) -> Iterator[LogLine]:
        """The lines of some tasks with larger numbers, in order."""
        parts = [lines for uid in uids if (lines := self._by_task.get(uid)) is not None]
        ordered = parts[0] if len(parts) == 1 else merge(*parts, key=_number)
        return (line for line in ordered if line.number > after)

    def _drop_first(self) -> None:
        line = self._lines[self._first]
        self._first += 1
        self._bytes -= line.size
        self.dropped += 1
        if line.task_uid is not None:
            of_task = self._by_task[line.task_uid]
            of_task.popleft()  # the oldest of all is the oldest of its task
            if not of_task:
                del self._by_task[line.task_uid]
        if 8 * self._first > len(self._lines):  # so that little is held on to that is gone
            del self._lines[: self._first]
            self._first = 0


def select(
    lines: Iterable[LogLine],
    level: int | str | None,
    attempt: int | None = None,
    limit: int | None = None,
) -> tuple[LogLine, ...]:
    """Those of at least a level, of an attempt, the first of them.

    Raises:
        GraphError: there is no such level.
    """
    if level is not None:
        least = level_number(level)
        lines = (line for line in lines if line.level >= least)
    if attempt is not None:
        lines = (line for line in lines if line.attempt == attempt)
    return tuple(lines if limit is None else islice(lines, max(0, limit)))


def level_number(level: object) -> int:
    """A level by its number or its name, as `logging` knows it.

    Raises:
        GraphError: there is no such level.
    """
    if isinstance(level, str):
        number = logging.getLevelNamesMapping().get(level.upper())
        if number is not None:
            return number
    elif isinstance(level, int) and not isinstance(level, bool) and 0 <= level <= _LEVEL_MAX:
        return level
    known = sorted(set(logging.getLevelNamesMapping().values()))
    names = map(logging.getLevelName, known)
    raise GraphError(
        f"there is no log level {level!r}: it must be one of {', '.join(names)}, "
        f"or a number from 0 to {_LEVEL_MAX:,}"
    )


def cut(text: str, characters_max: int = LINE_CHARACTERS_MAX) -> str:
    """The text, with a mark at its end if it was too long, in characters that UTF-8 has."""
    if len(text) > characters_max:
        text = text[:characters_max] + CUT_MARK
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()
