"""Contract: every public async function can be cancelled at each of its checkpoints.

Each story is told once for each checkpoint of the piece it is about (see `checkpoints.py`).
Whatever the moment: Cancelled comes out, nothing is left behind, the rules of the core hold, every
task has ended in exactly one way, and what outlives the piece can be used as if nothing had been.

Most stories have no processes and run on a mock clock, so that hundreds of tellings take a second;
a few are told to real processes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trio
import trio.testing

from trio_actor_graph import (
    Coordinator,
    GraphError,
    Task,
    TaskFailed,
    TaskGraph,
    WorkerLoop,
    classic,
    current_task,
    open_coordinator,
    succeeded,
)
from trio_actor_graph.graph.invariants import check_invariants

from .bodies import add, echo
from .checkpoints import Cut, at_each_checkpoint

LOCAL = [WorkerLoop("default", concurrency=2, processes=0)]
PROCESSES = [WorkerLoop("default", concurrency=2)]
ENDED = {"succeeded", "failed", "skipped", "cancelled"}

LOOPS = pytest.mark.parametrize("loops", [LOCAL, PROCESSES], ids=["local", "processes"])


@pytest.fixture(autouse=True)
def clock(request: pytest.FixtureRequest) -> object:
    """Without processes nothing happens outside of trio, so time need not pass."""
    call = getattr(request.node, "callspec", None)
    if call is not None and call.params.get("loops") is PROCESSES:
        return None
    return request.getfixturevalue("autojump_clock")


async def nap(value: object = None) -> object:
    """Takes a few checkpoints and some time."""
    await trio.lowlevel.checkpoint()
    await trio.sleep(0.01)
    return value


async def nap_and_create(value: int) -> int:
    """Creates a task, awaits it, and leaves another one to itself."""
    mine = current_task()
    child = mine.create_task(nap, value)
    mine.create_task(echo, value)
    return await child.result() + 1


async def turn_and_create(value: int) -> int:
    """The same, but all that it takes is turns of trio, however slow the machine is."""
    mine = current_task()
    child = mine.create_task(turn, value)
    mine.create_task(echo, value)
    return await child.result() + 1


async def turn(value: int) -> int:
    for _ in range(3):
        await trio.lowlevel.checkpoint()
    return value


async def nap_and_fail() -> None:
    await nap()
    raise ValueError("at the end")


def returns_child(value: object) -> Task[object]:
    return current_task().create_task(nap, value)


def create_some(graph: TaskGraph) -> list[Task[Any]]:
    """A little of everything: edges, a condition, children, a tail call, a plain function."""
    first = graph.create_task(nap, 1)
    parent = graph.create_task(nap_and_create, first)
    tail = graph.create_task(returns_child, 3)
    last = graph.create_task(add, parent, tail, 4)
    any_of = graph.create_task(nap, waits_on=succeeded(first, tail, at_least=1))
    return [first, parent, tail, last, any_of]


RESULTS = [1, 2, 3, 9, None]


def assert_ended(tasks: Iterable[Task[Any]], cut: Cut) -> None:
    """Every task has ended; as it should when nothing came between, else that or cancelled."""
    states = {task.state for task in tasks}
    assert states <= {"succeeded", "cancelled"}
    if not cut.came:
        assert states <= {"succeeded"}


async def assert_usable(coordinator: Coordinator) -> None:
    """Nothing is left of earlier graphs, and a new one works, with all slots."""
    scheduler = coordinator._scheduler
    check_invariants(scheduler)
    assert coordinator.graphs == ()
    assert not scheduler.attempts
    with trio.fail_after(10):
        async with coordinator.open_graph("after") as graph:
            tasks = create_some(graph)
        assert [task.result_nowait() for task in tasks] == RESULTS
    check_invariants(scheduler)


# ---- opening and closing ------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("start", ["lazy", "eager"])
async def test_open_coordinator(loops: list[WorkerLoop], start: Any) -> None:
    """Entering, the body and leaving: a closed coordinator, and every task has ended."""

    async def story(cut: Cut) -> None:
        held: list[Any] = []
        with cut.here():
            async with open_coordinator(loops, start=start) as coordinator:
                held.append(coordinator)
                async with coordinator.open_graph() as graph:
                    held.append(graph)
                    create_some(graph)
        for coordinator in held[:1]:
            check_invariants(coordinator._scheduler)
            assert (coordinator.graphs, coordinator.workers) == ((), ())
            assert not coordinator._scheduler.attempts or cut.came
            with pytest.raises(GraphError, match="closed"):
                async with coordinator.open_graph():
                    pass
        for graph in held[1:]:
            assert_ended(graph.tasks, cut)

    assert await at_each_checkpoint(story) >= 4


async def test_open_coordinator_with_a_graph_in_another_task() -> None:
    """A graph that another trio task has open ends as cancelled, whatever the moment."""

    async def story(cut: Cut) -> None:
        graphs: list[TaskGraph] = []

        async def use(
            coordinator: Coordinator, task_status: Any = trio.TASK_STATUS_IGNORED
        ) -> None:
            async with coordinator.open_graph() as graph:
                graphs.append(graph)
                create_some(graph)
                task_status.started()

        async with trio.open_nursery() as others:
            with cut.here():
                async with open_coordinator(LOCAL) as coordinator:
                    await others.start(use, coordinator)
                    await trio.lowlevel.checkpoint()
        for graph in graphs:
            assert {task.state for task in graph.tasks} <= {"succeeded", "cancelled"}

    assert await at_each_checkpoint(story) >= 3


@pytest.mark.parametrize("setup", ["plain", "context"])
async def test_open_coordinator_with_a_setup(setup: str) -> None:
    """What a loop's `setup` has opened is closed, exactly once, whatever the moment."""
    opened: list[str] = []

    class Context:
        async def __aenter__(self) -> str:
            await nap()
            opened.append("open")
            return "context"

        async def __aexit__(self, *args: object) -> None:
            opened.append("closed")
            await trio.lowlevel.checkpoint()

    async def plain(index: int) -> str:
        return str(await nap("plain"))

    loop = WorkerLoop(
        "default", processes=0, setup=plain if setup == "plain" else lambda index: Context()
    )

    async def story(cut: Cut) -> None:
        opened.clear()
        with cut.here():
            async with (
                open_coordinator([loop], start="eager") as coordinator,
                coordinator.open_graph() as graph,
            ):
                assert await graph.create_task(context_of_worker).result() == setup
        assert opened in ([], ["open", "closed"])

    assert await at_each_checkpoint(story) >= 4


def context_of_worker() -> object:
    return current_task().worker_context


@LOOPS
async def test_open_graph(loops: list[WorkerLoop]) -> None:
    """Entering, the body and the wait at the end; its coordinator goes on."""
    async with open_coordinator(loops) as coordinator:

        async def story(cut: Cut) -> None:
            graphs: list[TaskGraph] = []
            with cut.here():
                async with coordinator.open_graph() as graph:
                    graphs.append(graph)
                    create_some(graph)
                    await trio.lowlevel.checkpoint()
            for graph in graphs:
                assert_ended(graph.tasks, cut)
            await assert_usable(coordinator)

        assert await at_each_checkpoint(story) >= 2


@pytest.mark.parametrize("on_failure", ["raise", "continue", "cancel"])
async def test_open_graph_with_a_failure(on_failure: Any) -> None:
    """Cancelled comes out as long as it came before the failures, which else come out as ever."""
    async with open_coordinator(LOCAL) as coordinator:

        async def story(cut: Cut) -> None:
            graphs: list[TaskGraph] = []
            with cut.here():
                try:
                    async with coordinator.open_graph(on_failure=on_failure) as graph:
                        graphs.append(graph)
                        graph.create_task(nap_and_fail)
                        create_some(graph)
                except* TaskFailed:
                    assert not cut.came or cut.is_shielded  # what has failed may be stopping
                    assert on_failure != "continue"
            for graph in graphs:
                assert {task.state for task in graph.tasks} <= {"succeeded", "failed", "cancelled"}
                if not cut.came:
                    assert graph.tasks[0].state == "failed"
            await assert_usable(coordinator)

        assert await at_each_checkpoint(story) >= 1


# ---- waiting for a graph and for tasks ----------------------------------------------------------


@LOOPS
async def test_wait_finished(loops: list[WorkerLoop]) -> None:
    """Who waits for the end is cancelled, and the graph goes on."""
    async with open_coordinator(loops) as coordinator:

        async def story(cut: Cut) -> None:
            async with coordinator.open_graph() as graph:
                tasks = create_some(graph)
                with cut.here():
                    await graph.wait_finished()
                check_invariants(coordinator._scheduler)
                await graph.wait_finished()
                assert [task.result_nowait() for task in tasks] == RESULTS
            await assert_usable(coordinator)

        assert await at_each_checkpoint(story) >= 2


@LOOPS
async def test_as_completed(loops: list[WorkerLoop]) -> None:
    """Each task comes once, before the cancellation or after it; another iteration sees all."""
    async with open_coordinator(loops) as coordinator:

        async def story(cut: Cut) -> None:
            async with coordinator.open_graph() as graph:
                create_some(graph)
                seen: list[Task[Any]] = []
                iterator = graph.as_completed()
                with cut.here():
                    async for task in iterator:
                        seen.append(task)
                        await trio.lowlevel.checkpoint()
                check_invariants(coordinator._scheduler)
                seen.extend([task async for task in iterator])
                assert sorted(t.uid for t in seen) == sorted(t.uid for t in graph.tasks)
                assert all(task.state == "succeeded" for task in seen)
                assert {task async for task in graph.as_completed()} == set(graph.tasks)
            await assert_usable(coordinator)

        assert await at_each_checkpoint(story) >= 5


async def ask_result(task: Task[Any]) -> object:
    return await task.result()


async def ask_wait(task: Task[Any]) -> object:
    await task.wait()
    return task.result_nowait()


ASKING = pytest.mark.parametrize("ask", [ask_result, ask_wait])


@LOOPS
@ASKING
async def test_waiting_for_a_task(loops: list[WorkerLoop], ask: Callable[..., Any]) -> None:
    """Who waits for a task is cancelled; the task, and others who wait for it, are not."""
    async with open_coordinator(loops) as coordinator:

        async def story(cut: Cut) -> None:
            async with coordinator.open_graph() as graph, trio.open_nursery() as nursery:
                task = create_some(graph)[-2]
                others: list[object] = []

                async def ask_too() -> None:
                    others.append(await ask(task))

                nursery.start_soon(ask_too)
                with cut.here():
                    assert await ask(task) == 9
                    assert await ask(task) == 9  # now that it has ended
                check_invariants(coordinator._scheduler)
                assert await ask(task) == 9
            assert others == [9]
            await assert_usable(coordinator)

        assert await at_each_checkpoint(story) >= 1


@ASKING
async def test_a_failure_is_seen_by_those_who_were_told(ask: Callable[..., Any]) -> None:
    """Who was cancelled while he waited has seen nothing: leaving the graph raises it."""
    async with open_coordinator(LOCAL) as coordinator:

        async def story(cut: Cut) -> None:
            told: list[BaseException] = []
            raised: list[BaseException] = []
            try:
                async with coordinator.open_graph() as graph:
                    task = graph.create_task(nap_and_fail)
                    with cut.here():
                        try:
                            await ask(task)
                        except TaskFailed as error:
                            told.append(error)
            except* TaskFailed as group:
                raised.extend(group.exceptions)
            assert (len(told), len(raised)) == ((0, 1) if cut.came else (1, 0))
            await assert_usable(coordinator)

        assert await at_each_checkpoint(story) >= 1


# ---- inside of tasks ----------------------------------------------------------------------------


async def ask_child_at_each_checkpoint(ask: Callable[..., Any]) -> int:
    """A task that is cut, by a scope of its own, while it waits for its child."""

    async def story(cut: Cut) -> None:
        child = current_task().create_task(nap, 7)
        sibling = current_task().create_task(echo, 8)
        with cut.here():
            assert await ask(child) == 7
            assert await ask(sibling) == 8
        assert await ask(child) == 7
        assert await sibling.result() == 8

    return await at_each_checkpoint(story)


@LOOPS
@ASKING
async def test_waiting_for_a_child(loops: list[WorkerLoop], ask: Callable[..., Any]) -> None:
    """A task whose wait for a child is cancelled has its slot again, and may wait once more."""
    async with open_coordinator(loops) as coordinator:
        async with coordinator.open_graph() as graph:
            task = graph.create_task(ask_child_at_each_checkpoint, ask)
            assert await task.result() >= 2
            assert {task.state for task in graph.tasks} == {"succeeded"}
        await assert_usable(coordinator)


async def test_waiting_for_a_child_with_one_slot() -> None:
    """The slot that a cut wait has given back is taken again: never do two tasks run at once."""
    running: list[int] = []

    async def alone(number: int) -> int:
        running.append(number)
        assert len(running) == 1
        await nap()
        running.remove(number)
        return number

    async def parent(number: int) -> None:
        child = current_task().create_task(alone, 1)
        with trio.move_on_after(0.001), Cut(number).here():
            await child.wait()
        await alone(2)
        await child.wait()

    async with open_coordinator([WorkerLoop("default", concurrency=1, processes=0)]) as c:
        for number in range(8):
            async with c.open_graph() as graph:
                graph.create_task(parent, number)
                graph.create_task(alone, 3)
                graph.create_task(alone, 4)
            assert {task.state for task in graph.tasks} == {"succeeded"}
            check_invariants(c._scheduler)


async def test_a_task_cancelled_at_each_of_its_checkpoints() -> None:
    """A task that is cancelled from outside, wherever it is, has ended at once and gives way."""
    async with open_coordinator(LOCAL) as coordinator:

        async def cancel_after(number: int) -> bool:
            """Cancel a task after so many turns of trio; whether that came in time."""
            async with coordinator.open_graph(on_failure="continue") as graph:
                task = graph.create_task(turn_and_create, 1)
                after = graph.create_task(echo, waits_on=succeeded(task))
                for _ in range(number):
                    await trio.lowlevel.checkpoint()
                came = task.state not in ENDED
                task.cancel()
                if came:
                    assert (task.state, after.state) == ("cancelled", "skipped")
                check_invariants(coordinator._scheduler)
            assert all(t.state in ENDED for t in graph.tasks)
            while coordinator._scheduler.attempts:  # noqa: ASYNC110  leaving waits for none of those
                await trio.sleep(0.001)
            await assert_usable(coordinator)
            return came

        number = 0
        while await cancel_after(number):
            number += 1
        assert number >= 10


# ---- the original API ---------------------------------------------------------------------------


async def node_add(a: int, b: int = 0, **kwargs: Any) -> int:
    await nap()
    return a + b


async def node_create(value: int, graph: classic.TaskGraph, **kwargs: Any) -> int:
    await graph.create_task("add", ((value,), {}), kwargs["task_node"].uid)
    return value


async def node_sum(predecessors: list[classic.TaskNode], **kwargs: Any) -> int:
    return sum(node.task_result for node in predecessors)


FUNCTIONS = {"add": node_add, "create": node_create, "sum": node_sum}


async def test_execute_graph() -> None:
    """The graph has been executed, its nodes have ended or never will, and the next one works."""

    async def story(cut: Cut) -> None:
        graph = classic.TaskGraph(FUNCTIONS, {"default": 2})
        first = await graph.create_task("add", ((1, 2), {}), graph.root.uid)
        second = await graph.create_task("create", ((3,), {}), graph.root.uid)
        last = await graph.create_wait_task("sum", None, [first, second], False)
        with cut.here():
            await classic.execute_graph(graph, 5)
        if not cut.came:
            assert graph.is_finished()
            assert graph.task_node(last).task_result == 6
        with pytest.raises(GraphError, match="has been executed"):
            await classic.execute_graph(graph, 5)
        with pytest.raises(GraphError, match="has been executed"):
            await graph.create_task("add", ((1,), {}), graph.root.uid)

    assert await at_each_checkpoint(story) >= 3


async def test_creating_nodes() -> None:
    """Cancelled while it is created, a node is not there."""

    async def story(cut: Cut) -> None:
        graph = classic.TaskGraph(FUNCTIONS, {"default": 2})
        created: list[str] = []
        with cut.here():
            created.append(await graph.create_task("add", ((1, 2), {}), graph.root.uid))
            created.append(await graph.create_wait_task("sum", None, created[:1], True))
        assert [node.uid for node in graph.get_task_nodes()] == created
        assert len(created) == 2 or cut.came

    assert await at_each_checkpoint(story) == 2
