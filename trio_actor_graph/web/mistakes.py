"""What is wrong with a request that cannot be decoded, told so that its sender can mend it.

msgspec says where a value of the wrong type is. What would have been right, and where bytes are
that are no text at all, has to be found out; that is done only when something is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

_WRONG_CHOICE: Final = "Invalid enum value"
_PLACE: Final = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_STEPS: Final = re.compile(r"\.(\w+)|\[[^\]]*\]")

# Half of a pair, without the other half; `\\` was taken out before.
_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def wrong_value(error: msgspec.ValidationError, wanted: Any) -> str:
    """What is wrong with a value; where it is none of some words, what those are.

    Args:
        wanted: the type that was to be decoded.
    """
    text = str(error)
    place = _PLACE.search(text)
    if not text.startswith(_WRONG_CHOICE) or place is None:
        return text
    words = ", ".join(sorted(map(repr, _choices(wanted, place[1]))))
    return f"{text[: place.start()]}, it must be one of {words}{place[0]}" if words else text


def wrong_json(error: Exception, body: bytes, wanted: Any) -> str:
    """What is wrong with a body.

    Args:
        error: what decoding it has raised.
        wanted: the type that was to be decoded.
    """
    if isinstance(error, UnicodeDecodeError):
        try:
            body.decode()
        except UnicodeDecodeError as first:  # the one that was raised counts from a string's begin
            at = first.start
            return f"it is not UTF-8: {first.reason}, 0x{body[at]:02x}, at byte {at}"
    if isinstance(error, msgspec.ValidationError):
        return wrong_value(error, wanted)
    lone = _LONE_SURROGATE.search(body.replace(rb"\\", b"--"))
    if lone is not None:
        return (
            f"the escape {lone[0].decode()} at byte {lone.start()} is half of a surrogate pair "
            "without the other half, which is no character"
        )
    return str(error)


def _choices(wanted: Any, path: str) -> Iterator[Any]:
    """The words that may stand at a place of a value of some type."""
    at: list[Any] = [msgspec.inspect.type_info(wanted)]
    for step in _STEPS.finditer(path):
        at = [inner for each in _plain(at) for inner in _inside(each, step[1])]
    for each in _plain(at):
        if isinstance(each, msgspec.inspect.LiteralType):
            yield from each.values


def _plain(types: Iterable[Any]) -> Iterator[Any]:
    """These types, without what is only said about them, and each of a union."""
    for each in types:
        if isinstance(each, msgspec.inspect.Metadata):
            yield from _plain([each.type])
        elif isinstance(each, msgspec.inspect.UnionType):
            yield from _plain(each.types)
        else:
            yield each


def _inside(holder: Any, name: str | None) -> Iterator[Any]:
    """The type of a field, or of the items."""
    if name is None:
        if isinstance(holder, (msgspec.inspect.VarTupleType, msgspec.inspect.ListType)):
            yield holder.item_type
    elif isinstance(holder, msgspec.inspect.StructType):
        yield from (field.type for field in holder.fields if field.encode_name == name)
