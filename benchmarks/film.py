"""Writes the films of the README."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

LARGEST = 2_000_000
"""Bytes of a film."""


def save_film(
    path: Path, pictures: Sequence[Image.Image], durations: Sequence[int], qualities: Sequence[int]
) -> None:
    """Write a WebP that plays for ever, in the first quality in which it is small enough.

    Args:
        path: of the file.
        pictures: all of one size.
        durations: of each picture, milliseconds.
        qualities: of the WebP, 0 to 100, to try one after another.
    """
    for quality in qualities:
        content = io.BytesIO()
        pictures[0].save(
            content,
            "WEBP",
            save_all=True,
            append_images=pictures[1:],
            duration=list(durations),
            loop=0,
            quality=quality,
            method=6,
        )
        size = len(content.getvalue())
        if size <= LARGEST:
            break
    else:
        raise SystemExit(f"expected at most {LARGEST:,} bytes; got {size:,}")
    path.write_bytes(content.getvalue())
    seconds = sum(durations) / 1000
    print(f"{path}: {len(pictures)} frames, {seconds:.1f} s, {size:,} bytes, quality {quality}")
