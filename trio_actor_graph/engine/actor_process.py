"""The process of one actor: what it is given, how it is started, and the handle that ends it.

tractor starts it, by a call to `trio.lowlevel.open_process` in which nobody asks us anything. So
`actors` puts `open_process` of this module in that call's way, and says by a context variable which
of the calls are ours and what they shall be like.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import signal
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


class ActorProcess:
    """The process of one life of one actor, as soon as there is one.

    Signals go to its whole process group: with it go the programs that were started in it.

    Attributes:
        name: the actor's name.
        pid: the process id, which is also the id of its group and session.
    """

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
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
        self._ended.set()

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class SpawnRequest:
    """What one of our spawns asks of `open_process`, and what came of it.

    Attributes:
        environment: the child's whole environment.
        on_process: called with the process as soon as there is one.
        failure: why there is none.
    """

    def __init__(
        self, environment: dict[str, str], on_process: Callable[[trio.Process], None]
    ) -> None:
        self.environment = environment
        self.on_process = on_process
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
    options.update(
        env=request.environment,
        stdin=subprocess.DEVNULL,
        # A Ctrl-C in the terminal is for the coordinator, which then ends its workers.
        start_new_session=True,
    )
    try:
        process = await trio.lowlevel.open_process(command, **options)
    except OSError as error:
        request.failure = error  # tractor raises a KeyError in its place
        raise
    request.on_process(process)
    return process


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
