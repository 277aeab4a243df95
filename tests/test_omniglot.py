"""Omniglot in miniature, on real files and a real server; and the real one where it is at hand."""

from __future__ import annotations

import hashlib
import http.server
import itertools
import json
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from maml.config import Framing
from maml.data.characters import CharacterSet
from maml.data.omniglot import OMNIGLOT, Edition, Half, describe, load_omniglot
from maml.data.strokes import load_strokes
from maml.drawing import image_to_ink, strokes_to_image

if sys.platform != "win32":
    import resource

MINIATURE = Edition(
    background=Half("images_background", "", {"Runes": 2, "Ants": 1}),
    evaluation=Half("images_evaluation", "", {"Late": 2}),
    drawings=3,
    url="http://nowhere.invalid/",
)
ORDER = ["Ants/character01", "Runes/character01", "Runes/character02"]
ORDER += ["Late/character01", "Late/character02"]


def picture(seed: int) -> Image.Image:
    """A drawing like Omniglot's: 105 x 105, two levels, dark on light."""
    points = np.random.default_rng(seed).integers(10, 95, (4, 2))
    image = Image.new("1", (105, 105), 1)
    ImageDraw.Draw(image).line([tuple(point) for point in points.tolist()], fill=0, width=3)
    return image


def write_folders(root: Path, edition: Edition = MINIATURE) -> Path:
    seed = 0
    for half in edition.halves:
        for alphabet, characters in half.alphabets.items():
            for character in range(1, characters + 1):
                folder = root / half.name / alphabet / f"character{character:02d}"
                folder.mkdir(parents=True)
                for drawing in range(1, edition.drawings + 1):
                    picture(seed).save(folder / f"{seed // 3 + 1:04d}_{drawing:02d}.png")
                    seed += 1
    return root


def write_zips(root: Path, edition: Edition = MINIATURE, top: bool = True) -> Path:
    folders = write_folders(root / "extracted", edition)
    for half in edition.halves:
        with zipfile.ZipFile(root / f"{half.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folders.rglob(f"{half.name}/**/*.png"), reverse=True):
                archive.write(file, file.relative_to(folders if top else folders / half.name))
            archive.writestr(f"__MACOSX/{half.name}/Runes/character01/._0001_01.png", b"notes")
    return root


def load(root: Path | None, cache: Path, **settings: Any) -> CharacterSet:
    settings.setdefault("edition", MINIATURE)
    return load_omniglot(root, cache=cache, **settings)


@pytest.fixture
def zips(tmp_path: Path) -> Path:
    return write_zips(tmp_path / "zips")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("framing", ["fit", "frame"])
def test_pictures_become_ink_in_sorted_order_background_first(
    zips: Path, cache: Path, framing: Framing
) -> None:
    data = load(zips, cache, framing=framing)

    assert data.characters == tuple(ORDER)
    assert data.alphabets == ("Ants", "Runes", "Runes", "Late", "Late")
    assert data.background == (True, True, True, False, False)
    assert data.images.shape == (5, 3, 28, 28)
    # The pictures were numbered as written: both characters of Runes, Ants, both of Late.
    for row, first in enumerate([6, 0, 3, 9, 12]):
        for drawing in range(3):
            ink = np.rint(image_to_ink(picture(first + drawing), framing) * 255)
            np.testing.assert_array_equal(data.images[row, drawing], ink)
    assert data.images.max() == 255
    assert 0 < (data.images > 127).mean() < 0.4


def test_every_layout_gives_the_same_ink(tmp_path: Path, cache: Path) -> None:
    wanted = load(write_zips(tmp_path / "zips"), cache).images
    layouts = {
        "folders": write_folders(tmp_path / "folders"),
        "zips without a top folder": write_zips(tmp_path / "flat", top=False),
        "a clone": write_zips(tmp_path / "clone" / "python").parent,
        "torchvision": write_folders(tmp_path / "torchvision" / "omniglot-py").parent,
    }
    twice = tmp_path / "twice"
    for half in MINIATURE.halves:
        (twice / half.name).mkdir(parents=True)
        (layouts["folders"] / half.name).rename(twice / half.name / half.name)
    layouts["folders"] = twice
    for name, root in layouts.items():
        np.testing.assert_array_equal(load(root, cache).images, wanted, err_msg=name)


def test_environment_variable_names_the_folder_and_the_argument_wins(
    zips: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIGLOT_DIR", str(zips))
    assert load(None, cache, download=False).characters == tuple(ORDER)
    with pytest.raises(FileNotFoundError, match="the folder that was given"):
        load(tmp_path / "elsewhere", cache)


def test_the_second_call_reads_the_stored_array(
    zips: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(zips, cache)
    (stored,) = cache.iterdir()
    assert stored.name.startswith("omniglot-fit-")
    seen: list[str] = []
    again = load(zips, cache, progress=lambda task, done, total: seen.append(task))

    assert seen == []
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.characters, again.alphabets) == (first.characters, first.alphabets)
    assert again.background == first.background
    load(zips, cache, framing="frame")
    assert len(list(cache.iterdir())) == 2


def test_stored_ink_is_made_again_when_preprocessing_or_pictures_change(
    zips: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(zips, cache)
    monkeypatch.setattr("maml.data.omniglot.PREPROCESSING_VERSION", 10_000)
    load(zips, cache)
    assert len(list(cache.iterdir())) == 2

    folders = zips / "extracted"
    before = load(folders, cache).images
    (file,) = folders.rglob("Ants/character01/*_02.png")
    picture(99).save(file)
    os.utime(file, ns=(0, 0))
    stored = len(list(cache.iterdir()))
    after = load(folders, cache).images
    assert len(list(cache.iterdir())) == stored + 1
    os.utime(file, ns=(0, 1_000_000_000))
    load(folders, cache)
    assert len(list(cache.iterdir())) == stored + 2
    assert (before[0, 1] != after[0, 1]).any()
    np.testing.assert_array_equal(before[1:], after[1:])


@pytest.mark.parametrize("damage", ["cut short", "not an array", "empty", "pickled"])
def test_damaged_stored_ink_is_made_again(zips: Path, cache: Path, damage: str) -> None:
    wanted = load(zips, cache)
    (stored,) = cache.iterdir()
    content = stored.read_bytes()
    if damage == "pickled":
        with stored.open("wb") as file:
            np.savez(file, images=np.array([{}], dtype=object))
    else:
        half = content[: len(content) // 2]
        stored.write_bytes({"cut short": half, "not an array": b"ink", "empty": b""}[damage])
    np.testing.assert_array_equal(load(zips, cache).images, wanted.images)
    assert stored.read_bytes()[:2] == b"PK"
    assert list(cache.iterdir()) == [stored]


def test_a_folder_that_cannot_be_written_is_done_without(zips: Path, tmp_path: Path) -> None:
    wall = tmp_path / "wall"
    wall.write_text("a file where a folder is wanted")
    with pytest.warns(RuntimeWarning, match="could not be kept in .*name another as `cache`"):
        data = load(zips, wall / "cache")
    assert data.characters == tuple(ORDER)


def test_nothing_there_says_where_it_looked(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMNIGLOT_DIR", raising=False)
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path, cache)
    for said in (
        "images_background and images_evaluation",
        str(tmp_path),
        "the folder that was given",
        MINIATURE.url,
    ):
        assert said in str(caught.value)
    with pytest.raises(FileNotFoundError, match="which is not a folder"):
        load(tmp_path / "typo", cache)
    with pytest.raises(FileNotFoundError, match="OMNIGLOT_DIR is not set.*allow the download"):
        load(None, cache, download=False)
    monkeypatch.setenv("OMNIGLOT_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="the environment variable OMNIGLOT_DIR"):
        load(None, cache)


def test_one_missing_half_is_named(zips: Path, cache: Path) -> None:
    (zips / "images_evaluation.zip").unlink()
    with pytest.raises(FileNotFoundError, match="not complete: images_evaluation "):
        load(zips, cache)


def test_truncated_zip(zips: Path, cache: Path) -> None:
    archive = zips / "images_background.zip"
    archive.write_bytes(archive.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"images_background\.zip is damaged or incomplete"):
        load(zips, cache)


def test_flipped_byte_in_a_zip(zips: Path, cache: Path) -> None:
    archive = zips / "images_background.zip"
    content = bytearray(archive.read_bytes())
    content[120] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"images_background\.zip is damaged or incomplete"):
        load(zips, cache)


def test_absent_alphabet(tmp_path: Path, cache: Path) -> None:
    root = write_folders(tmp_path)
    (root / "images_background" / "Ants").rename(tmp_path / "Ants")
    with pytest.raises(
        ValueError, match=r"no alphabet Ants.*expected 2 alphabets with 3 characters x 3.*got 1"
    ):
        load(root, cache)


def test_strange_alphabet_character_and_count(tmp_path: Path, cache: Path) -> None:
    root = write_folders(tmp_path)
    (file,) = root.rglob("Late/character02/*_03.png")
    file.unlink()
    with pytest.raises(ValueError, match="Late/character02 has 2 of 3 drawings"):
        load(root, cache)
    file.parent.rename(file.parent.with_name("character07"))
    with pytest.raises(ValueError, match=r"02 has 0 of 3.*Late/character07 does not belong"):
        load(root, cache)
    file.parents[1].rename(file.parents[1].with_name("Latest"))
    with pytest.raises(ValueError, match="does not belong there: Latest"):
        load(root, cache)


@pytest.mark.parametrize("content", [b"", b"no picture", b"blank", b"cut short"])
def test_picture_that_does_not_open(tmp_path: Path, cache: Path, content: bytes) -> None:
    root = write_folders(tmp_path)
    (file,) = root.rglob("Runes/character02/*_01.png")
    if content == b"blank":
        Image.new("1", (105, 105), 1).save(file)
    elif content == b"cut short":
        file.write_bytes(file.read_bytes()[:60])
    else:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"Runes/character02/0002_01\.png is not a picture"):
        load(root, cache)
    assert not cache.exists()


def test_unknown_framing(zips: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match="Unknown framing 'crop'; choose one of fit, frame"):
        load(zips, cache, framing="crop")


def test_progress_comes_a_few_times_a_second_and_ends_at_the_last_picture(
    zips: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(seconds: float) -> list[tuple[str, int, int]]:
        """What is heard if each look at the clock finds it so many seconds later."""
        clock = itertools.count(0, seconds)
        monkeypatch.setattr("maml.data.download.time.monotonic", lambda: next(clock))
        heard: list[tuple[str, int, int]] = []
        load(zips, cache / str(seconds), progress=lambda *report: heard.append(report))
        return heard

    assert seen(1.0) == [("Reading Omniglot", done, 15) for done in (0, 3, 6, 9, 12, 15)]
    assert seen(0.125) == [("Reading Omniglot", done, 15) for done in (0, 6, 12, 15)]
    assert seen(0.0) == [("Reading Omniglot", done, 15) for done in (0, 15)]


def test_description(zips: Path, cache: Path) -> None:
    record = describe(load(zips, cache))
    assert json.loads(json.dumps(record)) == {
        "characters": 5,
        "drawings": 3,
        "pictures": 15,
        "background": {"Ants": 1, "Runes": 2},
        "evaluation": {"Late": 2},
    }


class Server(http.server.ThreadingHTTPServer):
    """Serves one folder; fails the first requests with 503 if told to."""

    def __init__(self, folder: Path) -> None:
        self.failures = 0
        self.requests: list[str] = []
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def do_GET(self) -> None:
                server.requests.append(self.path)
                if server.failures > 0:
                    server.failures -= 1
                    self.send_error(503)
                else:
                    super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def server(zips: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("OMNIGLOT_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(zips)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def served(server: Server, zips: Path) -> Edition:
    def with_checksum(half: Half) -> Half:
        content = (zips / f"{half.name}.zip").read_bytes()
        return replace(half, md5=hashlib.md5(content).hexdigest())

    return replace(
        MINIATURE,
        background=with_checksum(MINIATURE.background),
        evaluation=with_checksum(MINIATURE.evaluation),
        url=f"http://127.0.0.1:{server.server_address[1]}/",
    )


def test_download_is_retried_checked_reported_and_kept(
    server: Server, zips: Path, cache: Path
) -> None:
    server.failures = 1
    seen: dict[str, list[tuple[int, int]]] = {}
    data = load(
        None,
        cache,
        edition=served(server, zips),
        progress=lambda task, done, total: seen.setdefault(task, []).append((done, total)),
    )
    assert data.characters == tuple(ORDER)
    assert server.requests.count("/images_background.zip") == 2
    assert server.requests.count("/images_evaluation.zip") == 1
    size = (zips / "images_background.zip").stat().st_size
    assert seen["Downloading images_background.zip"][-1] == (size, size)
    assert (cache / "images_background.zip").stat().st_size == size

    server.requests.clear()
    load(None, cache, edition=served(server, zips), framing="frame")
    assert server.requests == []


def test_download_with_another_checksum_is_refused(
    server: Server, zips: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    edition = served(server, zips)
    edition = replace(edition, evaluation=replace(edition.evaluation, md5="0" * 32))
    with pytest.raises(OSError, match=r"images_evaluation\.zip.*hash.*does not match"):
        load(None, cache, edition=edition)
    assert not (cache / "images_evaluation.zip").exists()
    assert server.requests.count("/images_evaluation.zip") == 4


def test_download_without_a_connection_says_how_to_mend_it(
    server: Server, zips: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    edition = served(server, zips)
    server.failures = 99
    with pytest.raises(OSError, match=r"could not be downloaded from http.*503.*OMNIGLOT_DIR"):
        load(None, cache, edition=edition)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk without room: no file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_full_disk(server: Server, tmp_path: Path, cache: Path) -> None:
    zips = write_zips(tmp_path / "others")
    (tmp_path / "zips" / "images_background.zip").write_bytes(os.urandom(100_000))
    edition = replace(MINIATURE, url=f"http://127.0.0.1:{server.server_address[1]}/")
    with files_of_at_most(4096):
        # Without room for its array the data set is there all the same ...
        with pytest.warns(RuntimeWarning, match="could not be kept"):
            data = load(zips, cache / "arrays")
        # ... without room for the download it is not; and nothing half written stays behind.
        with pytest.raises(OSError, match="File too large.*room on the disk"):
            load(None, cache / "downloads", edition=edition)
    assert data.characters[0] == "Ants/character01"
    assert [path for path in cache.rglob("*") if path.is_file()] == []


STROKES = b"START\n10.5,-20.25,0\n11.5,-21.25,9\nBREAK\n50,-60,80\nBREAK\n"


def write_strokes(root: Path) -> Path:
    for character, drawing, content in (
        ("character02", "0003_01", STROKES),
        ("character01", "0002_02", STROKES.replace(b"10.5", b"12.5")),
    ):
        folder = root / "strokes" / "Runes" / character
        folder.mkdir(parents=True)
        (folder / f"{drawing}.txt").write_bytes(content)
    return root / "strokes"


def test_strokes_point_down_and_name_their_picture(tmp_path: Path) -> None:
    folder = write_strokes(tmp_path)
    archive = tmp_path / "strokes.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.txt"):
            file.write(path, path.relative_to(tmp_path))
    for place in (folder, archive):
        first, second = load_strokes(place)
        assert (first.alphabet, first.character, first.drawing) == ("Runes", "Runes/character01", 1)
        assert (second.character, second.drawing) == ("Runes/character02", 0)
        np.testing.assert_array_equal(first.strokes[0], [[12.5, 20.25], [11.5, 21.25]])
        np.testing.assert_array_equal(first.strokes[1], [[50, 60]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"START\n1,2\nBREAK\n", "is not a stroke file"),
        (b"START\n1,-2,zero\nBREAK\n1,x,3", "is not a stroke file"),
        (b"START\n1,-2,3\n", "ends within a stroke"),
        (b"", "ends within a stroke"),
        (b"\xff\xfe", "is not a stroke file"),
    ],
)
def test_strokes_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_strokes(tmp_path)
    (folder / "Runes" / "character01" / "0002_02.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"Runes/character01/0002_02\.txt {message}"):
        load_strokes(folder)


def test_strokes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="name a zip or a folder of Omniglot stroke files"):
        load_strokes(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no stroke files"):
        load_strokes(tmp_path)
    (tmp_path / "Runes" / "character01").mkdir(parents=True)
    (tmp_path / "Runes" / "character01" / "first.txt").write_bytes(STROKES)
    with pytest.raises(ValueError, match=r"first\.txt does not end in the number"):
        load_strokes(tmp_path)


def test_the_real_data_set(omniglot_dir: Path) -> None:
    data = load_omniglot(omniglot_dir)
    assert data.images.shape == (1623, 20, 28, 28)
    assert sum(data.background) == 964
    assert data.characters[0] == "Alphabet_of_the_Magi/character01"
    assert data.characters[-1] == "ULOG/character26"
    assert len(set(data.characters)) == 1623
    # Every drawing has ink, and none is a blot.
    share = (data.images > 127).mean(axis=(2, 3))
    assert 0.005 < share.min() < share.max() < 0.5
    record = describe(data)
    assert record["background"] == dict(OMNIGLOT.background.alphabets)
    assert record["evaluation"] == dict(OMNIGLOT.evaluation.alphabets)
    assert len(data.split("alphabets", "train")) == 964
    assert len(data.split("alphabets", "test")) == 659
    assert len(data.split("notebook", "train")) == 1200
    assert data.split("notebook", "test").characters == data.characters[1200:]


def test_real_strokes_are_the_real_pictures(omniglot_dir: Path) -> None:
    archive = omniglot_dir / "strokes_background_small1.zip"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not there")
    drawings = load_strokes(archive)
    data = load_omniglot(omniglot_dir)
    rows = {name: row for row, name in enumerate(data.characters)}
    assert len(drawings) == 2720
    assert len({drawing.alphabet for drawing in drawings}) == 5

    def distance(strokes: np.ndarray, row: int, drawing: int) -> float:
        return float(np.abs(strokes - data.images[row, drawing] / 255).mean())

    own, other = [], []
    for drawing in drawings[::40]:
        ink = strokes_to_image(drawing.strokes)
        row = rows[drawing.character]
        own.append(distance(ink, row, drawing.drawing))
        other.append(distance(ink, row, (drawing.drawing + 1) % 20))
    # The strokes of a drawing lie on its own picture, not on another of the same character.
    assert np.mean(np.array(own) < other) > 0.95
    assert np.median(own) < np.median(other) / 2
