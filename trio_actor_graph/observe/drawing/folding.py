"""Folding: tasks of one type and stage become one node with counts, when a picture is too large.

It goes from fine to coarse and stops at the first way that is small enough:

1. tasks of the same name in the same stage, the most numerous first;
2. tasks of the same function in the same stage, whatever their names;
3. the same over bands of neighbouring stages, for what is too long;
4. beyond the most numerous functions of a band, all other tasks together; of these functions there
   are the fewer the more of them lead to each other.

So a crawl that names each task after its page keeps its shape, and a chain of ten thousand or ten
thousand names still are a picture. Conditions are folded by their text in place of a name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from trio_actor_graph.observe.drawing.picture import (
    Edge,
    Node,
    NodeState,
    Picture,
    foremost_state,
)

NODES_MAX: Final = 200
"""How many nodes a picture shows before it is folded: so many boxes can be read by scrolling once,
and are laid out in a tenth of a second."""

EDGES_PER_NODE: Final = 2.5
"""How many edges a picture may have for each node that it may have. At 200 nodes these are 500: as
many as Mermaid draws at most, and more than an eye can follow."""

REACH_PER_NODE: Final = 6
"""How many stages all edges together may reach over for each node that a picture may have: long
edges lie beside each other and push the boxes apart."""

BANDS_PART: Final = 8
"""A picture that is too long is folded into this part of its nodes as bands of stages, so that a
band has room for as many functions. If all leads to all, there are a quarter as many bands."""

WORTH_SHOWING: Final = 0.01
"""Which part of its band a function must make up to be shown beside "other names"."""

SHARED_NAME_CHARACTERS_MIN: Final = 3
"""How many first characters names must share for a group to be called by them."""

_Key: TypeAlias = Hashable


def fold(picture: Picture, nodes_max: int = NODES_MAX) -> Picture:
    """The same picture with at most `nodes_max` nodes; itself if it is small enough.

    Edges are merged with counts; too many edges are a reason to fold as well as too many nodes.
    """
    if _is_small(picture, nodes_max):
        return picture
    folded = picture
    for keys, is_last in _ways(picture, nodes_max):
        if is_last or len(set(keys)) <= nodes_max:
            folded = _folded(picture, keys)
            if is_last or _is_small(folded, nodes_max):
                break
    return folded


def _is_small(picture: Picture, nodes_max: int) -> bool:
    if len(picture.nodes) > nodes_max or len(picture.edges) > nodes_max * EDGES_PER_NODE:
        return False
    # Stages that no node is in any more do not count: bands are as far apart as stages are.
    layers = {stage: n for n, stage in enumerate(sorted({node.stage for node in picture.nodes}))}
    stages = {node.key: layers[node.stage] for node in picture.nodes}
    reach = sum(abs(stages[edge.source] - stages[edge.target]) for edge in picture.edges)
    return reach <= nodes_max * REACH_PER_NODE


def _ways(picture: Picture, nodes_max: int) -> Iterator[tuple[list[_Key], bool]]:
    """For each way to fold, the group of each node, and whether it is the last one.

    A group of one member is left alone.
    """
    nodes = picture.nodes
    by_name: list[_Key] = [(node.is_condition, node.label, node.stage) for node in nodes]
    by_function = [_function(node, node.stage) for node in nodes]
    for keys in (by_name, by_function):
        yield _most_numerous_first(keys, nodes_max), False
        yield keys, False
    for bands in (nodes_max // BANDS_PART, nodes_max // BANDS_PART // 4):
        width = _band_width(nodes, max(1, bands))
        in_bands = [_function(node, node.stage // width) for node in nodes]
        yield in_bands, False
        most = max(1, nodes_max // len({node.stage // width for node in nodes}) - 2)
        yield _with_others(nodes, in_bands, width, most), False
        # Only where bands are few as well does it help to show fewer functions.
        while most > 1 and bands < nodes_max // BANDS_PART:
            most //= 2
            yield _with_others(nodes, in_bands, width, most), False
    width = _band_width(nodes, max(1, nodes_max // BANDS_PART // 4))
    yield _with_others(nodes, [None] * len(nodes), width, 0), True


def _band_width(nodes: tuple[Node, ...], bands: int) -> int:
    """How many stages go into each of so many bands."""
    stages = max(node.stage for node in nodes) + 1
    return -(-stages // bands)


def _function(node: Node, stage: int) -> _Key:
    return (node.label if node.is_condition else node.function, node.is_condition, stage)


def _most_numerous_first(keys: list[_Key], nodes_max: int) -> list[_Key]:
    """Fold as few groups as possible: small ones stay open while there is room."""
    shown = len(keys)
    folded: set[_Key] = set()
    for key, size in Counter(keys).most_common():
        if shown <= nodes_max or size == 1:
            break
        folded.add(key)
        shown -= size - 1
    return [key if key in folded else number for number, key in enumerate(keys)]


def _with_others(nodes: tuple[Node, ...], keys: list[_Key], width: int, most: int) -> list[_Key]:
    """In each band the `most` most numerous groups keep their own, the rest share one."""
    bands: dict[tuple[int, bool], Counter[_Key]] = {}
    for node, key in zip(nodes, keys, strict=True):
        bands.setdefault((node.stage // width, node.is_condition), Counter())[key] += 1
    kept = set()
    for (_, is_condition), counts in bands.items():
        # Conditions get no places of their own here: there are always some tasks to show.
        for key, size in counts.most_common(0 if is_condition else most):
            if size >= counts.total() * WORTH_SHOWING or len(counts) <= most:
                kept.add(key)
    return [
        key if key in kept else ("others", node.is_condition, node.stage // width)
        for node, key in zip(nodes, keys, strict=True)
    ]


def _folded(picture: Picture, keys: list[_Key]) -> Picture:
    members: dict[_Key, list[Node]] = {}
    for node, key in zip(picture.nodes, keys, strict=True):
        members.setdefault(key, []).append(node)
    nodes: list[Node] = []
    place: dict[str, str] = {}  # key of a node -> key of the node that it is in now
    for key, folded in members.items():
        node = folded[0]
        if len(folded) > 1:
            is_others = isinstance(key, tuple) and key[0] == "others"
            node = _group(f"g{len(nodes) + 1}", folded, is_others)
        nodes.append(node)
        place.update((each.key, node.key) for each in folded)
    # Bands have cycles among them, which are cut in this order: a condition leads to its task.
    nodes.sort(key=lambda node: (node.stage, not node.is_condition))
    inside, edges = _merged(picture.edges, place)
    return picture._replace(
        nodes=tuple(node._replace(edges_inside=inside.get(node.key, 0)) for node in nodes),
        edges=tuple(edges),
    )


def _group(key: str, members: list[Node], is_others: bool) -> Node:
    counts: Counter[NodeState] = Counter(node.state for node in members)
    first = members[0]
    return Node(
        key=key,
        kind="conditions" if first.is_condition else "group",
        label=_shared_label(members, is_others),
        state=foremost_state(counts),
        counts=dict(counts),
        stage=min(node.stage for node in members),
        function=first.function,
        members=tuple(members),
    )


def _shared_label(members: list[Node], is_others: bool) -> str:
    names = {node.label for node in members}
    if len(names) == 1:
        return next(iter(names))
    if is_others:
        return "other conditions" if members[0].is_condition else "other names"
    shared = _shared_beginning(min(names), max(names)).rstrip()
    if len(shared) >= SHARED_NAME_CHARACTERS_MIN:
        return f"{shared} …"
    return f"{len(names):,} names"


def _shared_beginning(one: str, other: str) -> str:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return one[:length]


def _merged(edges: Iterable[Edge], place: Mapping[str, str]) -> tuple[Counter[str], list[Edge]]:
    """How many edges are inside of each node, and the others with their counts."""
    inside: Counter[str] = Counter()
    counts: Counter[Edge] = Counter()
    for edge in edges:
        source, target = place[edge.source], place[edge.target]
        if source == target:
            inside[source] += edge.number
        else:
            counts[Edge(source, target, edge.kind)] += edge.number
    return inside, [edge._replace(number=number) for edge, number in counts.items()]
