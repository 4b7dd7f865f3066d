"""A headless Chromium for tests of pages, driven by Playwright.

The browser is the machine's own; Playwright downloads none. Playwright has an asyncio loop of its
own, so a test that runs under trio gives the whole visit to a thread:

    def look() -> str:
        with open_browser_page(url) as page:
            return page.title()

    title = await trio.to_thread.run_sync(look)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

# Without these Chromium calls home at every start, which a closed network refuses many times over.
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def chromium_path() -> str:
    """Where Chromium is; without one the test is skipped."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no Chromium on this machine: install the package `chromium`")
    return found


@contextmanager
def open_browser_page(
    url: str, expected_errors: Sequence[str] = (), **options: Any
) -> Iterator[Any]:
    """A page of a browser of its own that has loaded `url`; an error in its scripts fails the test.

    Args:
        expected_errors: parts of what the console says and is meant to.
        options: of the browser's context, such as `color_scheme="dark"`.
    """
    executable = chromium_path()
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="browser-") as profile,
        sync_playwright() as playwright,
    ):
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=executable, headless=True, args=list(ARGUMENTS), **options
        )
        try:
            page = context.pages[0]
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
            page.goto(url)
            yield page
        finally:
            context.close()
    assert [e for e in errors if not any(part in e for part in expected_errors)] == []
