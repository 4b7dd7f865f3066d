"""End to end: who has no business with the server gets nothing but a problem."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_cases import client_of, is_problem, serving

from trio_actor_graph import GraphError
from trio_actor_graph.web import access
from trio_actor_graph.web.table import ROUTES

PATHS = sorted({(r.method, r.path.replace("{graph}", "1").replace("{task}", "1")) for r in ROUTES})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {token}"},
        {"Authorization": "Bearer {token}x"},
        {"Authorization": "{token}"},
        {"Cookie": "trio_actor_graph_{port}={token}"},
    ],
)
async def test_every_route_wants_the_token(headers: dict[str, str]) -> None:
    async with serving() as s, httpx.AsyncClient(base_url=s.server.url) as http:
        port = s.server.url.rpartition(":")[2]
        given = {k: v.format(token=s.server.token, port=port) for k, v in headers.items()}
        for method, path in [*PATHS, ("GET", "/"), ("GET", "/page/x.js"), ("GET", "/nope")]:
            answer = await http.request(method, path, headers=given)
            is_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Host": "evil.example"}, "forbidden-host"),
        ({"Host": "evil.example:{port}"}, "forbidden-host"),
        ({"Host": "127.0.0.1"}, "forbidden-host"),
        ({"Host": "10.0.0.1:{port}"}, "forbidden-host"),
        ({"Host": ""}, "forbidden-host"),
        ({"Host": "[::1"}, "forbidden-host"),
        ({"Origin": "http://evil.example"}, "forbidden-origin"),
        ({"Origin": "null"}, "forbidden-origin"),
        ({"Origin": "http://127.0.0.1:1"}, "forbidden-origin"),
        ({"Origin": "http://localhost:{port}"}, "forbidden-origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "forbidden-origin"),
        ({"Sec-Fetch-Site": "same-site"}, "forbidden-origin"),
    ],
)
async def test_what_was_meant_for_another_or_comes_from_another_is_refused(
    headers: dict[str, str], kind: str
) -> None:
    async with serving() as s:
        port = s.server.url.rpartition(":")[2]
        given = {name: value.format(port=port) for name, value in headers.items()}
        for method, path in [("GET", "/v1/health"), ("POST", "/v1/graphs"), ("GET", "/login")]:
            is_problem(await s.http.request(method, path, headers=given), 403, kind)
        assert s.coordinator.graphs == ()


async def test_what_is_meant_for_this_server_is_taken() -> None:
    async with serving(hosts=["graphs.example"]) as s:
        port = s.server.url.rpartition(":")[2]
        for headers in [
            {"Host": f"localhost:{port}"},
            {"Host": f"LOCALHOST:{port}"},
            {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"},
            {"Host": "graphs.example", "Origin": "https://graphs.example"},
            {"Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
        ]:
            answer = await s.http.get("/v1/health", headers=headers)
            assert answer.status_code == 200, headers
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_link_to_the_page_may_be_followed_from_another_site(site: str) -> None:
    """And to nothing else; nor may it be fetched, framed or embedded from there."""
    async with serving() as s:
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        for path in ("/", "/login"):
            assert (await s.http.get(path, headers=link)).status_code == 200
            for other in ({"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Dest": "iframe"}):
                answer = await s.http.get(path, headers={**link, **other})
                is_problem(answer, 403, "forbidden-origin")
        for method, path in [("GET", "/v1/health"), ("GET", "/page/page.js"), ("POST", "/login")]:
            is_problem(await s.http.request(method, path, headers=link), 403, "forbidden-origin")


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"],
)
async def test_only_json_is_taken(content_type: str | None) -> None:
    async with serving() as s:
        headers = {} if content_type is None else {"Content-Type": content_type}
        answer = await s.http.post("/v1/graphs", content=b"{}", headers=headers)
        is_problem(answer, 415, "unsupported-media-type")
        good = {"Content-Type": "Application/JSON; charset=UTF-8"}
        assert (await s.http.post("/v1/graphs", content=b"{}", headers=good)).status_code == 201


async def test_every_answer_forbids_what_browsers_might_guess() -> None:
    async with serving() as s:
        for path in ("/v1/health", "/nope", "/login", "/metrics"):
            headers = (await s.http.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers


async def test_a_browser_logs_in_and_out() -> None:
    async with serving() as s, httpx.AsyncClient(base_url=s.server.url) as browser:
        html = {"Accept": "text/html"}
        sent = await browser.get("/", headers=html)
        assert (sent.status_code, sent.headers["location"]) == (303, "/login")
        form = await browser.get("/login", headers=html)
        assert form.status_code == 200
        assert 'name="token"' in form.text
        same = {"Origin": s.server.url, "Sec-Fetch-Site": "same-origin"}
        wrong = await browser.post("/login", data={"token": "x"}, headers=same)
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        token = {"token": s.server.token}
        is_problem(await browser.post("/login", data=token), 403, "forbidden-origin")
        logged_in = await browser.post("/login", data=token, headers=same)
        assert (logged_in.status_code, logged_in.headers["location"]) == (303, "/")
        cookie = logged_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert s.server.token is not None
        assert s.server.token not in cookie
        assert (await browser.get("/v1/health")).status_code == 200
        # A cookie alone changes nothing: whoever sends it must say from where.
        is_problem(await browser.post("/v1/graphs", json={}), 403, "forbidden-origin")
        assert (await browser.post("/v1/graphs", json={}, headers=same)).status_code == 201
        assert (await browser.post("/logout", headers=same)).status_code == 303
        is_problem(await browser.get("/v1/health"), 401, "unauthorized")
        stolen = {"Cookie": cookie.partition(";")[0]}
        async with httpx.AsyncClient(base_url=s.server.url, headers=stolen) as thief:
            is_problem(await thief.get("/v1/health"), 401, "unauthorized")


async def test_the_cookie_is_found_among_those_of_other_ports() -> None:
    """The library's parser, which takes time by the square of a cookie's size, is not asked."""
    assert not hasattr(access, "SimpleCookie")
    async with serving() as s, httpx.AsyncClient(base_url=s.server.url) as browser:
        name = s.server.access.cookie_name
        value = s.server.access.sessions.begin()
        for line, status in [
            (f"{name}={value}", 200),
            (f"a=b;{name}={value};c=d", 200),
            (f"other;  {name} = {value} ; x", 200),
            ('a="' + '\\"' * 10_000 + f'"; {name}={value}', 200),
            (f"x{name}={value}", 401),
            (f"{name}", 401),
            (f"{name}=", 401),
            (f"a={name}={value}", 401),
        ]:
            answer = await browser.get("/v1/health", headers={"Cookie": line})
            assert answer.status_code == status, line[:100]


async def test_sessions_end_and_have_a_bound() -> None:
    async with serving(limits={"sessions": 1, "session_seconds": 1000}) as s:
        same = {"Origin": s.server.url}
        browsers = [httpx.AsyncClient(base_url=s.server.url) for _ in range(2)]
        for browser in browsers:
            await browser.post("/login", data={"token": s.server.token}, headers=same)
        first, second = browsers
        is_problem(await first.get("/v1/health"), 401, "unauthorized")
        assert (await second.get("/v1/health")).status_code == 200
        for browser in browsers:
            await browser.aclose()


async def test_the_files_can_be_used_by_their_owner_only(tmp_path: Path) -> None:
    async with serving(port=None) as s:
        assert s.server.socket_path is not None
        assert _mode(s.server.socket_path) == 0o600
        assert _mode(s.server.socket_path.parent) == 0o700
        assert (s.server.token, s.server.token_path) == (None, None)
        assert (await s.http.get("/v1/health")).status_code == 200
        wrong = await s.http.get("/v1/health", headers={"Host": "evil.example"})
        is_problem(wrong, 403, "forbidden-host")
        is_problem(await s.http.get("/login"), 404, "not-found")
        folder = s.server.socket_path.parent
    assert not folder.exists()
    old_mask = os.umask(0)
    try:
        async with serving(token_path=tmp_path / "token") as s:
            assert _mode(tmp_path / "token") == 0o600
            assert (tmp_path / "token").read_text().strip() == s.server.token
        async with serving(port=None, socket_path=tmp_path / "socket") as s:
            assert _mode(tmp_path / "socket") == 0o600
    finally:
        os.umask(old_mask)
    assert not (tmp_path / "socket").exists()


async def test_a_token_stays_the_same_for_the_next_server(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        async with serving(token_path=tmp_path / "token") as s:
            tokens.append(s.server.token)
            assert (await s.http.get("/v1/health")).status_code == 200
    assert tokens[0] == tokens[1]


def _spoil_mode(path: Path) -> None:
    path.write_text("x" * 40)
    path.chmod(0o640)


def _spoil_link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("x" * 40)
    target.chmod(0o600)
    path.symlink_to(target)


def _spoil_text(path: Path) -> None:
    path.write_text("short")
    path.chmod(0o600)


def _spoil_kind(path: Path) -> None:
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("spoil", [_spoil_mode, _spoil_link, _spoil_text, _spoil_kind])
async def test_a_token_file_that_others_could_have_made_is_refused(
    spoil: Any, tmp_path: Path
) -> None:
    spoil(tmp_path / "token")
    with pytest.raises(GraphError, match="token"):
        async with serving(token_path=tmp_path / "token"):
            pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "allow_remote"),
        ({"host": "::"}, "allow_remote"),
        ({"host": "example.com"}, "allow_remote"),
        ({"port": 70000}, "port"),
        ({"port": True}, "port"),
        ({"socket_path": "/x"}, "either"),
        ({"port": None, "token_path": "/x"}, "no token"),
        ({"port": None, "socket_path": "/no/such/folder/x"}, "cannot listen"),
        ({"port": None, "socket_path": "/" + "x" * 200}, "cannot listen"),
        ({"hosts": "example.com"}, "hosts"),
        ({"hosts": [b"example.com"]}, "hosts"),
        ({"limits": {"connections": 0}}, "connections"),
        ({"limits": {"connections": 2.5}}, "connections"),
        ({"limits": {"closed_tasks": 1e3}}, "whole number"),
        ({"limits": {"idle_seconds": float("nan")}}, "idle_seconds"),
    ],
)
async def test_what_would_not_be_safe_or_cannot_be_is_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(GraphError, match=words):
        async with serving(**options):
            pass


async def test_other_machines_only_when_asked_for() -> None:
    async with serving(host="0.0.0.0", allow_remote=True) as s:
        port = s.server.url.rpartition(":")[2]
        async with client_of(s.server) as http:
            by_address = {"Host": f"192.0.2.7:{port}"}
            url = f"http://127.0.0.1:{port}/v1/health"
            assert (await http.get(url, headers=by_address)).status_code == 200
            by_name = {"Host": f"rebound.example:{port}"}
            is_problem(await http.get(url, headers=by_name), 403, "forbidden-host")


async def test_a_dead_servers_socket_is_taken_over_but_not_a_live_ones(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(port=None, socket_path=path):
        with pytest.raises(GraphError, match="in use"):
            async with serving(port=None, socket_path=path):
                pass
        os.link(path, tmp_path / "left")
    (tmp_path / "left").rename(path)  # as a killed server leaves it
    async with serving(port=None, socket_path=path) as s:
        assert (await s.http.get("/v1/health")).status_code == 200
    path.write_text("precious")
    with pytest.raises(GraphError, match="cannot listen"):
        async with serving(port=None, socket_path=path):
            pass
    assert path.read_text() == "precious"


async def test_a_server_that_has_no_time_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    """Nor is it waited for."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as waiting:
        busy.bind(os.fspath(path))
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(os.fspath(path))
        with pytest.raises(GraphError, match="in use"):
            async with serving(port=None, socket_path=path):
                pass
        assert path.is_socket()
    assert _files(tmp_path) == [path]


async def test_a_socket_has_its_name_only_when_it_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else another server that starts at that moment takes it for a dead one's."""
    path = tmp_path / "s"
    linked = []

    def link(hidden: Path, name: Path, *, link: Any = os.link) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(hidden))
        assert not path.exists()
        link(hidden, name)
        linked.append(name)

    monkeypatch.setattr(os, "link", link)
    async with serving(port=None, socket_path=path) as s:
        assert linked == [path]
        assert _files(tmp_path) == [path]
        assert (await s.http.get("/v1/health")).status_code == 200
    assert _files(tmp_path) == []


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
