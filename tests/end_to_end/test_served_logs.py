"""End to end: `trio-actor-graph logs --at`, on a server in a program of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from trio_actor_graph.__main__ import main

SERVICE = """
    import logging

    import trio

    from trio_actor_graph import WorkerLoop, open_coordinator

    def say(text, level=20):
        logging.getLogger("service").log(level, text)

    async def main():
        loops = [WorkerLoop("default", processes=0)]
        async with (
            open_coordinator(loops, functions=[say]) as coordinator,
            coordinator.serve_http("socket"),
        ):
            print("serving", flush=True)
            await trio.sleep_forever()

    logging.basicConfig(level=logging.DEBUG, handlers=[logging.NullHandler()])
    trio.run(main)
"""

MAIN = "import sys; from trio_actor_graph.__main__ import main; sys.exit(main())"


class Service:
    """The server, as another program sees it."""

    def __init__(self, folder: Path, http: httpx.Client):
        self.folder = folder
        self.http = http

    def create(self, name: str) -> int:
        answer = self.http.post("/v1/graphs", json={"name": name})
        uid: int = answer.json()["graph"]["uid"]
        return uid

    def say(self, graph: int, *texts: str, level: int = 20) -> None:
        """Run a chain of tasks that each say one thing."""
        tasks: list[dict[str, Any]] = []
        for n, text in enumerate(texts):
            task = {"function": "say", "args": [text, level], "name": f"say {text}", "key": str(n)}
            tasks.append(task | ({"waits_on": {"completed": [str(n - 1)]}} if n else {}))
        answer = self.http.post(f"/v1/graphs/{graph}/tasks", json={"tasks": tasks})
        last = answer.json()["tasks"][-1]["uid"]
        self.http.get(f"/v1/graphs/{graph}/tasks/{last}/result", params={"wait": 20})

    def delete(self, graph: int) -> None:
        assert self.http.delete(f"/v1/graphs/{graph}").status_code == 204


@pytest.fixture
def service(start_program: Callable[..., Any], tmp_path: Path) -> Iterator[Service]:
    program = start_program(SERVICE, cwd=tmp_path)
    program.wait_stdout("serving\n")
    transport = httpx.HTTPTransport(uds=str(tmp_path / "socket"))
    with httpx.Client(base_url="http://localhost", transport=transport, timeout=30) as http:
        yield Service(tmp_path, http)


@pytest.fixture
def start_logs(start_program: Callable[..., Any], service: Service) -> Callable[..., Any]:
    return lambda *arguments: start_program(MAIN, "logs", *arguments, cwd=service.folder)


def plain(stdout: str) -> list[str]:
    """The lines without what differs from run to run."""
    text = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "TIME", stdout)
    return re.sub(r"(?<=[a-z]) \d+(?= (succeeded|service))", " N", text).splitlines()


def test_the_lines_of_a_served_graph_are_a_tree(
    service: Service, start_logs: Callable[..., Any]
) -> None:
    older = service.create("older")
    service.say(older, "something")
    graph = service.create("newest")
    service.say(graph, "one", "two")
    service.say(graph, "quiet", level=10)

    run = start_logs("--at", "socket").wait()
    assert (run.stderr, run.returncode) == ("", 0)
    assert plain(run.stdout) == [
        "newest  2 lines of 2 tasks",
        "└── say one N succeeded",
        "    TIME INFO     service one",
        "    └── say two N succeeded",
        "        TIME INFO     service two",
    ]
    some = start_logs("--at", "socket", "--level", "debug", "--task", "say quiet").wait()
    assert plain(some.stdout)[1:] == [
        "└── say quiet N succeeded",
        "    TIME DEBUG    service quiet",
    ]
    for name in ("older", str(older)):
        assert "something" in start_logs("--at", "socket", "--graph", name).wait().stdout


def test_lines_are_followed_until_the_graph_is_gone(
    service: Service, start_logs: Callable[..., Any]
) -> None:
    graph = service.create("followed")
    service.say(graph, "before")
    other = service.create("other")

    following = start_logs("--at", "socket", "--graph", "followed", "--follow")
    following.wait_stdout("before")
    service.say(other, "not this")
    service.say(graph, "quiet", level=10)
    service.say(graph, "while one looks", "and more")
    following.wait_stdout("and more")
    service.delete(graph)
    run = following.wait()
    assert (run.stderr, run.returncode) == ("", 0)
    assert plain(run.stdout) == [
        "TIME INFO     say before N service before",
        "TIME INFO     say while one looks N service while one looks",
        "TIME INFO     say and more N service and more",
    ]


def test_following_ends_by_ctrl_c(service: Service, start_logs: Callable[..., Any]) -> None:
    service.say(service.create("g"), "hello")
    following = start_logs("--at", "socket", "--follow", "--task", "say hello")
    following.wait_stdout("hello")
    following.interrupt()
    run = following.wait()
    assert (run.stderr, run.returncode) == ("", 130)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--at", "nowhere"], "no server answers at nowhere"),
        (["--at", "http://127.0.0.1:1"], "no server answers at http://127.0.0.1:1"),
        (["--at", "socket", "--token-file", "none"], "none"),
        (["--at", "ftp://x"], "neither an http URL nor the path of a socket"),
        (["--at", "socket", "pipeline:build"], "nothing is run"),
        (["--follow", "pipeline:build"], "go with --at"),
        ([], "or --at"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["logs", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert told in output.err
    assert output.err.count("\n") == 1


def test_a_graph_or_task_that_is_not_there_is_told(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["logs", "--at", str(service.folder / "socket")]
    assert main(at) == 2
    assert "there is no graph yet" in capsys.readouterr().err
    service.say(service.create("g"), "hello")
    assert main([*at, "--graph", "h"]) == 2
    assert "no graph 'h': there were 'g'" in capsys.readouterr().err
    assert main([*at, "--task", "nope"]) == 2
    assert "no task 'nope': there were 'say hello'" in capsys.readouterr().err
