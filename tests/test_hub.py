"""Weights pushed to a Hub: a server on this machine that speaks the part of its protocol we use."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from maml.checkpoint import load_pretrained
from maml.data.synthetic import generate_alphabets
from maml.evaluate import EvaluationResult
from maml.recipes import RECIPES
from maml.runs import TrainingRun
from maml.sessions.hub import model_card, push_to_hub

TOKEN = "hf_secretsecretsecret"


class Hub(ThreadingHTTPServer):
    """Takes new repositories and commits from whoever bears the token, and remembers them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Desk)
        self.repositories: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Desk(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": f"Invalid: {self.headers.get('Authorization')}"})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            self.server.repositories.append(json.loads(content))
            return self._answer(200, {"url": f"{self.server.address}/anna/symbols"})
        if self.path.endswith("/preupload/main"):
            asked = json.loads(content)["files"]
            kept = [{"path": one["path"], "uploadMode": "regular"} for one in asked]
            return self._answer(200, {"files": [{**one, "shouldIgnore": False} for one in kept]})
        if self.path.endswith("/commit/main"):
            for line in content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.address}/anna/symbols/commit/abc"
            return self._answer(200, {"commitUrl": url, "commitOid": "abc", "success": True})
        return self._answer(404, {"error": self.path})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    run = TrainingRun(folder, RECIPES["quick"], generate_alphabets(4, 2, 2))
    run.iteration = 50
    run.last_evaluation = EvaluationResult(
        "5-way 1-shot", 0.9123, 0.0114, 100, 0.3, (0.2, 0.9123), 0.01
    )
    run.save_weights()
    return run.folder.weights


def test_weights_provenance_and_card_arrive(hub: Hub, weights: Path, tmp_path: Path) -> None:
    url = push_to_hub(weights, " anna/symbols ", TOKEN, private=True)
    assert url == f"{hub.address}/anna/symbols/commit/abc"
    assert hub.repositories[0]["name"] == "symbols"
    assert hub.repositories[0]["visibility"] == "private"
    assert set(hub.files) == {"model.safetensors", "model.json", "README.md"}
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes(hub.files[name])
    arrived = load_pretrained(tmp_path / "model.safetensors")
    sent = load_pretrained(weights)
    assert all(map(torch.equal, arrived.parameters(), sent.parameters()))
    card = hub.files["README.md"].decode()
    assert "Recipe: `quick`, seed 1227" in card
    assert "91.23 +- 1.14 % (5-way 1-shot, one query at a time, 100 tasks of the test part)" in card
    assert "Steps: 50 of 850" in card and 'maml.load_pretrained("anna/symbols")' in card


def test_the_token_is_in_no_message_and_no_log(
    hub: Hub, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(ValueError, match="the token is not valid") as refusal,
    ):
        push_to_hub(weights, "anna/symbols", "hf_wrongwrongwrong")
    push_to_hub(weights, "anna/symbols", TOKEN)
    assert refusal.value.__cause__ is None and refusal.value.__suppress_context__
    assert "hf_wrong" not in str(refusal.value)
    assert "hf_wrong" not in caplog.text and TOKEN not in caplog.text
    assert TOKEN.encode() not in b"".join(hub.files.values())


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("anna", TOKEN, "must read owner/name; got 'anna'"),
        ("anna/../x", TOKEN, "must read owner/name"),
        ("anna/symbols", "  ", "access token .* is needed"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(
    weights: Path, name: str, token: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        push_to_hub(weights, name, token)


def test_a_hub_out_of_reach_is_an_error_of_the_system(
    hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="could not be reached"):
        push_to_hub(weights, "anna/symbols", TOKEN)


def test_a_record_that_says_too_little_is_refused_here(hub: Hub, weights: Path) -> None:
    copy = weights.parent / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    for text in ("{}", '{"data": 3}', "[]", "{"):
        copy.with_suffix(".json").write_text(text)
        with pytest.raises(ValueError, match="copy.json does not say how these weights were made"):
            push_to_hub(copy, "anna/symbols", TOKEN)
    assert hub.repositories == []


def test_a_card_without_a_measurement_says_so(weights: Path) -> None:
    record = {**load_pretrained(weights).provenance, "last_evaluation_in_training": None}
    assert "Measured accuracy: not measured" in model_card("anna/symbols", record)
