"""Where training tasks come from: sampled from a character set, or given by the caller."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from maml.config import MetaTraining
from maml.data.episodes import Episode, EpisodeSampler


class TaskSource(Protocol):
    """Gives the tasks of one outer step after another."""

    def take(self, outer: int) -> list[Episode]:
        """The tasks of the outer step that follows `outer` others."""

    def skip(self, outer: int) -> None:
        """Continue after `outer` outer steps that an earlier run has taken."""


class SampledTasks:
    """Tasks sampled from a character set, of the shapes in the settings in turn.

    Args:
        sampler: of the training characters; its generator's state is all that there is to resume.
        settings: of the training.
    """

    def __init__(self, sampler: EpisodeSampler, settings: MetaTraining) -> None:
        self._sampler = sampler
        self._settings = settings

    def take(self, outer: int) -> list[Episode]:
        settings = self._settings
        shape = settings.shapes[outer % len(settings.shapes)]
        count = settings.tasks_of(shape)
        return self._sampler.sample_batch(shape, count, augment=settings.augment)

    def skip(self, outer: int) -> None:
        """Nothing to do: the generator's state is restored with the run's."""


class GivenTasks:
    """Tasks from an iterable, `meta_batch` for each outer step, in its order.

    Args:
        tasks: the tasks; endless, or long enough for the settings.
        settings: of the training.

    Raises:
        TypeError: if `tasks` is not iterable.
        ValueError: if the settings ask for what needs a character set.
    """

    def __init__(self, tasks: Iterable[Episode], settings: MetaTraining) -> None:
        if not isinstance(tasks, Iterable):
            raise TypeError(
                "tasks must be a maml.CharacterSet or an iterable of maml.Episode; got "
                f"{type(tasks).__name__}."
            )
        for name in ("augment", "validation", "pretraining", "balanced", "further_evaluations"):
            if value := getattr(settings, name):
                raise ValueError(
                    f"The setting {name} needs a maml.CharacterSet as tasks; leave it out, or pass "
                    f"one; got {value!r}."
                )
        self._stream = _stream(tasks, settings)
        self._meta_batch = settings.meta_batch

    def take(self, outer: int) -> list[Episode]:
        return [next(self._stream) for _ in range(self._meta_batch)]

    def skip(self, outer: int) -> None:
        for _ in range(outer * self._meta_batch):
            next(self._stream)


def _stream(tasks: Iterable[Episode], settings: MetaTraining) -> Iterator[Episode]:
    count = 0
    for count, task in enumerate(tasks, start=1):
        yield checked(task, count)
    raise ValueError(
        f"{settings.iterations} outer steps with a meta-batch of {settings.meta_batch} need "
        f"{settings.iterations * settings.meta_batch} tasks; give more tasks or lower iterations; "
        f"got {count}."
    )


def checked(task: Episode, number: int) -> Episode:
    """Check a task that a caller made.

    Args:
        task: the task.
        number: its number among the caller's tasks, for the text of an error.

    Raises:
        TypeError: if it is not an episode.
        ValueError: if its pictures and labels do not fit together.
    """
    if not isinstance(task, Episode):
        raise TypeError(f"Each task must be a maml.Episode; got {type(task).__name__} as {number}.")
    for part in ("support", "query"):
        images, labels = getattr(task, f"{part}_images"), getattr(task, f"{part}_labels")
        if not images.is_floating_point() or images.ndim < 2 or not len(images):
            raise ValueError(
                f"{part}_images of task {number} must be floats (n, ...), n at least 1; got "
                f"{images.dtype} {tuple(images.shape)}."
            )
        if labels.is_floating_point() or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{part}_labels of task {number} must be whole numbers ({len(images)},), one for "
                f"each picture; got {labels.dtype} {tuple(labels.shape)}."
            )
    ways = sorted(set(task.support_labels.tolist()))
    if ways != list(range(len(ways))) or len(ways) < 2:
        raise ValueError(
            f"support_labels of task {number} must be 0, 1, ... without gaps, two or more; got "
            f"{ways}."
        )
    if strange := sorted(set(task.query_labels.tolist()) - set(ways)):
        raise ValueError(
            f"query_labels of task {number} must be among the support's, 0 to {len(ways) - 1}; got "
            f"{strange[0]}."
        )
    return task


def given(tasks: Iterable[Episode], most: int) -> Sequence[Episode]:
    """The first `most` of a caller's tasks, checked.

    Raises:
        TypeError, ValueError: as `checked`, or if there is none.
    """
    found = [
        checked(task, number) for number, task in enumerate(itertools.islice(tasks, most), start=1)
    ]
    if not found:
        raise ValueError("There must be at least one task; got none.")
    return found
