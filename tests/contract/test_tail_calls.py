"""Contract: a task that returns a task ends as that one."""

from __future__ import annotations

from typing import Any

import pytest

from trio_actor_graph import (
    Task,
    TaskCancelled,
    TaskFailed,
    TaskSkipped,
    completed,
    current_task,
    succeeded,
)

from .board import Board
from .bodies import (
    add,
    all_told,
    create_and_return,
    create_and_return_async,
    echo,
    fail,
    hold,
    outcomes,
    told,
)
from .conftest import Engine

CREATORS = [create_and_return, create_and_return_async]


@pytest.mark.parametrize("function", CREATORS)
async def test_a_returned_task_gives_its_result(engine: Engine, function: Any) -> None:
    """A sync or async function that returns a task has that task's result, wherever it is used."""
    async with engine.graph("tail") as graph:
        task = graph.create_task(function, add, 3, 4, name="task")
        used = graph.create_task(echo, [task, task])
        seen = graph.create_task(outcomes, waits_on=[completed(task), succeeded(task)])
        nested = graph.create_task(function, function, add, 1)
        assert await task.result() == 7
        assert await used.result() == [7, 7]
        assert await seen.result() == [(task.uid, "task", "succeeded", 7, None)]
        assert await nested.result() == 1


async def test_a_task_stays_unended_until_the_returned_one_ends(
    engine: Engine, board: Board
) -> None:
    """After its function has returned a task, a task waits for it and nothing of it runs."""
    async with engine.graph("until", engine.loop(concurrency=1)) as graph:
        task = graph.create_task(create_and_return, hold, board, "held", 5, name="outer")
        after = graph.create_task(echo, task, name="after")
        await board.wait_for("held runs")
        inner = graph.tasks[2]
        assert [t.state for t in (task, after, inner)] == ["waiting", "waiting", "running"]
        assert task.explain() == (
            f"'outer' (task {task.uid}) ends as the task it returned, "
            f"'hold' (task {inner.uid}), running"
        )
        board.open("held")
        assert await after.result() == 5


async def test_long_chains_of_tail_calls_end(engine: Engine) -> None:
    """Two thousand tasks, each returning the next, all end with the result of the last."""

    def count_down(left: int) -> Any:
        return current_task().create_task(count_down, left - 1) if left else "done"

    async def count_down_async(left: int) -> Any:
        return current_task().create_task(count_down_async, left - 1) if left else "done"

    async with engine.graph("chain") as graph:
        tasks = [graph.create_task(f, 2_000) for f in (count_down, count_down_async)]
        assert [await task.result() for task in tasks] == ["done", "done"]
        assert graph.counts()["succeeded"] == len(graph.tasks) == 2 * 2_001
        assert {task.result_nowait() for task in graph.tasks} == {"done"}


async def test_a_task_can_return_one_that_has_ended(engine: Engine) -> None:
    """A child that was awaited before it is returned gives its result, or its failure, as well."""

    async def parent(function: Any) -> Task:
        child = current_task().create_task(function, "x")
        await child.wait()
        return child

    async with engine.graph("ended", on_failure="continue") as graph:
        good, bad = [graph.create_task(parent, f) for f in (echo, fail)]
        assert await good.result() == "x"
        with pytest.raises(TaskFailed) as caught:
            await bad.result()
        text = f"task 'parent' ({bad.uid}) failed: ValueError: x"
        assert told(caught.value) == ("TaskFailed", text, ("ValueError", "x", None))


@pytest.mark.parametrize("function", CREATORS)
async def test_a_task_ends_as_the_returned_one_does(
    engine: Engine, board: Board, function: Any
) -> None:
    """A returned task that fails, is skipped or cancelled makes its creator end the same way."""

    def return_skipped() -> Task:
        bad = current_task().create_task(fail, name="bad")
        return current_task().create_task(echo, bad)

    async with engine.graph("ends", on_failure="continue") as graph:
        failed = graph.create_task(function, fail, "bad luck", name="failed")
        skipped = graph.create_task(return_skipped, name="skipped")
        cancelled = graph.create_task(function, hold, board, "held", name="cancelled")
        behind = [graph.create_task(echo, t) for t in (failed, skipped, cancelled)]
        await board.wait_for("held runs")
        next(t for t in graph.tasks if t.name == "hold").cancel()
        await graph.wait_finished()
        bad = next(t for t in graph.tasks if t.name == "bad")
        assert [t.state for t in (failed, skipped, cancelled)] == [
            "failed", "skipped", "cancelled",
        ]  # fmt: skip
        assert [t.state for t in behind] == ["skipped"] * 3
        kinds = [TaskFailed, TaskSkipped, TaskCancelled]
        errors = []
        for task, kind in zip((failed, skipped, cancelled), kinds, strict=True):
            with pytest.raises(kind) as caught:
                await task.result()
            errors.append(caught.value)
        assert all_told(errors) == [
            (
                "TaskFailed",
                f"task 'failed' ({failed.uid}) failed: ValueError: bad luck",
                ("ValueError", "bad luck", None),
            ),
            (
                "TaskSkipped",
                f"task 'skipped' ({skipped.uid}) was skipped because task 'bad' ({bad.uid}) failed",
                (
                    "TaskFailed",
                    f"task 'bad' ({bad.uid}) failed: ValueError: no",
                    ("ValueError", "no", None),
                ),
            ),
            ("TaskCancelled", f"task 'cancelled' ({cancelled.uid}) was cancelled", None),
        ]


async def test_a_tail_called_failure_is_told_once(engine: Engine) -> None:
    """At the graph's end a failure that several tasks end with is told as the outermost's."""

    def wrap(depth: int) -> Task:
        if depth:
            return current_task().create_task(wrap, depth - 1, name=f"wrap {depth - 1}")
        return current_task().create_task(fail, name="fail")

    async with engine.open() as coordinator:
        with pytest.raises(ExceptionGroup) as caught:
            async with coordinator.open_graph("once") as graph:
                outer = graph.create_task(wrap, 3, name="outer")
        text = f"task 'outer' ({outer.uid}) failed: ValueError: no"
        assert all_told(caught.value.exceptions) == [
            ("TaskFailed", text, ("ValueError", "no", None))
        ]


async def test_a_failure_returned_when_it_was_there_already_is_told_once(engine: Engine) -> None:
    """A child that has failed before it is returned makes no second failure, asked for or not."""

    async def parent() -> Task:
        child = current_task().create_task(fail, name="child")
        await child.wait()
        return child

    async with engine.open() as coordinator:
        with pytest.raises(ExceptionGroup) as caught:
            async with coordinator.open_graph("unseen") as graph:
                outer = graph.create_task(parent, name="outer")
        text = f"task 'outer' ({outer.uid}) failed: ValueError: no"
        assert all_told(caught.value.exceptions) == [
            ("TaskFailed", text, ("ValueError", "no", None))
        ]
        async with coordinator.open_graph("seen") as graph:
            with pytest.raises(TaskFailed):
                await graph.create_task(parent).result()


async def test_cancelling_the_outer_task_ends_it_only(engine: Engine, board: Board) -> None:
    """Cancelling a task that has returned another ends the one that was cancelled."""
    async with engine.graph("outer") as graph:
        outer = graph.create_task(create_and_return, hold, board, "held", 5)
        await board.wait_for("held runs")
        inner = graph.tasks[1]
        outer.cancel()
        assert (outer.state, inner.state) == ("cancelled", "running")
        board.open("held")
        assert await inner.result() == 5
        assert outer.state == "cancelled"


async def test_a_task_cannot_travel_inside_a_result(engine: Engine) -> None:
    """A task inside a returned list is the task's failure, which says what can be done instead."""

    def parent() -> list[Task]:
        return [current_task().create_task(echo, name="child")]

    async def parent_async() -> dict[str, Task]:
        return {"a": current_task().create_task(echo, name="child")}

    async with engine.graph("inside") as graph:
        for function, where in ((parent, "[0]"), (parent_async, "['a']")):
            task = graph.create_task(function, name="parent")
            with pytest.raises(TaskFailed) as caught:
                await task.result()
            cause = caught.value.__cause__
            assert type(cause).__name__ == "PayloadError"
            assert str(cause).startswith(f"the result of task 'parent'{where} cannot be sent ")
            assert "a task can be an argument, or be returned by itself" in str(cause)
