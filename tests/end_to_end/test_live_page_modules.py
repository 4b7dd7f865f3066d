"""Core, in a browser: the pure modules of the live page, which have no other place to run in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import open_browser_page

import trio_actor_graph.web

PAGE = Path(trio_actor_graph.web.__file__).parent / "page"
ADDRESS = "http://page.test"
TYPES = {".js": "text/javascript", ".html": "text/html"}


@contextmanager
def open_modules() -> Iterator[Callable[[str], Any]]:
    """Runs scripts beside the page's modules, which come from their files, without a server.

    A script is the body of an async function; `await load("store")` is a module.
    """

    def answer(route: Any) -> None:
        path = PAGE / route.request.url.rpartition("/")[2]
        if path.is_file():
            route.fulfill(body=path.read_text(), content_type=TYPES.get(path.suffix, "text/plain"))
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    with open_browser_page("about:blank") as page:
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
    uid, name, state, worker_loop: "default", attempt: 0, worker: null, created_at: 100,
    began_at: null, ended_at: null, seconds: null, error: null, creator: null, predecessors: [],
    ...more,
  });
  const event = (uid, state, happening, at, more = {}) => ({
    kind: "task", graph_uid: 1, uid, name: `task ${uid}`, state, happening, at, attempt: 0,
    worker: null, worker_loop: "default", began_at: null, seconds: null, error: null,
    creator: null, predecessors: [], ...more,
  });
  const counted = () => {
    const counts = {};
    for (const { state } of store.order) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  };
  const shown = () => Object.fromEntries(Object.entries(store.counts).filter(([, n]) => n > 0));
"""


def test_the_store_follows_events():
    """Counts, groups, the failed, the slowest and the rate are kept by events alone."""
    with open_modules() as run:
        found = run(f"""{STORY}
  const run = (uid, began, seconds, state, more = {{}}) => [
    event(uid, "running", "given to a worker", began, {{ attempt: 1, worker: "cpu/0" }}),
    event(uid, state, "function returned", began + seconds,
          {{ attempt: 1, worker: "cpu/0", began_at: began, seconds, ...more }}),
  ];
  store.applyPage([task(1, "load 1", "ready"), task(2, "load 2", "ready")]);
  const events = [
    event(3, "waiting", "created", 101, {{ name: "join", predecessors: [1, 2] }}),
    ...run(1, 101, 2.5, "succeeded"),
    ...run(2, 101, 0.5, "failed", {{ error: "ValueError: no" }}),
    event(3, "skipped", "condition can no longer hold", 101.5),
  ];
  for (const each of events) store.applyEvent(each);
  const once = JSON.stringify([store.counts, store.bars.length, store.rate(105)]);
  for (const each of events) store.applyEvent(each); // a snapshot that was newer than its event id
  const twice = JSON.stringify([store.counts, store.bars.length, store.rate(105)]);
  return {{
    counts: shown(), recounted: counted(), isSame: once === twice, rate: store.rate(105),
    endings: store.endingsUntil(104, 4), failed: [...store.failed].map((each) => each.error),
    slowest: store.slowest(105).map((each) => each.uid), stages: store.order.map((t) => t.stage),
    groups: [...store.byStage.groups.values()].map((g) => [g.title, g.stage, g.members.length]),
    edges: [...store.byStage.edges.values()].map((e) => [e.from.title, e.to.title, e.count]),
    bars: store.bars.map((bar) => [bar.task.uid, bar.from, bar.to, bar.state, bar.worker]),
    running: store.running.size,
  }};""")
    assert found == {
        "counts": {"succeeded": 1, "failed": 1, "skipped": 1},
        "recounted": {"succeeded": 1, "failed": 1, "skipped": 1},
        "isSame": True,
        "rate": 0.6,
        "endings": [2, 0, 1, 0],
        "failed": ["ValueError: no"],
        "slowest": [1, 2],
        "stages": [0, 0, 1],
        "groups": [["load #", 0, 2], ["join", 1, 1]],
        "edges": [["load #", "join", 2]],
        "bars": [[1, 101, 103.5, "succeeded", "cpu/0"], [2, 101, 101.5, "failed", "cpu/0"]],
        "running": 0,
    }


def test_the_store_tries_again_and_folds():
    """A second attempt makes a second bar and one end; a long chain does not make a group each."""
    with open_modules() as run:
        found = run(f"""{STORY}
  const given = (at, attempt) => event(1, "running", "given to a worker", at,
                                       {{ attempt, worker: "cpu/0" }});
  store.applyEvent(event(1, "ready", "created", 100));
  store.applyEvent(given(101, 1));
  store.applyEvent(event(1, "ready", "function raised, retries left", 102,
                         {{ attempt: 1, worker: "cpu/0", began_at: 101 }}));
  store.applyEvent(given(103, 2));
  store.applyEvent(event(1, "ready", "given back unbegun", 104, {{ attempt: 2, worker: "cpu/0" }}));
  store.applyEvent(given(105, 2));
  store.applyEvent(event(1, "failed", "function raised", 106, {{ attempt: 2, worker: "cpu/0",
                         began_at: 105, seconds: 1, error: "ValueError: no" }}));
  const failed = [shown(), store.failed.size, store.order[0].error];
  store.applyEvent(event(1, "ready", "retried", 107, {{ attempt: 2 }}));
  const again = [shown(), store.failed.size, store.order[0].error, store.rate(107)];
  for (let uid = 2; uid < 1000; uid += 1)
    store.applyEvent(event(uid, "waiting", "created", 108, {{ predecessors: [uid - 1] }}));
  return {{
    failed, again, bars: store.bars.map((bar) => [bar.from, bar.to, bar.state, bar.attempt]),
    stages: store.byStage, kinds: store.byKind.groups.size, edges: store.edgeCount,
    last: store.order.at(-1).stage, recounted: counted(),
  }};""")
    assert found == {
        "failed": [{"failed": 1}, 1, "ValueError: no"],
        "again": [{"ready": 1}, 0, None, 0],
        "bars": [[101, 102, "failed", 1], [105, 106, "failed", 2]],
        "stages": None,
        "kinds": 1,
        "edges": 998,
        "last": 998,
        "recounted": {"ready": 1, "waiting": 998},
    }


def test_events_are_read_in_any_pieces():
    """However the text is cut, the events are the same; comments are none."""
    with open_modules() as run:
        found = run(r"""
  const { SseParser } = await load("sse");
  const text = ": alive\n\nretry: 1000\n\nid: a-1\nevent: task\ndata: {\"x\":1}\n\n" +
    "id: a-2\r\nevent: gap\r\ndata: one\r\ndata: two\r\n\r\ndata:bare\n\n";
  const whole = new SseParser().push(text);
  const results = new Set();
  for (let size = 1; size < text.length; size += 1) {
    const parser = new SseParser();
    const events = [];
    for (let at = 0; at < text.length; at += size)
      events.push(...parser.push(text.slice(at, at + size)));
    results.add(JSON.stringify(events));
  }
  return [whole, [...results].map((each) => JSON.parse(each))];""")
    expected = [
        {"kind": "task", "data": '{"x":1}', "id": "a-1"},
        {"kind": "gap", "data": "one\ntwo", "id": "a-2"},
        {"kind": "message", "data": "bare", "id": "a-2"},
    ]
    assert found == [expected, [expected]]


def test_a_stream_goes_on_where_it_was_cut():
    """After a lost connection it asks for what follows the last event, and waits for its reader."""
    with open_modules() as run:
        found = run(r"""
  const { EventStream } = await load("stream");
  const asked = [];
  const said = [];
  const taken = [];
  const parts = [
    ["id: 8\nevent: task\ndata: 1\n\n", "id: 9\nevent: task\ndata: 2\n\n"],
    null, // refused by the network
    ["id: 10\nevent: task\ndata: 3\n\n"],
  ];
  window.fetch = async (url, { headers }) => {
    asked.push(headers["Last-Event-ID"]);
    const part = parts.shift();
    if (part === null) throw new TypeError("no network");
    if (part === undefined) return new Response("{}", { status: 401 });
    return new Response(new Blob(part).stream(), { status: 200 });
  };
  await new Promise((resolve) => {
    const stream = new EventStream({
      url: "/events", lastId: "7",
      onEvents: async (events) => taken.push(...events.map(({ data }) => data)),
      onState: (state, details) => {
        said.push(state);
        if (state === "lost") setTimeout(() => stream.retryNow());
        if (state === "refused") resolve();
      },
    }).start();
  });
  return { asked, said, taken };""")
    assert found == {
        "asked": ["7", "9", "9", "10"],
        "said": [
            *("connecting", "live", "lost"),
            *("connecting", "lost"),
            *("connecting", "live", "lost"),
            *("connecting", "refused"),
        ],
        "taken": ["1", "2", "3"],
    }


def test_a_hidden_tab_works_and_draws_nothing():
    """What was put off to a frame that does not come is done by the clock; drawing waits."""
    with open_modules() as run:
        found = run(r"""
  const { Frames } = await load("frames");
  const frames = new Frames();
  const seen = { worked: 0, drawn: 0 };
  const wake = frames.work(() => (seen.worked += 1) < 3);
  const view = frames.view(() => (seen.drawn += 1), 0);
  window.requestAnimationFrame = () => {};
  wake();
  view.invalidate();
  Object.defineProperty(document, "hidden", { value: true, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
  while (seen.worked < 3) await new Promise((resolve) => setTimeout(resolve, 10));
  return seen;""")
    assert found == {"worked": 3, "drawn": 0}


def test_places_do_not_overlap():
    """No two nodes of a layer overlap, and no two attempts of a lane."""
    with open_modules() as run:
        found = run(r"""
  const { layeredLayout } = await load("layout");
  const { Lanes } = await load("lanes");
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const some = (length, make) => Array.from({ length }, (_, i) => make(i));
  const any = () => Math.floor(random() * 120);
  const nodes = some(120, (id) =>
    ({ id, layer: Math.floor(id / 12) * 2, height: 30 + 40 * random() }));
  const edges = some(200, () => [any(), any()]);
  const size = { nodeWidth: 100, layerGap: 40, nodeGap: 10 };
  const { places, paths, width, height } = layeredLayout(nodes, edges, size);
  let overlaps = 0;
  for (const a of nodes)
    for (const b of nodes) {
      if (a.id >= b.id || a.layer !== b.layer) continue;
      const [p, q] = [places.get(a.id), places.get(b.id)];
      if (p.y < q.y ? p.y + a.height + 9.9 > q.y : q.y + b.height + 9.9 > p.y) overlaps += 1;
    }
  const inside = nodes.every(({ id, height: h }) => {
    const { x, y } = places.get(id);
    return x >= 0 && y >= -0.01 && x + 100 <= width && y + h <= height + 0.01;
  });
  const lanes = new Lanes();
  const busy = [0, 0, 0, 0]; // four slots, and what ran in them, told in the order of the ends
  const bars = [];
  for (let i = 0; i < 400; i += 1) {
    const slot = busy.indexOf(Math.min(...busy));
    const from = busy[slot] + random() * 0.01;
    busy[slot] = from + random() ** 3;
    bars.push({ worker: "w", from, to: busy[slot] });
  }
  bars.sort((a, b) => a.to - b.to);
  for (let at = 0; at < bars.length; at += 7) lanes.add(bars.slice(at, at + 7));
  const rows = lanes.workers.get("w");
  const crosses = (bar, before) => before !== undefined && bar.from + 0.001 < before.to;
  return {
    overlaps, inside, paths: paths.length, isNumber: !paths.join().includes("NaN"),
    crossing: rows.some((lane) => lane.some((bar, i) => crosses(bar, lane[i - 1]))),
    kept: rows.reduce((sum, lane) => sum + lane.length, 0), few: rows.length <= 8,
  };""")
    assert found == {
        "overlaps": 0,
        "inside": True,
        "paths": 200,
        "isNumber": True,
        "crossing": False,
        "kept": 400,
        "few": True,
    }
