"""A picture as shapes at places: what the writers of lines and pixels have in common.

Shapes carry words for how they look ("box failed", "edge created") and no colours, so a writer may
say them once for light and once for dark. The first word is what it is, the second its state or
kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from trio_actor_graph.observe.drawing.layout import (
    MARGIN,
    Box,
    Direction,
    Point,
    Size,
    lay_out,
)
from trio_actor_graph.observe.drawing.picture import (
    EDGE_KINDS,
    NODE_STATES,
    Edge,
    EdgeKind,
    Node,
    NodeState,
    Picture,
)
from trio_actor_graph.observe.drawing.style import (
    EDGE_WORDS,
    SYMBOLS,
    run_text,
    short,
    text_width,
)

TEXT: Final = 13.0
SMALL: Final = 11.0
TITLE: Final = 16.0
BOLD: Final = 1.12
"""How much wider bold letters are."""

SYMBOL: Final = 5.0
PAD: Final = 10.0
TASK_HEIGHT: Final = 30.0
GROUP_HEIGHT: Final = 52.0
CONDITION_HEIGHT: Final = 26.0
BAR_PART_MIN: Final = 3.0
"""How long the part of any state in the bar of a group is at least, so that it can be seen."""

HEAD: Final = 8.0
ALONE_MAX: Final = 3
"""How many edges may join a box where the numbers on them can still be told apart."""

LEGEND_STEP: Final = 22.0
WIDTH_MIN: Final = 520.0
"""A picture is at least as wide, so that its legend is not a column of single words."""


class Rectangle(NamedTuple):
    """A box, with round corners or without."""

    box: Box
    look: str
    radius: float = 0.0


class Line(NamedTuple):
    """A way through points; each part of it leaves and arrives along the direction of work."""

    points: tuple[Point, ...]
    look: str
    direction: Direction = "right"


class Polygon(NamedTuple):
    """Straight lines through points, closed or open."""

    points: tuple[Point, ...]
    look: str
    is_closed: bool = True


class Label(NamedTuple):
    """A text on the line `y`, which is about the middle of its letters."""

    x: float
    y: float
    text: str
    look: str
    size: float = TEXT
    anchor: Literal["start", "middle", "end"] = "start"


Shape: TypeAlias = Rectangle | Line | Polygon | Label


class Drawn(NamedTuple):
    """A node or an edge as shapes, with the text that explains it."""

    shapes: tuple[Shape, ...]
    tooltip: str
    node: Node | None = None


class Scene(NamedTuple):
    """Everything to draw, from back to front."""

    width: float
    height: float
    picture: Picture
    legend: tuple[Shape, ...]
    edges: tuple[Drawn, ...]
    nodes: tuple[Drawn, ...]


def scene_of(picture: Picture, direction: Direction) -> Scene:
    """Lay a picture out and say what is to be drawn where."""
    sizes = {node.key: box_size(node) for node in picture.nodes}
    layout = lay_out(picture, sizes, direction)
    width = max(WIDTH_MIN, layout.width + 2 * MARGIN)
    legend, top = _legend(picture, width)
    left = (width - layout.width) / 2
    nodes = {node.key: node for node in picture.nodes}
    ends = Ends(
        Counter(edge.source for edge in picture.edges),
        Counter(edge.target for edge in picture.edges),
        Counter(frozenset((edge.source, edge.target)) for edge in picture.edges),
    )
    names = {node.key: _title(node) for node in picture.nodes}
    return Scene(
        width=width,
        height=top + layout.height + MARGIN,
        picture=picture,
        legend=tuple(legend),
        edges=tuple(
            Drawn(
                (
                    *_edge_shapes(edge, moved, layout.direction),
                    *_count_label(edge, moved, layout.direction, ends),
                ),
                _edge_text(edge, names),
            )
            for edge, route in zip(picture.edges, layout.routes, strict=True)
            for moved in [_moved(route, left, top)]
        ),
        nodes=tuple(
            Drawn(
                tuple(_node_shapes(nodes[key], Box(box.x + left, box.y + top, *box[2:]))),
                tooltip(nodes[key]),
                nodes[key],
            )
            for key, box in layout.boxes.items()
        ),
    )


def tooltip(node: Node) -> str:
    """What is known of a node, in lines."""
    lines = [_title(node)]
    if node.kind in ("task", "condition"):
        lines.append(", ".join(filter(None, (node.state, run_text(node.run)))))
        if node.run.error:
            lines.append(node.run.error)
    else:
        lines += [f"{number:,} {state}" for state, number in node.counts.items()]
        if node.edges_inside:
            lines.append(f"{node.edges_inside:,} edges between them")
    return "\n".join(lines)


def _title(node: Node) -> str:
    if node.kind == "task":
        return f"{node.label} (task {node.uid})"
    return f"{node.label} ×{node.total:,}" if node.total > 1 else node.label


def _edge_text(edge: Edge, names: dict[str, str]) -> str:
    words = f"{names[edge.source]} {EDGE_WORDS[edge.kind]} {names[edge.target]}"
    if edge.kind in ("succeeded", "completed"):
        words = f"{names[edge.source]} {EDGE_WORDS[edge.kind]} for {names[edge.target]}"
    return f"{words} ×{edge.number:,}" if edge.number > 1 else words


# Nodes


def box_size(node: Node) -> Size:
    """Width and height of the box of a node."""
    label = text_width(short(node.label), TEXT)
    symbol = 2 * SYMBOL + 7
    if node.kind == "task":
        return _even(2 * PAD + symbol + label + 6 + text_width(f"#{node.uid}", SMALL)), TASK_HEIGHT
    if node.kind == "condition":
        return _even(2 * PAD + 4 + symbol + text_width(short(node.label), SMALL)), CONDITION_HEIGHT
    first = label + 8 + BOLD * text_width(f"×{node.total:,}", TEXT)
    second = sum(width for *_, width in _tallies(node))
    return _even(2 * PAD + max(first, second)), GROUP_HEIGHT


def _even(width: float) -> float:
    return float(2 * round(width / 2 + 0.5))


def _node_shapes(node: Node, box: Box) -> Iterator[Shape]:
    middle = box.y + box.height / 2
    if node.kind == "condition":
        yield Rectangle(box, f"box {node.state}", box.height / 2)
        yield from _symbol(node.state, box.x + PAD + 2 + SYMBOL, middle)
        yield Label(box.x + PAD + 9 + 2 * SYMBOL, middle, short(node.label), "text", SMALL)
    elif node.kind == "task":
        yield Rectangle(box, f"box {node.state}", 6)
        yield from _symbol(node.state, box.x + PAD + SYMBOL, middle)
        yield Label(box.x + PAD + 7 + 2 * SYMBOL, middle, short(node.label), "text")
        yield Label(box.x + box.width - PAD, middle, f"#{node.uid}", "dim", SMALL, "end")
    else:
        yield from _group_shapes(node, box)


def _group_shapes(node: Node, box: Box) -> Iterator[Shape]:
    """A stack of boxes: name and number, the number in each state, and a bar of their parts."""
    radius = 14.0 if node.is_condition else 6.0
    for behind in (6, 3):
        yield Rectangle(Box(box.x + behind, box.y + behind, *box[2:]), "box behind", radius)
    yield Rectangle(box, f"group {node.state}", radius)
    line = box.y + 16
    yield Label(box.x + PAD, line, short(node.label), "text")
    yield Label(box.x + box.width - PAD, line, f"×{node.total:,}", "strong", TEXT, "end")
    x, line = box.x + PAD, box.y + 34
    for state, number, width in _tallies(node):
        yield from _symbol(state, x + SYMBOL - 1, line, SYMBOL - 1)
        yield Label(x + 2 * SYMBOL + 3, line, number, "text", SMALL)
        x += width
    x = box.x + PAD
    for state, part in _bar_parts(node, box.width - 2 * PAD):
        yield Rectangle(Box(x, box.y + box.height - 8, part, 3.5), f"bar {state}")
        x += part


def _bar_parts(node: Node, whole: float) -> Iterator[tuple[NodeState, float]]:
    """The parts of a group's bar; one failure among thousands is seen too."""
    present: list[NodeState] = [state for state in NODE_STATES if node.counts.get(state)]
    parts = {state: whole * node.counts[state] / node.total for state in present}
    lengths = {state: max(BAR_PART_MIN, part) for state, part in parts.items()}
    # The longest gives what the shortest take: there are so few states that it has enough.
    longest = max(present, key=parts.__getitem__)
    lengths[longest] -= sum(lengths.values()) - whole
    for state in present:
        yield state, lengths[state]


def _tallies(node: Node) -> Iterator[tuple[NodeState, str, float]]:
    """Each state of a group's members with their number and the width that both take."""
    for state in NODE_STATES:
        if node.counts.get(state):
            number = f"{node.counts[state]:,}"
            yield state, number, 2 * SYMBOL + 3 + text_width(number, SMALL) + 10


def _symbol(state: NodeState, x: float, y: float, radius: float = SYMBOL) -> Iterator[Shape]:
    for stroke in SYMBOLS[state]:
        points = tuple((x + radius * a, y + radius * b) for a, b in stroke.points)
        look = "solid" if stroke.is_filled else "mark"
        yield Polygon(points, f"{look} {state}", stroke.is_closed)


# Edges


def _edge_shapes(edge: Edge, route: tuple[Point, ...], direction: Direction) -> Iterator[Shape]:
    (x0, y0), (x, y) = route[0], route[-1]
    if direction == "right":
        back = -1 if x >= x0 else 1
        end = (x + back * HEAD * 0.8, y)
        sides = ((x + back * HEAD, y - HEAD / 2), (x + back * HEAD, y + HEAD / 2))
    else:
        back = -1 if y >= y0 else 1
        end = (x, y + back * HEAD * 0.8)
        sides = ((x - HEAD / 2, y + back * HEAD), (x + HEAD / 2, y + back * HEAD))
    yield Line((*route[:-1], end), f"edge {edge.kind}", direction)
    yield Polygon(((x, y), *sides), f"head {edge.kind}")


def _count_label(
    edge: Edge, route: tuple[Point, ...], direction: Direction, ends: Ends
) -> Iterator[Shape]:
    """The number of a merged edge, where the edge is alone: at that end which has fewer of them.

    Where many leave and many arrive there is no such place; the tooltip tells it.
    """
    leaving, arriving = ends.leaving[edge.source], ends.arriving[edge.target]
    is_alone = ends.pairs[frozenset((edge.source, edge.target))] == 1
    if edge.number == 1 or not is_alone or min(leaving, arriving) > ALONE_MAX:
        return
    is_at_source = leaving <= arriving
    (x, y), sign = (route[0], 1) if is_at_source else (route[-1], -1)
    if direction == "right":
        sign = sign if route[-1][0] >= route[0][0] else -sign
        anchor: Literal["start", "end"] = "start" if sign > 0 else "end"
        yield Label(x + sign * 10, y - 8, f"×{edge.number:,}", "count", SMALL, anchor)
    else:
        sign = sign if route[-1][1] >= route[0][1] else -sign
        yield Label(x + 6, y + sign * 16, f"×{edge.number:,}", "count", SMALL)


class Ends(NamedTuple):
    """How many edges leave and arrive at each node, by key, and how many join each two of them."""

    leaving: Counter[str]
    arriving: Counter[str]
    pairs: Counter[frozenset[str]]


def _moved(points: Iterable[Point], x: float, y: float) -> tuple[Point, ...]:
    return tuple((a + x, b + y) for a, b in points)


# The legend


def _legend(picture: Picture, width: float) -> tuple[list[Shape], float]:
    """The title, the states with their counts, and the kinds of edges there are; and its height."""
    title = short(picture.title, max(8, int((width - 2 * MARGIN) / (0.62 * TITLE))))
    total = sum(picture.counts.values())
    words = "1 task" if total == 1 else f"{total:,} tasks"
    if picture.nodes and sum(not n.is_condition for n in picture.nodes) < total:
        words += ", folded by name and stage"
    after = MARGIN + BOLD * text_width(title, TITLE) + 10
    shapes: list[Shape] = [
        Label(MARGIN, MARGIN + 4, title, "strong", TITLE),
    ]
    if after + text_width(words, SMALL) < width - MARGIN:
        shapes.append(Label(after, MARGIN + 5, words, "dim", SMALL))
    entries = [*_state_entries(picture), *_edge_entries(picture)]
    x, y = MARGIN, MARGIN + 30
    for entry_width, make in entries:
        if x > MARGIN and x + entry_width > width - MARGIN:
            x, y = MARGIN, y + LEGEND_STEP
        shapes += [_shifted(shape, x, y) for shape in make]
        x += entry_width
    return shapes, y + 30


def _state_entries(picture: Picture) -> Iterator[tuple[float, Sequence[Shape]]]:
    conditions: dict[NodeState, int] = {}
    for node in picture.nodes:
        for state, number in node.counts.items() if node.is_condition else ():
            conditions[state] = conditions.get(state, 0) + number
    tallies: list[tuple[NodeState, str, int]] = []
    for state, number in picture.counts.items():
        if number:
            tallies.append((state, str(state), number))
    for state, number in conditions.items():
        tallies.append((state, f"condition {state}", number))
    for state, words, number in tallies:
        text = f"{words} {number:,}"
        shapes = [*_symbol(state, SYMBOL, 0), Label(2 * SYMBOL + 6, 0, text, "text", SMALL)]
        yield 2 * SYMBOL + 6 + text_width(text, SMALL) + 16, shapes


def _edge_entries(picture: Picture) -> Iterator[tuple[float, Sequence[Shape]]]:
    present: set[EdgeKind] = {edge.kind for edge in picture.edges}
    for kind in EDGE_KINDS:
        if kind in present:
            text = EDGE_WORDS[kind]
            yield (
                34 + 6 + text_width(text, SMALL) + 16,
                [
                    Line(((0, 0), (28, 0)), f"edge {kind}"),
                    Polygon(
                        ((34, 0), (34 - HEAD, -HEAD / 2), (34 - HEAD, HEAD / 2)), f"head {kind}"
                    ),
                    Label(40, 0, text, "dim", SMALL),
                ],
            )


def _shifted(shape: Shape, x: float, y: float) -> Shape:
    match shape:
        case Label():
            return shape._replace(x=shape.x + x, y=shape.y + y)
        case Rectangle(box):
            return shape._replace(box=Box(box.x + x, box.y + y, box.width, box.height))
        case Line() | Polygon():
            return shape._replace(points=_moved(shape.points, x, y))
