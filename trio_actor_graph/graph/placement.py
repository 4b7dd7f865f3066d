"""Which worker gets which ready task, and how many it may hold ahead of itself.

First every free slot is filled, evenly over the workers. Then tasks whose run time is known to be
short are given ahead, as long as what a worker holds is expected to keep each of its slots busy for
no more than `AHEAD_SECONDS`: hundreds of tasks when they take microseconds, none when they take
longer than that. So a worker need not wait for a round trip between short tasks, and next to
nothing waits behind a long one. Where that guess was wrong (a worker sits on tasks while another
has free slots) the unbegun ones are called back; where no worker is idle but one more may be
started, that one is started first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from trio_actor_graph.graph.durations import Durations
from trio_actor_graph.graph.records import LoopRecord, TaskRecord, WorkerRecord

AHEAD_SECONDS: Final = 0.005
"""How much expected work a worker holds ahead per slot: some fifty round trips of 0.1 ms, and less
than anybody would notice waiting for."""

HELD_AHEAD_MAX: Final = 1_000
"""How many tasks a worker holds ahead at most: bounds what is sent and perhaps called back."""

OVERHEAD_SECONDS: Final = 10e-6
"""What a task costs a worker besides its function (decoding, bookkeeping, reporting)."""

RECALL_AFTER_SECONDS: Final = 0.01
"""How long a worker may be silent, with tasks ahead and another worker idle, before they are called
back: twice what it was expected to need for them."""

RESTART_SECONDS: Final = 0.1
"""How long the start of a worker is put off after the second loss in a row; it doubles with each
further one, until an attempt in that loop has brought something."""

RESTART_SECONDS_MAX: Final = 5.0
"""And at most: the cause may have gone meanwhile, and somebody waits."""


def fill(
    loop: LoopRecord, durations: Durations
) -> Iterator[tuple[WorkerRecord, TaskRecord, float]]:
    """Hand out ready tasks: yields (worker, task, expected seconds) while there is room.

    The caller must note each one on the worker before it asks for the next.
    """
    loop.reserved = None
    if loop.suspects:
        yield from _fill_with_suspects(loop, durations)
    if loop.ready:
        workers = [w for w in _candidates(loop) if w.takes_attempts]
        yield from _fill_free_slots(loop, workers, durations)
        if loop.ready:
            yield from _fill_ahead(loop, workers, durations)


def _fill_free_slots(
    loop: LoopRecord, workers: list[WorkerRecord], durations: Durations
) -> Iterator[tuple[WorkerRecord, TaskRecord, float]]:
    """One task for each worker in turn."""
    while workers := [w for w in workers if _has_free_slot(w)]:
        for worker in workers:
            if not loop.ready:
                return
            task = loop.ready.pop()
            yield worker, task, OVERHEAD_SECONDS + (durations.expected(task.spec.kind) or 0.0)


def _fill_ahead(
    loop: LoopRecord, workers: list[WorkerRecord], durations: Durations
) -> Iterator[tuple[WorkerRecord, TaskRecord, float]]:
    """Tasks in a row for each worker, because those are often the inputs of one that can follow."""
    while loop.ready and workers:
        share = -(-len(loop.ready) // len(workers))
        able = []
        for worker in workers:
            for _ in range(min(share, len(loop.ready))):
                task = loop.ready.pop()
                expected = durations.expected(task.spec.kind)
                if expected is None or not has_room_ahead(worker, expected):
                    loop.ready.push_first(task, task.spec.priority)
                    break
                yield worker, task, OVERHEAD_SECONDS + expected
            else:
                able.append(worker)
        workers = able


def _fill_with_suspects(
    loop: LoopRecord, durations: Durations
) -> Iterator[tuple[WorkerRecord, TaskRecord, float]]:
    """Hand out the tasks that are to run alone, each to a worker in which nothing else runs.

    Where there is none, one worker is reserved: it gets nothing more until it has become idle.
    """
    while loop.suspects:
        able = [w for w in _candidates(loop) if w.takes_attempts]
        if not able:
            return
        worker = min(able, key=lambda w: w.running)
        if worker.running:
            loop.reserved = worker
            return
        task = loop.suspects.pop()
        yield worker, task, OVERHEAD_SECONDS + (durations.expected(task.spec.kind) or 0.0)


def _candidates(loop: LoopRecord) -> Iterable[WorkerRecord]:
    """The workers that may be given anything: those that are not to be replaced.

    Where all there can be are, yet hold attempts that await something, these go on: what is awaited
    may be ready in this very loop.
    """
    workers = loop.workers.values()
    staying = [w for w in workers if not w.is_retiring]
    if staying or len(workers) < len(loop.slots):
        return staying
    return [w for w in workers if w.suspended]


def workers_to_start(loop: LoopRecord, now: float) -> list[int]:
    """The indexes of workers to start now.

    They are wanted for the ready tasks that found no place, and for those that a worker holds ahead
    and does not come to.
    """
    if len(loop.workers) == len(loop.slots):
        return []
    if loop.start_after is not None and now < loop.start_after:
        return []
    wanted = len(loop.ready) + len(loop.suspects)
    if not wanted:
        overdue = any(_overdue_at(worker) <= now for worker in _hoarders(loop))
        if not overdue or _spare_slots(loop) > 0:
            return []
        wanted = 1
    taken = {w.index for w in loop.workers.values()}
    coming = _coming_slots(loop)
    indexes = []
    for index, slots in enumerate(loop.slots):
        if wanted <= coming:
            break
        if index not in taken:
            indexes.append(index)
            coming += slots
    return indexes


def recall_due(loop: LoopRecord, now: float) -> list[tuple[WorkerRecord, int]]:
    """The workers to call unbegun attempts back from at `now`, and how many."""
    hoarders = _hoarders(loop)
    if not hoarders:
        return []
    spare = _spare_slots(loop)
    recalls: list[tuple[WorkerRecord, int]] = []
    for worker in hoarders:
        if spare > 0 and _overdue_at(worker) <= now:
            number = min(spare, (1 - worker.free_slots) // 2)
            recalls.append((worker, number))
            spare -= number
    return recalls


def restart_delay(losses_in_row: int) -> float:
    """Seconds until a worker is started in the place of one that was lost.

    None for the first loss, since most are single; then it doubles, so that a crash loop does not
    keep the machine busy with starting processes.
    """
    if losses_in_row <= 1:
        return 0.0
    return min(RESTART_SECONDS * 2.0 ** min(losses_in_row - 2, 30), RESTART_SECONDS_MAX)


def deadlines(loop: LoopRecord) -> Sequence[float]:
    """When `recall_due` or `workers_to_start` may next have something to say of its own accord."""
    is_short = len(loop.workers) < len(loop.slots) and loop.failure is None
    not_before = loop.start_after if is_short else None
    times = [not_before] if loop.has_ready and not_before is not None else []
    if loop.ready:
        return times  # every worker is busy, and each end of an attempt leads here again
    hoarders = _hoarders(loop)
    if not hoarders:
        return times  # as nearly always
    overdue = [_overdue_at(worker) for worker in hoarders]
    if _spare_slots(loop) > 0:
        times += overdue
    elif is_short and not _coming_slots(loop):
        times += [max(when, not_before or when) for when in overdue]
    return times


def _coming_slots(loop: LoopRecord) -> int:
    """Those of workers that are starting."""
    return sum(w.slots for w in loop.workers.values() if not w.is_ready)


def _spare_slots(loop: LoopRecord) -> int:
    """Free slots, less what has been called back to fill them."""
    workers = [w for w in loop.workers.values() if w.takes_attempts and not w.is_retiring]
    free = sum(w.free_slots for w in workers if w.free_slots > 0)
    return free - sum(w.recalling for w in workers)


def _hoarders(loop: LoopRecord) -> list[WorkerRecord]:
    """Workers that seem to hold more than they can run and can be asked for it, the worst first."""
    for worker in loop.workers.values():
        if len(worker.held) > worker.slots:
            break
    else:  # as nearly always, and asked for several times a batch
        return []
    hoarders = [
        w
        for w in loop.workers.values()
        if w.free_slots < 0 and w.is_ready and not (w.is_stopping or w.recalling or w.has_begun_all)
    ]
    return sorted(hoarders, key=lambda w: w.free_slots)


def _overdue_at(worker: WorkerRecord) -> float:
    return worker.quiet_since + RECALL_AFTER_SECONDS


def _has_free_slot(worker: WorkerRecord) -> bool:
    return worker.free_slots > 0 and (not worker.is_retiring or worker.suspended > 0)


def has_room_ahead(worker: WorkerRecord, expected: float) -> bool:
    """Whether a worker may hold one more task ahead that is expected to run so long."""
    return (
        worker.backlog_seconds + expected + OVERHEAD_SECONDS <= AHEAD_SECONDS * worker.slots
        and not worker.is_retiring
        and len(worker.held) - worker.suspended < HELD_AHEAD_MAX + worker.slots
    )
