"""Support sets, and tasks sampled from a character set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maml.config import LARGEST_WAYS, EpisodeShape
from maml.data.augment import TURNS, distort, turn
from maml.data.characters import CharacterSet
from maml.drawing import INK_SIZE

Images = Tensor | NDArray[Any] | Sequence[Tensor | NDArray[Any]]
"""Pictures of ink as `as_ink_batch` takes them."""


@dataclass(frozen=True, eq=False, init=False)
class SupportSet:
    """The examples a learner adapts to.

    Args:
        images: ink, (n, 28, 28) or (n, 1, 28, 28), floats in [0, 1]: a tensor, an array or a
            sequence of pictures.  The attribute is a float32 tensor (n, 1, 28, 28).
        labels: (n,) whole numbers in [0, ways); every way needs at least one example, and counts
            may differ.  The attribute is an int64 tensor.
        names: a name for each way; 2 to 20 ways.
        ink: whether the images must be ink.  With False they are any float pictures (n, channels,
            height, width), for a network that `maml.from_module` made, and any number of ways.

    Raises:
        ValueError: if anything does not fit; the text says what was expected and what it got.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __init__(
        self,
        images: Images,
        labels: Tensor | ArrayLike,
        names: Iterable[str],
        *,
        ink: bool = True,
    ) -> None:
        # Copies: later changes to the caller's arrays must not change the examples.
        images = (as_ink_batch(images) if ink else as_pictures(images)).detach().clone()
        try:
            labels = _dense(torch.as_tensor(labels), "labels").clone()
            names = tuple(str(name) for name in names)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                "labels must be whole numbers, one for each image, and names a list of texts: "
                f"{error}."
            ) from error
        if len(names) < 2 or (ink and len(names) > LARGEST_WAYS):
            most = f"2 to {LARGEST_WAYS} symbols" if ink else "2 or more classes"
            raise ValueError(f"A learner needs the names of {most}; got {len(names)}.")
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise ValueError(f"labels must be whole numbers; got dtype {labels.dtype}.")
        labels = labels.long()
        if labels.shape != (len(images),):
            raise ValueError(
                f"There must be one label for each of the {len(images)} images; got labels of "
                f"shape {tuple(labels.shape)}."
            )
        if int(labels.min()) < 0 or int(labels.max()) >= len(names):
            raise ValueError(
                f"labels must lie in [0, {len(names)}), since there are {len(names)} names; got "
                f"{int(labels.min())} to {int(labels.max())}."
            )
        missing = sorted(set(range(len(names))) - set(labels.tolist()))
        if missing:
            listed = ", ".join(repr(names[way]) for way in missing)
            raise ValueError(f"No example of {listed}: every symbol needs at least one drawing.")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", names)

    @property
    def ways(self) -> int:
        """How many symbols there are."""
        return len(self.names)


def _no_rows() -> Tensor:
    return torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class Episode:
    """A task: support and query pictures of the same classes.

    Args:
        support_images, query_images: floats (n, ...); of drawings ink, float32 (n, 1, 28, 28).
        support_labels, query_labels: int64 (n,) in [0, ways); the support has every class.
        characters: int64 (ways,), the row in the character set behind each label; empty if the task
            does not come from one.
        turns: int64 (ways,) in [0, 8), how each character was rotated or mirrored to make a new
            class, see `maml.data.augment.turn`; empty likewise.
    """

    support_images: Tensor
    support_labels: Tensor
    query_images: Tensor
    query_labels: Tensor
    characters: Tensor = field(default_factory=_no_rows)
    turns: Tensor = field(default_factory=_no_rows)

    @property
    def ways(self) -> int:
        """Number of classes."""
        return len(self.characters) or int(self.support_labels.max()) + 1

    def to(self, device: torch.device | str) -> Episode:
        """The same task on another device.

        Args:
            device: as torch names it: "cpu", "cuda", "cuda:1".

        Returns:
            The task, with its tensors there.
        """
        return Episode(
            self.support_images.to(device),
            self.support_labels.to(device),
            self.query_images.to(device),
            self.query_labels.to(device),
            self.characters.to(device),
            self.turns.to(device),
        )


def as_ink_batch(images: object) -> Tensor:
    """Convert ink to a float32 tensor (n, 1, 28, 28).

    Args:
        images: tensor, array or sequence of pictures: (n, 28, 28), (n, 1, 28, 28), or one picture
            (28, 28); floats in [0, 1].

    Raises:
        ValueError: if shape, dtype or range do not fit, or a value is not finite.
    """
    try:
        if isinstance(images, Sequence):
            images = np.stack([np.asarray(image) for image in images])
        elif isinstance(images, np.ndarray):
            images = images.copy()  # Arrays may be read-only or run backwards, tensors may not.
        batch = _dense(torch.as_tensor(images), "images")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"The images cannot be made one array of ink: {error}.") from error
    shape = tuple(batch.shape)
    if batch.ndim == 2:
        batch = batch[None]
    if batch.ndim == 3:
        batch = batch[:, None]
    if batch.ndim != 4 or batch.shape[1:] != (1, INK_SIZE, INK_SIZE) or len(batch) == 0:
        raise ValueError(
            f"Images must have the shape (n, {INK_SIZE}, {INK_SIZE}) or "
            f"(n, 1, {INK_SIZE}, {INK_SIZE}) with n at least 1, as maml.image_to_ink makes them of "
            f"any picture; got {shape}."
        )
    if not batch.is_floating_point():
        raise ValueError(
            "Images must be floats in [0, 1], 1 = ink; divide whole numbers by 255; got "
            f"{batch.dtype}."
        )
    batch = batch.float()
    if not bool(torch.isfinite(batch).all()):
        raise ValueError("An image holds a value that is not a finite number.")
    low, high = float(batch.min()), float(batch.max())
    if low < -1e-4 or high > 1 + 1e-4:
        raise ValueError(
            "Ink must lie in [0, 1], as maml.image_to_ink makes it of any picture; got values from "
            f"{low:g} to {high:g}."
        )
    return batch


def _dense(values: Tensor, what: str) -> Tensor:
    """The same tensor, if it is one whose values can be read.

    Raises:
        ValueError: if it is sparse, nested or without values.
    """
    if values.is_nested or values.layout != torch.strided or values.device.type == "meta":
        kind = "nested" if values.is_nested else f"{values.layout} on {values.device}"
        raise ValueError(f"{what} must be a dense tensor, as .to_dense() gives it; got {kind}")
    return values


def as_pictures(images: object) -> Tensor:
    """Check pictures of any size, as networks made by `maml.from_module` take them.

    Args:
        images: tensor or array of floats (n, channels, height, width), n at least 1.

    Returns:
        The same as a tensor.

    Raises:
        ValueError: if shape or dtype do not fit, or a value is not finite.
    """
    try:
        batch = _dense(torch.as_tensor(images), "pictures")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"The pictures cannot be made one tensor: {error}.") from error
    if batch.ndim != 4 or len(batch) == 0 or not batch.is_floating_point():
        raise ValueError(
            "Pictures must be floats (n, channels, height, width) with n at least 1; got "
            f"{batch.dtype} {tuple(batch.shape)}."
        )
    if not bool(torch.isfinite(batch).all()):
        raise ValueError("Pictures must hold finite numbers; got at least one that is not.")
    return batch


def _episode(images: Tensor, characters: Tensor, turns: Tensor, *, shots: int) -> Episode:
    """The task whose characters have the drawings (ways, k, 28, 28), the first `shots` support."""
    support, query = images[:, :shots], images[:, shots:]
    slots = torch.arange(len(characters))
    return Episode(
        support_images=support.reshape(-1, 1, INK_SIZE, INK_SIZE),
        support_labels=slots.repeat_interleave(support.shape[1]),
        query_images=query.reshape(-1, 1, INK_SIZE, INK_SIZE),
        query_labels=slots.repeat_interleave(query.shape[1]),
        characters=characters,
        turns=turns,
    )


class EpisodeSampler:
    """Samples tasks from a character set.

    Characters and drawings are sampled without replacement within a task, and labels are assigned
    to characters at random, so that a label carries no information about its character.

    Args:
        data: the characters.
        generator: the only source of randomness; its state is the whole state of the sampler.
    """

    def __init__(self, data: CharacterSet, generator: torch.Generator) -> None:
        self.data = data
        self.generator = generator
        self._images = torch.from_numpy(data.images)
        names = sorted(set(data.alphabets))
        row_alphabets = np.array(data.alphabets)
        rows = [np.flatnonzero(row_alphabets == name) for name in names]
        self._alphabet_rows = [torch.from_numpy(chosen) for chosen in rows if len(chosen) >= 2]

    def sample(self, shape: EpisodeShape, *, augment: bool = False) -> Episode:
        """`sample_batch` for one task."""
        return self.sample_batch(shape, 1, augment=augment)[0]

    def sample_batch(
        self, shape: EpisodeShape, tasks: int, *, augment: bool = False
    ) -> list[Episode]:
        """Sample several tasks of one shape, at less cost than one at a time.

        Args:
            shape: of the tasks.
            tasks: how many.
            augment: rotate or mirror each character by `turn` and distort each drawing by
                `distort` of `maml.data.augment`.

        Returns:
            The tasks; pictures are float32 (n, 1, 28, 28).

        Raises:
            ValueError: as `sample_rows`.
        """
        rows = [self.sample_rows(shape) for _ in range(tasks)]
        characters = torch.cat([chosen for chosen, _ in rows])
        drawings = torch.cat([chosen for _, chosen in rows])
        images = self._images[characters[:, None], drawings].float().div(255)
        turns = torch.zeros_like(characters)
        if augment:
            turns = torch.randint(TURNS, (len(characters),), generator=self.generator)
            images = turn(images, turns)
            images = distort(images.flatten(0, 1), self.generator).view_as(images)
        ways = [len(chosen) for chosen, _ in rows]
        each = zip(images.split(ways), characters.split(ways), turns.split(ways), strict=True)
        return [_episode(*task, shots=shape.shots) for task in each]

    def sample_rows(self, shape: EpisodeShape) -> tuple[Tensor, Tensor]:
        """Sample the rows of one task without its pictures.

        Args:
            shape: of the task.

        Returns:
            The characters, int64 (ways,), and the drawings of each, int64 (ways, shots + queries).

        Raises:
            ValueError: if the set has too few characters or drawings for the shape.
        """
        if shape.drawings > self.data.drawings:
            raise ValueError(
                f"{shape.shots} shots and {shape.queries} queries need {shape.drawings} drawings "
                f"of each character; ask for fewer; got data with {self.data.drawings}."
            )
        if shape.within_alphabet:
            if not self._alphabet_rows:
                raise ValueError(
                    "Tasks within one alphabet need an alphabet of two or more characters; got "
                    f"{len(self.data)} alphabets of one."
                )
            pick = torch.randint(len(self._alphabet_rows), (1,), generator=self.generator)
            rows = self._alphabet_rows[int(pick)]
            rows = rows[torch.randperm(len(rows), generator=self.generator)][: shape.ways]
        else:
            if shape.ways > len(self.data):
                raise ValueError(
                    f"{shape.ways} ways need as many characters; ask for fewer ways or use more "
                    f"data; got {len(self.data)} characters."
                )
            rows = torch.randperm(len(self.data), generator=self.generator)[: shape.ways]
        order = torch.rand(len(rows), self.data.drawings, generator=self.generator).argsort(dim=1)
        return rows, order[:, : shape.drawings]
