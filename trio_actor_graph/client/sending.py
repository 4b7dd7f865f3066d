"""What a client gives, as it is sent: a `RemoteTask` may stand where the API wants a condition.

Whatever cannot be meant is told here, in the words of the caller, and not by the server as a wrong
type at some place of a body that the caller has never seen.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trio_actor_graph.web.types import NewTask, RetryOptions, StandsForTask, TasksCondition


def tasks_as_sent(tasks: Iterable[NewTask]) -> tuple[NewTask, ...]:
    """Tasks to push, with conditions where tasks stand for them.

    Raises:
        TypeError: one is no `NewTask`, or a value in it cannot be meant.
    """
    return tuple([_task_as_sent(task) for task in tasks])


def condition_as_sent(waits_on: object) -> TasksCondition:
    """A condition; that it has succeeded, of a task.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(waits_on, StandsForTask):
        return TasksCondition(succeeded=(waits_on,))
    if isinstance(waits_on, TasksCondition):
        return waits_on
    raise TypeError(
        f"waits_on takes a TasksCondition or one RemoteTask, not {waits_on!r:.100}; "
        "of several tasks: TasksCondition(succeeded=(a, b))"
    )


def _task_as_sent(task: NewTask) -> NewTask:
    if not isinstance(task, NewTask):
        raise TypeError(f"tasks to push are NewTask, not {task!r:.100}")
    for name in ("function", "key", "name", "worker_loop"):
        value = getattr(task, name)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"NewTask.{name} takes a text, not {value!r:.100}")
    if not isinstance(task.retries, (int, RetryOptions, type(None))):
        raise TypeError(
            f"NewTask.retries takes a number or RetryOptions, not {task.retries!r:.100}"
        )
    if task.waits_on is None or isinstance(task.waits_on, TasksCondition):
        return task
    return msgspec.structs.replace(task, waits_on=condition_as_sent(task.waits_on))
