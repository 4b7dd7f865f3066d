"""The fixtures `engine` (each of them), `process_engine` and `board`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_actor_graph import Coordinator, TaskGraph, WorkerLoop, open_coordinator
from trio_actor_graph.graph.invariants import check_invariants
from trio_actor_graph.handles import OnFailure

from .board import Board

# A story takes half a second, most of it for the start of a process; the rest is for a machine that
# is busy with other things.
STORY_SECONDS = 25


@dataclasses.dataclass(frozen=True)
class Engine:
    """A way to run tasks, and how a test gets a coordinator that uses it."""

    name: str

    @property
    def has_processes(self) -> bool:
        return self.name == "processes"

    def loop(
        self, name: str = "default", concurrency: int = 4, *, processes: int = 1, **more: Any
    ) -> WorkerLoop:
        """A worker loop; `processes` only says how many where there are any."""
        processes = processes if self.has_processes else 0
        return WorkerLoop(name, concurrency=concurrency, processes=processes, **more)

    @asynccontextmanager
    async def open(
        self, *loops: WorkerLoop, seconds: float = STORY_SECONDS, **options: Any
    ) -> AsyncIterator[Coordinator]:
        """A coordinator, by default with one worker of four slots, and a limit to the story."""
        with trio.fail_after(seconds):
            async with open_coordinator(loops or [self.loop()], **options) as coordinator:
                yield coordinator
                check_invariants(coordinator._scheduler)

    @asynccontextmanager
    async def graph(
        self,
        name: str,
        *loops: WorkerLoop,
        on_failure: OnFailure = "raise",
        **options: Any,
    ) -> AsyncIterator[TaskGraph]:
        """A graph of a coordinator of its own."""
        async with (
            self.open(*loops, **options) as coordinator,
            coordinator.open_graph(name, on_failure=on_failure) as graph,
        ):
            yield graph


@pytest.fixture(params=["processes", "local"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(request.param)


@pytest.fixture
def process_engine() -> Engine:
    return Engine("processes")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)
