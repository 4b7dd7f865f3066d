"""How users say when a failed attempt is followed by another: per task, or per function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from trio_actor_graph.checks import INTEGER_MAX, TIMEOUT_SECONDS_MAX, is_duration, is_integer
from trio_actor_graph.errors import GraphError, TaskTimeout
from trio_actor_graph.graph.retrying import RetrySpec
from trio_actor_graph.payload import encode_value

F = TypeVar("F", bound=Callable[..., Any])

RetryOn: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool] | None
)
"""Which exceptions are retried: all (None), those of some types, or those a predicate wants."""

_DEFAULTS: Final = "__trio_actor_graph_defaults__"


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed attempt is followed by another one, and how long after.

    The n-th retry comes `delay_seconds * factor ** (n - 1)` after the failure, at most
    `delay_seconds_max`, less a random part of up to `jitter` of it. While it is put off, the task
    is "ready" and holds no slot.

    Args:
        retries: how many failed attempts are answered by another one.
        delay_seconds: how long after the first failure.
        factor: how much longer after each further one, from 1.
        delay_seconds_max: and how long at most.
        jitter: the part of the delay, 0 to 1, that is taken off at random, so that tasks that
            failed together do not come back together.
        retry_on: an exception type, a tuple of them (a group counts if all in it do), or a
            predicate on the exception; None for all.
            It is asked in the worker, where the exception is. Running into `timeout_seconds` is
            decided here and now, by asking about a `TaskTimeout`. A predicate that raises says no.

    Raises:
        GraphError: a value of the wrong type or out of range.
    """

    retries: int
    delay_seconds: float = 0.0
    factor: float = 2.0
    delay_seconds_max: float = 60.0
    jitter: float = 0.5
    retry_on: RetryOn = None
    spec: RetrySpec = field(init=False, repr=False, compare=False)
    encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not is_integer(self.retries) or not 0 <= self.retries <= INTEGER_MAX:
            raise GraphError(
                f"retries must be an integer from 0, at most {INTEGER_MAX}, not {self.retries!r}"
            )
        _check_number("delay_seconds", self.delay_seconds, 0.0, TIMEOUT_SECONDS_MAX)
        _check_number("delay_seconds_max", self.delay_seconds_max, 0.0, TIMEOUT_SECONDS_MAX)
        if self.delay_seconds > self.delay_seconds_max:
            raise GraphError(
                f"delay_seconds of {self.delay_seconds:g} is more than the delay_seconds_max of "
                f"{self.delay_seconds_max:g}"
            )
        _check_number("factor", self.factor, 1.0, 1e6)
        _check_number("jitter", self.jitter, 0.0, 1.0)
        spec = RetrySpec(
            int(self.retries),
            float(self.delay_seconds),
            float(self.factor),
            float(self.delay_seconds_max),
            float(self.jitter),
            _wants_timeout_retried(self.retry_on),
        )
        object.__setattr__(self, "spec", spec)


def wants_retry(retry_on: RetryOn, error: BaseException) -> bool:
    """Whether an exception is to be retried.

    Raises:
        GraphError: `retry_on` is nothing that could tell.
        Exception: whatever a predicate raises.
    """
    if retry_on is None:
        return True
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        wanted: Any = kinds  # types, as just seen
        if isinstance(error, BaseExceptionGroup) and not isinstance(error, wanted):
            return error.split(wanted)[1] is None
        return isinstance(error, wanted)
    if isinstance(retry_on, (tuple, type)) or not callable(retry_on):
        raise GraphError(f"retry_on must be exception types or a predicate, not {retry_on!r}")
    return bool(retry_on(error))


def encoded_retry_on(policy: RetryPolicy) -> bytes | None:
    """What tells a worker which exceptions are retried; None for all.

    Raises:
        PayloadError: a predicate that cannot be pickled.
    """
    if policy.retry_on is None:
        return None
    if policy.encoded is None:  # encoded once, because a policy is for many tasks
        object.__setattr__(policy, "encoded", encode_value(policy.retry_on, "retry_on"))
    return policy.encoded


def _wants_timeout_retried(retry_on: RetryOn) -> bool:
    error = TaskTimeout("it ran too long", task_uid=0, task_name="")
    try:
        return wants_retry(retry_on, error)
    except GraphError:
        raise
    except Exception:  # noqa: BLE001  made for others; in a worker one that raises says no, too
        return False


class TaskDefaults(NamedTuple):
    """What a function asks for where `create_task` says nothing."""

    retries: RetryPolicy | None = None
    timeout_seconds: float | None = None


NO_DEFAULTS: Final = TaskDefaults()


def task_defaults(
    *, retries: int | RetryPolicy | None = None, timeout_seconds: float | None = None
) -> Callable[[F], F]:
    """Decorate a function with options for its tasks; `create_task` can override each.

    >>> @task_defaults(retries=RetryPolicy(3, delay_seconds=0.5), timeout_seconds=30)
    ... def fetch(url): ...

    Raises:
        GraphError: a value of the wrong type or out of range.
    """
    if timeout_seconds is not None and not is_duration(timeout_seconds):
        raise GraphError(f"timeout_seconds must be a positive number, not {timeout_seconds!r}")
    defaults = TaskDefaults(as_policy(retries), timeout_seconds)

    def decorate(function: F) -> F:
        setattr(function, _DEFAULTS, defaults)
        return function

    return decorate


def defaults_of(function: object) -> TaskDefaults:
    """What `task_defaults` was told about a function."""
    found = getattr(function, _DEFAULTS, NO_DEFAULTS)
    return found if isinstance(found, TaskDefaults) else NO_DEFAULTS


def as_policy(retries: int | RetryPolicy | None) -> RetryPolicy | None:
    """What `retries=` accepts, as a policy; None for none given.

    Raises:
        GraphError: neither a number nor a policy.
    """
    if retries is None or isinstance(retries, RetryPolicy):
        return retries
    # The common ones are made once: a policy costs more than the rest of a small task's creation.
    common = _COMMON if is_integer(retries) else {}
    return common.get(retries) or RetryPolicy(retries)


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise GraphError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")


_COMMON: Final = {number: RetryPolicy(number) for number in range(11)}
NEVER: Final = _COMMON[0]
