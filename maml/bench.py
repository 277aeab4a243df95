"""How long it takes to adapt and to answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from maml.adapt import adapt
from maml.data.episodes import SupportSet
from maml.data.synthetic import generate_alphabets
from maml.model import MetaNetwork

_SIZES = ((5, 1), (5, 5), (20, 1), (20, 5))


@dataclass(frozen=True)
class Timing:
    """Milliseconds that something took, median and 95th percentile."""

    what: str
    median_ms: float
    p95_ms: float


def bench(model: MetaNetwork, repeats: int = 30) -> Iterator[Timing]:
    """Time adaptation and one answer for tasks of several sizes, on generated drawings.

    Args:
        model: what to time, on its device.
        repeats: of each measurement, after two that do not count.
    """
    data = generate_alphabets(alphabets=2, characters=10, drawings=6)
    images = torch.from_numpy(data.images).float().div(255)
    for ways, shots in _SIZES:
        if model.fixed_ways not in (None, ways):
            continue
        support = SupportSet(
            images[:ways, :shots].flatten(0, 1),
            torch.arange(ways).repeat_interleave(shots),
            data.characters[:ways],
        )
        adapting, answering = [], []
        for _ in range(repeats + 2):
            started = time.perf_counter()
            learner = adapt(model, support)
            adapted = time.perf_counter()
            learner.predict(images[0, 5:6])
            answering.append(time.perf_counter() - adapted)
            adapting.append(adapted - started)
        yield _timing(f"{ways}-way {shots}-shot, adapt", adapting[2:])
        yield _timing(f"{ways}-way {shots}-shot, one answer", answering[2:])


def _timing(what: str, seconds: list[float]) -> Timing:
    median, p95 = np.quantile(np.array(seconds) * 1000, (0.5, 0.95))
    return Timing(what, float(median), float(p95))
