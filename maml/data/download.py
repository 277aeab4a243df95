"""Progress of downloads and of other long tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

Progress = Callable[[str, int, int], None]
"""Called as ``progress(task, done, total)``; `total` is 0 if it is unknown."""

_REPORT_SECONDS = 0.2


def throttled(report: Progress) -> Progress:
    """Limit calls to a few a second; the first and the last of each task always pass."""
    spoken: dict[str, float] = {}

    def sometimes(task: str, done: int, total: int) -> None:
        now = time.monotonic()
        ended = bool(total) and done >= total
        if ended or task not in spoken or now - spoken[task] >= _REPORT_SECONDS:
            spoken[task] = now
            report(task, done, total)

    return sometimes


class DownloadBar:
    """Adapts pooch's progress bar interface to `Progress`."""

    def __init__(self, report: Progress, task: str) -> None:
        self._report, self._task = report, task
        self._done = self.total = 0

    def update(self, size: int) -> None:
        # Pooch counts whole chunks, so the last one may exceed the total.
        self._done = min(self._done + size, self.total or self._done + size)
        self._report(self._task, self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


class TerminalBar:
    """`Progress` as a bar on standard error; silent if that is not a terminal."""

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
