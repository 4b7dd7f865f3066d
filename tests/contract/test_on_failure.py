"""Contract: the end of a graph tells the failures that nobody has seen."""

# ruff: noqa: PT012 - what raises is leaving a graph, and that takes a block

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trio_actor_graph import (
    Coordinator,
    GraphError,
    TaskCancelled,
    TaskFailed,
    TaskGraph,
    TaskSkipped,
    completed,
    current_task,
    succeeded,
)

from .board import Board
from .bodies import all_told, echo, fail, hold, noop, told
from .conftest import Engine


def failed(task: Any, text: str = "no") -> tuple[Any, ...]:
    """How the failure of a task that raised ValueError(text) is told."""
    label = f"task {task.name!r} ({task.uid}) failed: ValueError: {text}"
    return ("TaskFailed", label, ("ValueError", text, None))


async def test_unseen_failures_are_raised_together(engine: Engine) -> None:
    """Leaving a graph raises a group of its unseen failures, in the order of their creation."""
    async with engine.open() as coordinator:
        with pytest.raises(ExceptionGroup) as caught:
            async with coordinator.open_graph("unlucky") as graph:
                first = graph.create_task(fail, "one", name="first")
                graph.create_task(echo, first)
                good = graph.create_task(echo, "good")
                graph.create_task(fail, "two", name="second", waits_on=good)
        assert caught.value.message == "2 task(s) of graph 'unlucky' failed"
        tasks = graph.tasks
        expected = [failed(tasks[0], "one"), failed(tasks[3], "two")]
        assert all_told(caught.value.exceptions) == expected
        assert caught.value.__cause__ is None
        assert [t.state for t in tasks] == ["failed", "skipped", "succeeded", "failed"]


SIGHTS: dict[str, tuple[Callable[[TaskGraph, Any], Any], bool]] = {
    "nothing": (lambda graph, bad: None, False),
    "a task that needs it": (lambda graph, bad: graph.create_task(noop, waits_on=bad), False),
    "a data edge": (lambda graph, bad: graph.create_task(echo, bad), False),
    "succeeded at least": (
        lambda graph, bad: graph.create_task(
            noop, waits_on=succeeded(bad, graph.create_task(noop), at_least=1)
        ),
        False,
    ),
    "completed": (lambda graph, bad: graph.create_task(noop, waits_on=completed(bad)), True),
    "completed, one of many": (
        lambda graph, bad: graph.create_task(
            noop, waits_on=completed(bad, graph.create_task(noop), at_least=1)
        ),
        True,
    ),
    "completed, inside": (
        lambda graph, bad: graph.create_task(
            noop, waits_on=completed(graph.create_task(noop)) & (succeeded(bad) | completed(bad))
        ),
        True,
    ),
    "completed on one skipped by it": (
        lambda graph, bad: graph.create_task(
            noop, waits_on=completed(graph.create_task(echo, bad))
        ),
        True,
    ),
    "completed on one skipped by one skipped": (
        lambda graph, bad: graph.create_task(
            noop, waits_on=completed(graph.create_task(echo, graph.create_task(echo, bad)))
        ),
        True,
    ),
    "completed on another that needs it": (
        lambda graph, bad: graph.create_task(
            echo, bad, waits_on=completed(graph.create_task(noop))
        ),
        False,
    ),
}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_what_sees_a_failure_in_the_graph(engine: Engine, moment: str) -> None:
    """A completed condition on the failed task, or on one skipped because of it, sees a failure."""
    outcomes = {}
    async with engine.open() as coordinator:
        for name, (look, _) in SIGHTS.items():
            errors: tuple[BaseException, ...] = ()
            try:
                async with coordinator.open_graph(name) as graph:
                    gate = graph.create_task(noop)
                    bad = graph.create_task(fail, waits_on=gate)
                    if moment == "after":
                        await bad.wait()
                    look(graph, bad)
            except ExceptionGroup as group:
                errors = group.exceptions
            outcomes[name] = not errors
            assert all_told(errors) in ([], [failed(bad)])
    assert outcomes == {name: is_seen for name, (_, is_seen) in SIGHTS.items()}


async def ask_result(graph: TaskGraph, bad: Any) -> None:
    with pytest.raises(TaskFailed):
        await bad.result()


async def ask_result_nowait(graph: TaskGraph, bad: Any) -> None:
    await bad.wait()
    with pytest.raises(TaskFailed):
        bad.result_nowait()


async def ask_one_skipped(graph: TaskGraph, bad: Any) -> None:
    with pytest.raises(TaskSkipped):
        await graph.create_task(echo, graph.create_task(echo, bad)).result()


async def ask_too_early(graph: TaskGraph, bad: Any) -> None:
    with pytest.raises(GraphError):
        bad.result_nowait()


async def ask_and_give_up(graph: TaskGraph, bad: Any) -> None:
    with trio.move_on_after(0):
        await bad.result()


async def only_wait(graph: TaskGraph, bad: Any) -> None:
    await bad.wait()


async def only_look(graph: TaskGraph, bad: Any) -> None:
    await bad.wait()
    assert (bad.state, type(bad.error)) == ("failed", TaskFailed)
    assert bad.explain()
    assert repr(bad)


async def only_iterate(graph: TaskGraph, bad: Any) -> None:
    assert [task async for task in graph.as_completed()]
    await graph.wait_finished()


QUESTIONS = {
    ask_result: True,
    ask_result_nowait: True,
    ask_one_skipped: True,
    ask_too_early: False,
    ask_and_give_up: False,
    only_wait: False,
    only_look: False,
    only_iterate: False,
}


async def test_what_sees_a_failure_in_the_app(engine: Engine) -> None:
    """Asking for the result of a failed task, or of one skipped by it, sees it."""
    outcomes = {}
    async with engine.open() as coordinator:
        for ask in QUESTIONS:
            errors: tuple[BaseException, ...] = ()
            try:
                async with coordinator.open_graph("app") as graph:
                    gate = graph.create_task(noop)
                    bad = graph.create_task(fail, waits_on=gate)
                    await ask(graph, bad)
            except ExceptionGroup as group:
                errors = group.exceptions
            outcomes[ask] = not errors
            assert all_told(errors) in ([], [failed(bad)])
    assert outcomes == QUESTIONS


async def test_continue_leaves_failures_on_their_tasks(engine: Engine) -> None:
    """With "continue" a graph ends quietly, and its tasks still tell what happened."""
    async with engine.open() as coordinator:
        async with coordinator.open_graph("quiet", on_failure="continue") as graph:
            bad = graph.create_task(fail, name="bad")
            after = graph.create_task(noop, waits_on=bad)
            good = graph.create_task(echo, 1)
        assert [t.state for t in (bad, after, good)] == ["failed", "skipped", "succeeded"]
        assert told(bad.error) == failed(bad)
        with pytest.raises(TaskFailed):
            await bad.result()
        assert good.result_nowait() == 1


async def test_cancel_ends_the_graph_at_the_first_failure(engine: Engine, board: Board) -> None:
    """With "cancel" the first unseen failure cancels the other tasks and the body."""
    async with engine.open() as coordinator:
        with pytest.raises(ExceptionGroup) as caught:
            async with coordinator.open_graph("strict", on_failure="cancel") as graph:
                held = graph.create_task(hold, board, "held")
                waiting = graph.create_task(noop, waits_on=held)
                await board.wait_for("held runs")
                bad = graph.create_task(fail)
                await trio.sleep_forever()
        assert caught.value.message == "1 task(s) of graph 'strict' failed"
        assert all_told(caught.value.exceptions) == [failed(bad)]
        assert [t.state for t in (held, waiting, bad)] == ["cancelled", "cancelled", "failed"]


async def test_cancel_tells_the_failure_not_its_consequence(engine: Engine, board: Board) -> None:
    """A body that waits for another task gets the failure, not that one's cancellation."""
    async with engine.open() as coordinator:
        with pytest.raises(ExceptionGroup) as caught:
            async with coordinator.open_graph("strict", on_failure="cancel") as graph:
                held = graph.create_task(hold, board, "held")
                bad = graph.create_task(fail)
                await held.result()
        assert all_told(caught.value.exceptions) == [failed(bad)]


async def test_cancel_leaves_seen_failures_to_those_who_look(engine: Engine) -> None:
    """With "cancel" too a failure that a completed condition or the body sees is theirs."""
    async with engine.open() as coordinator:
        async with coordinator.open_graph("strict", on_failure="cancel") as graph:
            bad = graph.create_task(fail)
            after = graph.create_task(echo, 1, waits_on=completed(bad))
            assert await after.result() == 1
            other = graph.create_task(fail)
            with pytest.raises(TaskFailed):
                await other.result()
            assert await graph.create_task(echo, 2).result() == 2
        assert graph.counts()["cancelled"] == 0


async def test_cancel_with_the_body_long_done(engine: Engine, board: Board) -> None:
    """With "cancel" a failure while the graph is being left ends what still runs."""
    async with engine.open() as coordinator:
        with pytest.raises(ExceptionGroup) as caught:
            async with coordinator.open_graph("strict", on_failure="cancel") as graph:
                held = graph.create_task(hold, board, "held")
                bad = graph.create_task(_fail_when_held, board)
        assert all_told(caught.value.exceptions) == [failed(bad)]
        assert (held.state, bad.state) == ("cancelled", "failed")


async def _fail_when_held(board: Board) -> None:
    await board.wait_for("held runs")
    raise ValueError("no")


async def test_a_childs_failure_awaited_by_its_parent_cancels_nothing(engine: Engine) -> None:
    """With "cancel" a failure whose result another task awaits is seen by that task."""

    async def parent() -> str:
        child = current_task().create_task(_fail_soon)
        try:
            await child.result()
        except TaskFailed:
            return "seen"
        return "never"

    async def _fail_soon() -> None:
        await trio.sleep(0.01)
        raise ValueError("no")

    async with engine.graph("strict", on_failure="cancel") as graph:
        assert await graph.create_task(parent).result() == "seen"


@asynccontextmanager
async def failing_body(
    coordinator: Coordinator, board: Board, error: BaseException, on_failure: Any
) -> AsyncIterator[list[Any]]:
    tasks: list[Any] = []
    with pytest.raises(type(error)) as caught:
        async with coordinator.open_graph("body", on_failure=on_failure) as graph:
            tasks += [graph.create_task(fail), graph.create_task(hold, board, "held")]
            tasks.append(graph.create_task(noop, waits_on=tasks[1]))
            await tasks[0].wait()
            await board.wait_for("held runs")
            raise error
    assert caught.value is error
    assert error.__cause__ is None
    yield tasks


@pytest.mark.parametrize("on_failure", ["raise", "continue"])
async def test_an_exception_of_the_body_cancels_the_graph(
    engine: Engine, board: Board, on_failure: str
) -> None:
    """What the body raises comes out as it is, unseen failures or not, and ends every task."""
    async with engine.open() as coordinator:
        error = KeyError("the body's")
        async with failing_body(coordinator, board, error, on_failure) as tasks:
            assert [t.state for t in tasks] == ["failed", "cancelled", "cancelled"]
            with pytest.raises(TaskCancelled):
                await tasks[1].result()
        assert coordinator.graphs == ()


async def test_cancelling_the_body_cancels_the_graph(engine: Engine, board: Board) -> None:
    """A cancel scope around a graph ends its tasks, and raises nothing else."""
    async with engine.open() as coordinator:
        with trio.CancelScope() as scope:
            async with coordinator.open_graph("scope") as graph:
                tasks = [graph.create_task(hold, board, "held"), graph.create_task(fail)]
                await board.wait_for("held runs")
                await tasks[1].wait()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert [t.state for t in tasks] == ["cancelled", "failed"]


async def test_a_closed_graph_takes_nothing_more(engine: Engine) -> None:
    """After its end a graph refuses tasks, and what is left of it can still be read."""
    async with engine.open() as coordinator:
        async with coordinator.open_graph("closed") as graph:
            task = graph.create_task(echo, 1)
        with pytest.raises(GraphError, match="graph 'closed' has been closed"):
            graph.create_task(echo, 2)
        with pytest.raises(GraphError, match="graph 'closed' has been closed"):
            graph.add_predecessor(task, task)
        graph.cancel()
        task.cancel()
        assert await task.result() == 1
        assert [t async for t in graph.as_completed()] == [task]
        await graph.wait_finished()
    with pytest.raises(GraphError, match="the coordinator has been closed"):
        async with coordinator.open_graph("too late"):
            pass
    with pytest.raises(GraphError, match="on_failure must be"):
        async with engine.graph("wrong", on_failure="whatever"):  # type: ignore[arg-type]
            pass


async def test_an_empty_graph_ends_at_once(engine: Engine) -> None:
    """A graph without tasks is finished, and starts no worker."""
    async with engine.open() as coordinator:
        async with coordinator.open_graph() as graph:
            await graph.wait_finished()
            assert [t async for t in graph.as_completed()] == []
        assert coordinator.workers == ()


async def test_cancel_takes_no_one_who_waits_for_one_who_asks(engine: Engine, board: Board) -> None:
    """With "cancel" a failure is not seen by `wait`, nor by a `result` that was given up before."""

    async def only_wait(bad: Any) -> None:
        await bad.wait()

    async def ask_and_give_up(bad: Any) -> None:
        with trio.move_on_after(0.01):
            await bad.result()
        board.open(bad.name)

    async with engine.open() as coordinator:
        for look in (only_wait, ask_and_give_up):
            name = look.__name__
            with pytest.raises(ExceptionGroup) as caught:
                async with coordinator.open_graph(name, on_failure="cancel") as graph:
                    held = graph.create_task(trio.sleep_forever)
                    bad = graph.create_task(_fail_at_gate, board, name, name=name)
                    if look is only_wait:
                        board.open(name)
                    await look(bad)
            assert all_told(caught.value.exceptions) == [failed(bad)]
            assert (held.state, bad.state) == ("cancelled", "failed")


async def _fail_at_gate(board: Board, gate: str) -> None:
    await board.pass_gate(gate)
    raise ValueError("no")


async def test_a_failure_handled_in_a_task_leaves_the_others_alone(engine: Engine) -> None:
    """With "cancel", while the graph is being left: who awaits a child's result has seen it."""

    async def parent() -> str:
        try:
            await current_task().create_task(fail).result()
        except TaskFailed:
            return "handled"
        return "never"

    async with engine.open() as coordinator:
        async with coordinator.open_graph("strict", on_failure="cancel") as graph:
            task = graph.create_task(parent)
        assert [t.state for t in graph.tasks] == ["succeeded", "failed"]
        assert task.result_nowait() == "handled"
