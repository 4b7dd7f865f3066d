"""Where the programs of a run live, and what they have left behind.

A temporary folder of their own, so that others' private folders are not taken for theirs, and a
word in the environment, which every process they start inherits and nobody else has.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDERS: Final = "trio-actor-graph-*"
SHARED_MEMORY: Final = Path("/dev/shm")
PATIENCE_SECONDS: Final = 5.0
"""How long leftovers may take to go: the end of a process is seen a little after its cause."""


class Surroundings:
    """A context manager: the folder goes at the end, and whatever still runs is killed.

    Attributes:
        folder: where the histories are too.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._mark = f"CHAOS_RUN={secrets.token_hex(8)}"
        self._shared = _shared_memory()

    def __enter__(self) -> Surroundings:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_processes()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(
        self, module: str, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start `python -m module` in a session of its own; what it says goes to us and a file."""
        name, _, value = self._mark.partition("=")
        folder = str(self.folder)
        given = {name: value, "TMPDIR": folder, "XDG_RUNTIME_DIR": folder, **(extra or {})}
        with (self.folder / "stderr").open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=os.environ | given,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )

    def said(self) -> str:
        """What all programs have written to stderr; it should be nothing."""
        path = self.folder / "stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def leftovers(self) -> list[str]:
        """What is still there some seconds after everything has ended, one line each."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := self._look()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def processes(self) -> list[int]:
        """The living processes of the run."""
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdecimal():
                with suppress(OSError):
                    if self._mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                        found.append(int(path.name))
        return found

    def kill_processes(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _look(self) -> list[str]:
        processes = [f"process {pid}" for pid in self.processes()]
        folders = [f"folder {path.name}" for path in self.folder.glob(FOLDERS)]
        shared = [f"/dev/shm/{name}" for name in sorted(_shared_memory() - self._shared)]
        return processes + folders + shared


def _shared_memory() -> set[str]:
    """Names that this package or Python's own shared memory would have."""
    if not SHARED_MEMORY.is_dir():
        return set()
    prefixes: Sequence[str] = ("trio-actor-graph", "psm_")
    return {path.name for path in SHARED_MEMORY.iterdir() if path.name.startswith(tuple(prefixes))}
