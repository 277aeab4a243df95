"""How well a model does: tasks, confidence intervals, accuracy after each inner step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from maml.adapt import AdaptedLearner, adapt_features
from maml.config import LARGEST_SEED, LARGEST_STEPS, EpisodeShape, require_whole
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler
from maml.model import MetaNetwork

_BATCH = 512


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.  All shares lie in [0, 1].

    Args:
        protocol: what was asked, in words.
        accuracy: mean over tasks.
        interval: half width of its 95 % confidence interval.
        tasks: how many tasks.
        loss: mean negative log-likelihood of the true class, in nats.
        accuracy_by_step: accuracy after each inner step, step 0 first.
        calibration_error: expected calibration error of the top probability, 15 equal bins.
        transductive: whether the queries of a task were normalised together.
        iteration: outer steps behind the model when it was evaluated; 0 outside training.
    """

    protocol: str
    accuracy: float
    interval: float
    tasks: int
    loss: float
    accuracy_by_step: tuple[float, ...]
    calibration_error: float
    transductive: bool = False
    iteration: int = 0


class FeatureTable:
    """`model.features` of every drawing of a set, computed once where drawings do not touch.

    Args:
        model: of frozen statistics; for others the pictures themselves are kept.
        data: the drawings.
    """

    def __init__(self, model: MetaNetwork, data: CharacterSet) -> None:
        self.model = model
        self.data = data
        self.device = next(model.parameters()).device
        self._images = torch.from_numpy(data.images)
        self._table: Tensor | None = None
        if model.normalisation == "frozen":
            flat = self._images.flatten(0, 1)
            rows = [self._stem(flat[at : at + _BATCH]) for at in range(0, len(flat), _BATCH)]
            self._table = torch.cat(rows).unflatten(0, tuple(self._images.shape[:2]))

    @torch.no_grad()
    def _stem(self, images: Tensor) -> Tensor:
        self.model.eval()
        return self.model.features(images[:, None].to(self.device).float().div(255))

    def __call__(self, characters: Tensor, drawings: Tensor) -> Tensor:
        """Features (ways, k, ...) of drawings (ways, k) of characters (ways,)."""
        if self._table is not None:
            return self._table[characters[:, None], drawings]
        images = self._images[characters[:, None], drawings]
        return self._stem(images.flatten(0, 1)).unflatten(0, tuple(drawings.shape))


def evaluate(
    model: MetaNetwork,
    data: CharacterSet,
    shape: EpisodeShape,
    tasks: int = 1000,
    *,
    steps: int | None = None,
    seed: int = 0,
    transductive: bool = False,
) -> EvaluationResult:
    """Adapt to many tasks and ask queries, one at a time.

    Args:
        model: what to evaluate; left untouched.
        data: the characters that tasks are cut from, all of them; pass `data.split(...)`.
        shape: of the tasks.
        tasks: how many.
        steps: inner steps; None takes those the model was trained for.
        seed: of the tasks; the same seed gives the same tasks for any model.
        transductive: normalise the queries of a task together, as published MAML figures do.

    Raises:
        ValueError: if tasks, steps or seed are out of range, the data has too few characters or
            drawings, or the model cannot serve the number of ways.
    """
    table = FeatureTable(model, data)
    return evaluate_table(table, shape, tasks, steps=steps, seed=seed, transductive=transductive)


def evaluate_table(
    table: FeatureTable,
    shape: EpisodeShape,
    tasks: int,
    *,
    steps: int | None = None,
    seed: int = 0,
    transductive: bool = False,
    query_table: FeatureTable | None = None,
) -> EvaluationResult:
    """`evaluate` where the features are known already.

    Args:
        table: the features.
        shape, tasks, steps, seed, transductive: as for `evaluate`.
        query_table: features of the same drawings inked otherwise, to take the queries from.
    """
    model = table.model
    steps = model.inner.evaluation_steps if steps is None else steps
    require_whole("tasks", tasks, 1, 10_000_000)
    require_whole("steps", steps, 0, LARGEST_STEPS)
    require_whole("seed", seed, 0, LARGEST_SEED)
    sampler = EpisodeSampler(table.data, torch.Generator().manual_seed(seed))
    query_table = query_table or table
    accuracies, by_step, losses, tops, hits = [], [], [], [], []
    for _ in range(tasks):
        characters, drawings = sampler.sample_rows(shape)
        learner = adapt_task(model, table(characters, drawings[:, : shape.shots]), steps)
        targets = torch.arange(learner.ways, device=table.device).repeat_interleave(shape.queries)
        queries = query_table(characters, drawings[:, shape.shots :]).flatten(0, 1)
        path = learner.path_of_features(queries, transductive=transductive)
        right = path.argmax(dim=-1) == targets
        by_step.append(right.float().mean(dim=1).cpu().numpy())
        accuracies.append(float(by_step[-1][-1]))
        losses.append(functional.nll_loss(path[-1].clamp(min=1e-12).log(), targets).item())
        tops.append(path[-1].amax(dim=1).cpu().numpy())
        hits.append(right[-1].cpu().numpy())
    mean, interval = mean_and_interval(np.array(accuracies))
    return EvaluationResult(
        protocol=str(shape),
        accuracy=mean,
        interval=interval,
        tasks=tasks,
        loss=float(np.mean(losses)),
        accuracy_by_step=tuple(float(value) for value in np.mean(by_step, axis=0)),
        calibration_error=calibration_error(np.concatenate(tops), np.concatenate(hits)),
        transductive=transductive,
    )


def adapt_task(
    model: MetaNetwork, support: Tensor, steps: int, labels: Tensor | None = None
) -> AdaptedLearner:
    """Adapt to the features of a task.

    Args:
        model: what to adapt.
        support: (ways, shots, ...), or with `labels` (n, ...).
        steps: inner steps.
        labels: (n,), where shots are unequal.
    """
    if labels is None:
        labels = torch.arange(support.shape[0]).repeat_interleave(support.shape[1])
        support = support.flatten(0, 1)
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return adapt_features(model, support, labels.to(support.device), names, steps)


def mean_and_interval(values: NDArray[np.floating]) -> tuple[float, float]:
    """Mean and half width of its 95 % confidence interval (normal approximation)."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()), 1.96 * spread / math.sqrt(len(values))


def calibration_error(
    confidence: NDArray[np.floating], hit: NDArray[np.bool_], bins: int = 15
) -> float:
    """Expected calibration error (Guo et al., arXiv 1706.04599, section 2), equal-width bins."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(float(confidence[which == k].mean()) - float(hit[which == k].mean()))
        * (which == k).sum()
        for k in range(bins)
        if (which == k).any()
    ]
    return float(sum(gaps)) / len(confidence)
