"""Several processes that share each gradient step of a training, by `torch.distributed`.

`torchrun --nproc-per-node=N -m maml train ...` starts them.  Every process draws the same seeded
tasks and holds the same parameters; each works on its share, and the gradients are added up.  So
the result is that of one process up to rounding, whatever N.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from maml.data.episodes import Episode

_PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others, for example while data is downloaded."""


_Items = TypeVar("_Items", list[Episode], Tensor)


class LostProcess(RuntimeError):
    """Another process of the training has ended, so that this one cannot go on."""


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Args:
        rank: number of this one, from 0; process 0 logs and saves.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs and saves."""
        return self.rank == 0

    def share(self, items: _Items) -> _Items:
        """This process's part of a step's work, possibly none; the parts together are the whole."""
        return items if self.count == 1 else items[self.rank :: self.count]

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each parameter's gradient by the sum over all processes.

        Raises:
            LostProcess: if another process has ended.
        """
        if self.count == 1:
            return
        tensors = list(parameters)
        flat = torch.cat(
            [
                (torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).flatten()
                for tensor in tensors
            ]
        )
        self.add(flat)
        for tensor, gradient in zip(
            tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.grad = gradient.view_as(tensor).to(tensor.dtype)

    def add(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place.

        Raises:
            LostProcess: if another process has ended.
        """
        if self.count > 1:
            with _losses_told():
                distributed.all_reduce(values)
        return values

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Put the rows of all processes together, each where `share` took it from.

        Gradients go back to the process that the row came from; each process's loss should be its
        share of the whole, since their gradients add up.

        Args:
            rows: this process's, (n, ...).
            count: rows of all processes.

        Returns:
            (count, ...).
        """
        if self.count == 1:
            return rows
        whole = rows.new_zeros(count, *rows.shape[1:])
        places = torch.arange(self.rank, count, self.count, device=rows.device)
        return _total(whole.index_copy(0, places, rows))

    @contextmanager
    def whole_batch_statistics(self, network: nn.Module) -> Iterator[None]:
        """Let BatchNorm layers in training mode normalise by the batches of all processes.

        `torch.nn.SyncBatchNorm` does this on GPUs only.
        """
        norms = [
            layer
            for layer in network.modules()
            if self.count > 1 and isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
        ]
        try:
            for norm in norms:
                norm.forward = _NormaliseTogether(norm)  # type: ignore[method-assign, assignment]
            yield
        finally:
            for norm in norms:
                del norm.forward


ALONE = Processes()
"""One process, which does everything."""


class _NormaliseTogether:
    """The forward pass of a BatchNorm layer by the statistics of all processes' batches."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        self.norm = norm

    def __call__(self, inputs: Tensor) -> Tensor:
        norm = self.norm
        if not norm.training:
            return type(norm).forward(norm, inputs)
        over = [0, *range(2, inputs.ndim)]
        precise = inputs.double()
        size = precise.new_tensor([precise.numel() / precise.shape[1]])
        sums = _total(torch.cat([precise.sum(over), precise.square().sum(over), size]))
        mean, square = (sums[:-1] / sums[-1]).chunk(2)
        variance = square - mean.square()
        count = sums[-1].detach()
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        # Scale and shift in one, as a product of single precision.
        scale = (variance + norm.eps).rsqrt()
        shift = -mean * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        each = (1, -1, *[1] * (inputs.ndim - 2))
        return inputs * scale.to(inputs.dtype).view(each) + shift.to(inputs.dtype).view(each)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        momentum = norm.momentum
        if momentum is None:
            momentum = 1 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
        norm.running_var.lerp_(variance.to(norm.running_var), momentum)


class _Total(torch.autograd.Function):
    """The sum over all processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _total(values: Tensor) -> Tensor:
    with _losses_told():
        total: Tensor = _Total.apply(values)
        return total


@contextmanager
def _losses_told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            "Another process of the training has ended; what was saved can be resumed with "
            "--resume, by any number of processes."
        ) from error


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started; without it, this one is alone.

    Args:
        device: that the training asked for.  Several processes on "cuda" take a GPU each.

    Yields:
        The processes; leave the context when the training has ended.

    Raises:
        ValueError: if the variables that torchrun sets are wrong.
    """
    count = _variable("WORLD_SIZE", 1)
    if count == 1:
        yield ALONE
        return
    rank = _variable("RANK", 0)
    backend = "gloo"
    if torch.device(device).type == "cuda":
        backend = "cpu:gloo,cuda:nccl"  # Losses and accuracies are summed on the CPU.
        torch.cuda.set_device(_variable("LOCAL_RANK", 0))
    with _losses_told():
        distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Processes(rank, count)
    finally:
        distributed.destroy_process_group()


def _variable(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{name} must be a whole number; got {text!r}.") from error
