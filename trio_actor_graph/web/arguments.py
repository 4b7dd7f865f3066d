"""The arguments of a pushed task: JSON, in which ``{"$result": TASK}`` stands for a task's result.

Everything here works with a list of what is still to be done instead of recursion, since how deep
the values are is the client's choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from trio_actor_graph.web.problems import ProblemRaised

RESULT: Final = "$result"
LITERAL: Final = "$literal"

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_OPENING: Final = frozenset(b"[{")


class BadArgument(Exception):
    """Something in the arguments means nothing; `path` says where, relative to them."""

    def __init__(self, path: str, detail: str):
        super().__init__(detail)
        self.path = path
        self.detail = detail


def check_depth(body: bytes, depth_max: int) -> None:
    """Refuse JSON that is nested too deep, before anything tries to decode it.

    Raises:
        ProblemRaised: it is too deep.
    """
    if body.count(b"[") + body.count(b"{") <= depth_max:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        if body and bracket[0][0] in _OPENING:
            depth += 1
            if depth > depth_max:
                raise ProblemRaised("bad-json", f"it is nested more than {depth_max} deep")
        else:
            depth -= 1


def references(value: Any, start: str = "") -> Iterator[tuple[str, Any]]:
    """What the ``$result`` objects inside name, each with its path, which begins with `start`.

    Raises:
        BadArgument: such an object has other members too, or names no task.
    """
    pending: list[tuple[str, Any]] = [(start, value)]
    while pending:
        path, at = pending.pop()
        if isinstance(at, dict):
            if RESULT in at:
                yield f"{path}.{RESULT}", _reference(path, at)
            elif LITERAL in at:
                _check_alone(path, at, LITERAL)
            else:
                pending += [(f"{path}.{key}", each) for key, each in reversed(at.items())]
        elif isinstance(at, list):
            pending += [(f"{path}[{i}]", each) for i, each in reversed(list(enumerate(at)))]


def filled(value: Any, task_of: Callable[[Any], object]) -> Any:
    """The value with tasks in the place of ``$result`` objects, and literals as they are.

    Args:
        task_of: gives the task that a reference names; `references` has shown that there is one.
    """
    if not isinstance(value, (dict, list)):
        return value
    root: list[Any] = [value]
    pending: list[Any] = [root]
    while pending:
        at = pending.pop()
        for key, each in list(at.items() if isinstance(at, dict) else enumerate(at)):
            if isinstance(each, dict) and RESULT in each:
                at[key] = task_of(each[RESULT])
            elif isinstance(each, dict) and LITERAL in each:
                at[key] = each[LITERAL]
            elif isinstance(each, (dict, list)):
                pending.append(each)
    return root[0]


def _reference(path: str, at: dict[str, Any]) -> Any:
    _check_alone(path, at, RESULT)
    named = at[RESULT]
    if isinstance(named, bool) or not isinstance(named, (int, str)):
        raise BadArgument(f"{path}.{RESULT}", "it must be the uid or the key of a task")
    return named


def _check_alone(path: str, at: dict[str, Any], name: str) -> None:
    if len(at) > 1:
        raise BadArgument(path, f"an object with {name!r} can have nothing else")
