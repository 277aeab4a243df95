"""Augmentation: characters turned into others, drawings redrawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TURNS = 8
"""Ways to lay a sheet of paper, from either side: as many characters are made of one."""


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Turn or mirror each character: a turned character counts as another character.

    Args:
        images: (characters, drawings, 28, 28).
        turns: int (characters,) in [0, 8): quarter turns, and from 4 on of the mirror image.
    """
    turned = images.clone()
    for kind in range(1, TURNS):
        chosen = turns == kind
        sheet = images[chosen].flip(-1) if kind >= 4 else images[chosen]
        turned[chosen] = torch.rot90(sheet, kind % 4, (-2, -1))
    return turned


@dataclass(frozen=True)
class Hand:
    """How far another hand may stray, each drawn uniformly from plus and minus this much.

    Args:
        turn: rotation, radians.
        slant: horizontal shear, dimensionless.
        stretch: change of width and of height, as a share.
        shift: in pixels of the ink picture.
        bend: smooth warp of the paper, in pixels.
        thickness: change of the pen's width, as a share of a pixel on either side of a line.
    """

    turn: float = 0.22
    slant: float = 0.22
    stretch: float = 0.15
    shift: float = 1.5
    bend: float = 0.7
    thickness: float = 0.3


def redraw(images: Tensor, generator: torch.Generator, hand: Hand | None = None) -> Tensor:
    """Draw each picture again by another hand.

    Args:
        images: ink, float32 (n, 28, 28).
        generator: source of the randomness.
        hand: how far hands may stray.

    Returns:
        Ink of the same shape, values in [0, 1].
    """
    hand = hand or Hand()
    count, side = len(images), images.shape[-1]

    def spread(limit: float, *size: int) -> Tensor:
        return (torch.rand(count, *size, generator=generator) * 2 - 1) * limit

    angle, slant = spread(hand.turn), spread(hand.slant)
    wide, high = 1 + spread(hand.stretch), 1 + spread(hand.stretch)
    shift = spread(hand.shift * 2 / side, 2)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.stack([cosine / wide, (sine + slant) / wide, shift[:, 0]], dim=1)
    down = torch.stack([-sine / high, cosine / high, shift[:, 1]], dim=1)
    grid = functional.affine_grid(
        torch.stack([across, down], dim=1), [count, 1, side, side], align_corners=False
    )
    if hand.bend:
        waves = spread(hand.bend * 2 / side, 2, 4, 4)
        smooth = functional.interpolate(waves, size=(side, side), mode="bicubic")
        grid = grid + smooth.permute(0, 2, 3, 1)
    ink = functional.grid_sample(images[:, None], grid, align_corners=False)
    if hand.thickness:
        amount = spread(hand.thickness)[:, None, None, None]
        thicker = functional.max_pool2d(ink, 3, stride=1, padding=1)
        thinner = -functional.max_pool2d(-ink, 3, stride=1, padding=1)
        ink = ink + amount.clamp(min=0) * (thicker - ink) + (-amount).clamp(min=0) * (thinner - ink)
    return ink[:, 0].clamp(0, 1)
