"""Telling by `logging` that something has gone wrong beside the run, without risk for the run.

What is told goes through the app's handlers, and those may raise: a full disk, a bug. `logging`
itself contains what `Handler.emit` reports by `handleError`, and lets everything else through.
"""

from __future__ import annotations

import logging
import sys
import traceback


def complain(
    logger_name: str, level: int, message: str, *args: object, exc_info: bool = False
) -> None:
    """Log something; whatever a handler raises ends here.

    Args:
        logger_name: the logger's.
        level: as for `logging.Logger.log`, and so are the following.
        message: the text, with places for `args`.
        args: what is put there.
        exc_info: with the exception that is just being handled.
    """
    try:
        logging.getLogger(logger_name).log(level, message, *args, exc_info=exc_info)
    except (Exception, SystemExit):
        if logging.raiseExceptions and sys.stderr is not None:
            traceback.print_exc()
