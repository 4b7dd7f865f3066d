"""End to end: schemathesis asks the live server whatever its OpenAPI document allows, and more.

Streams of events are left out because they do not end; they have tests of their own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from http_cases import serving

from trio_actor_graph.web.table import ROUTES

STREAMS = ("streamEvents", "streamGraphEvents")

# What the schema cannot say is refused too: a cursor of another list, a function that is not
# registered, 3.0 where a number in a union is meant.
LEFT_OUT = "positive_data_acceptance"

CONFIG = """
[parameters]
"path.graph" = {graph}
"path.task" = {task}
"""


async def run_schemathesis(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = Path(sys.executable).with_name("schemathesis")
    with trio.fail_after(170):
        done: subprocess.CompletedProcess[bytes] = await trio.run_process(
            [str(program), *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=folder,
        )
    return done


@pytest.mark.timeout(180)  # it asks some 1,700 times, in 15 s where nothing else runs
async def test_whatever_the_document_allows_is_answered_as_it_says(tmp_path: Path) -> None:
    async with serving() as s, s.coordinator.open_graph("g", on_failure="continue") as graph:
        task = graph.create_task("forever")
        config = CONFIG.format(graph=graph.uid, task=task.uid)
        await trio.Path(tmp_path / "schemathesis.toml").write_text(config)
        done = await run_schemathesis(
            tmp_path,
            "run",
            f"{s.server.url}/openapi.json",
            *("--header", f"Authorization: Bearer {s.server.token}"),
            *("--max-examples", "4"),
            *("--phases", "coverage,fuzzing"),
            "--no-shrink",
            *("--exclude-checks", LEFT_OUT),
            *(part for name in STREAMS for part in ("--exclude-operation-id", name)),
            *("--request-timeout", "20"),
            "--generation-deterministic",
            "--no-color",
        )
        text = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, text[-20_000:]
        # It has the document already, and does not ask for it as an operation.
        assert f"Tested: {len(ROUTES) - len(STREAMS) - 1}" in text
        graph.cancel()
