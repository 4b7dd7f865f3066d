"""What tasks write to stdout and stderr, as log lines of theirs.

Only what goes through `sys.stdout` and `sys.stderr` is seen, as `print` and tracebacks do. What C
code and other programs write to the descriptors goes where it always did, and so does all that is
written outside of tasks.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from trio_actor_graph.logs import LINE_CHARACTERS_MAX

if TYPE_CHECKING:
    from trio_actor_graph.worker.runner import RunningAttempt

STDOUT_LOGGER: Final = "trio_actor_graph.stdout"
STDERR_LOGGER: Final = "trio_actor_graph.stderr"


class LineSender(Protocol):
    """Who makes log lines of output: `worker.logs.LogSender`, or `local_logs.LocalOutput`."""

    @property
    def is_in_child(self) -> bool:
        """Whether this is a fork, whose output is its own."""
        ...

    def attempt(self) -> RunningAttempt | None:
        """The attempt whose output it is; None for output that stays what it is."""
        ...

    def send_text(self, logger: str, level: int, text: str, attempt: RunningAttempt) -> None:
        """Send a line."""
        ...


class TaskOutput:
    """Stands for a stream, and sends what tasks write to it.

    Args:
        stream: what it stands for.
        sender: who sends the lines.
        logger: as whose lines.
        level: of which level.
    """

    def __init__(self, stream: Any, sender: LineSender, logger: str, level: int):
        self._stream = stream
        self._sender = sender
        self._logger = logger
        self._level = level
        self._lock = threading.RLock()  # one, because a `__del__` may print
        self._begun: dict[int, str] = {}  # lines that are not complete, by attempt id

    def write(self, text: str) -> int:
        attempt = self._sender.attempt()
        if attempt is None or self._sender.is_in_child:
            return int(self._stream.write(text))
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        attempt_id = attempt.message.attempt_id
        with self._lock:
            *lines, rest = (self._begun.pop(attempt_id, "") + text).split("\n")
            while len(rest) > LINE_CHARACTERS_MAX:
                lines.append(rest[:LINE_CHARACTERS_MAX])
                rest = rest[LINE_CHARACTERS_MAX:]
            if rest:
                self._begun[attempt_id] = rest
        for line in lines:
            self._sender.send_text(self._logger, self._level, line, attempt)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def end(self, attempt: RunningAttempt) -> None:
        """Send what the attempt has written of a line that it did not end."""
        with self._lock:
            rest = self._begun.pop(attempt.message.attempt_id, "")
        if rest:
            self._sender.send_text(self._logger, self._level, rest, attempt)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def open_task_output(sender: LineSender) -> Iterator[tuple[TaskOutput, TaskOutput]]:
    """Have `sys.stdout` and `sys.stderr` send what tasks write.

    Whoever knows of the ends of attempts has to call `TaskOutput.end` of both.
    """
    usual = sys.stdout, sys.stderr
    out = TaskOutput(sys.stdout, sender, STDOUT_LOGGER, logging.INFO)
    err = TaskOutput(sys.stderr, sender, STDERR_LOGGER, logging.WARNING)
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    finally:
        if (sys.stdout, sys.stderr) == (out, err):  # else somebody has put something over ours
            sys.stdout, sys.stderr = usual
