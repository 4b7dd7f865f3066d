"""Folding: a picture that is more than a reader can take in is made smaller, until it fits.

It fits if it has no more nodes and edges than an eye can follow and is no larger than what one
scrolls through in two or three screens, whatever its shape. One that fits is left alone, and so is
one of few nodes, which may be larger. In any other, stages that are crowded are folded first, each
from fine to coarse:

1. tasks whose names differ only in their numbers, the most numerous first: "page #". Where the same
   numbered names come again and again, those of one name;
2. tasks of the same function, whatever their names;
3. all but the most numerous of these together: "other names".

Stages that are not crowded stay as they are. While it does not fit, a stage counts as crowded with
ever fewer boxes. If it is too long, stages that are neighbours become bands, as many as fit, with a
box for each kind of name, or for each function; where these lead to each other in turn, or are too
many, with one box for all of them.

So a map of hundreds of tasks keeps its list and its total, a crawl that names each task after its
page keeps its shape, and a chain of ten thousand or ten thousand names still are a picture.
Conditions are folded by their text in place of a name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from trio_actor_graph.observe.drawing.grouping import (
    OTHERS,
    Key,
    finished,
    grouped,
    is_of_others,
    name_of,
    pattern_of,
)
from trio_actor_graph.observe.drawing.layout import (
    GAP,
    HEAD_HEIGHT,
    HEIGHT_MAX,
    LAYER_GAP,
    MARGIN,
    WIDTH_MAX,
    Direction,
)
from trio_actor_graph.observe.drawing.measuring import measured
from trio_actor_graph.observe.drawing.picture import Node, Picture
from trio_actor_graph.observe.drawing.scene import TASK_HEIGHT, box_size
from trio_actor_graph.observe.drawing.wiring import wiring_of

NODES_MAX: Final = 200
"""How many nodes a picture shows before it is folded: so many boxes can be read by scrolling once,
and are laid out in a tenth of a second."""

SINGLE_MAX: Final = 100
"""A picture of so many nodes is not folded for its shape: one looks at a graph of so few tasks to
see each of them, and rather scrolls."""

EDGES_PER_NODE: Final = 2.5
"""How many edges a picture may have for each node that it may have. At 200 nodes these are 500: as
many as Mermaid draws at most, and more than an eye can follow."""

REACH_PER_NODE: Final = 6
"""How many layers all edges together may reach over for each node that a picture may have: long
edges lie beside each other and push the boxes apart."""

LIKE_MAX: Final = 8
"""How many boxes of one kind may stand in a stage that is crowded: more of them say no more than
their number does."""

ROWS_STEP: Final = 0.6
"""By how much a stage may have fewer boxes each time that a picture still does not fit."""

BANDS: Final = (24, 20, 16, 12, 10, 8, 6, 5)
BANDS_FEW: Final = (3, 2, 1)
"""How many bands of stages there may be: as many as fit. Fewer than five show no course of work.
A picture that may be larger may have more of them."""

BANDS_FINE: Final = 240
"""Into so many bands stages are put first, of which the others are then made, to be fast."""

BAND_ROWS: Final = (6, 3)
"""How many boxes a band may have where even a box a function is too much, before it is one."""

WORTH_SHOWING: Final = 0.01
"""Which part of its band a function must make up at least to be shown beside "other names"."""

_Place: TypeAlias = tuple[int, bool]
"""A stage, or a band of them, and whether it is about the conditions in it."""

_PlaceOf: TypeAlias = Callable[[Node], _Place]


class _Room(NamedTuple):
    """How much a picture may hold and take."""

    nodes: int
    along: float
    across: float
    direction: Direction

    @property
    def scale(self) -> float:
        """How much larger than usual the picture may be."""
        return max(1.0, self.nodes / NODES_MAX)

    def holds(self, picture: Picture, *, of_any_size: bool = False) -> bool:
        if len(picture.nodes) > self.nodes or len(picture.edges) > self.nodes * EDGES_PER_NODE:
            return False
        size = measured(picture, self.direction)
        is_small = of_any_size or (size.along <= self.along and size.across <= self.across)
        return is_small and size.reach <= self.nodes * REACH_PER_NODE

    def rows(self, picture: Picture) -> int:
        """About how many boxes a layer has room for."""
        box = TASK_HEIGHT
        if self.direction == "down":
            widths = [box_size(node)[0] for node in picture.nodes[: self.nodes]]
            box = sum(widths) / len(widths)
        return max(1, min(self.nodes, int(self.across / (box + GAP))))


def fold(picture: Picture, nodes_max: int = NODES_MAX, direction: Direction = "right") -> Picture:
    """The same picture in a size to be read; itself if it has that already.

    Edges are merged with counts; too many edges are a reason to fold as well as too many nodes.

    Args:
        picture: what to fold.
        nodes_max: how many nodes it may have. Above `NODES_MAX` it may be larger in proportion.
        direction: where work goes.
    """
    room = _room(nodes_max, direction)
    if room.holds(picture, of_any_size=len(picture.nodes) <= SINGLE_MAX):
        return picture
    rows = room.rows(picture)
    fine = _uncrowded(picture, _bands(picture, BANDS_FINE), rows)
    order = {node.key: place for place, node in enumerate(picture.nodes)}
    coarser = fine
    for coarser in _ever_coarser(fine, rows, room):
        if room.holds(coarser):
            folded = finished(coarser, order)
            if room.holds(folded):  # names may be longer now
                return folded
    return finished(coarser, order)  # two boxes at most


def _room(nodes_max: int, direction: Direction) -> _Room:
    scale = max(1.0, nodes_max / NODES_MAX)
    width, height = scale * WIDTH_MAX - 2 * MARGIN, scale * HEIGHT_MAX - HEAD_HEIGHT
    along, across = (width, height) if direction == "right" else (height, width)
    return _Room(nodes_max, along, across, direction)


def _ever_coarser(fine: Picture, rows: int, room: _Room) -> Iterator[Picture]:
    """Fewer boxes in each stage; if it is too long, fewer stages.

    The last one is a single band of a box of tasks and one of conditions.
    """
    stages = len({node.stage for node in fine.nodes})
    if stages * (TASK_HEIGHT + LAYER_GAP) <= room.along:
        yield from _fewer_rows(fine, rows)
    yield from _fewer_bands(fine, rows, [round(room.scale * bands) for bands in BANDS])


def _fewer_rows(fine: Picture, rows: int) -> Iterator[Picture]:
    """Fold only within stages."""
    place_of = _bands(fine, BANDS_FINE)
    folded = fine
    yield folded
    while rows > 1:
        rows = max(1, int(rows * ROWS_STEP))
        folded = _uncrowded(folded, place_of, rows)
        yield folded


def _fewer_bands(fine: Picture, rows: int, numbers: Sequence[int]) -> Iterator[Picture]:
    """A box for each pattern, or each function; then fewer of them; then one, in ever fewer bands.

    Where tasks of two kinds lead to each other in turn, a box for each of them says less than one
    for both: its arrows go to and fro.
    """
    for keys_of in (_patterns, _functions):
        for bands in numbers:
            place_of = _bands(fine, bands)
            folded = grouped(fine, keys_of(_Boxes(fine.nodes, place_of)))
            if max(Counter(map(place_of, folded.nodes)).values()) <= rows and _leads_on(folded):
                yield folded
    for few in BAND_ROWS:
        for bands in numbers:
            folded = _uncrowded(fine, _bands(fine, bands), few)
            if _leads_on(folded):
                yield folded
    for bands in (*numbers, *BANDS_FEW):
        yield _uncrowded(fine, _bands(fine, bands), 1)


def _leads_on(picture: Picture) -> bool:
    """Whether no edge leads back."""
    return not any(wire.is_backward for wire in wiring_of(picture).wires)


def _bands(picture: Picture, most: int) -> _PlaceOf:
    """Put the stages into at most so many bands of one width, or each into its own if they are few.

    Wider bands are made of the `BANDS_FINE`, so that what was folded in those stays together.
    """
    stages = max(node.stage for node in picture.nodes) + 1
    fine = min(stages, BANDS_FINE)
    width = -(-fine // most)

    def place_of(node: Node) -> _Place:
        return node.stage * fine // stages // width, node.is_condition

    return place_of


# What is folded in a stage or a band


def _uncrowded(picture: Picture, place_of: _PlaceOf, rows: int) -> Picture:
    """Fold where there are more than so many boxes, no further than it takes."""
    boxes = _Boxes(picture.nodes, place_of)
    for keys_of in (_names, _patterns, _functions):
        if crowded := boxes.crowded(rows):
            boxes.join(_where_crowded(keys_of(boxes), boxes.places, crowded, rows))
    if crowded := boxes.crowded(rows):
        boxes.join(_with_others(boxes, crowded, rows))
    return grouped(picture, boxes.keys)


class _Boxes:
    """What becomes of the nodes of a picture step by step, before it is made.

    Attributes:
        nodes: the first node of each box.
        places: where each box is.
        patterns: of the names of these nodes.
        totals: how many tasks each box stands for.
    """

    def __init__(self, nodes: Sequence[Node], place_of: _PlaceOf):
        self.nodes = nodes
        self.places = list(map(place_of, nodes))
        self.patterns = [pattern_of(name_of(node)) for node in nodes]
        self.totals = [node.total for node in nodes]
        self._box_of = list(range(len(nodes)))  # each node of the picture
        self._others: set[int] = set()

    @property
    def keys(self) -> list[Key]:
        """For each node of the picture the box that it is in."""
        return [(OTHERS, box) if box in self._others else box for box in self._box_of]

    def crowded(self, rows: int) -> dict[_Place, int]:
        """The places with more than so many boxes, and how many they have."""
        return {place: boxes for place, boxes in Counter(self.places).items() if boxes > rows}

    def join(self, keys: Sequence[Key]) -> None:
        """Make those one box that have the same key; what has None stays by itself."""
        numbers: dict[Key, int] = {}
        joined: list[int] = []
        first: list[int] = []
        totals: list[int] = []
        for box, key in enumerate(keys):
            number = len(first) if key is None else numbers.setdefault(key, len(first))
            if number == len(first):
                first.append(box)
                totals.append(0)
            totals[number] += self.totals[box]
            joined.append(number)
        self.nodes = [self.nodes[box] for box in first]
        self.places = [self.places[box] for box in first]
        self.patterns = [self.patterns[box] for box in first]
        self.totals = totals
        self._box_of = [joined[box] for box in self._box_of]
        self._others = {box for key, box in numbers.items() if is_of_others(key)}


def _where_crowded(
    keys: Sequence[Key], places: Sequence[_Place], crowded: Mapping[_Place, int], rows: int
) -> list[Key]:
    """The same keys only for the most numerous groups of crowded places, and all large ones."""
    sizes = Counter(pair for pair in zip(keys, places, strict=True) if pair[1] in crowded)
    left = dict(crowded)
    chosen: set[Key] = set()
    for (key, place), size in sizes.most_common():
        if size > 1 and (size > LIKE_MAX or left[place] > rows):
            chosen.add(key)
            left[place] -= size - 1
    return [key if key in chosen else None for key in keys]


# What tasks have in common: the keys of groups, each with the place that it is in


def _names(boxes: _Boxes) -> list[Key]:
    """A group for names that differ only in digits; where they repeat, one for each name."""
    patterns = _patterns(boxes)
    names: defaultdict[Key, set[str]] = defaultdict(set)
    for node, pattern in zip(boxes.nodes, patterns, strict=True):
        names[pattern].add(name_of(node))
    sizes = Counter(patterns)
    is_numbered = {key: 2 * len(found) > sizes[key] for key, found in names.items()}
    return [
        pattern if is_numbered[pattern] else (name_of(node), pattern)
        for node, pattern in zip(boxes.nodes, patterns, strict=True)
    ]


def _patterns(boxes: _Boxes) -> list[Key]:
    return [
        (OTHERS if node.function == OTHERS else pattern, place)
        for node, pattern, place in zip(boxes.nodes, boxes.patterns, boxes.places, strict=True)
    ]


def _functions(boxes: _Boxes) -> list[Key]:
    return [
        (pattern if place[1] else node.function, place)
        for node, pattern, place in zip(boxes.nodes, boxes.patterns, boxes.places, strict=True)
    ]


def _with_others(boxes: _Boxes, crowded: Mapping[_Place, int], rows: int) -> list[Key]:
    """In crowded places those boxes stay that stand for most, the rest become one.

    Where all stand for as much as the others, none is more worth to be shown.
    """
    sizes: dict[_Place, Counter[int]] = {place: Counter() for place in crowded}
    for box, (node, place) in enumerate(zip(boxes.nodes, boxes.places, strict=True)):
        if place in crowded and node.function != OTHERS:
            sizes[place][box] = boxes.totals[box]
    kept: dict[_Place, set[int]] = {}
    for place, counts in sizes.items():
        least = counts.total() * max(WORTH_SHOWING, 1 / max(1, len(counts)))
        kept[place] = {box for box, size in counts.most_common(rows - 1) if size > least}
    return [
        None
        if place not in kept or box in kept[place]
        else (OTHERS if kept[place] else "all", place)
        for box, place in enumerate(boxes.places)
    ]
