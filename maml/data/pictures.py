"""A support set from a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from maml.config import Framing
from maml.data.episodes import SupportSet, as_ink_batch
from maml.drawing import image_to_ink

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}


def read_picture(path: Path, framing: Framing) -> Any:
    try:
        with Image.open(path) as picture:
            return image_to_ink(picture, framing)
    except FileNotFoundError as error:
        raise ValueError(f"There is no picture {path}.") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_support(folder: Path, framing: Framing) -> SupportSet:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; it must hold one folder for each symbol.")
    symbols = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if len(symbols) < 2:
        raise ValueError(
            f"{folder} holds {len(symbols)} folders; it must hold one for each symbol, two or more."
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
