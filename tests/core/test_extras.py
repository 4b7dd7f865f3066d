"""Core: who lacks an extra is told which, and what it holds."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import REPOSITORY
from trio_actor_graph.extras import EXTRAS


def test_the_extras_hold_what_the_metadata_says():
    metadata = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    declared = metadata["project"]["optional-dependencies"]
    names = {
        extra: tuple(re.match(r"[\w-]+", each)[0] for each in packages)
        for extra, packages in declared.items()
    }
    assert names == EXTRAS


SERVE = """
import trio, trio_actor_graph
async def main():
    async with trio_actor_graph.open_coordinator() as coordinator:
        coordinator.serve_http()
trio.run(main)
"""


CLIENT = (
    "ModuleNotFoundError: trio_actor_graph.client needs httpx, the extra 'client' ({}): "
    "uv add trio-actor-graph --extra client; the README has the line for pip"
)
WEB = (
    "GraphError: serving needs hypercorn and starlette, the extra 'web' ({}): "
    "uv add trio-actor-graph --extra web; the README has the line for pip"
)


@pytest.mark.parametrize(
    ("missing", "program", "told"),
    [
        ("httpx", "import trio_actor_graph.client", CLIENT),
        ("h11", SERVE, WEB),
        ("starlette.requests", SERVE, WEB),
    ],
)
def test_what_is_missing_is_named_with_its_extra(missing: str, program: str, told: str):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules[{missing!r}] = None\n{program}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=REPOSITORY,
    )
    why = f"import of {missing} halted; None in sys.modules"
    assert done.stderr.splitlines()[-1].endswith(told.format(why))
