"""What handlers return: a status, a body that is encoded already, and headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

_encoder: Final = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True):
    """An answer, ready to be sent, and sent again."""

    body: bytes = b""
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = {}


def json_answer(
    value: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer that is one of the structs of `types`."""
    return Answer(_encoder.encode(value), status, JSON, headers or {})


class Streamed:
    """An answer that is sent while it comes about.

    Args:
        write: an async function that is given the ASGI `receive` and `send`, and does it all.
    """

    def __init__(self, write: Any):
        self.write = write
