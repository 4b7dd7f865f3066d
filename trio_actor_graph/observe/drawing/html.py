"""A scene as one HTML file: it can be moved and scaled, and each box opens to what is in it.

The file loads nothing: style, program and data stand in it, and its content policy forbids all
else. So it works from a disk, in a mail or as an artifact of a build. Names and errors reach the
page as text of a JSON block only.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Any, Final

import msgspec

from trio_actor_graph.observe.drawing.picture import Node, NodeState
from trio_actor_graph.observe.drawing.scene import Scene, tooltip
from trio_actor_graph.observe.drawing.style import MARKS
from trio_actor_graph.observe.drawing.svg import svg_text

MEMBERS_MAX: Final = 5_000
"""How many tasks of folded groups a page holds in all: about 1 MB, which a browser opens at once.
Those that failed or run come first; how many are left out is told."""

_URGENT: Final[dict[NodeState, int]] = {"failed": 0, "running": 1, "ready": 2}

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{summary} Open a box for what is in it; drag, scroll, or press + &minus; 0 and the arrows.</p>
<div role="group" aria-label="View">
<button id="closer" aria-label="Zoom in">+</button>
<button id="further" aria-label="Zoom out">&minus;</button>
<button id="all">Show all</button>
</div>
</header>
<main>
<div id="view">
{picture}</div>
<aside id="panel" aria-labelledby="opened" hidden>
<div class="head"><h2 id="opened"></h2><button class="close">Close</button></div>
<p class="about"></p>
<div class="search">
<input type="search" aria-label="Search these tasks" placeholder="Search">
<select aria-label="State"></select>
<span id="found" role="status"></span>
</div>
<div class="rows"><table><thead></thead><tbody></tbody></table>
<button id="more" hidden></button></div>
</aside>
</main>
<script type="application/json" id="data">{data}</script>
<script>
{program}</script>
</body>
</html>
"""


def html_text(scene: Scene) -> str:
    """The page of a scene."""
    picture = scene.picture
    package = files("trio_actor_graph.observe.drawing")
    return _PAGE.format(
        title=escape(picture.title),
        summary=escape(picture.summary),
        style=(package / "page.css").read_text("utf-8"),
        picture=svg_text(scene, is_interactive=True),
        data=_json({"marks": MARKS, "nodes": _nodes(picture.nodes)}),
        program=(package / "page.js").read_text("utf-8"),
    )


def _nodes(nodes: tuple[Node, ...]) -> dict[str, dict[str, Any]]:
    shares = _shares({node.key: len(node.members) for node in nodes if node.members})
    return {node.key: _node(node, shares.get(node.key, 0)) for node in nodes}


def _node(node: Node, share: int) -> dict[str, Any]:
    title, _, about = tooltip(node).partition("\n")
    # A stable sort: within a state they stay in the order of creation.
    members = sorted(node.members, key=lambda member: _URGENT.get(member.state, 3))
    left_out = len(members) - share
    if left_out > 0:
        about += f"\n{left_out:,} of them are not listed here: a page holds {MEMBERS_MAX:,} tasks."
    return {"title": title, "about": about, "members": [_row(m) for m in members[:share]]}


def _row(member: Node) -> list[object]:
    run = member.run
    seconds = None if run.seconds is None else round(run.seconds, 6)
    return [member.uid, member.label, member.state, seconds, run.worker, run.error]


def _shares(sizes: dict[str, int], most: int = MEMBERS_MAX) -> dict[str, int]:
    """How many members of each group are listed: small groups are whole, large ones share."""
    shares: dict[str, int] = {}
    for number, (key, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        shares[key] = min(size, most // (len(sizes) - number))
        most -= shares[key]
    return shares


def _json(value: object) -> str:
    """JSON that can stand in a script element: nothing in it ends the element."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
