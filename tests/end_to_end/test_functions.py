"""End to end: where a task's function may live, and what kind of function it may be.

Worker processes never run `__main__` again: what lives there travels by value, so that it makes no
difference how a program was started.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import operator
import os
import subprocess
import sys
import textwrap
import types
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_actor_graph import (
    Coordinator,
    GraphError,
    TaskFailed,
    TaskGraph,
    WorkerLoop,
    WorkerLost,
    current_task,
    open_coordinator,
)

ROOT = Path(__file__).resolve().parent.parent.parent

# Programs that keep everything in `__main__`

MAIN = textwrap.dedent(
    """
    import dataclasses, enum, functools, json, os, typing
    import trio
    from trio_actor_graph import TaskFailed, WorkerLoop, current_task, open_coordinator

    with open("runs", "a") as runs:  # no guard: nobody else runs this
        runs.write("x")

    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
        y: object = None

    class Colour(enum.Enum):
        RED = 1

    class Pair(typing.NamedTuple):
        left: int
        right: int

    class Trouble(Exception):
        pass

    class Adder:
        def __init__(self, number):
            self.number = number
        def add(self, number):
            return self.number + number
        async def add_later(self, number):
            await trio.sleep(0)
            return self.number + number
        @classmethod
        def of(cls, number):
            return cls(number)
        @staticmethod
        def twice(number):
            return 2 * number
        def __call__(self, number):
            return self.number * number
        def where(self):
            return os.getpid()

    class Later:
        async def __call__(self, number):
            await trio.sleep(0)
            return number

    def move(point):
        return dataclasses.replace(point, x=point.x + 1)

    async def move_later(point):
        await trio.sleep(0)
        return move(point)

    def is_point(value):
        return isinstance(value, Point)

    def closure_adding(number):
        def add(other):
            return number + other
        return add

    def fail():
        raise Trouble("in", "main")

    def countdown(number):
        return current_task().create_task(countdown, number - 1) if number else Point(0)

    async def fibonacci(number):
        if number < 2:
            return number
        create_task = current_task().create_task
        children = [create_task(fibonacci, number - i) for i in (1, 2)]
        return sum([await child.result() for child in children])

    def where():
        return os.getpid()

    async def where_later():
        await trio.sleep(0)
        return os.getpid()

    def make_where():
        def where_closed():
            return origin, os.getpid()
        origin = 7
        return where_closed

    where_closed = make_where()

    def create_in_task(function):
        return current_task().create_task(function)

    def create_where():  # knows it as a global, not as an argument
        return current_task().create_task(where)

    async def await_where():
        return await current_task().create_task(where).result()

    async def main():
        loops = [
            WorkerLoop("default"),
            WorkerLoop("own", functions=[where, where_later, where_closed, Adder.where]),
        ]
        told = {}
        async with open_coordinator(loops, functions=[move]) as coordinator:
            async with coordinator.open_graph(on_failure="continue") as graph:
                run = graph.create_task
                tasks = {
                    "plain": run(move, Point(1)),
                    "async": run(move_later, Point(1)),
                    "by name": run("move", Point(1)),
                    "data edge": run(move, run(move_later, Point(1))),
                    "isinstance there": run(is_point, run(move, Point(1))),
                    "enum": run(closure_adding, 1, name="unused"),
                    "closure": run(closure_adding(1), 2),
                    "lambda": run(lambda point: point.x, Point(5)),
                    "method": run(Adder(1).add, 2),
                    "async method": run(Adder(1).add_later, 2),
                    "class method": run(Adder.of, 3),
                    "static method": run(Adder.twice, 2),
                    "callable object": run(Adder(3), 2),
                    "async callable object": run(Later(), 2),
                    "partial": run(functools.partial(move, point=Point(1))),
                    "class": run(Point, 1, Colour.RED),
                    "named tuple": run(Pair, 1, 2),
                    "builtin": run(len, [Point(1)]),
                    "type": run(list, (Point(1), Colour.RED)),
                    "recursion": run(countdown, 5),
                    "recursion awaited": run(fibonacci, 6),
                }
                trouble = run(fail)
                own = [
                    run(where), run(where_later), run(Adder(1).where),
                    run(create_where), run(await_where),
                    *(run(create_in_task, f) for f in (where, where_later, Adder(1).where)),
                ]
                closed = [run(where_closed), run(create_in_task, where_closed)]
                pids = {}
                for name in "default", "own":
                    pids[name] = await run(os.getpid, worker_loop=name).result()
                for name, task in tasks.items():
                    await task.wait()
                    told[name] = task.error is None and task.result_nowait()
                assert told.pop("enum")(2) == 3
                assert isinstance(told["plain"], Point)
                assert isinstance(told["class method"], Adder)
                assert told["class"].y is Colour.RED
                told["class method"] = told["class method"].number
                assert isinstance(told["named tuple"], Pair)
                try:
                    await trouble.result()
                except TaskFailed as error:
                    assert isinstance(error.__cause__, Trouble)
                    told["exception"] = error.__cause__.args
                told["own"] = [await task.result() == pids["own"] for task in own]
                told["closed"] = [tuple(await task.result()) == (7, pids["own"]) for task in closed]
                assert pids["own"] != pids["default"]
        for name, value in sorted(told.items()):
            print(name, "=", value)

    trio.run(main)
    print(len(open("runs").read()), "run")
    """
)
MAIN_TOLD = """\
async = Point(x=2, y=None)
async callable object = 2
async method = 3
builtin = 1
by name = Point(x=2, y=None)
callable object = 6
class = Point(x=1, y=<Colour.RED: 1>)
class method = 3
closed = [True, True]
closure = 3
data edge = Point(x=3, y=None)
exception = ('in', 'main')
isinstance there = True
lambda = 5
method = 3
named tuple = Pair(left=1, right=2)
own = [True, True, True, True, True, True, True, True]
partial = Point(x=2, y=None)
plain = Point(x=2, y=None)
recursion = Point(x=0, y=None)
recursion awaited = 8
static method = 4
type = [Point(x=1, y=None), <Colour.RED: 1>]
1 run
"""
FROM_STDIN = """
import subprocess, sys
with open("program.py") as program:
    sys.exit(subprocess.run([sys.executable, "-"], stdin=program).returncode)
"""


@pytest.mark.parametrize("how", ["a file", "-m package.module", "-m package", "-c", "stdin"])
def test_a_program_may_keep_everything_in_main(
    how: str, tmp_path: Path, run_program: Callable[..., Any]
) -> None:
    """However it was started: functions, classes and exceptions of `__main__` go there and back.

    Instances are of the app's own classes again, assigned functions run in their loop wherever they
    were created, and the program, which has no guard, ran once.
    """
    package = tmp_path / "package"
    package.mkdir()
    names = ("__init__.py", "module.py", "__main__.py")
    for path, text in zip(map(package.joinpath, names), ("", MAIN, MAIN), strict=True):
        path.write_text(text)
    (tmp_path / "program.py").write_text(MAIN)
    program, options = {
        "a file": (Path("program.py"), ()),
        "-m package.module": (Path("package.module"), ("-m",)),
        "-m package": (Path("package"), ("-m",)),
        "-c": (Path("exec(open('program.py').read())"), ("-c",)),
        "stdin": (FROM_STDIN, ()),
    }[how]
    run = run_program(program, python_options=options, cwd=tmp_path)
    assert (run.stderr, run.stdout, run.returncode) == ("", MAIN_TOLD, 0)


FUNCTIONS_ONLY = """
import sys
from trio_actor_graph import current_task

def modules():
    return sorted(sys.modules)

def child():
    return current_task().create_task(modules)
"""
PROGRAM = """
import functions_only, heavy, json, trio
from trio_actor_graph import WorkerLoop, open_coordinator

async def main():
    async with open_coordinator([WorkerLoop("default")]) as coordinator:
        async with coordinator.open_graph() as graph:
            return await graph.create_task(functions_only.child).result()

print(json.dumps(trio.run(main)))
"""


def test_a_function_of_a_module_makes_its_worker_import_little(
    tmp_path: Path, run_program: Callable[..., Any]
) -> None:
    """Its module, and of ours only what a worker needs: what it imports decides when it begins."""
    (tmp_path / "functions_only.py").write_text(FUNCTIONS_ONLY)
    (tmp_path / "heavy.py").write_text("")
    run = run_program(PROGRAM, env={"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"})
    assert (run.stderr, run.returncode) == ("", 0)
    modules = set(json.loads(run.stdout))
    assert "trio_actor_graph.worker.runner" in modules
    assert not modules & {
        "cloudpickle",
        "heavy",
        "program",
        "rich",
        "trio_actor_graph.by_value",
        "trio_actor_graph.coordinator",
        "trio_actor_graph.engine.processes",
        "trio_actor_graph.graph.scheduler",
        "trio_actor_graph.handles",
    }


# Inside pytest: this very module, and functions inside of functions


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: object = None


class Colour(enum.Enum):
    RED = 1


class Account:
    def __init__(self, balance: int):
        self.balance = balance

    def read(self, factor: int = 1) -> int:
        return self.balance * factor

    async def read_later(self, factor: int = 1) -> int:
        await trio.lowlevel.checkpoint()
        return self.balance * factor

    def __call__(self, factor: int = 1) -> int:
        return self.balance * factor


def move(point: Point) -> Point:
    return dataclasses.replace(point, x=point.x + 1)


async def clock() -> bool:
    return trio.current_time() > 0


@functools.cache
def cached(number: int) -> int:
    return 2 * number


def where() -> int:
    return os.getpid()


def make_where(origin: object) -> Callable[[], object]:
    def where_closed() -> object:
        return origin, os.getpid()

    return where_closed


def produce() -> Iterator[int]:
    yield 1


async def produce_later() -> AsyncIterator[int]:
    yield 1


class Producer:
    def produce(self) -> Iterator[int]:
        yield 1

    async def produce_later(self) -> AsyncIterator[int]:
        yield 1

    def __call__(self) -> Iterator[int]:
        yield 1


GENERATORS: dict[str, tuple[Any, str]] = {
    "a generator function": (produce, "produce"),
    "an async one": (produce_later, "produce_later"),
    "in a partial": (functools.partial(produce), "produce"),
    "a method": (Producer().produce, "produce"),
    "an async method": (Producer().produce_later, "produce_later"),
    "an object": (Producer(), "Producer"),
}


@pytest.mark.parametrize(("function", "name"), GENERATORS.values(), ids=GENERATORS.keys())
async def test_generator_functions_are_refused(function: Any, name: str) -> None:
    """A task has one result: what would yield several is refused where it was written."""

    def create() -> str:
        with pytest.raises(GraphError, match=f"{name}.*generator"):
            current_task().create_task(function)
        return "refused in a task too"

    async with (
        open_coordinator([WorkerLoop("default", processes=0)]) as coordinator,
        coordinator.open_graph() as graph,
    ):
        with pytest.raises(GraphError, match=f"{name}.*generator"):
            graph.create_task(function)
        assert await graph.create_task(create).result() == "refused in a task too"
        assert graph.counts()["succeeded"] == 1


async def gather(graph: TaskGraph, calls: dict[str, tuple[Any, ...]]) -> dict[str, object]:
    tasks = {name: graph.create_task(*call) for name, call in calls.items()}
    return {name: await task.result() for name, task in tasks.items()}


async def test_all_kinds_of_functions(worker: Coordinator) -> None:
    """Whatever can be called can be a task, with keyword arguments by `functools.partial`."""
    number = 40
    mapping = {"a": 1}

    def nested(value: int) -> int:
        return number + value

    async def nested_later(value: int) -> int:
        await trio.lowlevel.checkpoint()
        return nested(value)

    async with worker.open_graph() as graph:
        assert await gather(
            graph,
            {
                "of a test module": (move, Point(1)),
                "uses a module": (clock,),
                "nested": (nested, 2),
                "nested, async": (nested_later, 2),
                "lambda": (lambda a, b: (a, b), 1, Point(2)),
                "builtin": (sum, [1, 2]),
                "of C": (operator.add, 1, 2),
                "method of a builtin": ("-".join, ["a", "b"]),
                "bound method of a dict": (mapping.get, "a"),
                "unbound": (str.upper, "a"),
                "class": (Point, 1, Colour.RED),
                "builtin class": (Counter, "aab"),
                "method": (Account(7).read, 2),
                "async method": (Account(7).read_later, 2),
                "object": (Account(7), 3),
                "class method": (dict.fromkeys, "ab"),
                "partial": (functools.partial(Account(7).read, factor=3),),
                "partial of a partial": (functools.partial(functools.partial(pow, 2), mod=5), 3),
                "partial of an async one": (functools.partial(nested_later, value=2),),
                "item getter": (operator.itemgetter(1), "ab"),
                "method caller": (operator.methodcaller("upper"), "a"),
                "cached": (cached, 2),
                "recursive closure": (make_factorial(), 5),
            },
        ) == {
            "of a test module": Point(2),
            "uses a module": True,
            "nested": 42,
            "nested, async": 42,
            "lambda": (1, Point(2)),
            "builtin": 3,
            "of C": 3,
            "method of a builtin": "a-b",
            "bound method of a dict": 1,
            "unbound": "A",
            "class": Point(1, Colour.RED),
            "builtin class": Counter("aab"),
            "method": 14,
            "async method": 14,
            "object": 21,
            "class method": {"a": None, "b": None},
            "partial": 21,
            "partial of a partial": 3,
            "partial of an async one": 42,
            "item getter": "b",
            "method caller": "A",
            "cached": 4,
            "recursive closure": 120,
        }


def make_factorial() -> Callable[[int], int]:
    def factorial(number: int) -> int:
        return number * factorial(number - 1) if number else 1

    return factorial


async def test_a_cached_function_without_a_name_travels(worker: Coordinator) -> None:
    """`functools.cache` on a nested function, as on one of `__main__`: each process caches."""

    @functools.cache
    def double(number: int) -> int:
        return 2 * number

    async with worker.open_graph() as graph:
        assert await graph.create_task(double, 2).result() == 4


async def test_a_method_sees_its_object_as_of_the_call(worker: Coordinator) -> None:
    """Each task gets a copy of the object as it was then; the app's own never changes by itself."""

    def spend(account: Account) -> int:
        account.balance -= 1
        return account.balance

    async with worker.open_graph() as graph:
        account = Account(1)
        read, later = account.read, account.read_later  # kept: one object for several calls
        tasks = []
        for balance in (1, 2, 3):
            account.balance = balance
            tasks += [
                graph.create_task(read),
                graph.create_task(later),
                graph.create_task(account.read),
            ]
        account.balance = 99
        assert [await task.result() for task in tasks] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert await graph.create_task(spend, account).result() == 98
        assert account.balance == 99


async def test_a_method_in_a_task_sees_its_object_as_of_the_call(worker: Coordinator) -> None:
    """The same inside a worker."""

    async def create() -> list[int]:
        account = Account(0)
        read = account.read
        tasks = []
        for balance in (1, 2):
            account.balance = balance
            tasks += [current_task().create_task(read), current_task().create_task(account.read)]
        return [await task.result() for task in tasks]

    async with worker.open_graph() as graph:
        assert await graph.create_task(create).result() == [1, 1, 2, 2]


async def test_functions_may_be_arguments_and_results(worker: Coordinator) -> None:
    """They travel as values do: what a task returns can be called, or made a task of."""

    def make_adding(number: int) -> Callable[[int], int]:
        return lambda other: number + other

    def call(function: Callable[[int], int], value: int) -> int:
        return function(value)

    async with worker.open_graph() as graph:
        adding = graph.create_task(make_adding, 40)
        assert await graph.create_task(call, adding, 2).result() == 42
        function = await adding.result()
        assert function(3) == 43
        assert await graph.create_task(function, 4).result() == 44


async def test_a_graph_of_tasks_of_their_own_kind(worker: Coordinator) -> None:
    """A nested function that creates itself, again and again, is one function."""

    def count(number: int) -> Any:
        return current_task().create_task(count, number - 1) if number else "done"

    async with worker.open_graph() as graph:
        assert await graph.create_task(count, 50).result() == "done"
        assert graph.counts()["succeeded"] == 51
        assert {task.name for task in graph.tasks} == {"count"}


async def test_what_wraps_a_copy_of_a_task_function_is_a_function_of_its_own(
    worker: Coordinator,
) -> None:
    """functools.wraps hands attributes on; none of them makes a wrapper pass for what it wraps."""

    def double(x: int) -> int:
        return 2 * x

    def create_wrapped(function: Callable[[int], int]) -> Any:
        @functools.wraps(function)
        def wrapper(x: int) -> tuple[str, int]:
            return "wrapped", function(x)

        return current_task().create_task(wrapper, 1)

    async with worker.open_graph() as graph:
        assert await graph.create_task(double, 1).result() == 2
        assert await graph.create_task(create_wrapped, double).result() == ("wrapped", 2)


async def test_an_assigned_function_runs_in_its_loop_wherever_it_was_created() -> None:
    """A worker has a copy of it, known again as the one assigned: by the app, in every way."""
    first, second = make_where("first"), make_where("second")
    hidden = lambda: ("hidden", os.getpid())  # noqa: E731
    method = Account(5).read

    def create(function: Callable[[], object]) -> Any:
        return current_task().create_task(function)

    def create_closed_over(name: str) -> Any:
        kinds = {"first": first, "second": second, "hidden": hidden, "where": where}
        return current_task().create_task(kinds[name])

    loops = [
        WorkerLoop("default"),
        WorkerLoop("one", functions=[where, first, method], concurrency=2),
        WorkerLoop("two", functions=[second, hidden]),
    ]
    async with open_coordinator(loops) as coordinator, coordinator.open_graph() as graph:
        one, two = [
            await graph.create_task(os.getpid, worker_loop=loop).result() for loop in ("one", "two")
        ]
        expected = {
            "where": one,
            "first": ("first", one),
            "second": ("second", two),
            "hidden": ("hidden", two),
        }
        functions = {"where": where, "first": first, "second": second, "hidden": hidden}
        assert await gather(graph, {n: (f,) for n, f in functions.items()}) == expected
        assert await gather(graph, {n: (create, f) for n, f in functions.items()}) == expected
        assert await gather(graph, {n: (create_closed_over, n) for n in functions}) == expected
        chosen = graph.create_task(where, worker_loop="two")
        assert await chosen.result() == two  # the call says otherwise


# Modules that a worker cannot import


def tell_exit(name: str) -> str:
    return f"import os, sys\nif os.getpid() != {os.getpid()}: {name}\ndef f(): return 1\n"


IMPORT_ERRORS = {
    "gone_module": ("", "No module named 'gone_module'"),
    "raising_module": (tell_exit("raise RuntimeError('not here')"), "RuntimeError: not here"),
    "exiting_module": (tell_exit("sys.exit('no import')"), "SystemExit: no import"),
    "other_module": (
        tell_exit("del sys.modules[__name__].__dict__['os']; raise NameError"),
        "NameError",
    ),
}


@pytest.fixture
def awkward_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules that can be imported here and nowhere else."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = {}
    for name, (text, _) in IMPORT_ERRORS.items():
        if text:
            (tmp_path / f"{name}.py").write_text(text)
        modules[name] = module = types.ModuleType(name)
        exec("def f(): return 1", module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
    return modules


async def test_loading_a_function_is_not_bounded_by_the_time_limit_of_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: Coordinator
) -> None:
    """However long it takes beyond the moment at which the coordinator looks after the task."""
    slow = f"import os, time\nif os.getpid() != {os.getpid()}: time.sleep(1.5)\n"
    text = slow + "def f(): return 1\nasync def g(): return 2\n"
    (tmp_path / "slow_to_load.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = types.ModuleType("slow_to_load")
    exec(text, module.__dict__)
    monkeypatch.setitem(sys.modules, "slow_to_load", module)
    async with worker.open_graph() as graph:
        tasks = [graph.create_task(each, timeout_seconds=0.2) for each in (module.f, module.g)]
        assert [await task.result() for task in tasks] == [1, 2]
        assert [task.attempt for task in tasks] == [1, 1]


async def test_a_module_that_cannot_be_imported_fails_its_tasks_only(
    awkward_modules: dict[str, Any], worker: Coordinator
) -> None:
    """Each says why, with the traceback of the import; the worker goes on with other tasks."""
    async with worker.open_graph() as graph:
        pid = await graph.create_task(os.getpid).result()
        for name, module in awkward_modules.items():
            with pytest.raises(TaskFailed) as caught:
                await graph.create_task(module.f).result()
            assert IMPORT_ERRORS[name][1] in str(caught.value)
            assert not isinstance(caught.value, WorkerLost)
        assert await graph.create_task(os.getpid).result() == pid


@pytest.fixture
async def worker() -> AsyncIterator[Coordinator]:
    """A coordinator with one worker process."""
    async with open_coordinator([WorkerLoop("default")]) as coordinator:
        yield coordinator


def test_what_pytest_runs_can_be_a_task_in_any_layout(tmp_path: Path) -> None:
    """Also where the names of test modules are made up, in packages and out of them."""
    text = textwrap.dedent(
        """
        import os, pytest, trio
        from trio_actor_graph import WorkerLoop, open_coordinator

        def double(number):
            return 2 * number

        async def test_it():
            async with open_coordinator([WorkerLoop("default")]) as coordinator:
                async with coordinator.open_graph() as graph:
                    assert await graph.create_task(double, 21).result() == 42
                    assert await graph.create_task(lambda: double(4)).result() == 8
        """
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    (tmp_path / "alone").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("")
    (tmp_path / "alone/test_alone.py").write_text(text)
    (tmp_path / "package/test_packed.py").write_text(text)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--import-mode=importlib", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert "2 passed" in run.stdout


CLASSES_OF_MAIN = """
import trio
from trio_actor_graph import WorkerLoop, open_coordinator

class Counter:
    count = 0

class Slots:
    __slots__ = ("x",)
    def __init__(self, x):
        self.x = x

def count_up():
    Counter.count += 5
    Counter.added = True
    return Counter()

def identity(value):
    return value

async def main():
    async with open_coordinator([WorkerLoop("default")]) as coordinator:
        async with coordinator.open_graph() as graph:
            counter = await graph.create_task(count_up).result()
            print(type(counter) is Counter, Counter.count, hasattr(Counter, "added"))
            slots = await graph.create_task(identity, Slots(3)).result()
            print(type(slots) is Slots, slots.x)
            nested = Slots(graph.create_task(identity, Slots(4)))
            nested = await graph.create_task(identity, nested).result()
            print(type(nested.x) is Slots, nested.x.x)

trio.run(main)
"""


def test_classes_of_main_stay_as_they_are(run_program: Callable[..., Any]) -> None:
    """What a worker does to its copy of a class is not done to the program's own.

    Objects come back as its instances all the same, those with `__slots__` too.
    """
    run = run_program(CLASSES_OF_MAIN)
    assert (run.stderr, run.stdout) == ("", "True 0 False\nTrue 3\nTrue 4\n")


async def test_a_copy_from_one_coordinator_is_a_function_to_another() -> None:
    """A function that came back as a result can be used, and created in tasks, by the next."""

    def job() -> int:
        return 7

    def give(function: Callable[[], int]) -> Callable[[], int]:
        return function

    def relay(function: Callable[[], int]) -> Any:
        return current_task().create_task(function)

    loops = [WorkerLoop("default", functions=[job])]
    async with open_coordinator(loops) as first, first.open_graph() as graph:
        copy = await graph.create_task(give, job).result()
    async with open_coordinator([WorkerLoop("default")]) as second, second.open_graph() as graph:
        assert await graph.create_task(relay, copy).result() == 7
        assert await graph.create_task(copy).result() == 7


async def test_a_function_that_only_a_worker_has_fails_in_the_app() -> None:
    """A task for a loop of the app's own process, which cannot import it, fails alone."""

    def parent() -> None:
        module = sys.modules["only_here"] = types.ModuleType("only_here")
        exec("def f(): return 1", module.__dict__)
        current_task().create_task(module.f, worker_loop="app")

    loops = [WorkerLoop("default"), WorkerLoop("app", processes=0)]
    async with open_coordinator(loops) as coordinator, coordinator.open_graph() as graph:
        await graph.create_task(parent).result()
        with pytest.raises(TaskFailed, match="No module named 'only_here'"):
            await graph.tasks[1].result()
        assert await graph.create_task(where, worker_loop="app").result() == os.getpid()
