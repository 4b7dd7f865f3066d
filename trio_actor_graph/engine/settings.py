"""What tractor changes in the whole process, kept and put back.

It sets up logging, replaces `breakpoint()`, and its release 0.1.0a5 extends `sys.path` and warns
of deprecations at import and on its error paths. A program that uses us has settings of its own, so
each context here ends with them as they were, and undoes no more than its own: what others changed
meanwhile stays.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

IMPORT_NOISE: Final = ("trio.MultiError", "MultiError", "XDG_RUNTIME_DIR")
"""Starts of the messages that tractor's two versions provoke at import: uses of trio.MultiError,
and the lack of a folder. In children they would appear on stderr once per worker."""

_SILENT: Final = logging.CRITICAL + 1


@contextlib.contextmanager
def import_noise_ignored() -> Generator[None]:
    """For the import of tractor."""
    with warnings.catch_warnings():
        for message in IMPORT_NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextlib.contextmanager
def logger_silenced() -> Generator[None]:
    """Keeps tractor's logger from writing, unless the program has set its level.

    It would log a page at ERROR for each exception in an actor, and a line at CRITICAL for each
    actor killed: both are our business, and reported by us.
    """
    logger = logging.getLogger("tractor")
    nothing = logging.NullHandler()  # with no handler at all, logging writes to stderr by itself
    logger.addHandler(nothing)
    if is_ours := logger.level == logging.NOTSET:
        logger.setLevel(_SILENT)
    try:
        yield
    finally:
        logger.removeHandler(nothing)
        if is_ours and logger.level == _SILENT:
            logger.setLevel(logging.NOTSET)


@contextlib.contextmanager
def settings_kept() -> Generator[None]:
    """Undoes what opening the runtime does to logging, to `breakpoint()` and to `sys.path`."""
    path = list(sys.path)
    logger = logging.getLogger("tractor")
    level, handlers = logger.level, list(logger.handlers)
    hook, breakpoint_variable = sys.breakpointhook, os.environ.get("PYTHONBREAKPOINT")
    try:
        yield
    finally:
        # 0.1.0a5 adds its own folder, in which `msg`, `log` and others would then be found.
        for entry in [e for e in sys.path if e not in path and Path(e).name == "tractor"]:
            sys.path.remove(entry)
        logger.setLevel(level)
        for handler in [handler for handler in logger.handlers if handler not in handlers]:
            logger.removeHandler(handler)
        sys.breakpointhook = hook
        os.environ.pop("PYTHONBREAKPOINT", None)
        if breakpoint_variable is not None:
            os.environ["PYTHONBREAKPOINT"] = breakpoint_variable


@contextlib.contextmanager
def deprecations_ignored() -> Generator[None]:
    """Keeps the error paths of 0.1.0a5, which use trio.MultiError, from warning or failing."""
    filters: Any = warnings.filters
    before = list(filters)
    warnings.filterwarnings("ignore", message=r"trio\.MultiError", module=r"tractor\.|trio\._abc")
    ours = filters[0]
    try:
        yield
    finally:
        # Not the whole list, which others may have changed meanwhile.
        filters = warnings.filters  # `catch_warnings` puts a copy in its place
        if ours not in before and ours in filters:
            filters.remove(ours)
