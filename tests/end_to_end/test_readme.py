"""End to end: what the README says is so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for tag, text in found if tag == language]


def test_the_first_program_prints_what_stands_below_it(run_program: Callable[..., Any]) -> None:
    """The program on the README's first screen runs as it stands and prints what it is said to."""
    program, output = blocks("python")[0], blocks("")[0]

    done = run_program(program)

    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


def test_the_test_command_is_the_one_of_ci() -> None:
    """What CI runs is what the README tells people to run."""
    test_command = blocks("")[2].strip()

    assert test_command.endswith("uv run pytest")
    assert f"({test_command})" in (REPOSITORY / ".ci" / "run").read_text()


def test_every_link_into_the_repository_has_a_target() -> None:
    """A reader of the README or of a page of docs/ never follows a link into nothing."""
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    missing = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert missing == []


def test_the_limits_page_tells_the_values_of_the_code() -> None:
    """Each limit of docs/limits.md is a constant of the module named, with the value given."""
    from importlib import import_module

    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,.]+) (\w*)[^|]*\| `([\w.]+)`",
        (REPOSITORY / "docs" / "limits.md").read_text(),
        re.MULTILINE,
    )
    # All other units count one by one.
    units = {"GiB": 2.0**30, "MiB": 2.0**20, "KiB": 2.0**10, "ms": 1e-3}
    told = {
        (module, name): float(number.replace(",", "")) * units.get(unit, 1.0)
        for name, number, unit, module in rows
    }
    real = {
        (module, name): float(getattr(import_module(f"trio_actor_graph.{module}"), name))
        for module, name in told
    }

    assert len(told) >= 35
    # A frame's length field holds one less than 4 GiB.
    assert {
        key: round(value + (key[1] == "FRAME_BYTES_MAX"), 9) for key, value in real.items()
    } == {key: round(value, 9) for key, value in told.items()}
