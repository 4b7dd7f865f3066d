"""End to end: how the live page looks in a real browser: nothing is cut, or told by colour only."""

from __future__ import annotations

import os
import re
import signal
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
from browser import open_browser_page
from page_cases import (
    Serving,
    add,
    ask,
    fail,
    open_served,
    pass_time,
    tiles,
    visit,
    wait_for_file,
    wait_text,
)

from trio_actor_graph import WorkerLoop, coordinator, current_task, open_coordinator

WIDTHS = (360, 480, 560, 700, 900, 1100, 1101, 1200, 1240, 1280, 1360, 1400, 1600, 2000)


def spin() -> None:
    while True:
        time.sleep(0.01)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def return_a_failure() -> object:
    return current_task().create_task(fail, "returned")


# Scripts that run in the page


# Which elements of a selector do not show all of their text.
CUT = """(selector) => [...document.querySelectorAll(selector)]
  .filter((each) => each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight)
  .map((each) => each.textContent)"""

# How far the filter reaches out of its panel, its placeholder out of it, and the page out of the
# window.
OVERFLOWS = """() => {
  const filter = document.getElementById("filter");
  const style = getComputedStyle(filter);
  const panel = document.getElementById("tasks-panel").getBoundingClientRect();
  const field = filter.getBoundingClientRect();
  const drawing = document.createElement("canvas").getContext("2d");
  drawing.font = style.font;
  const text = drawing.measureText(filter.placeholder).width;
  const room = filter.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return {
    field: Math.max(0, field.right - panel.right, panel.left - field.left),
    text: Math.max(0, text - room),
    page: Math.max(0, document.documentElement.scrollWidth - innerWidth),
  };
}"""

# The symbols that are seen on a node, and whether each is inside of it.
SYMBOLS = """(node) => [...node.querySelectorAll("use")].map((use) => {
  const [inner, outer] = [use.getBoundingClientRect(), node.getBoundingClientRect()];
  const isSeen = inner.right <= outer.right && inner.bottom <= outer.bottom && inner.width > 0;
  return [use.getAttribute("href").replace("#i-", ""), isSeen];
})"""

ROWS = """() => [...document.querySelectorAll("#rows .row")]
  .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.innerText)"""


async def test_nothing_runs_out_of_its_panel_at_any_width():
    """The filter stays in its panel with all of its words; the page needs no scrolling aside."""
    async with open_served() as (owner, server), owner.open_graph("widths") as graph:
        graph.create_task(add)

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "1 of 1 task ended")
            none = {"field": 0, "text": 0, "page": 0}
            found = {}
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                found[width] = page.evaluate(OVERFLOWS)
            assert found == dict.fromkeys(WIDTHS, none)

        await visit(server, look)


async def test_a_task_is_found_by_its_function():
    """Names may be anything; tasks of one function are one group, which has its name."""
    async with open_served() as (owner, server), owner.open_graph("types") as graph:
        for number in range(30):
            graph.create_task(add, name=f"https://{chr(97 + number % 26)}.example/{number}")
        graph.create_task(wait_for_file, __file__, name="a look at the disk")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "31 of 31 tasks ended")
            nodes = page.get_by_role("list", name="Groups of tasks").get_by_role("button")
            page.wait_for_selector("[aria-label='add, 30 tasks: 30 succeeded. Open']")
            assert nodes.count() == 2
            page.fill("#filter", "WAIT_for")
            wait_text(page, "#list-note", "1 of 31 tasks")
            page.locator("#rows").get_by_text("a look at the disk").click()
            wait_text(page, "#detail .facts", "Functionwait_for_file")

        await visit(server, look)


async def test_a_predecessor_that_is_added_later_is_drawn(tmp_path: Path):
    """The edge comes without loading the page anew, and the task moves behind the other."""
    gate = str(tmp_path / "gate")
    async with open_served() as (owner, server), owner.open_graph("late") as graph:
        first = graph.create_task(wait_for_file, gate, name="first")
        second = graph.create_task(add, first, name="second")
        third = graph.create_task(add, first, name="third")

        def left(page: Any, name: str) -> float:
            script = "(node) => node.getBoundingClientRect().left"
            return float(page.locator("#graph-nodes a", has_text=name).evaluate(script))

        def look(page: Any) -> None:
            wait_text(page, "#list-note", "3 tasks")
            page.wait_for_function("() => document.querySelectorAll('.edges path').length === 2")
            assert left(page, "second") == left(page, "third")
            page.locator("#rows").get_by_text("second").click()
            wait_text(page, "#detail", "Predecessors (1)")
            ask(lambda: graph.add_predecessor(second, third))
            page.wait_for_function("() => document.querySelectorAll('.edges path').length === 3")
            wait_text(page, "#detail", "Predecessors (2)")
            assert left(page, "third") < left(page, "second")
            assert tiles(page)["waiting"] == 2
            page.reload()
            page.wait_for_function("() => document.querySelectorAll('.edges path').length === 3")
            Path(gate).touch()
            wait_text(page, "#ended-of", "3 of 3 tasks ended")

        await visit(server, look)


async def test_what_was_cut_off_is_shown_the_same_when_the_page_is_loaded_anew(tmp_path: Path):
    """Bars, rows and details of what was cancelled, past its limit, lost, or ended as another."""
    loops = [
        WorkerLoop("default", concurrency=4),
        WorkerLoop("spins", functions=[spin]),
        WorkerLoop("doomed", functions=[die]),
    ]

    def bars(page: Any) -> dict[str, int]:
        page.get_by_role("button", name="Whole run").click()
        pattern = r"(\S+): (\d+) attempts, busy \d+ % of \d+ lanes"
        text = page.locator("#timeline-text").text_content()
        return {worker: int(number) for worker, number in re.findall(pattern, text)}

    async with (
        open_coordinator(loops) as owner,
        owner.serve_http(port=0) as server,
        owner.open_graph("cut off", on_failure="continue") as graph,
    ):
        endless = graph.create_task(wait_for_file, str(tmp_path / "never"), name="endless")
        graph.create_task(add, endless, name="after it")
        graph.create_task(spin, name="past its limit", timeout_seconds=0.1)
        graph.create_task(return_a_failure, name="returns a failure")
        graph.create_task(die, name="lost")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "4 of 6 tasks ended")
            ask(endless.cancel)
            wait_text(page, "#ended-of", "6 of 6 tasks ended")
            wait_text(page, "#list-note", "6 tasks")
            page.wait_for_function("() => document.querySelectorAll('#rows .row').length === 6")
            pass_time(page)
            watched, seen = page.evaluate(ROWS), bars(page)
            page.reload()
            wait_text(page, "#ended-of", "6 of 6 tasks ended")
            page.wait_for_function("() => document.querySelectorAll('#rows .row').length === 6")
            pass_time(page)
            assert page.evaluate(ROWS) == watched
            # Of what was tried three times the page that was loaded later knows the last.
            assert seen == {"default/0": 3, "doomed/0": 3, "spins/0": 1}
            assert bars(page) == {**seen, "doomed/0": 1}
            for name, outcome in [
                ("endless", "cancelled"),
                ("past its limit", "timed out"),
                ("returns a failure", "returned a task"),
                ("lost", "worker lost"),
            ]:
                page.locator(f"#rows [title^='{name}, task']").click()
                wait_text(page, "#detail-title", name)
                wait_text(page, ".attempts tbody tr:last-child td:last-child", outcome)
                last = page.locator(".attempts tbody tr:last-child td")
                assert last.nth(1).text_content() in seen
                assert last.nth(3).text_content() != ""
                page.get_by_role("button", name="Close").click()

        await visit(server, look)


async def serve_other(
    name: str | None,
    token_path: Path,
    port: int,
    path: str,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """A coordinator of its own, with a graph of this name if there is one, until it is stopped."""
    stopped = trio.Event()
    loop = WorkerLoop(str(name), processes=0, concurrency=4, functions=[wait_for_file])
    async with (
        open_coordinator([loop]) as owner,
        owner.serve_http(port=port, token_path=token_path) as server,
    ):
        serving = Serving(server, int(server.url.rpartition(":")[2]), trio.Event(), stopped)
        if name is None:
            task_status.started(serving)
            await serving.stop.wait()
        else:
            async with owner.open_graph(name, on_failure="continue") as graph:
                graph.create_task(wait_for_file, path, name=f"of the {name} one")
                task_status.started(serving)
                await serving.stop.wait()
                graph.cancel()
    stopped.set()


async def test_nothing_of_a_graph_stays_when_the_server_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Boxes, timeline, counts, title and the open task go, though the new graph has its number."""

    async with trio.open_nursery() as nursery:

        async def start(name: str | None, port: int, path: str) -> Serving:
            monkeypatch.setattr(coordinator, "_ids", count(1))  # as in another process
            token_path = tmp_path / f"token of {name}"
            return await nursery.start(serve_other, name, token_path, port, path)

        def change(page: Any, name: str | None, path: str) -> None:
            nonlocal serving
            ask(serving.stop.set)
            trio.from_thread.run(serving.stopped.wait)
            serving = trio.from_thread.run(start, name, serving.port, path)
            page.get_by_role("dialog").get_by_label("Token").fill(serving.server.token)
            page.keyboard.press("Enter")
            page.get_by_role("dialog").wait_for(state="hidden")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "1 of 1 task ended")
            page.locator("#rows").get_by_text("of the bygone one").click()
            wait_text(page, "#detail-title", "of the bygone one")
            wait_text(page, "#timeline-text", "bygone/0: 1 attempts")
            address = page.url

            change(page, "fresh", str(tmp_path / "never"))
            page.wait_for_function("() => document.title === '0 % fresh'")
            assert page.url == address  # the same numbers, and another task
            wait_text(page, "#detail-title", "of the fresh one")
            wait_text(page, "#detail .state", "running")
            wait_text(page, "#timeline-text", "fresh/0: 1 attempts")
            wait_text(page, ".tile[data-state=running]", "1")
            assert tiles(page) == {**dict.fromkeys(tiles(page), 0), "running": 1}
            assert "bygone" not in page.locator("body").text_content()

            change(page, None, "")
            wait_text(page, "#notice", "There is no graph yet.")
            page.wait_for_function("() => document.title === 'trio-actor-graph'")
            page.wait_for_selector("#rows .row, #graph-nodes a", state="detached")
            assert set(tiles(page).values()) == {0}
            page.wait_for_function("() => !document.body.textContent.includes('fresh')")
            for part in ("#detail", "#graph-state", "#graph-select"):
                assert page.locator(part).is_hidden()

        serving = await start("bygone", 0, __file__)
        # Chromium says on the console what a lost connection and a refusal look like to it.
        await visit(serving.server, look, ["net::ERR_", "401", "404"])
        serving.stop.set()


async def test_states_are_told_by_symbols_too(tmp_path: Path):
    """On a folded group, on each task, and of the graph: also what is skipped or cancelled."""
    async with (
        open_served() as (owner, server),
        owner.open_graph("states", on_failure="continue") as graph,
    ):
        held = [graph.create_task(wait_for_file, str(tmp_path / "gate")) for _ in range(3)]
        for number in range(2):
            graph.create_task(wait_for_file, __file__, name=f"there {number}")
        graph.create_task(wait_for_file, __file__, 0, name="wrong call")
        graph.create_task(add, held[0])

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "3 of 7 tasks ended")
            wait_text(page, "#graph-state", "running, 1 failed")
            ask(held[0].cancel)
            wait_text(page, "#ended-of", "5 of 7 tasks ended")
            fold = page.get_by_role("button", name="Fold by type")
            if fold.get_attribute("aria-pressed") == "false":
                fold.click()
            group = page.get_by_role("button", name="wait_for_file, 6 tasks")
            assert group.evaluate(SYMBOLS) == [
                [state, True] for state in ("failed", "cancelled", "running", "succeeded")
            ]
            skipped = page.get_by_role("button", name="add, 1 task: 1 skipped")
            assert skipped.evaluate(SYMBOLS) == [["skipped", True]]
            assert "1 skipped" in skipped.get_attribute("title")
            fold.click()
            for state in ("cancelled", "skipped", "failed"):
                node = page.locator("#graph-nodes a").and_(page.locator(f".lead-{state}"))
                assert node.evaluate(SYMBOLS) == [[state, True]]
            (tmp_path / "gate").touch()
            wait_text(page, "#ended-of", "7 of 7 tasks ended")
            wait_text(page, "#graph-state", "idle, 1 failed")
            pill = page.locator("#graph-state.state-failed")
            assert pill.locator("use").get_attribute("href") == "#i-failed"

        await visit(server, look)


async def test_names_have_the_room_there_is():
    """In a small graph a long name is whole; where layers are many it has a second line."""
    long = "customer order import step"
    async with (
        open_served() as (owner, server),
        owner.open_graph("five layers") as five,
        owner.open_graph("two tasks") as two,
    ):
        for graph, number in ((two, 2), (five, 5)):
            task = graph.create_task(add, name=f"{long} 1")
            for layer in range(2, number + 1):
                task = graph.create_task(add, task, name=f"{long} {layer}")

        def look(page: Any) -> None:
            page.set_viewport_size({"width": 1400, "height": 900})
            picker = page.get_by_label("Graph", exact=True).first
            for graph, number in ((two, 2), (five, 5)):
                picker.select_option(str(graph.uid))
                wait_text(page, "#ended-of", f"{number} of {number} tasks ended")
                wait_text(page, "#graph-nodes li:last-child", f"{long} {number}")
                assert page.evaluate(CUT, "#graph-nodes .node-name") == []
            picker.select_option(str(two.uid))
            wait_text(page, "#graph-note", "2 tasks")
            page.get_by_role("button", name="Fold by type").click()
            wait_text(page, "#graph-note", "2 groups")
            assert page.evaluate(CUT, "#graph-nodes .node-name") == []

        await visit(server, look)


async def test_an_error_that_is_no_traceback_is_called_so_and_is_whole():
    """What a lost worker leaves is a line of words; it goes on in the next line."""
    loops = [WorkerLoop("default"), WorkerLoop("doomed", functions=[die])]
    async with (
        open_coordinator(loops) as owner,
        owner.serve_http(port=0) as server,
        owner.open_graph("errors", on_failure="continue") as graph,
    ):
        graph.create_task(die, name="lost")
        graph.create_task(fail, "no", name="raised")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "2 of 2 tasks ended")
            for name, title, text in [
                ("lost", "Error", "workers that died"),
                ("raised", "Traceback", "ValueError: no"),
            ]:
                page.locator("#rows").get_by_text(name).click()
                wait_text(page, "#detail-title", name)
                wait_text(page, f"#detail pre[aria-label='{title}']", text)
                heads = page.locator("#detail h3").all_text_contents()
                assert {"Error", "Traceback"} & set(heads) == {title}
                assert page.evaluate(CUT, "#detail pre.words") == []
                page.set_viewport_size({"width": 360, "height": 740})
                script = "(body) => body.scrollWidth - body.clientWidth"
                assert page.locator(".detail-body").evaluate(script) == 0
                page.set_viewport_size({"width": 1280, "height": 720})
                page.get_by_role("button", name="Close").click()

        await visit(server, look)


async def test_one_signs_in_at_a_page_that_looks_like_the_live_page():
    """Its style is allowed by its digest, light and dark; it has one word for what it does."""
    ground = "() => getComputedStyle(document.body).backgroundColor"
    font = "() => getComputedStyle(document.body).fontFamily"

    async with open_served() as (_, server):

        def run() -> tuple[list[Any], list[Any]]:
            with open_browser_page("about:blank", ["401"], color_scheme="light") as page:
                page.goto(server.url)
                assert page.title() == "Sign in: trio-actor-graph"
                assert page.get_by_role("heading").all_text_contents() == ["Sign in"]
                assert page.get_by_role("button").all_text_contents() == ["Sign in"]
                before = [page.evaluate(font), page.evaluate(ground)]
                page.emulate_media(color_scheme="dark")
                before.append(page.evaluate(ground))
                page.set_viewport_size({"width": 320, "height": 500})
                assert page.evaluate("document.documentElement.scrollWidth") == 320
                assert page.evaluate("document.activeElement.id") == "token"
                page.get_by_label("Token").fill("wrong")
                page.get_by_role("button", name="Sign in").click()
                page.get_by_role("alert").get_by_text("That is not the token.").wait_for()
                page.get_by_label("Token").fill(server.token)
                page.keyboard.press("Enter")
                page.wait_for_selector("#connection")
                after = [page.evaluate(font)]
                page.emulate_media(color_scheme="light")
                after.append(page.evaluate(ground))
                page.emulate_media(color_scheme="dark")
                return before, [*after, page.evaluate(ground)]

        before, after = await trio.to_thread.run_sync(run)
    assert before == after
