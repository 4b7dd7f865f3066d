"""Pushing tasks: everything is looked at first, then all of them are created at once, or none.

Between the look and the last creation nothing else runs, so what was found good stays good. Tasks
may be given in any order: one that a later one in the list is waited on by comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, Final

from trio_actor_graph.calls import Call, check_options
from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import AllOf, AnyCondition, AnyOf, Tasks
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.task import Task
from trio_actor_graph.web.arguments import BadArgument, filled, references
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.types import (
    CONDITION_DEPTH_MAX,
    NewTask,
    ProblemPlace,
    PushedTask,
    TaskRef,
    TasksCondition,
)

if TYPE_CHECKING:
    from trio_actor_graph.coordinator import Coordinator
    from trio_actor_graph.handles import TaskGraph

ERRORS_MAX: Final = 100
"""How many wrong places of one request are told; whoever has more has one mistake many times."""

SHOWN_MAX: Final = 10
"""How many tasks of a cycle are named."""

Known = dict[Any, int]
"""The keys of the batch, each with its task's index."""


def push(
    coordinator: Coordinator, graph: TaskGraph, new: Sequence[NewTask]
) -> tuple[PushedTask, ...]:
    """Create all of the tasks in a graph.

    Raises:
        ProblemRaised: they cannot be; none was created.
    """
    batch = check_batch(coordinator, new, graph)
    return create(coordinator, graph, batch)


class Batch:
    """Tasks that were found good.

    Attributes:
        order: their indices in an order in which each comes after those it waits on.
    """

    def __init__(self, new: Sequence[NewTask], keys: Known, order: list[int]):
        self.new = new
        self.keys = keys
        self.order = order


def check_batch(coordinator: Coordinator, new: Sequence[NewTask], graph: TaskGraph | None) -> Batch:
    """Look at all of the tasks.

    Args:
        graph: where they are to go; None for a graph that is still to be opened.

    Raises:
        ProblemRaised: with the places that are wrong.
    """
    checker = _Checker(coordinator, new, graph)
    checker.check()
    if checker.errors:
        raise ProblemRaised("bad-batch", checker.errors[0].detail, errors=tuple(checker.errors))
    order = _in_order(checker.edges)
    if len(order) < len(new):
        raise _cycle_problem(new, checker.edges, set(range(len(new))) - set(order))
    return Batch(new, checker.keys, order)


def create(coordinator: Coordinator, graph: TaskGraph, batch: Batch) -> tuple[PushedTask, ...]:
    """Create the tasks of a batch.

    Raises:
        ProblemRaised: the graph takes no tasks any more.
    """
    created: dict[int, TaskRecord] = {}

    def record_of(named: TaskRef) -> TaskRecord:
        index = batch.keys.get(named)
        return graph.record.tasks[int(named)] if index is None else created[index]

    def handle_of(named: TaskRef) -> Task[Any]:
        return graph.handle(record_of(named))

    def uid_of(named: TaskRef) -> int:
        return record_of(named).uid

    try:
        for index in batch.order:
            task = batch.new[index]
            args = tuple([filled(each, handle_of) for each in task.args])
            kwargs = {name: filled(each, handle_of) for name, each in task.kwargs.items()}
            condition = None
            if task.waits_on is not None:
                condition = as_condition(task.waits_on, uid_of)
            options = check_options(
                condition,
                task.name,
                task.priority,
                task.retries,
                task.timeout_seconds,
                task.worker_loop,
            )
            created[index] = coordinator.create_task(
                graph, Call(task.function, args, kwargs), options
            )
    except Exception:
        # A rule that was not looked at. What was created has not been given to anybody yet.
        for record in created.values():
            coordinator.cancel_task(record, successors=True)
        raise
    return tuple([PushedTask(created[i].uid, task.key) for i, task in enumerate(batch.new)])


def as_condition(condition: TasksCondition, uid_of: Callable[[Any], int]) -> AnyCondition:
    """A condition as the graph knows it; `check_condition` has found it good."""
    if condition.all_of is not None:
        return AllOf(tuple(as_condition(each, uid_of) for each in condition.all_of))
    if condition.any_of is not None:
        return AnyOf(tuple(as_condition(each, uid_of) for each in condition.any_of))
    refs = condition.completed if condition.succeeded is None else condition.succeeded
    uids = tuple(dict.fromkeys(uid_of(each) for each in refs or ()))
    at_least = len(uids) if condition.at_least is None else condition.at_least
    return Tasks("completed" if condition.succeeded is None else "succeeded", uids, at_least)


def check_condition(condition: TasksCondition, path: str) -> Iterator[ProblemPlace]:
    """What is wrong with the form of a condition."""
    pending = [(condition, path, 1)]
    while pending:
        at, path, depth = pending.pop()
        forms = {
            "succeeded": at.succeeded,
            "completed": at.completed,
            "all_of": at.all_of,
            "any_of": at.any_of,
        }
        given = [name for name, value in forms.items() if value is not None]
        if len(given) != 1:
            yield ProblemPlace(path, f"exactly one of {', '.join(forms)} must be given")
            continue
        if depth > CONDITION_DEPTH_MAX:
            yield ProblemPlace(path, f"conditions are nested more than {CONDITION_DEPTH_MAX} deep")
            continue
        refs = at.succeeded or at.completed or ()
        if at.at_least is not None and not refs:
            yield ProblemPlace(f"{path}.at_least", "it goes with succeeded or completed only")
        elif at.at_least is not None and at.at_least > len(set(refs)):
            yield ProblemPlace(f"{path}.at_least", f"there are only {len(set(refs))} tasks")
        parts = at.all_of or at.any_of or ()
        pending += [(e, f"{path}.{given[0]}[{i}]", depth + 1) for i, e in enumerate(parts)]


def condition_refs(condition: TasksCondition, path: str) -> Iterator[tuple[str, TaskRef]]:
    """The tasks that a condition names, each with its path."""
    pending = [(condition, path)]
    while pending:
        at, path = pending.pop()
        for name, refs in (("succeeded", at.succeeded), ("completed", at.completed)):
            yield from ((f"{path}.{name}[{i}]", ref) for i, ref in enumerate(refs or ()))
        for name, parts in (("all_of", at.all_of), ("any_of", at.any_of)):
            pending += [(each, f"{path}.{name}[{i}]") for i, each in enumerate(parts or ())]


class _Checker:
    """Goes through a batch and notes what is wrong, and which task of it waits on which."""

    def __init__(
        self, coordinator: Coordinator, new: Sequence[NewTask], graph: TaskGraph | None
    ) -> None:
        self._functions = coordinator.registered_functions
        self._loops = coordinator.loop_names
        self._new = new
        self._graph = graph
        self.keys: Known = {}
        self.edges: list[set[int]] = [set() for _ in new]
        self.errors: list[ProblemPlace] = []

    def check(self) -> None:
        for index, task in enumerate(self._new):
            if task.key is not None and self.keys.setdefault(task.key, index) != index:
                self._note(f"$.tasks[{index}].key", f"the key {task.key!r} is given twice")
        for index, task in enumerate(self._new):
            if len(self.errors) >= ERRORS_MAX:
                return
            self._check_task(index, task)

    def _check_task(self, index: int, task: NewTask) -> None:
        path = f"$.tasks[{index}]"
        if task.function not in self._functions:
            self._note(
                f"{path}.function",
                f"no function {task.function!r} is registered; GET /v1/task-types lists them",
            )
        if task.worker_loop is not None and task.worker_loop not in self._loops:
            names = ", ".join(map(repr, self._loops))
            self._note(
                f"{path}.worker_loop", f"no worker loop {task.worker_loop!r}: there are {names}"
            )
        try:
            check_options(None, task.name, 0, None, task.timeout_seconds, None)
        except GraphError as error:
            self._note(path, str(error))
        for name, values in (("args", task.args), ("kwargs", task.kwargs)):
            try:
                for at, ref in _argument_refs(values):
                    self._check_ref(index, f"{path}.{name}{at}", ref, is_input=True)
            except BadArgument as error:
                self._note(f"{path}.{name}{error.path}", error.detail)
        if task.waits_on is not None:
            wrong = list(check_condition(task.waits_on, f"{path}.waits_on"))
            self.errors += wrong
            if not wrong:
                for at, ref in condition_refs(task.waits_on, f"{path}.waits_on"):
                    self._check_ref(index, at, ref)

    def _check_ref(self, index: int, path: str, ref: TaskRef, *, is_input: bool = False) -> None:
        named = self.keys.get(ref) if isinstance(ref, str) else None
        if named is not None:
            self.edges[index].add(named)
        elif isinstance(ref, str):
            self._note(path, f"no task of this request has the key {ref!r}")
        elif self._graph is None or ref not in self._graph.record.tasks:
            self._note(path, f"there is no task {ref} in the graph")
        elif is_input and self._graph.results.is_released(self._graph.record.tasks[ref]):
            self._note(path, f"the result of task {ref} has been released")

    def _note(self, path: str, detail: str) -> None:
        self.errors.append(ProblemPlace(path, detail))


def _argument_refs(values: tuple[Any, ...] | dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """References in all arguments. The object that holds those by name is none itself."""
    items: Iterable[tuple[str, Any]]
    if isinstance(values, tuple):
        items = ((f"[{i}]", each) for i, each in enumerate(values))
    else:
        items = ((f".{name}", each) for name, each in values.items())
    for start, each in items:
        if isinstance(each, (dict, list)):
            yield from references(each, start)


def _in_order(edges: list[set[int]]) -> list[int]:
    """The indices, each after those it waits on; those on cycles, and after them, are left out."""
    missing = [len(waits_on) for waits_on in edges]
    waited_on_by: list[list[int]] = [[] for _ in edges]
    for index, waits_on in enumerate(edges):
        for other in waits_on:
            waited_on_by[other].append(index)
    pending = deque(index for index, number in enumerate(missing) if not number)
    order = []
    while pending:
        order.append(index := pending.popleft())
        for later in waited_on_by[index]:
            missing[later] -= 1
            if not missing[later]:
                pending.append(later)
    return order


def _cycle_problem(new: Sequence[NewTask], edges: list[set[int]], left: set[int]) -> ProblemRaised:
    """Name one cycle among the tasks that are left."""
    # Each of them waits on another of them, so following that comes back at some time.
    path: dict[int, None] = {}
    at = min(left)
    while at not in path:
        path[at] = None
        at = min(edges[at] & left)
    cycle = [*dropwhile(lambda index: index != at, path), at]
    names = [repr(new[index].key or index) for index in cycle[:SHOWN_MAX]]
    if len(cycle) > SHOWN_MAX:
        names += ["...", repr(new[at].key or at)]
    detail = f"these tasks would wait on each other for ever: {' waits on '.join(names)}"
    return ProblemRaised("bad-batch", detail, errors=(ProblemPlace(f"$.tasks[{at}]", detail),))
