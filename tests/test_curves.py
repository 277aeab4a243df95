"""Curves stay short and keep the means."""

from __future__ import annotations

import math

from maml.sessions.curves import ThinnedCurve, rounded


def test_a_curve_stays_short_and_keeps_the_means() -> None:
    curve = ThinnedCurve(total=10_000, points=100)
    for step in range(1, 10_001):
        curve.add(step, step, -step)
    points = curve.points()
    assert len(points) == 100
    assert points[0] == [100, 50.5, -50.5]
    assert points[-1] == [10_000, 9950.5, -9950.5]


def test_a_short_curve_keeps_every_step() -> None:
    curve = ThinnedCurve(total=3)
    for step, value in ((1, 20.0), (2, 30.0), (3, 40.0)):
        curve.add(step, value)
    assert curve.points() == [[1, 20.0], [2, 30.0], [3, 40.0]]


def test_what_is_no_number_is_none_for_its_stretch_alone() -> None:
    curve = ThinnedCurve(total=6, points=3)
    for step, value in enumerate((1.0, None, math.nan, 1.0, 2.0, 4.0), start=1):
        curve.add(step, value, 5.0)
    assert curve.points() == [[2, None, 5.0], [4, None, 5.0], [6, 3.0, 5.0]]
    assert rounded(math.inf) is None and rounded(0.123456) == 0.123
