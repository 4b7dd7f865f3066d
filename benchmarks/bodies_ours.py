"""Bodies of tasks that use this package; apart, because the peers' environments do not have it."""

from __future__ import annotations

import trio

from trio_actor_graph import current_task


def node(depth: int) -> int:
    """A binary tree of tasks, each created by the one above it."""
    if depth:
        for _ in range(2):
            current_task().create_task(node, depth - 1)
    return 1


async def nap(seconds: float) -> None:
    """Sleep, beside a thousand others."""
    await trio.sleep(seconds)
