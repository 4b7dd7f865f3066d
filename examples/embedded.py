"""The coordinator is one trio task among others of an app, which goes on with its own work meanwhile.

This app is a TCP server that tells the largest prime factor of a number. Hard numbers take a while in
a worker's process; clients with easy questions are answered in between, in the app itself.
"""

from functools import partial

import trio

from trio_actor_graph import TaskGraph, WorkerLoop, open_coordinator


def largest_factor(number: int) -> int:
    """Find the largest prime factor by dividing: seconds of work for a large one."""
    factor = 2
    while factor * factor <= number:
        if number % factor:
            factor += 1
        else:
            number //= factor
    return number


async def answer(graph: TaskGraph, stream: trio.SocketStream) -> None:
    """Serve one client: a number in, its largest prime factor out."""
    async with stream:
        number = int(await stream.receive_some())
        if number < 1000:
            factor = largest_factor(number)
        else:
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
        coordinator.open_graph("requests") as graph,
        trio.open_nursery() as server,
    ):
        serve = partial(trio.serve_tcp, partial(answer, graph), host="127.0.0.1")
        (listener,) = await server.start(serve, 0)
        port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as clients:
            clients.start_soon(ask, port, 99_999_999_999_990_001 // 10_000)  # hard
            await trio.sleep(0.05)
            for number in (12, 91, 323):
                await ask(port, number)  # answered while the first one waits
        server.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
