"""Contract: a task runs once its scheduling condition holds, and sees how those before it ended."""

from __future__ import annotations

from typing import Any

import pytest

from trio_actor_graph import (
    CycleError,
    GraphError,
    Task,
    TaskGraph,
    TaskSkipped,
    completed,
    succeeded,
)

from .board import Board
from .bodies import all_told, echo, fail, hold, noop, outcomes, told, write
from .conftest import Engine


class Cast:
    """One task of each way to end, and one that still runs."""

    def __init__(self, graph: TaskGraph, board: Board):
        self.good = graph.create_task(echo, 1, name="good")
        self.better = graph.create_task(echo, 2, name="better")
        self.bad = graph.create_task(fail, name="bad")
        self.skipped = graph.create_task(echo, self.bad, name="skipped")
        self.held = graph.create_task(hold, board, "held", 3, name="held")
        self.cancelled = graph.create_task(echo, waits_on=self.held, name="cancelled")
        self.cancelled.cancel()

    async def settle(self, board: Board) -> None:
        for task in (self.good, self.better, self.bad, self.skipped, self.cancelled):
            await task.wait()
        await board.wait_for("held runs")


CONDITIONS: dict[str, tuple[Any, str]] = {
    # what it waits on, and the state in which that ends while `held` runs on
    "a task": (lambda c: c.good, "succeeded"),
    "a failed task": (lambda c: c.bad, "skipped"),
    "a skipped task": (lambda c: c.skipped, "skipped"),
    "a cancelled task": (lambda c: c.cancelled, "skipped"),
    "a running task": (lambda c: c.held, "waiting"),
    "a list": (lambda c: [c.good, c.better], "succeeded"),
    "a list with a failed task": (lambda c: [c.good, c.bad], "skipped"),
    "a list with conditions": (lambda c: [c.good, completed(c.bad)], "succeeded"),
    "all succeeded": (lambda c: succeeded(c.good, [c.better]), "succeeded"),
    "all succeeded, one did not": (lambda c: succeeded([c.good, c.bad]), "skipped"),
    "all succeeded, one runs": (lambda c: succeeded(c.good, c.held), "waiting"),
    "1 of 3 succeeded": (lambda c: succeeded(c.held, c.bad, c.good, at_least=1), "succeeded"),
    "2 of 3 succeeded, open": (lambda c: succeeded(c.held, c.bad, c.good, at_least=2), "waiting"),
    "2 of 3 succeeded, lost": (
        lambda c: succeeded(c.skipped, c.bad, c.good, at_least=2),
        "skipped",
    ),
    "a task named twice": (lambda c: succeeded(c.good, c.good), "succeeded"),
    "completed, failed": (lambda c: completed(c.bad), "succeeded"),
    "completed, skipped": (lambda c: completed(c.skipped), "succeeded"),
    "completed, cancelled": (lambda c: completed(c.cancelled), "succeeded"),
    "completed, all": (lambda c: completed([c.good, (c.bad,)], c.skipped), "succeeded"),
    "completed, one runs": (lambda c: completed(c.bad, c.held), "waiting"),
    "2 of 4 completed": (
        lambda c: completed(c.held, c.bad, c.skipped, c.cancelled, at_least=2),
        "succeeded",
    ),
    "both": (lambda c: succeeded(c.good) & completed(c.bad), "succeeded"),
    "both, one lost": (lambda c: succeeded(c.bad) & completed(c.held), "skipped"),
    "both, one open": (lambda c: succeeded(c.good) & succeeded(c.held), "waiting"),
    "either": (lambda c: succeeded(c.bad) | succeeded(c.good), "succeeded"),
    "either, one runs": (lambda c: succeeded(c.held) | completed(c.bad), "succeeded"),
    "either, one open": (lambda c: succeeded(c.bad) | succeeded(c.held), "waiting"),
    "either, both lost": (lambda c: succeeded(c.bad) | succeeded(c.skipped), "skipped"),
    "with a task beside": (lambda c: succeeded(c.good) & c.better, "succeeded"),
    "nested": (
        lambda c: (succeeded(c.bad) | completed(c.bad)) & (succeeded(c.held) | completed(c.good)),
        "succeeded",
    ),
    "nested, lost": (
        lambda c: (succeeded(c.bad) & completed(c.held)) | succeeded(c.skipped),
        "skipped",
    ),
}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_conditions_decide_whether_a_task_runs(
    engine: Engine, board: Board, moment: str
) -> None:
    """A condition counts what ends after it was made and what had ended already alike."""
    async with engine.graph("conditions") as graph:
        cast = Cast(graph, board)
        if moment == "after":
            await cast.settle(board)
        tasks = {
            name: graph.create_task(noop, waits_on=make(cast))
            for name, (make, _) in CONDITIONS.items()
        }
        await cast.settle(board)
        expected = {name: state for name, (_, state) in CONDITIONS.items()}
        for name, task in tasks.items():
            if expected[name] != "waiting":
                await task.wait()
        assert {name: task.state for name, task in tasks.items()} == expected
        board.open("held")
        await graph.wait_finished()
        at_last = {n: "succeeded" if s == "waiting" else s for n, s in expected.items()}
        assert {name: task.state for name, task in tasks.items()} == at_last


async def test_a_task_sees_how_its_predecessors_ended(engine: Engine, board: Board) -> None:
    """`current_task().predecessors` are their outcomes, arguments first, then as written."""
    async with engine.graph("outcomes") as graph:
        cast = Cast(graph, board)
        await cast.settle(board)
        failed = (
            "TaskFailed",
            f"task 'bad' ({cast.bad.uid}) failed: ValueError: no",
            ("ValueError", "no", None),
        )
        reason = f"was skipped because task 'bad' ({cast.bad.uid}) failed"
        of_skipped = ("TaskSkipped", f"task 'skipped' ({cast.skipped.uid}) {reason}", failed)
        text = f"task 'cancelled' ({cast.cancelled.uid}) was cancelled"
        of_cancelled = ("TaskCancelled", text, None)
        reader = graph.create_task(
            outcomes,
            waits_on=completed(cast.cancelled, cast.bad, cast.good)
            & (completed(cast.held) | completed(cast.skipped, cast.better, cast.good)),
        )
        assert await reader.result() == [
            (cast.cancelled.uid, "cancelled", "cancelled", None, of_cancelled),
            (cast.bad.uid, "bad", "failed", None, failed),
            (cast.good.uid, "good", "succeeded", 1, None),
            (cast.held.uid, "held", "running", None, None),
            (cast.skipped.uid, "skipped", "skipped", None, of_skipped),
            (cast.better.uid, "better", "succeeded", 2, None),
        ]
        assert reader.predecessors == (
            cast.cancelled, cast.bad, cast.good, cast.held, cast.skipped, cast.better,
        )  # fmt: skip
        assert cast.held.successors == (cast.cancelled, reader)
        board.open("held")


async def test_predecessors_come_in_the_order_given(engine: Engine, board: Board) -> None:
    """Data edges in the order of the arguments, then the condition's tasks, then those added."""

    def uids(*_: object) -> list[int]:
        from trio_actor_graph import current_task

        return [p.uid for p in current_task().predecessors]

    async with engine.graph("order") as graph:
        a, b, c, d, e, f = [graph.create_task(echo, i) for i in range(6)]
        held = graph.create_task(hold, board, "held")
        reader = graph.create_task(uids, [d, b], {"x": d}, waits_on=[c, completed(f), b, held])
        graph.add_predecessor(reader, e)
        graph.add_predecessor(reader, completed(a))
        expected = (d, b, c, f, held, e, a)
        assert reader.predecessors == expected
        board.open("held")
        assert await reader.result() == [task.uid for task in expected]


async def test_enough_of_many_is_enough(engine: Engine, board: Board) -> None:
    """n of m starts its task while the others still run, and only once n is reached."""
    async with engine.graph("n of m", engine.loop(concurrency=6)) as graph:
        held = [graph.create_task(hold, board, f"h{i}", i) for i in range(4)]
        reader = graph.create_task(outcomes, waits_on=succeeded(held, at_least=2))
        for i in range(4):
            await board.wait_for(f"h{i} runs")
        board.open("h3")
        await held[3].wait()
        assert reader.state == "waiting"
        board.open("h1")
        assert await reader.result() == [
            (held[0].uid, "hold", "running", None, None),
            (held[1].uid, "hold", "succeeded", 1, None),
            (held[2].uid, "hold", "running", None, None),
            (held[3].uid, "hold", "succeeded", 3, None),
        ]
        assert [t.state for t in held] == ["running", "succeeded", "running", "succeeded"]
        board.open("h0")
        board.open("h2")


async def test_a_skip_tells_the_task_that_made_it_impossible(engine: Engine, board: Board) -> None:
    """The reason of a skip is the first task that made the condition impossible, and its end."""
    async with engine.graph("reasons") as graph:
        cast = Cast(graph, board)
        await cast.settle(board)
        by_cancel = graph.create_task(noop, waits_on=cast.cancelled, name="a")
        by_failure = graph.create_task(noop, waits_on=[cast.good, cast.skipped], name="b")
        errors = []
        for task in (by_cancel, by_failure):
            with pytest.raises(TaskSkipped) as caught:
                await task.result()
            errors.append(caught.value)
        bad = cast.bad
        cancelled = f"task 'cancelled' ({cast.cancelled.uid}) was cancelled"
        failed = f"task 'bad' ({bad.uid}) failed: ValueError: no"
        assert all_told(errors) == [
            (
                "TaskSkipped",
                f"task 'a' ({by_cancel.uid}) was skipped because {cancelled}",
                ("TaskCancelled", cancelled, None),
            ),
            (
                "TaskSkipped",
                f"task 'b' ({by_failure.uid}) was skipped because task 'bad' ({bad.uid}) failed",
                ("TaskFailed", failed, ("ValueError", "no", None)),
            ),
        ]
        board.open("held")


async def test_a_predecessor_can_be_added_while_a_task_waits(engine: Engine, board: Board) -> None:
    """`add_predecessor` makes a waiting task wait for more, whatever its condition was."""
    async with engine.graph("added") as graph:
        first, second, third = [graph.create_task(hold, board, g) for g in ("1", "2", "3")]
        both = graph.create_task(write, board, "both", waits_on=first)
        one_of = succeeded(first) | succeeded(second)
        either = graph.create_task(write, board, "either", waits_on=one_of)
        graph.add_predecessor(both, second)
        graph.add_predecessor(either, third)
        board.open("1")
        await first.wait()
        assert (both.state, either.state) == ("waiting", "waiting")
        board.open("3")
        await either.wait()
        assert (both.state, either.state) == ("waiting", "succeeded")
        board.open("2")
        await both.wait()
        assert (both.state, either.predecessors) == ("succeeded", (first, second, third))


async def test_what_comes_too_late_or_in_a_circle_is_refused(engine: Engine, board: Board) -> None:
    """A ready or ended task takes no predecessor, and a wait cycle is refused with its names."""
    async with engine.graph("refused", engine.loop(concurrency=1)) as graph:
        running = graph.create_task(hold, board, "held", name="running")
        ready = graph.create_task(noop, name="ready")
        a = graph.create_task(noop, waits_on=running, name="a")
        b = graph.create_task(noop, waits_on=completed(a), name="b")
        c = graph.create_task(noop, waits_on=b, name="c")
        await board.wait_for("held runs")
        too_late = (
            "too late to add a predecessor to {} (task {}): it is {!r}, and only "
            "a task that still waits for its condition can wait for more"
        )
        for task, state in ((running, "running"), (ready, "ready")):
            with pytest.raises(GraphError) as caught:
                graph.add_predecessor(task, a)
            expected = too_late.format(repr(task.name), task.uid, state)
            assert told(caught.value) == ("GraphError", expected, None)
        with pytest.raises(CycleError) as circle:
            graph.add_predecessor(a, c)
        path = " waits on ".join(f"{t.name!r} (task {t.uid})" for t in (a, c, b, a))
        expected = f"these tasks would wait on each other for ever: {path}"
        assert told(circle.value) == ("CycleError", expected, None)
        with pytest.raises(CycleError):
            graph.add_predecessor(a, a)
        assert a.predecessors == (running,)
        board.open("held")
        await graph.wait_finished()
        assert [t.state for t in graph.tasks] == ["succeeded"] * 5
        with pytest.raises(GraphError) as caught:
            graph.add_predecessor(a, c)
        expected = too_late.format("'a'", a.uid, "succeeded")
        assert told(caught.value) == ("GraphError", expected, None)


async def test_only_tasks_of_the_same_graph_can_be_waited_for(engine: Engine) -> None:
    """A task of another graph is unknown: in conditions, in arguments, in `add_predecessor`."""
    async with engine.open() as coordinator, coordinator.open_graph("one") as one:
        stranger = one.create_task(noop, name="stranger")
        await stranger.wait()
        async with coordinator.open_graph("two") as two:
            wrong: list[tuple[Any, dict[str, Task]]] = [
                ((), {"waits_on": stranger}),
                (([stranger],), {}),
            ]
            for args, options in wrong:
                with pytest.raises(GraphError, match="no such task in graph 'two'"):
                    two.create_task(echo, *args, **options)  # type: ignore[arg-type]
            with pytest.raises(GraphError, match="is not in graph 'two'"):
                two.add_predecessor(stranger, stranger)
            assert two.tasks == ()


async def test_larger_priorities_run_first(engine: Engine, board: Board) -> None:
    """Of the ready tasks the one with the largest priority runs next, among equals the oldest."""
    async with engine.open(engine.loop(concurrency=1)) as coordinator:
        async with coordinator.open_graph("priorities") as graph:
            graph.create_task(hold, board, "held")
            await board.wait_for("held runs")
            for number, priority in enumerate([0, 5, -3, 5, 0, 7, -3, 2**31 - 1, -(2**31), 0]):
                graph.create_task(write, board, f"{priority} {number}", priority=priority)
            board.open("held")
            await graph.wait_finished()
        assert board.lines() == [
            "held runs",
            "2147483647 7",
            "7 5",
            "5 1",
            "5 3",
            "0 0",
            "0 4",
            "0 9",
            "-3 2",
            "-3 6",
            "-2147483648 8",
        ]


async def test_conditions_have_no_truth(engine: Engine) -> None:
    """`and`, `or` and `not` would lose a condition without a word, so they are refused."""
    async with engine.graph("truth") as graph:
        a, b = succeeded(graph.create_task(noop)), completed(graph.create_task(noop))
        for combine in (lambda: a and b, lambda: a or b, lambda: not a, lambda: (a & b) or b):
            with pytest.raises(GraphError) as caught:
                combine()
            text = "combine conditions with & and |: `and`, `or` and `not` lose one of them"
            assert str(caught.value) == text
        assert await graph.create_task(echo, 1, waits_on=(a & b) | b).result() == 1
