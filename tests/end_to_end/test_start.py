"""End to end: the way to a first result, and what is not on it.

What is imported decides how soon a worker can begin, and an import is easily added by accident. No
times are measured here; `python -m benchmarks` does.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_actor_graph import actors
from trio_actor_graph.engine import actor_process
from trio_actor_graph.worker import boot

ROOT = Path(__file__).resolve().parents[2]
IS_A5 = not hasattr(actors.tractor, "ActorNursery")
only_a5 = pytest.mark.skipif(not IS_A5, reason="of tractor 0.1.0a5")

# Imported when they are needed, and nothing needs them for a function of a module.
NOBODY_NEEDS = {
    *("asyncio", "cloudpickle", "importlib.metadata", "multiprocessing", "numpy", "pdb", "pdbpp"),
    *(
        "opentelemetry",
        "pygments",
        "rich",
        "structlog",
        "trio.testing",
        "trio_actor_graph.classic",
        "trio_actor_graph.observe",
    ),
}
ONLY_A5_LACKS = {"asyncio", "importlib.metadata", "multiprocessing", "pdb", "pdbpp", "pygments"}
NO_WORKER_NEEDS = NOBODY_NEEDS | {
    *("trio_actor_graph.coordinator", "trio_actor_graph.engine.processes"),
    *("trio_actor_graph.engine.sockets", "trio_actor_graph.graph.scheduler"),
    *("trio_actor_graph.functions", "trio_actor_graph.handles", "trio_actor_graph.opening"),
    *("trio_actor_graph.log_delivery", "trio_actor_graph.local_logs"),
}

FIRST_RESULT = """
import json, sys, trio
from trio_actor_graph import WorkerLoop, open_coordinator

async def main():
    async with open_coordinator([WorkerLoop("default")]) as c, c.open_graph() as graph:
        told = await graph.create_task(
            eval, "{'modules': sorted(__import__('sys').modules),"
                  " 'is_collecting': __import__('gc').isenabled()}"
        ).result()
    print(json.dumps({"coordinator": sorted(sys.modules), "worker": told}))

trio.run(main)
"""


def test_what_is_not_needed_for_a_first_result_is_not_imported(
    run_program: Callable[..., Any],
) -> None:
    """And the worker's garbage collector, off for its imports, is on again."""
    run = run_program(FIRST_RESULT)
    assert (run.stderr, run.returncode) == ("", 0)
    told = json.loads(run.stdout)
    allowed = set() if IS_A5 else ONLY_A5_LACKS
    assert set(told["coordinator"]) & NOBODY_NEEDS - allowed == set()
    assert set(told["worker"]["modules"]) & NO_WORKER_NEEDS - allowed == set()
    assert told["worker"]["is_collecting"]


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


DEFERRED = """
import sys
from trio_actor_graph import actors
tractor = actors.tractor
print(*sorted({"asyncio", "multiprocessing", "pdbpp"} & set(sys.modules)))
print(tractor.to_asyncio.open_channel_from.__module__, sys.modules["tractor.to_asyncio"].__file__)
from tractor.to_asyncio import LinkedTaskChannel
print(LinkedTaskChannel.__module__)
print(tractor.open_actor_cluster(modules=[]).__class__.__name__)
lock = tractor._debug.Lock
debugger, _ = tractor._debug.mk_mpdb()
import pdbpp
print(isinstance(debugger, pdbpp.Pdb), tractor._debug.Lock is lock)
print(tractor._debug.mk_mpdb.__module__)
"""


@only_a5
def test_what_is_left_out_of_tractor_is_there_for_who_uses_it(
    run_program: Callable[..., Any],
) -> None:
    """Its asyncio mode, its clusters and its debugger."""
    run = run_program(DEFERRED, python_options=["-W", "ignore"])
    assert (run.stderr, run.returncode) == ("", 0)
    lines = run.stdout.splitlines()
    assert lines[0] == ""
    assert lines[1].startswith("tractor.to_asyncio /")
    assert lines[2:] == [
        "tractor.to_asyncio",
        "_AsyncGeneratorContextManager",
        "True True",
        "tractor._debug",
    ]
