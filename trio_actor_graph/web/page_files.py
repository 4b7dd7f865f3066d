"""The live page's files. All come from this package, and are the same for everybody."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

from trio_actor_graph.web.answers import Answer
from trio_actor_graph.web.problems import ProblemRaised

MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
"""What is served; anything else in the folder is not."""

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline, in nobody's frame."""


def page_file(name: str) -> Answer:
    """A file of the live page.

    Raises:
        ProblemRaised: there is none of this name.
    """
    # A single name, so nothing outside the folder can be meant.
    suffix = name[name.rfind(".") :] if "." in name else ""
    media_type = MEDIA_TYPES.get(suffix)
    if media_type is None or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
        raise ProblemRaised("not-found")
    try:
        body = (resources.files("trio_actor_graph.web") / "page" / name).read_bytes()
    except OSError:
        raise ProblemRaised("not-found") from None
    headers = {
        "Content-Security-Policy": CONTENT_POLICY,
        "Cache-Control": "no-cache",
        "ETag": f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"',
    }
    return Answer(body, media_type=media_type, headers=headers)
