"""Tasks create tasks: a crawl whose size nobody knows beforehand.

A page is fetched by one task, which creates another for each link it finds. The graph ends when
there is nothing left to do, whoever created it. Each page is fetched once: the loop has one
process, and what its `setup` returned there remembers which pages are known.
"""

import trio

from trio_actor_graph import WorkerLoop, current_task, open_coordinator

# A made-up site: page n links to 2n, 2n + 1, back to n // 2, and home to 1.
LAST_PAGE = 40


def open_memory(worker_index: int) -> set[int]:
    """Make the context of the worker: the pages that somebody has been sent to."""
    return {1}


async def crawl(page: int, depth: int) -> tuple[int, int]:
    """Read a page and send others to those it links to."""
    await trio.sleep(0.01)
    task = current_task()
    known: set[int] = task.worker_context
    for link in (2 * page, 2 * page + 1, page // 2, 1):
        if 1 <= link <= LAST_PAGE and link not in known:
            known.add(link)
            task.create_task(crawl, link, depth + 1, name=f"page {link}")
    return page, depth


async def main() -> None:
    loops = [WorkerLoop("web", concurrency=8, functions=[crawl], setup=open_memory)]
    async with open_coordinator(loops) as coordinator:
        async with coordinator.open_graph("crawl") as graph:
            graph.create_task(crawl, 1, 0, name="page 1")
        results: list[tuple[int, int]] = [task.result_nowait() for task in graph.tasks]
    print(f"{len(results)} pages, each once: {len(results) == len(dict(results))}")
    for depth in range(max(depth for _, depth in results) + 1):
        print(f"{depth} links away:", *sorted(page for page, away in results if away == depth))


if __name__ == "__main__":
    trio.run(main)
