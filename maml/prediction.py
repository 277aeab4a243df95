"""Answers to drawings: how likely each symbol is, and "none of these"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_SMALLEST = 1e-6
"""Scores closer to 0 or 1 than this count as this close."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answers to m queries, each given on its own.

    Args:
        probabilities: float32 (m, ways), rows sum to 1, calibrated for queries that are one of the
            ways.
        unknown: float32 (m,) in [0, 1], high = none of these.
        names: the ways' names.
        unknown_threshold: `unknown` at which "none of these" is as likely as the likeliest way, in
            [0, 1].
    """

    probabilities: Tensor
    unknown: Tensor
    names: tuple[str, ...]
    unknown_threshold: float

    @cached_property
    def shares(self) -> Tensor:
        """One distribution over the ways and, last, "none of these": float32 (m, ways + 1), rows
        sum to 1, see `shares_of`.  The largest one is the answer; it is not calibrated."""
        return shares_of(self.probabilities, self.unknown, self.unknown_threshold)

    @property
    def winners(self) -> tuple[str | None, ...]:
        """For each query the name with the largest share, or None for "none of these"."""
        names = (*self.names, None)
        return tuple(names[place] for place in self.shares.argmax(dim=1).tolist())


def shares_of(probabilities: Tensor, unknown: Tensor, threshold: float) -> Tensor:
    """One distribution over the ways and "none of these".

    The ways keep their proportions.  The share of "none of these" is to the likeliest way's as the
    odds of `unknown` are to the odds of `threshold`: it is the largest exactly where `unknown`
    exceeds the threshold.

    Args:
        probabilities: (..., ways), rows sum to 1.
        unknown: (...), in [0, 1].
        threshold: in [0, 1].

    Returns:
        (..., ways + 1), "none of these" last; rows sum to 1.
    """
    at_threshold = torch.tensor(threshold, dtype=unknown.dtype).logit(_SMALLEST)
    odds = (unknown.logit(_SMALLEST) - at_threshold.to(unknown)).exp()
    none = (odds * probabilities.amax(dim=-1))[..., None]
    return torch.cat([probabilities, none], dim=-1) / (1 + none)
