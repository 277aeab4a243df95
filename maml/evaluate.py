"""Evaluation: accuracy over many tasks, confidence intervals, accuracy after each inner step."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from maml.adapt import AdaptedLearner, adapt_features, adapt_tasks
from maml.batched import evaluating, private_copy
from maml.config import LARGEST_SEED, LARGEST_STEPS, EpisodeShape, require_whole
from maml.data.characters import CharacterSet
from maml.data.episodes import Episode, EpisodeSampler
from maml.data.tasks import given
from maml.inner_loop import tasks_at_once
from maml.model import MetaNetwork, require_meta_network

_BATCH = 512
Classifier = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(support_images, support_labels, query_images) -> logits, see `evaluate`."""


@dataclass(frozen=True)
class EvaluationResult:
    """The result of an evaluation.

    Args:
        protocol: the shape of the tasks, in words.
        accuracy: mean over tasks, in [0, 1].
        interval: half width of its 95 % confidence interval, in [0, 1]; nan of a single task.
        tasks: number of tasks.
        loss: mean negative log-likelihood of the true class, in nats.
        accuracy_by_step: accuracy in [0, 1] after each inner step, step 0 first; of a callable just
            the one accuracy.
        calibration_error: expected calibration error of the top probability in [0, 1], 15 equal
            bins.
        transductive: whether the queries of a task were classified together.
        iteration: gradient steps of both stages, pre-training and outer loop, that the model had
            taken; 0 outside training.
        others: results on further shapes, see `maml.MetaTraining.further_evaluations`.
        prototypes: accuracy in [0, 1], on the same tasks, of the nearest normalised class mean of
            the same network's embeddings, before adaptation; None where it was not measured.
        gain_by_step: accuracy above `prototypes` after each inner step, with the half width of its
            95 % confidence interval (paired, over tasks); both in [-1, 1], or nan likewise.
    """

    protocol: str
    accuracy: float
    interval: float
    tasks: int
    loss: float
    accuracy_by_step: tuple[float, ...]
    calibration_error: float
    transductive: bool = False
    iteration: int = 0
    others: tuple[EvaluationResult, ...] = ()
    prototypes: float | None = None
    gain_by_step: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class _Answered:
    """What was answered to a task's m queries.

    Args:
        targets: int64 (m,).
        path: probabilities (steps + 1, m, ways).
        prototypes: int64 (m,), what the baseline answered; None where it was not asked.
    """

    targets: Tensor
    path: Tensor
    prototypes: Tensor | None = None


class FeatureTable:
    """`model.features` of the drawings of a set, each computed once, when first needed.

    Args:
        model: the model.  With "batch" normalisation features depend on the whole batch, so they
            are computed anew each time.
        data: the drawings.
    """

    def __init__(self, model: MetaNetwork, data: CharacterSet) -> None:
        self.model = model
        self.data = data
        self.device = next(model.parameters()).device
        self._evaluated = private_copy(model)
        self._images = torch.from_numpy(data.images)
        self._table: Tensor | None = None
        self._known = torch.zeros(self._images.shape[:2], dtype=torch.bool)

    @torch.no_grad()
    def _stem(self, images: Tensor) -> Tensor:
        return self._evaluated.features(images[:, None].to(self.device).float().div(255))

    def prepare(self, rows: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Compute features for later calls in a few large batches.

        Args:
            rows: characters (ways,) and drawings (ways, k) of each call.
        """
        if self.model.normalisation == "batch":
            return
        needed = torch.zeros_like(self._known)
        for characters, drawings in rows:
            needed[characters[:, None], drawings] = True
        places = (needed & ~self._known).nonzero()
        for some in places.split(_BATCH) if len(places) else ():
            characters, drawings = some.unbind(dim=1)
            features = self._stem(self._images[characters, drawings])
            if self._table is None:
                # The system allocates pages only when they are written to.
                self._table = features.new_empty(*self._known.shape, *features.shape[1:])
            self._table[characters.to(self.device), drawings.to(self.device)] = features
        self._known |= needed

    def __call__(self, characters: Tensor, drawings: Tensor) -> Tensor:
        """Features (ways, k, ...) of drawings (ways, k) of characters (ways,)."""
        if self.model.normalisation == "batch":
            images = self._images[characters[:, None], drawings]
            return self._stem(images.flatten(0, 1)).unflatten(0, tuple(drawings.shape))
        if not bool(self._known[characters[:, None], drawings].all()):
            self.prepare([(characters, drawings)])
        assert self._table is not None
        return self._table[characters.to(self.device)[:, None], drawings.to(self.device)]


def evaluate(
    model: MetaNetwork | Classifier,
    data: CharacterSet | Iterable[Episode],
    shape: EpisodeShape | None = None,
    tasks: int = 1000,
    *,
    steps: int | None = None,
    seed: int = 0,
    transductive: bool = False,
    prototypes: bool = True,
) -> EvaluationResult:
    """Measure the accuracy on many tasks, by default with one query at a time.

    Args:
        model: the network, left untouched; or any callable `(support_images, support_labels,
            query_images) -> logits`, which gets float32 (n, 1, 28, 28), int64 (n,) and float32
            (m, 1, 28, 28) on the CPU and returns a tensor (m, ways).  A callable is called for each
            query alone (m = 1), with the very same support tensors for all queries of a task.
        data: the characters to sample tasks from, all of them (pass `data.split(...)`); or the
            tasks themselves, an iterable of `Episode`.
        shape: of the sampled tasks; None if `data` holds the tasks.
        tasks: number of tasks; of given ones at most so many.
        steps: inner steps; None takes `model.inner.evaluation_steps`.  For networks only.
        seed: of the sampled tasks; the same seed gives the same tasks for any model or callable.
        transductive: classify the queries of a task together: a network normalises them together,
            as published MAML results do, and a callable gets all of them at once.
        prototypes: measure the normalised class means beside a network that can embed.

    Returns:
        Mean accuracy with its 95 % confidence interval, and what else was measured.

    Raises:
        TypeError: if `model` is neither, or `data` holds something else.
        ValueError: if tasks, steps or seed are out of range, the data has too few characters or
            drawings, the model cannot serve the number of ways, or a callable returns something
            else than finite logits (m, ways).

    Source: tasks of N ways and K shots: arXiv 1606.04080; why queries are answered one by one:
    arXiv 2003.03284, Table C.1.
    """
    require_whole("tasks", tasks, 1, 10_000_000)
    require_whole("seed", seed, 0, LARGEST_SEED)
    network = model if isinstance(model, MetaNetwork) else None
    if isinstance(data, CharacterSet):
        if shape is None:
            raise ValueError("Tasks sampled from a CharacterSet need an EpisodeShape; got None.")
        if network is not None:
            table = FeatureTable(network, data)
            return evaluate_table(
                table,
                shape,
                tasks,
                steps=steps,
                seed=seed,
                transductive=transductive,
                prototypes=prototypes,
            )
        sampler = EpisodeSampler(data, torch.Generator().manual_seed(seed))
        episodes: Iterable[Episode] = (sampler.sample(shape) for _ in range(tasks))
    else:
        if shape is not None:
            raise ValueError(f"Given tasks have shapes of their own; leave shape out; got {shape}.")
        episodes = given(data, tasks)
    if network is not None:
        steps = network.inner.evaluation_steps if steps is None else steps
        require_whole("steps", steps, 0, LARGEST_STEPS)
        answer = functools.partial(_adapted, evaluating(network), steps, transductive, prototypes)
    else:
        classifier = _require_classifier(model)
        if steps is not None:
            raise ValueError(f"steps is for networks only; leave it out; got {steps!r}.")
        answer = functools.partial(_called, classifier, transductive)
    return _summarise(
        _protocol(episodes) if shape is None else str(shape),
        map(answer, episodes),
        transductive,
    )


def _protocol(episodes: Iterable[Episode]) -> str:
    """The common shape of given tasks, in words."""
    shapes = set()
    for episode in episodes:
        counts = torch.bincount(episode.support_labels).tolist()
        shapes.add(f"{len(counts)}-way {counts[0]}-shot" if len(set(counts)) == 1 else "")
    return shapes.pop() if len(shapes) == 1 and "" not in shapes else "tasks of several shapes"


def _adapted(
    model: MetaNetwork, steps: int, transductive: bool, prototypes: bool, episode: Episode
) -> _Answered:
    """A network's answers to a task after each inner step."""
    device = next(model.parameters()).device
    with torch.no_grad():
        support = model.features(episode.support_images.to(device))
        queries = model.features(episode.query_images.to(device))
    learner = adapt_task(model, support, steps, episode.support_labels)
    path = learner.path_of_features(queries, transductive=transductive).cpu()
    nearest = learner.nearest_prototypes(queries).cpu() if prototypes and model.can_embed else None
    return _Answered(episode.query_labels, path, nearest)


def _called(classify: Classifier, transductive: bool, episode: Episode) -> _Answered:
    """A callable's answers to a task."""
    size = len(episode.query_images) if transductive else 1
    support = episode.support_images, episode.support_labels
    logits = []
    for queries in episode.query_images.split(size):
        found = classify(*support, queries)
        expected = (len(queries), episode.ways)
        if (
            not isinstance(found, Tensor)
            or found.shape != expected
            or not bool(torch.isfinite(found).all())
        ):
            described = (
                f"{found.dtype} {tuple(found.shape)}"
                if isinstance(found, Tensor)
                else type(found).__name__
            )
            raise ValueError(
                f"The callable must return a tensor of finite logits {expected}, a row for each "
                f"query and a column for each class; got {described}."
            )
        logits.append(found.detach().float().cpu())
    return _Answered(episode.query_labels, torch.cat(logits).softmax(dim=1)[None])


def _require_classifier(model: object) -> Classifier:
    """Check that an argument is a callable of three arguments.

    Raises:
        TypeError: if it is not.
    """
    if isinstance(model, nn.Module) and not _takes_three(model.forward):
        require_meta_network(model)  # says how to make one of a module
    if not callable(model) or not _takes_three(model):
        raise TypeError(
            "The model must be a MetaNetwork or a callable (support_images, support_labels, "
            f"query_images) -> logits; got {type(model).__name__}."
        )
    return model


def _takes_three(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:
        return True  # It has no signature to look at.
    return True


def evaluate_table(
    table: FeatureTable,
    shape: EpisodeShape,
    tasks: int,
    *,
    steps: int | None = None,
    seed: int = 0,
    transductive: bool = False,
    prototypes: bool = True,
    query_table: FeatureTable | None = None,
) -> EvaluationResult:
    """`evaluate` a network from precomputed features.

    Args:
        table: the features.
        shape, tasks, steps, seed, transductive, prototypes: as for `evaluate`.
        query_table: features of other renderings of the same drawings, for the queries.
    """
    model = table.model
    steps = model.inner.evaluation_steps if steps is None else steps
    require_whole("tasks", tasks, 1, 10_000_000)
    require_whole("steps", steps, 0, LARGEST_STEPS)
    require_whole("seed", seed, 0, LARGEST_SEED)
    sampler = EpisodeSampler(table.data, torch.Generator().manual_seed(seed))
    query_table = query_table or table
    rows = [sampler.sample_rows(shape) for _ in range(tasks)]
    table.prepare((characters, drawings[:, : shape.shots]) for characters, drawings in rows)
    query_table.prepare((characters, drawings[:, shape.shots :]) for characters, drawings in rows)
    answered = _answers(
        table,
        query_table,
        rows,
        shape,
        steps,
        transductive=transductive,
        prototypes=prototypes and model.can_embed,
    )
    return _summarise(str(shape), answered, transductive)


def _answers(
    table: FeatureTable,
    query_table: FeatureTable,
    rows: list[tuple[Tensor, Tensor]],
    shape: EpisodeShape,
    steps: int,
    *,
    transductive: bool,
    prototypes: bool,
) -> Iterator[_Answered]:
    for group in _alike(rows, tasks_at_once(table.model, shape.ways * shape.drawings)):
        support = torch.stack([table(one, each[:, : shape.shots]) for one, each in group])
        queries = torch.stack([query_table(one, each[:, shape.shots :]) for one, each in group])
        ways = support.shape[1]
        slots = torch.arange(ways, device=table.device)
        labels = slots.repeat_interleave(shape.shots).expand(len(group), -1)
        adapted = adapt_tasks(table.model, support.flatten(1, 2), labels, ways, steps)
        targets = slots.repeat_interleave(shape.queries)
        queries = queries.flatten(1, 2)
        path = adapted.path_of_features(queries, transductive=transductive)
        nearest = adapted.nearest_prototypes(queries) if prototypes else [None] * len(group)
        for task, found in zip(path.unbind(dim=1), nearest, strict=True):
            yield _Answered(targets, task, found)


def _summarise(
    protocol: str, answered: Iterable[_Answered], transductive: bool
) -> EvaluationResult:
    right_by_step, losses, tops, hits, baseline = [], [], [], [], []
    for task in answered:
        targets, path = task.targets, task.path
        if task.prototypes is not None:
            baseline.append((task.prototypes == targets).float().mean().item())
        right = path.argmax(dim=-1) == targets  # (steps + 1, m)
        right_by_step.append(right.float().mean(dim=1).cpu().numpy())
        losses.append(functional.nll_loss(path[-1].clamp(min=1e-12).log(), targets).item())
        tops.append(path[-1].amax(dim=1).cpu().numpy())
        hits.append(right[-1].cpu().numpy())
    by_step = np.stack(right_by_step, axis=1)
    mean, interval = mean_and_interval(by_step[-1])
    gains = by_step - np.array(baseline) if baseline else ()
    return EvaluationResult(
        protocol=protocol,
        accuracy=mean,
        interval=interval,
        tasks=by_step.shape[1],
        loss=float(np.mean(losses)),
        accuracy_by_step=tuple(float(value) for value in by_step.mean(axis=1)),
        calibration_error=calibration_error(np.concatenate(tops), np.concatenate(hits)),
        transductive=transductive,
        prototypes=float(np.mean(baseline)) if baseline else None,
        gain_by_step=tuple(mean_and_interval(gain) for gain in gains),
    )


def _alike(rows: list[tuple[Tensor, Tensor]], count: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Neighbouring tasks of as many ways, at most `count` together."""
    for _, alike in itertools.groupby(rows, lambda row: len(row[0])):
        group = list(alike)
        for start in range(0, len(group), count):
            yield group[start : start + count]


def adapt_task(
    model: MetaNetwork, support: Tensor, steps: int, labels: Tensor | None = None
) -> AdaptedLearner:
    """Adapt to the features of a task.

    Args:
        model: what to adapt.
        support: (ways, shots, ...), or with `labels` (n, ...).
        steps: inner steps.
        labels: (n,), where shots are unequal.
    """
    if labels is None:
        labels = torch.arange(support.shape[0]).repeat_interleave(support.shape[1])
        support = support.flatten(0, 1)
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return adapt_features(model, support, labels.to(support.device), names, steps)


def mean_and_interval(values: NDArray[np.floating]) -> tuple[float, float]:
    """Mean and half width of its 95 % confidence interval (normal approximation); a single value
    has none: nan."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return float(values.mean()), 1.96 * spread / math.sqrt(len(values))


def calibration_error(
    confidence: NDArray[np.floating], hit: NDArray[np.bool_], bins: int = 15
) -> float:
    """Expected calibration error (Guo et al., arXiv 1706.04599, section 2), equal-width bins."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(float(confidence[which == k].mean()) - float(hit[which == k].mean()))
        * (which == k).sum()
        for k in range(bins)
        if (which == k).any()
    ]
    return float(sum(gaps)) / len(confidence)
