"""End to end: workers that die, hang or grow, as the process engine tells of them.

Real processes below, no coordinator above. The fixture of `conftest.py` looks after each test for
processes, descriptors and folders. No time is asserted, except that nothing hangs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import engine_cases as cases
import pytest
import trio
from engine_cases import open_engine

from trio_actor_graph import messages as msg
from trio_actor_graph.engine.api import StopCounts, WorkerLimits
from trio_actor_graph.engine.memory import resident_bytes
from trio_actor_graph.engine.worker_stderr import STDERR_BYTES_MAX, STDERR_LINES_MAX

STORY_SECONDS = 25

BY_SIGKILL = -signal.SIGKILL
DROPPED = "it dropped its link, and was killed: "
NONSENSE = (
    "it sent what is no message (not a frame of messages: Expected `array`, got `int`), "
    "and was killed: "
)


class Death(NamedTuple):
    """An awful body, the status that its process ends with, and what is said besides."""

    body: Callable[..., Any]
    status: int
    reason: str = ""


DEATHS = [
    Death(cases.kill_itself, BY_SIGKILL),
    Death(cases.terminate_itself, -signal.SIGTERM),
    Death(cases.segfault, -signal.SIGSEGV),
    Death(cases.abort, -signal.SIGABRT),
    Death(cases.exit_at_once, 7),
    Death(cases.exit_in_the_trio_thread, BY_SIGKILL, DROPPED),
    Death(cases.crash_trio, BY_SIGKILL, DROPPED),
    Death(cases.drop_the_link, BY_SIGKILL, DROPPED),
    Death(cases.talk_nonsense, BY_SIGKILL, NONSENSE),
]


def ended(pid: int, status: int) -> str:
    if status < 0:
        return f"process {pid} was ended by {signal.Signals(-status).name}"
    return f"process {pid} exited with status {status}"


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.body.__name__)
async def test_every_death_is_noticed_and_told_in_full(death: Death) -> None:
    """Pid, status, reason, last lines, and what it was running; the other worker goes on."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            other, doomed = engine.start(), engine.start()
            await other.ready()
            pid = (await doomed.ready()).pid
            attempt_id = doomed.run(death.body)
            end = await doomed.end()
            assert (end.pid, end.status) == (pid, death.status)
            # Trio's own crash may end the process before it is killed for having no link.
            if death.body not in (cases.exit_in_the_trio_thread, cases.crash_trio):
                assert end.how == death.reason + ended(pid, death.status)
            assert end.stderr.splitlines()[0] == "last words"
            assert end.running == {attempt_id}
            assert end.begun == {attempt_id}
            done = other.run(cases.say, "still here")
            await engine.owner.wait(lambda: len(other.messages) == 2)
            assert other.messages[1].attempt_id == done


async def test_what_had_begun_is_told_apart_from_what_was_running(tmp_path: Path) -> None:
    """And what was held in vain is neither."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start(slots=1).ready()
            before = worker.run(cases.touch, str(tmp_path / "before"))
            running = worker.run(cases.hold_interpreter, str(tmp_path / "running"))
            worker.run(cases.touch, str(tmp_path / "never"))
            await cases.wait_for(str(tmp_path / "running"))
            os.kill(worker.pid, signal.SIGKILL)
            end = await worker.end()
    assert end.running == {running}
    assert end.begun == {before, running}
    assert not (tmp_path / "never").exists()


async def test_a_message_that_makes_no_sense_ends_its_worker() -> None:
    """The owner says so by a ProtocolError; the engine goes on."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start().ready()
            engine.owner.refused = msg.AttemptSucceeded
            worker.run(cases.say, "done")
            end = await worker.end()
            assert end.how.startswith(
                "it sent what is no message (a AttemptSucceeded at this time), and was killed: "
            )
            await engine.start().ready()


async def test_a_worker_that_cannot_be_spawned_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            monkeypatch.setattr(sys, "executable", "/no/such/python")
            end = await engine.start().end()
    assert (end.pid, end.status, end.running) == (None, None, frozenset())
    assert end.how.startswith("FileNotFoundError: ")


# Stderr


def say_much(lines: int) -> None:
    for number in range(lines):
        cases.say(f"line {number} " + "x" * 100)
    os._exit(1)


def write_bytes(data: bytes) -> None:
    os.write(2, data)
    os._exit(1)


async def test_all_of_stderr_is_passed_on_and_its_end_kept(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """More than a pipe holds arrives whole and in order, also that of a dying process."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start().ready()
            worker.run(say_much, 3000)
            end = await worker.end()
    lines = [f"line {number} " + "x" * 100 for number in range(3000)]
    assert capfd.readouterr().err.splitlines() == lines
    assert end.stderr.splitlines() == lines[-STDERR_LINES_MAX:]


async def test_a_long_line_is_kept_by_its_end() -> None:
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start().ready()
            worker.run(write_bytes, b"\xff" + b"x" * 10_000 + b"end \xff\n")
            end = await worker.end()
    assert end.stderr == "x" * (STDERR_BYTES_MAX - len("end ?\n")) + "end \N{REPLACEMENT CHARACTER}"


STDERR_PROGRAM = """
import os, sys, trio
import engine_cases as cases

async def main():
    with trio.fail_after(20):
        async with cases.open_engine() as engine:
            worker = await engine.start().ready()
            worker.run(*{call})
            end = await worker.end()
    print(len(end.stderr))
    sys.stdout.flush()
{before}
trio.run(main)
"""


def program_environment() -> dict[str, str]:
    here = Path(__file__).resolve().parent
    return {"PYTHONPATH": os.pathsep.join([str(here.parent.parent), str(here)])}


def test_what_a_task_prints_is_out_at_the_programs_end(run_program: Callable[..., Any]) -> None:
    """Also when the program has put something else in the place of sys.stderr."""
    program = STDERR_PROGRAM.format(call="(cases.kill_itself,)", before="sys.stderr = None")
    run = run_program(program, env=program_environment())
    assert (run.stdout, run.stderr, run.returncode) == ("10\n", "last words\n", 0)


def test_a_program_without_stderr_gets_no_strange_bytes(run_program: Callable[..., Any]) -> None:
    """Its descriptor 2 is closed; what gets this number later is not written to."""
    program = STDERR_PROGRAM.format(
        call="(cases.kill_itself,)", before="sys.stderr = None; os.close(2)"
    )
    run = run_program(program, env=program_environment())
    assert (run.stdout, run.stderr, run.returncode) == ("10\n", "", 0)


def test_a_stderr_that_takes_nothing_holds_nobody_up(run_program: Callable[..., Any]) -> None:
    """As a terminal does after Ctrl-S; its worker's end is noticed, and the program ends."""
    before = "reading, writing = os.pipe(); os.dup2(writing, 2); os.write(2, b'x' * 65536)"
    program = STDERR_PROGRAM.format(call="(cases.kill_itself,)", before=before)
    run = run_program(program, env=program_environment())
    assert (run.stdout, run.returncode) == ("10\n", 0)


async def test_a_daemon_that_keeps_stderr_does_not_keep_the_worker(tmp_path: Path) -> None:
    """It has a session of its own, so nobody ends it; the pipe's end is not waited for."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start().ready()
            worker.run(start_daemon, str(tmp_path / "pid"))
            end = await worker.end()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert end.stderr == "daemon started"


def start_daemon(path: str) -> None:
    import subprocess

    daemon = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    Path(path).write_text(str(daemon.pid))
    cases.say("daemon started")
    os._exit(0)


# Silence

HEARTBEAT = WorkerLimits(heartbeat_timeout_seconds=1.0)


def stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(STORY_SECONDS)  # a thread goes on for a moment after the call


@pytest.mark.parametrize("body", [stop_itself, cases.hold_interpreter, cases.hold_trio])
async def test_a_worker_that_hangs_is_killed(body: Callable[..., Any], tmp_path: Path) -> None:
    """Stopped, C code that keeps the interpreter, or a coroutine that does not await."""
    arguments = () if body is stop_itself else (str(tmp_path / "begun"),)
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start(HEARTBEAT).ready()
            attempt_id = worker.run(body, *arguments)
            end = await worker.end()
    assert end.how.startswith("it gave no sign of life for 1 s, and was killed: ")
    assert (end.status, end.running) == (BY_SIGKILL, {attempt_id})
    assert engine.engine.stop_counts == StopCounts(killed=1)


def import_slowly() -> str:
    """Holds the import lock, not the interpreter's."""
    import importlib

    return importlib.import_module("slow_import").__name__


async def test_a_busy_worker_is_no_hanging_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an endless loop in Python nor a slow import keeps it from giving signs of life."""
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(2.5)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            worker = await engine.start(HEARTBEAT).ready()
            worker.run(cases.loop_in_python, str(tmp_path / "loops"))
            await cases.wait_for(str(tmp_path / "loops"))
            imported = worker.run(import_slowly)
            await engine.owner.wait(lambda: len(worker.messages) == 2 or engine.owner.ends)
            assert not engine.owner.ends
            assert worker.messages[1].attempt_id == imported


STOPPED_PROGRAM = """
import trio
import engine_cases as cases
from trio_actor_graph.engine.api import WorkerLimits

async def main():
    async with cases.open_engine() as engine:
        worker = await engine.start(WorkerLimits(heartbeat_timeout_seconds=1.0)).ready()
        print("up", flush=True)
        with trio.move_on_after(1.5):
            print((await worker.end()).how)
        print("done", flush=True)

trio.run(main)
"""


def test_a_stopped_program_raises_no_alarm(start_program: Callable[..., Any]) -> None:
    """When it goes on, much time has passed, and its workers were alive."""
    program = start_program(STOPPED_PROGRAM, env=program_environment())
    program.wait_stdout("up")
    os.kill(program.pid, signal.SIGSTOP)
    trio.run(trio.sleep, 2)
    os.kill(program.pid, signal.SIGCONT)
    assert program.wait().stdout == "up\ndone\n"


# Memory


async def test_a_worker_above_its_hard_limit_is_killed(tmp_path: Path) -> None:
    """And why is said in its own terms."""
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            limits = WorkerLimits(memory_bytes_hard_max=200 << 20)
            worker = await engine.start(limits).ready()
            attempt_id = worker.run(cases.grow, str(tmp_path / "grown"), 300)
            end = await worker.end()
    assert end.how.startswith("it used ")
    assert " MiB, more than memory_bytes_hard_max of 200 MiB, and was killed: " in end.how
    assert (end.status, end.running) == (BY_SIGKILL, {attempt_id})
    assert engine.owner.worn == []


async def test_a_worker_above_its_soft_limit_is_told_of_once(tmp_path: Path) -> None:
    with trio.fail_after(STORY_SECONDS):
        async with open_engine() as engine:
            limits = WorkerLimits(memory_bytes_soft_max=200 << 20, memory_bytes_hard_max=2 << 30)
            worker = await engine.start(limits).ready()
            assert engine.owner.worn == []
            worker.run(cases.grow, str(tmp_path / "grown"), 300)
            await engine.owner.wait(lambda: engine.owner.worn)
            await cases.wait_for(str(tmp_path / "grown"))
            await trio.sleep(0.3)  # in which it would be told of again
            assert engine.owner.worn == [worker.worker_id]
            assert worker.worker_id not in engine.owner.ends


def test_the_memory_of_a_process_is_what_the_kernel_says() -> None:
    kept = bytearray(50 << 20)
    kept[::4096] = b"x" * len(kept[::4096])
    here = resident_bytes(os.getpid())
    assert here is not None
    assert 50 << 20 < here < 2 << 30
    assert resident_bytes(2**22 + 1) is None
