"""The log lines of tasks at the coordinator: whose they are, kept with their graph, and handed on.

Lines come from workers as messages, and from tasks in this process as records that the app's
`logging` has already; `log_delivery.py` has what is made of one line.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from itertools import count

import trio

from trio_actor_graph.errors import ProtocolError
from trio_actor_graph.graph.records import TaskRecord, WorkerRecord
from trio_actor_graph.graph.scheduler import Scheduler
from trio_actor_graph.handles import TaskGraph
from trio_actor_graph.log_delivery import (
    LogDelivery,
    Origin,
    check_logged,
    details_of,
    line_of,
    line_of_record,
)
from trio_actor_graph.logs import LogLine
from trio_actor_graph.messages import Logged, RunAttempt
from trio_actor_graph.observers import Watch


class LogKeeping:
    """What one coordinator does with the lines of its tasks.

    Args:
        delivery: where lines go.
        scheduler: knows tasks and workers.
        graphs: the open graphs, which keep their lines.
        watch: whose observers are told.
        pid_of: the process of a worker.
    """

    def __init__(
        self,
        delivery: LogDelivery,
        scheduler: Scheduler,
        graphs: Mapping[int, TaskGraph],
        watch: Watch,
        pid_of: Callable[[WorkerRecord], int | None],
    ):
        self.delivery = delivery
        self._scheduler = scheduler
        self._graphs = graphs
        self._watch = watch
        self._pid_of = pid_of
        self._numbers = count(1)
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def take(self, worker_id: int, message: Logged) -> None:
        """A worker has sent a line: keep it, and hand it to the app's `logging`.

        Raises:
            ProtocolError: it makes no sense, or is of another worker's attempt.
        """
        check_logged(message)
        task = self._task_of(worker_id, message)
        origin = self._origin(worker_id, task, message.uid, message.attempt_number)
        details = details_of(message)
        line = line_of(next(self._numbers), message, origin, details)
        graph = None if task is None else self._graphs.get(task.graph.uid)
        if graph is not None:
            graph.log_store.dropped += message.dropped
        self._keep(line)
        self.delivery.hand_over(message, origin, details)

    def note_record(self, worker_id: int, message: RunAttempt, record: logging.LogRecord) -> None:
        """A task in this process logs something, in whatever thread: say whose record it is."""
        attempt = self._scheduler.attempts.get(message.attempt_id)
        task = self._find_task(message.uid) if attempt is None else attempt.task
        origin = self._origin(worker_id, task, message.uid, message.attempt_number)
        record.__dict__.update(origin._asdict())
        # Here, where what cannot be shown raises in nobody's way: see `LocalEngine`.
        line = line_of_record(next(self._numbers), record, origin)
        if threading.get_ident() == self._thread:
            self._keep(line)
        else:
            self._token.run_sync_soon(self._keep, line)

    def _keep(self, line: LogLine) -> None:
        """Keep a line, if its graph is open."""
        graph = None if line.graph_uid is None else self._graphs.get(line.graph_uid)
        if graph is not None:
            graph.log_store.put(line)
            self._watch.tell_line(line)

    def _task_of(self, worker_id: int, message: Logged) -> TaskRecord | None:
        """The task that wrote a line, also in an attempt of the past; None if it is not known."""
        if message.attempt_id is None:
            if message.uid != 0:
                raise ProtocolError(f"a line of task {message.uid}, but of no attempt")
            return None
        attempt = self._scheduler.attempts.get(message.attempt_id)
        if attempt is None:
            return self._find_task(message.uid)
        if attempt.worker.worker_id != worker_id or attempt.task.uid != message.uid:
            raise ProtocolError(f"a line of {attempt.task.label} in {attempt.worker.name}")
        return attempt.task

    def _find_task(self, uid: int) -> TaskRecord | None:
        """A task of an open graph."""
        tasks = (graph.record.tasks.get(uid) for graph in tuple(self._graphs.values()))
        return next((task for task in tasks if task is not None), None)

    def _origin(self, worker_id: int, task: TaskRecord | None, uid: int, attempt: int) -> Origin:
        worker = self._scheduler.workers.get(worker_id)
        if worker is None:
            return self.delivery.origin(task, uid, attempt, "", None)
        return self.delivery.origin(task, uid, attempt, worker.name, self._pid_of(worker))
