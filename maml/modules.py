"""Any `torch.nn.Module` as a network that this library meta-trains, adapts and evaluates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from maml.config import InnerLoop, NetworkSettings, require_whole
from maml.data.episodes import as_pictures
from maml.model import MetaNetwork

_MOST_WAYS = 1000


def from_module(module: nn.Module, ways: int = 5, inner: InnerLoop | None = None) -> MetaNetwork:
    """Make one's own module a network for `maml.meta_train`, `maml.adapt` and `maml.evaluate`.

    All parameters of the module adapt in the inner loop and are trained in the outer loop, in
    place; those with `requires_grad=False` do neither.

    Normalisation: BatchNorm layers normalise the support set, and in training the query set, by its
    own statistics, as in MAML's published experiments.  A learner normalises each query by the
    statistics of its support set, so that no answer depends on other queries; the running
    statistics of the module are never used or changed.  Layers that normalise each picture by
    itself, such as GroupNorm, avoid this difference between training and use.  Dropout is inactive.

    The module is run in copies of its layers (`copy.deepcopy`, without their tensors), so that
    threads may adapt, ask and evaluate one network together.

    Args:
        module: from pictures, float (n, channels, height, width) of any size, to logits (n, ways).
            A nested `nn.Sequential` of common layers runs for several tasks at once; any other
            module runs task by task.
        ways: number of classes of every task, 2 to 1000.
        inner: the inner loop; with `learned_rates` there is a rate for each parameter and step.
            None takes the defaults of `InnerLoop`.

    Returns:
        The network.  `model.to(device)` moves it; `maml.save_model` and `maml.load_model` save its
        tensors and load them into a network made from the same module.

    Raises:
        TypeError: if `module` is not a module.
        ValueError: if it has no parameters, parameters without a shape yet, or a BatchNorm layer
            that keeps no running statistics.

    Source: MAML, arXiv 1703.03400, Algorithm 2; statistics of the support set: arXiv 2003.03284,
    section 3.1.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module; got {type(module).__name__}.")
    require_whole("ways", ways, 2, _MOST_WAYS)
    return ModuleNetwork(module, ways, inner or InnerLoop())


class ModuleNetwork(MetaNetwork):
    """What `from_module` makes.

    Attributes:
        module: the module itself.
    """

    def __init__(self, module: nn.Module, ways: int, inner: InnerLoop) -> None:
        super().__init__(NetworkSettings("module"), inner)
        parameters = list(module.named_parameters())
        if not any(parameter.requires_grad for _, parameter in parameters):
            raise ValueError("The module has no parameters to train; got none that require_grad.")
        for name, parameter in parameters:
            if isinstance(parameter, nn.UninitializedParameter):
                raise ValueError(
                    f"Parameter {name!r} has no shape yet; run the module once on a batch of "
                    "pictures before from_module."
                )
        norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        if any(norm.running_mean is None for norm in norms):
            raise ValueError(
                "A BatchNorm layer of the module keeps no running statistics, so a lone query "
                "could not be answered; expected track_running_stats=True, or another "
                "normalisation such as GroupNorm."
            )
        self.fixed_ways = ways
        self.normalisation = "batch" if norms else "frozen"
        self.module = module
        self.log_rates: nn.Parameter | None = None
        if inner.learned_rates:
            log_rates = torch.full((inner.steps, len(parameters)), math.log(inner.rate))
            self.log_rates = nn.Parameter(log_rates.to(parameters[0][1].device))

    def pictures(self, images: object) -> Tensor:
        return as_pictures(images)

    def task_network(self, ways: int) -> tuple[nn.Module, list[Tensor]]:
        if ways != self.fixed_ways:
            raise ValueError(
                f"This module was given to from_module with ways={self.fixed_ways}; got a task "
                f"of {ways}."
            )
        return self.module, list(self.module.parameters())

    def support_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.ndim != 3 or logits.shape[2] != self.fixed_ways:
            raise ValueError(
                f"The module must return logits (n, {self.fixed_ways}); got shape "
                f"{('n', *logits.shape[2:])} for a batch of n."
            )
        return super().support_loss(logits, labels)

    def rates(self, step: int, tensors: int, ways: int) -> list[Tensor]:
        trained = [parameter.requires_grad for parameter in self.module.parameters()]
        rates = super().rates(step, tensors, ways)
        if self.log_rates is not None:
            rates = list(self.log_rates[min(step, len(self.log_rates) - 1)].exp())
        return [rate * trains for rate, trains in zip(rates, trained, strict=True)]
