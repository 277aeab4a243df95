"""A real training from the page to the Hub, in a real Chromium: nothing is scripted here."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import App, running
from page import Profiles
from test_hub import TOKEN, Hub, running_hub
from trainers import ROOM, Trainer

from maml.checkpoint import load_pretrained


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def app(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("app"), HF_ENDPOINT=hub.address) as app:
        yield app


@pytest.fixture
def person(browser: Any, app: App) -> Iterator[Trainer]:
    profiles = Profiles(browser, app.url)
    person = Trainer(profiles.page(**ROOM), app.url)
    yield person
    profiles.close()
    app.check_log()
    assert not person.errors


def test_a_training_pauses_goes_on_stops_and_is_taken_away(
    person: Trainer, app: App, tmp_path: Path
) -> None:
    person.choose_small_training()
    person.start()
    person.page.wait_for_selector(".maml-training .task .cell.good")
    person.press("Pause")
    person.wait_for_state("paused")
    rested = person.step
    person.press("Go on")
    person.wait_for_step(rested + 5)
    tested = """() => /\\[Epoch [1-9]\\d*\\.00\\] Test Loss:/.test(
        document.querySelector('.maml-training .log').innerText)"""
    person.page.wait_for_function(tested)
    assert person.curve("test") >= 1
    person.press("Stop training")
    person.wait_for_state("stopped")
    app.wait_until_nothing_trains()
    stopped = person.step

    rows = list(csv.DictReader(io.StringIO(person.download("Download all runs as CSV").decode())))
    steps = [int(one["iteration"]) for one in rows if one["mode"] == "train"]
    assert steps == list(range(1, stopped + 1))
    assert json.loads(rows[0]["settings"])["channels"] == 8
    assert rows[0]["time"].startswith("20") and rows[0]["time"].endswith("+00:00")
    assert person.download("Download figure").startswith(b"\x89PNG")
    vector = person.download("Download figure as SVG").decode()
    assert "<svg" in vector and "Run 1: live on generated alphabets" in vector
    person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.press("Copy command")
    person.page.locator(".maml-command").filter(has_text="channels=8").wait_for()
    person.page.wait_for_function("""async () => {
        const text = await navigator.clipboard.readText();
        return text.startsWith('python -m maml train --recipe live') && text.includes('--threads');
    }""")
    package = zipfile.ZipFile(io.BytesIO(person.download("Download checkpoint")))
    assert "python -m maml evaluate" in package.read("README.md").decode()
    record = json.loads(package.read("model.json"))
    assert record["recipe"] == "live" and record["data"]["name"] == "generated alphabets"
    assert record["iteration"] == stopped
    package.extractall(tmp_path)
    assert load_pretrained(tmp_path / "model.safetensors").settings.channels == 8


def test_the_checkpoint_is_a_whole_learner_goes_to_the_hub_and_draws(
    person: Trainer, app: App, hub: Hub, tmp_path: Path
) -> None:
    person.tab("Draw")
    person.press("Load example set")
    person.page.wait_for_function("/%/.test(document.querySelector('#answer').textContent)")
    shipped = person.page.inner_text("#answer")
    person.tab("Train")
    person.choose_small_training()
    person.fill({"Iterations": "6", "Iterations of an epoch": "3"})
    person.press("Start training")
    person.wait_for_state("finished")
    package = zipfile.ZipFile(io.BytesIO(person.download("Download checkpoint")))
    package.extractall(tmp_path)
    learner = load_pretrained(tmp_path / "model.safetensors")
    assert learner.provenance["last_evaluation_in_training"]["tasks"] == 10
    assert learner.settings.channels == 8

    person.open_group("Push to the Hugging Face Hub")
    name, token = (person.page.get_by_label(one) for one in ("Repository", "Access token"))
    name.fill("anna/symbols")
    token.fill("hf_wrongwrongwrong")
    person.press("Push to Hub")
    person.page.get_by_text("the token is not valid").first.wait_for()
    assert token.input_value() == "" and hub.files == {}
    token.fill(TOKEN)
    person.press("Push to Hub")
    person.page.get_by_text("Pushed:").wait_for()
    assert token.input_value() == ""
    assert hub.files["model.safetensors"] == package.read("model.safetensors")
    assert "generated alphabets" in hub.files["README.md"].decode()
    spoken = app.log.read_text()
    assert TOKEN not in spoken and "hf_wrong" not in spoken
    assert TOKEN not in person.page.content()

    # Draw with these weights, and back.
    person.press("Draw with these weights")
    person.page.get_by_text("uses the weights of run 1").wait_for()
    differs = "text => document.querySelector('#answer').innerText !== text"
    person.page.wait_for_function(differs, arg=shipped)
    person.press("Back to the shipped weights")
    person.page.wait_for_function(f"text => !({differs})(text)", arg=shipped)
