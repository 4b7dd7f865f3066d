"""What can be asked of the server: workers, task types, health, metrics, its own document."""

from __future__ import annotations

import inspect
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from trio_actor_graph.web.answers import Answer, json_answer
from trio_actor_graph.web.metrics import MEDIA_TYPE as METRICS
from trio_actor_graph.web.metrics import metrics_text
from trio_actor_graph.web.routing import Asked, Route
from trio_actor_graph.web.signatures import SIGNATURE_CHARACTERS_MAX, signature_text
from trio_actor_graph.web.types import Health, TaskType, TaskTypes, Workers
from trio_actor_graph.web.views import worker_view


async def list_workers(asked: Asked) -> Answer:
    """The workers that there are, with their load and memory and what each runs."""
    coordinator = asked.serving.coordinator
    records = coordinator.worker_records
    return json_answer(
        Workers(
            tuple(
                worker_view(coordinator, worker, records.get(worker.worker_id))
                for worker in coordinator.workers
            )
        )
    )


async def list_task_types(asked: Asked) -> Answer:
    """The functions that tasks can be made of."""
    entries = asked.serving.coordinator.registered_functions
    return json_answer(
        TaskTypes(
            tuple(
                TaskType(
                    name=name,
                    worker_loop=entry.loop,
                    is_async=entry.is_async,
                    signature=signature_text(entry.function),
                    summary=_summary(entry.function),
                )
                for name, entry in sorted(entries.items())
            )
        )
    )


async def read_health(asked: Asked) -> Answer:
    """That the server answers."""
    coordinator = asked.serving.coordinator
    graphs, workers = len(coordinator.graphs), len(coordinator.workers)
    return json_answer(Health("ok", package_version(), graphs, workers))


async def read_metrics(asked: Asked) -> Answer:
    """Numbers for Prometheus, in its text format."""
    return Answer(metrics_text(asked.serving).encode(), media_type=METRICS)


async def read_openapi(asked: Asked) -> Answer:
    """This document."""
    return Answer(asked.serving.openapi)


@cache
def package_version() -> str:
    """Which version of this package serves."""
    try:
        return version("trio-actor-graph")
    except PackageNotFoundError:
        return "unknown"


def _summary(function: Any) -> str | None:
    text = inspect.getdoc(function)
    return None if not text else text.strip().partition("\n")[0][:SIGNATURE_CHARACTERS_MAX]


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/workers",
        name="listWorkers",
        handler=list_workers,
        answers={200: Workers},
    ),
    Route(
        method="GET",
        path="/v1/task-types",
        name="listTaskTypes",
        handler=list_task_types,
        answers={200: TaskTypes},
    ),
    Route(
        method="GET",
        path="/v1/health",
        name="readHealth",
        handler=read_health,
        answers={200: Health},
    ),
    Route(
        method="GET",
        path="/metrics",
        name="readMetrics",
        handler=read_metrics,
        answers={200: METRICS},
    ),
    Route(
        method="GET",
        path="/openapi.json",
        name="readOpenapi",
        handler=read_openapi,
        answers={200: msgspec.Raw},
    ),
)
