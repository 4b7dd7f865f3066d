"""End to end: graphs, tasks and attempts as OpenTelemetry spans, in programs of their own.

A tracer provider can be set once in a process, so each test is a program, which prints its spans.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

SPANS = """
import json, os, signal, sys, time, trio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trio_actor_graph import WorkerLoop, current_task, open_coordinator

def span_here(*_):
    return trace.get_current_span().get_span_context().span_id

def parent():
    current_task().create_task(span_here, name="child")
    return span_here()

async def traced_parent():
    with trace.get_tracer("worker").start_as_current_span("inner"):
        return await current_task().create_task(span_here, name="grandchild").result(), span_here()

def flaky():
    if current_task().attempt == 1:
        raise ValueError("once more")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("app")
    told = {}
    with tracer.start_as_current_span("request"):
        async with open_coordinator([WorkerLoop("default", concurrency=2)]) as coordinator:
            async with coordinator.open_graph("g", on_failure="continue") as graph:
                told["child of"] = await graph.create_task(parent).result()
                told["in attempt"] = await graph.create_task(span_here, name="plain").result()
                told["grandchild"], told["traced_parent"] = await graph.create_task(
                    traced_parent).result()
                with tracer.start_as_current_span("section"):
                    graph.create_task(int, "x", name="bad")
                await graph.create_task(flaky, retries=1).wait()
                await graph.create_task(die).wait()
                graph.create_task(span_here, graph.create_task(span_here, name="a"), name="b")
    provider.force_flush()
    spans = [
        {
            "name": s.name, "id": s.context.span_id, "trace": s.context.trace_id,
            "parent": s.parent and s.parent.span_id, "start": s.start_time, "end": s.end_time,
            "status": s.status.status_code.name, "attributes": dict(s.attributes),
            "events": [e.name for e in s.events],
        }
        for s in exporter.get_finished_spans()
    ]
    print(json.dumps({"spans": spans, "told": told}))

if __name__ == "__main__":
    trio.run(main)
"""


def test_each_graph_task_and_attempt_is_a_span_with_the_right_parent(
    run_program: Callable[..., Any],
) -> None:
    run = run_program(SPANS)
    assert (run.stderr, run.returncode) == ("", 0)
    told = json.loads(run.stdout)
    spans, told = told["spans"], told["told"]
    names = {span["id"]: span["name"] for span in spans}
    assert len({span["trace"] for span in spans}) == 1

    def parents(name: str) -> list[str]:
        return [names.get(s["parent"], "a span of a worker") for s in spans if s["name"] == name]

    assert parents("graph g") == ["request"]
    for name in ("parent", "plain", "traced_parent", "flaky", "die", "a", "b"):
        assert parents(f"task {name}") == ["graph g"], name
    assert parents("task bad") == ["section"]
    assert parents("task child") == ["attempt of parent"]
    for name, attempts in {"parent": 1, "child": 1, "bad": 1, "flaky": 2, "die": 3, "b": 1}.items():
        assert parents(f"attempt of {name}") == [f"task {name}"] * attempts, name
    assert names[told["in attempt"]] == "attempt of plain"
    assert names[told["child of"]] == "attempt of parent"
    # The span "inner" lives in the worker, where no provider was set: its parent is handed on.
    assert names[told["traced_parent"]] == "attempt of traced_parent"
    assert parents("task grandchild") == ["attempt of traced_parent"]
    assert names[told["grandchild"]] == "attempt of grandchild"


def test_spans_say_when_and_how_it_ended(run_program: Callable[..., Any]) -> None:
    run = run_program(SPANS)
    assert (run.stderr, run.returncode) == ("", 0)
    spans = json.loads(run.stdout)["spans"]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: span["start"]):
        by_name.setdefault(span["name"], []).append(span)
        assert span["start"] <= span["end"], span["name"]
    (graph,) = by_name["graph g"]
    assert all(graph["start"] <= s["start"] for s in spans if s["name"] != "request")
    assert graph["attributes"]["trio_actor_graph.tasks.failed"] == 2
    assert [s["status"] for s in by_name["task bad"]] == ["ERROR"]
    first, second = by_name["attempt of flaky"]
    assert (first["status"], second["status"]) == ("ERROR", "UNSET")
    assert first["events"] == ["exception", "began"]
    assert [s["events"] for s in by_name["attempt of die"]] == [["exception"]] * 3
    assert [s["events"] for s in by_name["task die"]] == [["exception"]]
    assert first["end"] <= second["start"]
    assert by_name["task flaky"][0]["status"] == "UNSET"
    assert [s["status"] for s in by_name["attempt of die"]] == ["ERROR"] * 3
    assert by_name["task die"][0]["attributes"]["trio_actor_graph.task.state"] == "failed"


RESTARTED = """
import json, trio
from pathlib import Path
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trio_actor_graph import WorkerLoop, open_coordinator

def start_once(index):
    Path("started").touch(exist_ok=False)

def fail():
    raise ValueError("once more")

async def main():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    loops = [WorkerLoop("default", tasks_max=1, setup=start_once)]
    async with open_coordinator(loops) as coordinator:
        async with coordinator.open_graph("g", on_failure="continue") as graph:
            await graph.create_task(fail, retries=1).wait()
    provider.force_flush()
    for span in exporter.get_finished_spans():
        print(span.name, span.status.description, [event.name for event in span.events])

if __name__ == "__main__":
    trio.run(main)
"""


def test_a_task_tells_what_ended_it_and_an_attempt_what_ended_that(
    run_program: Callable[..., Any],
) -> None:
    """The attempt raised; what made the task fail is that its loop could not start again."""
    run = run_program(RESTARTED)
    assert (run.stderr, run.returncode) == ("", 0)
    no_start = "WorkerStartError: worker loop 'default' cannot start: FileExistsError: [Errno 17]"
    assert run.stdout.splitlines() == [
        "attempt of fail ValueError: once more ['exception', 'began']",
        f"task fail {no_start} File exists: 'started' ['exception']",
        "graph g None ['finished']",
    ]


BROKEN = """
import logging, trio
from opentelemetry import trace
from trio_actor_graph import WorkerLoop, open_coordinator

class Provider(trace.TracerProvider):
    def get_tracer(self, *args, **kwargs):
        return Tracer()

class Tracer(trace.Tracer):
    def start_span(self, *args, **kwargs):
        raise OSError("no disk")
    start_as_current_span = start_span

logging.basicConfig(format="%(levelname)s %(message)s", force=True)
logging.root.handlers[0].formatter.formatException = lambda info: f"  {info[1]!r}"

async def main():
    trace.set_tracer_provider(Provider())
    async with open_coordinator([WorkerLoop("default")]) as coordinator:
        async with coordinator.open_graph() as graph:
            print(await graph.create_task(abs, -3).result())

trio.run(main)
"""


def test_a_broken_tracer_harms_nothing(run_program: Callable[..., Any]) -> None:
    run = run_program(BROKEN)
    assert (run.stdout, run.returncode) == ("3\n", 0)
    assert run.stderr.splitlines() == [
        "WARNING OpenTelemetry has failed, and no spans are made any more",
        "  OSError('no disk')",
    ]


UNTRACED = """
import trio
from opentelemetry import trace
from trio_actor_graph import WorkerLoop, open_coordinator

async def main():
    async with open_coordinator([WorkerLoop("default")]) as coordinator:
        async with coordinator.open_graph() as graph:
            await graph.create_task(abs, -3).result()
            print(graph.record.moves)

trio.run(main)
"""


def test_without_a_tracer_provider_nothing_is_watched(run_program: Callable[..., Any]) -> None:
    run = run_program(UNTRACED)
    assert (run.stdout, run.stderr, run.returncode) == ("None\n", "", 0)
