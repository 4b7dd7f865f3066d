"""How large a picture will be, told from its layers before it is laid out.

Boxes of a layer stand across the direction of work, with the edges that pass between them; layers
stand along it. A layout needs hardly more than that: `layout` sees to it that it does not spread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from trio_actor_graph.observe.drawing.layout import (
    COUNT_GAP,
    GAP,
    LAYER_GAP,
    WIRE_GAP,
    Direction,
    Size,
    on_shelves,
    steep_gap,
)
from trio_actor_graph.observe.drawing.picture import Picture
from trio_actor_graph.observe.drawing.scene import box_size
from trio_actor_graph.observe.drawing.wiring import Wiring, wiring_of


class Measured(NamedTuple):
    """What a picture will take.

    Attributes:
        along: pixels in the direction of work.
        across: pixels across it.
        reach: how many layers all edges together reach over.
    """

    along: float
    across: float
    reach: int


def measured(picture: Picture, direction: Direction) -> Measured:
    """Tell how large a picture will be. It takes a hundredth of the time of a layout."""
    wiring = wiring_of(picture)
    is_right = direction == "right"
    sizes = [box_size(node) for node in picture.nodes]
    turned = sizes if is_right else [(height, width) for width, height in sizes]
    components = _components(wiring)
    counted = _counted_layers(picture, wiring)
    rooms = [_room(vertices, wiring.layers, turned, counted) for vertices in components]
    order = sorted(range(len(rooms)), key=lambda number: -len(components[number]))
    _, (along, across) = on_shelves(rooms, order, is_right)
    return Measured(along, across, sum(len(wire.vertices) - 1 for wire in wiring.wires))


def _room(
    vertices: Sequence[int], layers: Sequence[int], sizes: Sequence[Size], counted: set[int]
) -> Size:
    """What a component takes along and across."""
    along: defaultdict[int, float] = defaultdict(float)
    across: defaultdict[int, float] = defaultdict(float)
    for vertex in vertices:
        size, room = sizes[vertex] if vertex < len(sizes) else (0.0, WIRE_GAP - GAP)
        layer = layers[vertex]
        along[layer] = max(along[layer], size)
        across[layer] += room + GAP
    total = 0.0
    in_order = sorted(along)
    for layer in in_order:
        total += along[layer]
        if layer != in_order[-1]:
            furthest = abs(across[layer] - across.get(layer + 1, 0.0)) / 2
            total += steep_gap(furthest, LAYER_GAP + (COUNT_GAP if layer in counted else 0.0))
    return total, max(across.values()) - GAP


def _counted_layers(picture: Picture, wiring: Wiring) -> set[int]:
    """The layers after which numbers stand on edges."""
    counted: set[int] = set()
    for wire, edge in zip(wiring.wires, picture.edges, strict=True):
        if edge.number > 1:
            counted.update(
                wiring.layers[vertex] for vertex in (wire.vertices[0], wire.vertices[-2])
            )
    return counted


def _components(wiring: Wiring) -> list[list[int]]:
    """The vertices of each part of the picture that no edge joins with the rest."""
    above = list(range(len(wiring.layers)))

    def root(vertex: int) -> int:
        while above[vertex] != vertex:
            above[vertex] = above[above[vertex]]
            vertex = above[vertex]
        return vertex

    for wire in wiring.wires:
        first = root(wire.vertices[0])
        for vertex in wire.vertices[1:]:
            above[root(vertex)] = first
    members: dict[int, list[int]] = {}
    for vertex in range(len(above)):
        members.setdefault(root(vertex), []).append(vertex)
    return list(members.values())
