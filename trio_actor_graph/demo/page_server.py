"""A web server for pydoc's pages of the modules named on its command line.

It is a program of its own, started by `pages.open_page_server`: pydoc imports what it documents,
which is better done elsewhere, and its work would hold up whoever shares the interpreter. It uses
nothing but the standard library, so it can run with `-I`, untouched by the user's paths and
variables.

It listens on a free port of 127.0.0.1, writes the number to stdout, and ends when stdin does: it
cannot outlive whoever started it.
"""

from __future__ import annotations

import os
import pydoc
import sys
import threading
import warnings
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PageServer(ThreadingHTTPServer):
    """Serves `/MODULE.html` for each of the modules, and nothing else."""

    daemon_threads = True
    request_queue_size = 128  # the default of 5 makes a burst of connections wait for a second

    def __init__(self, modules: frozenset[str]):
        self.modules = modules
        self.writing = threading.Lock()  # one core is enough for a demo's server
        super().__init__(("127.0.0.1", 0), PageRequest)


class PageRequest(BaseHTTPRequestHandler):
    """Answers one request; HTTP/1.0, so the end of the connection is the end of the page."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/").removesuffix(".html")
        assert isinstance(self.server, PageServer)
        if name not in self.server.modules:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with self.server.writing:
            page = write_page(name).encode(errors="replace")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing."""


def write_page(module: str) -> str:
    """The page of a module that pydoc writes, as HTML."""
    thing = pydoc.safeimport(module)
    page: str = pydoc.html.page(module, pydoc.html.document(thing, module))
    return page


def main() -> None:
    """Serve until stdin ends."""
    warnings.simplefilter("ignore")
    os.environ.clear()  # the page of `os` shows it: it is nobody's business, and never the same
    server = PageServer(frozenset(sys.argv[1:]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
