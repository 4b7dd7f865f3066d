"""What registered functions can be called with, as far as Python knows it beforehand."""

from __future__ import annotations

import inspect
from typing import Any, Final, NamedTuple

SIGNATURE_CHARACTERS_MAX: Final = 1_000
"""How much of a signature is shown; defaults may be anything, and as long as they like."""

ERROR_CHARACTERS_MAX: Final = 200
"""How much is shown of what does not fit."""


def signature_of(function: Any) -> inspect.Signature | None:
    """The parameters with which a function is really called; None if nobody can tell.

    A decorator's own are meant, not those of the function in it: it may add arguments.
    """
    try:
        return inspect.signature(function, follow_wrapped=False)
    except Exception:  # noqa: BLE001  built-in functions have none, and objects may do anything
        return None


def signature_text(function: Any) -> str:
    """The parameters of a function, as they are shown to people."""
    try:
        return str(inspect.signature(function))[:SIGNATURE_CHARACTERS_MAX]
    except Exception:  # noqa: BLE001  as above, and a default's `repr` may raise
        return "(...)"


class Misfit(NamedTuple):
    """Why a function cannot be called so.

    Attributes:
        where: "args" or "kwargs".
    """

    where: str
    detail: str


class Signatures:
    """Whether calls fit, each kind of call looked at once.

    Whether one fits depends on how many arguments there are, and on the names of those by name. To
    bind takes some microseconds; thousands of tasks of one kind in a request are common.
    """

    def __init__(self) -> None:
        self._signatures: dict[str, inspect.Signature | None] = {}
        self._known: dict[tuple[str, int, tuple[str, ...]], Misfit | None] = {}

    def misfit(self, name: str, function: Any, args: int, kwargs: tuple[str, ...]) -> Misfit | None:
        """Why a function cannot be called with so many arguments, and these names; None if it can.

        Args:
            name: by which the function is registered.
        """
        kind = (name, args, kwargs)
        try:
            return self._known[kind]
        except KeyError:
            found = self._known[kind] = self._look(name, function, args, kwargs)
            return found

    def _look(self, name: str, function: Any, args: int, kwargs: tuple[str, ...]) -> Misfit | None:
        if name not in self._signatures:
            self._signatures[name] = signature_of(function)
        signature = self._signatures[name]
        if signature is None:
            return None
        positional, named = (None,) * args, dict.fromkeys(kwargs)
        where = "args"
        try:
            signature.bind_partial(*positional)
            where = "kwargs"
            signature.bind_partial(*positional, **named)
            where = "args"
            signature.bind(*positional, **named)
        except TypeError as error:
            said = str(error)[:ERROR_CHARACTERS_MAX]  # it may name an argument of the client's
            return Misfit(where, f"{name}{signature_text(function)}: {said}")
        return None
