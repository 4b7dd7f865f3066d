"""Docstrings as descriptions: what they say of the whole, and of each attribute."""

from __future__ import annotations

import inspect
import re
from typing import Final, NamedTuple

_SECTION: Final = re.compile(r"^Attributes:\n", re.MULTILINE)
_ATTRIBUTE: Final = re.compile(r"^    (\w+(?:, \w+)*): ", re.MULTILINE)


class Described(NamedTuple):
    """What a docstring says.

    Attributes:
        head: of the class.
        attributes: of each of them, by name.
    """

    head: str
    attributes: dict[str, str]


def described(documented: type) -> Described:
    """What the docstring of a class says, as Markdown."""
    head, *sections = _SECTION.split(inspect.getdoc(documented) or "", maxsplit=1)
    attributes: dict[str, str] = {}
    parts = _ATTRIBUTE.split(sections[0])[1:] if sections else []
    for names, text in zip(parts[::2], parts[1::2], strict=True):
        attributes |= dict.fromkeys(names.split(", "), _markdown(text))
    return Described("\n\n".join(map(_markdown, head.strip().split("\n\n"))), attributes)


def _markdown(text: str) -> str:
    """One paragraph, without the line breaks of the source."""
    return " ".join(text.split()).replace("``", "`")
