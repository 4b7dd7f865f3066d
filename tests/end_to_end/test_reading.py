"""Collaboration: a worker with one slot, whose thread reads the link while it has nothing to run.

In each phase (the thread waits in the link, runs something short, runs something long; something
runs in trio) everything that the coordinator says must be heard.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from worker_cases import HANG_SECONDS, Gate, Worker, attempt, define, open_worker

from trio_actor_graph import current_task
from trio_actor_graph.errors import ProtocolError
from trio_actor_graph.link import encode_frames
from trio_actor_graph.messages import (
    AttemptOverdue,
    AttemptsReturned,
    AttemptStopped,
    AttemptSucceeded,
    AwaitedEnded,
    AwaitTask,
    CancelAttempt,
    CreateTask,
    ForgetFunctions,
    FunctionsForgotten,
    ReturnAttempts,
    RunAttempt,
    StopWorker,
    WorkerStopping,
)
from trio_actor_graph.outcome import TaskOutcome
from trio_actor_graph.payload import encode_value
from trio_actor_graph.worker import main
from trio_actor_graph.worker.reading import LinkReading
from trio_actor_graph.worker.runner import AttemptRunner

gate = Gate()
order: list[object] = []
runners: list[Any] = []


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    global gate
    gate = Gate()
    order.clear()

    class Kept(AttemptRunner):
        def __init__(self, *args: Any, **more: Any):
            runners.append(self)
            super().__init__(*args, **more)

    monkeypatch.setattr(main, "AttemptRunner", Kept)
    yield
    runners.clear()
    gate.opened.set()


# Functions


def plain() -> str:
    return threading.current_thread().name


def note(name: object) -> object:
    order.append(name)
    return name


def take(seconds: float) -> None:
    time.sleep(seconds)  # lets other threads have their turn, as C code does that waits


def at_gate() -> str:
    gate.wait()
    return "opened"


async def later(seconds: float = 0.0) -> str:
    await trio.sleep(seconds)
    return "later"


async def endless() -> None:
    await trio.sleep_forever()


async def await_child() -> str:
    child = current_task().create_task(plain)
    return f"seen {await child.result()}"


FUNCTIONS = {
    function: number
    for number, function in enumerate((plain, note, take, at_gate, later, endless, await_child), 1)
}


def run(attempt_id: int, function: Any, *args: object, **more: Any) -> RunAttempt:
    return attempt(attempt_id, FUNCTIONS[function], *args, **more)


@asynccontextmanager
async def open_one_slot(folder: Path, **more: Any) -> AsyncIterator[Worker]:
    functions = tuple(define(number, function) for function, number in FUNCTIONS.items())
    async with open_worker(folder, slots=1, functions=functions, **more) as worker:
        yield worker


# The phases


async def wait_thread_reads() -> None:
    """Until the thread waits in the link, and trio has nothing to do."""
    (runner,) = runners
    with trio.fail_after(HANG_SECONDS):
        while not runner.reading.is_thread_waiting or runner._is_watching:  # noqa: ASYNC110
            await trio.sleep(0.001)


async def at_start(worker: Worker) -> None:
    """Trio reads, and nothing has run."""


async def waiting(worker: Worker) -> None:
    """The thread waits in the link."""
    worker.send(run(900, plain))
    await worker.expect(AttemptSucceeded, 900)
    await wait_thread_reads()


async def busy(worker: Worker) -> None:
    """A long function runs, which the thread has read itself."""
    await waiting(worker)
    worker.send(run(901, at_gate))
    await gate.wait_reached()


async def busy_for_long(worker: Worker) -> None:
    """A function runs so long that trio reads."""
    await busy(worker)
    with trio.fail_after(HANG_SECONDS):
        while runners[0].reading._is_threads_turn:  # noqa: ASYNC110  nobody tells
            await trio.sleep(0.001)


async def hurried(worker: Worker) -> None:
    """Short functions are held, more than can be run before the test is over."""
    await waiting(worker)
    worker.send(*(run(i, take, 1e-5) for i in range(10_000, 20_000)))
    await worker.expect(AttemptSucceeded, 10_000)


async def in_trio(worker: Worker) -> None:
    """A coroutine function runs, which the thread has read."""
    await waiting(worker)
    worker.send(run(902, endless))
    with trio.fail_after(HANG_SECONDS):
        while not runners[0]._running:  # noqa: ASYNC110
            await trio.sleep(0.001)


PHASES = pytest.mark.parametrize(
    "phase", [at_start, waiting, busy, busy_for_long, hurried, in_trio], ids=lambda f: f.__name__
)
NOTHING_RUNS = pytest.mark.parametrize("phase", [at_start, waiting], ids=lambda f: f.__name__)


# What is said is heard


@PHASES
async def test_a_worker_stops_in_every_phase(tmp_path: Path, phase: Any) -> None:
    """It says so, and ends as soon as nothing runs that it has to wait for."""
    async with open_one_slot(tmp_path) as worker:
        await phase(worker)
        began = trio.current_time()
        worker.send(StopWorker(grace_seconds=0.05))
        await worker.expect(WorkerStopping)
        with trio.fail_after(HANG_SECONDS):
            await worker.ended.wait()
        assert trio.current_time() - began < 1.0


@PHASES
async def test_a_worker_ends_with_its_link_in_every_phase(tmp_path: Path, phase: Any) -> None:
    """Also when nobody has said that it is to stop."""
    async with open_one_slot(tmp_path) as worker:
        await phase(worker)
        worker.link._socket.shutdown(socket.SHUT_WR)
        with trio.fail_after(HANG_SECONDS):
            await worker.ended.wait()


@PHASES
async def test_nonsense_is_noticed_in_every_phase(tmp_path: Path, phase: Any) -> None:
    """By whoever reads; it ends the worker with the error."""
    with pytest.RaisesGroup(ProtocolError, allow_unwrapped=True, flatten_subgroups=True):
        async with open_one_slot(tmp_path) as worker:
            await phase(worker)
            worker.link._socket.send(b"\x00\x00\x00\x01\xc1")
            with trio.fail_after(HANG_SECONDS):
                await worker.ended.wait()


@PHASES
async def test_a_cancelled_worker_ends_in_every_phase(tmp_path: Path, phase: Any) -> None:
    """The thread that waits in its link is let go."""
    async with open_one_slot(tmp_path) as worker:
        await phase(worker)
        worker.ended.set()  # nobody is to tell it
    with trio.fail_after(HANG_SECONDS):
        while runners[0].reading.is_thread_waiting:  # noqa: ASYNC110
            await trio.sleep(0.001)


@pytest.mark.parametrize("phase", [busy, busy_for_long, hurried, in_trio], ids=lambda f: f.__name__)
async def test_what_is_held_is_given_back_in_every_phase(tmp_path: Path, phase: Any) -> None:
    """A recall is not held up by what runs."""
    async with open_one_slot(tmp_path) as worker:
        await phase(worker)
        worker.send(run(1, plain), run(2, plain))
        worker.send(CancelAttempt(1), ReturnAttempts(1))
        await worker.expect(AttemptStopped, 1)
        assert (await worker.expect(AttemptsReturned)).attempt_ids == (2,)


@NOTHING_RUNS
async def test_what_is_cancelled_in_its_own_frame_is_not_begun(tmp_path: Path, phase: Any) -> None:
    """Plain or not, whoever reads it."""
    async with open_one_slot(tmp_path) as worker:
        await phase(worker)
        worker.send(run(1, note, "begun"), run(2, endless), CancelAttempt(1), CancelAttempt(2))
        await worker.expect(AttemptStopped, 1)
        await worker.expect(AttemptStopped, 2)
        worker.send(CancelAttempt(2), CancelAttempt(3), ReturnAttempts(4))
        assert (await worker.expect(AttemptsReturned)).attempt_ids == ()
        assert order == []


@PHASES
async def test_functions_are_defined_and_forgotten_in_every_phase(
    tmp_path: Path, phase: Any
) -> None:
    """In the order in which it was said."""
    async with open_one_slot(tmp_path) as worker:
        await phase(worker)
        for number in (50, 51, 52):
            worker.send(define(50, note), ForgetFunctions((50,)), define(number, note))
            assert (await worker.expect(FunctionsForgotten)).function_ids == (50,)
        gate.opened.set()
        worker.send(CancelAttempt(902), ReturnAttempts(10_000))
        await worker.expect(AttemptsReturned)
        worker.send(attempt(1, 51, "x"))
        assert await worker.result(1) == "x"


async def test_a_frame_in_pieces_is_read_by_the_thread(tmp_path: Path) -> None:
    """However its bytes are cut."""
    async with open_one_slot(tmp_path) as worker:
        await waiting(worker)
        frame = b"".join(encode_frames([run(1, note, "a"), run(2, note, "b")]))
        for at in range(0, len(frame), 7):
            worker.link._socket.send(frame[at : at + 7])
            await trio.sleep(0.001)
        assert await worker.result(2) == "b"
        assert order == ["a", "b"]


async def test_a_frame_in_pieces_is_read_by_whoever_is_there(tmp_path: Path) -> None:
    """Begun by the thread, gone on with by trio, and the other way round."""
    async with open_one_slot(tmp_path) as worker:
        await waiting(worker)
        number = iter(range(1, 1000))
        for seconds in (0.0, 0.001, 0.01, 0.03):
            first, second = next(number), next(number)
            frames = [
                *encode_frames([run(first, take, seconds)]),
                *encode_frames([run(second, plain)]),
            ]
            data = b"".join(frames)
            cut = len(frames[0]) + 9
            worker.link._socket.send(data[:cut])
            await trio.sleep(0.02)
            worker.link._socket.send(data[cut:])
            await worker.expect(AttemptSucceeded, second)


async def test_what_goes_wrong_in_reading_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread does not go silently, with a heart that beats on."""

    def refuse(self: object, messages: object) -> None:
        raise MemoryError

    with pytest.RaisesGroup(MemoryError, allow_unwrapped=True, flatten_subgroups=True):
        async with open_one_slot(tmp_path) as worker:
            await waiting(worker)
            monkeypatch.setattr(AttemptRunner, "take_in", refuse)
            worker.send(run(1, plain))
            with trio.fail_after(HANG_SECONDS):
                await worker.ended.wait()


async def test_a_second_thread_is_not_held_up_by_the_one_that_waits(tmp_path: Path) -> None:
    """There may be one, where trio began an attempt while the first was on its way home."""
    async with open_one_slot(tmp_path) as worker:
        await waiting(worker)
        (runner,) = runners
        runner._slots.hold([run(1, take, 0.01), run(2, plain)])
        runner._begin_all()
        assert "trio_actor_graph" in await worker.result(2)
        worker.send(run(3, plain))
        await worker.expect(AttemptSucceeded, 3)


# Who does what


async def test_the_thread_that_reads_runs_what_it_has_read(tmp_path: Path) -> None:
    """One thread, and no turn of trio's, however many functions it runs."""
    async with open_one_slot(tmp_path) as worker:
        names = set()
        for attempt_id in range(1, 100):
            worker.send(run(attempt_id, plain))
            names.add(await worker.result(attempt_id))
            if attempt_id == 1:
                await wait_thread_reads()
        assert len(names) == 1


async def test_plain_and_async_functions_take_turns(tmp_path: Path) -> None:
    """Whatever the order, each is run where it belongs."""
    drawn = random.Random(11)
    async with open_one_slot(tmp_path) as worker:
        attempt_id = 0
        for _ in range(50):
            functions = drawn.choices((plain, later, await_child), k=drawn.randrange(1, 5))
            worker.send(*(run(attempt_id + i, f) for i, f in enumerate(functions, 1)))
            for function in functions:
                attempt_id += 1
                if function is await_child:
                    child = await worker.expect(CreateTask, attempt_id)
                    await worker.expect(AwaitTask, attempt_id)
                    outcome = TaskOutcome(child.uid, "c", "succeeded", encode_value("it", "v"))
                    worker.send(AwaitedEnded(attempt_id, outcome))
                    assert await worker.result(attempt_id) == "seen it"
                elif function is later:
                    assert await worker.result(attempt_id) == "later"
                else:
                    assert "trio_actor_graph" in await worker.result(attempt_id)


async def test_an_async_function_is_cancelled_after_the_thread_has_read(tmp_path: Path) -> None:
    """While something runs in trio, it is trio that reads."""
    async with open_one_slot(tmp_path) as worker:
        await in_trio(worker)
        worker.send(CancelAttempt(902))
        await worker.expect(AttemptStopped, 902)


async def test_a_time_limit_is_noticed_while_the_thread_is_away(tmp_path: Path) -> None:
    """Trio is told to look after it, also when it slept before."""
    async with open_one_slot(tmp_path) as worker:
        await waiting(worker)
        worker.send(run(1, at_gate, timeout_seconds=0.01))
        await worker.expect(AttemptOverdue, 1)


async def test_what_is_urgent_is_heard_between_short_functions(tmp_path: Path) -> None:
    """It goes ahead of what is held."""
    async with open_one_slot(tmp_path) as worker:
        await hurried(worker)
        worker.send(run(1, note, "urgent", priority=1))
        await worker.expect(AttemptSucceeded, 1)
        done = [m for m in worker.history if isinstance(m, AttemptSucceeded)]
        assert len(done) < 5_000
        worker.send(ReturnAttempts(10_000))


async def test_an_idle_worker_does_nothing(tmp_path: Path) -> None:
    """Neither its thread nor trio wakes up."""

    class Count(trio.abc.Instrument):
        waits = 0

        def before_io_wait(self, timeout: float) -> None:
            self.waits += 1

    async with open_one_slot(tmp_path) as worker:
        await waiting(worker)
        count = Count()
        trio.lowlevel.add_instrument(count)
        await trio.sleep(0.3)
        trio.lowlevel.remove_instrument(count)
        assert count.waits <= 3


# All at once


@pytest.mark.parametrize("seed", range(5))
async def test_each_attempt_is_answered_once(tmp_path: Path, seed: int) -> None:
    """Short and long, plain and async, cancelled and recalled, in frames of any size."""
    drawn = random.Random(seed)
    answers: Counter[int] = Counter()
    async with open_one_slot(tmp_path) as worker:
        given = 0
        for _ in range(60):
            batch: list[Any] = []
            for _ in range(drawn.choice((1, 1, 3, 40))):
                given += 1
                function, args = drawn.choice(
                    [
                        (plain, ()),
                        (plain, ()),
                        (take, (drawn.choice((0, 0.002, 0.02)),)),
                        (later, ()),
                    ]
                )
                batch.append(run(given, function, *args, priority=drawn.choice((0, 0, 1))))
                if drawn.random() < 0.1:
                    batch.append(CancelAttempt(drawn.randrange(max(1, given - 20), given + 1)))
            if drawn.random() < 0.1:
                batch.append(ReturnAttempts(drawn.randrange(5)))
            worker.send(*batch)
            await trio.sleep(drawn.choice((0, 0, 0.001, 0.01)))
        with trio.fail_after(HANG_SECONDS):
            while sum(answers.values()) < given:
                await worker.arrived.wait()
                answers = count_answers(worker)
    assert answers == Counter(range(1, given + 1))


def count_answers(worker: Worker) -> Counter[int]:
    answers: Counter[int] = Counter()
    for message in worker.history:
        if isinstance(message, (AttemptSucceeded, AttemptStopped)):
            answers[message.attempt_id] += 1
        elif isinstance(message, AttemptsReturned):
            answers.update(message.attempt_ids)
    return answers


class SilentLink:
    """One that must not be read."""

    def __init__(self) -> None:
        self.reading = threading.Lock()

    def read(self, *, waits: bool) -> None:
        raise AssertionError("what is said to coroutine functions is trio's to hear")


class BusyInTrio:
    """A runner with a coroutine function that awaits something, which gave its slot back."""

    def is_idle(self) -> bool:
        return False


async def test_the_thread_does_not_look_while_something_runs_in_trio() -> None:
    """Also if that has begun since it read last; it is trio's turn then."""
    reading: Any = LinkReading(SilentLink(), BusyInTrio())  # type: ignore[arg-type]
    reading._is_threads_turn, reading._looked = True, float("-inf")
    reading.look()
    assert not reading._is_threads_turn
