"""The parameters of queries, as the structs that decode them.

What may be left out is UNSET then: beside None, the text "null" would mean that nothing was said.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from trio_actor_graph.graph.states import GraphState, TaskState
from trio_actor_graph.web.types import PAGE_DEFAULT, PAGE_MAX, WAIT_SECONDS_MAX, Name, Strict

Cursor: TypeAlias = Annotated[
    str,
    msgspec.Meta(max_length=200, description="`next_cursor` of the page before."),
]
Limit: TypeAlias = Annotated[
    int, msgspec.Meta(ge=1, le=PAGE_MAX, description="How many items the page may have.")
]

T = TypeVar("T")


def said(value: T | UnsetType) -> T | None:
    """The value of a parameter; None if it was left out."""
    return None if isinstance(value, UnsetType) else value


class GraphsQuery(Strict, frozen=True):
    """Which graphs to list."""

    state: Annotated[
        tuple[GraphState, ...], msgspec.Meta(description="Only these; repeatable.")
    ] = ()
    cursor: Cursor | UnsetType = UNSET
    limit: Limit = PAGE_DEFAULT


class TasksQuery(Strict, frozen=True):
    """Which tasks to list."""

    state: Annotated[
        tuple[TaskState, ...], msgspec.Meta(description="Only these; repeatable.")
    ] = ()
    name: Annotated[Name, msgspec.Meta(description="Only tasks of this name.")] | UnsetType = UNSET
    function: (
        Annotated[Name, msgspec.Meta(description="Only those that call this function.")] | UnsetType
    ) = UNSET
    worker_loop: Annotated[Name, msgspec.Meta(description="Only of this loop.")] | UnsetType = UNSET
    worker: (
        Annotated[Name, msgspec.Meta(description='Only those that run, or last ran, in "loop/0".')]
        | UnsetType
    ) = UNSET
    cursor: Cursor | UnsetType = UNSET
    limit: Limit = PAGE_DEFAULT


class ResultQuery(Strict, frozen=True):
    """How long to wait for a result."""

    wait: Annotated[
        float,
        msgspec.Meta(
            ge=0, le=WAIT_SECONDS_MAX, description="How many seconds to wait for it; then 202."
        ),
    ] = 0.0


class EventsQuery(Strict, frozen=True):
    """Which events to send."""

    after: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=100,
                description="Begin after the event with this id, if there is no Last-Event-ID; "
                "by default with the next one.",
            ),
        ]
        | UnsetType
    ) = UNSET
    kinds: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Only these of task, graph, worker, log; repeatable."),
    ] = ()


class LogsQuery(Strict, frozen=True):
    """Which log lines to list."""

    level: Annotated[
        str,
        msgspec.Meta(
            max_length=40, description="Only lines of at least this level, by name or number."
        ),
    ] = "0"
    after: Annotated[
        int,
        msgspec.Meta(
            ge=0, lt=2**53, description="Only lines with larger numbers, if there is no cursor."
        ),
    ] = 0
    cursor: Cursor | UnsetType = UNSET
    limit: Limit = PAGE_DEFAULT


class TaskLogsQuery(LogsQuery, frozen=True):
    """Which log lines of a task, or of others that have to do with it, to list."""

    scope: Annotated[
        Literal["task", "ancestors", "descendants"],
        msgspec.Meta(
            description="task: its own. ancestors: also those of its predecessors and creators, "
            "and theirs. descendants: also those of the tasks in which it has a part."
        ),
    ] = "task"
    attempt: (
        Annotated[int, msgspec.Meta(ge=1, lt=2**31, description="Of this attempt.")] | UnsetType
    ) = UNSET


class PictureQuery(Strict, frozen=True):
    """How to draw."""

    nodes_max: Annotated[
        int,
        msgspec.Meta(
            ge=10, le=2_000, description="Above so many nodes like ones are folded together."
        ),
    ] = 200
    direction: Annotated[Literal["right", "down"], msgspec.Meta(description="Where work goes.")] = (
        "right"
    )
