"""The log lines of a worker on their way to the app.

A handler on the root logger of the worker turns each record into a message, which goes the way of
all reports: in order with the creations and the end of its task. The levels of the app's loggers
are set here too, so that what the app would not log costs nothing.

**When a line is sent.** At once, if nothing was sent for `LOG_FLUSH_SECONDS`: what a task says last
before C code takes the interpreter, or the process, is the line that somebody will want. Else soon:
by whoever watches plain functions, by trio, and at the latest by a thread of its own
(`LogFlusher`), which also sends while a task blocks trio, and what threads say after their task.

**Where a line may be logged.** Anywhere, also in a `__del__` that the garbage collector runs in the
middle of our own code, while this thread holds one of our locks. So nothing here waits for a lock
that is taken, but leaves the line for the next who sends.
"""

from __future__ import annotations

import _thread
import logging
import math
import os
import pickle
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from trio_actor_graph.buffers.windows import windows
from trio_actor_graph.link import Link
from trio_actor_graph.logs import LINE_CHARACTERS_MAX, cut
from trio_actor_graph.messages import Logged, LogSettings
from trio_actor_graph.payload import brief
from trio_actor_graph.worker.context import current_attempt

if TYPE_CHECKING:
    from trio_actor_graph.worker.runner import AttemptRunner, RunningAttempt

LOG_FLUSH_SECONDS: Final = 0.05
"""How long a log line may wait to be sent while others are; half of the 0.1 s that are promised."""

UNSENT_LINES_MAX: Final = 10_000
"""How many lines may wait to be sent, from trio's thread or others that cannot wait for room,
before more are dropped: about as many as can be logged in `LOG_FLUSH_SECONDS`, three times over."""

LOG_ROOM_SECONDS: Final = 1.0
"""How long a plain function that logs more than the coordinator takes is held up by one line,
before that is dropped. A pause in the app, as in a debugger, slows such functions down, and stops
none."""

NAME_CHARACTERS_MAX: Final = 1_000
"""How long names (of loggers, files, threads, attributes) may be: none is."""

EXTRAS_MAX: Final = 100
"""How many `extra` attributes of one line are sent."""

_INTEGER_MAX: Final = 2**31 - 1

_FORMATTER: Final = logging.Formatter()

USUAL: Final = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"})
"""What each record has; whatever else it has was given by `extra=`."""


class LogSender(logging.Handler):
    """Sends records to the app. Made by `open_log_sender`.

    Attributes:
        dropped: how many lines were dropped since the last that was sent.
    """

    def __init__(self, link: Link[Any]):
        super().__init__()
        self.dropped = 0
        self._link = link
        self._pid = os.getpid()
        self._is_stopped = False
        self._runner: AttemptRunner | None = None
        self._early: deque[Logged] = deque()  # before there is a runner
        self._trio_thread = threading.get_ident()
        self._flusher = LogFlusher(self._flush)
        self._building = threading.local()
        self._at_ends: list[Callable[[RunningAttempt], None]] = []

    # ---- its life ---------------------------------------------------------------------------

    def attach(self, runner: AttemptRunner) -> None:
        """From now on lines travel with the runner's reports."""
        self._flush()
        self._runner = runner
        runner.on_loaded = self.see_installed

    def at_ends(self, *calls: Callable[[RunningAttempt], None]) -> None:
        """Have these called before the end of each attempt is reported."""
        self._at_ends.extend(calls)
        if self._runner is not None:
            self._runner.on_ending = self._end

    def see_installed(self) -> None:
        """Be a handler of the root logger, also if somebody's configuration has removed us.

        It waits for a configuration that is just under way, which holds the lock of `logging`.
        """
        logging.root.addHandler(self)

    def close(self) -> None:
        """What `logging.config` and `basicConfig(force=True)` do to the handlers they remove."""
        super().close()
        if self._runner is not None and not self._is_stopped and not self.is_in_child:
            self._runner.call_soon(self.see_installed)

    def stop(self) -> None:
        """Send what there is; nothing more will be. Not `close`, which `logging.shutdown` calls."""
        self._is_stopped = True
        logging.root.removeHandler(self)
        self._flusher.close()
        self._flush()
        self.close()

    # ---- records ----------------------------------------------------------------------------

    def handle(self, record: logging.LogRecord) -> bool:
        """Send a record. Without the lock of other handlers, because this may wait for room."""
        if self.is_in_child:
            last_resort = logging.lastResort
            if last_resort is not None and record.levelno >= last_resort.level:
                last_resort.handle(record)
            return False
        if getattr(self._building, "is_active", False):  # a `__repr__` logs, or a `__del__`
            self._drop()
            return False
        if is_of_tractor(record.name) or not self.filter(record):
            return False
        self._building.is_active = True
        try:
            self._send(record, self.attempt())
        except Exception:
            self._drop()
        finally:
            self._building.is_active = False
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.handle(record)

    def send_text(self, logger: str, level: int, text: str, attempt: RunningAttempt) -> None:
        """Send a line of the output of a task."""
        try:
            self._send(_text_record(logger, level, text), attempt)
        except Exception:
            self._drop()

    @property
    def is_in_child(self) -> bool:
        """Whether this is a fork of the worker, to whose link it must not write."""
        return os.getpid() != self._pid

    def _drop(self) -> None:
        self.dropped += 1
        if self._runner is not None:
            self._runner.on_ending = self._end

    def _end(self, attempt: RunningAttempt) -> None:
        """Send what is left to say, since there may be no line that follows."""
        with suppress(Exception):
            for call in self._at_ends:
                call(attempt)
            if self.dropped:
                text = f"{self.dropped:,} log lines were dropped here"
                record = _text_record("trio_actor_graph", logging.WARNING, text)
                self._report(record, attempt)  # whether there is room or not: it is the last

    def attempt(self) -> RunningAttempt | None:
        """The attempt in which this is called; None for one of a coordinator inside a task."""
        attempt = current_attempt()
        return attempt if attempt is not None and attempt.runner is self._runner else None

    def _message(self, record: logging.LogRecord, attempt: RunningAttempt | None) -> Logged:
        text, exception, details = contents(record)
        dropped, running = 0, None
        if attempt is not None:  # else nobody would know of which graph they were
            running = attempt.message
            dropped, self.dropped = self.dropped, 0
        return Logged(
            None if running is None else running.attempt_id,
            0 if running is None else running.uid,
            0 if running is None else running.attempt_number,
            _name(record.name),
            _integer(record.levelno),
            _name(record.levelname),
            cut(text),
            None if exception is None else cut(exception),
            None if record.stack_info is None else cut(str(record.stack_info)),
            _time(record.created),
            _name(record.pathname),
            _integer(record.lineno),
            _name(record.funcName or ""),
            _name(record.threadName or ""),
            _encode(details),
            dropped,
        )

    # ---- sending ----------------------------------------------------------------------------

    def _send(self, record: logging.LogRecord, attempt: RunningAttempt | None) -> None:
        if self._has_room(attempt):
            self._report(record, attempt)
        else:
            self._drop()

    def _report(self, record: logging.LogRecord, attempt: RunningAttempt | None) -> None:
        message = self._message(record, attempt)
        runner = self._runner
        if runner is None:
            self._early.append(message)
        elif not runner.report_line(message, LOG_FLUSH_SECONDS):
            self._flusher.ask()
            if attempt is not None and attempt.scope is not None:
                runner.flush_soon()
            return
        self._flush_if_free()

    def _has_room(self, attempt: RunningAttempt | None) -> bool:
        """Whether a line can be sent; functions in their threads wait for it, for a moment."""
        if self._has_room_now():
            return True
        if attempt is None or threading.get_ident() == self._trio_thread:
            return False
        deadline = perf_counter() + LOG_ROOM_SECONDS
        while not self._has_room_now() and (seconds := deadline - perf_counter()) > 0:
            if not self._link.has_room:
                self._link.wait_for_room(seconds)
            else:
                self._flush_if_free()
                time.sleep(0)  # where another thread does
        return self._has_room_now()

    def _has_room_now(self) -> bool:
        return self._link.has_room and self._unsent_lines() < UNSENT_LINES_MAX

    def _unsent_lines(self) -> int:
        return len(self._early) if self._runner is None else self._runner.unsent_lines

    def _flush_if_free(self) -> None:
        runner = self._runner
        if self._link.is_sending or windows.is_busy or (runner and runner.is_flushing):
            self._flusher.ask()
        else:
            self._flush()

    def _flush(self) -> None:
        if self._runner is not None:
            self._runner.flush()
            return
        while self._early:
            self._link.send([self._early.popleft()])


class LogFlusher:
    """A thread, started when first asked, that sends what is waiting soon after it was asked to."""

    def __init__(self, flush: Callable[[], None]):
        self._flush = flush
        # Its `put` may be called anywhere, as those of other queues, and events, may not.
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._is_asked = False
        self._starting = threading.Lock()  # taken once, by who starts the thread

    def ask(self) -> None:
        """Have it send within `LOG_FLUSH_SECONDS`."""
        if self._is_asked:
            return
        self._is_asked = True
        if self._starting.acquire(blocking=False):
            # Not by `threading`, which takes locks of its own meanwhile.
            _thread.start_new_thread(self._serve, ())
        self._asked.put(True)

    def close(self) -> None:
        self._asked.put(False)

    def _serve(self) -> None:
        while self._asked.get():
            time.sleep(LOG_FLUSH_SECONDS)
            self._is_asked = False
            with suppress(Exception):
                self._flush()


@contextmanager
def open_log_sender(settings: LogSettings | None, link: Link[Any]) -> Iterator[LogSender | None]:
    """Have what is logged in this process sent, if it is to be."""
    if settings is None:
        yield None
        return
    sender = LogSender(link)
    _set_levels(settings)
    sender.see_installed()
    try:
        yield sender
    finally:
        sender.stop()


def is_of_tractor(logger: str) -> bool:
    """Whether it is one of the actor framework's, whose lines are not the user's business."""
    return logger == "tractor" or logger.startswith("tractor.")


def _set_levels(settings: LogSettings) -> None:
    """Give the loggers here the levels that those of the app have, or lower ones if all is sent."""
    sent = settings.sent_level
    most = _INTEGER_MAX if sent is None else sent
    logging.root.setLevel(min(settings.root_level, most))
    for name, level in settings.levels.items():
        logging.getLogger(name).setLevel(min(level, most))
    logging.disable(min(settings.disabled_level, most - 1))
    if sent is None:
        for name in settings.disabled:
            logging.getLogger(name).disabled = True


def _text_record(logger: str, level: int, text: str) -> logging.LogRecord:
    values = {"name": logger, "levelno": level, "levelname": logging.getLevelName(level)}
    return logging.makeLogRecord({**values, "msg": text})


# ---- what is in a record -------------------------------------------------------------------------


def contents(record: logging.LogRecord) -> tuple[str, str | None, dict[str, Any]]:
    """Its text, the traceback in it, and what is no text, as in `Logged.details`."""
    details: dict[str, Any] = {}
    for name, value in record.__dict__.items():
        if name not in USUAL and len(details) < EXTRAS_MAX:
            details[_name(name)] = value
    exception = None
    if record.exc_info and record.exc_info[0] is not None:
        exception = _FORMATTER.formatException(record.exc_info)
    elif record.exc_text:
        exception = record.exc_text
    if isinstance(record.msg, dict) and not record.args:  # as structlog hands events to `logging`
        event = dict(record.msg)
        if (exc_info := event.pop("exc_info", None)) is not None:
            # Tracebacks cannot travel; "exception" is where structlog's formatters put the text.
            exception = exception or _format_exception(exc_info)
            event.setdefault("exception", exception)
        details["msg"] = event
        text = shown(event.get("event", event))
    else:
        text = _text(record)
    return text, exception, details


def _text(record: logging.LogRecord) -> str:
    try:
        return str(record.getMessage())
    except Exception as error:
        return f"{shown(record.msg)} % {shown(record.args):.1000} ({brief(error)})"


def shown(value: object) -> str:
    """A value as text, whatever its `__repr__` does."""
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: {brief(error)} in its repr>"


def _format_exception(exc_info: Any) -> str | None:
    """The traceback of what structlog takes for `exc_info`: a tuple, an exception, or True."""
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif not isinstance(exc_info, tuple):
        exc_info = sys.exc_info() if exc_info else (None, None, None)
    return _FORMATTER.formatException(exc_info) if exc_info[0] is not None else None


def _encode(details: dict[str, Any]) -> bytes:
    """The pickle of it, with the `repr` of what cannot be pickled, or is too large."""
    if not details:
        return b""
    if (encoded := _pickle(details)) is not None:
        return encoded
    if isinstance(event := details.get("msg"), dict):
        details["msg"] = {_name(str(key)): _picklable(value) for key, value in event.items()}
    picklable = {name: _picklable(value) for name, value in details.items()}
    return _pickle(picklable) or _pickle(dict.fromkeys(picklable, "...")) or b""


def _picklable(value: Any) -> Any:
    if _pickle(value) is not None:
        return value
    if isinstance(value, str):
        return cut(value, LINE_CHARACTERS_MAX // 16)
    return cut(shown(value), LINE_CHARACTERS_MAX // 16)


def _pickle(value: Any) -> bytes | None:
    try:
        encoded = pickle.dumps(value, protocol=5)
    except Exception:
        return None
    return encoded if len(encoded) <= LINE_CHARACTERS_MAX else None


def _name(name: object) -> str:
    return cut(str(name), NAME_CHARACTERS_MAX)


def _integer(number: object) -> int:
    return min(max(0, number), _INTEGER_MAX) if isinstance(number, int) else 0


def _time(seconds: object) -> float:
    if isinstance(seconds, (int, float)) and math.isfinite(seconds):
        return float(seconds)
    return time.time()
