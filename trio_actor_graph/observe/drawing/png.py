"""A scene as pixels, by Pillow and with the font that it brings.

That font has hardly more than ASCII, so a text with other letters is drawn with one of the system's
fonts where there is one; what that one lacks becomes empty boxes, as it does everywhere else.

It is drawn larger than it will be and then made smaller, which is what makes its lines smooth.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from trio_actor_graph.observe.drawing.layout import Direction, Point
from trio_actor_graph.observe.drawing.picture import EdgeKind, NodeState
from trio_actor_graph.observe.drawing.scene import (
    Label,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
)
from trio_actor_graph.observe.drawing.style import EDGE_DASHES, GROUNDS, STATE_COLOURS

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

SCALE: Final = 2.0
"""Pixels of the image for each of the scene: as screens of today show them."""

OVERSAMPLING: Final = 2
"""How many times larger it is drawn than it will be."""

PIXELS_MAX: Final = 25_000_000
"""How many pixels an image has at most: what is larger is drawn at a smaller scale. Four times as
many are in memory while it is drawn, 300 MB."""

FONTS: Final = (
    *("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf"),
    *("LiberationSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf"),
)
"""System fonts for texts with more than ASCII, the one with the most letters first."""

_CURVE_STEPS: Final = 24
_NOT_IN_FONT: Final = str.maketrans({"×": "x", "…": ".."})
_GROUND: Final = GROUNDS["light"]


def png_bytes(scene: Scene) -> bytes:
    """The PNG of a scene, in light colours."""
    from PIL import Image, ImageDraw

    scale = min(SCALE, math.sqrt(PIXELS_MAX / (scene.width * scene.height)))
    size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
    large = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    image = Image.new("RGB", large, _GROUND.paper)
    pen = _Pen(ImageDraw.Draw(image), scale * OVERSAMPLING)
    for drawn in (*scene.edges, *scene.nodes):
        for shape in drawn.shapes:
            pen.draw(shape)
    for shape in scene.legend:
        pen.draw(shape)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BOX).save(file, "PNG", optimize=False)
    return file.getvalue()


class _Pen:
    """Draws shapes at a scale."""

    def __init__(self, draw: ImageDraw.ImageDraw, scale: float):
        self._draw = draw
        self._scale = scale

    def draw(self, shape: Shape) -> None:
        kind, _, name = shape.look.partition(" ")
        match shape:
            case Rectangle():
                self._rectangle(shape, kind, name)
            case Line():
                colour = _edge_colour(name)
                points = self._scaled(_curve(shape.points, shape.direction))
                dashes = [length * self._scale for length in EDGE_DASHES[_edge_kind(name)]]
                for part in _dashed(points, dashes):
                    self._stroke(part, colour, 1.4)
            case Polygon():
                self._polygon(shape, kind, name)
            case Label():
                self._label(shape, kind)

    def _rectangle(self, shape: Rectangle, kind: str, name: str) -> None:
        box = shape.box
        corners = self._scaled([(box.x, box.y), (box.x + box.width, box.y + box.height)])
        fill, outline, width = _box_colours(kind, name)
        self._draw.rounded_rectangle(
            (*corners[0], *corners[1]),
            radius=shape.radius * self._scale,
            fill=fill,
            outline=outline,
            width=max(1, round(width * self._scale)) if outline else 0,
        )

    def _polygon(self, shape: Polygon, kind: str, name: str) -> None:
        points = self._scaled(shape.points)
        if kind == "head":
            self._draw.polygon(points, fill=_edge_colour(name))
        elif kind == "solid":
            self._draw.polygon(points, fill=_state_line(name))
        else:
            ends = points[:1] if shape.is_closed else []
            self._stroke([*points, *ends], _state_line(name), 1.8)

    def _stroke(self, points: Sequence[Point], colour: str, width: float) -> None:
        pixels = max(1, round(width * self._scale))
        self._draw.line(list(points), fill=colour, width=pixels, joint="curve")

    def _label(self, shape: Label, kind: str) -> None:
        text = shape.text.translate(_NOT_IN_FONT)
        font = _font(round(shape.size * self._scale, 1), text.isascii())
        anchor = {"start": "lm", "middle": "mm", "end": "rm"}[shape.anchor]
        is_bold, is_count = kind == "strong", kind == "count"
        colour = _GROUND.dim if kind in ("dim", "count") else _GROUND.text
        stroke = 2 * self._scale if is_count else 0.25 * self._scale if is_bold else 0
        self._draw.text(
            (shape.x * self._scale, shape.y * self._scale),
            text,
            fill=colour,
            font=font,
            anchor=anchor,
            stroke_width=round(stroke),
            stroke_fill=_GROUND.paper if is_count else colour,
        )

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self._scale, y * self._scale) for x, y in points]


@lru_cache(maxsize=32)
def _font(size: float, is_plain: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    for name in () if is_plain else FONTS:
        with suppress(OSError):  # there is no such font here
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _box_colours(kind: str, name: str) -> tuple[str, str | None, float]:
    if name == "behind":
        return _GROUND.paper, _GROUND.edge, 1.4
    if kind == "bar":
        return _state_line(name), None, 0
    fill, line = STATE_COLOURS[_state(name)]["light"]
    return (_GROUND.paper if kind == "group" else fill), line, 1.4


def _state_line(name: str) -> str:
    return STATE_COLOURS[_state(name)]["light"].line


def _state(name: str) -> NodeState:
    return next(state for state in STATE_COLOURS if state == name)


def _edge_kind(name: str) -> EdgeKind:
    return next(kind for kind in EDGE_DASHES if kind == name)


def _edge_colour(name: str) -> str:
    return _GROUND.created if name == "created" else _GROUND.edge


def _curve(points: Sequence[Point], direction: Direction) -> list[Point]:
    """The way of a line as many short straight ones; the same curves as in an SVG."""
    way = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = 1 if x0 == x1 or y0 == y1 else _CURVE_STEPS
        for step in range(1, steps + 1):
            t = step / steps
            even = 1.5 * t * (1 - t) + t**3  # along: control points in the middle
            eased = t * t * (3 - 2 * t)  # across
            if steps == 1:
                way.append((x1, y1))
            elif direction == "right":
                way.append((x0 + (x1 - x0) * even, y0 + (y1 - y0) * eased))
            else:
                way.append((x0 + (x1 - x0) * eased, y0 + (y1 - y0) * even))
    return way


def _dashed(points: Sequence[Point], dashes: Sequence[float]) -> Iterator[list[Point]]:
    """The parts of a way that are drawn: lengths of line and gap take turns."""
    if not dashes:
        yield list(points)
        return
    number, left, part = 0, dashes[0], [points[0]]
    for start, end in pairwise(points):
        (x0, y0), (x1, y1) = start, end
        length = math.dist(start, end)
        at = 0.0
        while length - at > left:
            at += left
            point = (x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length)
            if number % 2 == 0:
                yield [*part, point]
            number = (number + 1) % len(dashes)
            left, part = dashes[number], [point]
        left -= length - at
        part.append(end)
    if number % 2 == 0 and len(part) > 1:
        yield part
