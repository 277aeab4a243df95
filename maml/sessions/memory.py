"""What the server remembers of the Draw tab's visitors: a cache, bounded in number, size and age.

Every question carries the whole document, so nothing is lost when a visitor is forgotten: the next
answer only takes longer.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from maml.sessions.document import Known
from maml.sessions.draw_session import DrawSession

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,64}")
"""At least 128 bits in base64: nobody comes upon another's by guessing."""


def is_token(value: object) -> bool:
    """Whether a value has the form of a visitor's token."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


@dataclass(eq=False)
class Visitor:
    """One open page.

    Args:
        session: its caches.
        drawings: keys of the drawings that it has sent, by the page's numbers for them.
        newest: the revision of its latest question; older ones need no answer any more.
        seen: when it last asked, on the monotonic clock.
        nbytes: what its caches held when they were last weighed.
        forgotten: whether it is remembered no more.
    """

    session: DrawSession = field(default_factory=DrawSession)
    drawings: Known = field(default_factory=OrderedDict)
    newest: int = -1
    seen: float = 0.0
    nbytes: int = 0
    forgotten: bool = False


class VisitorMemory:
    """Visitors by token; those that asked least recently are forgotten first.

    Args:
        most: how many are remembered.
        seconds: how long one is remembered after its last question.
        most_bytes: what all their caches may hold.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        most: int = 500,
        seconds: float = 1800.0,
        most_bytes: int = 48_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._nbytes = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._visitors)

    @property
    def nbytes(self) -> int:
        """About how many bytes all caches hold."""
        return self._nbytes

    def visitor(self, token: str) -> Visitor:
        """The visitor with this token, a new one if it is not known."""
        now = self._clock()
        with self._lock:
            visitor = self._visitors.setdefault(token, Visitor())
            visitor.seen = now
            self._visitors.move_to_end(token)
            self._forget(now)
            return visitor

    def weigh(self, visitor: Visitor) -> None:
        """Note what a visitor's caches hold by now, and forget others if it is too much."""
        nbytes = visitor.session.nbytes
        with self._lock:
            if not visitor.forgotten:
                self._nbytes += nbytes - visitor.nbytes
                visitor.nbytes = nbytes
                self._forget(self._clock())

    def forget(self, token: str) -> None:
        """Forget a visitor whose page was closed."""
        with self._lock:
            if token in self._visitors:
                self._drop(token)

    def sweep(self) -> None:
        """Forget those that have been silent for too long."""
        with self._lock:
            self._forget(self._clock())

    def _forget(self, now: float) -> None:
        while self._visitors:
            oldest = next(iter(self._visitors.values()))
            crowded = len(self._visitors) > self._most or self._nbytes > self._most_bytes
            if not crowded and now - oldest.seen <= self._seconds:
                break
            self._drop(next(iter(self._visitors)))

    def _drop(self, token: str) -> None:
        visitor = self._visitors.pop(token)
        visitor.forgotten = True
        self._nbytes -= visitor.nbytes


class OfferedWeights:
    """Keys by which pages name weights that were trained for them.

    A key cannot be guessed, so a page can draw only with weights that were offered to it.

    Args:
        most: how many keys are kept.
    """

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._paths: OrderedDict[str, Path] = OrderedDict()

    def offer(self, path: str | Path) -> str:
        """A new key for a checkpoint."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._paths[key] = Path(path)
            while len(self._paths) > self._most:
                self._paths.popitem(last=False)
        return key

    def path(self, key: object) -> Path | None:
        """The checkpoint of a key; None if there is none, or its file is gone."""
        with self._lock:
            path = self._paths.get(key) if isinstance(key, str) else None
        return path if path is not None and path.exists() else None
