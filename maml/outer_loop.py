"""The outer loss of MAML: the query loss of adapted tasks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from maml.data.episodes import Episode
from maml.inner_loop import inner_loop, tasks_at_once
from maml.model import MetaNetwork, mean_cross_entropy


def chunks(model: MetaNetwork, episodes: list[Episode]) -> Iterator[list[Episode]]:
    """Tasks that go through the inner loop together: neighbours of one size, as many as pay.

    More at once cost more memory and save no more time, see `tasks_at_once`.
    """

    def size(episode: Episode) -> tuple[int, int, int]:
        return episode.ways, len(episode.support_labels), len(episode.query_labels)

    for (_, support, queries), alike in itertools.groupby(episodes, size):
        together = list(alike)
        count = tasks_at_once(model, support + queries)
        for start in range(0, len(together), count):
            yield together[start : start + count]


def features_of(model: MetaNetwork, episodes: Sequence[Episode]) -> Tensor:
    """The stem's features (tasks, n, ...) of tasks of one size: their support, then their queries.

    One pass of the stem for all tasks: it is the same for each.
    """
    images = torch.stack([torch.cat([one.support_images, one.query_images]) for one in episodes])
    return model.stem(images.flatten(0, 1)).unflatten(0, images.shape[:2])


def query_loss(
    model: MetaNetwork,
    episodes: Sequence[Episode],
    *,
    second_order: bool,
    step_weights: list[float],
) -> tuple[Tensor, Tensor]:
    """The outer loss of each task, differentiable with respect to the model's parameters.

    Args:
        model: the starting point of the inner loop.
        episodes: tasks of one size, on the model's device.
        second_order: differentiate through the inner gradients.
        step_weights: weight of the query loss after each inner step; as many steps are taken.

    Returns:
        The losses (tasks,) with their graph, and the query accuracies (tasks,) after the last step.

    Source: MAML, arXiv 1703.03400, equation 1 and Algorithm 2, line 10.
    """
    features = features_of(model, episodes)
    support_labels = torch.stack([one.support_labels for one in episodes])
    query_labels = torch.stack([one.query_labels for one in episodes])
    support = support_labels.shape[1]
    losses = features.new_zeros(len(episodes))
    accuracies = losses
    for state in inner_loop(
        model,
        features[:, :support],
        support_labels,
        episodes[0].ways,
        len(step_weights),
        differentiable=True,
        second_order=second_order,
    ):
        weight = step_weights[state.step - 1] if state.step else 0.0
        if weight:
            logits = state.answer(features[:, support:])
            losses = losses + weight * mean_cross_entropy(logits, query_labels)
            accuracies = (logits.argmax(dim=2) == query_labels).float().mean(dim=1)
    return losses, accuracies
