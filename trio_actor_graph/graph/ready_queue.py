"""The ready tasks of one worker loop, by priority, first come first served within one priority.

A bucket per priority in use: programs use a handful of priorities and thousands of tasks, for
which this is cheaper than one heap of tuples, and order of arrival needs no sequence number.
A bucket is an ordered dictionary, because a ready task that is cancelled leaves the queue at once:
the length decides how many workers to start, and a cancelled graph must not live on in here.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class ReadyQueue(Generic[T]):
    """Different items by priority; larger first. None is pushed while it is there."""

    __slots__ = ("_buckets", "_length", "_priorities")

    def __init__(self) -> None:
        self._buckets: dict[int, OrderedDict[T, None]] = {}
        self._priorities: list[int] = []  # ascending, those with a non-empty bucket
        self._length = 0

    def __bool__(self) -> bool:
        return bool(self._priorities)

    def __len__(self) -> int:
        return self._length

    def push(self, item: T, priority: int) -> None:
        """Put it behind those of its priority."""
        bucket = self._buckets.get(priority)
        if bucket is None:
            bucket = self._new_bucket(priority)
        bucket[item] = None
        self._length += 1

    def push_first(self, item: T, priority: int) -> None:
        """Put it before those of its priority: for what had its turn already and was given back."""
        self.push(item, priority)
        self._buckets[priority].move_to_end(item, last=False)

    def discard(self, item: T, priority: int) -> None:
        """Remove it, if it is there."""
        bucket = self._buckets.get(priority)
        if bucket is not None:
            self._length -= bucket.pop(item, self) is None
            if not bucket:
                del self._buckets[priority]
                self._priorities.remove(priority)

    def first(self) -> T:
        """The item that `pop` would return.

        Raises:
            IndexError: the queue is empty.
        """
        return next(iter(self._buckets[self._priorities[-1]]))

    def pop(self) -> T:
        """Remove and return the first item of the largest priority.

        Raises:
            IndexError: the queue is empty.
        """
        priority = self._priorities[-1]
        bucket = self._buckets[priority]
        item, _ = bucket.popitem(last=False)
        self._length -= 1
        if not bucket:
            self._priorities.pop()
            del self._buckets[priority]
        return item

    def items(self) -> Iterator[T]:
        """Every item, in the order in which `pop` would return them."""
        for priority in reversed(self._priorities):
            yield from self._buckets[priority]

    def _new_bucket(self, priority: int) -> OrderedDict[T, None]:
        bucket: OrderedDict[T, None] = OrderedDict()
        self._buckets[priority] = bucket
        insort(self._priorities, priority)
        return bucket
