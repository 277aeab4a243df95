"""Character sets and their splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maml.config import Part, Split
from maml.data.words import part_of
from maml.drawing import INK_SIZE

_NOTEBOOK_SHARE = 1200 / 1623
"""The notebook trains on the first 1,200 of Omniglot's 1,623 characters."""
DOODLES = "doodles"
"""The one alphabet that all words of Quick, Draw! count as."""
_PARTS: dict[Split, tuple[Part, ...]] = {
    "alphabets": ("train", "test"),
    "notebook": ("train", "test"),
    "doodles": ("train", "choose", "test"),
}


@dataclass(frozen=True, eq=False)
class CharacterSet:
    """Drawings as ink, by character.

    Args:
        images: uint8 (characters, drawings, 28, 28), 255 = ink.
        characters: a name for each character.
        alphabets: the alphabet of each character.
        background: for each character, whether it belongs to the background set (for training).
        name: of the data set.

    Raises:
        ValueError: if the images are something else, or names and images differ in number.

    Source: of the parts, Omniglot's by Lake et al. (Science 350, 2015), see `split`.
    """

    images: NDArray[np.uint8]
    characters: tuple[str, ...]
    alphabets: tuple[str, ...]
    background: tuple[bool, ...]
    name: str = "unnamed"

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[2:] != (INK_SIZE, INK_SIZE):
            raise ValueError(
                f"images must be uint8 (characters, drawings, {INK_SIZE}, {INK_SIZE}); got "
                f"{self.images.dtype} {shape}."
            )
        for name in ("characters", "alphabets", "background"):
            if len(getattr(self, name)) != len(self.images):
                raise ValueError(
                    f"{name} must have an entry for each of the {len(self.images)} characters; got "
                    f"{len(getattr(self, name))}."
                )

    def __repr__(self) -> str:
        alphabets = len(set(self.alphabets))
        return (
            f"CharacterSet({self.name!r}: {len(self)} characters of {alphabets} "
            f"alphabet{'s' * (alphabets != 1)}, {self.drawings} drawings each)"
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def drawings(self) -> int:
        """Drawings of each character."""
        return int(self.images.shape[1])

    def split(self, protocol: Split, part: Part) -> CharacterSet:
        """The characters that train, choose or test under a protocol.

        Args:
            protocol: "alphabets" (Lake's: background alphabets train, evaluation alphabets test),
                "notebook" (the first 1,200 of 1,623 characters train, in the order of the set;
                the same share of a smaller set) or "doodles" (60 fixed words of Quick, Draw! test,
                25 others choose, the rest train; see `maml.data.words`).
                Words have this protocol alone: any other would mix test words into training.
            part: "train" or "test"; of "doodles" also "choose", the words that choices are made
                and probabilities are calibrated on.

        Returns:
            A set of those characters.

        Raises:
            ValueError: if the protocol is unknown, has no such part or belongs to other data, or
                it is "doodles" and the set holds no word of that part.
        """
        if protocol not in _PARTS:
            raise ValueError(f"protocol must be one of {', '.join(_PARTS)}; got {protocol!r}.")
        if protocol != "doodles" and DOODLES in self.alphabets:
            raise ValueError(
                "the words that maml.load_quickdraw gives have the protocol 'doodles' alone; pass "
                "that, to maml.MetaTraining as split='doodles', and divide other characters apart "
                f"from them; got {protocol!r}."
            )
        if part not in _PARTS[protocol]:
            raise ValueError(
                f"part must be one of {', '.join(_PARTS[protocol])} under protocol {protocol!r}; "
                f"got {part!r}."
            )
        if protocol == "doodles":
            return self._doodles(part)
        if protocol == "alphabets":
            trains = np.array(self.background, dtype=bool)
        else:
            trains = np.arange(len(self)) < round(len(self) * _NOTEBOOK_SHARE)
        return self.choose(np.flatnonzero(trains if part == "train" else ~trains))

    def _doodles(self, part: Part) -> CharacterSet:
        if others := sorted(set(self.alphabets) - {DOODLES}):
            raise ValueError(
                "protocol 'doodles' divides the words that maml.load_quickdraw gives; divide "
                "other characters by 'alphabets' or 'notebook'; got a set that holds the alphabet "
                f"{others[0]!r}."
            )
        rows = [row for row, word in enumerate(self.characters) if part_of(word) == part]
        if not rows:
            raise ValueError(
                f"part {part!r} of protocol 'doodles' needs some of its words (maml.data.words "
                f"lists them); got {len(self)} other words."
            )
        return self.choose(rows)

    def hold_out(self, alphabets: int) -> tuple[CharacterSet, CharacterSet]:
        """Split off whole alphabets, evenly spread over the sorted names.

        Args:
            alphabets: how many.

        Returns:
            The others and the held-out ones.

        Raises:
            ValueError: if no alphabet would remain.
        """
        names = sorted(set(self.alphabets))
        if not 0 < alphabets < len(names):
            raise ValueError(
                f"Of {len(names)} alphabets at least one must be held out and one must remain; got "
                f"{alphabets} to hold out."
            )
        chosen = {names[int((k + 0.5) * len(names) / alphabets)] for k in range(alphabets)}
        held = np.array([alphabet in chosen for alphabet in self.alphabets])
        return self.choose(np.flatnonzero(~held)), self.choose(np.flatnonzero(held))

    def choose(self, indices: Iterable[int]) -> CharacterSet:
        """Take some of the characters.

        Args:
            indices: their rows in `images`.

        Returns:
            A set of those characters, in that order.
        """
        rows = list(indices)
        return replace(
            self,
            images=self.images[rows],
            characters=tuple(self.characters[row] for row in rows),
            alphabets=tuple(self.alphabets[row] for row in rows),
            background=tuple(self.background[row] for row in rows),
        )
