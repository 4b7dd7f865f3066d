"""The nodes of the original API: a task as a program and its task functions see it.

A node keeps what the scheduler never sees: the arguments, the result, the text of an error. Its
status is the scheduler's word for the state of the task, except between the moment the function
begins or ends and the moment the scheduler learns of it; then the node knows better.
"""

from __future__ import annotations

import inspect
import traceback
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from trio_actor_graph import GraphError, Task

if TYPE_CHECKING:
    from trio_actor_graph.classic.graph import TaskGraph

Arguments: TypeAlias = tuple[Sequence[Any] | None, dict[str, Any] | None]
"""`(args, kwargs)` of a task's function; None stands for none."""

ArgumentsFunction: TypeAlias = Callable[["list[TaskNode]"], Arguments | Awaitable[Arguments]]
"""Makes the arguments from the predecessors' nodes, once these have ended."""

WaitArguments: TypeAlias = Arguments | ArgumentsFunction | None

_STATUS: Final = {
    "waiting": "waiting_for_predecessors",
    "ready": "ready_for_execution",
    "running": "ready_for_execution",  # given to its worker loop, where it has not begun
    "succeeded": "success",
    "failed": "failed",
    "skipped": "predecessor_failed",
    "cancelled": "cancelled",
}

FINAL_STATUSES: Final = frozenset({"success", "failed", "predecessor_failed", "cancelled"})


class Node:
    """Something with a uid and edges; by itself, the root of a graph.

    Attributes:
        edges_by_label: the uids of other nodes, by what has become of them here: "scheduled" and
            "scheduled_by" between a creator and its tasks, "waits_on" and "waited_on_by".
    """

    def __init__(self, graph: TaskGraph):
        self.graph = graph
        self.uid = uuid.uuid4().hex
        self.edges_by_label: defaultdict[str, list[str]] = defaultdict(list)

    def add_edge(self, node: Node, label: str) -> None:
        self.edges_by_label[label].append(node.uid)


class TaskNode(Node):
    """A task.

    Attributes:
        task_handle: the name of its function.
        task_arguments: `(args, kwargs)`; for a wait task, as it was created until it begins.
        task_result: what its function returned, the object itself; None until then.
        exception_trace: the traceback of what its function raised, as text; else None.
    """

    status_before_execution = "created"

    def __init__(self, graph: TaskGraph, task_handle: str, task_arguments: WaitArguments):
        super().__init__(graph)
        self.task_handle = task_handle
        self.task_arguments = task_arguments
        self.task_result: Any = None
        self.exception_trace: str | None = None
        self.task: Task[None] | None = None  # the scheduler's, once the graph is being executed
        self._status_here: str | None = None

    @property
    def task_status(self) -> str:
        """How far the task is.

        One of "created", "waiting_for_predecessors", "ready_for_execution", "in_progress",
        "success", "failed", "predecessor_failed", "cancelled". A function that sets its node's
        status to "failed" and returns has failed, and its result is kept.
        """
        if self.task is None:
            return self._status_here or self.status_before_execution
        if self._status_here is None or self.task.state == "cancelled":
            return _STATUS[self.task.state]
        return self._status_here

    @task_status.setter
    def task_status(self, status: str) -> None:
        self._status_here = status

    async def run(self, function: Callable[..., Any]) -> None:
        """Call the function and keep how it ended. What it raises goes on to the scheduler."""
        self.task_status = "in_progress"
        try:
            args, kwargs = await self._final_arguments()
            extras = _accepted(function, len(args), self._keywords())
            result = function(*args, **{**kwargs, **extras})
            self.task_result = await result if inspect.isawaitable(result) else result
        except Exception as error:
            self.exception_trace = "".join(traceback.format_exception(error))
            self.task_status = "failed"
            raise
        if self.task_status == "failed":
            raise MarkedFailed(f"{self.task_handle!r} set the status of its node to 'failed'")
        self.task_status = "success"

    async def _final_arguments(self) -> tuple[Sequence[Any], dict[str, Any]]:
        args, kwargs = checked_arguments(self.task_handle, self.task_arguments)
        return args or (), kwargs or {}

    def _keywords(self) -> dict[str, object]:
        return {"task_node": self, "graph": self.graph}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task_handle!r} {self.uid[:8]} {self.task_status}>"


class WaitTaskNode(TaskNode):
    """A task that waits for others.

    Attributes:
        schedule_when_errors_found: it runs when its predecessors have ended in any way; else only
            when all have succeeded.
    """

    status_before_execution = "waiting_for_predecessors"

    def __init__(
        self,
        graph: TaskGraph,
        task_handle: str,
        task_arguments: WaitArguments,
        schedule_when_errors_found: bool,
    ):
        super().__init__(graph, task_handle, task_arguments)
        self.schedule_when_errors_found = schedule_when_errors_found

    @property
    def predecessors(self) -> list[TaskNode]:
        """The nodes it waits for, in the order in which they were named."""
        return [self.graph.task_node(uid) for uid in self.edges_by_label["waits_on"]]

    async def _final_arguments(self) -> tuple[Sequence[Any], dict[str, Any]]:
        if self.task_arguments is None:
            self.task_arguments = ((self.predecessors,), {})
        elif callable(self.task_arguments):
            made = self.task_arguments(self.predecessors)
            self.task_arguments = await made if inspect.isawaitable(made) else made
        return await super()._final_arguments()

    def _keywords(self) -> dict[str, object]:
        return {**super()._keywords(), "predecessor_nodes": self.predecessors}


class MarkedFailed(Exception):
    """How the scheduler learns of a task that set its own status to "failed"."""


def checked_arguments(task_handle: str, arguments: object) -> Arguments:
    """The arguments, if they are `(args, kwargs)`.

    Raises:
        GraphError: they are something else.
    """
    match arguments:
        case (tuple() | list() | None as args, dict() | None as kwargs):
            return args, kwargs
        case _:
            raise GraphError(
                f"the arguments of {task_handle!r} must be (args, kwargs), not {arguments!r}"
            )


def _accepted(
    function: Callable[..., Any], positional: int, keywords: dict[str, object]
) -> dict[str, object]:
    """Those of the keywords that the function accepts and that no positional argument has taken."""
    parameters = inspect.signature(function).parameters.values()
    taken = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD][:positional]
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return {
        name: value
        for name, value in keywords.items()
        if name not in taken and (takes_all or name in named)
    }
