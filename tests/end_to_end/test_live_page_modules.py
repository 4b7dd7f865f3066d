"""Core, in a browser: the pure modules of the live page, which have no other place to run in."""

from __future__ import annotations

from page_modules import STORY, open_modules


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
    stages: store.byStage, kinds: store.byKind.groups.size,
    edges: [...store.byKind.edges.values()].map((each) => each.count),
    last: store.order.at(-1).stage, recounted: counted(),
  }};""")
    assert found == {
        "failed": [{"failed": 1}, 1, "ValueError: no"],
        "again": [{"ready": 1}, 0, None, 0],
        "bars": [[101, 102, "failed", 1], [105, 106, "failed", 2]],
        "stages": None,
        "kinds": 1,
        "edges": [998],
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


def test_an_event_that_was_cut_off_is_not_taken_for_read():
    """Its id is not the one to follow after: it has to come again."""
    with open_modules() as run:
        found = run(r"""
  const { SseParser } = await load("sse");
  const parser = new SseParser();
  const ids = [];
  for (const text of ["id: 7\n\n", "id: 8\nevent: task\n", "data: 1\n", "\n", "id: 9\n"]) {
    parser.push(text);
    ids.push(parser.lastId);
  }
  return ids;""")
    assert found == ["7", "7", "7", "8", "8"]


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


def test_a_stream_that_is_refused_for_now_is_tried_again():
    """A server that has too many readers may have fewer later; a graph that is gone stays so."""
    with open_modules() as run:
        found = run(r"""
  const { EventStream } = await load("stream");
  const said = [];
  const statuses = [429, 503, 404];
  window.fetch = async () => new Response("{}", { status: statuses.shift() });
  await new Promise((resolve) => {
    const stream = new EventStream({
      url: "/events", lastId: "7", onEvents: () => {},
      onState: (state, { status }) => {
        said.push(status ?? state);
        if (state === "lost") setTimeout(() => stream.retryNow());
        if (status === 404) resolve();
      },
    }).start();
  });
  return said;""")
    assert found == ["connecting", 429, "lost", "connecting", 503, "lost", "connecting", 404]


def test_an_answer_that_is_cut_off_is_an_error_like_others():
    """So is one that is no JSON: both are told as a refusal, and what asked goes on."""
    with open_modules() as run:
        found = run(r"""
  const { ApiError, read } = await load("api");
  const { Session } = await load("session");
  const cut = () => new Response(new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode('{"tasks": [')),
    pull: (controller) => controller.error(new TypeError("network error")),
  }));
  const told = [];
  for (const answer of [
    cut, () => new Response('{"tasks": ['), () => new Response("<p>Sign in", { status: 502 }),
    () => new Response('{"detail": "no"}', { status: 409 }),
  ]) {
    window.fetch = async () => answer();
    const error = await read("/v1/graphs").catch((raised) => raised);
    told.push([error instanceof ApiError, error.status, error.message]);
  }
  window.fetch = async () => cut();
  await new Promise((resolve) => {
    const onError = (error) => resolve(told.push(error.status));
    new Session(1, { onChange: () => {}, onError }).open();
  });
  window.fetch = async () => new Response(null, { status: 204 });
  return [...told, await read("/v1/nothing")];""")
    assert found == [
        [True, 0, "The server does not answer."],
        [True, 200, "The server answered 200."],
        [True, 502, "The server answered 502."],
        [True, 409, "no"],
        0,
        None,
    ]


def test_what_was_seen_of_one_store_is_not_met_again_in_the_next():
    """After a gap the pages are read into a new store: its versions say that it differs."""
    with open_modules() as run:
        found = run(f"""{STORY}
  store.applyPage([task(1, "a", "running"), task(2, "b", "waiting")]);
  const next = new RunStore();
  next.applyPage([task(1, "a", "succeeded"), task(2, "b", "succeeded")]);
  const versions = [store, next].flatMap((each) => [
    each.version, ...each.order.map(({{ version }}) => version),
  ]);
  return [new Set(versions).size, next.version === next.order[1].version];""")
    assert found == [4, True]


def test_the_slowest_are_kept_when_one_is_tried_again():
    """There are more than are kept: those that took shortest go, whatever had been among them."""
    with open_modules() as run:
        found = run(f"""{STORY}
  const {{ SLOWEST_MAX }} = await load("store");
  const end = (uid, seconds) => store.applyEvent(event(
    uid, "failed", "function raised", 900, {{ attempt: 1, began_at: 900 - seconds, seconds }}));
  for (let uid = 1; uid <= 200; uid += 1) end(uid, uid);
  store.applyEvent(event(51, "ready", "retried", 901, {{ attempt: 1 }}));
  end(201, 30.5);
  for (let uid = 202; uid <= 251; uid += 1) end(uid, 2 * uid);
  const {{ seconds, timed }} = store.byKind.groups.get("work");
  const slowest = store.slowest(999).map((each) => each.uid);
  return [SLOWEST_MAX, slowest, seconds, timed];""")
    rest = [*range(200, 51, -1), 50]
    assert found == [
        200,
        [*range(251, 201, -1), *rest],
        sum(range(201)) - 51 + 30.5 + 2 * sum(range(202, 252)),
        250,
    ]


def test_groups_are_told_apart_whatever_their_names():
    """A name may hold whatever one would put between two names."""
    with open_modules() as run:
        found = run(f"""{STORY}
  const names = ["a", "b\\rc", "a\\rb", "c"];
  store.applyPage(names.map((name, i) => task(i + 1, name, "waiting", {{
    function: name, predecessors: i % 2 === 0 ? [] : [i] }})));
  return [...store.byKind.edges.values()].map((e) => [e.from.title, e.to.title, e.count]);""")
    assert found == [["a", "b\rc", 1], ["a\rb", "c", 1]]


def test_one_view_or_event_that_fails_harms_no_other():
    """It is told on the console; the others are drawn, and the events after it are used."""
    with open_modules(["not this one"]) as run:
        found = run(r"""
  const { Frames } = await load("frames");
  const { Session } = await load("session");
  const frames = new Frames();
  const drawn = [];
  const fail = () => { throw new Error("not this one"); };
  const views = [frames.view(fail, 0), frames.view(() => drawn.push("other"), 0)];
  for (const view of views) view.invalidate();
  while (drawn.length === 0) await new Promise((resolve) => requestAnimationFrame(resolve));
  const event = (uid) => ({ kind: "task", data: JSON.stringify({
    uid, name: "a", function: "a", state: "waiting", happening: "created", at: 1, attempt: 0 }) });
  const parts = [event(1), { kind: "task", data: "not this one" }, event(2)];
  const page = JSON.stringify({ tasks: [], last_event_id: "1", next_cursor: null });
  const body = parts.map(({ kind, data }) => `id: 2\nevent: ${kind}\ndata: ${data}\n\n`).join("");
  window.fetch = async (url) => new Response(url.endsWith("/events") ? body : page);
  const counts = await new Promise((resolve) => {
    const session = new Session(1, {
      onChange: () => {}, onState: () => {}, onEvents: () => resolve(session.store.counts),
      wake: () => setTimeout(() => session.drain(Infinity)),
    });
    session.open();
  });
  return [drawn, counts.waiting];""")
    assert found == [["other"], 2]


def test_a_dense_graph_is_laid_out_in_bounds():
    """Where each task waits on all before it, edges do not fill the layers between."""
    with open_modules() as run:
        width, height, paths = run(r"""
  const { layeredLayout } = await load("layout");
  const nodes = Array.from({ length: 150 }, (_, id) => ({ id, layer: id, height: 32 }));
  const edges = nodes.flatMap(({ id }) => nodes.slice(0, id).map((before) => [before.id, id]));
  const size = { nodeWidth: 158, layerGap: 46, nodeGap: 10 };
  const { width, height, paths } = layeredLayout(nodes, edges, size);
  return [width, height, paths.length];""")
    assert (width, paths) == (150 * (158 + 46) - 46, 150 * 149 / 2)
    assert height < 1_000


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
