"""Contract: what a graph and its tasks tell of themselves, and how one waits for them."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trio_actor_graph import (
    CoordinatorStatistics,
    GraphError,
    RunTime,
    Task,
    completed,
    current_task,
    succeeded,
)

from .board import Board
from .bodies import add, create, echo, fail, hold, noop
from .conftest import Engine


async def test_tasks_come_in_the_order_of_their_end(engine: Engine, board: Board) -> None:
    """`as_completed` gives each task once, those that have ended already first, in order of end."""
    async with engine.graph("order") as graph:
        held = {name: graph.create_task(hold, board, name) for name in "abcd"}
        for name in held:
            await board.wait_for(f"{name} runs")
        board.open("c")
        await held["c"].wait()
        seen = []
        async for task in graph.as_completed():
            seen.append(task)
            if len(seen) < 4:
                board.open("dab"[len(seen) - 1])
        assert seen == [held[name] for name in "cdab"]
        again = [task async for task in graph.as_completed()]
        assert sorted(t.uid for t in again) == sorted(t.uid for t in seen)


async def test_every_kind_of_end_is_told(engine: Engine, board: Board) -> None:
    """Failed, skipped and cancelled tasks are given by `as_completed` too."""
    async with engine.graph("ends", on_failure="continue") as graph:
        bad = graph.create_task(fail)
        graph.create_task(echo, bad)
        graph.create_task(echo, waits_on=completed(bad))
        held = graph.create_task(hold, board, "held")
        states = {}
        async for task in graph.as_completed():
            states[task] = task.state
            if len(states) == 3:
                held.cancel()
        expected = ["failed", "skipped", "succeeded", "cancelled"]
        assert [states[task] for task in graph.tasks] == expected


async def test_an_end_just_before_the_iteration_is_told_once(engine: Engine, board: Board) -> None:
    """What the reader itself ended a moment before is given once, like the others."""
    async with engine.graph("moment", on_failure="continue") as graph:
        bad = graph.create_task(fail)
        await bad.wait()
        held, gone = [graph.create_task(hold, board, name) for name in ("held", "gone")]
        await board.wait_for("held runs")
        gone.cancel()
        skipped = graph.create_task(noop, waits_on=bad)
        seen = []
        async for task in graph.as_completed():
            seen.append(task)
            if len(seen) == 3:
                board.open("held")
        assert sorted(t.uid for t in seen) == [bad.uid, held.uid, gone.uid, skipped.uid]
        assert seen[-1] == held


async def test_tasks_born_meanwhile_are_told(engine: Engine) -> None:
    """The iteration goes on for tasks that were created since, by tasks and by the reader."""
    async with engine.graph("born") as graph:
        graph.create_task(create, create, echo, "grandchild")
        seen = []
        async for task in graph.as_completed():
            seen.append(task)
            if len(seen) == 3:
                graph.create_task(echo, "by the reader")
        assert len(seen) == 4
        assert seen == list(graph.tasks)


async def test_readers_do_not_disturb_each_other(engine: Engine, board: Board) -> None:
    """Several readers each get every task; one that leaves early changes nothing for the others."""
    async with engine.graph("readers") as graph:
        held = [graph.create_task(hold, board, name) for name in "abc"]
        for name in "abc":
            await board.wait_for(f"{name} runs")
        seen: list[list[Task]] = [[], [], []]

        async def read(index: int, most: int, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            async for task in graph.as_completed():
                seen[index].append(task)
                if len(seen[index]) == most:
                    break

        async with trio.open_nursery() as nursery:
            for index, most in enumerate((9, 1, 9)):
                await nursery.start(read, index, most)
            for name, task in zip("bca", (held[1], held[2], held[0]), strict=True):
                board.open(name)
                await task.wait()
        order = [held[1], held[2], held[0]]
        assert seen == [order, order[:1], order]


async def test_a_cancelled_reader_leaves_the_graph_alone(engine: Engine, board: Board) -> None:
    """Giving up on `as_completed`, `result` or `wait_finished` cancels no task."""
    async with engine.graph("giving up") as graph:
        task = graph.create_task(hold, board, "held", 1)
        await board.wait_for("held runs")
        for wait in (task.result, task.wait, graph.wait_finished, graph.as_completed().__anext__):
            with trio.move_on_after(0.01) as scope:
                await wait()
            assert scope.cancelled_caught
        assert task.state == "running"
        board.open("held")
        assert await task.result() == 1


async def test_a_result_is_there_or_not(engine: Engine, board: Board) -> None:
    """`result_nowait` gives what `result` gives, or says that the task has not ended."""
    async with engine.graph("nowait") as graph:
        task = graph.create_task(hold, board, "held", 1, name="t")
        waiting = graph.create_task(noop, waits_on=task, name="w")
        await board.wait_for("held runs")
        texts = []
        for unended in (task, waiting):
            with pytest.raises(GraphError) as caught:
                unended.result_nowait()
            texts.append(str(caught.value))
        assert texts == [
            f"'t' (task {task.uid}) has no result yet: it is 'running'",
            f"'w' (task {waiting.uid}) has no result yet: it is 'waiting'",
        ]
        board.open("held")
        await task.wait()
        assert task.result_nowait() == 1


async def test_a_graph_counts_and_lists_its_tasks(engine: Engine, board: Board) -> None:
    """`counts`, `tasks`, `predecessors`, `successors` and reprs tell the graph as it is."""
    async with (
        engine.open(engine.loop(concurrency=1)) as coordinator,
        coordinator.open_graph("counted", on_failure="continue") as graph,
    ):
        assert repr(graph) == "<TaskGraph 'counted' without tasks>"
        good = graph.create_task(echo, 1, name="good")
        bad = graph.create_task(fail, name="bad")
        skipped = graph.create_task(echo, bad, name="skipped")
        await skipped.wait()
        held = graph.create_task(hold, board, "held", name="held")
        await board.wait_for("held runs")
        ready = graph.create_task(noop, name="ready")
        waiting = graph.create_task(echo, [ready, good], waits_on=held, name="waiting")
        cancelled = graph.create_task(noop, waits_on=completed(held, good), name="cancelled")
        cancelled.cancel()
        assert coordinator.graphs == (graph,)
        assert (graph.name, graph.tasks) == (
            "counted",
            (good, bad, skipped, held, ready, waiting, cancelled),
        )
        states = ("waiting", "ready", "running", "succeeded", "failed", "skipped", "cancelled")
        assert graph.counts() == dict.fromkeys(states, 1)
        assert coordinator.statistics().tasks == dict.fromkeys(states, 1)
        assert [repr(t) for t in graph.tasks] == [
            f"<Task {t.name!r} {t.uid} {t.state}>" for t in graph.tasks
        ]
        text = ", ".join(f"1 {state}" for state in states)
        assert repr(graph) == f"<TaskGraph 'counted' {text}>"
        assert [t.predecessors for t in graph.tasks] == [
            (), (), (bad,), (), (), (ready, good, held), (held, good),
        ]  # fmt: skip
        assert [t.successors for t in graph.tasks] == [
            (waiting, cancelled), (skipped,), (), (waiting, cancelled), (waiting,), (), (),
        ]  # fmt: skip
        board.open("held")


async def test_a_task_explains_its_state(engine: Engine, board: Board) -> None:
    """`explain` says what a task waits for, or where it runs, or how it ended."""
    async with (
        engine.open(engine.loop(concurrency=1)) as coordinator,
        coordinator.open_graph("explained", on_failure="continue") as graph,
    ):
        good = graph.create_task(echo, 1, name="good")
        bad = graph.create_task(fail, name="bad", retries=1)
        skipped = graph.create_task(echo, bad, name="skipped")
        more = graph.create_task(echo, skipped, name="more")
        await more.wait()
        held = graph.create_task(hold, board, "held", name="held")
        await board.wait_for("held runs")
        ready = graph.create_task(noop, name="ready")
        waiting = graph.create_task(
            echo, good, waits_on=[ready, completed(held, bad)], name="waiting"
        )
        either = graph.create_task(
            noop, waits_on=succeeded(held, ready, bad, at_least=2), name="either"
        )
        cancelled = graph.create_task(noop, waits_on=held, name="cancelled")
        cancelled.cancel()
        label = {t: f"{t.name!r} (task {t.uid})" for t in graph.tasks}
        [worker] = coordinator.workers
        h, r = f"{label[held]} [running]", f"{label[ready]} [ready]"
        assert {t.name: t.explain() for t in graph.tasks} == {
            "good": f"{label[good]} succeeded after 1 attempt",
            "bad": f"{label[bad]} failed after 2 attempts: ValueError: no",
            "skipped": f"{label[skipped]} was skipped because {label[bad]} failed",
            "more": f"{label[more]} was skipped because {label[skipped]} was skipped, "
            f"because {label[bad]} failed",
            "held": f"{label[held]} runs, attempt 1 on worker {worker.worker_loop}/{worker.index}",
            "ready": f"{label[ready]} is ready and waits for a slot of worker loop 'default' "
            "(1 worker, 0 starting, 1 task ready)",
            "waiting": f"{label[waiting]} waits for 1 more of 1 to have succeeded: {r}; "
            f"1 more of 1 to have completed: {h}",
            "either": f"{label[either]} waits for 2 more of 2 to have succeeded: {h}, {r}",
            "cancelled": f"{label[cancelled]} was cancelled after 0 attempts",
        }
        board.open("held")


async def test_handles_of_one_task_are_equal(engine: Engine) -> None:
    """Two handles of the same task are equal and have one hash, others are not."""
    async with engine.graph("equal") as graph:
        first, second = graph.create_task(noop), graph.create_task(noop)
        again = graph.tasks[0]
        assert again is not first
        assert again == first
        assert hash(again) == hash(first)
        assert first != second
        assert first != first.uid
        assert {first, second, again} == {first, second}
        assert second.uid > first.uid
        await graph.wait_finished()
        assert again == first


async def test_handles_of_one_child_are_equal_inside(engine: Engine) -> None:
    """Inside a task its children can be told apart, and be members of sets and keys of dicts."""

    def parent() -> list[bool]:
        first, second = (current_task().create_task(noop) for _ in range(2))
        return [first == first, first != second, len({first, second, first}) == 2]

    async with engine.graph("equal") as graph:
        assert await graph.create_task(parent).result() == [True, True, True]


async def test_waiting_for_the_end_covers_what_is_born_meanwhile(
    engine: Engine, board: Board
) -> None:
    """`wait_finished` is over when all tasks have ended, and can be waited for again later."""
    async with engine.graph("finish") as graph:
        await graph.wait_finished()
        for number in range(3):
            graph.create_task(create, hold, board, f"{number}")
            board.open(f"{number}")
            await graph.wait_finished()
            assert graph.counts()["succeeded"] == 2 * (number + 1) == len(graph.tasks)


async def test_a_coordinator_tells_what_it_has_done(engine: Engine) -> None:
    """`statistics` sums attempts and their time by task name and worker, and lists the workers."""
    async with (
        engine.open(engine.loop(concurrency=3)) as coordinator,
        coordinator.open_graph("statistics", on_failure="continue") as graph,
    ):
        for number in range(5):
            graph.create_task(add, number, name="add")
        graph.create_task(fail, name="fail", retries=2)
        await graph.wait_finished()
        statistics = coordinator.statistics()
        [worker] = coordinator.workers
        assert (worker.worker_loop, worker.index, worker.is_ready) == ("default", 0, True)
        assert (worker.slots, worker.held, worker.pid is not None) == (3, 0, True)
        assert all(0 <= r.seconds_max <= r.seconds < 5 for r in statistics.run_times)
        assert statistics == CoordinatorStatistics(
            tasks=graph.counts(),
            workers=(worker,),
            run_times=tuple(
                RunTime(name, "default/0", attempts, r.seconds, r.seconds_max)
                for name, attempts, r in zip(
                    ("add", "fail"), (5, 3), statistics.run_times, strict=True
                )
            ),
            stale_reports=0,
        )


async def test_graphs_of_one_coordinator_are_apart(engine: Engine, board: Board) -> None:
    """Graphs open at the same time share the workers and nothing else."""
    async with engine.open() as coordinator:
        async with coordinator.open_graph("one") as one, coordinator.open_graph("two") as two:
            held = one.create_task(hold, board, "held", 1)
            assert await two.create_task(echo, 2).result() == 2
            await two.wait_finished()
            assert coordinator.graphs == (one, two)
            two.cancel()
            board.open("held")
            assert await held.result() == 1
        async with coordinator.open_graph() as third, coordinator.open_graph() as fourth:
            assert third.name != fourth.name
            assert [g.name == f"graph-{g.uid}" for g in (third, fourth)] == [True, True]
