"""End to end: pictures of real graphs, in every format, and the page in a real browser."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
import trio
from browser import open_browser_page
from PIL import Image, ImageColor

from trio_actor_graph import (
    GraphError,
    Task,
    TaskFailed,
    TaskGraph,
    WorkerLoop,
    completed,
    current_task,
    open_coordinator,
    succeeded,
)
from trio_actor_graph.observe.drawing import FORMATS
from trio_actor_graph.observe.drawing.style import STATE_COLOURS

SPACE = {"svg": "http://www.w3.org/2000/svg"}


def fetch(number: int) -> int:
    return number


def refuse() -> None:
    raise ValueError("</script> this <b>fails</b>")


def add(*numbers: int) -> int:
    return sum(numbers)


def split(number: int) -> Task[int]:
    """Ends as a task over others, all of its own making."""
    task = current_task()
    return task.create_task(add, *(task.create_task(fetch, n) for n in range(number)))


@asynccontextmanager
async def open_story() -> AsyncIterator[tuple[TaskGraph, trio.Event]]:
    """A graph with all there is to draw, and a gate that holds one of its tasks open."""
    gate = trio.Event()

    async def held() -> None:
        await gate.wait()

    loops = [
        WorkerLoop("here", processes=0, concurrency=8, functions=[held]),
        WorkerLoop("default"),
    ]
    async with (
        open_coordinator(loops, record_times=True) as coordinator,
        coordinator.open_graph("story", on_failure="continue") as graph,
    ):
        numbers = [graph.create_task(fetch, n) for n in range(3)]
        failed = graph.create_task(refuse)
        graph.create_task(add, failed, name="never")
        graph.create_task(add, 1, waits_on=succeeded(*numbers, failed, at_least=2), name="quorum")
        ended = graph.create_task(split, 2)
        waiting = graph.create_task(held)
        graph.create_task(add, 2, waits_on=completed(ended, waiting), name="last")
        graph.create_task(refuse, name="cancelled", waits_on=waiting).cancel()
        await ended.wait()
        for task in (*numbers, failed, *(t for t in graph.tasks if t.name == "quorum")):
            await task.wait()
        try:
            yield graph, gate
        finally:
            gate.set()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_graph_that_runs_is_drawn_in_every_format(tmp_path: Path) -> None:
    """All five are written while a task runs; each is what its suffix says."""
    async with open_story() as (graph, _):
        for suffix in FORMATS:
            graph.draw(tmp_path / f"picture{suffix}")
        counts = {state: number for state, number in graph.counts().items() if number}
    assert counts == {"waiting": 1, "running": 1, "succeeded": 8, "failed": 1, "skipped": 1,
                      "cancelled": 1}  # fmt: skip
    assert names_in(tmp_path) == sorted(f"picture{suffix}" for suffix in FORMATS)
    root = ElementTree.parse(tmp_path / "picture.svg").getroot()
    states = [g.attrib["data-state"] for g in root.iter() if "data-node" in g.attrib]
    assert {state: states.count(state) for state in dict.fromkeys(states)} == {
        **counts,
        "waiting": 2,  # the task "last" and its condition
        "open": 1,
    }
    tips = [title.text for title in root.iterfind(".//svg:title", SPACE)]
    assert "ValueError: </script> this <b>fails</b>" in str(tips)
    looks = {path.attrib["class"] for path in root.iterfind(".//svg:path", SPACE)}
    assert looks == {"edge succeeded", "edge completed", "edge created", "edge returned"}
    assert (tmp_path / "picture.dot").read_text().startswith("digraph")
    assert (tmp_path / "picture.mmd").read_text().startswith("flowchart LR\n")
    assert (tmp_path / "picture.html").read_text().startswith("<!DOCTYPE html>")


async def test_the_colours_of_all_states_are_in_a_png(tmp_path: Path) -> None:
    async with open_story() as (graph, _):
        graph.draw(tmp_path / "right.png")
        graph.draw(tmp_path / "down.png", direction="down")
        states = [state for state, number in graph.counts().items() if number]
    for name in ("right", "down"):
        with Image.open(tmp_path / f"{name}.png") as image:
            image.load()
            pixels = {colour for _, colour in image.convert("RGB").getcolors(1_000_000) or ()}
        fills = {state: ImageColor.getrgb(STATE_COLOURS[state]["light"].fill) for state in states}
        assert {state for state, fill in fills.items() if fill in pixels} == set(states)


async def test_a_graph_is_drawn_after_its_end_and_may_replace_a_picture(tmp_path: Path) -> None:
    """A picture that cannot be made or written leaves the old one, and nothing beside it."""
    path = tmp_path / "picture.svg"
    path.write_text("old")
    async with open_story() as (graph, _):
        with pytest.raises(GraphError, match="direction"):
            graph.draw(path, direction="up")  # type: ignore[arg-type]
        with pytest.raises(GraphError, match=r"not \.jpeg"):
            graph.draw(tmp_path / "picture.jpeg")
        with pytest.raises(FileNotFoundError):
            graph.draw(tmp_path / "nowhere" / "picture.svg")
        assert path.read_text() == "old"
    graph.draw(str(path))
    assert "waiting" not in ElementTree.parse(path).getroot().findtext("svg:desc", "", SPACE)
    assert names_in(tmp_path) == ["picture.svg"]


async def test_a_notebook_shows_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a picture whose identifiers are its own; without igraph as a table of counts."""
    async with open_story() as (graph, _):
        shown = [graph._repr_html_() for _ in range(2)]
        monkeypatch.setitem(sys.modules, "igraph", None)
        table = graph._repr_html_()
    identifiers = [set(re.findall(r'\bid="([^"]+)"', text)) for text in shown]
    assert [len(found) for found in identifiers] == [3, 3]
    assert not identifiers[0] & identifiers[1]
    ElementTree.fromstring(shown[0])
    assert table.startswith("<table><caption>story: 13 tasks</caption>")
    assert "<tr><td>failed</td><td>1</td></tr>" in table


async def test_a_folded_group_is_opened_by_keyboard(tmp_path: Path) -> None:
    """Its tasks are listed with state, seconds, worker and error; search and Escape work."""
    path = tmp_path / "page.html"
    async with (
        open_coordinator({"default": 2}, record_times=True) as coordinator,
        coordinator.open_graph("many", on_failure="continue") as graph,
    ):
        numbers = [graph.create_task(fetch, n, name="get") for n in range(220)]
        numbers.append(graph.create_task(refuse, name="get"))
        graph.create_task(add, 1, waits_on=completed(numbers))
        await graph.wait_finished()
        graph.draw(path)

    def visit() -> dict[str, object]:
        seen: dict[str, object] = {}
        with open_browser_page(path.as_uri(), viewport={"width": 1200, "height": 700}) as page:
            group = page.locator('[data-node^="g"]').first
            seen["label"] = group.get_attribute("aria-label")
            for _ in range(20):
                page.keyboard.press("Tab")
                if group.evaluate("element => element === document.activeElement"):
                    break
            page.keyboard.press("Enter")
            panel = page.locator("#panel")
            panel.wait_for(state="visible")
            seen["title"] = panel.locator("h2").inner_text()
            seen["first"] = panel.locator("tbody tr").first.locator("td").all_inner_texts()
            seen["rows"] = panel.locator("tbody tr").count()
            panel.get_by_role("button", name="Show more (21 left)").click()
            seen["all rows"] = panel.locator("tbody tr").count()
            page.get_by_role("searchbox").fill(f"#{numbers[17].uid} GET")
            seen["found"] = [row.inner_text() for row in panel.locator("tbody tr").all()]
            page.keyboard.press("Escape")
            panel.wait_for(state="hidden")
            seen["focus is back"] = group.evaluate("e => e === document.activeElement")
            before = page.locator("svg").get_attribute("viewBox")
            page.keyboard.press("+")
            page.keyboard.press("ArrowRight")
            seen["moved"] = before != page.locator("svg").get_attribute("viewBox")
        return seen

    seen = await trio.to_thread.run_sync(visit)
    uid, name, state, seconds, worker, error = seen.pop("first")  # type: ignore[misc]
    assert (uid, name, state) == (f"#{numbers[-1].uid}", "get", "✗ failed")
    assert error == "ValueError: </script> this <b>fails</b>"
    assert re.fullmatch(r"[\d.e-]+ m?s", seconds)
    assert worker in ("default/0", "default/1")
    found = [row.split("\t")[0] for row in seen.pop("found")]  # type: ignore[attr-defined]
    assert found == [f"#{numbers[17].uid}"]
    assert seen == {
        "label": "get ×221, 220 succeeded, 1 failed",
        "title": "get ×221",
        "rows": 200,
        "all rows": 221,
        "focus is back": True,
        "moved": True,
    }


async def test_a_drag_opens_nothing_and_the_next_click_does(tmp_path: Path) -> None:
    """Also a click that no pointer makes, as a screen reader's."""
    path = tmp_path / "page.html"
    async with open_coordinator() as coordinator, coordinator.open_graph("drag") as graph:
        graph.create_task(fetch, 1)
        await graph.wait_finished()
        graph.draw(path)

    def visit() -> tuple[bool, bool]:
        with open_browser_page(path.as_uri()) as page:
            before = page.locator("svg").get_attribute("viewBox")
            box = page.locator("[data-node]").bounding_box()
            page.mouse.move(box["x"] + 9, box["y"] + 9)
            page.mouse.down()
            page.mouse.move(box["x"] + 29, box["y"] + 19)
            page.mouse.up()
            assert page.locator("svg").get_attribute("viewBox") != before
            is_opened = page.locator("#panel").is_visible()
            page.locator("[data-node]").dispatch_event("click")
            return is_opened, page.locator("#panel").is_visible()

    assert await trio.to_thread.run_sync(visit) == (False, True)


async def test_a_failure_is_not_seen_by_being_drawn(tmp_path: Path) -> None:
    """A picture changes nothing: the failure still ends the graph with an exception."""

    async def draw_and_leave() -> None:
        async with open_coordinator() as coordinator, coordinator.open_graph("seen") as graph:
            await graph.create_task(refuse).wait()
            graph.draw(tmp_path / "picture.html")

    with pytest.raises(ExceptionGroup) as told:
        await draw_and_leave()
    assert told.group_contains(TaskFailed, depth=1)


def test_what_is_too_large_for_an_image_is_drawn_smaller() -> None:
    from trio_actor_graph.observe.drawing.picture import Picture
    from trio_actor_graph.observe.drawing.png import PIXELS_MAX, png_bytes
    from trio_actor_graph.observe.drawing.scene import scene_of

    scene = scene_of(Picture("large", {}, (), ()), "right")._replace(width=60_000.0, height=900.0)
    with Image.open(io.BytesIO(png_bytes(scene))) as image:
        assert image.width * image.height <= PIXELS_MAX * 1.01
        assert image.width / image.height == pytest.approx(60_000 / 900, rel=0.01)
