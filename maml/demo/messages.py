"""Gradio's messages to pages, kept for those that listen."""

from __future__ import annotations

import threading
from typing import Any

from gradio.queueing import Queue
from gradio.utils import LRUCache

KEPT = 10_000


class MessagesToPages(LRUCache[str, Any]):
    """Sessions whose messages wait to be fetched; those used least recently go first.

    Gradio keeps 2,000 in the order in which they joined: whoever joins often enough with session
    hashes that are made up pushes out the messages of pages that listen, and their events fail.
    Here every message that is sent or fetched counts as a use, and a page that listens fetches
    every ten seconds.  What Gradio keeps of a session's events, for ever if nobody fetches them,
    goes along.

    Args:
        queue: of the app, whose sessions these are.
        most: how many are kept.
    """

    def __init__(self, queue: Queue, most: int = KEPT) -> None:
        super().__init__(most)
        self._queue = queue
        self._lock = threading.RLock()

    def __getitem__(self, key: str) -> Any:
        with self._lock:
            messages = super().__getitem__(key)
            self.move_to_end(key)
            return messages

    def __setitem__(self, key: str, value: Any) -> None:
        with self._lock:
            while key not in self and len(self) >= self.max_size:
                oldest = next(iter(self))
                self.pop(oldest)
                self._queue.pending_event_ids_session.pop(oldest, None)
            super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        """Forget a session; Gradio asks for it once for each stream that ends."""
        with self._lock:
            self.pop(key, None)
