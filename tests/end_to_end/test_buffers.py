"""Core: segments of shared memory, as processes of one machine make, keep, map and lose them.

One process plays all parts here, unless a test says otherwise: a pool does not know whether who has
its segments is itself.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trio_actor_graph import payload
from trio_actor_graph.buffers import keeping, layout, pool, segment, windows
from trio_actor_graph.buffers.handing_over import (
    SegmentReceiver,
    SegmentSender,
    open_receiver,
    open_worker_pool,
)
from trio_actor_graph.buffers.keeping import Segment, take_over
from trio_actor_graph.buffers.pool import SegmentPool, is_supported
from trio_actor_graph.buffers.segment import (
    NAME,
    SegmentGone,
    decode_reference,
    encoded_size,
    is_reference,
)
from trio_actor_graph.engine import sockets
from trio_actor_graph.errors import PayloadError
from trio_actor_graph.payload import decode_value, encode_call, encode_value

pytestmark = pytest.mark.skipif(not is_supported(), reason="no segments on this system")

MIN = payload.SHARED_BYTES_MIN


@pytest.fixture
def own() -> Iterator[SegmentPool]:
    """A pool of this process, for this process."""
    own = SegmentPool()
    yield own
    own.close()


def array(number: int = 0, size: int = 2 * MIN) -> Any:
    return np.full(size // 8, number, dtype=np.float64)


def keep(own: SegmentPool, value: object) -> tuple[bytes, Segment]:
    """Encode a value and keep its segment, as a coordinator does with a result."""
    encoded, kept = take_over(encode_value(value, "x", pool=own), own.take)
    assert kept is not None
    return encoded, kept


def memfds() -> int:
    """How many descriptors of this process are segments."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(path.readlink()))
        except FileNotFoundError:  # the listing's own
            continue
    return sum(NAME in link for link in links)


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count(f"memfd:{NAME}")


# What goes into shared memory


def test_a_large_array_is_mapped_and_not_copied(own: SegmentPool) -> None:
    """What is decoded twice is in the same memory; it is read-only, and there as long as it is."""
    encoded, kept = keep(own, array(3))
    assert len(encoded) < 100
    assert encoded_size(encoded) >= array().nbytes
    first, second = decode_value(encoded), decode_value(encoded)
    assert mappings() == 2
    for got in first, second:
        assert got.dtype == np.float64
        assert (got == 3).all()
        assert not got.flags.writeable
        assert got.ctypes.data % 64 == 0
    del kept, second, got
    gc.collect()
    own.close()
    assert (first == 3).all()  # whoever has mapped it keeps it
    assert mappings() == 1
    del first
    assert mappings() == 0
    assert memfds() == 0


@pytest.mark.parametrize(
    "value",
    [
        array(1, 8 * MIN).astype(np.int16),
        array(2)[::2],
        np.asfortranarray(array(3).reshape(64, -1)),
        array(4).reshape(2, -1).T,
        np.zeros(MIN // 4, dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["x" * 50] * (MIN // 50)),
        np.array([object] * (MIN // 2)),
        bytes(2 * MIN),
        bytearray(2 * MIN),
        "x" * 2 * MIN,
        [b"a" * MIN, bytearray(MIN), [b"b" * MIN]],
        list(range(MIN)),
        {"a": array(5), "b": [array(6), 7], (8,): (array(9, 8), array(10))},
        [array(n, MIN + 8 * n) for n in range(40)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_large_values_come_back_equal_and_of_the_same_types(
    value: object, own: SegmentPool
) -> None:
    encoded, _kept = keep(own, value)
    np.testing.assert_equal(decode_value(encoded), value)
    assert pickle.dumps(decode_value(encoded)) == pickle.dumps(value)


def test_small_values_are_pickles_as_before(own: SegmentPool) -> None:
    small = array(1, MIN - 1000)
    for value in (None, 1, "a", b"b" * (MIN - 100), small, [small], {"a": (small, 1)}):
        assert encode_value(value, "x", pool=own) == encode_value(value, "x")
    assert decode_value(encode_value(small, "x", pool=own)).flags.writeable
    assert memfds() == 0


def test_without_a_pool_everything_stays_in_the_bytes() -> None:
    encoded = encode_value(array(1), "x")
    assert len(encoded) > array().nbytes
    assert decode_value(encoded).flags.writeable


def test_arrays_inside_what_travels_by_value_are_left_out_too(own: SegmentPool) -> None:
    """A closure needs cloudpickle; the array in it need not be in its pickle."""
    inside = array(7)
    encoded, _kept = keep(own, lambda: inside)
    function: Callable[[], Any] = decode_value(encoded)
    assert (function() == 7).all()
    assert not function().flags.writeable


def test_large_bytes_among_arguments_are_copied_once_and_stay_what_they_are(
    own: SegmentPool,
) -> None:
    changeable = bytearray(MIN)
    args = (b"a" * MIN, changeable, [changeable], 3)
    data, inputs = encode_call(args, {"k": b"b" * MIN}, "f", None, own)
    data, _kept = take_over(data, own.take)
    got, kwargs = payload.decode_call(data, lambda uid: uid, inputs)
    assert got == args
    assert kwargs == {"k": b"b" * MIN}
    assert [type(part) for part in got] == [bytes, bytearray, list, int]
    assert got[1] is got[2][0]  # type: ignore[index]


# Whose they are


def test_a_segment_goes_with_the_object_that_keeps_it(own: SegmentPool) -> None:
    encoded, kept = keep(own, array())
    own.close()
    assert memfds() == 1
    del kept
    assert memfds() == 0
    with pytest.raises(SegmentGone):
        decode_value(encoded)


def test_memory_is_used_again_once_nobody_has_it(own: SegmentPool) -> None:
    """Neither who keeps it nor who has mapped it."""
    encoded, kept = keep(own, array(1))
    got = decode_value(encoded)
    del kept
    second, kept = keep(own, array(2))
    assert len(own._made) == 2
    assert (got == 1).all()
    del got, kept
    third, kept = keep(own, array(3))
    assert len(own._made) == 2
    assert (decode_value(third) == 3).all()
    for old in encoded, second:
        with pytest.raises(SegmentGone):
            decode_value(old)
    del kept


def test_a_reference_to_what_was_there_before_finds_nothing(own: SegmentPool) -> None:
    """Although the same segment may be kept under the same number again."""
    encoded, kept = keep(own, array(1))
    del kept
    again, kept = keep(own, array(2))
    old, new = decode_reference(encoded), decode_reference(again)
    with pytest.raises(SegmentGone, match="another value"):
        decode_value(new._replace(identity=old.identity).encode())
    assert (decode_value(again) == 2).all()
    del kept


def test_a_number_that_means_another_file_is_not_opened(own: SegmentPool) -> None:
    encoded, kept = keep(own, array(1))
    number = decode_reference(encoded).descriptor
    del kept
    r, w = os.pipe()
    os.dup2(r, number)
    try:
        with pytest.raises(SegmentGone, match="something else"):
            decode_value(encoded)
    finally:
        for descriptor in {r, w, number}:
            os.close(descriptor)


def test_values_of_any_size_find_memory(own: SegmentPool) -> None:
    """Larger ones make a segment grow, smaller ones leave a part of it alone."""
    for size in (MIN, 3 * MIN, 2 * MIN, 7 * MIN, 8 * MIN, 4 * MIN, MIN):
        encoded, kept = keep(own, array(size, size))
        assert (decode_value(encoded) == size).all()
        del kept
    assert len(own._made) <= 3


def test_spare_memory_goes_after_a_while(own: SegmentPool) -> None:
    encoded, kept = keep(own, array(1))
    for _ in range(3):
        assert not own.trim()
        assert (decode_value(encoded) == 1).all()
    del kept
    assert not own.trim()
    assert memfds() == 1
    assert own.trim()
    assert memfds() == 0


def test_there_is_a_bound_for_spare_memory(
    own: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SPARE_BYTES_MAX", 10 * MIN)
    for size in (MIN, 3 * MIN, 9 * MIN, 27 * MIN, 81 * MIN):
        _, kept = keep(own, array(1, size))
        del kept
    assert sum(made.size for made in own._made[:-1]) <= 10 * MIN


def test_a_pool_remembers_so_many(own: SegmentPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has forgotten is good for those who have it."""
    monkeypatch.setattr(pool, "MADE_MAX", 2)
    all_kept = [keep(own, array(number)) for number in range(5)]
    assert len(own._made) == 2
    for number, (encoded, _) in enumerate(all_kept):
        assert (decode_value(encoded) == number).all()


# Windows


def test_a_window_is_used_for_the_next_value_in_the_same_memory(own: SegmentPool) -> None:
    kept_windows = windows.Windows()
    kept_windows.keeps = True
    encoded, kept = keep(own, array(1))
    view = kept_windows.look(encoded)
    assert bytes(kept_windows.look(encoded)[:64]) == bytes(view[:64])
    assert mappings() == 1
    del view, kept
    second, kept = keep(own, array(2))  # not in that memory: nobody has seen yet that it is free
    view = kept_windows.look(second)
    del view, kept
    third, kept = keep(own, array(3))
    assert len(own._made) == 2
    view = kept_windows.look(third)
    assert mappings() - sum(made._mapping is not None for made in own._made) == 2
    with pytest.raises(SegmentGone):
        kept_windows.look(encoded)
    kept_windows.trim()
    kept_windows.trim()
    assert len(kept_windows._kept) == 1
    assert (np.frombuffer(view[-8:], dtype=np.float64) == 3).all()
    del view, kept
    kept_windows.trim()
    kept_windows.trim()
    assert kept_windows._kept == []


def test_more_windows_than_are_kept(own: SegmentPool) -> None:
    """Those that are looked at stay; beyond, mappings last as long as they are looked at."""
    kept_windows = windows.Windows()
    kept_windows.keeps = True
    values = [keep(own, array(number)) for number in range(windows.WINDOWS_MAX + 3)]
    views = [kept_windows.look(encoded) for encoded, _ in values]
    assert len(kept_windows._kept) == windows.WINDOWS_MAX
    for number, view in enumerate(views):
        assert np.frombuffer(view[-8:], dtype=np.float64)[0] == number
    assert mappings() == len(values)
    del view
    views.clear()
    assert mappings() == windows.WINDOWS_MAX
    kept_windows.trim()
    kept_windows.trim()
    assert mappings() == 0


def test_a_forked_child_may_go_on_looking(
    own: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its parent does: nobody writes to what the child still has."""
    monkeypatch.setattr(windows.windows, "keeps", True)
    encoded, kept = keep(own, array(1))
    got = decode_value(encoded)
    ours, theirs = socket.socketpair()
    with warnings.catch_warnings():  # of threads, on 3.12; the child does nothing but look
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        try:
            os.read(theirs.fileno(), 1)
            os.write(theirs.fileno(), b"%d" % got[-1])
        finally:
            os._exit(0)
    del got, kept
    windows.windows.unlock_unused()
    _, second = keep(own, array(2))
    assert len(own._made) == 2
    ours.send(b"x")
    assert ours.recv(1) == b"1"
    os.waitpid(child, 0)
    assert windows.windows._kept == []
    del second
    _, third = keep(own, array(3))
    assert len(own._made) == 2
    ours.close()
    theirs.close()
    del third


# Limits


def test_beyond_the_descriptors_that_may_be_used_values_are_copied(
    own: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they are kept, and where they are read."""
    for module in keeping, windows:
        monkeypatch.setattr(module, "descriptors_max", lambda: 2)
    values = [take_over(encode_value(array(n), "x", pool=own), own.take) for n in range(4)]
    assert [kept is not None for _, kept in values] == [True, True, False, False]
    got = [decode_value(encoded) for encoded, _ in values for _ in range(2)]
    assert [value[0] for value in got] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert not any(value.flags.writeable for value in got)
    own.close()  # which has mapped one, to use it again
    assert mappings() == 2


def test_a_value_beyond_the_limit_is_refused_with_its_size(own: SegmentPool) -> None:
    own.bytes_max = 3 * MIN
    keep(own, array(1))
    with pytest.raises(PayloadError, match=r"arguments of f: [\d,]+ bytes, the limit is 786,432"):
        encode_call((array(1, 4 * MIN),), {}, "f", None, own)
    assert memfds() == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM, errno.EMFILE])
def test_without_memory_or_descriptors_values_stay_in_their_bytes(
    number: int, own: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays are read-only all the same, and nothing of the attempt is left."""

    def fail(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "memfd_create" if number == errno.EMFILE else "pwrite", fail)
    for value in (array(1), [array(2), b"x" * MIN], b"y" * 2 * MIN, "z" * 2 * MIN):
        encoded = encode_value(value, "x", pool=own)
        assert not is_reference(encoded)
        np.testing.assert_equal(decode_value(encoded), value)
    assert not decode_value(encode_value(array(1), "x", pool=own)).flags.writeable
    assert memfds() == 0
    monkeypatch.setattr(payload, "PAYLOAD_BYTES_MAX", MIN)
    with pytest.raises(PayloadError, match="limit"):
        encode_value(array(1), "x", pool=own)


def test_arguments_that_stay_in_their_bytes_or_come_back_to_them_are_arguments(
    own: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No form is taken for another: without descriptors to keep it, and without memory."""

    def fail(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def check(data: bytes, first: int) -> None:
        assert data[0] == first
        (array_1, number), kwargs = payload.decode_call(data, lambda uid: uid, ())
        assert (array_1 == 1).all()
        assert (number, kwargs) == (7, {"k": b"b" * MIN})

    def encode() -> bytes:
        return encode_call((array(1), 7), {"k": b"b" * MIN}, "f", None, own)[0]

    forms = (payload._PICKLE, payload._TASKS_MARK, segment.REFERENCE_MARK[0], layout.MARK)
    assert len(set(forms)) == len(forms)
    monkeypatch.setattr(keeping, "descriptors_max", lambda: 0)
    data, kept = take_over(encode(), own.take)
    assert kept is None
    check(data, layout.MARK)
    monkeypatch.setattr(os, "memfd_create", fail)
    own.trim()
    own.trim()
    check(encode(), layout.MARK)


def test_a_file_size_limit_is_no_signal(own: SegmentPool) -> None:
    """In a process of its own: such a limit cannot be taken back."""
    program = """
import resource, numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from trio_actor_graph.buffers.pool import SegmentPool
from trio_actor_graph.payload import decode_value, encode_value
encoded = encode_value(np.ones(100_000), "x", pool=SegmentPool())
assert len(encoded) > 800_000 and decode_value(encoded).sum() == 100_000
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_process_that_may_not_be_looked_into_has_no_segments() -> None:
    """Nobody could open them (PR_SET_DUMPABLE); root's are told the same way."""
    program = """
import ctypes, os
from trio_actor_graph.buffers.pool import is_supported
assert is_supported()
real, os.geteuid = os.geteuid, lambda: os.stat("/proc/self/fd").st_uid + 1
assert not is_supported()
os.geteuid = real
del os.memfd_create
assert not is_supported()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# The way to the coordinator


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[SegmentPool, SegmentReceiver]]:
    receiver = open_receiver(str(tmp_path / "begun"))
    assert receiver is not None
    remote = open_worker_pool(str(tmp_path / "begun"), lambda: None)
    assert remote is not None
    yield remote, receiver
    remote.close()
    assert isinstance(remote._sender, SegmentSender)
    remote._sender.close()
    receiver.close()
    assert list(tmp_path.iterdir()) == []


def test_a_descriptor_arrives_and_outlives_who_has_sent_it(
    ends: tuple[SegmentPool, SegmentReceiver],
) -> None:
    remote, receiver = ends
    encoded = encode_value(array(5), "x", pool=remote)
    assert (decode_value(encoded) == 5).all()  # in its worker, before anybody has heard of it
    remote.close()
    mine, kept = take_over(encoded, receiver.take)
    assert (decode_value(mine) == 5).all()
    assert kept is not None
    assert receiver.take(decode_reference(encoded).identity) is None
    del kept
    assert memfds() == 0


def test_a_worker_keeps_what_its_other_tasks_may_ask_for(
    ends: tuple[SegmentPool, SegmentReceiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it has the reference, whatever the coordinator does with its own."""
    monkeypatch.setattr(pool, "MADE_MAX", 1)
    remote, receiver = ends
    encoded = [encode_value(array(number), "x", pool=remote) for number in range(5)]
    for number, reference in enumerate(encoded):
        take_over(reference, receiver.take)  # and let go at once
        assert (decode_value(reference) == number).all()
    del reference
    encoded.clear()
    remote.trim()
    assert memfds() == 1  # what may be used again


def test_a_worker_waits_for_room_and_then_does_without(
    ends: tuple[SegmentPool, SegmentReceiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel lets some ten wait. Nothing is lost."""
    monkeypatch.setattr("trio_actor_graph.buffers.handing_over.HAND_OVER_SECONDS", 0.01)
    remote, receiver = ends
    encoded = [encode_value(array(number), "x", pool=remote) for number in range(1000)]
    assert {is_reference(value) for value in encoded} == {True, False}
    for number, value in enumerate(encoded):
        if is_reference(value):
            value, _kept = take_over(value, receiver.take)  # noqa: PLW2901
        assert (decode_value(value) == number).all()


def test_room_is_made_by_reporting(tmp_path: Path) -> None:
    """The worker sends what it has to report, and the coordinator takes what that refers to."""
    receiver = open_receiver(str(tmp_path / "begun"))
    assert receiver is not None
    encoded: list[bytes] = []
    reported = 0

    def flush() -> None:
        nonlocal reported
        for reference in encoded[reported:]:
            take_over(reference, receiver.take)
        reported = len(encoded)

    remote = open_worker_pool(str(tmp_path / "begun"), flush)
    assert remote is not None
    for number in range(100):  # in which `flush` looks at it
        encoded.append(encode_value(array(number), "x", pool=remote))  # noqa: PERF401
    assert all(map(is_reference, encoded))
    remote.close()
    receiver.close()
    remote._sender.close()  # type: ignore[union-attr]


def test_where_nobody_listens_there_is_no_pool(tmp_path: Path) -> None:
    assert open_worker_pool(str(tmp_path / "begun"), lambda: None) is None
    assert open_receiver(str(tmp_path / "none" / "begun")) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x02",
        b"\x02" * 32,
        b"\x02" + bytes(31),
        b"\x02" + bytes(100),
    ],
)
def test_a_reference_to_what_was_not_handed_over_refers_to_nothing(
    nonsense: bytes, ends: tuple[SegmentPool, SegmentReceiver]
) -> None:
    with pytest.raises(SegmentGone):
        take_over(nonsense, ends[1].take)


def test_nonsense_that_was_handed_over_is_closed(tmp_path: Path) -> None:
    """Files that are no segments, no file at all, several at once, one twice."""
    receiver = SegmentReceiver(str(tmp_path / "large"))
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.connect(str(tmp_path / "large"))
    unsealed = os.memfd_create(NAME)
    os.pwrite(unsealed, bytes(1000), 0)
    before = memfds()

    def hand_over(identity: bytes, *descriptors: int) -> None:
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        sender.sendmsg([identity], ancillary)

    def refuse(identity: int, size: int = 100) -> None:
        with pytest.raises(SegmentGone):
            take_over(segment.Reference(1, 1, identity, size).encode(), receiver.take)

    hand_over(b"short", unsealed)
    hand_over(struct.pack("=Q", 1), unsealed)
    hand_over(struct.pack("=Q", 2), sender.fileno())
    hand_over(struct.pack("=Q", 3), unsealed, unsealed)
    hand_over(struct.pack("=Q", 4), unsealed)
    hand_over(struct.pack("=Q", 4), unsealed)
    hand_over(struct.pack("=Q", 5))
    for identity in (6, 1, 2, 3, 4):
        refuse(identity)
    with pytest.raises(OSError, match="Too many open files"):
        receiver.take(5)
    own = SegmentPool()
    reference = decode_reference(encode_value(array(), "x", pool=own))
    hand_over(struct.pack("=Q", reference.identity + 1), reference.descriptor)
    refuse(reference.identity + 1)
    hand_over(struct.pack("=Q", reference.identity), reference.descriptor)
    refuse(reference.identity, 100 * MIN)  # shorter than it says
    own.close()
    gc.collect()  # tracebacks hold what was refused
    assert memfds() == before
    hand_over(struct.pack("=Q", 9), unsealed)
    receiver.close()
    sender.close()
    os.close(unsealed)


def test_nobody_can_make_a_segment_shorter(own: SegmentPool) -> None:
    """Or who looks at it would be ended by a signal."""
    encoded, kept = keep(own, array(1))
    writable = os.open(decode_reference(encoded).path, os.O_RDWR)
    assert fcntl.fcntl(writable, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    with pytest.raises(PermissionError):
        os.ftruncate(writable, 0)
    os.close(writable)
    del kept


# Whatever ends a program


PROGRAM = """
    import os, numpy as np, trio
    from trio_actor_graph import WorkerLoop, current_task, open_coordinator

    def make(n):
        return np.full(1_000_000, float(n))

    def make_for_ever(array):
        while True:
            current_task().create_task(np.sum, make(1))

    async def main():
        loops = [WorkerLoop("default", processes=2)]
        async with open_coordinator(loops) as coordinator, coordinator.open_graph() as graph:
            made = [graph.create_task(make, n) for n in range(5)]
            assert [(await task.result())[0] for task in made] == [0, 1, 2, 3, 4]
            for _ in range(2):
                graph.create_task(make_for_ever, make(7))
            while len(graph.tasks) < 20:
                await trio.sleep(0.01)
            print("pids", os.getpid(), *(worker.pid for worker in coordinator.workers), ".")
            await trio.sleep_forever()

    if __name__ == "__main__":
        trio.run(main)
"""


@pytest.mark.parametrize("whom", ["the coordinator", "everybody at once"])
def test_a_killed_program_leaves_no_shared_memory(
    whom: str, start_program: Callable[..., Any], private_surroundings: Path
) -> None:
    """There is nothing of it in /dev/shm, nor in a folder, while it runs; so nothing can stay."""
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.exists() else set()
    program = start_program(PROGRAM)
    pids = [int(pid) for pid in program.wait_stdout(r"pids (.*) \.")[1].split()]
    assert all(NAME in links_of(pid) for pid in pids)
    mine = [path for path in shared.iterdir() if path not in before and is_of(path, pids)]
    assert mine == []
    large = [path for path in private_surroundings.rglob("*") if path.stat().st_size > MIN]
    assert large == []
    for pid in pids if whom == "everybody at once" else pids[:1]:
        os.kill(pid, signal.SIGKILL)
    program.wait()
    sockets.remove_stale_folders()  # it could not; the next coordinator does


def links_of(pid: int) -> str:
    links = []
    for path in list(Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return " ".join(links)


def is_of(path: Path, pids: list[int]) -> bool:
    """Whether one of these processes has the file open or mapped: others use the folder too."""
    return any(str(path) in links_of(pid) + Path(f"/proc/{pid}/maps").read_text() for pid in pids)
