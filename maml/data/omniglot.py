"""Omniglot: locate or download it, verify it, and convert it to ink once.

The data set (1,623 characters of 50 alphabets, each drawn by 20 people) comes in two zips, the
*background* set and the *evaluation* set.  `load_omniglot` reads them as zips or as extracted
folders and caches the ink in one array file, so that only the first call is slow.

Source: B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, "Human-level concept learning through
probabilistic program induction", Science 350 (2015); https://github.com/brendenlake/omniglot.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from numpy.typing import NDArray
from PIL import Image

from maml.config import Framing
from maml.data.characters import CharacterSet
from maml.data.download import DownloadBar, Progress, TerminalBar, throttled
from maml.data.stored import Content, cache_folder, read_files, read_stored, store
from maml.drawing import FRAMINGS, INK_SIZE, PREPROCESSING_VERSION, image_to_ink

# Layouts: a plain folder, a clone of the data set's repository, and a torchvision root.
_LAYOUTS = ("", "python", "omniglot-py")


@dataclass(frozen=True)
class Half:
    """One of the two halves of the data set.

    Args:
        name: of the zip (without ``.zip``) and of the folder in it.
        md5: checksum of the original zip, which a download must match.
        alphabets: the number of characters of each alphabet.
    """

    name: str
    md5: str
    alphabets: Mapping[str, int]


@dataclass(frozen=True)
class Edition:
    """What a complete data set holds and where it can be downloaded.

    Args:
        background: the half for training.
        evaluation: the half for testing.
        drawings: of each character.
        url: of the folder that serves both zips, ending in a slash.
    """

    background: Half
    evaluation: Half
    drawings: int
    url: str

    @property
    def halves(self) -> tuple[Half, Half]:
        """Both, background first."""
        return self.background, self.evaluation


# fmt: off
OMNIGLOT = Edition(
    background=Half("images_background", "68d2efa1b9178cc56df9314c21c6e718", {
        "Alphabet_of_the_Magi": 20, "Anglo-Saxon_Futhorc": 29, "Arcadian": 26, "Armenian": 41,
        "Asomtavruli_(Georgian)": 40, "Balinese": 24, "Bengali": 46,
        "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14, "Braille": 26, "Burmese_(Myanmar)": 34,
        "Cyrillic": 33, "Early_Aramaic": 22, "Futurama": 26, "Grantha": 43, "Greek": 24,
        "Gujarati": 48, "Hebrew": 22, "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
        "Japanese_(hiragana)": 52, "Japanese_(katakana)": 47, "Korean": 40, "Latin": 26,
        "Malay_(Jawi_-_Arabic)": 40, "Mkhedruli_(Georgian)": 41, "N_Ko": 33,
        "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14, "Sanskrit": 42, "Syriac_(Estrangelo)": 23,
        "Tagalog": 17, "Tifinagh": 55,
    }),
    evaluation=Half("images_evaluation", "6b91aef0f799c5bb55b94e3f2daec811", {
        "Angelic": 20, "Atemayar_Qelisayer": 26, "Atlantean": 26, "Aurek-Besh": 26, "Avesta": 26,
        "Ge_ez": 26, "Glagolitic": 45, "Gurmukhi": 45, "Kannada": 41, "Keble": 26, "Malayalam": 47,
        "Manipuri": 40, "Mongolian": 30, "Old_Church_Slavonic_(Cyrillic)": 45, "Oriya": 46,
        "Sylheti": 28, "Syriac_(Serto)": 23, "Tengwar": 25, "Tibetan": 42, "ULOG": 26,
    }),
    drawings=20,
    url="https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
)
# fmt: on


def load_omniglot(
    root: str | os.PathLike[str] | None = None,
    *,
    framing: Framing = "fit",
    download: bool = True,
    progress: Progress | None = None,
    cache: str | os.PathLike[str] | None = None,
    edition: Edition = OMNIGLOT,
) -> CharacterSet:
    """Load Omniglot as ink; download it if there is no local copy.

    The folder is `root` if given, else that in the environment variable ``OMNIGLOT_DIR``, else the
    cache folder, into which both zips are downloaded if they are missing.  Each half may be a zip
    or an extracted folder.

    Args:
        root: folder that holds ``images_background`` and ``images_evaluation``.
        framing: how ink is placed in its picture, see `maml.drawing.Framing`.
        download: whether to download the data set if no folder is given.
        progress: called as ``progress(task, done, total)`` with bytes downloaded or pictures read,
            a few times a second; by default a progress bar on standard error, if that is a
            terminal.
        cache: folder for downloads and for the ink; by default the user's cache folder.
        edition: what a complete data set holds.

    Returns:
        All characters: `images` is uint8 of shape (1623, 20, 28, 28) with ink 255; alphabets and
        characters in sorted order, background before evaluation; characters are named
        ``alphabet/character01``.

    Raises:
        FileNotFoundError: if a half of the data set is missing.
        ValueError: if the data set is damaged or incomplete, or the framing is unknown.
        OSError: if the download fails, for lack of a connection or of disk space.

    Source: Lake et al. 2015 (see the head of this module).
    """
    if framing not in FRAMINGS:
        raise ValueError(f"Unknown framing {framing!r}; choose one of {', '.join(FRAMINGS)}.")
    report = throttled(progress or TerminalBar())
    folder = cache_folder() if cache is None else Path(cache).expanduser()
    paths = _find(root, folder, edition, download, report)
    key = _digest(str(PREPROCESSING_VERSION), framing, *map(_identity, paths))
    stored = folder / f"omniglot-{framing}-{key[:16]}.npz"
    data = read_stored(stored)
    if data is None:
        data = _decode(paths, framing, edition, report)
        store(data, stored)
    return data


def omniglot_is_at_hand(edition: Edition = OMNIGLOT) -> bool:
    """Whether `load_omniglot()` finds both halves without a download; they are not read."""
    named = os.environ.get("OMNIGLOT_DIR")
    place = Path(named).expanduser() if named else cache_folder()
    return all(_locate(place, half) is not None for half in edition.halves)


def original_pictures(
    data: CharacterSet, root: str | os.PathLike[str] | None = None, edition: Edition = OMNIGLOT
) -> Iterator[Image.Image]:
    """The 105 x 105 pictures behind a set's drawings, character by character.

    Args:
        data: from `load_omniglot`, or a part of it.
        root: as for `load_omniglot`.
        edition: what a complete data set holds.

    Raises:
        FileNotFoundError, ValueError, OSError: as `load_omniglot`.
    """
    paths = _find(root, cache_folder(), edition, True, TerminalBar())
    contents = {key: picture for path in paths for key, picture in read_files(path, ".png").items()}
    names: dict[str, list[tuple[str, str, str]]] = {}
    for key in sorted(contents):
        names.setdefault(f"{key[0]}/{key[1]}", []).append(key)
    for character in data.characters:
        for key in names[character]:
            with Image.open(io.BytesIO(contents[key])) as image:
                yield image.convert("L")


def describe(data: CharacterSet) -> dict[str, Any]:
    """Describe a set of characters in plain numbers and names.

    Args:
        data: any set of characters.

    Returns:
        A record fit for JSON: `characters`, `drawings` (of each character), `pictures`, and for
        each of `background` and `evaluation` the number of characters of each alphabet.
    """
    halves: dict[str, dict[str, int]] = {"background": {}, "evaluation": {}}
    for alphabet, background in zip(data.alphabets, data.background, strict=True):
        half = halves["background" if background else "evaluation"]
        half[alphabet] = half.get(alphabet, 0) + 1
    characters, drawings = data.images.shape[:2]
    return {
        "characters": characters,
        "drawings": drawings,
        "pictures": characters * drawings,
        **halves,
    }


def _find(
    root: str | os.PathLike[str] | None,
    cache: Path,
    edition: Edition,
    download: bool,
    report: Progress,
) -> list[Path]:
    """The zip or folder of each half, background first."""
    mend = f"Both zips can be fetched from {edition.url}"
    named = root or os.environ.get("OMNIGLOT_DIR")
    if named:
        place = Path(named).expanduser()
        paths = [_locate(place, half) for half in edition.halves]
        how = "the folder that was given" if root else "the environment variable OMNIGLOT_DIR"
        advice = "name another folder, or none to have the data set downloaded"
    else:
        place = cache
        paths = [_locate(place, half) for half in edition.halves]
        if download and None in paths:
            _download(edition, cache, report)
            paths = [_locate(place, half) for half in edition.halves]
        how = "the cache folder; no folder was given, OMNIGLOT_DIR is not set"
        advice = "allow the download, or name a folder that holds them"
    missing = [half.name for half, path in zip(edition.halves, paths, strict=True) if path is None]
    if missing:
        state = "" if place.is_dir() else ", which is not a folder"
        raise FileNotFoundError(
            f"Omniglot is not complete: {' and '.join(missing)} (as .zip or as a folder) not found "
            f"in {place}{state} ({how}). {mend}; or {advice}."
        )
    return [path for path in paths if path is not None]


def _locate(place: Path, half: Half) -> Path | None:
    for layout in _LAYOUTS:
        if (archive := place / layout / f"{half.name}.zip").is_file():
            return archive
        if (folder := place / layout / half.name).is_dir():
            return folder
    return None


def _download(edition: Edition, folder: Path, report: Progress) -> None:
    fetcher = pooch.create(
        path=folder,
        base_url=edition.url,
        registry={f"{half.name}.zip": f"md5:{half.md5}" for half in edition.halves},
        retry_if_failed=3,
    )
    for name in fetcher.registry:
        bar = DownloadBar(report, f"Downloading {name}")
        try:
            fetcher.fetch(name, downloader=pooch.HTTPDownloader(progressbar=bar, chunk_size=65536))
        except (OSError, ValueError) as error:
            raise OSError(
                f"Omniglot could not be downloaded from {edition.url}{name} to {folder}: {error}. "
                "Check the connection and the room on the disk and try again, or fetch the zips by "
                "other means and name their folder (OMNIGLOT_DIR)."
            ) from error


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _identity(path: Path) -> str:
    """A key of one copy of a half, found without decoding it."""
    try:
        if path.is_file():
            with path.open("rb") as archive:
                return hashlib.file_digest(archive, "md5").hexdigest()
        pictures = sorted(path.rglob("*.png"))
        stats = ((picture, picture.stat()) for picture in pictures)
        return _digest(*(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error


def _check(path: Path, half: Half, drawings: int, content: Content) -> None:
    """Compare names and counts with what the half must hold; report the first differences."""
    found: dict[str, dict[str, int]] = {}
    for alphabet, character, _ in content:
        counts = found.setdefault(alphabet, {})
        counts[character] = counts.get(character, 0) + 1
    problems = []
    if absent := sorted(half.alphabets.keys() - found.keys()):
        problems.append(f"no alphabet {', '.join(absent)}")
    if strange := sorted(found.keys() - half.alphabets.keys()):
        problems.append(f"an alphabet that does not belong there: {', '.join(strange)}")
    for alphabet in sorted(half.alphabets.keys() & found.keys()):
        counts = found[alphabet]
        wanted = {f"character{number:02d}" for number in range(1, half.alphabets[alphabet] + 1)}
        for character in sorted(wanted | counts.keys()):
            if character not in wanted:
                problems.append(f"{alphabet}/{character} does not belong there")
            elif (count := counts.get(character, 0)) != drawings:
                problems.append(f"{alphabet}/{character} has {count} of {drawings} drawings")
    if problems:
        characters = sum(map(len, found.values()))
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(
            f"{path} is not complete: {'; '.join(problems[:3])}{more}. "
            f"Download or extract {half.name}.zip again; expected {len(half.alphabets)} alphabets "
            f"with {sum(half.alphabets.values())} characters x {drawings} drawings; got "
            f"{len(found)} with {characters} characters and {len(content)} pictures."
        )


def _decode(
    paths: list[Path], framing: Framing, edition: Edition, report: Progress
) -> CharacterSet:
    contents = [read_files(path, ".png") for path in paths]
    for path, half, content in zip(paths, edition.halves, contents, strict=True):
        _check(path, half, edition.drawings, content)
    total = sum(map(len, contents))
    images = np.empty((total, INK_SIZE, INK_SIZE), np.uint8)
    names: list[tuple[str, str, bool]] = []
    done = 0
    for path, content in zip(paths, contents, strict=True):
        for (alphabet, character, name), picture in sorted(content.items()):
            if done % edition.drawings == 0:
                names.append((alphabet, f"{alphabet}/{character}", path is paths[0]))
                report("Reading Omniglot", done, total)
            images[done] = _ink(picture, framing, f"{path}: {alphabet}/{character}/{name}")
            done += 1
    report("Reading Omniglot", total, total)
    alphabets, characters, background = zip(*names, strict=True)
    shape = (len(names), edition.drawings, INK_SIZE, INK_SIZE)
    return CharacterSet(images.reshape(shape), characters, alphabets, background, "Omniglot")


def _ink(picture: bytes, framing: Framing, where: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return np.rint(image_to_ink(image, framing) * 255).astype(np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{where} is not a picture that opens ({error}). Fetch or extract its zip again."
        ) from error
