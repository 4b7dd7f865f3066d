"""Small questions about values that users give, and the bounds of what is taken."""

from __future__ import annotations

from typing import Final, TypeGuard

INTEGER_MAX: Final = 2**31 - 1
"""The largest priority and number of retries: far beyond use, and the same on every wire."""

TIMEOUT_SECONDS_MAX: Final = 1e9
"""The longest time limit, 32 years: anything beyond is a mistake in units."""


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string that can be sent: lone surrogates have no place in UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_integer(value: object) -> bool:
    """Whether it is an integer, and not True or False."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_duration(value: object) -> bool:
    """Whether it is a number of seconds that can be a limit."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 < value <= TIMEOUT_SECONDS_MAX
    )
