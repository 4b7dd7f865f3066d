"""Fewer crossings than igraph leaves: its order in the layers is taken as a proposal.

Where several vertices of a layer lead to the same one, as the leaves of a tree do that is folded
further on, igraph's sweeps put them into any order, and what came before them crosses. Here the
same sweeps are made with a sort that keeps ties as they were, from igraph's order and from that of
a walk in depth, which is free of crossings for a tree. The order with the fewest crossings wins.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

Lines: TypeAlias = dict[int, list[int]]
"""The vertices of each layer in their order."""

Neighbours: TypeAlias = Mapping[int, Sequence[int]]

SWEEPS: Final = 8
"""How often one goes through the layers, in turn along and against the direction of work."""


def untangled(lines: Lines, before: Neighbours, after: Neighbours) -> Lines:
    """The lines in an order with fewer crossings; themselves if none is found.

    Args:
        lines: the proposal; its layers follow each other without a gap.
        before: of each vertex, those of the layer before that lead to it.
        after: of each vertex, those of the next layer that it leads to.
    """
    best, fewest = lines, crossings(lines, after)
    for start in (lines, _in_depth(lines, before, after)):
        if not fewest:
            break
        current = start
        for sweep in range(SWEEPS):
            number = crossings(current, after)
            if number < fewest:
                best, fewest = current, number
            current = _swept(current, before if sweep % 2 == 0 else after, sweep % 2 == 1)
    return best


def crossings(lines: Lines, after: Neighbours) -> int:
    """How many pairs of edges between neighbouring layers cross."""
    number = 0
    for layer, line in lines.items():
        places = {vertex: place for place, vertex in enumerate(lines.get(layer + 1, ()))}
        seen: list[int] = []  # where the edges so far end, ascending
        for vertex in line:
            ends = sorted(places[target] for target in after.get(vertex, ()))
            number += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return number


def _swept(lines: Lines, neighbours: Neighbours, is_upward: bool) -> Lines:
    """Order each layer by the middle of its neighbours in the layer that was ordered before it."""
    layers = sorted(lines, reverse=is_upward)
    swept = {layers[0]: lines[layers[0]]}
    for last, layer in pairwise(layers):
        places = {vertex: place for place, vertex in enumerate(swept[last])}
        stretch = len(places) / len(lines[layer])  # where one without neighbours stays
        wanted = {}
        for place, vertex in enumerate(lines[layer]):
            found = [places[other] for other in neighbours.get(vertex, ())]
            wanted[vertex] = sum(found) / len(found) if found else place * stretch
        swept[layer] = sorted(lines[layer], key=wanted.__getitem__)
    return swept


def _in_depth(lines: Lines, before: Neighbours, after: Neighbours) -> Lines:
    """The lines in the order in which a walk from the first layers finds their vertices."""
    found: Lines = {layer: [] for layer in lines}
    layer_of = {vertex: layer for layer, line in lines.items() for vertex in line}
    starts = [v for layer in sorted(lines) for v in sorted(lines[layer]) if not before.get(v)]
    known: set[int] = set()
    pending = list(reversed(starts))
    while pending:
        vertex = pending.pop()
        if vertex not in known:
            known.add(vertex)
            found[layer_of[vertex]].append(vertex)
            pending.extend(_unknown(after.get(vertex, ()), known))
    return found


def _unknown(vertices: Iterable[int], known: set[int]) -> Iterable[int]:
    return (vertex for vertex in sorted(vertices, reverse=True) if vertex not in known)
