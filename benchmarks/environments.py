"""An environment for each peer, made by uv beside the project's own and kept for the next run.

The peers do not fit into one: trio-parallel wants a newer trio than tractor's release allows, and
each of the large ones has opinions on what else may be installed. All get the interpreter that runs
this. What they resolve to is repeatable as the project's own environment is, by the same date.

An environment is used again when it was made of the same requirements. A peer that cannot be
installed is not an error: it is reported with the reason.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.processes import REPOSITORY

MADE_OF = "made-of.json"
INSTALL_SECONDS_MAX = 900.0
"""Ray is 70 MB; a slow line must not stop the run for ever."""

VERSIONS = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of."""

    python: str
    requirements: list[str]
    exclude_newer: str


@dataclass(frozen=True)
class Python:
    """The interpreter of an environment, and the versions in it that are worth telling."""

    path: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Unavailable:
    """There is no environment, and why."""

    reason: str


def python_for(contender: Contender, tell: Callable[[str], None]) -> Python | Unavailable:
    """The interpreter for a contender: ours, or that of its own environment, made if need be."""
    if not contender.requirements:
        return _with_versions(sys.executable, contender)
    folder = REPOSITORY / f".venv-bench-{contender.key.replace('_', '-')}"
    recipe = Recipe(platform.python_version(), list(contender.requirements), _exclude_newer())
    try:
        if not _is_made_of(folder, recipe):
            tell(f"making an environment for {contender.name}")
            _make(folder, recipe)
        return _with_versions(str(folder / "bin" / "python"), contender)
    except (OSError, subprocess.SubprocessError) as error:
        return Unavailable(_reason(error))


def _make(folder: Path, recipe: Recipe) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    uv = _find_uv()
    # From a folder outside: inside, uv would apply the project's constraints to the peers.
    with tempfile.TemporaryDirectory() as outside:
        _run([uv, "venv", "--python", sys.executable, str(folder)], outside)
        python = str(folder / "bin" / "python")
        install = [uv, "pip", "install", "--python", python, *recipe.requirements]
        try:
            _run([*install, "--exclude-newer", recipe.exclude_newer], outside)
        except subprocess.CalledProcessError:
            _run(install, outside)  # an index that does not tell dates has nothing old enough
    # Last of all: what is half made is made again.
    (folder / MADE_OF).write_text(json.dumps(asdict(recipe)))


def _is_made_of(folder: Path, recipe: Recipe) -> bool:
    try:
        made_of: object = json.loads((folder / MADE_OF).read_text())
    except (OSError, ValueError):
        return False
    return made_of == asdict(recipe)


def _with_versions(python: str, contender: Contender) -> Python:
    printed = _run([python, "-c", VERSIONS, *contender.reports], str(REPOSITORY))
    return Python(python, json.loads(printed))


def _run(command: list[str], folder: str) -> str:
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=INSTALL_SECONDS_MAX,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def _find_uv() -> str:
    """As `scripts/dev` finds it: on the PATH, else where the README installs it."""
    in_clone = REPOSITORY / ".uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(in_clone) if in_clone.exists() else None)
    if found is None:
        raise FileNotFoundError("uv is missing: python3 -m pip install -qU --target .uv uv")
    return found


def _exclude_newer() -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    date: str = project["tool"]["uv"]["exclude-newer"]
    return date


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or "").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-4:]) or str(error)
    return str(error)
