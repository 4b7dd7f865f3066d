"""When a failed attempt is followed by another one, and how long after.

The delay grows exponentially and is spread by jitter, so that tasks that failed together do not
come back together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015; its
"equal jitter" is a jitter of 0.5 here). The core draws no random numbers: the jitter is a hash of
the attempt's id, as good for spreading and the same in every replay.
"""

from __future__ import annotations

from typing import Final

import msgspec

_HASH_FACTOR: Final = 2654435761
"""Knuth's multiplicative hash: 2**32 divided by the golden ratio (TAOCP 3, section 6.4)."""


class RetrySpec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a task is retried, as far as scheduling is concerned.

    Attributes:
        retries: how many failed attempts are answered by another one.
        delay_seconds: how long after the first failure.
        factor: how much longer after each further one.
        delay_seconds_max: and how long at most.
        jitter: the part of the delay, 0 to 1, that is taken off at random.
        is_timeout_retried: running into `timeout_seconds` counts as a failure to retry.
    """

    retries: int = 0
    delay_seconds: float = 0.0
    factor: float = 2.0
    delay_seconds_max: float = 60.0
    jitter: float = 0.5
    is_timeout_retried: bool = True


NO_RETRIES: Final = RetrySpec()


def retry_delay(spec: RetrySpec, failures: int, attempt_id: int) -> float:
    """Seconds from a failure to the next attempt.

    Args:
        failures: how many attempts have failed so far, from 1.
        attempt_id: of the one that failed last; decides the jitter.
    """
    if spec.delay_seconds <= 0.0:
        return 0.0
    try:
        delay = min(spec.delay_seconds * spec.factor ** (failures - 1), spec.delay_seconds_max)
    except OverflowError:
        delay = spec.delay_seconds_max
    spread = (attempt_id * _HASH_FACTOR % 2**32) / 2**32
    return delay * (1.0 - spec.jitter * spread)
