"""A small program whose one worker dies again and again, while nothing else happens.

`python -m benchmarks.chaos.death_program NUMBER` prints JSON: for each kind of death, how many
seconds it took until it was noticed, and until another worker had run the task that was lost.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from trio_actor_graph import Coordinator, WorkerLoop, current_task, open_coordinator

KINDS = ("SIGKILL", "SIGTERM", "exit", "segfault", "link cut")


def die(kind: str, path: str) -> float:
    """The first attempt dies, the second tells when it began."""
    if current_task().attempt > 1:
        return time.monotonic()
    Path(path).write_text(f"{time.monotonic()}")
    if kind == "exit":
        os._exit(3)
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "link cut":
        cut_link()
    time.sleep(600)  # for a signal from outside, or for the coordinator's
    raise AssertionError("nobody has killed it")


def cut_link() -> None:
    """Shut this worker's connection to its coordinator; the process itself goes on."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        try:
            with socket.socket(fileno=os.dup(descriptor)) as found:
                if str(found.getpeername()).endswith("/link"):
                    found.shutdown(socket.SHUT_RDWR)
        except OSError:  # no socket, not connected, or the descriptor of the listing itself
            continue


noticed: list[float] = []
"""When the coordinator was told of each loss."""


def note_losses() -> None:
    tell = Coordinator.on_worker_lost

    def on_worker_lost(self: Coordinator, worker_id: int, end: Any) -> None:
        noticed.append(time.monotonic())
        tell(self, worker_id, end)

    Coordinator.on_worker_lost = on_worker_lost  # type: ignore[method-assign]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def forget(path: Path) -> None:
    path.unlink(missing_ok=True)


async def one_death(coordinator: Coordinator, kind: str, path: Path) -> tuple[float, float]:
    forget(path)
    async with coordinator.open_graph() as graph:
        task = graph.create_task(die, kind, str(path))
        while not (told := read(path)):  # noqa: ASYNC110  a file tells nobody
            await trio.sleep(0.001)
        died = float(told)
        if kind.startswith("SIG"):
            (worker,) = coordinator.workers
            assert worker.pid is not None
            died = time.monotonic()
            os.kill(worker.pid, signal.Signals[kind])
        ran_again = await task.result()
    return noticed[-1] - died, ran_again - died


async def main(number: int) -> None:
    note_losses()
    deaths: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with open_coordinator([WorkerLoop("default")], start="eager") as coordinator:
            for kind in KINDS:
                deaths[kind] = [
                    await one_death(coordinator, kind, Path(folder, "died")) for _ in range(number)
                ]
    print(json.dumps(deaths))


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
