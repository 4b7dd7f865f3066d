"""Contract: results come back as they were, and tasks among arguments become their results."""

from __future__ import annotations

import datetime
import functools
import math
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from uuid import UUID

import numpy as np
import pytest
import trio

from trio_actor_graph import TaskSkipped

from .bodies import (
    Colour,
    Numbers,
    Pair,
    Path,
    Point,
    add,
    echo,
    echo_async,
    fail,
    is_same,
    told,
)
from .conftest import Engine

VALUES = [
    None,
    True,
    0,
    -(10**40),
    -0.0,
    math.inf,
    1j,
    "",
    "snow \N{SNOWMAN} \0 \ud800",
    b"",
    b"\xff\0",
    bytearray(b"abc"),
    (),
    (1,),
    (1, (2, [3, {"four": (5,)}])),
    [],
    [(), [], {}],
    set(),
    {1},
    frozenset(),
    frozenset({(1, 2)}),
    {},
    {1: "a", (2, 3): {"b": [None]}},
    OrderedDict([("b", 1), ("a", 2)]),
    defaultdict(list, {"a": [1]}),
    deque([1, 2], maxlen=3),
    Counter("aab"),
    range(1, 10, 3),
    slice(1, None),
    Ellipsis,
    Numbers([1, 2]),
    Point(1, [Point(2)]),
    Path(Point(1), [Colour.RED]),
    Colour.BLUE,
    Pair(1, Pair("a", None)),
    Decimal("1.10"),
    Fraction(1, 3),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    datetime.date(1, 1, 1),
    datetime.timedelta(days=-1, microseconds=1),
    UUID(int=7),
    PurePosixPath("/a/b"),
    len,
    echo,
    Point,
    ValueError("returned, not raised", 1),
]


async def test_results_keep_their_type_and_value(engine: Engine) -> None:
    """What a function returns is what `result` gives, in its type and all that is inside."""
    async with engine.graph("values") as graph:
        plain = [graph.create_task(echo, value) for value in VALUES]
        coroutine = [graph.create_task(echo_async, value) for value in VALUES]
        for tasks in (plain, coroutine):
            results = [await task.result() for task in tasks]
            assert list(map(type, results)) == list(map(type, VALUES))
            assert list(map(repr, results)) == list(map(repr, VALUES))
            assert results[:-1] == VALUES[:-1]  # exceptions are equal to themselves only


ARRAYS = [
    np.arange(12, dtype=">i2").reshape(3, 4).T,
    np.zeros((0, 3), dtype=np.float32),
    np.array([(1, b"a")], dtype=[("n", "i8"), ("s", "S1")]),
    np.arange(300_000, dtype=np.float64),
]


async def test_arrays_keep_shape_and_dtype(engine: Engine) -> None:
    """A numpy array comes back with its dtype, shape and contents, through two tasks."""
    async with engine.graph("arrays") as graph:
        for array in ARRAYS:
            first = graph.create_task(echo, array)
            result = await graph.create_task(echo, [first]).result()
            assert [type(x) for x in result] == [np.ndarray]
            assert (result[0].dtype, result[0].shape) == (array.dtype, array.shape)
            assert result[0].tolist() == array.tolist()


async def test_large_bytes_travel_whole(engine: Engine) -> None:
    """A result of some megabytes is the same through argument, result and data edge."""
    data = bytes(range(256)) * 20_000
    async with engine.graph("large") as graph:
        first = graph.create_task(echo, data)
        second = graph.create_task(echo, (first, first))
        assert await second.result() == (data, data)


async def test_a_result_is_decoded_once(engine: Engine) -> None:
    """`result` gives the same object at each call, and `result_nowait` too."""
    async with engine.graph("once") as graph:
        task = graph.create_task(echo, [1])
        result = await task.result()
        assert result == [1]
        assert await task.result() is result
        assert task.result_nowait() is result


async def test_arguments_are_taken_when_the_task_is_created(engine: Engine) -> None:
    """What the caller changes afterwards, or another task changes, is not seen by a task."""

    def grow(numbers: list[int]) -> list[int]:
        numbers.append(9)
        return numbers

    async with engine.graph("copies") as graph:
        numbers = [1]
        task = graph.create_task(grow, numbers)
        numbers.append(2)
        both = [graph.create_task(grow, task) for _ in range(2)]
        assert await task.result() == [1, 9]
        assert [await t.result() for t in both] == [[1, 9, 9], [1, 9, 9]]
        assert numbers == [1, 2]


async def test_a_task_inside_the_arguments_becomes_its_result(engine: Engine) -> None:
    """A task anywhere inside the arguments is a data edge, and its result takes its place."""
    async with engine.graph("edges") as graph:
        seven = graph.create_task(add, 3, 4)
        word = graph.create_task(echo_async, "word")
        arguments = {
            "itself": (seven, 7),
            "list": ([seven, [word]], [7, ["word"]]),
            "tuple": ((seven, (word,)), (7, ("word",))),
            "named tuple": (Pair(seven, word), Pair(7, "word")),
            "dict value": ({"a": {"b": seven}}, {"a": {"b": 7}}),
            "dict key": ({word: seven}, {"word": 7}),
            "set": ({seven, 1}, {7, 1}),
            "frozenset": (frozenset([word]), frozenset(["word"])),
            "dataclass": (Path(seven, [word]), Path(7, ["word"])),
            "frozen dataclass": (Point(seven, Point(word)), Point(7, Point("word"))),
            "subclass of list": (Numbers([seven]), Numbers([7])),
            "deque": (deque([seven]), deque([7])),
        }
        tasks = {where: graph.create_task(echo, value) for where, (value, _) in arguments.items()}
        results = {where: await task.result() for where, task in tasks.items()}
        assert results == {where: expected for where, (_, expected) in arguments.items()}
        assert tasks["dict key"].predecessors == (word, seven)
        words = ["list", "tuple", "named tuple", "dict key"]
        words += ["frozenset", "dataclass", "frozen dataclass"]
        assert word.successors == tuple(tasks[where] for where in words)


async def test_keywords_come_by_partial(engine: Engine) -> None:
    """`functools.partial` gives keyword arguments, nested ones too, and tasks inside them count."""
    async with engine.graph("partial") as graph:
        seven = graph.create_task(add, 3, 4)
        inner = functools.partial(echo, unit="m", size=[seven])
        task = graph.create_task(functools.partial(inner, seven, unit="km"))
        assert task.name == "echo"
        assert await task.result() == (7, {"unit": "km", "size": [7]})
        assert await graph.create_task(functools.partial(add, 1, seven), 2).result() == 10
        assert await graph.create_task(functools.partial(echo_async, value=seven)).result() == 7


async def test_one_task_is_one_object_in_the_arguments(engine: Engine) -> None:
    """The same task twice in the arguments of one call gives the same object twice."""
    async with engine.graph("same") as graph:
        numbers = graph.create_task(echo, [1, 2])
        again = graph.tasks[0]
        same = graph.create_task(is_same, numbers, again)
        assert await same.result() is True
        assert same.predecessors == (numbers,)
        assert await graph.create_task(functools.partial(is_same, second=again), numbers).result()


async def test_any_callable_can_be_a_task(engine: Engine) -> None:
    """Closures, lambdas, bound methods, classes, builtins and async callable objects all run."""
    offset = 10

    class Adder:
        def __init__(self, number: int):
            self.number = number

        def add(self, other: int) -> int:
            return self.number + other

        async def __call__(self, other: int) -> int:
            return self.number * other

        @classmethod
        def made(cls, number: int) -> int:
            return cls(number).number

        @staticmethod
        def negative(number: int) -> int:
            return -number

    adder = Adder(3)
    async with engine.graph("callables") as graph:
        tasks = [
            graph.create_task(lambda x: x + offset, 1),
            graph.create_task(adder.add, 4),
            graph.create_task(adder, 5),
            graph.create_task(Adder.made, 6),
            graph.create_task(Adder.negative, 7),
            graph.create_task(divmod, 17, 5),
            graph.create_task(complex, 1, 2),
            graph.create_task(str.upper, "a"),
        ]
        assert [await task.result() for task in tasks] == [11, 7, 15, 6, -7, (3, 2), 1 + 2j, "A"]
        assert [task.name for task in tasks] == [
            "<lambda>", "add", "Adder", "made", "negative", "divmod", "complex", "upper",
        ]  # fmt: skip


async def test_a_bound_method_takes_its_object_as_it_is_now(engine: Engine) -> None:
    """The object of a bound method travels with each call, as it is at that moment."""

    class Counted:
        number = 0

        def read(self) -> int:
            return self.number

    counted = Counted()
    async with engine.graph("methods") as graph:
        results = []
        for number in range(3):
            counted.number = number
            results.append(await graph.create_task(counted.read).result())
        assert results == [0, 1, 2]


async def test_a_task_is_skipped_when_one_in_its_arguments_fails(engine: Engine) -> None:
    """A failed argument skips its successors, all along, and the error tells the first cause."""
    async with engine.graph("skips") as graph:
        bad = graph.create_task(fail, "bad luck", name="bad")
        middle = graph.create_task(echo, {"deep": [bad]}, name="middle")
        last = graph.create_task(add, 1, middle, name="last")
        failed = ("TaskFailed", f"task 'bad' ({bad.uid}) failed: ValueError: bad luck")
        cause = (*failed, ("ValueError", "bad luck", None))
        for task in (middle, last):
            with pytest.raises(TaskSkipped) as caught:
                await task.result()
            reason = f"because task 'bad' ({bad.uid}) failed"
            text = f"task {task.name!r} ({task.uid}) was skipped {reason}"
            assert told(caught.value) == ("TaskSkipped", text, cause)
            assert told(task.error) == told(caught.value)
        assert [t.state for t in graph.tasks] == ["failed", "skipped", "skipped"]
        assert [t.attempt for t in graph.tasks] == [1, 0, 0]


class Marked:
    """An object that tells how many of its kind there are."""

    def __init__(self) -> None:
        self.inner: list[int] = []


def _take(marked: Marked) -> None:
    pass


async def _take_async(marked: Marked) -> None:
    await trio.lowlevel.checkpoint()


def _marked_alive() -> int:
    import gc

    gc.collect()
    return sum(type(thing).__name__ == "Marked" for thing in gc.get_objects())


async def test_what_a_task_was_given_goes_with_it(process_engine: Engine) -> None:
    """No thread of a worker keeps the results that a task got, once that has ended."""
    async with process_engine.graph("gone", process_engine.loop(concurrency=2)) as graph:
        for function in (_take, _take_async, _take):
            await graph.create_task(function, graph.create_task(Marked)).result()
        assert await graph.create_task(_marked_alive).result() == 0
