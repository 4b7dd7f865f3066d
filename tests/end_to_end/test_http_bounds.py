"""End to end: what the app and its tasks make large stays small in events, answers and memory."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio
from http_cases import Serving, add, client_of, fail, forever, serving, until
from http_cases import is_problem as holds_problem
from test_http_events import stream

from trio_actor_graph import WorkerLoop, open_coordinator, succeeded
from trio_actor_graph.logs import LogLine, cut
from trio_actor_graph.web.event_ring import (
    CHUNK_BYTES_MAX,
    CHUNK_EVENTS,
    LOG_EVENT_CHARACTERS_MAX,
    encode_event,
)
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.types import CONDITION_DEPTH_MAX, GraphEvent
from trio_actor_graph.web.views import NAME_SHOWN_MAX

LONG_NAME = "n" * 1_000_000
HALF_A_PAIR = "half \ud800"


def say(text: str) -> None:
    logging.getLogger("chatter").warning("%s", text, extra={"more": text, "colour": "red"})


def line(number: int, text: str) -> LogLine:
    return LogLine(
        number=number,
        created=0.0,
        level=30,
        level_name="WARNING",
        logger="a",
        text=text,
        exception=None,
        graph_uid=None,
        task_uid=None,
        task_name="",
        attempt=0,
        worker="",
        pathname="",
        line_number=0,
        extra={},
    )


# ---- events ---------------------------------------------------------------------------------


async def test_the_ring_holds_so_many_bytes() -> None:
    async with serving(limits={"events_bytes": 100_000}) as s:
        ring = s.server.ring
        _, _, number = ring.last_id.rpartition("-")
        for n in range(100):
            ring.on_log(line(n + 1, "x" * 1_900))
        taken = ring.take(int(number))
        assert taken is not None
        assert sum(len(ring.encode([entry])) for entry in taken.entries) <= 100_000
        assert taken.gap is not None
        assert taken.gap.missed == 100 - len(taken.entries)
        assert 30 <= len(taken.entries) < 60
        ring.on_log(line(101, "x"))  # what they are encoded to counts as well
        assert (again := ring.take(int(number)))
        assert sum(entry.size for entry in again.entries) <= 100_000


async def test_one_event_is_kept_however_large() -> None:
    async with serving(limits={"events_bytes": 10}) as s, stream(s) as events:
        for _ in range(3):
            await s.create()
        assert (await events.until("opened"))[-1].kind == "graph"


async def test_so_many_bytes_are_written_at_a_time() -> None:
    async with serving() as s:
        ring = s.server.ring
        number = int(ring.last_id.rpartition("-")[2])
        for n in range(CHUNK_EVENTS + 10):
            ring.on_log(line(n + 1, "x" * 10_000))
        sizes = []
        while taken := ring.take(number):
            sizes.append(len(taken.entries))
            assert sum(entry.size for entry in taken.entries) <= CHUNK_BYTES_MAX
            number = taken.last
        assert sum(sizes) == CHUNK_EVENTS + 10
        assert sizes[0] < CHUNK_EVENTS


async def test_a_long_line_is_cut_in_events_and_whole_in_the_logs() -> None:
    text = "y" * 4_000
    async with (
        open_coordinator([WorkerLoop("default")], functions=[say]) as coordinator,
        coordinator.serve_http(port=0) as server,
        client_of(server) as http,
    ):
        s = Serving(coordinator, server, http)
        async with stream(s, kinds="log") as events:
            graph, _ = await s.create({"function": "say", "args": [text]})
            shown = (await events.next()).data["line"]
        assert shown["text"] == cut(text, LOG_EVENT_CHARACTERS_MAX)
        assert sum(map(len, shown["extra"].values())) < LOG_EVENT_CHARACTERS_MAX + 100
        page = await s.get(f"/v1/graphs/{graph}/logs", after=shown["number"] - 1, limit=1)
        (whole,) = page["lines"]
        assert whole["number"] == shown["number"]
        assert whole["text"] == whole["extra"]["more"] == text


async def test_half_a_surrogate_pair_ends_no_stream() -> None:
    data = encode_event("graph", "a-1", GraphEvent(1, HALF_A_PAIR, "opened", 0.5))
    sent = json.loads(data.partition(b"data: ")[2])
    assert sent == {
        "kind": "graph",
        "graph_uid": 1,
        "name": "half ?",
        "happening": "opened",
        "at": 0.5,
    }
    async with (
        serving() as s,
        stream(s) as events,
        s.coordinator.open_graph(on_failure="continue") as graph,
    ):
        graph.create_task(fail, HALF_A_PAIR)
        told = await events.until("function raised")
        assert told[-1].data["error"] == "ValueError: half \\ud800"
        (task,) = (await s.get(f"/v1/graphs/{graph.uid}/tasks"))["tasks"]
        assert task["error"] == "ValueError: half \\ud800"


async def test_a_ring_that_was_dropped_begins_again_with_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise MemoryError

    async with serving(limits={"events_kept_seconds": 0.01}) as s, stream(s) as events:
        with monkeypatch.context() as patch:
            patch.setattr(s.server.ring, "_add", broken)
            graph, (task,) = await s.create({"function": "add", "args": [1]})
            await s.result(graph, task)
            await until(lambda: not s.coordinator.is_observed_by(s.server.ring))
        gap = await events.next()
        assert (gap.kind, gap.data["missed"]) == ("gap", None)
        await s.create(name="next")
        opened = await events.next()
        assert (opened.data["happening"], opened.data["name"]) == ("opened", "next")
        assert opened.id.partition("-")[0] == gap.id.partition("-")[0]
    async with serving() as s:  # and at once when somebody asks for events
        before = s.server.ring.last_id
        s.coordinator.remove_observer(s.server.ring)
        async with stream(s, last=before) as events:
            assert (await events.next()).kind == "gap"
            await s.create()
            assert (await events.next()).data["happening"] == "opened"


async def test_each_event_has_the_number_of_the_attempt_it_is_of() -> None:
    async with serving() as s, stream(s, kinds="task") as events:
        await s.create({"function": "fail_once", "retries": 1})
        told = await events.until("function returned")
        assert [(e.data["happening"], e.data["attempt"]) for e in told] == [
            ("created", 0),
            ("condition satisfied", 0),
            ("given to a worker", 1),
            ("function raised, retries left", 1),
            ("given to a worker", 2),
            ("function returned", 2),
        ]


# ---- names ----------------------------------------------------------------------------------


async def test_long_names_are_cut_wherever_they_are_shown() -> None:
    shown = cut(LONG_NAME, NAME_SHOWN_MAX)
    async with (
        serving() as s,
        stream(s, kinds="task,graph") as events,
        s.coordinator.open_graph(LONG_NAME, on_failure="continue") as graph,
    ):
        graph.create_task(add, 1, name=LONG_NAME)
        graph.create_task(add, 1, name=f"{LONG_NAME}, another")
        await graph.wait_finished()
        assert {e.data["name"] for e in await events.until("finished")} == {shown}
        graph.create_task(forever, name=LONG_NAME)
        at = f"/v1/graphs/{graph.uid}"
        tasks = (await s.get(f"{at}/tasks"))["tasks"]
        assert [task["name"] for task in tasks] == [shown] * 3
        assert (await s.get(at))["name"] == shown
        info = await s.http.get(f"{at}/tasks/{tasks[0]['uid']}")
        metrics = await s.http.get("/metrics")
        path = await s.http.get(f"{at}/critical-path")
        trace = await s.http.get(f"{at}/trace")
        workers = await s.http.get("/v1/workers")
        for answer in (info, metrics, path, trace, workers):
            assert answer.status_code == 200
            assert len(answer.content) < 100_000
        # Names that are the same when they are cut share a row: two would be no metrics.
        rows = [r for r in metrics.text.splitlines() if "attempts_total{" in r]
        assert rows == [f'trio_actor_graph_attempts_total{{task="{shown}",worker="default/0"}} 2']
        graph.cancel()


# ---- graphs ---------------------------------------------------------------------------------


async def test_logs_of_closed_graphs_are_kept_up_to_so_many_bytes() -> None:
    limits = HttpLimits(closed_log_bytes=10_000)
    async with (
        open_coordinator([WorkerLoop("default")], functions=[say]) as coordinator,
        coordinator.serve_http(port=0, limits=limits) as server,
        client_of(server) as http,
    ):
        s = Serving(coordinator, server, http)
        uids = []
        for size in (3_000, 10, 3_000):
            async with coordinator.open_graph() as graph:
                graph.create_task("say", "x" * size)
                with trio.fail_after(20):
                    while not graph.logs():  # noqa: ASYNC110
                        await trio.sleep(0.01)
            uids.append(graph.uid)
        holds_problem(await http.get(f"/v1/graphs/{uids[0]}"), 404, "unknown-graph")
        for uid in uids[1:]:
            assert len((await s.get(f"/v1/graphs/{uid}/logs"))["lines"]) == 1


async def test_a_graph_with_too_many_edges_is_not_gone_through() -> None:
    async with serving(limits={"observed_edges": 5}) as s:
        first = [{"function": "add", "args": [n], "key": f"k{n}"} for n in range(3)]
        on_all = {"succeeded": [f"k{n}" for n in range(3)]}
        then = [{"function": "add", "args": [n], "waits_on": on_all} for n in range(2)]
        small, _ = await s.create(*first, then[0])
        large, _ = await s.create(*first, *then)
        for what in ("picture.svg", "trace", "critical-path"):
            assert (await s.http.get(f"/v1/graphs/{small}/{what}")).status_code == 200
            answer = await s.http.get(f"/v1/graphs/{large}/{what}")
            problem = holds_problem(answer, 422, "graph-too-large")
            assert "6 predecessors" in problem["detail"]


async def test_a_condition_is_shown_as_deep_as_one_may_be_sent() -> None:
    async with serving() as s, s.coordinator.open_graph() as graph:
        a, b = graph.create_task(forever), graph.create_task(forever)
        tasks = {}
        for depth in (CONDITION_DEPTH_MAX, CONDITION_DEPTH_MAX + 1, 3_000):
            condition: Any = succeeded(a)
            for n in range(depth - 1):
                condition = (condition & succeeded(b)) if n % 2 else (condition | succeeded(b))
            tasks[depth] = graph.create_task(add, 1, waits_on=condition)
        for depth, task in tasks.items():
            info = await s.get(f"/v1/graphs/{graph.uid}/tasks/{task.uid}")
            assert info["is_waits_on_cut"] == (depth > CONDITION_DEPTH_MAX)
            assert depth_of(info["waits_on"]) == CONDITION_DEPTH_MAX
        picture = await s.http.get(f"/v1/graphs/{graph.uid}/picture.svg")
        assert picture.status_code == 200
        graph.cancel()


def depth_of(condition: dict[str, Any]) -> int:
    parts = condition["all_of"] or condition["any_of"] or []
    return 1 + max(map(depth_of, parts), default=0)
