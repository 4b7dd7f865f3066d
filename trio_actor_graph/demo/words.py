"""Which words does Python's documentation use most? The graph of `trio-actor-graph demo`.

Each page is fetched by one task and counted by another, and a last one adds up what there is:

    get_html -> count_words -+
    get_html -> count_words -+-> combine
    get_html -> count_words -+

One of the pages is missing. Its `get_html` fails, its `count_words` is skipped, and `combine`,
which waits until the others have *ended* rather than succeeded, runs all the same.

`trio-actor-graph run trio_actor_graph.demo.words:count_documentation` runs the same graph.
"""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlsplit

import trio

from trio_actor_graph import TaskGraph, WorkerLoop, completed, current_task
from trio_actor_graph.demo.pages import MISSING, MODULES, open_page_server

PAGES: Final = len(MODULES)

PAGE_BYTES_MAX: Final = 10_000_000
"""The largest answer that is read; the largest page has half a million bytes."""


class FetchError(Exception):
    """A server answered, but not with the page."""


async def get_html(url: str) -> str:
    """Fetch a page by HTTP/1.0, where the end of the connection is the end of the page.

    Raises:
        FetchError: the answer is an error, or not a whole page.
        OSError: there is no connection.
    """
    where = urlsplit(url)
    host = where.hostname or ""
    async with await trio.open_tcp_stream(host, where.port or 80) as stream:
        request = f"GET {where.path or '/'} HTTP/1.0\r\nHost: {where.netloc}\r\n\r\n"
        await stream.send_all(request.encode("ascii"))
        answer = bytearray()
        while len(answer) <= PAGE_BYTES_MAX and (more := await stream.receive_some()):
            answer += more
    head, separator, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    _, _, reason = status.partition(" ")
    if not reason.startswith("200"):
        raise FetchError(f"{reason or 'no answer'}: {url}")
    if not separator or len(body) != int(headers.get("content-length", len(body))):
        raise FetchError(f"only {len(answer):,} bytes came: {url}")
    return body.decode()


def count_words(html: str) -> Counter[str]:
    """How often each word of five letters or more is in the text of a page."""
    text = _Text()
    text.feed(html)
    text.close()
    return Counter(re.findall(r"\b[a-z]{5,}\b", " ".join(text.parts).lower()))


def combine() -> Counter[str]:
    """Add up the counts of the pages that could be counted."""
    total: Counter[str] = Counter()
    for page in current_task().predecessors:
        if page.state == "succeeded":
            total.update(page.result)
    return total


LOOPS = [
    WorkerLoop("http", concurrency=10, functions=[get_html]),
    WorkerLoop("cpu", processes=2, functions=[count_words, combine]),
]


async def count_documentation(graph: TaskGraph) -> Counter[str]:
    """Build the graph, and wait for what it finds."""
    names = sorted([*MODULES, MISSING])
    async with open_page_server() as site:
        pages = [graph.create_task(get_html, f"{site}/{name}.html") for name in names]
        counts = [graph.create_task(count_words, page) for page in pages]
        return await graph.create_task(combine, waits_on=completed(counts)).result()


class _Text(HTMLParser):
    """What is to be read on a page, in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)
