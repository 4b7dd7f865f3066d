"""Every error this package raises, by who has to act on it.

TrioActorGraphError
├── GraphError             the caller: wrong use, refused before anything changed
│   └── CycleError         the caller: tasks that would wait on each other for ever
├── GraphStalled           the caller: a graph in which nothing can run any more
├── TaskFailed             the task: its function raised
│   ├── TaskTimeout        the task: it ran longer than `timeout_seconds`
│   ├── ResultStoreFull    the graph: the results it keeps have no room for one more
│   └── WorkerLost         the machinery: its process died under it, too often
├── TaskSkipped            a task before it: its scheduling condition can no longer hold
├── TaskCancelled          whoever cancelled it
├── ResultReleased         the caller: the result is no longer kept
├── WorkerStartError       the worker loop: its import or `setup` failed
├── PayloadError           the value: it cannot travel between processes
├── ProtocolError          the peer: what came over a link is not a frame of messages
└── InternalError          ourselves: please report it
"""

from __future__ import annotations


class TrioActorGraphError(Exception):
    """The base of every error raised by this package."""


class GraphError(TrioActorGraphError):
    """The package was used wrongly; the message names the thing and the value.

    It is raised at the call that was wrong, and nothing has changed.
    """


class CycleError(GraphError):
    """The wait asked for would close a cycle; the message lists the tasks on it."""


class GraphStalled(TrioActorGraphError):
    """Nothing in the graph runs, nothing is ready, and something still waits.

    The message names what waits on what. The graph has been cancelled.
    """


class PayloadError(GraphError):
    """A value cannot travel between processes; the message names its type and where it sat."""


class TaskFailed(TrioActorGraphError):
    """A task ended in the state "failed".

    The text holds the traceback of the process where it happened; ``__cause__`` is the
    original exception where that could be rebuilt, else None.

    Attributes:
        task_uid: the task's `uid`.
        task_name: the task's `name`.
        remote_traceback: the traceback's text as formatted in the worker, or "".
    """

    def __init__(self, message: str, *, task_uid: int, task_name: str, remote_traceback: str = ""):
        self.task_uid = task_uid
        self.task_name = task_name
        self.remote_traceback = remote_traceback
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        made_from = (type(self), self.args[0], self.task_uid, self.task_name, self.remote_traceback)
        return _task_failed, made_from, dict(vars(self))

    def __str__(self) -> str:
        message = str(self.args[0])
        if not self.remote_traceback:
            return message
        return f"{message}\n\n{self.remote_traceback.rstrip()}"


def _task_failed(
    kind: type[TaskFailed], message: str, uid: int, name: str, remote_traceback: str
) -> TaskFailed:
    """Make one from its pickle, which cannot hold keyword arguments."""
    return kind(message, task_uid=uid, task_name=name, remote_traceback=remote_traceback)


class TaskTimeout(TaskFailed):
    """A task ran longer than its `timeout_seconds` and was stopped."""


class ResultStoreFull(TaskFailed):
    """The task's result had no room in its graph's store; the message gives the bytes.

    Raise `stored_bytes_max` of `open_graph`, or have it release what is no longer needed by
    `keep_results="needed"`.
    """


class WorkerLost(TaskFailed):
    """The processes that ran a task died under it as often as is allowed.

    The message tells of the last one. The task may have had side effects.

    Attributes:
        pid: the last worker's process; None if that is not known.
        exit_status: its exit status; negative: the signal that ended it; None if not known.
        attempts: how many attempts the task had in all.
        stderr: the last lines that this process wrote to stderr.
    """

    pid: int | None = None
    exit_status: int | None = None
    attempts: int = 0
    stderr: str = ""


class ResultReleased(TrioActorGraphError):
    """The result is no longer kept: the graph keeps what is needed, and nobody could ask for it."""


class TaskSkipped(TrioActorGraphError):
    """A task never ran because its scheduling condition can no longer be satisfied.

    ``__cause__`` is the error of the task at the root of it: `TaskFailed` or `TaskCancelled`.
    """


class TaskCancelled(TrioActorGraphError):
    """A task was cancelled before it ended by itself."""


class WorkerStartError(TrioActorGraphError):
    """A worker loop could not start: importing its functions or running its `setup` failed.

    The text holds the traceback of the worker process. The loop is not tried again; its tasks
    fail with this error.
    """


class ProtocolError(TrioActorGraphError):
    """What arrived over a link is not a frame of messages; the link has been closed."""


class InternalError(TrioActorGraphError):
    """A rule of the scheduler itself was broken: a bug in this package."""
