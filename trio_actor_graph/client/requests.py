"""Requests and what comes back: structs, or the package's own errors."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import httpx
import msgspec
import trio

from trio_actor_graph.errors import TrioActorGraphError
from trio_actor_graph.web.types import Problem, StandsForTask

T = TypeVar("T")

TRIES: Final = 3
"""How often a request is sent that can be repeated, while there is no answer."""

RETRY_SECONDS: Final = 0.2
"""How long it waits before the second time; twice that before the third."""

JSON: Final = {"Content-Type": "application/json"}


class RequestFailed(TrioActorGraphError):
    """The server has refused a request, or could not do it.

    Attributes:
        problem: what it says.
        status: the HTTP status.
    """

    def __init__(self, problem: Problem):
        super().__init__(f"{problem.title}: {problem.detail}" if problem.detail else problem.title)
        self.problem = problem

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def kind(self) -> str:
        """Which kind of problem it is, such as "unknown-graph"."""
        return self.problem.type.rpartition("/")[2]

    def __reduce__(self) -> tuple[object, ...]:
        return RequestFailed, (self.problem,)


class Requests:
    """Sends requests to one server."""

    def __init__(self, http: httpx.AsyncClient):
        self.http = http

    async def get(
        self, path: str, answer: type[T], parameters: Mapping[str, object] | None = None
    ) -> T:
        """GET something that is of this type.

        Raises:
            RequestFailed: the server refuses, or answers something else.
            httpx.TransportError: there is no server.
        """
        return decoded(await self.send("GET", path, parameters=parameters), answer)

    async def post(self, path: str, body: object, answer: type[T], *, key: str | None = None) -> T:
        """POST something, for something of this type.

        Args:
            key: an Idempotency-Key, with which the request may be repeated.

        Raises:
            RequestFailed: the server refuses, or answers something else.
            httpx.TransportError: there is no server.
        """
        content = msgspec.json.encode(body, enc_hook=_encode)
        return decoded(await self.send("POST", path, content=content, key=key), answer)

    async def send(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, object] | None = None,
        content: bytes | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        """Send a request; one that can be repeated is, if there is no answer."""
        headers = {} if content is None else dict(JSON)
        if key is not None:
            headers["Idempotency-Key"] = key
        can_repeat = method == "GET" or key is not None
        request = self.http.build_request(
            method, path, params=given(parameters), content=content, headers=headers
        )
        for number in range(1, TRIES + 1):
            try:
                response = await self.http.send(request)
            except httpx.TransportError:
                if not can_repeat or number == TRIES:
                    raise
                await trio.sleep(RETRY_SECONDS * number)
            else:
                if response.is_error:
                    raise RequestFailed(problem_of(response))
                return response
        raise AssertionError("it has been sent")


def given(parameters: Mapping[str, object] | None) -> dict[str, Any]:
    """The parameters that are not None or empty."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in (parameters or {}).items()
        if value is not None and value != ()
    }


def new_key() -> str:
    """An Idempotency-Key that nobody else has."""
    return secrets.token_hex(16)


def decoded(response: httpx.Response, answer: type[T]) -> T:
    """What an answer holds.

    Raises:
        RequestFailed: it is none of this API, as what a proxy says with a status that is no error.
    """
    try:
        return msgspec.json.decode(response.content, type=answer)
    except msgspec.MsgspecError as error:
        title = "The answer is none of this API"
        problem = Problem("about:blank", title, response.status_code, str(error))
        raise RequestFailed(problem) from error


def problem_of(response: httpx.Response) -> Problem:
    """What an answer says; also one of a proxy, which may be anything."""
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return Problem("about:blank", response.reason_phrase or "no answer", response.status_code)


def _encode(value: object) -> object:
    if isinstance(value, StandsForTask):  # conditions have uids by now, so it is an argument
        return {"$result": value.uid}
    raise TypeError(f"JSON has nothing for {type(value).__qualname__}: {value!r:.100}")
