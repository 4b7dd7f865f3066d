"""Functions are forgotten when no open graph uses them, by the coordinator and by its workers.

*Core*: the table of functions by itself, where a test says what each worker answers and when.
*End to end*: real workers, and a look at the tables on both sides.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import pytest
import trio

from trio_actor_graph import Coordinator, WorkerLoop, current_task, open_coordinator
from trio_actor_graph.functions import FunctionEntry, FunctionTable
from trio_actor_graph.loops import as_worker_loops
from trio_actor_graph.messages import DefineFunction
from trio_actor_graph.payload import encode_value

# The table

FIRST, SECOND = 1, 2  # workers
GRAPH, OTHER = 1001, 1002


def make_closure(number: object) -> Callable[[], object]:
    def closure() -> object:
        return number

    return closure


def module_level() -> None:
    pass


class Caller:
    def __call__(self) -> None:
        pass


class Table(FunctionTable):
    """A table with two workers, and what was said to them."""

    def __init__(self, *registered: Callable[..., Any], assigned: tuple[Any, ...] = ()) -> None:
        loops = as_worker_loops([WorkerLoop("default", functions=assigned)])
        super().__init__(loops, {f"f{i}": f for i, f in enumerate(registered)}, count(1))
        for worker_id in (FIRST, SECOND):
            self.on_worker_started(worker_id, ())

    def run(self, graph: int, function: Callable[..., Any], *workers: int) -> FunctionEntry:
        """A task of a graph runs the function in these workers."""
        entry = self.entry(function)
        self.encode(entry)
        self.use(graph, entry, ())
        for worker_id in workers:
            self.definitions(worker_id, entry)
        return entry

    def close(self, graph: int) -> dict[int, list[int]]:
        return self.on_graph_closed(graph, ())

    def knows(self, entry: FunctionEntry) -> bool:
        return self.find(entry.function_id) is entry

    def sizes(self) -> list[int]:
        return [
            len(table)
            for table in (
                self._by_id,
                self._by_identity,
                self._by_payload,
                self._unused,
                self._asked,
                self._used_by,
                *self._known_by.values(),
            )
        ]


def test_a_function_is_forgotten_when_all_who_knew_it_have_answered() -> None:
    """Not when its graph closes, and not after the first answer."""
    table = Table()
    empty = table.sizes()
    entry = table.run(GRAPH, make_closure(1), FIRST, SECOND)
    number = entry.function_id
    assert table.close(GRAPH) == {FIRST: [number], SECOND: [number]}
    table.on_forgotten(FIRST, [number])
    assert table.knows(entry)
    assert table.take_forgotten() == []
    table.on_forgotten(SECOND, [number])
    assert not table.knows(entry)
    assert table.take_forgotten() == [number]
    assert table.sizes() == empty


def test_a_function_that_no_worker_knew_is_forgotten_at_once() -> None:
    """There is nobody to ask: it was used in vain, or could not be pickled."""
    table = Table()
    empty = table.sizes()
    table.run(GRAPH, make_closure(1))
    table.entry(make_closure(2))
    assert table.close(GRAPH) == {}
    assert len(table.take_forgotten()) == 2
    assert table.sizes() == empty


def test_a_lost_worker_need_not_answer() -> None:
    """It names nothing any more."""
    table = Table()
    entry = table.run(GRAPH, make_closure(1), FIRST, SECOND)
    table.close(GRAPH)
    table.on_worker_lost(FIRST)
    assert table.knows(entry)
    table.on_forgotten(SECOND, [entry.function_id])
    assert not table.knows(entry)


def test_a_function_stays_as_long_as_any_open_graph_uses_it() -> None:
    """The second graph's close asks, the first one's does not."""
    table = Table()
    function = make_closure(1)
    entry = table.run(GRAPH, function, FIRST)
    table.run(OTHER, function, FIRST)
    assert table.close(GRAPH) == {}
    assert table.close(OTHER) == {FIRST: [entry.function_id]}


def test_a_task_created_while_its_function_is_being_forgotten_keeps_it() -> None:
    """By the app, or by a worker whose creation is ahead of its answer. It is then defined anew."""
    table = Table()
    entry = table.run(GRAPH, make_closure(1), FIRST, SECOND)
    number = entry.function_id
    table.close(GRAPH)
    table.on_forgotten(FIRST, [number])
    table.use(OTHER, entry, ())  # SECOND has created a task of it
    table.on_forgotten(SECOND, [number])
    assert table.knows(entry)
    for worker_id in (FIRST, SECOND):
        (definition,) = table.definitions(worker_id, entry)
        assert definition.function_id == number
        assert table.definitions(worker_id, entry) == ()
    assert table.close(OTHER) == {FIRST: [number], SECOND: [number]}


def test_an_answer_still_to_come_from_before_is_waited_for() -> None:
    """What a worker named the function for is ahead of its answer, however long that takes."""
    table = Table()
    entry = table.run(GRAPH, make_closure(1), FIRST, SECOND)
    number = entry.function_id
    table.close(GRAPH)
    table.use(OTHER, entry, ())
    assert table.close(OTHER) == {}  # both were asked already
    table.on_forgotten(FIRST, [number])
    assert table.knows(entry)
    table.on_forgotten(SECOND, [number])
    assert not table.knows(entry)


def test_a_function_asked_for_while_it_leaves_waits_for_the_next_close() -> None:
    """A local task has it looked up and will soon name it: it is not gone with the last answer."""
    table = Table()
    function = make_closure(1)
    entry = table.run(GRAPH, function, FIRST)
    table.close(GRAPH)
    assert table.entry(function) is entry
    table.on_forgotten(FIRST, [entry.function_id])
    assert table.knows(entry)
    table.close(OTHER)
    assert not table.knows(entry)


def introduce(table: Table, worker_id: int, number: int, payload: bytes) -> FunctionEntry:
    table.receive(worker_id, DefineFunction(number, "m:f", payload))
    entry = table.find(number)
    assert entry is not None
    return entry


def test_a_function_made_in_workers_is_forgotten_by_all_its_numbers() -> None:
    """Each worker by its own, and by that under which it was given to it."""
    table = Table()
    empty = table.sizes()
    payload = encode_value(make_closure(1), "f")
    entry = introduce(table, FIRST, 101, payload)
    assert introduce(table, SECOND, 201, payload) is entry
    table.use(GRAPH, entry, ())
    table.definitions(SECOND, entry)
    assert table.close(GRAPH) == {FIRST: [101], SECOND: [101, 201]}
    table.on_forgotten(SECOND, [101, 201])
    table.on_forgotten(FIRST, [101])
    assert table.take_forgotten() == [101]
    assert table.sizes() == empty


def test_a_worker_that_introduces_what_is_leaving_keeps_it() -> None:
    """Its creation is still to come."""
    table = Table()
    payload = encode_value(make_closure(1), "f")
    entry = introduce(table, FIRST, 101, payload)
    table.use(GRAPH, entry, ())
    table.close(GRAPH)
    introduce(table, SECOND, 201, payload)
    table.on_forgotten(FIRST, [101])
    assert table.find(201) is entry
    assert table.close(OTHER) == {SECOND: [201]}


def test_a_function_whose_creator_was_cancelled_goes_with_the_next_graph() -> None:
    """No graph has ever used it."""
    table = Table()
    introduce(table, FIRST, 101, encode_value(make_closure(1), "f"))
    assert table.close(GRAPH) == {FIRST: [101]}


def test_the_numbers_that_a_lost_worker_gave_are_dropped() -> None:
    """Functions of modules stay, but not one number for each worker there ever was."""
    table = Table()
    payload = encode_value(module_level, "f")
    entry = introduce(table, FIRST, 101, payload)
    introduce(table, SECOND, 201, payload)
    table.on_worker_lost(SECOND)
    table.on_worker_lost(FIRST)
    assert table.find(201) is None
    assert table.find(101) is entry


def in_new_module() -> Callable[[], None]:
    module = types.ModuleType("new_module")
    exec("def f(): pass", module.__dict__)
    sys.modules["new_module"] = module
    function: Callable[[], None] = module.f
    return function


KEPT: dict[str, Callable[..., Any]] = {
    "a function of a module": module_level,
    "a class": Caller,
    "a function of a class": Caller.__call__,
    "a builtin": len,
    "a method of a builtin": str.upper,
}
FORGOTTEN: dict[str, Callable[..., Any]] = {
    "a closure": make_closure(1),
    "a lambda": lambda: None,
    "an object": Caller(),
    "a bound method": Caller().__call__,
    "a bound method of a builtin": "-".join,
    "a wrapper": functools.wraps(module_level)(lambda: None),
}


@pytest.mark.parametrize("function", KEPT.values(), ids=KEPT.keys())
def test_what_can_be_imported_is_kept(function: Callable[..., Any]) -> None:
    """There are as many as somebody has written."""
    table = Table()
    table.run(GRAPH, function, FIRST)
    assert table.close(GRAPH) == {}
    assert table.close(OTHER) == {}


@pytest.mark.parametrize("function", FORGOTTEN.values(), ids=FORGOTTEN.keys())
def test_what_is_made_while_a_program_runs_is_forgotten(function: Callable[..., Any]) -> None:
    """A function that merely bears the name of another one too."""
    table = Table()
    entry = table.entry(function)
    table.use(GRAPH, entry, ())
    table.close(GRAPH)
    assert not table.knows(entry)


def test_a_function_that_its_module_has_replaced_is_forgotten() -> None:
    """As in a notebook, where a cell is run once more."""
    table = Table()
    function = in_new_module()
    try:
        entry = table.run(GRAPH, function)
        table.close(GRAPH)
        assert table.knows(entry)
        in_new_module()
        table.close(OTHER)
        assert not table.knows(entry)
    finally:
        del sys.modules["new_module"]


def test_assigned_and_registered_functions_are_kept() -> None:
    """Their numbers tell: they are below the coordinator's own."""
    registered, assigned = make_closure(1), make_closure(2)
    table = Table(registered, assigned=(assigned,))
    entries = [table.run(GRAPH, function, FIRST) for function in (registered, assigned)]
    assert table.close(GRAPH) == {}
    assert all(entry.function_id < table.coordinator_id for entry in entries)
    other = table.run(GRAPH, make_closure(3))
    assert other.function_id > table.coordinator_id


def test_a_function_inside_another_stays_as_long_as_that_is_used() -> None:
    """A worker that gets the outer one is told that it may name the inner one."""
    table = Table()
    inner = make_closure(1)
    outer = make_closure(inner)
    inside = table.run(GRAPH, inner, FIRST)
    outside = table.run(OTHER, outer)
    assert [d.function_id for d in table.definitions(SECOND, outside)] == [
        outside.function_id,
        inside.function_id,
    ]
    assert table.close(GRAPH) == {}
    numbers = {inside.function_id, outside.function_id}
    asked = table.close(OTHER)
    assert {worker_id: set(asked[worker_id]) for worker_id in asked} == {
        FIRST: {inside.function_id},
        SECOND: numbers,
    }


# Real workers


@pytest.fixture
async def worker() -> AsyncIterator[Coordinator]:
    """A coordinator with one worker process, and one loop of its own process."""
    loops = [WorkerLoop("default", concurrency=2), WorkerLoop("app", processes=0)]
    with trio.fail_after(50):
        async with open_coordinator(loops) as coordinator:
            yield coordinator


def tell_tables() -> list[int]:
    functions: Any = current_task()._attempt.runner._functions
    return [len(table) for table in vars(functions).values() if isinstance(table, (dict, set))]


async def sizes(coordinator: Coordinator) -> dict[str, Any]:
    """How much the tables hold, of the coordinator and of its worker."""
    async with coordinator.open_graph() as graph:  # what is reported before its end is in
        there = await graph.create_task(tell_tables).result()
    table: Any = coordinator._functions
    local: Any = coordinator._local
    return {
        "worker": there,
        "table": [len(t) for t in vars(table).values() if isinstance(t, (dict, set))],
        "known": [len(known) for known in table._known_by.values()],
        "app": len(local._functions._loaded),
        "durations": len(coordinator._scheduler.durations._means),
    }


def create_fresh(size: int) -> Any:
    data = bytes(size)
    return current_task().create_task(lambda: len(data))


async def test_graph_after_graph_leaves_no_functions_behind(worker: Coordinator) -> None:
    """300 of them, with fresh closures that hold 100 kB each, of the app and of tasks."""

    async def run_graph(number: int) -> None:
        data = bytes([number % 256]) * 100_000
        async with worker.open_graph() as graph:
            tasks = [
                graph.create_task(lambda: len(data)),
                graph.create_task(lambda: len(data), worker_loop="app"),
                graph.create_task(create_fresh, 100_000 + number),
                graph.create_task(create_fresh, 100_000 + number, worker_loop="app"),
            ]
            lengths = [await task.result() for task in tasks]
        assert lengths == [100_000, 100_000, 100_000 + number, 100_000 + number]

    for number in range(10):
        await run_graph(number)
    after_ten = await sizes(worker)
    for number in range(10, 300):
        await run_graph(number)
    assert await sizes(worker) == after_ten


async def test_a_closure_of_two_graphs_survives_the_first(worker: Coordinator) -> None:
    """The close of one graph takes nothing from another, here or in the worker."""
    function = make_closure("still here")
    async with worker.open_graph() as second:
        async with worker.open_graph() as first:
            assert await first.create_task(function).result() == "still here"
            assert await second.create_task(function).result() == "still here"
        assert await second.create_task(function).result() == "still here"
    async with worker.open_graph() as third:
        assert await third.create_task(function).result() == "still here"


async def test_tasks_created_while_their_function_is_being_forgotten_run(
    worker: Coordinator,
) -> None:
    """Graphs open and close around others whose tasks go on creating the same closure."""
    function = make_closure(7)

    def create_some(number: int) -> None:
        for _ in range(number):
            current_task().create_task(function)

    async def use_briefly() -> None:
        for _ in range(30):
            async with worker.open_graph() as graph:
                graph.create_task(function)
                graph.create_task(create_some, 5)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(use_briefly)
    assert worker.statistics().stale_reports == 0


def call(function: Callable[[], object]) -> object:
    return function()


def create_given(function: Callable[[], object]) -> Any:
    return current_task().create_task(function)


@pytest.mark.parametrize("loop", ["default", "app"])
async def test_a_function_inside_another_runs_after_its_own_graph_has_closed(
    worker: Coordinator, loop: str
) -> None:
    """In a closure or in arguments, called or made a task of, in a worker that knew it or not."""
    inner = make_closure("inner")

    def outer() -> Any:
        return current_task().create_task(inner)

    async with worker.open_graph() as graph:
        assert await graph.create_task(inner, worker_loop=loop).result() == "inner"
        async with worker.open_graph() as second:
            given = second.create_task(outer, worker_loop=loop)
            assert await given.result() == "inner"
    for _ in range(2):
        async with worker.open_graph() as graph:
            tasks = [
                graph.create_task(outer, worker_loop=loop),
                graph.create_task(call, inner, worker_loop=loop),
                graph.create_task(create_given, inner, worker_loop=loop),
            ]
            assert [await task.result() for task in tasks] == ["inner"] * 3


async def test_a_function_kept_by_the_app_alone_can_be_used_again(worker: Coordinator) -> None:
    """Forgotten is not forbidden: it is encoded anew, as it is then."""
    state = {"number": 1}

    def read() -> int:
        return state["number"]

    for number in (1, 2, 3):
        state["number"] = number
        async with worker.open_graph() as graph:
            assert await graph.create_task(read).result() == number
        await sizes(worker)  # lets the worker's answer arrive


async def test_functions_of_a_cancelled_graph_are_forgotten(worker: Coordinator) -> None:
    """What its tasks were about to create as well."""

    def create() -> None:
        data = bytes(100_000)

        async def child() -> int:
            await trio.sleep_forever()
            return len(data)

        current_task().create_task(child)

    await sizes(worker)
    before = await sizes(worker)
    for _ in range(20):
        async with worker.open_graph() as graph:
            tasks = [graph.create_task(create) for _ in range(3)]
            await tasks[0].wait()
            graph.cancel()
    with trio.fail_after(20):
        while await sizes(worker) != before:
            pass  # asking is a way to wait
