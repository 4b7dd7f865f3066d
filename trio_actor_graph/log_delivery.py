"""Log lines of tasks, as the app's `logging` and as the store are to have them.

What a worker has sent becomes a record as if it had been logged here, with the attributes of
`Origin` on it, and goes to the logger of its name: so the app's own configuration decides what
becomes of it.
"""

from __future__ import annotations

import logging
import math
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from trio_actor_graph.errors import ProtocolError
from trio_actor_graph.graph.reading import chain
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.logs import CUT_MARK, LINE_CHARACTERS_MAX, LogLine, cut
from trio_actor_graph.messages import Logged, LogSettings
from trio_actor_graph.payload import brief, decode_value
from trio_actor_graph.worker.logs import (
    EXTRAS_MAX,
    NAME_CHARACTERS_MAX,
    USUAL,
    contents,
    is_of_tractor,
    shown,
)

CHAIN_MAX: Final = 10
"""How many tasks `task_chain` names, the last ones: a chain may be 100,000 tasks long, and each
line tells it."""

LOGGERS_MAX: Final = 10_000
"""How many loggers are made for names that only workers use: `logging` never forgets one. Lines of
others go to the root logger's handlers, under their names."""

_VALUE_CHARACTERS_MAX: Final = 4_096
_INTEGER_MAX: Final = 2**31 - 1


class Origin(NamedTuple):
    """Where a line comes from. These are the attributes of its record."""

    graph: str | None = None
    graph_uid: int | None = None
    task: str | None = None
    task_uid: int | None = None
    attempt: int | None = None
    worker: str = ""
    worker_pid: int | None = None
    task_chain: str = ""


class RemoteException(Exception):
    """Stands for an exception that was logged in a worker. Its text is the traceback from there."""


class LogDelivery:
    """What a coordinator does with log lines.

    Args:
        sent_level: from which level on workers send their lines, whatever the app's levels.
        captures_output: workers also send what tasks write to stdout and stderr.
    """

    def __init__(self, sent_level: int | None = None, captures_output: bool = False):
        self._sent_level = sent_level
        self.captures_output = captures_output
        self._last_chain: tuple[TaskRecord | None, str] = (None, "")
        self._made = 0  # loggers
        self._has_complained = False

    def settings(self) -> LogSettings:
        """What a worker that starts now is to send."""
        loggers = {
            name: logger
            for name, logger in list(logging.root.manager.loggerDict.items())
            if isinstance(logger, logging.Logger) and not is_of_tractor(name)
        }
        return LogSettings(
            _level(logging.root.level),
            {cut(n): _level(each.level) for n, each in loggers.items() if each.level},
            _level(logging.root.manager.disable),
            tuple(cut(name) for name, each in loggers.items() if each.disabled),
            self._sent_level,
            self.captures_output,
        )

    def origin(
        self, task: TaskRecord | None, uid: int, attempt: int, worker: str, pid: int | None
    ) -> Origin:
        """Where a line comes from.

        Args:
            task: None where it is not known (any more).
            uid: of the task; 0 for none.
            attempt: the number of its attempt.
            worker: the worker's name.
            pid: its process.
        """
        if task is None:
            if not uid:
                return Origin(worker=worker, worker_pid=pid)
            return Origin(task_uid=uid, attempt=attempt, worker=worker, worker_pid=pid)
        graph = task.graph
        last = self._last_chain  # once: threads of tasks in this process come here, too
        if last[0] is not task:
            last = self._last_chain = (task, chain_text(task))
        names = last[1]
        return Origin(graph.name, graph.uid, task.spec.name, task.uid, attempt, worker, pid, names)

    def forget_chain(self) -> None:
        """Hold on to no task of a graph that has been closed."""
        self._last_chain = (None, "")

    def hand_over(self, message: Logged, origin: Origin, details: dict[str, Any]) -> None:
        """Give a line to the app's `logging`. What its handlers raise is told once."""
        try:
            logger = self._logger(message.logger)
            if logger.isEnabledFor(message.level):
                logger.handle(_record(message, origin, details))
        except (Exception, SystemExit):
            if not self._has_complained and logging.raiseExceptions and sys.stderr is not None:
                self._has_complained = True
                traceback.print_exc()

    def _logger(self, name: str) -> logging.Logger:
        if name == "root":
            return logging.root
        if name not in logging.root.manager.loggerDict:
            if self._made >= LOGGERS_MAX:
                return logging.root
            self._made += 1
        return logging.getLogger(name)


def check_logged(message: Logged) -> None:
    """See that a worker's line is one.

    Raises:
        ProtocolError: something in it cannot be, or is too large.
    """
    numbers = (message.uid, message.attempt_number, message.level, message.line_number)
    texts_max = LINE_CHARACTERS_MAX + len(CUT_MARK)
    names_max = NAME_CHARACTERS_MAX + len(CUT_MARK)
    names = (message.logger, message.level_name, message.pathname, message.function, message.thread)
    texts = (message.text, message.exception or "", message.stack or "")
    if not (
        min(numbers) >= 0
        and max(message.level, message.line_number, message.attempt_number) <= _INTEGER_MAX
        and 0 <= message.dropped < 2**62
        and math.isfinite(message.created)
        and len(message.details) <= 2 * LINE_CHARACTERS_MAX
        # By UTF-8, which may take as much again for what could not be encoded.
        and max(map(len, texts)) <= 10 * texts_max
        and max(map(len, names)) <= 10 * names_max
    ):
        raise ProtocolError(f"it sent a log line that makes no sense: {message!r:.200}")


def line_of(number: int, message: Logged, origin: Origin, details: Mapping[str, Any]) -> LogLine:
    """A worker's line, for the store."""
    return _line(
        number,
        origin,
        message.created,
        message.level,
        (message.level_name, message.logger, message.text, message.exception),
        (message.pathname, message.line_number),
        details,
    )


def line_of_record(number: int, record: logging.LogRecord, origin: Origin) -> LogLine:
    """A line that was logged in this process, for the store."""
    text, exception, details = contents(record)
    details = {name: value for name, value in details.items() if name not in Origin._fields}
    return _line(
        number,
        origin,
        float(record.created),
        _level(record.levelno),
        (_name(record.levelname), _name(record.name), text, exception),
        (_name(record.pathname), _level(record.lineno)),
        details,
    )


def details_of(message: Logged) -> dict[str, Any]:
    """What is no text in a worker's line; what cannot be decoded here is left out."""
    if not message.details:
        return {}
    try:
        details = decode_value(message.details)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may even call sys.exit
        return {"undecodable": brief(error)}
    return details if isinstance(details, dict) else {"undecodable": repr(type(details))}


def chain_text(task: TaskRecord) -> str:
    """The names of the tasks that led to one, and its own."""
    steps = chain(task, CHAIN_MAX + 1)
    names = [step.spec.name for step in steps[-CHAIN_MAX:]]
    return " > ".join(names if len(steps) <= CHAIN_MAX else ["...", *names])


def _line(
    number: int,
    origin: Origin,
    created: float,
    level: int,
    texts: tuple[str, str, str, str | None],
    place: tuple[str, int],
    details: Mapping[str, Any],
) -> LogLine:
    level_name, logger, text, exception = texts
    return LogLine(
        number,
        created,
        level,
        level_name,
        logger,
        cut(text),
        None if exception is None else cut(exception),
        origin.graph_uid,
        origin.task_uid,
        origin.task or "",
        origin.attempt or 0,
        origin.worker,
        *place,
        _extra(details),
    )


def _extra(details: Mapping[str, Any]) -> dict[str, str]:
    """As text; of structlog's events what is not their text, and not for its formatters alone."""
    if not details:
        return {}
    flat: dict[Any, Any] = {**details}
    event = flat.pop("msg", None)
    if isinstance(event, dict):
        flat.update((name, value) for name, value in event.items() if name != "event")
    named = [(str(name), value) for name, value in flat.items()]
    told = [(name, value) for name, value in named if not name.startswith("_")]
    return {
        cut(name, NAME_CHARACTERS_MAX): cut(shown(value), _VALUE_CHARACTERS_MAX)
        for name, value in told[:EXTRAS_MAX]
    }


def _record(message: Logged, origin: Origin, details: dict[str, Any]) -> logging.LogRecord:
    """As if it had been logged here; see `logging.LogRecord` for what is in one."""
    path = message.pathname
    filename = path.rpartition("/")[2]
    extra = {n: v for n, v in details.items() if n not in USUAL}
    is_event = isinstance(details.get("msg"), dict)
    record = logging.makeLogRecord(
        {
            **extra,
            "name": message.logger,
            "msg": details["msg"] if is_event else message.text,
            "args": (),
            "levelno": message.level,
            "levelname": message.level_name,
            "pathname": path,
            "filename": filename,
            "module": filename.rpartition(".")[0] or filename,
            "lineno": message.line_number,
            "funcName": message.function,
            "stack_info": message.stack,
            "thread": None,
            "threadName": message.thread,
            "process": origin.worker_pid,
            "processName": origin.worker,
            "taskName": None,
        }
    )
    if message.exception is not None:
        # Formatters print the text, where there is one; others look at `exc_info`.
        error = RemoteException(message.exception)
        record.exc_info = (RemoteException, error, None)
        record.exc_text = message.exception
    record.relativeCreated -= (record.created - message.created) * 1000
    record.created = message.created
    record.msecs = math.floor(message.created % 1 * 1000) + 0.0
    record.__dict__.update(origin._asdict())
    return record


def _name(name: object) -> str:
    return cut(shown(name), NAME_CHARACTERS_MAX)


def _level(level: object) -> int:
    return min(max(0, level), _INTEGER_MAX) if isinstance(level, int) else 0
