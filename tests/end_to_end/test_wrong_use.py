"""End to end: wrong use is refused at the call that was wrong, and disturbs nothing else.

Most cases need no process of their own. In each of those a graph runs beside, and must finish as if
nothing had been.
"""

from __future__ import annotations

import copy
import os
import pickle
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trio_actor_graph import (
    Coordinator,
    CycleError,
    GraphError,
    PayloadError,
    Task,
    TaskFailed,
    TaskGraph,
    TaskSkipped,
    WorkerLoop,
    WorkerStartError,
    completed,
    current_task,
    open_coordinator,
    succeeded,
)
from trio_actor_graph.graph.scheduler import FAILED_STARTS_MAX

# What is refused when a coordinator is opened


def f() -> str:
    return "f"


def g() -> str:
    return "g"


def other_f() -> str:
    return "another"


other_f.__name__ = "f"


def produce() -> Iterator[int]:
    yield 1


class Callable_:  # noqa: N801
    def method(self) -> None: ...


OBJECT = Callable_()
LOOPS: dict[str, tuple[Callable[[], Any], str]] = {
    "a loop without a name": (lambda: [WorkerLoop("")], "worker loop.*''"),
    "a loop with a number for a name": (lambda: [WorkerLoop(7)], "worker loop.*7"),  # type: ignore[arg-type]
    "concurrency 0": (lambda: [WorkerLoop("a", concurrency=0)], "'a': concurrency.*0"),
    "concurrency below 0": (lambda: [WorkerLoop("a", concurrency=-3)], "'a': concurrency.*-3"),
    "concurrency of a half": (lambda: [WorkerLoop("a", concurrency=0.5)], "'a': concurrency.*0.5"),  # type: ignore[arg-type]
    "concurrency yes": (lambda: [WorkerLoop("a", concurrency=True)], "'a': concurrency.*True"),
    "concurrency below processes": (
        lambda: [WorkerLoop("a", concurrency=2, processes=3)],
        "'a': concurrency 2 .* 3 processes",
    ),
    "processes below 0": (lambda: [WorkerLoop("a", processes=-1)], "'a': processes.*-1"),
    "processes of text": (lambda: [WorkerLoop("a", processes="2")], "'a': processes.*'2'"),  # type: ignore[arg-type]
    "heartbeat_timeout_seconds 0": (
        lambda: [WorkerLoop("a", heartbeat_timeout_seconds=0)],
        "'a': heartbeat_timeout_seconds.*0",
    ),
    "memory of a half": (
        lambda: [WorkerLoop("a", memory_bytes_soft_max=0.5)],  # type: ignore[arg-type]
        "'a': memory_bytes_soft_max.*0.5",
    ),
    "memory 0": (
        lambda: [WorkerLoop("a", memory_bytes_hard_max=0)],
        "'a': memory_bytes_hard_max.*0",
    ),
    "tasks_max 0": (lambda: [WorkerLoop("a", tasks_max=0)], "'a': tasks_max.*0"),
    "tasks_max where nothing can be replaced": (
        lambda: [WorkerLoop("a", processes=0, tasks_max=3)],
        "'a': tasks_max needs processes",
    ),
    "functions: text": (lambda: [WorkerLoop("a", functions="f")], "'a': functions.*'f'"),
    "functions: one function": (
        lambda: [WorkerLoop("a", functions=f)],
        "'a': functions.*function f",
    ),  # type: ignore[arg-type]
    "functions: a number among them": (lambda: [WorkerLoop("a", functions=[f, 7])], "'a'.*7"),  # type: ignore[list-item]
    "functions: an unknown name": (lambda: [WorkerLoop("a", functions=["h"])], "'a'.*unknown.*'h'"),
    "functions: a generator function": (
        lambda: [WorkerLoop("a", functions=[produce])],
        "produce.*generator",
    ),
    "setup: no function": (lambda: [WorkerLoop("a", setup=7)], "'a': setup.*7"),  # type: ignore[arg-type]
    "two loops of one name": (
        lambda: [WorkerLoop("a"), WorkerLoop("b"), WorkerLoop("a")],
        "two.*'a'",
    ),
    "a function in two loops": (
        lambda: [WorkerLoop("a", functions=[f]), WorkerLoop("b", functions=[f])],
        "'f'.*twice.*'a'.*'b'",
    ),
    "a function in one loop twice": (
        lambda: [WorkerLoop("a", functions=[f, g, f])],
        "'f'.*twice.*'a'",
    ),
    "a method in two loops": (
        lambda: [
            WorkerLoop("a", functions=[OBJECT.method]),
            WorkerLoop("b", functions=[OBJECT.method]),
        ],
        "'method'.*twice.*'a'.*'b'",
    ),
    "a function by name and by itself": (
        lambda: [WorkerLoop("a", functions=["g"]), WorkerLoop("b", functions=[g])],
        "'g'.*twice.*'a'.*'b'",
    ),
    "loops: a number": (lambda: 7, "worker_loops.*7"),
    "loops: text": (lambda: "default", "worker_loops.*'default'"),
    "loops: one loop": (lambda: WorkerLoop("a"), "worker_loops.*'a'"),
    "loops: a number among them": (lambda: [WorkerLoop("a"), 7], "7"),
    "loops: a mapping to text": (lambda: {"a": "4"}, "'a': concurrency.*'4'"),
    "loops: a mapping to 0": (lambda: {"a": 0}, "'a': concurrency.*0"),
}


@pytest.mark.parametrize(("loops", "told"), LOOPS.values(), ids=LOOPS.keys())
async def test_worker_loops_are_checked_when_they_are_made(
    loops: Callable[[], Any], told: str
) -> None:
    """The message names the loop and the value."""
    with pytest.raises(GraphError, match=told):
        async with open_coordinator(loops(), functions=[g]):
            pytest.fail("it was opened")


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "functions: a number": ({"functions": 7}, "functions.*7"),
    "functions: a number among them": ({"functions": [f, 7]}, "functions.*7"),
    "functions: a name of none": ({"functions": {"h": 7}}, "'h'.*7"),
    "functions: a number for a name": ({"functions": {7: f}}, "7"),
    "functions: two of one name": ({"functions": [f, other_f]}, "two functions.*'f'"),
    "functions: a generator function": ({"functions": [produce]}, "produce.*generator"),
    "start": ({"start": "soon"}, "start.*'soon'"),
}


@pytest.mark.parametrize(("options", "told"), OPTIONS.values(), ids=OPTIONS.keys())
async def test_options_of_a_coordinator_are_checked(options: dict[str, Any], told: str) -> None:
    """The message names the option and the value."""
    with pytest.raises(GraphError, match=told):
        async with open_coordinator(**options):
            pytest.fail("it was opened")


# What a graph refuses


class Stage:
    """Some graphs and tasks to be misused; nothing here needs a process."""

    coordinator: Coordinator
    graph: TaskGraph
    """The one that is misused."""
    done: Task[object]
    """A task of it that has succeeded."""
    running: Task[object]
    waiting: Task[object]
    """A task of it that waits for `running`."""
    other_graph: TaskGraph
    foreign: Task[object]
    """A task of `other_graph`."""
    stranger: Task[object]
    """A task of another coordinator."""
    closed_graph: TaskGraph
    old: Task[object]
    """A task of `closed_graph`."""


LOCAL = [WorkerLoop("default", processes=0, concurrency=100)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    release = trio.Event()

    async def wait_release() -> str:
        await release.wait()
        return "released"

    def beside(value: str) -> str:
        return f"{value}, undisturbed"

    async with (
        open_coordinator(LOCAL, functions=[f]) as stage.coordinator,
        open_coordinator(LOCAL) as other_coordinator,
    ):
        async with stage.coordinator.open_graph("closed") as stage.closed_graph:
            stage.old = stage.closed_graph.create_task(f, name="old")
        async with (
            other_coordinator.open_graph("strange") as strange_graph,
            stage.coordinator.open_graph("other") as stage.other_graph,
            stage.coordinator.open_graph("misused") as stage.graph,
        ):
            stage.stranger = strange_graph.create_task(f, name="stranger")
            stage.foreign = stage.other_graph.create_task(wait_release, name="foreign")
            after = stage.other_graph.create_task(beside, stage.foreign)
            stage.done = stage.graph.create_task(f, name="done")
            stage.running = stage.graph.create_task(wait_release, name="running")
            stage.waiting = stage.graph.create_task(beside, stage.running, name="waiting")
            await stage.done.wait()
            await trio.testing.wait_all_tasks_blocked()
            before = stage.graph.counts(), stage.other_graph.counts()
            tasks = stage.graph.tasks
            yield stage
            assert (stage.graph.counts(), stage.other_graph.counts()) == before
            assert stage.graph.tasks == tasks
            release.set()
            assert await after.result() == "released, undisturbed"
            assert await stage.waiting.result() == "released, undisturbed"


LOCK = threading.Lock()
CALLS: dict[str, tuple[Callable[[Stage], object], str]] = {
    "an unknown function": (
        lambda s: s.graph.create_task("h"),
        "unknown function 'h': registered are 'f'",
    ),
    "no function": (lambda s: s.graph.create_task(7), "7"),  # type: ignore[call-overload]
    "a generator function": (lambda s: s.graph.create_task(produce), "produce.*generator"),
    "an unknown worker loop": (
        lambda s: s.graph.create_task(f, worker_loop="fast"),
        "unknown worker loop 'fast': there are 'default'",
    ),
    # conditions
    "waits on a task of another graph": (
        lambda s: s.graph.create_task(f, waits_on=s.foreign),
        "'f'.*{foreign}.*graph 'misused'",
    ),
    "waits on a task of another coordinator": (
        lambda s: s.graph.create_task(f, waits_on=completed(s.stranger)),
        "'f'.*{stranger}.*graph 'misused'",
    ),
    "waits on a task of a closed graph": (
        lambda s: s.graph.create_task(f, waits_on=[s.old]),
        "'f'.*{old}.*graph 'misused'",
    ),
    "one foreign task among many": (
        lambda s: s.graph.create_task(
            f, waits_on=completed(s.done) & succeeded([s.done, s.foreign])
        ),
        "'f'.*{foreign}.*graph 'misused'",
    ),
    "the result of a task of another graph": (
        lambda s: s.graph.create_task(len, [s.foreign], name="asks"),
        "'asks'.*{foreign}.*graph 'misused'",
    ),
    "the result of a task of another coordinator": (
        lambda s: s.graph.create_task(len, {"k": s.stranger}),
        "'len'.*{stranger}.*graph 'misused'",
    ),
    "at_least larger than the tasks": (
        lambda s: s.graph.create_task(f, waits_on=completed(s.done, s.running, at_least=3)),
        r"completed\(at_least=3\).*2 task",
    ),
    "at_least larger than the different tasks": (
        lambda s: succeeded(s.done, s.done, at_least=2),
        r"succeeded\(at_least=2\).*1 task",
    ),
    "at_least 0": (lambda s: succeeded(s.done, at_least=0), r"at_least=0\)"),
    "at_least below 0": (lambda s: completed(s.done, at_least=-1), r"at_least=-1\)"),
    "at_least of a half": (lambda s: completed(s.done, at_least=0.5), r"at_least=0.5\)"),  # type: ignore[arg-type]
    "at_least yes": (lambda s: completed(s.done, at_least=True), r"at_least=True\)"),
    "a condition on no tasks": (lambda s: completed(), r"completed\(\).*no tasks"),
    "a condition on an empty list": (lambda s: succeeded([]), r"succeeded\(\).*no tasks"),
    "waits_on: an empty list": (lambda s: s.graph.create_task(f, waits_on=[]), "waits_on is empty"),
    "waits_on: a number": (lambda s: s.graph.create_task(f, waits_on=7), "7"),  # type: ignore[call-overload]
    "waits_on: text": (lambda s: s.graph.create_task(f, waits_on="done"), "'done'"),
    "waits_on: a graph": (lambda s: s.graph.create_task(f, waits_on=s.graph), "misused"),  # type: ignore[call-overload]
    "waits_on: a list of numbers": (lambda s: s.graph.create_task(f, waits_on=[7]), "7"),  # type: ignore[list-item]
    "a condition on a uid": (lambda s: completed(s.done.uid), "not a task: {done}"),  # type: ignore[arg-type]
    "a condition on a condition": (lambda s: completed(completed(s.done)), "is a condition"),  # type: ignore[arg-type]
    "a condition and a number": (lambda s: completed(s.done) & 7, "7"),
    "a condition or nothing": (lambda s: completed(s.done) | None, "None"),
    # options
    "name": (lambda s: s.graph.create_task(f, name=7), "name.*7"),  # type: ignore[call-overload]
    "priority: text": (lambda s: s.graph.create_task(f, priority="high"), "priority.*'high'"),  # type: ignore[call-overload]
    "priority: a half": (lambda s: s.graph.create_task(f, priority=0.5), "priority.*0.5"),  # type: ignore[call-overload]
    "priority: too large to travel": (
        lambda s: s.graph.create_task(f, priority=1 << 70),
        "priority",
    ),
    "retries: below 0": (lambda s: s.graph.create_task(f, retries=-1), "retries.*-1"),
    "retries: yes": (lambda s: s.graph.create_task(f, retries=True), "retries.*True"),
    "retries: a half": (lambda s: s.graph.create_task(f, retries=0.5), "retries.*0.5"),  # type: ignore[call-overload]
    "timeout: 0": (lambda s: s.graph.create_task(f, timeout_seconds=0), "timeout_seconds.*0"),
    "timeout: below 0": (lambda s: s.graph.create_task(f, timeout_seconds=-1.5), "timeout_.*-1.5"),
    "timeout: no number": (
        lambda s: s.graph.create_task(f, timeout_seconds=float("nan")),
        "timeout_seconds.*nan",
    ),
    "timeout: text": (lambda s: s.graph.create_task(f, timeout_seconds="1"), "timeout_.*'1'"),  # type: ignore[call-overload]
    "worker_loop: a loop": (
        lambda s: s.graph.create_task(f, worker_loop=LOCAL[0]),  # type: ignore[call-overload]
        "worker_loop.*WorkerLoop",
    ),
    "on_failure": (lambda s: s.coordinator.open_graph(on_failure="ignore"), "on_failure.*'ignore'"),  # type: ignore[arg-type]
    "a graph with a number for a name": (lambda s: s.coordinator.open_graph(7), "name.*7"),  # type: ignore[arg-type]
    # arguments
    "an argument that cannot travel": (
        lambda s: s.graph.create_task(len, [0, LOCK], name="asks"),
        r"task 'asks': argument 1\[1\].*_thread.lock",
    ),
    "a graph as an argument": (
        lambda s: s.graph.create_task(len, s.graph),
        "task 'len': argument 1",
    ),
    "the coordinator as an argument": (
        lambda s: s.graph.create_task(len, s.coordinator),
        "task 'len': argument 1",
    ),
    # handles
    "a task pickled": (lambda s: pickle.dumps(s.done), "'done'.*argument"),
    "a task copied in depth": (lambda s: copy.deepcopy([s.done]), "'done'.*argument"),
    "a result too early": (lambda s: s.running.result_nowait(), "'running'.*'running'"),
    "current_task() outside of a task": (lambda s: current_task(), r"current_task\(\).*outside"),
    # predecessors
    "a predecessor for one that has ended": (
        lambda s: s.graph.add_predecessor(s.done, s.running),
        "too late.*'done'.*'succeeded'",
    ),
    "a predecessor for one that runs": (
        lambda s: s.graph.add_predecessor(s.running, s.done),
        "too late.*'running'.*'running'",
    ),
    "a predecessor for a foreign task": (
        lambda s: s.graph.add_predecessor(s.foreign, s.done),
        "'foreign'.*graph 'misused'",
    ),
    "a predecessor for a strange task": (
        lambda s: s.graph.add_predecessor(s.stranger, s.done),
        "'stranger'.*graph 'misused'",
    ),
    "a foreign predecessor": (
        lambda s: s.graph.add_predecessor(s.waiting, s.foreign),
        "'waiting'.*{foreign}.*graph 'misused'",
    ),
    "no predecessor": (lambda s: s.graph.add_predecessor(s.waiting, None), "None"),
    "a number as predecessor": (lambda s: s.graph.add_predecessor(s.waiting, 7), "7"),  # type: ignore[arg-type]
    "a predecessor for a number": (lambda s: s.graph.add_predecessor(7, s.done), "7"),  # type: ignore[arg-type]
    "a predecessor on a closed graph": (
        lambda s: s.closed_graph.add_predecessor(s.old, s.old),
        "graph 'closed' has been closed",
    ),
    "a task on a closed graph": (
        lambda s: s.closed_graph.create_task(f),
        "graph 'closed' has been closed",
    ),
    "a wait on itself": (
        lambda s: s.graph.add_predecessor(s.waiting, s.waiting),
        "'waiting'.*{waiting}.*waits on.*'waiting'.*{waiting}",
    ),
}


async def call(function: Callable[[Stage], object], stage: Stage) -> None:
    value = function(stage)
    if hasattr(value, "__aenter__"):
        async with value:
            pytest.fail("it was opened")


@pytest.mark.parametrize(("function", "told"), CALLS.values(), ids=CALLS.keys())
async def test_a_wrong_call_is_refused_and_changes_nothing(
    function: Callable[[Stage], object], told: str, stage: Stage
) -> None:
    """A GraphError at the call names the thing and the value; both graphs finish as they would."""
    names = ("done", "running", "waiting", "foreign", "stranger", "old")
    for name in names:
        told = told.replace(f"{{{name}}}", str(getattr(stage, name).uid))
    with pytest.raises(GraphError, match=re.compile(told, re.DOTALL)):
        await call(function, stage)


@pytest.mark.parametrize("length", [2, 3, 50])
async def test_a_cycle_of_waits_is_refused_with_its_names(length: int, stage: Stage) -> None:
    """The message is the cycle, in order; of a long one both ends and how much is left out."""
    async with stage.coordinator.open_graph("cycle") as graph:
        gate = graph.create_task(trio.sleep_forever, name="gate")
        tasks = [graph.create_task(f, waits_on=gate, name="t0")]
        for number in range(1, length):
            tasks.append(graph.create_task(f, waits_on=tasks[-1], name=f"t{number}"))
        with pytest.raises(CycleError) as caught:
            graph.add_predecessor(tasks[0], tasks[-1])
        numbers = re.findall(r"'t(\d+)'", str(caught.value))
        assert numbers[0] == numbers[-1] == "0"
        assert numbers[1] == str(length - 1)
        if length <= 20:
            assert numbers == ["0", *map(str, reversed(range(length)))]
        else:
            assert re.search(r"\.\.\. \d+ more \.\.\.", str(caught.value))
        assert graph.counts()["waiting"] == length
        graph.cancel()


async def test_a_refused_predecessor_leaves_its_condition_as_it_was(stage: Stage) -> None:
    """What was refused once does not count among what a task waits for."""
    async with stage.coordinator.open_graph("cycle") as graph:
        release = trio.Event()
        gate = graph.create_task(release.wait, name="gate")
        first = graph.create_task(f, waits_on=gate, name="first")
        second = graph.create_task(f, waits_on=first, name="second")
        for wrong in (second, first, [gate, second], completed(second) & succeeded(gate)):
            with pytest.raises(CycleError):
                graph.add_predecessor(first, wrong)
        with pytest.raises(GraphError):
            graph.add_predecessor(first, [gate, stage.foreign])
        assert first.predecessors == (gate,)
        release.set()
        assert await second.result() == "f"


# What a task may not do


def add_late() -> None:
    me = current_task()
    child = me.create_task(f, name="child")
    me.add_predecessor(child, child)


def create_unknown() -> None:
    current_task().create_task("h")


def choose_unknown() -> None:
    current_task().create_task(f, worker_loop="fast")


def pass_itself() -> None:
    current_task().create_task(len, current_task(), name="child")


def pickle_itself() -> None:
    pickle.dumps(current_task())


def return_tasks() -> Any:
    return [current_task().create_task(f, name="child")]


def wait_too_much() -> None:
    child = current_task().create_task(f)
    current_task().create_task(f, waits_on=completed(child, at_least=2))


def ask_in_a_thread() -> None:
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            current_task()
        except GraphError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    raise errors[0]


def ask_for_too_much() -> Any:
    child = current_task().create_task(f, name="child")
    return child.result_nowait()


def wrong_option() -> None:
    current_task().create_task(f, retries=-1)


def wait_on_itself() -> None:
    current_task().create_task(f, current_task())


MISDEEDS: dict[Callable[[], Any], str] = {
    add_late: "'child'",
    create_unknown: "unknown function 'h'",
    choose_unknown: "unknown worker loop 'fast'",
    pass_itself: r"task 'child': argument 1.*current_task\(\) cannot be sent",
    pickle_itself: r"current_task\(\) cannot be sent",
    return_tasks: r"the result of task 'return_tasks'\[0\].*'child'",
    wait_too_much: r"at_least=2\)",
    ask_in_a_thread: r"current_task\(\).*outside",
    ask_for_too_much: "'child'.*result_nowait",
    wrong_option: "retries.*-1",
    wait_on_itself: "argument 1",
}


@pytest.mark.parametrize("processes", [0, 1], ids=["in the app", "in a process"])
async def test_a_task_that_does_wrong_fails_alone(processes: int) -> None:
    """Its error says what was wrong, as a GraphError where it can be caught; all others go on."""
    loops = [WorkerLoop("default", processes=processes)]
    async with open_coordinator(loops, functions=[f]) as coordinator:
        async with coordinator.open_graph(on_failure="continue") as graph:
            tasks = {told: graph.create_task(misdeed) for misdeed, told in MISDEEDS.items()}
            after = graph.create_task(g, waits_on=completed(tasks.values()))
            assert await after.result() == "g"
            for told, task in tasks.items():
                with pytest.raises(TaskFailed, match=re.compile(told, re.DOTALL)) as caught:
                    await task.result()
                assert isinstance(caught.value.__cause__, GraphError), task
        async with coordinator.open_graph() as graph:
            assert await graph.create_task("f").result() == "f"


async def test_a_task_that_has_ended_can_do_nothing_more() -> None:
    """`current_task()` kept beyond the end of its task: refused, not swallowed."""
    kept: list[Any] = []

    def keep() -> None:
        kept.append(current_task())
        kept.append(current_task().create_task(f))

    async with open_coordinator(LOCAL) as coordinator, coordinator.open_graph() as graph:
        await graph.create_task(keep).result()
        await graph.wait_finished()
        me, child = kept
        for act in (
            lambda: me.create_task(f),
            lambda: me.add_predecessor(child, child),
        ):
            with pytest.raises(GraphError, match=r"'keep'.*ended"):
                act()
        assert graph.counts()["succeeded"] == 2


async def test_a_task_inside_a_function_is_no_argument() -> None:
    """A function that closes over a task is refused with its name, where it is first used."""
    loops = [WorkerLoop("default")]
    async with open_coordinator(loops) as coordinator, coordinator.open_graph() as graph:
        task = graph.create_task(f, worker_loop="default", name="closed over")
        with pytest.raises(PayloadError, match=r"function .*<lambda>.*'closed over'"):
            graph.create_task(lambda: task)
        with pytest.raises(PayloadError, match=r"function .*Callable_"):
            graph.create_task(with_lock())
        task.cancel()


def with_lock() -> Any:
    class Callable_:  # noqa: N801
        def __init__(self) -> None:
            self.lock = LOCK

        def __call__(self) -> None: ...

    return Callable_()


# After the end


async def test_a_closed_graph_takes_nothing_and_still_tells() -> None:
    """Results, errors and explanations of its tasks stay; whatever would change it is refused."""

    def fail() -> None:
        raise ValueError("on purpose")

    async with (
        open_coordinator(LOCAL) as coordinator,
        coordinator.open_graph("first", on_failure="continue") as graph,
    ):
        good, bad = graph.create_task(f), graph.create_task(fail)
        skipped = graph.create_task(f, waits_on=bad)
    with pytest.raises(GraphError, match="the coordinator has been closed"):
        async with coordinator.open_graph():
            pytest.fail("it was opened")
    with pytest.raises(GraphError, match="'first' has been closed"):
        graph.create_task(f)
    with pytest.raises(GraphError, match="'first' has been closed"):
        graph.add_predecessor(skipped, good)
    graph.cancel()
    good.cancel()
    with trio.fail_after(1):
        assert await good.result() == good.result_nowait() == "f"
        await graph.wait_finished()
        await bad.wait()
        with pytest.raises(TaskFailed, match="on purpose"):
            await bad.result()
        with pytest.raises(TaskSkipped, match="'fail'"):
            await skipped.result()
        assert [task async for task in graph.as_completed()] == [good, bad, skipped]
    assert [task.state for task in graph.tasks] == ["succeeded", "failed", "skipped"]
    assert "fail" in skipped.explain()
    assert coordinator.graphs == ()
    assert coordinator.statistics().workers == ()


async def test_a_graph_that_outlives_its_coordinator_ends() -> None:
    """Left by another task first, the coordinator takes the graph's tasks along; nobody waits."""
    begun = trio.Event()
    told: list[object] = []

    async def use(coordinator: Coordinator) -> None:
        async with coordinator.open_graph("survivor", on_failure="continue") as graph:
            task = graph.create_task(trio.sleep_forever)
            waiting = graph.create_task(f, waits_on=task)
            begun.set()
            await graph.wait_finished()
            told.extend([task.state, waiting.state])
            with pytest.raises(GraphError, match=r"closed|cancelled"):
                graph.create_task(f)
            with pytest.raises(GraphError, match=r"closed|too late"):
                graph.add_predecessor(waiting, task)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery, open_coordinator(LOCAL) as coordinator:
            nursery.start_soon(use, coordinator)
            await begun.wait()
            await trio.testing.wait_all_tasks_blocked()
    assert told == ["cancelled", "cancelled"]


# Worker loops that cannot start


def broken_setup(how: str, starts: Path) -> Callable[[int], None]:
    def setup(index: int) -> None:
        with starts.open("a") as file:
            file.write("x")
        if how == "raise":
            raise RuntimeError(f"setup {index} failed")
        if how == "exit":
            sys.exit("setup left")
        os._exit(3)

    return setup


@pytest.mark.parametrize("start", ["lazy", "eager"])
@pytest.mark.parametrize(
    ("how", "told", "starts_max"),
    [
        ("raise", ["RuntimeError: setup 0 failed", "in setup", "Traceback"], 1),
        ("exit", ["SystemExit: setup left", "in setup", "Traceback"], 1),
        ("die", ["status 3"], FAILED_STARTS_MAX),
    ],
)
async def test_a_loop_whose_setup_fails_is_not_started_again_and_again(
    how: str, told: list[str], starts_max: int, start: Any, tmp_path: Path
) -> None:
    """Its traceback comes once, as a WorkerStartError naming the loop; the other loop works on."""
    starts = tmp_path / "starts"
    loops = [
        WorkerLoop("broken", setup=broken_setup(how, starts)),
        WorkerLoop("default", processes=0),
    ]
    caught: list[WorkerStartError] = []
    with trio.fail_after(30):
        if start == "eager":
            with pytest.raises(WorkerStartError) as raised:
                async with open_coordinator(loops, start="eager"):
                    pytest.fail("it was opened")
            caught.append(raised.value)
        else:
            async with open_coordinator(loops) as coordinator:
                with pytest.raises(ExceptionGroup) as group:  # noqa: PT012
                    async with coordinator.open_graph() as graph:
                        tasks = [graph.create_task(f, worker_loop="broken") for _ in range(3)]
                        beside = graph.create_task(g)
                assert beside.result_nowait() == "g"
                assert [task.state for task in tasks] == ["failed"] * 3
                (only,) = group.value.exceptions
                assert isinstance(only, WorkerStartError)
                caught.append(only)
                async with coordinator.open_graph(on_failure="continue") as graph:
                    with pytest.raises(WorkerStartError) as raised:
                        await graph.create_task(f, worker_loop="broken").result()
                    caught.append(raised.value)
                    assert await graph.create_task(g).result() == "g"
    for error in caught:
        assert "worker loop 'broken' cannot start" in str(error)
        assert all(text in str(error) for text in told)
        assert str(error).count(told[0]) == 1
    assert len(starts.read_text()) <= starts_max


@pytest.mark.parametrize("start", ["lazy", "eager"])
async def test_a_loop_whose_functions_cannot_be_imported_is_not_started_again(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import is tried in the worker before any task; its traceback is the error."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "only_once.py").write_text("def f(): pass\n")
    import only_once  # type: ignore[import-not-found]

    (tmp_path / "only_once.py").write_text("open('starts', 'a').write('x')\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    try:
        loops = [WorkerLoop("broken", functions=[only_once.f])]
        with trio.fail_after(30), pytest.raises(WorkerStartError) as caught:
            async with (
                open_coordinator(loops, start=start) as coordinator,
                coordinator.open_graph(on_failure="continue") as graph,
            ):
                await graph.create_task(only_once.f).result()
    finally:
        del sys.modules["only_once"]
    assert "worker loop 'broken' cannot start" in str(caught.value)
    assert "ZeroDivisionError: division by zero" in str(caught.value)
    assert "only_once.py" in str(caught.value)
    assert (tmp_path / "starts").read_text() == "x"


async def test_a_setup_that_cannot_travel_is_refused_when_opening() -> None:
    """It names the loop, and says what in it is at fault."""
    lock = threading.Lock()

    def setup(index: int) -> object:
        return lock

    with pytest.raises(PayloadError, match=r"worker loop 'cpu': setup.*lock"):
        async with open_coordinator([WorkerLoop("cpu", setup=setup)]):
            pytest.fail("it was opened")


async def test_a_function_that_cannot_travel_is_refused_when_opening() -> None:
    """An assigned function is encoded at once, so that its error appears where it was written."""
    with pytest.raises(PayloadError, match=r"function .*Callable_.*lock"):
        async with open_coordinator([WorkerLoop("cpu", functions=[with_lock()])]):
            pytest.fail("it was opened")
