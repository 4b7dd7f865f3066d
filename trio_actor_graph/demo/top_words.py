"""What the demo has found out, for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.progress_bar import ProgressBar
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

SHOWN: Final = 10


def print_top_words(counts: Counter[str], console: Console) -> None:
    """Print the most frequent words, with bars."""
    top = counts.most_common(SHOWN)
    console.print(f"\n[bold]top words[/bold] of {len(counts):,} different ones")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for word, number in top:
        bar = ProgressBar(top[0][1], number, width=30)
        table.add_row(f"  {word}", f"{number:>6,}", *[bar] * console.is_terminal)
    console.print(table)
