"""How long it takes until a program has left its coordinator, or has died with all its workers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from benchmarks.chaos.history import PATH_VARIABLE
from benchmarks.chaos.measure import Times
from benchmarks.chaos.surroundings import Surroundings

PROGRAM: Final = "benchmarks.chaos.left_program"

WAYS: Final = (
    "idle",
    "all in C code, graph cancelled",
    "all in C code, body failed",
    "all SIGSTOPped, idle",
    "all SIGSTOPped at work, body failed",
)

PROGRAM_SECONDS: Final = 30.0
"""How long a small program may take in all."""


def leaving(surroundings: Surroundings, repeats: int) -> dict[str, Times]:
    """Seconds from the moment a body is left until its coordinator has closed."""
    return {how: Times.of([_leave(surroundings, how) for _ in range(repeats)]) for how in WAYS}


def dying(surroundings: Surroundings, repeats: int) -> dict[str, Times]:
    """Seconds from a signal to the program until none of its workers, all in C code, is alive."""
    return {
        number.name: Times.of([_kill(surroundings, number) for _ in range(repeats)])
        for number in (signal.SIGKILL, signal.SIGTERM)
    }


def deaths(surroundings: Surroundings, number: int) -> tuple[dict[str, Times], dict[str, Times]]:
    """Seconds from deaths, one at a time, until they are noticed, and until the task runs again."""
    program = surroundings.start("benchmarks.chaos.death_program", str(number), extra={})
    try:
        printed, _ = program.communicate(timeout=number * PROGRAM_SECONDS)
        by_kind: dict[str, list[tuple[float, float]]] = json.loads(printed)
    except (subprocess.TimeoutExpired, ValueError):
        by_kind = {"it hangs or has crashed": [(PROGRAM_SECONDS, PROGRAM_SECONDS)]}
    finally:
        _end(surroundings, program)
    by_kind["all"] = [seconds for each in by_kind.values() for seconds in each]
    noticed = {kind: Times.of([first for first, _ in each]) for kind, each in by_kind.items()}
    again = {kind: Times.of([second for _, second in each]) for kind, each in by_kind.items()}
    return noticed, again


def _leave(surroundings: Surroundings, how: str) -> float:
    program = _start(surroundings, how)
    try:
        printed, _ = program.communicate(timeout=PROGRAM_SECONDS)
        return float(printed)
    except (subprocess.TimeoutExpired, ValueError):
        return PROGRAM_SECONDS  # it hangs or has crashed: so it stands in the table
    finally:
        _end(surroundings, program)


def _kill(surroundings: Surroundings, number: signal.Signals) -> float:
    program = _start(surroundings, "held")
    try:
        assert program.stdout is not None
        watched = [os.pidfd_open(int(pid)) for pid in program.stdout.readline().split()]
        began = time.monotonic()
        program.send_signal(number)
        ended = _wait_all(watched)
        return ended - began if watched else PROGRAM_SECONDS
    finally:
        _end(surroundings, program)


def _wait_all(watched: list[int]) -> float:
    """Wait until every process has ended, as the kernel tells; returns when."""
    deadline = time.monotonic() + PROGRAM_SECONDS
    for descriptor in watched:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(descriptor)
    return time.monotonic()


def _start(surroundings: Surroundings, how: str) -> subprocess.Popen[str]:
    path = surroundings.folder / "holding"
    path.unlink(missing_ok=True)
    return surroundings.start(PROGRAM, how, extra={PATH_VARIABLE: str(Path(path))})


def _end(surroundings: Surroundings, program: subprocess.Popen[str]) -> None:
    if program.poll() is None:
        program.kill()
    program.wait()
    if program.stdout is not None:
        program.stdout.close()
