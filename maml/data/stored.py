"""The cache of ink on disk, and reading of zips and folders."""

from __future__ import annotations

import logging
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pooch

from maml.data.characters import CharacterSet

_log = logging.getLogger(__name__)
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
"""What reading a damaged zip (an npz is one) may raise."""


def cache_folder() -> Path:
    """The user's cache folder, for downloads and ink."""
    return Path(pooch.os_cache("maml-sketchpad")).expanduser()


def read_stored(path: Path) -> CharacterSet | None:
    """The characters that `store` wrote, or None if the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return CharacterSet(
                stored["images"],
                tuple(stored["characters"].tolist()),
                tuple(stored["alphabets"].tolist()),
                tuple(stored["background"].tolist()),
                str(stored["name"]),
            )
    except FileNotFoundError:
        return None
    except (KeyError, ValueError, *DAMAGES) as error:
        _log.info("The stored ink %s is of no use (%s); it will be made again.", path, error)
        return None


def store(data: CharacterSet, path: Path) -> None:
    """Write characters to the cache atomically; if that fails, warn."""
    unfinished = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            unfinished = Path(file.name)
            np.savez(
                file,
                images=data.images,
                characters=np.array(data.characters),
                alphabets=np.array(data.alphabets),
                background=np.array(data.background),
                name=np.array(data.name),
            )
        unfinished.replace(path)
    except OSError as error:
        warnings.warn(
            f"Ink could not be kept in {path.parent} ({error}); it will be made anew each time. "
            "Make that folder writable, or name another as `cache`.",
            RuntimeWarning,
            stacklevel=3,
        )
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


Content = dict[tuple[str, str, str], bytes]
"""(alphabet, character, file name) -> the file."""


def read_files(path: Path, suffix: str) -> Content:
    """Read all files of one kind; folders above the alphabets are ignored."""
    files = _zip_files(path, suffix) if path.is_file() else _folder_files(path, suffix)
    try:
        return {
            (parts[-3], parts[-2], parts[-1]): content
            for parts, content in files
            # macOS adds files of its own to zips.
            if len(parts) >= 3 and "__MACOSX" not in parts and not parts[-1].startswith(".")
        }
    except DAMAGES as error:
        raise ValueError(
            f"{path} is damaged or incomplete: {error}. Delete it and fetch it again."
        ) from error


def _zip_files(path: Path, suffix: str) -> Iterator[tuple[tuple[str, ...], bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(suffix):
                yield tuple(name.split("/")), archive.read(name)


def _folder_files(path: Path, suffix: str) -> Iterator[tuple[tuple[str, ...], bytes]]:
    for file in path.rglob(f"*{suffix}"):
        yield (path.name, *file.relative_to(path).parts), file.read_bytes()
