"""A support set from a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maml.config import Framing
from maml.data.episodes import SupportSet, as_ink_batch
from maml.drawing import image_to_ink

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}


def read_picture(path: str | Path, framing: Framing = "fit") -> NDArray[np.float32]:
    """Read a picture file as ink.

    Args:
        path: of the file, in any format that PIL reads.
        framing: see `maml.drawing.FRAMINGS`; take `MetaNetwork.framing`.

    Returns:
        Ink, float32 (28, 28) in [0, 1].

    Raises:
        ValueError: if there is no such file, it is not a picture, or it has no ink.
    """
    try:
        with Image.open(path) as picture:
            return image_to_ink(picture, framing)
    except FileNotFoundError as error:
        raise ValueError(f"There is no picture {path}.") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_support(folder: str | Path, framing: Framing = "fit") -> SupportSet:
    """Read a support set from a folder that holds one folder of pictures for each symbol.

    Args:
        folder: its subfolders name the symbols; other files in it are ignored.
        framing: see `maml.drawing.FRAMINGS`; take `MetaNetwork.framing`.

    Returns:
        The examples, symbols in the order of their names; images are float32 (n, 1, 28, 28).

    Raises:
        ValueError: if there are fewer than two or more than 20 symbols, one has no pictures, or a
            picture cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder; name one that holds a folder of pictures for each symbol."
        )
    symbols = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if len(symbols) < 2:
        raise ValueError(
            f"{folder} must hold a folder of pictures for each symbol, two or more; got "
            f"{len(symbols)} folders."
        )
    images, labels = [], []
    for way, symbol in enumerate(symbols):
        pictures = sorted(p for p in symbol.iterdir() if p.suffix.lower() in _PICTURES)
        if not pictures:
            raise ValueError(f"{symbol} holds no picture ({', '.join(sorted(_PICTURES))}).")
        images += [read_picture(picture, framing) for picture in pictures]
        labels += [way] * len(pictures)
    return SupportSet(
        as_ink_batch(images), torch.tensor(labels), tuple(symbol.name for symbol in symbols)
    )
