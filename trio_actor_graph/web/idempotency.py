"""What was answered to a request with an Idempotency-Key is answered again to its repetitions.

Only what was done is remembered. A request that was refused has changed nothing, and is simply
looked at once more. One that comes while the first is still at work waits for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from trio_actor_graph.web.answers import Answer
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.problems import ProblemRaised

KEY_CHARACTERS_MAX: Final = 255


class _Remembered:
    """A request with a key: at work, or answered.

    Attributes:
        answer: None while it is at work.
    """

    __slots__ = ("answer", "at", "fingerprint", "is_done")

    def __init__(self, fingerprint: bytes):
        self.fingerprint = fingerprint
        self.at = time.monotonic()
        self.answer: Answer | None = None
        self.is_done = trio.Event()


class IdempotencyKeys:
    """The keys that one server remembers, oldest first."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._by_key: dict[str, _Remembered] = {}
        self._bytes = 0

    async def answer(
        self, key: str, asked: tuple[bytes, ...], do: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """The first answer to the request with this key.

        Args:
            asked: what makes the request what it is: its method, path and body.
            do: does it, if this is the first.

        Raises:
            ProblemRaised: the key was used for another request; or whatever `do` raises.
        """
        if not 1 <= len(key) <= KEY_CHARACTERS_MAX or not key.isprintable():
            raise ProblemRaised(
                "bad-parameter",
                f"an Idempotency-Key has 1 to {KEY_CHARACTERS_MAX} printable characters",
            )
        fingerprint = _fingerprint(asked)
        self._forget_old()
        while (known := self._by_key.get(key)) is not None:
            if known.fingerprint != fingerprint:
                raise ProblemRaised("key-reused")
            if known.answer is not None:
                return known.answer
            await known.is_done.wait()  # if it came to nothing, it is ours to do
        return await self._do(key, _Remembered(fingerprint), do)

    async def _do(self, key: str, new: _Remembered, do: Callable[[], Awaitable[Answer]]) -> Answer:
        self._by_key[key] = new
        try:
            # To the end, also if the client has gone: it is going to ask again with the same key,
            # and what was done but not remembered would be done twice.
            with trio.CancelScope(shield=True):
                answer = new.answer = await do()
            self._bytes += len(answer.body)
        finally:
            if new.answer is None:
                del self._by_key[key]
            new.is_done.set()
        return answer

    def _forget_old(self) -> None:
        """Make room for one more; what is at work stays."""
        limits, horizon = self._limits, time.monotonic() - self._limits.keys_seconds
        for key, known in list(self._by_key.items()):
            is_room = len(self._by_key) < limits.keys and self._bytes <= limits.keys_bytes
            if is_room and known.at > horizon:
                return
            if known.answer is not None:
                self._bytes -= len(known.answer.body)
                del self._by_key[key]


def _fingerprint(asked: tuple[bytes, ...]) -> bytes:
    digest = hashlib.sha256()
    for part in asked:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
