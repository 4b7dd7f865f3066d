"""The process of one actor: what it is given, how it is started, and the handle that ends it.

tractor starts it, by a call to `trio.lowlevel.open_process` in which nobody asks us anything, and
in the coordinator tractor takes its time to be imported and to come to that. So the process is
started before, and begins to import; `actors` puts `open_process` of this module in that call's
way, says by a context variable which of the calls are ours, and the call finds the process. What
it is to run it is told by a pipe then.

With its process a worker gets its **lifeline**, one end of a pair of sockets on which nothing is
ever said; the other end is ours and is closed by the kernel when this program ends, however it
ends. Owner, signal and O_ASYNC belong to the *open file*, not to the descriptor or to the process
that asked for them. So on Linux it is armed here, before the child has run a line of its own: at
our end's end the kernel sends SIGKILL to the child's process group. What is left is the moment
between the child's start and our naming it the owner (a pid is known only then), in which we may
die too: one start in some hundred, when killed at random. So the child's first lines, 20 ms after
its start, name it as well. On other systems `worker.boot` waits for the end, from its import on.
"""

from __future__ import annotations

import contextlib
import contextvars
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from trio_actor_graph.engine.settings import IMPORT_NOISE
from trio_actor_graph.worker import boot

# Where pdb++ keeps a module named `pdb`; put on the path at the start of every interpreter.
_PDBPP_FOLDER: Final = "_pdbpp_path_hack"

# Before anything else the child makes itself the owner of its lifeline, or finds that it has ended.
# Then it imports, from where its coordinator does; `python -c` would look into the folder it is in
# first. What it is to run at last it is told later.
_OWN_LIFELINE: Final = f"""\
import fcntl, os
line = int(os.environ["{boot.LIFELINE_VARIABLE}"])
fcntl.fcntl(line, fcntl.F_SETOWN, -os.getpid())
try: os.read(line, 1) or os._exit({boot.EXIT_COORDINATOR_GONE})
except BlockingIOError: pass
"""
_FIRST_LINES: Final = f"""\
{_OWN_LIFELINE if boot.KERNEL_KILLS else ""}
import sys
sys.path[:] = filter(None, sys.path)
from trio_actor_graph.worker import start
start.run()
"""


class ActorProcess:
    """The process of one life of one actor, as soon as there is one.

    Signals go to its whole process group: with it go the programs that were started in it.

    Attributes:
        name: the actor's name.
        pid: the process id, which is also the id of its group and session.
    """

    def __init__(self, name: str, process: trio.Process, lifeline: Lifeline) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._lifeline = lifeline
        self._ended = trio.Event()

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: the signal), or None while the process runs."""
        return self._process.returncode if self._ended.is_set() else None

    def kill(self) -> None:
        """Ends the process at once, in any phase; does nothing when it has ended."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Waits for the end of the process and returns its exit status."""
        await self._ended.wait()
        assert self._process.returncode is not None
        return self._process.returncode

    async def watch(self) -> None:
        """Waits for the process and ends what is left of its group; for `run_actor`, once.

        The id of the group is ours only until the status of the process has been collected.
        """
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # no descriptors left: then without
                await _wait_pidfd(os.pidfd_open(self.pid))
                self.kill()
        await self._process.wait()
        self._lifeline.close()
        self._ended.set()

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class Lifeline:
    """A pair of sockets: while our end is open, the process that has the other one may live.

    Attributes:
        childs_end: the descriptor that the child is to inherit.

    Raises:
        OSError: there are no descriptors left.
    """

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        try:
            # Not one of the first three, which a program may have closed: they get other meanings.
            self.childs_end = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 3)
        except OSError:
            self._ours.close()
            raise
        finally:
            theirs.close()
        self._childs_end_is_open = True
        if boot.KERNEL_KILLS:
            boot.ask_for_kill(self.childs_end)
        _lifelines.add(self)

    def hand_over(self, pid: int) -> None:
        """Makes the process group of the child the one that our end's end kills."""
        if boot.KERNEL_KILLS:
            with contextlib.suppress(OSError):  # it has ended already
                fcntl.fcntl(self.childs_end, fcntl.F_SETOWN, -pid)
        self._close_childs_end()

    def close(self) -> None:
        """Ends the line, and so whatever still lives on it."""
        _lifelines.discard(self)
        self._ours.close()
        self._close_childs_end()

    def _close_childs_end(self) -> None:
        if self._childs_end_is_open:
            self._childs_end_is_open = False
            os.close(self.childs_end)


# A fork of the coordinator, such as multiprocessing's, gets copies of our ends, which would keep
# workers alive after the coordinator has ended.
_lifelines: set[Lifeline] = set()


def _drop_after_fork() -> None:
    for lifeline in list(_lifelines):
        lifeline.close()


os.register_at_fork(after_in_child=_drop_after_fork)


class _Orders:
    """A pipe on which a child is told what to run.

    Attributes:
        childs_end: the descriptor that the child is to inherit.

    Raises:
        OSError: there are no descriptors left.
    """

    def __init__(self) -> None:
        self.childs_end, self._ours = open_pipe()

    def give(self, command: list[str]) -> None:
        """Tells the child the arguments of its interpreter; for once."""
        try:
            os.write(self._ours, json.dumps(command[1:]).encode("ascii") + b"\n")
        except OSError:  # it has ended already, and its end is noticed
            pass
        finally:
            self.close()

    def close_childs_end(self) -> None:
        """Leaves it to the child."""
        if self.childs_end >= 0:
            os.close(self.childs_end)
            self.childs_end = -1

    def close(self) -> None:
        self.close_childs_end()
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1


def open_pipe() -> tuple[int, int]:
    """Opens a pipe beside the first three descriptors, which a program may have closed."""
    ends = os.pipe()
    try:
        reading = fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            writing = fcntl.fcntl(ends[1], fcntl.F_DUPFD_CLOEXEC, 3)
        except OSError:
            os.close(reading)
            raise
    finally:
        for end in ends:
            os.close(end)
    return reading, writing


class Spawn:
    """One process for an actor: first spawned by us, then handed to whoever asks for it.

    Between the two its interpreter starts and imports what a worker needs.

    Attributes:
        name: of what it is for; it is among the arguments of the process, for people.
        is_handed_over: whether it is.
    """

    def __init__(self, name: str, environment: Mapping[str, str], stderr: int | None) -> None:
        """Prepare it.

        Args:
            name: of what it is for.
            environment: the child's whole environment, but for what its start adds.
            stderr: a descriptor that is to be the child's stderr; None for ours.
        """
        self.name = name
        self.is_handed_over = False
        self._environment = environment
        self._stderr = stderr
        self._process: trio.Process | None = None
        self._orders: _Orders | None = None

    async def start(self) -> ActorProcess:
        """Starts the process.

        Raises:
            OSError: that is not possible.
        """
        lifeline = Lifeline()
        try:
            self._orders = _Orders()
            process = await trio.lowlevel.open_process(
                first_command(self._orders.childs_end, self.name),
                **self._options(lifeline.childs_end, self._orders.childs_end),
            )
        except BaseException:
            lifeline.close()
            self.close()
            raise
        lifeline.hand_over(process.pid)
        self._orders.close_childs_end()
        self._process = process
        return ActorProcess(self.name, process, lifeline)

    def hand_over(self, command: list[str]) -> trio.Process:
        """Has the process do what this command would do, and returns it."""
        assert self._process is not None
        assert self._orders is not None
        self.is_handed_over = True
        self._orders.give(command)
        return self._process

    def close(self) -> None:
        """Closes what a process that was not handed over has left."""
        if self._orders is not None:
            self._orders.close()

    def _options(self, lifeline: int, orders: int) -> dict[str, Any]:
        return {
            "env": {**self._environment, boot.LIFELINE_VARIABLE: str(lifeline)},
            "pass_fds": (lifeline, orders),
            "stdin": subprocess.DEVNULL,
            "stderr": self._stderr,
            # A Ctrl-C in the terminal is for the coordinator, which then ends its workers.
            "start_new_session": True,
        }


def first_command(orders: int, name: str) -> list[str]:
    """Returns the command line of a child that gets ready, and its orders from a descriptor."""
    return [sys.executable, "-c", _FIRST_LINES, str(orders), name]


spawn: contextvars.ContextVar[Spawn | None] = contextvars.ContextVar("spawn", default=None)
"""Set around our calls of `start_actor`, and inherited by the task that tractor spawns in. Actors
that the program starts itself have none, and nothing changes for them."""


async def open_process(command: list[str], **options: Any) -> trio.Process:
    """Stands for `trio.lowlevel.open_process`, and hands over our process if there is one."""
    ours = spawn.get()
    if ours is None:
        return await trio.lowlevel.open_process(command, **options)
    await trio.lowlevel.checkpoint()
    return ours.hand_over(command)


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns a child's environment: ours, `extra`, and what its start needs.

    The child finds modules where we do, whatever way we were told. Its interpreter is not to speak
    of tractor's deprecations (our entries come last, so they win, and concern nothing else), and
    pdb++, which 0.1.0a5 brings along, is not to replace pdb.
    """
    path = [entry or str(Path.cwd()) for entry in sys.path if not entry.endswith(_PDBPP_FOLDER)]
    ignored = [f"ignore:{message}" for message in IMPORT_NOISE]
    changed = {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONWARNINGS": ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), *ignored])),
        "PDBPP_HIJACK_PDB": os.environ.get("PDBPP_HIJACK_PDB", "0"),
    }
    before = {**os.environ, **extra}
    surroundings = {"path": path, "environment": {name: before.get(name) for name in changed}}
    return {**before, **changed, boot.SURROUNDINGS_VARIABLE: json.dumps(surroundings)}


async def _wait_pidfd(descriptor: int) -> None:
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
