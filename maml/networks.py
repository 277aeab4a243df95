"""The networks, and how to make one.

What the inner loop asks of a network is in `maml.model`, the head in `maml.embedding`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from maml.batched import BranchLinear, ScaleShift
from maml.config import InnerLoop, NetworkSettings, require_trainable
from maml.embedding import EmbeddingNetwork
from maml.model import MetaNetwork

_VIEW_ANGLES = {2: 0.2, 3: 0.15}
"""Rotation of two of the views of a picture, either way, in radians, by the number of views."""


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


class SketchNet(EmbeddingNetwork):
    """The product's network: four blocks, a linear map, a scale and shift, and whitening if the
    settings say so, with BatchNorm statistics frozen after pre-training.

    With several branches all but the first block is there several times, side by side in grouped
    convolutions, and each branch gives a part of the vector: an ensemble in one pass.
    """

    def __init__(self, settings: NetworkSettings, inner: InnerLoop) -> None:
        width, branches = settings.channels, settings.branches
        self.dimensions = 256 * branches
        widths = (width // 2, branches * width, branches * 2 * width, branches * 3 * width)
        groups = (1, 1, branches, branches)  # The second block's inputs are the same for all.
        # 28 -> 14 -> 7 -> 4 pixels; the last block keeps its 4 x 4.
        pools = (nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten())
        stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1, groups=group, bias=False),
                    nn.BatchNorm2d(outputs),
                    pool,
                    nn.ReLU(),  # after the pool: the same, of a quarter of the values
                )
                for inputs, outputs, group, pool in zip(
                    (1, *widths[:-1]), widths, groups, pools, strict=True
                )
            ),
            nn.Sequential(
                BranchLinear(widths[-1] * 16, self.dimensions, branches),
                nn.BatchNorm1d(self.dimensions, affine=False),
            ),
            ScaleShift(self.dimensions),
            *([_identity(self.dimensions)] if settings.whitened else []),
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The head adapts first: after pre-training the stages have little left to learn.
        super().__init__(settings, inner, stages, body_rate=1 / 1000)

    def set_whitening(self, matrix: Tensor) -> None:
        """Let vectors be multiplied by a symmetric matrix (dimensions, dimensions) at the end; the
        settings must say that the network is `whitened`."""
        last = self.stages[-1]
        if not isinstance(last, nn.Linear):
            raise ValueError("Only a network with settings.whitened has whitening; got none.")
        with torch.no_grad():
            last.weight.copy_(matrix)

    def stem(self, images: Tensor) -> Tensor:
        return super().stem(images.contiguous(memory_format=torch.channels_last))

    def features(self, images: Tensor) -> Tensor:
        """The stem's features, with test-time augmentation: the mean over each picture's views, see
        `NetworkSettings.test_time_views`."""
        count = self.settings.test_time_views
        if count == 1:
            return self.stem(images)
        grid = _turned_grid(_VIEW_ANGLES[count], *images.shape[-2:], images.device)
        grid = grid.to(images.dtype).repeat_interleave(len(images), dim=0)
        views = functional.grid_sample(images.repeat(2, 1, 1, 1), grid, align_corners=False)
        if count == 3:
            views = torch.cat([images, views])
        return self.stem(views).unflatten(0, (count, -1)).mean(dim=0)


def _identity(dimensions: int) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, dimensions, dimensions, bias=False)
    nn.init.eye_(layer.weight)
    return layer


@functools.cache
def _turned_grid(angle: float, height: int, width: int, device: torch.device) -> Tensor:
    """Where the views rotated either way take their pixels from, (2, height, width, 2)."""
    turns = torch.tensor([angle, -angle], device=device)
    across = torch.stack([turns.cos(), turns.sin(), torch.zeros_like(turns)], dim=1)
    down = torch.stack([-turns.sin(), turns.cos(), torch.zeros_like(turns)], dim=1)
    maps = torch.stack([across, down], dim=1)
    return functional.affine_grid(maps, [2, 1, height, width], align_corners=False)


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
        stages = stages.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(settings, inner, stages, body_rate=2 / 15)
        for weight in stages.parameters():
            if weight.ndim == 4:
                nn.init.kaiming_normal_(weight)

    def stem(self, images: Tensor) -> Tensor:
        return super().stem(images.contiguous(memory_format=torch.channels_last))

    def rates(self, step: int, tensors: int, ways: int) -> list[Tensor]:
        # The head's rows have an example each, but the body is moved by those of all classes: its
        # gradient is averaged over them, or it would be ever larger with more ways.
        rates = super().rates(step, tensors, ways)
        body = len(list(self._adaptable().parameters()))
        return [*(rate / ways for rate in rates[:body]), *rates[body:]]


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

    Returns:
        The network, on the CPU.

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
