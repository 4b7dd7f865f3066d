"""Cursors: places in a list, as text that clients hand back and need not understand.

A task's place is its index in the order of creation, which never changes while tasks are added. A
graph's place is its uid, since graphs may go.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from trio_actor_graph.web.problems import ProblemRaised

CURSOR_CHARACTERS_MAX: Final = 200


def encode_cursor(what: str, place: int) -> str:
    """The cursor for a place in the list named `what`."""
    return base64.urlsafe_b64encode(f"{what}:{place}".encode()).decode().rstrip("=")


def decode_cursor(what: str, cursor: str | None) -> int:
    """The place that a cursor tells; 0 for none.

    Raises:
        ProblemRaised: it is no cursor for this list.
    """
    if cursor is None:
        return 0
    try:
        if len(cursor) > CURSOR_CHARACTERS_MAX:
            raise ValueError(cursor)
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded.encode("ascii"), b"-_", validate=True).decode("ascii")
        list_name, _, place = text.rpartition(":")
        if list_name != what or not place.isdecimal() or int(place) >= 2**63:
            raise ValueError(cursor)
    except (ValueError, UnicodeError, binascii.Error):
        raise ProblemRaised("bad-cursor") from None
    return int(place)
