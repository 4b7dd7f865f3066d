"""Contract: the oddest exceptions and results arrive as something useful, and harm nobody.

The worker of each story has one slot and one process. It runs one odd function after the other,
and between them a sane one, which tells whether it is still the same process. What is merely
unusual is in `test_failures.py` and `test_results.py`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trio_actor_graph import PayloadError, Task, TaskFailed, TaskGraph, current_task

from . import odd_values as odd
from .bodies import echo
from .conftest import Engine


async def call_async(function: Callable[[], Any]) -> Any:
    """The same inside a coroutine function, where another way leads home."""
    await trio.lowlevel.checkpoint()
    return function()


def as_plain(graph: TaskGraph, function: Callable[[], Any]) -> Task[Any]:
    return graph.create_task(function)


def as_async(graph: TaskGraph, function: Callable[[], Any]) -> Task[Any]:
    return graph.create_task(call_async, function, name=function.__name__)


WAYS = pytest.mark.parametrize("create", [as_plain, as_async])


@asynccontextmanager
async def one_worker(engine: Engine, name: str) -> AsyncIterator[TaskGraph]:
    """A graph with one slot in one process that lives until the end."""
    async with engine.graph(name, engine.loop(concurrency=1), on_failure="continue") as graph:
        pid = await graph.create_task(os.getpid).result()
        yield graph
        assert await graph.create_task(os.getpid).result() == pid


async def failure(graph: TaskGraph, task: Task[Any]) -> TaskFailed:
    """How an odd task has failed; a sane one is run after it."""
    await task.wait()
    assert await graph.create_task(echo, "sane").result() == "sane"
    with pytest.raises(TaskFailed) as caught:
        await task.result()
    assert caught.value.task_uid == task.uid
    assert str(task.error) == str(caught.value)
    return caught.value


@WAYS
async def test_odd_exceptions_are_told_by_type_text_and_traceback(
    engine: Engine, create: Callable[..., Task[Any]]
) -> None:
    """Each names its type, what can be had of its text, and where in the worker it was raised."""
    async with one_worker(engine, "raised") as graph:
        for case in odd.RAISED:
            name = case.function.__name__
            task = create(graph, case.function)
            error = await failure(graph, task)
            first = f"task {name!r} ({task.uid}) failed: {case.type_name}: {case.text}"
            assert str(error).startswith(first)
            assert "Traceback (most recent call last):" in error.remote_traceback
            assert f", in {name}" in error.remote_traceback
            assert case.type_name.rpartition(".")[2] in error.remote_traceback
            assert len(str(error)) < 300_000
            cause = error.__cause__
            assert (name, cause and type(cause).__name__) == (name, case.cause)


async def test_an_exception_that_only_its_worker_can_make_is_told_by_text(
    process_engine: Engine,
) -> None:
    """What cannot be made again in the app has no `__cause__`, and everything else is there."""
    async with one_worker(process_engine, "app") as graph:
        task = graph.create_task(odd.raise_in_app_only)
        error = await failure(graph, task)
        assert error.__cause__ is None
        assert str(error).splitlines()[0] == (
            f"task 'raise_in_app_only' ({task.uid}) failed: {odd.HERE}.RaisesInApp: x"
        )
        assert ", in raise_in_app_only" in error.remote_traceback


async def test_an_interrupt_deep_in_a_group_fails_its_task_only(process_engine: Engine) -> None:
    """A process of its own takes KeyboardInterrupt for the task's, however it is wrapped."""
    async with one_worker(process_engine, "interrupt") as graph:
        for create in (as_plain, as_async):
            error = await failure(graph, create(graph, raise_wrapped_interrupt))
            assert isinstance(error.__cause__, BaseExceptionGroup)
            assert error.__cause__.subgroup(KeyboardInterrupt) is not None


def raise_wrapped_interrupt() -> None:
    inner = BaseExceptionGroup("inner", [KeyboardInterrupt(), ValueError(1)])
    raise BaseExceptionGroup("outer", [inner])


async def test_an_odd_exception_goes_down_the_graph(engine: Engine) -> None:
    """Skipped successors, and tasks that look at a failed predecessor, meet it unharmed."""
    async with one_worker(engine, "down") as graph:
        for case in odd.RAISED:
            child = graph.create_task(await_failing, case.function)
            type_name, cause = await child.result()
            assert (type_name, cause) == (case.type_name, case.cause)


async def await_failing(function: Callable[[], Any]) -> tuple[str, str | None]:
    task = current_task().create_task(function, name="t")
    try:
        await task.result()
    except TaskFailed as error:
        told = str(error).split(" failed: ", 1)[1].split(": ", 1)[0]
        return told, error.__cause__ and type(error.__cause__).__name__
    raise AssertionError("it did not fail")


@WAYS
async def test_results_that_cannot_travel_name_what_and_where(
    engine: Engine, create: Callable[..., Task[Any]]
) -> None:
    """They fail their task with the place and type of what could not be pickled."""
    async with one_worker(engine, "refused") as graph:
        for case in odd.REFUSED:
            name = case.function.__name__
            error = await failure(graph, create(graph, case.function))
            told = str(error).splitlines()[0]
            assert (name, type(error.__cause__).__name__) == (name, case.cause)
            assert [part for part in case.parts if part not in told] == [], told
            if case.cause == "PayloadError":
                assert f"the result of task {name!r}" in told


@WAYS
async def test_odd_results_arrive_whole(engine: Engine, create: Callable[..., Task[Any]]) -> None:
    """In the app, and in a task that takes them as an argument."""
    async with one_worker(engine, "kept") as graph:
        for case in odd.KEPT:
            task = create(graph, case.function)
            assert case.is_whole(await task.result()), case.function.__name__
            taken = graph.create_task(is_whole, case.function.__name__, task)
            assert await taken.result() is True, case.function.__name__


def is_whole(name: str, value: Any) -> bool:
    return next(case for case in odd.KEPT if case.function.__name__ == name).is_whole(value)


@pytest.mark.parametrize(
    ("raised", "type_name"), odd.FAILING_ON_ARRIVAL, ids=[n for _, n in odd.FAILING_ON_ARRIVAL]
)
async def test_a_result_that_fails_on_arrival_is_a_payload_error(
    engine: Engine, raised: type[BaseException], type_name: str
) -> None:
    """Whatever making it again raises, asking for it raises an error that names the task."""
    async with one_worker(engine, "arrival") as graph:
        task = graph.create_task(odd.return_failing_on_arrival, raised, name="t")
        await task.wait()
        for ask in (task.result_nowait, task.result_nowait):
            with pytest.raises(PayloadError, match=rf"'t' \(task {task.uid}\).*{type_name}"):
                ask()
        assert task.state == "succeeded"
        user = graph.create_task(echo, task, name="user")
        error = await failure(graph, user)
        assert type_name in str(error)
        asking = graph.create_task(ask_child, raised)
        assert type_name in str(await failure(graph, asking))


async def ask_child(raised: type[BaseException]) -> Any:
    child = current_task().create_task(odd.return_failing_on_arrival, raised)
    return await child.result()
