"""Contract: a running task creates tasks of its graph as the app does, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trio_actor_graph import PayloadError, Task, TaskFailed, completed, current_task, succeeded

from .board import Board
from .bodies import add, create, echo, fail, hold, noop, outcomes, told, write
from .conftest import Engine


def be_creative(board: Board) -> tuple[Any, ...]:
    """Creates one of each and tells what it has got."""
    me = current_task()
    seven = me.create_task(add, 3, 4, name="seven")
    bad = me.create_task(fail, name="bad")
    total = me.create_task(add, seven, 1, name="total")
    late = me.create_task(outcomes, waits_on=completed(bad, me) & succeeded(total), name="late")
    named = me.create_task("double", [total], name="named")
    held = me.create_task(hold, board, "held", waits_on=succeeded(me), name="held")
    extended = me.create_task(noop, waits_on=held, name="extended")
    me.add_predecessor(extended, seven)
    me.add_predecessor(extended, completed(bad))
    children = (seven, bad, total, late, named, held, extended)
    return me.uid, me.name, [(c.uid, c.name, c.state, c.error) for c in children]


async def be_creative_async(board: Board) -> tuple[Any, ...]:
    await trio.lowlevel.checkpoint()
    return be_creative(board)


@pytest.mark.parametrize("function", [be_creative, be_creative_async])
async def test_a_task_creates_tasks_at_once(engine: Engine, board: Board, function: Any) -> None:
    """Inside a task `create_task` gives a handle at once, with all that a graph's can do."""
    async with engine.graph("creative", functions={"double": _double}) as graph:
        creator = graph.create_task(function, board, name="creator")
        uid, name, seen = await creator.result()
        assert (uid, name) == (creator.uid, "creator")
        await board.wait_for("held runs")
        board.open("held")
        await graph.wait_finished()
        tasks = {task.name: task for task in graph.tasks}
        assert seen == [(t.uid, n, "waiting", None) for n, t in list(tasks.items())[1:]]
        assert {n: t.state for n, t in tasks.items()} == {
            "creator": "succeeded",
            "seven": "succeeded",
            "bad": "failed",
            "total": "succeeded",
            "late": "succeeded",
            "named": "succeeded",
            "held": "succeeded",
            "extended": "succeeded",
        }
        assert tasks["total"].result_nowait() == 8
        assert tasks["named"].result_nowait() == [8, 8]
        bad = f"task 'bad' ({tasks['bad'].uid}) failed: ValueError: no"
        assert tasks["late"].result_nowait() == [
            (tasks["bad"].uid, "bad", "failed", None,
             ("TaskFailed", bad, ("ValueError", "no", None))),
            (creator.uid, "creator", "succeeded", (uid, name, seen), None),
            (tasks["total"].uid, "total", "succeeded", 8, None),
        ]  # fmt: skip
        assert tasks["extended"].predecessors == (tasks["held"], tasks["seven"], tasks["bad"])
        assert creator.successors == (tasks["late"], tasks["held"])


def _double(values: list[Any]) -> list[Any]:
    return values * 2


async def test_children_have_children(engine: Engine, board: Board) -> None:
    """Tasks created by tasks created by tasks belong to the graph, which waits for them all."""

    def grow(board: Board, path: str, depth: int) -> None:
        board.write(path)
        if depth:
            for branch in "ab":
                current_task().create_task(grow, board, path + branch, depth - 1)

    async def grow_async(board: Board, path: str, depth: int) -> None:
        board.write(path)
        if depth:
            for branch in "cd":
                current_task().create_task(grow_async, board, path + branch, depth - 1)

    async with engine.open() as coordinator:
        async with coordinator.open_graph("family") as graph:
            graph.create_task(grow, board, "", 5)
            graph.create_task(grow_async, board, "", 5)
        assert graph.counts() == _all_succeeded(2 * (2**6 - 1))
    expected = [""]
    for _ in range(5):
        expected += [p + b for p in expected for b in "ab"]
    paths = set(expected) | {p.translate({97: "c", 98: "d"}) for p in expected}
    assert sorted(board.lines()) == sorted([*paths, ""])


def _all_succeeded(number: int) -> dict[str, int]:
    others = ("waiting", "ready", "running", "failed", "skipped", "cancelled")
    return {"succeeded": number, **dict.fromkeys(others, 0)}


async def test_options_given_inside_count(engine: Engine, board: Board) -> None:
    """Name, priority, retries, time limit and worker loop work inside a task as outside."""

    def where() -> str:
        return current_task().worker_context

    async def parent(board: Board) -> list[Any]:
        me = current_task()
        flaky = me.create_task(_succeed_at_last, board, 3, retries=2)
        slow = me.create_task(trio.sleep_forever, timeout_seconds=0.05, name="slow")
        elsewhere = me.create_task(where, worker_loop="other")
        await slow.wait()
        return [await flaky.result(), slow.state, await elsewhere.result()]

    loops = [engine.loop(setup=lambda _: "default"), engine.loop("other", setup=lambda _: "other")]
    async with engine.graph("options", *loops, on_failure="continue") as graph:
        assert await graph.create_task(parent, board).result() == [3, "failed", "other"]


def _succeed_at_last(board: Board, attempts: int) -> int:
    if current_task().attempt < attempts:
        raise ValueError("not yet")
    return current_task().attempt


async def test_priorities_given_inside_count(engine: Engine, board: Board) -> None:
    """The children of one task are ready together, so the largest priority runs first."""

    def parent(board: Board) -> None:
        for priority in (1, 3, 2, 3):
            current_task().create_task(write, board, priority, priority=priority)

    async with engine.graph("inside", engine.loop(concurrency=1)) as graph:
        graph.create_task(parent, board)
    assert board.lines() == ["3", "3", "2", "1"]


async def test_wrong_use_inside_is_told_at_the_call(engine: Engine) -> None:
    """What can be known in the worker is refused there, at the call, and creates nothing."""

    async def ask() -> list[Any]:
        import threading

        from trio_actor_graph import GraphError

        me = current_task()
        wrong: list[Any] = [
            lambda: me.create_task("unheard of"),
            lambda: me.create_task(print, worker_loop="nowhere"),
            lambda: me.create_task(print, retries=-1),
            lambda: me.create_task(print, {"a": [threading.Lock()]}),
            lambda: me.create_task(print, waits_on=[]),
            lambda: me.create_task(None),
            lambda: me.create_task(print, me),
        ]
        texts = []
        for call in wrong:
            try:
                texts.append(repr(call()))
            except GraphError as error:
                texts.append(f"{type(error).__name__}: {error}")
        return texts

    async with engine.graph("wrong", functions={"known": echo}) as graph:
        texts = await graph.create_task(ask).result()
        assert len(graph.tasks) == 1
    lock = "a _thread.lock cannot be pickled (TypeError: cannot pickle '_thread.lock' object)"
    assert texts[:6] == [
        "GraphError: unknown function 'unheard of': there are 'known'",
        "GraphError: unknown worker loop 'nowhere': there are 'default'",
        "GraphError: retries must be an integer from 0, at most 2147483647, not -1",
        f"PayloadError: task 'print': argument 1['a'][0] cannot be sent between processes: {lock}",
        "GraphError: waits_on is empty: give None for a task that waits on nothing",
        "GraphError: not a function or the name of one: None",
    ]
    assert "current_task() cannot be sent anywhere" in texts[6]


async def test_what_the_coordinator_refuses_fails_the_creator(engine: Engine) -> None:
    """A predecessor that comes too late or closes a cycle fails the one who asked, once it ends."""

    async def too_late() -> str:
        child = current_task().create_task(noop, name="child")
        await child.wait()
        current_task().add_predecessor(child, current_task().create_task(noop))
        return "the call returned"

    def circle() -> str:
        me = current_task()
        first = me.create_task(noop, waits_on=completed(me), name="first")
        second = me.create_task(noop, waits_on=first, name="second")
        me.add_predecessor(first, second)
        return "the call returned"

    async with engine.graph("refused") as graph:
        tasks = [graph.create_task(f, retries=1) for f in (too_late, circle)]
        errors = []
        for task in tasks:
            with pytest.raises(TaskFailed) as caught:
                await task.result()
            errors.append(told(caught.value))
        await graph.wait_finished()
        by_name = {t.name: t for t in graph.tasks}
        late = (
            f"too late to add a predecessor to 'child' (task {by_name['child'].uid}): it is "
            "'succeeded', and only a task that still waits for its condition can wait for more"
        )
        first, second = by_name["first"], by_name["second"]
        path = " waits on ".join(f"{t.name!r} (task {t.uid})" for t in (first, second, first))
        cycle = f"these tasks would wait on each other for ever: {path}"
        label = [f"task {t.name!r} ({t.uid}) failed: " for t in tasks]
        assert errors == [
            ("TaskFailed", label[0] + late, ("GraphError", late, None)),
            ("TaskFailed", label[1] + cycle, ("CycleError", cycle, None)),
        ]
        assert [t.attempt for t in tasks] == [1, 1]
        assert (first.state, second.state) == ("succeeded", "succeeded")


async def test_outside_of_a_task_there_is_no_current_task(engine: Engine) -> None:
    """`current_task` is refused in the app, also where tasks run in the same process."""
    from trio_actor_graph import GraphError

    async with engine.graph("outside") as graph:
        with pytest.raises(GraphError, match="outside of a running task"):
            current_task()
        task = graph.create_task(echo)
        await task.wait()
        with pytest.raises(GraphError, match="outside of a running task"):
            current_task()


async def test_an_unpicklable_argument_is_told_to_the_caller(engine: Engine) -> None:
    """An argument that cannot travel is an error at `create_task`, naming its type and place."""
    import threading

    from .bodies import Path

    class Local:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    lock = "a _thread.lock cannot be pickled (TypeError: cannot pickle '_thread.lock' object)"
    async with engine.graph("payload") as graph:
        seven = graph.create_task(add, 7)
        places = {
            "argument 2": (1, threading.Lock()),
            "argument 1[0]['a']": ([{"a": threading.Lock()}, seven],),
            "argument 1.points[1]": (Path(0, [1, threading.Lock()]),),
            "argument 1.lock": (Local(),),
        }
        for where, args in places.items():
            with pytest.raises(PayloadError) as caught:
                graph.create_task(echo, *args, name="it")
            text = f"task 'it': {where} cannot be sent between processes: {lock}"
            assert str(caught.value) == text
        assert graph.tasks == (seven,)
        assert seven.successors == ()


async def test_a_graph_never_looks_finished_while_a_task_is_being_born(engine: Engine) -> None:
    """Births travel ahead of their creator's end: whoever waits for the end sees all of them."""

    def relay(left: int) -> None:
        if left:
            current_task().create_task(relay, left - 1)

    async def relay_async(left: int) -> None:
        if left:
            current_task().create_task(relay_async, left - 1)

    async def count(tasks: Any) -> int:
        number = 0
        async for task in tasks:
            assert task.state == "succeeded"
            number += 1
        return number

    depth = 8
    loops = [engine.loop(), engine.loop("other")]
    async with engine.open(*loops) as coordinator:
        for _ in range(25):
            async with coordinator.open_graph() as graph:
                for function in (relay, relay_async):
                    graph.create_task(function, depth)
                    graph.create_task(function, depth, worker_loop="other")
                await graph.wait_finished()
                assert graph.counts() == _all_succeeded(4 * (depth + 1))
            async with coordinator.open_graph() as graph:
                for function in (relay, relay_async):
                    graph.create_task(function, depth)
                assert await count(graph.as_completed()) == 2 * (depth + 1)
            async with coordinator.open_graph() as graph:
                graph.create_task(relay, depth)
            assert graph.counts() == _all_succeeded(depth + 1)


async def test_many_short_creators_lose_nothing(engine: Engine) -> None:
    """Hundreds of creators at once, in several workers, and each of their children runs once."""
    creators, children = 300, 4
    async with engine.graph("many", engine.loop(processes=2)) as graph:
        for number in range(creators):
            graph.create_task(_create_some, children, number)
        ended: list[Task] = [task async for task in graph.as_completed()]
        assert graph.counts() == _all_succeeded(creators * (1 + children))
        assert sorted(t.uid for t in ended) == sorted(t.uid for t in graph.tasks)
        values = [t.result_nowait() for t in graph.tasks if t.name == "echo"]
        assert sorted(values) == sorted((n, c) for n in range(creators) for c in range(children))


def _create_some(children: int, number: int) -> None:
    for child in range(children):
        create(echo, (number, child))


async def test_births_keep_their_order_whatever_the_threads_do(process_engine: Engine) -> None:
    """Reports of several threads never overtake each other: no birth after its creator's end.

    The threads are switched every microsecond, and creators last longer than reports are collected.
    """

    def switch_often(index: int) -> None:
        import sys

        sys.setswitchinterval(1e-6)

    def create_some(number: int) -> Task | None:
        import time

        first = current_task().create_task(int, number)
        time.sleep(0.0012 if number % 3 else 0)
        second = current_task().create_task(int, waits_on=first)
        current_task().create_task(int, waits_on=second)
        return second if number % 2 else None

    async with process_engine.graph("threads", process_engine.loop(setup=switch_often)) as graph:
        for number in range(1_000):
            graph.create_task(create_some, number)
        await graph.wait_finished()
        assert graph.counts() == _all_succeeded(4_000)


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


async def test_options_may_be_of_derived_types(engine: Engine) -> None:
    """A str, int or float of a type of its own, as numpy's are, is as good as a plain one."""
    options: dict[str, Any] = {
        "name": Text("named"),
        "priority": Whole(2),
        "retries": Whole(1),
        "timeout_seconds": Real(9),
        "worker_loop": Text("default"),
    }

    def parent(options: dict[str, Any]) -> Task:
        return current_task().create_task(add, 1, 2, **options)

    async with engine.graph("derived") as graph:
        assert await graph.create_task(add, 1, 2, **options).result() == 3
        assert await graph.create_task(parent, options).result() == 3
        assert [t.name for t in graph.tasks] == ["named", "parent", "named"]


async def test_a_name_of_numpys_is_a_name(engine: Engine) -> None:
    """What numpy gives for a name or a limit does no harm, on either side."""
    numpy = pytest.importorskip("numpy")
    options = {"name": numpy.str_("named"), "timeout_seconds": numpy.float64(9)}

    def parent(options: dict[str, Any]) -> Task:
        return current_task().create_task(add, 1, 2, **options)

    async with engine.graph("numpy") as graph:
        assert await graph.create_task(add, 1, 2, **options).result() == 3
        assert await graph.create_task(parent, options).result() == 3
