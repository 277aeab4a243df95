"""Calibration: temperature and "none of these" score, fitted on held-out alphabets.

Both add a few parameters to a trained model.  They are fitted on tasks of many sizes from alphabets
that were not used in training, and never on test alphabets.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from maml.adapt import AdaptedLearner
from maml.config import EpisodeShape
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler
from maml.evaluate import FeatureTable, adapt_task
from maml.model import MetaNetwork

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


def calibrate(model: MetaNetwork, data: CharacterSet, *, seed: int, rounds: int = 120) -> None:
    """Fit temperature, "none of these" score and its threshold, in place.

    The logarithm of the temperature is linear in log ways and log shots and minimises the negative
    log-likelihood (temperature scaling, arXiv 1706.04599, section 4.2) of tasks over all
    characters.  Within-alphabet tasks are excluded: a shared temperature left mixed tasks
    underconfident.  The score is a logistic regression on `MetaNetwork.unknown_terms`, with as many
    out-of-set queries as in-set ones; its threshold rejects `FALSE_REJECTION_RATE` of the latter.
    `maml.prediction.shares_of` makes one distribution of both, in which the largest share obeys it.

    Args:
        model: a trained model.
        data: characters that were not used in training, at least 21, with at least 10 drawings
            each.
        seed: of the tasks.
        rounds: tasks of each of 30 sizes: 2 to 20 ways, 1 to 5 shots, over all characters and
            within alphabets.

    Raises:
        TypeError: if the model cannot embed, see `MetaNetwork.can_embed`.
    """
    model.set_temperature(torch.zeros(3))
    sampler = EpisodeSampler(data, torch.Generator().manual_seed(seed))
    table = FeatureTable(model, data)
    shapes = [shape for shape in _SHAPES if shape.ways < len(data)]
    answered: list[tuple[Tensor, Tensor, Tensor]] = []
    terms: list[Tensor] = []
    outside: list[Tensor] = []
    for shape in shapes * rounds:
        characters, learner, queries, others = known_and_outside(sampler, table, shape)
        if not shape.within_alphabet:
            labels = torch.arange(len(characters)).repeat_interleave(shape.queries)
            logits = learner.path_of_features(queries)[-1].clamp(min=1e-20).log().cpu()
            size = logits.new_tensor([1.0, np.log(len(characters)), np.log(shape.shots)])
            answered.append((logits, labels, size.expand(len(labels), -1)))
        for is_outside, asked in ((0.0, queries), (1.0, others)):
            terms.append(learner.unknown_terms_of_features(asked).cpu())
            outside.append(torch.full((len(asked),), is_outside))
    model.set_temperature(_fit_temperature(answered))
    model.set_unknown_score(*_fit_unknown(torch.cat(terms), torch.cat(outside)))


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
        answered: for each task logits (m, ways), labels (m,) and the size terms (m, 3).
    """
    # Batching tasks with the same number of ways is many times faster.
    by_ways: dict[int, list[tuple[Tensor, Tensor, Tensor, Tensor]]] = {}
    for logits, labels, size in answered:
        share = torch.full((len(labels),), 1 / (len(labels) * len(answered)))
        by_ways.setdefault(logits.shape[1], []).append((logits, labels, size, share))
    groups = [[torch.cat(part) for part in zip(*tasks, strict=True)] for tasks in by_ways.values()]
    weights = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.zeros(())
        for logits, labels, size, share in groups:
            scaled = logits / (size @ weights).exp()[:, None]
            each = functional.cross_entropy(scaled, labels, reduction="none")
            loss = loss + (each * share).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weights.detach()


def _fit_unknown(terms: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Logistic regression, and the threshold for `FALSE_REJECTION_RATE` of the in-set queries."""
    weights = torch.zeros(terms.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(terms @ weights, outside)
        loss = loss + 1e-5 * weights.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    known = (terms[outside == 0] @ weights.detach()).sigmoid()
    return weights.detach(), known.quantile(1 - FALSE_REJECTION_RATE)
