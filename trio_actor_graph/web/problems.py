"""Errors as they are told over HTTP: one table of kinds, each with its status and its title.

A handler raises `ProblemRaised`; whatever else goes wrong is told as "internal" and logged, because
a message that was not written for clients may tell them too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from trio_actor_graph.errors import TrioActorGraphError
from trio_actor_graph.web.types import Problem, ProblemPlace

MEDIA_TYPE: Final = "application/problem+json"


class Kind(NamedTuple):
    """A kind of problem: what all of them have in common."""

    status: int
    title: str


KINDS: Final[dict[str, Kind]] = {
    "bad-request": Kind(400, "The request is not valid HTTP"),
    "bad-parameter": Kind(400, "A parameter or a header has a wrong value"),
    "bad-cursor": Kind(400, "The cursor is none that this server gave for this list"),
    "bad-json": Kind(400, "The body is not JSON of the type that is asked for"),
    "unauthorized": Kind(401, "The token is missing or wrong"),
    "forbidden-host": Kind(403, "The request was not meant for this server"),
    "forbidden-origin": Kind(403, "The request comes from another site's page"),
    "not-found": Kind(404, "There is nothing at this path"),
    "unknown-graph": Kind(404, "There is no such graph"),
    "unknown-task": Kind(404, "There is no such task in the graph"),
    "method-not-allowed": Kind(405, "The path has no such method"),
    "not-json": Kind(406, "The result cannot be told as JSON"),
    "request-timeout": Kind(408, "The request took too long to arrive"),
    "graph-closed": Kind(409, "The graph takes no more tasks"),
    "not-remote": Kind(409, "The graph belongs to the program that runs it"),
    "too-late": Kind(409, "The task is in no state for this"),
    "cycle": Kind(409, "Tasks would wait on each other for ever"),
    "task-failed": Kind(409, "The task has failed"),
    "task-skipped": Kind(409, "The task was skipped"),
    "task-cancelled": Kind(409, "The task was cancelled"),
    "result-released": Kind(410, "The result is no longer kept"),
    "body-too-large": Kind(413, "The body is too large"),
    "unsupported-media-type": Kind(415, "The body must be application/json"),
    "bad-batch": Kind(422, "The tasks cannot be pushed; none was"),
    "bad-condition": Kind(422, "The condition cannot be"),
    "graph-too-large": Kind(422, "The graph has too many tasks for this"),
    "key-reused": Kind(422, "The Idempotency-Key was used for another request"),
    "too-many-graphs": Kind(429, "Too many graphs are open"),
    "too-many-subscribers": Kind(429, "Too many streams of events are open"),
    "head-too-large": Kind(431, "The headers are too large"),
    "internal": Kind(500, "The server has made a mistake"),
    "not-supported": Kind(501, "The server does not do this"),
    "too-many-connections": Kind(503, "Too many connections are open"),
    "shutting-down": Kind(503, "The server is shutting down"),
}


class ProblemRaised(TrioActorGraphError):
    """A request cannot be done; the client is told why.

    Args:
        kind: one of `KINDS`.
        detail: what it was this time, written for clients.
        errors: the places of the request that are wrong.
        headers: what the answer has besides.
        error_type, traceback: of a task's failure.
    """

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        errors: tuple[ProblemPlace, ...] = (),
        headers: Mapping[str, str] | None = None,
        error_type: str = "",
        traceback: str = "",
    ):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.error_type = error_type
        self.traceback = traceback

    @property
    def status(self) -> int:
        return KINDS[self.kind].status

    def problem(self, instance: str) -> Problem:
        """The document that tells it."""
        kind = KINDS[self.kind]
        return Problem(
            type=f"/problems/{self.kind}",
            title=kind.title,
            status=kind.status,
            detail=self.detail,
            instance=instance,
            errors=self.errors,
            error_type=self.error_type,
            traceback=self.traceback,
        )


_BY_STATUS: Final = {413: "body-too-large", 431: "head-too-large", 501: "not-supported"}


def protocol_problem(status: int) -> ProblemRaised:
    """The problem of a request that is no HTTP, as its parser tells it by a status."""
    detail = "" if status in _BY_STATUS else "it cannot be parsed as an HTTP/1.1 request"
    return ProblemRaised(_BY_STATUS.get(status, "bad-request"), detail)


def encode_problem(raised: ProblemRaised, instance: str) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(raised.problem(instance))
