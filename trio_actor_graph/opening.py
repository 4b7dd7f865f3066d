"""Opening a coordinator in a trio program, and closing it in whatever way the block is left."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import trio

from trio_actor_graph.calls import AnyFunction
from trio_actor_graph.carrying import check_variables
from trio_actor_graph.coordinator import Coordinator
from trio_actor_graph.errors import GraphError
from trio_actor_graph.log_delivery import LogDelivery
from trio_actor_graph.logs import level_number
from trio_actor_graph.loops import WorkerLoop, as_registered, as_worker_loops

if TYPE_CHECKING:
    from trio_actor_graph.observe.spans import Spans


@asynccontextmanager
async def open_coordinator(
    worker_loops: Iterable[WorkerLoop] | Mapping[str, int] | None = None,
    *,
    functions: Iterable[AnyFunction] | Mapping[str, AnyFunction] | None = None,
    start: Literal["lazy", "eager"] = "lazy",
    log_level: int | str | None = None,
    capture_output: bool = False,
    carried_variables: Iterable[str] = (),
    record_times: bool = False,
) -> AsyncIterator[Coordinator]:
    """Open a coordinator in this trio program; leaving it stops its workers.

    An exception from the body, or cancellation, ends the workers at once.

    Args:
        worker_loops: the worker loops; or a mapping from loop name to concurrency; or None. A loop
            "default" with a process per core is added when there is none of that name.
        functions: functions that `create_task` may also name by string: by their own names, or by
            the keys of a mapping.
        start: "lazy" starts workers when there is work for them, "eager" starts all and waits.
        log_level: from which level on the lines that tasks log are sent by workers and kept, as
            `TaskGraph.logs`, even if the app's own levels do not let them to its handlers. By
            default what the app would log.
        capture_output: what tasks print, or write to `sys.stderr`, becomes log lines of
            theirs, of the loggers `trio_actor_graph.stdout` and `trio_actor_graph.stderr`.
        carried_variables: names of context variables, as "package.module:name", whose values go
            from whoever creates a task into the task.
        record_times: note when each task was created and ran, for `TaskGraph.trace`,
            `TaskGraph.critical_path` and pictures, at 8 % of the time and 200 bytes of memory for
            each of the shortest tasks. An HTTP server and OpenTelemetry have it noted anyway.

    Raises:
        GraphError: a worker loop, a function or an option is not what it should be.
        WorkerStartError: with `start="eager"`, a worker loop cannot start.
    """
    if start not in ("lazy", "eager"):
        raise GraphError(f"start must be 'lazy' or 'eager', not {start!r}")
    coordinator = Coordinator(
        as_worker_loops(worker_loops),
        as_registered(functions),
        log_delivery=LogDelivery(
            None if log_level is None else level_number(log_level), bool(capture_output)
        ),
        carried=check_variables(carried_variables),
        spans=_open_spans(),
        records_times=bool(record_times),
    )
    crash: list[BaseException] = []
    body_error: BaseException | None = None

    services = trio.CancelScope(shield=True)

    async def serve(nursery: trio.Nursery) -> None:
        try:
            with services:
                await coordinator.serve()
        except BaseException as error:  # noqa: BLE001  it is raised below, in the user's task
            crash.append(_unwrapped(error))
            nursery.cancel_scope.cancel()

    # The body's exception is carried around the nursery, which would wrap it in a group. What the
    # body uses is shielded from a cancellation that comes from outside, and ends after it.
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, nursery)
            try:
                if start == "eager":
                    await coordinator.start_workers()
                yield coordinator
                await coordinator.stop()
            except BaseException as error:  # noqa: BLE001  it is raised below, whatever it is
                body_error = error
            coordinator.close()
            services.cancel()
    except BaseException:
        if not crash and body_error is None:
            raise
    if crash:
        raise crash[0] from body_error
    if body_error is not None:
        raise body_error


def _open_spans() -> Spans | None:
    """What traces the graphs, if the app traces by OpenTelemetry; then it has imported that."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from trio_actor_graph.observe.spans import open_spans

    return open_spans()


def _unwrapped(error: BaseException) -> BaseException:
    """The one exception inside the groups that nurseries, in strict mode, put around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
