"""How things look: colours for light and dark, symbols, sizes of texts. The writers share it.

A state is told three times: by colour, by a symbol drawn as lines (no font is needed for it), and
in words in the legend and in tooltips.
"""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from trio_actor_graph.observe.drawing.picture import EdgeKind, NodeState, Run

Theme: TypeAlias = Literal["light", "dark"]
Points: TypeAlias = tuple[tuple[float, float], ...]


class Colours(NamedTuple):
    """Of one state in one theme: the fill of its boxes, and lines, symbols and bars."""

    fill: str
    line: str


class Ground(NamedTuple):
    """Of one theme: what is not about states."""

    paper: str
    text: str
    dim: str
    edge: str
    created: str


GROUNDS: Final[dict[Theme, Ground]] = {
    "light": Ground("#ffffff", "#1f2328", "#59636e", "#7d8590", "#a3abb5"),
    "dark": Ground("#0d1117", "#e6edf3", "#9aa4af", "#7d8590", "#59616b"),
}

_GREEN: Final[dict[Theme, Colours]] = {
    "light": Colours("#dff6e3", "#1a7f37"),
    "dark": Colours("#12321c", "#3fb950"),
}
_PURPLE: Final[dict[Theme, Colours]] = {
    "light": Colours("#f1e8fd", "#8250df"),
    "dark": Colours("#2c1f47", "#b083f0"),
}

STATE_COLOURS: Final[dict[NodeState, dict[Theme, Colours]]] = {
    "waiting": {"light": Colours("#f2f4f6", "#6e7781"), "dark": Colours("#21262d", "#8b949e")},
    "ready": {"light": Colours("#fff4cf", "#9a6700"), "dark": Colours("#372a0c", "#d29922")},
    "running": {"light": Colours("#ddecff", "#0969da"), "dark": Colours("#10284a", "#58a6ff")},
    "succeeded": _GREEN,
    "failed": {"light": Colours("#ffe3e1", "#cf222e"), "dark": Colours("#4a1a1c", "#ff7b72")},
    "skipped": _PURPLE,
    "cancelled": {"light": Colours("#fcebdd", "#bc4c00"), "dark": Colours("#3d2213", "#db8a4a")},
    "open": _GREEN,
    "shut": _PURPLE,
}

EDGE_DASHES: Final[dict[EdgeKind, tuple[float, ...]]] = {
    "succeeded": (),
    "completed": (6, 4),
    "created": (1.5, 4),
    "returned": (12, 3, 2, 3),
}

EDGE_WORDS: Final[dict[EdgeKind, str]] = {
    "succeeded": "must succeed",
    "completed": "must end",
    "created": "created",
    "returned": "ends as",
}

LABEL_CHARACTERS_MAX: Final = 30
"""How much of a name a box shows; the rest is in its tooltip. Boxes of one stage share a column,
which is as wide as the widest of them."""


class Stroke(NamedTuple):
    """A part of a symbol, in a square from -1 to 1; y grows downwards."""

    points: Points
    is_closed: bool = False
    is_filled: bool = False


def _circle(radius: float, is_filled: bool = False) -> Stroke:
    corners = 20
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    points = tuple(
        (round(radius * math.cos(turn), 3), round(radius * math.sin(turn), 3)) for turn in turns
    )
    return Stroke(points, True, is_filled)


_CHECK: Final = (Stroke(((-0.9, 0.1), (-0.25, 0.75), (0.95, -0.7))),)
_CHEVRONS: Final = (
    Stroke(((-0.8, -0.75), (-0.05, 0), (-0.8, 0.75))),
    Stroke(((0.05, -0.75), (0.8, 0), (0.05, 0.75))),
)

SYMBOLS: Final[dict[NodeState, tuple[Stroke, ...]]] = {
    "waiting": (_circle(0.75),),
    "ready": (_circle(0.8), _circle(0.35, is_filled=True)),
    "running": (Stroke(((-0.65, -0.85), (0.9, 0), (-0.65, 0.85)), True, True),),
    "succeeded": _CHECK,
    "failed": (Stroke(((-0.75, -0.75), (0.75, 0.75))), Stroke(((-0.75, 0.75), (0.75, -0.75)))),
    "skipped": _CHEVRONS,
    "cancelled": (_circle(0.85), Stroke(((-0.6, 0.6), (0.6, -0.6)))),
    "open": _CHECK,
    "shut": (_circle(0.85), Stroke(((-0.5, 0), (0.5, 0)))),
}

MARKS: Final[dict[NodeState, str]] = {
    "waiting": "○",
    "ready": "◉",
    "running": "▶",
    "succeeded": "✓",
    "failed": "✗",
    "skipped": "»",
    "cancelled": "⊘",
    "open": "✓",
    "shut": "⊖",
}
"""The symbols as characters, for formats that hold only text."""


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """About how wide a text is at most in a usual sans-serif font, such as the wide DejaVu Sans."""
    return size * sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if character in "iljtfrI.,:;'|!()[] ":
        return 0.4
    if character in "mwMW@%—…":
        return 1.0
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.74 if character.isupper() else 0.64


def short(text: str, characters_max: int = LABEL_CHARACTERS_MAX) -> str:
    """The beginning of a text, and its end where numbers tell the likes of it apart."""
    if len(text) <= characters_max:
        return text
    tail = characters_max // 3
    return f"{text[: characters_max - tail - 1]}…{text[-tail:]}"


def seconds_text(seconds: float) -> str:
    """A duration for people."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms" if seconds >= 0.001 else f"{1e6 * seconds:.0f} µs"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def run_text(run: Run) -> str:
    """How a task went, in a few words."""
    parts = [f"attempt {run.attempts}"] if run.attempts > 1 else []
    if run.seconds is not None:
        parts.append(seconds_text(run.seconds))
    if run.worker:
        parts.append(f"in {run.worker}")
    return ", ".join(parts)
