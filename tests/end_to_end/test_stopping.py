"""End to end: how the process engine stops workers, step by step, and what its program leaves.

Real processes below, no coordinator above. No time is asserted, except that nothing hangs: what is
told (the signal, the counts) says which step it was.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import engine_cases as cases
import pytest
import trio
from engine_cases import Engine, Worker, open_engine

from trio_actor_graph import messages as msg
from trio_actor_graph.engine import sockets, stopping
from trio_actor_graph.engine.api import StopCounts

STORY_SECONDS = 25

BY_SIGTERM, BY_SIGKILL = -signal.SIGTERM, -signal.SIGKILL


async def make_busy(worker: Worker, body: Callable[..., Any], tmp_path: Path) -> None:
    begun = str(tmp_path / f"begun-{worker.worker_id}")
    worker.run(body, begun)
    await cases.wait_for(begun)


def stop_process(worker: Worker) -> None:
    """As a debugger does, or Ctrl-Z; a thread that has not stopped yet still takes a SIGTERM."""
    os.kill(worker.pid, signal.SIGSTOP)
    for thread in Path(f"/proc/{worker.pid}/task").iterdir():
        while (thread / "stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)


# What a worker does when it is to stop -> how it ends when killed, and when asked.
BUSY = [
    (None, (BY_SIGTERM, StopCounts(terminated=1)), (0, StopCounts(asked=1))),
    (cases.loop_in_python, (BY_SIGTERM, StopCounts(terminated=1)), (0, StopCounts(asked=1))),
    (
        cases.hold_interpreter,
        (BY_SIGTERM, StopCounts(terminated=1)),
        (BY_SIGTERM, StopCounts(asked=1, terminated=1)),
    ),
    (
        cases.ignore_sigterm,
        (BY_SIGKILL, StopCounts(terminated=1, killed=1)),
        (BY_SIGKILL, StopCounts(asked=1, terminated=1, killed=1)),
    ),
    (
        stop_process,
        (BY_SIGKILL, StopCounts(terminated=1, killed=1)),
        (BY_SIGKILL, StopCounts(asked=1, terminated=1, killed=1)),
    ),
]
busy = pytest.mark.parametrize(
    ("body", "when_killed", "when_asked"), BUSY, ids=lambda value: getattr(value, "__name__", "")
)


@asynccontextmanager
async def one_worker(
    body: Callable[..., Any] | None, tmp_path: Path
) -> AsyncGenerator[tuple[Engine, Worker]]:
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start().ready()
            if body is stop_process:
                stop_process(worker)
            elif body is not None:
                await make_busy(worker, body, tmp_path)
            yield engine, worker


@busy
async def test_a_kill_begins_with_sigterm(
    body: Any, when_killed: Any, when_asked: Any, tmp_path: Path
) -> None:
    """Which ends C code too, and leaves the rest to SIGKILL."""
    async with one_worker(body, tmp_path) as (engine, worker):
        engine.engine.kill(worker.worker_id)
        engine.engine.kill(worker.worker_id)  # once more changes nothing
        end = await worker.end()
        assert (end.status, engine.engine.stop_counts) == when_killed
        assert end.how.startswith("it was stopped on purpose: process ")


@busy
async def test_a_stop_begins_with_a_message(
    body: Any, when_killed: Any, when_asked: Any, tmp_path: Path
) -> None:
    """Who hears it may end by itself; who does not answer gets SIGTERM, then SIGKILL."""
    async with one_worker(body, tmp_path) as (engine, worker):
        await engine.engine.stop(2.0)
        end = await worker.end()
        assert (end.status, engine.engine.stop_counts) == when_asked
        assert end.how.startswith("it was stopped with its coordinator")
        assert (", did not answer within 0.3 s: " in end.how) == (end.status != 0)
        assert not any(isinstance(m, msg.WorkerStopping) for m in worker.messages)


@busy
async def test_leaving_at_once_begins_with_sigkill(
    body: Any, when_killed: Any, when_asked: Any, tmp_path: Path
) -> None:
    async with one_worker(body, tmp_path) as (_, worker):
        pid = worker.pid
    end = worker.owner.ends[worker.worker_id]
    assert (end.pid, end.status) == (pid, BY_SIGKILL)
    assert end.how == f"process {pid} was ended by SIGKILL"


async def test_a_worker_that_is_replaced_is_asked(tmp_path: Path) -> None:
    """Its end is told like any other, and that it was wanted."""
    async with one_worker(None, tmp_path) as (engine, worker):
        pid = worker.pid
        engine.engine.retire(worker.worker_id)
        engine.engine.retire(worker.worker_id)  # once more changes nothing
        end = await worker.end()
        assert end.how == f"it was replaced on purpose: process {pid} exited with status 0"
        assert engine.engine.stop_counts == StopCounts(asked=1)


async def test_a_deaf_worker_that_is_replaced_is_made_to_go(tmp_path: Path) -> None:
    async with one_worker(cases.hold_trio, tmp_path) as (engine, worker):
        pid = worker.pid
        engine.engine.retire(worker.worker_id)
        end = await worker.end()
        assert end.how == (
            f"it was replaced on purpose, did not answer within {stopping.ASK_SECONDS:g} s: "
            f"process {pid} was ended by SIGTERM"
        )


@asynccontextmanager
async def close_slowly(index: int) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(1000)


@asynccontextmanager
async def close_and_say(index: int) -> AsyncGenerator[None]:
    yield
    await trio.sleep(0.5)
    cases.say("closed")


@pytest.mark.parametrize("how", ["stop", "retire"])
async def test_a_worker_has_time_to_close_its_context(how: str) -> None:
    """More than it has for its answer."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start(setup=close_and_say).ready()
            if how == "stop":
                await engine.engine.stop(2.0)
            else:
                engine.engine.retire(worker.worker_id)
            end = await worker.end()
    assert (end.status, end.stderr) == (0, "closed")
    assert engine.engine.stop_counts == StopCounts(asked=1)


async def test_the_time_to_close_the_context_has_an_end() -> None:
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start(setup=close_slowly).ready()
            await engine.engine.stop(0.2)
            end = await worker.end()
    assert end.status == BY_SIGTERM
    assert ", did not end within 0.2 s: " in end.how
    assert engine.engine.stop_counts == StopCounts(asked=1, terminated=1)


async def test_a_users_handler_of_sigterm_gets_its_moment(tmp_path: Path) -> None:
    async with one_worker(cases.handle_sigterm, tmp_path) as (engine, worker):
        engine.engine.kill(worker.worker_id)
        end = await worker.end()
        assert (end.status, end.stderr) == (5, "handled")


@pytest.mark.parametrize("moment", [None, 0, 0.05, 0.2, 0.35])
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_start_can_be_stopped_at_any_moment(how: str, moment: float | None) -> None:
    """Also before there is a process; there is nothing to wait for yet."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = engine.start()
            if moment is not None:
                await worker.has_process()
                await trio.sleep(moment)
            if how == "kill":
                engine.engine.kill(worker.worker_id)
            else:
                await engine.engine.stop(2.0)
            end = await worker.end()
    assert end.running == frozenset()
    assert end.status in (BY_SIGTERM, BY_SIGKILL) if worker.messages == [] else True


async def test_many_that_hear_nothing_are_stopped_side_by_side(tmp_path: Path) -> None:
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            workers = [engine.start() for _ in range(4)]
            for worker, body in zip(workers, (cases.hold_interpreter, None) * 2, strict=True):
                await worker.ready()
                if body is None:
                    stop_process(worker)
                else:
                    await make_busy(worker, body, tmp_path)
            await engine.engine.stop(2.0)
            statuses = [(await worker.end()).status for worker in workers]
    assert statuses == [BY_SIGTERM, BY_SIGKILL] * 2
    assert engine.engine.stop_counts == StopCounts(asked=4, terminated=4, killed=2)


# The program's own end

STARTING_PROGRAM = """
import sys, trio
import engine_cases as cases

async def keep_busy(engine, body):
    # Workers of every age, the whole time.
    while True:
        worker = await engine.start().ready()
        if body is not None:
            worker.run(body, sys.argv[1])
        await trio.sleep(0.05)
        engine.engine.kill(worker.worker_id)
        await worker.end()

async def main():
    async with cases.open_engine() as engine, trio.open_nursery() as nursery:
        for body in (None, cases.hold_interpreter, cases.loop_in_python):
            nursery.start_soon(keep_busy, engine, body)
        print("up", flush=True)

trio.run(main)
"""


def processes_of(mark: str) -> list[int]:
    """The processes, dead ones apart, that have this in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("seed", range(5))
def test_a_program_that_is_killed_leaves_nothing_alive_and_says_nothing(
    seed: int, number: signal.Signals, start_program: Callable[..., Any], tmp_path: Path
) -> None:
    """At any moment, that of a worker's first breath included; the next start sweeps the rest."""
    mark = f"LIFELINE_TEST={tmp_path}"
    here = Path(__file__).resolve().parent
    environment = {
        "PYTHONPATH": os.pathsep.join([str(here.parent.parent), str(here)]),
        **dict([mark.split("=")]),
    }
    program = start_program(STARTING_PROGRAM, str(tmp_path / "begun"), env=environment)
    program.wait_stdout("up")
    time.sleep(random.Random(f"{seed} {number}").uniform(0, 1.2))
    os.kill(program.pid, number)
    program.wait()
    deadline = time.monotonic() + 5
    while left := processes_of(mark):
        assert time.monotonic() < deadline, f"{left} live on"
        time.sleep(0.005)
    assert program.stderr == ""
    sockets.remove_stale_folders()  # as the next coordinator does
    assert not list(Path(os.environ["XDG_RUNTIME_DIR"]).glob(f"{sockets.FOLDER_PREFIX}*"))


def test_a_worker_whose_coordinator_died_before_it_had_an_owner_ends_by_itself() -> None:
    """The first lines of its program find the lifeline ended, or would name it the owner."""
    from trio_actor_graph.engine import actor_process
    from trio_actor_graph.worker import boot

    if not boot.KERNEL_KILLS:
        pytest.skip("there is no kernel lifeline here")
    lifeline = actor_process.Lifeline()
    end = lifeline.childs_end
    orders, keep_open = actor_process.open_pipe()
    process = subprocess.Popen(
        actor_process.first_command(orders, "worker"),
        env={**os.environ, boot.LIFELINE_VARIABLE: str(end)},
        pass_fds=(end, orders),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    lifeline.close()
    output, _ = process.communicate(timeout=STORY_SECONDS)
    for descriptor in (orders, keep_open):
        os.close(descriptor)
    assert output == b""
    assert process.returncode in (BY_SIGKILL, boot.EXIT_COORDINATOR_GONE)
