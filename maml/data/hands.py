"""Strokes redrawn by another hand: each is moved, turned, stretched and bent by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Strokes = list[NDArray[np.float64]]

_SPACING = 4.0
"""Distance of neighbouring points before a stroke is bent, in the strokes' unit.  Quick, Draw!'s
drawings are 255 wide or high."""


@dataclass(frozen=True)
class OtherHand:
    """How much strokes change.  Lengths are shares of the drawing's longer side.

    Args:
        left_out: probability that a stroke is missing, of drawings of four strokes or more.
        bend: largest standard deviation of a smooth displacement along a stroke.
        cut_corners: probability that a stroke's corners are rounded off.
        loose_ends: probability that a stroke ends early or late.
        early, late: by how much at most.
        turn: standard deviation of a stroke's rotation, radians.
        stretch: standard deviation of the logarithm of its width and of its height.
        shift: standard deviation of its shift in x and in y.
    """

    left_out: float = 0.08
    bend: float = 0.025
    cut_corners: float = 0.4
    loose_ends: float = 0.3
    early: float = 0.06
    late: float = 0.08
    turn: float = 0.09
    stretch: float = 0.10
    shift: float = 0.03


def with_other_hand(
    strokes: Sequence[NDArray[np.float64]],
    rng: np.random.Generator,
    hand: OtherHand | None = None,
) -> Strokes:
    """Redraw strokes by a random hand.

    Args:
        strokes: of one drawing, float64 arrays (n_points, 2), in units of which the drawing's
            longer side has about 255.
        rng: source of the randomness.
        hand: limits of the change.

    Returns:
        Strokes in the same plane, at least one.
    """
    hand = hand or OtherHand()
    size = max(float(np.ptp(np.concatenate(strokes), axis=0).max()), 1.0)
    few = len(strokes) < 4
    kept = [line for line in strokes if few or rng.random() > hand.left_out] or [strokes[0]]
    return [_redrawn(_dense(line), size, rng, hand) for line in kept]


def _dense(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same stroke with evenly spaced points."""
    along = np.r_[0, np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()]
    if along[-1] == 0:
        return line[:1]
    places = np.linspace(0, along[-1], max(2, int(along[-1] / _SPACING) + 1))
    return np.stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)], axis=1)


def _redrawn(
    line: NDArray[np.float64], size: float, rng: np.random.Generator, hand: OtherHand
) -> NDArray[np.float64]:
    centre, count = line.mean(axis=0), len(line)
    if count >= 3:
        line = line + _wobble(count, rng.uniform(0, hand.bend) * size, rng)
        if rng.random() < hand.cut_corners:
            line = _smoothed(line, int(rng.integers(1, max(2, min(6, count // 6) + 1))))
        if rng.random() < hand.loose_ends:
            line = _ended(line, rng.uniform(-hand.early, hand.late) * size)
    angle = rng.normal(0, hand.turn)
    stretch = np.exp(rng.normal(0, hand.stretch, 2))
    shift = rng.normal(0, hand.shift, 2) * size
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((line - centre) * stretch) @ rotate.T + centre + shift


def _wobble(count: int, spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth displacement of each of the points."""
    knots = max(2, count // 12 + 2)
    places = np.linspace(0, knots - 1, count)
    axes = [np.interp(places, np.arange(knots), rng.normal(0, spread, knots)) for _ in range(2)]
    return np.stack(axes, axis=1)


def _smoothed(line: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The mean of each point and its neighbours on either side."""
    padded = np.pad(line, ((reach, reach), (0, 0)), mode="edge")
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    return np.stack([np.convolve(padded[:, axis], kernel, "valid") for axis in (0, 1)], axis=1)


def _ended(line: NDArray[np.float64], further: float) -> NDArray[np.float64]:
    """The stroke, drawn on straight ahead, or cut short if `further` is negative."""
    if further < 0:
        return line[: max(2, len(line) - int(-further / _SPACING))]
    ahead = line[-1] - line[max(0, len(line) - 4)]
    length = float(np.linalg.norm(ahead))
    return np.vstack([line, line[-1] + ahead / length * further]) if length else line
