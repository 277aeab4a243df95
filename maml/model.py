"""What the inner loop asks of a network.

A network gives the inner loop four things: a fixed part (`stem`), a part that adapts
(`task_network`), the loss of the support set, and the rate of each tensor at each step.
`MetaNetwork.normalisation` names the normalisation policy:

* "batch" (`NotebookNet`): BatchNorm with momentum 1 normalises by the current batch.  For queries
  one at a time it uses the running statistics, which are those of the support set.
* "frozen" (`SketchNet`, `LiveNet`): by statistics frozen after pre-training, or of each picture by
  itself; no picture affects another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from maml.config import Framing, InnerLoop, NetworkSettings
from maml.data.episodes import as_ink_batch

Normalisation = Literal["batch", "frozen"]


@dataclass(frozen=True, eq=False)
class KnownClasses:
    """What a support set tells of its classes, whatever the query.

    Args:
        examples: unit vectors of the support set, (..., n, dimensions).
        prototypes: normalised class means, (..., ways, dimensions).
        likeness: of each class, (..., ways), see `MetaNetwork.likeness`.
        expected: the likeness that the vectors alone lead one to expect, (..., ways).
        twin: each prototype's largest cosine to another prototype, (..., ways).
    """

    examples: Tensor
    prototypes: Tensor
    likeness: Tensor
    expected: Tensor
    twin: Tensor

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: int) -> KnownClasses:
        """Those at a place of the first dimension."""
        return KnownClasses(*(tensor[place] for tensor in self.tensors))

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in the order of the arguments."""
        return [getattr(self, one.name) for one in fields(self)]


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
        framing: of the ink it is trained on and asked about, see `maml.drawing.FRAMINGS`.
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
        self.framing: Framing = "fit"
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

    def known_classes(self, support: Tensor, labels: Tensor) -> KnownClasses:
        """What the "none of these" score needs of a support set.

        Args:
            support: adapted unit vectors of the support set, (..., n, dimensions).
            labels: int64 (n,) or (..., n), every class present.

        Returns:
            What is the same for every query.

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def unknown_terms(self, queries: Tensor, known: KnownClasses) -> Tensor:
        """The inputs of the "none of these" score.

        Args:
            queries: adapted unit vectors (..., m, dimensions).
            known: `known_classes` of the support set, of as many leading dimensions.

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
            weights: (5,); times `maml.embedding.temperature_terms` they give the temperature's
                logarithm.

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


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy (tasks,) of logits (tasks, n, ways) and labels (tasks, n)."""
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view_as(labels).mean(dim=1)
