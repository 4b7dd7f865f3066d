"""The first code of ours inside a worker process: the only module its actor lets be called.

A worker must never outlive its coordinator, and it must never be half dead. The actor framework
gives neither: the children of a killed coordinator live on for ever, and a `SystemExit` in a called
function leaves a process that is alive, connected and deaf. So this module does two things.

*At import* it takes up its **lifeline**: one end of a pair of sockets on which nothing is ever
said, handed over at the spawn (`engine/actor_process.py`). When the coordinator ends, however it
ends, the kernel closes the other end, and (Linux) sends SIGKILL to the worker's process group of
its own accord, because this end asks for its signal by `O_ASYNC`, `F_SETOWN` and `F_SETSIG`. No
Python code of the worker takes part, so it also works while C code holds the interpreter lock, and
before there is an interpreter: the coordinator has asked for it, on our behalf. Elsewhere a thread
blocks on the connection and kills, which needs that lock. `PR_SET_PDEATHSIG` is no alternative: it
fires when the *thread* that forked ends, and trio forks in threads that end after 10 idle seconds.

*When called* `main` connects to the `link` socket, proves by a secret that it is the worker
expected, and then serves until it is told to stop or the link breaks. It ends the process itself:
the other way, an orderly shutdown of trio and the actor, costs 60 to 90 ms per worker and has more
ways to fail.

Whether this process is a worker is told by environment variables. They are taken out of the
environment at once, so that programs started by user tasks see neither them nor the secret. The
coordinator imports this module too (the names of the variables are here); then it does nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import trio

if TYPE_CHECKING:
    from types import FrameType

# What the coordinator sets for each worker. OWNER is its pid, so that it does not take itself for
# one.
FOLDER_VARIABLE = "TRIO_ACTOR_GRAPH_FOLDER"
OWNER_VARIABLE = "TRIO_ACTOR_GRAPH_OWNER"
SECRET_VARIABLE = "TRIO_ACTOR_GRAPH_SECRET"  # noqa: S105 - a name, not a secret
LIFELINE_VARIABLE = "TRIO_ACTOR_GRAPH_LIFELINE"  # the number of a descriptor
# JSON: the search path of modules, and what the variables changed for the start were before.
SURROUNDINGS_VARIABLE = "TRIO_ACTOR_GRAPH_SURROUNDINGS"

LINK_SOCKET = "link"

KERNEL_KILLS = sys.platform == "linux"
"""Whether the kernel can be told to kill at the end of a lifeline."""

EXIT_COORDINATOR_GONE = 71
"""The exit status of a worker that found its coordinator gone before the lifeline could act."""
EXIT_CANCELLED = 72
"""The exit status of a worker whose actor was cancelled from outside."""


class _Assignment(NamedTuple):
    """What this worker was given by its coordinator."""

    folder: str
    secret: str
    path: list[str] | None


async def main() -> None:
    """Serves the coordinator for the whole life of this process, and ends the process.

    It takes no arguments and works once: on tractor 0.1.0a5 any local user can reach an actor's
    port and call this function, and must not be able to point the worker at a socket of his own.

    Raises:
        Exception: what made the worker fail; the actor framework carries it to the coordinator.
    """
    await live(_serve)


async def live(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> None:
    """Runs `main` with another way to serve, for tests."""
    assignment = _take_assignment()
    try:
        _close_actor_listener()
        _restore_search_path(assignment)
        await serve(await _connect(assignment))
    except trio.Cancelled:
        end_process(EXIT_CANCELLED)
    except BaseException as error:
        if _is_broken_stream(error):
            end_process(EXIT_COORDINATOR_GONE)
        if isinstance(error, Exception):
            raise
        # Out of a called function anything but an Exception leaves the actor alive and deaf.
        text = traceback.format_exception_only(error)[-1].strip()
        raise RuntimeError(f"the worker was ended by {text}") from error
    end_process(0)


def end_process(status: int) -> NoReturn:
    """Ends the process at once, with what it has written to stdout and stderr so far."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # None, a broken pipe, closed
            pass
    os._exit(status)


async def _serve(stream: trio.SocketStream) -> None:
    # Here and not above: the lifeline is armed before this takes its time.
    from trio_actor_graph.worker.main import serve

    await serve(stream)


async def _connect(assignment: _Assignment) -> trio.SocketStream:
    try:
        stream = await trio.open_unix_socket(f"{assignment.folder}/{LINK_SOCKET}")
    except OSError as error:
        raise trio.BrokenResourceError from error
    await stream.send_all(assignment.secret.encode("ascii") + b"\n")
    return stream


def _take_assignment() -> _Assignment:
    global _assignment
    if _assignment is None:
        raise RuntimeError("this process is no worker, or its worker is already running")
    assignment, _assignment = _assignment, None
    return assignment


def _close_actor_listener() -> None:
    from trio_actor_graph.actors import close_actor_listener

    close_actor_listener()


def _is_broken_stream(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_broken_stream, error.exceptions))
    return isinstance(error, trio.BrokenResourceError)


# At import


def _find_assignment() -> _Assignment | None:
    if os.environ.get(OWNER_VARIABLE, str(os.getpid())) == str(os.getpid()):
        return None
    del os.environ[OWNER_VARIABLE]
    folder = os.environ.pop(FOLDER_VARIABLE)
    secret = os.environ.pop(SECRET_VARIABLE)
    return _Assignment(folder, secret, _restore_environment())


def _restore_environment() -> list[str] | None:
    """Undoes what the environment was given for the start; returns the module search path.

    A program that a task starts, perhaps another Python, must not see the coordinator's PYTHONPATH.
    """
    text = os.environ.pop(SURROUNDINGS_VARIABLE, None)
    if text is None:
        return None
    surroundings = json.loads(text)
    for name, value in surroundings["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    path: list[str] = surroundings["path"]
    return path


def _restore_search_path(assignment: _Assignment) -> None:
    """Makes the coordinator's search path ours.

    tractor appends the folder of each module it enables, ours included: `import boot` would find
    this file. It does so after our import too, hence not there.
    """
    if assignment.path is not None:
        sys.path[:] = assignment.path


def ask_for_kill(lifeline: int) -> None:
    """Has the kernel send SIGKILL to the owner of this end when the other one is closed."""
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | fcntl.FASYNC | os.O_NONBLOCK)


def _take_lifeline(descriptor: int) -> socket.socket:
    try:
        lifeline = socket.socket(fileno=descriptor)
        lifeline.set_inheritable(False)
    except OSError:
        os._exit(EXIT_COORDINATOR_GONE)
    if not KERNEL_KILLS:
        threading.Thread(target=_wait_for_end, args=(lifeline,), daemon=True).start()
    return lifeline


def _wait_for_end(lifeline: socket.socket) -> None:
    try:
        lifeline.recv(1)
    finally:
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(EXIT_COORDINATOR_GONE)


def _ignore(signum: int, frame: FrameType | None) -> None:
    """Stands for SIG_IGN, which programs started by tasks would inherit."""


_assignment = _find_assignment()

IS_WORKER = _assignment is not None
"""Whether this process was started as a worker."""

if _assignment is not None:
    # A KeyboardInterrupt would leave the actor alive and deaf.
    signal.signal(signal.SIGINT, _ignore)
    _lifeline = _take_lifeline(int(os.environ.pop(LIFELINE_VARIABLE)))
