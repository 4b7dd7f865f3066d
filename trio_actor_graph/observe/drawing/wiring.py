"""Which layer each node of a picture is in, and which layers its edges pass on their way.

Layers follow each other along the direction of work. What passes a layer takes room in it as a box
does, so this is what a layout begins with, and all that is needed to tell how large it will be.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Final, NamedTuple

from trio_actor_graph.observe.drawing.picture import Picture
from trio_actor_graph.observe.drawing.stages import layers_of, longest_ways

PARALLEL_GAP: Final = 7.0
"""Between edges that join the same two boxes."""


class Wire(NamedTuple):
    """An edge on its way through the layers, from the lower to the higher one.

    Attributes:
        vertices: where it begins, what it passes, where it ends.
        offset: how far beside the middle of its boxes it begins and ends.
    """

    vertices: tuple[int, ...]
    is_backward: bool
    offset: float


class Wiring(NamedTuple):
    """A picture as vertices in layers. A vertex is a node, by its place, or a bend of a wire.

    Attributes:
        layers: of each vertex.
        wires: of each edge, in the order of the picture.
    """

    layers: tuple[int, ...]
    wires: tuple[Wire, ...]

    @property
    def steps(self) -> list[tuple[int, int]]:
        """Which vertices are joined from one layer to the next, each pair once."""
        return sorted({step for wire in self.wires for step in pairwise(wire.vertices)})


def wiring_of(picture: Picture) -> Wiring:
    """Give each node its layer, and split the edges into wires from layer to layer."""
    index = {node.key: number for number, node in enumerate(picture.nodes)}
    number = len(picture.nodes)
    ends = [(index[edge.source], index[edge.target]) for edge in picture.edges]
    _, places = longest_ways(number, ends)
    forward = [(a, b) if places[a] < places[b] else (b, a) for a, b in ends]
    conditions = (i for i, node in enumerate(picture.nodes) if node.is_condition)
    layers = layers_of(number, forward, conditions)
    beside = Counter(forward)
    seen: Counter[tuple[int, int]] = Counter()
    wires = []
    for given, pair in zip(ends, forward, strict=True):
        offset = PARALLEL_GAP * (seen[pair] - (beside[pair] - 1) / 2)
        seen[pair] += 1
        wires.append(Wire(_bent(*pair, layers), given != pair, offset))
    return Wiring(tuple(layers), tuple(wires))


def _bent(source: int, target: int, layers: list[int]) -> tuple[int, ...]:
    """The vertices of a wire; those of its bends are new, and their layers are added."""
    passed = range(layers[source] + 1, layers[target])
    first = len(layers)
    layers.extend(passed)
    return (source, *range(first, first + len(passed)), target)
