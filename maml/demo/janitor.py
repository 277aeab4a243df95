"""Clears away what nobody has used for long: visitors' caches, Gradio's sessions and files, and
memory that is free but still the process's.

Gradio ends a session an hour after its page's heartbeat has stopped.  The heartbeat is a connection
that stays open for as long as a page does, a browser has six for each site, and one short break
marks a session for its end although its page speaks on.  So pages have no heartbeat here, and a
session ends when it has not been used for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from maml.demo.descriptors import QuietHandler
from maml.sessions.memory import VisitorMemory

_log = logging.getLogger(__name__)

_EVERY_SECONDS = 30.0
_SESSION_HOURS = 3.0
_MOST_SESSIONS = 1000
_MOST_FILES = 200_000_000
"""Bytes of figures, tables and checkpoints that were handed out and lie in Gradio's folder."""


class Janitor:
    """Clears away every half minute while the app is served.

    Args:
        demo: whose sessions are watched.
        memory: of visitors to the Draw tab.
        hours: how long a session may be idle.
        most_sessions: how many are kept.
        most_files: bytes of Gradio's folder.
    """

    def __init__(
        self,
        demo: gr.Blocks,
        memory: VisitorMemory,
        *,
        hours: float = _SESSION_HOURS,
        most_sessions: int = _MOST_SESSIONS,
        most_files: int = _MOST_FILES,
    ) -> None:
        self._demo = demo
        self._memory = memory
        self._idle = datetime.timedelta(hours=hours)
        self._most_sessions = most_sessions
        self._most_files = most_files

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Work while the app is served; for its `lifespan`."""
        asyncio.get_running_loop().set_exception_handler(QuietHandler())
        working = asyncio.create_task(self._work())
        try:
            yield
        finally:
            working.cancel()

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await asyncio.to_thread(self.clear)
            except Exception:
                _log.exception("Something could not be cleared away.")

    def clear(self) -> None:
        """Clear away once."""
        self._memory.sweep()
        self._end_sessions()
        self._remove_files()
        _give_back_memory()

    def _end_sessions(self) -> None:
        holder = self._demo.state_holder
        used = sorted(holder.time_last_used.items(), key=lambda item: item[1])
        oldest = datetime.datetime.now() - self._idle
        for place, (session, time) in enumerate(used):
            if time > oldest and len(used) - place <= self._most_sessions:
                break
            holder.delete_state(session)
            holder.session_data.pop(session, None)
            holder.time_last_used.pop(session, None)

    def _remove_files(self) -> None:
        folder = Path(self._demo.GRADIO_CACHE)
        found = []
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        size = sum(one[1] for one in found)
        for _, length, path in sorted(found):
            if size <= self._most_files:
                break
            size -= length
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # Gradio gives each file a folder of its own


def _give_back_memory() -> None:
    """Let the system have what the allocator keeps for later.

    A visitor's caches are small and stay, and come to lie in the gaps that the large temporary
    arrays of an answer leave; the next answer then needs new gaps.  Without this 500 visitors took
    0.7 MB each, four times what their caches hold.
    """
    with contextlib.suppress(OSError, AttributeError):  # glibc has it, others do not
        ctypes.CDLL(None).malloc_trim(0)
