"""Series of figures that stay short however long a run grows."""

from __future__ import annotations

import math

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


def rounded(value: float) -> float | None:
    """Four decimals are enough for a screen; None for what is not a finite number."""
    return round(value, 4) if math.isfinite(value) else None
