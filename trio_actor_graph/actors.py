"""Spawning, watching and ending one tractor actor: the only file that imports tractor.

tractor gives us processes that start, report to their parent and carry an error home as text. What
it does not give is told in one sentence each, because every function below answers one of them.
What of the answers does not touch tractor is in the modules of `engine` named in brackets.

- It does not report that an actor's process has died: calls on it wait for ever. So the *process*
  is watched (`actor_process`), and its end cancels whatever waits on tractor.
- Leaving its nursery while the child is alive and deaf waits for ever, and cancelling it takes 0.5
  to 4 seconds. So each actor has a nursery of its own, which is only ever left in the ordinary way
  and after the process has ended: `run_actor` shields all of tractor from cancellation, and answers
  a cancellation with SIGKILL.
- An actor is started without its process being shown before it has connected back. So
  `open_process`, as tractor's spawning module sees it, is replaced by one that gives it a process
  of ours: with a session, an environment, a lifeline and no stdin, and already there, since the
  child can import what it needs while tractor is not even imported here (`actor_process`).
- It is imported again in every child, with much that a worker never needs. That is put off until
  somebody does (`deferred`).
- It runs the program's `__main__` again in every child, and on 0.1.0a5 a failure there ends the
  whole runtime. Our workers need no `__main__`, so they get none.
- There is one runtime per process, at an address that all programs of a machine share by default,
  and whoever opened it must not leave before the others. So it lives in a system task of trio, at
  an address of its own, from the first user to the last, and no user's cancellation reaches it
  (`shared_runtime`).
- It changes process-wide settings (logging, `breakpoint`, warnings) and leaves some of them. They
  are put back at once (`settings`).

Two versions are supported: the release 0.1.0a5, and git main, which needs Python 3.13. They differ
in what is marked by `_IS_MAIN`.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from importlib import reload
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trio

from trio_actor_graph.engine.actor_life import ActorEnd, ActorLife, TaskStatus, live
from trio_actor_graph.engine.actor_process import open_process, spawn
from trio_actor_graph.engine.deferred import imports_deferred, module_left_out
from trio_actor_graph.engine.settings import (
    deprecations_ignored,
    import_noise_ignored,
    logger_silenced,
    settings_kept,
)
from trio_actor_graph.engine.shared_runtime import ActorRuntimeError, SharedRuntime


def _find_is_main() -> bool:
    """Tells the versions apart by a file, before tractor is imported."""
    found = find_spec("tractor")
    return not (found and found.origin and Path(found.origin).with_name("_spawn.py").exists())


_IS_MAIN = _find_is_main()

# What 0.1.0a5 imports for programs that run asyncio in actors, or ask for a cluster of them, which
# takes all of multiprocessing to count cores; and the base classes of its debugger. Without them
# its import takes 25 ms instead of 60, in the coordinator and in each worker.
_DEFERRED = {
    "tractor._clustering": ["open_actor_cluster"],
    "tractor.to_asyncio": ["run_as_asyncio_guest"],
}
_DEBUGGER, *_DEBUGGER_CLASSES = "pdbpp", "Pdb", "DefaultConfig"


def _import_a5() -> Any:
    if "tractor" in sys.modules or _DEBUGGER in sys.modules:
        with imports_deferred(_DEFERRED):
            import tractor

        return tractor
    with imports_deferred(_DEFERRED), module_left_out(_DEBUGGER, _DEBUGGER_CLASSES):
        import tractor

    debugging: Any = sys.modules["tractor._debug"]

    def make_debugger() -> Any:
        """Stands for a function of that module, which all use of the debugger begins with."""
        lock = debugging.Lock
        with import_noise_ignored():
            reload(debugging)  # in place; this time it finds the base classes
        debugging.Lock = lock
        return debugging.mk_mpdb()

    debugging.mk_mpdb = make_debugger
    return tractor


def _import_main() -> Any:
    import tractor

    return tractor


# tractor publishes no types that fit what it does; everything of it is Any, in this file only.
# git main logs while it is imported, and trips over that when the program logs everything.
with import_noise_ignored(), logger_silenced():
    tractor: Any = _import_main() if _IS_MAIN else _import_a5()


@trio.lowlevel.enable_ki_protection
async def run_actor(
    name: str,
    *,
    module: str,
    environment: Mapping[str, str],
    stderr: int | None = None,
    task_status: TaskStatus = trio.TASK_STATUS_IGNORED,
) -> ActorEnd:
    """Runs one actor for its whole life and returns how it ended; meant for `nursery.start`.

    Started is reported with the `ActorProcess` as soon as the process exists, long before it can do
    anything. The caller limits the time to start by `ActorProcess.kill`. Cancelling kills the
    process and waits for its end, which takes some 10 ms in any phase.

    Args:
        name: the actor's name; a random suffix is added.
        module: the only module whose functions may be called; its `main()` is called, once.
        environment: variables to add to this process's own.
        stderr: a descriptor that is to be the actor's stderr; None for this process's own.
        task_status: for `nursery.start`.

    Raises:
        OSError: the process could not be started.
        ActorRuntimeError: `open_actor_runtime` is not open.
    """
    if tractor.current_actor(err_on_no_runtime=False) is None:
        raise ActorRuntimeError("an actor can only run while open_actor_runtime is open")
    return await live(
        name,
        module=module,
        environment=environment,
        stderr=stderr,
        talk=talk,
        task_status=task_status,
    )


async def talk(life: ActorLife) -> None:
    """Has tractor take the process of a life as an actor, and runs what it is for, to its end."""
    async with tractor.open_nursery() as actors:
        with life.talking():
            try:
                await _call_main(life, actors)
            except Exception as error:  # noqa: BLE001 - any ends this life
                life.error = _remote_error_text(error)
        # Only now may the nursery be left: its child is gone, so that takes no time.
        await life.end_process()
    _forget_life(life.name)


async def _call_main(life: ActorLife, actors: Any) -> None:
    token = spawn.set(life.spawn)
    try:
        portal = await actors.start_actor(
            life.name,
            enable_modules=[life.module],  # a new list: 0.1.0a5 appends to it
            loglevel="CRITICAL",
            **_child_addresses(life.name),
        )
    finally:
        spawn.reset(token)
    await portal.run_from_ns(life.module, "main")


def _remote_error_text(error: Exception) -> str | None:
    """Returns the text of what was raised in the actor; None when only the connection is gone."""
    if isinstance(error, tractor.RemoteActorError):
        remote: Any = error
        return str((remote.tb_str if _IS_MAIN else remote.msgdata.get("tb_str")) or error)
    if isinstance(error, (trio.ClosedResourceError, trio.BrokenResourceError)):
        return None
    if isinstance(error, getattr(tractor, "TransportClosed", ())):
        return None
    return f"{type(error).__name__}: {error}"


def close_actor_listener() -> None:
    """Closes the port on which this process's actor listens; for workers.

    Nobody needs it, and on 0.1.0a5 it is open to every local user. The runtime would take the lack
    of a listener for the end of the actor, except while a function called in it is running.
    """
    close = getattr(tractor.current_actor(), "cancel_server", None)
    if close is not None:
        close()


# How tractor is made to spawn as we want


class _Overlay:
    """A module as another module sees it, with some names replaced."""

    def __init__(self, base: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced)
        self._base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)


def _install_spawn_hooks() -> None:
    """Puts our `open_process` in front of trio's, for tractor's spawning module alone; once."""
    spawning: Any = sys.modules["tractor.spawn._trio" if _IS_MAIN else "tractor._spawn"]
    if isinstance(spawning.trio, _Overlay):
        return
    spawning.trio = _Overlay(trio, lowlevel=_Overlay(trio.lowlevel, open_process=open_process))
    if not _IS_MAIN:
        # Where 0.1.0a5 looks up what the child shall run as its `__main__`.
        actor_module: Any = sys.modules["tractor._actor"]
        find_main = actor_module._mp_fixup_main._mp_figure_out_main

        def find_main_unless_ours() -> dict[str, str]:
            return find_main() if spawn.get() is None else {}

        actor_module._mp_fixup_main = _Overlay(
            actor_module._mp_fixup_main, _mp_figure_out_main=find_main_unless_ours
        )


# The runtime


@contextlib.asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_actor_runtime() -> AsyncGenerator[None]:
    """Keeps tractor's runtime open in this process, joining one that is there.

    Any number of users may come and leave in any order. A runtime that the program has opened
    itself is used as it is.

    Raises:
        ActorRuntimeError: the runtime ended under us; the body was cancelled.
    """
    _install_spawn_hooks()
    if _runtime.is_closed and tractor.current_actor(err_on_no_runtime=False) is not None:
        yield
        return
    async with _runtime.use():
        yield


@contextlib.asynccontextmanager
async def _open_runtime() -> AsyncGenerator[None]:
    """The runtime itself, with the process's settings left as they are."""
    with (
        contextlib.nullcontext() if _IS_MAIN else deprecations_ignored(),
        _place_taken() as addresses,
        logger_silenced(),
    ):
        async with contextlib.AsyncExitStack() as stack:
            with settings_kept():
                root = await stack.enter_async_context(
                    tractor.open_root_actor(loglevel="CRITICAL", **addresses)
                )
            if not _IS_MAIN:
                # Else children are told to register at port 0, where nobody listens.
                root._arb_addr = tuple(root.accept_addr[:2])
            yield


_runtime = SharedRuntime(_open_runtime)


# Where actors listen: where no other program looks, nor another user can

_place: str | None = None
"""Of our runtime: a host on 0.1.0a5, a folder on git main. None while there is none of ours."""


@contextlib.contextmanager
def _place_taken() -> Generator[dict[str, Any]]:
    """Yields where the runtime listens."""
    global _place
    try:
        if not _IS_MAIN:
            _place = _random_loopback_host()
            yield {"arbiter_addr": (_place, 0)}
            return
        from trio_actor_graph.engine.sockets import private_folder

        with private_folder() as _place:
            yield {"registry_addrs": [(_place, "root")], "enable_transports": ["uds"]}
    finally:
        _place = None


def _child_addresses(name: str) -> dict[str, Any]:
    """Returns where a child listens; on git main one that is not told leaves a socket file."""
    if not _IS_MAIN:
        return {"bind_addr": (_place or _random_loopback_host(), 0)}
    addresses: dict[str, Any] = {"inherit_parent_main": False}
    if _place is not None:
        addresses["bind_addrs"] = [_child_socket(_place, name)]
    return addresses


def _child_socket(folder: str, name: str) -> tuple[str, str]:
    return folder, name[-16:]  # its end is random, and the whole may be too long


def _forget_life(name: str) -> None:
    """Removes what the end of an actor leaves: on git main, the socket of one that was killed."""
    if _IS_MAIN and _place is not None:
        with contextlib.suppress(OSError):
            Path(*_child_socket(_place, name)).unlink()


def _random_loopback_host() -> str:
    """Returns an address of this machine that a scan of the usual one does not find."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return "127." + ".".join(str(1 + number % 254) for number in secrets.token_bytes(3))
