"""The messages that cross between the coordinator and a worker, all of them.

Tagged msgspec structs as arrays: half a microsecond each way, and an unknown tag, a missing field
or a wrong type is a decoding error, never a guess. A frame is a list of them; order within a frame
and between frames of one link is the order in which things happened.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from trio_actor_graph.graph.conditions import AnyCondition
from trio_actor_graph.graph.failures import Raised, TimedOut
from trio_actor_graph.graph.retrying import RetrySpec
from trio_actor_graph.outcome import TaskOutcome

# ---- both ways -----------------------------------------------------------------------------------


class DefineFunction(msgspec.Struct, frozen=True, tag=1, array_like=True, gc=False):
    """From now on `function_id` means this function.

    Attributes:
        qualified_name: `module:qualname`, by which the coordinator knows assigned functions again.
        payload: its encoded form; empty where it may only be named, and does not run there yet.
    """

    function_id: int
    qualified_name: str
    payload: bytes


# ---- coordinator to worker -----------------------------------------------------------------------


class LogSettings(msgspec.Struct, frozen=True, array_like=True):
    """Which log lines a worker sends: those that the app would log, and perhaps more.

    Attributes:
        root_level: the level of the app's root logger.
        levels: those of its other loggers that have one of their own.
        disabled_level: up to where `logging.disable` has disabled all of them.
        disabled: the names of those that are disabled.
        sent_level: from which level on all lines are sent, whatever the app's levels; None for no
            such level.
        captures_output: what tasks write to stdout and stderr is sent too, line by line.
    """

    root_level: int
    levels: dict[str, int]
    disabled_level: int = 0
    disabled: tuple[str, ...] = ()
    sent_level: int | None = None
    captures_output: bool = False


class StartUp(msgspec.Struct, frozen=True, tag=10, array_like=True):
    """The first message: what kind of worker this is.

    Attributes:
        first_id: tasks and functions that this worker makes are numbered from here.
        begun_path: the file in which it notes what it runs; see `begun.py`.
        heartbeat_seconds: how often it notes there that it is alive; None for never.
        setup: the encoded `setup` function of the loop, if it has one.
        functions: the loop's own functions, loaded before the worker counts as ready.
        registered: the functions that tasks may name by string.
        loops: the names of all worker loops.
        logs: which log lines it sends; None for none, and then `logging` is left alone.
        carried: the context variables of the user's that go with created tasks; see `carrying.py`.
    """

    coordinator_id: int
    worker_id: int
    worker_index: int
    loop: str
    slots: int
    first_id: int
    begun_path: str
    heartbeat_seconds: float | None
    setup: bytes | None
    functions: tuple[DefineFunction, ...]
    registered: frozenset[str]
    loops: frozenset[str]
    logs: LogSettings | None = None
    carried: tuple[str, ...] = ()


class RunAttempt(msgspec.Struct, frozen=True, tag=11, array_like=True, gc=False):
    """Run a task.

    Attributes:
        attempt_number: counts its attempts from 1.
        retry_on: the encoded exception types or predicate that say which exceptions are retried;
            None for all.
        predecessors: how those have ended that it waited for; in the places of those that it
            follows stands something, or there are none if it follows them all.
        follows: attempts, given to the worker ahead of this one, whose success it waits for there;
            their results take the places of those `predecessors` that have not ended.
        context: what was captured of its creator's context; see `carrying.py`.
    """

    attempt_id: int
    uid: int
    attempt_number: int
    name: str
    function_id: int
    priority: int
    timeout_seconds: float | None
    arguments: bytes
    retry_on: bytes | None
    predecessors: tuple[TaskOutcome, ...]
    follows: tuple[int, ...] = ()
    context: bytes | None = None


class CancelAttempt(msgspec.Struct, frozen=True, tag=12, array_like=True, gc=False):
    """Nobody wants what the attempt brings back: stop it, or do not begin it."""

    attempt_id: int


class ReturnAttempts(msgspec.Struct, frozen=True, tag=13, array_like=True, gc=False):
    """Give back up to `count` attempts that have not begun."""

    count: int


class AwaitedEnded(msgspec.Struct, frozen=True, tag=14, array_like=True, gc=False):
    """A task that an attempt awaits has ended."""

    attempt_id: int
    outcome: TaskOutcome


class StopWorker(msgspec.Struct, frozen=True, tag=15, array_like=True):
    """Close the worker's context and exit; nothing more will be sent.

    Attributes:
        grace_seconds: how long plain functions that still run are waited for.
    """

    grace_seconds: float = 0.0


class ForgetFunctions(msgspec.Struct, frozen=True, tag=16, array_like=True, gc=False):
    """No open graph uses these functions; answered by `FunctionsForgotten`."""

    function_ids: tuple[int, ...]


# ---- worker to coordinator -----------------------------------------------------------------------


class WorkerReady(msgspec.Struct, frozen=True, tag=20, array_like=True):
    """Functions are loaded and `setup` has been run."""

    pid: int


class WorkerUnable(msgspec.Struct, frozen=True, tag=21, array_like=True):
    """Loading a function or running `setup` failed. `text` holds the traceback."""

    text: str


class AttemptSucceeded(msgspec.Struct, frozen=True, tag=22, array_like=True, gc=False):
    """A function returned.

    Attributes:
        seconds: how long it ran, without waiting for a slot.
        began_at: when it began, in seconds of `time.perf_counter`, which all processes of a machine
            share.
    """

    attempt_id: int
    value: bytes
    seconds: float
    began_at: float = 0.0


class AttemptFailed(msgspec.Struct, frozen=True, tag=23, array_like=True, gc=False):
    """A function raised, or ran into its time limit.

    Attributes:
        is_final: the task's `retry_on` does not want this exception retried.
    """

    attempt_id: int
    failure: Raised | TimedOut
    seconds: float
    is_final: bool = False
    began_at: float = 0.0


class AttemptReturnedTask(msgspec.Struct, frozen=True, tag=24, array_like=True, gc=False):
    """A function returned a task, as which its own is going to end."""

    attempt_id: int
    uid: int
    seconds: float
    began_at: float = 0.0


class AttemptStopped(msgspec.Struct, frozen=True, tag=25, array_like=True, gc=False):
    """A cancelled attempt has ended, or was never begun."""

    attempt_id: int


class AttemptOverdue(msgspec.Struct, frozen=True, tag=26, array_like=True, gc=False):
    """A plain function is past its time limit and cannot be stopped from within."""

    attempt_id: int


class AttemptsReturned(msgspec.Struct, frozen=True, tag=27, array_like=True, gc=False):
    """These attempts were not begun and are the coordinator's again."""

    attempt_ids: tuple[int, ...]


class FollowerReturned(msgspec.Struct, frozen=True, tag=35, array_like=True, gc=False):
    """An attempt that follows others was not begun and is the coordinator's again.

    Its task is to wait for more, as an `AddPredecessor` behind this says; or what it follows did
    not wait in the worker any more when it arrived.
    """

    attempt_id: int


class CreateTask(msgspec.Struct, frozen=True, tag=28, array_like=True, gc=False):
    """A running attempt has created a task in its graph.

    Attributes:
        function: a function id, or the name of a registered function.
        inputs: the uids of the tasks inside `arguments`.
        context: what was captured of the context; see `carrying.py`.
    """

    attempt_id: int
    uid: int
    function: int | str
    is_async: bool
    name: str
    arguments: bytes
    inputs: tuple[int, ...]
    condition: AnyCondition | None
    priority: int
    retries: RetrySpec | None
    timeout_seconds: float | None
    worker_loop: str | None
    retry_on: bytes | None = None
    context: bytes | None = None


class AddPredecessor(msgspec.Struct, frozen=True, tag=29, array_like=True, gc=False):
    """A running attempt makes a task of its graph wait for more."""

    attempt_id: int
    uid: int
    condition: AnyCondition


class CancelTask(msgspec.Struct, frozen=True, tag=30, array_like=True, gc=False):
    """A running attempt cancels a task of its graph, and perhaps all that waits on it."""

    attempt_id: int
    uid: int
    successors: bool = False


class AwaitTask(msgspec.Struct, frozen=True, tag=31, array_like=True, gc=False):
    """A running attempt waits for a task of its graph, its slot given back meanwhile.

    Attributes:
        is_seen: it asks for the result, so that a failure counts as seen.
    """

    attempt_id: int
    uid: int
    is_seen: bool


class StopAwaiting(msgspec.Struct, frozen=True, tag=32, array_like=True, gc=False):
    """A running attempt no longer waits for the task."""

    attempt_id: int
    uid: int


class WorkerStopping(msgspec.Struct, frozen=True, tag=33, array_like=True):
    """The worker has heard `StopWorker` and closes what it opened."""


class FunctionsForgotten(msgspec.Struct, frozen=True, tag=34, array_like=True, gc=False):
    """The worker has forgotten these functions, and will not name them again."""

    function_ids: tuple[int, ...]


class Logged(msgspec.Struct, frozen=True, tag=36, array_like=True, gc=False):
    """Something was logged or, if that is asked for, written to stdout or stderr.

    Attributes:
        attempt_id: the attempt in which; None outside of all tasks. Then there are no `uid` and
            `attempt_number` either.
        text: the message with its arguments in place.
        exception: the traceback, as text.
        stack: what `stack_info=True` asks for, as text.
        created: when, in seconds since 1970.
        details: what is no text: an encoded dict with the `extra` attributes and, where the message
            is not a string, the message itself as "msg". Empty for none.
        dropped: how many lines were dropped before it, for lack of room.
    """

    attempt_id: int | None
    uid: int
    attempt_number: int
    logger: str
    level: int
    level_name: str
    text: str
    exception: str | None
    stack: str | None
    created: float
    pathname: str
    line_number: int
    function: str
    thread: str
    details: bytes = b""
    dropped: int = 0


ToWorker: TypeAlias = (
    DefineFunction
    | StartUp
    | RunAttempt
    | CancelAttempt
    | ReturnAttempts
    | AwaitedEnded
    | StopWorker
    | ForgetFunctions
)
FromWorker: TypeAlias = (
    DefineFunction
    | WorkerReady
    | WorkerUnable
    | AttemptSucceeded
    | AttemptFailed
    | AttemptReturnedTask
    | AttemptStopped
    | AttemptOverdue
    | AttemptsReturned
    | FollowerReturned
    | CreateTask
    | AddPredecessor
    | CancelTask
    | AwaitTask
    | StopAwaiting
    | WorkerStopping
    | FunctionsForgotten
    | Logged
)
