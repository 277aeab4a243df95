"""Augmentation: rotated and mirrored characters as new classes, distorted drawings."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_WAVES = 4
"""The elastic deformation is smooth between so many points along each side."""
TURNS = 8
"""Four rotations, each also mirrored: the number of classes made of one character."""


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate or mirror each character, which makes it a new class.

    Args:
        images: (characters, drawings, 28, 28).
        turns: int64 (characters,) in [0, 8): number of quarter turns, from 4 on after mirroring.
    """
    turned = images.clone()
    for kind in range(1, TURNS):
        chosen = turns == kind
        sheet = images[chosen].flip(-1) if kind >= 4 else images[chosen]
        turned[chosen] = torch.rot90(sheet, kind % 4, (-2, -1))
    return turned


@dataclass(frozen=True)
class Distortion:
    """Limits of the distortion of a drawing.  Each value is sampled uniformly from [-limit, limit].

    Args:
        turn: rotation, radians.
        slant: horizontal shear, dimensionless.
        stretch: relative change of width and of height.
        shift: in pixels of the ink picture.
        bend: smooth elastic deformation, in pixels.
        thickness: dilation or erosion, as a share of one pixel on either side of a line.
    """

    turn: float = 0.22
    slant: float = 0.22
    stretch: float = 0.15
    shift: float = 1.5
    bend: float = 0.7
    thickness: float = 0.3


def distort(images: Tensor, generator: torch.Generator, limits: Distortion | None = None) -> Tensor:
    """Distort each picture at random.

    Args:
        images: ink, float32 (n, 28, 28).
        generator: source of the randomness.
        limits: of the distortion.

    Returns:
        Ink of the same shape, values in [0, 1].
    """
    limits = limits or Distortion()
    count, side = len(images), images.shape[-1]

    def spread(limit: float, *size: int) -> Tensor:
        return (torch.rand(count, *size, generator=generator) * 2 - 1) * limit

    angle, slant = spread(limits.turn), spread(limits.slant)
    wide, high = 1 + spread(limits.stretch), 1 + spread(limits.stretch)
    shift = spread(limits.shift * 2 / side, 2)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.stack([cosine / wide, (sine + slant) / wide, shift[:, 0]], dim=1)
    down = torch.stack([-sine / high, cosine / high, shift[:, 1]], dim=1)
    grid = (_places(side) @ torch.stack([across, down], dim=2)).unflatten(1, (side, side))
    if limits.bend:
        waves = spread(limits.bend * 2 / side, 2, _WAVES, _WAVES)
        smooth = _smoothing(side) @ waves @ _smoothing(side).T
        grid = grid + smooth.permute(0, 2, 3, 1)
    ink = functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
    if limits.thickness:
        amount = spread(limits.thickness)[:, None, None]
        thicker, thinner = _highest(ink), -_highest(-ink)
        ink = ink + amount.clamp(min=0) * (thicker - ink) + (-amount).clamp(min=0) * (thinner - ink)
    return ink.clamp(0, 1)


# Matrix products and slices.  `affine_grid`, `interpolate` and `max_pool2d` give the same values,
# but take most of the time of sampling tasks: 12.7 ms for 160 pictures instead of 4.0 (one thread).


@functools.cache
def _places(side: int) -> Tensor:
    """Homogeneous coordinates (side * side, 3) of the pixels' centres, from -1 to 1."""
    line = (torch.arange(side) * 2 + 1) / side - 1
    down, across = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([across, down, torch.ones_like(across)], dim=-1).flatten(0, 1)


@functools.cache
def _smoothing(side: int) -> Tensor:
    """The matrix (side, 4) that interpolates four values along a line, bicubically."""
    values = torch.eye(_WAVES)[:, None, :, None].expand(-1, -1, -1, _WAVES)
    smooth = functional.interpolate(values, size=(side, _WAVES), mode="bicubic")
    return smooth[:, 0, :, 0].T.contiguous()


def _highest(ink: Tensor) -> Tensor:
    """The largest value of each pixel and its eight neighbours, (n, side, side)."""
    for padding, dimension in (((0, 0, 1, 1), 1), ((1, 1), 2)):
        padded = functional.pad(ink, padding, value=-math.inf)
        side = ink.shape[dimension]
        before, here, after = (padded.narrow(dimension, start, side) for start in range(3))
        ink = torch.maximum(torch.maximum(before, here), after)
    return ink
