"""The original's `TaskGraph`: nodes by uid, and a graph of the coordinator once it is executed."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import trio

from trio_actor_graph import GraphError, WorkerLoop, completed, open_coordinator, succeeded
from trio_actor_graph import TaskGraph as LiveGraph
from trio_actor_graph.classic.nodes import (
    FINAL_STATUSES,
    Arguments,
    Node,
    TaskNode,
    WaitArguments,
    WaitTaskNode,
    checked_arguments,
)

TaskFunction: TypeAlias = Callable[..., Awaitable[Any]]


class LoopDescription(Protocol):
    """A worker loop as the original's later versions describe it: a namedtuple of these."""

    @property
    def name(self) -> str: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def functions(self) -> Iterable[str] | None: ...


class NamedLoop(NamedTuple):
    """A worker loop and the names of the functions that run there; `TaskGraph.WorkerLoop`."""

    name: str
    concurrency: int
    functions: Sequence[str] | None = None


class TaskGraph:
    """A graph of tasks, created before or while `execute_graph` runs them.

    Args:
        functions: coroutine functions by the names that tasks call them by.
        worker_loops: name -> concurrency, or namedtuples of name, concurrency and function names.
            There must be a "default" loop, for functions that are assigned to no other.
        assignments: function name -> name of its worker loop.

    Raises:
        GraphError: no default loop, or an assignment of an unknown function or loop.
    """

    WorkerLoop = NamedLoop

    def __init__(
        self,
        functions: Mapping[str, TaskFunction],
        worker_loops: Mapping[str, int] | Iterable[LoopDescription],
        assignments: Mapping[str, str] | None = None,
    ):
        self.uid = uuid.uuid4().hex
        self.root = Node(self)
        self.nodes: dict[str, Node] = {self.root.uid: self.root}
        self._functions = dict(functions)
        self._loops, loop_of = _loops(worker_loops)
        self._loop_of = {**loop_of, **(assignments or {})}
        self._live: LiveGraph | None = None
        self._is_over = False
        self._early_links: list[tuple[TaskNode, WaitTaskNode]] = []
        self._has_tasks = trio.Event()
        self._function = self._run  # bound once: the coordinator knows functions by identity
        self._check_loops()

    async def create_task(
        self, task_handle: str, task_arguments: Arguments, predecessor_uid: str
    ) -> str:
        """Create a task that waits for nothing; return its uid.

        Args:
            task_handle: the name of its function.
            task_arguments: `(args, kwargs)`.
            predecessor_uid: the node that gets the edge "scheduled" to it: `graph.root.uid`, or the
                task that creates it.

        Raises:
            GraphError: an unknown function or predecessor, or the graph has been executed.
        """
        await trio.lowlevel.checkpoint()
        self._check_creation(task_handle)
        checked_arguments(task_handle, task_arguments)
        predecessor = self._node(predecessor_uid)
        node = TaskNode(self, task_handle, task_arguments)
        _add_edges(predecessor, "scheduled", "scheduled_by", node)
        return self._add(node)

    async def create_wait_task(
        self,
        function_name: str,
        arguments: WaitArguments,
        predecessor_uids: Iterable[str],
        schedule_when_errors_found: bool,
    ) -> str:
        """Create a task that waits for others; return its uid.

        Args:
            function_name: the name of its function.
            arguments: `(args, kwargs)`; or None: the function gets the list of its predecessors'
                nodes as its one argument; or a function, async or not, of that list, which returns
                `(args, kwargs)`. If that raises, the task has failed.
            predecessor_uids: the tasks it waits for.
            schedule_when_errors_found: True runs it when they have ended in any way, False only
                when all of them have succeeded; else it becomes "predecessor_failed".

        Raises:
            GraphError: an unknown function or predecessor, no predecessors, or the graph has been
                executed.
        """
        await trio.lowlevel.checkpoint()
        self._check_creation(function_name)
        if arguments is not None and not callable(arguments):
            checked_arguments(function_name, arguments)
        if not isinstance(schedule_when_errors_found, bool):
            raise GraphError(
                f"schedule_when_errors_found must be a bool, not {schedule_when_errors_found!r}"
            )
        predecessors = [self.task_node(uid) for uid in predecessor_uids]
        if not predecessors:
            raise GraphError(f"wait task {function_name!r} has no predecessors to wait for")
        node = WaitTaskNode(self, function_name, arguments, schedule_when_errors_found)
        for predecessor in predecessors:
            _add_edges(predecessor, "waited_on_by", "waits_on", node)
        return self._add(node)

    def create_wait_link(self, predecessor_uid: str, wait_task_uid: str) -> None:
        """Make a wait task wait for one more task.

        Raises:
            GraphError: the wait task is ready or further, or is none, or one of them is unknown.
            CycleError: the predecessor waits on the wait task. Before the graph is executed,
                `execute_graph` raises it.
        """
        wait_node = self.task_node(wait_task_uid)
        if not isinstance(wait_node, WaitTaskNode):
            raise GraphError(f"{wait_node!r} is no wait task, so it cannot wait for more")
        predecessor = self.task_node(predecessor_uid)
        if self._live is None and not self._is_over:
            self._early_links.append((predecessor, wait_node))
        else:
            self._link(predecessor, wait_node)
        _add_edges(predecessor, "waited_on_by", "waits_on", wait_node)

    def get_task_nodes(
        self, status: str | None = None, handle: str | None = None
    ) -> list[TaskNode]:
        """The nodes of all tasks, or those of this status and this function, oldest first."""
        return [
            node
            for node in self._task_nodes()
            if (not status or node.task_status == status)
            and (not handle or node.task_handle == handle)
        ]

    def is_finished(self) -> bool:
        """Whether every task has ended. A graph without tasks has not begun, so is not finished."""
        nodes = self._task_nodes()
        return bool(nodes) and all(node.task_status in FINAL_STATUSES for node in nodes)

    def task_node(self, uid: str) -> TaskNode:
        """The task with that uid.

        Raises:
            GraphError: there is none.
        """
        node = self._node(uid)
        if not isinstance(node, TaskNode):
            raise GraphError("the root is no task: nothing can wait for it")
        return node

    async def execute(self, first_task_seconds: float) -> None:
        """What `execute_graph` does."""
        if self._live is not None or self._is_over:
            raise GraphError("the graph has been executed: make another TaskGraph for more tasks")
        loops = [WorkerLoop(n, concurrency=c, processes=0) for n, c in self._loops.items()]
        try:
            async with (
                open_coordinator(loops) as coordinator,
                coordinator.open_graph(f"classic {self.uid[:8]}", on_failure="continue") as live,
            ):
                self._begin(live)
                with trio.move_on_after(first_task_seconds):
                    await self._has_tasks.wait()
        finally:
            self._live = None
            self._is_over = True

    def _begin(self, live: LiveGraph) -> None:
        """Hand over what was created before. Nothing of it runs until all of it is there."""
        self._live = live
        for node in self._task_nodes():
            self._start(node)
        for predecessor, wait_node in self._early_links:
            self._link(predecessor, wait_node)

    def _start(self, node: TaskNode) -> None:
        assert self._live is not None
        condition = None
        if isinstance(node, WaitTaskNode):
            # One without a task is younger, and waited for by an early link: it comes later.
            tasks = [p.task for p in node.predecessors if p.task is not None]
            condition = (completed if node.schedule_when_errors_found else succeeded)(tasks)
        node.task = self._live.create_task(
            self._function,
            node.uid,
            waits_on=condition,
            name=node.task_handle,
            worker_loop=self._loop_of.get(node.task_handle, "default"),
        )

    def _link(self, predecessor: TaskNode, wait_node: WaitTaskNode) -> None:
        if self._live is None or predecessor.task is None or wait_node.task is None:
            raise GraphError(f"too late to make {wait_node!r} wait: the graph has been executed")
        condition = completed if wait_node.schedule_when_errors_found else succeeded
        self._live.add_predecessor(wait_node.task, condition(predecessor.task))

    async def _run(self, uid: str) -> None:
        node = self.task_node(uid)
        await node.run(self._functions[node.task_handle])

    def _add(self, node: TaskNode) -> str:
        self.nodes[node.uid] = node
        if self._live is not None:
            self._start(node)
        self._has_tasks.set()
        return node.uid

    def _task_nodes(self) -> list[TaskNode]:
        return [node for node in self.nodes.values() if isinstance(node, TaskNode)]

    def _node(self, uid: str) -> Node:
        node = self.nodes.get(uid)
        if node is None:
            raise GraphError(f"unknown predecessor or task {uid!r}")
        return node

    def _check_creation(self, task_handle: str) -> None:
        if self._is_over:
            raise GraphError(f"too late to create {task_handle!r}: the graph has been executed")
        if task_handle not in self._functions:
            known = ", ".join(map(repr, self._functions)) or "none"
            raise GraphError(f"unknown function {task_handle!r}: there are {known}")

    def _check_loops(self) -> None:
        if "default" not in self._loops:
            raise GraphError(f"there is no worker loop 'default': {sorted(self._loops)}")
        for function, loop in self._loop_of.items():
            if function not in self._functions:
                raise GraphError(f"worker loop {loop!r}: unknown function {function!r}")
            if loop not in self._loops:
                raise GraphError(f"function {function!r} is assigned to unknown loop {loop!r}")


def _loops(
    worker_loops: Mapping[str, int] | Iterable[LoopDescription],
) -> tuple[dict[str, int], dict[str, str]]:
    """The concurrency of each loop, and the loop of each function that is named by one."""
    if isinstance(worker_loops, Mapping):
        return dict(cast("Mapping[str, int]", worker_loops)), {}
    loops = list(worker_loops)
    loop_of = {function: loop.name for loop in loops for function in loop.functions or ()}
    return {loop.name: loop.concurrency for loop in loops}, loop_of


def _add_edges(node: Node, label: str, label_back: str, successor: Node) -> None:
    node.add_edge(successor, label)
    successor.add_edge(node, label_back)
