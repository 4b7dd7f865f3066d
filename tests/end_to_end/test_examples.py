"""End to end: each example, run as a program, prints what it promises and nothing on stderr."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, ProgramRun

EXAMPLES = REPOSITORY / "examples"

OUTPUTS = {
    "word_counts": """
        5 the
        3 was
        3 and
        3 tortoise
        counting of /fox was skipped
        """,
    "crawler": """
        40 pages, each once: True
        0 links away: 1
        1 links away: 2 3
        2 links away: 4 5 6 7
        3 links away: 8 9 10 11 12 13 14 15
        4 links away: 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        5 links away: 32 33 34 35 36 37 38 39 40
        """,
    "embedded": """
        12 -> 3
        91 -> 13
        323 -> 19
        99999999999973 -> 99999999999973
        """,
    "replicas": """
        amsterdam and cape town say 42
        amsterdam: succeeded
        boston: cancelled
        cape town: succeeded
        """,
    "http_service": """
        it can count, fail, total
        words: 10
        the other one: ValueError: no luck
        tasks: {'succeeded': 3, 'failed': 1}
        """,
    "classic_program": """
        {'the': 3, 'sea': 2, 'land': 1}
        (('/sky',), {}) failed: KeyError: '/sky'
        ['count_words']
        """,
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_example_prints_what_it_promises(name: str, run_program: Callable[..., ProgramRun]):
    run = run_program(EXAMPLES / f"{name}.py")
    assert (run.stderr, run.returncode) == ("", 0)
    assert run.stdout == textwrap.dedent(OUTPUTS[name]).lstrip()


def test_cpu_heavy_compares_one_process_with_two(run_program: Callable[..., ProgramRun]):
    """How much faster two are depends on what else the machine does."""
    run = run_program(EXAMPLES / "cpu_heavy.py")
    assert (run.stderr, run.returncode) == ("", 0)
    assert re.fullmatch(
        r"24268 primes\ntwo processes are \d+\.\d times as fast as one\n", run.stdout
    )


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*OUTPUTS, "cpu_heavy"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_its_point_first_and_can_be_imported(path: Path):
    """Importing one must do nothing: workers do it to find the functions."""
    text = path.read_text()
    assert text.startswith('"""')
    assert text.endswith('\n\nif __name__ == "__main__":\n    trio.run(main)\n')
