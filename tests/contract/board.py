"""How a test and the tasks it has created talk to each other, whatever process those run in.

A board is a folder. Lines are appended to a file in one write each, so their order is the order in
which things happened, over all processes. A gate is a file that is there once the gate is open. So
a test stops a task at a point with a name instead of sleeping and hoping.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio

POLL_SECONDS = 0.002


class Board:
    """Travels as its folder's path."""

    def __init__(self, folder: Path):
        self._folder = folder

    def write(self, line: object) -> None:
        data = f"{line}\n".encode()
        descriptor = os.open(self._folder / "lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            assert os.write(descriptor, data) == len(data)
        finally:
            os.close(descriptor)

    def lines(self) -> list[str]:
        try:
            return (self._folder / "lines").read_text().splitlines()
        except FileNotFoundError:
            return []

    async def wait_for(self, line: str, times: int = 1) -> None:
        """Until the line stands there so many times."""
        while self.lines().count(line) < times:  # noqa: ASYNC110 - a file tells nobody
            await trio.sleep(POLL_SECONDS)

    def open(self, gate: str) -> None:
        (self._folder / f"{gate}.gate").touch()

    async def pass_gate(self, gate: str) -> None:
        while not (self._folder / f"{gate}.gate").exists():  # noqa: ASYNC110
            await trio.sleep(POLL_SECONDS)

    def pass_gate_blocking(self, gate: str) -> None:
        while not (self._folder / f"{gate}.gate").exists():
            time.sleep(POLL_SECONDS)
