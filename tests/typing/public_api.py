"""What the type checkers make of the public API. Never run: mypy and pyright read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Literal, assert_type

from trio_actor_graph import (
    Condition,
    Coordinator,
    CoordinatorStatistics,
    CurrentTask,
    FailedAttempt,
    LogLine,
    PredecessorOutcome,
    RetryPolicy,
    Task,
    TaskGraph,
    TrioActorGraphError,
    WorkerLoop,
    WorkerStatistics,
    classic,
    completed,
    current_task,
    open_coordinator,
    succeeded,
)
from trio_actor_graph.client import (
    NewTask,
    RemoteTask,
    RetryOptions,
    TasksCondition,
    open_client,
)

State = Literal["waiting", "ready", "running", "succeeded", "failed", "skipped", "cancelled"]


def length(text: str) -> int:
    return len(text)


async def fetch(url: str, timeout: float = 1.0) -> str:
    return url


def nothing() -> None: ...


def sync_tail(text: str) -> Task[int]:
    return current_task().create_task(length, text)


async def async_tail(url: str) -> Task[str]:
    return current_task().create_task(fetch, url)


def sync_recursion(n: int) -> Task[int] | int:
    return current_task().create_task(sync_recursion, n - 1) if n else 0


async def async_recursion(n: int) -> Task[int] | int:
    return current_task().create_task(async_recursion, n - 1) if n else 0


class Counter:
    def count(self, text: str) -> int:
        return len(text)

    async def count_later(self, text: str) -> int:
        return len(text)

    def __call__(self, text: str) -> bytes:
        return text.encode()


async def creating_tasks(graph: TaskGraph) -> None:
    assert_type(graph.create_task(length, "a"), Task[int])
    assert_type(graph.create_task(fetch, "a"), Task[str])
    assert_type(graph.create_task(nothing), Task[None])
    assert_type(graph.create_task("length", "a"), Task[Any])
    assert_type(graph.create_task(partial(fetch, timeout=2.0), "a"), Task[str])
    assert_type(graph.create_task(partial(length, "a")), Task[int])
    assert_type(graph.create_task(lambda: 1.5), Task[float])
    assert_type(graph.create_task(Counter().count, "a"), Task[int])
    assert_type(graph.create_task(Counter().count_later, "a"), Task[int])
    assert_type(graph.create_task(Counter(), "a"), Task[bytes])
    assert_type(graph.create_task(Counter), Task[Counter])
    # A task that returns a task ends with the result of that one.
    assert_type(graph.create_task(sync_tail, "a"), Task[int])
    assert_type(graph.create_task(async_tail, "a"), Task[str])
    assert_type(graph.create_task(partial(sync_tail, "a")), Task[int])
    assert_type(await graph.create_task(async_tail, "a").result(), str)
    assert_type(graph.create_task(sync_recursion, 3), Task[int])
    assert_type(graph.create_task(async_recursion, 3), Task[int])
    assert_type(await graph.create_task(async_recursion, 3).result(), int)
    # A task as an argument stands for its result.
    assert_type(graph.create_task(length, graph.create_task(fetch, "a")), Task[int])


async def options(graph: TaskGraph, other: Task[str]) -> None:
    task = graph.create_task(
        length,
        "a",
        waits_on=other,
        name="a name",
        priority=3,
        retries=2,
        timeout_seconds=1.5,
        worker_loop="cpu",
    )
    assert_type(task, Task[int])
    graph.create_task(length, "a", retries=RetryPolicy(3, delay_seconds=0.5, retry_on=OSError))
    graph.create_task(length, "a", waits_on=[other, task, completed(other)])
    graph.create_task(length, "a", waits_on=None, name=None, timeout_seconds=None)
    graph.create_task(length, "a", priority="high")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    graph.create_task(length, "a", colour="red")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    graph.create_task(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def tasks(task: Task[int]) -> None:
    assert_type(await task.result(), int)
    assert_type(task.result_nowait(), int)
    await task.wait()
    assert_type(task.uid, int)
    assert_type(task.name, str)
    assert_type(task.state, State)
    assert_type(task.attempt, int)
    assert_type(task.error, TrioActorGraphError | None)
    assert_type(task.predecessors, tuple[Task[Any], ...])
    assert_type(task.successors, tuple[Task[Any], ...])
    assert_type(task.explain(), str)
    assert_type(task.failed_attempts, tuple[FailedAttempt, ...])
    task.cancel()
    task.cancel(successors=True)
    await any_task(task)


async def any_task(task: Task[object]) -> None:
    """What gives an int gives an object."""
    assert_type(await task.result(), object)


async def conditions(graph: TaskGraph, a: Task[int], b: Task[str]) -> None:
    everything: list[Condition] = [
        succeeded(a, b),
        succeeded([a, b], at_least=1),
        completed([a], [b]),
        completed(task for task in graph.tasks),
        succeeded(a) & completed(b),
        succeeded(a) | completed(b) & succeeded(b),
    ]
    graph.create_task(nothing, waits_on=everything)
    graph.create_task(nothing, waits_on=succeeded(a) | b)
    graph.add_predecessor(a, b)
    graph.add_predecessor(a, completed(b))
    succeeded(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def graphs(coordinator: Coordinator) -> None:
    async with coordinator.open_graph("a name", on_failure="continue") as graph:
        assert_type(graph, TaskGraph)
        assert_type(graph.name, str)
        assert_type(graph.tasks, tuple[Task[Any], ...])
        assert_type(graph.counts(), dict[State, int])
        assert_type(graph.logs(scope="graph", after=3, limit=1), tuple[LogLine, ...])
        assert_type(graph.logs_dropped, int)
        for line in graph.tasks[0].logs(attempt=1, level="INFO"):
            assert_type(line, LogLine)
            assert_type(line.exception, str | None)
            assert_type(line.extra, dict[str, str])
        assert_type(graph.as_completed(), AsyncIterator[Task[Any]])
        async for task in graph.as_completed():
            assert_type(task, Task[Any])
        await graph.wait_finished()
        graph.cancel()
    assert_type(coordinator.graphs, tuple[TaskGraph, ...])
    assert_type(coordinator.workers, tuple[WorkerStatistics, ...])
    assert_type(coordinator.statistics(), CoordinatorStatistics)
    coordinator.open_graph(on_failure="shrug")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def coordinators() -> None:
    async with open_coordinator() as coordinator:
        assert_type(coordinator, Coordinator)
    async with open_coordinator({"default": 4}, functions=[length, fetch], start="eager"):
        pass
    async with open_coordinator([WorkerLoop("http", functions=[fetch])], functions={"f": fetch}):
        pass
    WorkerLoop("cpu", processes=2, concurrency=4, functions=[length, "fetch"], setup=str)


async def inside_a_task(url: str) -> int:
    task = current_task()
    assert_type(task, CurrentTask)
    child = task.create_task(fetch, url, priority=1)
    assert_type(child, Task[str])
    assert_type(task.create_task("length", url), Task[Any])
    assert_type(task.create_task(async_tail, url), Task[str])
    assert_type(task.create_task(lambda: b"x"), Task[bytes])
    assert_type(await child.result(), str)
    assert_type(task.uid, int)
    assert_type(task.name, str)
    assert_type(task.attempt, int)
    assert_type(task.predecessors, tuple[PredecessorOutcome, ...])
    for outcome in task.predecessors:
        assert_type(outcome.state, State)
        assert_type(outcome.error, TrioActorGraphError | None)
    task.add_predecessor(child, task.create_task(length, url))
    return await task.create_task(length, child).result()


async def the_client() -> None:
    async with open_client("service.socket") as client:
        graph = await client.create_graph(
            "g", [NewTask("f")], on_failure="cancel", keep_results="needed", stored_bytes_max=1
        )
        assert_type(graph.pushed, tuple[RemoteTask, ...])
        (task,) = await graph.push(NewTask("f", args=(1,), key="k"))
        assert_type(task, RemoteTask)
        await graph.push(
            NewTask("f", waits_on=task, retries=RetryOptions(3, delay_seconds=0.5)),
            NewTask("f", waits_on=TasksCondition(succeeded=(task, task.uid, "k"), at_least=2)),
            NewTask("f", waits_on=TasksCondition(all_of=(TasksCondition(completed=(task,)),))),
            NewTask("f", args=([task],), retries=2, keep_result=True),
        )
        await task.add_predecessor(task)
        await task.add_predecessor(TasksCondition(completed=(task,)))
        await task.add_predecessor(task.uid)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await graph.push(NewTask("f", waits_on=[task]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def the_original_api() -> None:
    graph = classic.TaskGraph({"fetch": fetch}, {"default": 4, "http": 2}, {"fetch": "http"})
    uid = await graph.create_task("fetch", (("a",), {"timeout": 2.0}), graph.root.uid)
    assert_type(uid, str)
    assert_type(await graph.create_wait_task("fetch", None, [uid], False), str)
    await graph.create_wait_task("fetch", lambda nodes: (nodes[0].task_result, {}), [uid], True)
    graph.create_wait_link(uid, uid)
    assert_type(graph.get_task_nodes("success", None), list[classic.TaskNode])
    assert_type(graph.get_task_nodes()[0].exception_trace, str | None)
    assert_type(graph.is_finished(), bool)
    await classic.execute_graph(graph, 3)
    classic.TaskGraph({"fetch": fetch}, [classic.TaskGraph.WorkerLoop("default", 3, None)])
