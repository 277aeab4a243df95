"""Series of figures that stay short however long a run grows."""

from __future__ import annotations

import math
import time

Point = list[float | None]
"""A step and the values there; None stands for what is not a finite number."""

_POINTS = 300
"""Points of a curve on the page; the run's file has every step."""


class ThinnedCurve:
    """Means over equal stretches of a series.

    Args:
        total: how long the series will be; that many steps give at most `points` points.
        points: how many.
    """

    def __init__(self, total: int, points: int = _POINTS) -> None:
        self._stretch = max(1, math.ceil(total / points))
        self._points: list[Point] = []
        self._sums: list[float] = []
        self._count = 0

    def add(self, step: int, *values: float | None) -> None:
        """Append the values of a step; None makes the mean of its stretch None."""
        numbers = [math.nan if value is None else value for value in values]
        sums = self._sums or [0.0] * len(numbers)
        self._sums = [a + b for a, b in zip(sums, numbers, strict=True)]
        self._count += 1
        if step % self._stretch == 0:
            self._points.append([step, *(rounded(total / self._count) for total in self._sums)])
            self._sums, self._count = [], 0

    def points(self) -> list[Point]:
        """What is kept: [step, mean, mean, ...]; a stretch that is not full is left out."""
        return list(self._points)


class WorkClock:
    """Seconds that a run has been at work after each step: rests do not count."""

    def __init__(self) -> None:
        self._worked = 0.0
        self._since: float | None = None
        self._after: dict[int, float] = {0: 0.0}

    def work(self, step: int | None = None) -> None:
        """Work begins or goes on; `step`: from the end of that step, as the run is resumed."""
        if step is not None:
            self._worked = self._after.get(step, self._worked)
        self._since = time.monotonic()

    def rest(self) -> None:
        """A rest begins."""
        self._count()
        self._since = None

    def note(self, step: int) -> None:
        """A step, or what belongs to it, has just been done."""
        self._count()
        self._after[step] = self._worked

    def after(self, step: float | None) -> float:
        """Seconds at work, to a tenth, when a step and what belongs to it was done."""
        return round(self._after.get(int(step or 0), self._worked), 1)

    def _count(self) -> None:
        now = time.monotonic()
        if self._since is not None:
            self._worked += now - self._since
            self._since = now


def rounded(value: float) -> float | None:
    """Three decimals are enough for a screen; None for what is not a finite number."""
    return round(value, 3) if math.isfinite(value) else None
