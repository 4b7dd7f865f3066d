"""Collaboration: two links on one socket pair, and the reader of frames fed in every way.

No processes: both ends of a link are the same class, and a socket pair stands between them.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import trio
import trio.testing

from trio_actor_graph import link as link_module
from trio_actor_graph.errors import PayloadError, ProtocolError
from trio_actor_graph.link import (
    FRAME_BYTES_MAX,
    REPORT_BYTES_MAX,
    FrameReader,
    Link,
    encode_frames,
)
from trio_actor_graph.messages import (
    CancelAttempt,
    DefineFunction,
    FromWorker,
    StopWorker,
    ToWorker,
    WorkerReady,
)
from trio_actor_graph.payload import PAYLOAD_BYTES_MAX

# Samples of every message, made from the annotations of their fields


def samples(kind: Any, depth: int = 4) -> list[Any]:
    """A few values of a type: for a struct, together every variant of each of its fields."""
    origin, parameters = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if NoneType in parameters and depth <= 0:  # a type may contain itself
            return [None]
        return [value for member in parameters for value in samples(member, depth)]
    if origin is Literal:
        return list(parameters)
    if origin in (tuple, frozenset):
        members = samples(parameters[0], depth - 1) if depth > 0 else []
        return [origin(), origin(members)]
    if origin is dict:
        keys, values = (samples(parameter, depth - 1) for parameter in parameters)
        return [{}, dict(zip(keys, values, strict=True))]
    if issubclass(kind, msgspec.Struct):
        return structs(kind, depth)
    return {
        int: [0, (1 << 53) - 1],
        float: [0.0, 2.5],
        str: ["", "näme\n\u20ac"],
        bytes: [b"", b"\0\xff" * 200],
        bool: [False, True],
        NoneType: [None],
    }[kind]


def structs(kind: type[msgspec.Struct], depth: int) -> list[msgspec.Struct]:
    hints = get_type_hints(kind)
    fields = {name: samples(hints[name], depth - 1) for name in kind.__struct_fields__}
    number = max(map(len, fields.values()), default=1)
    return [
        kind(**{name: values[i % len(values)] for name, values in fields.items()})
        for i in range(number)
    ]


DIRECTIONS = pytest.mark.parametrize("kind", [ToWorker, FromWorker], ids=["to", "from"])


# The reader of frames


def framed(*frames: Sequence[msgspec.Struct]) -> bytes:
    return b"".join(part for messages in frames for part in encode_frames(messages))


def body_framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def read(kind: Any, *pieces: bytes) -> list[msgspec.Struct]:
    reader: FrameReader[msgspec.Struct] = FrameReader(kind)
    return [message for piece in pieces for message in reader.feed(piece)]


@DIRECTIONS
def test_every_message_survives_the_way(kind: Any) -> None:
    """What is read equals what was sent, every kind of message with every kind of field."""
    messages = samples(kind)
    assert {type(message) for message in messages} == set(kind.__args__)
    assert read(kind, framed(messages)) == messages


@DIRECTIONS
def test_frames_may_be_cut_anywhere(kind: Any) -> None:
    """Byte by byte, or cut in two at every byte: the same messages in the same order."""
    messages = samples(kind, depth=1)
    data = framed(messages[:3], [], messages[3:])
    assert read(kind, *(data[i : i + 1] for i in range(len(data)))) == messages
    for cut in range(len(data) + 1):
        assert read(kind, data[:cut], data[cut:]) == messages


def test_messages_appear_as_soon_as_their_frame_is_whole() -> None:
    """Not before its last byte, not later, and what follows it is kept."""
    reader: FrameReader[msgspec.Struct] = FrameReader(ToWorker)
    first, second = framed([CancelAttempt(1)]), framed([CancelAttempt(2), StopWorker()])
    assert reader.feed(b"") == []
    assert reader.feed(first[:-1]) == []
    assert reader.feed(first[-1:] + second[:2]) == [CancelAttempt(1)]
    assert reader.feed(second[2:]) == [CancelAttempt(2), StopWorker()]
    assert reader.feed(b"") == []


def test_a_length_that_promises_more_than_comes_waits() -> None:
    """A frame that is not whole is no error: its rest may still come."""
    frame = framed([CancelAttempt(1)])
    assert read(ToWorker, b"\x40\x00\x00\x00" + frame[4:]) == []


@pytest.mark.parametrize("size", [REPORT_BYTES_MAX + 1, int.from_bytes(b"GET "), FRAME_BYTES_MAX])
def test_a_length_that_cannot_be_is_refused_at_once(size: int) -> None:
    """No worker sends a frame of that size: nothing of it is waited for, let alone kept."""
    head = size.to_bytes(4, "big")
    limit = f"{REPORT_BYTES_MAX:,}"
    with pytest.raises(ProtocolError, match=f"a frame of {size:,} bytes; the limit is {limit}"):
        read(FromWorker, head[:3], head[3:])


def test_the_largest_value_fits_into_a_report() -> None:
    """Alone, as a result is; and the coordinator may send more to its workers."""
    assert PAYLOAD_BYTES_MAX + 1_000_000 < REPORT_BYTES_MAX < FRAME_BYTES_MAX
    reader: FrameReader[msgspec.Struct] = FrameReader(ToWorker, FRAME_BYTES_MAX)
    assert reader.feed(b"\xff\xff\xff\xff") == []


def encoded(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


CANCEL = encoded([CancelAttempt(1)])
DEEP_CONDITION = b"\x92\xa3all\x91" * 100_000
RUBBISH = {
    "an empty frame": b"",
    "a byte that msgpack never uses": b"\xc1",
    "a length shorter than its message": CANCEL[:-1],
    "a length longer than its message": CANCEL + b"\0",
    "no list": encoded(7),
    "a map": encoded({1: 2}),
    "a list of no messages": encoded([7, "x"]),
    "a message of no fields": encoded([[]]),
    "an unknown tag": encoded([[99, 1]]),
    "a tag of the wrong type": encoded([["11", 1]]),
    "a message of the other direction": encoded([WorkerReady(1)]),
    "a field too few": encoded([[12]]),
    "a field of the wrong type": encoded([[12, "1"]]),
    "none for a number": encoded([[12, None]]),
    "text that is not UTF-8": b"\x91\x94\x01\x01\xa1\xff\xc4\x00",
    "one bad message among good ones": encoded([CancelAttempt(1), [99], CancelAttempt(2)]),
    "a string that claims 4 GiB": b"\x91\x92\x0c\xdb\xff\xff\xff\xff",
    "a list that claims 4 G members": b"\xdd\xff\xff\xff\xff",
    "lists in lists": b"\x91" * 1_000_000 + b"\x90",
    "lists in a field that is not read": b"\x91\x93\x0c\x01" + b"\x91" * 1_000_000 + b"\x90",
}


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH.keys())
def test_rubbish_is_a_protocol_error(body: bytes) -> None:
    """Whatever is not a frame of these messages is refused, and never guessed at."""
    with pytest.raises(ProtocolError, match="not a frame of messages"):
        read(ToWorker, body_framed(body))


def test_conditions_nested_too_deep_are_a_protocol_error() -> None:
    """A message that would exhaust the stack is refused, as is any other rubbish."""
    message = b"\x94\x1d\x05\x06" + DEEP_CONDITION
    with pytest.raises(ProtocolError, match="not a frame of messages"):
        read(FromWorker, body_framed(b"\x91" + message))


@pytest.mark.parametrize("seed", range(5))
def test_damaged_frames_are_read_or_refused(seed: int) -> None:
    """A few bytes changed anywhere: messages, patience or ProtocolError, and nothing else."""
    chance = random.Random(seed)
    whole = framed(samples(FromWorker, depth=2))
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            messages = read(FromWorker, bytes(data))
        except ProtocolError:
            continue
        assert all(isinstance(message, tuple(FromWorker.__args__)) for message in messages)


def test_a_batch_too_large_for_one_frame_becomes_several() -> None:
    """Order is kept; only a single message that is too large is refused, with its size."""
    messages = [DefineFunction(i, "f", b"x" * 40) for i in range(7)]
    frames = list(encode_frames(messages, 100))
    assert all(len(frame) <= 104 for frame in frames)
    assert len(frames) > 1
    assert read(ToWorker, *frames) == messages
    with pytest.raises(PayloadError, match=r"a message of 1\d\d bytes; the limit is 100"):
        encode_frames([*messages, DefineFunction(7, "f", b"x" * 120)], 100)


# Links


@asynccontextmanager
async def open_pair() -> AsyncGenerator[tuple[Link[Any], Link[Any]]]:
    """Two connected links, without their drains."""
    ends = [trio.socket.from_stdlib_socket(end) for end in socket.socketpair()]
    links = [Link[Any](trio.SocketStream(end), ToWorker) for end in ends]
    try:
        yield links[0], links[1]
    finally:
        for link in links:
            await link.aclose()


async def take(link: Link[Any], number: int) -> list[Any]:
    """The next `number` messages."""
    messages: list[Any] = []
    async with aclosing(link.receive()) as batches:
        while len(messages) < number:
            messages += await anext(batches)
    return messages


@asynccontextmanager
async def draining(*links: Link[Any]) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        for link in links:
            nursery.start_soon(link.drain)
        yield
        nursery.cancel_scope.cancel()


async def test_a_message_needs_nobody_but_the_kernel() -> None:
    """What fits into the kernel's buffer is on its way when `send` returns, drained or not."""
    async with open_pair() as (left, right):
        messages = samples(ToWorker)
        left.send(messages)
        left.send([])
        assert left.unsent_bytes == 0
        assert await take(right, len(messages)) == messages


async def test_a_slow_reader_holds_up_nobody_and_loses_nothing() -> None:
    """`send` never waits; what the peer has not read is kept in order and drained as it reads."""
    messages = [DefineFunction(i, "f", b"x" * (1000 + i % 7 * 5000)) for i in range(1000)]
    async with open_pair() as (left, right):
        for message in messages:
            left.send([message])
        unsent = left.unsent_bytes
        assert unsent > 10_000_000
        async with draining(left):
            await trio.testing.wait_all_tasks_blocked()
            assert 0 < left.unsent_bytes <= unsent
            first = await take(right, 10)
            left.send([StopWorker()])
            assert first + await take(right, 1001 - len(first)) == [*messages, StopWorker()]
        assert left.unsent_bytes == 0


async def test_300_megabytes_in_one_frame_each_way() -> None:
    """The size of a value is bounded by its own limit, not by the link, and both ends survive."""
    big = DefineFunction(1, "big", bytes(1024) * 300_000)
    async with open_pair() as (left, right), draining(left, right):
        left.send([big])
        (there,) = await take(right, 1)
        assert there == big
        del big
        right.send([there, StopWorker()])
        assert await take(left, 2) == [there, StopWorker()]


async def test_a_peer_that_has_gone_is_told_by_the_reader_alone() -> None:
    """Sending to it changes nothing and raises nothing; receiving ends."""
    async with open_pair() as (left, right):
        left.send([CancelAttempt(1)])
        right.send([CancelAttempt(2)])
        await right.aclose()
        left.send([CancelAttempt(3)])
        left.send([DefineFunction(1, "f", bytes(10_000_000))])
        assert left.unsent_bytes == 0
        received = [batch async for batch in left.receive()]
        assert received in ([[CancelAttempt(2)]], [])  # a reset may overtake what was sent


async def test_a_peer_that_goes_with_half_a_frame_unread_frees_it() -> None:
    """What can no longer be sent is forgotten, and the drain has nothing to do."""
    async with open_pair() as (left, right), draining(left):
        left.send([DefineFunction(1, "f", bytes(10_000_000))])
        assert left.unsent_bytes > 0
        await trio.testing.wait_all_tasks_blocked()
        await right.aclose()
        with trio.fail_after(5):
            while left.unsent_bytes:
                await trio.testing.wait_all_tasks_blocked()
        left.send([CancelAttempt(1)])
        assert left.unsent_bytes == 0


@pytest.mark.parametrize("stalls", [False, True], ids=["read at once", "read late"])
async def test_threads_send_at_once_without_mixing(stalls: bool) -> None:
    """Frames from several threads never interleave, and each thread's own come in its order."""
    threads, each = 4, 400
    async with open_pair() as (left, right), draining(left):

        def send_all(thread: int) -> None:
            for number in range(each):
                payload = bytes([thread]) * (number % 10 * 1500)
                left.send([DefineFunction(number, f"thread {thread}", payload)])

        workers = [threading.Thread(target=send_all, args=(i,)) for i in range(threads)]
        for worker in workers:
            worker.start()
        if stalls:
            for worker in workers:
                await trio.to_thread.run_sync(worker.join)
            assert left.unsent_bytes > 0
        messages = await take(right, threads * each)
        for worker in workers:
            await trio.to_thread.run_sync(worker.join)
    for thread in range(threads):
        own = [m for m in messages if m.qualified_name == f"thread {thread}"]
        assert [m.function_id for m in own] == list(range(each))
        assert all(m.payload == bytes([thread]) * (m.function_id % 10 * 1500) for m in own)


async def test_both_ends_talk_at_once() -> None:
    """Much unread on both sides is no deadlock."""
    messages = [DefineFunction(i, "f", bytes(100_000)) for i in range(50)]
    received: dict[str, list[Any]] = {}

    async def receive(name: str, link: Link[Any]) -> None:
        received[name] = await take(link, len(messages))

    async with open_pair() as (left, right), draining(left, right):
        for message in messages:
            left.send([message])
            right.send([message])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, "left", left)
            nursery.start_soon(receive, "right", right)
    assert received == {"left": messages, "right": messages}


@pytest.mark.parametrize("sent", ["rubbish", "unknown", "other way"])
async def test_a_peer_that_talks_nonsense_ends_the_receiving(sent: str) -> None:
    """What came before the nonsense is delivered, then ProtocolError."""
    nonsense: dict[str, Callable[[], bytes]] = {
        "rubbish": lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100),
        "unknown": lambda: body_framed(encoded([[99]])),
        "other way": lambda: framed([WorkerReady(1)]),
    }
    ours, theirs = socket.socketpair()
    link = Link[Any](trio.SocketStream(trio.socket.from_stdlib_socket(ours)), ToWorker)
    with theirs:
        try:
            theirs.sendall(framed([CancelAttempt(1)]))
            async with aclosing(link.receive()) as batches:
                assert await anext(batches) == [CancelAttempt(1)]
                theirs.sendall(nonsense[sent]())
                with pytest.raises(ProtocolError):
                    await anext(batches)
        finally:
            await link.aclose()


async def test_closing_ends_whoever_receives() -> None:
    """`aclose` in one task ends `receive` in another, quietly."""
    batches: list[Any] = []

    async def receive(link: Link[Any]) -> None:
        batches.extend([batch async for batch in link.receive()])
        batches.append("over")

    async with open_pair() as (left, _), trio.open_nursery() as nursery:
        nursery.start_soon(receive, left)
        await trio.testing.wait_all_tasks_blocked()
        await left.aclose()
    assert batches == ["over"]


# Slow and full


async def test_threads_wait_for_a_peer_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What piles up is bounded, trio's own thread never waits, and nothing is lost."""
    monkeypatch.setattr(link_module, "UNSENT_BYTES_MAX", 1_000_000)
    threads, each, size = 3, 300, 20_000
    unsent: list[int] = []

    def send_all(thread: int) -> None:
        for number in range(each):
            left.send([DefineFunction(number, f"thread {thread}", bytes(size))])
            unsent.append(left.unsent_bytes)
            left.wait_for_room()

    async with open_pair() as (left, right), draining(left), trio.open_nursery() as nursery:
        for thread in range(threads):
            nursery.start_soon(trio.to_thread.run_sync, send_all, thread)
        with trio.fail_after(30):
            while left.unsent_bytes <= 1_000_000:  # noqa: ASYNC110  until they wait
                await trio.sleep(0.001)
        left.send([CancelAttempt(1)])
        messages = await take(right, threads * each + 1)
    assert max(unsent) < 1_000_000 + threads * (size + 1_000) + 1_000
    for thread in range(threads):
        own = [m for m in messages if getattr(m, "qualified_name", "") == f"thread {thread}"]
        assert [m.function_id for m in own] == list(range(each))


@pytest.mark.parametrize("how", ["closed here", "closed there"])
async def test_threads_that_wait_for_room_are_freed_when_the_link_ends(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """There is nobody left to wait for."""
    monkeypatch.setattr(link_module, "UNSENT_BYTES_MAX", 1_000)
    async with open_pair() as (left, right), draining(left), trio.open_nursery() as nursery:
        left.send([DefineFunction(1, "f", bytes(5_000_000))])
        nursery.start_soon(trio.to_thread.run_sync, left.wait_for_room)
        await trio.testing.wait_all_tasks_blocked()
        assert left.unsent_bytes > 1_000
        await (left if how == "closed here" else right).aclose()
        left.wait_for_room()
    assert left.unsent_bytes == 0


async def test_both_ends_full_at_once_with_threads_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each waits for the other to read, and both do read: all arrives."""
    monkeypatch.setattr(link_module, "UNSENT_BYTES_MAX", 100_000)
    messages = [DefineFunction(i, "f", bytes(50_000)) for i in range(200)]
    received: list[list[Any]] = []

    def send_all(link: Link[Any]) -> None:
        for message in messages:
            link.send([message])
            link.wait_for_room()

    async def receive(link: Link[Any]) -> None:
        received.append(await take(link, len(messages)))

    async with (
        open_pair() as (left, right),
        draining(left, right),
        trio.open_nursery() as nursery,
    ):
        for link in (left, right):
            nursery.start_soon(trio.to_thread.run_sync, send_all, link)
        await trio.testing.wait_all_tasks_blocked()
        for link in (left, right):
            nursery.start_soon(receive, link)
    assert received == [messages, messages]


@pytest.mark.parametrize("seed", range(3))
async def test_any_rubbish_from_a_peer_ends_the_receiving(seed: int) -> None:
    """Random bytes over a real socket: messages, the end or ProtocolError, and nothing else."""
    chance = random.Random(seed)
    for _ in range(20):
        ours, theirs = socket.socketpair()
        link = Link[Any](trio.SocketStream(trio.socket.from_stdlib_socket(ours)), FromWorker)
        with theirs:
            body = chance.randbytes(chance.randrange(200))
            size = chance.choice([len(body), chance.randrange(1 << 32), chance.randrange(100)])
            theirs.sendall(size.to_bytes(4, "big") + body)
            theirs.shutdown(socket.SHUT_WR)
            try:
                async for batch in link.receive():
                    assert all(isinstance(m, tuple(FromWorker.__args__)) for m in batch)
            except ProtocolError:
                pass
            finally:
                await link.aclose()


@pytest.mark.parametrize("cut", range(len(framed([CancelAttempt(1), CancelAttempt(2)]))))
async def test_a_link_that_ends_within_a_frame_just_ends(cut: int) -> None:
    """At whatever byte: what was whole before is delivered, and of the rest nothing."""
    ours, theirs = socket.socketpair()
    link = Link[Any](trio.SocketStream(trio.socket.from_stdlib_socket(ours)), ToWorker)
    try:
        with theirs:
            frame = framed([CancelAttempt(1), CancelAttempt(2)])
            theirs.sendall(framed([CancelAttempt(0)]) + frame[:cut])
        assert [m async for batch in link.receive() for m in batch] == [CancelAttempt(0)]
    finally:
        await link.aclose()
