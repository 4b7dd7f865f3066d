"""Records to a picture: one node a task, nodes for conditions that say more than "all of these".

That all of some tasks must have succeeded is said by the arrows alone. A condition that asks for n
of m, for the end of several tasks, or for one thing or another is a node of its own, between the
tasks it looks at and the one that waits. Tasks that wait for the same condition share its node.

Only what the records say is looked at: no pickle is opened, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final, NamedTuple

from trio_actor_graph.graph.conditions import AllOf, AnyCondition, AnyOf, Tasks, leaves
from trio_actor_graph.graph.failures import failure_line
from trio_actor_graph.graph.reading import conditions_of
from trio_actor_graph.graph.records import GraphRecord, TaskRecord
from trio_actor_graph.graph.states import TERMINAL
from trio_actor_graph.observe.drawing.picture import (
    ERROR_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    ConditionState,
    Edge,
    EdgeKind,
    Node,
    Picture,
    Run,
    clean,
)
from trio_actor_graph.observe.drawing.stages import longest_ways

_MEMORY_MAX: Final = 10_000
"""How many cleaned names are remembered while a picture is made: most tasks share a few."""


def picture_of(graph: GraphRecord) -> Picture:
    """See a graph as it is now, with every task and every condition in it."""
    return _Seeing(graph).picture()


class _Part(NamedTuple):
    """A condition that is still to be drawn before `target`: as arrows, or as a node."""

    condition: AnyCondition
    target: str
    is_arrows: bool


class _Seeing:
    """The work of `picture_of`: what has been found so far."""

    def __init__(self, graph: GraphRecord):
        self._graph = graph
        self._conditions = conditions_of(graph)
        self._stages = _stages(graph, self._conditions)
        self._nodes: list[Node] = []
        self._edges: dict[Edge, None] = {}  # in order
        self._keys: dict[int, str] = {}  # of conditions that are drawn, by their number
        self._numbers: dict[Hashable, int] = {}  # of conditions that say the same, by what they say
        self._states: list[ConditionState] = []  # of conditions, by their number
        self._clean_names: dict[str, str] = {}

    def picture(self) -> Picture:
        tasks = self._graph.tasks
        for task in tasks.values():
            self._nodes.append(self._task_node(task))
        for task in tasks.values():
            key = _key(task.uid)
            self._see_creation(task, key)
            condition = self._conditions.get(task)
            if condition is not None:
                self._see_condition(condition, key, self._stages[task.uid])
        return Picture(
            clean(self._graph.name, NAME_CHARACTERS_MAX),
            dict(self._graph.counts),
            tuple(self._nodes),
            tuple(self._edges),
        )

    def _task_node(self, task: TaskRecord) -> Node:
        spec = task.spec
        return Node(
            key=_key(task.uid),
            kind="task",
            label=self._clean_name(spec.name),
            state=task.state,
            counts={task.state: 1},
            stage=self._stages[task.uid],
            function=spec.kind,
            uid=task.uid,
            run=_run(task),
        )

    def _clean_name(self, name: str) -> str:
        known = self._clean_names.get(name)
        if known is None:
            known = clean(name, NAME_CHARACTERS_MAX)
            if len(self._clean_names) < _MEMORY_MAX:
                self._clean_names[name] = known
        return known

    def _see_creation(self, task: TaskRecord, key: str) -> None:
        if task.returns is not None:
            self._add_edge(key, _key(task.returns.uid), "returned")
        creator = task.creator
        # A task that ends as its own child has one arrow to it, the one that says more.
        if creator is not None and creator.returns is not task:
            self._add_edge(_key(creator.uid), key, "created")

    def _see_condition(self, condition: AnyCondition, target: str, stage: int) -> None:
        """Draw what leads to `target`; the parts of an "all of" lead to it side by side.

        Conditions may be nested deep, so this is done by a worklist, in the order of a recursion.
        """
        numbers = self._number(condition)
        pending: list[_Part | Edge] = list(_leading(condition, target))
        while pending:
            part = pending.pop()
            if isinstance(part, Edge):
                self._edges[part] = None
            elif isinstance(part.condition, Tasks) and part.is_arrows:
                self._see_tasks(part.condition, part.target)
            else:
                number = numbers[id(part.condition)]
                key = self._keys.get(number)
                is_new = key is None
                if key is None:
                    key = self._keys[number] = f"c{len(self._keys) + 1}"
                pending.append(Edge(key, part.target, "succeeded"))
                if is_new:
                    self._add_condition_node(part.condition, key, self._states[number], stage)
                    pending.extend(_inside(part.condition, key))

    def _add_condition_node(
        self, condition: AnyCondition, key: str, state: ConditionState, stage: int
    ) -> None:
        text = _condition_text(condition)
        self._nodes.append(Node(key, "condition", text, state, {state: 1}, stage))
        if isinstance(condition, Tasks):
            self._see_tasks(condition, key)

    def _see_tasks(self, condition: Tasks, target: str) -> None:
        for uid in condition.uids:
            self._add_edge(_key(uid), target, condition.outcome)

    def _number(self, condition: AnyCondition) -> dict[int, int]:
        """The numbers of a condition and of all its parts, by their `id`.

        Those that say the same have the same number. Comparing them as they are would go through
        all below each of them, and by recursion.
        """
        order = [condition]
        for part in order:
            if not isinstance(part, Tasks):
                order.extend(part.parts)
        numbers: dict[int, int] = {}
        for part in reversed(order):
            if isinstance(part, Tasks):
                says: Hashable = (part.outcome, part.uids, part.at_least)
                below = []
            else:
                below = [numbers[id(each)] for each in part.parts]
                says = (type(part), *below)
            number = numbers[id(part)] = self._numbers.setdefault(says, len(self._states))
            if number == len(self._states):
                self._states.append(self._state(part, below))
        return numbers

    def _state(self, condition: AnyCondition, below: list[int]) -> ConditionState:
        """Whether a condition holds ("open"), can never hold any more ("shut"), or is waited for.

        Args:
            below: the numbers of its parts.
        """
        if isinstance(condition, Tasks):
            return _state_of_tasks(self._graph, condition)
        states = [self._states[number] for number in below]
        needed = len(states) if isinstance(condition, AllOf) else 1
        return _gate_state(states.count("open"), states.count("shut"), needed, len(states))

    def _add_edge(self, source: str, target: str, kind: EdgeKind) -> None:
        if source != target:
            self._edges[Edge(source, target, kind)] = None


def _leading(condition: AnyCondition, target: str) -> Iterator[_Part]:
    """What leads to `target` of a condition; the last first, as a list is popped from its end."""
    parts = condition.parts if isinstance(condition, AllOf) else (condition,)
    for part in reversed(parts):
        is_arrows = isinstance(part, Tasks) and _is_said_by_arrows(part)
        yield _Part(part, target, is_arrows)


def _inside(condition: AnyCondition, key: str) -> Iterator[_Part]:
    """The same for the node of a condition; an alternative that is a task is an arrow to it."""
    match condition:
        case AllOf():
            yield from _leading(condition, key)
        case AnyOf(parts):
            for part in reversed(parts):
                yield _Part(part, key, isinstance(part, Tasks) and part.is_of_one)
        case Tasks():
            pass  # whose arrows have been drawn with the node


def _state_of_tasks(graph: GraphRecord, condition: Tasks) -> ConditionState:
    hits = misses = 0
    for uid in condition.uids:
        state = graph.tasks[uid].state
        if state in TERMINAL:
            if state == "succeeded" or condition.outcome == "completed":
                hits += 1
            else:
                misses += 1
    return _gate_state(hits, misses, condition.at_least, len(condition.uids))


def _gate_state(hits: int, misses: int, needed: int, total: int) -> ConditionState:
    if hits >= needed:
        return "open"
    return "shut" if total - misses < needed else "waiting"


def _is_said_by_arrows(condition: Tasks) -> bool:
    needs_all = condition.at_least == len(condition.uids)
    return condition.is_of_one or (needs_all and condition.outcome == "succeeded")


def _condition_text(condition: AnyCondition) -> str:
    match condition:
        case Tasks(outcome, uids, at_least):
            total = len(uids)
            which = f"all {total:,}" if at_least == total else f"{at_least:,} of {total:,}"
            return f"{which} {outcome}"
        case AllOf():
            return "all of"
        case AnyOf():
            return "any of"


def _stages(graph: GraphRecord, conditions: dict[TaskRecord, AnyCondition]) -> dict[int, int]:
    """The stage of each task, by uid, along what it waited for and who created it."""
    index = {uid: number for number, uid in enumerate(graph.tasks)}

    def edges() -> Iterator[tuple[int, int]]:
        for task, condition in conditions.items():
            at = index[task.uid]
            for leaf in leaves(condition):
                for uid in leaf.uids:
                    yield index[uid], at
        for task in graph.tasks.values():
            if task.creator is not None and task.creator.uid in index:
                yield index[task.creator.uid], index[task.uid]

    stages, _ = longest_ways(len(index), edges())
    return dict(zip(index, stages, strict=True))


def _key(uid: int) -> str:
    return f"t{uid}"


def _run(task: TaskRecord) -> Run:
    worker = clean(task.worker_name or "", NAME_CHARACTERS_MAX)
    return Run(task.attempts, task.ran_seconds, worker, _error_line(task))


def _error_line(task: TaskRecord) -> str:
    """The first line of why a task failed or was skipped, or of its last attempt that failed."""
    if task.state == "skipped" and task.skipped_because is not None:
        cause = task.skipped_because
        return clean(f"because {cause.label} {cause.state}", ERROR_CHARACTERS_MAX)
    failure = task.failure
    if task.state == "failed" and failure is not None:
        return clean(failure_line(failure), ERROR_CHARACTERS_MAX)
    if task.history:
        last = task.history[-1]
        return clean(f"attempt {last.number}: {failure_line(last.failure)}", ERROR_CHARACTERS_MAX)
    return ""
