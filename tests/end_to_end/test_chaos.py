"""End to end: what `benchmarks.chaos` does to a run is noted as it was."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from benchmarks.chaos import faults
from trio_actor_graph import Task, WorkerLoop, current_task, open_coordinator, succeeded

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


async def endless(*_: object) -> None:
    await trio.sleep_forever()


async def return_endless() -> Task[None]:
    return current_task().create_task(endless, name="child")


async def test_a_cancel_is_noted_with_all_that_has_ended_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also with what waited on a task that was to end as the cancelled one."""
    noted: list[dict[str, Any]] = []
    monkeypatch.setattr(faults, "note", lambda event, **fields: noted.append(fields))
    async with (
        open_coordinator([WorkerLoop("default", concurrency=9, processes=0)]) as coordinator,
        coordinator.open_graph(on_failure="continue") as graph,
    ):
        bystander = graph.create_task(endless, name="bystander")
        parent = graph.create_task(return_endless, name="parent")
        graph.create_task(endless, waits_on=succeeded(parent), name="after the parent")
        with trio.fail_after(10):
            while parent.state == "ready" or parent.state == "running":  # noqa: ASYNC110
                await trio.sleep(0.001)
        (child,) = (task for task in graph.tasks if task.name == "child")
        faults.cancel_task(child, graph, successors=True)
        faults.cancel_task(bystander, graph, successors=False)
    assert [(each["key"], each["also"]) for each in noted] == [
        ("child", ["after the parent", "parent"]),
        ("bystander", []),
    ]
