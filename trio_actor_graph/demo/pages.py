"""The pages that the demo reads: Python's own documentation, served on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

MODULES: Final = tuple(
    """
    argparse array ast base64 bisect calendar codecs collections configparser contextlib copy csv
    dataclasses datetime decimal difflib dis doctest email.message enum fractions functools heapq
    html.parser inspect io ipaddress itertools json logging math numbers operator os pathlib pickle
    platform pprint queue random re selectors shlex shutil socket socketserver statistics string
    subprocess textwrap threading tokenize traceback types typing unittest uuid zipfile
    """.split()  # noqa: SIM905 - this reads better than fifty quoted names
)
"""Modules that every Python has, whose import does nothing but define things."""

MISSING: Final = "antigravity"
"""A page that is not there, on purpose. (pydoc would import it, and that opens a web browser.)"""

START_SECONDS: Final = 30.0
"""How long the server may take to start; it takes 0.1 s when the machine is idle."""


@asynccontextmanager
async def open_page_server() -> AsyncIterator[str]:
    """Serve the pages of `MODULES` on loopback; yields the address to put `/MODULE.html` after.

    Each page is written when it is asked for, so fetching one takes as long as pydoc takes.

    Raises:
        RuntimeError: the server did not start.
    """
    program = Path(__file__).with_name("page_server.py")
    process = await trio.lowlevel.open_process(
        [sys.executable, "-I", str(program), *MODULES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal is for us
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = b""
        with trio.move_on_after(START_SECONDS):
            while not port.endswith(b"\n") and (more := await process.stdout.receive_some()):
                port += more
        if not port.endswith(b"\n"):
            raise RuntimeError("the server of the demo's pages did not start")
        yield f"http://127.0.0.1:{int(port)}"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            await process.stdout.aclose()
            await process.wait()
