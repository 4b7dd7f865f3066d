"""Collaboration: attempts that follow others in a worker, with a test in the coordinator's place.

All functions are loaded when a worker starts, so that nothing but attempts is in a test's frames.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from worker_cases import HANG_SECONDS, Gate, Worker, attempt, define, open_worker

from trio_actor_graph import current_task
from trio_actor_graph.begun import take_begun
from trio_actor_graph.graph.conditions import TaskReference
from trio_actor_graph.messages import (
    AddPredecessor,
    AttemptFailed,
    AttemptReturnedTask,
    AttemptsReturned,
    AttemptStopped,
    AttemptSucceeded,
    CancelAttempt,
    CreateTask,
    DefineFunction,
    FollowerReturned,
    ReturnAttempts,
    RunAttempt,
    StopWorker,
    WorkerStopping,
)
from trio_actor_graph.outcome import TaskOutcome
from trio_actor_graph.payload import encode_value, reduce_task
from trio_actor_graph.worker import main, slots
from trio_actor_graph.worker.runner import AttemptRunner

gate = Gate()
order: list[object] = []


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    global gate
    gate = Gate()
    order.clear()
    yield
    gate.opened.set()


# Functions


def add(*numbers: int) -> int:
    return sum(numbers) + 1


async def add_later(*numbers: int) -> int:
    await trio.lowlevel.checkpoint()
    return sum(numbers) + 1


def note(name: object, *_: object) -> object:
    order.append(name)
    return name


async def note_later(name: object, *_: object) -> object:
    order.append(name)
    return name


def wait_at_gate(*_: object) -> str:
    gate.wait()
    return "opened"


def fail() -> None:
    raise ValueError("on purpose")


def return_lambda() -> object:
    return threading.Lock()


def return_task() -> object:
    return current_task().create_task(add)


def make_list() -> list[int]:
    return [1]


def append(values: list[int], number: int) -> list[int]:
    values.append(number)
    return values


def tell_predecessors(*_: object) -> list[tuple[int, str, object]]:
    return [(p.uid, p.state, p.result) for p in current_task().predecessors]


class Reference(TaskReference):
    """A task of the graph that the running one has heard of."""

    __slots__ = ("_uid",)

    def __init__(self, uid: int):
        self._uid = uid

    @property
    def uid(self) -> int:
        return self._uid


def insert_before(uid: int) -> None:
    child = current_task().create_task(add)
    current_task().add_predecessor(Reference(uid), child)


async def insert_before_later(uid: int) -> None:
    insert_before(uid)


FUNCTIONS = {
    f: number
    for number, f in enumerate(
        [
            add,
            add_later,
            note,
            note_later,
            wait_at_gate,
            fail,
            return_lambda,
            return_task,
            make_list,
            append,
            tell_predecessors,
            insert_before,
            insert_before_later,
        ],
        1,
    )
}


# Messages


class Input:
    """A task among the arguments."""

    def __init__(self, attempt_id: int):
        self.uid = uid_of(attempt_id)

    def __reduce__(self) -> Any:
        return reduce_task(self.uid, "a task")


def uid_of(attempt_id: int) -> int:
    return 1000 + attempt_id


def run(attempt_id: int, function: Callable[..., Any], *args: object, **more: Any) -> RunAttempt:
    return attempt(attempt_id, FUNCTIONS[function], *args, **more)


def follow(
    attempt_id: int,
    follows: tuple[int, ...],
    function: Callable[..., Any],
    *args: object,
    **more: Any,
) -> RunAttempt:
    """An attempt that waits for others; they are its predecessors too, and have not ended."""
    waiting = tuple(TaskOutcome(uid_of(i), "f", "running") for i in follows)
    predecessors = waiting + more.pop("ended", ())
    return run(attempt_id, function, *args, predecessors=predecessors, follows=follows, **more)


def define_all() -> list[DefineFunction]:
    return [define(number, function) for function, number in FUNCTIONS.items()]


@asynccontextmanager
async def open_loaded_worker(folder: Path, *, slots: int = 1) -> AsyncIterator[Worker]:
    async with open_worker(folder, slots=slots, functions=tuple(define_all())) as worker:
        yield worker


def ended(worker: Worker) -> list[int]:
    return [m.attempt_id for m in worker.history if isinstance(m, AttemptSucceeded)]


@pytest.fixture(params=[1, 3], ids=["one slot", "three slots"])
async def worker(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    async with open_loaded_worker(tmp_path, slots=request.param) as worker:
        yield worker


KINDS = pytest.mark.parametrize("function", [add, add_later], ids=["plain", "async"])


# What succeeds lets its followers go on


@KINDS
async def test_a_chain_is_run_on_the_results(worker: Worker, function: Callable[..., Any]) -> None:
    """Each with the result of the one before, reported in that order."""
    chain = [run(1, function, 0)]
    chain += [follow(i, (i - 1,), function, Input(i - 1)) for i in range(2, 101)]
    worker.send(*chain)
    assert await worker.result(100) == 100
    assert ended(worker) == list(range(1, 101))


async def test_plain_and_async_functions_follow_each_other(worker: Worker) -> None:
    """Whichever thread they run in."""
    functions = [add, add_later, add_later, add, add, add_later] * 5
    chain = [run(1, add, 0)]
    chain += [follow(i, (i - 1,), f, Input(i - 1)) for i, f in enumerate(functions, 2)]
    worker.send(*chain)
    assert await worker.result(31) == 31


@KINDS
async def test_a_follower_waits_for_all_that_it_follows(
    worker: Worker, function: Callable[..., Any]
) -> None:
    """Here for the last of many; their results are in their places."""
    number = 50
    parts = [run(i, function, i) for i in range(1, number + 1)]
    ids = tuple(range(1, number + 1))
    last = follow(number + 1, ids, add, *map(Input, ids))
    worker.send(*parts, last)
    assert await worker.result(number + 1) == sum(ids) + number + 1
    assert ended(worker)[-1] == number + 1


async def test_one_attempt_may_have_many_followers(worker: Worker) -> None:
    """All of them are begun, in as many slots as there are."""
    worker.send(run(1, add), *(follow(i, (1,), add, Input(1)) for i in range(2, 20)))
    for attempt_id in range(2, 20):
        assert await worker.result(attempt_id) == 2


async def test_many_followers_use_all_slots(tmp_path: Path) -> None:
    """The thread that ends the first begins one of them; the others must not wait for it."""
    async with open_loaded_worker(tmp_path, slots=3) as worker:
        worker.send(
            run(1, add), follow(2, (1,), wait_at_gate), follow(3, (1,), add), follow(4, (1,), add)
        )
        await worker.expect(AttemptSucceeded, 3)
        await worker.expect(AttemptSucceeded, 4)
        await gate.wait_reached()
        gate.opened.set()
        await worker.expect(AttemptSucceeded, 2)


async def test_it_knows_how_its_predecessors_ended(worker: Worker) -> None:
    """What was followed has succeeded; what had ended before, or had not, is as it was said."""
    before = TaskOutcome(7, "g", "succeeded", encode_value("seven", "v"))
    besides = TaskOutcome(8, "h", "waiting")
    worker.send(run(1, add, 1), follow(2, (1,), tell_predecessors, ended=(before, besides)))
    assert await worker.result(2) == [
        (uid_of(1), "succeeded", 2),
        (7, "succeeded", "seven"),
        (8, "waiting", None),
    ]


async def test_what_had_ended_is_not_replaced(worker: Worker) -> None:
    """The coordinator knows better: a terminal state stays."""
    known = TaskOutcome(uid_of(1), "f", "succeeded", encode_value("known", "v"))
    follower = msgspec.structs.replace(
        follow(2, (1,), tell_predecessors), predecessors=(known, known)
    )
    worker.send(run(1, add), follower)
    assert await worker.result(2) == [(uid_of(1), "succeeded", "known")] * 2


async def test_followers_share_no_values(worker: Worker) -> None:
    """Each gets what was returned, decoded anew."""
    worker.send(run(1, make_list), *(follow(i, (1,), append, Input(1), i) for i in (2, 3)))
    assert await worker.result(2) == [1, 2]
    assert await worker.result(3) == [1, 3]
    assert await worker.result(1) == [1]


# Their place in the order


@pytest.mark.parametrize("function", [note, note_later], ids=["plain", "async"])
async def test_a_chain_is_run_to_its_end_before_what_came_later(
    tmp_path: Path, function: Callable[..., Any]
) -> None:
    """Depth first, among what has the same priority."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(
            run(1, function, "a"),
            run(2, function, "b"),
            follow(3, (1,), function, "a1"),
            follow(4, (1,), function, "a2"),
            follow(5, (3,), function, "a1 1"),
            follow(6, (2,), function, "b1"),
            run(7, function, "urgent", priority=1),
            follow(8, (2,), function, "b urgent", priority=1),
            run(9, function, "c"),
        )
        await worker.expect(AttemptSucceeded, 9)
    assert order == ["urgent", "a", "a1", "a1 1", "a2", "b", "b urgent", "b1", "c"]


async def test_its_own_priority_counts(tmp_path: Path) -> None:
    """What is released with less of it lets others go ahead, and stands ahead of those like it."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(
            run(1, note, "early"),
            run(2, note, "urgent", priority=5),
            run(3, note, "late"),
            follow(4, (2,), note, "after urgent"),
            run(5, note, "urgent too", priority=5),
        )
        await worker.expect(AttemptSucceeded, 3)
    assert order == ["urgent", "urgent too", "early", "after urgent", "late"]


# What ends in another way does not


async def expect_parked(worker: Worker, *attempt_ids: int) -> None:
    """They have not begun, and do not begin while others do; cancelled, each is answered."""
    worker.send(run(900, add))
    await worker.expect(AttemptSucceeded, 900)
    for attempt_id in attempt_ids:
        assert not [m for m in worker.messages if getattr(m, "attempt_id", 0) == attempt_id]
    worker.send(*map(CancelAttempt, attempt_ids))
    for attempt_id in attempt_ids:
        await worker.expect(AttemptStopped, attempt_id)
    worker.send(*map(CancelAttempt, attempt_ids), run(901, add))  # known no more
    await worker.expect(AttemptSucceeded, 901)
    assert not [m for m in worker.messages if isinstance(m, AttemptStopped)]


@pytest.mark.parametrize(
    ("function", "kind"),
    [(fail, AttemptFailed), (return_lambda, AttemptFailed), (return_task, AttemptReturnedTask)],
    ids=["failed", "cannot be encoded", "returned a task"],
)
async def test_without_success_its_followers_stay_parked(
    worker: Worker, function: Callable[..., Any], kind: type[Any]
) -> None:
    """And theirs; until the coordinator, which decides what becomes of them, cancels them."""
    worker.send(run(1, function), follow(2, (1,), add), follow(3, (2,), add))
    await worker.expect(kind, 1)
    await expect_parked(worker, 2, 3)


async def test_one_success_of_two_is_not_enough(worker: Worker) -> None:
    """A follower follows all."""
    worker.send(run(1, add), run(2, fail), follow(3, (1, 2), add))
    await worker.expect(AttemptSucceeded, 1)
    await worker.expect(AttemptFailed, 2)
    await expect_parked(worker, 3)


async def test_the_end_of_a_cancelled_attempt_releases_nobody(worker: Worker) -> None:
    """A plain function goes on when it is cancelled; nobody wants what it brings back."""
    worker.send(run(1, wait_at_gate), follow(2, (1,), add))
    await gate.wait_reached()
    worker.send(CancelAttempt(1), ReturnAttempts(5))
    assert (await worker.expect(AttemptsReturned)).attempt_ids == ()  # so it has been heard
    gate.opened.set()
    await worker.expect(AttemptSucceeded, 1)
    await expect_parked(worker, 2)


async def test_what_is_cancelled_before_it_began_releases_nobody(tmp_path: Path) -> None:
    """Whether it was parked itself or not."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(
            run(1, wait_at_gate),
            run(2, add),
            *(follow(i, (i - 1,), add) for i in (3, 4, 5)),
        )
        await gate.wait_reached()
        worker.send(CancelAttempt(2), CancelAttempt(4))
        await worker.expect(AttemptStopped, 2)
        await worker.expect(AttemptStopped, 4)
        gate.opened.set()
        await expect_parked(worker, 3, 5)


async def test_only_what_could_begin_is_given_back(tmp_path: Path) -> None:
    """Parked ones are the coordinator's to cancel, also when what they follow is given back."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(run(1, wait_at_gate), run(2, add), follow(3, (2,), add), follow(4, (1,), add))
        await gate.wait_reached()
        worker.send(ReturnAttempts(10))
        assert (await worker.expect(AttemptsReturned)).attempt_ids == (2,)
        gate.opened.set()
        await worker.expect(AttemptSucceeded, 4)
        await expect_parked(worker, 3)


async def test_a_released_follower_is_as_any_other(tmp_path: Path) -> None:
    """It can be given back, and cancelled before it begins."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(
            run(1, add),
            *(follow(i, (1,), add, Input(1)) for i in (2, 3, 4)),
            follow(5, (1,), wait_at_gate, priority=1),
        )
        await gate.wait_reached()
        worker.send(ReturnAttempts(1), CancelAttempt(2))
        assert (await worker.expect(AttemptsReturned)).attempt_ids == (4,)
        await worker.expect(AttemptStopped, 2)
        gate.opened.set()
        assert await worker.result(3) == 2


async def test_who_comes_too_late_is_given_back(tmp_path: Path) -> None:
    """What it follows has begun or ended: nothing is left here that could release it."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(run(1, wait_at_gate), run(2, add))
        await gate.wait_reached()
        worker.send(follow(3, (1,), add), follow(4, (99,), add), follow(5, (2,), add))
        await worker.expect(FollowerReturned, 3)
        await worker.expect(FollowerReturned, 4)
        gate.opened.set()
        await worker.expect(AttemptSucceeded, 5)


async def test_a_stopping_worker_begins_no_follower(tmp_path: Path) -> None:
    """What is parked ends with it."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(run(1, wait_at_gate), follow(2, (1,), note, "begun"))
        await gate.wait_reached()
        worker.send(StopWorker(grace_seconds=HANG_SECONDS))
        await worker.expect(WorkerStopping)
        gate.opened.set()
        await worker.ended.wait()
    assert ended(worker) == [1]
    assert order == []


# What is inserted


@pytest.mark.parametrize("function", [insert_before, insert_before_later])
async def test_a_task_inserts_work_ahead_of_its_successor(
    worker: Worker, function: Callable[..., Any]
) -> None:
    """The follower goes back to the coordinator first, and does not begin here."""
    worker.send(run(1, function, uid_of(2)), follow(2, (1,), note, "b"), follow(3, (2,), add))
    await worker.expect(AttemptSucceeded, 1)
    kinds = (CreateTask, FollowerReturned, AddPredecessor, AttemptSucceeded)
    reports = [m for m in worker.history if isinstance(m, kinds)]
    assert list(map(type, reports)) == list(kinds)
    assert reports[1].attempt_id == 2
    await expect_parked(worker, 3)
    assert order == []


async def test_what_is_under_way_is_given_back_when_it_arrives(tmp_path: Path) -> None:
    """A task has let it wait for more before the worker had read of it; the next one is welcome."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(run(1, insert_before, uid_of(3)))
        await worker.expect(AttemptSucceeded, 1)
        worker.send(run(2, wait_at_gate), follow(3, (2,), note, "too early"))
        await worker.expect(FollowerReturned, 3)
        again = msgspec.structs.replace(follow(5, (4,), add), uid=uid_of(3))
        worker.send(run(4, wait_at_gate), again)
        gate.opened.set()
        await worker.expect(AttemptSucceeded, 5)
    assert order == []


async def test_who_is_released_is_told_by_what_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time limit that passes when the success is on its way already holds nobody up."""
    begun: dict[int, Any] = {}
    begin, report = AttemptRunner._begun, AttemptRunner._report

    def note_begun(self: AttemptRunner, message: RunAttempt) -> Any:
        begun[message.attempt_id] = begin(self, message)
        return begun[message.attempt_id]

    def report_and_stop(self: AttemptRunner, what: msgspec.Struct) -> None:
        report(self, what)
        if isinstance(what, AttemptSucceeded):
            begun[what.attempt_id].is_stopped = True

    monkeypatch.setattr(AttemptRunner, "_begun", note_begun)
    monkeypatch.setattr(AttemptRunner, "_report", report_and_stop)
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(run(1, add), follow(2, (1,), add))
        await worker.expect(AttemptSucceeded, 2)


async def test_only_what_is_parked_is_taken_back(tmp_path: Path) -> None:
    """What could begin at any moment is the coordinator's to refuse."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(run(1, insert_before, uid_of(2)), run(2, add))
        await worker.expect(AttemptSucceeded, 2)
    assert not [m for m in worker.history if isinstance(m, FollowerReturned)]
    assert len([m for m in worker.history if isinstance(m, AddPredecessor)]) == 1


# What counts as begun


async def test_a_follower_begins_as_all_others_do(tmp_path: Path) -> None:
    """Only then it stands in the file."""
    async with open_loaded_worker(tmp_path) as worker:
        worker.send(
            run(1, add), follow(2, (1,), wait_at_gate), follow(3, (1,), add), follow(4, (2,), add)
        )
        await gate.wait_reached()
        running, begun = take_begun(worker.begun_path)
        assert (running, begun) == ({2}, {1, 2})
        gate.opened.set()
        await worker.expect(AttemptSucceeded, 4)


# Nothing is left


async def test_nothing_is_remembered_of_those_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever way they went."""
    runners: list[Any] = []

    class Kept(AttemptRunner):
        def __init__(self, *args: Any, **more: Any):
            runners.append(self)
            super().__init__(*args, **more)

    monkeypatch.setattr(main, "AttemptRunner", Kept)
    async with open_loaded_worker(tmp_path, slots=2) as worker:
        for first, function in ((100, add), (200, fail), (300, insert_before)):
            args = () if function is not insert_before else (uid_of(first + 1),)
            worker.send(
                run(first, function, *args),
                *(follow(first + i, (first,), add) for i in range(1, 20)),
                *(follow(first + 30 + i, (first, first + i), add) for i in range(1, 20)),
            )
        worker.send(ReturnAttempts(5), *(CancelAttempt(i) for i in range(101, 351)))
        await worker.expect(AttemptsReturned)
        worker.send(run(1, add))
        await worker.expect(AttemptSucceeded, 1)
    (runner,) = runners
    held: slots.Slots = runner._slots
    followers: Any = held._followers
    tables = (held._unbegun, held._slot_of, followers._parked, followers._id_by_uid)
    assert [*map(len, tables), len(followers._followed)] == [0] * 5
