"""Serves the app until it is told to stop."""

from __future__ import annotations

import gc
import logging
import signal
import threading
from typing import Any

from maml.demo import SketchpadApp

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(demo: SketchpadApp) -> None:
    """Launch the app; return when SIGTERM or SIGINT has come and everything has ended.

    Raises:
        OSError: if no port is free.
    """
    told = threading.Event()

    def stop(number: int, frame: Any) -> None:
        told.set()

    for number in _SIGNALS:
        signal.signal(number, stop)
    try:
        demo.launch(prevent_thread_lock=True)
        # What is there now stays.  A collection that walked through it would stop everybody for
        # tenths of a second.
        gc.collect()
        gc.freeze()
        # In short waits: some systems look for signals only between them.
        while not told.wait(0.2):
            pass
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # connections are cut off
        if demo.server is not None:
            # Pages keep a connection open for as long as they are: nobody waits for them.
            demo.server.should_exit = demo.server.force_exit = True
        demo.end()
