"""An engine's use of tractor's runtime: begun late, and ended last.

tractor takes 50 ms to be imported, and workers take longer than that to import what they need. So
their processes are started first, and tractor is imported while they begin.
"""

from __future__ import annotations

import trio

from trio_actor_graph.engine.actor_life import ActorLife


class RuntimeUse:
    """Opens the runtime when the first processes have been started; holds it till it is let go."""

    def __init__(self) -> None:
        self._without_process: set[int] = set()
        self._processes_are_there = trio.Event()
        self._is_open = trio.Event()
        self._is_over = trio.Event()

    def put_off(self, worker_id: int) -> None:
        """Has the opening wait for this worker's process, since an import blocks everything."""
        self._without_process.add(worker_id)

    def put_off_no_more(self, worker_id: int) -> None:
        """The worker has a process, or will have none."""
        self._without_process.discard(worker_id)
        if not self._without_process:
            self._processes_are_there.set()

    @trio.lowlevel.enable_ki_protection
    async def hold(self) -> None:
        """Opens it in time, and closes it when it has been let go; no cancellation does.

        Raises:
            ActorRuntimeError: the runtime ended under us.
        """
        with trio.CancelScope(shield=True):
            await self._processes_are_there.wait()
            if self._is_over.is_set():
                return
            from trio_actor_graph.actors import open_actor_runtime  # imports tractor

            async with open_actor_runtime():
                self._is_open.set()
                await self._is_over.wait()

    def let_go(self) -> None:
        """There are no actors any more."""
        self._is_over.set()
        self._processes_are_there.set()

    async def talk(self, life: ActorLife) -> None:
        """Talks with an actor as soon as the runtime is there for it."""
        with life.talking():
            await self._is_open.wait()
        if self._is_open.is_set():
            from trio_actor_graph.actors import talk

            await talk(life)
