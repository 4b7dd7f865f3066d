"""Graphs, tasks and attempts as spans of OpenTelemetry.

    what was current when the graph was opened
      graph NAME                  from its opening to its closing; current inside its block
        task NAME                 from its creation to its end
          attempt of NAME         from when it was given to a worker to its end
            whatever the function traces itself, in the worker
              task NAME           that it has created there

The trace context of an attempt travels to its worker with the task (`carrying.py`), so that what is
traced there has the right parent. The app decides what becomes of spans, by the tracer provider it
has set before it opens the coordinator; without one there are no spans, and no cost. A failure of
the tracing library ends the tracing, is told once, and harms nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, Status, StatusCode

from trio_actor_graph.carrying import trace_headers_in, with_trace_headers
from trio_actor_graph.clock import unix_seconds
from trio_actor_graph.complaints import complain
from trio_actor_graph.graph.failures import Failure, Raised, WorkerEnd
from trio_actor_graph.graph.reading import run_ended_by
from trio_actor_graph.graph.records import AttemptRecord, Move, TaskRecord
from trio_actor_graph.graph.states import TERMINAL
from trio_actor_graph.observers import GraphHappening, Observer
from trio_actor_graph.outcome import attempt_error

if TYPE_CHECKING:
    from trio_actor_graph.handles import TaskGraph

T = TypeVar("T")

_PREFIX = "trio_actor_graph"
_ENDS_NO_ATTEMPT = ("given to a worker", "condition satisfied")


def open_spans() -> Spans | None:
    """What makes spans; None if the app has set no tracer provider."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return Spans(trace.get_tracer(_PREFIX))


class Spans(Observer):
    """The spans of one coordinator.

    The coordinator asks it for two things that cannot wait until observers are told: the span of a
    graph, which is current in its block, and the trace context that goes with an attempt.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._is_broken = False
        self._graphs: dict[int, Span] = {}
        self._tasks: dict[TaskRecord, Span] = {}
        # All of each task: one that was to follow others may be given up without a word.
        self._attempts: dict[TaskRecord, dict[AttemptRecord, Span]] = {}

    @contextmanager
    def in_graph(self, graph: TaskGraph) -> Iterator[None]:
        """Begin the span of a graph, which is current inside."""
        token = self._guarded(lambda: self._open_graph(graph), None)
        try:
            yield
        finally:
            if token is not None:
                self._guarded(lambda: otel_context.detach(token), None)

    def begin_attempt(self, attempt: AttemptRecord, carried: bytes | None) -> bytes | None:
        """Begin the span of an attempt.

        Args:
            carried: what goes from the context of the task's creator into it.

        Returns:
            The same, with the attempt's span as the one that is current.
        """
        return self._guarded(lambda: self._begin_attempt(attempt, carried), carried)

    def on_moves(self, moves: Sequence[Move], at: float) -> None:
        self._guarded(lambda: self._take(moves, at), None)

    def _take(self, moves: Sequence[Move], at: float) -> None:
        for move in moves:
            task = move.task
            if move.happening == "created":
                self._task_span(task)
            elif move.attempt is not None and move.happening not in _ENDS_NO_ATTEMPT:
                self._end_attempt(move.attempt, move.happening, at, run_ended_by(move))
            if move.state in TERMINAL:
                self._end_task(task, at)

    def on_graph(self, graph: TaskGraph, happening: GraphHappening) -> None:
        self._guarded(lambda: self._note_graph(graph, happening), None)

    def _note_graph(self, graph: TaskGraph, happening: GraphHappening) -> None:
        span = self._graphs.get(graph.uid)
        if span is None or happening == "opened":
            return
        if happening != "closed":
            span.add_event(happening)
            if happening == "stalled":
                span.set_status(Status(StatusCode.ERROR, graph.stall_story))
            return
        del self._graphs[graph.uid]
        counts = {f"{_PREFIX}.tasks.{s}": n for s, n in graph.counts().items() if n}
        span.set_attributes(counts)
        for task in [task for task in self._tasks if task.graph is graph.record]:
            self._end_task(task, perf_counter())
        span.end()

    # ---- beginning ---------------------------------------------------------------------------

    def _open_graph(self, graph: TaskGraph) -> Any:
        span = self._tracer.start_span(
            f"graph {graph.name}",
            start_time=_nanoseconds_of(graph.opened_at),
            attributes={f"{_PREFIX}.graph.uid": graph.uid, f"{_PREFIX}.graph.name": graph.name},
        )
        self._graphs[graph.uid] = span
        return otel_context.attach(trace.set_span_in_context(span))

    def _task_span(self, task: TaskRecord) -> Span:
        span = self._tasks.get(task)
        if span is None:
            span = self._tasks[task] = self._tracer.start_span(
                f"task {task.spec.name}",
                context=self._parent_of(task),
                start_time=_nanoseconds(task.created_at or perf_counter()),
                attributes={
                    f"{_PREFIX}.task.uid": task.uid,
                    f"{_PREFIX}.task.name": task.spec.name,
                    f"{_PREFIX}.worker_loop": task.spec.loop,
                },
            )
        return span

    def _parent_of(self, task: TaskRecord) -> otel_context.Context:
        """What was current where it was created; else its creator, or the graph."""
        headers = trace_headers_in(getattr(task.call, "context", None))
        if headers:
            return propagate.extract(headers, otel_context.Context())
        span = self._graphs.get(task.graph.uid)
        if task.creator is not None and (attempts := self._attempts.get(task.creator)):
            span = next(reversed(attempts.values()))
        empty = otel_context.Context()
        return empty if span is None else trace.set_span_in_context(span, empty)

    def _begin_attempt(self, attempt: AttemptRecord, carried: bytes | None) -> bytes | None:
        task = attempt.task
        now = _nanoseconds(attempt.given_at or 0.0)
        parent = self._task_span(task)
        attempts = self._attempts.setdefault(task, {})
        span = attempts[attempt] = self._tracer.start_span(
            f"attempt of {task.spec.name}",
            context=trace.set_span_in_context(parent, otel_context.Context()),
            start_time=now,
            attributes={
                f"{_PREFIX}.task.uid": task.uid,
                f"{_PREFIX}.attempt.id": attempt.attempt_id,
                f"{_PREFIX}.worker": attempt.worker.name,
            },
        )
        # Its creator's baggage goes with it.
        captured = propagate.extract(trace_headers_in(carried) or {}, otel_context.Context())
        headers: dict[str, str] = {}
        propagate.inject(headers, trace.set_span_in_context(span, captured))
        return with_trace_headers(carried, headers)

    # ---- ending ------------------------------------------------------------------------------

    def _end_attempt(
        self,
        attempt: AttemptRecord,
        happening: str,
        at: float,
        run: tuple[float, float] | None = None,
    ) -> None:
        task = attempt.task
        span = self._attempts.get(task, {}).pop(attempt, None)
        if span is None:
            return
        span.set_attribute(f"{_PREFIX}.outcome", happening)
        if happening.startswith(("function raised", "worker lost")) and task.history:
            _tell_failure(span, task, task.history[-1].failure)
        ended = at
        if run is not None:
            began, ended = run
            if happening.startswith("function"):  # of what was cut off nobody knows
                span.add_event("began", timestamp=_nanoseconds(began))
        span.end(_nanoseconds(max(ended, attempt.given_at or 0.0)))

    def _end_task(self, task: TaskRecord, at: float) -> None:
        for attempt in list(self._attempts.get(task, ())):
            self._end_attempt(attempt, "given up", at)
        self._attempts.pop(task, None)
        span = self._tasks.pop(task, None)
        if span is not None:
            span.set_attribute(f"{_PREFIX}.task.state", task.state)
            if task.state == "failed":
                _tell_failure(span, task, cast("Failure", task.failure))
            span.end(_nanoseconds(task.ended_at or at))

    def _guarded(self, make: Callable[[], T], otherwise: T) -> T:
        """Do something with the tracing library, until it fails for the first time."""
        if self._is_broken:
            return otherwise
        try:
            return make()
        except Exception:
            self._is_broken = True
            complain(
                _PREFIX,
                logging.WARNING,
                "OpenTelemetry has failed, and no spans are made any more",
                exc_info=True,
            )
            return otherwise


def _tell_failure(span: Span, task: TaskRecord, failure: Failure | WorkerEnd) -> None:
    """Put a failure on a span: the exception that the function raised, or the one told instead."""
    if isinstance(failure, Raised):
        name, text, trace_text = failure.type_name, failure.text, failure.traceback
    else:
        error = attempt_error(failure, task.attempts, task.uid, task.spec.name)
        name = type(error).__name__
        text, _, trace_text = str(error).partition("\n")  # a worker's, where it could not start
    event = {"exception.type": name, "exception.message": text}
    if trace_text:
        event["exception.stacktrace"] = trace_text
    span.add_event("exception", event)
    span.set_status(Status(StatusCode.ERROR, f"{name}: {text}"))


def _nanoseconds(perf_counter_seconds: float) -> int:
    return _nanoseconds_of(unix_seconds(perf_counter_seconds))


def _nanoseconds_of(seconds: float) -> int:
    return int(seconds * 1e9)
