"""Collaboration: what a worker does, in this process, with a test in the coordinator's place.

Functions of this module travel by name: they are the same objects on both sides, and wait for
events of the test's.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from worker_cases import (
    COORDINATOR,
    FIRST_ID,
    HANG_SECONDS,
    Gate,
    Worker,
    attempt,
    define,
    open_worker,
)

from trio_actor_graph import current_task, link
from trio_actor_graph.begun import last_beat, take_begun
from trio_actor_graph.graph.failures import Raised, TimedOut
from trio_actor_graph.messages import (
    AttemptFailed,
    AttemptStopped,
    AttemptSucceeded,
    CancelAttempt,
    CreateTask,
    DefineFunction,
    ForgetFunctions,
    FunctionsForgotten,
    StopWorker,
    WorkerStopping,
)
from trio_actor_graph.payload import encode_call, encode_value
from trio_actor_graph.worker import retry_rules

# Functions that wait for the test


gate = Gate()
done: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    global gate
    gate = Gate()
    done.clear()
    yield
    gate.opened.set()  # whatever the test came to, no thread is left waiting


def blocked() -> str:
    gate.wait()
    done.append("blocked")
    return "done"


def plain() -> str:
    return threading.current_thread().name


async def quick() -> str:
    await trio.lowlevel.checkpoint()
    return "quick"


async def cleans_up() -> None:
    done.append("runs")
    try:
        await trio.sleep_forever()
    finally:
        done.append("cleaned up")


class SlowImport(Loader, MetaPathFinder):
    """A module whose import waits at the gate, on its first import only."""

    def __init__(self, text: str) -> None:
        self.text = text

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != "imports_slowly":
            return None
        return ModuleSpec(name, self)

    def create_module(self, spec: object) -> types.ModuleType:
        return types.ModuleType("imports_slowly")

    def exec_module(self, module: types.ModuleType) -> None:
        gate.wait()
        exec(self.text, module.__dict__)


@pytest.fixture
def slow_module() -> Iterator[Callable[[int, str], DefineFunction]]:
    """Defines functions of a module that has not been imported."""
    finder = SlowImport(
        "import threading, trio\n"
        "def plain(): return threading.current_thread().name\n"
        "async def later():\n"
        "    await trio.sleep(0)\n"
        "    return threading.current_thread() is threading.main_thread()\n"
        "async def endless(): await trio.sleep_forever()\n"
    )
    sys.meta_path.insert(0, finder)
    yield lambda number, name: DefineFunction(number, name, by_name("imports_slowly", name))
    sys.meta_path.remove(finder)
    sys.modules.pop("imports_slowly", None)


def by_name(module: str, name: str) -> bytes:
    """The pickle of a name, which pickle itself makes only of what it can import."""
    return (
        b"\x80\x05"
        + b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
        + b"\x93."
    )


async def wait_beat_after(worker: Worker, beat: float | None) -> None:
    with trio.fail_after(HANG_SECONDS):
        while last_beat(worker.begun_path) == beat:  # noqa: ASYNC110  there is only a file
            await trio.sleep(0.01)


# Loading


async def test_a_long_import_holds_up_nothing_else(
    tmp_path: Path, slow_module: Callable[[int, str], DefineFunction]
) -> None:
    """Functions are loaded in threads: the heart goes on beating, and other tasks run."""
    async with open_worker(tmp_path, slots=2, heartbeat_seconds=0.01) as worker:
        worker.send(slow_module(1, "plain"), attempt(1, 1))
        await gate.wait_reached()
        for attempt_id in range(2, 10):
            worker.run(attempt_id, quick)
            assert await worker.result(attempt_id) == "quick"
        beat = last_beat(worker.begun_path)
        await wait_beat_after(worker, beat)
        gate.opened.set()
        assert await worker.result(1) != threading.main_thread().name


async def test_a_coroutine_function_runs_in_trio_however_it_was_loaded(
    tmp_path: Path, slow_module: Callable[[int, str], DefineFunction]
) -> None:
    """Only the thread that has loaded it learns that it is one; several may wait for that."""
    async with open_worker(tmp_path, slots=3) as worker:
        worker.send(slow_module(1, "later"), *(attempt(i, 1) for i in (1, 2, 3, 4)))
        await gate.wait_reached()
        gate.opened.set()
        assert [await worker.result(i) for i in (1, 2, 3, 4)] == [True] * 4


async def test_an_attempt_whose_function_is_being_loaded_holds_its_slot(
    tmp_path: Path, slow_module: Callable[[int, str], DefineFunction]
) -> None:
    """The limit is exact: with one slot nothing begins before it has ended."""
    async with open_worker(tmp_path, slots=1) as worker:
        worker.send(slow_module(1, "later"), attempt(1, 1))
        await gate.wait_reached()
        worker.run(2, quick)
        assert take_begun(worker.begun_path) == ({1}, {1})
        gate.opened.set()
        assert await worker.result(2) == "quick"
        assert [type(message) for message in worker.messages] == [AttemptSucceeded]


@pytest.mark.parametrize("name", ["plain", "endless"])
async def test_cancelling_while_the_function_is_loaded(
    tmp_path: Path, slow_module: Callable[[int, str], DefineFunction], name: str
) -> None:
    """It is never called."""
    async with open_worker(tmp_path) as worker:
        worker.send(slow_module(1, name), attempt(1, 1))
        await gate.wait_reached()
        worker.send(CancelAttempt(1))
        worker.run(2, quick)
        assert await worker.result(2) == "quick"  # so the cancellation has arrived
        gate.opened.set()
        await worker.expect(AttemptStopped, 1)


async def test_loading_does_not_count_towards_the_time_limit(
    tmp_path: Path, slow_module: Callable[[int, str], DefineFunction]
) -> None:
    """The limit is for the function; an import without end is ended by the coordinator."""
    async with open_worker(tmp_path) as worker:
        worker.send(slow_module(1, "plain"), attempt(1, 1, timeout_seconds=0.05))
        await gate.wait_reached()
        await trio.sleep(0.1)
        gate.opened.set()
        assert await worker.result(1) != threading.main_thread().name


async def test_a_function_that_cannot_be_loaded_fails_its_attempts(tmp_path: Path) -> None:
    """Each of them, with the traceback of the import; the worker goes on."""
    async with open_worker(tmp_path) as worker:
        worker.send(DefineFunction(1, "f", by_name("no_such_module", "f")))
        worker.send(attempt(1, 1), attempt(2, 1))
        for attempt_id in (1, 2):
            failed = await worker.expect(AttemptFailed, attempt_id)
            assert isinstance(failed.failure, Raised)
            assert "No module named 'no_such_module'" in failed.failure.traceback
        worker.run(3, quick)
        assert await worker.result(3) == "quick"


# Stopping


async def test_a_worker_answers_at_once_that_it_is_stopping(tmp_path: Path) -> None:
    """Async attempts are cancelled, plain functions get their grace, and then it exits."""
    async with open_worker(tmp_path, slots=2) as worker:
        worker.run(1, cleans_up)
        worker.run(2, blocked)
        await gate.wait_reached()
        with trio.fail_after(HANG_SECONDS):
            while not done:  # noqa: ASYNC110  it is loaded in a thread, perhaps later than the other
                await trio.sleep(0.001)
        worker.send(StopWorker(grace_seconds=2 * HANG_SECONDS))
        await worker.expect(WorkerStopping)
        assert not worker.ended.is_set()
        gate.opened.set()
        assert await worker.result(2) == "done"
        await worker.ended.wait()
        assert sorted(done) == ["blocked", "cleaned up", "runs"]


async def test_a_worker_waits_no_longer_than_its_grace(tmp_path: Path) -> None:
    """A plain function that is still running then runs until the process ends."""
    async with open_worker(tmp_path) as worker:
        worker.run(1, blocked)
        await gate.wait_reached()
        worker.send(StopWorker(grace_seconds=0.05))
        with trio.fail_after(HANG_SECONDS):
            await worker.ended.wait()
        assert done == []


async def test_a_stopping_worker_begins_nothing_more(tmp_path: Path) -> None:
    """Neither what it holds, nor what it was loading."""
    async with open_worker(tmp_path, slots=1) as worker:
        worker.run(1, blocked)
        worker.run(2, plain)
        await gate.wait_reached()
        worker.send(StopWorker(grace_seconds=HANG_SECONDS))
        await worker.expect(WorkerStopping)
        gate.opened.set()
        await worker.ended.wait()
        assert [m.attempt_id for m in worker.messages] == [1]


async def test_an_async_function_loaded_while_its_worker_stops_is_not_begun(
    tmp_path: Path, slow_module: Callable[[int, str], DefineFunction]
) -> None:
    """The thread that has loaded it finds nobody to hand it to."""
    async with open_worker(tmp_path) as worker:
        worker.send(slow_module(1, "later"), attempt(1, 1))
        await gate.wait_reached()
        worker.send(StopWorker(grace_seconds=HANG_SECONDS))
        await worker.expect(WorkerStopping)
        gate.opened.set()
        await worker.ended.wait()
        assert worker.messages == []


async def test_the_heart_beats_until_the_context_is_closed(tmp_path: Path) -> None:
    """A worker whose cleanup takes its time does not look as if it hung."""
    setup = encode_value(slow_to_close, "setup")
    async with open_worker(tmp_path, heartbeat_seconds=0.01, setup=setup) as worker:
        worker.send(StopWorker())
        await worker.expect(WorkerStopping)
        await gate.wait_reached()
        beat = last_beat(worker.begun_path)
        await wait_beat_after(worker, beat)
        gate.opened.set()
        await worker.ended.wait()


@asynccontextmanager
async def slow_to_close(index: int) -> AsyncIterator[None]:
    yield
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(gate.wait)


# Which exceptions are retried


class Unwanted(Exception):
    pass


def raise_value_error() -> None:
    raise ValueError("odd")


def raise_unwanted() -> None:
    raise Unwanted


async def raise_later() -> None:
    raise ValueError("odd, later")


async def sleep_on() -> None:
    await trio.sleep_forever()


def wants_odd(error: BaseException) -> bool:
    return "odd" in str(error)


def cannot_tell(error: BaseException) -> bool:
    raise LookupError("the rule is broken")


def leaves(error: BaseException) -> bool:
    sys.exit("from a rule")


RULES: dict[str, tuple[Any, list[bool]]] = {
    "no rule": (None, [False, False, False]),
    "a type": (ValueError, [False, True, False]),
    "a base": (Exception, [False, False, False]),
    "types": ((KeyError, Unwanted), [True, False, True]),
    "no types": ((), [True, True, True]),
    "a predicate": (wants_odd, [False, True, False]),
}


@pytest.mark.parametrize(("rule", "is_final"), RULES.values(), ids=RULES.keys())
async def test_a_rule_says_which_exceptions_are_retried(
    tmp_path: Path, rule: Any, is_final: list[bool]
) -> None:
    """It is asked where the exception is; a failure that it does not want is final."""
    retry_on = None if rule is None else encode_value(rule, "retry_on")
    async with open_worker(tmp_path) as worker:
        functions = [raise_value_error, raise_unwanted, raise_later]
        for attempt_id, function in enumerate(functions, 1):
            worker.run(attempt_id, function, retry_on=retry_on)
        failed = [await worker.expect(AttemptFailed, i) for i in (1, 2, 3)]
        assert [message.is_final for message in failed] == is_final


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (encode_value(cannot_tell, "rule"), "LookupError: the rule is broken"),
        (encode_value(leaves, "rule"), "SystemExit: from a rule"),
        (by_name("no_such_module", "rule"), "No module named 'no_such_module'"),
    ],
    ids=["raises", "exits", "cannot be imported"],
)
@pytest.mark.parametrize("function", [raise_value_error, raise_later])
async def test_a_rule_that_fails_makes_the_failure_final(
    tmp_path: Path, rule: bytes, text: str, function: Callable[..., Any]
) -> None:
    """What is told is the failure itself, and below its traceback what the rule raised."""
    async with open_worker(tmp_path) as worker:
        worker.run(1, function, retry_on=rule)
        failed = await worker.expect(AttemptFailed, 1)
        assert failed.is_final
        assert isinstance(failed.failure, Raised)
        assert failed.failure.type_name == "ValueError"
        original, _, told = failed.failure.traceback.partition("retry_on then raised:")
        assert "ValueError: odd" in original
        assert text in told
        worker.run(2, quick)
        assert await worker.result(2) == "quick"


async def test_a_time_limit_is_no_business_of_the_rule(tmp_path: Path) -> None:
    """Whether running too long is retried was decided with the policy."""
    retry_on = encode_value((), "retry_on")
    async with open_worker(tmp_path) as worker:
        worker.run(1, sleep_on, timeout_seconds=0.01, retry_on=retry_on)
        failed = await worker.expect(AttemptFailed, 1)
        assert (failed.failure, failed.is_final) == (TimedOut(0.01), False)


async def test_a_failed_import_is_an_exception_to_the_rule_as_any_other(tmp_path: Path) -> None:
    """An ImportError is retried where the rule wants it."""
    async with open_worker(tmp_path) as worker:
        worker.send(DefineFunction(1, "f", by_name("no_such_module", "f")))
        for attempt_id, kind in ((1, ImportError), (2, ValueError)):
            rule = encode_value(kind, "rule")
            worker.send(attempt(attempt_id, 1, retry_on=rule))
        failed = [await worker.expect(AttemptFailed, i) for i in (1, 2)]
        assert [message.is_final for message in failed] == [False, True]


def test_rules_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, a bounded number is kept, and each is right."""
    monkeypatch.setattr(retry_rules, "RULES_MAX", 10)
    rules = retry_rules.RetryRules()
    failure = Raised("ValueError", "", "", None)
    for number in range(100):
        kinds = (KeyError,) * (number + 1) + ((ValueError,) if number % 2 else ())
        encoded = encode_value(kinds, "rule")
        for _ in range(2):
            assert rules.judge(encoded, ValueError(), failure) == (failure, number % 2 == 0)
        assert len(rules._decoded) <= 10


# What a task knows of itself


def tell_attempt() -> tuple[int, int]:
    return current_task().attempt_id, current_task().attempt


async def test_a_task_knows_the_number_of_its_attempt(tmp_path: Path) -> None:
    """It is the one in every message, and larger for each new attempt."""
    async with open_worker(tmp_path) as worker:
        worker.run(41, tell_attempt)
        assert await worker.result(41) == (41, 1)


# Numbers of functions


def make_closure(number: object) -> Callable[[], object]:
    def closure() -> object:
        return number

    return closure


closure = make_closure(7)


def create_closure() -> None:
    current_task().create_task(closure)


def create_given(function: Callable[[], object]) -> None:
    current_task().create_task(function)


def create_until_open() -> int:
    created = 0
    while not gate.opened.wait(1e-5):  # lets the other threads have their turn
        current_task().create_task(closure)
        created += 1
        gate.reached.set()
    return created


def marked(function: Callable[..., Any], number: int) -> bytes:
    """Arguments with a copy of a function in them that carries a number of the coordinator."""
    arguments, _ = encode_call((function,), {}, "f", lambda f: (COORDINATOR, number))
    return arguments


async def test_a_function_made_in_a_worker_gets_a_number_until_it_is_forgotten(
    tmp_path: Path,
) -> None:
    """It is introduced once; and once more, under another number, after it was forgotten."""
    async with open_worker(tmp_path) as worker:
        worker.run(1, create_closure)
        number = (await worker.expect(DefineFunction)).function_id
        assert (await worker.expect(CreateTask)).function == number
        worker.run(2, create_closure)
        assert (await worker.expect(CreateTask)).function == number
        worker.send(ForgetFunctions((number,)))
        assert (await worker.expect(FunctionsForgotten)).function_ids == (number,)
        worker.run(3, create_closure)
        again = (await worker.expect(DefineFunction)).function_id
        assert again != number
        assert (await worker.expect(CreateTask)).function == again


async def test_the_number_on_a_copy_is_good_while_it_is_defined(tmp_path: Path) -> None:
    """Told that it may name it, a worker does; before and after, it introduces the copy."""
    async with open_worker(tmp_path) as worker:
        runs = [
            msgspec.structs.replace(attempt(i, 1), arguments=marked(closure, 50)) for i in (1, 2, 3)
        ]
        worker.send(define(1, create_given), runs[0])
        assert (await worker.expect(DefineFunction)).function_id >= FIRST_ID
        assert (await worker.expect(CreateTask, 1)).function != 50
        worker.send(DefineFunction(50, "m:closure", b""), runs[1])
        assert (await worker.expect(CreateTask, 2)).function == 50
        worker.send(ForgetFunctions((50,)), runs[2])
        await worker.expect(FunctionsForgotten)
        assert (await worker.expect(DefineFunction)).function_id >= FIRST_ID


async def test_the_number_of_a_function_that_is_never_forgotten_is_always_good(
    tmp_path: Path,
) -> None:
    """Those of assigned and registered functions are below the coordinator's own."""
    async with open_worker(tmp_path) as worker:
        run = msgspec.structs.replace(attempt(1, 1), arguments=marked(closure, COORDINATOR - 2))
        worker.send(define(1, create_given), run)
        assert (await worker.expect(CreateTask)).function == COORDINATOR - 2


async def test_a_function_forgotten_and_defined_anew_in_one_frame_runs(tmp_path: Path) -> None:
    """In the order in which it was said; the new definition counts."""
    async with open_worker(tmp_path) as worker:
        worker.send(define(100, make_closure("old")), attempt(1, 100))
        assert await worker.result(1) == "old"
        worker.send(ForgetFunctions((100,)), define(100, make_closure("new")), attempt(2, 100))
        assert await worker.result(2) == "new"
        await worker.expect(FunctionsForgotten)


async def test_nothing_is_named_after_the_answer_that_it_is_forgotten(tmp_path: Path) -> None:
    """A thread that creates tasks all the time, and the coordinator that has it forget, do race."""
    async with open_worker(tmp_path) as worker:
        worker.run(1, create_until_open)
        await gate.wait_reached()
        for _ in range(100):
            defined = await worker.expect(DefineFunction)
            worker.messages.clear()  # of the many creations
            worker.send(ForgetFunctions((defined.function_id,)))
        gate.opened.set()
        created = await worker.result(1)
    known: set[int] = set()
    creations = 0
    for message in worker.history:
        if isinstance(message, DefineFunction):
            known.add(message.function_id)
        elif isinstance(message, FunctionsForgotten):
            known -= set(message.function_ids)
        elif isinstance(message, CreateTask):
            assert message.function in known
            creations += 1
    assert creations == created


async def test_a_function_forgotten_while_it_is_loaded_leaves_nothing(
    tmp_path: Path, slow_module: Callable[[int, str], DefineFunction]
) -> None:
    """Its attempt was cancelled before; what the thread then has loaded is not kept."""
    async with open_worker(tmp_path) as worker:
        worker.send(slow_module(1, "plain"), attempt(1, 1))
        await gate.wait_reached()
        worker.send(CancelAttempt(1), ForgetFunctions((1,)))
        await worker.expect(FunctionsForgotten)
        gate.opened.set()
        await worker.expect(AttemptStopped, 1)
        worker.run(2, tell_tables)
        assert await worker.result(2) == [1, 0, 1, 1, 0]  # of itself


def tell_tables() -> list[int]:
    functions: Any = current_task()._attempt.runner._functions
    tables = ("_known", "_payloads", "_loaded", "_numbers", "_loading")
    return [len(getattr(functions, table)) for table in tables]


# What counts as begun


async def seize() -> None:
    gate.wait()  # and with it trio's thread


async def test_only_what_was_called_has_begun(tmp_path: Path) -> None:
    """An async attempt may have its slot and still wait for its first turn."""
    read: list[tuple[frozenset[int], frozenset[int]]] = []

    def look() -> None:
        gate.reached.wait(HANG_SECONDS)
        read.append(take_begun(worker.begun_path))
        gate.opened.set()

    async with open_worker(tmp_path, slots=10) as worker:
        worker.send(define(1, seize), define(2, quick), attempt(9, 2))
        assert await worker.result(9) == "quick"  # and so it is loaded
        gate.opened.set()
        worker.send(attempt(8, 1))
        await worker.expect(AttemptSucceeded, 8)
        gate.opened.clear()
        gate.reached.clear()
        thread = threading.Thread(target=look)
        thread.start()
        worker.send(attempt(10, 1), *(attempt(i, 1) for i in range(11, 16)))
        await worker.expect(AttemptSucceeded, 10)
        await trio.to_thread.run_sync(thread.join)
    ((running, begun),) = read
    assert len(running) == 1  # trio chooses whose turn it is
    assert begun == running | {8, 9}


# A coordinator that does not read


async def test_a_task_that_creates_faster_than_is_read_has_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread stands still, and nothing else: the heart beats, and messages are taken."""
    monkeypatch.setattr(link, "UNSENT_BYTES_MAX", 100_000)
    async with open_worker(tmp_path, slots=2, heartbeat_seconds=0.01) as worker:
        worker.may_read = trio.Event()
        worker.run(1, create_many, 20_000)
        await gate.wait_reached()
        with trio.fail_after(HANG_SECONDS):
            while not is_waiting(create_many):  # noqa: ASYNC110  nobody tells
                await trio.sleep(0.01)
        await wait_beat_after(worker, last_beat(worker.begun_path))
        worker.run(2, blocked)
        gate.opened.set()
        await wait_beat_after(worker, last_beat(worker.begun_path))
        assert is_waiting(create_many)
        worker.may_read.set()
        assert await worker.result(2) == "done"
        assert await worker.result(1) == 20_000
        creations = [m for m in worker.history if isinstance(m, CreateTask)]
        assert len(creations) == 20_000


def create_many(number: int) -> int:
    for created in range(number):
        current_task().create_task(quick, bytes(1_000))
        if created == 100:
            gate.reached.set()
    return number


def is_waiting(function: Callable[..., Any]) -> bool:
    """Whether some thread is in this function, and there waits for room on the link."""
    for top in sys._current_frames().values():
        frame: types.FrameType | None = top
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        if function.__code__ in codes and link.Link.wait_for_room.__code__ in codes:
            return True
    return False
