"""Core: a picture of any shape is one that a person can read on a screen."""

from __future__ import annotations

import random
from collections import Counter
from xml.etree import ElementTree

import pytest

from trio_actor_graph.graph.conditions import completed, succeeded
from trio_actor_graph.graph.records import LoopSpec
from trio_actor_graph.observe.drawing import DIRECTIONS, NODES_MAX, Direction, render_svg
from trio_actor_graph.observe.drawing.folding import SINGLE_MAX, fold
from trio_actor_graph.observe.drawing.layout import HEIGHT_MAX, WIDTH_MAX
from trio_actor_graph.observe.drawing.measuring import measured
from trio_actor_graph.observe.drawing.picture import Picture
from trio_actor_graph.observe.drawing.scene import Rectangle, Scene, scene_of
from trio_actor_graph.observe.drawing.seeing import picture_of

MANY = LoopSpec("default", (1000,))
SLACK = 1.1
"""How much larger than its limits a tangled picture may be: it is measured before its layout."""


def lone(s, number: int) -> None:
    for n in range(number):
        s.create(f"job {n}")


def fan_out(s, number: int) -> None:
    first = s.create("list")
    for n in range(number):
        s.create(f"page {n}", inputs=[first], kind=1)


def fan_in(s, number: int) -> None:
    s.create("total", inputs=[s.create(f"part {n}") for n in range(number)], kind=1)


def map_reduce(s, number: int) -> None:
    pages = [s.create(f"page {n}") for n in range(number)]
    counts = [s.create("count", inputs=[page], kind=1) for page in pages]
    s.create("total", completed(counts), kind=2)


def chain(s, number: int) -> None:
    last = None
    for n in range(number):
        last = s.create(f"step {n}", last)


def nameless_chain(s, number: int) -> None:
    last = None
    for n in range(number):
        last = s.create("".join(random.Random(n).sample("abcdefghijkl", 9)), last, kind=n)


def chains(s, number: int) -> None:
    first = s.create("begin", kind=1)
    for lane in range(8):
        last = first
        for n in range(number):
            last = s.create(f"lane {lane} step {n}", inputs=[last])


def grid(s, side: int) -> None:
    cells: dict[tuple[int, int], object] = {}
    for i in range(side):
        for j in range(side):
            before = [cells[at] for at in ((i - 1, j), (i, j - 1)) if at in cells]
            cells[i, j] = s.create(f"cell {i},{j}", inputs=before)


def crawl(s, number: int) -> None:
    """Tasks create tasks, and each is named after its page."""
    chance = random.Random(1)
    found = [s.create("https://example.org/")]
    while len(found) < number:
        parent = found[int(len(found) * chance.random() ** 2)]
        name = "/".join(chance.choice(["news", "shop", "about"]) for _ in range(4))
        page = s.create(f"https://example.org/{name}/{chance.randrange(10**6):x}")
        page.record.creator = parent.record
        found.append(page)


def conditions(s, number: int) -> None:
    chance = random.Random(2)
    sources = [s.create(f"source {n}") for n in range(40)]
    for n in range(number):
        a, b, c, d = chance.sample(sources, 4)
        kinds = (
            succeeded(a, b, c, at_least=2),
            succeeded(a) | completed(b, c),
            (succeeded(a) & completed(b, c)) | succeeded(d),
        )
        s.create(f"use {n}", kinds[n % 3], kind=1)


def tangle(s, number: int) -> None:
    chance = random.Random(3)
    tasks: list = []
    for n in range(number):
        chosen = {chance.choice(tasks[-60:]) for _ in range(chance.randrange(4))} if n else ()
        name = f"{chance.choice(['load', 'clean', 'join', 'plot'])} {n}"
        inputs = sorted(chosen, key=lambda task: task.uid)
        tasks.append(s.create(name, inputs=inputs, kind=chance.randrange(4)))


def two_parts(s, number: int) -> None:
    chain(s, number)
    fan_out(s, number)


SHAPES = [
    *((lone, 1), (lone, 190), (lone, 3_000)),
    *((fan_out, 5), (fan_out, 50), (fan_out, 200), (fan_out, 2_000)),
    *((fan_in, 30), (fan_in, 200), (map_reduce, 30), (map_reduce, 149)),
    *((chain, 20), (chain, 40), (chain, 199), (chain, 10_000)),
    *((nameless_chain, 199), (nameless_chain, 3_000), (chains, 30), (grid, 6), (grid, 20)),
    *((crawl, 150), (crawl, 5_000), (conditions, 12), (conditions, 150)),
    *((tangle, 100), (tangle, 190), (tangle, 5_000), (two_parts, 60), (two_parts, 1_000)),
]


@pytest.mark.parametrize(("shape", "number"), SHAPES)
def test_a_picture_of_any_shape_can_be_read_by_scrolling(story, shape, number):
    """It has no task twice and loses none, nor an edge."""
    s = story(MANY, ready=False)
    shape(s, number)
    picture = picture_of(s.graph)
    for direction in DIRECTIONS:
        folded = fold(picture, direction=direction)
        scene = scene_of(folded, direction)
        if folded is not picture or len(picture.nodes) > SINGLE_MAX:
            assert scene.width <= WIDTH_MAX * SLACK
            assert scene.height <= HEIGHT_MAX * SLACK
        assert len(folded.nodes) <= NODES_MAX
        assert Counter(tasks_of(folded)) == Counter(node.key for node in picture.nodes)
        inside = sum(node.edges_inside for node in folded.nodes)
        assert inside + sum(edge.number for edge in folded.edges) == len(picture.edges)
        assert fold(picture, direction=direction) == folded
    s.commands()


@pytest.mark.parametrize(
    ("shape", "number"),
    [
        *((lone, 190), (fan_out, 5), (fan_out, 99), (fan_in, 99), (map_reduce, 30), (chain, 100)),
        *((grid, 6), (conditions, 12), (tangle, 100)),
    ],
)
def test_what_fits_is_shown_task_by_task(story, shape, number):
    s = story(MANY, ready=False)
    shape(s, number)
    picture = picture_of(s.graph)
    assert fold(picture) is picture
    s.commands()


def test_only_stages_that_are_crowded_are_folded(story):
    s = story(MANY, ready=False)
    first = s.create("list")
    pages = [s.create(f"page {n}", inputs=[first], kind=1) for n in range(100)]
    for n in range(20):
        s.create(f"book {n}", inputs=pages[5 * n : 5 * n + 5], kind=2)
    folded = fold(picture_of(s.graph))
    assert Counter(node.kind for node in folded.nodes) == {"task": 21, "group": 1}
    [group] = [node for node in folded.nodes if node.members]
    assert (group.label, group.total, group.stage) == ("page #", 100, 1)
    s.commands()


def test_a_picture_for_more_nodes_is_larger_in_proportion(story):
    s = story(MANY, ready=False)
    fan_out(s, 200)
    picture = picture_of(s.graph)
    assert len(fold(picture).nodes) == 2
    assert fold(picture, 1_200) is picture
    s.commands()


def test_one_failure_among_thousands_is_seen(story):
    """In the colour of its group, in a number, and in the bar."""
    s = story(MANY)
    fan_out(s, 2_000)
    s.settle()
    s.succeed(s.tasks[1])
    s.settle()
    s.fail(s.tasks[1_000])
    s.commands()
    scene = scene_of(fold(picture_of(s.graph)), "right")
    [group] = [drawn for drawn in scene.nodes if drawn.node is not None and drawn.node.members]
    rectangles = [shape for shape in group.shapes if isinstance(shape, Rectangle)]
    assert "group failed" in [shape.look for shape in rectangles]
    [part] = [shape.box.width for shape in rectangles if shape.look == "bar failed"]
    assert part == 3.0
    bar = [shape.box.width for shape in rectangles if shape.look.startswith("bar")]
    assert sum(bar) == pytest.approx(group.shapes[2].box.width - 20)  # type: ignore[union-attr]
    root = ElementTree.fromstring(render_svg(s.graph))
    tips = [element.text for element in root.iter() if element.tag.endswith("title")]
    assert "page # ×2,000\n999 running\n1 failed\n1,000 ready" in tips


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_size_is_told_before_anything_is_laid_out(story, direction: Direction):
    """Exactly for what is not tangled."""
    for shape, number in ((fan_out, 5), (map_reduce, 8), (chain, 12), (two_parts, 4), (grid, 3)):
        s = story(MANY, ready=False)
        shape(s, number)
        picture = picture_of(s.graph)
        size = measured(picture, direction)
        along, across = drawn_size(scene_of(picture, direction), direction)
        assert (size.along, size.across) == pytest.approx((along, across), rel=0.05)
        s.commands()


def drawn_size(scene: Scene, direction: Direction) -> tuple[float, float]:
    boxes = [
        shape.box
        for drawn in scene.nodes
        for shape in drawn.shapes[:1]
        if isinstance(shape, Rectangle)
    ]
    width = max(box.x + box.width for box in boxes) - min(box.x for box in boxes)
    height = max(box.y + box.height for box in boxes) - min(box.y for box in boxes)
    return (width, height) if direction == "right" else (height, width)


def tasks_of(picture: Picture) -> list[str]:
    """The keys of all tasks and conditions, those in groups too."""
    return [each.key for node in picture.nodes for each in (node.members or (node,))]
