"""What the tasks of `test_logs.py` do. Light imports only: every worker there imports this."""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import trio

from trio_actor_graph import current_task

log = logging.getLogger("library.inner")

request_id: ContextVar[Any] = ContextVar("request_id")
tenant: ContextVar[str] = ContextVar("tenant")


def say(*texts: str, level: int = logging.INFO) -> None:
    for text in texts:
        log.log(level, text)


async def say_async(*texts: str) -> None:
    for text in texts:
        log.info(text)
        await trio.lowlevel.checkpoint()


def say_many(number: int, width: int = 0) -> None:
    for at in range(number):
        log.info("%d%s", at, "." * width)


async def say_and_fail_once(text: str) -> None:
    log.info("%s %d", text, current_task().attempt)
    if current_task().attempt == 1:
        raise ValueError("once")


def say_at_each_level() -> dict[str, bool]:
    for name in ("library", "library.inner", "noisy", "chatty", "off"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "%s %d", name, level)
    return {name: logging.getLogger(name).isEnabledFor(30) for name in ("noisy", "off")}


def say_in_detail() -> None:
    try:
        raise OSError("no such page")
    except OSError:
        log.exception(
            "page %r", "x", extra={"row": 7, "where": Path("a"), "lock": threading.Lock()}
        )
    log.warning("here", stack_info=True, extra={"task": "mine"})


async def say_in_threads() -> None:
    await trio.to_thread.run_sync(log.info, "in a thread of trio's")
    thread = threading.Thread(target=log.info, args=("in a thread of its own",), name="own")
    thread.start()
    await trio.to_thread.run_sync(thread.join)


def configure_logging(how: str) -> None:
    """What a library may do that thinks the process is its own."""
    if how == "basicConfig":
        logging.basicConfig(force=True, level=logging.INFO, handlers=[logging.NullHandler()])
    else:
        handlers = {"none": {"class": "logging.NullHandler"}}
        root = {"level": "INFO", "handlers": ["none"]}
        config = {"version": 1, "disable_existing_loggers": False}
        logging.config.dictConfig({**config, "handlers": handlers, "root": root})


async def say_what_cannot_be_shown_in_a_thread() -> None:
    with suppress(RuntimeError):  # handlers of tests raise what logging would only print
        await trio.to_thread.run_sync(log.info, "%s", Unspeakable())
    bad = logging.getLogger("bad\udc80name")
    bad.propagate = False  # the reports of tests could not carry that name
    bad.info("after it")


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Awkward:
    def __repr__(self) -> str:
        log.info("from a repr")
        return "awkward"


class Worse:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def say_badly() -> None:
    log.info("%r", Awkward())
    log.info(Worse())
    log.info("%d", "no number")
    log.info("\udc80 %s", "ä" * 3)
    log.log(10**30, "large")  # a level that nobody has
    log.info("x" * 200_000, extra={"data": "y" * 300_000, "\udc81": 1})
    log.info("the end")


def leave_a_thread_behind(path: str) -> None:
    """It has the context of its task, and speaks when that has ended."""

    def speak() -> None:
        log.info("before")
        wait_for(path)
        log.info("after")
        log.info("long after")

    threading.Thread(target=copy_context().run, args=(speak,), daemon=True).start()


def set_up(index: int) -> str:
    log.info("set up %d", index)
    return "ready"


async def create_child(depth: int) -> Any:
    log.info("depth %d", depth)
    if depth:
        return current_task().create_task(create_child, depth - 1, name=f"child {depth - 1}")
    return None


def write() -> None:
    print("one", 1)
    print("two\nthree", end="")
    print(" and a half")
    try:
        raise KeyError("lost")
    except KeyError:
        traceback.print_exc()
    print("no end", end="")
    sys.stdout.flush()


async def write_async(name: str) -> None:
    for number in range(3):
        print(name, end=" ")
        await trio.lowlevel.checkpoint()
        print(number)


async def flood(unsent_max: int, number: int) -> None:
    """More lines in one turn of trio than may wait to be sent."""
    from trio_actor_graph.worker import logs

    logs.UNSENT_LINES_MAX = unsent_max  # type: ignore[misc]
    say_many(number)


def say_and_die(path: str) -> str:
    """It dies as soon as somebody has seen its lines, and not before."""
    if current_task().attempt > 1:
        log.info("again")
        return "survived"
    say("first", "second", "third")
    wait_for(path)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def say_and_die_at_once() -> str:
    if current_task().attempt == 1:
        time.sleep(0.15)  # longer than anything was sent before
        log.info("last words")
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


async def block_trio(path: str) -> None:
    """Its lines are seen while it holds up its worker's trio."""
    say("first", "second", "third")
    wait_for(path)


async def say_while_cleaning_up(path: str) -> None:
    log.info("running")
    try:
        await trio.sleep_forever()
    finally:
        log.info("cleaning up")
        with trio.CancelScope(shield=True):
            while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
                await trio.sleep(0.002)
            log.info("cleaned up")


def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.002)


def use_module_that_configures(name: str) -> None:
    __import__(name)
    log.info("after the import")


def say_in_a_fork() -> int:
    """A child of the worker says things too, and must not say them on the worker's link."""
    for _ in range(20):
        child = os.fork()
        if not child:
            log.info("not in the child")
            print("not in the child")
            log.warning("in the child")
            os._exit(0)
        log.info("in the worker")
        os.waitpid(child, 0)
    return 20


def say_while_sending() -> str:
    """As a `__del__` may, that the garbage collector runs anywhere; here, with each lock."""
    from trio_actor_graph.buffers.windows import windows
    from trio_actor_graph.worker.context import current_attempt

    attempt = current_attempt()
    assert attempt is not None
    runner: Any = attempt.runner
    for lock in (runner._flushing, runner._send.__self__._lock, windows._lock, runner._naming):
        time.sleep(0.06)  # so that a line would be sent at once
        with lock:
            log.info("locked")
            print("locked")
    return "done"


async def say_while_sending_async() -> str:
    return say_while_sending()


def warn() -> None:
    logging.captureWarnings(True)
    try:
        warnings.warn("an old way", DeprecationWarning, stacklevel=1)
    finally:
        logging.captureWarnings(False)


# structlog and OpenTelemetry


def set_up_structlog(_: int = 0) -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def say_structured() -> None:
    import structlog

    logger = structlog.get_logger("shop")
    logger.info("sold", item="shoe", price=7, lock=threading.Lock())
    try:
        raise OSError("no till")
    except OSError:
        logger.exception("not sold")


def bound_values() -> dict[str, Any]:
    import structlog

    return structlog.contextvars.get_contextvars()


async def bound_values_async() -> dict[str, Any]:
    return bound_values()


def bound_values_if_any() -> dict[str, Any]:
    return bound_values() if "structlog" in sys.modules else {}


def carried() -> tuple[Any, Any]:
    return request_id.get(None), tenant.get(None)


async def carried_async() -> tuple[Any, Any]:
    return carried()


async def carry_on() -> Any:
    """A child of a child, with a value that was changed on the way."""
    request_id.set(f"{request_id.get()} and on")
    return current_task().create_task(carried)


def trace_of_a_span() -> tuple[str, str]:
    """The trace in which a span of this process is, and the span above it."""
    from opentelemetry.sdk.trace import TracerProvider

    with TracerProvider().get_tracer("worker").start_as_current_span("inside") as span:
        parent = span.parent
        assert parent is not None
        return f"{parent.trace_id:032x}", f"{parent.span_id:016x}"


async def trace_of_a_span_async() -> tuple[str, str]:
    return trace_of_a_span()


def is_otel_imported() -> bool:
    return "opentelemetry" in sys.modules
