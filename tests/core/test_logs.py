"""Core: the store of log lines, and the choice among them."""

from __future__ import annotations

import logging

import msgspec
import pytest

from trio_actor_graph.errors import GraphError, ProtocolError
from trio_actor_graph.graph.reading import chain
from trio_actor_graph.log_delivery import (
    CHAIN_MAX,
    LOGGERS_MAX,
    LogDelivery,
    Origin,
    chain_text,
    check_logged,
)
from trio_actor_graph.logs import (
    CUT_MARK,
    LINE_CHARACTERS_MAX,
    LogLine,
    LogStore,
    cut,
    level_number,
    select,
)
from trio_actor_graph.messages import Logged

from .builder import Story


def line(number: int, task_uid: int | None = 1, text: str = "text", level: int = 20) -> LogLine:
    return LogLine(
        number, 0.0, level, "", "m", text, None, 9, task_uid, "t", 1, "cpu/0", "m.py", 1, {}
    )


def numbers(lines: object) -> list[int]:
    return [each.number for each in lines]  # type: ignore[attr-defined]


# The store


def test_lines_are_found_by_task_and_all_together_in_order() -> None:
    store = LogStore()
    for number in range(1, 10):
        store.put(line(number, task_uid=number % 3))

    assert numbers(store.of_all()) == list(range(1, 10))
    assert numbers(store.of_tasks([1])) == [1, 4, 7]
    assert numbers(store.of_tasks([2, 1])) == [1, 2, 4, 5, 7, 8]
    assert numbers(store.of_tasks([5])) == []
    assert len(store) == 9


def test_a_number_is_a_cursor() -> None:
    """Numbers grow, and those of other graphs lie between."""
    store = LogStore()
    for number in (2, 5, 6, 40):
        store.put(line(number))

    assert numbers(store.of_all(after=5)) == [6, 40]
    assert numbers(store.of_all(after=7)) == [40]
    assert numbers(store.of_all(after=40)) == []
    assert numbers(store.of_tasks([1], after=5)) == [6, 40]


def test_the_oldest_lines_go_when_there_are_too_many() -> None:
    store = LogStore(lines_max=5)
    for number in range(1, 101):
        store.put(line(number, task_uid=number % 2))

    assert numbers(store.of_all()) == [96, 97, 98, 99, 100]
    assert numbers(store.of_all(after=97)) == [98, 99, 100]
    assert numbers(store.of_tasks([0])) == [96, 98, 100]
    assert store.dropped == 95


def test_the_oldest_lines_go_when_they_are_too_large() -> None:
    """But one line is kept, however large."""
    store = LogStore(bytes_max=10_000)
    for number in range(1, 21):
        store.put(line(number, text="x" * 1_600))

    assert numbers(store.of_all()) == [16, 17, 18, 19, 20]
    assert sum(each.size for each in store.of_all()) == 10_000
    store.put(line(21, text="x" * 20_000))
    assert numbers(store.of_all()) == [21]
    assert store.dropped == 20


def test_what_is_dropped_is_not_held_on_to() -> None:
    """Neither the lines nor the tasks that have none any more."""
    store = LogStore(lines_max=10)
    for number in range(1, 1_001):
        store.put(line(number, task_uid=number))

    assert len(store._by_task) == 10
    assert len(store._lines) < 20


# The choice


def test_lines_are_chosen_by_level_attempt_and_number() -> None:
    lines = [
        msgspec.structs.replace(line(number, level=10 * number), attempt=number % 2)
        for number in range(1, 6)
    ]

    assert numbers(select(lines, None)) == [1, 2, 3, 4, 5]
    assert numbers(select(lines, "warning")) == [3, 4, 5]
    assert numbers(select(lines, 40)) == [4, 5]
    assert numbers(select(lines, None, attempt=1)) == [1, 3, 5]
    assert numbers(select(lines, 20, 1, limit=1)) == [3]
    assert select(lines, None, limit=0) == ()


@pytest.mark.parametrize("level", ["LOUD", -1, True, 1.5, 2**40, ""])
def test_a_level_that_is_none_is_refused(level: object) -> None:
    with pytest.raises(GraphError, match="no log level"):
        level_number(level)


def test_texts_are_cut_and_always_utf_8() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == f"abc{CUT_MARK}"
    assert cut("\udc80ä") == "\\udc80ä"


# What comes from workers


def logged(**changes: object) -> Logged:
    message = Logged(1, 1, 1, "m", 20, "INFO", "text", None, None, 1.0, "m.py", 1, "f", "main")
    return msgspec.structs.replace(message, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": -1},
        {"attempt_number": -1},
        {"attempt_number": 2**31},
        {"level": -1},
        {"level": 2**31},
        {"line_number": -5},
        {"dropped": -1},
        {"dropped": 2**62},
        {"created": float("nan")},
        {"created": float("inf")},
        {"text": "x" * 11 * LINE_CHARACTERS_MAX},
        {"exception": "x" * 11 * LINE_CHARACTERS_MAX},
        {"stack": "x" * 11 * LINE_CHARACTERS_MAX},
        {"logger": "x" * 20_000},
        {"thread": "x" * 20_000},
        {"details": b"x" * 3 * LINE_CHARACTERS_MAX},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_line_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    check_logged(logged())
    with pytest.raises(ProtocolError, match="makes no sense"):
        check_logged(logged(**changes))


def test_loggers_of_workers_are_not_made_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """`logging` never forgets one; lines of more of them come by the root logger."""
    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.name)

    keep = Keep()
    monkeypatch.setattr("trio_actor_graph.log_delivery.LOGGERS_MAX", 3)
    monkeypatch.setattr(logging.root, "handlers", [keep])
    monkeypatch.setattr(logging.root.manager, "loggerDict", {**logging.root.manager.loggerDict})
    before = len(logging.root.manager.loggerDict)
    delivery = LogDelivery()
    for number in range(10):
        delivery.hand_over(logged(logger=f"of_workers_{number}", level=40), Origin(), {})

    assert seen == [f"of_workers_{number}" for number in range(10)]
    assert len(logging.root.manager.loggerDict) == before + 3
    assert LOGGERS_MAX > 3


# The chain of tasks


def test_the_chain_names_the_last_tasks_only() -> None:
    """Also of a very long chain, without walking it."""
    story = Story()
    task = story.create("t0")
    for number in range(1, 1_000):
        task = story.create(f"t{number}", inputs=[task])

    names = [f"t{number}" for number in range(1_000 - CHAIN_MAX, 1_000)]
    assert chain_text(task.record) == " > ".join(["...", *names])
    assert len(chain(task.record, 3)) == 3
    assert len(chain(task.record)) == 1_000
