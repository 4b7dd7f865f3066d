"""Core: the tree of log lines for people, as text."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from trio_actor_graph.logs import LogLine
from trio_actor_graph.observe import log_tree as module
from trio_actor_graph.observe.log_tree import TaskNode, log_tree, plain


def line(number: int, task_uid: int, text: str = "", **changes: object) -> LogLine:
    values: dict[str, object] = {
        "number": number,
        "created": 0.25,
        "level": 20,
        "level_name": "INFO",
        "logger": "m",
        "text": text or f"line {number}",
        "exception": None,
        "graph_uid": 1,
        "task_uid": task_uid,
        "task_name": "t",
        "attempt": 1,
        "worker": "cpu/0",
        "pathname": "m.py",
        "line_number": 1,
        "extra": {},
        **changes,
    }
    return LogLine(**values)  # type: ignore[arg-type]


def shown(nodes: list[TaskNode], lines: list[LogLine], dropped: int = 0) -> list[str]:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(log_tree("g", nodes, lines, dropped))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    # Not the time, which depends on where one is.
    return [re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "TIME", row.rstrip()) for row in text.splitlines()]


def test_tasks_stand_below_what_led_to_them() -> None:
    """Those without lines only where they lead to some."""
    nodes = [
        TaskNode(1, "root", "succeeded", None),
        TaskNode(2, "child", "failed", 1),
        TaskNode(3, "silent", "succeeded", None),
        TaskNode(4, "leading", "succeeded", 3),
        TaskNode(5, "last", "running", 4),
        TaskNode(6, "never", "waiting", 5),
    ]
    rows = shown(nodes, [line(1, 2), line(2, 5), line(3, 1), line(4, 2)], dropped=7)

    assert rows == [
        "g  4 lines of 3 tasks, 7 lines were dropped",
        "├── root 1 succeeded",
        "│   TIME INFO     m line 3",
        "│   └── child 2 failed",
        "│       TIME INFO     m line 1",
        "│       TIME INFO     m line 4",
        "└── silent 3 succeeded",
        "    └── leading 4 succeeded",
        "        └── last 5 running",
        "            TIME INFO     m line 2",
    ]


def test_attempts_extras_and_tracebacks_are_shown() -> None:
    nodes = [TaskNode(1, "t", "failed", None)]
    error = "\n".join(["Traceback", *[f"  at {n}" for n in range(30)], "OSError: no"])
    lines = [
        line(1, 1, extra={"row": "7"}),
        line(2, 1, attempt=2, level=40, level_name="ERROR", exception=error),
    ]
    rows = shown(nodes, lines)

    assert rows[2].endswith("m line 1 row=7")
    assert rows[3] == "    attempt 2"
    assert "ERROR" in rows[4]
    assert rows[5] == "      ..."
    assert rows[-1] == "      OSError: no"
    assert len(rows) == 6 + module.EXCEPTION_LINES_MAX


def test_there_is_an_end_to_lines_tasks_and_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is counted; a long chain stops going to the right."""
    monkeypatch.setattr(module, "TASKS_MAX", 3)
    monkeypatch.setattr(module, "LINES_MAX", 4)
    monkeypatch.setattr(module, "DEPTH_MAX", 2)
    nodes = [TaskNode(uid, f"t{uid}", "succeeded", uid - 1 or None) for uid in range(1, 6)]
    lines = [line(number, 1) for number in range(10)]
    lines += [line(number, uid, "x" * 3_000) for number, uid in ((10, 3), (11, 4), (12, 5))]
    rows = shown(nodes, lines)

    of_first = [row.split(" m ")[-1] for row in rows[2:7]]
    assert of_first == ["line 0", "line 1", "│   ... 6 more lines", "line 8", "line 9"]
    heads = [row for row in rows if "succeeded" in row]
    assert [row.index("t") for row in heads] == [4, 8, 8, 8]
    assert any("... 1,000 more characters" in row for row in rows)
    assert rows[-1] == "└── ... 1 more tasks with 1 lines"


def test_a_circle_of_tasks_is_no_trap() -> None:
    nodes = [TaskNode(1, "a", "succeeded", 2), TaskNode(2, "b", "succeeded", 1)]
    assert len(shown(nodes, [line(1, 1), line(2, 2)])) == 5


def test_a_terminal_is_given_no_commands() -> None:
    assert plain("a\x1b[31mb\x07\u202ec\n\tä") == "a\\x1b[31mb\\x07\\x202ec\n\tä"
    assert plain("as usual") == "as usual"
