"""Where everything goes: layers along the direction of work, by igraph's Sugiyama layout.

igraph decides the order in each layer and where its nodes stand across the direction of work. Some
things are done around it. Edges over several layers are split here into a node a layer, rather than
by igraph, whose version 1.0.0 writes outside its memory when it does so in a graph of several
components. Components are laid out one by one and set beside each other, so that lone tasks do not
become one endless column. And igraph gives every node the same room and now and then too little, so
nodes are moved apart by their sizes, as little as possible. See `untangling` for the crossings.

Inside, `u` runs along the direction of work and `v` across it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from trio_actor_graph.observe.drawing.picture import Picture
from trio_actor_graph.observe.drawing.untangling import Lines, Neighbours, untangled
from trio_actor_graph.observe.drawing.wiring import Wire, wiring_of

if TYPE_CHECKING:
    import igraph

Direction: TypeAlias = Literal["right", "down"]
Size: TypeAlias = tuple[float, float]
Point: TypeAlias = tuple[float, float]

WIDTH_MAX: Final = 3200.0
HEIGHT_MAX: Final = 1800.0
"""How large a picture may be, in pixels: what one scrolls through in two or three screens of a
laptop. At two pixels for one, that is as large as a PNG may be without being made smaller."""

MARGIN: Final = 24.0
HEAD_HEIGHT: Final = 180.0
"""What the title, the states and the kinds of edges take of the height at most, with the margin."""

SWEEPS: Final = 60
"""How often igraph goes through the layers to have fewer crossings; more changes little."""

RELAXING_SWEEPS: Final = 12
"""How often vertices that were untangled are drawn towards the middle of their neighbours."""

DRAWING_IN_SWEEPS: Final = 8
"""How often what spreads too far is moved together: full layers then push it apart a little."""

GAP: Final = 14.0
"""Between boxes of one layer, in pixels."""

WIRE_GAP: Final = 9.0
"""Between an edge that passes a layer and what is beside it."""

LAYER_GAP: Final = 46.0
LAYER_GAP_MAX: Final = 150.0
"""Between layers: more where edges have far to go across, so that they do not become too steep."""

COUNT_GAP: Final = 28.0
"""More between layers where a number stands on an edge."""

STEEPNESS: Final = 7.0
"""How many times its gap an edge may go across before the gap grows."""

COMPONENT_GAP: Final = 34.0

SHAPE: Final = 1.6
"""Width by height that components are set out to; a screen has about as much."""

SHELF_MIN: Final = 320.0
"""Components beside each other take at least so many pixels before a new row is begun."""


class Box(NamedTuple):
    """Where a node is: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Layout(NamedTuple):
    """Where everything is.

    Attributes:
        boxes: of each node, by key, in the order in which an eye goes through them.
        routes: of each edge of the picture, in its order: the points it goes through, each time
            in the direction of work.
    """

    width: float
    height: float
    direction: Direction
    boxes: Mapping[str, Box]
    routes: tuple[tuple[Point, ...], ...]


def lay_out(picture: Picture, sizes: Mapping[str, Size], direction: Direction) -> Layout:
    """Place the nodes of a picture.

    Args:
        picture: what to place, already folded.
        sizes: width and height of each node, by key.
        direction: where work goes.
    """
    return _Laying(picture, sizes, direction).layout()


class _Laying:
    """The work of `lay_out`. A vertex is a node, by its place, or a bend of a wire."""

    def __init__(self, picture: Picture, sizes: Mapping[str, Size], direction: Direction):
        self._picture = picture
        self._is_right = direction == "right"
        self._direction: Direction = direction
        turned = [sizes[node.key] for node in picture.nodes]
        self._sizes = turned if self._is_right else [(height, width) for width, height in turned]
        wiring = wiring_of(picture)
        most = (WIDTH_MAX - 2 * MARGIN, HEIGHT_MAX - HEAD_HEIGHT)
        self._most = most if self._is_right else (most[1], most[0])  # along and across
        self._layers = wiring.layers
        self._wires = wiring.wires
        self._steps = wiring.steps
        self._align_lone_nodes()
        self._u: dict[tuple[int, int], tuple[float, float]] = {}  # (component, layer) -> from, to
        self._v = [0.0] * len(self._layers)
        self._component = [0] * len(self._layers)

    def layout(self) -> Layout:
        graph = self._graph()
        components = graph.connected_components(mode="weak")
        rooms = [
            self._lay_out_component(number, vertices, graph.induced_subgraph(vertices))
            for number, vertices in enumerate(components)
        ]
        # The largest first; those of one size, such as lone tasks, in the order of creation.
        order = sorted(range(len(rooms)), key=lambda number: -len(components[number]))
        corners, (width, height) = on_shelves(rooms, order, self._is_right)
        boxes = self._boxes(corners)
        routes = tuple(self._route(wire, boxes, corners) for wire in self._wires)
        if not self._is_right:
            width, height = height, width
        in_order = sorted(
            range(len(boxes)), key=lambda number: (boxes[number][0], boxes[number][1])
        )
        nodes = self._picture.nodes
        return Layout(
            width,
            height,
            self._direction,
            {nodes[number].key: self._turned(boxes[number]) for number in in_order},
            routes,
        )

    def _align_lone_nodes(self) -> None:
        """Give tasks that nothing leads to or from one width, since they stand in columns."""
        joined = {vertex for wire in self._wires for vertex in wire.vertices}
        lone = [vertex for vertex in range(len(self._sizes)) if vertex not in joined]
        if self._is_right and lone:
            widest = max(self._sizes[vertex][0] for vertex in lone)
            for vertex in lone:
                self._sizes[vertex] = (widest, self._sizes[vertex][1])

    def _graph(self) -> igraph.Graph:
        import igraph

        return igraph.Graph(len(self._layers), self._steps, directed=True)

    def _lay_out_component(self, number: int, vertices: Sequence[int], graph: igraph.Graph) -> Size:
        """Place the vertices of a component from (0, 0) on; return its size along and across."""
        for vertex in vertices:
            self._component[vertex] = number
        layers = [self._layers[vertex] for vertex in vertices]
        across = [0.0]
        if len(vertices) > 1:
            placed = graph.layout_sugiyama(layers=layers, hgap=1, vgap=1, maxiter=SWEEPS)
            across = [point[0] for point in placed.coords[: len(vertices)]]
        unit = self._unit(vertices)
        proposed = {vertex: v * unit for vertex, v in zip(vertices, across, strict=True)}
        lines: Lines = {}
        for vertex in sorted(vertices, key=proposed.__getitem__):
            lines.setdefault(self._layers[vertex], []).append(vertex)
        self._place_across(lines, proposed)
        ends = [(self._v[x] - self._room(x), self._v[x] + self._room(x)) for x in vertices]
        lowest = min(low for low, _ in ends)
        for vertex in vertices:
            self._v[vertex] -= lowest
        return self._place_layers(number, vertices), max(high for _, high in ends) - lowest

    def _unit(self, vertices: Sequence[int]) -> float:
        """How many pixels igraph's distance of one is worth across the direction of work."""
        rooms = [self._sizes[x][1] for x in vertices if x < len(self._sizes)]
        wires = len(vertices) - len(rooms)
        if wires <= len(rooms):
            return GAP + median(rooms)
        # Where there is little but wires, most distances are between those.
        return (len(rooms) * (GAP + median(rooms)) + wires * WIRE_GAP) / len(vertices)

    def _room(self, vertex: int) -> float:
        """Half of what a vertex takes across."""
        return self._sizes[vertex][1] / 2 if vertex < len(self._sizes) else 0.0

    def _place_across(self, lines: Lines, proposed: Mapping[int, float]) -> None:
        """Give the vertices of a component their `v`: as igraph proposes or, untangled, anew."""
        before, after = self._neighbours(lines)
        best = untangled(lines, before, after)
        if best is lines:
            for line in lines.values():
                self._spread(line, [proposed[vertex] for vertex in line])
        else:
            for layer, line in best.items():
                self._spread(line, sorted(proposed[vertex] for vertex in lines[layer]))
            layers = sorted(best)
            for sweep in range(RELAXING_SWEEPS):
                for layer in layers if sweep % 2 else reversed(layers):
                    self._spread(best[layer], self._wanted(best[layer], before, after))
        self._draw_in(best)

    def _draw_in(self, lines: Lines) -> None:
        """Move what spreads further than a picture should as close together as its layers allow."""
        most = self._most[1]
        for _ in range(DRAWING_IN_SWEEPS):
            ends = [self._v[vertex] for line in lines.values() for vertex in (line[0], line[-1])]
            low, high = min(ends), max(ends)
            if high - low <= most:
                break
            middle, part = (low + high) / 2, most / (high - low)
            for line in lines.values():
                self._spread(line, [(self._v[vertex] - middle) * part for vertex in line])

    def _neighbours(self, lines: Lines) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        before: dict[int, list[int]] = {}
        after: dict[int, list[int]] = {}
        members = {vertex for line in lines.values() for vertex in line}
        for source, target in self._steps:
            if source in members:
                after.setdefault(source, []).append(target)
                before.setdefault(target, []).append(source)
        return before, after

    def _wanted(self, line: Sequence[int], before: Neighbours, after: Neighbours) -> list[float]:
        """Where each of these would stand in the middle of what is before and of what is after."""
        wanted = []
        for vertex in line:
            middles = [
                sum(self._v[other] for other in side) / len(side)
                for side in (before.get(vertex), after.get(vertex))
                if side
            ]
            wanted.append(sum(middles) / len(middles) if middles else self._v[vertex])
        return wanted

    def _spread(self, line: Sequence[int], wanted: Sequence[float]) -> None:
        """Set the vertices of a layer as near as possible to where they are wanted."""
        steps = [0.0]
        for one, other in pairwise(line):
            both_boxes = one < len(self._sizes) and other < len(self._sizes)
            gap = GAP if both_boxes else WIRE_GAP
            steps.append(self._room(one) + gap + self._room(other))
        for vertex, v in zip(line, apart(wanted, steps), strict=True):
            self._v[vertex] = v

    def _place_layers(self, number: int, vertices: Sequence[int]) -> float:
        """Set the layers of a component one behind the other; return how far they reach."""
        along: dict[int, float] = {}
        for vertex in vertices:
            size = self._sizes[vertex][0] if vertex < len(self._sizes) else 0.0
            layer = self._layers[vertex]
            along[layer] = max(along.get(layer, 0.0), size)
        furthest: Counter[int] = Counter()
        counted: set[int] = set()
        for wire, edge in zip(self._wires, self._picture.edges, strict=True):
            if self._component[wire.vertices[0]] == number:
                if edge.number > 1:
                    ends = (wire.vertices[0], wire.vertices[-2])
                    counted.update(self._layers[vertex] for vertex in ends)
                for one, other in pairwise(wire.vertices):
                    layer = self._layers[one]
                    distance = math.ceil(abs(self._v[one] - self._v[other]))
                    furthest[layer] = max(furthest[layer], distance)
        layers = sorted(along)
        gaps = self._gaps(sum(along.values()), layers[:-1], counted, furthest)
        at = 0.0
        for layer in layers:
            self._u[number, layer] = (at, at + along[layer])
            at += along[layer] + gaps.get(layer, 0.0)
        return at

    def _gaps(
        self, boxes: float, layers: Sequence[int], counted: set[int], furthest: Mapping[int, int]
    ) -> dict[int, float]:
        """How far each layer is from the next; less than edges would like if that is too long."""
        least = {x: LAYER_GAP + (COUNT_GAP if x in counted else 0.0) for x in layers}
        gaps = {x: steep_gap(furthest.get(x, 0), least[x]) for x in layers}
        too_long = boxes + sum(gaps.values()) - self._most[0]
        more = sum(gaps.values()) - sum(least.values())
        if too_long <= 0.0 or not more:
            return gaps
        part = max(0.0, 1 - too_long / more)
        return {x: least[x] + (gaps[x] - least[x]) * part for x in layers}

    def _boxes(self, corners: Sequence[Point]) -> list[Box]:
        boxes = []
        for vertex, (size, across) in enumerate(self._sizes):
            component = self._component[vertex]
            u, v = corners[component]
            low, high = self._u[component, self._layers[vertex]]
            # Tasks below each other are as wide as the widest of them.
            is_wide = self._is_right and not self._picture.nodes[vertex].is_condition
            along = high - low if is_wide else size
            boxes.append(
                Box(u + (low + high - along) / 2, v + self._v[vertex] - across / 2, along, across)
            )
        return boxes

    def _route(
        self, wire: Wire, boxes: Sequence[Box], corners: Sequence[Point]
    ) -> tuple[Point, ...]:
        source, *bends, target = wire.vertices
        component = self._component[source]
        u, v = corners[component]

        def at(vertex: int, offset: float, is_entry: bool) -> Point:
            low, high = self._u[component, self._layers[vertex]]
            return (u + (low if is_entry else high), v + self._v[vertex] + offset)

        start, end = boxes[source], boxes[target]
        leaving, arriving = at(source, wire.offset, False), at(target, wire.offset, True)
        points = [(start.x + start.width, leaving[1]), leaving]
        for bend in bends:
            points += [at(bend, 0.0, True), at(bend, 0.0, False)]
        points += [arriving, (end.x, arriving[1])]
        points = [points[0], *(b for a, b in pairwise(points) if a != b)]
        if wire.is_backward:
            points.reverse()
        return tuple(points) if self._is_right else tuple((b, a) for a, b in points)

    def _turned(self, box: Box) -> Box:
        return box if self._is_right else Box(box.y, box.x, box.height, box.width)


def steep_gap(across: float, least: float) -> float:
    """How far apart two layers are whose edges go so far across."""
    return min(LAYER_GAP_MAX, max(least, across / STEEPNESS))


def apart(wanted: Sequence[float], steps: Sequence[float]) -> list[float]:
    """Move positions apart, keeping their order and as close as possible to where they want to be.

    Neighbours that are too close become a block, which stands where it moves its members least (the
    sum of the squares); blocks that then meet become one (this is isotonic regression).

    Args:
        wanted: ascending positions.
        steps: how far each must be from the one before; the first does not matter.
    """
    places = []  # of each within the row if all stood as close as they may
    at = 0.0
    for number, step in enumerate(steps):
        at += step if number else 0.0
        places.append(at)
    blocks: list[tuple[float, int]] = []  # sum of where its members want its first, their number
    for want, place in zip(wanted, places, strict=True):
        total, number = want - place, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / number:
            before = blocks.pop()
            total, number = total + before[0], number + before[1]
        blocks.append((total, number))
    starts = [total / number for total, number in blocks for _ in range(number)]
    return [start + place for start, place in zip(starts, places, strict=True)]


def on_shelves(
    rooms: Sequence[Size], order: Sequence[int], is_right: bool
) -> tuple[list[Point], Size]:
    """Set components beside each other across in this order, then in further rows along.

    Args:
        rooms: what each component takes along and across.
        order: in which they are set.
        is_right: whether work goes to the right.

    Returns:
        The corner of each component, and what all of them take along and across.
    """
    area = sum((u + COMPONENT_GAP) * (v + COMPONENT_GAP) for u, v in rooms)
    widest = max((v for _, v in rooms), default=0.0)
    target = math.sqrt(area / SHAPE if is_right else area * SHAPE)
    limit = max(SHELF_MIN, widest, target)
    corners: list[Point] = [(0.0, 0.0)] * len(rooms)
    shelf_u = shelf_size = at = reach = 0.0
    for number in order:
        u, v = rooms[number]
        if at and at + v > limit:
            shelf_u += shelf_size + COMPONENT_GAP
            shelf_size = at = 0.0
        corners[number] = (shelf_u, at)
        at += v + GAP
        shelf_size = max(shelf_size, u)
        reach = max(reach, at - GAP)
    return corners, (shelf_u + shelf_size, reach)
