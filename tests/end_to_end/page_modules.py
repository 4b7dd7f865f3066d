"""What the tests of the live page's modules have in common: a browser that loads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import open_browser_page

import trio_actor_graph.web

PAGE = Path(trio_actor_graph.web.__file__).parent / "page"
ADDRESS = "http://page.test"
TYPES = {".js": "text/javascript", ".html": "text/html"}


@contextmanager
def open_modules(expected_errors: Sequence[str] = ()) -> Iterator[Callable[[str], Any]]:
    """Runs scripts beside the page's modules, which come from their files, without a server.

    A script is the body of an async function; `await load("store")` is a module.

    Args:
        expected_errors: parts of what the modules say on the console and are meant to.
    """

    def answer(route: Any) -> None:
        path = PAGE / route.request.url.rpartition("/")[2]
        if path.is_file():
            route.fulfill(body=path.read_text(), content_type=TYPES.get(path.suffix, "text/plain"))
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    with open_browser_page("about:blank", expected_errors) as page:
        page.context.route(f"{ADDRESS}/**", answer)
        page.goto(f"{ADDRESS}/empty")

        def run(script: str) -> Any:
            load = "const load = (name) => import(`/page/${name}.js`);"
            return page.evaluate(f"async () => {{ {load} {script} }}")

        yield run


STORY = """
  const { RunStore } = await load("store");
  const store = new RunStore();
  const task = (uid, name, state, more = {}) => ({
    uid, name, function: "work", state, worker_loop: "default", attempt: 0, worker: null,
    created_at: 100, began_at: null, ended_at: null, seconds: null, error: null, creator: null,
    predecessors: [], outcome: null, ...more,
  });
  const event = (uid, state, happening, at, more = {}) => ({
    kind: "task", graph_uid: 1, uid, name: `task ${uid}`, function: "work", state, happening, at,
    attempt: 0, worker: null, worker_loop: "default", began_at: null, seconds: null, error: null,
    creator: null, predecessors: [], ...more,
  });
  const counted = () => {
    const counts = {};
    for (const { state } of store.order) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  };
  const shown = () => Object.fromEntries(Object.entries(store.counts).filter(([, n]) => n > 0));
"""
