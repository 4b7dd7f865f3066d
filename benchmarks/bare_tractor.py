"""What starting two workers costs with tractor alone: the bare program for `start`.

Written as a tractor user would: a root actor on a free port of loopback (its default port is shared
by all programs of a machine), two actors, a function called in each, both told to end. Both are
started at the same time, which is faster than one after the other.

A module of its own, because tractor imports the program again in each child.
"""

from __future__ import annotations

import os
import socket

import tractor
import trio

from benchmarks.protocol import Answer, answer, first_result


async def pid() -> int:
    return os.getpid()


async def main(began: float) -> Answer:
    pids: list[int] = []

    async def use_one(actors: tractor._trionics.ActorNursery, name: str) -> None:
        portal = await actors.start_actor(name, enable_modules=[__name__])
        pids.append(await portal.run(pid))

    async with (
        tractor.open_root_actor(arbiter_addr=("127.0.0.1", free_port())),
        tractor.open_nursery() as actors,
    ):
        async with trio.open_nursery() as nursery:
            for name in ("one", "other"):
                nursery.start_soon(use_one, actors, name)
        answer = first_result(began)
        await actors.cancel()
    assert len(set(pids)) == 2
    return answer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def measure(workload: str, began: float) -> Answer:
    assert workload == "start"
    return trio.run(main, began)


if __name__ == "__main__":
    answer(measure)
