"""End to end: events are streamed in order, resumed without a loss, and a loss is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import httpx
import pytest
import trio
from http_cases import Serving, client_of, is_problem, serving, until

from trio_actor_graph import WorkerLoop


class Received(NamedTuple):
    id: str
    kind: str
    data: dict[str, Any]


class Stream:
    """The events of a stream, as a client reads them."""

    def __init__(self, response: httpx.Response):
        self.response = response
        self.comments: list[str] = []
        self._lines = response.aiter_lines()

    async def next(self) -> Received:
        fields: dict[str, str] = {}
        with trio.fail_after(20):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments.append(line)
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    return Received(fields["id"], fields["event"], json.loads(fields["data"]))
                else:
                    fields = {}
        raise EOFError

    async def until(self, happening: str) -> list[Received]:
        """All events up to the first of this happening."""
        events = [await self.next()]
        while events[-1].data.get("happening") != happening:
            events.append(await self.next())
        return events

    async def close(self) -> None:
        """Close it, and have httpx's generators notice, which else nobody closes."""
        with trio.CancelScope(shield=True), suppress(httpx.HTTPError, httpx.StreamError):
            await self.response.aclose()
            async for _ in self._lines:
                pass

    async def next_comment(self) -> str:
        return await self.next_line(":")

    async def next_line(self, beginning: str) -> str:
        with trio.fail_after(20):
            async for line in self._lines:
                if line.startswith(beginning):
                    return line
        raise EOFError


@asynccontextmanager
async def stream(
    s: Serving, path: str = "/v1/events", *, last: str | None = None, **parameters: Any
) -> AsyncIterator[Stream]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with (
        client_of(s.server) as http,
        http.stream("GET", path, params=parameters, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        events = Stream(response)
        try:
            yield events
        finally:
            await events.close()


async def test_a_run_is_told_in_order() -> None:
    async with serving([WorkerLoop("default")]) as s, stream(s) as events:
        graph, (task,) = await s.create({"function": "add", "args": [1]}, name="g")
        told = await events.until("finished")
        of_task = [e.data for e in told if e.kind == "task"]
        assert [(e["happening"], e["state"], e["attempt"]) for e in of_task] == [
            ("created", "waiting", 0),
            ("condition satisfied", "ready", 0),
            ("given to a worker", "running", 1),
            ("function returned", "succeeded", 1),
        ]
        assert {(e["graph_uid"], e["uid"], e["name"]) for e in of_task} == {(graph, task, "add")}
        assert of_task[-1]["worker"] == "default/0"
        assert of_task[-1]["seconds"] >= 0
        assert [e["at"] for e in of_task] == sorted(e["at"] for e in of_task)
        workers = [e.data["happening"] for e in told if e.kind == "worker"]
        assert workers == ["starting", "ready"]
        graphs = [e.data["happening"] for e in told if e.kind == "graph"]
        assert graphs == ["opened", "finished"]
        numbers = [int(e.id.partition("-")[2]) for e in told]
        assert numbers == list(range(1, len(told) + 1))


async def test_the_end_of_an_attempt_tells_of_that_attempt() -> None:
    """Though the next one may have been given to a worker before anybody is told."""
    async with serving() as s, stream(s) as events:
        await s.create({"function": "fail_once", "retries": 1})
        told = [e.data for e in await events.until("finished") if e.kind == "task"]
        runs = {(e["happening"], e["attempt"]): e for e in told if e["began_at"] is not None}
        assert list(runs) == [
            ("function raised, retries left", 1),
            ("function returned", 2),
        ]
        first, second = runs.values()
        assert first["began_at"] + first["seconds"] <= second["began_at"]


async def test_the_end_of_an_attempt_past_its_limit_tells_its_times() -> None:
    """It was told to stop, and let go of, before it failed."""
    async with serving([WorkerLoop("default")]) as s, stream(s) as events:
        graph, (late,) = await s.create({"function": "spin", "timeout_seconds": 0.1, "retries": 1})
        first = (await events.until("function raised, retries left"))[-1].data
        told = (await events.until("function raised"))[-1].data
        task = await s.get(f"/v1/graphs/{graph}/tasks/{late}")
    for event, attempt in zip((first, told), task["attempts"], strict=True):
        assert (event["attempt"], event["began_at"]) == (attempt["number"], attempt["began_at"])
        lasted = attempt["ended_at"] - attempt["began_at"]
        assert event["seconds"] == pytest.approx(lasted, abs=1e-6)


async def test_a_skipped_task_tells_because_of_what() -> None:
    async with serving() as s, stream(s) as events:
        graph, (_, after) = await s.create(
            {"function": "fail", "key": "a"},
            {"function": "add", "args": [1], "waits_on": {"succeeded": ["a"]}},
        )
        told = (await events.until("condition can no longer hold"))[-1].data
        page = await s.get(f"/v1/graphs/{graph}/tasks")
    assert (told["uid"], told["error"]) == (after, page["tasks"][1]["error"])
    assert told["error"].startswith("because 'fail' (task ")


async def test_a_late_predecessor_is_an_event() -> None:
    async with serving() as s, stream(s) as events:
        graph, (one, two, last) = await s.create(
            {"function": "forever", "key": "one"},
            {"function": "forever", "key": "two"},
            {"function": "add", "args": [1], "waits_on": {"completed": ["one"]}},
        )
        path = f"/v1/graphs/{graph}/tasks/{last}/predecessors"
        answer = await s.http.post(path, json={"waits_on": {"completed": [two]}})
        assert answer.status_code == 200
        told = (await events.until("predecessor added"))[-1].data
        assert (told["uid"], told["state"], told["predecessors"]) == (last, "waiting", [one, two])
        assert (told["name"], told["function"]) == ("add", "add")


async def test_a_reader_that_comes_back_misses_nothing() -> None:
    async with serving() as s:
        async with stream(s) as events:
            graph, _ = await s.create({"function": "add", "args": [1]})
            first = await events.next()
        await s.http.post(
            f"/v1/graphs/{graph}/tasks", json={"tasks": [{"function": "fail", "args": ["x"]}]}
        )
        async with stream(s, last=first.id) as events:
            told = await events.until("function raised")
            numbers = [int(e.id.partition("-")[2]) for e in told]
            assert numbers == list(range(2, 2 + len(told)))
            assert told[-1].data["error"] == "ValueError: x"
        async with stream(s, after=first.id) as events:
            assert (await events.next()).id == told[0].id


async def test_a_page_of_tasks_says_where_to_begin() -> None:
    async with serving() as s:
        graph, _ = await s.create({"function": "forever"})
        page = await s.get(f"/v1/graphs/{graph}/tasks")
        await s.http.post(f"/v1/graphs/{graph}/cancel")
        async with stream(s, after=page["last_event_id"]) as events:
            assert (await events.next()).data["happening"] == "cancelled"


async def test_a_stream_of_one_graph_has_no_events_of_others() -> None:
    async with serving() as s:
        mine, _ = await s.create()
        other, _ = await s.create()
        async with stream(s, f"/v1/graphs/{mine}/events", kinds=["task", "graph"]) as events:
            for graph in (other, mine):
                await s.http.post(
                    f"/v1/graphs/{graph}/tasks", json={"tasks": [{"function": "add", "args": [1]}]}
                )
            told = await events.until("finished")
            assert {e.data["graph_uid"] for e in told} == {mine}
        async with stream(s, f"/v1/graphs/{mine}/events", kinds="graph,worker") as events:
            await s.http.delete(f"/v1/graphs/{mine}")
            told = await events.until("closed")
            assert {e.kind for e in told} == {"graph"}
        wrong = await s.http.get("/v1/events", params={"kinds": "nope"})
        is_problem(wrong, 400, "bad-parameter")
        is_problem(await s.http.get(f"/v1/graphs/{mine}/events"), 404, "unknown-graph")


async def test_a_reader_behind_the_ring_is_told_of_the_gap() -> None:
    async with serving(limits={"events": 10}) as s:
        async with stream(s) as events:
            graph, _ = await s.create()
            first = await events.next()
        graph, uids = await s.create(*[{"function": "add", "args": [n]} for n in range(20)])
        await s.result(graph, uids[-1])
        async with stream(s, last=first.id) as events:
            gap = await events.next()
            assert gap.kind == "gap"
            following = await events.next()
            number = int(following.id.partition("-")[2])
            assert gap.data == {"kind": "gap", "missed": number - 2}
            assert gap.id == f"{following.id.partition('-')[0]}-{number - 1}"


@pytest.mark.parametrize("last", ["00000000-5", "nonsense", "-", "00000000-" + "9" * 50])
async def test_an_id_of_another_server_is_a_gap_nobody_has_counted(last: str) -> None:
    async with serving() as s, stream(s, last=last) as events:
        gap = await events.next()
        assert (gap.kind, gap.data["missed"]) == ("gap", None)
        await s.create()
        assert (await events.next()).data["happening"] == "opened"


async def test_a_quiet_stream_says_that_it_is_alive() -> None:
    async with serving(limits={"heartbeat_seconds": 0.05}) as s, stream(s) as events:
        assert await events.next_comment() == ": alive"
        assert await events.next_comment() == ": alive"


async def test_nothing_is_gathered_when_nobody_has_read_for_a_while() -> None:
    async with serving(limits={"events_kept_seconds": 0.01}) as s:
        async with stream(s) as events:
            await s.create()
            first = await events.next()
        await until(lambda: not s.server.ring.is_awake)
        await s.create()
        async with stream(s, last=first.id) as events:
            gap = await events.next()
            assert (gap.kind, gap.data["missed"]) == ("gap", None)


async def test_streams_have_a_bound() -> None:
    async with serving(limits={"subscribers": 1}) as s:
        async with stream(s) as _:
            is_problem(await s.http.get("/v1/events"), 429, "too-many-subscribers")
        await until(lambda: not s.server.ring.readers)
        async with stream(s) as _:
            pass


async def test_a_burst_is_told_to_several_readers_whole() -> None:
    async with serving() as s:
        counts: list[int] = []

        async def read(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            async with stream(s, kinds="task") as events:
                task_status.started()
                ended = 0
                while ended < 3000:
                    ended += (await events.next()).data["state"] == "succeeded"
                counts.append(ended)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                await nursery.start(read)
            await s.create(*[{"function": "add", "args": [n]} for n in range(3000)])
        assert counts == [3000] * 3


async def test_head_of_a_stream_ends() -> None:
    async with serving() as s:
        answer = await s.http.head("/v1/events")
        assert answer.headers["content-type"] == "text/event-stream"


async def test_a_stream_that_wants_nothing_of_what_happens_says_that_it_is_alive() -> None:
    """Else a client takes it for dead."""
    async with serving(limits={"heartbeat_seconds": 0.2}) as s:

        async def keep_busy() -> None:
            while True:
                async with s.coordinator.open_graph():
                    pass

        async with stream(s, kinds="worker") as events, trio.open_nursery() as nursery:
            nursery.start_soon(keep_busy)
            assert await events.next_comment() == ": alive"
            nursery.cancel_scope.cancel()


async def test_a_reader_without_an_event_comes_back_to_its_place() -> None:
    """What happens between two streams is not lost because nothing had happened in the first."""
    async with serving(limits={"heartbeat_seconds": 0.05}) as s:
        async with stream(s) as events:
            began = (await events.next_line("id: ")).removeprefix("id: ")
        await s.create()
        async with stream(s, last=began) as events:
            assert (await events.next()).data["happening"] == "opened"
        async with stream(s, kinds="worker", last=began) as events:
            assert await events.next_line("id: ") == f"id: {began}"
            await events.next_comment()
            later = (await events.next_line("id: ")).removeprefix("id: ")
        assert later != began
        async with stream(s, last=later) as events:
            await s.create(name="second")
            assert (await events.next()).data["name"] == "second"
