"""Whether a task's `retry_on` wants an exception retried: asked here, where the exception is."""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from trio_actor_graph.graph.failures import Raised
from trio_actor_graph.outcome import describe_exception
from trio_actor_graph.payload import decode_value
from trio_actor_graph.retries import RetryOn, wants_retry

RULES_MAX: Final = 100
"""How many decoded rules a worker keeps: more than a program has retry policies, unless it makes
one for each task, and those would pile up."""


class RetryRules:
    """The rules met so far, each decoded once.

    Args:
        lets_through: the exceptions that end the program, also when a rule raises them.
    """

    def __init__(self, lets_through: tuple[type[BaseException], ...] = ()) -> None:
        self._lets_through = lets_through
        self._decoded: dict[bytes, RetryOn] = {}
        self._lock = threading.Lock()

    def judge(
        self, encoded: bytes | None, error: BaseException, failure: Raised
    ) -> tuple[Raised, bool]:
        """Say whether a failure is final.

        Args:
            encoded: what `encoded_retry_on` made of the rule.
            failure: the description of the exception.

        Returns:
            The failure and whether it is final. It is where the rule itself fails, which is then
            told below the failure's own traceback.
        """
        if encoded is None:
            return failure, False
        try:
            return failure, not wants_retry(self._rule(encoded), error)
        except self._lets_through:
            raise
        except BaseException as second:  # a predicate may even call sys.exit
            told = describe_exception(second, frames_hidden=1).traceback
            text = f"{failure.traceback.rstrip()}\n\nretry_on then raised:\n{told}"
            return msgspec.structs.replace(failure, traceback=text), True

    def _rule(self, encoded: bytes) -> RetryOn:
        decoded = self._decoded
        if encoded in decoded:
            return decoded[encoded]
        rule: RetryOn = decode_value(encoded)
        with self._lock:
            if len(self._decoded) >= RULES_MAX:
                self._decoded = {}  # not emptied: another thread may be looking
            self._decoded[encoded] = rule
        return rule
