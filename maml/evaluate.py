"""How well a model does: tasks, confidence intervals, accuracy after each inner step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from maml.adapt import AdaptedLearner, adapt_features, adapt_tasks, tasks_at_once
from maml.batched import evaluation_mode
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
    """`model.features` of the drawings of a set, each computed once, when it is first asked for.

    Args:
        model: of frozen statistics; for others, whose drawings touch, the pictures themselves are
            given out.
        data: the drawings.
    """

    def __init__(self, model: MetaNetwork, data: CharacterSet) -> None:
        self.model = model
        self.data = data
        self.device = next(model.parameters()).device
        self._images = torch.from_numpy(data.images)
        self._table: Tensor | None = None
        self._known = torch.zeros(self._images.shape[:2], dtype=torch.bool)

    @torch.no_grad()
    def _stem(self, images: Tensor) -> Tensor:
        with evaluation_mode(self.model):
            return self.model.features(images[:, None].to(self.device).float().div(255))

    def prepare(self, rows: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Compute what is to be asked for in few large passes.

        Args:
            rows: characters (ways,) and drawings (ways, k) of each call to come.
        """
        if self.model.normalisation == "batch":
            return
        wanted = torch.zeros_like(self._known)
        for characters, drawings in rows:
            wanted[characters[:, None], drawings] = True
        places = (wanted & ~self._known).nonzero()
        for some in places.split(_BATCH):
            characters, drawings = some.unbind(dim=1)
            features = self._stem(self._images[characters, drawings])
            if self._table is None:
                # Memory that is never written to is never taken.
                self._table = features.new_empty(*self._known.shape, *features.shape[1:])
            self._table[characters.to(self.device), drawings.to(self.device)] = features
        self._known |= wanted

    def __call__(self, characters: Tensor, drawings: Tensor) -> Tensor:
        """Features (ways, k, ...) of drawings (ways, k) of characters (ways,)."""
        if self.model.normalisation == "batch":
            images = self._images[characters[:, None], drawings]
            return self._stem(images.flatten(0, 1)).unflatten(0, tuple(drawings.shape))
        if not bool(self._known[characters[:, None], drawings].all()):
            self.prepare([(characters, drawings)])
        assert self._table is not None
        return self._table[characters.to(self.device)[:, None], drawings.to(self.device)]


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
    rows = [sampler.sample_rows(shape) for _ in range(tasks)]
    table.prepare((characters, drawings[:, : shape.shots]) for characters, drawings in rows)
    query_table.prepare((characters, drawings[:, shape.shots :]) for characters, drawings in rows)
    right_by_step, losses, tops, hits = [], [], [], []
    for group in _alike(rows, tasks_at_once(model, shape.ways * shape.drawings)):
        support = torch.stack([table(one, each[:, : shape.shots]) for one, each in group])
        queries = torch.stack([query_table(one, each[:, shape.shots :]) for one, each in group])
        ways = support.shape[1]
        slots = torch.arange(ways, device=table.device)
        labels = slots.repeat_interleave(shape.shots).expand(len(group), -1)
        adapted = adapt_tasks(model, support.flatten(1, 2), labels, ways, steps)
        targets = slots.repeat_interleave(shape.queries)
        path = adapted.path_of_features(queries.flatten(1, 2), transductive=transductive)
        right = path.argmax(dim=-1) == targets  # (steps + 1, tasks, queries)
        right_by_step.append(right.float().mean(dim=2).cpu().numpy())
        likelihoods = path[-1].clamp(min=1e-12).log()
        losses += [functional.nll_loss(one, targets).item() for one in likelihoods]
        tops.append(path[-1].amax(dim=2).flatten().cpu().numpy())
        hits.append(right[-1].flatten().cpu().numpy())
    by_step = np.concatenate(right_by_step, axis=1)
    mean, interval = mean_and_interval(by_step[-1])
    return EvaluationResult(
        protocol=str(shape),
        accuracy=mean,
        interval=interval,
        tasks=tasks,
        loss=float(np.mean(losses)),
        accuracy_by_step=tuple(float(value) for value in by_step.mean(axis=1)),
        calibration_error=calibration_error(np.concatenate(tops), np.concatenate(hits)),
        transductive=transductive,
    )


def _alike(rows: list[tuple[Tensor, Tensor]], count: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Neighbouring tasks of as many ways, at most `count` together."""
    for _, alike in itertools.groupby(rows, lambda row: len(row[0])):
        group = list(alike)
        for start in range(0, len(group), count):
            yield group[start : start + count]


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
