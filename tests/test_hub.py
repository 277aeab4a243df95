"""Weights pushed to a Hub: a server on this machine that speaks the part of its protocol we use."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from maml.checkpoint import BUNDLED, CheckpointError, load_pretrained, save_model
from maml.data.synthetic import generate_alphabets
from maml.evaluate import EvaluationResult
from maml.recipes import RECIPES
from maml.runs import TrainingRun
from maml.sessions.hub import config_of, model_card, push_to_hub

TOKEN = "hf_secretsecretsecret"


class Hub(ThreadingHTTPServer):
    """Takes new repositories and commits from whoever bears the token, and remembers them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Desk)
        self.repositories: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.odd: Any = None
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Desk(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.odd is not None:
            return self._answer(200, self.server.odd)
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
            number = f"{len(self.server.commits):040x}"
            self.server.commits[number] = self.server.commits["main"] = dict(self.server.files)
            url = f"{self.server.address}/anna/symbols/commit/{number}"
            return self._answer(200, {"commitUrl": url, "commitOid": number, "success": True})
        return self._answer(404, {"error": self.path})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].split("/")
        if len(parts) != 6 or parts[1:4] != ["anna", "symbols", "resolve"]:
            return self._answer(404, {"error": "no such repository"}, "RepoNotFound")
        revision, name = parts[4:]
        self.server.asked.append(f"{name}@{revision}")
        if revision not in self.server.commits:
            return self._answer(404, {"error": "no such revision"}, "RevisionNotFound")
        number = next(
            key
            for key, files in self.server.commits.items()
            if key != "main" and files == self.server.commits[revision]
        )
        self.commit = number
        content = self.server.commits[revision].get(name)
        if content is None:
            return self._answer(404, {"error": "no such file"}, "EntryNotFound")
        return self._send(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"')

    commit = ""

    def _answer(self, status: int, content: Any, code: str = "") -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self._send(status, text.encode(), **({"X-Error-Code": code} if code else {}))

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.commit:
            self.send_header("X-Repo-Commit", self.commit)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
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
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    run = TrainingRun(folder, RECIPES["live"], generate_alphabets(4, 2, 2))
    run.iteration = 50
    run.last_evaluation = EvaluationResult(
        "5-way 1-shot", 0.9123, 0.0114, 100, 0.3, (0.2, 0.9123), 0.01
    )
    run.save_weights()
    return run.folder.weights


def test_weights_provenance_and_card_arrive(hub: Hub, weights: Path, tmp_path: Path) -> None:
    url = push_to_hub(weights, " anna/symbols ", TOKEN, private=True)
    assert url == f"{hub.address}/anna/symbols/commit/{0:040x}"
    assert hub.repositories[0]["name"] == "symbols"
    assert hub.repositories[0]["visibility"] == "private"
    assert set(hub.files) == {"config.json", "model.safetensors", "model.json", "README.md"}
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes(hub.files[name])
    arrived = load_pretrained(tmp_path / "model.safetensors")
    sent = load_pretrained(weights)
    assert all(map(torch.equal, arrived.parameters(), sent.parameters()))
    card = hub.files["README.md"].decode()
    assert "Recipe: `live`, seed 0" in card
    assert "91.23 +- 1.14 % (5-way 1-shot, one query at a time, 100 tasks of the test part)" in card
    assert "Steps: 50 of 4,200" in card and 'maml.load_pretrained("anna/symbols")' in card


def test_what_was_pushed_is_loaded_by_its_name_and_revision(hub: Hub, weights: Path) -> None:
    push_to_hub(weights, "anna/symbols", TOKEN)
    first = load_pretrained("anna/symbols")
    assert hub.asked[:2] == ["config.json@main", "config.json@main"], "HEAD, then GET"
    assert first.provenance["seed"] == 0 and not first.training
    assert all(map(torch.equal, first.parameters(), load_pretrained(weights).parameters()))
    other = weights.parent / "other.safetensors"
    model = load_pretrained(weights)
    next(model.parameters()).data.add_(1)
    save_model(other, model, {**model.provenance, "seed": 7})
    push_to_hub(other, "anna/symbols", TOKEN)
    assert load_pretrained("anna/symbols").provenance["seed"] == 7
    again = load_pretrained(f"anna/symbols@{0:040x}")
    assert again.provenance["seed"] == 0
    assert all(map(torch.equal, again.parameters(), first.parameters()))
    with pytest.raises(CheckpointError, match="Cannot get 'anna/symbols' .*: .*404"):
        load_pretrained("anna/symbols@never")


def test_a_repository_without_a_configuration_still_loads(hub: Hub, weights: Path) -> None:
    push_to_hub(weights, "anna/symbols", TOKEN)
    for files in hub.commits.values():
        files.pop("config.json", None)
        files.pop("model.json", None)
    assert load_pretrained("anna/symbols").provenance == {}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "bert"}', "must be 'maml-sketchpad'; got 'bert'"),
        ('["maml-sketchpad"]', "must be 'maml-sketchpad'; got"),
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON: it is nested too deeply"),
        ('{"model_type": "' + "x" * 5000 + '"}', "got 'x{40}'"),
    ],
)
def test_weights_of_another_kind_are_not_fetched(
    hub: Hub, weights: Path, config: str, message: str
) -> None:
    push_to_hub(weights, "anna/symbols", TOKEN)
    hub.commits["main"]["config.json"] = hub.commits[f"{0:040x}"]["config.json"] = config.encode()
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_pretrained("anna/symbols")
    assert "\n" not in str(refusal.value)
    assert not any(one.startswith("model.safetensors") for one in hub.asked)


@pytest.mark.parametrize("odd", [{}, [], 5, "{", None, {"url": 3}, {"url": {"a": 1}}, [[[]]]])
def test_what_makes_no_sense_from_the_hub_is_refused_in_one_line(
    hub: Hub, weights: Path, odd: Any
) -> None:
    hub.odd = "null" if odd is None else odd
    with pytest.raises((ValueError, OSError), match="The Hub") as refusal:
        push_to_hub(weights, "anna/symbols", TOKEN)
    assert "\n" not in str(refusal.value) and TOKEN not in str(refusal.value)


@pytest.mark.parametrize(
    "token",
    [
        "hf_first\nsecond",
        "hf_first\r\nsecond",
        "hf_first second",
        "hf_first\tsecond",
        "hf_first\x00second",
        "hf_firsté",
    ],
)
def test_a_token_with_a_line_break_is_never_echoed(
    hub: Hub, weights: Path, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(ValueError, match="letters, digits") as refusal,
    ):
        push_to_hub(weights, "anna/symbols", token)
    for part in ("first", "second"):
        assert part not in str(refusal.value) and part not in caplog.text
    assert refusal.value.__cause__ is None and hub.repositories == []


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
        ("anna/symbols", None, "access token .* is needed"),
        (None, TOKEN, "must read owner/name; got ''"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(
    weights: Path, name: Any, token: Any, message: str
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


def test_a_card_shows_what_was_measured() -> None:
    record = load_pretrained(BUNDLED).provenance
    card = model_card("anna/symbols", record)
    for row in record["suite"]:
        assert f"| {row['measure']} | {row['value']:.2f}" in card
    assert record["suite_measured_with"]["commit"] in card
    # Nothing is told that was measured of an ancestor; the settings are those of the file.
    assert "Measured accuracy" not in card
    settings = json.loads(card.split("```json\n")[1].split("```")[0])
    assert settings == {key: config_of(load_pretrained())[key] for key in ("network", "inner")}
    for part in record["trained"]:
        assert f"`{part.get('command', 'recipe flagship')}`, {part['made_with']['hours']} h" in card
    assert "## Measured" not in model_card("anna/symbols", {**record, "suite": []})
