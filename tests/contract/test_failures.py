"""Contract: whatever a task raises, returns or is given, its failure says what and where."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import trio

from trio_actor_graph import PayloadError, Task, TaskFailed, completed, link

from .bodies import (
    Coded,
    NeedsTwo,
    OutOfTheOrdinary,
    Path,
    Speechless,
    add,
    echo,
    fail,
    fail_async,
    told,
)
from .conftest import Engine


def throw(error: BaseException) -> None:
    raise error


async def throw_async(error: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def failure(task: Task) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        await task.result()
    return caught.value


@pytest.mark.parametrize("function", [fail, fail_async])
async def test_a_failure_tells_the_remote_traceback(engine: Engine, function: Any) -> None:
    """TaskFailed's text ends with the traceback of the task's own frames, and names the task."""
    async with engine.graph("failure") as graph:
        task = graph.create_task(function, "bad luck", name="unlucky")
        error = await failure(task)
        assert (error.task_uid, error.task_name) == (task.uid, "unlucky")
        first = f"task 'unlucky' ({task.uid}) failed: ValueError: bad luck"
        lines = str(error).splitlines()
        assert lines[:3] == [first, "", "Traceback (most recent call last):"]
        assert lines[3].endswith(f", in {function.__name__}")
        assert lines[3].startswith('  File "')
        assert 'bodies.py", line ' in lines[3]
        assert lines[4:] == ["    raise ValueError(text)", "ValueError: bad luck"]
        assert error.remote_traceback.splitlines() == lines[2:]
        assert told(error) == ("TaskFailed", first, ("ValueError", "bad luck", None))
        assert (task.state, told(task.error)) == ("failed", told(error))


async def test_the_traceback_tells_the_chain_of_exceptions(engine: Engine) -> None:
    """Exceptions raised from others, or while handling others, are in the remote traceback."""

    def chained() -> None:
        try:
            {}["key"]  # type: ignore[misc]
        except KeyError as error:
            raise ValueError("outer") from error

    async with engine.graph("chain") as graph:
        error = await failure(graph.create_task(chained))
        lines = error.remote_traceback.splitlines()
        assert "KeyError: 'key'" in lines
        assert "The above exception was the direct cause of the following exception:" in lines
        assert lines[-1] == "ValueError: outer"


EXCEPTIONS: list[tuple[BaseException, str, str, bool]] = [
    # what is raised, its type and text as told, and whether it can be made again
    (ValueError(), "ValueError", "", True),
    (KeyError("a", 1), "KeyError", "('a', 1)", True),
    (OSError(2, "gone", "/tmp/x"), "FileNotFoundError", "[Errno 2] gone: '/tmp/x'", True),
    (UnicodeDecodeError("ascii", b"\xff", 0, 1, "why"), "UnicodeDecodeError",
     "'ascii' codec can't decode byte 0xff in position 0: why", True),
    (Coded(7), "contract.bodies.Coded", "7", True),
    (StopIteration(3), "StopIteration", "3", True),
    (GeneratorExit("g"), "GeneratorExit", "g", True),
    (SystemExit(3), "SystemExit", "3", True),
    (OutOfTheOrdinary("o"), "contract.bodies.OutOfTheOrdinary", "o", True),
    (trio.TooSlowError("slow"), "trio.TooSlowError", "slow", True),
    (ExceptionGroup("two", [ValueError(1), TypeError("t")]), "ExceptionGroup",
     "two (2 sub-exceptions)", True),
    (BaseExceptionGroup("base", [SystemExit(1)]), "BaseExceptionGroup",
     "base (1 sub-exception)", True),
    (ValueError(threading.Lock), "ValueError", "<built-in function allocate_lock>", True),
]  # fmt: skip


@pytest.mark.parametrize("function", [throw, throw_async])
async def test_any_exception_is_a_failure_with_its_cause(engine: Engine, function: Any) -> None:
    """Whatever a task raises ends that task only, and comes back as `__cause__` with its args."""
    if function is throw_async:  # PEP 479: out of a coroutine it is a RuntimeError
        cases = [case for case in EXCEPTIONS if not isinstance(case[0], StopIteration)]
    else:
        cases = EXCEPTIONS
    async with engine.graph("exceptions", on_failure="continue") as graph:
        for raised, type_name, text, can_rebuild in cases:
            task = graph.create_task(function, raised, name="t")
            error = await failure(task)
            first = f"task 't' ({task.uid}) failed: {type_name}: {text}"
            assert str(error).splitlines()[0] == first
            cause = error.__cause__
            assert (cause is not None) is can_rebuild
            assert type(cause) is type(raised)
            assert repr(cause) == repr(raised)
        assert await graph.create_task(add, 1, 2).result() == 3


async def test_a_keyboard_interrupt_in_a_worker_is_a_failure(process_engine: Engine) -> None:
    """A task that raises KeyboardInterrupt in a process of its own fails, and that process lives.

    In the app's own process it is taken for what it usually is there: somebody pressed Ctrl-C.
    """
    async with process_engine.graph("interrupts") as graph:
        pid = await graph.create_task(_pid).result()
        for function in (throw, throw_async):
            task = graph.create_task(function, KeyboardInterrupt("k"), name="t")
            assert told(await failure(task)) == (
                "TaskFailed",
                f"task 't' ({task.uid}) failed: KeyboardInterrupt: k",
                ("KeyboardInterrupt", "k", None),
            )
        assert await graph.create_task(_pid).result() == pid


def _pid() -> int:
    return os.getpid()


async def test_attributes_of_an_exception_come_along(engine: Engine) -> None:
    """The rebuilt cause has the attributes and the notes of the original."""

    def raise_it() -> None:
        error = Coded(7)
        error.add_note("a note")
        error.code = 8
        raise error

    async with engine.graph("attributes") as graph:
        cause = (await failure(graph.create_task(raise_it))).__cause__
        assert isinstance(cause, Coded)
        assert (cause.args, cause.code, cause.__notes__) == ((7,), 8, ["a note"])


async def test_awkward_exceptions_are_told_as_well_as_they_can_be(engine: Engine) -> None:
    """What cannot be made again is told by text, without `__cause__`."""

    def needs_two() -> None:
        raise NeedsTwo("this", "that")

    def speechless() -> None:
        raise Speechless("never told")

    def unpicklable() -> None:
        raise ValueError("holds a lock", threading.Lock())

    async def local() -> None:
        class Local(Exception):
            def __reduce__(self) -> Any:
                raise RuntimeError("does not want to travel")

        raise Local("local")

    async with engine.graph("awkward", on_failure="continue") as graph:
        errors = {f: await failure(graph.create_task(f, name="t"))
                  for f in (needs_two, speechless, unpicklable, local)}  # fmt: skip
    firsts = [str(e).splitlines()[0].split(" failed: ")[1] for e in errors.values()]
    assert firsts[:2] == [
        "contract.bodies.NeedsTwo: this and that",
        "contract.bodies.Speechless: <its __str__ raised RuntimeError>",
    ]
    assert firsts[2].startswith("ValueError: ('holds a lock', <unlocked _thread.lock object")
    assert firsts[3].endswith(".local.<locals>.Local: local")
    assert errors[unpicklable].__cause__ is None
    assert told(errors[local].__cause__) == ("Local", "local", None)  # by another way than its own
    assert told(errors[needs_two].__cause__) == ("NeedsTwo", "this and that", None)
    last = [e.remote_traceback.splitlines()[-1] for e in errors.values()]
    assert last[0] == "contract.bodies.NeedsTwo: this and that"
    assert last[1].startswith("contract.bodies.Speechless: <")
    assert all("Traceback (most recent call last):" in e.remote_traceback for e in errors.values())


async def test_a_very_long_message_is_cut(engine: Engine) -> None:
    """An exception with a text of megabytes stays a failure that one can read and send."""
    async with engine.graph("long") as graph:
        task = graph.create_task(throw, ValueError("x" * 3_000_000))
        error = await failure(task)
        assert 100_000 <= len(str(error)) <= 210_000
        assert str(error).splitlines()[0].endswith("x" * 1_000)


async def test_an_unpicklable_result_fails_its_task(engine: Engine) -> None:
    """A result that cannot travel is that task's failure, naming the type and the place."""

    def result(kind: str) -> Any:
        import threading

        lock = threading.Lock()
        return {
            "itself": lock,
            "nested": {"a": [1, (lock,)]},
            "dataclass": [Path(0, [lock])],
            "generator": (n for n in "abc"),
        }[kind]

    async def result_async() -> Any:
        return [result("itself")]

    lock = "a _thread.lock cannot be pickled (TypeError: cannot pickle '_thread.lock' object)"
    generator = (
        "a builtins.generator cannot be pickled (TypeError: cannot pickle 'generator' object)"
    )
    cannot = "cannot be sent between processes"
    async with engine.graph("results", on_failure="continue") as graph:
        tasks = [
            graph.create_task(result, kind, name="t")
            for kind in ("itself", "nested", "dataclass", "generator")
        ]
        tasks.append(graph.create_task(result_async, name="t"))
        errors = [await failure(task) for task in tasks]
        told_causes = [told(error.__cause__) for error in errors]
        assert told_causes == [
            ("PayloadError", f"the result of task 't'{where} {cannot}: {what}", None)
            for where, what in (
                ("", lock),
                ("['a'][1][0]", lock),
                ("[0].points[0]", lock),
                ("", generator),
                ("[0]", lock),
            )
        ]
        assert await graph.create_task(echo, 1).result() == 1


async def test_wrong_arguments_are_the_tasks_failure(engine: Engine) -> None:
    """A call that does not fit the function fails as that call does in Python."""
    async with engine.graph("calls") as graph:
        error = await failure(graph.create_task(fail, 1, 2, 3))
        assert told(error.__cause__) == (
            "TypeError",
            "fail() takes from 0 to 1 positional arguments but 3 were given",
            None,
        )


async def test_a_value_that_breaks_on_arrival_fails_the_task(engine: Engine) -> None:
    """An argument or a result that cannot be decoded is a failure, and the worker goes on."""
    async with engine.graph("arrival", on_failure="continue") as graph:
        argument = graph.create_task(echo, Breaking())
        assert told((await failure(argument)).__cause__) == ("RuntimeError", "broken", None)
        result = graph.create_task(_return_breaking)
        with pytest.raises(Exception, match="broken"):
            await result.result()
        source = graph.create_task(_return_breaking)
        user = graph.create_task(echo, source)
        text = f"the result of task '_return_breaking' ({source.uid}) cannot be decoded"
        cause = (await failure(user)).__cause__
        assert told(cause)[:2] == ("PayloadError", f"{text}: RuntimeError: broken")
        assert await graph.create_task(echo, 1).result() == 1


def _break() -> None:
    raise RuntimeError("broken")


class Breaking:
    def __reduce__(self) -> Any:
        return _break, ()


def _return_breaking() -> Breaking:
    return Breaking()


async def test_an_exception_with_an_init_of_its_own_comes_home(engine: Engine) -> None:
    """It is made again without calling `__init__`: type, text, args and attributes are there."""

    def raise_it() -> None:
        raise Unreachable("url", code=404)

    async with engine.graph("own") as graph:
        cause = (await failure(graph.create_task(raise_it))).__cause__
        assert isinstance(cause, Unreachable)
        assert (str(cause), cause.args, cause.code) == ("url-404", ("url-404",), 404)


class Unreachable(Exception):
    def __init__(self, url: str, *, code: int):
        super().__init__(f"{url}-{code}")
        self.code = code


async def test_an_exception_that_cannot_be_named_is_a_failure(engine: Engine) -> None:
    """Also when its class refuses to say of what module it is."""

    def raise_it() -> None:
        class Nameless(type):
            @property
            def __module__(cls) -> str:  # type: ignore[override]
                raise RuntimeError("of no module")

        class Odd(Exception, metaclass=Nameless):
            pass

        raise Odd("odd")

    async with engine.graph("nameless") as graph:
        task = graph.create_task(raise_it, name="t")
        text = f"task 't' ({task.uid}) failed: an exception whose type cannot be named: odd"
        assert told(await failure(task)) == ("TaskFailed", text, None)
        assert await graph.create_task(echo, 1).result() == 1


async def test_what_is_too_large_to_send_fails_its_task(
    process_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that are too large together for one message fail who needs them, not the worker."""
    async with process_engine.graph("large", on_failure="continue") as graph:
        pid = await graph.create_task(os.getpid).result()
        parts = [graph.create_task(bytes, 4_000) for _ in range(3)]
        await graph.wait_finished()
        monkeypatch.setattr(link, "FRAME_BYTES_MAX", 10_000)
        error = await failure(graph.create_task(echo, waits_on=completed(parts)))
        assert isinstance(error.__cause__, PayloadError)
        assert str(error.__cause__).endswith("; the limit is 10,000")
        assert await graph.create_task(len, parts[0]).result() == 4_000
        assert await graph.create_task(os.getpid).result() == pid
