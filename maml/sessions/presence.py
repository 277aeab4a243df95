"""Whether a visitor's pages are still there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

_PAGE_SECONDS = 10.0
"""A page that has been silent for so long sees nothing any more."""
_LOOK_SECONDS = 0.5
"""At most this much of the time between two checks counts as silence: when the app itself stands
still, on a machine that is too busy, it cannot hear the pages either."""


@dataclass
class Page:
    """An open page of a visitor.

    Args:
        watched: whether anybody can see its board.
        heard: when it last spoke, on the monotonic clock.
        watch: number of the latest watch that keeps it up to date; earlier ones are to end.
        attached: whether a watch keeps it up to date.
    """

    watched: bool = True
    heard: float = field(default_factory=time.monotonic)
    watch: int = 0
    attached: bool = False


class Presence:
    """Whether a visitor is still there: every open page says so every second.

    The end of a connection is not always seen: a network may simply stop carrying anything.
    """

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._silence = 0.0
        self._looked = self.heard = time.monotonic()

    def page(self, key: str) -> Page:
        """The page with a key, a new one if it is not known."""
        self._forget_pages()
        return self._pages.setdefault(key, Page())

    def hear(self, key: str, watched: bool = True) -> Page:
        """A page has spoken.

        Args:
            key: of the page.
            watched: whether anybody can see its board.
        """
        page = self.page(key)
        self._silence, self.heard = 0.0, time.monotonic()
        page.heard, page.watched = self.heard, watched
        return page

    def expect(self) -> None:
        """A page has done something: silence counts from now."""
        self._silence, self._looked = 0.0, time.monotonic()
        self.heard = self._looked

    def silence(self) -> float:
        """Seconds since a page last spoke; to be asked a few times a second."""
        now = time.monotonic()
        self._silence += min(now - self._looked, _LOOK_SECONDS)
        self._looked = now
        return self._silence

    def _forget_pages(self) -> None:
        oldest = time.monotonic() - _PAGE_SECONDS
        for key in [key for key, page in self._pages.items() if page.heard < oldest]:
            if not self._pages[key].attached:
                del self._pages[key]
