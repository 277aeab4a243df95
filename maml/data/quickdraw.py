"""Quick, Draw!: doodles of cats, clouds and umbrellas, each drawn by another person in 20 seconds.

The data set (50 million drawings of 345 words) comes as one file a word, one drawing a line.
`load_quickdraw` reads the first drawings of each file.  If none are at hand it fetches the
beginning of each file, for whole files have some 60 MB.

Licence: the data set is made available by Google, Inc. under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/).

Source: https://github.com/googlecreativelab/quickdraw-dataset; D. Ha, D. Eck, "A Neural
Representation of Sketch Drawings", arXiv 1704.03477.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import requests
from numpy.typing import NDArray

from maml.config import Framing, require_whole
from maml.data.characters import DOODLES, CharacterSet
from maml.data.download import Progress, TerminalBar, throttled
from maml.data.hands import Strokes
from maml.data.stored import cache_folder, read_stored, store
from maml.data.words import WORDS, part_of
from maml.drawing import FRAMINGS, PREPROCESSING_VERSION, strokes_to_image

BUCKET = "https://storage.googleapis.com/quickdraw_dataset/full/simplified/"
"""The official public folder of the simplified files."""
LICENCE = "CC BY 4.0, Google"
DRAWINGS = 15
"""Drawings of each word unless another number is asked for: 10 shots and 5 queries."""
STRETCH = 128 * 1024
"""Bytes fetched of each file: about 100 to 300 drawings."""

_TRIES = 4
_TIMEOUT = 30.0
_SUMS = "SHA256SUMS"
_SUFFIX = ".ndjson"
_log = logging.getLogger(__name__)


def load_quickdraw(
    root: str | os.PathLike[str] | None = None,
    *,
    words: Sequence[str] | None = None,
    drawings: int = DRAWINGS,
    framing: Framing = "fit",
    download: bool = True,
    progress: Progress | None = None,
    cache: str | os.PathLike[str] | None = None,
    url: str = BUCKET,
) -> CharacterSet:
    """Load doodles as ink, fetching them first if no copy is at hand.

    The first place that is named decides: `root`, else the folder in the environment variable
    ``QUICKDRAW_DIR``, else the cache folder, into which the first 128 KiB of each word's file are
    downloaded (30 MB in all).  The digests of what was downloaded are kept in ``SHA256SUMS``; a
    file that no longer matches its digest is downloaded again.

    Of each word the set has its first `drawings` drawings that the game recognised.  A word that
    has fewer is left out; `left_out` lists those words.

    Args:
        root: folder of simplified files, named by their words: ``cat.ndjson``.
        words: to load, in the order of the set, named as in the data set's ``categories.txt``;
            by default all files of the folder, or when downloading the 233 of
            `maml.data.words.WORDS`.
        drawings: of each word, at least 2.  A download holds about 100 of every word.
        framing: how ink is placed in its picture, see `maml.drawing.Framing`.
        download: whether files may be fetched when no folder is named.
        progress: called as ``progress(task, done, total)`` with words fetched or read, a few times
            a second; by default a progress bar on standard error, if that is a terminal.
        cache: folder for downloads and for the finished ink; by default the user's cache folder.
        url: of the folder that serves the files, ending in a slash.

    Returns:
        The words as characters of one alphabet, "doodles": `images` is uint8 of shape
        (words, drawings, 28, 28) with ink 255.  `split("doodles", part)` has the parts "train",
        "choose" and "test", see `maml.data.words`; `background` marks the training words.

    Raises:
        FileNotFoundError: if the folder or a word's file is not where it was looked for.
        ValueError: if a file is not in the data set's format, no word has enough drawings, or an
            argument is out of range.
        OSError: if the download fails for want of a connection or of room on the disk.

    Licence and source: see the head of this module.
    """
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {', '.join(FRAMINGS)}; got {framing!r}.")
    require_whole("drawings", drawings, 2, 10_000)
    report = throttled(progress or TerminalBar())
    folder = cache_folder() if cache is None else Path(cache).expanduser()
    paths = _find(root, words, folder, url, download, report)
    stored = folder / f"quickdraw-{framing}-{_key(paths, framing, drawings)[:16]}.npz"
    data = read_stored(stored)
    if data is None:
        data = _decode(paths, framing, drawings, report)
        store(data, stored)
    return data


def quickdraw_is_at_hand() -> bool:
    """Whether `load_quickdraw()` needs no download; the files are not read."""
    named = os.environ.get("QUICKDRAW_DIR")
    if named:
        return any(Path(named).expanduser().glob(f"*{_SUFFIX}"))
    return all((cache_folder() / "quickdraw" / f"{word}{_SUFFIX}").is_file() for word in WORDS)


def left_out(
    root: str | os.PathLike[str] | None = None,
    *,
    words: Sequence[str] | None = None,
    drawings: int = DRAWINGS,
    cache: str | os.PathLike[str] | None = None,
) -> dict[str, int]:
    """The words that `load_quickdraw` leaves out for want of drawings.

    Args:
        root, words, drawings, cache: as for `load_quickdraw`; nothing is downloaded.

    Returns:
        How many recognised drawings each of them has.

    Raises:
        FileNotFoundError, ValueError: as `load_quickdraw`.
    """
    folder = cache_folder() if cache is None else Path(cache).expanduser()
    paths = _find(root, words, folder, BUCKET, False, TerminalBar())
    counts = {word: len(_read_word(path, word, drawings)) for word, path in paths.items()}
    return {word: count for word, count in counts.items() if count < drawings}


def doodle_strokes(
    root: str | os.PathLike[str] | None = None,
    *,
    words: Sequence[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> dict[str, list[Strokes]]:
    """The pen strokes of all recognised drawings at hand.

    Args:
        root, words, cache: as for `load_quickdraw`; nothing is downloaded.

    Returns:
        For each word its drawings; a stroke is a float64 array (n_points, 2), x to the right and y
        downwards, in units of which a drawing's longer side has 255.

    Raises:
        FileNotFoundError, ValueError: as `load_quickdraw`.
    """
    folder = cache_folder() if cache is None else Path(cache).expanduser()
    paths = _find(root, words, folder, BUCKET, False, TerminalBar())
    return {
        word: [strokes for strokes, _ in _read_word(path, word, 10_000)]
        for word, path in paths.items()
    }


def describe_doodles(data: CharacterSet) -> dict[str, Any]:
    """Say in plain numbers and names what a set of doodles holds.

    Args:
        data: from `load_quickdraw`.

    Returns:
        A record fit for JSON: `licence`, `characters` (words), `drawings` (of each word),
        `pictures`, and the words of each part: `train`, `choose`, `test`.
    """
    parts: dict[str, list[str]] = {"train": [], "choose": [], "test": []}
    for word in data.characters:
        parts[part_of(word)].append(word)
    return {
        "licence": LICENCE,
        "characters": len(data),
        "drawings": data.drawings,
        "pictures": len(data) * data.drawings,
        **parts,
    }


# Finding and fetching ----------------------------------------------------------------------------


def _find(
    root: str | os.PathLike[str] | None,
    words: Sequence[str] | None,
    cache: Path,
    url: str,
    download: bool,
    report: Progress,
) -> dict[str, Path]:
    """The file of each word."""
    if words is not None:
        _check_words(words)
    named = root or os.environ.get("QUICKDRAW_DIR")
    if named:
        return _in_folder(Path(named).expanduser(), words, "root" if root else "QUICKDRAW_DIR", url)
    folder = cache / "quickdraw"
    paths = {word: folder / f"{word}{_SUFFIX}" for word in words or WORDS}
    sums = _read_sums(folder)
    damaged = [word for word, path in paths.items() if _sum(path) not in (None, sums.get(word))]
    absent = [word for word, path in paths.items() if not path.is_file()]
    if not download and (damaged or absent):
        what = f"{_some(absent)} not found" if absent else f"{_some(damaged)} damaged"
        raise FileNotFoundError(
            f"Quick, Draw! is not complete in {folder}: {what}. Allow the download, or name a "
            "folder of .ndjson files (QUICKDRAW_DIR)."
        )
    _fetch(sorted({*damaged, *absent}), folder, url, report)
    return paths


def _check_words(words: Sequence[str]) -> None:
    ill = [word for word in words if not isinstance(word, str) or not word or word[0] == "."]
    ill += [word for word in words if isinstance(word, str) and ("/" in word or "\\" in word)]
    if isinstance(words, str) or not words or ill or len(set(words)) < len(words):
        raise ValueError(
            "words must be a list of different words of Quick, Draw!, such as ['cat', 'hot dog']; "
            f"got {words!r}."
        )


def _in_folder(place: Path, words: Sequence[str] | None, how: str, url: str) -> dict[str, Path]:
    if not place.is_dir():
        raise FileNotFoundError(
            f"The folder of Quick, Draw! does not exist. Name one of .ndjson files from {url}, or "
            f"none to have them downloaded; got {how} = {str(place)!r}."
        )
    found = {
        path.name.removesuffix(_SUFFIX): path
        for path in sorted(place.glob(f"*{_SUFFIX}"))
        if path.name[0] != "."
    }
    missing = [word for word in words or () if word not in found]
    if missing or not found:
        what = f"no file of {_some(missing)}" if missing else f"no {_SUFFIX} file"
        raise FileNotFoundError(
            f"{place} ({how}) has {what}. Each word needs its simplified file, as "
            f"{url}cat{_SUFFIX}; leave out words that are not there, or name no folder to have "
            "the files downloaded."
        )
    return {word: found[word] for word in words} if words else found


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(repr(word) for word in words[:3]) + more


def _fetch(words: Sequence[str], folder: Path, url: str, report: Progress) -> None:
    """Download the beginning of each file and keep its digest."""
    task = "Downloading Quick, Draw!"
    with requests.Session() as session:
        for done, word in enumerate(words):
            report(task, done, len(words))
            path = folder / f"{word}{_SUFFIX}"
            address = url + quote(path.name)
            try:
                content = _patiently(session, address, word)
                sums = _read_sums(folder)  # Anew: another process may be downloading as well.
                digest = hashlib.sha256(content).hexdigest()
                if sums.setdefault(word, digest) != digest:
                    raise OSError(
                        f"the file has another digest than when it was first downloaded; to accept "
                        f"it, delete {folder / _SUMS}"
                    )
                _write(path, content)
                lines = (f"{sums[word]}  {word}{_SUFFIX}\n" for word in sorted(sums))
                _write(folder / _SUMS, "".join(lines).encode())
            except OSError as error:
                raise OSError(
                    f"Quick, Draw! could not be downloaded from {address} to {folder}: {error}. "
                    "Check the connection and the room on the disk and try again, or fetch the "
                    "files by other means and name their folder (QUICKDRAW_DIR)."
                ) from error
    if words:
        report(task, len(words), len(words))


def _patiently(session: requests.Session, url: str, word: str) -> bytes:
    for attempt in range(1, _TRIES + 1):
        try:
            return _first_lines(session, url, word)
        except (requests.RequestException, ValueError) as error:
            if attempt == _TRIES:
                raise OSError(str(error)) from error
            _log.info("%s: %s; trying again.", url, error)
            time.sleep(attempt)
    raise AssertionError("unreachable")


def _first_lines(session: requests.Session, url: str, word: str) -> bytes:
    """The whole lines of the first stretch of a file, each of them a drawing of the word."""
    headers = {"Range": f"bytes=0-{STRETCH - 1}", "Accept-Encoding": "identity"}
    content = b""
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == 404:
            raise FileNotFoundError(
                f"there is no word {word!r}; words are named as in categories.txt of "
                "https://github.com/googlecreativelab/quickdraw-dataset"
            )
        response.raise_for_status()
        # A server that knows no ranges sends the whole file: leave when there is enough.
        for chunk in response.iter_content(16 * 1024):
            content += chunk
            if len(content) >= STRETCH:
                break
    content = content[:STRETCH]
    content = content[: content.rfind(b"\n") + 1]
    count = 0
    for number, line in enumerate(content.splitlines(), start=1):
        _parse(line, word, f"{url}, line {number}")
        count += 1
    if not count:
        raise ValueError(f"{url} holds no drawing")
    return content


def _sum(path: Path) -> str | None:
    """The digest of a file, or None if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_sums(folder: Path) -> dict[str, str]:
    """The digest of each word's file, as `sha256sum` writes them."""
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return {}
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name.removesuffix(_SUFFIX): digest for digest, name in pairs}


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            unfinished = Path(file.name)
            file.write(content)
        unfinished.replace(path)
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


# Reading -----------------------------------------------------------------------------------------


def _key(paths: dict[str, Path], framing: str, drawings: int) -> str:
    """Tell one choice of files from another without reading them."""
    stats = ((path, path.stat()) for path in paths.values())
    lines = [f"{path.name} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    parent = str(next(iter(paths.values())).parent.resolve())
    text = "\n".join([str(PREPROCESSING_VERSION), framing, str(drawings), parent, *lines])
    return hashlib.sha256(text.encode()).hexdigest()


def _decode(
    paths: dict[str, Path], framing: Framing, drawings: int, report: Progress
) -> CharacterSet:
    kept: list[str] = []
    images: list[NDArray[np.uint8]] = []
    most = 0
    for done, (word, path) in enumerate(paths.items()):
        report("Reading Quick, Draw!", done, len(paths))
        found = _read_word(path, word, drawings)
        most = max(most, len(found))
        if len(found) < drawings:
            _log.info("%r is left out: %d of %d drawings.", word, len(found), drawings)
            continue
        kept.append(word)
        images.append(np.stack([_ink(strokes, framing, where) for strokes, where in found]))
    report("Reading Quick, Draw!", len(paths), len(paths))
    if not kept:
        raise ValueError(
            f"No word in {next(iter(paths.values())).parent} has enough recognised drawings; the "
            f"richest has {most}. Ask for fewer; got drawings = {drawings}."
        )
    return CharacterSet(
        np.stack(images),
        tuple(kept),
        (DOODLES,) * len(kept),
        tuple(part_of(word) == "train" for word in kept),
        "Quick, Draw!",
    )


def _read_word(path: Path, word: str, drawings: int) -> list[tuple[Strokes, str]]:
    """The first recognised drawings of a file, and where each stands."""
    found: list[tuple[Strokes, str]] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            if line.strip() and (strokes := _parse(line, word, where)) is not None:
                found.append((strokes, where))
                if len(found) == drawings:
                    break
    return found


def _parse(line: bytes, word: str, where: str) -> Strokes | None:
    """The strokes of a recognised drawing; None for one that the game did not recognise."""
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict):
            raise ValueError(f"expected an object; got {type(entry).__name__}")
        if absent := [key for key in ("word", "recognized", "drawing") if key not in entry]:
            raise ValueError(f"expected the keys word, recognized and drawing; got no {absent[0]}")
        if entry["word"] != word:
            raise ValueError(
                f"expected a drawing of {word!r}, as its name says; got one of {entry['word']!r}"
            )
        if not isinstance(entry["recognized"], bool):
            raise ValueError(f"recognized must be true or false; got {entry['recognized']!r}")
        strokes = [_stroke(points) for points in _as_list(entry["drawing"])]
        if not strokes:
            raise ValueError("expected at least one stroke; got none")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{where} is not a simplified drawing of Quick, Draw! ({error}). "
            "Delete that line, or fetch the file again."
        ) from error
    return strokes if entry["recognized"] else None


def _as_list(value: object) -> Iterable[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list of strokes; got {type(value).__name__}")
    return value


def _stroke(points: object) -> NDArray[np.float64]:
    """A stroke [[x ...], [y ...]] as an array (n_points, 2)."""
    line = np.asarray(points, dtype=np.float64)
    if line.ndim != 2 or len(line) != 2 or line.size == 0 or not np.isfinite(line).all():
        raise ValueError(
            "each stroke must be [[x ...], [y ...]] of finite numbers, as in the simplified files; "
            f"got an array of shape {line.shape}"
        )
    return line.T


def _ink(strokes: Strokes, framing: Framing, where: str) -> NDArray[np.uint8]:
    try:
        return np.rint(strokes_to_image(strokes, framing) * 255).astype(np.uint8)
    except ValueError as error:
        raise ValueError(f"{where} cannot be drawn: {error}") from error
