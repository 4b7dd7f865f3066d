"""One measurement: a script in a fresh process, bounded in time, with nothing left of it.

Its output goes to files and not to pipes, which daemons that outlive the script would hold open.
It gets a session of its own, so that its whole group can be killed, and a mark in its environment,
by which what has left the group is found: some peers start daemons that do.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

REPOSITORY = Path(__file__).parent.parent
MARK = "TRIO_ACTOR_GRAPH_BENCHMARK"
LEFTOVER_SECONDS = 5.0
"""How long what a script has left may take to end by itself before it is killed. Only then does the
next measurement begin, which it would disturb."""

QUIET = {
    # No peer is to call home, and Ray's warnings of that need not be read either.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "PARSL_TRACKING": "false",
    # As Python comes: everybody's bytecode is there from the second run on, also if ours is not to
    # be written.
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPATH": str(REPOSITORY),
}


class MeasurementFailed(Exception):
    """A script did not answer; the message says how it ended."""


@dataclass(frozen=True)
class Script:
    """What is to be run: `python -m module workload sizes`."""

    python: str
    module: str
    workload: str
    sizes: Mapping[str, Any]


def measure(script: Script, seconds_max: float) -> dict[str, Any]:
    """Run a script and return its answer, with `wall`, its whole time, added.

    Raises:
        MeasurementFailed: it failed, took too long or answered nothing.
    """
    mark = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        try:
            return _run(script, seconds_max, mark, Path(folder))
        finally:
            _end_leftovers(mark)


def _run(script: Script, seconds_max: float, mark: str, folder: Path) -> dict[str, Any]:
    sizes = dict(script.sizes)
    environment = _environment(script.python, folder, mark)
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        began = monotonic()
        if script.workload == "start":
            sizes["began"] = began
        process = subprocess.Popen(
            [script.python, "-m", script.module, script.workload, json.dumps(sizes)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=REPOSITORY,
            env=environment,
            start_new_session=True,
        )
        with _killed_after(seconds_max, process):
            # Without a time limit of its own: that would look only every 50 ms.
            process.wait()
        wall = monotonic() - began
    if wall >= seconds_max:
        raise MeasurementFailed(f"killed after {seconds_max:g} s; {_last_lines(folder)}")
    if process.returncode:
        raise MeasurementFailed(f"exit status {process.returncode}; {_last_lines(folder)}")
    lines = (folder / "stdout").read_text(errors="replace").strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise MeasurementFailed(f"no answer; {_last_lines(folder)}") from None
    return {**answer, "wall": wall}


def _environment(python: str, folder: Path, mark: str) -> dict[str, str]:
    """Ours, with the programs of the contender's environment first: Parsl starts some by name."""
    path = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, **QUIET, "PATH": path, "TMPDIR": str(folder), MARK: mark}


@contextlib.contextmanager
def _killed_after(seconds_max: float, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the script's process group after a time, and when the body is left by an exception."""
    timer = threading.Timer(seconds_max, _kill_group, [process])
    timer.start()
    try:
        yield
    except BaseException:
        _kill_group(process)
        process.wait()
        raise
    finally:
        timer.cancel()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_lines(folder: Path, number: int = 6) -> str:
    lines = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-number:]
    return "stderr: " + (" | ".join(line.strip() for line in lines) or "empty")


def _end_leftovers(mark: str) -> None:
    """Wait for what a script has left behind, and kill it when it stays."""
    until = monotonic() + LEFTOVER_SECONDS
    while leftovers := _marked_processes(mark):
        if monotonic() > until:
            for pid in leftovers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        sleep(0.02)


def _marked_processes(mark: str) -> list[int]:
    """The processes with this mark in their environment, as the kernel tells; none elsewhere."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it is not ours, or has ended
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
