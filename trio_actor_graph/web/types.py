"""What travels over HTTP, as the structs that decode requests and encode answers.

The OpenAPI document is generated from these very types, so it cannot say anything else. The Python
client uses them too. Times are Unix seconds, durations are seconds, uids are integers below 2**53.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec

from trio_actor_graph.checks import TIMEOUT_SECONDS_MAX
from trio_actor_graph.graph.states import GraphState, TaskState

BATCH_TASKS_MAX: Final = 10_000
"""How many tasks one request may push: a second of work for the server, and a body of megabytes."""

PAGE_MAX: Final = 1_000
"""How many items one page may have."""

PAGE_DEFAULT: Final = 100
"""How many it has if nothing is said."""

CONDITION_DEPTH_MAX: Final = 32
"""How deep conditions may be nested; nobody can read deeper ones."""

KEY_CHARACTERS_MAX: Final = 200
"""How long a client's key of a task may be."""

NAME_CHARACTERS_MAX: Final = 200
"""How long the name of a graph or task may be."""

WAIT_SECONDS_MAX: Final = 60.0
"""How long one request may wait for a result; proxies between cut what takes longer."""

Key: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_CHARACTERS_MAX)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]
Uid: TypeAlias = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]

TaskRef: TypeAlias = Uid | Key
"""A task: its uid, or the key that the same request gives to one of its new tasks."""


class StandsForTask:
    """What stands for a task of a server in a client. It is sent as the task's uid."""

    __slots__ = ()

    @property
    def uid(self) -> int:
        """The task's uid."""
        raise NotImplementedError


if TYPE_CHECKING:
    GivenTask: TypeAlias = TaskRef | StandsForTask
    """What a client may name a task by; nothing else than `TaskRef` is ever decoded."""
else:
    GivenTask = TaskRef

_DECODED: Final[frozenset[type]] = frozenset({int, str})
"""Of what types a `TaskRef` is."""


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a request: a misspelt field is an error, not a default."""


# ---- requests ---------------------------------------------------------------------------------


class TasksCondition(Strict, frozen=True):
    """At least `at_least` (by default all) of the tasks have succeeded, or completed in any way.

    Exactly one of `succeeded`, `completed`, `all_of` and `any_of` is given.

    Attributes:
        succeeded: tasks that are to have succeeded. In the client a `RemoteTask` names itself.
        completed: tasks that are to have ended in any way.
        at_least: how many of them; by default all.
        all_of: conditions that are all to hold.
        any_of: conditions of which one is to hold.
    """

    succeeded: Annotated[tuple[GivenTask, ...], msgspec.Meta(min_length=1)] | None = None
    completed: Annotated[tuple[GivenTask, ...], msgspec.Meta(min_length=1)] | None = None
    at_least: Annotated[int, msgspec.Meta(ge=1)] | None = None
    all_of: Annotated[tuple[TasksCondition, ...], msgspec.Meta(min_length=1)] | None = None
    any_of: Annotated[tuple[TasksCondition, ...], msgspec.Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.succeeded is not None:
            self._name_by_uids("succeeded", self.succeeded)
        if self.completed is not None:
            self._name_by_uids("completed", self.completed)

    def _name_by_uids(self, field: str, refs: Any) -> None:
        if isinstance(refs, StandsForTask):
            raise TypeError(f"{field} takes a tuple of tasks: {field}=({refs!r},)")
        if not _DECODED.issuperset(map(type, refs)):  # never where a server decodes it
            uids = tuple(ref.uid if isinstance(ref, StandsForTask) else ref for ref in refs)
            msgspec.structs.force_setattr(self, field, uids)


if TYPE_CHECKING:
    GivenCondition: TypeAlias = TasksCondition | StandsForTask
    """What a client may give as a condition: a task means that it has succeeded."""
else:
    GivenCondition = TasksCondition


class RetryOptions(Strict, frozen=True):
    """How often a failed attempt is tried again, and how long after: a `RetryPolicy` as JSON.

    The n-th retry comes `delay_seconds * factor ** (n - 1)` after the failure, at most
    `delay_seconds_max`, less a random part of up to `jitter` of it.

    Attributes:
        retries: how many failed attempts are answered by another one.
        delay_seconds: how long after the first failure.
        factor: how much longer after each further one.
        delay_seconds_max: and how long at most.
        jitter: the part of the delay, 0 to 1, that is taken off at random, so that tasks that
            failed together do not come back together.
    """

    retries: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=TIMEOUT_SECONDS_MAX)] = 0.0
    factor: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 2.0
    delay_seconds_max: Annotated[float, msgspec.Meta(ge=0, le=TIMEOUT_SECONDS_MAX)] = 60.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class NewTask(Strict, frozen=True):
    """One task to push.

    Attributes:
        function: the registered name of its function.
        key: what this request's other tasks call it; also returned with its uid.
        args, kwargs: arguments as JSON. The object ``{"$result": TASK}``, anywhere in them, stands
            for the result of a task, and makes it a predecessor; ``{"$literal": VALUE}`` is VALUE
            as it stands, for data that happens to look like that.
        waits_on: a condition beside those results. In the client a `RemoteTask` may stand here, and
            means that it has succeeded.
        name: for people; by default the function's.
        priority: of the tasks that are ready, those with larger numbers run first; among equals
            those that were ready first. It takes no slot from a task that runs.
        retries: how often a failed attempt is tried again; or also how long after. By default what
            the function asks for, and that is not at all if it does not say.
        timeout_seconds: how long one attempt may run.
        worker_loop: where it runs; by default where its function is assigned.
        keep_result: in a graph with `keep_results` "needed": its result is kept until the graph is
            closed, for clients to read.
    """

    function: Name
    key: Key | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    waits_on: GivenCondition | None = None
    name: Name | None = None
    priority: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] = 0
    retries: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | RetryOptions | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    worker_loop: Name | None = None
    keep_result: bool = False


class NewGraph(Strict, frozen=True):
    """A graph to create, with its first tasks: all of it happens, or nothing.

    Attributes:
        name: for people; by default "graph-N".
        tasks: all of them are created, or the graph is not.
        on_failure: what a failure does that no `completed` condition waits for. "continue": it
            stays on its task. "cancel": the first one cancels the graph, which can be read until it
            is deleted, and takes no more tasks.
        keep_results: "all" until the graph is deleted; or "needed", which releases a result when no
            task that has not ended waits for it, no client is waiting for it, and its task was not
            pushed with `keep_result`. Tasks of such a graph cannot be retried by hand.
        stored_bytes_max: how many bytes of encoded results the graph keeps; a task whose result has
            no room fails. By default half of the machine's memory.
    """

    name: Name | None = None
    tasks: Annotated[tuple[NewTask, ...], msgspec.Meta(max_length=BATCH_TASKS_MAX)] = ()
    on_failure: Literal["continue", "cancel"] = "continue"
    keep_results: Literal["all", "needed"] = "all"
    stored_bytes_max: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None


class NewTasks(Strict, frozen=True):
    """Tasks to push into a graph: all of them, or none."""

    tasks: Annotated[tuple[NewTask, ...], msgspec.Meta(min_length=1, max_length=BATCH_TASKS_MAX)]


class Cancellation(Strict, frozen=True):
    """How a task is cancelled: with all that waits on it, or alone."""

    successors: bool = False


class NewPredecessor(Strict, frozen=True):
    """What a waiting task is to wait for as well."""

    waits_on: TasksCondition


# ---- answers ----------------------------------------------------------------------------------


class Graph(msgspec.Struct, frozen=True):
    """A task graph.

    Attributes:
        counts: tasks by state.
        stored_bytes: how many bytes of encoded results it keeps now.
        on_failure: what a failure does that nobody has seen; "raise" only in graphs of the app, to
            which it is told when the app leaves the graph.
        keep_results: which results are kept.
        stored_bytes_max: how many bytes of them there may be.
        cancelled_because: the task whose failure has cancelled it, by `on_failure` "cancel".
        is_remote: it was created over HTTP, and can be deleted over HTTP.
        created_at, ended_at: when it was opened; when its last task ended, None while some run.
        story: what waits on what, if it is stalled.
        log_lines_dropped: how many lines of its logs had no room.
    """

    uid: int
    name: str
    state: GraphState
    counts: dict[TaskState, int]
    stored_bytes: int
    is_remote: bool
    created_at: float | None
    ended_at: float | None
    story: str | None = None
    log_lines_dropped: int = 0
    on_failure: Literal["raise", "continue", "cancel"] = "continue"
    keep_results: Literal["all", "needed"] = "all"
    stored_bytes_max: int | None = None
    cancelled_because: int | None = None


class PushedTask(msgspec.Struct, frozen=True):
    """A task that was pushed, in the order of the request."""

    uid: int
    key: str | None


class CreatedGraph(msgspec.Struct, frozen=True):
    """The answer to `NewGraph`."""

    graph: Graph
    tasks: tuple[PushedTask, ...]


class PushedTasks(msgspec.Struct, frozen=True):
    """The answer to `NewTasks`."""

    tasks: tuple[PushedTask, ...]


class GraphPage(msgspec.Struct, frozen=True):
    """Some graphs, oldest first. `next_cursor` is None at the end."""

    graphs: tuple[Graph, ...]
    next_cursor: str | None


class TaskSummary(msgspec.Struct, frozen=True):
    """A task in a list.

    Attributes:
        function: the name of its function: as it is registered or, if it is not, its own.
        attempt: how many attempts were given to a worker so far.
        worker: where it runs, or last ran: "loop/index".
        created_at, began_at, ended_at: Unix seconds: when it was created, when its last attempt
            began, and when the task ended.
        seconds: how long its last attempt took; so far, while it runs.
        outcome: how that ended, as in `AttemptInfo`; None for none, and while it runs.
        error: the first line of what went wrong.
        creator: the task that created it; None if the app or a client did.
        predecessors: what it looks at; cut after `PAGE_MAX`.
    """

    uid: int
    name: str
    function: str
    state: TaskState
    worker_loop: str
    attempt: int
    worker: str | None
    created_at: float | None
    began_at: float | None
    ended_at: float | None
    seconds: float | None
    error: str | None
    creator: int | None
    predecessors: tuple[int, ...]
    outcome: str | None = None


class TaskPage(msgspec.Struct, frozen=True):
    """Some tasks of a graph in the order of their creation.

    Attributes:
        next_cursor: for the next page; None at the end.
        last_event_id: events after this one are not in it yet: where to begin to follow.
    """

    tasks: tuple[TaskSummary, ...]
    next_cursor: str | None
    last_event_id: str


class AttemptInfo(msgspec.Struct, frozen=True):
    """One attempt to run a task.

    Attributes:
        began_at, ended_at: of one that was cut off, which reports no end (it was cancelled, or past
            its time limit in a plain function, or its worker was lost): when it was given to the
            worker, and when it counted no more.
        outcome: "running", "succeeded", "returned a task" (as which the task ends), "failed",
            "timed out", "cancelled" or "worker lost".
        error: what went wrong, with the remote traceback.
    """

    number: int
    worker: str | None
    began_at: float | None
    ended_at: float | None
    outcome: str
    error: str | None = None


class TaskInfo(msgspec.Struct, frozen=True):
    """All there is to know of a task, but its result and its logs.

    Attributes:
        waits_on: its condition, arguments included, as one could have written it; None for none.
        is_waits_on_cut: it is nested deeper than `CONDITION_DEPTH_MAX`; what is further down is
            left out, and an empty condition stands there.
        successors: the tasks whose condition looks at it; cut after `PAGE_MAX`.
        returned: the task as which it ended, or will end.
        traceback: of a failed task, as the worker saw it.
        story: what `explain` says.
    """

    task: TaskSummary
    graph_uid: int
    priority: int
    retries: int
    timeout_seconds: float | None
    waits_on: TasksCondition | None
    successors: tuple[int, ...]
    returned: int | None
    attempts: tuple[AttemptInfo, ...]
    traceback: str | None
    story: str
    is_waits_on_cut: bool = False


class Explanation(msgspec.Struct, frozen=True):
    """Why a task is in the state it is in."""

    uid: int
    state: TaskState
    story: str


class Result(msgspec.Struct, frozen=True):
    """The result of a task that succeeded."""

    uid: int
    value: Any


class Pending(msgspec.Struct, frozen=True):
    """A result that is not there yet (202)."""

    uid: int
    state: TaskState


class LogEntry(msgspec.Struct, frozen=True):
    """One line that a task has logged, printed or written to stderr.

    Attributes:
        number: grows with each line; the cursor.
        exception: the traceback logged with it.
        pathname, line_number: the code that logged it.
        extra: what was logged beside the text, as text.
    """

    number: int
    created_at: float
    level: int
    level_name: str
    logger: str
    text: str
    exception: str | None
    graph_uid: int | None
    task_uid: int | None
    task_name: str
    attempt: int
    worker: str
    pathname: str
    line_number: int
    extra: dict[str, str]


class LogPage(msgspec.Struct, frozen=True):
    """Lines in the order of their arrival.

    Attributes:
        next_cursor: where to go on later; also at the end, for lines still to come.
        is_end: there are no more at the moment.
        dropped: how many lines of the graph had no room and are gone.
    """

    lines: tuple[LogEntry, ...]
    next_cursor: str
    is_end: bool
    dropped: int


class HeldAttempt(msgspec.Struct, frozen=True):
    """What a worker holds: a task given to it, begun or not."""

    graph_uid: int
    task_uid: int
    name: str
    attempt: int
    given_at: float | None
    is_awaiting: bool


class Worker(msgspec.Struct, frozen=True):
    """A worker process.

    Attributes:
        name: "loop/index".
        pid: None while it starts.
        cpu_seconds: user and system time it has used, None where nobody can tell.
        memory_bytes: its resident memory, None where nobody can tell.
        held: how many attempts it holds; `running` lists them, cut after `PAGE_MAX`.
    """

    worker_id: int
    name: str
    worker_loop: str
    pid: int | None
    is_ready: bool
    slots: int
    held: int
    cpu_seconds: float | None
    memory_bytes: int | None
    running: tuple[HeldAttempt, ...]


class Workers(msgspec.Struct, frozen=True):
    """The workers there are now."""

    workers: tuple[Worker, ...]


class TaskType(msgspec.Struct, frozen=True):
    """A registered function: what may be named in `NewTask.function`.

    Attributes:
        signature: its parameters as Python shows them.
        summary: the first line of its docstring.
    """

    name: str
    worker_loop: str
    is_async: bool
    signature: str
    summary: str | None


class TaskTypes(msgspec.Struct, frozen=True):
    """All registered functions."""

    task_types: tuple[TaskType, ...]


class CriticalStep(msgspec.Struct, frozen=True):
    """One task of the critical path.

    Attributes:
        because: what it could not begin before: its creation, or the end of the step before.
        waited_seconds: from when it could have begun until its last attempt did.
        seconds: how long that ran; for one that created the next, until it did so.
    """

    uid: int
    name: str
    worker: str
    because: Literal["created by the app", "created by a task", "predecessor", "returned"]
    waited_seconds: float
    seconds: float
    attempts: int


class CriticalPath(msgspec.Struct, frozen=True):
    """The tasks that made the run as long as it was, first to last."""

    seconds: float
    steps: tuple[CriticalStep, ...]


class Health(msgspec.Struct, frozen=True):
    """The server answers, and these are its versions."""

    status: Literal["ok"]
    version: str
    graphs: int
    workers: int


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error, after RFC 9457 (`application/problem+json`).

    Attributes:
        type: which kind of problem: a relative URI such as "/problems/unknown-graph".
        title: the same for every problem of the kind.
        detail: what it was this time.
        instance: the path that was asked for.
        errors: the places of a batch that are wrong: their JSON path and what is wrong.
        error_type, traceback: of a task's failure: the name of its exception, the remote traceback.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    errors: tuple[ProblemPlace, ...] = ()
    error_type: str = ""
    traceback: str = ""


class ProblemPlace(msgspec.Struct, frozen=True):
    """One place in a request, "$.tasks[3].waits_on", and what is wrong there."""

    path: str
    detail: str


# ---- events -----------------------------------------------------------------------------------


class TaskEvent(msgspec.Struct, frozen=True, tag="task", tag_field="kind"):
    """A task came to a state: the data of the SSE event "task".

    Attributes:
        happening: what brought it there ("created", "given to a worker", "function raised", ...).
        at: Unix seconds, when the coordinator told of it: some milliseconds later than it was.
        attempt: the number of its attempt, counted from 1; 0 before the first.
        began_at, seconds: when the attempt began that has ended by this, and how long it took.
        creator: with "created" only.
        predecessors: with "created", and with "predecessor added": then all it has now.
    """

    graph_uid: int
    uid: int
    name: str
    function: str
    state: TaskState
    happening: str
    at: float
    attempt: int = 0
    worker: str | None = None
    worker_loop: str = ""
    began_at: float | None = None
    seconds: float | None = None
    error: str | None = None
    creator: int | None = None
    predecessors: tuple[int, ...] = ()


class GraphEvent(msgspec.Struct, frozen=True, tag="graph", tag_field="kind"):
    """A graph was opened, finished (all tasks ended), cancelled, stalled or closed."""

    graph_uid: int
    name: str
    happening: Literal["opened", "finished", "cancelled", "stalled", "closed"]
    at: float


class WorkerEvent(msgspec.Struct, frozen=True, tag="worker", tag_field="kind"):
    """A worker is starting, ready, or gone ("lost": nobody had asked it to end)."""

    worker_id: int
    name: str
    worker_loop: str
    happening: Literal["starting", "ready", "lost", "ended"]
    at: float
    pid: int | None = None


class LogEvent(msgspec.Struct, frozen=True, tag="log", tag_field="kind"):
    """A line of a log arrived."""

    line: LogEntry


class GapEvent(msgspec.Struct, frozen=True, tag="gap", tag_field="kind"):
    """Events are gone: the reader was too slow, or came back too late. Read the state anew.

    Attributes:
        missed: how many; None if nobody has counted them.
    """

    missed: int | None


Event: TypeAlias = TaskEvent | GraphEvent | WorkerEvent | LogEvent | GapEvent
