"""Collaboration: the log lines of a worker whose coordinator does not read for a while.

The worker is in this process, with a test in the coordinator's place; see `worker_cases.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from worker_cases import HANG_SECONDS, open_worker

from trio_actor_graph import link
from trio_actor_graph.messages import AttemptSucceeded, Logged, LogSettings
from trio_actor_graph.worker import logs

SETTINGS = LogSettings(logging.INFO, {})
LINES = 3_000
WIDTH = 1_000

log = logging.getLogger("library")


ended = threading.Event()


@pytest.fixture(autouse=True)
def a_narrow_link(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And the levels of this process as they were, which a worker sets."""
    monkeypatch.setattr(link, "UNSENT_BYTES_MAX", 100_000)
    ended.clear()
    level, disabled = logging.root.level, logging.root.manager.disable
    yield
    logging.root.setLevel(level)
    logging.disable(disabled)


def say() -> None:
    for number in range(LINES):
        log.info("%d %s", number, "." * WIDTH)
    ended.set()


async def say_async() -> None:
    say()


def lines_of(history: list[Any]) -> list[Logged]:
    return [message for message in history if isinstance(message, Logged)]


async def test_a_function_in_a_thread_waits_for_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then all its lines arrive, in order and ahead of its end."""
    monkeypatch.setattr(logs, "LOG_ROOM_SECONDS", HANG_SECONDS)
    waits = threading.Event()
    usual = link.Link.wait_for_room

    def wait_for_room(self: Any, seconds: float | None = None) -> None:
        if not self.has_room:
            waits.set()
        usual(self, seconds)

    monkeypatch.setattr(link.Link, "wait_for_room", wait_for_room)
    async with open_worker(tmp_path, slots=1, logs=SETTINGS) as worker:
        worker.may_read = trio.Event()
        worker.run(1, say)
        await trio.to_thread.run_sync(waits.wait, HANG_SECONDS)
        assert waits.is_set()
        worker.may_read.set()
        await worker.expect(AttemptSucceeded, 1)
        said = lines_of(worker.history)
    assert [int(line.text.split()[0]) for line in said] == list(range(LINES))
    assert sum(line.dropped for line in said) == 0


@pytest.mark.parametrize("function", [say, say_async])
async def test_what_there_is_no_room_for_is_dropped_and_counted(
    function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In trio's thread at once; in others after a moment. The task goes on."""
    monkeypatch.setattr(logs, "LOG_ROOM_SECONDS", 0.0001)
    async with open_worker(tmp_path, logs=SETTINGS) as worker:
        worker.may_read = trio.Event()
        worker.run(1, function)
        await trio.to_thread.run_sync(ended.wait, HANG_SECONDS)
        assert ended.is_set()
        worker.may_read.set()
        await worker.expect(AttemptSucceeded, 1)
        said = lines_of(worker.history)
    numbers = [int(line.text.split()[0].replace(",", "")) for line in said]
    dropped = sum(line.dropped for line in said)
    assert dropped > 0
    notes = [line for line in said if line.logger == "trio_actor_graph"]
    assert len(said) - len(notes) + dropped == LINES
    assert numbers[:100] == list(range(100))


async def test_a_worker_that_is_to_send_nothing_leaves_logging_alone(tmp_path: Path) -> None:
    before = logging.root.level, logging.root.handlers[:], logging.root.manager.disable
    async with open_worker(tmp_path) as worker:
        worker.run(1, say)
        await worker.expect(AttemptSucceeded, 1)
        after = logging.root.level, logging.root.handlers[:], logging.root.manager.disable
    assert before == after
    assert lines_of(worker.history) == []


async def test_the_handler_goes_with_the_worker(tmp_path: Path) -> None:
    """Also if `logging.shutdown` has closed all handlers meanwhile: ours goes on until then."""
    handlers = logging.root.handlers[:]
    async with open_worker(tmp_path, logs=SETTINGS) as worker:
        assert len(logging.root.handlers) == len(handlers) + 1
        worker.run(1, _shut_down)
        await worker.expect(AttemptSucceeded, 1)
    assert logging.root.handlers == handlers
    assert [line.text for line in lines_of(worker.history)] == ["before", "after"]


def _shut_down() -> None:
    log.info("before")
    logging.shutdown([lambda: _ours()])  # type: ignore[list-item]
    log.info("after")


def _ours() -> logging.Handler:
    return next(each for each in logging.root.handlers if isinstance(each, logs.LogSender))
