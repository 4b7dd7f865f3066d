"""One runtime for all who use it in this process, from the first to the last.

There is one actor runtime per process, and whoever opened it must not leave before the others. So
nobody owns it: it lives in a system task of trio, which the first user starts and the last one
ends, and no user's cancellation reaches it. When it ends by itself, its users are cancelled and get
an error.

What the runtime *is* comes as an async context from outside.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

import trio

from trio_actor_graph.errors import TrioActorGraphError

# How long an unused runtime may take to close; it usually takes 5 to 20 ms.
_CLOSE_TIMEOUT_SECONDS: Final = 10

_OpenRuntime = Callable[[], contextlib.AbstractAsyncContextManager[None]]


class ActorRuntimeError(TrioActorGraphError):
    """tractor's runtime in this process has ended under its users, or cannot be used here.

    On tractor 0.1.0a5 any local user can do the former by a malformed message to its port.
    """


class SharedRuntime:
    """The runtime of this process: closed, or in the one life that it has at a time."""

    def __init__(self, open_runtime: _OpenRuntime) -> None:
        self._open_runtime = open_runtime
        self._life: _RuntimeLife | None = None

    @property
    def is_closed(self) -> bool:
        return self._life is None

    @contextlib.asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def use(self) -> AsyncGenerator[None]:
        """Keeps the runtime open around the body; any number may do so, and leave in any order.

        Raises:
            ActorRuntimeError: the runtime ended under us; the body was cancelled.
        """
        life = await self._join()
        user = trio.CancelScope()
        life.users.add(user)
        try:
            if life.is_open:
                with user:
                    yield
        finally:
            life.users.discard(user)
            await life.leave()
        if life.failure is not None:
            raise ActorRuntimeError(f"it has ended: {life.failure!r}") from life.failure

    async def _join(self) -> _RuntimeLife:
        token = trio.lowlevel.current_trio_token()
        while True:
            if self._life is None:
                self._life = _RuntimeLife(self._open_runtime, self._forget)
                trio.lowlevel.spawn_system_task(self._life.run, name="tractor runtime")
            elif self._life.token is not token:
                raise ActorRuntimeError("another thread's trio.run is using the actor runtime")
            elif self._life.is_closing:
                await self._life.wait_closed()
                continue
            life = self._life
            await life.join()
            return life

    def _forget(self) -> None:
        self._life = None


class _RuntimeLife:
    """One life of the runtime, from its first user to its last."""

    def __init__(self, open_runtime: _OpenRuntime, on_end: Callable[[], None]) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.users: set[trio.CancelScope] = set()
        self.is_open = False
        self.failure: BaseException | None = None
        self._open_runtime = open_runtime
        self._on_end = on_end
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
            async with self._open_runtime():
                self.is_open = True
                self._opened.set()
                await self._unused.wait()
        except trio.Cancelled:  # the program's trio.run is over
            raise
        except BaseException as error:  # noqa: BLE001 - here it would crash trio
            self.failure = error
        finally:
            self._end()

    def _end(self) -> None:
        self._on_end()
        self.is_open = False
        self._opened.set()
        self._unused.set()
        self._closed.set()
        for user in self.users:
            user.cancel()
