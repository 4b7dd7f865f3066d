"""The outermost application: who may come in, and how everything that goes wrong is told.

Before a request reaches its route it has to be meant for this server, to come from no other site's
page, and to show the token or a session. Only the login page is for everybody.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request

from trio_actor_graph.complaints import complain
from trio_actor_graph.web.answers import Answer
from trio_actor_graph.web.connections import LOGGER
from trio_actor_graph.web.login_page import login_page
from trio_actor_graph.web.page_files import page_file
from trio_actor_graph.web.problems import ProblemRaised
from trio_actor_graph.web.routing import read_body, send_answer, send_problem

if TYPE_CHECKING:
    from starlette.routing import Router

    from trio_actor_graph.web.server import HttpServer

FORM_BYTES_MAX: Final = 4096
"""A token in a form is less than a tenth of this."""

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_DEFAULT_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Gate:
    """The application that hypercorn serves."""

    def __init__(self, server: HttpServer, router: Router):
        self._server = server
        self._router = router

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        sender = _Sender(send)
        request = Request(scope, receive)
        try:
            await self._serve(request, receive, sender)
        except ProblemRaised as raised:
            await self._tell(request, sender, raised)
        except Exception:  # noqa: BLE001  it is told
            text = "%s %s has failed"
            complain(LOGGER, logging.ERROR, text, request.method, scope["path"], exc_info=True)
            await self._tell(request, sender, ProblemRaised("internal"))

    async def _serve(self, request: Request, receive: Any, sender: _Sender) -> None:
        access, method, headers = self._server.access, request.method, request.headers
        path = request.scope["path"]
        access.check_origin(method, path, headers)
        if path == "/login" and access.needs_token:
            await send_answer(request, sender, await self._log_in(request))
            return
        try:
            access.check_token(method, headers)
        except ProblemRaised as raised:
            if raised.kind == "unauthorized" and path == "/" and _is_browser(request):
                answer = Answer(status=303, headers={"Location": "/login"})
                await send_answer(request, sender, answer)
                return
            raise
        if path == "/logout" and access.needs_token:
            await send_answer(request, sender, await self._log_out(request))
        elif path == "/" or path.startswith("/page/"):
            await send_answer(request, sender, await self._page(request, path))
        else:
            await self._router(request.scope, receive, sender)

    async def _page(self, request: Request, path: str) -> Answer:
        await read_body(request, self._server)
        if request.method not in ("GET", "HEAD"):
            raise ProblemRaised("method-not-allowed", headers={"Allow": "GET, HEAD"})
        answer = page_file("index.html" if path == "/" else path.removeprefix("/page/"))
        if request.headers.get("if-none-match") == answer.headers["ETag"]:
            return Answer(status=304, headers=answer.headers)
        return answer

    async def _log_in(self, request: Request) -> Answer:
        if request.method in ("GET", "HEAD"):
            await read_body(request, self._server)
            return login_page()
        if request.method != "POST":
            raise ProblemRaised("method-not-allowed", headers={"Allow": "GET, HEAD, POST"})
        _require_origin(request)
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > FORM_BYTES_MAX:
            raise ProblemRaised("body-too-large", f"at most {FORM_BYTES_MAX} bytes are taken")
        form = parse_qs((await read_body(request, self._server)).decode("latin1"))
        access = self._server.access
        if not access.is_token(form.get("token", [""])[0].strip()):
            return login_page(is_repeated=True)
        cookie = f"{access.cookie_name}={access.sessions.begin()}; {_COOKIE}"
        return Answer(status=303, headers={"Location": "/", "Set-Cookie": cookie})

    async def _log_out(self, request: Request) -> Answer:
        await read_body(request, self._server)
        if request.method != "POST":
            raise ProblemRaised("method-not-allowed", headers={"Allow": "POST"})
        _require_origin(request)
        access = self._server.access
        if (value := access.cookie_of(request.headers)) is not None:
            access.sessions.end(value)
        cookie = f"{access.cookie_name}=; Max-Age=0; {_COOKIE}"
        return Answer(status=303, headers={"Location": "/login", "Set-Cookie": cookie})

    async def _tell(self, request: Request, sender: _Sender, raised: ProblemRaised) -> None:
        if not sender.has_started:
            await send_problem(request, sender, raised)


_COOKIE: Final = "Path=/; HttpOnly; SameSite=Strict"


class _Sender:
    """The ASGI `send`, with the headers that every answer has."""

    def __init__(self, send: Any):
        self._send = send
        self.has_started = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = [*message["headers"], *_HEADERS]
            names = {name for name, _ in headers}
            headers += [(name, value) for name, value in _DEFAULT_HEADERS if name not in names]
            message = {**message, "headers": headers}
        await self._send(message)


def _require_origin(request: Request) -> None:
    if request.headers.get("origin") is None:
        raise ProblemRaised("forbidden-origin", "a form must say its Origin")


def _is_browser(request: Request) -> bool:
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")
