"""A plane on which all drawings lie as an adapted network answers to them."""

from __future__ import annotations

import torch
from torch import Tensor


class DrawingMap:
    """The two directions in which a network's answers to its examples differ most.

    An answer is taken as its centred log-probabilities: the logits, up to what the softmax ignores.
    They are zero where all symbols are equally likely, so a network that starts at chance has every
    drawing in the middle before it adapts.  The directions are the first two principal components,
    about that middle, of the answers after the last step.

    Args:
        path: probabilities of the examples after each step, (steps + 1, n, ways).

    Attributes:
        places: of the examples after each step, (steps + 1, n, 2); after the last step within
            [-1, 1].
    """

    def __init__(self, path: Tensor) -> None:
        answers = _centred(path)
        last = answers[-1]
        _, vectors = torch.linalg.eigh(last.T @ last)
        plane = vectors[:, -2:].flip(1)
        places = last @ plane
        # Neither sign nor length of a component means anything: the first example lies to the upper
        # right, the farthest one at the edge.
        signs = torch.where(places[0] < 0, -1.0, 1.0)
        self._plane = plane * signs / places.abs().amax().clamp(min=1e-6)
        self.places = answers @ self._plane

    def place(self, path: Tensor) -> Tensor:
        """Places (..., 2) of answers with probabilities (..., ways)."""
        return _centred(path) @ self._plane


def _centred(probabilities: Tensor) -> Tensor:
    logs = probabilities.clamp(min=1e-6).log()
    return logs - logs.mean(dim=-1, keepdim=True)
