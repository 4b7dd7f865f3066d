"""Pictures of a graph: what is in it, folded where it is too much, laid out, and written.

    records -> Picture (`seeing`) -> smaller (`folding`) -> Scene (`layout`, `scene`) -> text

`.dot` and `.mmd` are written from the picture and need nothing more. For the others igraph lays
out, and Pillow writes `.png`: the extra ``draw``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from trio_actor_graph.errors import GraphError
from trio_actor_graph.extras import missing_extra
from trio_actor_graph.graph.records import GraphRecord
from trio_actor_graph.observe.drawing.dot import dot_text
from trio_actor_graph.observe.drawing.folding import NODES_MAX, fold
from trio_actor_graph.observe.drawing.html import html_text
from trio_actor_graph.observe.drawing.layout import Direction
from trio_actor_graph.observe.drawing.mermaid import mermaid_text
from trio_actor_graph.observe.drawing.picture import NAME_CHARACTERS_MAX, clean
from trio_actor_graph.observe.drawing.png import png_bytes
from trio_actor_graph.observe.drawing.scene import Scene, scene_of
from trio_actor_graph.observe.drawing.seeing import picture_of
from trio_actor_graph.observe.drawing.svg import svg_text
from trio_actor_graph.observe.files import write_whole

__all__ = [
    "DIRECTIONS",
    "FORMATS",
    "NODES_MAX",
    "Direction",
    "draw",
    "render",
    "render_counts",
    "render_svg",
]

DIRECTIONS: Final[tuple[Direction, ...]] = ("right", "down")


def draw(
    graph: GraphRecord,
    path: str | os.PathLike[str],
    *,
    nodes_max: int = NODES_MAX,
    direction: Direction = "right",
) -> None:
    """Write a picture of a graph as it is now to a file, which is there whole or not at all.

    Args:
        graph: its record.
        path: a file; the suffix says in which of the `FORMATS`.
        nodes_max: see `render`.
        direction: see `render`.

    Raises:
        GraphError: another suffix, wrong options, or a library that is missing.
        OSError: the file cannot be written.
    """
    target = Path(path)
    write_whole(target, render(graph, target.suffix, nodes_max=nodes_max, direction=direction))


def render(
    graph: GraphRecord,
    suffix: str,
    *,
    nodes_max: int = NODES_MAX,
    direction: Direction = "right",
) -> bytes:
    """A picture of a graph as it is now, as the content of a file.

    Args:
        graph: its record.
        suffix: one of `FORMATS`, such as ".svg".
        nodes_max: above so many nodes tasks of one type and stage are folded together.
        direction: where work goes, "right" or "down".

    Raises:
        GraphError: another suffix, wrong options, or a library that is missing.
    """
    writer = _WRITERS.get(suffix.lower())
    if writer is None:
        known = ", ".join(FORMATS)
        raise GraphError(f"a picture is one of {known}, not {suffix or 'a file without a suffix'}")
    _check_options(nodes_max, direction)
    try:
        return writer(graph, nodes_max, direction)
    except ModuleNotFoundError as error:
        raise GraphError(
            missing_extra(f"a {suffix} picture needs", "draw", error)
            + "; .dot and .mmd need nothing"
        ) from error


def render_svg(
    graph: GraphRecord,
    *,
    nodes_max: int = NODES_MAX,
    direction: Direction = "right",
    identifier: str = "task-graph",
) -> str:
    """A picture of a graph as it is now as SVG, to stand in a page or in a file.

    Args:
        graph: its record.
        nodes_max: see `render`.
        direction: see `render`.
        identifier: of the root element: letters, digits and hyphens. Pictures in one page need
            different ones.

    Raises:
        ModuleNotFoundError: igraph is missing.
    """
    _check_options(nodes_max, direction)
    return svg_text(_scene(graph, nodes_max, direction), identifier)


def render_counts(graph: GraphRecord) -> str:
    """A small HTML table of how many tasks are in each state: where nothing can be laid out."""
    from html import escape

    rows = "".join(
        f"<tr><td>{state}</td><td>{number:,}</td></tr>"
        for state, number in graph.counts.items()
        if number
    )
    name = escape(clean(graph.name, NAME_CHARACTERS_MAX))
    return f"<table><caption>{name}: {len(graph.tasks):,} tasks</caption>{rows}</table>"


def _check_options(nodes_max: int, direction: str) -> None:
    if isinstance(nodes_max, bool) or not isinstance(nodes_max, int) or nodes_max < NODES_MIN:
        raise GraphError(f"nodes_max must be an integer from {NODES_MIN}, not {nodes_max!r}")
    if direction not in DIRECTIONS:
        raise GraphError(f"direction must be 'right' or 'down', not {direction!r}")


NODES_MIN: Final = 10
"""The fewest nodes a picture may be folded to; fewer would not show a shape."""


def _scene(graph: GraphRecord, nodes_max: int, direction: Direction) -> Scene:
    return scene_of(fold(picture_of(graph), nodes_max, direction), direction)


def _svg(graph: GraphRecord, nodes_max: int, direction: Direction) -> bytes:
    return svg_text(_scene(graph, nodes_max, direction)).encode()


def _png(graph: GraphRecord, nodes_max: int, direction: Direction) -> bytes:
    return png_bytes(_scene(graph, nodes_max, direction))


def _html(graph: GraphRecord, nodes_max: int, direction: Direction) -> bytes:
    return html_text(_scene(graph, nodes_max, direction)).encode()


def _dot(graph: GraphRecord, nodes_max: int, direction: Direction) -> bytes:
    return dot_text(fold(picture_of(graph), nodes_max, direction), direction).encode()


def _mermaid(graph: GraphRecord, nodes_max: int, direction: Direction) -> bytes:
    return mermaid_text(fold(picture_of(graph), nodes_max, direction), direction).encode()


_WRITERS: Final[dict[str, Callable[[GraphRecord, int, Direction], bytes]]] = {
    ".svg": _svg,
    ".png": _png,
    ".html": _html,
    ".dot": _dot,
    ".mmd": _mermaid,
}

FORMATS: Final = tuple(_WRITERS)
"""The suffixes of pictures."""
