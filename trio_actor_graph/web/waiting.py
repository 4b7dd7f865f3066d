"""Waiting for the first of several things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def first_of(*functions: Callable[[], Awaitable[object]]) -> None:
    """Call all of these; when the first has returned, cancel the others."""
    async with trio.open_nursery() as nursery:

        async def run(function: Callable[[], Awaitable[object]]) -> None:
            await function()
            nursery.cancel_scope.cancel()

        for function in functions:
            nursery.start_soon(run, function)
