"""The fixture `story`, and the record of which rows of the two state tables a run has reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from trio_actor_graph.graph import states, transitions
from trio_actor_graph.graph.records import LoopSpec

from .builder import Story


class RecordingTable(dict):
    """A transition table that remembers which of its rows the stories used."""

    is_recording = False

    def __init__(self, table: dict):
        super().__init__(table)
        self.reached: set = set()

    def __getitem__(self, row):
        after = super().__getitem__(row)
        if RecordingTable.is_recording:
            self.reached.add(row)
        return after


TABLES = {
    "task": RecordingTable(states.TASK_TRANSITIONS),
    "attempt": RecordingTable(states.ATTEMPT_TRANSITIONS),
}
transitions.TASK_TRANSITIONS = TABLES["task"]  # type: ignore[misc]
transitions.ATTEMPT_TRANSITIONS = TABLES["attempt"]  # type: ignore[misc]


@pytest.fixture
def story() -> Iterator[Callable[..., Story]]:
    """Makes stories. What a test left unread among the commands fails it at its end."""
    told: list[Story] = []

    def begin(*loops: LoopSpec, ready: bool = True) -> Story:
        told.append(Story(*loops, ready=ready))
        return told[-1]

    RecordingTable.is_recording = True
    yield begin
    RecordingTable.is_recording = False
    for one in told:
        assert one.commands() == [], "the test has not looked at these commands"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell which rows no story has reached, if any have been told here."""
    for name, table in TABLES.items():
        if table.reached:
            missed = sorted(table.keys() - table.reached)
            terminalreporter.write_line(f"rows of the {name} table not reached: {missed}")
