"""End to end: the way to a first result, and what is not on it.

What is imported decides how soon a worker can begin, and an import is easily added by accident. No
times are measured here; `python -m benchmarks` does.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_actor_graph.engine import actor_process
from trio_actor_graph.worker import boot

ROOT = Path(__file__).resolve().parents[2]

PROCESSES_FIRST = """
import os, sys, trio
from pathlib import Path
from trio_actor_graph import WorkerLoop, open_coordinator

class Witness:
    def find_spec(self, name, path=None, target=None):
        if name == "tractor._root":
            tasks = Path("/proc/self/task").glob("*/children")
            print(len([pid for task in tasks for pid in task.read_text().split()]))

sys.meta_path.insert(0, Witness())

async def main():
    async with open_coordinator([WorkerLoop("default", processes=3)], start="eager"):
        pass

trio.run(main)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
def test_workers_import_while_the_coordinator_does(run_program: Callable[..., Any]) -> None:
    """All of a loop have a process before tractor is imported beside them."""
    run = run_program(PROCESSES_FIRST)
    assert (run.stdout, run.stderr, run.returncode) == ("3\n", "", 0)


def test_a_process_that_is_never_told_what_to_run_ends() -> None:
    """Its coordinator has left the pipe without a word, as one does that is closed meanwhile."""
    lifeline = actor_process.Lifeline()
    orders, ours = actor_process.open_pipe()
    process = subprocess.Popen(
        actor_process.first_command(orders, "worker"),
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            boot.LIFELINE_VARIABLE: str(lifeline.childs_end),
        },
        pass_fds=(lifeline.childs_end, orders),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    for end in (orders, ours):
        os.close(end)
    output, _ = process.communicate(timeout=20)
    lifeline.close()
    assert (process.returncode, output) == (boot.EXIT_COORDINATOR_GONE, b"")
