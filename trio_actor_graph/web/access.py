"""Who may speak to the server: a Unix socket is guarded by its file, all else by a token.

A program sends the token as `Authorization: Bearer`. A browser gives it once, to the login page,
and gets a cookie: HttpOnly, so no script can read it, SameSite=Strict, so no other site's page can
send it, and with a session's random number in it instead of the token, so what leaks ends with the
session. On top of that the server looks at what browsers say about a request that a page made:

- *Host* must name this server, so that a site whose name is pointed at 127.0.0.1 gets nowhere.
- *Origin*, where there is one, must be this server, and must be there for whatever changes
  something on the strength of a cookie.
- *Sec-Fetch-Site* must be "same-origin", or "none" for what a person typed. "same-site" is not
  enough: to a browser, other ports of this machine are the same site. Only links to the page itself
  may be followed from anywhere: its address can be sent to somebody.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_actor_graph.errors import GraphError
from trio_actor_graph.web.limits import HttpLimits
from trio_actor_graph.web.problems import ProblemRaised

if TYPE_CHECKING:
    from starlette.datastructures import Headers

TOKEN_BYTES: Final = 32
TOKEN_CHARACTERS_MIN: Final = 32
"""Of a token that somebody else wrote into the file: what is shorter can be guessed."""

CHALLENGE: Final = 'Bearer realm="trio-actor-graph"'

_TOKEN_FILE_BYTES_MAX: Final = 4096
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LINKED_PATHS: Final = frozenset({"/", "/login"})


class Sessions:
    """Browsers that are signed in, by the digest of their cookie's value."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._used_at: dict[bytes, float] = {}  # the one that was quiet for longest comes first

    def begin(self) -> str:
        """Begin one, and return the value of its cookie."""
        while len(self._used_at) >= self._limits.sessions:
            del self._used_at[next(iter(self._used_at))]
        value = secrets.token_urlsafe(TOKEN_BYTES)
        self._used_at[_digest(value)] = time.monotonic()
        return value

    def is_known(self, value: str) -> bool:
        """Whether the cookie is that of a session; it then goes on."""
        # Looked up by digest, so how long it takes tells nothing of the values there are.
        digest = _digest(value)
        used_at = self._used_at.pop(digest, None)
        now = time.monotonic()
        if used_at is None or now - used_at > self._limits.session_seconds:
            return False
        self._used_at[digest] = now
        return True

    def end(self, value: str) -> None:
        self._used_at.pop(_digest(value), None)


class Access:
    """What one server demands of requests.

    Args:
        token: what clients have to know; None where the socket's file decides who gets in.
        port: where the server listens; None for a Unix socket.
        hosts: names by which it may be called besides those of the loopback.
        takes_addresses: it listens beyond the loopback, and may be called by any IP address.

    Raises:
        GraphError: `hosts` are no names, or one string instead of several.
    """

    def __init__(
        self,
        token: str | None,
        port: int | None,
        hosts: Iterable[str],
        takes_addresses: bool,
        limits: HttpLimits,
    ):
        names = [hosts] if isinstance(hosts, str) else list(hosts)
        if isinstance(hosts, str) or not all(isinstance(name, str) for name in names):
            raise GraphError(f"hosts must be a list of names, not {hosts!r}")
        self._token = None if token is None else _digest(token)
        self._port = port
        self._hosts = {name.lower().rstrip(".") for name in names}
        self._takes_addresses = takes_addresses
        self.sessions = Sessions(limits)
        # Cookies are shared by all ports of a machine.
        self.cookie_name = f"trio_actor_graph_{port}"

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def check_origin(self, method: str, path: str, headers: Headers) -> None:
        """Refuse what was not meant for this server, or comes from another site's page.

        Raises:
            ProblemRaised: it is one of those.
        """
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise ProblemRaised(
                "forbidden-host",
                f"Host {host!r} is not this server; allow a name by `hosts` of serve_http",
            )
        if len(headers.getlist("host")) > 1 or len(headers.getlist("origin")) > 1:
            raise ProblemRaised("bad-request", "there is more than one Host or Origin")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in _origins(host):
            raise ProblemRaised("forbidden-origin", f"Origin {origin!r} is not this server")
        site = headers.get("sec-fetch-site")
        allowed = ("same-origin", "none") if method in _SAFE_METHODS else ("same-origin",)
        if site is not None and site.lower() not in allowed and not _is_link(method, path, headers):
            raise ProblemRaised("forbidden-origin", f"Sec-Fetch-Site is {site!r}")

    def check_token(self, method: str, headers: Headers) -> None:
        """Refuse whoever has neither the token nor a session.

        Raises:
            ProblemRaised: that is so.
        """
        if self._token is None:
            return
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, _, given = authorization.partition(" ")
            if scheme.lower() == "bearer" and self.is_token(given.strip()):
                return
            raise _unauthorized("the token is wrong")
        cookie = self.cookie_of(headers)
        if cookie is None or not self.sessions.is_known(cookie):
            raise _unauthorized("give the token as `Authorization: Bearer TOKEN`")
        if method not in _SAFE_METHODS and headers.get("origin") is None:
            raise ProblemRaised(
                "forbidden-origin", "what changes something by a cookie must say its Origin"
            )

    def is_token(self, given: str) -> bool:
        """Whether it is the token; takes as long for every wrong one."""
        return self._token is not None and hmac.compare_digest(_digest(given), self._token)

    def cookie_of(self, headers: Headers) -> str | None:
        """The value of the session's cookie; None if there is none."""
        # By hand: what http.cookies does with a quoted value takes time by the square of its size.
        for line in headers.getlist("cookie"):
            for pair in line.split(";"):
                name, equals, value = pair.partition("=")
                if equals and name.strip(" \t") == self.cookie_name:
                    return value.strip(" \t")
        return None

    def _is_ours(self, host: str) -> bool:
        name, port = _split_host(host)
        if name is None:
            return False
        if name in self._hosts:
            return True  # at any port: whoever names it may have a proxy before it
        if self._port is not None and port != str(self._port) and (port or self._port != 80):
            return False
        if name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._takes_addresses or address.is_loopback


def new_token_at(path: Path) -> str:
    """The token in a file, which is made if it is not there. Only its owner may read it.

    Raises:
        GraphError: the file is readable by others, not ours, or has no good token in it.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
    except FileExistsError:
        return _token_in(path, flags)
    except OSError as error:
        raise GraphError(f"the token file cannot be made: {error}") from error
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(f"{token}\n")
    return token


def _token_in(path: Path, flags: int) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    except OSError as error:
        raise GraphError(f"the token file cannot be read: {error}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise GraphError(f"the token file {path} is not a file")
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise GraphError(
                f"the token file {path} can be read by others: it must be yours, with mode 0600"
            )
        text = file.read(_TOKEN_FILE_BYTES_MAX).decode("ascii", errors="replace").strip()
    if len(text) < TOKEN_CHARACTERS_MIN or not text.isprintable() or not text.isascii():
        raise GraphError(
            f"the token in {path} must be {TOKEN_CHARACTERS_MIN} or more characters of ASCII"
        )
    return text


def _is_link(method: str, path: str, headers: Headers) -> bool:
    """Whether a person follows a link to the page itself: only their window gets the answer."""
    return (
        method == "GET"
        and path in _LINKED_PATHS
        and headers.get("sec-fetch-mode", "").lower() == "navigate"
        and headers.get("sec-fetch-dest", "").lower() == "document"
    )


def _unauthorized(detail: str) -> ProblemRaised:
    return ProblemRaised("unauthorized", detail, headers={"WWW-Authenticate": CHALLENGE})


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _split_host(host: str) -> tuple[str | None, str]:
    """Name and port; for an address of IPv6 without its brackets. No name if it is nonsense."""
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None, ""
        return name.lower(), rest[1:]
    name, _, port = host.partition(":")
    return (name.lower().rstrip(".") or None), port


def _origins(host: str) -> tuple[str, str]:
    return f"http://{host.lower()}", f"https://{host.lower()}"
