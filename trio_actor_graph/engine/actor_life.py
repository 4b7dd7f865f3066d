"""One life of one actor, from the start of its process to the end of it.

How to talk with it is not known here: that needs tractor, which the coordinator may not even have
imported when the first processes start. What is known is that talking can wait for ever when the
process has ended, and that leaving off can when it has not. So whoever talks waits in a scope that
the end of the process cancels, and has the process ended before he leaves.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import NamedTuple, Protocol

import trio

from trio_actor_graph.engine.actor_process import ActorProcess, Spawn, child_environment
from trio_actor_graph.engine.shared_runtime import ActorRuntimeError


class TaskStatus(Protocol):
    """What `nursery.start` hands to a task; trio 0.23 does not export its type."""

    def started(self, value: ActorProcess, /) -> None: ...


class ActorEnd(NamedTuple):
    """How one life of an actor has ended."""

    returncode: int
    """The exit status of the process; negative: the signal that ended it."""
    error: str | None
    """The traceback's text from the actor, if the function called there raised."""


@trio.lowlevel.enable_ki_protection
async def live(
    name: str,
    *,
    module: str,
    environment: Mapping[str, str],
    stderr: int | None,
    talk: Callable[[ActorLife], Awaitable[None]],
    task_status: TaskStatus = trio.TASK_STATUS_IGNORED,
) -> ActorEnd:
    """Runs one actor for its whole life and returns how it ended; meant for `nursery.start`.

    See `actors.run_actor`, which knows how to `talk`.
    """
    life = ActorLife(name, module, environment, stderr)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.kill_when_cancelled)
        with trio.CancelScope(shield=True):
            await life.run(talk, task_status)
        nursery.cancel_scope.cancel()
    return life.end()


class ActorLife:
    """The actor, for who talks with it.

    Attributes:
        name: the actor's name.
        module: the module whose `main()` is to be called.
        spawn: its process, to be handed over.
        error: what went wrong, if something did.
    """

    def __init__(
        self, name: str, module: str, environment: Mapping[str, str], stderr: int | None
    ) -> None:
        self.name = f"{name}-{secrets.token_hex(4)}"
        self.module = module
        self.spawn = Spawn(self.name, child_environment(environment), stderr)
        self.error: str | None = None
        self._process: ActorProcess | None = None
        self._failure: OSError | None = None
        self._talks: set[trio.CancelScope] = set()
        self._is_killed = False
        self._has_ended = False

    async def run(
        self, talk: Callable[[ActorLife], Awaitable[None]], task_status: TaskStatus
    ) -> None:
        async with trio.open_nursery() as watchers:
            try:
                self._process = await self.spawn.start()
            except OSError as error:
                self._failure = error
                return
            if self._is_killed:  # cancelled while the process was being made
                self._process.kill()
            watchers.start_soon(self._watch, self._process)
            task_status.started(self._process)
            try:
                await talk(self)
            finally:
                self.spawn.close()
                await self.end_process()

    @contextlib.contextmanager
    def talking(self) -> Generator[None]:
        """Around every wait for the actor: the end of its process ends the wait."""
        with trio.CancelScope() as scope:
            if self._has_ended:
                scope.cancel()
            self._talks.add(scope)
            try:
                yield
            finally:
                self._talks.discard(scope)

    async def end_process(self) -> None:
        """Ends the process, if it has not ended, and waits for that; takes no time."""
        self._kill()
        if self._process is not None:
            await self._process.wait()

    def end(self) -> ActorEnd:
        """Returns how it has ended."""
        if self._failure is not None:
            raise self._failure
        if not self.spawn.is_handed_over and self.error is not None:
            raise ActorRuntimeError(f"actor {self.name} was not started: {self.error}")
        assert self._process is not None
        assert self._process.returncode is not None
        return ActorEnd(self._process.returncode, self.error)

    @trio.lowlevel.enable_ki_protection
    async def kill_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._kill()

    @trio.lowlevel.enable_ki_protection
    async def _watch(self, process: ActorProcess) -> None:
        await process.watch()
        self._has_ended = True
        for scope in self._talks:
            scope.cancel()

    def _kill(self) -> None:
        self._is_killed = True
        if self._process is not None:
            self._process.kill()
