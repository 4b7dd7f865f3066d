"""Spawning, watching and ending one tractor actor: the only file that imports tractor.

tractor gives us processes that start, report to their parent and carry an error home as text. What
it does not give is told in one sentence each, because every function below answers one of them.

- It does not report that an actor's process has died: calls on it wait for ever. So the *process*
  is watched, and its end cancels whatever waits on tractor.
- Leaving its nursery while the child is alive and deaf waits for ever, and cancelling it takes 0.5
  to 4 seconds. So each actor has a nursery of its own, which is only ever left in the ordinary way
  and after the process has ended: `run_actor` shields all of tractor from cancellation, and answers
  a cancellation with SIGKILL.
- An actor is started without its process being shown before it has connected back. So
  `open_process`, as tractor's spawning module sees it, is replaced by one that tells us, and that
  also gives the child a session, an environment and no stdin.
- It runs the program's `__main__` again in every child, and on 0.1.0a5 a failure there ends the
  whole runtime. Our workers need no `__main__`, so they get none.
- There is one runtime per process, at an address that all programs of a machine share by default,
  and whoever opened it must not leave before the others. So it lives in a system task of trio, at
  an address of its own, from the first user to the last, and no user's cancellation reaches it.
- It changes process-wide settings (logging, `breakpoint`, warnings) and leaves some of them. They
  are put back at once.

Two versions are supported: the release 0.1.0a5, and git main, which needs Python 3.13. They differ
in what is marked by `_IS_MAIN`.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import trio

from trio_actor_graph.errors import TrioActorGraphError
from trio_actor_graph.worker import boot

# Starts of the messages that tractor's two versions provoke at import: uses of trio.MultiError, and
# the lack of a folder. In children they would appear on stderr once per worker.
_NOISE = ("trio.MultiError", "MultiError", "XDG_RUNTIME_DIR")

with warnings.catch_warnings():
    for _message in _NOISE:
        warnings.filterwarnings("ignore", message=_message)
    import tractor as _tractor

# tractor publishes no types that fit what it does; everything of it is Any, in this file only.
tractor: Any = _tractor
_IS_MAIN = hasattr(tractor, "ActorNursery")

# Where pdb++ keeps a module named `pdb`; put on the path at the start of every interpreter.
_PDBPP_FOLDER = "_pdbpp_path_hack"

# How long an unused runtime may take to close; it usually takes 5 to 20 ms.
_CLOSE_TIMEOUT_SECONDS = 10


class ActorRuntimeError(TrioActorGraphError):
    """tractor's runtime in this process has ended under its users, or cannot be used here.

    On tractor 0.1.0a5 any local user can do the former by a malformed message to its port.
    """


class _TaskStatus(Protocol):
    """What `nursery.start` hands to a task; trio 0.23 does not export its type."""

    def started(self, value: ActorProcess, /) -> None: ...


class ActorEnd(NamedTuple):
    """How one life of an actor has ended."""

    returncode: int
    """The exit status of the process; negative: the signal that ended it."""
    error: str | None
    """The traceback's text from the actor, if the function called there raised."""


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


@trio.lowlevel.enable_ki_protection
async def run_actor(
    name: str,
    *,
    module: str,
    environment: Mapping[str, str],
    task_status: _TaskStatus = trio.TASK_STATUS_IGNORED,
) -> ActorEnd:
    """Runs one actor for its whole life and returns how it ended; meant for `nursery.start`.

    Started is reported with the `ActorProcess` as soon as the process exists, long before it can do
    anything. The caller limits the time to start by `ActorProcess.kill`. Cancelling kills the
    process and waits for its end, which takes some 10 ms in any phase.

    Args:
        name: the actor's name; a random suffix is added.
        module: the only module whose functions may be called; its `main()` is called, once.
        environment: variables to add to this process's own.
        task_status: for `nursery.start`.

    Raises:
        OSError: the process could not be started.
        ActorRuntimeError: `open_actor_runtime` is not open.
    """
    if tractor.current_actor(err_on_no_runtime=False) is None:
        raise ActorRuntimeError("an actor can only run while open_actor_runtime is open")
    life = _Life(name, module, environment, task_status)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.kill_when_cancelled)
        with trio.CancelScope(shield=True):
            await life.run()
        nursery.cancel_scope.cancel()
    return life.end()


class _Life:
    """One life of one actor, from the order to spawn it to the end of its process."""

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        task_status: _TaskStatus,
    ) -> None:
        self._name = f"{name}-{secrets.token_hex(4)}"
        self._module = module
        self._request = _SpawnRequest(_child_environment(environment), self._on_process)
        self._task_status = task_status
        self._process: ActorProcess | None = None
        self._watchers: trio.Nursery | None = None
        self._talking = trio.CancelScope()
        """Around every wait on tractor; cancelled when the process has ended."""
        self._is_killed = False
        self._error: str | None = None

    @trio.lowlevel.enable_ki_protection
    async def kill_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._kill()

    async def run(self) -> None:
        async with trio.open_nursery() as self._watchers, tractor.open_nursery() as actors:
            with self._talking:
                try:
                    await self._talk(actors)
                except Exception as error:  # noqa: BLE001 - any ends this life
                    self._error = _remote_error_text(error)
            # Only now may the nursery be left: its child is gone, so that takes no time.
            self._kill()
            if self._process is not None:
                await self._process.wait()
        _forget_life(self._name)

    def end(self) -> ActorEnd:
        if self._request.failure is not None:
            raise self._request.failure
        if self._process is None:
            raise ActorRuntimeError(f"actor {self._name} was not spawned: {self._error}")
        assert self._process.returncode is not None
        return ActorEnd(self._process.returncode, self._error)

    async def _talk(self, actors: Any) -> None:
        token = _spawn_request.set(self._request)
        try:
            portal = await actors.start_actor(
                self._name,
                enable_modules=[self._module],  # a new list: 0.1.0a5 appends to it
                loglevel="CRITICAL",
                **_child_addresses(self._name),
            )
        finally:
            _spawn_request.reset(token)
        await portal.run_from_ns(self._module, "main")

    def _on_process(self, process: trio.Process) -> None:
        assert self._watchers is not None
        self._process = ActorProcess(self._name, process)
        if self._is_killed:  # cancelled while the process was being made
            self._process.kill()
        self._watchers.start_soon(self._watch, self._process)
        self._task_status.started(self._process)

    @trio.lowlevel.enable_ki_protection
    async def _watch(self, process: ActorProcess) -> None:
        await process.watch()
        self._talking.cancel()

    def _kill(self) -> None:
        self._is_killed = True
        if self._process is not None:
            self._process.kill()


async def _wait_pidfd(descriptor: int) -> None:
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


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


# The environment of children


def _child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns a child's environment: ours, `extra`, and what its start needs.

    The child finds modules where we do, whatever way we were told. Its interpreter is not to speak
    of tractor's deprecations (our entries come last, so they win, and concern nothing else), and
    pdb++, which 0.1.0a5 brings along, is not to replace pdb.
    """
    path = [entry or str(Path.cwd()) for entry in sys.path if not entry.endswith(_PDBPP_FOLDER)]
    ignored = [f"ignore:{message}" for message in _NOISE]
    changed = {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONWARNINGS": ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), *ignored])),
        "PDBPP_HIJACK_PDB": os.environ.get("PDBPP_HIJACK_PDB", "0"),
    }
    before = {**os.environ, **extra}
    surroundings = {"path": path, "environment": {name: before.get(name) for name in changed}}
    return {**before, **changed, boot.SURROUNDINGS_VARIABLE: json.dumps(surroundings)}


# How tractor is made to spawn as we want


class _SpawnRequest:
    """What one of our spawns asks of `open_process`, and what came of it."""

    def __init__(
        self, environment: dict[str, str], on_process: Callable[[trio.Process], None]
    ) -> None:
        self.environment = environment
        self.on_process = on_process
        self.failure: OSError | None = None


# Set around our calls of `start_actor`, and inherited by the task that tractor spawns in. Actors
# that the program starts itself have no request, and nothing changes for them.
_spawn_request: contextvars.ContextVar[_SpawnRequest | None] = contextvars.ContextVar(
    "spawn_request", default=None
)


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
    spawning.trio = _Overlay(trio, lowlevel=_Overlay(trio.lowlevel, open_process=_open_process))
    if not _IS_MAIN:
        # Where 0.1.0a5 looks up what the child shall run as its `__main__`.
        actor_module: Any = sys.modules["tractor._actor"]
        find_main = actor_module._mp_fixup_main._mp_figure_out_main

        def find_main_unless_ours() -> dict[str, str]:
            return find_main() if _spawn_request.get() is None else {}

        actor_module._mp_fixup_main = _Overlay(
            actor_module._mp_fixup_main, _mp_figure_out_main=find_main_unless_ours
        )


async def _open_process(command: list[str], **options: Any) -> trio.Process:
    request = _spawn_request.get()
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
    if _runtime is None and tractor.current_actor(err_on_no_runtime=False) is not None:
        _install_spawn_hooks()
        yield
        return
    _install_spawn_hooks()
    runtime = await _join_runtime()
    user = trio.CancelScope()
    runtime.users.add(user)
    try:
        if runtime.is_open:
            with user:
                yield
    finally:
        runtime.users.discard(user)
        await runtime.leave()
    if runtime.failure is not None:
        raise ActorRuntimeError(f"it has ended: {runtime.failure!r}") from runtime.failure


class _Runtime:
    """tractor's runtime of this process, from the first user to the last.

    It runs in a system task, since its own tasks must outlive any one user and his cancellation.
    """

    def __init__(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.host = _random_loopback_host()
        self.folder: str | None = None
        self.users: set[trio.CancelScope] = set()
        self.is_open = False
        self.failure: BaseException | None = None
        self._user_count = 0
        self._opened = trio.Event()
        self._unused = trio.Event()
        self._closed = trio.Event()

    @property
    def is_closing(self) -> bool:
        return self._unused.is_set()

    async def join(self) -> None:
        self._user_count += 1
        try:
            await self._opened.wait()
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Counts a user out; the last one waits for the runtime to close."""
        self._user_count -= 1
        if self._user_count == 0:
            self._unused.set()
            with trio.move_on_after(_CLOSE_TIMEOUT_SECONDS) as scope:
                scope.shield = True
                await self._closed.wait()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def run(self) -> None:
        """The system task."""
        try:
            with _deprecations_ignored(), self._addresses() as addresses:
                async with _open_root_actor(addresses):
                    self.is_open = True
                    self._opened.set()
                    await self._unused.wait()
        except trio.Cancelled:  # the program's trio.run is over
            raise
        except BaseException as error:  # noqa: BLE001 - here it would crash trio
            self.failure = error
        finally:
            self._end()

    @contextlib.contextmanager
    def _addresses(self) -> Generator[dict[str, Any]]:
        """Yields where the runtime listens: where no other program looks, nor another user can."""
        if not _IS_MAIN:
            yield {"arbiter_addr": (self.host, 0)}
            return
        from trio_actor_graph.engine.sockets import private_folder

        with private_folder() as self.folder:
            yield {"registry_addrs": [(self.folder, "root")], "enable_transports": ["uds"]}

    def _end(self) -> None:
        global _runtime
        _runtime = None
        self.is_open = False
        self._opened.set()
        self._unused.set()
        self._closed.set()
        for user in self.users:
            user.cancel()


_runtime: _Runtime | None = None


async def _join_runtime() -> _Runtime:
    global _runtime
    token = trio.lowlevel.current_trio_token()
    while True:
        if _runtime is None:
            _runtime = _Runtime()
            trio.lowlevel.spawn_system_task(_runtime.run, name="tractor runtime")
        elif _runtime.token is not token:
            raise ActorRuntimeError("another thread's trio.run is using the actor runtime")
        elif _runtime.is_closing:
            await _runtime.wait_closed()
            continue
        runtime = _runtime
        await runtime.join()
        return runtime


@contextlib.asynccontextmanager
async def _open_root_actor(addresses: dict[str, Any]) -> AsyncGenerator[None]:
    with _logger_silenced():
        async with contextlib.AsyncExitStack() as stack:
            with _settings_kept():
                root = await stack.enter_async_context(
                    tractor.open_root_actor(loglevel="CRITICAL", **addresses)
                )
            if not _IS_MAIN:
                # Else children are told to register at port 0, where nobody listens.
                root._arb_addr = tuple(root.accept_addr[:2])
            yield


def _child_addresses(name: str) -> dict[str, Any]:
    """Returns where a child listens; on git main one that is not told leaves a socket file."""
    if not _IS_MAIN:
        host = _runtime.host if _runtime is not None else _random_loopback_host()
        return {"bind_addr": (host, 0)}
    addresses: dict[str, Any] = {"inherit_parent_main": False}
    if _runtime is not None:
        addresses["bind_addrs"] = [_child_socket(_runtime, name)]
    return addresses


def _child_socket(runtime: _Runtime, name: str) -> tuple[str, str]:
    assert runtime.folder is not None
    return runtime.folder, name[-16:]  # its end is random, and the whole may be too long


def _forget_life(name: str) -> None:
    """Removes what the end of an actor leaves: on git main, the socket of one that was killed."""
    if _IS_MAIN and _runtime is not None:
        with contextlib.suppress(OSError):
            Path(*_child_socket(_runtime, name)).unlink()


def _random_loopback_host() -> str:
    """Returns an address of this machine that a scan of the usual one does not find."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return "127." + ".".join(str(1 + number % 254) for number in secrets.token_bytes(3))


# What tractor changes in the process


_SILENT = logging.CRITICAL + 1


@contextlib.contextmanager
def _logger_silenced() -> Generator[None]:
    """Keeps tractor's logger from writing, unless the program has set its level.

    It would log a page at ERROR for each exception in an actor, and a line at CRITICAL for each
    actor killed: both are our business, and reported by us.
    """
    logger = logging.getLogger("tractor")
    nothing = logging.NullHandler()  # with no handler at all, logging writes to stderr by itself
    logger.addHandler(nothing)
    if is_ours := logger.level == logging.NOTSET:
        logger.setLevel(_SILENT)
    try:
        yield
    finally:
        logger.removeHandler(nothing)
        if is_ours and logger.level == _SILENT:
            logger.setLevel(logging.NOTSET)


@contextlib.contextmanager
def _settings_kept() -> Generator[None]:
    """Undoes what opening the runtime does to logging and to `breakpoint()`."""
    logger = logging.getLogger("tractor")
    level, handlers = logger.level, list(logger.handlers)
    hook, breakpoint_variable = sys.breakpointhook, os.environ.get("PYTHONBREAKPOINT")
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in [handler for handler in logger.handlers if handler not in handlers]:
            logger.removeHandler(handler)
        sys.breakpointhook = hook
        os.environ.pop("PYTHONBREAKPOINT", None)
        if breakpoint_variable is not None:
            os.environ["PYTHONBREAKPOINT"] = breakpoint_variable


@contextlib.contextmanager
def _deprecations_ignored() -> Generator[None]:
    """Keeps the error paths of 0.1.0a5, which use trio.MultiError, from warning or failing."""
    if _IS_MAIN:
        yield
        return
    filters: Any = warnings.filters
    before = list(filters)
    warnings.filterwarnings("ignore", message=r"trio\.MultiError", module=r"tractor\.|trio\._abc")
    ours = filters[0]
    try:
        yield
    finally:
        # Not the whole list, which others may have changed meanwhile.
        filters = warnings.filters  # `catch_warnings` puts a copy in its place
        if ours not in before and ours in filters:
            filters.remove(ours)
