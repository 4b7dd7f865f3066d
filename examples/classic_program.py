"""A program written for trio_graph_scheduler, unchanged but for its imports.

Everything runs in this process; nodes and functions are shared objects. Three pages are "fetched",
one of which is missing; wait tasks count the words of each, and the counts found are combined.
"""

from collections import Counter
from typing import Any

import trio

from trio_actor_graph.classic import TaskGraph, TaskNode, execute_graph

PAGES = {"/sea": "the sea the sea", "/land": "the land"}

WORKER_LOOPS = {"default": 4, "http_worker_loop": 10}
WORKER_ASSIGNMENTS = {"get_page": "http_worker_loop"}


async def get_page(url: str, **kwargs: Any) -> str:
    await trio.sleep(0.01)
    return PAGES[url]


async def count_words(predecessors: list[TaskNode], **kwargs: Any) -> Counter[str]:
    return Counter(predecessors[0].task_result.split())


async def combine(counts: list[Counter[str]], graph: TaskGraph, **kwargs: Any) -> None:
    total = sum(counts, Counter[str]())
    await graph.create_task("show", ((total,), {}), kwargs["task_node"].uid)


async def show(total: Counter[str], **kwargs: Any) -> None:
    print(dict(total.most_common()))


async def counts_found(predecessors: list[TaskNode]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ([node.task_result for node in predecessors if node.task_status == "success"],), {}


async def main() -> None:
    graph = TaskGraph(
        {"get_page": get_page, "count_words": count_words, "combine": combine, "show": show},
        WORKER_LOOPS,
        WORKER_ASSIGNMENTS,
    )
    count_uids: list[str] = []
    for url in [*PAGES, "/sky"]:
        page_uid = await graph.create_task("get_page", ((url,), {}), graph.root.uid)
        count_uids.append(await graph.create_wait_task("count_words", None, [page_uid], False))
    await graph.create_wait_task("combine", counts_found, count_uids, True)

    await execute_graph(graph, 3)

    for node in graph.get_task_nodes("failed", "get_page"):
        assert node.exception_trace is not None
        print(node.task_arguments, "failed:", node.exception_trace.splitlines()[-1])
    print([node.task_handle for node in graph.get_task_nodes("predecessor_failed", None)])


if __name__ == "__main__":
    trio.run(main)
