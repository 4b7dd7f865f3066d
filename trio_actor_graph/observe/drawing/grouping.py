"""Groups: nodes of a picture put together as one, with their states and edges counted.

A picture that has been folded may be folded again, so a step of folding never looks at more than
the last one left. What is in a group, and what it is called, is settled at the end (`finished`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from trio_actor_graph.observe.drawing.picture import (
    Edge,
    Node,
    NodeState,
    Picture,
    foremost_state,
)
from trio_actor_graph.observe.drawing.style import LABEL_CHARACTERS_MAX

Key: TypeAlias = Hashable

OTHERS: Final = -2
"""In place of a function: a group of whatever else there was."""

SHARED_NAME_CHARACTERS_MIN: Final = 3
"""How many first characters names must share for a group to be called by them."""

PATTERNS_LISTED_MAX: Final = 3
"""A group of so few kinds of names is called by all of them, if they are short."""

_DIGITS: Final = re.compile(r"\d+")


def pattern_of(label: str) -> str:
    """A name with "#" for each number in it: those of one pattern differ only in digits."""
    return _DIGITS.sub("#", label)


def is_of_others(key: Key) -> bool:
    """Whether it is the key of a group of whatever else there was."""
    return isinstance(key, tuple) and key[0] == OTHERS


def name_of(node: Node) -> str:
    """What a node is called; of a group, what the first of its members is called."""
    while node.members:
        node = node.members[0]
    return node.label


def grouped(picture: Picture, keys: Sequence[Key]) -> Picture:
    """Put all nodes of the same key together; one that is alone stays as it is.

    Args:
        picture: what to fold, or to fold further.
        keys: of each node. A tuple that begins with `OTHERS` is a group of different things.
    """
    members: dict[Key, list[Node]] = {}
    for node, key in zip(picture.nodes, keys, strict=True):
        members.setdefault(key, []).append(node)
    if len(members) == len(picture.nodes):
        return picture
    nodes: list[Node] = []
    place: dict[str, str] = {}  # key of a node -> key of the node that it is in now
    for key, folded in members.items():
        node = folded[0]
        if len(folded) > 1:
            node = _group(f"g{len(nodes) + 1}", folded, is_of_others(key))
        elif node.members:
            node = node._replace(key=f"g{len(nodes) + 1}")
        nodes.append(node)
        place.update((each.key, node.key) for each in folded)
    # Bands have cycles among them, which are cut in this order: a condition leads to its task.
    nodes.sort(key=lambda node: (node.stage, not node.is_condition))
    inside, edges = _merged(picture.edges, place)
    for node in picture.nodes:
        if node.edges_inside:
            inside[place[node.key]] += node.edges_inside
    return picture._replace(
        nodes=tuple(node._replace(edges_inside=inside.get(node.key, 0)) for node in nodes),
        edges=tuple(edges),
    )


def finished(picture: Picture, order: Mapping[str, int]) -> Picture:
    """The same picture with all tasks of a group right in it, and named after all of them.

    Args:
        picture: a folded one.
        order: the places of the nodes that it was folded from, by key.
    """
    nodes = []
    for node in picture.nodes:
        if node.members:
            members = sorted(_unfolded(node), key=lambda member: order[member.key])
            label = _label(members, node.function == OTHERS)
            nodes.append(node._replace(members=tuple(members), label=label))
        else:
            nodes.append(node)
    return picture._replace(nodes=tuple(nodes))


def _group(key: str, members: list[Node], is_others: bool) -> Node:
    counts: dict[NodeState, int] = {}
    for member in members:
        for state, number in member.counts.items():
            counts[state] = counts.get(state, 0) + number
    first = members[0]
    return Node(
        key=key,
        kind="conditions" if first.is_condition else "group",
        label=_label(members, is_others),
        state=foremost_state(counts),
        counts=counts,
        stage=min(node.stage for node in members),
        function=OTHERS if is_others else first.function,
        members=tuple(members),
    )


def _unfolded(node: Node) -> Iterator[Node]:
    """The tasks or conditions in a group, also those in groups within it."""
    pending = [node]
    while pending:
        last = pending.pop()
        if last.members:
            pending.extend(last.members)
        else:
            yield last


# What groups are called


def _label(members: Sequence[Node], is_others: bool) -> str:
    """The name, or what the names have in common, or how many names there are."""
    names = dict.fromkeys(node.label for node in members)
    if len(names) == 1:
        return next(iter(names))
    patterns = _first_patterns(names)
    if len(patterns) == 1 and (label := _numbered(members, names) or patterns[0]).strip("# "):
        return label
    if is_others:
        return "other conditions" if members[0].is_condition else "other names"
    listed = ", ".join(sorted(patterns))  # as in the group before and the one behind
    if 1 < len(patterns) <= PATTERNS_LISTED_MAX and len(listed) <= LABEL_CHARACTERS_MAX:
        return listed
    shared = _shared_beginning(min(names), max(names)).rstrip()
    if len(shared) >= SHARED_NAME_CHARACTERS_MIN:
        return f"{shared} …"
    return f"{len(names):,} names"


def _first_patterns(names: Iterable[str]) -> list[str]:
    """The patterns of names, no more than one above of what may be listed."""
    patterns: dict[str, None] = {}
    for name in names:
        patterns[pattern_of(name)] = None
        if len(patterns) > PATTERNS_LISTED_MAX:
            break
    return list(patterns)


def _numbered(members: Sequence[Node], names: Collection[str]) -> str:
    """Names of several stages, such as those of a chain, by their first and last number.

    There a group before and one behind have the same pattern, and only numbers tell them apart.
    "" where these do not follow each other.
    """
    stages = {node.stage for node in members}
    if len(stages) == 1 or len(names) != len(members):
        return ""
    numbers = sorted(int(number) for name in names for number in _DIGITS.findall(name))
    if len(numbers) != len(names) or numbers[-1] - numbers[0] != len(names) - 1:
        return ""
    pattern = pattern_of(members[0].label)
    return pattern.replace("#", f"{numbers[0]}…{numbers[-1]}")


def _shared_beginning(one: str, other: str) -> str:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return one[:length]


# Edges


def _merged(edges: Iterable[Edge], place: Mapping[str, str]) -> tuple[Counter[str], list[Edge]]:
    """How many edges are inside of each node, and the others with their counts."""
    inside: Counter[str] = Counter()
    counts: Counter[tuple[str, str, str]] = Counter()
    kept: dict[tuple[str, str, str], Edge] = {}
    for edge in edges:
        source, target = place[edge.source], place[edge.target]
        if source == target:
            inside[source] += edge.number
        else:
            way = (source, target, edge.kind)
            if way not in kept:
                kept[way] = edge
            counts[way] += edge.number
    return inside, [Edge(way[0], way[1], edge.kind, counts[way]) for way, edge in kept.items()]
