"""What every test has in common: it leaves nothing behind, and it can run whole programs.

*Hygiene.* Around each test a fixture compares what this interpreter owns before and after:
processes, threads, file descriptors, mappings of shared memory and private folders. What is still
there is given a few seconds to go, since the end of a process or of a thread is seen a little later
than its cause, and then fails the test with a list. Where there is no /proc, only threads and
folders are looked at.

Processes are found by two marks: being a child of this one, and a word in the environment that
children inherit. The second finds orphans too, which no longer have us as their parent.

*Programs.* `run_program` runs a program as a user would, in a fresh interpreter; `start_program`
leaves it running, so that a test can send it a signal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PROC = Path("/proc")

# How long leftovers may take to go. A worker ends within 0.1 s of being told to; the rest is for a
# machine that is busy with other things.
PATIENCE_SECONDS = 5.0
POLL_SECONDS = 0.02

MARK_NAME = "TRIO_ACTOR_GRAPH_TEST_RUN"
MARK = f"{MARK_NAME}={secrets.token_hex(8)}"

FOLDER_PREFIX = "trio-actor-graph-"

# A suite started in the background of a shell inherits an ignored SIGINT, and so would the programs
# that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Hygiene


@pytest.fixture(scope="session", autouse=True)
def private_surroundings() -> Iterator[Path]:
    """Gives the session its own temporary and runtime folder, and marks the processes it starts.

    Another test run on the same machine makes folders of the same prefix; they must not be taken
    for ours. The name is short, because the path of a Unix socket holds 107 bytes at most.
    """
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="tag-"))
    with pytest.MonkeyPatch.context() as patch:
        # pytest keeps the folders of `tmp_path` for a look afterwards: not in a folder that goes.
        if "PYTEST_DEBUG_TEMPROOT" not in os.environ:
            patch.setenv("PYTEST_DEBUG_TEMPROOT", usual)
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv(*MARK.split("=", 1))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(private_surroundings: Path) -> Iterator[None]:
    """Fails the test that leaves a process, a thread, a descriptor, a mapping or a folder."""
    before = Belongings.look(private_surroundings)
    yield
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := before.what_is_left(private_surroundings):
        if time.monotonic() >= deadline:
            lines = "\n".join(f"  {line}" for line in left)
            pytest.fail(
                f"left behind {PATIENCE_SECONDS:g} s after the test:\n{lines}", pytrace=False
            )
        # A socket in a reference cycle, such as a traceback's, is closed by the collector.
        gc.collect()
        time.sleep(POLL_SECONDS)


@dataclasses.dataclass(frozen=True)
class Belongings:
    """What this interpreter owned at one moment; `pids` are those of the whole machine."""

    pids: frozenset[int]
    threads: frozenset[threading.Thread]
    descriptors: Mapping[int, str]
    mappings: int
    folders: frozenset[Path]

    @classmethod
    def look(cls, folder: Path) -> Belongings:
        return cls(
            pids=_pids(),
            threads=frozenset(threading.enumerate()),
            descriptors=_descriptors(),
            mappings=_mappings(),
            folders=_folders(folder),
        )

    def what_is_left(self, folder: Path) -> list[str]:
        """Returns one line for each thing that is there now and was not there then."""
        now = Belongings.look(folder)
        processes = [line for pid in sorted(now.pids - self.pids) if (line := _our_process(pid))]
        threads = [
            f"thread {thread.name!r}{' (daemon)' if thread.daemon else ''}"
            for thread in now.threads - self.threads
            if not _is_idle_trio_thread(thread)
        ]
        descriptors = [
            f"file descriptor {fd}: {target}"
            for fd, target in now.descriptors.items()
            if self.descriptors.get(fd) != target and fd != _resource_tracker("_fd")
        ]
        mappings = []
        if now.mappings > self.mappings:
            mappings = [f"{now.mappings - self.mappings} mappings of shared memory"]
        folders = [f"folder {path}" for path in sorted(now.folders - self.folders)]
        return processes + threads + descriptors + mappings + folders


def _pids() -> frozenset[int]:
    if not PROC.is_dir():
        return frozenset()
    return frozenset(int(path.name) for path in PROC.iterdir() if path.name.isdecimal())


def _our_process(pid: int) -> str | None:
    """Describes the process if it is ours, by parent or by mark; None for everybody else's."""
    if pid == _resource_tracker("_pid"):
        return None
    try:
        stat = (PROC / str(pid) / "stat").read_text()
        state, parent = stat.rpartition(")")[2].split()[:2]
        if int(parent) != os.getpid():
            environment = (PROC / str(pid) / "environ").read_bytes()
            if MARK.encode() not in environment.split(b"\0"):
                return None
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:  # it has just ended, or it is another user's
        return None
    ended = " (ended, but nobody waited for it)" if state == "Z" else ""
    return f"process {pid}, child of {parent}{ended}: {command[:300]}"


def _is_idle_trio_thread(thread: threading.Thread) -> bool:
    """Tells trio's cached threads, which end after 10 idle seconds, from those still at work.

    While it works such a thread carries the name of its job.
    """
    return re.fullmatch(r"Trio thread \d+", thread.name) is not None


def _descriptors() -> dict[int, str]:
    """Returns where each open descriptor leads, with no tolerance for more of them.

    Sockets, pipes and files carry an inode number in what they lead to, so a number that was closed
    and given to another socket does not hide it.
    """
    found: dict[int, str] = {}
    if PROC.is_dir():
        # The listing itself uses a descriptor, which is in the list and closed before it is read.
        for path in list((PROC / "self/fd").iterdir()):
            with contextlib.suppress(FileNotFoundError):
                found[int(path.name)] = str(path.readlink())
    return found


def _mappings() -> int:
    """Returns how many mappings there are of files in memory that only processes hold."""
    maps = PROC / "self/maps"
    return maps.read_text().count("/memfd:trio-actor-graph") if maps.exists() else 0


def _resource_tracker(attribute: str) -> int | None:
    """Returns the pid or descriptor of Python's own helper for shared memory.

    It is started once for an interpreter, at the first use, and stays on purpose.
    """
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(getattr(module, "_resource_tracker", None), attribute, None)


def _folders(folder: Path) -> frozenset[Path]:
    return frozenset(folder.glob(f"{FOLDER_PREFIX}*"))


# Programs


@dataclasses.dataclass(frozen=True)
class ProgramRun:
    """How a program went."""

    stdout: str
    stderr: str
    returncode: int
    elapsed: float
    """Seconds of wall time from the start of the interpreter to its end."""


@dataclasses.dataclass
class Program:
    """A program in an interpreter and a session of its own.

    Its output goes to files rather than pipes: a pipe stays open as long as any process that
    inherited it, and reading to its end would wait for a worker left behind instead of showing it.
    """

    process: subprocess.Popen[bytes]
    started: float
    stdout_path: Path
    stderr_path: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self.stdout_path.read_text()

    @property
    def stderr(self) -> str:
        """What it has written so far."""
        return self.stderr_path.read_text()

    def wait_stdout(self, pattern: str, timeout_seconds: float = 20) -> re.Match[str]:
        """Waits until something in stdout matches the pattern."""
        deadline = time.monotonic() + timeout_seconds
        while not (match := re.search(pattern, self.stdout)):
            if self.process.poll() is not None or time.monotonic() >= deadline:
                pytest.fail(f"{pattern!r} was never written{self._story()}")
            time.sleep(POLL_SECONDS)
        return match

    def interrupt(self) -> None:
        """Presses Ctrl-C: SIGINT to the whole process group, as a terminal sends it."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, timeout_seconds: float = 30) -> ProgramRun:
        """Waits for its end; a program that takes longer is killed and fails the test."""
        try:
            returncode = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the program was still running after {timeout_seconds:g} s{self._story()}")
        elapsed = time.monotonic() - self.started
        return ProgramRun(self.stdout, self.stderr, returncode, elapsed)

    def kill(self) -> None:
        """Kills it and what it started in its own session; does nothing to one that has ended."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()

    def _story(self) -> str:
        return f"\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@pytest.fixture
def start_program(tmp_path: Path, leaves_nothing_behind: None) -> Iterator[Callable[..., Program]]:
    """Starts a program in a fresh interpreter; what still runs at the end of the test is killed.

    The program is a text, written to a file (a worker has to find `__main__` again), or a path.
    """
    programs: list[Program] = []

    def start(
        program: str | Path,
        *arguments: str,
        python_options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Program:
        folder = tmp_path / f"program-{len(programs)}"
        folder.mkdir()
        if isinstance(program, str):
            path = folder / "program.py"
            path.write_text(textwrap.dedent(program))
        else:
            path = program
        stdout_path, stderr_path = folder / "stdout", folder / "stderr"
        started = time.monotonic()
        with stdout_path.open("wb") as stdout, stderr_path.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, *python_options, str(path), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd or folder,
                env=_program_environment(env or {}),
                start_new_session=True,
            )
        programs.append(Program(process, started, stdout_path, stderr_path))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


@pytest.fixture
def run_program(start_program: Callable[..., Program]) -> Callable[..., ProgramRun]:
    """Runs a program in a fresh interpreter to its end and returns how it went."""

    def run(
        program: str | Path,
        *arguments: str,
        timeout_seconds: float = 30,
        python_options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> ProgramRun:
        started = start_program(
            program, *arguments, python_options=python_options, env=env, cwd=cwd
        )
        return started.wait(timeout_seconds)

    return run


def _program_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns our environment, with the package importable and output that appears at once."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }
