"""The two small machines: a task, and one attempt to run it. Their whole tables stand here.

A *task* is what a user created; it ends once, unless somebody asks to try it again. An *attempt* is
one try to run it in one worker. They are kept apart because they end at different times: cancelling
a task ends the task at once, while its attempt ends when the worker says so, and what that attempt
brings back is dropped because the task no longer points at it. `docs/lifecycle.md` is generated
from these tables.
"""

from __future__ import annotations

from typing import Final, Literal

TaskState = Literal["waiting", "ready", "running", "succeeded", "failed", "skipped", "cancelled"]
GraphState = Literal["running", "idle", "cancelled", "stalled", "closed"]
AttemptState = Literal["following", "assigned", "suspended", "cancelling", "ended"]

TERMINAL: Final[frozenset[TaskState]] = frozenset({"succeeded", "failed", "skipped", "cancelled"})
TASK_STATES: Final[tuple[TaskState, ...]] = (
    "waiting",
    "ready",
    "running",
    "succeeded",
    "failed",
    "skipped",
    "cancelled",
)

# (state, what happened) -> state. Whatever is not here is refused as an internal error.
TASK_TRANSITIONS: Final[dict[tuple[TaskState, str], TaskState]] = {
    ("waiting", "condition satisfied"): "ready",
    ("waiting", "condition can no longer hold"): "skipped",
    ("waiting", "cancelled"): "cancelled",
    ("waiting", "refused"): "failed",
    ("waiting", "returned task succeeded"): "succeeded",
    ("waiting", "returned task failed"): "failed",
    ("waiting", "returned task skipped"): "skipped",
    ("waiting", "returned task cancelled"): "cancelled",
    ("failed", "tried again"): "waiting",
    ("cancelled", "tried again"): "waiting",
    ("skipped", "may run after all"): "waiting",
    ("failed", "what it returned waits again"): "waiting",
    ("skipped", "what it returned waits again"): "waiting",
    ("cancelled", "what it returned waits again"): "waiting",
    ("ready", "given to a worker"): "running",
    ("ready", "cancelled"): "cancelled",
    ("ready", "worker loop cannot start"): "failed",
    ("running", "function returned"): "succeeded",
    ("running", "function returned a task"): "waiting",
    ("running", "function raised"): "failed",
    ("running", "function raised, retries left"): "ready",
    ("running", "given back unbegun"): "ready",
    ("running", "worker lost"): "ready",
    ("running", "worker lost too often"): "failed",
    ("running", "cancelled"): "cancelled",
}

ATTEMPT_TRANSITIONS: Final[dict[tuple[AttemptState, str], AttemptState]] = {
    ("following", "what it follows succeeded"): "assigned",
    ("assigned", "awaits a task"): "suspended",
    ("suspended", "awaits nothing more"): "assigned",
    ("following", "asked to stop"): "cancelling",
    ("assigned", "asked to stop"): "cancelling",
    ("suspended", "asked to stop"): "cancelling",
    ("assigned", "reported its end"): "ended",
    ("suspended", "reported its end"): "ended",
    ("cancelling", "reported its end"): "ended",
    ("cancelling", "stopped"): "ended",
    ("following", "given back unbegun"): "ended",
    ("assigned", "given back unbegun"): "ended",
    ("cancelling", "given back unbegun"): "ended",
    ("following", "worker lost"): "ended",
    ("assigned", "worker lost"): "ended",
    ("suspended", "worker lost"): "ended",
    ("cancelling", "worker lost"): "ended",
}
