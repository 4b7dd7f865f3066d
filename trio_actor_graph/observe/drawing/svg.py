"""A scene as SVG: one file that needs no other, in light or dark as the reader's surroundings are.

Colours stand in one style sheet, without CSS variables: many viewers of SVG files know none. Every
rule begins with the picture's own identifier, so that pictures side by side in one page, as in a
notebook, leave each other and the page alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from trio_actor_graph.observe.drawing.layout import Direction, Point
from trio_actor_graph.observe.drawing.scene import (
    Drawn,
    Label,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
)
from trio_actor_graph.observe.drawing.style import (
    EDGE_DASHES,
    GROUNDS,
    STATE_COLOURS,
    Theme,
)

FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif'

_FIXED_RULES: Final = """\
text { font-family: %s; }
.box { stroke-width: 1.4; }
.group { stroke-width: 1.4; }
.mark { fill: none; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
.edge { fill: none; stroke-width: 1.4; stroke-linecap: round; }
.strong { font-weight: 600; }
.count { paint-order: stroke; stroke-width: 4; stroke-linejoin: round; }"""


def svg_text(scene: Scene, identifier: str = "task-graph", *, is_interactive: bool = False) -> str:
    """The SVG of a scene.

    Args:
        scene: what to draw.
        identifier: of the root element; different for pictures that stand in one page.
        is_interactive: nodes can be reached by the Tab key, for a page that does something then.
    """
    width, height = _number(scene.width), _number(scene.height)
    # A picture hides from screen readers what is in it, a group does not.
    role = "group" if is_interactive else "img"
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" id={quoteattr(identifier)} role="{role}"'
        f' aria-labelledby="{identifier}-title {identifier}-desc"'
        f' width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    )
    parts = [
        root,
        f'<title id="{identifier}-title">{escape(scene.picture.title)}</title>',
        f'<desc id="{identifier}-desc">{escape(scene.picture.summary)}</desc>',
        f"<style>{_style_sheet(identifier)}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        '<g class="edges">',
        *(_drawn(edge, "", False) for edge in scene.edges),
        '</g>\n<g class="nodes">',
        *(_drawn(node, _data(node), is_interactive) for node in scene.nodes),
        '</g>\n<g class="legend">',
        *map(_shape, scene.legend),
        "</g>\n</svg>\n",
    ]
    return "\n".join(parts)


def _data(drawn: Drawn) -> str:
    assert drawn.node is not None
    return f' data-node="{drawn.node.key}" data-state="{drawn.node.state}"'


def _drawn(drawn: Drawn, data: str, is_interactive: bool) -> str:
    if is_interactive:
        label = quoteattr(drawn.tooltip.replace("\n", ", "))
        data += f' tabindex="0" role="button" aria-label={label}'
    shapes = "".join(map(_shape, drawn.shapes))
    return f"<g{data}><title>{escape(drawn.tooltip)}</title>{shapes}</g>"


def _shape(shape: Shape) -> str:
    look = f'class="{shape.look}"'
    match shape:
        case Rectangle(box, _, radius):
            x, y, width, height = map(_number, box)
            corner = f' rx="{_number(radius)}"' if radius else ""
            return f'<rect {look} x="{x}" y="{y}" width="{width}" height="{height}"{corner}/>'
        case Line():
            return f'<path {look} d="{_way(shape.points, shape.direction)}"/>'
        case Polygon(points, _, is_closed):
            name = "polygon" if is_closed else "polyline"
            return f'<{name} {look} points="{" ".join(map(_pair, points))}"/>'
        case Label():
            anchor = f' text-anchor="{shape.anchor}"' if shape.anchor != "start" else ""
            return (
                f'<text {look} x="{_number(shape.x)}" y="{_number(shape.y)}" dy=".35em"'
                f' font-size="{_number(shape.size)}"{anchor}>{escape(shape.text)}</text>'
            )


def _way(points: tuple[Point, ...], direction: Direction) -> str:
    """The points joined by curves that leave and arrive along the direction of work."""
    parts = [f"M{_pair(points[0])}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 == y1 or x0 == x1:
            parts.append(f"L{_pair((x1, y1))}")
        elif direction == "right":
            middle = (x0 + x1) / 2
            parts.append(f"C{_pair((middle, y0))} {_pair((middle, y1))} {_pair((x1, y1))}")
        else:
            middle = (y0 + y1) / 2
            parts.append(f"C{_pair((x0, middle))} {_pair((x1, middle))} {_pair((x1, y1))}")
    return "".join(parts)


def _pair(point: Point) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _style_sheet(identifier: str) -> str:
    fixed = _scoped((_FIXED_RULES % FONT).splitlines(), identifier)
    light = _scoped(_theme_rules("light"), identifier)
    dark = _scoped(_theme_rules("dark"), identifier)
    return f"\n{fixed}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _scoped(rules: Iterable[str], identifier: str) -> str:
    return "\n".join(f"#{identifier} {rule}" for rule in rules)


def _theme_rules(theme: Theme) -> Iterator[str]:
    ground = GROUNDS[theme]
    yield f".paper {{ fill: {ground.paper}; }}"
    yield f".text {{ fill: {ground.text}; }}"
    yield f".strong {{ fill: {ground.text}; }}"
    yield f".dim {{ fill: {ground.dim}; }}"
    yield f".count {{ fill: {ground.dim}; stroke: {ground.paper}; }}"
    yield f".group {{ fill: {ground.paper}; }}"
    yield f".behind {{ fill: {ground.paper}; stroke: {ground.edge}; }}"
    for kind, dashes in EDGE_DASHES.items():
        colour = ground.created if kind == "created" else ground.edge
        dash = f" stroke-dasharray: {' '.join(map(str, dashes))};" if dashes else ""
        yield f".edge.{kind} {{ stroke: {colour};{dash} }}"
        yield f".head.{kind} {{ fill: {colour}; }}"
    for state, themes in STATE_COLOURS.items():
        fill, line = themes[theme]
        yield f".box.{state} {{ fill: {fill}; stroke: {line}; }}"
        yield f".group.{state} {{ stroke: {line}; }}"
        yield f".mark.{state} {{ stroke: {line}; }}"
        yield f".solid.{state} {{ fill: {line}; }}"
        yield f".bar.{state} {{ fill: {line}; }}"
