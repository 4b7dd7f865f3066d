"""What waits on what is said where tasks are created; the functions know nothing of it.

Pages are fetched ten at a time in one process, their words are counted in two others, and the
counts are added up once every page is counted or has failed. One page does not exist: that skips
the counting of this page and nothing else. A small server on the loopback stands for the internet.
"""

import re
from collections import Counter
from functools import partial

import trio

from trio_actor_graph import WorkerLoop, completed, current_task, open_coordinator

PAGES = {
    "/hare": "<p>the hare was quick and the hare was proud</p>",
    "/tortoise": "<p>the tortoise was slow and the tortoise went on</p>",
    "/race": "<p>and the tortoise won</p>",
}


async def get_html(port: int, path: str) -> str:
    """Fetch a page; runs as a trio task, many at a time."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(path.encode() + b"\n")
        html = b"".join([part async for part in stream]).decode()
    if not html:
        raise LookupError(f"no page {path}")
    return html


def count_words(html: str) -> Counter[str]:
    """Count its words; a plain function, which has a process of its own while it runs."""
    return Counter(re.sub("<[^>]*>", " ", html).split())


def combine() -> Counter[str]:
    """Add up the counts of the pages that could be counted."""
    counted = (p.result for p in current_task().predecessors if p.state == "succeeded")
    return sum(counted, Counter[str]())


LOOPS = [
    WorkerLoop("default", concurrency=4),
    WorkerLoop("http", concurrency=10, functions=[get_html]),
    WorkerLoop("cpu", processes=2, functions=[count_words]),
]


async def serve_page(stream: trio.SocketStream) -> None:
    async with stream:
        path = (await stream.receive_some()).decode().strip()
        await stream.send_all(PAGES.get(path, "").encode())


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, serve_page, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await nursery.start(serve, 0)
        port: int = listeners[0].socket.getsockname()[1]
        async with (
            open_coordinator(LOOPS) as coordinator,
            coordinator.open_graph("word counts") as graph,
        ):
            pages = [graph.create_task(get_html, port, path) for path in [*PAGES, "/fox"]]
            counts = [graph.create_task(count_words, page) for page in pages]
            total = graph.create_task(combine, waits_on=completed(counts))
            for word, number in (await total.result()).most_common(4):
                print(f"{number} {word}")
            print("counting of /fox was", counts[-1].state)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
