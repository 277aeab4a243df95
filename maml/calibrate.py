"""Calibration: temperature and "none of these" score, fitted on held-out characters.

Both add a few parameters to a trained model.  They are fitted on tasks of many sizes from alphabets
and, if there are doodles, words that were not used in training, and never on those of tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from maml.adapt import AdaptedLearner
from maml.batched import evaluating
from maml.config import EpisodeShape
from maml.data.characters import DOODLES, CharacterSet
from maml.data.episodes import EpisodeSampler
from maml.embedding import TEMPERATURE_TERMS, UNKNOWN_TASK_TERMS, temperature_terms
from maml.evaluate import FeatureTable, adapt_task
from maml.model import MetaNetwork
from maml.networks import SketchNet

_SHAPES = tuple(
    EpisodeShape(ways, shots, 5, within)
    for ways in (2, 3, 5, 10, 20)
    for shots in (1, 2, 5)
    for within in (False, True)
)

FALSE_REJECTION_RATE = 0.05
"""Share of in-set queries that may be answered "none of these".

Users mind a false rejection more than a false acceptance, so its rate is fixed.
"""
DOODLE_REJECTION_RATE = 0.07
"""The same of doodles, whose words differ more: other words are refused more often than those that
it was fitted on."""
_ROUNDING = 0.1
"""Of the quantile loss, in units of the score's logit."""
_RIDGE = 1e-4
_EVEN = 3.0
"""Of whitening: how much variance, in units of the mean one, every direction is taken to have
besides.  With less, tasks of one shot lose; chosen on what was held out."""


def calibrate(
    model: MetaNetwork,
    data: CharacterSet,
    *,
    seed: int,
    rounds: int = 120,
    doodles: CharacterSet | None = None,
) -> None:
    """Fit temperature, "none of these" score and its threshold, in place.

    The logarithm of the temperature is linear in log ways, log shots, likeness
    (`MetaNetwork.likeness`) and likeness times log ways.  It minimises the negative log-likelihood
    (temperature scaling, arXiv 1706.04599, section 4.2) of tasks over all characters.
    Within-alphabet tasks are excluded: a shared temperature left mixed tasks underconfident.

    The score is a logistic regression on `MetaNetwork.unknown_terms`, with as many out-of-set
    queries as in-set ones.  A quantile regression on those terms that do not look at the query then
    moves it, so that whatever the task, few known drawings score above 0.5, its threshold:
    `FALSE_REJECTION_RATE` of characters and `DOODLE_REJECTION_RATE` of doodles.
    `maml.prediction.shares_of` makes one distribution of both, in which the largest share obeys it.

    Args:
        model: a trained model.
        data: characters, or words, that were not used in training, at least 21, with at least 10
            drawings each.
        seed: of the tasks.
        rounds: tasks of each of 30 sizes: 2 to 20 ways, 1 to 5 shots, over all characters and
            within alphabets.
        doodles: words that were not used in training; they weigh as much as the characters.

    Raises:
        TypeError: if the model cannot embed, see `MetaNetwork.can_embed`.
    """
    model.set_temperature(torch.zeros(TEMPERATURE_TERMS))
    sets = [_ask(model, one, seed, rounds) for one in (data, doodles) if one is not None]
    model.set_temperature(_fit_temperature([task for one in sets for task in one.answered]))
    model.set_unknown_score(*_fit_unknown(sets))


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a model answered to tasks from one set.

    Args:
        answered: for each task over all characters logits (m, ways), labels (m,) and the terms of
            its temperature (m, terms).
        known, outside: `MetaNetwork.unknown_terms` of in-set and of out-of-set queries.
        rate: share of the known ones that may be refused.
    """

    answered: list[tuple[Tensor, Tensor, Tensor]]
    known: Tensor
    outside: Tensor
    rate: float


def _ask(model: MetaNetwork, data: CharacterSet, seed: int, rounds: int) -> _Asked:
    rate = DOODLE_REJECTION_RATE if DOODLES in data.alphabets else FALSE_REJECTION_RATE
    sampler = EpisodeSampler(data, torch.Generator().manual_seed(seed))
    table = FeatureTable(model, data)
    alone = len(set(data.alphabets)) == 1  # Tasks within the one alphabet would be the same.
    shapes = [
        shape
        for shape in _SHAPES
        if shape.ways < len(data) and not (alone and shape.within_alphabet)
    ]
    answered: list[tuple[Tensor, Tensor, Tensor]] = []
    terms: tuple[list[Tensor], list[Tensor]] = [], []
    for shape in shapes * rounds:
        characters, learner, queries, others = known_and_outside(sampler, table, shape)
        if not shape.within_alphabet:
            labels = torch.arange(len(characters)).repeat_interleave(shape.queries)
            logits = learner.path_of_features(queries)[-1].clamp(min=1e-20).log().cpu()
            size = temperature_terms(len(characters), shape.shots, learner.likeness)
            answered.append((logits, labels, torch.tensor(size).expand(len(labels), -1)))
        for kind, asked in zip(terms, (queries, others), strict=True):
            kind.append(learner.unknown_terms_of_features(asked).cpu())
    known, outside = map(torch.cat, terms)
    return _Asked(answered, known, outside, rate)


@torch.no_grad()
def fit_likeness(model: MetaNetwork, sets: Iterable[CharacterSet]) -> None:
    """Fit what `MetaNetwork.likeness` expects of one drawing, in place, by ridge regression.

    Args:
        model: a trained network that embeds.
        sets: drawings by class; each set weighs alike.  Training characters will do: what is to be
            learned is which kind of drawing differs much from hand to hand.

    Raises:
        TypeError: if the model cannot embed.
    """
    left: Tensor | float = 0.0
    right: Tensor | float = 0.0
    for data in sets:
        each = _vectors(model, data)
        # The mean cosine of each drawing to the others of its class.
        others = each.sum(dim=1, keepdim=True) - each
        target = (each * others).sum(dim=-1).flatten() / (data.drawings - 1)
        inputs = functional.pad(each.flatten(0, 1), (0, 1), value=1.0)
        left = left + inputs.mT @ inputs / len(inputs)
        right = right + inputs.mT @ target / len(inputs)
    assert isinstance(left, Tensor)
    model.set_likeness(torch.linalg.solve(left + _RIDGE * torch.eye(len(left)), right))


@torch.no_grad()
def fit_whitening(model: SketchNet, sets: Iterable[CharacterSet]) -> None:
    """Fit the linear map at the network's end, in place, so that vectors of a class differ about as
    much in every direction.

    The map is the inverse square root of the covariance of unit vectors within a class, mixed with
    that of equal variance in all directions.  Prototypes of several examples then weigh directions
    as a linear discriminant does (Hastie, Tibshirani, Friedman, The Elements of Statistical
    Learning, section 4.3.1).

    Args:
        model: a trained network whose settings say `whitened`.
        sets: drawings by class, such as training characters; each set weighs alike.

    Raises:
        ValueError: if the network is not `whitened`.
    """
    model.set_whitening(torch.eye(model.dimensions))
    mean: Tensor | float = 0.0
    for data in sets:
        each = _vectors(model, data)
        apart = (each - each.mean(dim=1, keepdim=True)).flatten(0, 1)
        covariance = apart.mT @ apart
        mean = mean + covariance / covariance.diagonal().mean()
    assert isinstance(mean, Tensor)
    mean = mean / mean.diagonal().mean()
    values, directions = torch.linalg.eigh(mean + _EVEN * torch.eye(len(mean)))
    model.set_whitening(directions * values.rsqrt() @ directions.mT)


def _vectors(model: MetaNetwork, data: CharacterSet) -> Tensor:
    """Unit vectors (classes, drawings, dimensions) of all drawings, on the CPU."""
    network, device = evaluating(model), next(model.parameters()).device
    vectors = []
    for images in torch.from_numpy(data.images).flatten(0, 1)[:, None].split(512):
        features = network.features(images.to(device).float().div(255))
        vectors.append(network.embed_features(features).cpu())
    return torch.cat(vectors).unflatten(0, data.images.shape[:2])


def known_and_outside(
    sampler: EpisodeSampler, table: FeatureTable, shape: EpisodeShape
) -> tuple[Tensor, AdaptedLearner, Tensor, Tensor]:
    """A task, and as many out-of-set queries as it has queries of its own.

    Args:
        sampler: draws the task.
        table: of the sampler's characters.
        shape: of the task.

    Returns:
        The task's characters, int64 (ways,); the learner adapted to its support set; the features
        (ways * queries, ...) of its queries, way by way; and those of queries that are of none of
        its characters, see `out_of_set_features`.
    """
    characters, drawings = sampler.sample_rows(shape)
    features = table(characters, drawings)
    steps = table.model.inner.evaluation_steps
    learner = adapt_task(table.model, features[:, : shape.shots], steps)
    queries = features[:, shape.shots :].flatten(0, 1)
    outside = out_of_set_features(sampler, table, characters, len(queries), shape)
    return characters, learner, queries, outside


def out_of_set_features(
    sampler: EpisodeSampler,
    table: FeatureTable,
    characters: Tensor,
    count: int,
    shape: EpisodeShape,
) -> Tensor:
    """Features (count, ...) of drawings of characters outside a task.

    A within-alphabet task gets characters of its own alphabet, if there are others.
    """
    data, generator = sampler.data, sampler.generator
    outside = np.setdiff1d(np.arange(len(data)), characters.numpy())
    if shape.within_alphabet:
        home = data.alphabets[int(characters[0])]
        near = np.array([row for row in outside if data.alphabets[row] == home], dtype=int)
        outside = near if len(near) else outside
    picks = torch.randint(len(outside), (count,), generator=generator)
    drawings = torch.randint(data.drawings, (count, 1), generator=generator)
    return table(torch.from_numpy(outside)[picks], drawings).flatten(0, 1)


def _fit_temperature(answered: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The weights that minimise the mean over tasks of their mean negative log-likelihood.

    Args:
        answered: for each task logits (m, ways), labels (m,) and the terms of its temperature
            (m, terms).
    """
    # Batching tasks with the same number of ways is many times faster.
    by_ways: dict[int, list[tuple[Tensor, Tensor, Tensor, Tensor]]] = {}
    for logits, labels, size in answered:
        share = torch.full((len(labels),), 1 / (len(labels) * len(answered)))
        by_ways.setdefault(logits.shape[1], []).append((logits, labels, size, share))
    groups = [[torch.cat(part) for part in zip(*tasks, strict=True)] for tasks in by_ways.values()]

    def loss_at(weights: Tensor) -> Tensor:
        loss = torch.zeros(())
        for logits, labels, size, share in groups:
            scaled = logits / (size @ weights).exp()[:, None]
            each = functional.cross_entropy(scaled, labels, reduction="none")
            loss = loss + (each * share).sum()
        return loss

    return _minimised(loss_at, torch.zeros(answered[0][2].shape[1]))


def _fit_unknown(sets: Sequence[_Asked]) -> tuple[Tensor, Tensor]:
    """The weights of the score, and its threshold, 0.5."""
    terms = torch.cat([part for one in sets for part in (one.known, one.outside)])
    parts = [
        (float(kind), part) for one in sets for kind, part in enumerate((one.known, one.outside))
    ]
    outside = torch.cat([torch.full((len(part),), kind) for kind, part in parts])
    share = torch.cat([torch.full((len(part),), 1 / len(part)) for _, part in parts])
    weights = torch.zeros(terms.shape[1])

    def mistakes(weights: Tensor) -> Tensor:
        each = functional.binary_cross_entropy_with_logits(
            terms @ weights, outside, reduction="none"
        )
        return (each * share).sum() / len(parts) + 1e-5 * weights.square().sum()

    weights = _minimised(mistakes, weights)
    known = torch.cat([one.known for one in sets])
    of_known = torch.cat([torch.full((len(one.known),), 1 / len(one.known)) for one in sets])
    rate = torch.cat([torch.full((len(one.known),), one.rate) for one in sets])
    score, conditions = known @ weights, known[:, list(UNKNOWN_TASK_TERMS)]

    def refusals(limit: Tensor) -> Tensor:
        above = score - conditions @ limit
        # The loss whose minimum is the quantile 1 - rate, rounded off near zero.
        soft = _ROUNDING * functional.softplus(-above / _ROUNDING)
        return ((1 - rate) * above + soft).mul(of_known).sum() / len(sets)

    limit = torch.zeros(len(UNKNOWN_TASK_TERMS))
    limit[0] = score.quantile(1 - float(rate.mean()))
    weights[list(UNKNOWN_TASK_TERMS)] -= _minimised(refusals, limit)
    return weights, torch.tensor(0.5)


def _minimised(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where a convex function of a vector is smallest."""
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(weights)
        value.backward()
        return value

    optimiser.step(closure)
    return weights.detach()
