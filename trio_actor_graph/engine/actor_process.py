"""The process of one actor: what it is given, how it is started, and the handle that ends it.

tractor starts it, by a call to `trio.lowlevel.open_process` in which nobody asks us anything. So
`actors` puts `open_process` of this module in that call's way, and says by a context variable which
of the calls are ours and what they shall be like.

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import trio

from trio_actor_graph.engine.settings import IMPORT_NOISE
from trio_actor_graph.worker import boot

# Where pdb++ keeps a module named `pdb`; put on the path at the start of every interpreter.
_PDBPP_FOLDER: Final = "_pdbpp_path_hack"

# `python -m module arguments` as `python -c this module arguments`: it does what -m does, after it
# has made itself the owner of its lifeline, or found that it has ended.
_FIRST_LINES: Final = f"""\
import fcntl, os, runpy, sys
line = int(os.environ["{boot.LIFELINE_VARIABLE}"])
fcntl.fcntl(line, fcntl.F_SETOWN, -os.getpid())
try: os.read(line, 1) or os._exit({boot.EXIT_COORDINATOR_GONE})
except BlockingIOError: pass
runpy._run_module_as_main(sys.argv.pop(1))
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


class SpawnRequest:
    """What one of our spawns asks of `open_process`, and what came of it.

    Attributes:
        environment: the child's whole environment, but for what its lifeline adds.
        on_process: called with the process and its lifeline as soon as there is one.
        stderr: a descriptor that is to be the child's stderr; None for ours.
        failure: why there is none.
    """

    def __init__(
        self,
        environment: dict[str, str],
        on_process: Callable[[trio.Process, Lifeline], None],
        stderr: int | None = None,
    ) -> None:
        self.environment = environment
        self.on_process = on_process
        self.stderr = stderr
        self.failure: OSError | None = None


spawn_request: contextvars.ContextVar[SpawnRequest | None] = contextvars.ContextVar(
    "spawn_request", default=None
)
"""Set around our calls of `start_actor`, and inherited by the task that tractor spawns in. Actors
that the program starts itself have no request, and nothing changes for them."""


async def open_process(command: list[str], **options: Any) -> trio.Process:
    """Stands for `trio.lowlevel.open_process`, and heeds the request if there is one."""
    request = spawn_request.get()
    if request is None:
        return await trio.lowlevel.open_process(command, **options)
    try:
        lifeline = Lifeline()
        try:
            process = await trio.lowlevel.open_process(
                _with_first_lines(command), **(options | _child_options(request, lifeline))
            )
        except BaseException:
            lifeline.close()
            raise
    except OSError as error:
        request.failure = error  # tractor raises a KeyError in its place
        raise
    lifeline.hand_over(process.pid)
    request.on_process(process, lifeline)
    return process


def _with_first_lines(command: list[str]) -> list[str]:
    if not boot.KERNEL_KILLS or command[1] != "-m":
        return command
    return [command[0], "-c", _FIRST_LINES, *command[2:]]


def _child_options(request: SpawnRequest, lifeline: Lifeline) -> dict[str, Any]:
    end = lifeline.childs_end
    return {
        "env": {**request.environment, boot.LIFELINE_VARIABLE: str(end)},
        "pass_fds": (end,),
        "stdin": subprocess.DEVNULL,
        "stderr": request.stderr,
        # A Ctrl-C in the terminal is for the coordinator, which then ends its workers.
        "start_new_session": True,
    }


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
