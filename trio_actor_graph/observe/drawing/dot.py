"""A picture in Graphviz's language, for those who lay it out themselves. It needs no igraph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from trio_actor_graph.observe.drawing.layout import Direction
from trio_actor_graph.observe.drawing.picture import EdgeKind, Node, NodeState, Picture
from trio_actor_graph.observe.drawing.scene import tooltip
from trio_actor_graph.observe.drawing.style import GROUNDS, MARKS, STATE_COLOURS, short

_EDGE_STYLES: Final[dict[EdgeKind, str]] = {
    "succeeded": "solid",
    "completed": "dashed",
    "created": "dotted",
    "returned": "bold",
}


def dot_text(picture: Picture, direction: Direction) -> str:
    """The picture as a digraph in DOT."""
    return "\n".join(_lines(picture, direction)) + "\n"


def _lines(picture: Picture, direction: Direction) -> Iterator[str]:
    ground = GROUNDS["light"]
    yield "digraph task_graph {"
    yield f"  graph [rankdir={'LR' if direction == 'right' else 'TB'}, labelloc=t,"
    yield f"         label={_quoted(picture.summary)}, fontname=Helvetica];"
    yield '  node [shape=box, style="rounded,filled", fontname=Helvetica, fontsize=11];'
    yield f'  edge [color="{ground.edge}", fontname=Helvetica, fontsize=9, arrowsize=0.7];'
    for node in picture.nodes:
        fill, line = STATE_COLOURS[node.state]["light"]
        shape = ", shape=hexagon" if node.is_condition else ""
        double = ", peripheries=2" if node.members else ""
        yield (
            f"  {node.key} [label={_quoted(text_label(node))}, tooltip={_quoted(tooltip(node))},"
            f' fillcolor="{fill}", color="{line}"{shape}{double}];'
        )
    for edge in picture.edges:
        label = f', label="×{edge.number:,}"' if edge.number > 1 else ""
        yield f"  {edge.source} -> {edge.target} [style={_EDGE_STYLES[edge.kind]}{label}];"
    yield "}"


def text_label(node: Node) -> str:
    """What a box says where it is nothing but text: two lines for a group, one for the rest."""
    name = short(node.label)
    if node.kind == "task":
        return f"{MARKS[node.state]} {name} #{node.uid}"
    if not node.members:
        return f"{MARKS[node.state]} {name}"
    return f"{name} ×{node.total:,}\n{_tallies(node.counts)}"


def _tallies(counts: Mapping[NodeState, int]) -> str:
    return "  ".join(f"{MARKS[state]} {number:,}" for state, number in counts.items())


def _quoted(text: str) -> str:
    """A string of DOT. In a label a backslash begins an escape, so it is doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
