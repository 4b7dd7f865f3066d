"""End to end: the trace of a real run, and the path through it that took longest."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_actor_graph import GraphError, Task, WorkerLoop, completed, current_task, open_coordinator
from trio_actor_graph.graph.records import (
    AttemptRecord,
    GraphRecord,
    LoopRecord,
    LoopSpec,
    TaskRecord,
    TaskSpec,
    TaskTimes,
    WorkerRecord,
)
from trio_actor_graph.observe.trace import trace_of


def work(seconds: float, *_: object) -> float:
    time.sleep(seconds)
    return seconds


def wait_for_file(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def note_and_sleep(path: str) -> None:
    Path(path).touch()
    time.sleep(60)


def fail_first(seconds: float) -> None:
    time.sleep(seconds)
    if current_task().attempt == 1:
        raise ValueError("once more")


def create_child() -> Task[float]:
    time.sleep(0.02)
    return current_task().create_task(work, 0.05, name="child")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def await_child() -> float:
    return await current_task().create_task(work, 0.05, name="awaited").result()


LOOPS = [
    WorkerLoop("default", processes=2),
    WorkerLoop("wide", concurrency=3, functions=[await_child]),
]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def run(folder: Path) -> tuple[Any, Any]:
    async with (
        open_coordinator(LOOPS, start="eager", record_times=True) as coordinator,
        coordinator.open_graph("traced", on_failure="continue") as graph,
    ):
        first = graph.create_task(work, 0.05, name="first")
        short = graph.create_task(work, 0.01, name="short")
        graph.create_task(work, 0.05, first, short, name="second")
        graph.create_task(fail_first, 0.01, retries=1, name="retried")
        graph.create_task(create_child, name="creator")
        graph.create_task(await_child, name="parent")
        bad = graph.create_task(int, "x", name="bad")
        graph.create_task(work, 0.0, bad, name="skipped")
        await graph.wait_finished()
        graph.trace(folder / "trace.json")
        graph.trace(str(folder / "trace.json.gz"))
        with pytest.raises(GraphError, match=r"'trace\.txt'"):
            graph.trace(folder / "trace.txt")
        path = graph.critical_path()
    assert names_in(folder) == ["trace.json", "trace.json.gz"]
    trace = json.loads((folder / "trace.json").read_text())
    packed = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    assert packed["otherData"] == trace["otherData"] == {"graph": "traced", "tasks": 10}
    return trace, path


async def test_the_trace_has_a_lane_per_slot_and_an_arrow_per_dependency(tmp_path: Path) -> None:
    trace, _ = await run(tmp_path)
    events = trace["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    outcomes = defaultdict(list)
    for each in slices:
        outcomes[each["name"]].append(each["args"]["outcome"])
    assert outcomes == {
        "first": ["succeeded"],
        "short": ["succeeded"],
        "second": ["succeeded"],
        "retried": ["failed", "succeeded"],
        "creator": ["returned a task"],
        "child": ["succeeded"],
        "parent": ["succeeded"],
        "awaited": ["succeeded"],
        "bad": ["failed"],
    }
    assert [e["name"] for e in events if e["ph"] == "i"] == ["skipped skipped"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert sorted(names.values()) == [
        "graph traced",
        "worker default/0",
        "worker default/1",
        "worker wide/0",
    ]
    by_lane = defaultdict(list)
    for each in slices:
        assert each["ts"] >= 0.0
        by_lane[each["pid"], each["tid"]].append((each["ts"], each["ts"] + each["dur"]))
    for lane in by_lane.values():
        lane.sort()
        assert all(end <= begin + 0.01 for (_, end), (begin, _) in pairwise(lane))
    assert {tid for pid, tid in by_lane if names[pid].startswith("worker default")} == {1}
    assert arrows(events) == {
        ("first", "second"),
        ("short", "second"),
        ("creator", "child"),
        ("parent", "awaited"),
    }
    running = [e["args"]["tasks"] for e in events if e["ph"] == "C"]
    assert running[-1] == 0
    assert max(running) >= 2


def arrows(events: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Each arrow as the names of the slices at its ends, found as a viewer finds them."""
    slices = [e for e in events if e["ph"] == "X"]

    def at(end: dict[str, Any]) -> str:
        (name,) = [
            s["name"]
            for s in slices
            if (s["pid"], s["tid"]) == (end["pid"], end["tid"])
            and s["ts"] <= end["ts"] <= s["ts"] + s["dur"]
        ][-1:]
        return name

    begins = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    assert begins.keys() == ends.keys()
    assert all(begins[i]["ts"] <= ends[i]["ts"] for i in ends)
    return {(at(begins[i]), at(ends[i])) for i in ends}


def test_an_arrow_leaves_inside_its_slice_whenever_the_child_became_known() -> None:
    loop = LoopRecord(LoopSpec("default", (1,)))
    graph = GraphRecord(1, "g")
    worker = WorkerRecord(1, loop, 0)
    creator = TaskRecord(1, graph, TaskSpec("creator", 0, "default"), loop, None)
    child = TaskRecord(2, graph, TaskSpec("child", 0, "default"), loop, None)
    creator.times = TaskTimes(0.0, began_at=0.5, ran_until=1.5, ran_in=worker)
    child.times = TaskTimes(1.75, began_at=2.0, ran_until=3.0, ran_in=worker)
    child.creator = creator
    for task in (creator, child):
        task.state = "succeeded"
        task.attempts = 1
        graph.tasks[task.uid] = task
    events = trace_of(graph)["traceEvents"]
    (slice_,) = [e for e in events if e["ph"] == "X" and e["name"] == "creator"]
    (leaves,) = [e for e in events if e["ph"] == "s"]
    assert slice_["ts"] < leaves["ts"] < slice_["ts"] + slice_["dur"]


async def test_attempts_that_were_cut_off_are_in_the_trace(tmp_path: Path) -> None:
    """Lost with their worker, past their time limit in a plain function, or cancelled."""
    async with (
        open_coordinator([WorkerLoop("default")], record_times=True) as coordinator,
        coordinator.open_graph(on_failure="continue") as graph,
    ):
        graph.create_task(die, name="lost")
        graph.create_task(work, 60.0, name="late", timeout_seconds=0.1)
        gate = tmp_path / "gate"
        endless = graph.create_task(note_and_sleep, str(gate), name="cancelled")
        while not gate.exists():  # noqa: ASYNC110  another process writes it
            await trio.sleep(0.01)
        endless.cancel()
        await graph.wait_finished()
        trace = trace_of(graph.record)
        path = graph.critical_path()
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert sorted((e["name"], e["args"]["attempt"], e["args"]["outcome"]) for e in slices) == [
        ("cancelled", 1, "cancelled"),
        ("late", 1, "timed out"),
        ("lost", 1, "worker lost"),
        ("lost", 2, "worker lost"),
        ("lost", 3, "worker lost"),
    ]
    assert {e["tid"] for e in slices} == {1}
    slices.sort(key=lambda e: e["ts"])
    assert all(one["ts"] + one["dur"] <= next_["ts"] + 0.01 for one, next_ in pairwise(slices))
    assert not [e for e in trace["traceEvents"] if e["ph"] == "i"]
    (step,) = path.steps
    assert (step.name, step.worker) == ("cancelled", "default/0")


def test_what_was_given_ahead_has_not_begun_before_there_was_a_slot() -> None:
    loop = LoopRecord(LoopSpec("default", (1,)))
    graph = GraphRecord(1, "g")
    worker = WorkerRecord(1, loop, 0)
    for uid, (given, until) in enumerate([(0.0, 2.0), (0.5, 2.0), (0.5, 3.0)], 1):
        task = TaskRecord(uid, graph, TaskSpec(f"t{uid}", 0, "default"), loop, None)
        task.state, task.attempts = "cancelled", 1
        task.times = TaskTimes(0.0, end_at=until)
        attempt = AttemptRecord(uid, task, worker, 0.0)
        attempt.given_at = given
        task.times.cut_off(attempt, until)
        graph.tasks[uid] = task
    events = trace_of(graph)["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    assert [(e["name"], e["tid"], e["ts"], e["dur"]) for e in slices] == [
        ("t1", 1, 0.0, 2e6),
        ("t3", 1, 2e6, 1e6),
    ]
    assert [e["name"] for e in events if e["ph"] == "i"] == ["t2 cancelled"]
    assert [e["args"]["tasks"] for e in events if e["ph"] == "C"] == [1, 1, 0]


async def test_the_critical_path_goes_through_what_took_longest(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with (
        open_coordinator(
            [WorkerLoop("default", processes=2)], start="eager", record_times=True
        ) as coordinator,
        coordinator.open_graph() as graph,
    ):
        assert str(graph.critical_path()) == "no task has run"
        long = graph.create_task(wait_for_file, str(gate), name="long")
        short = graph.create_task(work, 0.01, name="short")
        last = graph.create_task(work, 0.05, long, short, name="last")
        await short.result()
        gate.touch()
        await last.result()
        path = graph.critical_path()
        assert [(step.name, step.because) for step in path.steps] == [
            ("long", "created by the app"),
            ("last", "predecessor"),
        ]
        assert path.steps[1].seconds >= 0.05
        total = sum(step.seconds + step.waited_seconds for step in path.steps)
        assert path.seconds == pytest.approx(total)
        assert path.seconds >= path.steps[0].seconds + 0.05
        assert f"  long ({long.uid}) in default/" in str(path)


async def test_creators_and_returned_tasks_are_on_the_path() -> None:
    async with (
        open_coordinator([WorkerLoop("default")], start="eager", record_times=True) as coordinator,
        coordinator.open_graph() as graph,
    ):
        creator = graph.create_task(create_child, name="creator")
        await creator.result()
        steps = graph.critical_path().steps
        names = [(step.name, step.because) for step in steps]
        assert names == [
            ("creator", "created by the app"),
            ("child", "created by a task"),
            ("creator", "returned"),
        ]


async def test_a_running_task_is_in_the_trace(tmp_path: Path) -> None:
    async with (
        open_coordinator(
            [WorkerLoop("default", concurrency=2, processes=0)], record_times=True
        ) as coordinator,
        coordinator.open_graph() as graph,
    ):
        task = graph.create_task(trio.sleep_forever, name="endless")
        await trio.testing.wait_all_tasks_blocked()
        graph.trace(tmp_path / "now.json")
        path = graph.critical_path()
        task.cancel()
    (step,) = path.steps
    assert (step.name, step.worker) == ("endless", "default/0")
    assert path.seconds == pytest.approx(step.seconds + step.waited_seconds)
    events = json.loads((tmp_path / "now.json").read_text())["traceEvents"]
    (endless,) = [e for e in events if e["ph"] == "X"]
    assert (endless["name"], endless["args"]["outcome"]) == ("endless", "running")


async def test_what_was_lost_with_its_worker_is_on_the_path() -> None:
    async with (
        open_coordinator([WorkerLoop("default")], record_times=True) as coordinator,
        coordinator.open_graph(on_failure="continue") as graph,
    ):
        lost = graph.create_task(die, name="lost")
        graph.create_task(work, 0.01, waits_on=completed(lost), name="after")
        await graph.wait_finished()
        path = graph.critical_path()
        assert [step.name for step in path.steps] == ["lost", "after"]
        assert lost.state == "failed"


async def test_without_recorded_times_there_is_nothing_to_tell(tmp_path: Path) -> None:
    async with (
        open_coordinator([WorkerLoop("default", processes=0)]) as coordinator,
        coordinator.open_graph("g") as graph,
    ):
        assert str(graph.critical_path()) == "no task has run"
        await graph.create_task(abs, -1).result()
        assert not coordinator.is_recorded
        for ask in (graph.critical_path, lambda: graph.trace(tmp_path / "t.json")):
            with pytest.raises(GraphError, match="no times were recorded in graph 'g': open the"):
                ask()
    assert names_in(tmp_path) == []
