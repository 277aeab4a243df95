"""Pen drawings of Omniglot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maml.data.stored import cache_folder, read_files


def stroke_file(root: str | os.PathLike[str] | None = None) -> Path | None:
    """The stroke file of five background alphabets beside the zips, or None."""
    named = root or os.environ.get("OMNIGLOT_DIR") or cache_folder()
    place = Path(named).expanduser() / "strokes_background_small1.zip"
    return place if place.exists() else None


@dataclass(frozen=True)
class PenDrawing:
    """One drawing as the pen moved.

    Args:
        alphabet: its alphabet.
        character: its character, named as in `CharacterSet.characters`.
        drawing: which of the character's drawings it is, from 0; the same index as in `images`.
        strokes: float64 arrays of shape (n_points, 2), x to the right and y downwards, in the
            pixels of the original 105 x 105 picture.
    """

    alphabet: str
    character: str
    drawing: int
    strokes: tuple[NDArray[np.float64], ...]


def load_strokes(path: str | os.PathLike[str]) -> list[PenDrawing]:
    """Read the pen strokes of Omniglot drawings.

    Args:
        path: a zip such as ``strokes_background_small1.zip``, or the extracted folder.

    Returns:
        All drawings, sorted by alphabet, character and drawing.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if the zip is damaged, a file is not in the data set's format, or there is none.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(
            f"There is no {place}; name a zip or a folder of Omniglot stroke files."
        )
    drawings = [
        PenDrawing(
            alphabet,
            f"{alphabet}/{character}",
            _drawing_index(name, place),
            _parse_strokes(content, f"{place}: {alphabet}/{character}/{name}"),
        )
        for (alphabet, character, name), content in sorted(read_files(place, ".txt").items())
    ]
    if not drawings:
        raise ValueError(
            f"{place} holds no stroke files; expected .txt files in alphabet/character folders."
        )
    return drawings


def _drawing_index(name: str, place: Path) -> int:
    try:
        return int(Path(name).stem.rpartition("_")[2]) - 1
    except ValueError:
        raise ValueError(
            f"{place}: the stroke file {name} does not end in the number of its drawing, "
            "as 0108_01.txt does; take it out."
        ) from None


def _parse_strokes(content: bytes, where: str) -> tuple[NDArray[np.float64], ...]:
    """Read lines "x,y,milliseconds" between START and BREAK; y points up in the file."""
    strokes: list[NDArray[np.float64]] = []
    points: list[tuple[float, float]] = []
    try:
        for line in content.decode("ascii").split():
            if line == "BREAK":
                strokes.append(np.array(points, dtype=np.float64).reshape(-1, 2))
                points = []
            elif line != "START":
                x, y, _ = line.split(",")
                points.append((float(x), -float(y)))
    except ValueError as error:
        raise ValueError(f"{where} is not a stroke file ({error}); fetch it again.") from error
    if points or not strokes:
        raise ValueError(f"{where} ends within a stroke; fetch it again.")
    return tuple(strokes)
