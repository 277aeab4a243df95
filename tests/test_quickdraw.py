"""Quick, Draw! in miniature, on real files and a real server; and the real one where at hand."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch

import maml
from maml.config import EpisodeShape, MetaTraining, Part, Split
from maml.data import quickdraw
from maml.data.characters import CharacterSet
from maml.data.omniglot import load_omniglot
from maml.data.quickdraw import LICENCE, describe_doodles, left_out, load_quickdraw
from maml.data.words import CHOOSE_WORDS, TEST_WORDS, WORDS, part_of
from maml.drawing import strokes_to_image
from maml.recipes import live
from maml.train import training_parts

MINIATURE = ("The Mona Lisa", "airplane", "angel", "star")
"""Two words that train, one that tests, one that chooses."""


def drawing(seed: int) -> list[list[list[int]]]:
    """Two strokes in the form of the simplified files."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (2, points)).tolist() for points in (4, 3)]


def line(word: str, seed: int, recognized: bool = True, **changes: Any) -> str:
    entry = {
        "word": word,
        "countrycode": "NZ",
        "timestamp": "2017-03-09 00:28:55.637 UTC",
        "recognized": recognized,
        "key_id": str(seed),
        "drawing": drawing(seed),
        **changes,
    }
    return json.dumps({key: value for key, value in entry.items() if value is not None}) + "\n"


def seeds(word: str, count: int = 6) -> range:
    first = 100 * MINIATURE.index(word)
    return range(first, first + count)


def write(root: Path, count: int = 6) -> Path:
    """A folder of four words; the third drawing of each was not recognised."""
    root.mkdir(parents=True, exist_ok=True)
    for word in MINIATURE:
        lines = [line(word, seed, seed % 100 != 2) for seed in seeds(word, count)]
        (root / f"{word}.ndjson").write_text("".join(lines), encoding="utf-8")
    return root


def ink(seed: int, framing: Any = "fit") -> np.ndarray:
    strokes = [np.array(stroke).T for stroke in drawing(seed)]
    return np.rint(strokes_to_image(strokes, framing) * 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "doodles")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# A folder ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["fit", "frame"])
def test_the_first_recognised_drawings_of_each_word(
    folder: Path, cache: Path, framing: Any
) -> None:
    (folder / "README.md").write_text("notes")
    (folder / "._star.ndjson").write_bytes(b"an operating system's notes")
    data = load_quickdraw(folder, drawings=4, framing=framing, cache=cache)

    assert data.characters == MINIATURE
    assert data.alphabets == ("doodles",) * 4
    assert data.background == (True, False, False, True)
    assert data.name == "Quick, Draw!"
    assert data.images.shape == (4, 4, 28, 28)
    assert data.images.dtype == np.uint8
    for row, word in enumerate(MINIATURE):
        for column, number in enumerate((0, 1, 3, 4)):
            wanted = ink(seeds(word)[number], framing)
            np.testing.assert_array_equal(data.images[row, column], wanted)


def test_words_are_taken_in_the_order_asked_for(folder: Path, cache: Path) -> None:
    data = load_quickdraw(folder, words=["star", "airplane"], drawings=2, cache=cache)
    assert data.characters == ("star", "airplane")
    np.testing.assert_array_equal(data.images[0, 0], ink(300))


def test_words_without_enough_drawings_are_left_out_and_listed(folder: Path, cache: Path) -> None:
    with (folder / "star.ndjson").open("a") as file:
        file.write(line("star", 399) + "\n" + line("star", 398))
    assert load_quickdraw(folder, drawings=7, cache=cache).characters == ("star",)
    assert left_out(folder, drawings=7) == {"The Mona Lisa": 5, "airplane": 5, "angel": 5}
    assert left_out(folder, drawings=5) == {}
    with pytest.raises(ValueError, match="the richest has 7.*got drawings = 8"):
        load_quickdraw(folder, drawings=8, cache=cache)


def test_environment_variable_names_the_folder_and_the_argument_wins(
    folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICKDRAW_DIR", str(folder))
    assert load_quickdraw(drawings=2, cache=cache, download=False).characters == MINIATURE
    with pytest.raises(FileNotFoundError, match="does not exist.*got root = .*elsewhere"):
        load_quickdraw(tmp_path / "elsewhere", cache=cache)
    monkeypatch.setenv("QUICKDRAW_DIR", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="got QUICKDRAW_DIR = .*gone"):
        load_quickdraw(cache=cache)


def test_the_second_call_reads_the_stored_array_until_a_file_changes(
    folder: Path, cache: Path
) -> None:
    def load(**settings: Any) -> tuple[Any, set[str]]:
        tasks: set[str] = set()
        data = load_quickdraw(
            folder, cache=cache, progress=lambda task, *_: tasks.add(task), **settings
        )
        return data, tasks

    first, tasks = load(drawings=3)
    assert tasks == {"Reading Quick, Draw!"}
    again, tasks = load(drawings=3)
    assert tasks == set()
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.characters, again.background) == (first.characters, first.background)
    for other in ({"drawings": 2}, {"framing": "frame", "drawings": 3}, {"words": ["star"]}):
        _, tasks = load(**{"drawings": 3, **other})
        assert tasks, other
    (folder / "star.ndjson").write_text("".join(line("star", seed) for seed in range(50, 59)))
    changed, _ = load(drawings=3)
    np.testing.assert_array_equal(changed.images[3, 2], ink(52))
    np.testing.assert_array_equal(changed.images[:3], first.images[:3])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cat", "got 'cat'"),
        ([], r"got \[\]"),
        (["star", "star"], "different words"),
        (["../star"], "star"),
        ([".."], "different words"),
        ([3], r"got \[3\]"),
    ],
)
def test_words_that_are_none(folder: Path, cache: Path, words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_quickdraw(folder, words=words, cache=cache)


def test_other_arguments_are_checked(folder: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match="framing must be one of fit, frame; got 'crop'"):
        load_quickdraw(folder, framing="crop", cache=cache)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="drawings must be a whole number from 2"):
        load_quickdraw(folder, drawings=1, cache=cache)


def test_missing_words_are_named(folder: Path, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no file of 'cat', 'hot dog'.*leave out"):
        load_quickdraw(folder, words=["cat", "star", "hot dog"], cache=cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no \.ndjson file"):
        load_quickdraw(tmp_path / "empty", cache=cache)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("\xff", "'utf-8' codec"),
        ("[1, 2]", "expected an object; got list"),
        ("7", "expected an object; got int"),
        ("[" * 100_000, "recursion"),
        (line("star", 1, drawing=None), "got no drawing"),
        (line("star", 1, recognized=None), "got no recognized"),  # type: ignore[arg-type]
        (line("cat", 1), "expected a drawing of 'star'.*got one of 'cat'"),
        (line("star", 1, recognized="yes"), "recognized must be true or false; got 'yes'"),  # type: ignore[arg-type]
        (line("star", 1, drawing="scribble"), "expected a list of strokes; got str"),
        (line("star", 1, drawing=[]), "at least one stroke; got none"),
        (line("star", 1, drawing=[[[], []]]), r"got an array of shape \(2, 0\)"),
        (line("star", 1, drawing=[[[1, 2], [3]]]), "inhomogeneous"),
        (line("star", 1, drawing=[[[1, 2], [3, 4], [0, 16]]]), r"simplified.*shape \(3, 2\)"),
        (line("star", 1, drawing=[[[1, "x"], [3, 4]]]), "could not convert"),
        (line("star", 1, drawing=[[[1, float("nan")], [3, 4]]]), "finite numbers"),
        (line("star", 1, drawing=[[[1, 10**400], [3, 4]]]), "too large"),
    ],
)  # fmt: skip
def test_malformed_lines_are_named(folder: Path, cache: Path, content: str, message: str) -> None:
    path = folder / "star.ndjson"
    good = path.read_text().splitlines(keepends=True)
    path.write_bytes(
        good[0].encode() + content.strip().encode("latin-1") + b"\n" + good[1].encode()
    )
    with pytest.raises(ValueError, match=rf"star\.ndjson, line 2 is not .*{message}.*Delete that"):
        load_quickdraw(folder, drawings=2, cache=cache)
    assert not cache.exists()
    # The same line behind all that is wanted is not read.
    path.write_bytes("".join(good).encode() + content.strip().encode("latin-1"))
    assert len(load_quickdraw(folder, drawings=5, cache=cache)) == 4


# A server ----------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves one folder by ranges, unless told to misbehave."""

    def __init__(self, folder: Path) -> None:
        self.ranges = True
        self.failures: list[str] = []
        """What goes wrong with the next requests: "503", "cut", "page"."""
        self.requests: list[tuple[str, str | None]] = []
        self.sent = 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name, span = unquote(self.path).lstrip("/"), self.headers.get("Range")
                server.requests.append((name, span))
                failure = server.failures.pop(0) if server.failures else ""
                if failure == "503" or not (folder / name).is_file():
                    self.send_error(503 if failure else 404)
                    return
                content = (folder / name).read_bytes()
                total = len(content)
                if failure == "page":
                    content = b"<html>\nSign in to this network.\n</html>\n"
                elif server.ranges and span:
                    first, last = map(int, span.removeprefix("bytes=").split("-"))
                    content = content[first : last + 1]
                    self.send_response(206)
                    shown = f"bytes {first}-{first + len(content) - 1}/{total}"
                    self.send_header("Content-Range", shown)
                if failure == "page" or not (server.ranges and span):
                    self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if failure == "cut":
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                    return
                try:
                    for at in range(0, len(content), 4096):
                        server.sent += self.wfile.write(content[at : at + 4096])
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("QUICKDRAW_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    write(folder, 2000)
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server: Server, cache: Path, **settings: Any) -> Any:
    settings = {"words": MINIATURE, "drawings": 4, "cache": cache, "url": server.url, **settings}
    return load_quickdraw(**settings)


@pytest.mark.process
def test_only_the_first_stretch_is_fetched_and_kept_with_its_digest(
    server: Server, folder: Path, cache: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    data = fetch(server, cache, progress=lambda *report: seen.append(report))
    assert data.characters == MINIATURE
    np.testing.assert_array_equal(data.images[0, 2], ink(3))
    assert server.requests == [(f"{word}.ndjson", "bytes=0-131071") for word in MINIATURE]
    assert ("Downloading Quick, Draw!", 0, 4) in seen
    assert ("Downloading Quick, Draw!", 4, 4) in seen

    kept = cache / "quickdraw"
    for word in MINIATURE:
        whole = (folder / f"{word}.ndjson").read_bytes()
        part = (kept / f"{word}.ndjson").read_bytes()
        assert whole.startswith(part)
        assert part.endswith(b"}\n")
        assert 0 <= 131072 - len(part) < 400 < 131072 < len(whole)
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=kept, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(b"OK") == 4

    server.requests.clear()
    fetch(server, cache, framing="frame")
    fetch(server, cache, words=["star"], download=False)
    assert server.requests == []
    assert left_out(words=["star"], drawings=1000, cache=cache)["star"] > 100


def test_a_server_without_ranges_is_left_when_there_is_enough(
    server: Server, folder: Path, cache: Path
) -> None:
    server.ranges = False
    for word in MINIATURE:
        path = folder / f"{word}.ndjson"
        path.write_bytes(path.read_bytes() * 30)
    data = fetch(server, cache)
    assert data.characters == MINIATURE
    assert (cache / "quickdraw" / "star.ndjson").stat().st_size <= 131072
    # What had not been taken when the client left fills the buffers of the connection at most.
    assert server.sent < 0.5 * sum(path.stat().st_size for path in folder.iterdir())


def test_a_short_file_is_fetched_whole(server: Server, folder: Path, cache: Path) -> None:
    short = "".join(line("star", seed) for seed in range(5))
    (folder / "star.ndjson").write_text(short)
    fetch(server, cache, words=["star"])
    assert (cache / "quickdraw" / "star.ndjson").read_text() == short


def test_failures_are_retried(server: Server, cache: Path) -> None:
    server.failures = ["503", "cut", "page", "", "cut"]
    assert fetch(server, cache).characters == MINIATURE
    names = [name for name, _ in server.requests]
    assert names == ["The Mona Lisa.ndjson"] * 4 + ["airplane.ndjson"] * 2 + [
        "angel.ndjson", "star.ndjson"
    ]  # fmt: skip
    fetched = (cache / "quickdraw" / "airplane.ndjson").stat().st_size
    assert 131072 - 400 < fetched <= 131072


@pytest.mark.parametrize(
    ("failure", "message"),
    [("503", "503"), ("cut", "IncompleteRead"), ("page", "line 1 is not a simplified drawing")],
)
def test_a_server_that_keeps_failing_says_how_to_mend_it(
    server: Server, cache: Path, failure: str, message: str
) -> None:
    fetch(server, cache, words=["airplane"])
    server.failures = [failure] * 99
    with pytest.raises(OSError, match=rf"star\.ndjson to .*{message}.*try again.*QUICKDRAW_DIR"):
        fetch(server, cache, words=["star"])
    assert [name for name, _ in server.requests].count("star.ndjson") == 4
    kept = sorted(path.name for path in (cache / "quickdraw").iterdir())
    assert kept == ["SHA256SUMS", "airplane.ndjson"]
    server.failures.clear()
    assert fetch(server, cache, words=["airplane", "star"]).characters == ("airplane", "star")
    assert [name for name, _ in server.requests].count("airplane.ndjson") == 1


def test_no_connection(server: Server, cache: Path) -> None:
    with pytest.raises(OSError, match="could not be downloaded.*Check the connection"):
        fetch(server, cache, url="http://127.0.0.1:9/")


def test_a_word_that_the_server_does_not_have(server: Server, cache: Path) -> None:
    with pytest.raises(OSError, match=r"there is no word 'unicorn'; .*categories\.txt"):
        fetch(server, cache, words=["star", "unicorn"])
    assert [name for name, _ in server.requests] == ["star.ndjson", "unicorn.ndjson"]


def test_a_damaged_file_is_noticed_and_fetched_again(server: Server, cache: Path) -> None:
    wanted = fetch(server, cache).images
    path = cache / "quickdraw" / "angel.ndjson"
    whole = path.read_bytes()
    for damage in (whole[:5000], whole.replace(b"1", b"2", 1), b""):
        path.write_bytes(damage)
        with pytest.raises(FileNotFoundError, match="'angel' damaged.*Allow the download"):
            fetch(server, cache, download=False)
        server.requests.clear()
        np.testing.assert_array_equal(fetch(server, cache).images, wanted)
        assert [name for name, _ in server.requests] == ["angel.ndjson"]
        assert path.read_bytes() == whole
    path.unlink()
    with pytest.raises(FileNotFoundError, match="'angel' not found"):
        fetch(server, cache, download=False)


def test_a_file_without_a_digest_is_not_trusted(server: Server, cache: Path) -> None:
    fetch(server, cache)
    (cache / "quickdraw" / "SHA256SUMS").write_bytes(b"\xff nothing of worth\n")
    server.requests.clear()
    fetch(server, cache)
    assert len(server.requests) == 4
    sums = (cache / "quickdraw" / "SHA256SUMS").read_text().splitlines()
    assert len(sums) == 4


def test_another_digest_than_at_first_is_refused(server: Server, folder: Path, cache: Path) -> None:
    fetch(server, cache)
    path = cache / "quickdraw" / "star.ndjson"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    (folder / "star.ndjson").write_text("".join(line("star", seed) for seed in range(9)))
    with pytest.raises(OSError, match="another digest than .* delete .*SHA256SUMS"):
        fetch(server, cache)
    assert not path.exists()
    assert f"{digest}  star.ndjson" in (cache / "quickdraw" / "SHA256SUMS").read_text()


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    wall = tmp_path / "wall"
    wall.write_text("a file where a folder is wanted")
    with pytest.raises(OSError, match="could not be downloaded.*room on the disk"):
        fetch(server, wall)


# Splits ------------------------------------------------------------------------------------------


def test_the_lists_do_not_overlap() -> None:
    assert len(WORDS) == len(set(WORDS)) == 233
    assert list(WORDS) == sorted(WORDS)
    assert (len(TEST_WORDS), len(CHOOSE_WORDS)) == (60, 25)
    assert not set(TEST_WORDS) & set(CHOOSE_WORDS)
    assert {*TEST_WORDS, *CHOOSE_WORDS} < set(WORDS)
    assert part_of("a word of nobody's") == "train"


def test_parts_of_doodles(folder: Path, cache: Path) -> None:
    data = load_quickdraw(folder, drawings=3, cache=cache)
    assert data.split("doodles", "train").characters == ("The Mona Lisa", "star")
    assert data.split("doodles", "choose").characters == ("angel",)
    assert data.split("doodles", "test").characters == ("airplane",)
    with pytest.raises(ValueError, match="part 'test'.*got 1 other words"):
        data.choose([3]).split("doodles", "test")
    record = describe_doodles(data)
    assert json.loads(json.dumps(record)) == {
        "licence": LICENCE,
        "characters": 4,
        "drawings": 3,
        "pictures": 12,
        "train": ["The Mona Lisa", "star"],
        "choose": ["angel"],
        "test": ["airplane"],
    }


def test_other_sets_have_no_doodles(small_alphabets: maml.CharacterSet) -> None:
    with pytest.raises(ValueError, match="holds the alphabet 'Generated_01'"):
        small_alphabets.split("doodles", "train")
    with pytest.raises(ValueError, match="one of train, test under protocol 'notebook'; got 'cho"):
        small_alphabets.split("notebook", "choose")
    with pytest.raises(ValueError, match="one of alphabets, notebook, doodles; got 'lake'"):
        small_alphabets.split("lake", "train")  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("protocol", ["alphabets", "notebook"])
def test_doodles_have_one_protocol(
    folder: Path, cache: Path, protocol: Split, part: Part, small_alphabets: CharacterSet
) -> None:
    """Any other would let test words train, or words that choose test."""
    data = load_quickdraw(folder, drawings=3, cache=cache)
    mixed = CharacterSet(
        np.concatenate([small_alphabets.images[:2, :3], data.images]),
        (*small_alphabets.characters[:2], *data.characters),
        (*small_alphabets.alphabets[:2], *data.alphabets),
        (*small_alphabets.background[:2], *data.background),
    )
    for doodles in (data, data.choose([0, 1]), mixed):
        with pytest.raises(ValueError, match=f"split='doodles'.*got '{protocol}'"):
            doodles.split(protocol, part)


def test_meta_training_on_doodles_asks_for_their_protocol(folder: Path, cache: Path) -> None:
    data = load_quickdraw(folder, drawings=3, cache=cache)
    generator = torch.Generator().manual_seed(0)
    model = maml.build_model(live().network, MetaTraining().inner, generator)
    with pytest.raises(ValueError, match="maml.MetaTraining as split='doodles'.*got 'alphabets'"):
        maml.meta_train(model, data, MetaTraining(), generator)


@pytest.mark.parametrize("validation", [0, 4])
def test_training_never_looks_at_test_words(folder: Path, cache: Path, validation: int) -> None:
    data = load_quickdraw(folder, drawings=3, cache=cache)
    settings = MetaTraining(split="doodles", validation=validation)
    training, held_out = training_parts(data, settings)
    assert training.characters == ("The Mona Lisa", "star")
    assert held_out.characters == ("angel",)


# The real one ------------------------------------------------------------------------------------


def test_the_real_doodles(quickdraw_dir: Path) -> None:
    """At least the words of the lists; more of the data set's words may be at hand, and train."""
    data = maml.load_quickdraw(root=None)
    assert data.images.shape == (len(data), 15, 28, 28)
    assert data.images.dtype == np.uint8
    sizes = {part: len(data.split("doodles", part)) for part in ("train", "choose", "test")}
    assert sizes == {"train": len(data) - 85, "choose": 25, "test": 60}
    at_hand = {path.stem for path in quickdraw_dir.glob("*.ndjson")}
    assert {*data.characters, *left_out()} == at_hand >= set(WORDS)
    # Every drawing has ink, and none is a blot.
    share = (data.images > 127).mean(axis=(2, 3))
    assert 0.005 < share.min() < share.max() < 0.7


def test_the_lists_are_apart_and_their_words_have_drawings(quickdraw_dir: Path) -> None:
    assert list(WORDS) == sorted(set(WORDS))
    for words, number in ((TEST_WORDS, 60), (CHOOSE_WORDS, 25)):
        assert len(words) == number and list(words) == sorted(set(words) & set(WORDS))
    assert not {*TEST_WORDS} & {*CHOOSE_WORDS}
    assert not left_out(words=(*TEST_WORDS, *CHOOSE_WORDS), drawings=15)


def test_shipped_weights_tell_doodles_apart(quickdraw_dir: Path) -> None:
    """A floor only, on words that choose; the suite states the figures."""
    words = maml.load_quickdraw().split("doodles", "choose")
    result = maml.evaluate(maml.load_pretrained(), words, EpisodeShape(5, 5, 5), tasks=60)
    assert result.accuracy > 0.7


def test_doodles_and_omniglot_do_not_share_names(quickdraw_dir: Path, omniglot_dir: Path) -> None:
    characters = load_omniglot(omniglot_dir).characters
    assert not set(characters) & set(WORDS)
    assert quickdraw.DOODLES not in load_omniglot(omniglot_dir).alphabets
