"""End to end: actors as real processes. Their start, every way to end, and what they leave behind.

The fixture of `conftest.py` looks after each test for processes, threads, descriptors and folders.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from actor_cases import open_house, read_line

from trio_actor_graph import actors
from trio_actor_graph.engine import sockets
from trio_actor_graph.worker import boot

HERE = Path(__file__).resolve().parent
tractor = actors.tractor  # its import is quiet there
IS_A5 = not hasattr(tractor, "ActorNursery")

# A start takes 0.3 to 0.7 s on two free cores.
START_SECONDS = 20
# Ends take 3 to 50 ms; tractor's own ways out take 0.5 s and more.
PROMPT_SECONDS = 2


def program_environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(HERE.parent.parent), str(HERE)])}


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_gone(*pids: int, seconds: float = PROMPT_SECONDS) -> float:
    start = time.monotonic()
    while any(map(is_running, pids)):
        assert time.monotonic() - start < seconds, f"{[*filter(is_running, pids)]} still run"
        time.sleep(0.005)
    return time.monotonic() - start


async def assert_echoes(link: trio.SocketStream) -> None:
    await link.send_all(b"hello\n")
    assert await read_line(link) == b"hello\n"


# The ordinary life


async def test_a_worker_serves_and_ends_when_told() -> None:
    """The end is the process's exit status and no error."""
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn()
            assert life.process.returncode is None
            link = await life.link()
            await assert_echoes(link)
            await link.send_all(b"stop\n")
            assert await life.process.wait() == 0
            await life.finished.wait()
            assert life.end == actors.ActorEnd(0, None)
            assert life.process.returncode == 0
            life.process.kill()  # has nothing to end any more
            life.process.terminate()


QUIET = """
import logging, os, signal, sys, trio, warnings
hooks = lambda: (sys.breakpointhook, sys.excepthook, os.environ.get("PYTHONBREAKPOINT"),
                 signal.getsignal(signal.SIGINT), list(warnings.filters),
                 [(logger.level, logger.handlers[:], logger.propagate, logger.disabled)
                  for logger in (logging.getLogger(), logging.getLogger("tractor"))])
before = hooks()
from actor_cases import open_house, read_line

async def live(house, case, way):
    life = await house.spawn(case)
    if way != "fail":
        link = await life.link()
        if way == "kill":
            life.process.kill()
        else:
            await link.send_all(b"stop\\n")
    await life.finished.wait()
    return life.end

async def main():
    async with open_house() as house:
        inside = hooks()
        assert inside[:3] == before[:3], inside
        assert inside[5][0] == before[5][0], inside
        for case, way in ("echo", "stop"), ("echo", "kill"), ("fail", "fail"):
            end = await live(house, case, way)
            print(way, end.returncode, bool(end.error))
        await house.spawn("loop_for_ever")  # cancelled while starting
trio.run(main)
assert hooks() == before, (hooks(), before)
"""


def test_nothing_is_said_and_nothing_is_changed(run_program: Callable[..., Any]) -> None:
    """With warnings as errors, nothing on stderr; hooks, handlers and filters are as before."""
    run = run_program(QUIET, python_options=["-W", "error"], env=program_environment())
    assert (run.stderr, run.returncode) == ("", 0)
    assert run.stdout == "stop 0 False\nkill -9 False\nfail -9 True\n"


UNGUARDED = """
import sys, trio
with open("runs", "a") as runs: runs.write("x")
from actor_cases import open_house

async def main():
    async with open_house() as house:
        await (await house.spawn()).link()

trio.run(main)
print("done", len(open("runs").read()))
"""


@pytest.mark.parametrize("how", ["file", "module", "stdin"])
def test_main_is_not_run_again(how: str, run_program: Callable[..., Any], tmp_path: Path) -> None:
    """A script without the usual guard is run once, however it was started."""
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    command = {"file": ["unguarded.py"], "module": ["-m", "unguarded"], "stdin": ["-"]}[how]
    program = f"""
        import subprocess, sys
        with open("unguarded.py") as script:
            run = subprocess.run([sys.executable, *{command}], stdin=script)
        sys.exit(run.returncode)
    """
    run = run_program(program, cwd=tmp_path, env=program_environment())
    assert (run.stdout, run.stderr, run.returncode) == ("done 1\n", "", 0)


async def test_a_worker_has_the_surroundings_of_its_coordinator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It imports what we import; what its start needed, and its secret, is gone from sight."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:mine")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn("describe", MY_OWN="1")
            link = await life.link()
            seen = json.loads(await read_line(link))
    expected = {**os.environ, "MY_OWN": "1", "ACTOR_CASE": "describe"}
    for environment in seen["environment"], seen["environment_of_programs"]:
        # Python sets the first in the C locale, readline (pdb++ imports it) the others.
        for name in {"LC_CTYPE", "LINES", "COLUMNS"} - expected.keys():
            environment.pop(name, None)
        assert environment == expected
    assert seen["path"] == [
        entry or str(Path.cwd()) for entry in sys.path if not entry.endswith("_pdbpp_path_hack")
    ]
    assert seen["stdin"] == ""
    assert seen["sockets_of_programs"] == []
    assert seen["session"] == life.process.pid
    assert seen["main"] is None or "tractor" in seen["main"]


def test_the_users_own_warning_filters_reach_a_worker(
    run_program: Callable[..., Any], tmp_path: Path
) -> None:
    """PYTHONWARNINGS keeps working: here it makes a warning an error, and the others stay quiet."""
    program = """
        import trio
        from actor_cases import open_house

        async def main():
            async with open_house() as house:
                life = await house.spawn(module="warns")
                await life.finished.wait()
                print(life.end.error.splitlines()[-1])
        trio.run(main)
    """
    (tmp_path / "warns.py").write_text(
        "import warnings\nasync def main(): warnings.warn('watch out')\n"
    )
    environment = {**program_environment(), "PYTHONWARNINGS": "error::UserWarning"}
    environment["PYTHONPATH"] += os.pathsep + str(tmp_path)
    run = run_program(program, env=environment)
    assert (run.stdout, run.stderr) == ("UserWarning: watch out\n", "")


# Ends


async def test_a_killed_worker_is_noticed_and_the_others_go_on() -> None:
    """What kills it does not matter, nor that tractor says nothing."""
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            doomed, other = await house.spawn(), await house.spawn()
            links = [await doomed.link(), await other.link()]
            os.kill(doomed.process.pid, signal.SIGSEGV)
            with trio.fail_after(PROMPT_SECONDS):
                assert await doomed.process.wait() == -signal.SIGSEGV
                await doomed.finished.wait()
            assert doomed.end == actors.ActorEnd(-signal.SIGSEGV, None)
            await assert_echoes(links[1])


async def test_an_error_of_the_worker_arrives_as_text() -> None:
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn("fail")
            await life.finished.wait()
    assert life.end.error.splitlines()[-1] == "ValueError: the actor failed on purpose"
    assert life.end.returncode == -signal.SIGKILL


async def test_a_system_exit_in_the_worker_arrives_as_an_error() -> None:
    """Left alone, it would leave an actor that is alive and deaf."""
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn("leave")
            await life.finished.wait()
    assert life.end.error.splitlines()[-1].endswith("the worker was ended by SystemExit: 3")


async def test_a_broken_link_ends_the_worker() -> None:
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn("read_until_broken")
            await (await life.link()).aclose()
            await life.finished.wait()
    assert life.end == actors.ActorEnd(boot.EXIT_COORDINATOR_GONE, None)


async def test_a_worker_without_its_sockets_ends() -> None:
    """A worker that comes too late finds nobody."""
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn(TRIO_ACTOR_GRAPH_FOLDER="/nowhere")
            await life.finished.wait()
    assert life.end.returncode == boot.EXIT_COORDINATOR_GONE


async def test_programs_started_by_a_worker_end_with_it() -> None:
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn("start_program")
            link = await life.link()
            program = int(await read_line(link))
            os.kill(life.process.pid, signal.SIGKILL)  # the worker alone
            await life.finished.wait()
            await trio.to_thread.run_sync(wait_gone, program)


async def test_interrupts_do_not_reach_a_worker() -> None:
    """A SIGINT would raise KeyboardInterrupt somewhere in it."""
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn()
            link = await life.link()
            for _ in range(3):
                os.kill(life.process.pid, signal.SIGINT)
                await assert_echoes(link)


MOMENTS = [0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize("how", ["kill", "terminate", "cancel"])
async def test_a_start_can_be_ended_at_any_moment(how: str) -> None:
    """Also before the process has connected to us, where tractor by itself waits for ever."""
    with trio.fail_after(START_SECONDS * 2):
        async with open_house() as house:
            for moment in MOMENTS:
                life = await house.spawn()
                await trio.sleep(moment)
                with trio.fail_after(PROMPT_SECONDS):
                    if how == "cancel":
                        life.scope.cancel()
                    else:
                        getattr(life.process, how)()
                    await life.finished.wait()
                assert life.process.returncode in (-signal.SIGKILL, -signal.SIGTERM)
                house.sockets.forget(life.secret)


async def test_a_start_can_be_cancelled_before_there_is_a_process() -> None:
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            for delay in (None, 0, 0.0005, 0.001):
                with trio.move_on_after(PROMPT_SECONDS if delay is None else delay) as scope:
                    if delay is None:
                        scope.cancel()
                    async with trio.open_nursery() as nursery:
                        house.nursery, usual = nursery, house.nursery
                        try:
                            await house.spawn()
                        finally:
                            house.nursery = usual
                        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("case", ["echo", "loop_for_ever", "hold_interpreter_lock", "stopped"])
async def test_cancelling_ends_a_worker_whatever_it_does(case: str) -> None:
    with trio.fail_after(START_SECONDS):
        async with open_house() as house:
            life = await house.spawn("echo" if case == "stopped" else case)
            link = await life.link()
            if case == "stopped":
                os.kill(life.process.pid, signal.SIGSTOP)
            elif case != "echo":
                assert await read_line(link) == b"busy\n"
            with trio.fail_after(PROMPT_SECONDS):
                life.scope.cancel()
                await life.finished.wait()
            assert life.process.returncode == -signal.SIGKILL


async def test_many_ends_leave_nothing_that_waits() -> None:
    """A worker that is replaced again and again, each time in another way."""
    with trio.fail_after(START_SECONDS * 2):
        async with open_house() as house:
            tasks = trio.lowlevel.current_statistics().tasks_living
            for signal_number in (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT) * 2:
                life = await house.spawn()
                await life.link()
                os.kill(life.process.pid, signal_number)
                await life.finished.wait()
                assert life.end == actors.ActorEnd(-signal_number, None)
            with trio.fail_after(PROMPT_SECONDS):
                while trio.lowlevel.current_statistics().tasks_living > tasks:  # noqa: ASYNC110
                    await trio.sleep(0.01)


async def test_a_program_that_cannot_be_started_is_the_callers_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    async with actors.open_actor_runtime():
        with pytest.raises(FileNotFoundError), trio.fail_after(PROMPT_SECONDS):
            await actors.run_actor("worker", module="actor_cases", environment={})


async def test_an_actor_needs_the_runtime() -> None:
    with pytest.raises(actors.ActorRuntimeError, match="open_actor_runtime"):
        await actors.run_actor("worker", module="actor_cases", environment={})


async def test_a_module_that_does_not_exist_is_refused() -> None:
    async with actors.open_actor_runtime():
        with pytest.raises(actors.ActorRuntimeError, match="no_such_module"):
            await actors.run_actor("worker", module="no_such_module", environment={})


# The coordinator's end

COORDINATOR = """
import os, sys, trio
from actor_cases import open_house, read_line

async def main():
    async with open_house() as house:
        lives = [await house.spawn(case) for case in sys.argv[1].split(",")]
        print("pids", *(life.process.pid for life in lives), flush=True)
        for life in lives:
            link = await life.link()
            if sys.argv[1] in ("start_program", "fork_itself"):
                print("program", (await read_line(link)).decode(), flush=True)
        print("up", flush=True)
        if "fork" in sys.argv:
            print("fork", fork(), flush=True)
        await trio.sleep_forever()

def fork():
    pid = os.fork()
    if not pid:
        import time
        time.sleep(1000)
    return pid

trio.run(main)
"""


def pids_in(text: str) -> list[int]:
    return [int(word) for word in text.split() if word.isdecimal()]


@pytest.mark.parametrize(
    "cases", ["echo,loop_for_ever,hold_interpreter_lock", "start_program", "fork_itself"]
)
def test_a_killed_coordinator_takes_its_workers_along(
    cases: str, start_program: Callable[..., Any]
) -> None:
    """Also those in C code that holds the interpreter lock, and programs and forks of tasks."""
    program = start_program(COORDINATOR, cases, env=program_environment())
    program.wait_stdout("up")
    pids = pids_in(program.stdout)
    assert all(map(is_running, pids))
    os.kill(program.pid, signal.SIGKILL)
    wait_gone(*pids)
    program.wait()
    assert program.stderr == ""
    sockets.remove_stale_folders()  # as the next coordinator does


@pytest.mark.parametrize("moment", [0, 0.05, 0.1, 0.2, 0.3, 0.4])
def test_a_coordinator_killed_while_workers_start_leaves_none(
    moment: float, start_program: Callable[..., Any]
) -> None:
    program = start_program(COORDINATOR, "echo", env=program_environment())
    pids = pids_in(program.wait_stdout(r"pids .*\n").group())
    time.sleep(moment)
    os.kill(program.pid, signal.SIGKILL)
    wait_gone(*pids)
    program.wait()
    assert program.stderr == ""
    sockets.remove_stale_folders()


def test_a_fork_of_the_coordinator_keeps_no_worker_alive(start_program: Callable[..., Any]) -> None:
    """A forked child has copies of the lifelines, and closes them."""
    program = start_program(COORDINATOR, "echo", "fork", env=program_environment())
    fork = int(program.wait_stdout(r"fork (\d+)\n").group(1))
    pids = pids_in(program.wait_stdout(r"pids .*\n").group())
    try:
        os.kill(program.pid, signal.SIGKILL)
        wait_gone(*pids)
        sockets.remove_stale_folders()
        assert not list(Path(os.environ["XDG_RUNTIME_DIR"]).glob(f"{sockets.FOLDER_PREFIX}*"))
    finally:
        os.kill(fork, signal.SIGKILL)
    program.wait()


def test_ctrl_c_ends_everything_with_one_traceback(start_program: Callable[..., Any]) -> None:
    program = start_program(COORDINATOR, "echo,loop_for_ever", env=program_environment())
    program.wait_stdout("up")
    program.interrupt()
    wait_gone(*pids_in(program.stdout))
    assert program.wait().returncode != 0
    assert program.stderr.count("KeyboardInterrupt") in (1, 2)  # 2: with the source line of a group
    assert "tractor" not in program.stderr


# The runtime


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_runtime_stays_until_its_last_user_leaves(order: tuple[int, ...]) -> None:
    """Whoever opened it may leave first."""
    stacks = [AsyncExitStack() for _ in order]
    for stack in stacks:
        await stack.enter_async_context(actors.open_actor_runtime())
    # Cancel scopes of one task are left in the order of a stack, so each user is a task.
    for stack in reversed(stacks):
        await stack.aclose()
    leave = [trio.Event() for _ in order]
    left = [trio.Event() for _ in order]

    async def use(number: int, task_status: Any) -> None:
        async with actors.open_actor_runtime():
            task_status.started()
            await leave[number].wait()
        left[number].set()

    with trio.fail_after(PROMPT_SECONDS):
        async with trio.open_nursery() as nursery:
            for number in range(len(order)):
                await nursery.start(use, number)
            for number in order:
                assert tractor.current_actor(err_on_no_runtime=False) is not None
                leave[number].set()
                await left[number].wait()
    assert tractor.current_actor(err_on_no_runtime=False) is None


async def test_a_cancelled_opener_does_not_disturb_the_second_user() -> None:
    """The second user's worker goes on, and another one can be started."""
    with trio.fail_after(START_SECONDS):
        async with trio.open_nursery() as nursery:
            opener = trio.CancelScope()

            async def open_first(task_status: Any) -> None:
                with opener:
                    async with open_house() as house:
                        await (await house.spawn()).link()
                        task_status.started()
                        await trio.sleep_forever()

            await nursery.start(open_first)
            async with open_house() as house:
                life = await house.spawn()
                link = await life.link()
                opener.cancel()
                await assert_echoes(link)
                second = await house.spawn()
                second_link = await second.link()
                await assert_echoes(second_link)
                assert life.end is None


async def test_the_runtime_can_be_opened_at_the_same_time_and_again() -> None:
    """Two opens at once, which tractor refuses; and opening one while the last is closing."""

    async def use() -> None:
        for _ in range(5):
            async with actors.open_actor_runtime():
                assert tractor.current_actor(err_on_no_runtime=False) is not None
                await trio.lowlevel.checkpoint()

    with trio.fail_after(PROMPT_SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(use)
    assert tractor.current_actor(err_on_no_runtime=False) is None


async def test_cancelling_while_the_runtime_opens_closes_it() -> None:
    with trio.fail_after(PROMPT_SECONDS):
        for deadline in (0, 0.001, 0.002, 0.004):
            with trio.move_on_after(deadline):
                async with actors.open_actor_runtime():
                    await trio.sleep_forever()
            assert tractor.current_actor(err_on_no_runtime=False) is None


async def test_an_error_in_the_body_comes_out_as_it_is() -> None:
    """No group is put around it, nor is it lost."""
    with pytest.raises(KeyError, match="mine"):
        async with actors.open_actor_runtime(), sockets.open_worker_sockets():
            raise KeyError("mine")


async def test_actors_live_in_a_runtime_that_the_program_has_opened() -> None:
    if IS_A5:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            arguments: dict[str, Any] = {"arbiter_addr": free.getsockname()}
    else:
        arguments = {"registry_addrs": [(os.environ["XDG_RUNTIME_DIR"], "root")]}
        arguments["enable_transports"] = ["uds"]
    with trio.fail_after(START_SECONDS):
        async with tractor.open_root_actor(loglevel="CRITICAL", **arguments) as root:
            async with open_house() as house:
                life = await house.spawn()
                link = await life.link()
                await assert_echoes(link)
            assert tractor.current_actor() is root


async def test_a_second_thread_is_refused() -> None:
    """tractor knows one runtime per process."""

    async def use() -> None:
        async with actors.open_actor_runtime():
            raise AssertionError("not reached")

    async with actors.open_actor_runtime():
        with pytest.raises(actors.ActorRuntimeError, match="another thread"):
            await trio.to_thread.run_sync(trio.run, use)


@pytest.mark.skipif(not IS_A5, reason="git main listens where no other user gets in")
async def test_a_runtime_ended_from_outside_ends_its_users_with_an_error() -> None:
    """On 0.1.0a5 a malformed message to its port does that; no worker is left, nothing hangs."""
    with trio.fail_after(START_SECONDS):
        with pytest.raises(actors.ActorRuntimeError):  # noqa: PT012
            async with open_house() as house:
                life = await house.spawn()
                await life.link()
                stranger = await trio.open_tcp_stream(*tractor.current_actor().accept_addr)
                await stranger.send_all(b"\x01\0\0\0\x05")
                await trio.sleep_forever()
        await stranger.aclose()
    # Killed, or it has seen the end of its parent's runtime before that and left by itself.
    assert life.process.returncode in (-signal.SIGKILL, 0)


TWO_PROGRAMS = """
import sys, trio
from actor_cases import open_house, read_line

async def use(house):
    life = await house.spawn()
    link = await life.link()
    await link.send_all(b"hello\\n")
    assert await read_line(link) == b"hello\\n"

async def main():
    async with open_house() as house:
        await use(house)
        print("up", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        await use(house)

trio.run(main)
"""


def test_programs_do_not_depend_on_each_other() -> None:
    """The first to start leaves; the second can still start actors."""

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", TWO_PROGRAMS],
            env={**os.environ, **program_environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with start() as first, start() as second:
        for program in first, second:
            assert program.stdout is not None
            assert program.stdout.readline() == "up\n"
        for program in first, second:
            assert program.communicate("go\n", timeout=START_SECONDS) == ("", "")
            assert program.returncode == 0


# Sockets and folders


def exists(folder: str) -> bool:
    return Path(folder).exists()


async def present(folder: str, hello: bytes) -> trio.SocketStream:
    stream = await trio.open_unix_socket(f"{folder}/link")
    await stream.send_all(hello)
    return stream


@pytest.mark.parametrize(
    "hello",
    [b"\n", b"wrong\n", b"0" * 48 + b"\n", b"x" * 5000, b"\xff\x00\n", b"GET / HTTP/1.1\r\n\r\n"],
)
async def test_a_stranger_is_dropped(hello: bytes) -> None:
    """And the worker expected is let in after him."""
    with trio.fail_after(PROMPT_SECONDS):
        async with sockets.open_worker_sockets() as house:
            secret = house.new_secret()
            async with await present(house.folder, hello) as stranger:
                try:
                    assert await stranger.receive_some(1) == b""
                except trio.BrokenResourceError:  # we had not read all that he sent
                    pass
            async with (
                await present(house.folder, secret.encode() + b"\nframes"),
                await house.accept(secret) as link,
            ):
                assert await link.receive_some(100) == b"frames"


async def test_a_hello_may_come_byte_by_byte() -> None:
    with trio.fail_after(PROMPT_SECONDS):
        async with sockets.open_worker_sockets() as house:
            secret = house.new_secret()
            async with await present(house.folder, b"") as worker:
                for byte in secret.encode() + b"\nf":
                    await worker.send_all(bytes([byte]))
                    await trio.lowlevel.checkpoint()
                async with await house.accept(secret) as link:
                    assert await link.receive_some(10) == b"f"


async def test_a_secret_works_once() -> None:
    with trio.fail_after(PROMPT_SECONDS):
        async with sockets.open_worker_sockets() as house:
            secret = house.new_secret()
            hello = secret.encode() + b"\n"
            async with await present(house.folder, hello) as first:
                async with await present(house.folder, hello) as second:
                    assert await second.receive_some(1) == b""
                async with await house.accept(secret) as link:
                    await link.send_all(b"x")
                    assert await first.receive_some(1) == b"x"
                    async with await present(house.folder, hello) as third:
                        assert await third.receive_some(1) == b""


async def test_a_cancelled_accept_forgets_its_secret() -> None:
    with trio.fail_after(PROMPT_SECONDS):
        async with sockets.open_worker_sockets() as house:
            secret = house.new_secret()
            with trio.move_on_after(0.01):
                await house.accept(secret)
            async with await present(house.folder, secret.encode() + b"\n") as late:
                assert await late.receive_some(1) == b""


async def test_a_silent_stranger_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "HELLO_TIMEOUT_SECONDS", 0.05)
    with trio.fail_after(PROMPT_SECONDS):
        async with (
            sockets.open_worker_sockets() as house,
            await present(house.folder, b"") as silent,
        ):
            assert await silent.receive_some(1) == b""


async def test_a_link_ends_with_the_sockets_when_nobody_accepts_it() -> None:
    with trio.fail_after(PROMPT_SECONDS):
        async with sockets.open_worker_sockets() as house:
            worker = await present(house.folder, house.new_secret().encode() + b"\n")
            await trio.sleep(0.01)
        assert await worker.receive_some(1) == b""
        await worker.aclose()


async def test_the_folder_is_private_and_goes_in_every_case() -> None:
    with pytest.raises(KeyError):  # noqa: PT012
        async with sockets.open_worker_sockets() as house:
            folder = trio.Path(house.folder)
            assert (await folder.stat()).st_mode & 0o777 == 0o700
            assert {path.name for path in await folder.iterdir()} == {"link"}
            raise KeyError
    assert not exists(house.folder)
    with trio.CancelScope() as scope:
        async with sockets.open_worker_sockets() as house:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not exists(house.folder)


async def test_a_long_temporary_folder_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The path of a socket holds 107 bytes."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", str(long))
    async with sockets.open_worker_sockets() as house:
        assert house.folder.startswith("/tmp/")
        assert list(long.iterdir()) == []
    assert not exists(house.folder)


async def test_only_folders_of_dead_coordinators_are_swept(private_surroundings: Path) -> None:
    stale = private_surroundings / f"{sockets.FOLDER_PREFIX}stale"
    stale.mkdir(mode=0o700)
    (stale / "life").touch()
    async with sockets.open_worker_sockets() as first:
        assert not stale.exists()
        async with sockets.open_worker_sockets():
            assert exists(first.folder)


async def test_a_folder_taken_for_a_dead_ones_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another coordinator sweeps between the creation of a folder and its lock."""
    real, swept = sockets._make_unlocked_folder, []

    def make_and_lose() -> str:
        folder = real()
        if not swept:
            swept.append(folder)
            sockets.remove_stale_folders()
            assert not exists(folder)
        return folder

    monkeypatch.setattr(sockets, "_make_unlocked_folder", make_and_lose)
    async with sockets.open_worker_sockets() as house:
        assert swept != [house.folder]
        assert exists(house.folder)


async def test_no_place_for_a_folder_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_parents", lambda: iter(["/proc"]))
    with pytest.raises(OSError, match="no place for a private folder"):
        async with sockets.open_worker_sockets():
            raise AssertionError("not reached")


def test_boot_is_silent_outside_a_worker() -> None:
    """Programs of tasks, and the coordinator, may import it."""
    with pytest.raises(RuntimeError, match="no worker"):
        trio.run(boot.main)
