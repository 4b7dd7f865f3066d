"""What the extras of this package hold, for those who find one missing.

Both are named, the extra and its packages: pip cannot resolve the former, because of tractor's
metadata. Nor is a plain line for pip told here: trio 0.23 wants an older anyio beside it.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Extra: TypeAlias = Literal["web", "client", "draw"]

EXTRAS: Final[dict[Extra, tuple[str, ...]]] = {
    "web": ("hypercorn", "starlette"),
    "client": ("httpx",),
    "draw": ("igraph", "pillow"),
}
"""The packages of each extra; pyproject.toml says from which versions on."""


def missing_extra(what: str, extra: Extra, error: ImportError) -> str:
    """What to tell whoever lacks an extra.

    Args:
        what: what needs it, with its verb: "serving needs".
        error: what was raised by importing it.
    """
    return (
        f"{what} {' and '.join(EXTRAS[extra])}, the extra {extra!r} ({error}): "
        f"uv add trio-actor-graph --extra {extra}; the README has the line for pip"
    )
