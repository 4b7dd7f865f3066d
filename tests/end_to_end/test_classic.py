"""End to end: programs in the style of the original trio_graph_scheduler."""

from __future__ import annotations

import threading
from collections import Counter, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.conftest import ProgramRun
from trio_actor_graph import CycleError, GraphError
from trio_actor_graph.classic import TaskGraph, TaskNode, WaitTaskNode, execute_graph

PAGES = {
    "http://one": "red green red",
    "http://two": "green blue",
}


async def get_page(url: str, **kwargs: Any) -> str:
    await trio.lowlevel.checkpoint()
    return PAGES[url]


async def count_words(predecessors: list[TaskNode], **kwargs: Any) -> Counter[str]:
    return Counter(predecessors[0].task_result.split())


async def combine(counts: list[Counter[str]], **kwargs: Any) -> Counter[str]:
    return sum(counts, Counter())


async def add(a: int, b: int = 0) -> int:
    return a + b


async def fail(text: str = "nothing works") -> None:
    raise ValueError(text)


async def collect(predecessors: list[TaskNode]) -> list[Any]:
    return [node.task_result for node in predecessors]


def make_graph(**more: Any) -> TaskGraph:
    functions = {
        "get_page": get_page,
        "count_words": count_words,
        "combine": combine,
        "add": add,
        "fail": fail,
        "collect": collect,
    }
    return TaskGraph({**functions, **more}, {"default": 4})


async def execute(graph: TaskGraph) -> None:
    """Executes a graph that has tasks; the delay of the original must not matter then."""
    with trio.fail_after(20):
        await execute_graph(graph, 1000)


def task_node(graph: TaskGraph, uid: str) -> TaskNode:
    node = graph.nodes[uid]
    assert isinstance(node, TaskNode)
    return node


# Whole programs


ORIGINAL_STYLE = """
    import trio
    from trio_graph_scheduler.execution import execute_graph
    from trio_graph_scheduler.graph import TaskGraph

    PAGES = {"one": "red green red", "two": "green blue"}

    async def get_html(url, **kwargs):
        await trio.sleep(0.01)
        return PAGES[url]

    async def count(predecessors, **kwargs):
        url = predecessors[0].task_arguments[0][0]
        return url, len(predecessors[0].task_result.split())

    async def show(counts, **kwargs):
        print(sorted(counts.items()))

    async def counts_of(predecessors):
        return (dict(n.task_result for n in predecessors if n.task_status == "success"),), {}

    async def main():
        functions = {"get_html": get_html, "count": count, "show": show}
        graph = TaskGraph(functions, {"default": 4, "http": 2}, {"get_html": "http"})
        uids = []
        for url in ["one", "two", "three"]:
            uid = await graph.create_task("get_html", ((url,), {}), graph.root.uid)
            uids.append(await graph.create_wait_task("count", None, [uid], False))
        await graph.create_wait_task("show", counts_of, uids, True)
        await execute_graph(graph, 3)
        for status in ["success", "failed", "predecessor_failed"]:
            print(status, [node.task_handle for node in graph.get_task_nodes(status, None)])

    trio.run(main)
    """


def test_a_program_runs_with_only_its_imports_renamed(run_program: Callable[..., ProgramRun]):
    program = ORIGINAL_STYLE.replace("trio_graph_scheduler", "trio_actor_graph.classic")
    run = run_program(program)
    assert (run.stderr, run.returncode) == ("", 0)
    assert run.stdout.splitlines() == [
        "[('one', 3), ('two', 2)]",
        "success ['get_html', 'count', 'get_html', 'count', 'show']",
        "failed ['get_html']",
        "predecessor_failed ['count']",
    ]


async def test_pages_are_fetched_counted_and_combined():
    """Arguments None are the list of predecessors; an arguments function makes others of it."""
    graph = make_graph()
    counts = []
    for url in PAGES:
        page = await graph.create_task("get_page", ((url,), {}), graph.root.uid)
        counts.append(await graph.create_wait_task("count_words", None, [page], False))
    total = await graph.create_wait_task(
        "combine", lambda nodes: (([node.task_result for node in nodes],), {}), counts, False
    )
    await execute(graph)
    node = task_node(graph, total)
    assert node.task_result == Counter(red=2, green=2, blue=1)
    assert node.task_arguments == (([Counter(red=2, green=1), Counter(green=1, blue=1)],), {})
    assert graph.is_finished()


# Arguments, keywords, results


@pytest.mark.parametrize("arguments", [((1,), {"b": 2}), ((1, 2), None), ([1, 2], {})])
async def test_arguments_are_positional_and_keyword(arguments: Any):
    graph = make_graph()
    uid = await graph.create_task("add", arguments, graph.root.uid)
    first = await graph.create_task("add", ((0,), {}), graph.root.uid)
    waiting = await graph.create_wait_task("add", arguments, [first], False)
    await execute(graph)
    assert task_node(graph, uid).task_result == 3
    assert task_node(graph, waiting).task_result == 3


@pytest.mark.parametrize("arguments", [None, (1, 2), ("url", {}), (("url",),), "ab"])
async def test_other_arguments_are_refused(arguments: Any):
    graph = make_graph()
    with pytest.raises(GraphError, match=r"the arguments of 'add' must be \(args, kwargs\), not"):
        await graph.create_task("add", arguments, graph.root.uid)
    assert graph.get_task_nodes() == []


async def test_an_async_arguments_function_is_awaited():
    graph = make_graph()

    async def both(nodes: list[TaskNode]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        await trio.lowlevel.checkpoint()
        return (nodes[0].task_result,), {"b": nodes[1].task_result}

    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    two = await graph.create_task("add", ((2,), {}), graph.root.uid)
    uid = await graph.create_wait_task("add", both, [one, two], False)
    await execute(graph)
    assert task_node(graph, uid).task_result == 3


async def test_functions_get_the_keywords_they_accept():
    """`task_node` and `graph` for all, `predecessor_nodes` for wait tasks; never given twice."""
    seen: dict[str, Any] = {}

    async def anything(*args: Any, **kwargs: Any) -> None:
        seen["anything"] = (args, kwargs)

    async def node_only(*, task_node: TaskNode) -> None:
        seen["node_only"] = task_node

    async def positional(graph: str, task_node: TaskNode) -> None:
        seen["positional"] = (graph, task_node)

    async def nothing() -> None:
        seen["nothing"] = True

    functions = (anything, node_only, positional, nothing)
    graph = make_graph(**{function.__name__: function for function in functions})
    root = graph.root.uid
    node = task_node(graph, await graph.create_task("node_only", ((), {}), root))
    own = task_node(graph, await graph.create_task("positional", (("mine",), {}), root))
    await graph.create_task("nothing", (None, None), root)
    uid = await graph.create_wait_task("anything", ((1, 2), {"x": 3}), [node.uid], False)
    wait_node = task_node(graph, uid)
    await execute(graph)
    keywords = {"x": 3, "task_node": wait_node, "graph": graph, "predecessor_nodes": [node]}
    assert seen == {
        "anything": ((1, 2), keywords),
        "node_only": node,
        "positional": ("mine", own),
        "nothing": True,
    }


async def test_arguments_and_results_are_the_objects_themselves():
    """Everything stays in one process, so what cannot be pickled is nothing special."""
    lock = threading.Lock()

    async def same(value: object) -> object:
        return value

    graph = make_graph(same=same)
    first = await graph.create_task("same", ((lock,), {}), graph.root.uid)
    second = await graph.create_wait_task("collect", None, [first], False)
    await execute(graph)
    assert task_node(graph, first).task_result is lock
    assert task_node(graph, second).task_result[0] is lock


# Errors


async def test_the_traceback_of_a_failed_task_is_on_its_node():
    graph = make_graph()
    uid = await graph.create_task("fail", (("no such page",), {}), graph.root.uid)
    await execute(graph)
    node = task_node(graph, uid)
    assert (node.task_status, node.task_result) == ("failed", None)
    assert node.exception_trace is not None
    assert node.exception_trace.startswith("Traceback (most recent call last):\n")
    assert "in fail\n    raise ValueError(text)" in node.exception_trace
    assert node.exception_trace.endswith("\nValueError: no such page\n")


async def test_a_wait_task_runs_in_spite_of_errors_when_told_to():
    graph = make_graph()
    good = await graph.create_task("add", ((1,), {}), graph.root.uid)
    bad = await graph.create_task("fail", ((), {}), graph.root.uid)
    uid = await graph.create_wait_task("collect", None, [good, bad], True)
    await execute(graph)
    assert task_node(graph, uid).task_result == [1, None]
    assert task_node(graph, uid).task_status == "success"


async def test_a_wait_task_does_not_run_after_errors_otherwise():
    """What waits for it in turn sees that it has ended."""
    graph = make_graph()
    good = await graph.create_task("add", ((1,), {}), graph.root.uid)
    bad = await graph.create_task("fail", ((), {}), graph.root.uid)
    strict = await graph.create_wait_task("collect", None, [good, bad], False)
    stricter = await graph.create_wait_task("collect", None, [strict], False)
    lenient = await graph.create_wait_task("collect", None, [strict, stricter], True)
    await execute(graph)
    statuses = [task_node(graph, uid).task_status for uid in (strict, stricter, lenient)]
    assert statuses == ["predecessor_failed", "predecessor_failed", "success"]
    assert task_node(graph, strict).exception_trace is None
    assert graph.is_finished()


async def test_an_arguments_function_that_raises_fails_its_task():
    graph = make_graph()

    def refuse(nodes: list[TaskNode]) -> Any:
        raise RuntimeError(f"not with {nodes[0].task_result}")

    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    uid = await graph.create_wait_task("collect", refuse, [one], False)
    await execute(graph)
    node = task_node(graph, uid)
    assert node.task_status == "failed"
    assert node.exception_trace is not None
    assert node.exception_trace.endswith("\nRuntimeError: not with 1\n")


async def test_a_function_may_set_its_status_to_failed():
    async def give_up(task_node: TaskNode) -> str:
        task_node.task_status = "failed"
        return "half a result"

    graph = make_graph(give_up=give_up)
    uid = await graph.create_task("give_up", ((), {}), graph.root.uid)
    strict = await graph.create_wait_task("collect", None, [uid], False)
    lenient = await graph.create_wait_task("collect", None, [uid], True)
    await execute(graph)
    node = task_node(graph, uid)
    assert (node.task_status, node.task_result) == ("failed", "half a result")
    assert node.exception_trace is None
    assert task_node(graph, strict).task_status == "predecessor_failed"
    assert task_node(graph, lenient).task_result == ["half a result"]


async def test_a_call_with_wrong_arguments_fails_the_task():
    graph = make_graph()
    uid = await graph.create_task("add", ((1, 2, 3), {}), graph.root.uid)
    await execute(graph)
    trace = task_node(graph, uid).exception_trace
    assert trace is not None
    assert "TypeError: add() takes from 1 to 2 positional arguments but 3 were given" in trace


# Creating while it runs


async def test_tasks_create_tasks_through_the_graph_they_are_handed():
    async def countdown(n: int, graph: TaskGraph, task_node: TaskNode) -> int:
        if n:
            uid = await graph.create_task("countdown", ((n - 1,), {}), task_node.uid)
            await graph.create_wait_task("collect", None, [uid], False)
        return n

    graph = make_graph(countdown=countdown)
    await graph.create_task("countdown", ((3,), {}), graph.root.uid)
    await execute(graph)
    results = [node.task_result for node in graph.get_task_nodes("success", "countdown")]
    assert results == [3, 2, 1, 0]
    assert len(graph.get_task_nodes("success", "collect")) == 3
    assert len(graph.get_task_nodes()) == 7


async def test_another_trio_task_creates_tasks_while_the_graph_runs():
    """What is created while the graph runs begins at once."""
    begun, go_on = trio.Event(), trio.Event()

    async def hold() -> None:
        await go_on.wait()

    async def begin() -> None:
        begun.set()

    graph = make_graph(hold=hold, begin=begin)
    async with trio.open_nursery() as nursery:
        await graph.create_task("hold", ((), {}), graph.root.uid)
        nursery.start_soon(execute, graph)
        await trio.testing.wait_all_tasks_blocked()
        await graph.create_task("begin", ((), {}), graph.root.uid)
        with trio.fail_after(10):
            await begun.wait()
        assert not graph.is_finished()
        go_on.set()
    assert graph.is_finished()


async def test_a_graph_without_tasks_waits_for_its_first():
    graph = make_graph()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(execute, graph)
        await trio.testing.wait_all_tasks_blocked()
        uid = await graph.create_task("add", ((1,), {}), graph.root.uid)
    assert task_node(graph, uid).task_result == 1


async def test_a_graph_that_stays_without_tasks_ends_after_the_delay(
    autojump_clock: trio.testing.MockClock,
):
    graph = make_graph()
    began = trio.current_time()
    await execute_graph(graph, 30)
    assert trio.current_time() - began == pytest.approx(30)
    assert not graph.is_finished()


async def test_a_wait_task_for_tasks_that_have_ended_runs_at_once():
    async def create_late(graph: TaskGraph) -> None:
        one = await graph.create_task("add", ((1,), {}), graph.root.uid)
        await trio.testing.wait_all_tasks_blocked()
        assert task_node(graph, one).task_status == "success"
        await graph.create_wait_task("collect", None, [one], False)

    graph = make_graph(create_late=create_late)
    await graph.create_task("create_late", ((), {}), graph.root.uid)
    await execute(graph)
    assert [node.task_result for node in graph.get_task_nodes(handle="collect")] == [[1]]


# Wait links


async def test_a_wait_link_adds_a_predecessor_before_execution():
    """The predecessor may be younger than the task that waits for it."""
    graph = make_graph()
    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    uid = await graph.create_wait_task("collect", None, [one], False)
    two = await graph.create_task("add", ((2,), {}), graph.root.uid)
    graph.create_wait_link(two, uid)
    await execute(graph)
    assert task_node(graph, uid).task_result == [1, 2]


async def test_a_wait_link_adds_a_predecessor_during_execution():
    async def add_another(predecessors: list[TaskNode], graph: TaskGraph) -> None:
        two = await graph.create_task("add", ((2,), {}), graph.root.uid)
        graph.create_wait_link(two, uid)

    graph = make_graph(add_another=add_another)
    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    adder = await graph.create_wait_task("add_another", None, [one], False)
    uid = await graph.create_wait_task("collect", None, [adder], False)
    await execute(graph)
    assert task_node(graph, uid).task_result == [None, 2]


async def test_a_wait_link_of_a_failed_predecessor_counts_like_the_others():
    graph = make_graph()
    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    strict = await graph.create_wait_task("collect", None, [one], False)
    lenient = await graph.create_wait_task("collect", None, [one], True)
    bad = await graph.create_task("fail", ((), {}), graph.root.uid)
    graph.create_wait_link(bad, strict)
    graph.create_wait_link(bad, lenient)
    await execute(graph)
    assert task_node(graph, strict).task_status == "predecessor_failed"
    assert task_node(graph, lenient).task_result == [1, None]


async def test_a_wait_link_that_is_too_late_is_refused():
    graph = make_graph()
    refused: list[str] = []

    async def link_late(graph: TaskGraph, task_node: TaskNode) -> None:
        uid = await graph.create_task("add", ((2,), {}), task_node.uid)
        with pytest.raises(GraphError) as caught:
            graph.create_wait_link(uid, task_node.uid)
        refused.append(str(caught.value))

    graph = make_graph(link_late=link_late)
    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    uid = await graph.create_wait_task("link_late", ((), {}), [one], False)
    await execute(graph)
    with pytest.raises(GraphError, match="too late to make <WaitTaskNode 'link_late'"):
        graph.create_wait_link(one, uid)
    assert len(refused) == 1
    assert "too late to add a predecessor to 'link_late'" in refused[0]
    assert [n.task_handle for n in wait_node(graph, uid).predecessors] == ["add"]


async def test_only_wait_tasks_take_wait_links():
    graph = make_graph()
    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    two = await graph.create_task("add", ((2,), {}), graph.root.uid)
    with pytest.raises(GraphError, match=r"'add' .* is no wait task"):
        graph.create_wait_link(one, two)


async def test_wait_links_that_close_a_cycle_are_refused():
    graph = make_graph()
    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    first = await graph.create_wait_task("collect", None, [one], False)
    second = await graph.create_wait_task("count_words", None, [first], False)
    graph.create_wait_link(second, first)
    with pytest.raises(CycleError, match=r"'collect' .*'count_words' .*'collect' "):
        await execute(graph)


def wait_node(graph: TaskGraph, uid: str) -> WaitTaskNode:
    node = graph.nodes[uid]
    assert isinstance(node, WaitTaskNode)
    return node


# Wrong use


async def test_unknown_functions_and_predecessors_are_refused():
    graph = make_graph()
    root = graph.root.uid
    one = await graph.create_task("add", ((1,), {}), root)
    waiting = await graph.create_wait_task("collect", None, [one], False)
    with pytest.raises(GraphError, match="unknown function 'nope': there are 'get_page', "):
        await graph.create_task("nope", ((), {}), root)
    with pytest.raises(GraphError, match="unknown function 'nope'"):
        await graph.create_wait_task("nope", None, [one], False)
    with pytest.raises(GraphError, match="unknown predecessor or task 'nope'"):
        await graph.create_task("add", ((1,), {}), "nope")
    with pytest.raises(GraphError, match="unknown predecessor or task 'nope'"):
        await graph.create_wait_task("collect", None, [one, "nope"], False)
    with pytest.raises(GraphError, match="unknown predecessor or task 'nope'"):
        graph.create_wait_link("nope", waiting)
    with pytest.raises(GraphError, match="the root is no task"):
        await graph.create_wait_task("collect", None, [root], False)
    with pytest.raises(GraphError, match="'collect' has no predecessors"):
        await graph.create_wait_task("collect", None, [], False)
    with pytest.raises(GraphError, match="must be a bool, not 'SUCCESS__ALL'"):
        await graph.create_wait_task("collect", None, [one], "SUCCESS__ALL")  # type: ignore[arg-type]
    assert [node.uid for node in graph.get_task_nodes()] == [one, waiting]


async def test_a_graph_is_executed_once():
    graph = make_graph()
    await graph.create_task("add", ((1,), {}), graph.root.uid)
    await execute(graph)
    with pytest.raises(GraphError, match="the graph has been executed"):
        await execute(graph)
    with pytest.raises(GraphError, match="too late to create 'add'"):
        await graph.create_task("add", ((1,), {}), graph.root.uid)


@pytest.mark.parametrize(
    ("loops", "assignments", "message"),
    [
        ({"http": 2}, None, r"there is no worker loop 'default': \['http'\]"),
        ({"default": 2}, {"add": "http"}, "'add' is assigned to unknown loop 'http'"),
        ({"default": 2}, {"nope": "default"}, "worker loop 'default': unknown function 'nope'"),
    ],
)
def test_worker_loops_are_checked(loops: Any, assignments: Any, message: str):
    with pytest.raises(GraphError, match=message):
        TaskGraph({"add": add}, loops, assignments)


# Worker loops and statuses


Loop = namedtuple("Loop", "name concurrency functions")


@pytest.mark.parametrize(
    ("loops", "assignments"),
    [
        ({"default": 5, "narrow": 2}, {"narrow": "narrow"}),
        ([Loop("default", 5, None), Loop("narrow", 2, ["narrow"])], None),
        ([TaskGraph.WorkerLoop("default", 5), TaskGraph.WorkerLoop("narrow", 2, ["narrow"])], None),
    ],
    ids=["mapping", "namedtuple", "WorkerLoop"],
)
async def test_a_worker_loop_bounds_its_own_functions(loops: Any, assignments: Any):
    running, most = Counter[str](), Counter[str]()

    async def work(name: str) -> None:
        running[name] += 1
        most[name] = max(most[name], running[name])
        await trio.sleep(0.01)
        running[name] -= 1

    async def narrow() -> None:
        await work("narrow")

    async def wide() -> None:
        await work("wide")

    graph = TaskGraph({"narrow": narrow, "wide": wide}, loops, assignments)
    for _ in range(10):
        await graph.create_task("narrow", ((), {}), graph.root.uid)
        await graph.create_task("wide", ((), {}), graph.root.uid)
    await execute(graph)
    assert most == {"narrow": 2, "wide": 5}


async def test_the_statuses_have_the_names_of_the_original():
    go_on = trio.Event()
    graph = TaskGraph({"hold": go_on.wait}, {"default": 1})
    root = graph.root.uid

    def statuses() -> list[str]:
        return [node.task_status for node in graph.get_task_nodes()]

    one = await graph.create_task("hold", ((), {}), root)
    await graph.create_task("hold", ((), {}), root)
    await graph.create_wait_task("hold", ((), {}), [one], False)
    assert statuses() == ["created", "created", "waiting_for_predecessors"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(execute, graph)
        await trio.testing.wait_all_tasks_blocked()
        assert statuses() == ["in_progress", "ready_for_execution", "waiting_for_predecessors"]
        go_on.set()
    assert statuses() == ["success"] * 3
    assert graph.get_task_nodes("success", "hold") == graph.get_task_nodes(None, None)
    assert graph.get_task_nodes("failed", "hold") == []


async def test_cancelling_execution_cancels_what_is_left():
    graph = TaskGraph({"hold": trio.sleep_forever}, {"default": 1})
    one = await graph.create_task("hold", ((), {}), graph.root.uid)
    await graph.create_wait_task("hold", ((), {}), [one], True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(execute, graph)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [node.task_status for node in graph.get_task_nodes()] == ["cancelled", "cancelled"]
    assert graph.is_finished()


async def test_edges_tell_who_created_whom_and_who_waits_for_whom():
    graph = make_graph()
    one = await graph.create_task("add", ((1,), {}), graph.root.uid)
    two = await graph.create_task("add", ((2,), {}), one)
    three = await graph.create_wait_task("collect", None, [one, two], False)
    edges = [dict(node.edges_by_label) for node in graph.nodes.values()]
    assert edges == [
        {"scheduled": [one]},
        {"scheduled_by": [graph.root.uid], "scheduled": [two], "waited_on_by": [three]},
        {"scheduled_by": [one], "waited_on_by": [three]},
        {"waits_on": [one, two]},
    ]
