"""What an outer step minimises: five meta-learning algorithms behind one outer loop.

Each takes tasks of one size and gives their outer losses; `maml.train` samples the tasks, follows
the gradient, keeps the records and evaluates.  What adapts is a matter of the network
(`NetworkSettings.adaptable`), how it adapts of the inner loop (`InnerLoop`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from maml.config import Algorithm
from maml.data.episodes import Episode
from maml.embedding import normalised_means
from maml.inner_loop import InnerState, inner_loop
from maml.model import MetaNetwork, mean_cross_entropy
from maml.outer_loop import features_of, query_loss


class OuterLoss(Protocol):
    """The outer loss of one algorithm."""

    def __call__(
        self,
        model: MetaNetwork,
        episodes: Sequence[Episode],
        *,
        second_order: bool,
        step_weights: list[float],
    ) -> tuple[Tensor, Tensor]:
        """Losses (tasks,) with their graph, and query accuracies (tasks,) in [0, 1].

        Args:
            model: the starting point of the inner loop.
            episodes: tasks of one size, on the model's device.
            second_order: differentiate through the inner gradients.
            step_weights: weight of the query loss after each inner step; as many steps are taken.
        """


def maml(
    model: MetaNetwork,
    episodes: Sequence[Episode],
    *,
    second_order: bool,
    step_weights: list[float],
) -> tuple[Tensor, Tensor]:
    """Model-agnostic meta-learning: the query loss after adaptation.

    Source: arXiv 1703.03400, Algorithm 2.
    """
    return query_loss(model, episodes, second_order=second_order, step_weights=step_weights)


def fomaml(
    model: MetaNetwork,
    episodes: Sequence[Episode],
    *,
    second_order: bool,
    step_weights: list[float],
) -> tuple[Tensor, Tensor]:
    """First-order MAML: the inner gradients count as constants.

    Source: arXiv 1703.03400, section 5.2, "first-order approximation".
    """
    return query_loss(model, episodes, second_order=False, step_weights=step_weights)


def anil(
    model: MetaNetwork,
    episodes: Sequence[Episode],
    *,
    second_order: bool,
    step_weights: list[float],
) -> tuple[Tensor, Tensor]:
    """Almost no inner loop: MAML in which the head alone adapts; the body is one for all tasks.

    Source: arXiv 1909.09157, section 4.
    """
    assert model.settings.adaptable == 0  # `maml.config.require_algorithm`
    return query_loss(model, episodes, second_order=second_order, step_weights=step_weights)


def reptile(
    model: MetaNetwork,
    episodes: Sequence[Episode],
    *,
    second_order: bool,
    step_weights: list[float],
) -> tuple[Tensor, Tensor]:
    """Reptile: move the starting point towards the adapted tensors.

    A task adapts to all of its drawings.  The gradient of the losses is the starting point less the
    adapted tensors, so an outer step of plain gradient descent with rate epsilon is the paper's
    update.  Their value, and the accuracy, are those of the queries after adapting to the support
    set alone, as for the other algorithms; they do not enter the update.

    Source: arXiv 1803.02999, Algorithm 2.
    """
    features = features_of(model, episodes).detach()
    support = torch.stack([one.support_labels for one in episodes])
    queries = torch.stack([one.query_labels for one in episodes])
    count, ways = support.shape[1], episodes[0].ways

    def adapted(drawings: Tensor, labels: Tensor) -> InnerState:
        steps = len(step_weights)
        *_, last = inner_loop(model, drawings, labels, ways, steps, differentiable=False)
        return last

    last = adapted(features, torch.cat([support, queries], dim=1))
    with torch.no_grad():
        logits = adapted(features[:, :count], support).answer(features[:, count:])
        values = mean_cross_entropy(logits, queries)
        accuracies = (logits.argmax(dim=2) == queries).float().mean(dim=1)
    _, start = model.task_network(ways)
    steps = sum(
        ((before - after).detach() * before).flatten(1).sum(dim=1)
        for before, after in zip(start, last.tensors, strict=True)
    )
    assert isinstance(steps, Tensor)
    return values + steps - steps.detach(), accuracies


def prototypes(
    model: MetaNetwork,
    episodes: Sequence[Episode],
    *,
    second_order: bool,
    step_weights: list[float],
) -> tuple[Tensor, Tensor]:
    """Prototypical networks: no inner loop; the logits are scaled cosines to the class means.

    The scale is the head's inner rate.  At one shot, a first inner step at that rate gives these
    very logits but for a constant, so what is trained here adapts and answers like the others.

    Source: arXiv 1703.05175, equation 2, with cosines in place of squared distances.
    """
    features = features_of(model, episodes)
    embedded = model.embed_features(features.flatten(0, 1)).unflatten(0, features.shape[:2])
    labels = torch.stack([one.support_labels for one in episodes])
    queries = torch.stack([one.query_labels for one in episodes])
    support, asked = embedded.split([labels.shape[1], queries.shape[1]], dim=1)
    centres = normalised_means(support, labels)
    *_, scale, _ = model.rates(0, len(list(model.parameters())), episodes[0].ways)
    logits = scale * asked @ centres.mT
    accuracies = (logits.argmax(dim=2) == queries).float().mean(dim=1)
    return mean_cross_entropy(logits, queries), accuracies


OUTER_LOSSES: Mapping[Algorithm, OuterLoss] = {
    "maml": maml,
    "fomaml": fomaml,
    "anil": anil,
    "reptile": reptile,
    "prototypes": prototypes,
}
"""The outer loss of each algorithm by its name in the settings."""
