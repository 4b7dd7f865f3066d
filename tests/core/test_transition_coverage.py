"""Core: the stories reach every row of the two state tables.

They are told once more, all in one process: the suite may spread them over several.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_stories_reach_every_row_of_the_tables() -> None:
    """A row that no story reaches is either dead or untested."""
    others = [path for path in HERE.glob("test_*.py") if path != Path(__file__)]
    texts = {path: path.read_text() for path in others if path.name != "test_pictures.py"}
    files = [path for path, text in texts.items() if "(story" in text and "def story" not in text]
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *files],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "test_scheduler.py" in [path.name for path in files]
    assert told.returncode == 0, told.stdout
    assert "rows of the task table not reached: []" in told.stdout
    assert "rows of the attempt table not reached: []" in told.stdout
