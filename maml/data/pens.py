"""Drawings redrawn with another pen: line width, size, position, rotation and slant change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize

_OVERSAMPLING = 2


@dataclass(frozen=True)
class OtherPen:
    """Limits of the change.  Values are sampled uniformly (thickness: its logarithm).

    Args:
        size: smallest and largest factor.
        shift: largest shift in x and in y, as a share of the frame.
        thickness: smallest and largest factor of the line width.
        degrees: largest rotation and largest slant.
    """

    size: tuple[float, float] = (0.6, 1.4)
    shift: float = 0.15
    thickness: tuple[float, float] = (0.5, 2.0)
    degrees: float = 12.0


def with_other_pen(
    picture: Image.Image, rng: np.random.Generator, pen: OtherPen | None = None
) -> NDArray[np.uint8]:
    """Redraw a picture with a random pen.

    Args:
        picture: dark lines on light, square, of two levels.
        rng: source of the randomness.
        pen: limits of the change.

    Returns:
        uint8 of shape (2 s, 2 s) for s = twice the picture's side, dark lines on light; the paper
        is twice as wide as the frame, so that nothing is cut off.
    """
    pen = pen or OtherPen()
    size = rng.uniform(*pen.size)
    thickness = float(np.exp(rng.uniform(*np.log(pen.thickness))))
    turn, slant = np.radians(rng.uniform(-pen.degrees, pen.degrees, 2))
    shift = rng.uniform(-pen.shift, pen.shift, 2) * picture.width * _OVERSAMPLING
    side = 2 * _OVERSAMPLING * picture.width
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shear = np.array([[1, np.tan(slant)], [0, 1]])
    # PIL maps positions in the new picture to positions in the old one.
    back = np.linalg.inv(rotate @ shear * (size * _OVERSAMPLING))
    offset = np.array([picture.width, picture.height]) / 2 - back @ (side / 2 + shift)
    paper = picture.convert("L").transform(
        (side, side),
        Image.Transform.AFFINE,
        (*back[0], offset[0], *back[1], offset[1]),
        Image.Resampling.BILINEAR,
        fillcolor=255,
    )
    inked = np.asarray(paper) < 128
    lines = skeletonize(inked)
    width = inked.sum() / max(1, lines.sum())
    drawn = ndimage.distance_transform_edt(~lines) <= max(0.5, thickness * width / 2)
    return np.where(drawn, 0, 255).astype(np.uint8)
