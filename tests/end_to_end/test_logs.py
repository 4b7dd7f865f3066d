"""End to end: what tasks log arrives in the app's `logging`, and is kept by task.

Real workers; a handler on the root logger of this process stands for the app's configuration.
"""

from __future__ import annotations

import linecache
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import log_cases as cases
import pytest
import trio

from trio_actor_graph import (
    Coordinator,
    GraphError,
    LogLine,
    ProtocolError,
    TaskGraph,
    WorkerLoop,
    open_coordinator,
)
from trio_actor_graph import messages as msg
from trio_actor_graph.carrying import CONTEXT_BYTES_MAX
from trio_actor_graph.logs import CUT_MARK, LINE_CHARACTERS_MAX

STORY_SECONDS = 30

ONE = WorkerLoop("default")
MANY = WorkerLoop("many", concurrency=8)
LOCAL = WorkerLoop("local", concurrency=4, processes=0)


class Records(logging.Handler):
    """Keeps what arrives, and says when."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []
        self.arrived = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)
        self.arrived.set()
        self.arrived = trio.Event()

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.all]

    async def wait_for(self, text: str) -> None:
        while text not in self.texts:
            await self.arrived.wait()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    """The app's logging: one handler, level INFO; what there was is put back."""
    handler = Records()
    monkeypatch.setattr(logging.root, "handlers", [handler])
    level = logging.root.level
    logging.root.setLevel(logging.INFO)
    yield handler
    logging.root.setLevel(level)


@asynccontextmanager
async def open_graph(*loops: WorkerLoop, **options: Any) -> AsyncIterator[TaskGraph]:
    async with open_both(*loops, **options) as (_, graph):
        yield graph


@asynccontextmanager
async def open_both(
    *loops: WorkerLoop, **options: Any
) -> AsyncIterator[tuple[Coordinator, TaskGraph]]:
    with trio.fail_after(STORY_SECONDS):
        async with (
            open_coordinator(loops or [ONE, MANY, LOCAL], **options) as coordinator,
            coordinator.open_graph("g", on_failure="continue") as graph,
        ):
            yield coordinator, graph


def texts(lines: tuple[LogLine, ...]) -> list[str]:
    return [line.text for line in lines]


# What arrives


@pytest.mark.parametrize("loop", ["default", "many", "local"])
@pytest.mark.parametrize("function", [cases.say, cases.say_async])
async def test_what_a_task_logs_arrives_once_with_its_story(
    function: Callable[..., Any], loop: str, records: Records
) -> None:
    async with open_both() as (coordinator, graph):
        task = graph.create_task(function, "one", "two", name="t", worker_loop=loop)
        await task.wait()
        pids = {worker.worker_loop: worker.pid for worker in coordinator.workers}

    (first, second) = records.all
    assert [first.getMessage(), second.getMessage()] == ["one", "two"]
    told = {"graph": "g", "graph_uid": graph.uid, "task": "t", "task_uid": task.uid, "attempt": 1}
    told |= {"worker": f"{loop}/0", "worker_pid": pids[loop], "task_chain": "t"}
    usual = {
        "name": "library.inner",
        "levelno": 20,
        "levelname": "INFO",
        "filename": "log_cases.py",
    }
    usual |= {"funcName": function.__name__, "module": "log_cases", "process": pids[loop]}
    assert {name: getattr(first, name) for name in told} == told
    assert {name: getattr(first, name) for name in usual} == usual
    assert Path(first.pathname) == Path(cases.__file__)
    assert linecache.getline(first.pathname, first.lineno).startswith("        log.")
    assert abs(first.relativeCreated - (first.created - _start_of_logging()) * 1000) < 5
    lines = task.logs()
    assert lines == graph.logs()
    assert texts(lines) == ["one", "two"]
    line = lines[0]
    assert (line.graph_uid, line.task_uid, line.task_name) == (graph.uid, task.uid, "t")
    assert (line.attempt, line.worker, line.level_name) == (1, f"{loop}/0", "INFO")
    assert (line.created, line.line_number) == (first.created, first.lineno)
    assert line.number < lines[1].number
    assert graph.logs_dropped == 0


def _start_of_logging() -> float:
    record = logging.makeLogRecord({})
    return record.created - record.relativeCreated / 1000


@pytest.mark.parametrize("loop", ["default", "many"])
async def test_lines_of_a_task_keep_their_order(loop: str, records: Records) -> None:
    """Also while others run beside it, and the end of the task comes after them."""
    async with open_graph() as graph:
        tasks = [graph.create_task(cases.say_many, 300, worker_loop=loop) for _ in range(8)]
        async for task in graph.as_completed():
            assert texts(task.logs()) == [str(at) for at in range(300)]

    assert len(records.all) == 8 * 300
    assert {record.task_uid for record in records.all} == {task.uid for task in tasks}  # type: ignore[attr-defined]


async def test_the_chain_of_tasks_is_told(records: Records) -> None:
    """By creators and, where the app has created it, by its first predecessor."""
    async with open_graph() as graph:
        first = graph.create_task(cases.create_child, 2, name="root")
        graph.create_task(cases.say, "at the end", waits_on=first, name="last")

    chains = {record.getMessage(): record.task_chain for record in records.all}  # type: ignore[attr-defined]
    assert chains == {
        "depth 2": "root",
        "depth 1": "root > child 1",
        "depth 0": "root > child 1 > child 0",
        "at the end": "root > last",
    }


async def test_attempts_are_told_apart(records: Records) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.say_and_fail_once, "attempt", retries=1)
        await task.result()

    assert texts(task.logs()) == ["attempt 1", "attempt 2"]
    assert texts(task.logs(attempt=1)) == ["attempt 1"]
    assert texts(task.logs(attempt=2)) == ["attempt 2"]
    assert [record.attempt for record in records.all] == [1, 2]  # type: ignore[attr-defined]


async def test_threads_of_a_task_are_its_own_if_they_have_its_context(records: Records) -> None:
    """As trio's threads have; others are told with their worker only."""
    async with open_graph() as graph:
        task = graph.create_task(cases.say_in_threads, name="t")
        await task.wait()
        await records.wait_for("in a thread of its own")

    ours, other = records.all
    assert (ours.getMessage(), ours.task) == ("in a thread of trio's", "t")  # type: ignore[attr-defined]
    assert (other.threadName, other.task, other.attempt, other.graph) == ("own", None, None, None)  # type: ignore[attr-defined]
    assert other.worker == "default/0"  # type: ignore[attr-defined]
    assert texts(graph.logs()) == ["in a thread of trio's"]


async def test_a_thread_that_outlives_its_task_still_speaks_for_it(
    records: Records, tmp_path: Path
) -> None:
    """Although nothing else happens in its worker any more."""
    async with open_graph() as graph:
        task = graph.create_task(cases.leave_a_thread_behind, str(tmp_path / "go"), name="t")
        await task.wait()
        (tmp_path / "go").touch()
        await records.wait_for("long after")
    assert texts(task.logs()) == ["before", "after", "long after"]
    assert {record.task for record in records.all} == {"t"}  # type: ignore[attr-defined]


async def test_what_is_logged_outside_of_tasks_arrives_too(records: Records) -> None:
    """As in `setup`, before the worker is ready."""
    async with open_graph(WorkerLoop("default", setup=cases.set_up)) as graph:
        await graph.create_task(cases.say, "hello").wait()

    assert records.texts == ["set up 0", "hello"]
    assert [record.worker for record in records.all] == ["default/0"] * 2  # type: ignore[attr-defined]
    assert texts(graph.logs()) == ["hello"]


async def test_tracebacks_extras_and_stacks_come_along(records: Records) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.say_in_detail, name="t")
        await task.wait()

    failed, here = records.all
    assert failed.row == 7  # type: ignore[attr-defined]
    assert failed.where == Path("a")  # type: ignore[attr-defined]
    assert "lock" in failed.lock  # type: ignore[attr-defined]  # its repr: it cannot be pickled
    shown = logging.Formatter("%(task)s: %(message)s").format(failed)
    assert shown.startswith("t: page 'x'\nTraceback (most recent call last):\n")
    assert shown.endswith("OSError: no such page")
    assert "no such page" in str(failed.exc_info[1])  # type: ignore[index]
    assert here.stack_info is not None
    assert "say_in_detail" in here.stack_info
    assert here.task == "t"  # type: ignore[attr-defined]  # ours, whatever the task calls so
    first, second = task.logs()
    assert first.exception is not None
    assert first.exception.endswith("OSError: no such page")
    assert (first.extra["row"], second.extra["task"]) == ("7", "mine")


async def test_what_cannot_be_shown_or_sent_harms_nothing(records: Records) -> None:
    """A `__repr__` that logs or raises, wrong arguments, no UTF-8, and far too much."""
    async with open_graph() as graph:
        task = graph.create_task(cases.say_badly)
        await task.result()

    shown = texts(task.logs())
    assert shown[0] == "awkward"
    assert "RuntimeError: no text" in shown[1]
    assert "no number" in shown[2]
    assert "TypeError" in shown[2]
    assert shown[3] == "\\udc80 äää"
    assert shown[4:6] == ["large", "x" * LINE_CHARACTERS_MAX + CUT_MARK]
    assert shown[6:] == ["the end"]
    assert len(task.logs()[5].extra["data"]) < LINE_CHARACTERS_MAX
    assert graph.logs_dropped == 1  # the line of the repr
    assert records.texts == shown


# Levels


@pytest.fixture
def levels(records: Records) -> Iterator[None]:
    changed = {"library": logging.WARNING, "noisy": logging.ERROR, "chatty": logging.DEBUG}
    for name, level in changed.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("off").disabled = True
    yield
    for name in changed:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger("off").disabled = False


@pytest.mark.usefixtures("levels")
async def test_the_levels_are_those_of_the_app(records: Records) -> None:
    """Already in the worker, so that what the app would not log costs nothing."""
    async with open_graph() as graph:
        task = graph.create_task(cases.say_at_each_level)
        assert await task.result() == {"noisy": False, "off": False}

    expected = ["library 30", "library 40", "library.inner 30", "library.inner 40", "noisy 40"]
    expected += ["chatty 10", "chatty 20", "chatty 30", "chatty 40"]
    assert records.texts == expected
    assert texts(task.logs()) == expected


@pytest.mark.usefixtures("levels")
async def test_more_can_be_kept_than_the_app_logs(records: Records) -> None:
    async with open_graph(log_level="debug") as graph:
        task = graph.create_task(cases.say_at_each_level)
        await task.wait()

    assert len(task.logs()) == 5 * 4
    assert len(records.all) == 9
    assert texts(task.logs(level="ERROR")) == [
        f"{name} 40" for name in ("library", "library.inner", "noisy", "chatty", "off")
    ]


async def test_logging_that_is_disabled_is_disabled_in_workers(records: Records) -> None:
    logging.disable(logging.WARNING)
    try:
        async with open_graph() as graph:
            await graph.create_task(cases.say_at_each_level).wait()
    finally:
        logging.disable(logging.NOTSET)
    assert {record.levelno for record in records.all} == {logging.ERROR}


async def test_a_module_that_configures_logging_takes_no_lines_away(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes all handlers of the worker when it is imported there with a function."""
    (tmp_path / "configuring.py").write_text(
        "import logging\n"
        "logging.root.handlers.clear()\n"
        "def say():\n"
        "    logging.getLogger('m').info('still here')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    handlers = logging.root.handlers[:]
    import configuring  # type: ignore[import-not-found]

    logging.root.handlers[:] = handlers
    async with open_graph() as graph:
        await graph.create_task(cases.say, "before").wait()
        await graph.create_task(configuring.say).wait()
    assert records.texts == ["before", "still here"]


@pytest.mark.parametrize("how", ["basicConfig", "dictConfig"])
async def test_nor_does_a_task_that_does(how: str, records: Records) -> None:
    async with open_graph() as graph:
        await graph.create_task(cases.configure_logging, how).result()
        later = graph.create_task(cases.say, "still heard")
        await later.result()
        assert texts(later.logs()) == ["still heard"]
    assert records.texts == ["still heard"]


async def test_what_cannot_be_shown_in_a_thread_of_this_process_harms_nothing(
    records: Records,
) -> None:
    async with open_graph() as graph:
        loop = {"worker_loop": "local"}
        task = graph.create_task(cases.say_what_cannot_be_shown_in_a_thread, **loop)
        await task.result()
        await trio.testing.wait_all_tasks_blocked()
        first, second = task.logs()
        assert "(RuntimeError: no)" in first.text
        assert (second.text, second.logger) == ("after it", "bad\\udc80name")


@pytest.mark.parametrize("function", [cases.say_while_sending, cases.say_while_sending_async])
async def test_lines_can_be_logged_in_the_middle_of_our_own_code(
    function: Callable[..., Any], records: Records
) -> None:
    async with open_graph(capture_output=True) as graph:
        task = graph.create_task(function)
        assert await task.result() == "done"
    assert records.texts == ["locked"] * 8
    assert graph.logs_dropped == 0


async def test_a_fork_of_a_worker_does_not_speak_for_it(
    records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it logs goes where `logging` sends what nobody has asked for."""
    async with open_graph(capture_output=True) as graph:
        task = graph.create_task(cases.say_in_a_fork)
        assert await task.result() == 20
    assert records.texts == ["in the worker"] * 20
    assert capfd.readouterr().err.count("in the child") == 20


async def test_warnings_can_be_logged(records: Records) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.warn)
        await task.wait()
    assert task.state == "succeeded"
    assert [record.name for record in records.all] in ([], ["py.warnings"])  # as Python's -W says


# Output


@pytest.mark.parametrize("loop", ["default", "local"])
async def test_output_becomes_log_lines_if_asked(loop: str, records: Records) -> None:
    async with open_graph(capture_output=True) as graph:
        task = graph.create_task(cases.write, name="t", worker_loop=loop)
        await task.wait()

    out = [line.text for line in task.logs() if line.logger == "trio_actor_graph.stdout"]
    err = [line.text for line in task.logs() if line.logger == "trio_actor_graph.stderr"]
    assert out == ["one 1", "two", "three and a half", "no end"]
    assert (err[0], err[-1]) == ("Traceback (most recent call last):", "KeyError: 'lost'")
    assert {line.level_name for line in task.logs()} == {"INFO", "WARNING"}
    assert records.texts == texts(task.logs())
    assert {record.task for record in records.all} == {"t"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("loop", ["default", "local"])
async def test_output_is_kept_whatever_the_levels(loop: str, records: Records) -> None:
    logging.root.setLevel(logging.ERROR)
    async with open_graph(capture_output=True) as graph:
        task = graph.create_task(cases.write, worker_loop=loop)
        await task.wait()
    assert "one 1" in texts(task.logs())
    assert records.all == []


@pytest.mark.parametrize("loop", ["many", "local"])
async def test_output_of_tasks_at_the_same_time_is_not_mixed(loop: str, records: Records) -> None:
    async with open_graph(capture_output=True) as graph:
        tasks = [
            graph.create_task(cases.write_async, name, worker_loop=loop) for name in ("a", "b")
        ]
    assert [texts(task.logs()) for task in tasks] == [
        ["a 0", "a 1", "a 2"],
        ["b 0", "b 1", "b 2"],
    ]
    assert len(records.all) == 6


class Printing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print("seen:", record.getMessage())


async def test_a_handler_of_this_process_may_print_what_it_is_told(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    """And `sys.stdout` is what it was, when the coordinator has closed."""
    usual = sys.stdout
    logging.root.addHandler(Printing())
    async with open_graph(capture_output=True) as graph:
        task = graph.create_task(cases.write_async, "a", worker_loop="local")
        await task.wait()
        print("the app's own")
    assert texts(task.logs()) == ["a 0", "a 1", "a 2"]
    assert capsys.readouterr().out == "seen: a 0\nseen: a 1\nseen: a 2\nthe app's own\n"
    assert sys.stdout is usual


async def test_output_that_is_not_asked_for_goes_where_it_always_did(
    records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.write)
        await task.wait()
    assert "three and a half" in capfd.readouterr().out
    assert task.logs() == ()
    assert records.all == []


# Bounds


async def test_a_flood_is_cut_short_and_counted(records: Records) -> None:
    """What trio's thread of a worker says faster than it can be sent."""
    async with open_graph() as graph:
        task = graph.create_task(cases.flood, 100, 1_000)
        await task.wait()

    *kept, last = texts(task.logs())
    assert kept == [str(at) for at in range(len(kept))] or len(kept) > 100
    assert graph.logs_dropped == 1_000 - len(kept)
    assert "log lines were dropped here" in last
    assert len(kept) < 1_000


async def test_a_function_in_a_thread_waits_until_it_can_say_more(records: Records) -> None:
    """Far more than fits between the processes; nothing is dropped."""
    async with open_graph(log_level="INFO") as graph:
        logging.root.setLevel(logging.ERROR)
        task = graph.create_task(cases.say_many, 30_000, 500)
        await task.wait()

    assert len(task.logs()) == 30_000
    assert graph.logs_dropped == 0
    assert records.all == []


# Workers that die, and tasks that end otherwise


async def test_the_lines_of_a_worker_that_is_killed_are_kept(
    records: Records, tmp_path: Path
) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.say_and_die, str(tmp_path / "seen"))
        await records.wait_for("third")
        (tmp_path / "seen").touch()
        assert await task.result() == "survived"

    assert texts(task.logs(attempt=1)) == ["first", "second", "third"]
    assert texts(task.logs()) == ["first", "second", "third", "again"]


async def test_what_is_said_right_before_the_death_is_kept(records: Records) -> None:
    """If nothing else was said for a while, a line is sent before the function goes on."""
    async with open_graph() as graph:
        task = graph.create_task(cases.say_and_die_at_once)
        assert await task.result() == "survived"
    assert texts(task.logs(attempt=1)) == ["last words"]


async def test_lines_arrive_while_a_task_blocks_trio(records: Records, tmp_path: Path) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.block_trio, str(tmp_path / "seen"))
        await records.wait_for("third")
        assert task.state == "running"
        (tmp_path / "seen").touch()
        await task.result()
    assert texts(task.logs()) == ["first", "second", "third"]


async def test_what_a_cancelled_task_says_is_kept(records: Records, tmp_path: Path) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.say_while_cleaning_up, str(tmp_path / "go"), name="t")
        await records.wait_for("running")
        task.cancel()
        assert task.state == "cancelled"
        await records.wait_for("cleaning up")
        (tmp_path / "go").touch()
        await records.wait_for("cleaned up")
    assert texts(task.logs()) == ["running", "cleaning up", "cleaned up"]
    assert {line.attempt for line in task.logs()} == {1}


async def test_a_line_of_a_graph_that_is_gone_reaches_the_app(
    records: Records, tmp_path: Path
) -> None:
    with trio.fail_after(STORY_SECONDS):
        async with open_coordinator([ONE]) as coordinator:
            async with coordinator.open_graph("gone") as graph:
                task = graph.create_task(cases.say_while_cleaning_up, str(tmp_path / "go"))
                await records.wait_for("running")
                task.cancel()
                await records.wait_for("cleaning up")
            (tmp_path / "go").touch()
            await records.wait_for("cleaned up")
    assert texts(graph.logs()) == ["running", "cleaning up"]
    assert records.all[-1].graph == "gone"  # type: ignore[attr-defined]


# The app


async def test_a_handler_that_raises_harms_nothing(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told once."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    logging.root.addHandler(Broken())
    async with open_graph() as graph:
        task = graph.create_task(cases.say, "one", "two")
        await task.result()
    assert texts(task.logs()) == ["one", "two"]
    assert records.texts == ["one", "two"]
    assert capsys.readouterr().err.count("OSError: disk full") == 1


async def test_filters_and_handlers_of_named_loggers_are_the_apps(records: Records) -> None:
    class NoTwo(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return record.getMessage() != "two"

    library, no_two, own = logging.getLogger("library.inner"), NoTwo(), Records()
    library.addFilter(no_two)
    library.addHandler(own)
    library.propagate = False
    try:
        async with open_graph() as graph:
            await graph.create_task(cases.say, "one", "two", "three").wait()
    finally:
        library.removeFilter(no_two)
        library.removeHandler(own)
        library.propagate = True
    assert own.texts == ["one", "three"]
    assert records.all == []


async def test_logging_in_this_process_is_put_back_as_it_was(records: Records) -> None:
    """And attributes of the user's that are called as ours raise no error."""
    usual, handlers = logging.Logger.makeRecord, logging.root.handlers[:]
    async with open_graph() as graph:
        task = graph.create_task(cases.say_in_detail, worker_loop="local", name="t")
        await task.result()
        assert logging.Logger.makeRecord is not usual
        logging.getLogger("app").info("not of a task")
    assert logging.Logger.makeRecord is usual
    assert logging.root.handlers == handlers
    *ours, app = records.all
    assert [record.task for record in ours] == ["t", "t"]  # type: ignore[attr-defined]
    assert not hasattr(app, "task")
    assert texts(graph.logs()) == ["page 'x'", "here"]
    assert graph.logs()[0].exception is not None


async def test_what_others_have_put_over_ours_stays(records: Records) -> None:
    """And what we have put there does nothing any more."""
    usual = logging.Logger.makeRecord

    async with open_graph() as graph:
        await graph.create_task(cases.say, "one", worker_loop="local").wait()
        ours = logging.Logger.makeRecord

        def theirs(*args: Any, **more: Any) -> logging.LogRecord:
            return ours(*args, **more)

        logging.Logger.makeRecord = theirs  # type: ignore[method-assign]
    try:
        assert logging.Logger.makeRecord is theirs
        async with open_graph() as graph:
            await graph.create_task(cases.say, "two", worker_loop="local").wait()
        assert texts(graph.logs()) == ["two"]
        assert logging.Logger.makeRecord is theirs
    finally:
        logging.Logger.makeRecord = usual  # type: ignore[method-assign]
    assert records.texts == ["one", "two"]


async def test_threads_of_a_task_in_this_process(records: Records) -> None:
    async with open_graph() as graph:
        task = graph.create_task(cases.say_in_threads, worker_loop="local", name="t")
        await task.wait()
    assert texts(task.logs()) == ["in a thread of trio's"]
    assert records.all[0].task == "t"  # type: ignore[attr-defined]


@pytest.mark.parametrize("loop", ["default", "local"])
async def test_what_makes_no_sense_is_refused(loop: str, records: Records) -> None:
    """Wrong owners too: a worker speaks for its own attempts only."""
    async with open_both() as (coordinator, graph):
        task = graph.create_task(cases.say_while_cleaning_up, "/", worker_loop=loop)
        await records.wait_for("running")
        records.all.clear()
        ((attempt_id, attempt),) = coordinator._scheduler.attempts.items()
        worker_id = attempt.worker.worker_id
        good = msg.Logged(
            attempt_id, task.uid, 1, "m", 30, "WARNING", "hi", None, None, 1.0, "m.py", 1, "f", "t"
        )
        coordinator.on_messages(worker_id, [good])
        for at, changes in (
            (worker_id, {"uid": task.uid + 1}),
            (worker_id, {"level": -1}),
            (worker_id, {"attempt_id": None}),
            (worker_id + 1, {}),
        ):
            with pytest.raises(ProtocolError):
                coordinator.on_messages(at, [_changed(good, **changes)])
        coordinator.on_messages(worker_id, [_changed(good, details=b"\x80nonsense")])
        coordinator.on_messages(worker_id, [_changed(good, attempt_id=10**9, uid=10**9)])
        task.cancel()
    assert texts(task.logs())[1:3] == ["hi", "hi"]
    assert "undecodable" in task.logs()[2].extra
    assert [record.task_uid for record in records.all[:3]] == [task.uid, task.uid, 10**9]  # type: ignore[attr-defined]


def _changed(message: msg.Logged, **changes: Any) -> msg.Logged:
    import msgspec

    return msgspec.structs.replace(message, **changes)


# Reading


async def test_the_lines_of_a_part_of_the_graph(records: Records) -> None:
    """Ancestors and descendants, the task itself among them, by wait and by creation."""
    async with open_graph() as graph:
        root = graph.create_task(cases.create_child, 1, name="root")
        middle = graph.create_task(cases.say, "middle", waits_on=root)
        last = graph.create_task(cases.say, "last", waits_on=middle)
        graph.create_task(cases.say, "elsewhere", waits_on=last, name="other").cancel()
        await graph.wait_finished()

    assert texts(graph.logs()) == ["depth 1", "depth 0", "middle", "last"]
    assert texts(graph.logs(of=middle)) == ["middle"]
    assert texts(graph.logs(of=last, scope="ancestors")) == ["depth 1", "middle", "last"]
    assert texts(graph.logs(of=root, scope="descendants")) == [
        *("depth 1", "depth 0", "middle", "last"),
    ]
    assert texts(graph.logs(of=middle, scope="graph")) == texts(graph.logs())
    cursor = graph.logs(limit=2)[-1].number
    assert texts(graph.logs(after=cursor)) == ["middle", "last"]
    assert texts(graph.logs(after=cursor, limit=1)) == ["middle"]
    assert graph.logs(level="ERROR") == ()


async def test_wrong_questions_are_refused(records: Records) -> None:
    async with open_graph(LOCAL) as graph, open_other_graph() as (other, child_error):
        with pytest.raises(GraphError, match="is not a task of graph 'g'"):
            graph.logs(of=other)
        with pytest.raises(GraphError, match="is not a task"):
            graph.logs(scope="ancestors")
        task = graph.create_task(cases.say, worker_loop="local")
        with pytest.raises(GraphError, match="no scope 'family'"):
            graph.logs(of=task, scope="family")  # type: ignore[arg-type]
        with pytest.raises(GraphError, match="no log level 'loud'"):
            task.logs(level="loud")
        assert "logs is known to the coordinator" in child_error


@asynccontextmanager
async def open_other_graph() -> AsyncIterator[tuple[Any, str]]:
    async with open_coordinator([LOCAL]) as coordinator, coordinator.open_graph() as graph:
        task = graph.create_task(_ask_child, worker_loop="local")
        yield task, await task.result()


async def _ask_child() -> str:
    from trio_actor_graph import current_task

    try:
        current_task().create_task(cases.say).logs()
    except GraphError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "options",
    [
        {"log_level": "loud"},
        {"carried_variables": ["nowhere:x"]},
        {"carried_variables": ["log_cases:log"]},
        {"carried_variables": ["log_cases"]},
        {"carried_variables": "log_cases:tenant"},
    ],
)
async def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(GraphError):
        async with open_coordinator([LOCAL], **options):
            pass


# structlog


@pytest.fixture
def structlog_handler(records: Records) -> Iterator[list[str]]:
    """A handler of the app that formats by structlog; yields what it has written."""
    import structlog

    written: list[str] = []

    class Write(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Write()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ExtraAdder(allow=["task", "graph"]),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
        )
    )
    logging.root.addHandler(handler)
    yield written
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.mark.parametrize("loop", ["default", "local"])
async def test_events_of_structlog_reach_its_formatter_in_the_app(
    loop: str, structlog_handler: list[str]
) -> None:
    """As values, not as text; and what is logged without structlog beside them."""
    import structlog

    if loop == "local":
        cases.set_up_structlog()
    loops = [WorkerLoop("default", setup=cases.set_up_structlog), LOCAL]
    async with open_graph(*loops) as graph:
        structlog.contextvars.bind_contextvars(request="r7")
        task = graph.create_task(cases.say_structured, worker_loop=loop)
        await task.result()
        await graph.create_task(cases.say, "plain", worker_loop=loop, name="t").wait()

    sold, not_sold, plain = structlog_handler
    assert sold.startswith("event='sold'")
    for part in ("request='r7'", "item='shoe'", "price=7", "level='info'", "lock="):
        assert part in sold
    assert f"task={task.name!r}" in sold
    assert f"graph={graph.name!r}" in not_sold
    assert not_sold.startswith("event='not sold'")
    if loop == "default":  # where a traceback cannot travel, its text does
        assert "OSError: no till" in not_sold
    assert plain == f"event='plain' task='t' graph={graph.name!r}"
    first, second = task.logs()
    assert (first.text, first.extra["price"], first.extra["request"]) == ("sold", "7", "r7")
    assert second.text == "not sold"


async def test_the_recipe_of_the_documentation_shows_whose_events_they_are(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of structlog, and what is logged without it."""
    import structlog

    page = (Path(__file__).parents[2] / "docs/logging.md").read_text(encoding="utf-8")
    code = page.partition("## structlog")[2].partition("```python\n")[2].partition("```")[0]
    handler = logging.StreamHandler()
    recipe: dict[str, Any] = {"structlog": structlog, "WorkerLoop": WorkerLoop, "handler": handler}
    exec(code, recipe)
    logging.root.addHandler(handler)
    try:
        recipe["configure_structlog"]()
        async with open_graph(LOCAL) as graph:
            graph.create_task(cases.say_structured, worker_loop="local", name="shop")
            graph.create_task(cases.say, "plain", worker_loop="local", name="t")
    finally:
        structlog.reset_defaults()
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().err)
    for event, task in (("sold", "shop"), ("not sold", "shop"), ("plain", "t")):
        (line,) = (line for line in told.splitlines() if re.search(rf"(\] |^){event} ", line))
        assert f"task={task}" in line
        assert f"graph={graph.name}" in line


# Carried context


async def test_what_structlog_has_bound_goes_into_tasks_and_no_further(records: Records) -> None:
    import structlog

    async with open_graph() as graph:
        structlog.contextvars.bind_contextvars(request="r1", user=5)
        try:
            tasks = [
                graph.create_task(function, worker_loop=loop)
                for loop in ("default", "many", "local")
                for function in (cases.bound_values, cases.bound_values_async)
            ]
        finally:
            structlog.contextvars.clear_contextvars()
        after = graph.create_task(cases.bound_values_if_any, waits_on=tasks)
        for task in tasks:
            assert await task.result() == {"request": "r1", "user": 5}
        assert await after.result() == {}
    assert records.all == []


@pytest.mark.parametrize("loop", ["default", "many", "local"])
async def test_named_variables_go_into_tasks_and_on_from_there(loop: str) -> None:
    names = ["log_cases:request_id", "log_cases:tenant"]
    async with open_graph(carried_variables=names) as graph:
        token = cases.request_id.set(("r", 1))
        try:
            tasks = [
                graph.create_task(function, worker_loop=loop)
                for function in (cases.carried, cases.carried_async)
            ]
            last = graph.create_task(cases.carry_on, worker_loop=loop)
        finally:
            cases.request_id.reset(token)
        bare = graph.create_task(cases.carried, waits_on=[*tasks, last], worker_loop=loop)
        for task in tasks:
            assert await task.result() == (("r", 1), None)
        assert await last.result() == ("('r', 1) and on", None)
        assert await bare.result() == (None, None)


async def test_what_cannot_be_carried_is_left_out_and_told_once(records: Records) -> None:
    """Too much, and what cannot be pickled; the rest is carried."""
    names = ["log_cases:request_id", "log_cases:tenant"]
    async with open_graph(carried_variables=names) as graph:
        tokens = cases.request_id.set(iter([])), cases.tenant.set("t1")
        cases.request_id.set(sys._getframe())
        try:
            tasks = [graph.create_task(cases.carried) for _ in range(3)]
            cases.request_id.set("x" * 2 * CONTEXT_BYTES_MAX)
            too_large = graph.create_task(cases.carried)
        finally:
            cases.request_id.reset(tokens[0])
            cases.tenant.reset(tokens[1])
        for task in tasks:
            assert await task.result() == (None, "t1")
        assert await too_large.result() == (None, None)
    told = [record.getMessage() for record in records.all]
    assert len(told) == 2
    assert "'log_cases:request_id' is not carried" in told[0]
    assert f"limit {CONTEXT_BYTES_MAX:,}" in told[1]


@pytest.mark.parametrize("loop", ["default", "many", "local"])
async def test_the_trace_goes_on_in_tasks(loop: str) -> None:
    """A span that a task opens has the span of its creator above it."""
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(shutdown_on_exit=False)
    async with open_graph() as graph:
        with provider.get_tracer("app").start_as_current_span("request") as span:
            tasks = [
                graph.create_task(function, worker_loop=loop)
                for function in (cases.trace_of_a_span, cases.trace_of_a_span_async)
            ]
        context = span.get_span_context()
        without = graph.create_task(cases.is_otel_imported, worker_loop=loop, waits_on=tasks)
        expected = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
        assert [await task.result() for task in tasks] == [expected, expected]
        assert await without.result()


async def test_nothing_is_imported_where_nothing_is_carried(run_program: Any) -> None:
    """Neither in the app nor in a worker."""
    program = """
        import sys, trio
        from trio_actor_graph import WorkerLoop, open_coordinator

        async def main():
            async with open_coordinator([WorkerLoop("default")]) as c, c.open_graph() as graph:
                names = await graph.create_task(eval, "sorted(__import__('sys').modules)").result()
            for modules in (names, sys.modules):
                print({"structlog", "opentelemetry"} & set(modules))

        trio.run(main)
    """
    run = await trio.to_thread.run_sync(run_program, program)
    assert (run.stdout, run.stderr, run.returncode) == ("set()\nset()\n", "", 0)
