"""What tasks log in the coordinator's own process: the app's `logging` has it already.

A record still needs the attributes that tell its task, and the store needs the line. So while there
is such a loop, `logging.Logger.makeRecord` is followed by a look at whether a task is running. Why
that, and nothing else that `logging` offers:

- a handler on the root logger would change what `logging.basicConfig` and `lastResort` do;
- a filter on a logger sees only what is logged by that one;
- a record factory comes before `extra=` is put on the record, and an attribute that both have makes
  `logging` raise in the user's code: `extra={"task": ...}` would become an error.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from trio_actor_graph.worker.context import current_attempt

if TYPE_CHECKING:
    from trio_actor_graph.worker.runner import RunningAttempt

_lock = threading.Lock()
_users = 0
_looking: _Looking | None = None


@contextmanager
def noting_records() -> Iterator[None]:
    """Have `AttemptRunner.on_record` called with what its attempts log in this process."""
    global _users, _looking
    with _lock:
        _users += 1
        if _looking is None:
            _looking = _Looking()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and _looking is not None:
                _looking.end()
                _looking = None


class LocalOutput:
    """Makes log lines of what the tasks of loops in this process print.

    A handler of the app that prints, in the task's own context, prints: its output is not the
    task's, and would come back here.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._is_logging: ContextVar[bool] = ContextVar("is_logging", default=False)

    @property
    def is_in_child(self) -> bool:
        return os.getpid() != self._pid

    def attempt(self) -> RunningAttempt | None:
        attempt = current_attempt()
        is_ours = attempt is not None and attempt.runner.on_record is not None
        return attempt if is_ours and not self._is_logging.get() else None

    def send_text(self, logger: str, level: int, text: str, attempt: RunningAttempt) -> None:
        """Log a line. It is kept also where the app's levels do not let it through."""
        token = self._is_logging.set(True)
        try:
            its = logging.getLogger(logger)
            record = its.makeRecord(logger, level, "", 0, text, (), None)  # which is noted
            if its.isEnabledFor(level):
                its.handle(record)
        finally:
            self._is_logging.reset(token)


class _Looking:
    """Stands before `Logger.makeRecord`; once it has ended, it only passes on."""

    def __init__(self) -> None:
        usual: Any = logging.Logger.makeRecord
        self._usual = usual
        self._is_over = False

        @functools.wraps(usual)
        def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record: logging.LogRecord = usual(*args, **kwargs)
            if not self._is_over:
                _note(record)
            return record

        self._ours = make_record
        logging.Logger.makeRecord = make_record  # type: ignore[method-assign]

    def end(self) -> None:
        """Put back what was there, unless somebody else has put something over ours."""
        self._is_over = True
        if logging.Logger.makeRecord is self._ours:
            logging.Logger.makeRecord = self._usual  # type: ignore[method-assign]


def _note(record: logging.LogRecord) -> None:
    attempt = current_attempt()
    if attempt is not None and attempt.runner.on_record is not None:
        attempt.runner.on_record(attempt, record)
