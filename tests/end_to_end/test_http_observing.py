"""End to end: logs, pictures, traces and critical paths over HTTP."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trio
from http_cases import FUNCTIONS, Serving, client_of, is_problem, serving

from trio_actor_graph import WorkerLoop, current_task, open_coordinator


def chatter(text: str, lines: int = 1) -> str:
    log = logging.getLogger("chatter")
    for number in range(lines):
        log.warning("%s %d", text, number)
    return text


def follow(text: str) -> str:
    logging.getLogger("chatter").error("after %s", text, extra={"colour": "red"})
    current_task().create_task("chatter", "child")
    return text


@pytest.fixture
async def s() -> Any:
    functions = [*FUNCTIONS, chatter, follow]
    async with (
        open_coordinator([WorkerLoop("default")], functions=functions) as coordinator,
        coordinator.serve_http(port=0) as server,
        client_of(server) as http,
    ):
        yield Serving(coordinator, server, http)


async def lines_of(s: Serving, path: str, number: int, **parameters: Any) -> list[str]:
    """The texts of the lines, once there are as many; they arrive a moment later."""
    with trio.fail_after(20):
        while True:
            page = await s.get(path, **parameters)
            if len(page["lines"]) >= number:
                return [line["text"] for line in page["lines"]]
            await trio.sleep(0.02)


async def test_logs_of_a_graph_a_task_and_what_it_has_to_do_with(s: Serving) -> None:
    graph, (first, second, other) = await s.create(
        {"function": "chatter", "args": ["first", 2], "key": "a"},
        {"function": "follow", "args": [{"$result": "a"}]},
        {"function": "chatter", "args": ["other"]},
    )
    at = f"/v1/graphs/{graph}"
    everything = ["after first", "child 0", "first 0", "first 1", "other 0"]
    assert sorted(await lines_of(s, f"{at}/logs", 5)) == everything
    own = f"{at}/tasks/{second}/logs"
    assert await lines_of(s, own, 1) == ["after first"]
    ancestors = await lines_of(s, own, 3, scope="ancestors")
    assert ancestors == ["first 0", "first 1", "after first"]
    descendants = await lines_of(s, own, 2, scope="descendants")
    assert descendants == ["after first", "child 0"]
    assert await lines_of(s, own, 0, scope="ancestors", level="ERROR") == ["after first"]
    assert await lines_of(s, own, 0, scope="ancestors", level=40) == ["after first"]
    assert await lines_of(s, own, 0, attempt=2) == []
    (line,) = (await s.get(own))["lines"]
    assert line["extra"] == {"colour": "red"}
    assert (line["task_uid"], line["task_name"], line["attempt"]) == (second, "follow", 1)
    assert (line["logger"], line["level"], line["worker"]) == ("chatter", 40, "default/0")
    assert {first, other} & {line["task_uid"]} == set()


async def test_logs_are_read_page_by_page_while_more_come(s: Serving) -> None:
    graph, _ = await s.create({"function": "chatter", "args": ["a", 5]})
    path = f"/v1/graphs/{graph}/logs"
    await lines_of(s, path, 5)
    page = await s.get(path, limit=3)
    assert ([line["text"] for line in page["lines"]], page["is_end"]) == (
        ["a 0", "a 1", "a 2"],
        False,
    )
    page = await s.get(path, limit=3, cursor=page["next_cursor"])
    assert ([line["text"] for line in page["lines"]], page["is_end"]) == (["a 3", "a 4"], True)
    last = page["lines"][-1]["number"]
    await s.http.post(
        f"/v1/graphs/{graph}/tasks", json={"tasks": [{"function": "chatter", "args": ["b"]}]}
    )
    assert await lines_of(s, path, 1, cursor=page["next_cursor"]) == ["b 0"]
    assert await lines_of(s, path, 1, after=last) == ["b 0"]
    is_problem(await s.http.get(path, params={"level": "LOUD"}), 400, "bad-parameter")
    is_problem(await s.http.get(path, params={"cursor": "x"}), 400, "bad-cursor")
    is_problem(await s.http.get(path, params={"scope": "task"}), 400, "bad-parameter")


async def test_log_lines_are_events(s: Serving) -> None:
    async with s.http.stream("GET", "/v1/events", params={"kinds": "log"}) as response:
        chunks = response.aiter_raw()
        text = await anext(chunks)
        await s.create({"function": "chatter", "args": ["a"]})
        with trio.fail_after(20):
            while b"event: log" not in text:
                text += await anext(chunks)
        data = json.loads(text.partition(b"data: ")[2].partition(b"\n")[0])
        assert (data["kind"], data["line"]["text"]) == ("log", "a 0")
        await response.aclose()
        with suppress(httpx.HTTPError, httpx.StreamError):  # so that httpx ends its generators
            await anext(chunks)


async def test_logs_of_a_closed_graph_can_be_read(s: Serving) -> None:
    async with s.coordinator.open_graph("g") as graph:
        graph.create_task("chatter", "a")
    assert await lines_of(s, f"/v1/graphs/{graph.uid}/logs", 1) == ["a 0"]


async def test_picture_trace_and_critical_path(s: Serving) -> None:
    graph, (first, second) = await s.create(
        {"function": "sleep", "args": [0.05], "key": "a"},
        {"function": "add", "args": [{"$result": "a"}], "name": "<script>"},
    )
    await s.result(graph, second)
    picture = await s.http.get(f"/v1/graphs/{graph}/picture.svg", params={"direction": "down"})
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.text.lstrip().startswith("<")
    assert "<script>" not in picture.text
    assert "sandbox" in picture.headers["content-security-policy"]
    trace = await s.get(f"/v1/graphs/{graph}/trace")
    assert {"sleep", "<script>"} <= {event["name"] for event in trace["traceEvents"]}
    path = await s.get(f"/v1/graphs/{graph}/critical-path")
    assert [step["uid"] for step in path["steps"]] == [first, second]
    assert path["seconds"] >= 0.05
    assert path["steps"][1]["because"] == "predecessor"


async def test_a_graph_that_is_too_large_is_not_gone_through() -> None:
    async with serving(limits={"observed_tasks": 2}) as s:
        graph, _ = await s.create(*[{"function": "add", "args": [n]} for n in range(3)])
        for what in ("picture.svg", "trace", "critical-path"):
            answer = await s.http.get(f"/v1/graphs/{graph}/{what}")
            is_problem(answer, 422, "graph-too-large")
