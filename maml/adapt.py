"""Adapting to a few examples: the learner that the inner loop makes, and its answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from maml.batched import Copies, evaluating, own_buffers, run_tasks, shareable
from maml.config import LARGEST_STEPS, require_whole
from maml.data.episodes import SupportSet
from maml.embedding import normalised_means
from maml.inner_loop import inner_loop
from maml.learner_file import LearnerState, read_learner, write_learner
from maml.model import KnownClasses, MetaNetwork, require_meta_network
from maml.prediction import Prediction


@dataclass(frozen=True)
class AdaptationStep:
    """How well the support set was known after some inner steps.

    Args:
        step: inner steps taken.
        loss: of the support set, what the inner steps descend (`MetaNetwork.support_loss`), nats.
        accuracy: of the support set, in [0, 1].
    """

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class AdaptedTasks:
    """A model adapted to several tasks of one size.  Answering changes nothing.

    Args:
        model: what was adapted.
        ways: of every task.
        features: of the support sets, (tasks, n, ...).
        labels: int64 (tasks, n).
        states: the adapted tensors after each step, ((steps + 1) * tasks, ...), step 0 first.
        losses: support losses, (steps + 1, tasks).
        accuracies: of the support sets, (steps + 1, tasks), in [0, 1].
    """

    model: MetaNetwork
    ways: int
    features: Tensor
    labels: Tensor
    states: list[Tensor]
    losses: Tensor
    accuracies: Tensor

    @property
    def steps(self) -> int:
        """Inner steps taken."""
        return len(self.losses) - 1

    @cached_property
    def path(self) -> list[list[Tensor]]:
        """`states` step by step: views (tasks, ...) of each tensor."""
        by_tensor = [states.unflatten(0, (self.steps + 1, -1)).unbind() for states in self.states]
        return [list(step) for step in zip(*by_tensor, strict=True)]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors, with those that answers have left to be used again."""
        left: list[Tensor] = []
        for value in list(vars(self).values()):  # Another thread may be adding one.
            if isinstance(value, KnownClasses):
                left += value.tensors
            elif isinstance(value, Tensor):
                left.append(value)
        return sum(tensor.nbytes for tensor in (*self.states, *left))

    @cached_property
    def network(self) -> nn.Module:
        """The layers that `path` gives the tensors of."""
        return self.model.task_network(self.ways)[0]

    @cached_property
    def _shared(self) -> nn.Module | Copies:
        """`network` for `run_tasks`, by several threads at once."""
        return shareable(self.network)

    @torch.no_grad()
    def probabilities(self, features: Tensor, step: int, *, transductive: bool = False) -> Tensor:
        """Calibrated probabilities (tasks, m, ways) of queries (tasks, m, ...) after `step` steps.

        Args:
            features: `model.features` of the queries.
            step: in [0, steps].
            transductive: normalise each task's queries together.  Only for figures that are to be
                compared with published ones; with frozen statistics it changes nothing.
        """
        by_batch = self.model.normalisation == "batch"
        logits = run_tasks(
            self._shared,
            self.path[step],
            features,
            self._support_statistics(step) if by_batch and not transductive else None,
            batch_statistics=by_batch and transductive,
        )
        return (logits / self._temperatures(1)).softmax(dim=-1)

    @torch.no_grad()
    def path_of_features(self, features: Tensor, *, transductive: bool = False) -> Tensor:
        """`probabilities` after each step, (steps + 1, tasks, m, ways), step 0 first."""
        states = self.steps + 1
        if self.model.normalisation == "batch":
            each = [
                self.probabilities(features, step, transductive=transductive)
                for step in range(states)
            ]
            return torch.stack(each)
        if self.model.can_embed:
            return self.path_of_embeddings(self.embeddings_by_step(features))
        # Each state of a task is run as a task of its own: one pass instead of many.
        copies = features.repeat(states, *[1] * (features.dim() - 1))
        logits = run_tasks(self._shared, self.states, copies, batch_statistics=False)
        return (logits / self._temperatures(states)).softmax(dim=-1).unflatten(0, (states, -1))

    def _temperatures(self, states: int) -> Tensor:
        """What the logits (states * tasks, m, ways) are divided by, (states * tasks, 1, 1)."""
        return self._temperature.repeat(states)[:, None, None]

    @cached_property
    @torch.no_grad()
    def _temperature(self) -> Tensor:
        """Of each task, (tasks,)."""
        shots = self.labels.shape[1] / self.ways
        found = self.model.temperature(self.ways, shots, self.likeness)
        return found.expand(len(self.features))

    @cached_property
    @torch.no_grad()
    def likeness(self) -> Tensor:
        """The mean over its ways of `MetaNetwork.likeness` of each task, (tasks,)."""
        if not self.model.can_embed:
            return torch.zeros(len(self.features), device=self.features.device)
        return self.model.likeness(self.embeddings(self.features, 0), self.labels).mean(dim=-1)

    @torch.no_grad()
    def embeddings(self, features: Tensor, step: int) -> Tensor:
        """Unit vectors (tasks, m, dimensions) after `step` steps, of a network that can embed."""
        tensors = self.path[step][: self._of_body]
        return run_tasks(self._body, tensors, features, batch_statistics=False)

    @torch.no_grad()
    def embeddings_by_step(self, features: Tensor) -> Tensor:
        """`embeddings` after each step, (steps + 1, tasks, m, dimensions), step 0 first; once only,
        (1, tasks, m, dimensions), where nothing adapts but the head."""
        tensors = self.states[: self._of_body]
        states = self.steps + 1 if tensors else 1
        copies = features.repeat(states, *[1] * (features.dim() - 1))
        vectors = run_tasks(self._body, tensors, copies, batch_statistics=False)
        return vectors.unflatten(0, (states, -1))

    @torch.no_grad()
    def path_of_embeddings(self, vectors: Tensor) -> Tensor:
        """`path_of_features` of what `embeddings_by_step` gave, (steps + 1, tasks, m, ways)."""
        assert isinstance(self.network, nn.Sequential)
        states = self.steps + 1
        copies = vectors.expand(states, -1, -1, -1).flatten(0, 1)
        head, tensors = self.network[-1], self.states[self._of_body :]
        logits = run_tasks(head, tensors, copies, batch_statistics=False)
        return (logits / self._temperatures(states)).softmax(dim=-1).unflatten(0, (states, -1))

    @cached_property
    def _body(self) -> nn.Module:
        """All but the head, whose tensors come last."""
        assert isinstance(self.network, nn.Sequential)
        return self.network[:-1]

    @cached_property
    def _of_body(self) -> int:
        """How many of the tensors are the body's."""
        return len(list(self._body.parameters()))

    @cached_property
    @torch.no_grad()
    def known_by_step(self) -> KnownClasses:
        """What the support sets tell, (steps + 1, tasks, ...) or, where nothing adapts but the
        head, (1, tasks, ...)."""
        return self.model.known_classes(self.embeddings_by_step(self.features), self.labels)

    @torch.no_grad()
    def nearest_prototypes(self, features: Tensor) -> Tensor:
        """The baseline without adaptation: the way (tasks, m) of the nearest normalised class mean
        for queries (tasks, m, ...), of a network that can embed.

        Source: prototypical networks, arXiv 1703.05175, with cosines.
        """
        support = self.embeddings(self.features, 0)
        prototypes = normalised_means(support, self.labels)
        return (self.embeddings(features, 0) @ prototypes.mT).argmax(dim=-1)

    def _support_statistics(self, step: int) -> dict[str, Tensor]:
        """What lone queries are normalised by: the running statistics that a pass over the support
        set leaves with momentum 1."""
        found = self._statistics.get(step)
        if found is None:
            found = own_buffers(self.network, len(self.features))
            run_tasks(self._shared, self.path[step], self.features, found, batch_statistics=True)
            self._statistics[step] = found  # Only now is it complete, for other threads too.
        return found

    @cached_property
    def _statistics(self) -> dict[int, dict[str, Tensor]]:
        return {}


def adapt_tasks(
    model: MetaNetwork, features: Tensor, labels: Tensor, ways: int, steps: int
) -> AdaptedTasks:
    """Adapt to several tasks of one size.

    Args:
        model: the starting point; left untouched.
        features: `model.features` of the support sets, (tasks, n, ...).
        labels: int64 (tasks, n), every way present.
        ways: of every task.
        steps: inner steps.
    """
    path, losses, accuracies = [], [], []
    for state in inner_loop(
        model, features, labels, ways, steps, differentiable=False, measure_last=True
    ):
        assert state.losses is not None and state.logits is not None
        path.append([tensor.detach() for tensor in state.tensors])
        losses.append(state.losses.detach())
        accuracies.append((state.logits.argmax(dim=2) == labels).float().mean(dim=1))
    states = _side_by_side(path)
    return AdaptedTasks(
        model, ways, features, labels, states, torch.stack(losses), torch.stack(accuracies)
    )


def _side_by_side(path: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """The tensors (tasks, ...) of each step as `AdaptedTasks.states`."""
    return [torch.cat(states) for states in zip(*path, strict=True)]


class AdaptedLearner:
    """A model adapted to one support set.  Predicting changes nothing.

    Args:
        tasks: a batch of this one task.
        names: the ways' names.
        steps: inner steps to answer after, at most those of `tasks`.

    Attributes:
        names: the ways' names.
        steps: inner steps taken.
        trajectory: one `AdaptationStep` a step, step 0 first.
    """

    def __init__(self, tasks: AdaptedTasks, names: tuple[str, ...], steps: int) -> None:
        self.names = names
        self.steps = steps
        self._tasks = tasks
        losses, accuracies = tasks.losses[:, 0].tolist(), tasks.accuracies[:, 0].tolist()
        self.trajectory = tuple(
            AdaptationStep(step, losses[step], accuracies[step]) for step in range(steps + 1)
        )

    @property
    def model(self) -> MetaNetwork:
        """What was adapted."""
        return self._tasks.model

    @property
    def ways(self) -> int:
        """How many symbols it tells apart."""
        return len(self.names)

    @property
    def likeness(self) -> float:
        """How alike two drawings of a symbol are likely to be: mean over the ways of
        `MetaNetwork.likeness`; 0 for a network that cannot embed."""
        return float(self._tasks.likeness[0])

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return self._tasks.nbytes

    def at_step(self, step: int) -> AdaptedLearner:
        """The same learner as it was after some of its steps.

        Args:
            step: inner steps, 0 to `steps`.

        Returns:
            The learner, which shares its tensors with this one.

        Raises:
            ValueError: if it never took that many steps.
        """
        require_whole(f"step of a learner that took {self.steps} steps", step, 0, self.steps)
        return AdaptedLearner(self._tasks, self.names, step)

    def predict(self, images: object) -> Prediction:
        """Name drawings.

        Args:
            images: ink, (m, 28, 28) or (m, 1, 28, 28) floats in [0, 1]; of a network made by
                `from_module` pictures (m, channels, height, width) as its module takes them.

        Returns:
            The answers; each depends on its own picture alone.

        Raises:
            ValueError: if the images are not such pictures.
        """
        return self.predict_features(self._see(images))

    def predict_features(self, features: Tensor) -> Prediction:
        """`predict` for queries (m, ...) whose `model.features` are known already."""
        return Prediction(
            probabilities=self._tasks.probabilities(features[None], self.steps)[0],
            unknown=self.unknown_of_features(features),
            names=self.names,
            unknown_threshold=self.model.unknown_threshold,
        )

    def predict_path(self, images: object) -> Tensor:
        """`predict` after each inner step: probabilities (steps + 1, m, ways), step 0 first."""
        return self.path_of_features(self._see(images))

    def path_of_features(self, features: Tensor, *, transductive: bool = False) -> Tensor:
        """`predict_path` for queries (m, ...) whose `model.features` are known already."""
        path = self._tasks.path_of_features(features[None], transductive=transductive)
        return path[: self.steps + 1, 0]

    def nearest_prototypes(self, features: Tensor) -> Tensor:
        """`AdaptedTasks.nearest_prototypes` (m,) for queries (m, ...), as in arXiv 1703.05175."""
        return self._tasks.nearest_prototypes(features[None])[0]

    @torch.no_grad()
    def answers_by_step(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`Prediction.probabilities` and `Prediction.unknown` after each inner step.

        Args:
            features: `model.features` of queries, (m, ...).

        Returns:
            (steps + 1, m, ways) and (steps + 1, m), step 0 first.
        """
        if not self.model.can_embed:
            path = self.path_of_features(features)
            return path, 1 - path.amax(dim=2)
        tasks, states = self._tasks, self.steps + 1
        queries = tasks.embeddings_by_step(features[None])
        path = tasks.path_of_embeddings(queries)[:states, 0]
        terms = self.model.unknown_terms(queries, tasks.known_by_step)[:states, 0]
        return path, self.model.unknown_score(terms).expand(states, -1)

    @torch.no_grad()
    def unknown_of_features(self, features: Tensor) -> Tensor:
        """`Prediction.unknown` (m,) for queries whose `model.features` are known already."""
        if not self.model.can_embed:
            return 1 - self._tasks.probabilities(features[None], self.steps)[0].amax(dim=1)
        return self.model.unknown_score(self.unknown_terms_of_features(features))

    @torch.no_grad()
    def unknown_terms_of_features(self, features: Tensor) -> Tensor:
        """`MetaNetwork.unknown_terms` (m, terms) for queries (m, ...)."""
        tasks = self._tasks
        known = tasks.known_by_step
        queries = tasks.embeddings(features[None], self.steps)
        return self.model.unknown_terms(queries, known[min(self.steps, len(known) - 1)])[0]

    def state_dict(self) -> dict[str, Tensor]:
        """The adapted tensors of the task network, for safetensors.

        Returns:
            Copies of the tensors by name.
        """
        names = [name for name, _ in self._tasks.network.named_parameters()]
        return {
            name: tensor[0].clone().contiguous()
            for name, tensor in zip(names, self._tasks.path[self.steps], strict=True)
        }

    def save(self, path: str | Path) -> None:
        """Write everything that the answers depend on to one safetensors file, atomically.

        Args:
            path: of the file.

        Raises:
            ValueError: if the learner holds values that are not finite, or its network is a module
                of one's own, whose code the file could not hold.
            OSError: if the file cannot be written; what stood there before stays whole.
        """
        if self.model.settings.kind == "module":
            raise ValueError(
                "A learner of one's own module cannot be saved whole; save the tensors of "
                "learner.state_dict() with safetensors, which fit the module."
            )
        tasks = self._tasks
        taken = [[tensor[0] for tensor in tensors] for tensors in tasks.path[: self.steps + 1]]
        trajectory = [(record.loss, record.accuracy) for record in self.trajectory]
        write_learner(
            Path(path),
            LearnerState(
                self.model, taken, trajectory, tasks.features[0], tasks.labels[0], self.names
            ),
        )

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> AdaptedLearner:
        """Read a learner that `save` wrote; it answers as the saved one did.

        Args:
            path: of the file.
            device: where to put it.

        Returns:
            The learner.

        Raises:
            maml.CheckpointError: if the file is missing, broken, changed since it was written, or
                not a learner.
        """
        state = read_learner(Path(path))
        losses, accuracies = torch.tensor(state.trajectory, dtype=torch.float64).T[..., None]
        tasks = AdaptedTasks(
            state.model.to(device),
            len(state.names),
            state.features[None].to(device),
            state.labels[None].to(device),
            _side_by_side([tensor[None].to(device) for tensor in step] for step in state.path),
            losses,
            accuracies,
        )
        return cls(tasks, state.names, len(state.path) - 1)

    @torch.no_grad()
    def _see(self, images: object) -> Tensor:
        batch = self.model.pictures(images).to(self._tasks.features.device)
        return evaluating(self.model).features(batch)


def adapt(model: MetaNetwork, support: SupportSet, steps: int | None = None) -> AdaptedLearner:
    """Adapt a model to a few examples by gradient steps.

    Args:
        model: the meta-learned starting point; left untouched.
        support: the examples.
        steps: inner steps, 0 to 100; None takes those the model was trained for.

    Returns:
        A learner for these symbols alone.

    Raises:
        TypeError: if the model is not a `MetaNetwork`.
        ValueError: if `steps` is out of range, or the model cannot serve that many ways.

    Source: MAML, arXiv 1703.03400, Algorithm 1, lines 5 and 6.
    """
    require_meta_network(model)
    steps = model.inner.evaluation_steps if steps is None else steps
    require_whole("steps", steps, 0, LARGEST_STEPS)
    device = next(model.parameters()).device
    labels = support.labels.to(device)
    with torch.no_grad():
        features = evaluating(model).features(model.pictures(support.images).to(device))
    return adapt_features(model, features, labels, support.names, steps)


def adapt_features(
    model: MetaNetwork, features: Tensor, labels: Tensor, names: tuple[str, ...], steps: int
) -> AdaptedLearner:
    """`adapt` to support features (n, ...) whose labels (n,) are known to be sound."""
    tasks = adapt_tasks(model, features[None], labels[None], len(names), steps)
    return AdaptedLearner(tasks, names, steps)
