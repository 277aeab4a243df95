"""Which characters can be trained on here: known before anybody presses start."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request

from maml.config import Source
from maml.data.omniglot import OMNIGLOT, omniglot_is_at_hand
from maml.data.quickdraw import quickdraw_is_at_hand

_PROBE_SECONDS = 3.0
_FRESH_SECONDS = 60.0


class Sources:
    """Knows whether Omniglot is on this machine, and else whether it can be fetched.

    Nothing is asked of the network while Omniglot is at hand.

    Args:
        url: of the folder that Omniglot is fetched from.
    """

    def __init__(self, url: str = OMNIGLOT.url) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._reachable: bool | None = None
        self._asked = 0.0

    @property
    def omniglot_is_at_hand(self) -> bool:
        """Whether no download is needed."""
        return omniglot_is_at_hand()

    def to_download(self) -> dict[Source, int]:
        """Megabytes of what would be downloaded, by source."""
        sizes: dict[Source, int] = {}
        if not self.omniglot_is_at_hand:
            sizes["omniglot"] = 15
        if not quickdraw_is_at_hand():
            sizes["quickdraw"] = 30
        return sizes

    def look(self) -> None:
        """Find out, in the background, whether a download would work, unless that is known."""
        with self._lock:
            known = self._asked and time.monotonic() - self._asked < _FRESH_SECONDS
            if known or self.omniglot_is_at_hand:
                return
            self._asked = time.monotonic()
        threading.Thread(target=self._probe, daemon=True, name="probe").start()

    def default(self) -> Source:
        """Omniglot, unless it is neither at hand nor to be had."""
        if self._reachable is False and not self.omniglot_is_at_hand:
            return "generated"
        return "omniglot"

    def download_failed(self, source: Source) -> None:
        """A training could not fetch its characters."""
        if source != "omniglot":
            return
        self._reachable, self._asked = False, time.monotonic()

    def _probe(self) -> None:
        first = OMNIGLOT.background.name
        request = urllib.request.Request(f"{self._url}{first}.zip", method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
                self._reachable = True
        except (urllib.error.URLError, OSError, ValueError):
            self._reachable = False
