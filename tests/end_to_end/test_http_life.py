"""End to end: a server begins and ends with its block, in whatever way that is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from http_cases import FUNCTIONS, client_of, serving, until

from trio_actor_graph import open_coordinator

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


async def curl(*arguments: str) -> str:
    run = await trio.run_process(["curl", "-sS", *arguments], capture_stdout=True)
    return run.stdout.decode()


@needs_curl
async def test_curl_at_a_unix_socket() -> None:
    async with serving(port=None) as s:
        at = ("--unix-socket", str(s.server.socket_path), "-H", "Content-Type: application/json")
        created = json.loads(
            await curl(
                *at,
                "-d",
                '{"tasks": [{"function": "add", "args": [1]}]}',
                "http://localhost/v1/graphs",
            )
        )
        graph, task = created["graph"]["uid"], created["tasks"][0]["uid"]
        url = f"http://localhost/v1/graphs/{graph}/tasks/{task}/result?wait=20"
        assert json.loads(await curl(*at, url)) == {"uid": task, "value": 2}


@needs_curl
async def test_curl_at_a_port_with_a_token() -> None:
    async with serving() as s:
        assert s.server.token_path is not None
        token = s.server.token_path.read_text().strip()
        head = ("-H", f"Authorization: Bearer {token}")
        assert json.loads(await curl(*head, f"{s.server.url}/v1/health"))["status"] == "ok"
        status = ("-o", "/dev/null", "-w", "%{http_code}")
        assert await curl(*status, f"{s.server.url}/v1/health") == "401"
        assert await curl(*status, *head, "--http2", f"{s.server.url}/v1/health") == "200"
        body = ("-d", "{}", "-H", "Content-Type: application/json", "-H", "Expect: 100-continue")
        assert await curl(*status, *head, *body, f"{s.server.url}/v1/graphs") == "201"


@needs_curl
async def test_curl_follows_events() -> None:
    async with serving() as s:
        process = await trio.lowlevel.open_process(
            [
                "curl",
                "-sSN",
                "-H",
                f"Authorization: Bearer {s.server.token}",
                f"{s.server.url}/v1/events",
            ],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        text = b""
        with trio.fail_after(20):
            while b"retry:" not in text:
                text += await process.stdout.receive_some()
            await s.create({"function": "add", "args": [1]})
            while b"function returned" not in text:
                text += await process.stdout.receive_some()
        process.terminate()
        await process.wait()
        await process.stdout.aclose()


async def test_open_streams_and_long_polls_end_with_the_server() -> None:
    ended: dict[str, Any] = {}
    async with open_coordinator(functions=FUNCTIONS) as coordinator:
        async with trio.open_nursery() as nursery:
            async with coordinator.serve_http(port=0) as server:
                http = client_of(server)
                created = await http.post("/v1/graphs", json={"tasks": [{"function": "forever"}]})
                graph, task = created.json()["graph"]["uid"], created.json()["tasks"][0]["uid"]

                async def read_events() -> None:
                    async with client_of(server) as mine, mine.stream("GET", "/v1/events") as got:
                        nursery.start_soon(wait_for_result)
                        ended["events"] = b"".join([part async for part in got.aiter_raw()])

                async def wait_for_result() -> None:
                    path = f"/v1/graphs/{graph}/tasks/{task}/result"
                    async with client_of(server) as mine:
                        ended["result"] = await mine.get(path, params={"wait": 60})

                nursery.start_soon(read_events)
                await until(lambda: len(server.connections) == 3)
                await trio.testing.wait_all_tasks_blocked(0.2)
                began = time.monotonic()
            assert time.monotonic() - began < 30  # the long poll would have taken 60
            await until(lambda: len(ended) == 2)
            nursery.cancel_scope.cancel()
        await http.aclose()
        assert ended["result"].status_code == 202
        assert ended["events"].endswith(b"\n\n")
        assert len(server.connections) == 0
        assert coordinator.graphs == ()
        async with coordinator.open_graph() as graph:  # the coordinator goes on without it
            assert await graph.create_task("add", 1).result() == 2


async def test_a_client_that_reads_nothing_does_not_keep_the_server() -> None:
    async with serving(limits={"write_seconds": 3600}) as s:
        host, _, port = s.server.url.removeprefix("http://").rpartition(":")
        stuck = await trio.open_tcp_stream(host, int(port))
        stuck.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        head = f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
        await stuck.send_all(f"{head}Authorization: Bearer {s.server.token}\r\n\r\n".encode())
        await until(lambda: s.server.ring.readers == 1)
        name = "n" * 190
        await s.create(*[{"function": "add", "args": [n], "name": name} for n in range(9000)])
        await s.http.aclose()
        began = time.monotonic()
    assert time.monotonic() - began < 30
    await stuck.aclose()


async def test_the_bodys_error_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with serving():
            raise ZeroDivisionError
    with trio.move_on_after(0.3) as scope:
        async with serving() as s:
            await s.http.get("/v1/health")
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_several_servers_of_one_coordinator() -> None:
    async with serving() as s, s.coordinator.serve_http() as other, client_of(other) as http:
        for client in (s.http, http):
            assert (await client.get("/v1/health")).status_code == 200


def test_a_program_that_serves_nothing_does_not_import_the_server(
    run_program: Callable[..., Any],
) -> None:
    program = """
        import sys, trio
        from trio_actor_graph import WorkerLoop, open_coordinator
        async def main():
            async with open_coordinator([WorkerLoop("default")]):
                print([n for n in ("hypercorn", "starlette", "anyio", "httpx") if n in sys.modules])
                print([n for n in sys.modules if n.startswith("trio_actor_graph.web")])
        trio.run(main)
    """
    assert run_program(program).stdout == "[]\n[]\n"


def test_nothing_is_printed_and_ctrl_c_ends_a_server(
    start_program: Callable[..., Any], tmp_path: Path
) -> None:
    program = start_program(
        """
        import logging, trio
        from trio_actor_graph import open_coordinator
        logging.getLogger().setLevel(logging.DEBUG)
        async def main():
            async with open_coordinator() as coordinator:
                async with coordinator.serve_http(port=0, token_path="token") as server:
                    print(server.url, flush=True)
                    await trio.sleep_forever()
        trio.run(main)
        """
    )
    url = program.wait_stdout(r"(http://\S+)\n")[1]
    token = (program.stdout_path.parent / "token").read_text().strip()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        assert http.get("/v1/health").status_code == 200
        assert http.get("/nope").status_code == 404
        program.interrupt()
        run = program.wait()
    assert run.returncode != 0
    assert "KeyboardInterrupt" in run.stderr
    # Nothing before the traceback, in which whoever ran at that moment may stand.
    assert run.stderr.startswith(("Traceback (most recent call last):", "  + Exception Group"))
    assert run.stdout == f"{url}\n"
