"""Strokes by other hands: what changes, by how much, and what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maml.data.hands import OtherHand, with_other_hand
from maml.data.quickdraw import doodle_strokes
from maml.data.words import part_of

STILL = OtherHand(0, 0, 0, 0, 0, 0, 0, 0, 0)
LINE = np.array([[0.0, 0.0], [200.0, 0.0]])
CORNER = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0]])
DOT = np.array([[50.0, 60.0]])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def redrawn(line: NDArray[np.float64], hand: OtherHand, seed: int = 0) -> NDArray[np.float64]:
    (found,) = with_other_hand([line], rng(seed), hand)
    return found


def length(line: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def test_a_still_hand_only_spaces_the_points_evenly() -> None:
    found = redrawn(CORNER, STILL)
    assert np.allclose(found[[0, -1]], CORNER[[0, -1]])
    steps = np.linalg.norm(np.diff(found, axis=0), axis=1)
    assert steps.max() < 4.1 and len(found) == 51
    assert np.array_equal(redrawn(DOT, STILL), DOT)
    assert np.array_equal(redrawn(np.repeat(DOT, 3, axis=0), STILL), DOT)


def test_the_same_seed_gives_the_same_strokes_and_another_one_others() -> None:
    drawing = [LINE, CORNER, DOT]
    first, again, other = (with_other_hand(drawing, rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert np.array_equal(LINE, [[0, 0], [200, 0]])  # what was given stays as it was


@pytest.mark.parametrize("change", ["shift", "stretch", "turn", "bend"])
def test_each_change_is_one_of_its_own(change: str) -> None:
    hand = replace(STILL, **{change: 0.1})
    moved = [redrawn(LINE, hand, seed) for seed in range(200)]
    centres = np.array([line.mean(axis=0) for line in moved])
    slopes = np.array([np.arctan2(*(line[-1] - line[0])[::-1]) for line in moved])
    lengths = np.array([length(line) for line in moved])
    straight = np.array([np.linalg.norm(line[-1] - line[0]) for line in moved])
    if change == "shift":
        assert centres.std(axis=0) == pytest.approx([20, 20], rel=0.2)  # of the longer side, 200
    elif change != "bend":
        assert np.allclose(centres, [100, 0])
    if change == "turn":
        assert slopes.std() == pytest.approx(0.1, rel=0.2)
    elif change != "bend":
        assert np.allclose(slopes, 0)
    if change == "stretch":
        assert np.log(lengths / 200).std() == pytest.approx(0.1, rel=0.2)
    elif change != "bend":
        assert np.allclose(lengths, 200)
    assert np.allclose(lengths, straight) == (change != "bend")


def test_corners_are_cut_and_ends_are_loose() -> None:
    round_corner = redrawn(CORNER, replace(STILL, cut_corners=1.0))
    nearest = np.linalg.norm(round_corner - CORNER[1], axis=1).min()
    assert 1 < nearest < 20
    assert np.linalg.norm(round_corner[0] - CORNER[0]) < 12

    ends = replace(STILL, loose_ends=1.0, early=0.1, late=0.1)
    lengths = np.array([length(redrawn(LINE, ends, seed)) for seed in range(200)])
    assert 179 < lengths.min() < 185 and 215 < lengths.max() < 221
    assert all(abs(redrawn(LINE, ends, seed)[:, 1]).max() < 1e-9 for seed in range(20))


def test_strokes_are_left_out_of_drawings_that_have_enough() -> None:
    hand = replace(STILL, left_out=0.5)
    many, few = [LINE] * 6, [LINE] * 3
    counts = [len(with_other_hand(many, rng(seed), hand)) for seed in range(200)]
    assert np.mean(counts) == pytest.approx(3, abs=0.4)
    assert min(len(with_other_hand(many, rng(seed), replace(hand, left_out=1.0)))
               for seed in range(5)) == 1  # fmt: skip
    assert {len(with_other_hand(few, rng(seed), hand)) for seed in range(20)} == {3}


def test_real_doodles_stay_alike(quickdraw_dir: Path) -> None:
    drawings = doodle_strokes(quickdraw_dir)
    assert any(part_of(word) == "train" for word in drawings)
    word, found = next(iter(drawings.items()))
    for strokes in found:
        points = np.concatenate(strokes)
        assert np.ptp(points, axis=0).max() <= 255
        changed = np.concatenate(with_other_hand(strokes, rng()))
        assert np.isfinite(changed).all()
        low, high = points.min(axis=0) - 80, points.max(axis=0) + 80
        assert (changed > low).all() and (changed < high).all(), word
