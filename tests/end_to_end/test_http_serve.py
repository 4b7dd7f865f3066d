"""End to end: `trio-actor-graph serve` as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

SERVICE = """
    import contextlib
    import functools

    from trio_actor_graph import WorkerLoop, open_coordinator

    def count(text):
        return len(text.split())

    def coordinator():
        return open_coordinator([WorkerLoop("default")], functions=[count])

    def nothing():
        return None

    async def not_this():
        pass

    def wants(path, *, size=1):
        return coordinator()

    @contextlib.asynccontextmanager
    async def wants_too(path):
        async with coordinator() as opened:
            yield opened

    def raises():
        return len(1)

    def with_path(function):
        return functools.wraps(function)(lambda: function("path"))

    @with_path
    def is_given(path):
        return coordinator()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = (line.removeprefix("    ") for line in SERVICE.splitlines())
    (tmp_path / "service.py").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def start_serve(start_program: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    main = "import sys; from trio_actor_graph.__main__ import main; sys.exit(main())"
    return lambda *arguments: start_program(main, "serve", *arguments, cwd=folder)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_port_is_served_until_a_signal(
    start_serve: Callable[..., Any], folder: Path, number: int, status: int
) -> None:
    program = start_serve("service:coordinator", "--port", "0", "--token-file", "token")
    url = program.wait_stdout(r"serving at (http://\S+)\n")[1]
    program.wait_stdout(r"the token is in token; in a browser: \S+/login\n")
    token = (folder / "token").read_text().strip()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        task = {"function": "count", "args": ["a b c"]}
        created = http.post("/v1/graphs", json={"tasks": [task]}).json()
        graph, uid = created["graph"]["uid"], created["tasks"][0]["uid"]
        result = http.get(f"/v1/graphs/{graph}/tasks/{uid}/result", params={"wait": 20})
        assert result.json()["value"] == 3
        os.kill(program.pid, number)
        run = program.wait()
    assert (run.returncode, run.stderr) == (status, "")


def test_a_socket_is_served_and_goes(start_serve: Callable[..., Any], folder: Path) -> None:
    program = start_serve("service:coordinator", "--socket", "socket")
    program.wait_stdout("serving at socket\n")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "socket"))) as http:
        assert http.get("http://localhost/v1/health").json()["status"] == "ok"
    program.interrupt()
    assert program.wait().returncode == 130
    assert not (folder / "socket").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["service"], "MODULE:FUNCTION"),
        (["service:nope"], "has no 'nope'"),
        (["nope:x"], "no module 'nope'"),
        (["service:not_this"], "not a function that returns"),
        (["service:nothing"], "must return what open_coordinator"),
        (["service:coordinator", "--port", "0", "--host", "0.0.0.0"], "say --allow-remote if"),
        (["service:wants"], "without arguments, but wants some: (path, *, size=1)"),
        (["service:wants_too"], "without arguments, but wants some: (path)"),
        (["service:coordinator", "--port", "1", "--socket", "x"], "not allowed with"),
        (["service:coordinator", "--socket", "no/such/folder"], "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_sentence(
    folder: Path, arguments: list[str], words: str
) -> None:
    command = [sys.executable, "-m", "trio_actor_graph", "serve", *arguments]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_what_a_factory_raises_keeps_its_traceback(folder: Path) -> None:
    command = [sys.executable, "-m", "trio_actor_graph", "serve", "service:raises"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "return len(1)" in run.stderr
    assert run.stderr.splitlines()[-1] == "TypeError: object of type 'int' has no len()"


def test_a_decorator_may_give_what_a_factory_wants(start_serve: Callable[..., Any]) -> None:
    program = start_serve("service:is_given", "--socket", "socket")
    program.wait_stdout("serving at socket\n")
    program.interrupt()
    assert program.wait().returncode == 130
