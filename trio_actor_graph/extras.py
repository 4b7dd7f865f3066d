"""What the extras of this package hold, for those who find one missing.

Both are named, the extra and its packages: which of them can be installed as they stand depends on
how this package itself was, see "Install it" in the README.
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
    packages = EXTRAS[extra]
    return (
        f"{what} {' and '.join(packages)}, the extra {extra!r}: pip install {' '.join(packages)}, "
        f"or with uv add --extra {extra} what was added ({error})"
    )
