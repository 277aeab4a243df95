"""The networks, their normalisation policies, and the head that serves any number of ways.

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
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from maml.batched import ScaleShift, UnitLength
from maml.config import Framing, InnerLoop, NetworkSettings, require_trainable
from maml.data.episodes import as_ink_batch

Normalisation = Literal["batch", "frozen"]

_VIEW_ANGLE = 0.15
"""Rotation of the second and the third view of a picture, either way, in radians."""


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
            images: ink, see `maml.data.episodes.as_ink_batch`.

        Raises:
            ValueError: if they do not fit; the text says what was expected.
        """
        return as_ink_batch(images)

    def stem(self, images: Tensor) -> Tensor:
        """The part that adaptation leaves alone: ink (n, 1, 28, 28) -> features (n, ...)."""
        return images

    def features(self, images: Tensor) -> Tensor:
        """The stem as it is used after training, with test-time augmentation if there is any."""
        return self.stem(images)

    def task_network(self, ways: int) -> tuple[nn.Module, list[Tensor]]:
        """The part that adapts: a module from features (n, ...) to logits (n, ways), and the values
        that its parameters start from, in their order.

        Raises:
            ValueError: if the network cannot serve that many ways.
        """
        raise TypeError(f"{type(self).__name__} does not say which part of it adapts.")

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
        """A support loss as a mean cross-entropy: ln(ways) where all ways are equally likely."""
        return support_loss

    def rates(self, step: int, tensors: int, ways: int) -> list[Tensor]:
        """The rate of each of the task network's `tensors` at inner step `step` (0-based)."""
        return [torch.tensor(self.inner.rate)] * tensors

    def temperature(self, ways: int, shots: float) -> Tensor:
        """The divisor of the logits before the softmax, by ways and mean shots."""
        return torch.ones(())

    def embed_features(self, features: Tensor) -> Tensor:
        """Unit vectors (n, dimensions) of the stem's features, before any adaptation.

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def unknown_terms(self, queries: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        """The inputs of the "none of these" score.

        Args:
            queries: adapted unit vectors (m, dimensions).
            support: those of the support set (n, dimensions).
            labels: int64 (n,), every class present.

        Returns:
            (m, terms).

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def unknown_score(self, terms: Tensor) -> Tensor:
        """The "none of these" score (m,) in [0, 1] of `unknown_terms` (m, terms).

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def set_temperature(self, weights: Tensor) -> None:
        """Set the temperature: its logarithm is `weights` (3,) times (1, log ways, log shots).

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def set_unknown_score(self, weights: Tensor, threshold: Tensor) -> None:
        """Set the weights (terms,) of the "none of these" score and its threshold, a scalar.

        Raises:
            TypeError: if the network cannot embed.
        """
        raise self._no_embedding()

    def _no_embedding(self) -> TypeError:
        return TypeError(f"A network of kind 'sketch' is needed here; got {type(self).__name__}.")

    @property
    def unknown_threshold(self) -> float:
        """`Prediction.unknown` above this means "none of these"."""
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


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy (tasks,) of logits (tasks, n, ways) and labels (tasks, n)."""
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view_as(labels).mean(dim=1)


class NotebookNet(MetaNetwork):
    """The original notebook's network: three blocks without padding and one linear layer.

    With 16 channels and 5 ways it has 4,981 parameters.
    """

    normalisation = "batch"

    def __init__(self, settings: NetworkSettings, inner: InnerLoop) -> None:
        super().__init__(settings, inner)
        self.fixed_ways = settings.ways
        channels = settings.channels
        blocks: list[nn.Module] = []
        for inputs in (1, channels, channels):
            blocks += [
                nn.Conv2d(inputs, channels, 3),
                nn.BatchNorm2d(channels, momentum=1.0),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        # 28 -> 26 -> 13 -> 11 -> 5 -> 3 -> 1 pixels: one value a channel is left.
        self.net = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels, settings.ways))

    def task_network(self, ways: int) -> tuple[nn.Module, list[Tensor]]:
        if ways != self.fixed_ways:
            raise ValueError(
                f"This network was built for {self.fixed_ways} ways, but the task has {ways}. "
                "Give it that many symbols, or use a network of kind 'sketch', which serves any."
            )
        return self.net, list(self.net.parameters())


class EmbeddingNetwork(MetaNetwork):
    """A conv net that embeds drawings on the unit sphere, and a head that serves any ways.

    All rows of the head start as one learned vector (Unicorn-MAML, arXiv 2106.16245, section 5), so
    the number of ways is free and the order of the classes cannot matter.  Step 0 is chance; on
    unit vectors the first inner step moves each row to its class mean, further steps sharpen it.

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
        self.head_start = nn.Parameter(torch.zeros(self.dimensions))
        adaptable = len(list(self._adaptable().parameters()))
        log_rates = torch.full((inner.steps, adaptable + 2), math.log(inner.rate))
        log_rates[:, :-2] += math.log(body_rate)
        log_rates[:, -1] -= math.log(100)  # The bias: what tells classes apart are the rows.
        self.log_rates = nn.Parameter(log_rates, requires_grad=inner.learned_rates)
        # Set by calibration on held-out alphabets (maml.calibrate).
        self.temperature_weights: Tensor
        self.unknown_weights: Tensor
        self.unknown_limit: Tensor
        self.register_buffer("temperature_weights", torch.zeros(3))
        self.register_buffer("unknown_weights", torch.tensor([8.0, -16.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
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
        stages, start = self._adaptable(), self.head_start
        # A placeholder; the inner loop supplies its values.
        head = nn.utils.skip_init(nn.Linear, self.dimensions, ways).to(start)
        network = nn.Sequential(OrderedDict(stages=stages, unit=UnitLength(), head=head))
        return network, [*stages.parameters(), start.expand(ways, -1), start.new_zeros(ways)]

    def support_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        counts = functional.one_hot(labels, logits.shape[2]).sum(dim=1)
        return (each.view_as(labels) / counts.gather(1, labels)).sum(dim=1)

    def mean_loss(self, support_loss: float, ways: int) -> float:
        return support_loss / ways  # the mean over classes of each class's mean

    def rates(self, step: int, tensors: int, ways: int) -> list[Tensor]:
        return list(self.log_rates[min(step, len(self.log_rates) - 1)].exp())

    def temperature(self, ways: int, shots: float) -> Tensor:
        terms = self.temperature_weights.new_tensor([1.0, math.log(ways), math.log(shots)])
        return (self.temperature_weights * terms).sum().exp()

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
            (m, 7): 1, cosine to the nearest prototype and to the nearest example, margin of the
            nearest prototype over the second, log ways, log mean shots, cosine times log mean
            shots.
        """
        belongs = functional.one_hot(labels).to(support.dtype)
        prototypes = functional.normalize(belongs.T @ support, dim=-1)
        nearest = (queries @ prototypes.T).topk(2, dim=1).values
        best, lead = nearest[:, 0], nearest[:, 0] - nearest[:, 1]
        example = (queries @ support.T).amax(dim=1)
        ways = belongs.shape[1]
        shots = torch.full_like(best, math.log(len(labels) / ways))
        one = torch.ones_like(best)
        terms = [one, best, example, lead, one * math.log(ways), shots, best * shots]
        return torch.stack(terms, dim=1)


class SketchNet(EmbeddingNetwork):
    """The product's network: four blocks, a linear map, and a scale and shift, with BatchNorm
    statistics frozen after pre-training."""

    dimensions = 256

    def __init__(self, settings: NetworkSettings, inner: InnerLoop) -> None:
        width = settings.channels
        widths = (width // 2, width, 2 * width, 3 * width)
        # 28 -> 14 -> 7 -> 4 pixels; the last block keeps its 4 x 4.
        pools = (nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten())
        stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    pool,
                    nn.ReLU(),  # after the pool: the same, of a quarter of the values
                )
                for inputs, outputs, pool in zip((1, *widths[:-1]), widths, pools, strict=True)
            ),
            nn.Sequential(
                nn.Linear(widths[-1] * 16, self.dimensions, bias=False),
                nn.BatchNorm1d(self.dimensions, affine=False),
            ),
            ScaleShift(self.dimensions),
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The head adapts first: after pre-training the stages have little left to learn.
        super().__init__(settings, inner, stages, body_rate=1 / 1000)

    def stem(self, images: Tensor) -> Tensor:
        return super().stem(images.contiguous(memory_format=torch.channels_last))

    def features(self, images: Tensor) -> Tensor:
        """The stem's features, with test-time augmentation: the mean over each picture and, with
        three views, two slightly rotated copies of it."""
        if self.settings.test_time_views == 1:
            return self.stem(images)
        turns = images.new_tensor([0.0, _VIEW_ANGLE, -_VIEW_ANGLE])
        across = torch.stack([turns.cos(), turns.sin(), torch.zeros_like(turns)], dim=1)
        down = torch.stack([-turns.sin(), turns.cos(), torch.zeros_like(turns)], dim=1)
        maps = torch.stack([across, down], dim=1).repeat_interleave(len(images), dim=0)
        grid = functional.affine_grid(maps, [len(maps), *images.shape[1:]], align_corners=False)
        views = functional.grid_sample(images.repeat(3, 1, 1, 1), grid, align_corners=False)
        views[: len(images)] = images
        return self.stem(views).unflatten(0, (3, -1)).mean(dim=0)


class LiveNet(EmbeddingNetwork):
    """A small network that the outer loop trains from nothing while people watch.

    Four convolutions with stride 2, each normalised picture by picture (GroupNorm of one group), so
    there are no batch statistics to estimate, freeze or pass around.
    """

    def __init__(self, settings: NetworkSettings, inner: InnerLoop) -> None:
        width = settings.channels
        # 28 -> 14 -> 7 -> 4 -> 2 pixels.
        self.dimensions = 4 * width
        blocks = [
            nn.Sequential(
                nn.Conv2d(inputs, width, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(1, width),
                nn.ReLU(),
            )
            for inputs in (1, width, width, width)
        ]
        stages = nn.Sequential(*blocks[:3], nn.Sequential(*blocks[3], nn.Flatten()))
        super().__init__(settings, inner, stages, body_rate=2 / 15)
        for weight in stages.parameters():
            if weight.ndim == 4:
                nn.init.kaiming_normal_(weight)

    def rates(self, step: int, tensors: int, ways: int) -> list[Tensor]:
        # The head's rows have an example each, but the body is moved by those of all classes: its
        # gradient is averaged over them, or it would be ever larger with more ways.
        *body, weight, bias = super().rates(step, tensors, ways)
        return [*(rate / ways for rate in body), weight, bias]


_KINDS: dict[str, Callable[[NetworkSettings, InnerLoop], MetaNetwork]] = {
    "notebook": NotebookNet,
    "sketch": SketchNet,
    "live": LiveNet,
}


def build_model(
    settings: NetworkSettings, inner: InnerLoop, generator: torch.Generator
) -> MetaNetwork:
    """Make a network with fresh parameters.

    Args:
        settings: which network, and how large.
        inner: the inner loop it will be trained for.
        generator: source of the initial parameters; the global generator is left as it was.

    Raises:
        ValueError: if the network cannot be trained by that inner loop.
    """
    if settings.kind not in _KINDS:
        raise ValueError(
            f"A network of kind {settings.kind!r} is one's own module: make it with "
            "maml.from_module, and fill it from a file with maml.load_model."
        )
    require_trainable(settings, inner)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # Unlike torch.manual_seed, no device's.
        return _KINDS[settings.kind](settings, inner)
