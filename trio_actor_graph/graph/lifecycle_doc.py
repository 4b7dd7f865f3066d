"""Writes docs/lifecycle.md, the page of the two state machines, from the tables in `states.py`.

    python -m trio_actor_graph.graph.lifecycle_doc docs/lifecycle.md

Without a path it prints the page. A test compares the page with this, so it cannot fall behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from trio_actor_graph.graph.states import ATTEMPT_TRANSITIONS, TASK_TRANSITIONS, TERMINAL

Transitions: TypeAlias = Iterable[tuple[tuple[str, str], str]]

_HEAD = """\
# The life of a task, and of an attempt

<!-- Written by `python -m trio_actor_graph.graph.lifecycle_doc docs/lifecycle.md`: do not edit. -->

There are two small state machines. A *task* is what you created; it ends exactly once. An *attempt*
is one try to run it in one worker. They end at different times: a cancelled task has ended at once,
while its attempt ends when the worker says so, and what that attempt brings back is dropped.
"""

_TASK = """\
## A task

- **waiting**: its scheduling condition is still open. So is a task that has returned another task,
  as which it is going to end. A short one may have gone to a worker already, together with what it
  waits for; then no predecessor can be added to it any more, except by a task in that worker.
- **ready**: it waits for a slot of its worker loop. No predecessor can be added any more.
- **running**: an attempt was given to a worker, which may hold it for a moment before it begins.
- **succeeded**, **failed**, **skipped** (its condition can no longer hold), **cancelled**: the end.
"""

_ATTEMPT = """\
## An attempt

- **following**: a worker has it together with what its task waits for, and begins it when that has
  succeeded there. If something else becomes of that, it is told to stop, and its task waits on.
- **assigned**: a worker has it, begun or not; it takes one of the worker's slots.
- **suspended**: its function awaits another task and has given its slot back meanwhile.
- **cancelling**: nobody wants what it brings back. It was told to stop; where that does not help
  within a grace period, the worker's process is killed.
- **ended**: the worker has told so, or is gone.

A retry is a new attempt of the same task, and so is a run after the loss of a worker.
"""


def lifecycle_page() -> str:
    """The whole page, as Markdown."""
    return "\n".join(
        (
            _HEAD,
            _TASK,
            _diagram(TASK_TRANSITIONS.items(), ["waiting"], sorted(TERMINAL)),
            _table(TASK_TRANSITIONS.items()),
            _ATTEMPT,
            _diagram(ATTEMPT_TRANSITIONS.items(), ["following", "assigned"], ["ended"]),
            _table(ATTEMPT_TRANSITIONS.items()),
        )
    )


def _diagram(transitions: Transitions, first: Iterable[str], last: Iterable[str]) -> str:
    """A mermaid diagram, with one arrow for all that leads from one state to another."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, happening), after in transitions:
        arrows.setdefault((before, after), []).append(happening)
    lines = [f"    [*] --> {state}" for state in first]
    lines += [f"    {a} --> {b}: {' / '.join(texts)}" for (a, b), texts in arrows.items()]
    lines += [f"    {state} --> [*]" for state in last]
    return "\n".join(("```mermaid", "stateDiagram-v2", *lines, "```", ""))


def _table(transitions: Transitions) -> str:
    rows = [f"| {before} | {what} | {after} |" for (before, what), after in transitions]
    return "\n".join(("| state | what happens | next state |", "|---|---|---|", *rows, ""))


def main(arguments: list[str]) -> None:
    """Write the page to the path given, or print it."""
    if arguments:
        Path(arguments[0]).write_text(lifecycle_page(), encoding="utf-8")
    else:
        sys.stdout.write(lifecycle_page())


if __name__ == "__main__":
    main(sys.argv[1:])
