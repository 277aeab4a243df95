"""Fetching files, and saying how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

Progress = Callable[[str, int, int], None]
"""Called as ``progress(task, done, total)``; `total` is 0 where it is not known."""

_REPORT_SECONDS = 0.2


def throttled(report: Progress) -> Progress:
    """The first and the last word of each task, and between them a few a second."""
    spoken: dict[str, float] = {}

    def sometimes(task: str, done: int, total: int) -> None:
        now = time.monotonic()
        ended = bool(total) and done >= total
        if ended or task not in spoken or now - spoken[task] >= _REPORT_SECONDS:
            spoken[task] = now
            report(task, done, total)

    return sometimes


class DownloadBar:
    """What pooch asks of a progress bar, passed on as `Progress`."""

    def __init__(self, report: Progress, task: str) -> None:
        self._report, self._task = report, task
        self._done = self.total = 0

    def update(self, size: int) -> None:
        # Pooch counts whole chunks, so the last one overshoots.
        self._done = min(self._done + size, self.total or self._done + size)
        self._report(self._task, self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


class TerminalBar:
    """`Progress` as a bar on standard error; silent where that is not a terminal."""

    def __init__(self) -> None:
        self._task = ""
        self._bar: Any = None

    def __call__(self, task: str, done: int, total: int) -> None:
        if task != self._task:
            self._task = task
            self._bar = tqdm(desc=task, total=total or None, unit_scale=True, disable=None)
        self._bar.update(done - self._bar.n)
        if total and done >= total:
            self._bar.close()
