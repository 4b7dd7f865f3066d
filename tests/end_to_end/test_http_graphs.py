"""End to end: graphs over HTTP are created, listed, read, cancelled and deleted."""

from __future__ import annotations

import pytest
import trio
from http_cases import client_of, is_problem, serving

from trio_actor_graph import WorkerLoop


async def test_a_graph_is_created_with_its_tasks_and_runs_in_processes() -> None:
    async with serving([WorkerLoop("default", processes=2)]) as s:
        graph, (total, first) = await s.create(
            {"function": "add", "key": "total", "args": [{"$result": "first"}], "kwargs": {"b": 5}},
            {"function": "add", "key": "first", "args": [1, 2]},
            name="sums",
        )
        assert await s.result(graph, total) == 8
        assert await s.result(graph, first) == 3
        view = await s.get(f"/v1/graphs/{graph}")
        assert (view["name"], view["state"], view["is_remote"]) == ("sums", "idle", True)
        assert view["counts"]["succeeded"] == 2
        assert view["created_at"] <= view["ended_at"]
        task = await s.get(f"/v1/graphs/{graph}/tasks/{total}")
        assert task["task"]["predecessors"] == [first]
        assert task["waits_on"]["succeeded"] == [first]
        assert task["task"]["worker"] in ("default/0", "default/1")
        assert [each["outcome"] for each in task["attempts"]] == ["succeeded"]


async def test_graphs_are_listed_page_by_page_while_some_are_added() -> None:
    async with serving() as s:
        graphs = [(await s.create())[0] for _ in range(5)]
        page = await s.get("/v1/graphs", limit=2)
        assert [each["uid"] for each in page["graphs"]] == graphs[:2]
        graphs.append((await s.create())[0])
        seen = graphs[:2]
        while page["next_cursor"] is not None:
            page = await s.get("/v1/graphs", limit=2, cursor=page["next_cursor"])
            seen += [each["uid"] for each in page["graphs"]]
        assert seen == graphs


async def test_graphs_are_filtered_by_state() -> None:
    async with serving() as s:
        idle, _ = await s.create()
        running, _ = await s.create({"function": "forever"})
        cancelled, _ = await s.create({"function": "forever"})
        await s.http.post(f"/v1/graphs/{cancelled}/cancel")
        for states, expected in [
            (["idle"], [idle]),
            (["running", "cancelled"], [running, cancelled]),
            (["stalled"], []),
        ]:
            page = await s.get("/v1/graphs", state=states)
            assert [each["uid"] for each in page["graphs"]] == expected


async def test_a_graph_that_has_not_changed_is_not_sent_again() -> None:
    async with serving() as s:
        graph, _ = await s.create()
        first = await s.http.get(f"/v1/graphs/{graph}")
        tag = {"If-None-Match": first.headers["etag"]}
        again = await s.http.get(f"/v1/graphs/{graph}", headers=tag)
        assert (again.status_code, again.content) == (304, b"")
        await s.http.post(f"/v1/graphs/{graph}/tasks", json={"tasks": [{"function": "forever"}]})
        changed = await s.http.get(f"/v1/graphs/{graph}", headers=tag)
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]


async def test_a_cancelled_graph_takes_no_more_tasks() -> None:
    async with serving() as s:
        graph, (task,) = await s.create({"function": "forever"})
        answer = await s.http.post(f"/v1/graphs/{graph}/cancel")
        assert answer.json()["state"] == "cancelled"
        push = await s.http.post(f"/v1/graphs/{graph}/tasks", json={"tasks": [{"function": "add"}]})
        is_problem(push, 409, "graph-closed")
        result = await s.http.get(f"/v1/graphs/{graph}/tasks/{task}/result")
        is_problem(result, 409, "task-cancelled")


async def test_a_deleted_graph_is_gone_and_what_ran_in_it_is_stopped() -> None:
    async with serving([WorkerLoop("default")]) as s:
        graph, _ = await s.create({"function": "spin"})
        await s.wait_running()
        answer = await s.http.delete(f"/v1/graphs/{graph}")
        assert (answer.status_code, answer.content) == (204, b"")
        is_problem(await s.http.get(f"/v1/graphs/{graph}"), 404, "unknown-graph")
        is_problem(await s.http.delete(f"/v1/graphs/{graph}"), 404, "unknown-graph")
        assert s.coordinator.graphs == ()


async def test_the_apps_graphs_are_shared_but_not_deleted() -> None:
    async with serving() as s:
        async with s.coordinator.open_graph("of the app") as graph:
            mine = graph.create_task("add", 1)
            answer = await s.http.post(
                f"/v1/graphs/{graph.uid}/tasks",
                json={"tasks": [{"function": "add", "args": [{"$result": mine.uid}]}]},
            )
            (pushed,) = answer.json()["tasks"]
            assert await s.result(graph.uid, pushed["uid"]) == 3
            is_problem(await s.http.delete(f"/v1/graphs/{graph.uid}"), 409, "not-remote")
        view = await s.get(f"/v1/graphs/{graph.uid}")
        assert (view["state"], view["is_remote"]) == ("closed", False)
        assert view["counts"]["succeeded"] == 2
        tasks = await s.get(f"/v1/graphs/{graph.uid}/tasks")
        assert [each["state"] for each in tasks["tasks"]] == ["succeeded"] * 2
        result = f"/v1/graphs/{graph.uid}/tasks/{mine.uid}/result"
        is_problem(await s.http.get(result), 410, "result-released")
        is_problem(await s.http.post(f"/v1/graphs/{graph.uid}/cancel"), 409, "graph-closed")
        assert await mine.result() == 2  # the app's handle is as good as ever


async def test_closed_graphs_are_kept_up_to_a_bound() -> None:
    async with serving(limits={"closed_graphs": 2}) as s:
        for number in range(4):
            async with s.coordinator.open_graph(f"g{number}"):
                pass
        page = await s.get("/v1/graphs")
        assert [each["name"] for each in page["graphs"]] == ["g2", "g3"]


async def test_the_graphs_of_clients_have_a_bound() -> None:
    async with serving(limits={"remote_graphs": 2}) as s:
        graph, _ = await s.create()
        await s.create()
        is_problem(await s.http.post("/v1/graphs", json={}), 429, "too-many-graphs")
        await s.http.delete(f"/v1/graphs/{graph}")
        await s.create()


async def test_a_request_with_a_key_is_done_once() -> None:
    async with serving() as s:
        key = {"Idempotency-Key": "order 17"}
        body = {"name": "once", "tasks": [{"function": "add", "args": [1]}]}
        answers = []

        async def ask() -> None:
            async with client_of(s.server) as http:
                answers.append(await http.post("/v1/graphs", json=body, headers=key))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert len({(a.status_code, a.content, a.headers["location"]) for a in answers}) == 1
        assert len((await s.get("/v1/graphs"))["graphs"]) == 1
        other = await s.http.post("/v1/graphs", json={"name": "other"}, headers=key)
        is_problem(other, 422, "key-reused")


async def test_a_client_that_goes_and_asks_again_finds_it_done_once() -> None:
    async with serving() as s:
        key = {"Idempotency-Key": "k"}
        for _ in range(5):
            with trio.move_on_after(0.001):
                async with client_of(s.server) as http:
                    await http.post("/v1/graphs", json={"name": "once"}, headers=key)
        answer = await s.http.post("/v1/graphs", json={"name": "once"}, headers=key)
        page = await s.get("/v1/graphs")
        assert [each["uid"] for each in page["graphs"]] == [answer.json()["graph"]["uid"]]


async def test_a_key_of_a_refused_request_can_be_used_again() -> None:
    async with serving() as s:
        key = {"Idempotency-Key": "k"}
        wrong = {"tasks": [{"function": "no such"}]}
        is_problem(await s.http.post("/v1/graphs", json=wrong, headers=key), 422, "bad-batch")
        assert (await s.http.post("/v1/graphs", json={}, headers=key)).status_code == 201


async def test_keys_are_forgotten_when_there_are_too_many() -> None:
    async with serving(limits={"keys": 3}) as s:
        for number in range(6):
            await s.http.post("/v1/graphs", json={}, headers={"Idempotency-Key": str(number)})
        first = {"Idempotency-Key": "0"}
        assert (await s.http.post("/v1/graphs", json={}, headers=first)).status_code == 201
        assert len((await s.get("/v1/graphs"))["graphs"]) == 7
        last = {"Idempotency-Key": "5"}
        await s.http.post("/v1/graphs", json={}, headers=last)
        assert len((await s.get("/v1/graphs"))["graphs"]) == 7


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7f"])
async def test_a_key_is_printable_and_short(key: str) -> None:
    async with serving() as s:
        answer = await s.http.post("/v1/graphs", json={}, headers={"Idempotency-Key": key})
        is_problem(answer, 400, "bad-parameter")


async def test_workers_task_types_health_and_metrics() -> None:
    async with serving([WorkerLoop("default"), WorkerLoop("more", functions=["spin"])]) as s:
        graph, (task,) = await s.create({"function": "spin"})
        worker = await s.wait_running()
        assert worker["name"] == "more/0"
        assert worker["pid"] > 0
        assert worker["memory_bytes"] > 1_000_000
        assert worker["cpu_seconds"] > 0
        running = worker["running"][0]
        assert (running["graph_uid"], running["task_uid"], running["name"]) == (graph, task, "spin")
        types = {each["name"]: each for each in (await s.get("/v1/task-types"))["task_types"]}
        assert types["add"] == {
            "name": "add",
            "worker_loop": "default",
            "is_async": False,
            "signature": "(a: 'int', b: 'int' = 1) -> 'int'",
            "summary": "Add two numbers.",
        }
        assert types["spin"]["worker_loop"] == "more"
        assert types["sleep"]["is_async"] is True
        health = await s.get("/v1/health")
        assert (health["status"], health["graphs"], health["workers"]) == ("ok", 1, 1)
        metrics = await s.http.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = metrics.text.splitlines()
        assert 'trio_actor_graph_tasks{state="running"} 1' in lines
        assert 'trio_actor_graph_worker_ready{worker="more/0",worker_loop="more"} 1' in lines
        assert 'trio_actor_graph_worker_stops_total{by="killed"} 0' in lines
        assert all(line.startswith(("# HELP ", "# TYPE ", "trio_actor_graph_")) for line in lines)


async def test_names_with_odd_characters_do_not_break_the_metrics() -> None:
    async with serving() as s:
        graph, (task,) = await s.create({"function": "add", "args": [1], "name": 'a"b\\c\nd'})
        await s.result(graph, task)
        text = (await s.http.get("/metrics")).text
        assert 'attempts_total{task="a\\"b\\\\c\\nd",worker="default/0"} 1\n' in text
