"""What the inner loop asks of a network, and the head that serves any number of ways.

A network gives the inner loop four things: a fixed part (`stem`), a part that adapts
(`task_network`), the loss of the support set, and the rate of each tensor at each step.
`MetaNetwork.normalisation` names the normalisation policy:

* "batch" (`NotebookNet`): BatchNorm with momentum 1 normalises by the current batch.  For queries
  one at a time it uses the running statistics, which are those of the support set.
* "frozen" (`SketchNet`, `LiveNet`): by statistics frozen after pre-training, or of each picture by
  itself; no picture affects another.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from maml.batched import CosineHead, UnitLength, run_tasks
from maml.config import Framing, InnerLoop, NetworkSettings
from maml.data.episodes import as_ink_batch

Normalisation = Literal["batch", "frozen"]
_Likeness = TypeVar("_Likeness", float, Tensor, float | Tensor)
TEMPERATURE_TERMS = 5
"""Inputs of the temperature, see `temperature_terms`."""
UNKNOWN_TERMS = 13
"""Inputs of the "none of these" score, see `EmbeddingNetwork.unknown_terms`."""
UNKNOWN_TASK_TERMS = (0, 4, 5, 7, 8, 9, 10, 12)
"""Those that are of the task and of the nearest class alone, whatever the query."""
_EXPECTATION = 3.0
"""How many pairs of examples the expected likeness counts for."""


class MetaNetwork(nn.Module):
    """What the inner loop, training, evaluation and checkpoints need of a network.

    Attributes:
        settings: which network, and how large.
        inner: the inner loop it is trained for.
        normalisation: what its BatchNorm layers normalise by, see the module's docstring.
        fixed_ways: the only number of ways it serves, or None for any.
        can_embed: whether it maps drawings to unit vectors ahead of its head.  Such a network can
            be pre-trained and calibrated, and scores "none of these" by those vectors.
        dimensions: of these vectors.
        provenance: how it was made; the content of the .json beside its weights.
    """

    normalisation: Normalisation
    can_embed: ClassVar[bool] = False
    dimensions: int = 0
    fixed_ways: int | None = None

    def __init__(self, settings: NetworkSettings, inner: InnerLoop) -> None:
        super().__init__()
        self.settings = settings
        self.inner = inner
        self.provenance: dict[str, Any] = {}

    def pictures(self, images: object) -> Tensor:
        """The pictures that a caller gives, checked, as the network takes them.

        Args:
            images: ink (n, 28, 28) or (n, 1, 28, 28), see `maml.data.episodes.as_ink_batch`.

        Returns:
            Floats (n, channels, height, width); of ink (n, 1, 28, 28).

        Raises:
            ValueError: if they do not fit; the text says what was expected.
        """
        return as_ink_batch(images)

    def stem(self, images: Tensor) -> Tensor:
        """The part that adaptation leaves alone, as it is trained.

        Args:
            images: what `pictures` returns: (n, channels, height, width).

        Returns:
            Features (n, ...), the input of `task_network`.
        """
        return images

    def features(self, images: Tensor) -> Tensor:
        """`stem` (n, ...) as it is used after training, with test-time augmentation if there is
        any."""
        return self.stem(images)

    def task_network(self, ways: int) -> tuple[nn.Module, list[Tensor]]:
        """The part that adapts.

        Args:
            ways: of the task.

        Returns:
            A module from features (n, ...) to logits (n, ways), and the values that its parameters
            start from, in their order; `start` may change them by the task.

        Raises:
            TypeError: if the kind of network has no such part.
            ValueError: if the network cannot serve that many ways.
        """
        raise TypeError(f"{type(self).__name__} does not say which part of it adapts.")

    def start(self, tensors: list[Tensor], features: Tensor, labels: Tensor) -> list[Tensor]:
        """What each task's copy of the task network starts from.

        Args:
            tensors: those of `task_network`, each of its own shape (...).
            features: of the support sets, (tasks, n, ...).
            labels: int64 (tasks, n).

        Returns:
            (tasks, ...) for each tensor.
        """
        return [tensor.expand(len(features), *tensor.shape) for tensor in tensors]

    def after_step(self, tensors: list[Tensor]) -> list[Tensor]:
        """The adapted tensors as they go on after an inner step: here as the step left them.

        Args:
            tensors: of one task or, each (tasks, ...), of several.

        Returns:
            As many tensors, (...) or (tasks, ...) as they came.
        """
        return tensors

    def support_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss that inner steps descend, task by task.

        Args:
            logits: (tasks, n, ways).
            labels: int64 (tasks, n).

        Returns:
            (tasks,): here the mean cross-entropy of each task's examples.
        """
        return mean_cross_entropy(logits, labels)

    def mean_loss(self, support_loss: float, ways: int) -> float:
        """A support loss as a mean cross-entropy, which is the same for any number of ways.

        Args:
            support_loss: what `support_loss` gave, nats.
            ways: of the task.

        Returns:
            Nats an example: ln(ways) where all ways are equally likely.
        """
        return support_loss

    def rates(self, step: int, tensors: int, ways: int) -> list[Tensor]:
        """The inner learning rates of one step.

        Args:
            step: counted from 0.
            tensors: how many tensors the task network has.
            ways: of the task.

        Returns:
            For each tensor a scalar, or whatever multiplies its gradient.
        """
        return [torch.tensor(self.inner.rate)] * tensors

    def temperature(self, ways: int, shots: float, likeness: Tensor | float = 0.0) -> Tensor:
        """What the logits are divided by before the softmax.

        Args:
            ways: of the tasks.
            shots: mean number of examples of each way.
            likeness: of each task, (tasks,): the mean over its classes of `likeness`.

        Returns:
            Positive, a scalar or (tasks,).
        """
        return torch.ones(())

    def likeness(self, support: Tensor, labels: Tensor) -> Tensor:
        """How alike two drawings of each class are likely to be.

        Args:
            support: unit vectors of the support set, (..., n, dimensions).
            labels: int64 (n,) or (..., n), every class present.

        Returns:
            An estimate of their cosine, (..., ways).

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def of_older_file(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a file as this version names and sizes them.

        Args:
            tensors: by name, each (...), as a file of any version holds them.

        Returns:
            Those that give the same answers in a network of this version.
        """
        return dict(tensors)

    def embed_features(self, features: Tensor) -> Tensor:
        """Where drawings lie on the unit sphere before any adaptation.

        Args:
            features: of `stem` or `features`, (n, ...).

        Returns:
            Unit vectors (n, dimensions).

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def unknown_terms(self, queries: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        """The inputs of the "none of these" score.

        Args:
            queries: adapted unit vectors (..., m, dimensions).
            support: those of the support set (..., n, dimensions).
            labels: int64 (n,), every class present.

        Returns:
            (..., m, terms).

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def unknown_score(self, terms: Tensor) -> Tensor:
        """The "none of these" score.

        Args:
            terms: of `unknown_terms`, (..., m, terms).

        Returns:
            In [0, 1], (..., m); high = none of these.

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def set_temperature(self, weights: Tensor) -> None:
        """Set what `temperature` returns.

        Args:
            weights: (5,); times `temperature_terms` they give the temperature's logarithm.

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def set_likeness(self, weights: Tensor) -> None:
        """Set what `likeness` expects of a drawing before it sees another one of its class.

        Args:
            weights: (dimensions + 1,), of a unit vector and a constant.

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def set_unknown_score(self, weights: Tensor, threshold: Tensor) -> None:
        """Set what `unknown_score` and `unknown_threshold` return.

        Args:
            weights: of the score, (terms,).
            threshold: a scalar in [0, 1].

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def _no_embedding(self) -> TypeError:
        return TypeError(f"A network of kind 'sketch' is needed here; got {type(self).__name__}.")

    @property
    def unknown_threshold(self) -> float:
        """`Prediction.unknown` above this is "none of these", see `maml.prediction.shares_of`."""
        return 0.5

    @property
    def framing(self) -> Framing:
        """The framing of the ink it was trained on, see `maml.drawing.Framing`."""
        framing: Framing = self.provenance.get("framing", "fit")
        return framing


def require_meta_network(model: object) -> None:
    """Check that an argument is a network that can be meta-trained.

    Raises:
        TypeError: if it is not; the text says how to make one.
    """
    if isinstance(model, MetaNetwork):
        return
    remedy = (
        "maml.from_module(module, ways=...) makes one of any torch.nn.Module"
        if isinstance(model, nn.Module)
        else "maml.load_pretrained and maml.build_model give one"
    )
    raise TypeError(f"The model must be a MetaNetwork; {remedy}; got {type(model).__name__}.")


def temperature_terms(
    ways: int, shots: float, likeness: _Likeness
) -> tuple[float, float, float, _Likeness, _Likeness]:
    """What the temperature looks at: 1, log ways, log shots, likeness, likeness times log ways."""
    size = math.log(ways)
    return 1.0, size, math.log(shots), likeness, likeness * size


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy (tasks,) of logits (tasks, n, ways) and labels (tasks, n)."""
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view_as(labels).mean(dim=1)


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
        belongs = functional.one_hot(labels).to(support).mT  # (..., ways, n)
        counts = belongs.sum(dim=-1)
        pairs = counts * (counts - 1) / 2
        expected = (belongs @ self._expected(support)[..., None])[..., 0] / counts
        cosines = ((belongs @ support).square().sum(dim=-1) - counts) / 2  # summed over the pairs
        return (_EXPECTATION * expected + cosines) / (_EXPECTATION + pairs)

    def _expected(self, vectors: Tensor) -> Tensor:
        """The cosine to expect between each drawing and others of its class, (...)."""
        return vectors @ self.likeness_weights[:-1] + self.likeness_weights[-1]

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

    def unknown_terms(self, queries: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        """The inputs of the "none of these" score, see `MetaNetwork.unknown_terms`.

        Returns:
            (..., m, 13): 1, cosine to the nearest prototype and to the nearest example, margin of
            the nearest prototype over the second, log ways, log mean shots, cosine times log mean
            shots; then of the nearest prototype's class: what its examples' vectors lead one to
            expect as its likeness, its `likeness`, its prototype's largest cosine to another
            prototype, likeness times log mean shots, and cosine times likeness; last the mean
            likeness of all classes.
        """
        prototypes = normalised_means(support, labels)
        nearest = (queries @ prototypes.mT).topk(2, dim=-1)
        best, lead = nearest.values[..., 0], nearest.values[..., 0] - nearest.values[..., 1]
        example = (queries @ support.mT).amax(dim=-1)
        ways = prototypes.shape[-2]
        shots = math.log(labels.shape[-1] / ways)
        one = torch.ones_like(best)

        def of_nearest(values: Tensor) -> Tensor:
            """(..., ways) -> (..., m)"""
            return values.gather(-1, nearest.indices[..., 0])

        belongs = functional.one_hot(labels).to(support).mT
        expected = (belongs @ self._expected(support)[..., None])[..., 0] / belongs.sum(dim=1)
        itself = torch.eye(ways, dtype=torch.bool, device=support.device)
        twin = (prototypes @ prototypes.mT).masked_fill(itself, -1).amax(dim=-1)
        of_classes = self.likeness(support, labels)
        likeness = of_nearest(of_classes)
        terms = [
            one, best, example, lead, one * math.log(ways), one * shots, best * shots,
            of_nearest(expected), likeness, of_nearest(twin), likeness * shots, best * likeness,
            one * of_classes.mean(dim=-1, keepdim=True),
        ]  # fmt: skip
        return torch.stack(terms, dim=-1)
