"""Pushing tasks: everything is looked at first, then all of them are created at once, or none.

Between the look and the last creation nothing else runs, so what was found good stays good. Tasks
may be given in any order: one that a later one in the list is waited on by comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from trio_actor_graph.calls import Call, Options, check_options
from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import AllOf, AnyCondition, AnyOf, Tasks
from trio_actor_graph.graph.records import TaskRecord
from trio_actor_graph.retries import RetryPolicy
from trio_actor_graph.task import Task
from trio_actor_graph.web.arguments import (
    RESULT,
    BadArgument,
    Place,
    marks,
    path_of,
    reference_at,
    replace_mark,
)
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.signatures import Signatures
from trio_actor_graph.web.types import (
    CONDITION_DEPTH_MAX,
    NewTask,
    ProblemPlace,
    PushedTask,
    RetryOptions,
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

_REF_SHOWN_MAX: Final = 100

Known = dict[Any, int]
"""The keys of the batch, each with its task's index."""


def push(
    coordinator: Coordinator, graph: TaskGraph, new: Sequence[NewTask], *, may_refer: bool
) -> tuple[PushedTask, ...]:
    """Create all of the tasks in a graph.

    Args:
        may_refer: whether arguments may hold what stands for something else.

    Raises:
        ProblemRaised: they cannot be; none was created.
    """
    batch = check_batch(coordinator, new, graph, may_refer=may_refer)
    return create(coordinator, graph, batch)


class Batch:
    """Tasks that were found good.

    Attributes:
        order: their indices in an order in which each comes after those it waits on.
        args_marks, kwargs_marks: by index, what in arguments stands for something else.
        policies: how tasks are retried, by what they say.
    """

    def __init__(self, checker: _Checker, order: list[int]):
        self.new = checker.new
        self.keys = checker.keys
        self.order = order
        self.args_marks = checker.args_marks
        self.kwargs_marks = checker.kwargs_marks
        self.policies = checker.policies

    def retries(self, task: NewTask) -> int | RetryPolicy | None:
        """What one of its tasks says about retries, as the graph knows it."""
        said = task.retries
        return self.policies[said] if isinstance(said, RetryOptions) else said


def check_batch(
    coordinator: Coordinator, new: Sequence[NewTask], graph: TaskGraph | None, *, may_refer: bool
) -> Batch:
    """Look at all of the tasks.

    Args:
        graph: where they are to go; None for a graph that is still to be opened.
        may_refer: whether arguments may hold what stands for something else.

    Raises:
        ProblemRaised: with the places that are wrong.
    """
    checker = _Checker(coordinator, new, graph, may_refer)
    checker.check()
    if checker.errors:
        raise ProblemRaised("bad-batch", checker.errors[0].detail, errors=tuple(checker.errors))
    order = _in_order(checker.edges)
    if len(order) < len(new):
        raise _cycle_problem(new, checker.edges, set(range(len(new))) - set(order))
    return Batch(checker, order)


def create(coordinator: Coordinator, graph: TaskGraph, batch: Batch) -> tuple[PushedTask, ...]:
    """Create the tasks of a batch.

    Raises:
        ProblemRaised: the graph takes no tasks any more.
    """
    if graph.state not in ("running", "idle"):
        raise ProblemRaised("graph-closed", f"graph {graph.name!r} is {graph.state}")
    created: dict[int, TaskRecord] = {}

    def record_of(named: TaskRef) -> TaskRecord:
        index = batch.keys.get(named)
        return graph.record.tasks[int(named)] if index is None else created[index]

    def handle_of(named: TaskRef) -> Task[Any]:
        return graph.handle(record_of(named))

    def uid_of(named: TaskRef) -> int:
        return record_of(named).uid

    index = 0
    try:
        for index in batch.order:
            task = batch.new[index]
            args = list(task.args)
            for place in batch.args_marks.get(index, ()):
                replace_mark(place, args, handle_of)
            for place in batch.kwargs_marks.get(index, ()):
                replace_mark(place, task.kwargs, handle_of)
            call = Call(task.function, tuple(args), task.kwargs)
            options = _options_of(task, batch.retries(task), uid_of)
            created[index] = coordinator.create_task(graph, call, options)
    except Exception as error:
        # A rule that was not looked at. What was created has not been given to anybody yet.
        for record in created.values():
            coordinator.cancel_task(record, successors=True)
        if isinstance(error, GraphError):
            wrong = ProblemPlace(f"$.tasks[{index}]", str(error))
            raise ProblemRaised("bad-batch", str(error), errors=(wrong,)) from error
        raise
    return tuple([PushedTask(created[i].uid, task.key) for i, task in enumerate(batch.new)])


def _options_of(
    task: NewTask, retries: int | RetryPolicy | None, uid_of: Callable[[TaskRef], int]
) -> Options:
    waits_on = _waits_on(task)
    return check_options(
        None if waits_on is None else as_condition(waits_on, uid_of),
        task.name,
        task.priority,
        retries,
        task.timeout_seconds,
        task.worker_loop,
    )


def kept(
    graph: TaskGraph, new: Sequence[NewTask], pushed: Sequence[PushedTask]
) -> list[TaskRecord]:
    """Those of the pushed tasks whose results are to be kept for clients."""
    if not graph.counts_needs:
        return []
    tasks = graph.record.tasks
    return [tasks[made.uid] for task, made in zip(new, pushed, strict=True) if task.keep_result]


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
        given = [name for name in _FORMS if getattr(at, name) is not None]
        if len(given) != 1:
            yield ProblemPlace(path, f"exactly one of {', '.join(_FORMS)} must be given")
            continue
        if depth > CONDITION_DEPTH_MAX:
            yield ProblemPlace(path, f"conditions are nested more than {CONDITION_DEPTH_MAX} deep")
            continue
        if at.at_least is not None:
            refs = at.succeeded or at.completed or ()
            if not refs:
                yield ProblemPlace(f"{path}.at_least", "it goes with succeeded or completed only")
            elif at.at_least > (number := len(set(refs))):
                yield ProblemPlace(f"{path}.at_least", f"there are only {number} tasks")
        parts = at.all_of or at.any_of or ()
        pending += [(e, f"{path}.{given[0]}[{i}]", depth + 1) for i, e in enumerate(parts)]


_FORMS: Final = ("succeeded", "completed", "all_of", "any_of")


def condition_refs(condition: TasksCondition, path: str) -> Iterator[tuple[str, TaskRef]]:
    """The tasks that a condition names, each with its path."""
    pending = [(condition, path)]
    while pending:
        at, path = pending.pop()
        for name, refs in (("succeeded", at.succeeded), ("completed", at.completed)):
            named = cast("tuple[TaskRef, ...]", refs or ())  # as it was decoded
            yield from ((f"{path}.{name}[{i}]", ref) for i, ref in enumerate(named))
        for name, parts in (("all_of", at.all_of), ("any_of", at.any_of)):
            pending += [(each, f"{path}.{name}[{i}]") for i, each in enumerate(parts or ())]


def _waits_on(task: NewTask) -> TasksCondition | None:
    """The condition of a task that was decoded; only clients know anything shorter."""
    return cast("TasksCondition | None", task.waits_on)


class _EnoughErrors(Exception):
    """As many as are told."""


class _Checker:
    """Goes through a batch and notes what is wrong, and which task of it waits on which."""

    def __init__(
        self,
        coordinator: Coordinator,
        new: Sequence[NewTask],
        graph: TaskGraph | None,
        may_refer: bool,
    ) -> None:
        self._coordinator = coordinator
        self._functions = coordinator.registered_functions
        self._loops = coordinator.loop_names
        self.new = new
        self._graph = graph
        self._may_refer = may_refer
        self._signatures = Signatures()
        self._unsendable: dict[tuple[str, str | None], str | None] = {}
        self.keys: Known = {}
        self.args_marks: dict[int, list[Place]] = {}
        self.kwargs_marks: dict[int, list[Place]] = {}
        self.policies: dict[RetryOptions, RetryPolicy] = {}
        self.edges: list[set[int]] = [set() for _ in new]
        self.errors: list[ProblemPlace] = []

    def check(self) -> None:
        with suppress(_EnoughErrors):
            for index, task in enumerate(self.new):
                if task.key is not None and self.keys.setdefault(task.key, index) != index:
                    self._note(f"$.tasks[{index}].key", f"the key {task.key!r} is given twice")
            for index, task in enumerate(self.new):
                self._check_task(index, task)

    def _check_task(self, index: int, task: NewTask) -> None:
        path = f"$.tasks[{index}]"
        self._check_function(path, task)
        try:
            check_options(None, task.name, 0, None, task.timeout_seconds, None)
        except GraphError as error:
            self._note(path, str(error))
        if isinstance(task.retries, RetryOptions) and task.retries not in self.policies:
            try:
                self.policies[task.retries] = RetryPolicy(**msgspec.structs.asdict(task.retries))
            except GraphError as error:
                self._note(f"{path}.retries", str(error))
        if self._may_refer:
            args, kwargs = enumerate(task.args), task.kwargs.items()
            self._check_arguments(index, f"{path}.args", args, self.args_marks)
            self._check_arguments(index, f"{path}.kwargs", kwargs, self.kwargs_marks)
        if (entry := self._functions.get(task.function)) is not None:
            names = tuple(task.kwargs)
            misfit = self._signatures.misfit(task.function, entry.function, len(task.args), names)
            if misfit is not None:
                self._note(f"{path}.{misfit.where}", misfit.detail)
        if (waits_on := _waits_on(task)) is not None:
            is_good = True
            for wrong in check_condition(waits_on, f"{path}.waits_on"):
                is_good = False
                self._note(wrong.path, wrong.detail)
            if is_good:
                for at, ref in condition_refs(waits_on, f"{path}.waits_on"):
                    if (detail := self._check_ref(index, ref)) is not None:
                        self._note(at, detail)

    def _check_function(self, path: str, task: NewTask) -> None:
        name, loop = task.function, task.worker_loop
        is_known = name in self._functions
        if not is_known:
            self._note(
                f"{path}.function",
                f"no function {name!r} is registered; GET /v1/task-types lists them",
            )
        if loop is not None and loop not in self._loops:
            names = ", ".join(map(repr, self._loops))
            self._note(f"{path}.worker_loop", f"no worker loop {loop!r}: there are {names}")
        elif is_known:
            if (name, loop) not in self._unsendable:
                self._unsendable[name, loop] = self._why_unsendable(name, loop)
            if (detail := self._unsendable[name, loop]) is not None:
                self._note(f"{path}.function", detail)

    def _why_unsendable(self, name: str, loop: str | None) -> str | None:
        """Why a function cannot be sent to the processes where it is to run."""
        try:
            self._coordinator.check_sendable(name, loop)
        except GraphError as error:
            return str(error)
        return None

    def _check_arguments(
        self,
        index: int,
        path: str,
        values: Iterable[tuple[str | int, Any]],
        found: dict[int, list[Place]],
    ) -> None:
        """Look at all arguments. The object that holds those by name is no mark itself."""
        for key, each in values:
            for place in marks(each, key):
                found.setdefault(index, []).append(place)
                self._check_mark(index, path, place)

    def _check_mark(self, index: int, path: str, place: Place) -> None:
        try:
            ref = reference_at(place)
        except BadArgument as error:
            self._note(f"{path}{path_of(error.place)}", error.detail)
            return
        if ref is not None and (detail := self._check_ref(index, ref, is_input=True)) is not None:
            self._note(f"{path}{path_of(place)}.{RESULT}", detail)

    def _check_ref(self, index: int, ref: TaskRef, *, is_input: bool = False) -> str | None:
        """Note an edge, or return what is wrong with a reference."""
        named = self.keys.get(ref) if isinstance(ref, str) else None
        if named is not None:
            self.edges[index].add(named)
            return None
        if isinstance(ref, str):
            return f"no task of this request has the key {_shown(ref)}"
        if self._graph is None or ref not in self._graph.record.tasks:
            return f"there is no task {_shown(ref)} in the graph"
        if is_input and self._graph.results.is_released(self._graph.record.tasks[ref]):
            return f"the result of task {ref} has been released"
        return None

    def _note(self, path: str, detail: str) -> None:
        self.errors.append(ProblemPlace(path, detail))
        if len(self.errors) >= ERRORS_MAX:
            raise _EnoughErrors


def _shown(ref: TaskRef) -> str:
    """A reference, which in arguments may be of any length."""
    if isinstance(ref, str) and len(ref) > _REF_SHOWN_MAX:
        return f"{ref[:_REF_SHOWN_MAX]!r}..."
    return repr(ref) if isinstance(ref, str) or -(2**63) <= ref < 2**63 else "of so large a number"


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
