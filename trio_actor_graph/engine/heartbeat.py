"""Notices workers that hang: stopped, or with C code that never gives the interpreter back.

A worker notes in its begun file that it is alive (`begun.py`), which costs no message. Here
somebody looks whether the note has changed, and counts how often it had *not*, instead of comparing
it with the clock. Whatever stops the looking too, a pause of the whole machine or a SIGSTOP of the
program, thus counts as one look at most, and raises no alarm.
"""

from __future__ import annotations

from typing import Final

import trio

from trio_actor_graph.begun import last_beat

LOOKS: Final = 4
"""How often a worker notes that it is alive, and how often that is looked at, in the time it may be
silent: what hangs is noticed after one timeout to one and a quarter."""


def beat_seconds(timeout_seconds: float | None) -> float | None:
    """Returns how often a worker has to give a sign of life."""
    return None if timeout_seconds is None else timeout_seconds / LOOKS


async def wait_silent(begun_path: str, timeout_seconds: float) -> str:
    """Waits until a worker has been silent for too long, and returns that as a reason to kill it.

    A worker of which nobody knows, since its file was removed, is not blamed.
    """
    last, silent_looks = last_beat(begun_path), 0
    while silent_looks < LOOKS:
        await trio.sleep(timeout_seconds / LOOKS)
        beat = last_beat(begun_path)
        silent_looks = silent_looks + 1 if beat == last and beat is not None else 0
        last = beat
    return f"it gave no sign of life for {timeout_seconds:g} s"
