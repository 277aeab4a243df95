"""Networks that embed drawings on the unit sphere, and their head, which serves any number of ways.

What they look at to score "none of these" and to choose a temperature is here as well;
`maml.calibrate` fits both.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from maml.batched import CosineHead, UnitLength, run_tasks
from maml.config import InnerLoop, NetworkSettings
from maml.model import KnownClasses, MetaNetwork

_Likeness = TypeVar("_Likeness", float, Tensor, float | Tensor)
TEMPERATURE_TERMS = 5
"""Inputs of the temperature, see `temperature_terms`."""
UNKNOWN_TERMS = 13
"""Inputs of the "none of these" score, see `EmbeddingNetwork.unknown_terms`."""
UNKNOWN_TASK_TERMS = (0, 4, 5, 7, 8, 9, 10, 12)
"""Those that are of the task and of the nearest class alone, whatever the query."""
_EXPECTATION = 3.0
"""How many pairs of examples the expected likeness counts for."""


def temperature_terms(
    ways: int, shots: float, likeness: _Likeness
) -> tuple[float, float, float, _Likeness, _Likeness]:
    """What the temperature looks at: 1, log ways, log shots, likeness, likeness times log ways."""
    size = math.log(ways)
    return 1.0, size, math.log(shots), likeness, likeness * size


def normalised_means(vectors: Tensor, labels: Tensor) -> Tensor:
    """Prototypes: the mean of each class's vectors, scaled to length 1.

    Args:
        vectors: (..., n, dimensions).
        labels: int64 (..., n) in [0, ways), every class present.

    Returns:
        (..., ways, dimensions).

    Source: prototypical networks, arXiv 1703.05175, with cosines in place of squared distances.
    """
    belongs = functional.one_hot(labels).to(vectors.dtype)
    return functional.normalize(belongs.mT @ vectors, dim=-1)


class EmbeddingNetwork(MetaNetwork):
    """A conv net that embeds drawings on the unit sphere, and a head that serves any ways.

    All rows of the head start as one vector, so the number of ways is free, the order of the
    classes cannot matter, and step 0 is chance.

    * "linear": the vector is learned (Unicorn-MAML, arXiv 2106.16245, section 5).  The first inner
      step moves each row towards its class mean, further steps sharpen it.
    * "cosine": the vector is the mean of the support set's class means, and each inner step ends by
      scaling the rows to unit length (projected gradient descent).  The gradient of the first step
      is `head_scale` times the mean of the class means less each class's own, so at the inner rate
      `1 / head_scale` it gives exactly the normalised class means (prototypical networks, arXiv
      1703.05175, with cosines).  Further steps move the rows of classes that are still confused.

    The support loss is the sum over classes of each class's mean cross-entropy, which makes an
    inner step of the head equally long for any number of ways and shots, even unequal ones.

    Args:
        settings: its last `settings.adaptable` stages adapt along with the head.
        inner: the inner loop it is trained for.
        stages: from ink (n, 1, 28, 28) to vectors (n, dimensions), of any length.
        body_rate: initial inner rate of the stages, as a share of `inner.rate`.
    """

    normalisation = "frozen"
    can_embed = True

    def __init__(
        self, settings: NetworkSettings, inner: InnerLoop, stages: nn.Sequential, body_rate: float
    ) -> None:
        super().__init__(settings, inner)
        self.stages = stages
        linear = settings.head == "linear"
        if linear:
            self.head_start = nn.Parameter(torch.zeros(self.dimensions))
        adaptable = len(list(self._adaptable().parameters()))
        log_rates = torch.full((inner.steps, adaptable + 1 + linear), math.log(inner.rate))
        log_rates[:, :adaptable] += math.log(body_rate)
        if linear:
            log_rates[:, -1] -= math.log(100)  # The bias: what tells classes apart are the rows.
        self.log_rates = nn.Parameter(log_rates, requires_grad=inner.learned_rates)
        # Set by calibration on characters that were held out of training (maml.calibrate).
        self.temperature_weights: Tensor
        self.likeness_weights: Tensor
        self.unknown_weights: Tensor
        self.unknown_limit: Tensor
        self.register_buffer("temperature_weights", torch.zeros(TEMPERATURE_TERMS))
        self.register_buffer("likeness_weights", torch.zeros(self.dimensions + 1))
        unknown = torch.zeros(UNKNOWN_TERMS)
        unknown[:2] = torch.tensor([8.0, -16.0])
        self.register_buffer("unknown_weights", unknown)
        self.register_buffer("unknown_limit", torch.tensor(0.5))

    @property
    def unknown_threshold(self) -> float:
        return float(self.unknown_limit)

    def _cut(self) -> int:
        return len(self.stages) - self.settings.adaptable

    def _adaptable(self) -> nn.Sequential:
        adaptable = self.stages[self._cut() :]
        assert isinstance(adaptable, nn.Sequential)
        return adaptable

    def stem(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages[: self._cut()](images)
        return features

    def embed(self, images: Tensor) -> Tensor:
        """Unit vectors (n, dimensions) of ink (n, 1, 28, 28), before any adaptation."""
        return self.embed_features(self.stem(images))

    def embed_features(self, features: Tensor) -> Tensor:
        """Unit vectors (n, dimensions) of the stem's features, before any adaptation."""
        return functional.normalize(self._adaptable()(features), dim=-1)

    def task_network(self, ways: int) -> tuple[nn.Module, list[Tensor]]:
        stages, like = self._adaptable(), self.log_rates
        # A placeholder; the inner loop supplies its values.
        head: nn.Linear
        if self.settings.head == "cosine":
            scale = self.settings.head_scale
            head = nn.utils.skip_init(CosineHead, self.dimensions, ways, scale=scale).to(like)
            start = [like.new_zeros(ways, self.dimensions)]  # by the task, see `start`
        else:
            head = nn.utils.skip_init(nn.Linear, self.dimensions, ways).to(like)
            start = [self.head_start.expand(ways, -1), like.new_zeros(ways)]
        network = nn.Sequential(OrderedDict(stages=stages, unit=UnitLength(), head=head))
        return network, [*stages.parameters(), *start]

    def start(self, tensors: list[Tensor], features: Tensor, labels: Tensor) -> list[Tensor]:
        start = super().start(tensors, features, labels)
        if self.settings.head == "linear":
            return start
        # Tensors of their own: the rows' way back to the body is none of an inner gradient's.
        body, rows = super().start(tensors[:-1], features, labels), start[-1]
        stages = nn.Sequential(*self._adaptable(), UnitLength())
        vectors = run_tasks(stages, body, features, batch_statistics=False)
        belongs = functional.one_hot(labels, rows.shape[1]).to(vectors)
        means = (belongs.mT @ vectors) / belongs.sum(dim=1)[..., None]
        return [*start[:-1], means.mean(dim=1, keepdim=True).expand_as(rows)]

    def after_step(self, tensors: list[Tensor]) -> list[Tensor]:
        if self.settings.head == "linear":
            return tensors
        *body, rows = tensors
        return [*body, functional.normalize(rows, dim=-1)]

    def support_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        counts = functional.one_hot(labels, logits.shape[2]).sum(dim=1)
        return (each.view_as(labels) / counts.gather(1, labels)).sum(dim=1)

    def mean_loss(self, support_loss: float, ways: int) -> float:
        return support_loss / ways  # the mean over classes of each class's mean

    def rates(self, step: int, tensors: int, ways: int) -> list[Tensor]:
        return list(self.log_rates[min(step, len(self.log_rates) - 1)].exp())

    def temperature(self, ways: int, shots: float, likeness: Tensor | float = 0.0) -> Tensor:
        terms = temperature_terms(ways, shots, likeness)
        return sum(
            (weight * term for weight, term in zip(self.temperature_weights, terms, strict=True)),
            start=self.temperature_weights.new_zeros(()),
        ).exp()

    def likeness(self, support: Tensor, labels: Tensor) -> Tensor:
        """See `MetaNetwork.likeness`: what the vectors lead one to expect, moved towards the mean
        cosine of the class's pairs of examples.  The expectation counts for as much as
        `_EXPECTATION` pairs."""
        return self._likeness(support, labels, self._expected(support, labels))

    def _likeness(self, support: Tensor, labels: Tensor, expected: Tensor) -> Tensor:
        belongs = functional.one_hot(labels).to(support).mT  # (..., ways, n)
        counts = belongs.sum(dim=-1)
        pairs = counts * (counts - 1) / 2
        cosines = ((belongs @ support).square().sum(dim=-1) - counts) / 2  # summed over the pairs
        return (_EXPECTATION * expected + cosines) / (_EXPECTATION + pairs)

    def _expected(self, support: Tensor, labels: Tensor) -> Tensor:
        """The cosine to expect between a class's examples and others of it, by their vectors alone:
        the mean over the examples, (..., ways)."""
        each = support @ self.likeness_weights[:-1] + self.likeness_weights[-1]
        belongs = functional.one_hot(labels).to(support).mT
        return (belongs @ each[..., None])[..., 0] / belongs.sum(dim=-1)

    def set_likeness(self, weights: Tensor) -> None:
        self.likeness_weights.copy_(weights)

    def of_older_file(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        known = dict(tensors)
        for name in ("temperature_weights", "likeness_weights", "unknown_weights"):
            found, expected = known.get(name, torch.zeros(0)), getattr(self, name)
            if found.ndim == 1 and len(found) < len(expected):
                # Terms that older versions did not have weigh nothing.
                known[name] = torch.cat([found, found.new_zeros(len(expected) - len(found))])
        return known

    def set_temperature(self, weights: Tensor) -> None:
        self.temperature_weights.copy_(weights)

    def set_unknown_score(self, weights: Tensor, threshold: Tensor) -> None:
        self.unknown_weights.copy_(weights)
        self.unknown_limit.copy_(threshold)

    def unknown_score(self, terms: Tensor) -> Tensor:
        return (terms @ self.unknown_weights).sigmoid()

    def known_classes(self, support: Tensor, labels: Tensor) -> KnownClasses:
        prototypes = normalised_means(support, labels)
        itself = torch.eye(prototypes.shape[-2], dtype=torch.bool, device=support.device)
        twin = (prototypes @ prototypes.mT).masked_fill(itself, -1).amax(dim=-1)
        expected = self._expected(support, labels)
        likeness = self._likeness(support, labels, expected)
        return KnownClasses(support, prototypes, likeness, expected, twin)

    def unknown_terms(self, queries: Tensor, known: KnownClasses) -> Tensor:
        """The inputs of the "none of these" score, see `MetaNetwork.unknown_terms`.

        Returns:
            (..., m, 13): 1, cosine to the nearest prototype and to the nearest example, margin of
            the nearest prototype over the second, log ways, log mean shots, cosine times log mean
            shots; then of the nearest prototype's class: what its examples' vectors lead one to
            expect as its likeness, its `likeness`, its prototype's largest cosine to another
            prototype, likeness times log mean shots, and cosine times likeness; last the mean
            likeness of all classes.
        """
        ways = known.prototypes.shape[-2]
        shots = math.log(known.examples.shape[-2] / ways)
        nearest = (queries @ known.prototypes.mT).topk(2, dim=-1)
        best, lead = nearest.values[..., 0], nearest.values[..., 0] - nearest.values[..., 1]
        example = (queries @ known.examples.mT).amax(dim=-1)
        one = torch.ones_like(best)

        def of_nearest(values: Tensor) -> Tensor:
            """(..., ways) -> (..., m)"""
            return values.gather(-1, nearest.indices[..., 0])

        likeness = of_nearest(known.likeness)
        terms = [
            one, best, example, lead, one * math.log(ways), one * shots, best * shots,
            of_nearest(known.expected), likeness, of_nearest(known.twin), likeness * shots,
            best * likeness, one * known.likeness.mean(dim=-1, keepdim=True),
        ]  # fmt: skip
        return torch.stack(terms, dim=-1)
