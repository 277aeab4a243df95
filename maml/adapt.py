"""The inner loop, the learner it makes, and that learner's answers.

`inner_loop` is the only place that takes an inner step; training, evaluation, command line and app
all go through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import higher
import torch
from torch import Tensor, nn

from maml.config import LARGEST_STEPS, require_whole
from maml.data.episodes import SupportSet, as_ink_batch
from maml.learner_file import LearnerState, read_learner, write_learner
from maml.model import MetaNetwork, SketchNet


@dataclass(frozen=True, eq=False)
class InnerState:
    """The task network between two inner steps.

    Args:
        step: steps taken so far.
        network: the patched task network; calling it uses the tensors of this step.
        tensors: its adapted tensors.
        loss: support loss, scalar; None after the last step, where it is not needed to go on.
        logits: (n, ways) of the support set; None likewise.
    """

    step: int
    network: Any
    tensors: list[Tensor]
    loss: Tensor | None
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
    """Adapt a copy of the model's task network, one gradient step at a time.

    Args:
        model: the starting point; left untouched.
        features: `model.stem` of the support images, (n, ...).
        labels: int64 (n,).
        ways: number of classes.
        steps: gradient steps to take.
        differentiable: keep the graph back to the model's parameters (training).
        second_order: differentiate through the inner gradients too; else first-order MAML.
        measure_last: evaluate the support loss after the last step as well.

    Yields:
        The state before the first step and after each step: `steps + 1` states.  A state's network
        moves on with the next; keep `tensors` to come back to it.

    Source: MAML, arXiv 1703.03400, Algorithm 2, lines 5 to 8.
    """
    network, start = model.task_network(ways)
    network.train(model.normalisation == "batch")
    optimiser = torch.optim.SGD(
        [{"params": [tensor]} for tensor in network.parameters()], lr=model.inner.rate
    )
    callback = None if second_order else _detach
    with (
        torch.enable_grad(),
        higher.innerloop_ctx(
            network,
            optimiser,
            copy_initial_weights=not differentiable,
            track_higher_grads=differentiable,
        ) as (patched, differentiable_optimiser),
    ):
        if not differentiable:
            start = [tensor.detach().clone() for tensor in start]
        # higher passes over tensors that ask for no gradient; constants have to adapt as well.
        start = [tensor if tensor.requires_grad else tensor.requires_grad_() for tensor in start]
        patched.update_params(start)
        for step in range(steps + 1):
            loss = logits = None
            if step < steps or measure_last:
                logits = patched(features)
                loss = model.support_loss(logits, labels)
            yield InnerState(step, patched, list(patched.parameters()), loss, logits)
            if step < steps:
                differentiable_optimiser.step(
                    loss,
                    override={"lr": _rates(model, step, len(start), differentiable)},
                    grad_callback=callback,
                )


def _detach(gradients: list[Tensor]) -> list[Tensor]:
    return [gradient.detach() for gradient in gradients]


def _rates(model: MetaNetwork, step: int, tensors: int, differentiable: bool) -> list[Tensor]:
    rates = model.rates(step, tensors)
    return rates if differentiable else [rate.detach() for rate in rates]


@dataclass(frozen=True)
class AdaptationStep:
    """How well the support set was known after `step` steps: loss, and accuracy in [0, 1]."""

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answers to m queries, each given on its own.

    Args:
        probabilities: float32 (m, ways), rows sum to 1, calibrated.
        unknown: float32 (m,) in [0, 1], high = none of these.
        names: the ways' names.
        unknown_threshold: `unknown` above this reads "none of these".
    """

    probabilities: Tensor
    unknown: Tensor
    names: tuple[str, ...]
    unknown_threshold: float

    @property
    def winners(self) -> tuple[str | None, ...]:
        """For each query the most probable name, or None for "none of these"."""
        likeliest = self.probabilities.argmax(dim=1).tolist()
        known = (self.unknown <= self.unknown_threshold).tolist()
        return tuple(
            self.names[way] if is_known else None
            for way, is_known in zip(likeliest, known, strict=True)
        )


class AdaptedLearner:
    """A model adapted to one support set.  Predicting changes nothing.

    Attributes:
        names: the ways' names.
        steps: inner steps taken.
        trajectory: one `AdaptationStep` a step, step 0 first.
        model: what was adapted.
    """

    def __init__(
        self,
        model: MetaNetwork,
        network: nn.Module,
        path: list[list[Tensor]],
        trajectory: tuple[AdaptationStep, ...],
        features: Tensor,
        labels: Tensor,
        names: tuple[str, ...],
    ) -> None:
        self.model = model
        self.names = names
        self.trajectory = trajectory
        self._network = network
        self._path = path
        self._features = features
        self._labels = labels

    @property
    def steps(self) -> int:
        """Inner steps taken."""
        return len(self._path) - 1

    @property
    def ways(self) -> int:
        """How many symbols it tells apart."""
        return len(self.names)

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        tensors = [self._features, *(tensor for step in self._path for tensor in step)]
        return sum(tensor.nbytes for tensor in tensors)

    def at_step(self, step: int) -> AdaptedLearner:
        """The same learner as it was after `step` steps.

        Raises:
            ValueError: if it never took that many steps.
        """
        require_whole(f"step of a learner that took {self.steps} steps", step, 0, self.steps)
        return AdaptedLearner(
            self.model,
            self._network,
            self._path[: step + 1],
            self.trajectory[: step + 1],
            self._features,
            self._labels,
            self.names,
        )

    @torch.no_grad()
    def predict(self, images: object) -> Prediction:
        """Name drawings.

        Args:
            images: ink, (m, 28, 28) or (m, 1, 28, 28) floats in [0, 1].

        Returns:
            The answers; each depends on its own picture alone.

        Raises:
            ValueError: if the images are not such ink.
        """
        features = self._see(images)
        return Prediction(
            probabilities=self._probabilities(self._logits(features, self.steps)),
            unknown=self.unknown_of_features(features),
            names=self.names,
            unknown_threshold=self.model.unknown_threshold,
        )

    @torch.no_grad()
    def predict_path(self, images: object) -> Tensor:
        """Probabilities after each inner step, (steps + 1, m, ways), step 0 first."""
        return self.path_of_features(self._see(images))

    @torch.no_grad()
    def path_of_features(self, features: Tensor, *, transductive: bool = False) -> Tensor:
        """`predict_path` for queries whose `model.features` are known already.

        Args:
            features: (m, ...).
            transductive: normalise the queries together.  Only for figures that are to be compared
                with published ones; with frozen statistics it changes nothing.
        """
        return torch.stack(
            [
                self._probabilities(self._logits(features, step, transductive))
                for step in range(self.steps + 1)
            ]
        )

    @torch.no_grad()
    def unknown_of_features(self, features: Tensor) -> Tensor:
        """`Prediction.unknown` (m,) for queries whose `model.features` are known already."""
        if not isinstance(self.model, SketchNet):
            return 1 - self._probabilities(self._logits(features, self.steps)).amax(dim=1)
        return (self.unknown_terms_of_features(features) @ self.model.unknown_weights).sigmoid()

    @torch.no_grad()
    def unknown_terms_of_features(self, features: Tensor) -> Tensor:
        """What a `SketchNet`'s "none of these" score weighs up (m, 7), see its `unknown_terms`."""
        assert isinstance(self.model, SketchNet)
        self._network.eval()
        queries, support = (
            self._network(part, params=self._path[-1], embed=True)
            for part in (features, self._features)
        )
        return self.model.unknown_terms(queries, support, self._labels)

    def state_dict(self) -> dict[str, Tensor]:
        """The adapted tensors of the task network by name, for safetensors."""
        names = [name for name, _ in self._network.named_parameters()]
        return {
            name: tensor.detach().clone().contiguous()
            for name, tensor in zip(names, self._path[-1], strict=True)
        }

    def save(self, path: str | Path) -> None:
        """Write everything that the answers depend on to one safetensors file, atomically.

        Args:
            path: of the file.

        Raises:
            ValueError: if the learner holds values that are not finite.
            OSError: if the file cannot be written; what stood there before stays whole.
        """
        trajectory = [(record.loss, record.accuracy) for record in self.trajectory]
        write_learner(
            Path(path),
            LearnerState(
                self.model, self._path, trajectory, self._features, self._labels, self.names
            ),
        )

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> AdaptedLearner:
        """Read a learner that `save` wrote; it answers as the saved one did.

        Args:
            path: of the file.
            device: where to put it.

        Raises:
            maml.CheckpointError: if the file is missing, broken, changed since it was written, or
                not a learner.
        """
        state = read_learner(Path(path))
        model = state.model.to(device)
        network, _ = model.task_network(len(state.names))
        return cls(
            model,
            higher.patch.monkeypatch(network, track_higher_grads=False),
            [[tensor.to(device) for tensor in tensors] for tensors in state.path],
            tuple(AdaptationStep(step, *found) for step, found in enumerate(state.trajectory)),
            state.features.to(device),
            state.labels.to(device),
            state.names,
        )

    def _see(self, images: object) -> Tensor:
        batch = as_ink_batch(images).to(self._features.device)
        self.model.eval()
        return self.model.features(batch)

    def _logits(self, features: Tensor, step: int, transductive: bool = False) -> Tensor:
        tensors = self._path[step]
        if self.model.normalisation == "batch" and not transductive:
            # With momentum 1 the running statistics become the support set's.
            self._network.train()
            self._network(self._features, params=tensors)
        self._network.train(self.model.normalisation == "batch" and transductive)
        logits: Tensor = self._network(features, params=tensors)
        return logits

    def _probabilities(self, logits: Tensor) -> Tensor:
        shots = len(self._labels) / self.ways
        return (logits / self.model.temperature(self.ways, shots)).softmax(dim=-1)


def adapt(model: MetaNetwork, support: SupportSet, steps: int | None = None) -> AdaptedLearner:
    """Adapt a model to a few examples by gradient steps.

    Args:
        model: the meta-learned starting point; left untouched.
        support: the examples.
        steps: inner steps, 0 to 100; None takes those the model was trained for.

    Returns:
        A learner for these symbols alone.

    Raises:
        ValueError: if `steps` is out of range, or the model cannot serve that many ways.

    Source: MAML, arXiv 1703.03400, Algorithm 1, lines 5 and 6.
    """
    steps = model.inner.evaluation_steps if steps is None else steps
    require_whole("steps", steps, 0, LARGEST_STEPS)
    device = next(model.parameters()).device
    labels = support.labels.to(device)
    model.eval()
    with torch.no_grad():
        features = model.features(support.images.to(device))
    return adapt_features(model, features, labels, support.names, steps)


def adapt_features(
    model: MetaNetwork, features: Tensor, labels: Tensor, names: tuple[str, ...], steps: int
) -> AdaptedLearner:
    """`adapt` to support features (n, ...) whose labels (n,) are known to be sound."""
    path: list[list[Tensor]] = []
    trajectory: list[AdaptationStep] = []
    for state in inner_loop(
        model, features, labels, len(names), steps, differentiable=False, measure_last=True
    ):
        assert state.loss is not None and state.logits is not None
        path.append([tensor.detach() for tensor in state.tensors])
        hits = state.logits.argmax(dim=1) == labels
        trajectory.append(AdaptationStep(state.step, state.loss.item(), hits.float().mean().item()))
        network = state.network
    return AdaptedLearner(model, network, path, tuple(trajectory), features, labels, names)
