"""Core, in a browser: what the live page's store makes of types, late edges and ended attempts."""

from __future__ import annotations

from page_modules import STORY, open_modules


def test_tasks_of_one_function_are_of_one_type():
    """Whatever their names are; the group has the name that they share, or that of the function."""
    with open_modules() as run:
        found = run(f"""{STORY}
  let uid = 0;
  const add = (called, ...names) => store.applyPage(names.map(
    (name) => task((uid += 1), name, "waiting", {{ function: called }})));
  add("get_html", "https://a.example/x", "https://b.example/y", "https://c.example/");
  add("step", "train A", "evaluate A", "train B");
  add("render", "page 1", "page 17");
  add("combine", "sum", "sum");
  add("once", "the only one, of 1");
  return [...store.byKind.groups.values()].map(
    (group) => [group.title, group.kind, group.members.length]);""")
    assert found == [
        ["get_html", "get_html", 3],
        ["step", "step", 3],
        ["page #", "render", 2],
        ["sum", "combine", 2],
        ["the only one, of 1", "once", 1],
    ]


def test_the_number_of_types_has_a_bound():
    """What is of a further function is put together."""
    with open_modules() as run:
        found = run(f"""{STORY}
  const number = 700;
  store.applyPage(Array.from({{ length: number }}, (_, i) =>
    task(i, `name ${{i}} ${{"x".repeat(i)}}`, "waiting", {{ function: `function ${{i}}` }})));
  const groups = [...store.byKind.groups.values()];
  return [groups.length, groups.at(-1).title, groups.at(-1).members.length, store.byStage];""")
    assert found == [501, "(others)", 200, None]


def test_a_late_predecessor_is_one_edge_more_and_nothing_else():
    """Told twice, by an event and by a page, it counts once; no task comes to another state."""
    with open_modules() as run:
        found = run(f"""{STORY}
  const names = ["a", "b", "c", "d"];
  store.applyPage(names.map((name, i) => task(i + 1, name, "waiting", {{ function: name }})));
  const late = (uid, predecessors) =>
    event(uid, "waiting", "predecessor added", 101, {{ name: names[uid - 1], predecessors }});
  store.applyEvent(event(1, "running", "given to a worker", 101,
                         {{ attempt: 1, worker: "cpu/0", name: "a" }}));
  store.applyEvent(late(2, [3]));
  store.applyEvent(late(2, [3, 4]));
  store.applyEvent(late(2, [3, 4]));
  store.applyEvent(late(1, [])); // an old one, of before it ran
  store.applyPage([task(3, "c", "waiting", {{ function: "c", predecessors: [1] }})]);
  store.applyPage([task(3, "c", "waiting", {{ function: "c", predecessors: [1] }})]);
  store.applyEvent(late(4, [9])); // not known yet
  store.applyEvent(late(4, [9]));
  store.applyPage([task(9, "late", "ready", {{ function: "late" }})]);
  const edges = (grouping) => [...grouping.edges.values()]
    .map((each) => [each.from.kind, each.to.kind, each.count]).sort();
  const stages = [store.byStage, store.order.map((each) => [each.name, each.stage])][1];
  return {{
    stages, kinds: edges(store.byKind), staged: edges(store.byStage), counts: shown(),
    recounted: counted(), bars: store.bars.length, attempt: store.order[0].attempt,
    groups: [...store.byStage.groups.values()].map((g) => [g.kind, g.stage, g.members.length]),
    layers: [...store.byKind.groups.values()].map((g) => [g.kind, g.stage]),
    before: store.order.map((each) => each.predecessors),
  }};""")
    edges = [["a", "c", 1], ["c", "b", 1], ["d", "b", 1], ["late", "d", 1]]
    stages = [["a", 0], ["b", 2], ["c", 1], ["d", 1], ["late", 0]]
    assert found == {
        "stages": stages,
        "kinds": edges,
        "staged": edges,
        "counts": {"waiting": 3, "ready": 1, "running": 1},
        "recounted": {"waiting": 3, "ready": 1, "running": 1},
        "bars": 0,
        "attempt": 1,
        "groups": [[*each, 1] for each in stages],
        "layers": stages,
        "before": [[], [3, 4], [1], [9], []],
    }


def test_a_group_that_is_looked_at_stays_when_an_edge_comes_late():
    """Counts and times are as if the edge had been there from the start."""
    with open_modules() as run:
        found = run(f"""{STORY}
  const done = (uid) => task(uid, `task ${{uid}}`, "succeeded", {{ attempt: 1, worker: "cpu/0",
    began_at: 100, ended_at: 102, seconds: 2, outcome: "succeeded" }});
  store.applyPage([done(1), done(2), task(3, "task 3", "waiting", {{ function: "other" }}),
                   task(4, "task 4", "waiting", {{ predecessors: [3] }})]);
  const group = store.byStage.groups.get("work\\n0");
  const before = group.version;
  store.applyEvent(event(3, "waiting", "predecessor added", 103, {{ predecessors: [2] }}));
  const same = store.groupLike(group) === group;
  const told = [...store.byStage.groups.values()].map((each) => [
    each.kind, each.stage, each.members.map(({{ uid }}) => uid), each.seconds, each.timed]);
  store.applyEvent(event(4, "ready", "condition satisfied", 104));
  return [same, group.version > before, told, store.byStage.groups.get("work\\n2").counts.ready];
""")
    groups = [["work", 0, [1, 2], 4, 2], ["other", 1, [3], 0, 0], ["work", 2, [4], 0, 0]]
    assert found == [True, True, groups, 1]


def test_tasks_that_lead_back_to_themselves_do_no_harm():
    """No graph should have such; if one does, the others have their stages all the same."""
    with open_modules() as run:
        found = run(f"""{STORY}
  store.applyPage([task(1, "a", "waiting"), task(2, "b", "waiting", {{ predecessors: [1] }}),
                   task(3, "c", "waiting"), task(4, "d", "waiting", {{ predecessors: [3] }})]);
  store.applyEvent(event(1, "waiting", "predecessor added", 101, {{ predecessors: [2] }}));
  store.applyEvent(event(3, "waiting", "predecessor added", 101, {{ predecessors: [9] }}));
  store.applyEvent(event(9, "waiting", "created", 101));
  store.settle();
  return store.order.map((each) => each.stage);""")
    assert found == [0, 1, 1, 2, 0]


def test_ten_thousand_late_edges_cost_no_more_than_others():
    """Stages are found when somebody looks at them, not with each edge."""
    with open_modules() as run:
        stages, milliseconds = run(f"""{STORY}
  const number = 10_000;
  store.applyPage(Array.from({{ length: number }}, (_, i) => task(i, "a", "waiting")));
  const began = performance.now();
  for (let uid = 0; uid + 1 < number; uid += 1)
    store.applyEvent(event(uid, "waiting", "predecessor added", 1, {{ predecessors: [uid + 1] }}));
  store.settle();
  return [[store.order[0].stage, store.order.at(-1).stage], performance.now() - began];""")
    assert stages == [9_999, 0]
    assert milliseconds < 5_000  # it is 60 or so; with each edge it would be minutes


# What the server tells of one task: by events, and in the page that one reads afterwards.
ATTEMPTS = """
  const given = (attempt, at) =>
    ["running", "given to a worker", at, { attempt, worker: "cpu/0" }];
  const ended = (state, happening, attempt, began_at, seconds, more = {}) =>
    [state, happening, began_at + seconds + 0.002,
     { attempt, worker: "cpu/0", began_at, seconds, ...more }];
  const page = (state, attempt, began_at, seconds, outcome, more = {}) => ({
    attempt, worker: "cpu/0", began_at, seconds, outcome, state, ended_at: null, ...more });
  const stories = {
    cancelled: [
      [given(1, 101), ended("cancelled", "cancelled", 1, 101, 2)],
      page("cancelled", 1, 101, 2, "cancelled", { ended_at: 103 })],
    "past its limit": [
      [given(1, 101), ended("failed", "function raised", 1, 101, 2, { error: "TaskTimeout: 2 s" })],
      page("failed", 1, 101, 2, "timed out", { ended_at: 103, error: "TaskTimeout: 2 s" })],
    "lost, to be tried again": [
      [given(1, 101), ended("ready", "worker lost", 1, 101, 2)],
      page("ready", 1, 101, 2, "worker lost")],
    "cancelled before it is tried again": [
      [given(1, 101), ended("ready", "function raised, retries left", 1, 101, 2),
       ["cancelled", "cancelled", 105, { attempt: 1, worker: "cpu/0" }]],
      page("cancelled", 1, 101, 2, "failed", { ended_at: 105 })],
    "returned a task that failed": [
      [given(1, 101), ended("waiting", "function returned a task", 1, 101, 2),
       ["failed", "returned task failed", 109, { attempt: 1, worker: "cpu/0", error: "no" }]],
      page("failed", 1, 101, 2, "returned a task", { ended_at: 109, error: "no" })],
    "waits for what it returned": [
      [given(1, 101), ended("waiting", "function returned a task", 1, 101, 2)],
      page("waiting", 1, 101, 2, "returned a task")],
    "tried again by hand": [
      [given(1, 101), ended("failed", "function raised", 1, 101, 2, { error: "no" }),
       ["waiting", "tried again", 108, { attempt: 1, worker: "cpu/0" }]],
      page("waiting", 1, 101, 2, "failed")],
    "given back": [
      [given(1, 101), ["ready", "given back unbegun", 102, { attempt: 0, worker: "cpu/0" }]],
      page("ready", 0, null, null, null, { worker: null })],
    skipped: [
      [["skipped", "condition can no longer hold", 102, { error: "because 'x' is failed" }]],
      page("skipped", 0, null, null, null,
           { worker: null, ended_at: 102, error: "because 'x' is failed" })],
  };
  const told = (store) => {
    const [task] = store.order;
    const { state, attempt, worker, beganAt, seconds, error } = task;
    const bars = store.bars.map((bar) => [bar.from, bar.to, bar.state, bar.attempt, bar.worker]);
    const slow = store.slowest(200).map((each) => each.uid);
    return JSON.stringify({ state, attempt, worker, beganAt, seconds, error, bars, slow });
  };
"""


def test_what_was_watched_is_what_is_read_anew():
    """However an attempt has ended: the same bar, worker and times from events and from a page."""
    with open_modules() as run:
        found = run(f"""{STORY}{ATTEMPTS}
  const differing = [];
  const bars = {{}};
  for (const [name, [events, summary]] of Object.entries(stories)) {{
    const [watched, loaded] = [new RunStore(), new RunStore()];
    watched.applyEvent(event(1, "waiting", "created", 100));
    watched.applyEvent(event(1, "ready", "condition satisfied", 100));
    for (const [state, happening, at, more] of events)
      watched.applyEvent(event(1, state, happening, at, more));
    loaded.applyPage([task(1, "task 1", summary.state, summary)]);
    if (told(watched) !== told(loaded)) differing.push([name, told(watched), told(loaded)]);
    bars[name] = loaded.bars.map((bar) => [bar.from, bar.to, bar.state]);
  }}
  return [differing, bars];""")
    ran = [101, 103]
    assert found == [
        [],
        {
            "cancelled": [[*ran, "cancelled"]],
            "past its limit": [[*ran, "failed"]],
            "lost, to be tried again": [[*ran, "failed"]],
            "cancelled before it is tried again": [[*ran, "failed"]],
            "returned a task that failed": [[*ran, "succeeded"]],
            "waits for what it returned": [[*ran, "succeeded"]],
            "tried again by hand": [[*ran, "failed"]],
            "given back": [],
            "skipped": [],
        },
    ]
