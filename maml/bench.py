"""Time to adapt and to answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from maml.adapt import adapt
from maml.config import require_whole
from maml.data.episodes import SupportSet
from maml.data.synthetic import generate_alphabets
from maml.model import MetaNetwork

_SIZES = ((5, 1), (5, 5), (20, 1), (20, 5))


@dataclass(frozen=True)
class Timing:
    """Duration in milliseconds: median and 95th percentile."""

    what: str
    median_ms: float
    p95_ms: float


def bench(model: MetaNetwork, repeats: int = 30) -> Iterator[Timing]:
    """Time adaptation and one answer for tasks of several sizes, on generated drawings.

    Args:
        model: the model, on its device.
        repeats: of each measurement, after two warm-up runs.

    Raises:
        ValueError: if `repeats` is not a whole number from 1 to 10,000.
    """
    require_whole("repeats", repeats, 1, 10_000)
    data = generate_alphabets(alphabets=2, characters=10, drawings=6)
    images = torch.from_numpy(data.images).float().div(255)
    sizes = [(model.fixed_ways, shots) for shots in (1, 5)] if model.fixed_ways else _SIZES
    for ways, shots in sizes:
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
            # Copying the answer waits for an asynchronous device.
            learner.predict(images[0, 5:6]).probabilities.cpu()
            answering.append(time.perf_counter() - adapted)
            adapting.append(adapted - started)
        yield _timing(f"{ways}-way {shots}-shot, adapt", adapting[2:])
        yield _timing(f"{ways}-way {shots}-shot, one answer", answering[2:])


def _timing(what: str, seconds: list[float]) -> Timing:
    median, p95 = np.quantile(np.array(seconds) * 1000, (0.5, 0.95))
    return Timing(what, float(median), float(p95))
