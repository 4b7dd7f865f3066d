"""End to end: the live page in a real browser, at a real server, while real workers run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from http_cases import until
from page_cases import (
    EVIL_NAME,
    add,
    ask,
    fail,
    fail_once,
    hold_graph,
    open_served,
    open_workers,
    pass_time,
    serve,
    tiles,
    visit,
    wait_for_file,
    wait_text,
)

from trio_actor_graph import completed

MANY = 10_000
LONG_TASK_MS_MAX = 1_500
"""How long the page may be deaf while 10,000 tasks run. It is 60 ms or so; the rest is for a
machine that is busy with other things."""

WATCH_FRAMES = """() => {
  window.longTasks = [];
  window.frameCount = 0;
  const note = (entry) => window.longTasks.push(Math.round(entry.duration));
  const observer = new PerformanceObserver((list) => list.getEntries().forEach(note));
  observer.observe({ type: "longtask" });
  const count = () => {
    window.frameCount += 1;
    requestAnimationFrame(count);
  };
  count();
}"""


async def test_a_run_is_watched_to_its_end(tmp_path: Path):
    """All counts reach the end by events alone, without loading the page anew."""
    gate = tmp_path / "gate"
    async with open_served() as (coordinator, server), coordinator.open_graph("watched") as graph:
        first = graph.create_task(wait_for_file, str(gate))
        parts = [graph.create_task(add, first) for _ in range(200)]
        graph.create_task(add, waits_on=completed(parts), name="sum")

        def look(page: Any) -> None:
            wait_text(page, ".tile[data-state=running]", "1")
            page.evaluate("window.isSame = true")
            assert tiles(page)["waiting"] == 201
            gate.touch()
            wait_text(page, "#ended-of", "202 of 202 tasks ended")
            wait_text(page, "#percent", "100 %")
            wait_text(page, "#graph-state", "idle")
            wait_text(page, "#announcer", "All tasks have ended: 202 succeeded.")
            assert tiles(page) == {**dict.fromkeys(tiles(page), 0), "succeeded": 202}
            assert page.evaluate("window.isSame") is True
            page.wait_for_selector("[aria-label='sum, 1 task: 1 succeeded. Open']")
            nodes = page.get_by_role("list", name="Groups of tasks").get_by_role("button")
            assert [node.get_attribute("aria-label") for node in nodes.all()] == [
                "wait_for_file, 1 task: 1 succeeded. Open",
                "add, 200 tasks: 200 succeeded. Open",
                "sum, 1 task: 1 succeeded. Open",
            ]
            assert page.locator("#timeline-text").text_content().count("attempts, busy") >= 1
            page.get_by_role("button", name="Critical path").click()
            wait_text(page, "#list-note", "3 of 202 tasks")
            for name, what in [("Trace file", "traceEvents"), ("Picture", "<svg")]:
                address = page.get_by_role("link", name=name).get_attribute("href")
                body = page.evaluate("async (url) => (await fetch(url)).text()", address)
                assert what in body

        await visit(server, look)


async def test_tasks_that_are_created_while_it_runs_appear():
    async with open_served() as (coordinator, server), coordinator.open_graph("growing") as graph:
        graph.create_task(add)

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "1 of 1 task ended")
            ask(lambda: graph.create_task(add, name="a late one"))
            wait_text(page, "#ended-of", "2 of 2 tasks ended")
            page.fill("#filter", "LATE")
            wait_text(page, "#list-note", "1 of 2 tasks")
            wait_text(page, "#rows", "a late one")
            link = page.get_by_role("link", name="a late one")
            link.click()
            wait_text(page, "#detail-title", "a late one")

        await visit(server, look)


async def test_a_failure_is_found_and_read():
    """Its traceback, its attempts and what it printed are there; markup in names stays text."""
    async with (
        open_served() as (coordinator, server),
        coordinator.open_graph(EVIL_NAME, on_failure="continue") as graph,
    ):
        for _ in range(20):
            graph.create_task(add)
        failed = graph.create_task(fail, "<b>on purpose</b>", name=EVIL_NAME, retries=1)
        skipped = graph.create_task(add, failed, name="after it")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "22 of 22 tasks ended")
            page.get_by_role("button", name="Failed", exact=True).click()
            wait_text(page, "#list-note", "1 of 22 tasks")
            page.locator("#rows").get_by_text(EVIL_NAME).click()
            wait_text(page, "#detail .traceback", "ValueError: <b>on purpose</b>")
            assert page.locator(".attempts tbody tr").count() == 2
            wait_text(page, "#detail h3:has(+ .log)", "Log, 4 lines")  # of both attempts
            said = page.locator(".log .text-cell").all_text_contents()
            assert said == ["about to fail", "<i>printed</i>"] * 2
            assert page.title() == f"✕ {EVIL_NAME}"
            assert page.locator("img, b, i:not(.bar i)").count() == 0
            assert page.url.endswith(f"/tasks/{failed.uid}")
            page.get_by_role("link", name="after it").last.click()
            wait_text(page, "#detail .state", "skipped")
            assert page.url.endswith(f"/tasks/{skipped.uid}")
            page.go_back()
            wait_text(page, "#detail-title", EVIL_NAME)
            page.reload()  # the address is that of the task
            wait_text(page, "#detail .traceback", "on purpose")

        await visit(server, look)


async def test_a_task_is_cancelled_and_another_tried_again(tmp_path: Path):
    """What the page says was done is what the coordinator has done."""
    async with (
        open_served() as (coordinator, server),
        coordinator.open_graph("acting", on_failure="continue") as graph,
    ):
        endless = graph.create_task(wait_for_file, str(tmp_path / "never"), name="endless")
        waiting = graph.create_task(add, endless, name="waiting")
        flaky = graph.create_task(fail_once, "the first time", name="flaky")

        def look(page: Any) -> None:
            page.get_by_role("button", name="Running", exact=True).click()
            page.locator("#rows").get_by_text("endless").click()
            page.get_by_role("button", name="Cancel task").click()
            page.get_by_role("button", name="Keep it").click()
            assert ask(lambda: endless.state) == "running"
            page.get_by_role("button", name="Cancel task").click()
            page.get_by_label("Cancel all that wait on it, too").check()
            page.get_by_role("dialog").get_by_role("button", name="Cancel task").click()
            wait_text(page, "#detail .state", "cancelled")
            assert ask(lambda: (endless.state, waiting.state)) == ("cancelled", "cancelled")

            page.get_by_role("button", name="Close").click()
            page.get_by_role("button", name="Failed", exact=True).click()
            page.locator("#rows").get_by_text("flaky").click()
            wait_text(page, "#detail .traceback", "the first time")
            page.get_by_role("button", name="Retry").click()
            wait_text(page, "#detail .state", "succeeded")
            assert page.locator("#detail .traceback").count() == 0
            assert ask(lambda: (flaky.state, flaky.attempt)) == ("succeeded", 2)
            wait_text(page, "#ended-of", "3 of 3 tasks ended")
            assert tiles(page)["failed"] == 0

        await visit(server, look)


async def test_another_graph_is_chosen_and_cancelled(tmp_path: Path):
    """The newest that runs is shown first; each has an address; cancelling one leaves the other."""
    never = str(tmp_path / "never")
    async with open_served() as (coordinator, server), trio.open_nursery() as nursery:
        graphs = [
            await nursery.start(hold_graph, coordinator, name, never) for name in ("one", "other")
        ]
        await until(lambda: all(graph.counts()["running"] == 1 for graph in graphs))

        def look(page: Any) -> None:
            picker = page.get_by_label("Graph", exact=True).first
            wait_text(page, "#graph-select option", "other")
            assert picker.input_value() == str(graphs[1].uid)
            picker.select_option(str(graphs[0].uid))
            page.wait_for_function("() => document.title === '0 % one'")
            assert page.url.endswith(f"#/graphs/{graphs[0].uid}")
            page.get_by_role("button", name="Cancel graph").click()
            page.get_by_role("dialog").get_by_role("button", name="Cancel graph").click()
            wait_text(page, "#graph-state", "closed")
            wait_text(page, ".tile[data-state=cancelled]", "1")
            assert ask(lambda: [graph.counts()["running"] for graph in graphs]) == [0, 1]
            page.evaluate("location.hash = '#/graphs/999999'")
            wait_text(page, "#toast", "That graph is not there any more.")
            page.wait_for_function("() => document.title === '0 % other'")
            ask(graphs[1].cancel)
            wait_text(page, "#graph-state", "closed")

        # Asking for a graph that is not there is an error to Chromium's console.
        await visit(server, look, ["404"])


async def test_ten_thousand_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """All are counted, the last is reached in the list, and the page answers while they run."""
    gate = tmp_path / "gate"
    async with open_served() as (coordinator, server), coordinator.open_graph("many") as graph:
        first = graph.create_task(wait_for_file, str(gate))
        heads = [graph.create_task(add, first) for _ in range(MANY // 2 - 1)]
        for head in heads:
            graph.create_task(add, head, name="after")
        graph.create_task(add, waits_on=completed(heads), name="the last")

        def look(page: Any) -> tuple[list[int], int]:
            wait_text(page, "#list-note", f"{MANY:,} tasks")
            page.evaluate(WATCH_FRAMES)
            gate.touch()
            wait_text(page, "#ended-of", f"{MANY:,} of {MANY:,} tasks ended")
            assert tiles(page)["succeeded"] == MANY
            figures = page.evaluate("[window.longTasks, window.frameCount]")
            page.locator("#grid").focus()
            page.keyboard.press("End")
            wait_text(page, "#rows .row.active", "the last")
            assert page.locator("#grid").get_attribute("aria-rowcount") == str(MANY + 1)
            assert page.locator("#rows .row.active").get_attribute("aria-rowindex") == str(MANY + 1)
            assert page.locator("#rows .row").count() < 60
            page.get_by_role("button", name="add, 5,000 tasks").click()
            wait_text(page, "#list-note", "5,000 of 10,000 tasks")
            return figures

        long, frames = await visit(server, look)
    with capsys.disabled():
        print(f"\n10,000 tasks: {frames} frames, tasks longer than 50 ms: {long}")
    assert max(long, default=0) < LONG_TASK_MS_MAX


async def test_the_keyboard_is_enough():
    """Tab, arrows, Enter and Escape reach a task, open it and come back to the list."""
    async with (
        open_served() as (coordinator, server),
        coordinator.open_graph("keys", on_failure="continue") as graph,
    ):
        for number in range(5):
            graph.create_task(add, name=f"task {number}")
        graph.create_task(fail, "no", name="at the end")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "6 of 6 tasks ended")
            wait_text(page, "#list-note", "6 tasks")
            focused = "() => document.activeElement.id"
            page.keyboard.press("Tab")
            assert page.evaluate(focused) == "skip"
            page.keyboard.press("Enter")
            assert page.evaluate(focused) == "grid"
            page.keyboard.press("ArrowDown")
            page.keyboard.press("ArrowDown")
            wait_text(page, "#rows .row.active", "task 1")
            active = page.locator("#grid").get_attribute("aria-activedescendant")
            assert "task 1" in page.locator(f"#{active}").text_content()
            page.keyboard.press("End")
            page.keyboard.press("Enter")
            wait_text(page, "#detail .traceback", "ValueError: no")
            assert page.evaluate(focused) == "detail-title"
            page.get_by_role("button", name="Previous in the list").press("Enter")
            wait_text(page, "#detail-title", "task 4")
            page.keyboard.press("Enter")
            wait_text(page, "#detail-title", "task 3")
            wait_text(page, "#announcer", "task 3, succeeded")
            page.keyboard.press("Escape")
            assert page.locator("#detail").is_hidden()
            assert page.evaluate(focused) == "grid"
            # Every control can be reached, and is seen when it is.
            reached = set()
            for _ in range(60):
                page.keyboard.press("Tab")
                reached.add(page.evaluate(focused))
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none" or page.evaluate(focused) == ""
            assert reached >= {
                *("graph-select", "theme", "graph-body", "graph-larger", "timeline-body"),
                *("timeline-follow", "filter", "grid"),
            }

        await visit(server, look)


# In the page: the contrast of each colour that text has with the ground it is on (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const probe = document.body.appendChild(document.createElement("span"));
  const light = (name) => {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const [r, g, b] = parts.map((part) => part / 255).map(
      (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const texts = ["text", "dim", "accent", "danger", "waiting", "ready", "running", "succeeded",
                 "failed", "skipped", "cancelled"];
  const found = {};
  for (const text of texts)
    for (const ground of ["panel", "ground", "sunken"])
      found[`${text} on ${ground}`] = contrast(light(text), light(ground));
  found["accent on accent-soft"] = contrast(light("accent"), light("accent-soft"));
  probe.remove();
  return found;
}"""


async def test_light_and_dark_can_be_read():
    """Both schemes have a contrast of 4.5 or more for every text, and can be chosen."""
    async with open_served() as (coordinator, server), coordinator.open_graph("colours") as graph:
        graph.create_task(add)

        def ground(page: Any) -> str:
            return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "1 of 1 task ended")
            faint = {name: n for name, n in page.evaluate(CONTRASTS).items() if n < 4.5}
            assert faint == {}
            light, light_picture = ground(page), page.screenshot()
            page.emulate_media(color_scheme="dark")
            dark, dark_picture = ground(page), page.screenshot()
            assert (light, dark) == ("rgb(244, 245, 247)", "rgb(14, 17, 22)")
            assert light_picture != dark_picture
            faint = {name: n for name, n in page.evaluate(CONTRASTS).items() if n < 4.5}
            assert faint == {}
            page.get_by_role("button", name="Colours: as the system").click()
            page.wait_for_selector("[aria-label='Colours: light']")
            assert ground(page) == light
            page.reload()
            page.wait_for_selector("[aria-label='Colours: light']")  # it is kept
            assert ground(page) == light

        await visit(server, look, color_scheme="light")


async def test_what_a_screen_reader_is_told():
    """The parts of the page have roles and names, and pictures have a text."""
    async with open_served() as (coordinator, server), coordinator.open_graph("roles") as graph:
        first = graph.create_task(add, name="first")
        graph.create_task(add, first, name="second")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "2 of 2 tasks ended")
            for role in ("banner", "main"):
                assert page.get_by_role(role).count() == 1
            for name in ("Progress", "Graph", "Timeline", "Tasks", "Workers"):
                assert page.get_by_role("region", name=name, exact=True).count() == 1
            bar = page.get_by_role("progressbar", name="Tasks ended")
            assert bar.get_attribute("aria-valuetext") == "2 succeeded"
            wait_text(page, "#list-note", "2 tasks")
            assert page.get_by_role("grid", name="Tasks").get_by_role("row").count() == 3
            heads = page.get_by_role("columnheader").all_text_contents()
            assert heads[:5] == ["State", "Task", "Worker", "Began", "Took"]
            tasks = page.get_by_role("list", name="Tasks").get_by_role("link")
            labels = [task.get_attribute("aria-label") for task in tasks.all()]
            assert labels[1] == f"second, task {labels[1].split()[2]} succeeded, after 1 task"
            assert "attempts, busy" in page.locator("#timeline-text").text_content()

        await visit(server, look)


async def test_a_lost_server_is_shown_and_found_again(tmp_path: Path):
    """It is seen that the page is cut off; once one signs in again it goes on where it was."""
    token_path = tmp_path / "token"
    gate = tmp_path / "gate"
    async with open_workers() as coordinator, coordinator.open_graph("lost") as graph:
        first = graph.create_task(wait_for_file, str(gate))
        graph.create_task(add, first)
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(serve, coordinator, token_path, 0)

            def look(page: Any) -> None:
                nonlocal serving
                wait_text(page, ".tile[data-state=running]", "1")
                ask(serving.stop.set)
                wait_text(page, "#connection", "Connection lost")
                wait_text(page, "#announcer", "The connection is lost.")
                trio.from_thread.run(serving.stopped.wait)
                gate.touch()
                port = serving.port
                serving = trio.from_thread.run(nursery.start, serve, coordinator, token_path, port)
                page.get_by_role("dialog").get_by_label("Token").fill("wrong")
                page.keyboard.press("Enter")
                wait_text(page, "#login-error", "That is not the token.")
                page.get_by_role("dialog").get_by_label("Token").fill(serving.server.token)
                page.keyboard.press("Enter")
                page.wait_for_selector("#connection[data-state=live]")
                wait_text(page, "#ended-of", "2 of 2 tasks ended")

            # Chromium says on the console what a lost connection and a wrong token look like to it.
            await visit(serving.server, look, ["net::ERR_", "401"])
            serving.stop.set()


async def test_what_is_open_is_read_anew_after_a_gap(tmp_path: Path):
    """Whoever was not told what happened does not go on seeing a task as it was before."""
    gate = tmp_path / "gate"
    async with (
        open_served(events_kept_seconds=1) as (coordinator, server),
        coordinator.open_graph("gap") as graph,
    ):
        graph.create_task(wait_for_file, str(gate), name="open")

        def look(page: Any) -> None:
            page.locator("#rows").get_by_text("open").click()
            wait_text(page, "#detail .state", "running")
            # As after it has raised; it notices that itself, and begins again with a gap.
            ask(lambda: coordinator.remove_observer(server.ring))
            gate.touch()
            trio.from_thread.run(graph.wait_finished)
            wait_text(page, "#ended-of", "1 of 1 task ended")
            wait_text(page, "#detail .state", "succeeded")

        await visit(server, look)


async def test_a_task_is_opened_whatever_has_become_of_the_one_before():
    """An answer that does not come, or an error, is no reason to show nothing for good."""
    async with open_served() as (coordinator, server), coordinator.open_graph("answers") as graph:
        tasks = [graph.create_task(add, name=name) for name in ("silent", "broken", "good")]
        await graph.wait_finished()
        silent, broken, _ = [f"**/v1/graphs/{graph.uid}/tasks/{task.uid}" for task in tasks]

        def look(page: Any) -> None:
            wait_text(page, "#list-note", "3 tasks")
            page.route(silent, lambda route: None)
            page.route(broken, lambda route: route.abort())
            page.locator("#rows").get_by_text("silent").click()
            page.get_by_role("button", name="Next in the list").click()
            wait_text(page, "#detail .story", "The server does not answer.")
            page.get_by_role("button", name="Next in the list").click()
            wait_text(page, "#detail .story", "'good'")
            page.get_by_role("button", name="Previous in the list").click()
            wait_text(page, "#detail .story", "The server does not answer.")
            page.unroute(broken)
            wait_text(page, "#detail .story", "'broken'")

        await visit(server, look, ["net::ERR_"])


async def test_the_active_row_is_told_only_where_it_is_drawn():
    """Scrolled away, its element shows another task, which is not the one the keys have reached."""
    async with open_served() as (coordinator, server), coordinator.open_graph("rows") as graph:
        for number in range(300):
            graph.create_task(add, name=f"task {number}.")

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "300 of 300 tasks ended")
            wait_text(page, "#list-note", "300 tasks")
            page.locator("#grid").focus()
            page.keyboard.press("ArrowDown")
            wait_text(page, "#rows .row.active", "task 0.")
            page.evaluate("document.getElementById('grid').scrollTop = 150 * 30")
            wait_text(page, "#rows", "task 150.")
            assert page.locator("#grid").get_attribute("aria-activedescendant") is None
            page.keyboard.press("ArrowDown")
            wait_text(page, "#rows .row.active", "task 1.")
            active = page.locator("#grid").get_attribute("aria-activedescendant")
            assert "task 1." in page.locator(f"#{active}").text_content()

        await visit(server, look)


async def test_a_slow_server_is_not_asked_more_and_more():
    """While an answer is awaited the same is not asked again; when it has come, it is."""
    async with open_served() as (coordinator, server), coordinator.open_graph("slow") as graph:
        graph.create_task(add)

        def look(page: Any) -> None:
            wait_text(page, "#ended-of", "1 of 1 task ended")
            held: list[Any] = []
            page.route("**/v1/workers", lambda route: held.append(route))
            with page.expect_request("**/v1/workers"):
                pass
            pass_time(page, 3)
            assert len(held) == 1
            with page.expect_request("**/v1/workers"):
                held[0].continue_()

        await visit(server, look)


async def test_the_critical_path_is_that_of_the_graph_one_sees():
    """Also if the answer about another one comes late."""
    async with (
        open_served() as (coordinator, server),
        coordinator.open_graph("one") as one,
        coordinator.open_graph("other") as other,
    ):
        for graph in (one, other):
            graph.create_task(add)
            await graph.wait_finished()

        def look(page: Any) -> None:
            held: list[Any] = []
            path = f"**/v1/graphs/{other.uid}/critical-path"
            page.route(path, lambda route: held.append(route))
            wait_text(page, "#graph-select option", "other")
            with page.expect_request(path):
                page.get_by_role("button", name="Critical path").click()
            page.get_by_label("Graph", exact=True).first.select_option(str(one.uid))
            page.wait_for_selector("#rows .row")
            with page.expect_response(path):
                held[0].continue_()
            pass_time(page)
            assert page.locator("#rows .row").count() == 1

        await visit(server, look)


async def test_a_graph_that_is_deleted_leaves_an_empty_page():
    """With no other graph to show nothing of it is left that could be pressed; a new one comes."""
    async with open_served() as (coordinator, server):

        def ask_server(page: Any, method: str, path: str, body: str = "") -> None:
            script = """async ([method, path, body]) => {
              const headers = body === "" ? {} : { "Content-Type": "application/json" };
              const response = await fetch(path, { method, headers, body: body || undefined });
              if (!response.ok) throw new Error(await response.text());
            }"""
            page.evaluate(script, [method, path, body])

        def look(page: Any) -> None:
            wait_text(page, "#notice", "There is no graph yet.")
            ask_server(page, "POST", "/v1/graphs", '{"name": "remote"}')
            wait_text(page, "#graph-select option", "remote")
            (graph,) = ask(lambda: coordinator.graphs)
            ask(lambda: graph.create_task(add, name="its task"))
            page.locator("#rows").get_by_text("its task").click()
            wait_text(page, "#detail-title", "its task")
            ask_server(page, "DELETE", f"/v1/graphs/{graph.uid}")
            wait_text(page, "#toast", "That graph is not there any more.")
            wait_text(page, "#notice", "There is no graph yet.")
            wait_text(page, "#list-note", "0 tasks")
            assert page.locator("#detail").is_hidden()
            page.wait_for_selector("#rows .row, #graph-nodes a", state="detached")
            page.wait_for_function("() => document.title === 'trio-actor-graph'")
            ask_server(page, "POST", "/v1/graphs", '{"name": "the next"}')
            wait_text(page, "#graph-select option", "the next")
            assert page.locator("#notice").is_hidden()

        await visit(server, look, ["404"])
