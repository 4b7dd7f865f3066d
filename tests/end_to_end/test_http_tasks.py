"""End to end: tasks over HTTP are pushed all or not at all, listed, read and changed."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import msgspec
import pytest
import trio
from http_cases import Point, Serving, add, client_of, is_problem, serving, until

from trio_actor_graph import TaskFailed, WorkerLoop, completed, current_task, open_coordinator
from trio_actor_graph.web import results
from trio_actor_graph.web.arguments import check_json
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.pushing import ERRORS_MAX


async def push(http: httpx.AsyncClient, graph: int, *tasks: dict[str, Any]) -> httpx.Response:
    return await http.post(f"/v1/graphs/{graph}/tasks", json={"tasks": list(tasks)})


async def test_a_batch_may_have_edges_and_conditions_in_any_order() -> None:
    async with serving() as s:
        graph, uids = await s.create(
            {
                "function": "echo",
                "key": "last",
                "args": [[{"$result": "a"}, {"deep": {"$result": "b"}}]],
                "kwargs": {"literal": {"$literal": {"$result": 1}}, "key": "a"},
                "waits_on": {
                    "all_of": [
                        {"completed": ["bad", "a"]},
                        {"any_of": [{"succeeded": ["a", "b", "bad"], "at_least": 2}]},
                    ]
                },
                "priority": 3,
                "name": "the last",
            },
            {"function": "add", "key": "a", "args": [1]},
            {"function": "add", "key": "b", "args": [{"$result": "a"}]},
            {"function": "fail", "key": "bad", "retries": 1, "timeout_seconds": 30},
        )
        last, a, b, bad = uids
        assert await s.result(graph, last) == {
            "args": [[2, {"deep": 3}]],
            "kwargs": {"literal": {"$result": 1}, "key": "a"},
        }
        info = await s.get(f"/v1/graphs/{graph}/tasks/{last}")
        assert (info["task"]["name"], info["priority"]) == ("the last", 3)
        assert sorted(info["task"]["predecessors"]) == sorted([a, b, bad])
        failed = await s.get(f"/v1/graphs/{graph}/tasks/{bad}")
        assert [each["outcome"] for each in failed["attempts"]] == ["failed", "failed"]
        assert (failed["retries"], failed["timeout_seconds"]) == (1, 30)
        assert failed["task"]["error"] == "ValueError: no"
        assert "ValueError: no" in failed["traceback"]
        assert failed["successors"] == [last]


@pytest.mark.parametrize(
    ("tasks", "path", "words"),
    [
        ([{"function": "nope"}], "$.tasks[1].function", "registered"),
        ([{"function": "add", "worker_loop": "nope"}], "$.tasks[1].worker_loop", "nope"),
        ([{"function": "add", "args": [{"$result": "x"}]}], "$.tasks[1].args[0].$result", "'x'"),
        ([{"function": "add", "args": [{"$result": 999999}]}], "$.tasks[1].args[0].$result", "no "),
        (
            [{"function": "add", "kwargs": {"b": [{"$result": True}]}}],
            "$.tasks[1].kwargs.b[0].$result",
            "uid or the key",
        ),
        (
            [{"function": "add", "args": [{"$result": 1, "and": 2}]}],
            "$.tasks[1].args[0]",
            "nothing else",
        ),
        ([{"function": "echo", "waits_on": {}}], "$.tasks[1].waits_on", "exactly one"),
        (
            [{"function": "echo", "waits_on": {"succeeded": ["k"], "completed": ["k"]}}],
            "$.tasks[1].waits_on",
            "exactly one",
        ),
        (
            [{"function": "echo", "waits_on": {"completed": ["k"], "at_least": 2}}],
            "$.tasks[1].waits_on.at_least",
            "only 1",
        ),
        ([{"function": "add", "key": "k"}], "$.tasks[1].key", "twice"),
        (
            [{"function": "add", "key": "a", "args": [{"$result": "a"}]}],
            "$.tasks[1]",
            "'a' waits on 'a'",
        ),
        (
            [
                {"function": "add", "key": "a", "args": [{"$result": "b"}]},
                {"function": "echo", "key": "b", "waits_on": {"completed": ["a"]}},
            ],
            "$.tasks[1]",
            "'a' waits on 'b' waits on 'a'",
        ),
        ([{"function": "echo", "timeout_seconds": 1e300}], "$.tasks[1]", "timeout_seconds"),
        ([{"function": "add", "args": [1, 2, 3]}], "$.tasks[1].args", "too many positional"),
        ([{"function": "add"}], "$.tasks[1].args", "missing a required argument: 'a'"),
        ([{"function": "add", "kwargs": {"b": 1}}], "$.tasks[1].args", "missing a required"),
        ([{"function": "add", "args": [1], "kwargs": {"a": 1}}], "$.tasks[1].kwargs", "multiple"),
        ([{"function": "add", "args": [1], "kwargs": {"c": 1}}], "$.tasks[1].kwargs", "'c'"),
    ],
)
async def test_one_wrong_task_keeps_all_others_out(
    tasks: list[dict[str, Any]], path: str, words: str
) -> None:
    async with serving() as s:
        graph, _ = await s.create()
        good = {"function": "add", "key": "k", "args": [1]}
        problem = is_problem(await push(s.http, graph, good, *tasks), 422, "bad-batch")
        assert problem["errors"][0]["path"] == path
        assert words in problem["errors"][0]["detail"]
        assert (await s.get(f"/v1/graphs/{graph}/tasks"))["tasks"] == []
        new = await s.http.post("/v1/graphs", json={"tasks": [good, *tasks]})
        is_problem(new, 422, "bad-batch")
        assert len((await s.get("/v1/graphs"))["graphs"]) == 1


async def test_what_is_known_of_a_signature_is_told_with_it() -> None:
    """One look for all calls of a kind, and each is told; what stands for a result is one too."""
    async with serving() as s:
        graph, _ = await s.create()
        bad = {"function": "add", "args": [1, 2, 3]}
        results = {"function": "add", "args": [{"$result": "a"}, {"$literal": [1, 2]}, 3]}
        good = {"function": "echo", "key": "a", "args": [1, 2, 3], "kwargs": {"x": 1, "y": 2}}
        answer = await push(s.http, graph, good, bad, results, bad)
        problem = is_problem(answer, 422, "bad-batch")
        assert [(each["path"], each["detail"]) for each in problem["errors"]] == [
            (
                f"$.tasks[{index}].args",
                "add(a: 'int', b: 'int' = 1) -> 'int': too many positional arguments",
            )
            for index in (1, 2, 3)
        ]
        long = await push(
            s.http, graph, {"function": "add", "args": [1], "kwargs": {"x" * 9999: 1}}
        )
        assert len(is_problem(long, 422, "bad-batch")["detail"]) < 500


def with_one(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(1, *args)

    return call


@with_one
def decorated(a: int, b: int) -> int:
    return a + b


class Claims:
    """It says something of its parameters that nobody can use."""

    __signature__ = "(a, b)", "which is none"
    __name__ = "claims"

    def __call__(self, *args: Any) -> int:
        return len(args)


async def test_where_no_signature_can_be_had_nothing_is_checked() -> None:
    """A decorator may add arguments, built-in functions do not tell, and some tell nonsense."""
    functions = {"decorated": decorated, "int": int, "max": max, "claims": Claims()}
    async with (
        open_coordinator([WorkerLoop("default", processes=0)], functions=functions) as coordinator,
        coordinator.serve_http() as server,
        client_of(server) as http,
    ):
        tasks = [
            {"function": "decorated", "args": [2]},
            {"function": "int", "args": ["12"]},
            {"function": "max", "args": [1, 5, 3]},
            {"function": "claims", "args": [1]},
        ]
        answer = await http.post("/v1/graphs", json={"tasks": tasks})
        assert answer.status_code == 201, answer.text
        graph = coordinator.graph(answer.json()["graph"]["uid"])
        assert graph is not None
        assert [await task.result() for task in graph.tasks] == [3, 12, 5, 1]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"tasks": []}',
        '{"tasks": [{"function": "add", "no_such_field": 1}]}',
        '{"tasks": [{"function": "add", "args": [NaN]}]}',
        '{"tasks": [{"function": "add", "args": [1e999]}]}',
        '{"tasks": [{"function": "add", "args": ["\\ud800"]}]}',
        '{"tasks": [{"function": "add", "args": {}}]}',
        '{"tasks": [{"function": "add", "retries": -1}]}',
        '{"tasks": [{"function": "add", "priority": 2147483648}]}',
        '{"tasks": [{"function": "add", "args": [' + "[" * 100 + "]" * 100 + "]}]}",
        '{"tasks": [{"function": "add", "args": [' + "[" * 100_000 + "]}]}",
    ],
)
async def test_what_is_no_such_json_is_refused(body: str) -> None:
    async with serving() as s:
        graph, _ = await s.create()
        answer = await s.http.post(
            f"/v1/graphs/{graph}/tasks",
            content=body,
            headers={"Content-Type": "application/json"},
        )
        problem = is_problem(answer, 400, "bad-json")
        assert problem["detail"]
        assert (await s.get(f"/v1/graphs/{graph}"))["counts"]["succeeded"] == 0


async def test_brackets_in_strings_are_not_depth() -> None:
    async with serving() as s:
        text = "[{" * 1000 + '\\"'
        graph, (task,) = await s.create({"function": "echo", "args": [text]})
        assert (await s.result(graph, task))["args"] == [text]


def batch_of(arguments: str) -> str:
    return f'{{"tasks": [{{"function": "echo", "args": [{arguments}]}}]}}'


async def test_json_may_have_so_many_values() -> None:
    """Each counts by its bracket or the comma before it; what is in strings does not."""
    async with serving(limits={"json_values": 50}) as s:
        graph, _ = await s.create()
        for arguments, status in [
            (",".join(["[]"] * 22), 201),
            (",".join(["[]"] * 40), 400),
            (",".join(["{}"] * 40), 400),
            (",".join(["1"] * 45), 201),
            (",".join(["1"] * 60), 400),
            (",".join(['""'] * 1000), 400),
            (f'"{"[],{}" * 100}"', 201),
            (r'"' + r"[],{}\\\" " * 100 + r'\\"', 201),
            (r'"\\", ' * 60 + "1", 400),
        ]:
            answer = await s.http.post(
                f"/v1/graphs/{graph}/tasks",
                content=batch_of(arguments),
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code == status, arguments
            if status == 400:
                assert "50 values" in is_problem(answer, 400, "bad-json")["detail"]


@pytest.mark.parametrize("text", [b'"' + rb"\"" * 2_000_000, b'"' * 4_000_001, b'["' * 2_000_000])
def test_json_whose_strings_do_not_end_is_looked_through_once(text: bytes) -> None:
    """It is refused or left to the decoder, within the test's time."""
    with suppress(ProblemRaised):
        check_json(text, 64, 500_000)


async def test_names_that_are_spelt_with_escapes_still_refer() -> None:
    async with serving() as s:
        body = """{"tasks": [
            {"function": "add", "key": "a", "args": [1]},
            {"function": "echo", "args": [{"\\u0024result": "a"}, {"$liter\\u0061l": {"$x": 1}}]}
        ]}"""
        answer = await s.http.post(
            "/v1/graphs", content=body, headers={"Content-Type": "application/json"}
        )
        graph, task = answer.json()["graph"]["uid"], answer.json()["tasks"][1]["uid"]
        assert (await s.result(graph, task))["args"] == [2, {"$x": 1}]


async def test_only_so_many_wrong_places_are_told_and_shortly() -> None:
    async with serving() as s:
        graph, (task,) = await s.create({"function": "forever"})
        wrong = [{"$result": "nobody" * 50_000}, *[{"$result": 10**30}] * 1000]
        one = {"function": "echo", "args": [{"n" * 100_000: wrong}]}
        problem = is_problem(await push(s.http, graph, one), 422, "bad-batch")
        assert len(problem["errors"]) == ERRORS_MAX
        assert all(len(each["path"]) + len(each["detail"]) < 500 for each in problem["errors"])
        assert problem["errors"][1]["path"].endswith("...[1].$result")
        bad = {"any_of": [{}] * 1000}
        one = {"function": "add", "waits_on": bad}
        problem = is_problem(await push(s.http, graph, one), 422, "bad-batch")
        assert len(problem["errors"]) == ERRORS_MAX
        path = f"/v1/graphs/{graph}/tasks/{task}/predecessors"
        for condition in (bad, {"succeeded": list(range(10**6, 10**6 + 1000))}):
            answer = await s.http.post(path, json={"waits_on": condition})
            assert len(is_problem(answer, 422, "bad-condition")["errors"]) == ERRORS_MAX


async def test_a_function_that_cannot_be_sent_to_its_loop_is_refused_beforehand() -> None:
    """Nothing of the batch is left in the graph. Where nothing has to be sent it is taken."""
    lock = threading.Lock()

    def is_locked() -> bool:
        return lock.locked()

    class Holder:
        held = None

        def method(self) -> bool:
            return self.held is not None

    holder = Holder()
    holder.held = lock  # type: ignore[assignment]
    functions = {"add": add, "is_locked": is_locked, "method": holder.method}
    loops = [
        WorkerLoop("default", processes=1),
        WorkerLoop("here", processes=0, functions=[is_locked]),
    ]
    async with (
        open_coordinator(loops, functions=functions) as coordinator,
        coordinator.serve_http() as server,
        client_of(server) as http,
        coordinator.open_graph() as graph,
    ):
        for wrong in (
            {"function": "is_locked", "worker_loop": "default"},
            {"function": "method"},
        ):
            tasks = ({"function": "add", "args": [1]}, wrong)
            problem = is_problem(await push(http, graph.uid, *tasks), 422, "bad-batch")
            assert [each["path"] for each in problem["errors"]] == ["$.tasks[1].function"]
            assert "lock" in problem["errors"][0]["detail"]
            new = await http.post("/v1/graphs", json={"tasks": tasks})
            is_problem(new, 422, "bad-batch")
        assert graph.tasks == ()
        assert coordinator.graphs == (graph,)
        assert (await push(http, graph.uid, {"function": "is_locked"})).status_code == 201
        assert await graph.tasks[0].result() is False


async def test_tasks_are_listed_page_by_page_while_some_are_added() -> None:
    async with serving() as s:
        graph, uids = await s.create(*[{"function": "add", "args": [n]} for n in range(5)])
        page = await s.get(f"/v1/graphs/{graph}/tasks", limit=2)
        seen = [each["uid"] for each in page["tasks"]]
        more = await push(s.http, graph, {"function": "add", "args": [1]})
        uids += [each["uid"] for each in more.json()["tasks"]]
        while page["next_cursor"] is not None:
            page = await s.get(f"/v1/graphs/{graph}/tasks", limit=2, cursor=page["next_cursor"])
            seen += [each["uid"] for each in page["tasks"]]
        assert seen == uids


async def test_tasks_are_filtered() -> None:
    loops = [
        WorkerLoop("default", processes=0, concurrency=9),
        WorkerLoop("two", processes=0),
    ]
    async with serving(loops) as s:
        graph, (one, two, three) = await s.create(
            {"function": "add", "args": [1], "name": "x"},
            {"function": "fail", "name": "x"},
            {"function": "forever", "worker_loop": "two"},
        )
        await s.result(graph, one)
        failed = s.coordinator.graph(graph)
        assert failed is not None
        await until(lambda: failed.counts()["failed"] == 1)
        for parameters, expected in [
            ({"state": ["failed", "succeeded"]}, [one, two]),
            ({"name": "x"}, [one, two]),
            ({"name": "x", "state": "failed"}, [two]),
            ({"worker_loop": "two"}, [three]),
            ({"worker": "default/0"}, [one, two]),
            ({"function": "add"}, [one]),
            ({"name": "y"}, []),
            ({"name": "null"}, []),
        ]:
            page = await s.get(f"/v1/graphs/{graph}/tasks", **parameters)
            assert [each["uid"] for each in page["tasks"]] == expected, parameters


async def test_attempts_that_were_cut_off_tell_where_and_when() -> None:
    """One that was lost with its worker, was past its limit in a plain function, or cancelled."""
    async with serving([WorkerLoop("default")]) as s:
        graph, (lost, late, spins) = await s.create(
            {"function": "die_once"},
            {"function": "spin", "timeout_seconds": 0.1},
            {"function": "spin"},
        )
        path = f"/v1/graphs/{graph}/tasks"
        assert await s.result(graph, lost) == 2
        await s.http.get(f"{path}/{late}/result", params={"wait": 20})
        await until(lambda: s.coordinator.graph(graph).counts()["running"] == 1)
        info = await s.get(f"{path}/{spins}")
        assert info["task"]["outcome"] is None
        (running,) = info["attempts"]
        assert (await s.http.post(f"{path}/{spins}/cancel", json={})).status_code == 200
        told = {uid: await s.get(f"{path}/{uid}") for uid in (lost, late, spins)}
    outcomes = {uid: [a["outcome"] for a in info["attempts"]] for uid, info in told.items()}
    assert outcomes == {
        lost: ["worker lost", "succeeded"],
        late: ["timed out"],
        spins: ["cancelled"],
    }
    for info in told.values():
        for attempt in info["attempts"]:
            assert attempt["worker"] == "default/0"
            assert attempt["began_at"] < attempt["ended_at"]
        last, task = info["attempts"][-1], info["task"]
        assert (task["worker"], task["began_at"]) == ("default/0", last["began_at"])
        assert task["seconds"] == pytest.approx(last["ended_at"] - last["began_at"], abs=1e-6)
        assert task["outcome"] == last["outcome"]
    assert running["began_at"] == told[spins]["attempts"][0]["began_at"]


def create_inner() -> None:
    def inner() -> None:
        pass

    current_task().create_task(inner, name="made in a worker")


async def test_tasks_tell_their_functions() -> None:
    """As they are registered or, if they are not, by their own names."""
    async with (
        open_coordinator([WorkerLoop("default")], functions={"plus": add}) as coordinator,
        coordinator.serve_http(port=0) as server,
        client_of(server) as http,
        coordinator.open_graph() as graph,
    ):
        graph.create_task(add, 1, name="x")
        graph.create_task("plus", 1, name="y", retries=1)
        graph.create_task(create_inner)
        await graph.wait_finished()
        page = (await http.get(f"/v1/graphs/{graph.uid}/tasks")).json()
        assert [(each["name"], each["function"]) for each in page["tasks"]] == [
            ("x", "plus"),
            ("y", "plus"),
            ("create_inner", "create_inner"),
            ("made in a worker", "inner"),
        ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"state": "nope"},
        {"no_such": 1},
        {"limit": [1, 2]},
        {"cursor": "nope"},
        {"cursor": "é"},
        {"cursor": "dGFza3MtMTow"},  # "tasks-1:0": of another graph
        {"cursor": "A" * 200},
    ],
)
async def test_wrong_parameters_are_refused(parameters: dict[str, Any]) -> None:
    async with serving() as s:
        graph, _ = await s.create()
        answer = await s.http.get(f"/v1/graphs/{graph}/tasks", params=parameters)
        kind = "bad-cursor" if "cursor" in parameters else "bad-parameter"
        is_problem(answer, 400, kind)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/graphs/x", "unknown-graph"),
        ("/v1/graphs/0", "unknown-graph"),
        ("/v1/graphs/-1", "unknown-graph"),
        ("/v1/graphs/99999999999999999999", "unknown-graph"),
        ("/v1/graphs/٣", "unknown-graph"),
        ("/v1/graphs/{graph}/tasks/x", "unknown-task"),
        ("/v1/graphs/{graph}/tasks/123456", "unknown-task"),
        ("/v1/graphs/", "not-found"),
        ("/v1", "not-found"),
        ("/v1/graphs/{graph}/nope", "not-found"),
        ("/page/../server.py", "not-found"),
        ("/page/%2e%2e%2fserver.py", "not-found"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(path: str, kind: str) -> None:
    async with serving() as s:
        graph, _ = await s.create()
        is_problem(await s.http.get(path.format(graph=graph)), 404, kind)


async def test_a_method_that_is_not_there_is_told_with_those_that_are() -> None:
    async with serving() as s:
        answer = await s.http.put("/v1/graphs")
        is_problem(answer, 405, "method-not-allowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
        is_problem(await s.http.options("/v1/graphs"), 405, "method-not-allowed")
        head = await s.http.head("/v1/graphs")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0


async def test_a_task_is_cancelled_alone_or_with_what_waits_on_it() -> None:
    async with serving() as s:
        graph, (first, second, third) = await s.create(
            {"function": "forever", "key": "a"},
            {"function": "add", "waits_on": {"completed": ["a"]}, "args": [1]},
            {"function": "forever", "key": "c"},
        )
        answer = await s.http.post(f"/v1/graphs/{graph}/tasks/{first}/cancel")
        assert answer.json()["task"]["state"] == "cancelled"
        assert await s.result(graph, second) == 2
        more = await push(
            s.http, graph, {"function": "add", "args": [1], "waits_on": {"completed": [third]}}
        )
        fourth = more.json()["tasks"][0]["uid"]
        await s.http.post(f"/v1/graphs/{graph}/tasks/{third}/cancel", json={"successors": True})
        explained = await s.get(f"/v1/graphs/{graph}/tasks/{fourth}/explain")
        assert explained["state"] == "cancelled"
        assert "cancelled" in explained["story"]


async def test_a_failed_task_runs_again() -> None:
    async with serving() as s:
        graph, (task, after) = await s.create(
            {"function": "fail_once", "key": "a"},
            {"function": "echo", "args": [{"$result": "a"}]},
        )
        path = f"/v1/graphs/{graph}/tasks/{task}"
        result = await s.http.get(f"{path}/result", params={"wait": 20})
        problem = is_problem(result, 409, "task-failed")
        assert problem["error_type"] == "ValueError"
        assert "the first time" in problem["traceback"]
        skipped = await s.http.get(f"/v1/graphs/{graph}/tasks/{after}/result")
        assert is_problem(skipped, 409, "task-skipped")["error_type"] == "ValueError"
        assert (await s.http.post(f"{path}/retry")).status_code == 200
        assert await s.result(graph, task) == 2
        assert (await s.result(graph, after))["args"] == [2]
        is_problem(await s.http.post(f"{path}/retry"), 409, "too-late")


async def test_a_predecessor_is_added_while_there_is_time() -> None:
    async with serving() as s:
        graph, (first, second, third) = await s.create(
            {"function": "forever", "key": "a"},
            {"function": "add", "args": [1], "waits_on": {"completed": ["a"]}, "key": "b"},
            {"function": "sleep", "args": [0]},
        )
        path = f"/v1/graphs/{graph}/tasks/{{}}/predecessors"
        added = await s.http.post(path.format(second), json={"waits_on": {"completed": [third]}})
        assert added.json()["task"]["predecessors"] == [first, third]
        assert added.json()["waits_on"] == {
            "succeeded": None,
            "completed": None,
            "at_least": None,
            "all_of": [
                {**_ALL_NONE, "completed": [first]},
                {**_ALL_NONE, "completed": [third]},
            ],
            "any_of": None,
        }
        on_itself = await s.http.post(
            path.format(second), json={"waits_on": {"succeeded": [second]}}
        )
        is_problem(on_itself, 409, "cycle")
        late = await s.http.post(path.format(first), json={"waits_on": {"succeeded": [third]}})
        is_problem(late, 409, "too-late")
        for waits_on in ({"succeeded": ["key"]}, {"succeeded": [12345]}, {}):
            wrong = await s.http.post(path.format(second), json={"waits_on": waits_on})
            is_problem(wrong, 422, "bad-condition")


_ALL_NONE = {"succeeded": None, "completed": None, "at_least": None, "all_of": None, "any_of": None}


async def test_a_result_is_waited_for_by_a_long_poll() -> None:
    gate = trio.Event()

    async def held() -> int:
        await gate.wait()
        return 3

    async with (
        serving() as s,
        s.coordinator.open_graph() as graph,
        trio.open_nursery() as nursery,
    ):
        task = graph.create_task(held)
        path = f"/v1/graphs/{graph.uid}/tasks/{task.uid}/result"
        pending = await s.http.get(path)
        assert pending.status_code == 202
        assert pending.json()["state"] in ("ready", "running")
        assert pending.headers["retry-after"] == "1"
        began = time.monotonic()
        slow = await s.http.get(path, params={"wait": 0.2})
        assert slow.status_code == 202
        assert 0.2 <= time.monotonic() - began < 20

        async def open_gate() -> None:
            await until(lambda: task.uid in {each.uid for each in graph._waiting})
            gate.set()

        nursery.start_soon(open_gate)
        # Sooner than it would be told anyway that there is none yet.
        assert await s.result(graph.uid, task.uid, wait=60) == 3
        too_long = await s.http.get(path, params={"wait": 61})
        is_problem(too_long, 400, "bad-parameter")


async def test_a_failure_that_was_asked_for_over_http_has_been_seen() -> None:
    async with serving() as s, s.coordinator.open_graph("g", on_failure="raise") as graph:
        task = graph.create_task("fail")
        answer = await s.http.get(
            f"/v1/graphs/{graph.uid}/tasks/{task.uid}/result", params={"wait": 20}
        )
        is_problem(answer, 409, "task-failed")


async def test_who_waits_for_a_result_over_http_does_not_hold_up_what_a_failure_does() -> None:
    """Neither that the graph is cancelled, nor that the app learns of it."""
    answers: list[httpx.Response] = []

    async def run(s: Serving, nursery: trio.Nursery) -> None:
        async with s.coordinator.open_graph(on_failure="cancel") as graph:
            gate = graph.create_task("forever")
            task = graph.create_task("fail", waits_on=completed(gate))

            async def poll() -> None:
                path = f"/v1/graphs/{graph.uid}/tasks/{task.uid}/result"
                answers.append(await s.http.get(path, params={"wait": 20}))

            nursery.start_soon(poll)
            await until(lambda: task.uid in {each.uid for each in graph._waiting})
            gate.cancel()
            await trio.sleep_forever()

    async with serving() as s, trio.open_nursery() as nursery:
        with pytest.raises(ExceptionGroup) as raised:
            await run(s, nursery)
        assert raised.group_contains(TaskFailed)
        await until(lambda: bool(answers))
        is_problem(answers[0], 409, "task-failed")


def test_the_size_of_a_result_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_has_nonfinite", None)  # whoever calls it gets a TypeError
    with pytest.raises(results.NotJson, match="at most 100 are sent"):
        results.encode_result(1, [None] * 1000, 100)


def test_a_float_that_is_not_finite_is_found_and_its_path_made_only_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value, path in [
        (float("nan"), "it"),
        ([None, [], {}, (1, float("inf"))], "it[3][1]"),
        ({"a": [1.5, None], "b": {"c" * 100: -float("inf")}}, f"it['b'][{'c' * 39!r}"[:48] + "]"),
        ([Point(1, None), Point(1, float("nan"))], "it[1].y"),
        ([[None]] * 3 + [[float("nan")]], "it[3][0]"),
    ]:
        with pytest.raises(results.NotJson) as raised:
            results.encode_result(1, value)
        assert str(raised.value) == f"{path} is a float that JSON has no number for"
    monkeypatch.setattr(results, "_path_of_nonfinite", None)
    shared = [None, 1.5, "null"]
    assert results.encode_result(1, [shared, {"x": shared, "y": {1, 2}}, Point(1, None)])


def test_raw_json_is_sent_only_if_it_is_some() -> None:
    whole = [msgspec.Raw(b'{"a": [1]}'), msgspec.Raw(b"null"), None]
    assert results.encode_result(1, whole) == b'{"uid":1,"value":[{"a": [1]},null,null]}'
    for wrong in (b"rubbish", b"1]", b'{"a": ', b"[" * 100_000, b'"\xff"'):
        for value in (msgspec.Raw(wrong), {"deep": [msgspec.Raw(wrong)]}):
            with pytest.raises(results.NotJson, match=r"msgspec\.Raw"):
                results.encode_result(1, value)


async def test_what_json_cannot_carry_is_refused_by_its_type() -> None:
    async with serving(limits={"result_bytes": 1000}) as s:
        graph, (odd, nan, point, large) = await s.create(
            {"function": "odd"},
            {"function": "nonfinite"},
            {"function": "point"},
            {"function": "large", "args": [1001]},
        )
        assert await s.result(graph, point) == {"x": 1, "y": None}
        for task, words in [
            (odd, "http_cases.Odd"),
            (nan, "it['x'][1]"),
            (large, "1,000 are sent"),
        ]:
            answer = await s.http.get(
                f"/v1/graphs/{graph}/tasks/{task}/result", params={"wait": 20}
            )
            assert words in is_problem(answer, 406, "not-json")["detail"]


async def test_a_result_that_nobody_needs_is_gone() -> None:
    async with serving() as s, s.coordinator.open_graph("g", keep_results="needed") as graph:
        answer = await push(s.http, graph.uid, {"function": "add", "args": [1]})
        uid = answer.json()["tasks"][0]["uid"]
        await graph.wait_finished()
        result = await s.http.get(f"/v1/graphs/{graph.uid}/tasks/{uid}/result")
        is_problem(result, 410, "result-released")
        needs = {"function": "add", "args": [{"$result": uid}]}
        is_problem(await push(s.http, graph.uid, needs), 422, "bad-batch")


async def test_ten_thousand_tasks_are_pushed_at_once_and_listed() -> None:
    async with serving() as s:
        tasks = [{"function": "add", "args": [n], "key": f"k{n}"} for n in range(10_000)]
        graph, uids = await s.create(*tasks)
        assert await s.result(graph, uids[-1], wait=60) == 10_000
        page = await s.get(f"/v1/graphs/{graph}/tasks", limit=1000)
        assert [each["uid"] for each in page["tasks"]] == uids[:1000]
        too_many = await push(s.http, graph, *tasks, {"function": "add"})
        is_problem(too_many, 400, "bad-json")
