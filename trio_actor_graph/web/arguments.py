"""The arguments of a pushed task: JSON, in which ``{"$result": TASK}`` stands for a task's result.

Everything here works with a list of what is still to be done instead of recursion, since how deep
the values are is the client's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from trio_actor_graph.web.problems import ProblemRaised

RESULT: Final = "$result"
LITERAL: Final = "$literal"

KEY_SHOWN_MAX: Final = 40
"""How many characters of an argument's name stand in the path of an error."""

_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},"))
_OPENING: Final = frozenset(b"[{")

Place = tuple[Any, Any, Any]
"""Where a value is: the place of what holds it (None for the outermost), its key there, itself.

Its path is put together only when it is told: a name may be a megabyte long, and hold a hundred
thousand values.
"""


class BadArgument(Exception):
    """Something in the arguments means nothing."""

    def __init__(self, place: Place, detail: str):
        super().__init__(detail)
        self.place = place
        self.detail = detail


def check_json(body: bytes, depth_max: int, values_max: int) -> None:
    """Refuse JSON that is nested too deep, or has too many values, before it is decoded.

    Objects, lists and their commas are counted, which takes a hundredth of what decoding takes. For
    what is no JSON the numbers mean something up to where it is wrong, where decoding ends too.

    Raises:
        ProblemRaised: that is so.
    """
    if len(body) <= min(depth_max, values_max):
        return
    structure = _structure(body, values_max)
    opened = structure.count(b"[") + structure.count(b"{")
    if opened + structure.count(b",") > values_max:
        raise _too_many_values(values_max)
    if opened <= depth_max:
        return
    depth = 0
    for byte in structure.replace(b",", b""):
        if byte in _OPENING:
            depth += 1
            if depth > depth_max:
                raise ProblemRaised("bad-json", f"it is nested more than {depth_max} deep")
        else:
            depth -= 1


def may_refer(body: bytes) -> bool:
    """Whether arguments in a body may hold what stands for something else; no is certain."""
    # A backslash may be part of a name's escaped spelling.
    return b'"$result"' in body or b'"$literal"' in body or b"\\" in body


def marks(value: Any, key: str | int) -> Iterator[Place]:
    """The places of the ``$result`` and ``$literal`` objects inside an argument, in order.

    Args:
        key: the argument's name or index.
    """
    if not isinstance(value, (dict, list)):
        return
    root = _Level(None, key, value)
    if _is_mark(value):
        yield root.place
        return
    levels = [root]
    while levels:
        level = levels[-1]
        for inner_key, each in level.items:
            if not isinstance(each, (dict, list)) or not each:
                continue
            if _is_mark(each):
                yield (level.place, inner_key, each)
            else:
                levels.append(_Level(level, inner_key, each))
                break
        else:
            levels.pop()


def reference_at(place: Place) -> Any:
    """The task that a mark names; None for a literal.

    Raises:
        BadArgument: the object has other members too, or names no task.
    """
    at = place[2]
    name = RESULT if RESULT in at else LITERAL
    if len(at) > 1:
        raise BadArgument(place, f"an object with {name!r} can have nothing else")
    if name == LITERAL:
        return None
    named = at[RESULT]
    if isinstance(named, bool) or not isinstance(named, (int, str)):
        raise BadArgument((place, RESULT, named), "it must be the uid or the key of a task")
    return named


def replace_mark(place: Place, arguments: Any, task_of: Callable[[Any], object]) -> None:
    """Put what a mark stands for into its place.

    Args:
        arguments: all of them, by name or index.
        task_of: gives the task that a reference names.
    """
    holder, key, at = place
    inside = arguments if holder is None else holder[2]
    inside[key] = task_of(at[RESULT]) if RESULT in at else at[LITERAL]


def path_of(place: Place) -> str:
    """The path of a place, which begins with the argument's name or index."""
    parts: list[str] = []
    at: Place | None = place
    while at is not None:
        key = at[1]
        is_cut = isinstance(key, str) and len(key) > KEY_SHOWN_MAX
        shown = f"{key[:KEY_SHOWN_MAX]}..." if is_cut else key
        parts.append(f"[{key}]" if isinstance(key, int) else f".{shown}")
        at = at[0]
    return "".join(reversed(parts))


class _Level:
    """One object or list on the way to where the search is.

    A place for everything that is looked at would be as much garbage to collect.
    """

    __slots__ = ("_above", "_key", "_place", "_value", "items")

    def __init__(self, above: _Level | None, key: str | int, value: Any):
        self._above = above
        self._key = key
        self._value = value
        self._place: Place | None = None
        self.items = iter(value.items() if isinstance(value, dict) else enumerate(value))

    @property
    def place(self) -> Place:
        if self._place is None:
            above = None if self._above is None else self._above.place
            self._place = (above, self._key, self._value)
        return self._place


def _is_mark(value: Any) -> bool:
    return isinstance(value, dict) and (RESULT in value or LITERAL in value)


def _structure(body: bytes, values_max: int) -> bytes:
    """The brackets and commas of JSON that are not in its strings."""
    # No regular expression: of many strings that never end it would try each to the end.
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # A value has at most a name and a text beside what is counted. Splitting takes 60 bytes a part.
    if body.count(b'"') > 4 * (values_max + 1):
        raise _too_many_values(values_max)
    outside = b"".join(body.split(b'"')[::2])
    return outside.translate(None, delete=_NO_STRUCTURE)


def _too_many_values(values_max: int) -> ProblemRaised:
    return ProblemRaised("bad-json", f"it has more than {values_max:,} values")
