"""Networks with weights of their own for each task, run for all tasks at once.

Every tensor has a leading dimension of tasks.  The convolutions of several tasks run side by side
as the groups of one convolution: (tasks, n, channels, ...) is laid out as (n, tasks * channels,
...).  In that layout BatchNorm over the n inputs is BatchNorm of each task by itself, which
`torch.vmap` does not give: in training mode its second derivatives are wrong by several per cent
(PyTorch 2.13).  A network with a layer that is not listed here runs task by task instead.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

_Network = TypeVar("_Network", bound=nn.Module)


class ScaleShift(nn.Module):
    """A scale and a shift for each feature (n, dimensions)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dimensions))
        self.shift = nn.Parameter(torch.zeros(dimensions))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.scale + self.shift


class BranchLinear(nn.Linear):
    """A linear map of each branch's part of a feature vector (n, inputs), without bias.

    The weights are (outputs, inputs / branches): those of a branch are its rows.
    """

    def __init__(self, inputs: int, outputs: int, branches: int) -> None:
        super().__init__(inputs // branches, outputs, bias=False)
        self.branches = branches

    def forward(self, features: Tensor) -> Tensor:
        return branch_linear(features, self.weight, self.branches)


def branch_linear(features: Tensor, weight: Tensor, branches: int) -> Tensor:
    """`BranchLinear` of features (..., n, inputs) by weights (..., outputs, inputs / branches)."""
    if branches == 1:
        return features @ weight.mT
    parts = features.unflatten(-1, (branches, -1)).transpose(-2, -3)  # (..., branches, n, part)
    mapped = parts @ weight.unflatten(-2, (branches, -1)).mT
    return mapped.transpose(-2, -3).flatten(-2)


class UnitLength(nn.Module):
    """Scales each feature vector (n, dimensions) to length 1."""

    def forward(self, features: Tensor) -> Tensor:
        return functional.normalize(features, dim=-1)


class CosineHead(nn.Linear):
    """Logits (n, ways): `scale` times the cosine to each row, of unit vectors (n, dimensions).

    Its rows have unit length after every inner step, see `EmbeddingNetwork.after_step`.
    """

    def __init__(
        self, dimensions: int, ways: int, scale: float, device: torch.device | str | None = None
    ) -> None:
        super().__init__(dimensions, ways, bias=False, device=device)
        self.scale = scale

    def forward(self, vectors: Tensor) -> Tensor:
        return self.scale * super().forward(vectors)


@dataclass(frozen=True, eq=False)
class Patches:
    """All 3 x 3 patches of one-channel pictures, with their mean and covariance.

    A convolution is a linear map of them.  So the mean and variance of its outputs follow from
    those of the patches, which adaptation does not change, and BatchNorm folds into the weights: a
    first block of convolution, BatchNorm by the batch, ReLU and 2 x 2 pooling is one matrix
    product.  It is worth about half of the time of an outer step of the notebook's network.

    Args:
        values: (tasks, 9, 4, n * height * width), the four patches of a pooling window apart.
        mean: (tasks, 9, 1), float64: their covariance is all but singular, and pictures of few
            strokes leave little of the variance of an edge filter.
        covariance: (tasks, 9, 9), float64.
        size: n, height, width after pooling.
    """

    values: Tensor
    mean: Tensor
    covariance: Tensor
    size: tuple[int, int, int]

    @staticmethod
    def of(pictures: Tensor) -> Patches:
        """Cut pictures (tasks, n, 1, height, width) into patches."""
        cut = pictures[:, :, 0].unfold(2, 3, 1).unfold(3, 3, 1)
        height, width = cut.shape[2] // 2, cut.shape[3] // 2
        cut = cut.unflatten(2, (height, 2)).unflatten(4, (width, 2))
        # (tasks, n, height, 2, width, 2, 3, 3) -> (tasks, 3, 3, 2, 2, n, height, width)
        values = cut.permute(0, 6, 7, 3, 5, 1, 2, 4).reshape(len(pictures), 9, -1)
        exact = values.double()
        mean = exact.mean(dim=2, keepdim=True)
        covariance = exact @ exact.mT / values.shape[2] - mean @ mean.mT
        return Patches(
            values.unflatten(2, (4, -1)), mean, covariance, (pictures.shape[1], height, width)
        )

    def block(self, weight: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        """The block's outputs, side by side: (n, tasks * channels, height, width).

        Args:
            weight: of the convolution, (tasks, channels, 1, 3, 3).  Its bias would cancel.
            scale, shift, eps: of BatchNorm, (tasks, channels).
        """
        exact = weight.flatten(2).double()
        variance = ((exact @ self.covariance) * exact).sum(dim=2)
        exact = exact * (scale * torch.rsqrt(variance + eps))[..., None]
        shift = (shift[..., None] - exact @ self.mean).to(weight)
        outputs = torch.baddbmm(shift, exact.to(weight), self.values.flatten(2))
        most = outputs.unflatten(2, (4, -1)).max(dim=2).values.relu()
        return most.unflatten(2, self.size).transpose(1, 2).transpose(0, 1).flatten(1, 2)


def run_tasks(
    network: nn.Module | Copies,
    tensors: Sequence[Tensor],
    inputs: Tensor | Patches,
    buffers: Mapping[str, Tensor] | None = None,
    *,
    batch_statistics: bool,
) -> Tensor:
    """Run a network once for each task, with that task's weights.

    Args:
        network: gives the layers; its own parameters are not used, its mode does not matter, and
            it is left untouched.  `shareable` makes repeated runs of one network cheaper.
        tensors: (tasks, ...) for each of `network.parameters()`, in their order.
        inputs: (tasks, n, ...).
        buffers: (tasks, ...) for each of `network.named_buffers()`; None takes the network's own.
        batch_statistics: BatchNorm layers normalise each task's inputs by their own mean and
            variance, and write those into `buffers`; else they normalise by `buffers`.

    Returns:
        (tasks, n, ...).  Dropout is inactive.
    """
    network = shareable(network)
    if isinstance(network, Copies):
        assert isinstance(inputs, Tensor)
        with network.one() as own:
            return _task_by_task(own, tensors, inputs, buffers, batch_statistics)
    if batch_statistics and buffers is None:
        inputs = prepare(network, inputs)
    tasks = len(inputs.values if isinstance(inputs, Patches) else inputs)
    layers = _layers(network)
    assert layers is not None
    weights: dict[Tensor, Tensor] = dict(zip(network.parameters(), tensors, strict=True))
    names = {id(buffer): name for name, buffer in network.named_buffers()}

    def of(own: Tensor | None) -> Tensor | None:
        """The tasks' tensors in place of one of the network's, side by side."""
        if own is None:
            return None
        if isinstance(own, nn.Parameter):
            return weights[own].flatten(0, 1)
        if buffers is not None:
            # A view, so that statistics can be written into it.
            return buffers[names[id(own)]].view(-1)
        return None if batch_statistics else own.repeat(tasks)

    if isinstance(inputs, Patches):
        block = _foldable(layers)
        assert block is not None
        conv, norm = block
        x = inputs.block(weights[conv.weight], weights[norm.weight], weights[norm.bias], norm.eps)
        layers, apart = layers[4:], False
    else:
        x, apart = inputs, True  # (tasks, n, ...); side by side: (n, tasks * channels, ...)
    for layer in layers:
        if isinstance(layer, (nn.ReLU, nn.Identity, nn.Dropout)):
            x = x.relu() if isinstance(layer, nn.ReLU) else x
        elif isinstance(layer, (nn.Flatten, nn.Linear, ScaleShift, UnitLength)):
            if not apart:
                x, apart = x.unflatten(1, (tasks, -1)).transpose(0, 1), True
            if isinstance(layer, nn.Flatten):
                x = x.flatten(2)
            elif isinstance(layer, BranchLinear):
                x = branch_linear(x, weights[layer.weight], layer.branches)
            elif isinstance(layer, nn.Linear):
                x = x @ weights[layer.weight].mT
                x = x if layer.bias is None else x + weights[layer.bias][:, None]
                x = layer.scale * x if isinstance(layer, CosineHead) else x
            elif isinstance(layer, ScaleShift):
                x = x * weights[layer.scale][:, None] + weights[layer.shift][:, None]
            else:
                x = layer(x)
        else:
            if apart:
                x, apart = x.transpose(0, 1).flatten(1, 2), False
            if isinstance(layer, nn.Conv2d):
                if layer.stride != (1, 1):
                    # The gradient of the input is then two to three times as fast.
                    x = x.contiguous(memory_format=torch.channels_last)
                x = functional.conv2d(
                    x,
                    of(layer.weight),  # type: ignore[arg-type]
                    of(layer.bias),
                    layer.stride,
                    layer.padding,  # type: ignore[arg-type]
                    layer.dilation,
                    tasks * layer.groups,
                )
            elif isinstance(layer, nn.GroupNorm):
                groups = tasks * layer.num_groups
                x = functional.group_norm(x, groups, of(layer.weight), of(layer.bias), layer.eps)
            elif isinstance(layer, _BatchNorm):
                mean, variance = of(layer.running_mean), of(layer.running_var)
                x = functional.batch_norm(
                    x,
                    mean,
                    variance,
                    of(layer.weight),
                    of(layer.bias),
                    training=batch_statistics,
                    momentum=1.0,
                    eps=layer.eps,
                )
            else:
                x = layer(x)
    return x if apart else x.unflatten(1, (tasks, -1)).transpose(0, 1)


def prepare(network: nn.Module, inputs: Tensor | Patches) -> Tensor | Patches:
    """What of a network's first block, normalised by the batch, stays the same at every inner step.

    Returns:
        The inputs' patches, or the inputs themselves where the network starts otherwise.
    """
    layers = _layers(network)
    if isinstance(inputs, Patches) or layers is None or _foldable(layers) is None:
        return inputs
    fits = inputs.ndim == 5 and inputs.shape[3] % 2 == 0 and inputs.shape[4] % 2 == 0
    return Patches.of(inputs) if fits else inputs


def _foldable(layers: list[nn.Module]) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    """The convolution and BatchNorm of a first block that `Patches.block` stands for, if any."""
    if tuple(map(type, layers[:4])) != (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d):
        return None
    conv, norm, _, pool = layers[:4]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(pool, nn.MaxPool2d)
    plain = (
        (conv.in_channels, conv.kernel_size, conv.stride) == (1, (3, 3), (1, 1))
        and (conv.padding, conv.dilation, conv.groups) == ((0, 0), (1, 1), 1)
        and norm.affine
        and (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
    )
    return (conv, norm) if plain else None


def own_buffers(network: nn.Module, tasks: int) -> dict[str, Tensor]:
    """A copy of a network's buffers for each task, (tasks, ...)."""
    return {
        name: buffer.expand(tasks, *buffer.shape).clone()
        for name, buffer in network.named_buffers()
    }


_BATCHED = (
    nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.Linear, BranchLinear, CosineHead,
    ScaleShift, UnitLength, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten,
    nn.Identity, nn.Dropout,
)  # fmt: skip


def _layers(network: nn.Module) -> list[nn.Module] | None:
    """The layers of nested `nn.Sequential`s in their order; None if one cannot be batched."""
    if type(network) is nn.Sequential:
        layers: list[nn.Module] = []
        for part in network:
            found = _layers(part)
            if found is None:
                return None
            layers += found
        return layers
    plain = (
        type(network) in _BATCHED
        and not (network._forward_hooks or network._forward_pre_hooks)
        and getattr(network, "padding_mode", "zeros") == "zeros"
        and (not isinstance(network, nn.Flatten) or (network.start_dim, network.end_dim) == (1, -1))
    )
    return [network] if plain else None


def _task_by_task(
    network: nn.Module,
    tensors: Sequence[Tensor],
    inputs: Tensor,
    buffers: Mapping[str, Tensor] | None,
    batch_statistics: bool,
) -> Tensor:
    """Run a copy that is the caller's own: `functional_call` puts tensors into it for a while."""
    if buffers is None:
        buffers = own_buffers(network, len(inputs))
    names = [name for name, _ in network.named_parameters()]
    _set_mode(network, batch_statistics)
    return torch.stack(
        [
            torch.func.functional_call(
                network,
                {name: tensor[task] for name, tensor in zip(names, tensors, strict=True)}
                | {name: buffer[task] for name, buffer in buffers.items()},
                (inputs[task],),
            )
            for task in range(len(inputs))
        ]
    )


class Copies:
    """Copies of a network, each lent to one caller at a time, so that threads may run it together.

    Args:
        network: what is copied; left untouched.
    """

    def __init__(self, network: nn.Module) -> None:
        self._pattern = private_copy(network)
        self._spare: list[nn.Module] = []

    @contextmanager
    def one(self) -> Iterator[nn.Module]:
        """Lend a copy; a new one is made only while all others are lent."""
        try:
            lent = self._spare.pop()  # One call: no other thread can take the same.
        except IndexError:
            lent = private_copy(self._pattern)
        try:
            yield lent
        finally:
            self._spare.append(lent)


def shareable(network: nn.Module | Copies) -> nn.Module | Copies:
    """What several threads may give to `run_tasks`, any number of times: the network itself if all
    tasks run at once, else `Copies` of it."""
    if isinstance(network, Copies) or _layers(network) is not None:
        return network
    return Copies(network)


def private_copy(network: _Network, *, batch_statistics: bool = False) -> _Network:
    """A copy of a network's layers, in evaluation mode, that shares the network's tensors.

    Args:
        network: left untouched; it may be in use by other threads.
        batch_statistics: let BatchNorm layers normalise by the batch, with momentum 1.
    """
    shared = {
        id(value): value
        for layer in network.modules()
        for held in (vars(layer), layer._parameters, layer._buffers)
        for value in held.values()
        if isinstance(value, Tensor)
    }
    own: _Network = copy.deepcopy(network, shared)
    _set_mode(own, batch_statistics)
    return own


def evaluating(network: _Network) -> _Network:
    """The network in evaluation mode: itself if it is in that mode, else a `private_copy`.

    To change the mode of the network itself for a while would change it for other threads too.
    """
    # An answer to one stroke should not wait for a copy of what is in that mode already.
    trains = any(layer.training for layer in network.modules())
    return private_copy(network) if trains else network


def _set_mode(network: nn.Module, batch_statistics: bool) -> None:
    network.eval()
    for layer in network.modules() if batch_statistics else ():
        if isinstance(layer, _BatchNorm):
            layer.training, layer.momentum = True, 1.0
