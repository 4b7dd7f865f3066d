"""Core: what a picture of a graph shows: nodes, conditions, edges, and what is folded."""

from __future__ import annotations

import json
import re
import sys
from xml.etree import ElementTree

import pytest

from trio_actor_graph.errors import GraphError
from trio_actor_graph.graph.conditions import completed, succeeded
from trio_actor_graph.graph.failures import Raised
from trio_actor_graph.graph.records import LoopSpec
from trio_actor_graph.observe.drawing import FORMATS, NODES_MAX, render, render_counts, render_svg
from trio_actor_graph.observe.drawing.folding import EDGES_PER_NODE, fold
from trio_actor_graph.observe.drawing.html import MEMBERS_MAX
from trio_actor_graph.observe.drawing.layout import GAP, WIRE_GAP, Box, apart, lay_out
from trio_actor_graph.observe.drawing.picture import (
    NAME_CHARACTERS_MAX,
    Edge,
    Node,
    Picture,
    Run,
    clean,
)
from trio_actor_graph.observe.drawing.seeing import picture_of
from trio_actor_graph.observe.drawing.stages import layers_of, longest_ways
from trio_actor_graph.observe.drawing.untangling import crossings, untangled

MANY = LoopSpec("default", (1000,))
AWFUL_NAME = (
    '"]; --> <script>alert(1)</script> & \\ #quot; {{x}} \n\t\x00\x1b[31m\u202e\ud800 世界 é😀'
)


def task(uid: int, label: str, state: str, stage: int = 0, attempts: int = 0, **run) -> Node:
    return Node(
        f"t{uid}",
        "task",
        label,
        state,  # type: ignore[arg-type]
        {state: 1},  # type: ignore[dict-item]
        stage,
        function=0,
        uid=uid,
        run=Run(attempts, **run),
    )


def condition(number: int, text: str, state: str, stage: int = 1) -> Node:
    return Node(f"c{number}", "condition", text, state, {state: 1}, stage)  # type: ignore[arg-type, dict-item]


def arrow(text: str) -> Edge:
    """An edge as "t1 -succeeded-> t2" or, merged, "g1 -succeeded x3-> g2"."""
    found = re.fullmatch(r"(\w+) -(\w+)(?: x(\d+))?-> (\w+)", text)
    assert found is not None
    source, kind, count, target = found.groups()
    return Edge(source, target, kind, int(count or 1))  # type: ignore[arg-type]


def arrows(*texts: str) -> set[Edge]:
    return set(map(arrow, texts))


# ---- what is seen ----------------------------------------------------------------------------


def test_that_all_must_succeed_is_said_by_arrows_alone(story):
    s = story(MANY)
    a, b = s.running("a"), s.ended("b")
    c = s.create("c", succeeded(a, b), inputs=[a])
    s.create("d", [c])
    assert picture_of(s.graph) == Picture(
        "g",
        {**dict.fromkeys(s.graph.counts, 0), "waiting": 2, "running": 1, "succeeded": 1},
        (
            task(1, "a", "running", attempts=1, worker="default/0"),
            task(2, "b", "succeeded", attempts=1),
            task(3, "c", "waiting", stage=1),
            task(4, "d", "waiting", stage=2),
        ),
        (
            arrow("t1 -succeeded-> t3"),
            arrow("t2 -succeeded-> t3"),
            arrow("t3 -succeeded-> t4"),
        ),
    )


def test_a_condition_that_says_more_is_a_node_with_a_state_of_its_own(story):
    """n of m, the end of several, and alternatives; one task that must end is a dashed arrow."""
    s = story(MANY)
    a, b, c = s.ended("a"), s.ended("b", "failed"), s.running("c")
    s.create("d", succeeded(a, b, c, at_least=2))
    s.create("e", completed(a, b))
    s.create("f", completed(b))
    s.create("g", succeeded(b) | (completed(c) & succeeded(a)))
    s.create("h", succeeded(b) | succeeded(b))
    picture = picture_of(s.graph)
    assert picture.nodes[8:] == (
        condition(1, "2 of 3 succeeded", "waiting"),
        condition(2, "all 2 completed", "open"),
        condition(3, "any of", "waiting"),
        condition(4, "all of", "waiting"),
        condition(5, "any of", "shut"),
    )
    assert set(picture.edges) == arrows(
        *("t1 -succeeded-> c1", "t2 -succeeded-> c1", "t3 -succeeded-> c1", "c1 -succeeded-> t4"),
        *("t1 -completed-> c2", "t2 -completed-> c2", "c2 -succeeded-> t5"),
        "t2 -completed-> t6",
        *("t2 -succeeded-> c3", "c4 -succeeded-> c3", "c3 -succeeded-> t7"),
        *("t3 -completed-> c4", "t1 -succeeded-> c4"),
        *("t2 -succeeded-> c5", "c5 -succeeded-> t8"),
    )
    s.settle()


def test_tasks_that_wait_for_the_same_condition_share_its_node(story):
    s = story(MANY)
    inputs = [s.create("in") for _ in range(3)]
    for _ in range(4):
        s.create("out", completed(inputs))
    picture = picture_of(s.graph)
    assert [node.key for node in picture.nodes if node.is_condition] == ["c1"]
    assert len(picture.edges) == 3 + 4
    s.settle()


def test_conditions_may_be_nested_deep(story):
    s = story(MANY)
    a, b = s.ended("a"), s.running("b")
    condition = succeeded(a)
    for n in range(5_000):
        condition = condition & succeeded(b) if n % 2 else condition | succeeded(a)
    for name in "cd":
        s.create(name, condition)
    picture = picture_of(s.graph)
    nodes = [node for node in picture.nodes if node.kind == "condition"]
    assert [node.key for node in nodes] == [f"c{n}" for n in range(1, 5_000)]
    # Every other one asks for b as well. The outermost does too, and is no node: it is "all of".
    assert [node.state for node in nodes] == ["open", "waiting"] * 2_499 + ["open"]
    tops = {edge for edge in picture.edges if edge.target in ("t3", "t4")}
    assert tops == arrows(*(f"{x} -succeeded-> {y}" for x in ("c1", "t2") for y in ("t3", "t4")))


def test_creation_and_tail_calls_are_edges_of_their_own(story):
    """A task that ends as a task it has created has one arrow to it."""
    s = story(MANY)
    parent = s.running("parent")
    child, other = s.create("child"), s.create("other")
    child.record.creator = other.record.creator = parent.record
    s.returns(parent, child)
    picture = picture_of(s.graph)
    assert set(picture.edges) == arrows("t1 -returned-> t2", "t1 -created-> t3")
    assert [node.stage for node in picture.nodes] == [0, 1, 1]
    s.settle()


def test_the_first_line_of_what_went_wrong_is_kept(story):
    s = story(MANY)
    a = s.running("a", retries=1)
    s.fail(a, Raised("ValueError", "first\nmore", "Traceback ..."))
    b = s.running("b")
    s.fail(b, Raised("KeyError", "<x>\nmore", "Traceback ..."))
    s.create("c", b)
    s.settle()
    s.commands()
    assert [node.run.error for node in picture_of(s.graph).nodes] == [
        "attempt 1: ValueError: first",
        "KeyError: <x>",
        "because 'b' (task 2) failed",
    ]


def test_waits_that_form_a_cycle_in_history_are_drawn(story):
    """y waits for z, which was created by c, which needed one of x and y."""
    s = story(MANY)
    x = s.ended("x")
    held = s.create("held", s.running("first"))
    c = s.running("c", succeeded(x, held, at_least=1))
    z = s.create("z")
    z.record.creator = c.record
    s.add_predecessor(held, z)
    s.settle()
    for suffix in FORMATS:
        assert render(s.graph, suffix)


def test_texts_are_cleaned_and_cut():
    assert clean("plain", 10) == "plain"
    assert clean("a\nb\tc\x00\x1b\u202e\ud800", 20) == "a b c\ufffd\ufffd\ufffd\ufffd"
    assert clean("世界 é 👩\u200d💻", 20) == "世界 é 👩\u200d💻"
    assert clean("x" * 10_000, 10) == "x" * 9 + "…"


# ---- stages ----------------------------------------------------------------------------------


def test_a_stage_is_the_longest_way():
    edges = [(0, 1), (1, 2), (0, 2), (3, 2), (2, 4)]
    assert longest_ways(6, edges) == ([0, 1, 2, 0, 3, 0], [0, 3, 4, 1, 5, 2])


def test_a_cycle_is_begun_at_its_first_node():
    stages, places = longest_ways(4, [(0, 1), (1, 2), (2, 1), (2, 3)])
    assert stages == [0, 1, 2, 3]
    assert places == [0, 1, 2, 3]


def test_what_nothing_leads_to_stands_next_to_what_needs_it():
    assert layers_of(5, [(0, 1), (1, 2), (3, 2)], pulled=()) == [0, 1, 2, 1, 0]


# ---- folding ---------------------------------------------------------------------------------


def fan(s, width: int):
    first = s.create("list")
    gets = [s.create("get", first) for _ in range(width)]
    counts = [s.create("count", inputs=[get], kind=1) for get in gets]
    s.create("sum", completed(counts), kind=2)
    s.settle()
    return picture_of(s.graph)


def test_a_small_picture_is_not_folded(story):
    picture = fan(story(MANY), 30)
    assert fold(picture) is picture


def test_tasks_of_one_name_and_stage_are_folded_with_counts(story):
    s = story(MANY)
    picture = fan(s, 300)
    s.succeed(s.tasks[1])
    s.settle()
    s.succeed(s.tasks[2])
    s.fail(s.tasks[3])
    s.settle()
    s.commands()
    assert len(picture.nodes) > NODES_MAX
    folded = fold(picture_of(s.graph))
    shown = [(n.key, n.kind, n.label, n.state, dict(n.counts), n.stage) for n in folded.nodes]
    assert shown == [
        ("t1", "task", "list", "succeeded", {"succeeded": 1}, 0),
        ("g2", "group", "get", "failed", {"succeeded": 1, "failed": 1, "running": 298}, 1),
        ("g3", "group", "count", "running", {"running": 1, "skipped": 1, "waiting": 298}, 2),
        ("c1", "condition", "all 300 completed", "waiting", {"waiting": 1}, 3),
        ("t602", "task", "sum", "waiting", {"waiting": 1}, 3),
    ]
    assert set(folded.edges) == arrows(
        "t1 -succeeded x300-> g2",
        "g2 -succeeded x300-> g3",
        "g3 -completed x300-> c1",
        "c1 -succeeded-> t602",
    )
    assert [member.uid for member in folded.nodes[1].members] == list(range(2, 302))
    assert folded.counts == s.graph.counts


def test_small_groups_stay_open_while_there_is_room(story):
    s = story(MANY)
    for number in range(120):
        s.create("few" if number % 20 == 0 else "many")
    s.settle()
    folded = fold(picture_of(s.graph), 100)
    assert sorted((n.kind, n.label, n.total) for n in folded.nodes) == [
        ("group", "many", 114),
        *[("task", "few", 1)] * 6,
    ]


def test_names_that_differ_only_in_digits_are_folded_together(story):
    s = story(MANY)
    for number in range(300):
        s.create(f"page {number}", kind=number % 7)
    s.settle()
    [node] = fold(picture_of(s.graph)).nodes
    assert (node.label, node.total) == ("page #", 300)


def test_numbered_names_that_repeat_are_folded_by_name(story):
    """There the number tells parts apart, and not tasks."""
    s = story(MANY)
    for number in range(300):
        s.create(f"shard {number % 6}", kind=number)
    s.settle()
    folded = fold(picture_of(s.graph))
    assert [(n.label, n.total) for n in folded.nodes] == [(f"shard {n}", 50) for n in range(6)]


def test_tasks_of_one_function_are_folded_where_each_has_its_own_name(story):
    s = story(MANY)
    for number in range(300):
        s.create(f"page {letters(number)}")
    s.settle()
    [node] = fold(picture_of(s.graph)).nodes
    assert (node.label, node.total) == ("page …", 300)


def test_what_is_left_of_a_kind_is_folded_with_it(story):
    """No more boxes than a few say the same, also where others of a stage have been folded."""
    s = story(MANY)
    for name, number in {"get": 5_000, "bad": 30, "odd": 3}.items():
        for _ in range(number):
            s.create(name)
    s.settle()
    assert [(n.label, n.total) for n in fold(picture_of(s.graph)).nodes] == [
        ("get", 5_000),
        ("bad", 30),
        *[("odd", 1)] * 3,
    ]


def test_a_chain_is_folded_into_bands(story):
    s = story(MANY)
    last = None
    for _ in range(1000):
        last = s.create("step", last)
    s.settle()
    folded = fold(picture_of(s.graph))
    assert {node.total for node in folded.nodes} == {50}
    assert {node.edges_inside for node in folded.nodes} == {49}
    assert [(e.source, e.target) for e in folded.edges] == [
        (f"g{n}", f"g{n + 1}") for n in range(1, 20)
    ]


def test_bands_are_told_apart_by_their_numbers(story):
    s = story(MANY)
    last = None
    for number in range(1, 201):
        last = s.create(f"step {number} of it", last)
    s.settle()
    labels = [node.label for node in fold(picture_of(s.graph), 10).nodes]
    assert labels == [f"step {n * 20 + 1}…{n * 20 + 20} of it" for n in range(10)]


def test_kinds_that_lead_to_each_other_in_turn_share_the_box_of_a_band(story):
    s = story(MANY)
    last = None
    for number in range(600):
        last = s.create(f"{('get', 'put')[number % 2]} {number // 2}", last, kind=number % 2)
    s.settle()
    folded = fold(picture_of(s.graph))
    assert {node.label for node in folded.nodes} == {"get #, put #"}
    assert len(folded.edges) == len(folded.nodes) - 1


def test_names_without_number_share_a_node(story):
    s = story(MANY)
    for number in range(2000):
        s.create(letters(number), kind=number % 700)
    for _ in range(500):
        s.create("main", kind=1000)
    s.settle()
    folded = fold(picture_of(s.graph))
    assert [(n.label, n.total) for n in folded.nodes] == [("other names", 2000), ("main", 500)]


def letters(number: int) -> str:
    """A name without digits for each number below 17,576."""
    return "".join(chr(ord("a") + number // 26**place % 26) for place in range(3))


def test_where_all_leads_to_all_it_is_folded_although_nodes_are_few(story):
    s = story(MANY)
    sources = [s.create(f"map {n}") for n in range(60)]
    for n in range(60):
        s.create(f"reduce {n}", inputs=sources, kind=1)
    s.settle()
    picture = picture_of(s.graph)
    folded = fold(picture)
    assert len(picture.nodes) < NODES_MAX
    assert len(picture.edges) > NODES_MAX * EDGES_PER_NODE
    assert folded.edges == (arrow("g1 -succeeded x3600-> g2"),)


# ---- layout ----------------------------------------------------------------------------------


def test_positions_are_moved_apart_as_little_as_possible():
    assert apart([0, 5, 5, 20], [0, 4, 4, 4]) == pytest.approx([-2 / 3, 10 / 3, 22 / 3, 20])
    assert apart([1, 1], [0, 2]) == [0, 2]
    assert apart([], []) == []


def test_crossings_are_counted_and_undone():
    after = {0: [3], 1: [2]}
    lines = {0: [0, 1], 1: [2, 3]}
    assert crossings(lines, after) == 1
    best = untangled(lines, {3: [0], 2: [1]}, after)
    assert crossings(best, after) == 0


@pytest.mark.parametrize("direction", ["right", "down"])
def test_boxes_do_not_overlap_and_edges_lead_along(story, direction):
    """Also in a graph of several components with edges over many layers, and with lone tasks."""
    s = story(MANY)
    for size in (40, 7, 1, 1, 12):
        tasks = []
        for number in range(size):
            inputs = {tasks[(number * k) % number] for k in (3, 7)} if number else ()
            tasks.append(s.create(f"t{number}", inputs=sorted(inputs, key=lambda t: t.uid)))
    s.settle()
    picture = picture_of(s.graph)
    sizes = {n.key: (40.0 + 10 * (n.uid % 9), 30.0) for n in picture.nodes}
    layout = lay_out(picture, sizes, direction)
    boxes = list(layout.boxes.values())
    overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if overlap(a, b)]
    assert overlaps == []
    assert all(a.x >= 0 and a.x + a.width <= layout.width + 0.01 for a in boxes)
    assert all(a.y >= 0 and a.y + a.height <= layout.height + 0.01 for a in boxes)
    axis = 0 if direction == "right" else 1
    for edge, route in zip(picture.edges, layout.routes, strict=True):
        along = [point[axis] for point in route]
        assert along == sorted(along)
        start, end = layout.boxes[edge.source], layout.boxes[edge.target]
        assert along[0] == pytest.approx(start[axis] + start[axis + 2])
        assert along[-1] == pytest.approx(end[axis])
    assert lay_out(picture, sizes, direction) == layout


def overlap(a: Box, b: Box) -> bool:
    slack = min(GAP, WIRE_GAP) - 0.01
    return (
        a.x < b.x + b.width + slack
        and b.x < a.x + a.width + slack
        and a.y < b.y + b.height + slack
        and b.y < a.y + a.height + slack
    )


# ---- writing ---------------------------------------------------------------------------------


def awful(s):
    """A graph whose names and errors would break out of every format."""
    a = s.running(AWFUL_NAME)
    s.fail(a, Raised("E", AWFUL_NAME, "Traceback ..."))
    s.create("x" * 10_000, completed(a))
    s.create("", a)
    for _ in range(300):
        s.create(AWFUL_NAME)
    s.settle()
    s.commands()
    return s.graph


def test_an_svg_is_xml_whatever_the_names(story):
    root = ElementTree.fromstring(render(awful(story(MANY)), ".svg"))
    texts = [element.text for element in root.iter() if element.text]
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert any("<script>alert(1)</script>" in text for text in texts)
    assert max(map(len, texts[:1])) <= NAME_CHARACTERS_MAX


def test_an_svg_tells_in_words_what_it_shows(story):
    s = story(MANY)
    s.ended("a")
    s.create("b")
    s.settle()
    root = ElementTree.fromstring(render_svg(s.graph, identifier="one"))
    space = {"s": "http://www.w3.org/2000/svg"}
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "one-title one-desc"
    assert root.findtext("s:desc", namespaces=space) == (
        "Task graph g, 2 tasks: 1 running, 1 succeeded."
    )
    legend = [t.text for t in root.findall("s:g[@class='legend']/s:text", space)]
    assert legend == ["g", "2 tasks", "running 1", "succeeded 1"]
    tips = [g.findtext("s:title", namespaces=space) for g in root.iter() if "data-node" in g.attrib]
    assert tips == ["a (task 1)\nsucceeded", "b (task 2)\nrunning, in default/0"]


def test_every_style_rule_of_an_svg_is_for_itself(story):
    """Two pictures in one notebook leave each other alone."""
    s = story(MANY)
    style = re.search(r"<style>(.*?)</style>", render_svg(s.graph, identifier="one"), re.DOTALL)
    assert style is not None
    rules = [line for line in style[1].splitlines() if line.strip(" }") and line[0] != "@"]
    assert len(rules) > 50
    assert [
        rule for rule in rules if not rule.startswith("#one .") and "#one text" not in rule
    ] == []


def test_dot_strings_hold_whatever_the_names(story):
    text = render(awful(story(MANY)), ".dot").decode()
    for line in text.splitlines()[4:]:
        outside = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
        assert re.fullmatch(r"[\w \[\]=,;>}-]*|.*\"\".*", outside), line
        assert "<" not in outside
        assert outside.count('"') % 2 == 0


def test_mermaid_holds_nothing_that_it_would_read(story):
    lines = render(awful(story(MANY)), ".mmd").decode().splitlines()
    assert lines[0] == "flowchart LR"
    nodes = [line for line in lines if ":::" in line]
    assert len(nodes) == 3
    for line in nodes:
        text = re.fullmatch(r'  \w+(?:\["|\[\["|\{\{")(.*)(?:"\]|"\]\]|"\}\}):::\w+', line)
        assert text is not None, line
        plain = re.sub(r"#\d+;|<br/>", "", text[1])
        assert not set(plain) & set("\"'<>[]{}()|;&\\`#")


def test_the_data_of_a_page_cannot_end_its_script(story):
    page = render(awful(story(MANY)), ".html").decode()
    assert page.count("</script>") == 2  # of the data and of the program
    assert page.count("<script") == 2
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    members = [len(node["members"]) for node in data["nodes"].values()]
    assert max(members) == 301


def test_a_page_holds_so_many_tasks_and_tells_of_the_others(story):
    """What failed comes first, small groups are whole."""
    s = story(LoopSpec("default", (3,)))
    wrong = [s.running("a") for _ in range(3)]
    for _ in range(MEMBERS_MAX):
        s.create("a")
    for _ in range(250):
        s.create("b", kind=1)
    s.fail(wrong[2])
    s.settle()
    s.commands()
    page = render(s.graph, ".html").decode()
    nodes = json.loads(page.split('id="data">')[1].split("</script>")[0])["nodes"]
    assert [len(node["members"]) for node in nodes.values()] == [MEMBERS_MAX - 250, 250]
    assert nodes["g1"]["about"].splitlines()[-1] == (
        "253 of them are not listed here: a page holds 5,000 tasks."
    )
    assert nodes["g1"]["members"][0][:3] == [3, "a", "failed"]
    assert nodes["g1"]["members"][0][5] == "ValueError: no"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_graph_without_tasks_is_a_picture_too(story, suffix):
    s = story()
    assert render(s.graph, suffix)
    assert render(s.graph, suffix.upper(), direction="down") == render(
        s.graph, suffix, direction="down"
    )


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_graph_gives_the_same_picture(story, suffix):
    s = story(MANY)
    fan(s, 40)
    assert render(s.graph, suffix) == render(s.graph, suffix)


def test_wrong_use_is_refused(story):
    s = story()
    with pytest.raises(GraphError, match=r"one of \.svg, \.png, \.html, \.dot, \.mmd, not \.pdf"):
        render(s.graph, ".pdf")
    with pytest.raises(GraphError, match="not a file without a suffix"):
        render(s.graph, "")
    with pytest.raises(GraphError, match="nodes_max must be an integer from 10, not 3"):
        render(s.graph, ".svg", nodes_max=3)
    with pytest.raises(GraphError, match="direction must be 'right' or 'down', not 'up'"):
        render(s.graph, ".svg", direction="up")  # type: ignore[arg-type]


def test_without_igraph_two_formats_are_left(story, monkeypatch):
    s = story(MANY)
    s.ended("<a>")
    monkeypatch.setitem(sys.modules, "igraph", None)
    for suffix in (".dot", ".mmd"):
        assert render(s.graph, suffix)
    for suffix in (".svg", ".png", ".html"):
        with pytest.raises(GraphError, match="needs igraph and pillow, the extra 'draw' "):
            render(s.graph, suffix)
    assert render_counts(s.graph) == (
        "<table><caption>g: 1 tasks</caption><tr><td>succeeded</td><td>1</td></tr></table>"
    )
