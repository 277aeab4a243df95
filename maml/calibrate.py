"""Honest probabilities: temperature and "none of these" score, fitted on held-out alphabets.

Both are a few numbers on top of a trained model.  They are fitted on tasks of many sizes cut from
alphabets that the model was not trained on, and never on a test alphabet.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from maml.config import EpisodeShape
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler
from maml.evaluate import FeatureTable, adapt_task
from maml.model import SketchNet

_SHAPES = tuple(
    EpisodeShape(ways, shots, 5, within)
    for ways in (2, 3, 5, 10, 20)
    for shots in (1, 2, 5)
    for within in (False, True)
)

REFUSED = 0.05
"""Share of known drawings that may be taken for "none of these".

A person who taught a symbol minds a refusal more than a stranger let in, which a further example or
a symbol of its own mends; so this is fixed, and strangers are caught as far as it allows.
"""


def calibrate(model: SketchNet, data: CharacterSet, *, seed: int, rounds: int = 120) -> None:
    """Fit temperature, "none of these" score and its threshold, in place.

    Args:
        model: a trained model.
        data: characters it was not trained on, at least 21, with at least 10 drawings each.
        seed: of the tasks.
        rounds: tasks of each of 30 sizes: 2 to 20 ways, 1 to 5 shots, over all characters and
            within alphabets.

    The temperature's logarithm is linear in log ways and log shots and minimises the negative
    log-likelihood (temperature scaling, arXiv 1706.04599, section 4.2) of the tasks over all
    characters.  Tasks within alphabets are left out of that: of a few alphabets even the others
    hold look-alikes enough, and one temperature for both came out too modest for any mixed task.
    The score is a logistic regression on `SketchNet.unknown_terms`, half of the queries being of
    characters outside the task; its threshold refuses `REFUSED` of the known drawings.
    """
    model.temperature_weights.zero_()
    sampler = EpisodeSampler(data, torch.Generator().manual_seed(seed))
    table = FeatureTable(model, data)
    shapes = [shape for shape in _SHAPES if shape.ways < len(data)]
    answered: list[tuple[Tensor, Tensor, Tensor]] = []
    terms: list[Tensor] = []
    outside: list[Tensor] = []
    for shape in shapes * rounds:
        characters, drawings = sampler.sample_rows(shape)
        features = table(characters, drawings)
        learner = adapt_task(model, features[:, : shape.shots], model.inner.evaluation_steps)
        queries = features[:, shape.shots :].flatten(0, 1)
        if not shape.within_alphabet:
            labels = torch.arange(len(characters)).repeat_interleave(shape.queries)
            logits = learner.path_of_features(queries)[-1].clamp(min=1e-20).log().cpu()
            size = logits.new_tensor([1.0, np.log(len(characters)), np.log(shape.shots)])
            answered.append((logits, labels, size.expand(len(labels), -1)))
        strangers = stranger_features(sampler, table, characters, len(queries), shape)
        for known, features_of in ((0.0, queries), (1.0, strangers)):
            terms.append(learner.unknown_terms_of_features(features_of).cpu())
            outside.append(torch.full((len(features_of),), known))
    model.temperature_weights.copy_(_fit_temperature(answered))
    weights, limit = _fit_unknown(torch.cat(terms), torch.cat(outside))
    model.unknown_weights.copy_(weights)
    model.unknown_limit.copy_(limit)


def stranger_features(
    sampler: EpisodeSampler,
    table: FeatureTable,
    characters: Tensor,
    count: int,
    shape: EpisodeShape,
) -> Tensor:
    """Features of `count` drawings of characters outside a task.

    They come from the task's own alphabet where the task does and the alphabet has others left.
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
        answered: for each task logits (m, ways), labels (m,) and the terms of its size (m, 3).
    """
    # Tasks of as many ways go through one call together, which is many times faster.
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
    """Logistic regression, and the threshold that refuses `REFUSED` of the known drawings."""
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
    return weights.detach(), known.quantile(1 - REFUSED)
