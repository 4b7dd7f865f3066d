"""End to end: the options of graphs and tasks over HTTP, and what becomes of failures."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
from http_cases import Serving, cannot_set_up, is_problem, serving, until

from trio_actor_graph import ResultReleased, TaskFailed, WorkerLoop
from trio_actor_graph.client import NewTask, RetryOptions, open_client


async def create(s: Serving, *tasks: dict[str, Any], **options: Any) -> tuple[int, list[int]]:
    answer = await s.http.post("/v1/graphs", json={"tasks": list(tasks), **options})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return body["graph"]["uid"], [task["uid"] for task in body["tasks"]]


async def ended(s: Serving, graph: int) -> dict[str, Any]:
    """The graph, when all its tasks have ended."""
    with trio.fail_after(20):
        while True:
            view: dict[str, Any] = await s.get(f"/v1/graphs/{graph}")
            if not sum(view["counts"][each] for each in ("waiting", "ready", "running")):
                return view
            await trio.sleep(0.01)


# ---- on_failure ------------------------------------------------------------------------------


async def test_a_failure_stays_on_its_task_if_nothing_is_said() -> None:
    async with serving() as s:
        graph, _ = await create(s, {"function": "fail"}, {"function": "add", "args": [1]})
        view = await ended(s, graph)
        assert (view["state"], view["on_failure"]) == ("idle", "continue")
        assert view["cancelled_because"] is None
        more = {"tasks": [{"function": "add", "args": [1]}]}
        assert (await s.http.post(f"/v1/graphs/{graph}/tasks", json=more)).status_code == 201


@pytest.mark.parametrize("loops", [None, [WorkerLoop("default", processes=2)]])
async def test_the_first_failure_cancels_a_graph_that_can_still_be_read(loops: Any) -> None:
    """It neither goes by itself nor takes the server with it."""
    async with serving(*([] if loops is None else [loops])) as s:
        graph, (bad, never) = await create(
            s, {"function": "fail"}, {"function": "forever"}, on_failure="cancel"
        )
        view = await ended(s, graph)
        assert (view["state"], view["on_failure"]) == ("cancelled", "cancel")
        assert view["cancelled_because"] == bad
        path = f"/v1/graphs/{graph}/tasks"
        is_problem(await s.http.get(f"{path}/{bad}/result"), 409, "task-failed")
        is_problem(await s.http.get(f"{path}/{never}/result"), 409, "task-cancelled")
        more = {"tasks": [{"function": "add", "args": [1]}]}
        is_problem(await s.http.post(path, json=more), 409, "graph-closed")
        assert (await s.http.delete(f"/v1/graphs/{graph}")).status_code == 204
        is_problem(await s.http.get(f"/v1/graphs/{graph}"), 404, "unknown-graph")
        other, (task,) = await create(s, {"function": "add", "args": [1]})
        assert await s.result(other, task) == 2


async def test_a_failure_that_a_condition_waits_for_cancels_nothing() -> None:
    async with serving() as s:
        graph, (_, after) = await create(
            s,
            {"function": "fail", "key": "bad"},
            {"function": "add", "args": [1], "waits_on": {"completed": ["bad"]}},
            on_failure="cancel",
        )
        assert await s.result(graph, after) == 2
        assert (await ended(s, graph))["state"] == "idle"
        assert (await s.http.delete(f"/v1/graphs/{graph}")).status_code == 204


async def test_a_server_ends_while_graphs_that_failed_are_open() -> None:
    """Nothing is raised, and what still runs is stopped."""
    with trio.fail_after(20):
        async with serving() as s:
            for how in ("cancel", "continue"):
                tasks = ({"function": "fail"}, {"function": "forever"})
                graph, _ = await create(s, *tasks, on_failure=how)
                await until(lambda uid=graph: s.coordinator.graph(uid).counts()["failed"] == 1)
            assert len(s.coordinator.graphs) == 2
        assert s.coordinator.graphs == ()


async def test_a_loop_that_cannot_start_harms_no_server() -> None:
    loops = [WorkerLoop("default", setup=cannot_set_up), WorkerLoop("here", processes=0)]
    async with serving(loops) as s:
        graph, (bad,) = await create(s, {"function": "add", "args": [1]}, on_failure="cancel")
        view = await ended(s, graph)
        assert (view["state"], view["cancelled_because"]) == ("cancelled", bad)
        answer = await s.http.get(f"/v1/graphs/{graph}/tasks/{bad}/result")
        assert is_problem(answer, 409, "task-failed")["error_type"] == "WorkerStartError"
        assert (await s.http.delete(f"/v1/graphs/{graph}")).status_code == 204
        other, (good,) = await create(
            s, {"function": "add", "args": [1], "worker_loop": "here"}, on_failure="cancel"
        )
        assert await s.result(other, good) == 2


async def test_raise_is_refused_and_what_there_is_is_listed() -> None:
    async with serving() as s:
        answer = await s.http.post("/v1/graphs", json={"on_failure": "raise"})
        detail = is_problem(answer, 400, "bad-json")["detail"]
        assert "raise" in detail
        assert "$.on_failure" in detail


# ---- results ---------------------------------------------------------------------------------


async def test_results_that_nobody_needs_are_let_go() -> None:
    """All but those that are to be kept, which can be read again and again."""
    async with serving() as s:
        graph, (first, last) = await create(
            s,
            {"function": "large", "key": "a", "args": [100_000]},
            {"function": "echo", "args": [[{"$result": "a"}]], "keep_result": True},
            keep_results="needed",
        )
        for _ in range(2):
            assert len((await s.result(graph, last))["args"][0][0]) == 100_000
        path = f"/v1/graphs/{graph}/tasks/{first}/result"
        is_problem(await s.http.get(path), 410, "result-released")
        view = await s.get(f"/v1/graphs/{graph}")
        assert view["keep_results"] == "needed"
        assert 100_000 < view["stored_bytes"] < 150_000


async def test_a_client_that_waits_gets_a_result_that_is_kept_for_nobody_else() -> None:
    async with serving() as s:
        graph, (task,) = await create(
            s, {"function": "sleep", "args": [0.3]}, keep_results="needed"
        )
        assert await s.result(graph, task) == 0.3
        path = f"/v1/graphs/{graph}/tasks/{task}"
        is_problem(await s.http.get(f"{path}/result"), 410, "result-released")
        await until(lambda: s.coordinator.graph(graph).stored_bytes == 0)


async def test_a_result_is_kept_for_clients_in_a_graph_of_the_app() -> None:
    async with serving() as s, s.coordinator.open_graph("mine", keep_results="needed") as graph:
        body = {"tasks": [{"function": "add", "args": [1], "keep_result": True}]}
        answer = await s.http.post(f"/v1/graphs/{graph.uid}/tasks", json=body)
        (pushed,) = answer.json()["tasks"]
        await graph.wait_finished()
        assert await s.result(graph.uid, pushed["uid"]) == 2


async def test_a_graph_that_keeps_what_is_needed_has_nothing_to_retry() -> None:
    async with serving() as s:
        graph, (task,) = await create(s, {"function": "fail"}, keep_results="needed")
        await ended(s, graph)
        answer = await s.http.post(f"/v1/graphs/{graph}/tasks/{task}/retry")
        is_problem(answer, 409, "too-late")


async def test_a_result_without_room_is_a_failure() -> None:
    async with serving() as s:
        graph, (task,) = await create(
            s, {"function": "large", "args": [10_000]}, stored_bytes_max=1_000
        )
        answer = await s.http.get(f"/v1/graphs/{graph}/tasks/{task}/result", params={"wait": 20})
        assert is_problem(answer, 409, "task-failed")["error_type"] == "ResultStoreFull"
        assert (await s.get(f"/v1/graphs/{graph}"))["stored_bytes_max"] == 1_000


# ---- retries ---------------------------------------------------------------------------------


async def test_retries_take_a_policy() -> None:
    async with serving() as s:
        policy = {"retries": 2, "delay_seconds": 0.2, "factor": 1, "jitter": 0}
        graph, (task,) = await create(s, {"function": "fail", "retries": policy})
        await ended(s, graph)
        info = await s.get(f"/v1/graphs/{graph}/tasks/{task}")
        assert info["retries"] == 2
        attempts = info["attempts"]
        assert [each["number"] for each in attempts] == [1, 2, 3]
        for before, after in itertools.pairwise(attempts):
            assert after["began_at"] - before["ended_at"] > 0.19


@pytest.mark.parametrize(
    ("retries", "status", "kind", "words"),
    [
        ({}, 400, "bad-json", "missing required field `retries` - at `$.tasks[0].retries`"),
        ({"retries": -1}, 400, "bad-json", ">= 0 - at `$.tasks[0].retries.retries`"),
        ({"retries": 1, "jitter": 1.5}, 400, "bad-json", "<= 1.0 - at `$.tasks[0].retries.jitter`"),
        ({"retries": 1, "factor": 0.5}, 400, "bad-json", "$.tasks[0].retries.factor"),
        ({"retries": 1, "delay_seconds": -1}, 400, "bad-json", "$.tasks[0].retries.delay_seconds"),
        ({"retries": 1, "retry_on": "OSError"}, 400, "bad-json", "unknown field `retry_on`"),
        ("often", 400, "bad-json", "$.tasks[0].retries"),
        ({"retries": 1, "delay_seconds": 99}, 422, "bad-batch", "more than the delay_seconds_max"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused(
    retries: Any, status: int, kind: str, words: str
) -> None:
    async with serving() as s:
        answer = await s.http.post(
            "/v1/graphs", json={"tasks": [{"function": "fail", "retries": retries}]}
        )
        problem = is_problem(answer, status, kind)
        assert words in problem["detail"]
        if kind == "bad-batch":
            assert problem["errors"][0]["path"] == "$.tasks[0].retries"
        assert (await s.get("/v1/graphs"))["graphs"] == []


# ---- by the client ---------------------------------------------------------------------------


async def test_the_client_has_the_same_words() -> None:
    async with serving() as s, open_client(s.server.url, token=s.server.token) as client:
        strict = await client.create_graph(
            "strict",
            [NewTask("fail", retries=RetryOptions(1, delay_seconds=0.01))],
            on_failure="cancel",
        )
        (bad,) = strict.pushed
        with pytest.raises(TaskFailed, match="no"):
            await bad.result()
        assert (await bad.read()).task.attempt == 2
        await until(lambda: s.coordinator.graph(strict.uid).state == "cancelled")
        assert (await strict.read()).cancelled_because == bad.uid
        lean = await client.create_graph(
            "lean",
            [NewTask("add", args=(1,), keep_result=True)],
            keep_results="needed",
            stored_bytes_max=10_000,
        )
        (kept,) = await lean.push(NewTask("add", args=(2,)))
        view = await lean.read()
        assert (view.keep_results, view.stored_bytes_max) == ("needed", 10_000)
        assert await lean.pushed[0].result() == 2
        await until(lambda: s.coordinator.graph(lean.uid).state == "idle")
        with pytest.raises(ResultReleased):
            await kept.result()
