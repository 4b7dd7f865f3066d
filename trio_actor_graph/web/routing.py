"""From one table of routes: what is served, what is checked, and what the OpenAPI document says.

A route names the types of its query, of its body and of its answers. They decode what comes in and
encode what goes out, and `openapi` writes them down, so the three cannot say different things.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, get_origin

import msgspec
import trio
from starlette.requests import Request
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router

from trio_actor_graph.errors import GraphError
from trio_actor_graph.web.answers import EVENT_STREAM, JSON, Answer, Streamed
from trio_actor_graph.web.arguments import check_json, may_refer
from trio_actor_graph.web.mistakes import wrong_json, wrong_value
from trio_actor_graph.web.problems import MEDIA_TYPE, ProblemRaised, encode_problem

if TYPE_CHECKING:
    from trio_actor_graph.web.limits import HttpLimits
    from trio_actor_graph.web.server import HttpServer

QUERY_PARTS_MAX: Final = 200
"""How many parameters a query may have; the longest one that means something has a dozen."""


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Asked(msgspec.Struct, frozen=True):
    """A request, as its handler gets it.

    Attributes:
        path: the uids in its path, by name.
        query, body: of the types that its route names.
        headers: with names in lower case.
        may_refer: arguments in the body may hold ``$result`` or ``$literal``.
    """

    server: Any  # an `HttpServer`, which msgspec cannot look into; see `serving`
    path: Mapping[str, int]
    query: Any
    body: Any
    headers: Mapping[str, str]
    may_refer: bool

    @property
    def serving(self) -> HttpServer:
        server: HttpServer = self.server
        return server


Handler = Callable[[Asked], Awaitable[Answer | Streamed]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    Attributes:
        name: its operation, for clients that are generated.
        handler: does it; its docstring is the operation's description.
        query: the struct of its parameters; repeated ones are tuples.
        body: the type of its body; None for a request without one.
        is_body_optional: without a body it gets the body's defaults.
        answers: by status, the type of a JSON body, or the media type of any other; None for none.
        problems: the kinds of problems it may tell, besides those that any route may.
        headers: what it takes in headers, by name.
        has_key: an Idempotency-Key makes it safe to repeat.
    """

    method: str
    path: str
    name: str
    handler: Any  # a `Handler`, which msgspec cannot look into
    answers: Mapping[int, Any]
    query: type[msgspec.Struct] = NoQuery
    body: Any = None
    is_body_optional: bool = False
    problems: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    has_key: bool = False

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        """What there is to say besides."""
        return " ".join((inspect.getdoc(self.handler) or "").partition("\n")[2].split())

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names of the uids in its path."""
        parts = self.path.split("/")
        return tuple(part[1:-1] for part in parts if part.startswith("{"))


def build_router(server: HttpServer, routes: Sequence[Route]) -> Router:
    """The application that serves the routes. What it cannot do, it raises as `ProblemRaised`."""
    by_path: dict[str, dict[str, Route]] = defaultdict(dict)
    for route in routes:
        by_path[route.path][route.method] = route
    served = [StarletteRoute(path, _Endpoint(server, methods)) for path, methods in by_path.items()]
    return Router(served, redirect_slashes=False, default=_not_found)


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    raise ProblemRaised("not-found")


class _Endpoint:
    """All methods of one path, as an ASGI application."""

    def __init__(self, server: HttpServer, methods: Mapping[str, Route]):
        self._server = server
        self._methods = methods
        self._allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        method = request.method
        route = self._methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise ProblemRaised("method-not-allowed", headers={"Allow": self._allowed})
        answer = await _answer(self._server, route, request)
        if isinstance(answer, Answer):
            await send_answer(request, send, answer)
        elif method == "HEAD":
            await send_answer(request, send, Answer(media_type=EVENT_STREAM))
        else:
            await answer.write(receive, send)


async def _answer(server: HttpServer, route: Route, request: Request) -> Answer | Streamed:
    path = {name: _uid(name, request.path_params[name]) for name in route.path_names}
    query = _query(request, route)
    body_bytes = await read_body(request, server)
    body = None
    if route.body is not None:
        body = _decode_body(request, route, body_bytes, server.limits)
    asked = Asked(server, path, query, body, request.headers, may_refer(body_bytes))
    key = request.headers.get("idempotency-key")
    try:
        if route.has_key and key is not None:
            parts = (route.method.encode(), request.scope["path"].encode(), body_bytes)
            return await server.keys.answer(key, parts, lambda: route.handler(asked))
        answer: Answer | Streamed = await route.handler(asked)
    except GraphError as error:
        raise ProblemRaised("too-late", str(error)) from error
    return answer


async def read_body(request: Request, server: HttpServer) -> bytes:
    """The body of a request, within the limits.

    Raises:
        ProblemRaised: it is too large, or takes too long.
    """
    limits = server.limits
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > 18 or int(length) > limits.body_bytes):
        raise _too_large(limits.body_bytes)
    parts: list[bytes] = []
    size = 0
    with trio.move_on_after(limits.read_seconds) as scope:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ProblemRaised("bad-request", "the body did not come to its end")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limits.body_bytes:
                raise _too_large(limits.body_bytes)
            if not message.get("more_body", False):
                request.state.is_read = True
                break
    if scope.cancelled_caught:
        raise ProblemRaised("request-timeout", f"the body took {limits.read_seconds:g} s")
    return b"".join(parts)


def _decode_body(request: Request, route: Route, body: bytes, limits: HttpLimits) -> Any:
    if not body and route.is_body_optional:
        return route.body()
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.replace(" ", "").lower()
    if media_type.strip().lower() != JSON or charset not in ("", "charset=utf-8"):
        raise ProblemRaised("unsupported-media-type")
    check_json(body, limits.json_depth, limits.json_values)
    try:
        return msgspec.json.decode(body, type=route.body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeError) as error:
        raise ProblemRaised("bad-json", wrong_json(error, body, route.body)) from None


def _query(request: Request, route: Route) -> Any:
    repeated = _repeated(route.query)
    given: dict[str, Any] = {}
    items = request.query_params.multi_items()
    if len(items) > QUERY_PARTS_MAX:
        raise ProblemRaised("bad-parameter", f"there are more than {QUERY_PARTS_MAX} parameters")
    for name, value in items:
        if name in repeated:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise ProblemRaised("bad-parameter", f"the parameter {name!r} is given twice")
        else:
            given[name] = value
    try:
        return msgspec.convert(given, route.query, strict=False)
    except msgspec.ValidationError as error:
        detail = f"a parameter: {wrong_value(error, route.query)}"
        raise ProblemRaised("bad-parameter", detail) from None


@cache
def _repeated(query: type[msgspec.Struct]) -> frozenset[str]:
    """The names of the parameters that may be given more than once."""
    fields = msgspec.structs.fields(query)
    types = {f.name: getattr(f.type, "__origin__", f.type) for f in fields}  # out of `Annotated`
    return frozenset(name for name, kind in types.items() if get_origin(kind) is tuple)


def _uid(name: str, text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 16 and 1 <= int(text) < 2**53:
        return int(text)
    raise ProblemRaised(f"unknown-{name}", f"{text!r} is no uid")


def _too_large(bytes_max: int) -> ProblemRaised:
    return ProblemRaised("body-too-large", f"at most {bytes_max:,} bytes are taken")


# ---- sending ----------------------------------------------------------------------------------


async def send_answer(request: Request, send: Any, answer: Answer) -> None:
    """Send an answer; if the request was not read to its end, as the last of its connection."""
    headers = [
        (name.lower().encode("latin1"), value.encode("latin1", "replace"))
        for name, value in answer.headers.items()
    ]
    if answer.status != 304:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    if answer.body or answer.status == 200:
        headers.append((b"content-type", answer.media_type.encode()))
    if not getattr(request.state, "is_read", False) and has_body(request):
        headers.append((b"connection", b"close"))
        if (connection := getattr(request.state, "connection", None)) is not None:
            connection.lingers = True
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})


async def send_problem(request: Request, send: Any, raised: ProblemRaised) -> None:
    """Tell a problem."""
    body = encode_problem(raised, request.scope["path"])
    await send_answer(request, send, Answer(body, raised.status, MEDIA_TYPE, raised.headers))


def has_body(request: Request) -> bool:
    """Whether a body comes with it."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
