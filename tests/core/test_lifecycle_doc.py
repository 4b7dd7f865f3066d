"""Core: the page about the state machines says what the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_actor_graph.graph.lifecycle_doc import lifecycle_page, main
from trio_actor_graph.graph.states import ATTEMPT_TRANSITIONS, TASK_TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs/lifecycle.md"


def test_the_page_is_up_to_date():
    """Else: python -m trio_actor_graph.graph.lifecycle_doc docs/lifecycle.md."""
    assert PAGE.read_text(encoding="utf-8") == lifecycle_page()


def test_the_page_has_a_row_for_each_transition():
    rows = {
        f"| {before} | {happening} | {after} |"
        for table in (TASK_TRANSITIONS, ATTEMPT_TRANSITIONS)
        for (before, happening), after in table.items()
    }
    assert rows <= set(lifecycle_page().splitlines())


def test_it_prints_or_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main([])
    main([str(tmp_path / "page.md")])
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text() == lifecycle_page()
