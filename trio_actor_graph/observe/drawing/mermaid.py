"""A picture as a Mermaid flowchart, which code forges and many editors show by themselves.

Mermaid by default refuses more than 500 edges or 50,000 characters; a picture of the usual size is
within both. It needs no igraph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_actor_graph.observe.drawing.dot import text_label
from trio_actor_graph.observe.drawing.layout import Direction
from trio_actor_graph.observe.drawing.picture import EdgeKind, Node, Picture
from trio_actor_graph.observe.drawing.style import GROUNDS, STATE_COLOURS

_ARROWS: Final[dict[EdgeKind, str]] = {
    "succeeded": "-->",
    "completed": "-.->",
    "created": "-.-o",
    "returned": "==>",
}

_SAFE: Final = frozenset(" .,:_-+=/×…○◉▶✓✗»⊘⊖")


def mermaid_text(picture: Picture, direction: Direction) -> str:
    """The picture as a flowchart of Mermaid."""
    return "\n".join(_lines(picture, direction)) + "\n"


def _lines(picture: Picture, direction: Direction) -> Iterator[str]:
    yield f"flowchart {'LR' if direction == 'right' else 'TB'}"
    yield f"  accTitle: {_quoted(picture.title)}"
    yield f"  accDescr: {_quoted(picture.summary)}"
    for node in picture.nodes:
        yield f"  {node.key}{_box(node)}:::{node.state}"
    for edge in picture.edges:
        label = f'|"×{edge.number:,}"|' if edge.number > 1 else ""
        yield f"  {edge.source} {_ARROWS[edge.kind]}{label} {edge.target}"
    text = GROUNDS["light"].text  # boxes are light, also where the page is dark
    present = {node.state for node in picture.nodes}
    for state, themes in STATE_COLOURS.items():
        if state not in present:
            continue
        fill, line = themes["light"]
        yield f"  classDef {state} fill:{fill},stroke:{line},color:{text}"


def _box(node: Node) -> str:
    text = "<br/>".join(map(_quoted, text_label(node).split("\n")))
    if node.is_condition:
        return f'{{{{"{text}"}}}}'
    return f'[["{text}"]]' if node.members else f'["{text}"]'


def _quoted(text: str) -> str:
    """A text in which nothing is taken for Mermaid, Markdown or HTML: the rest by its number."""
    return "".join(c if c.isalnum() or c in _SAFE else f"#{ord(c)};" for c in text)
