"""The files that `trio-actor-graph run` writes about a graph when it has ended."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trio_actor_graph.command_line.target import BadArguments

if TYPE_CHECKING:
    from trio_actor_graph.handles import TaskGraph


def picture_option(text: str) -> Path:
    """Read a `--draw`; for argparse."""
    from trio_actor_graph.observe.drawing import FORMATS

    return _path(text, FORMATS)


def trace_option(text: str) -> Path:
    """Read a `--trace`; for argparse."""
    return _path(text, (".json", ".json.gz"))


def write_files(graph: TaskGraph, picture: Path | None, trace: Path | None) -> None:
    """Draw a graph, and write its trace, where that is asked for.

    Raises:
        BadArguments: one of them cannot be written; the other is, if it can.
    """
    from trio_actor_graph.errors import GraphError

    writers: list[tuple[Path | None, Callable[[Path], None]]] = [
        (picture, graph.draw),
        (trace, graph.trace),
    ]
    refusals = []
    for path, write in writers:
        if path is not None:
            try:
                write(path)
            except (OSError, GraphError) as error:
                refusals.append(f"{path} cannot be written: {error}")
    if refusals:
        raise BadArguments("; ".join(refusals))


def _path(text: str, suffixes: tuple[str, ...]) -> Path:
    """A file of one of these kinds in a folder that there is.

    It is seen before anything runs: after an hour's run it would be too late to say.
    """
    path = Path(text)
    name = path.name.lower()
    if not name.endswith(suffixes) or name in suffixes:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {' or '.join(suffixes)} file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: there is no folder {str(path.parent)!r}")
    return path
