"""End to end: the commands of docs/http.md are run as they stand there, and its lists are whole."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from trio_actor_graph.web import limits
from trio_actor_graph.web.problems import KINDS

TEXT = (REPOSITORY / "docs/http.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_commands_work(start_program: Callable[..., Any], tmp_path: Path) -> None:
    (service,) = (block for block in blocks("python") if "# service.py" in block)
    (tmp_path / "service.py").write_text(service)
    main = "import sys; from trio_actor_graph.__main__ import main; sys.exit(main())"
    arguments = ("serve", "service:coordinator", "--socket", "service.socket")
    program = start_program(main, *arguments, cwd=tmp_path)
    program.wait_stdout("serving at service.socket\n")
    script = "".join(f"{block}echo\necho '--- end of block'\n" for block in blocks("sh"))
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    program.interrupt()
    assert program.wait().returncode == 130
    assert run.returncode == 0, run.stderr
    told = run.stdout.split("--- end of block")
    assert '"summary":"How many words there are."' in told[0]
    assert '"name":"texts"' in told[1]
    assert '"state":"cancelled"' in told[2] or '"state":"succeeded"' in told[2]
    assert '"value":2}' in told[3]
    assert '"lines":[' in told[4]
    assert (tmp_path / "trace.json").stat().st_size > 100
    assert "retry: 1000" in told[5]
    assert "trio_actor_graph_tasks" in told[6]
    assert "/problems/unknown-graph" in told[7]
    assert "/problems/method-not-allowed" in told[7]


def test_all_kinds_of_problems_are_listed() -> None:
    rows = re.findall(r"^\| `([a-z-]+)`: .* \| (\d+) \|$", TEXT, re.MULTILINE)
    assert rows == [(name, str(kind.status)) for name, kind in KINDS.items()]


def test_all_limits_are_listed() -> None:
    """Their values are compared by test_readme."""
    text = (REPOSITORY / "docs/limits.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| `web.limits` \|", text, re.MULTILINE)
    assert rows == [name for name in vars(limits) if name.isupper()]
