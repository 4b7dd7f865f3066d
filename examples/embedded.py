"""The coordinator lives inside a trio app, which goes on with its own work meanwhile.

This app is a TCP server that tells the largest prime factor of a number. A hard number takes a
while in a worker's process; clients with easy ones are answered by the app itself in between.
"""

from functools import partial

import trio

from trio_actor_graph import Coordinator, WorkerLoop, open_coordinator


def largest_factor(number: int) -> int:
    """Find the largest prime factor by dividing: a second of work for a large prime."""
    factor = 2
    while factor * factor <= number:
        if number % factor:
            factor += 1
        else:
            number //= factor
    return number


async def answer(coordinator: Coordinator, stream: trio.SocketStream) -> None:
    """Serve one client: a number in, its largest prime factor out."""
    async with stream:
        number = int(await stream.receive_some())
        if number < 1000:
            factor = largest_factor(number)
        else:
            async with coordinator.open_graph(f"factor {number}") as graph:
                factor = await graph.create_task(largest_factor, number).result()
        await stream.send_all(str(factor).encode())


async def ask(port: int, number: int) -> None:
    """Be one client."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(str(number).encode())
        print(number, "->", (await stream.receive_some()).decode(), flush=True)


async def main() -> None:
    loops = [WorkerLoop("default", processes=2)]
    async with (
        open_coordinator(loops, start="eager") as coordinator,
        trio.open_nursery() as server,
    ):
        serve = partial(trio.serve_tcp, partial(answer, coordinator), host="127.0.0.1")
        listeners: list[trio.SocketListener] = await server.start(serve, 0)
        port: int = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as clients:
            clients.start_soon(ask, port, 99_999_999_999_973)  # a prime
            await trio.sleep(0.05)
            for number in (12, 91, 323):
                await ask(port, number)  # answered while the first client waits
        server.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
