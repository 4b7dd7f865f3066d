"""End to end: nobody can hold the server up, fill it or confuse it; raw sockets try.

Every answer is read to the end of the connection, which shows that the server has closed it.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from typing import Any, cast

import httpx
import pytest
import trio
from http_cases import Serving, is_problem, serving, until

from trio_actor_graph.web import connections


async def connect(s: Serving) -> trio.SocketStream:
    host, _, port = s.server.url.removeprefix("http://").rpartition(":")
    stream: trio.SocketStream = await trio.open_tcp_stream(host, int(port))
    return stream


def request(s: Serving, line: str, *headers: str, body: str = "") -> bytes:
    host = s.server.url.removeprefix("http://")
    lines = [line, f"Host: {host}", f"Authorization: Bearer {s.server.token}", *headers, "", body]
    return "\r\n".join(lines).encode()


async def read_all(stream: trio.SocketStream, seconds: float = 20) -> bytes:
    """Everything until the server closes the connection."""
    data = b""
    with trio.fail_after(seconds), suppress(trio.BrokenResourceError):
        async for chunk in stream:
            data += chunk
    return data


async def ask(s: Serving, data: bytes) -> bytes:
    async with await connect(s) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
        return await read_all(stream)


def holds_problem(answer: bytes, status: int, kind: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d" % status), answer[:500]
    assert b"application/problem+json" in head.lower()
    assert json.loads(body)["type"] == f"/problems/{kind}"


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (b"\x00\xff\x00\xff\r\n\r\n", 400, "bad-request"),
        (b"GET /v1/health\r\n\r\n", 400, "bad-request"),
        (b"GET /v1/health HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad-request"),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-request"),
        (b"GET /v1/health HTTP/3.7\r\nHost: a\r\n\r\n", 400, "bad-request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, ""),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not-supported"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000, 431, "head-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000, 431, "head-too-large"),
        (b"G" * 40_000, 431, "head-too-large"),
    ],
)
async def test_what_is_no_request_is_answered_by_a_problem(
    data: bytes, status: int, kind: str
) -> None:
    async with serving() as s:
        answer = await ask(s, data)
        holds_problem(answer, status, kind or "bad-request")
        assert (await s.http.get("/v1/health")).status_code == 200


@pytest.mark.parametrize(
    "upgrade",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
    ],
)
async def test_the_protocol_is_not_changed(upgrade: tuple[str, ...]) -> None:
    async with serving() as s:
        async with await connect(s) as stream:
            await stream.send_all(request(s, "GET /v1/health HTTP/1.1", *upgrade))
            with trio.fail_after(20):
                answer = await stream.receive_some(65536)
        assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 1000001",),
        ("Content-Length: " + "9" * 19,),
        ("Transfer-Encoding: chunked",),
    ],
)
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    headers: tuple[str, ...],
) -> None:
    async with serving(limits={"body_bytes": 1_000_000}) as s:
        head = request(s, "POST /v1/graphs HTTP/1.1", "Content-Type: application/json", *headers)
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        # The rest is sent although nobody wants it: the answer has to arrive all the same.
        async with await connect(s) as stream:
            await stream.send_all(head)
            with suppress(trio.BrokenResourceError):
                for _ in range(30):
                    await stream.send_all(chunk)
            answer = await read_all(stream)
        holds_problem(answer, 413, "body-too-large")


async def test_a_client_that_sends_its_head_byte_by_byte_is_cut_off() -> None:
    async with serving(limits={"idle_seconds": 0.5}) as s:
        async with await connect(s) as stream:
            began = time.monotonic()
            answer = b""

            async def drip() -> None:
                with suppress(trio.BrokenResourceError):
                    for byte in request(s, "GET /v1/health HTTP/1.1", "X: " + "x" * 10_000):
                        await stream.send_all(bytes([byte]))
                        await trio.sleep(0.05)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip)
                answer = await read_all(stream)
                nursery.cancel_scope.cancel()
        assert time.monotonic() - began < 10
        holds_problem(answer, 408, "request-timeout")


async def test_a_client_that_sends_its_body_byte_by_byte_is_cut_off() -> None:
    async with serving(limits={"read_seconds": 0.5}) as s:
        async with await connect(s) as stream:
            head = request(
                s,
                "POST /v1/graphs HTTP/1.1",
                "Content-Type: application/json",
                "Content-Length: 1000",
            )
            await stream.send_all(head + b"{")

            async def drip() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await stream.send_all(b" ")
                        await trio.sleep(0.05)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip)
                answer = await read_all(stream)
                nursery.cancel_scope.cancel()
        holds_problem(answer, 408, "request-timeout")


async def test_an_idle_connection_is_closed() -> None:
    async with serving(limits={"idle_seconds": 0.3}) as s:
        async with await connect(s) as silent:
            assert await read_all(silent) == b""
        async with await connect(s) as used:
            await used.send_all(request(s, "GET /v1/health HTTP/1.1"))
            answer = await read_all(used)
        assert answer.startswith(b"HTTP/1.1 200")


async def test_connections_have_a_bound() -> None:
    async with serving(limits={"connections": 3}) as s:
        held = [await connect(s) for _ in range(3)]
        await wait_for(s, 3)
        async with await connect(s) as stream:
            holds_problem(await read_all(stream), 503, "too-many-connections")
        await held.pop().aclose()
        await wait_for(s, 2)
        assert (await s.http.get("/v1/health")).status_code == 200
        for each in held:
            await each.aclose()


async def test_those_who_are_turned_away_have_a_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not listen holds a descriptor for a while; the rest are closed at once."""
    monkeypatch.setattr(connections, "LINGER_SECONDS", 600)
    async with serving(limits={"connections": 1}) as s:
        held = await connect(s)
        await wait_for(s, 1)
        silent = [await connect(s) for _ in range(connections.TURNED_AWAY_MAX + 20)]
        answers: list[bytes] = []
        for each in silent:
            with trio.fail_after(20):
                try:
                    answers.append(await each.receive_some(65536))
                except trio.BrokenResourceError:
                    answers.append(b"")
        told = [answer for answer in answers if answer]
        assert len(told) == connections.TURNED_AWAY_MAX
        for answer in told:
            holds_problem(answer, 503, "too-many-connections")
        for each in (held, *silent):
            await each.aclose()
        await wait_for(s, 0)
        assert (await s.http.get("/v1/health")).status_code == 200


async def test_a_client_that_goes_in_the_middle_of_a_body_is_nothing_to_tell_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as s:
        await s.http.aclose()
        for length in ("Content-Length: 100", "Transfer-Encoding: chunked"):
            head = request(s, "POST /v1/graphs HTTP/1.1", "Content-Type: application/json", length)
            for rest in (b"", b"5\r\n{    \r\n", b"zzz\r\n"):
                for ends_only in (False, True):
                    stream = await connect(s)
                    await stream.send_all(head + rest)
                    if ends_only:
                        await stream.send_eof()
                        assert (await read_all(stream)).count(b"HTTP/1.1 4") <= 1
                    await stream.aclose()
        await wait_for(s, 0)
        assert caplog.text == ""


async def test_what_is_sent_while_the_connection_is_being_closed_is_lost_quietly() -> None:
    class Closing:
        socket = None

        async def send_all(self, data: bytes) -> None:
            raise trio.BusyResourceError("another task is using this stream")

    stream = connections._BoundedStream(cast("Any", Closing()), 1)
    with pytest.raises(trio.BrokenResourceError, match="being closed"):
        await stream.send_all(b"x")


async def test_a_client_that_goes_leaves_nothing_behind() -> None:
    """Neither one that waits for a result, nor one in the middle of a body, nor a slow reader."""
    async with serving(limits={"idle_seconds": 60}) as s:
        graph, (task,) = await s.create({"function": "forever"})
        await s.http.aclose()
        await wait_for(s, 0)
        result = f"GET /v1/graphs/{graph}/tasks/{task}/result?wait=60 HTTP/1.1"
        length = "Content-Length: 100"
        for data in [
            request(s, result),
            request(s, "POST /v1/graphs HTTP/1.1", "Content-Type: application/json", length) + b"{",
            request(s, "GET /v1/events HTTP/1.1"),
            request(s, "GET /v1/health HTTP/1.1"),
            b"GET ",
        ]:
            stream = await connect(s)
            await stream.send_all(data)
            await wait_for(s, 1)
            await stream.aclose()
            await wait_for(s, 0)
        assert s.server.ring.readers == 0


async def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    async with serving(limits={"write_seconds": 0.5, "events": 200_000}) as s:
        await s.get("/v1/health")
        async with await connect(s) as stream:
            stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
            await stream.send_all(request(s, "GET /v1/events HTTP/1.1"))
            await until(lambda: s.server.ring.readers == 1)
            async with s.coordinator.open_graph() as graph:
                with trio.fail_after(40):
                    while s.server.ring.readers:
                        for number in range(500):
                            graph.create_task("add", number, name="n" * 150)
                        await trio.sleep(0.1)


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    async with serving() as s:
        async with await connect(s) as stream:
            one = request(s, "GET /v1/health HTTP/1.1")
            last = request(s, "GET /nope HTTP/1.1", "Connection: close")
            await stream.send_all(one * 5 + last)
            answer = await read_all(stream)
        assert answer.count(b"HTTP/1.1 200") == 5
        assert answer.count(b"HTTP/1.1 404") == 1
        assert answer.index(b"HTTP/1.1 404") > answer.rindex(b"HTTP/1.1 200")


async def test_what_breaks_inside_is_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret of the house")

    async with serving() as s:
        with monkeypatch.context() as patch:
            patch.setattr("trio_actor_graph.web.server_routes.worker_view", broken)
            patch.setattr("trio_actor_graph.web.server_routes.package_version", broken)
            answer = await s.http.get("/v1/health")
        problem = is_problem(answer, 500, "internal")
        assert "secret" not in json.dumps(problem)
        assert "the secret of the house" in caplog.text
        assert (await s.http.get("/v1/health")).status_code == 200


class _FullDisk(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left on device")


@pytest.mark.parametrize(
    "patched",
    [
        "trio_actor_graph.web.server_routes.package_version",  # what the application logs
        "trio_actor_graph.web.gate.send_problem",  # hypercorn
        "trio_actor_graph.web.connections._Connection._read_data",  # the connection
    ],
)
async def test_a_log_handler_that_raises_does_not_end_the_app(
    patched: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    handler = _FullDisk()
    logger = logging.getLogger(connections.LOGGER)
    logger.addHandler(handler)
    try:
        async with serving() as s:
            with monkeypatch.context() as patch:
                patch.setattr(patched, broken)
                with suppress(httpx.TransportError):
                    path = "/nope" if "gate" in patched else "/v1/health"
                    assert (await s.http.get(path)).status_code in (500, 200)
            assert (await s.http.get("/v1/health")).status_code == 200
    finally:
        logger.removeHandler(handler)
    assert "no space left" in capsys.readouterr().err


async def wait_for(s: Serving, connections: int) -> None:
    await until(lambda: len(s.server.connections) == connections)
