"""How the network in training does on fresh test tasks, now and then."""

from __future__ import annotations

import base64
import io
import time

import torch
from PIL import Image
from torch import Tensor

from maml.adapt import adapt
from maml.batched import evaluating
from maml.config import LARGEST_SEED, EpisodeShape, Recipe
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler, SupportSet
from maml.model import MetaNetwork
from maml.sessions.events import Preview, SolvedTask
from maml.train import training_parts

PREVIEW_SECONDS = 2.0
"""Between two previews, at least."""
PREVIEW_SHARE = 0.1
"""At most this share of the time goes into previews."""
_TASKS = 12
_SHOWN_TASKS = 2
_SHOWN_QUERIES = 3
_LARGEST_QUERIES = 5


class Previews:
    """Makes previews on tasks of the characters that the run does not train on.

    Args:
        model: the network in training; left untouched.
        data: the whole set.
        recipe: of the run; its evaluation shape is that of the tasks.
    """

    def __init__(self, model: MetaNetwork, data: CharacterSet, recipe: Recipe) -> None:
        self._model = model
        _, held_out = training_parts(data, recipe.training)
        # A generator of its own: a preview must not change what is trained.
        generator = torch.Generator().manual_seed((recipe.seed + 3) % (LARGEST_SEED + 1))
        self._sampler = EpisodeSampler(held_out, generator)
        asked = recipe.training.evaluation
        self._shape = EpisodeShape(
            asked.ways, asked.shots, min(asked.queries, _LARGEST_QUERIES), asked.within_alphabet
        )
        self._device = next(model.parameters()).device
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() >= self._next

    def take(self, iteration: int) -> Preview:
        """Adapt to fresh tasks and answer their queries, one at a time.

        Args:
            iteration: gradient steps behind the model.
        """
        began = time.monotonic()
        by_step: list[Tensor] = []
        nearest: list[Tensor] = []
        solved: list[SolvedTask] = []
        for number in range(_TASKS):
            episode = self._sampler.sample(self._shape).to(self._device)
            names = tuple(str(way) for way in range(episode.ways))
            support = SupportSet(episode.support_images, episode.support_labels, names)
            learner = adapt(self._model, support)
            features = self._features(episode.query_images)
            chosen = learner.path_of_features(features).argmax(dim=-1)  # (steps + 1, queries)
            by_step.append((chosen == episode.query_labels).double().mean(dim=1).cpu())
            if self._model.can_embed:
                right = learner.nearest_prototypes(features) == episode.query_labels
                nearest.append(right.double().mean().cpu())
            if number < _SHOWN_TASKS:
                by_way = (episode.ways, -1)
                queries = episode.query_images.unflatten(0, by_way)[:, :_SHOWN_QUERIES]
                solved.append(
                    SolvedTask(
                        ways=episode.ways,
                        support=_strip(episode.support_images.unflatten(0, by_way)[:, :1]),
                        queries=_strip(queries),
                        answers=_rows(chosen[-1].reshape(by_way)[:, :_SHOWN_QUERIES]),
                        before=_rows(chosen[0].reshape(by_way)[:, :_SHOWN_QUERIES]),
                    )
                )
        cost = time.monotonic() - began
        self._next = time.monotonic() + max(PREVIEW_SECONDS, cost / PREVIEW_SHARE)
        means = torch.stack(by_step).mean(dim=0).tolist()
        return Preview(
            iteration=iteration,
            protocol=str(self._shape),
            tasks=_TASKS,
            accuracy_by_step=tuple(round(value, 4) for value in means),
            solved=tuple(solved),
            prototypes=round(torch.stack(nearest).mean().item(), 4) if nearest else None,
        )

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        return evaluating(self._model).features(images)


def _rows(values: Tensor) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def _strip(images: Tensor) -> str:
    """Pictures (ways, k, 1, 28, 28) as one PNG, a column for each way, in base64."""
    picture = images[:, :, 0].permute(1, 2, 0, 3).flatten(0, 1).flatten(1, 2)
    levels = picture.mul(255).round().byte().cpu().numpy()
    content = io.BytesIO()
    Image.fromarray(levels).save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()
