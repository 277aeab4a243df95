"""The Train tab in a real Chromium, against the real app and real training processes."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from page import CUP_AGAIN, Profiles, Visitor, new_profile, note_errors, teach_cross_and_cup
from playwright.sync_api import Error
from playwright.sync_api import TimeoutError as PageTimeout
from test_hub import TOKEN, Hub, running_hub

from benchmarks.browser import free_port, start_app, stop_app
from maml.checkpoint import load_pretrained
from maml.sessions.worker import PROCESS_NAME

GRACE = 15
"""Seconds that the app under test lets a training go on without its visitor."""


class App:
    """A running app, the processes that it started, and the Hub that it knows."""

    def __init__(
        self, process: subprocess.Popen[bytes], url: str, log: Path, hub: Hub | None = None
    ) -> None:
        self.process, self.url, self.log, self.hub = process, url, log, hub

    def trainings(self) -> list[int]:
        """Its training processes that have not ended."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                state = (folder / "stat").read_text().rpartition(")")[2].split()
                name = (folder / "comm").read_text().strip()
            except (OSError, NotADirectoryError):
                continue
            if name == PROCESS_NAME and state[0] != "Z" and int(state[1]) == self.process.pid:
                found.append(int(folder.name))
        return found

    def wait_until_nothing_trains(self, seconds: float = GRACE + 5) -> None:
        deadline = time.monotonic() + seconds
        while self.trainings():
            assert time.monotonic() < deadline, "a training process is left"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    log = tmp_path_factory.mktemp("app") / "app.log"
    port = free_port()
    with running_hub() as hub:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("HF_ENDPOINT", hub.address)
            environment.setenv("MAML_GRACE_SECONDS", str(GRACE))
            process = start_app(log, port)
        yield App(process, f"http://127.0.0.1:{port}", log, hub)
        stop_app(process)
    assert "Traceback" not in log.read_text(), log.read_text()


class Trainer:
    """A person at the Train tab.

    Args:
        page: theirs, still empty.
        url: of the app.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.context = page.context
        self.errors: list[str] = []
        note_errors(self.page, self.errors)
        self.open(url)

    def open(self, url: str) -> None:
        """Open the app at its Train tab."""
        self.page.goto(url)
        self.page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        self.tab("Train")
        self.page.wait_for_selector(".maml-training[data-ready=yes]")

    def open_again(self) -> None:
        """Close the page and open a new one in the same browser."""
        url = self.page.url
        self.page.close()
        self.page = self.context.new_page()
        note_errors(self.page, self.errors)
        self.open(url)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def set(self, group: str, values: dict[str, str]) -> None:
        """Open a group of settings and fill some in."""
        self.page.get_by_role("button", name=group).click()
        for label, value in values.items():
            field = self.page.get_by_label(label, exact=True)
            field.fill(value)
            field.press("Tab")

    def choose_small_training(self, iterations: int = 20_000) -> None:
        """Small steps; by default so many that none of the tests sees the end of them.

        The curves have at most about 300 points: with fewer steps, one every few steps.
        """
        self.page.get_by_role("radio", name="Generated alphabets").check()
        small = {"Width": "8", "Test tasks": "10", "Pre-training episodes": "0"}
        length = {"Iterations": str(iterations), "Iterations of an epoch": "50"}
        self.set("Length, network, seed", {**small, **length})

    def start(self, step: int = 5) -> None:
        self.press("Start training")
        self.wait_for_step(step)

    def wait_for_step(self, step: int) -> None:
        self.page.wait_for_function(
            "step => document.querySelector('.maml-training')?.dataset.iteration >= step",
            arg=step,
            timeout=240_000,
        )

    def go_on_through_a_reload(self) -> None:
        """Press until it goes on.

        Gradio may load a page anew whose connection came back, and drop what was just pressed.
        """
        for _ in range(2):
            self.press("Go on from the last checkpoint")
            with suppress(PageTimeout):
                self.wait_for_state("training", 20)
                return
        raise AssertionError(f"pressed in vain: {self.status}")

    def wait_for_state(self, state: str, seconds: float = 120) -> None:
        self.page.wait_for_selector(
            f".maml-training[data-state={state}]", timeout=1000 * seconds, state="attached"
        )

    @property
    def step(self) -> int:
        return int(self.page.locator(".maml-training").get_attribute("data-iteration"))

    @property
    def status(self) -> str:
        return str(self.page.inner_text("#train-status"))

    def curve(self, which: str) -> int:
        """Points of the latest run's curve in the first chart."""
        line = self.page.locator(f".maml-training svg .{which} polyline").first
        return len((line.get_attribute("points") or "").split())

    def download(self, name: str) -> bytes:
        with self.page.expect_download() as waiting:
            self.press(name)
        return Path(waiting.value.path()).read_bytes()


ROOM = {"viewport": {"width": 1280, "height": 1000}}


@pytest.fixture(scope="module")
def app_profiles(browser: Any, app: App) -> Iterator[Profiles]:
    profiles = Profiles(browser, app.url)
    yield profiles
    profiles.close()


@pytest.fixture
def trainers(app_profiles: Profiles, app: App) -> Iterator[Any]:
    made: list[Trainer] = []

    def make() -> Trainer:
        made.append(Trainer(app_profiles.page(**ROOM), app.url))
        return made[-1]

    yield make
    errors = [error for trainer in made for error in trainer.errors]
    for trainer in made:
        app_profiles.take_back(trainer.context)
    assert not errors
    app.wait_until_nothing_trains()


@pytest.fixture
def own_trainer(browser: Any) -> Iterator[Any]:
    """Makes a person at an app that the test starts itself."""
    made: list[Trainer] = []

    def make(url: str) -> Trainer:
        made.append(Trainer(new_profile(browser, **ROOM).new_page(), url))
        return made[-1]

    yield make
    for trainer in made:
        trainer.context.close()


GROWN = """least => document.querySelector('.maml-training svg .train polyline')
    .getAttribute('points').split(' ').length >= least"""
"""Whether the first chart's curve has so many points."""


def test_start_pause_go_on_stop_downloads_and_the_next_run(trainers: Any, app: App) -> None:
    """One story, since every training takes a while to start."""
    person: Trainer = trainers()
    person.choose_small_training(3000)
    person.start()
    person.page.wait_for_selector(".maml-training .task .cell.good")
    assert len(app.trainings()) == 1
    facts = person.page.inner_text(".maml-training .facts")
    assert facts.startswith("Step") and "so far" in facts
    person.press("Pause")
    person.wait_for_state("paused")
    rested = person.step
    person.page.wait_for_timeout(600)
    assert person.step == rested
    person.press("Go on")
    person.wait_for_step(rested + 5)
    # Curves that nobody sees do not travel; back at the tab they are whole.
    person.tab("Draw")
    person.page.wait_for_timeout(1500)
    unseen, left = person.curve("train"), person.step
    person.wait_for_step(left + 8)
    assert person.curve("train") == unseen
    person.tab("Train")
    person.page.wait_for_function(GROWN, arg=unseen + 4)
    person.wait_for_step(51)
    person.page.wait_for_function(GROWN, arg=10)  # curves come a little later than steps
    assert person.curve("test") >= 1
    tested = """() => /\\[Epoch [1-9]\\d*\\.00\\] Test Loss:/.test(
        document.querySelector('.maml-training .log').innerText)"""
    person.page.wait_for_function(tested)  # the log keeps a dozen lines
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

    # The next run: the first stays as a thin line and can be removed.
    person.start()
    legend = person.page.locator(".maml-training .runs li")
    legend.filter(has_text="Run 2").filter(has_text="width 8").wait_for()
    legend.filter(has_text="Run 1").filter(has_text="width 8").wait_for()
    assert person.page.locator(".maml-training svg .old").count() >= 2
    person.press("Remove run 1")
    person.page.wait_for_function("!document.querySelector('.maml-training svg .old')")
    person.wait_for_step(person.step + 5)  # nor do later updates bring it back
    assert person.page.locator(".maml-training svg .old").count() == 0
    person.press("Stop training")
    person.wait_for_state("stopped")


def test_updates_that_reach_the_page_together_are_all_shown(trainers: Any, app: App) -> None:
    """As on a slow connection: what a button started tells of itself before the button hears."""
    person: Trainer = trainers()
    person.choose_small_training()
    person.start()
    person.press("Stop training")
    person.wait_for_state("stopped")

    def answer_late(route: Any) -> None:
        answer = route.fetch()
        time.sleep(1.2)
        route.fulfill(response=answer)

    joins = "**/gradio_api/queue/join*"
    person.page.route(joins, answer_late)
    person.press("Start training")
    person.wait_for_state("training")
    person.page.unroute_all(behavior="wait")
    buttons = person.page.locator(".maml-buttons")
    buttons.locator("button:disabled", has_text="Start training").wait_for(timeout=20_000)
    buttons.locator("button:enabled", has_text="Stop training").wait_for(timeout=20_000)
    legend = person.page.locator(".maml-training .runs li")
    legend.filter(has_text="Run 1").filter(has_text="width 8").wait_for()
    person.press("Stop training")
    person.wait_for_state("stopped")
    buttons.locator("button:enabled", has_text="Start training").wait_for()


def test_a_reload_finds_the_run_again(trainers: Any, app: App) -> None:
    person: Trainer = trainers()
    person.choose_small_training()
    person.start(12)
    before, points = person.step, person.curve("train")
    (process,) = app.trainings()
    person.page.reload()
    # It opens at the tab where it stood; at the other one it says as well that it is there.
    person.page.wait_for_selector(".maml-training[data-ready=yes]")
    person.tab("Draw")
    person.page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
    person.page.wait_for_timeout(1000 * (GRACE + 3))
    assert app.trainings() == [process]
    person.tab("Train")
    person.wait_for_step(before + 5)
    person.page.locator(".maml-training .task").first.wait_for()
    person.page.wait_for_function(GROWN, arg=points + 4)
    first = person.page.locator(".maml-training svg .train polyline").first
    begins = float(first.get_attribute("points").split(",")[0])
    assert begins < 45, "the curve begins at its beginning"
    legend = person.page.locator(".maml-training .runs li")
    legend.filter(has_text="Run 1").filter(has_text="width 8").wait_for()
    # What ended stays listed, too, and can be removed.
    person.press("Stop training")
    person.wait_for_state("stopped")
    stopped = person.step
    person.open_again()
    person.wait_for_state("stopped")
    assert person.step == stopped and person.curve("train") >= points
    person.press("Go on from the last checkpoint")
    person.wait_for_step(stopped + 3)
    person.press("Stop training")
    person.wait_for_state("stopped")
    person.press("Remove run 1")
    person.wait_for_state("idle")
    person.open_again()
    person.page.wait_for_timeout(600)
    assert person.page.locator(".maml-training .runs li").count() == 0


def test_a_closed_page_has_its_training_saved_and_stopped(trainers: Any, app: App) -> None:
    person: Trainer = trainers()
    stranger: Trainer = trainers()
    person.choose_small_training()
    person.start()
    (process,) = app.trainings()
    url = person.page.url
    person.page.close()
    time.sleep(GRACE / 2)
    assert app.trainings() == [process], "within the grace time it goes on"
    app.wait_until_nothing_trains(GRACE + 5)
    stranger.page.reload()
    # On a slow machine the answer to the page's arrival comes while Gradio still makes the tab.
    person.page = person.context.new_page()
    slowness = person.context.new_cdp_session(person.page)
    slowness.send("Emulation.setCPUThrottlingRate", {"rate": 8})
    person.open(url)
    person.wait_for_state("lost")
    slowness.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    assert "saved and stopped" in person.status
    saved = person.step
    assert saved >= 5
    person.press("Go on from the last checkpoint")
    person.wait_for_step(saved + 3)
    rows = list(csv.DictReader(io.StringIO(person.download("Download all runs as CSV").decode())))
    steps = [int(one["iteration"]) for one in rows if one["mode"] == "train"]
    assert steps == list(range(1, len(steps) + 1)), "no step was lost or taken twice"
    person.press("Stop training")
    person.wait_for_state("stopped")
    # Nobody else finds it.
    stranger.page.wait_for_selector(".maml-training[data-ready=yes]")
    stranger.page.wait_for_timeout(600)
    assert stranger.step == 0
    assert stranger.page.locator(".maml-training .runs li").count() == 0


def test_a_training_outlives_a_short_silence_a_kill_and_a_long_silence(
    trainers: Any, app: App
) -> None:
    person: Trainer = trainers()
    person.choose_small_training()
    person.start()
    (process,) = app.trainings()
    # A connection that comes back in time loses nothing.
    person.context.set_offline(True)
    time.sleep(GRACE / 4)
    person.context.set_offline(False)
    unseen = person.step
    person.wait_for_step(unseen + 10)
    time.sleep(GRACE)
    assert app.trainings() == [process]
    person.wait_for_step(person.step + 5)
    # A killed training says so and goes on from its checkpoint.
    person.page.wait_for_function(GROWN, arg=2)
    os.kill(process, signal.SIGKILL)
    person.wait_for_state("died", 5)
    reached = person.step
    assert "ended on its own" in person.status
    assert person.curve("train") >= 2
    person.press("Go on from the last checkpoint")
    person.wait_for_step(reached + 5)
    # A connection that stays away has the training saved and stopped.
    person.context.set_offline(True)
    app.wait_until_nothing_trains(GRACE + 10)
    person.context.set_offline(False)
    person.wait_for_state("lost", 30)
    saved = person.step
    person.go_on_through_a_reload()
    person.wait_for_step(saved + 3)
    person.press("Stop training")
    person.wait_for_state("stopped")


def test_without_a_network_generated_alphabets_are_offered(
    own_trainer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the only way out."""
    way_out = f"http://127.0.0.1:{free_port()}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, way_out)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OMNIGLOT_DIR", raising=False)
    port = free_port()
    own = App(start_app(tmp_path / "log", port), f"http://127.0.0.1:{port}", tmp_path / "log")
    try:
        person: Trainer = own_trainer(own.url)
        omniglot = person.page.get_by_role("radio", name="Omniglot")
        generated = person.page.get_by_role("radio", name="Generated alphabets")
        person.page.get_by_text("will be downloaded (15 MB)").wait_for()
        assert generated.is_checked() and not omniglot.is_checked()
        person.choose_small_training()
        omniglot.check()
        person.press("Start training")
        person.wait_for_state("failed", 120)
        assert "Omniglot could not be downloaded" in person.status
        for word in ("Error", "http", "Errno", "Connection", "/"):
            assert word not in person.status
        person.press("Use generated alphabets")
        person.wait_for_step(3)
        assert generated.is_checked()
        assert not person.button("Use generated alphabets").is_visible()
        person.press("Stop training")
        person.wait_for_state("stopped")
        assert person.errors == []
    finally:
        stop_app(own.process)


def test_two_people_wait_for_each_other_and_see_nothing_of_each_other(
    trainers: Any, app: App
) -> None:
    first: Trainer = trainers()
    second: Trainer = trainers()
    first.choose_small_training()
    first.start()
    second.choose_small_training()
    second.press("Start training")
    second.wait_for_state("waiting")
    assert "number 1 in the queue" in second.status
    assert second.step == 0 and second.page.locator(".maml-training .task").count() == 0
    before = first.step
    second.press("Stop training")
    second.wait_for_state("stopped")
    first.wait_for_step(before + 3)
    assert len(app.trainings()) == 1
    # In the queue again, it begins as soon as the first one ends.
    second.press("Start training")
    second.wait_for_state("waiting")
    first.press("Stop training")
    first.wait_for_state("stopped")
    second.wait_for_step(3)
    second.press("Stop training")
    second.wait_for_state("stopped")


def test_settings_that_cannot_work_say_so_before_the_start(trainers: Any, app: App) -> None:
    person: Trainer = trainers()
    shots = person.page.get_by_label("Shots", exact=True)
    shots.fill("10")
    queries = person.page.get_by_label("Queries", exact=True)
    queries.fill("15")
    queries.press("Tab")
    person.page.get_by_text("This cannot work: 10 shots and 15 queries need 25").wait_for()
    person.press("Start training")
    person.page.get_by_text("ask for fewer").first.wait_for()
    assert app.trainings() == [] and person.step == 0
    person.page.get_by_role("radio", name="The original notebook").check()
    person.page.get_by_text("This cannot work").wait_for(state="hidden")
    assert shots.input_value() == "3" and queries.input_value() == "6"


def test_when_the_app_ends_no_process_is_left_and_drawings_survive(
    own_trainer: Any, tmp_path: Path
) -> None:
    """However it ends: by Ctrl-C, asked to, or killed; it starts again at the same address."""
    port, log = free_port(), tmp_path / "log"

    def started() -> App:
        return App(start_app(log, port), f"http://127.0.0.1:{port}", log)

    own = started()
    try:
        person: Trainer = own_trainer(own.url)
        visitor = Visitor(person.page)
        person.tab("Draw")
        teach_cross_and_cup(visitor)
        visitor.draw("the new drawing", CUP_AGAIN)
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if own.process.poll() is not None:
                own = started()
                # Gradio reloads a page that finds its app again, which interrupts others.
                with suppress(Error):
                    person.page.goto(own.url)
                visitor.open(own.url)
            visitor.wait_for_answer("Symbol B")
            person.tab("Train")
            person.choose_small_training()
            person.start()
            (process,) = own.trainings()
            command = Path(f"/proc/{process}/cmdline")
            own.process.send_signal(ending)
            deadline = time.monotonic() + 5
            while command.exists() and command.read_bytes():
                assert time.monotonic() < deadline, f"{ending.name} leaves the training process"
                time.sleep(0.1)
            own.process.wait(20)
    finally:
        own.process.kill()


def test_the_checkpoint_is_a_whole_learner_goes_to_the_hub_and_draws(
    trainers: Any, app: App, tmp_path: Path
) -> None:
    person: Trainer = trainers()
    person.tab("Draw")
    person.press("Load example set")
    person.page.wait_for_function("/%/.test(document.querySelector('#answer').textContent)")
    shipped = person.page.inner_text("#answer")
    person.tab("Train")
    person.choose_small_training()
    for label, value in (("Iterations", "6"), ("Iterations of an epoch", "3")):
        field = person.page.get_by_label(label, exact=True)
        field.fill(value)
        field.press("Tab")
    person.press("Start training")
    person.wait_for_state("finished", 240)
    package = zipfile.ZipFile(io.BytesIO(person.download("Download checkpoint")))
    package.extractall(tmp_path)
    learner = load_pretrained(tmp_path / "model.safetensors")
    assert learner.provenance["last_evaluation_in_training"]["tasks"] == 10
    assert learner.settings.channels == 8

    assert app.hub is not None
    person.page.get_by_role("button", name="Push to the Hugging Face Hub").click()
    name, token = (person.page.get_by_label(one) for one in ("Repository", "Access token"))
    name.fill("anna/symbols")
    token.fill("hf_wrongwrongwrong")
    person.press("Push to Hub")
    person.page.get_by_text("the token is not valid").first.wait_for()
    assert token.input_value() == "" and app.hub.files == {}
    token.fill(TOKEN)
    person.press("Push to Hub")
    person.page.get_by_text("Pushed:").wait_for()
    assert token.input_value() == ""
    assert app.hub.files["model.safetensors"] == package.read("model.safetensors")
    assert "generated alphabets" in app.hub.files["README.md"].decode()
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
