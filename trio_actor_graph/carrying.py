"""What goes from the context of whoever creates a task into that of the task: traces, mostly.

Context variables do not cross processes by themselves. Three kinds of them are carried, where there
is something to carry: OpenTelemetry's context, as W3C's `traceparent` and what else its propagators
make of it; what structlog's `bind_contextvars` has bound; and variables that the app has named. It
travels as opaque bytes and is opened beside the function, in a context that ends with it.

No library is imported to find out whether it is used. A failure to carry is told by a warning, once
for each thing, and harms nothing.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from trio_actor_graph.complaints import complain
from trio_actor_graph.errors import GraphError
from trio_actor_graph.payload import brief, decode_value, encode_value

CONTEXT_BYTES_MAX: Final = 1 << 16
"""How much is carried into each task, 64 KiB: it is for what identifies work, and is no way to hand
over arguments."""

_WARNED_MAX: Final = 1_000

_OTEL: Final = "opentelemetry.context"
_STRUCTLOG: Final = "structlog.contextvars"

_warned: set[str] = set()


class Carrier:
    """Captures what is to be carried.

    Args:
        variables: the names of context variables, as "package.module:name".
    """

    def __init__(self, variables: tuple[str, ...] = ()):
        self.variables = variables
        self._last: tuple[object, bytes | None] = (None, None)

    def capture(self) -> bytes | None:
        """What there is to carry just now, encoded; None for nothing."""
        modules = sys.modules
        if not (self.variables or _OTEL in modules or _STRUCTLOG in modules):
            return None
        try:
            return self._capture()
        except Exception as error:
            _warn("the context", error)
            return None

    def _capture(self) -> bytes | None:
        trace = _trace_headers() if _OTEL in sys.modules else None
        bound = dict(_structlog().get_contextvars()) if _STRUCTLOG in sys.modules else None
        values = self._values()
        if not (trace or bound or values):
            return None
        captured = (trace or None, bound or None, values or None)
        last, encoded = self._last
        if captured == last:  # one request creates many tasks
            return encoded
        encoded = _encode(*captured)
        self._last = (captured, encoded) if _is_unchangeable(bound) else (None, None)
        return encoded

    def _values(self) -> dict[str, bytes]:
        values: dict[str, bytes] = {}
        for name in self.variables:
            if name.partition(":")[0] not in sys.modules:  # then nobody here has set it
                continue
            try:
                value = resolve(name).get(_UNSET)
                if value is not _UNSET:
                    values[name] = encode_value(value, f"context variable {name!r}")
            except Exception as error:
                _warn(f"context variable {name!r}", error)
        return values


_UNSET: Final[Any] = object()


def take_up(carried: bytes) -> None:
    """Put what was captured into the context in which this is called."""
    try:
        trace, bound, values = decode_value(carried)
    except BaseException as error:
        _refuse_interrupt(error)
        _warn("the context", error)
        return
    if trace:
        _attempt("the trace context", _attach, trace)
    for name, value in (bound or {}).items():
        _attempt(f"structlog's {name!r}", _bind, name, value)
    for name, value in (values or {}).items():
        _attempt(f"context variable {name!r}", _set, name, value)


def trace_headers_in(carried: bytes | None) -> dict[str, str] | None:
    """The trace context in what was captured, as headers; None if there is none."""
    if carried is None:
        return None
    trace: dict[str, str] | None = decode_value(carried)[0]
    return trace


def with_trace_headers(carried: bytes | None, headers: dict[str, str]) -> bytes:
    """What was captured, with another trace context."""
    _, bound, values = (None, None, None) if carried is None else decode_value(carried)
    return pickle.dumps((headers, bound, values), protocol=5)


def check_variables(names: object) -> tuple[str, ...]:
    """The names of context variables, looked up.

    Raises:
        GraphError: one of them is none.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise GraphError(f"carried_variables must be names such as 'module:name', not {names!r}")
    checked = tuple(names)
    for name in checked:
        if not isinstance(name, str) or not all(name.partition(":")):
            raise GraphError(f"carried_variables: {name!r} is not 'module:name'")
        try:
            resolve(name)
        except (ImportError, AttributeError, TypeError) as error:
            raise GraphError(f"carried_variables: {name!r}: {error}") from error
    return checked


def resolve(name: str) -> ContextVar[Any]:
    """The context variable of a name "package.module:name".

    Raises:
        TypeError: it is none.
    """
    module, _, attribute = name.partition(":")
    variable = getattr(importlib.import_module(module), attribute)
    if not isinstance(variable, ContextVar):
        raise TypeError(f"not a ContextVar: {variable!r}")
    return variable


def _trace_headers() -> dict[str, str]:
    from opentelemetry.context import get_current

    headers: dict[str, str] = {}
    if get_current():
        from opentelemetry.propagate import inject

        inject(headers)
    return headers


def _attach(headers: dict[str, str]) -> None:
    from opentelemetry.context import attach
    from opentelemetry.propagate import extract

    attach(extract(headers))


def _structlog() -> Any:
    return importlib.import_module(_STRUCTLOG)


def _bind(name: str, value: bytes) -> None:
    _structlog().bind_contextvars(**{name: decode_value(value)})


def _set(name: str, value: bytes) -> None:
    resolve(name).set(decode_value(value))


def _encode(
    trace: dict[str, str] | None,
    bound: Mapping[str, object] | None,
    values: dict[str, bytes] | None,
) -> bytes | None:
    encoded_bound: dict[str, bytes] = {}
    for name, value in (bound or {}).items():
        try:
            encoded_bound[name] = encode_value(value, f"structlog's {name!r}")
        except Exception as error:
            _warn(f"structlog's {name!r}", error)
    encoded = pickle.dumps((trace, encoded_bound, values), protocol=5)
    if len(encoded) > CONTEXT_BYTES_MAX:
        _warn("the context", ValueError(f"{len(encoded):,} bytes, limit {CONTEXT_BYTES_MAX:,}"))
        return pickle.dumps((trace, None, None), protocol=5) if trace else None
    return encoded


def _is_unchangeable(bound: Mapping[str, object] | None) -> bool:
    """Whether equal now means equal in every way: not 1 and True, nor lists that have changed."""
    return all(type(value) is str for value in (bound or {}).values())


def _attempt(what: str, function: Any, *args: object) -> None:
    try:
        function(*args)
    except BaseException as error:  # an import may raise anything
        _refuse_interrupt(error)
        _warn(what, error)


def _refuse_interrupt(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        raise error


def _warn(what: str, error: BaseException) -> None:
    """Say once what is not carried."""
    if what not in _warned and len(_warned) < _WARNED_MAX:
        _warned.add(what)
        text = "%s is not carried into tasks: %s"
        complain("trio_actor_graph.carrying", logging.WARNING, text, what, brief(error))
