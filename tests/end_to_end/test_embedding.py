"""End to end: a coordinator is a guest in its program, and leaves it as it found it.

The fixture of `conftest.py` looks after each test for processes, threads, descriptors and folders.
Tasks here are mostly functions of the standard library, so that workers import nothing else.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_actor_graph import (
    Coordinator,
    InternalError,
    Task,
    TaskCancelled,
    TaskFailed,
    WorkerLoop,
    WorkerLost,
    WorkerStartError,
    completed,
    current_task,
    open_coordinator,
)
from trio_actor_graph.engine import sockets

ONE_WORKER = [WorkerLoop("default")]
PROMPT_SECONDS = 2.0
"""How long anything that should take a tenth of a second may take on a busy machine."""


async def run_task(coordinator: Coordinator, *call: Any) -> Any:
    async with coordinator.open_graph() as graph:
        return await graph.create_task(*call).result()


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_gone(pids: Iterable[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := [*filter(is_running, pids)]:
        assert time.monotonic() < deadline, f"{left} still run after {seconds} s"
        time.sleep(0.005)


# Beside each other


async def test_coordinators_one_after_another() -> None:
    """Each has workers of its own, and the one before is gone."""
    pids = []
    for _ in range(2):
        async with open_coordinator(ONE_WORKER) as coordinator:
            pids.append(await run_task(coordinator, os.getpid))
            assert is_running(pids[-1])
        assert not is_running(pids[-1])
    assert len({os.getpid(), *pids}) == 3


async def test_coordinators_inside_each_other() -> None:
    """The inner one's end is not the outer one's."""
    async with open_coordinator(ONE_WORKER) as outer:
        async with open_coordinator(ONE_WORKER) as inner:
            pid = await run_task(inner, os.getpid)
            outer_pid = await run_task(outer, os.getpid)
            assert pid != outer_pid
        assert not is_running(pid)
        assert await run_task(outer, os.getpid) == outer_pid


@pytest.mark.parametrize("first", [0, 1], ids=["the first leaves first", "the second leaves first"])
async def test_coordinators_in_sibling_tasks(first: int) -> None:
    """They may leave in either order; the one left still works, and can start another worker."""
    open_ = [trio.Event(), trio.Event()]
    may_leave = [trio.Event(), trio.Event()]
    left = [trio.Event(), trio.Event()]
    loops = [WorkerLoop("default"), WorkerLoop("late")]
    pids: dict[int, list[int]] = {}

    async def sibling(number: int) -> None:
        async with open_coordinator(loops) as coordinator:
            pids[number] = [await run_task(coordinator, os.getpid)]
            open_[number].set()
            await may_leave[number].wait()
            pids[number].append(await run_task(coordinator, os.getpid))
            async with coordinator.open_graph() as graph:
                late = await graph.create_task(os.getpid, worker_loop="late").result()
                assert late not in pids[number]
        left[number].set()

    async with trio.open_nursery() as nursery:
        for number in (0, 1):
            nursery.start_soon(sibling, number)
            await open_[number].wait()
        for number in (first, 1 - first):
            may_leave[number].set()
            await left[number].wait()
    assert pids[0][0] == pids[0][1]
    assert pids[1][0] == pids[1][1]
    assert pids[0] != pids[1]


async def test_other_tasks_of_the_program_go_on() -> None:
    """In a nursery with others: nobody is held up or cancelled, and the nursery can cancel all."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        async with open_coordinator(ONE_WORKER) as coordinator:
            await run_task(coordinator, time.sleep, 0.1)
            assert ticks > 5
        after = ticks
        await trio.sleep(0.05)
        assert ticks > after
        nursery.cancel_scope.cancel()


def test_in_a_thread_that_is_not_the_main_one() -> None:
    """trio can run in any thread, and so can a coordinator."""
    results: list[object] = []

    async def main() -> None:
        async with open_coordinator(ONE_WORKER) as coordinator:
            results.append(await run_task(coordinator, len, "abc"))

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    thread.join(30)
    assert results == [3]


TWO_PROGRAMS = """
import os, sys, trio
from pathlib import Path
from trio_actor_graph import WorkerLoop, open_coordinator

async def main():
    async with open_coordinator([WorkerLoop("default"), WorkerLoop("late")]) as coordinator:
        async with coordinator.open_graph() as graph:
            await graph.create_task(os.getpid).result()
            print("open")
            while not Path(sys.argv[1]).exists():
                await trio.sleep(0.01)
            for loop in "default", "late":
                print(await graph.create_task(os.getcwd, worker_loop=loop).result())
trio.run(main)
"""


def test_two_programs_at_once(start_program: Callable[..., Any], tmp_path: Path) -> None:
    """When one has ended, the other goes on, and can still start workers."""
    programs = [start_program(TWO_PROGRAMS, str(tmp_path / f"go-{i}")) for i in (0, 1)]
    for program in programs:
        program.wait_stdout("open")
    for number, program in enumerate(programs):
        (tmp_path / f"go-{number}").touch()
        run = program.wait()
        folder = str(tmp_path / f"program-{number}")
        assert (run.stderr, run.stdout.splitlines()) == ("", ["open", folder, folder])


# Under pytest-trio


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    async with open_coordinator(ONE_WORKER) as coordinator:
        yield coordinator


@pytest.fixture
async def total(coordinator: Coordinator) -> int:
    total: int = await run_task(coordinator, sum, [1, 2])
    return total


async def test_as_a_fixture(coordinator: Coordinator, total: int, nursery: trio.Nursery) -> None:
    """A coordinator can be a fixture, used by other fixtures and from the test's own nursery."""
    done = trio.Event()

    async def use() -> None:
        assert await run_task(coordinator, sum, [total, 4]) == 7
        done.set()

    nursery.start_soon(use)
    await done.wait()


# What belongs to the program


SETTINGS = """
import logging, os, signal, sys, warnings
import trio

PROGRAM_SETS_LEVEL = sys.argv[1] == "set"

class Collect(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []
    def emit(self, record):
        self.records.append((record.name, record.levelname, record.getMessage()))

collect, own = Collect(), Collect()
logging.basicConfig(level=logging.DEBUG, handlers=[collect])
if PROGRAM_SETS_LEVEL:
    logging.getLogger("tractor").setLevel(logging.CRITICAL)
    logging.getLogger("tractor").addHandler(own)
logging.captureWarnings(True)
warnings.filterwarnings("always", message="mine")
warnings.filterwarnings("error", category=DeprecationWarning, module="mine")
os.environ["PYTHONBREAKPOINT"] = "mine.breakpoint"
sys.excepthook = lambda *args: None
sys.breakpointhook = lambda *args: None
for number in signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE:
    signal.signal(number, lambda *args: None)

def settings():
    loggers = {name: logging.getLogger(name) for name in ("root", "tractor", "trio", "asyncio")}
    return {
        "signals": {n: signal.getsignal(n) for n in signal.valid_signals()},
        "hooks": (sys.excepthook, sys.breakpointhook, sys.displayhook, sys.unraisablehook),
        "breakpoint": os.environ["PYTHONBREAKPOINT"],
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "levels": {name: (l.level, l.propagate, l.disabled) for name, l in loggers.items()},
        "handlers": {name: list(l.handlers) for name, l in loggers.items()},
        "logging": (logging.raiseExceptions, logging.root.manager.disable),
        "path": list(sys.path),
        "cwd": os.getcwd(),
        "umask": os.umask(0o022) or os.umask(0o022),
    }

def without_what_silences_tractor(seen):
    # While its runtime is open, its own logger and its own deprecations are kept quiet.
    pattern = lambda entry: getattr(entry[1], "pattern", "")
    seen["filters"] = [entry for entry in seen["filters"] if "MultiError" not in pattern(entry)]
    handlers = seen["handlers"]["tractor"]
    seen["handlers"]["tractor"] = [h for h in handlers if not isinstance(h, logging.NullHandler)]
    if not PROGRAM_SETS_LEVEL:
        seen["levels"]["tractor"] = (logging.NOTSET, *seen["levels"]["tractor"][1:])
    return seen

def same(name, seen, expected):
    for key in expected:
        if seen[key] != expected[key]:
            print(name, key, seen[key], expected[key])

from trio_actor_graph import TaskFailed, WorkerLoop, WorkerLost, open_coordinator

async def main():
    before = settings()
    async with open_coordinator([WorkerLoop("default")]) as coordinator:
        same("opened", without_what_silences_tractor(settings()), before)
        async with coordinator.open_graph(on_failure="continue") as graph:
            await graph.create_task(os.getpid).result()
            same("first result", without_what_silences_tractor(settings()), before)
            failing = graph.create_task(int, "x")
            await failing.wait()
            pid = await graph.create_task(os.getpid).result()
            os.kill(pid, signal.SIGKILL)
            while pid == await graph.create_task(os.getpid).result():
                pass
        same("after a loss", without_what_silences_tractor(settings()), before)
    same("left", settings(), before)

before = settings()
trio.run(main)
trio.run(main)
same("trio left", settings(), before)
for record in collect.records + own.records:
    print(record)
print("end")
"""


@pytest.mark.parametrize("level", ["set", "unset"])
def test_what_the_program_has_set_stays(level: str, run_program: Callable[..., Any]) -> None:
    """Handlers, levels, filters, hooks, signals, environment: unchanged during and after.

    No record reaches the program's handlers. While tractor runs, its own logger and its own
    deprecations are kept quiet, which nobody else can notice; afterwards that is undone.
    """
    run = run_program(SETTINGS, level)
    assert (run.stdout, run.stderr, run.returncode) == ("end\n", "", 0)


QUIET = """
import logging
records = []
class Collect(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
logging.basicConfig(level=logging.DEBUG, handlers=[Collect()])
import os, trio
from trio_actor_graph import WorkerLoop, open_coordinator

def double(number):
    return 2 * number

async def main():
    async with open_coordinator([WorkerLoop("default", processes=2)]) as coordinator:
        async with coordinator.open_graph() as graph:
            print(await graph.create_task(double, graph.create_task(double, 1)).result())

trio.run(main)
print(records)
"""


def test_a_first_task_is_quiet(run_program: Callable[..., Any]) -> None:
    """With all warnings as errors and all logging on: not a line on stderr, not a record."""
    run = run_program(QUIET, python_options=["-W", "error", "-X", "dev"])
    assert (run.stdout, run.stderr, run.returncode) == ("4\n[]\n", "", 0)


IMPORTS = """
import json, sys
heavy = {"trio", "tractor", "msgspec", "cloudpickle", "rich", "asyncio", "multiprocessing",
         "starlette", "hypercorn", "numpy"}
told = {}
def tell(when):
    told[when] = sorted(heavy & set(sys.modules))
import trio_actor_graph
tell("package")
from trio_actor_graph import WorkerLoop, open_coordinator
tell("names")
import trio
async def main():
    async with open_coordinator([WorkerLoop("default", processes=0)]) as coordinator:
        async with coordinator.open_graph() as graph:
            await graph.create_task(int).result()
    tell("without processes")
    async with open_coordinator([WorkerLoop("default")]) as coordinator:
        tell("before a first task")
trio.run(main)
print(json.dumps(told))
"""


def test_nothing_is_imported_before_it_is_needed(run_program: Callable[..., Any]) -> None:
    """The package alone imports nothing heavy; tractor comes with the first worker process."""
    run = run_program(IMPORTS)
    assert (run.stderr, run.returncode) == ("", 0)
    assert json.loads(run.stdout) == {
        "package": [],
        "names": ["msgspec", "trio"],
        "without processes": ["msgspec", "trio"],
        "before a first task": ["msgspec", "trio"],
    }


# The network


def process_tree(root: int) -> list[int]:
    tree = [root]
    for pid in tree:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            tree += map(int, children.read_text().split())
    return tree


def socket_inodes(pids: Iterable[int]) -> set[str]:
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.update(re.findall(r"socket:\[(\d+)\]", str(descriptor.readlink())))
            except FileNotFoundError:
                continue
    return inodes


def bound_addresses(pids: Iterable[int]) -> set[tuple[str, str, int]]:
    """(protocol, address, port) of every socket of these processes that waits for strangers."""
    inodes = socket_inodes(pids)
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            listens = fields[3] == "0A" or protocol.startswith("udp")
            if listens and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((protocol, address, int(port, 16)))
    return found


def listening_paths(pids: Iterable[int]) -> set[str]:
    inodes = socket_inodes(pids)
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, inode, *path = line.split()
        if flags == "00010000" and inode in inodes:
            found.update(path)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net")
async def test_nobody_else_can_call() -> None:
    """Nothing listens beyond this machine or at a fixed port; paths lie where only we can enter."""
    already = bound_addresses([os.getpid()]), listening_paths([os.getpid()])
    seen = []
    for _ in range(2):
        loops = [WorkerLoop("default", processes=2)]
        async with open_coordinator(loops, start="eager") as coordinator:
            await run_task(coordinator, os.getpid)
            pids = process_tree(os.getpid())
            assert {worker.pid for worker in coordinator.workers} < set(pids)
            seen.append(bound_addresses(pids) - already[0])
            paths = listening_paths(pids) - already[1]
            for path in paths:
                status = Path(path).parent.stat()
                assert (status.st_mode & 0o777, status.st_uid) == (0o700, os.getuid()), path
            assert paths
    for protocol, address, port in seen[0] | seen[1]:
        assert (protocol, address[-2:]) == ("tcp", "7F"), (protocol, address)  # 127.x.y.z
        assert port != 1616  # tractor's own
    assert not seen[0] & seen[1]


# Ways out


class Trouble(Exception):
    pass


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict groups"])
@pytest.mark.parametrize("moment", ["starting", "running"])
@pytest.mark.parametrize("how", ["error", "cancelled", "interrupt", "exit"])
def test_a_way_out_takes_everything_down(how: str, moment: str, strict: bool) -> None:
    """At once, whatever runs; what the app raised comes out as it is, and nothing stays."""
    error = Trouble("of the app")
    left_at = 0.0
    tasks: list[Task[object]] = []
    leaving = trio.Event()

    async def use(coordinator: Coordinator) -> None:
        nonlocal left_at
        async with coordinator.open_graph() as graph:
            tasks.append(graph.create_task(time.sleep, 1000))
            tasks.append(graph.create_task(trio.sleep, 1000))
            tasks.append(graph.create_task(int, tasks[0]))
            if moment == "running":
                await graph.create_task(os.getpid).result()
            left_at = time.monotonic()
            leaving.set()
            if how == "error":
                raise error
            if how == "exit":
                raise SystemExit(7)
            if how == "interrupt":
                signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()

    async def main() -> str:
        with trio.CancelScope() as scope:
            async with open_coordinator([WorkerLoop("default", concurrency=3)]) as coordinator:
                if how == "cancelled":
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(use, coordinator)
                        await leaving.wait()
                        scope.cancel()
                else:
                    await use(coordinator)
        return "cancelled" if scope.cancelled_caught else "left"

    try:
        end: object = trio.run(main, strict_exception_groups=strict)
    except BaseException as raised:
        end = raised
    assert time.monotonic() - left_at < PROMPT_SECONDS
    if how == "error":
        assert end is error
    elif how == "cancelled":
        assert end == "cancelled"
    elif how == "exit":
        assert isinstance(end, SystemExit)
        assert end.code == 7
    else:
        assert isinstance(end, KeyboardInterrupt)
    assert [task.state for task in tasks] == ["cancelled"] * 3
    for task in tasks:
        with pytest.raises(TaskCancelled):
            task.result_nowait()


@pytest.mark.parametrize("work", [False, True], ids=["nothing done", "idle workers"])
async def test_leaving_is_quick(work: bool) -> None:
    """Workers are asked to stop together, and are gone when the block has been left."""
    pids: list[int | None] = []
    async with open_coordinator([WorkerLoop("default", processes=2)]) as coordinator:
        if work:
            async with coordinator.open_graph() as graph:
                for _ in range(2):
                    graph.create_task(time.sleep, 0.01)
            pids = [worker.pid for worker in coordinator.workers]
        began = time.monotonic()
    assert time.monotonic() - began < (1.0 if work else 0.1)
    assert not any(is_running(pid) for pid in pids if pid is not None)


# Signals to the whole program

BUSY = """
import ctypes, os, sys, trio
from trio_actor_graph import WorkerLoop, current_task, open_coordinator

def note():
    with open("pids", "a") as pids:
        pids.write(f"{os.getpid()}\\n")

def loop_in_python():
    note()
    while True:
        pass

def hold_interpreter_lock():
    note()
    ctypes.PyDLL(None).sleep(1000)

async def sleep():
    note()
    await trio.sleep(1000)

async def main():
    loops = [WorkerLoop("default", processes=3)]
    async with open_coordinator(loops) as coordinator:
        async with coordinator.open_graph() as graph:
            for function in loop_in_python, hold_interpreter_lock, sleep:
                graph.create_task(function)
            while not os.path.exists("pids") or len(open("pids").read().split()) < 3:
                await trio.sleep(0.01)
            print("pids", *open("pids").read().split(), ".")
            await trio.sleep_forever()

trio.run(main, strict_exception_groups="strict" in sys.argv)
"""


def start_busy(start_program: Callable[..., Any], *arguments: str) -> tuple[Any, list[int]]:
    program = start_program(BUSY, *arguments)
    pids = [int(pid) for pid in program.wait_stdout(r"pids (.*) \.")[1].split()]
    assert len(set(pids)) == 3
    assert all(map(is_running, pids))
    return program, pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_program_leaves_no_worker(
    number: signal.Signals, start_program: Callable[..., Any]
) -> None:
    """Not one, whatever it is doing, a second later."""
    program, pids = start_busy(start_program)
    os.kill(program.pid, number)
    wait_gone(pids, 1.0)
    assert program.wait().returncode == -number
    sockets.remove_stale_folders()  # it could not; the next coordinator does


@pytest.mark.parametrize("groups", ["loose", "strict"])
def test_ctrl_c_ends_a_busy_program_with_its_own_traceback(
    groups: str, start_program: Callable[..., Any]
) -> None:
    """One traceback of one KeyboardInterrupt, nothing else, at once."""
    program, pids = start_busy(start_program, groups)
    began = time.monotonic()
    program.interrupt()
    run = program.wait()
    assert time.monotonic() - began < PROMPT_SECONDS
    wait_gone(pids, 0.5)
    lines = run.stderr.splitlines()
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "KeyboardInterrupt")
    assert all(line.startswith("  ") for line in lines[1:-1]), run.stderr
    assert run.returncode == -signal.SIGINT


# Workers that die


DEATHS = {"kill": "SIGKILL", "exit": "status 7", "segfault": "SIGSEGV"}


async def test_a_task_survives_the_death_of_its_worker(tmp_path: Path) -> None:
    """It is tried again elsewhere; after three deaths it fails as WorkerLost, and the rest goes on.

    The error names the last process and how it ended.
    """

    def die(how: str, deaths: int, notes: str) -> list[int]:
        """Dies in its first attempts; the notes tell where each ran."""
        with Path(notes).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if current_task().attempt <= deaths:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "exit":
                os._exit(7)
            ctypes.string_at(0)
        return [int(pid) for pid in Path(notes).read_text().split()]

    loops = [WorkerLoop(how) for how in DEATHS]
    async with open_coordinator(loops) as coordinator:  # noqa: SIM117
        async with coordinator.open_graph(on_failure="continue") as graph:
            dying = {
                how: graph.create_task(die, how, 99, str(tmp_path / how), worker_loop=how)
                for how in DEATHS
            }
            once = graph.create_task(die, "kill", 1, str(tmp_path / "once"), worker_loop="kill")
            after = graph.create_task(len, [1, 2], waits_on=completed(dying.values()))
            assert await after.result() == 2
            assert len(set(await once.result())) == 2
            assert once.attempt == 2
            for how, task in dying.items():
                pids = [int(pid) for pid in (tmp_path / how).read_text().split()]
                assert (len(set(pids)), task.attempt) == (3, 3)
                with pytest.raises(WorkerLost, match=rf"{pids[-1]}\b.*{DEATHS[how]}"):
                    await task.result()
                assert await graph.create_task(os.getpid, worker_loop=how).result() not in pids


async def test_a_worker_killed_from_outside_costs_nobody_but_time(tmp_path: Path) -> None:
    """Both what it ran and what it held are done by another; results it had sent stay."""
    notes = tmp_path / "notes"

    def sleep_first(number: int) -> int:
        with notes.open("a") as file:
            file.write("x")
        if current_task().attempt == 1:
            time.sleep(1000)
        return number

    async with open_coordinator([WorkerLoop("default", concurrency=2)]) as coordinator:
        async with coordinator.open_graph() as graph:
            pid = await graph.create_task(os.getpid).result()
            sleeping = [graph.create_task(sleep_first, number) for number in range(2)]
            behind = [graph.create_task(len, "x" * number) for number in range(20)]
            while not notes.exists() or len(notes.read_text()) < 2:  # noqa: ASYNC110
                await trio.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            assert [await task.result() for task in sleeping] == [0, 1]
            assert [await task.result() for task in behind] == list(range(20))
        assert graph.counts()["succeeded"] == 23


async def test_a_stray_cancellation_fails_its_task_only() -> None:
    """A `Cancelled` that is not the worker's own is a task's mistake, as any other exception."""

    async def let_out() -> None:
        kept: BaseException | None = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep(1)
            except trio.Cancelled as cancelled:
                kept = cancelled
        assert kept is not None
        raise kept

    async with (
        open_coordinator(ONE_WORKER) as coordinator,
        coordinator.open_graph(on_failure="continue") as graph,
    ):
        pid = await graph.create_task(os.getpid).result()
        with pytest.raises(TaskFailed, match="Cancelled") as caught:
            await graph.create_task(let_out).result()
        assert not isinstance(caught.value, WorkerLost)
        assert await graph.create_task(os.getpid).result() == pid


# Ways out of a coordinator whose tasks run in the program's own process

LOCAL = [WorkerLoop("default", processes=0)]


async def test_a_cancelled_program_does_not_wait_for_its_slots() -> None:
    """A parent awaits a child in the only slot when all is cancelled from outside: all ends."""

    async def parent() -> None:
        await current_task().create_task(trio.sleep_forever).result()

    with trio.fail_after(PROMPT_SECONDS + 5), trio.CancelScope() as scope:
        async with open_coordinator(LOCAL) as coordinator, coordinator.open_graph() as graph:
            graph.create_task(parent)
            while [task.state for task in graph.tasks] != ["running"] * 2:  # noqa: ASYNC110
                await trio.sleep(0.002)
            scope.cancel()
    assert scope.cancelled_caught
    assert [task.state for task in graph.tasks] == ["cancelled"] * 2


@pytest.mark.parametrize("processes", [0, 1])
async def test_cancelled_from_outside_a_graph_is_left_by_that_alone(processes: int) -> None:
    """No error of ours is in the way of the cancellation, whatever runs at that moment."""
    left_by: list[BaseException] = []
    loops = [WorkerLoop("default", processes=processes)]
    with trio.fail_after(20), trio.CancelScope() as scope:
        async with open_coordinator(loops, start="eager") as coordinator:
            try:
                async with coordinator.open_graph() as graph:
                    task = graph.create_task(trio.sleep_forever)
                    while task.state != "running":  # noqa: ASYNC110
                        await trio.sleep(0.002)
                    scope.cancel()
            except BaseException as error:
                left_by.append(error)
                raise
    assert scope.cancelled_caught
    assert [type(error) for error in left_by] == [trio.Cancelled]
    assert task.state == "cancelled"


@pytest.mark.parametrize("processes", [0, 1])
async def test_what_the_body_raises_when_it_is_cancelled_comes_out(processes: int) -> None:
    """Its cleanup's own error replaces the cancellation, as in any other block."""
    error = Trouble("from cleaning up")
    with pytest.raises(Trouble) as caught, trio.CancelScope() as scope:  # noqa: PT012
        async with open_coordinator([WorkerLoop("default", processes=processes)]):
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                raise error
    assert caught.value is error


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict groups"])
def test_ctrl_c_in_a_nursery_of_a_task_of_the_program_ends_it(strict: bool) -> None:
    """It comes out of that task's nursery as a group, and is Ctrl-C all the same."""
    ends = []

    async def press() -> None:
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    async def task() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(press)

    async def main() -> None:
        async with open_coordinator(LOCAL) as coordinator:
            async with coordinator.open_graph(on_failure="continue") as graph:
                graph.create_task(task)
            ends.append("went on")

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, strict_exception_groups=strict)
    assert ends == []


def test_ctrl_c_waits_until_a_change_is_whole() -> None:
    """Pressed while the coordinator changes its graphs, it comes out when that has been done."""
    steps: list[str] = []

    async def main() -> None:
        async with open_coordinator(LOCAL) as coordinator:
            real = coordinator._scheduler._assign

            def interrupted(*arguments: Any) -> Any:
                steps.append("half")
                signal.raise_signal(signal.SIGINT)
                steps.append("whole")
                return real(*arguments)

            coordinator._scheduler._assign = interrupted  # type: ignore[method-assign]
            async with coordinator.open_graph() as graph:
                graph.create_task(trio.sleep_forever)
                await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert steps == ["half", "whole"]


# Errors of ours, and of the machine


async def test_a_bug_of_ours_is_told_as_one() -> None:
    """An InternalError while a worker's messages are taken is not the end of that worker."""
    error = InternalError("a rule was broken")

    def broken(*arguments: Any) -> None:
        raise error

    with pytest.raises(InternalError) as caught:  # noqa: PT012
        async with open_coordinator(ONE_WORKER) as coordinator:
            coordinator._scheduler.on_attempt_succeeded = broken  # type: ignore[method-assign]
            await run_task(coordinator, os.getpid)
    assert caught.value is error


async def test_processes_that_cannot_be_spawned_fail_their_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After three tries, with what the machine said; other loops go on."""
    loops = [*ONE_WORKER, WorkerLoop("app", processes=0)]
    async with open_coordinator(loops) as coordinator:  # noqa: SIM117
        async with coordinator.open_graph(on_failure="continue") as graph:
            monkeypatch.setattr(sys, "executable", "/nonexistent")
            task = graph.create_task(os.getpid)
            with pytest.raises(WorkerStartError) as caught:
                await task.result()
            assert str(caught.value).splitlines()[0] == (
                "worker loop 'default' cannot start: "
                "5 workers in a row were lost before they began anything: "
                "FileNotFoundError: [Errno 2] No such file or directory: '/nonexistent'"
            )
            assert await graph.create_task(os.getpid, worker_loop="app").result() == os.getpid()


async def _open_inside(processes: int) -> object:
    loops = [WorkerLoop("default", processes=processes)]
    async with open_coordinator(loops) as coordinator, coordinator.open_graph() as graph:
        try:
            return await graph.create_task(sum, [1, 2]).result()
        except WorkerStartError as error:
            return str(error).splitlines()[0]


def _open_inside_plain(processes: int) -> object:
    return trio.run(_open_inside, processes)


@pytest.mark.parametrize("function", [_open_inside, _open_inside_plain])
async def test_a_coordinator_inside_a_worker(function: Callable[..., Any]) -> None:
    """It has loops in the task's own process only, and says so of others."""
    async with (
        open_coordinator(ONE_WORKER) as coordinator,
        coordinator.open_graph(on_failure="continue") as graph,
    ):
        assert await graph.create_task(function, 0).result() == 3
        assert await graph.create_task(function, 1).result() == (
            "worker loop 'default' cannot start: a coordinator inside a worker cannot start "
            "processes; give it loops with processes=0, or have the task create its tasks by "
            "current_task().create_task"
        )
        assert await graph.create_task(function, 0).result() == 3
