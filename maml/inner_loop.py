"""The inner loop: the only place that takes an inner step.

Training, evaluation, command line and app all go through `inner_loop`.  Its tensors have a leading
dimension of tasks; one task is a batch of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import higher
import torch
from torch import Tensor, nn

from maml.batched import Patches, prepare, private_copy, run_tasks, shareable
from maml.model import MetaNetwork

_PICTURES_AT_ONCE = {"cpu": 200, "cuda": 8192}


@dataclass(frozen=True, eq=False)
class InnerState:
    """The tasks' networks between two inner steps.

    Args:
        step: steps taken so far.
        tensors: the adapted tensors, each (tasks, ...).
        answer: the networks themselves, from features (tasks, m, ...) to logits (tasks, m, ways);
            only until the next step is taken.
        losses: support loss of each task (tasks,); None after the last step, where it is not needed
            to go on.
        logits: (tasks, n, ways) of the support sets; None likewise.
    """

    step: int
    tensors: list[Tensor]
    answer: Callable[[Tensor], Tensor]
    losses: Tensor | None
    logits: Tensor | None


def inner_loop(
    model: MetaNetwork,
    features: Tensor,
    labels: Tensor,
    ways: int,
    steps: int,
    *,
    differentiable: bool,
    second_order: bool = True,
    measure_last: bool = False,
) -> Iterator[InnerState]:
    """Adapt a copy of the model's task network to each task, one gradient step at a time.

    Args:
        model: the starting point; left untouched.  `model.inner.engine` takes the steps.
        features: `model.stem` of the support images, (tasks, n, ...).
        labels: int64 (tasks, n).
        ways: number of classes of every task.
        steps: gradient steps to take.
        differentiable: keep the graph back to the model's parameters (training).
        second_order: differentiate through the inner gradients too; else first-order MAML.
        measure_last: evaluate the support loss after the last step as well.

    Yields:
        The state before the first step and after each step: `steps + 1` states.

    Source: MAML, arXiv 1703.03400, Algorithm 2, lines 5 to 8.
    """
    second_order = differentiable and second_order
    if model.inner.engine == "higher" and len(features) > 1:
        each = [
            inner_loop(model, *one, ways, steps, differentiable=differentiable,
                       second_order=second_order, measure_last=measure_last)
            for one in zip(features.split(1), labels.split(1), strict=True)
        ]  # fmt: skip
        yield from map(_side_by_side, zip(*each, strict=True))
        return
    network, tensors = model.task_network(ways)
    if not differentiable:
        tensors = [tensor.detach().clone() for tensor in tensors]
    with torch.set_grad_enabled(differentiable):
        start = model.start(tensors, features, labels)
    engine = _HigherEngine if model.inner.engine == "higher" else _BatchedEngine
    tasks: _Engine = engine(model, network, start, features, differentiable, second_order)
    for step in range(steps + 1):
        losses = logits = None
        if step < steps or measure_last:
            with torch.enable_grad():
                logits = tasks.answer(tasks.support)
                losses = model.support_loss(logits, labels)
        yield InnerState(step, tasks.tensors, tasks.answer, losses, logits)
        if step < steps:
            assert losses is not None
            rates = model.rates(step, len(start), ways)
            with torch.enable_grad():
                tasks.descend(
                    losses, rates if differentiable else [rate.detach() for rate in rates]
                )


def tasks_at_once(model: MetaNetwork, pictures: int) -> int:
    """How many tasks of so many pictures each go through the inner loop best together.

    On a processor larger batches fall out of its caches: 32 tasks of the notebook's take as long
    together as in groups of four, and six times the memory.
    """
    if model.inner.engine == "higher":
        return 1
    limit = _PICTURES_AT_ONCE.get(next(model.parameters()).device.type, _PICTURES_AT_ONCE["cpu"])
    return max(1, limit // pictures)


class _Engine(Protocol):
    """The networks of several tasks: they answer, and take gradient steps."""

    support: Tensor | Patches

    @property
    def tensors(self) -> list[Tensor]: ...

    def answer(self, features: Tensor | Patches) -> Tensor: ...

    def descend(self, losses: Tensor, rates: list[Tensor]) -> None: ...


class _BatchedEngine:
    """All tasks at once, by `torch.autograd.grad` on tensors (tasks, ...)."""

    def __init__(
        self,
        model: MetaNetwork,
        network: nn.Module,
        start: list[Tensor],
        features: Tensor,
        differentiable: bool,
        second_order: bool,
    ) -> None:
        self.network, self.after_step = shareable(network), model.after_step
        self.batch_statistics = model.normalisation == "batch"
        self.differentiable, self.second_order = differentiable, second_order
        self.support = prepare(network, features) if self.batch_statistics else features
        self.tensors = [adaptable(tensor) for tensor in start]

    def answer(self, features: Tensor | Patches) -> Tensor:
        return run_tasks(
            self.network, self.tensors, features, batch_statistics=self.batch_statistics
        )

    def descend(self, losses: Tensor, rates: list[Tensor]) -> None:
        # No two tasks share any of these tensors: the gradient of the sum is each task's own.
        gradients = torch.autograd.grad(
            losses.sum(), self.tensors, create_graph=self.second_order, materialize_grads=True
        )
        with torch.set_grad_enabled(self.differentiable):
            moved = [
                tensor - rate * gradient
                for tensor, rate, gradient in zip(self.tensors, rates, gradients, strict=True)
            ]
            self.tensors = [adaptable(tensor) for tensor in self.after_step(moved)]


class _HigherEngine:
    """One task, by the library `higher`: the reference."""

    def __init__(
        self,
        model: MetaNetwork,
        network: nn.Module,
        start: list[Tensor],
        features: Tensor,
        differentiable: bool,
        second_order: bool,
    ) -> None:
        # Of its layers only: the parameters are the network's own.
        network = private_copy(network, batch_statistics=model.normalisation == "batch")
        optimiser = torch.optim.SGD(
            [{"params": [tensor]} for tensor in network.parameters()], lr=model.inner.rate
        )
        with higher.innerloop_ctx(
            network,
            optimiser,
            copy_initial_weights=not differentiable,
            track_higher_grads=differentiable,
        ) as (
            self._network,
            self._optimiser,
        ):  # What stays after this context is a copy; nothing is ever put back.
            self._network.update_params([adaptable(tensor[0]) for tensor in start])
        self._after_step, self._differentiable = model.after_step, differentiable
        self.support: Tensor | Patches = features
        self._callback = None if second_order else detached

    @property
    def tensors(self) -> list[Tensor]:
        return [tensor[None] for tensor in self._network.parameters()]

    def answer(self, features: Tensor | Patches) -> Tensor:
        assert isinstance(features, Tensor)
        logits: Tensor = self._network(features[0])
        return logits[None]

    def descend(self, losses: Tensor, rates: list[Tensor]) -> None:
        self._optimiser.step(losses[0], override={"lr": rates}, grad_callback=self._callback)
        moved = list(self._network.parameters())
        with torch.set_grad_enabled(self._differentiable):
            kept = self._after_step(moved)
        if kept is not moved:
            self._network.update_params([adaptable(tensor) for tensor in kept])


def adaptable(tensor: Tensor) -> Tensor:
    """Constants, such as a bias that starts from zero, adapt as well."""
    return tensor if tensor.requires_grad else tensor.requires_grad_()


def detached(gradients: list[Tensor]) -> list[Tensor]:
    """Gradients that count as constants: first-order MAML."""
    return [gradient.detach() for gradient in gradients]


def _side_by_side(states: tuple[InnerState, ...]) -> InnerState:
    """The states of single tasks as one state of all of them."""

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        found = [part for part in parts if part is not None]
        return torch.cat(found) if found else None

    return InnerState(
        states[0].step,
        [torch.cat(tensors) for tensors in zip(*(state.tensors for state in states), strict=True)],
        lambda features: torch.cat(
            [state.answer(one) for state, one in zip(states, features.split(1), strict=True)]
        ),
        joined([state.losses for state in states]),
        joined([state.logits for state in states]),
    )
