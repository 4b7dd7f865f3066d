"""What can be done with tasks."""

from __future__ import annotations

from itertools import islice
from time import perf_counter
from typing import Final

from trio_actor_graph.clock import scheduler_seconds
from trio_actor_graph.errors import CycleError, GraphError
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.graph.stories import explain
from trio_actor_graph.logs import cut
from trio_actor_graph.web.answers import Answer, json_answer
from trio_actor_graph.web.paging import decode_cursor, encode_cursor
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.pushing import (
    ERRORS_MAX,
    as_condition,
    check_condition,
    condition_refs,
    kept,
    push,
)
from trio_actor_graph.web.queries import ResultQuery, TasksQuery, said
from trio_actor_graph.web.results import answer_result
from trio_actor_graph.web.routing import Asked, Route
from trio_actor_graph.web.types import (
    Cancellation,
    Explanation,
    NewPredecessor,
    NewTasks,
    Pending,
    ProblemPlace,
    PushedTasks,
    Result,
    TaskInfo,
    TaskPage,
    TaskRef,
)
from trio_actor_graph.web.views import task_info, task_summary


async def list_tasks(asked: Asked) -> Answer:
    """The tasks of a graph in the order of their creation."""
    query: TasksQuery = asked.query
    server = asked.serving
    seen = server.graphs.get(asked.path["graph"])
    what = f"tasks-{seen.record.uid}"
    start = decode_cursor(what, said(query.cursor))
    last_event_id = server.ring.last_id
    tasks = list(seen.record.tasks.values())
    states, name, function = query.state, said(query.name), said(query.function)
    loop, worker = said(query.worker_loop), said(query.worker)
    page: list[TaskRecord] = []
    end = start
    for end in range(start, len(tasks)):
        task = tasks[end]
        if (
            (not states or task.state in states)
            and (name is None or task.spec.name == name)
            and (function is None or task.spec.function == function)
            and (loop is None or task.loop.name == loop)
            and (worker is None or task.worker_name == worker)
        ):
            if len(page) == query.limit:
                break
            page.append(task)
    else:
        end = len(tasks)
    cursor = None if end >= len(tasks) else encode_cursor(what, end)
    now = perf_counter()
    summaries = tuple([task_summary(task, now) for task in page])
    return json_answer(TaskPage(summaries, cursor, last_event_id))


async def push_tasks(asked: Asked) -> Answer:
    """Push tasks into a graph: all of them, or none."""
    new: NewTasks = asked.body
    server = asked.serving
    graph = server.graphs.get_open(asked.path["graph"])
    pushed = push(server.coordinator, graph, new.tasks, may_refer=asked.may_refer)
    server.graphs.keep(graph, kept(graph, new.tasks, pushed))
    return json_answer(PushedTasks(pushed), 201)


async def read_task(asked: Asked) -> Answer:
    """All there is to know of a task, but its result and its logs."""
    return json_answer(task_info(task_asked_for(asked)))


async def explain_task(asked: Asked) -> Answer:
    """Why a task is in the state it is in."""
    task = task_asked_for(asked)
    return json_answer(Explanation(task.uid, task.state, cut(explain(task, scheduler_seconds()))))


async def cancel_task(asked: Asked) -> Answer:
    """End a task that has not ended."""
    how: Cancellation = asked.body
    task = task_asked_for(asked)
    asked.serving.graphs.get_live(task.graph.uid).cancel_task(task, successors=how.successors)
    return json_answer(task_info(task))


async def retry_task(asked: Asked) -> Answer:
    """Have a task that failed or was cancelled run again, and what was skipped because of it."""
    task = task_asked_for(asked)
    graph = asked.serving.graphs.get_live(task.graph.uid)
    try:
        graph.retry_task(task)
    except CycleError as error:
        raise ProblemRaised("cycle", str(error)) from error
    except GraphError as error:
        raise ProblemRaised("too-late", str(error)) from error
    return json_answer(task_info(task))


async def add_predecessor(asked: Asked) -> Answer:
    """Have a waiting task wait for a condition as well."""
    new: NewPredecessor = asked.body
    task = task_asked_for(asked)
    server = asked.serving
    server.graphs.get_open(task.graph.uid)
    wrong = list(islice(check_condition(new.waits_on, "$.waits_on"), ERRORS_MAX))
    if not wrong:
        refs = condition_refs(new.waits_on, "$.waits_on")
        unknown = (place for path, ref in refs for place in _unknown(task, path, ref))
        wrong = list(islice(unknown, ERRORS_MAX))
    if wrong:
        raise ProblemRaised("bad-condition", wrong[0].detail, errors=tuple(wrong))
    condition = as_condition(new.waits_on, int)
    try:
        server.coordinator.add_predecessor(task, condition)
    except CycleError as error:
        raise ProblemRaised("cycle", str(error)) from error
    except GraphError as error:
        raise ProblemRaised("too-late", str(error)) from error
    return json_answer(task_info(task))


async def read_result(asked: Asked) -> Answer:
    """The result of a task; while there is none yet, 202, perhaps after a wait."""
    query: ResultQuery = asked.query
    server = asked.serving
    seen = server.graphs.get(asked.path["graph"])
    return await answer_result(server, seen, task_asked_for(asked), query.wait)


def task_asked_for(asked: Asked) -> TaskRecord:
    """The task that the path names.

    Raises:
        ProblemRaised: there is none.
    """
    seen = asked.serving.graphs.get(asked.path["graph"])
    task = seen.record.tasks.get(asked.path["task"])
    if task is None:
        raise ProblemRaised(
            "unknown-task", f"there is no task {asked.path['task']} in graph {seen.record.name!r}"
        )
    return task


def _unknown(task: TaskRecord, path: str, ref: TaskRef) -> list[ProblemPlace]:
    if isinstance(ref, int) and ref in task.graph.tasks:
        return []
    return [ProblemPlace(path, f"there is no task {ref!r} in the graph")]


_UNKNOWN: Final = ("unknown-graph", "unknown-task")

ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/graphs/{graph}/tasks",
        name="listTasks",
        handler=list_tasks,
        query=TasksQuery,
        answers={200: TaskPage},
        problems=("unknown-graph", "bad-cursor"),
    ),
    Route(
        method="POST",
        path="/v1/graphs/{graph}/tasks",
        name="pushTasks",
        handler=push_tasks,
        body=NewTasks,
        answers={201: PushedTasks},
        problems=("unknown-graph", "graph-closed", "bad-batch"),
        has_key=True,
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/tasks/{task}",
        name="readTask",
        handler=read_task,
        answers={200: TaskInfo},
        problems=_UNKNOWN,
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/tasks/{task}/explain",
        name="explainTask",
        handler=explain_task,
        answers={200: Explanation},
        problems=_UNKNOWN,
    ),
    Route(
        method="POST",
        path="/v1/graphs/{graph}/tasks/{task}/cancel",
        name="cancelTask",
        handler=cancel_task,
        body=Cancellation,
        is_body_optional=True,
        answers={200: TaskInfo},
        problems=(*_UNKNOWN, "graph-closed"),
    ),
    Route(
        method="POST",
        path="/v1/graphs/{graph}/tasks/{task}/retry",
        name="retryTask",
        handler=retry_task,
        answers={200: TaskInfo},
        problems=(*_UNKNOWN, "graph-closed", "too-late", "cycle"),
    ),
    Route(
        method="POST",
        path="/v1/graphs/{graph}/tasks/{task}/predecessors",
        name="addPredecessor",
        handler=add_predecessor,
        body=NewPredecessor,
        answers={200: TaskInfo},
        problems=(*_UNKNOWN, "graph-closed", "too-late", "cycle", "bad-condition"),
    ),
    Route(
        method="GET",
        path="/v1/graphs/{graph}/tasks/{task}/result",
        name="readResult",
        handler=read_result,
        query=ResultQuery,
        answers={200: Result, 202: Pending},
        problems=(
            *_UNKNOWN,
            "not-json",
            "result-released",
            "task-failed",
            "task-skipped",
            "task-cancelled",
        ),
    ),
)
