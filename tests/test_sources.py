"""Which characters can be trained on is known before the start, with real servers and without."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from trainings import wait_until

from maml.data.omniglot import omniglot_is_at_hand
from maml.data.stored import cache_folder
from maml.data.words import WORDS
from maml.sessions.sources import Sources

ASKED: list[str] = []


class Desk(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        ASKED.append(self.path)
        self.send_response(200 if self.path == "/data/images_background.zip" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    ASKED.clear()
    with HTTPServer(("127.0.0.1", 0), Desk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("OMNIGLOT_DIR", str(tmp_path))
    return tmp_path


def known(sources: Sources) -> bool:
    return sources._reachable is not None


def test_both_halves_are_needed(without_data: Path) -> None:
    found = [omniglot_is_at_hand()]
    (without_data / "images_background").mkdir()
    found.append(omniglot_is_at_hand())
    (without_data / "images_evaluation.zip").touch()
    found.append(omniglot_is_at_hand())
    assert found == [False, False, True]


def test_a_server_that_has_the_data_makes_omniglot_the_default(
    server: str, without_data: Path
) -> None:
    sources = Sources(f"{server}/data/")
    sources.look()
    wait_until(lambda: known(sources), 5)
    assert sources.default() == "omniglot" and not sources.omniglot_is_at_hand
    sources.look()  # it is known
    assert ASKED == ["/data/images_background.zip"]


def test_a_server_without_the_data_does_not(server: str, without_data: Path) -> None:
    sources = Sources(f"{server}/nothing/")
    sources.look()
    wait_until(lambda: known(sources), 5)
    assert sources.default() == "generated"


def test_without_a_network_generated_alphabets_are_the_default(without_data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    sources = Sources(f"http://127.0.0.1:{port}/")
    assert sources.default() == "omniglot", "nothing is known yet"
    sources.look()
    wait_until(lambda: known(sources), 5)
    assert sources.default() == "generated"
    for name in ("images_background", "images_evaluation"):
        (without_data / name).mkdir()
    assert sources.default() == "omniglot", "it has come by other means"


def test_a_failed_download_is_remembered(without_data: Path) -> None:
    sources = Sources("http://127.0.0.1:9/")
    sources.download_failed("omniglot")
    assert sources.default() == "generated"


def test_nobody_is_asked_while_the_data_are_at_hand(server: str, without_data: Path) -> None:
    for name in ("images_background", "images_evaluation"):
        (without_data / name).mkdir()
    sources = Sources(f"{server}/data/")
    sources.look()
    assert sources.default() == "omniglot" and not known(sources) and ASKED == []


def test_what_would_be_downloaded_is_known(
    without_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(without_data))
    monkeypatch.delenv("QUICKDRAW_DIR", raising=False)
    sources = Sources()
    assert sources.to_download() == {"omniglot": 15, "quickdraw": 30}
    for name in ("images_background", "images_evaluation"):
        (without_data / name).mkdir()
    cached = cache_folder() / "quickdraw"
    cached.mkdir(parents=True)
    for word in WORDS[1:]:
        (cached / f"{word}.ndjson").touch()
    assert sources.to_download() == {"quickdraw": 30}
    (cached / f"{WORDS[0]}.ndjson").touch()
    assert sources.to_download() == {}
    monkeypatch.setenv("QUICKDRAW_DIR", str(without_data))
    assert sources.to_download() == {"quickdraw": 30}, "what is named decides"
