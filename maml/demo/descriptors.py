"""What the app does when it may open no more files and connections."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

if sys.platform != "win32":
    import resource

_log = logging.getLogger(__name__)

_RESERVE = 10
"""Descriptors that are left for files while requests are refused."""
_LINE_SECONDS = 60.0


def are_short() -> bool:
    """Whether so few descriptors are left that a new request has to be refused."""
    if sys.platform == "win32":
        return False
    try:
        # The system gives out the lowest number that is free.
        probe = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    os.close(probe)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most != resource.RLIM_INFINITY and probe >= most - _RESERVE


class QuietHandler:
    """Says once a minute that connections cannot be accepted; all else is logged as it was.

    For an event loop's `set_exception_handler`.  The loop itself says it with a traceback for each
    connection that waits, thousands of times a second.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = -_LINE_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif self._clock() - self._said >= _LINE_SECONDS:
            self._said = self._clock()
            _log.warning("No more connections can be accepted: %s (ulimit -n).", error.strerror)
