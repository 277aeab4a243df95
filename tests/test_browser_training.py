"""The Train tab in a real Chromium, against the real app with a scripted trainer.

What a real training has to bring is in test_browser_real_training.py.
"""

from __future__ import annotations

import csv
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import SCRIPTED_APP, App, records_of, running
from page import CUP_AGAIN, Profiles, Visitor, new_profile, teach_cross_and_cup
from trainers import GROWN, ROOM, Trainer
from trainings import gone, wait_until

from benchmarks.browser import free_port, start_app

MakeTrainer = Callable[..., Trainer]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app in a place without Omniglot and without a network: nothing listens at the way out."""
    folder = tmp_path_factory.mktemp("app")
    way_out = f"http://127.0.0.1:{free_port()}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY")
    variables = dict.fromkeys(names, way_out)
    variables |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("OMNIGLOT_DIR", raising=False)
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with running(folder, SCRIPTED_APP, **variables) as app:
            yield app


@pytest.fixture(scope="module")
def app_profiles(browser: Any, app: App) -> Iterator[Profiles]:
    profiles = Profiles(browser, app.url)
    yield profiles
    profiles.close()


@pytest.fixture
def trainers(app_profiles: Profiles, app: App) -> Iterator[MakeTrainer]:
    made: list[Trainer] = []

    def make(room: dict[str, Any] = ROOM) -> Trainer:
        made.append(Trainer(app_profiles.page(**room), app.url))
        return made[-1]

    yield make
    errors = [error for trainer in made for error in trainer.errors]
    for trainer in made:
        app_profiles.take_back(trainer.context)
    app.lose_the_silent()
    app.check_log()
    assert not errors


def test_curves_travel_while_they_are_seen_and_runs_stay_until_they_are_removed(
    trainers: MakeTrainer, app: App
) -> None:
    person = trainers()
    person.choose_small_training()
    person.start()
    person.page.wait_for_selector(".maml-training .task .cell.good")
    assert len(app.trainings()) == 1
    facts = person.page.inner_text(".maml-training .facts")
    assert facts.startswith("Step") and "so far" in facts
    person.press("Pause")
    person.wait_for_state("paused")
    rested = person.step
    person.press("Go on")
    person.wait_for_step(rested + 5)
    # Curves that nobody sees do not travel; back at the tab they are whole.
    person.tab("Draw")

    def rests() -> bool:
        before = person.curve("train")
        person.wait_for_step(person.step + 200)  # several points, if they came
        return person.curve("train") == before

    assert any(rests() for _ in range(5))
    unseen = person.curve("train")
    person.tab("Train")
    person.page.wait_for_function(GROWN, arg=unseen + 3)
    assert person.curve("test") >= 1
    tested = """() => /\\[Epoch [1-9]\\d*\\.00\\] Test Loss:/.test(
        document.querySelector('.maml-training .log').innerText)"""
    person.page.wait_for_function(tested)  # the log keeps a dozen lines
    person.press("Stop training")
    person.wait_for_state("stopped")
    app.wait_until_nothing_trains()

    # The next run: the first stays as a thin line and can be removed.
    person.start()
    person.legend("Run 2", "width 8").wait_for()
    person.legend("Run 1", "width 8").wait_for()
    assert person.page.locator(".maml-training svg .old").count() >= 2
    person.press("Remove run 1")
    person.page.wait_for_function("!document.querySelector('.maml-training svg .old')")
    person.wait_for_step(person.step + 200)  # nor do later updates bring it back
    assert person.page.locator(".maml-training svg .old").count() == 0
    person.press("Stop training")
    person.wait_for_state("stopped")


def test_updates_that_reach_the_page_together_are_all_shown(trainers: MakeTrainer) -> None:
    """As on a slow connection: what a button started tells of itself before the button hears."""
    person = trainers()
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
    buttons.locator("button:disabled", has_text="Start training").wait_for()
    buttons.locator("button:enabled", has_text="Stop training").wait_for()
    person.legend("Run 1", "width 8").wait_for()
    person.press("Stop training")
    person.wait_for_state("stopped")
    buttons.locator("button:enabled", has_text="Start training").wait_for()


def test_a_reload_finds_the_run_again(trainers: MakeTrainer, app: App) -> None:
    person = trainers()
    person.choose_small_training()
    person.start(150)
    before, points = person.step, person.curve("train")
    (process,) = app.trainings()
    person.page.reload()
    # It opens at the tab where it stood; at the other one it says as well that it is there.
    person.page.wait_for_selector(".maml-training[data-ready=yes]")
    person.tab("Draw")
    person.page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
    for _ in range(3):
        app.wait_until_heard()
        app.leap()
    app.wait_until_heard()
    assert app.trainings() == [process]
    person.tab("Train")
    person.wait_for_step(before + 5)
    person.page.locator(".maml-training .task").first.wait_for()
    person.page.wait_for_function(GROWN, arg=points + 4)
    first = person.page.locator(".maml-training svg .train polyline").first
    begins = float(first.get_attribute("points").split(",")[0])
    assert begins < 45, "the curve begins at its beginning"
    person.legend("Run 1", "width 8").wait_for()
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
    # The answer to the new page's arrival has come when a start is seen: it brings nothing else.
    person.choose_small_training()
    person.start()
    person.legend("Run 2").wait_for()
    assert person.page.locator(".maml-training .runs li").count() == 1
    person.press("Stop training")
    person.wait_for_state("stopped")


def test_a_closed_page_has_its_training_saved_and_stopped(trainers: MakeTrainer, app: App) -> None:
    person, other = trainers(), trainers()
    person.choose_small_training()
    person.start()
    (process,) = app.trainings()
    url = person.page.url
    person.page.close()
    app.leap()
    assert app.trainings() == [process], "within the grace time it goes on"
    app.lose_the_silent()
    other.page.reload()
    # On a slow machine the answer to the page's arrival comes while Gradio still makes the tab.
    person.page = person.context.new_page()
    slowness = person.context.new_cdp_session(person.page)
    slowness.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    try:
        person.open(url)
        person.wait_for_state("lost")
    finally:
        slowness.detach()
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
    other.page.wait_for_selector(".maml-training[data-ready=yes]")
    assert other.step == 0
    assert other.page.locator(".maml-training .runs li").count() == 0


def test_a_training_outlives_a_short_silence_a_kill_and_a_long_silence(
    trainers: MakeTrainer, app: App
) -> None:
    person = trainers()
    person.choose_small_training()
    person.start()
    (process,) = app.trainings()
    # A connection that comes back in time loses nothing.
    person.context.set_offline(True)
    app.leap()
    unseen = person.step
    person.context.set_offline(False)
    person.wait_for_step(unseen + 200)
    app.wait_until_heard()
    app.leap()
    person.wait_for_step(person.step + 5)
    assert app.trainings() == [process]
    # A killed training says so and goes on from its checkpoint.
    person.page.wait_for_function(GROWN, arg=2)
    os.kill(process, signal.SIGKILL)
    person.wait_for_state("died")
    reached = person.step
    assert "ended on its own" in person.status
    assert person.curve("train") >= 2
    person.press("Go on from the last checkpoint")
    person.wait_for_step(reached + 5)
    # A connection that stays away has the training saved and stopped.
    person.context.set_offline(True)
    app.lose_the_silent()
    person.context.set_offline(False)
    person.wait_for_state("lost")
    saved = person.step
    person.open_again()  # Gradio may load a page anew whose connection came back
    person.wait_for_state("lost")
    person.press("Go on from the last checkpoint")
    person.wait_for_step(saved + 3)
    person.press("Stop training")
    person.wait_for_state("stopped")


def test_a_page_that_was_left_open_for_hours_trains_again(trainers: MakeTrainer, app: App) -> None:
    person, other = trainers(), trainers()
    person.choose_small_training()
    person.start()
    person.press("Stop training")
    person.wait_for_state("stopped")
    app.close_idle_sessions()
    person.press("Go on from the last checkpoint")
    person.page.get_by_text("the earlier trainings have been deleted").first.wait_for()
    person.press("Start training")
    person.wait_for_state("training")
    person.press("Stop training")
    person.wait_for_state("stopped")
    # A place in the queue that nobody gives up would keep everybody from training.
    other.choose_small_training()
    other.start()
    other.press("Stop training")
    other.wait_for_state("stopped")


def test_without_a_network_generated_alphabets_are_offered(trainers: MakeTrainer) -> None:
    person = trainers()
    omniglot = person.page.get_by_role("radio", name="Omniglot")
    generated = person.page.get_by_role("radio", name="Generated alphabets")
    person.page.get_by_text("will be downloaded (15 MB)").wait_for()
    assert generated.is_checked() and not omniglot.is_checked()
    person.choose_small_training()
    omniglot.check()
    person.press("Start training")
    person.wait_for_state("failed")
    assert "Omniglot could not be downloaded" in person.status
    person.press("Use generated alphabets")
    person.wait_for_step(3)
    assert generated.is_checked()
    assert not person.button("Use generated alphabets").is_visible()
    person.press("Stop training")
    person.wait_for_state("stopped")


def test_two_people_wait_for_each_other_and_see_nothing_of_each_other(
    trainers: MakeTrainer, app: App
) -> None:
    first = trainers()
    second = trainers()
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


def test_settings_that_cannot_work_say_so_before_the_start(trainers: MakeTrainer, app: App) -> None:
    person = trainers()
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


@pytest.mark.slow
def test_a_killed_app_leaves_no_process_and_drawings_survive(browser: Any, tmp_path: Path) -> None:
    """It starts again at the same address."""
    port, log = free_port(), tmp_path / "log"
    own = App(start_app(log, port, SCRIPTED_APP), port, log)
    try:
        person = Trainer(new_profile(browser, **ROOM).new_page(), own.url)
        visitor = Visitor(person.page)
        person.tab("Draw")
        teach_cross_and_cup(visitor)
        visitor.draw("the new drawing", CUP_AGAIN)
        visitor.wait_for_answer("Symbol B")
        visitor.kept()
        person.tab("Train")
        person.choose_small_training()
        person.start()
        (process,) = own.trainings()
        own.process.kill()
        own.process.wait()
        wait_until(lambda: gone(process))
        own = App(start_app(log, port, SCRIPTED_APP), port, log)
        person.page.close()
        visitor = Visitor(person.context.new_page()).open(own.url)
        visitor.wait_for_answer("Symbol B")
        person.context.close()
    finally:
        own.process.kill()
        own.process.wait()


SMALL_TEXTS = """() => {
    const found = [];
    const texts = document.createTreeWalker(document.querySelector(".maml-training"),
        NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode.parentElement;
        if (!texts.currentNode.textContent.trim() || !node.checkVisibility()) continue;
        const scale = node.ownerSVGElement ? node.getScreenCTM().a : 1;
        const size = scale * parseFloat(getComputedStyle(node).fontSize);
        if (size < 18) found.push([texts.currentNode.textContent, size]);
    }
    return found;
}"""


def points(page: Any, line: str) -> list[tuple[float, float]]:
    """The points of a line in the chart of accuracies."""
    text = page.locator(f".accuracy-area .{line} polyline").first.get_attribute("points")
    pairs = (place.split(",") for place in (text or "").split())
    return [(float(x), float(y)) for x, y in pairs]


def test_a_lecture_hall_compares_two_algorithms_and_sees_every_curve(
    trainers: MakeTrainer, app: App
) -> None:
    person = trainers({"viewport": {"width": 1920, "height": 1080}})
    page = person.page
    page.get_by_role("radio", name="Generated alphabets").check()
    page.get_by_label("Prototypes", exact=True).check()
    length = {"Iterations": "300", "Iterations of an epoch": "100"}
    person.set("Length, network, seed", {"Width": "8", **length})
    person.press("Start training")
    wait_until(app.trainings)
    (process,) = app.trainings()
    wait_until(lambda: records_of(process) > 5)
    os.kill(process, signal.SIGSTOP)  # to look at leisure
    page.get_by_text("then 1 more").wait_for()
    caption = page.locator("#train-caption")
    caption.filter(has_text="one step is enough").wait_for()
    os.kill(process, signal.SIGCONT)
    person.legend("Run 2: See it learn, Prototypes").wait_for()
    person.legend("Run 1: See it learn, ANIL").wait_for()
    person.wait_for_state("finished")
    caption.filter(has_text="starting point it learns").wait_for()

    # Both test curves begin at the untrained network; the 20-way one lies below.
    five, twenty = points(page, "test"), points(page, "other")
    assert len(five) == len(twenty) == 4 and five[0][0] == twenty[0][0] == 40
    assert all(below[1] > above[1] for above, below in zip(five, twenty, strict=True))
    assert page.get_by_text("test tasks, 20-way 1-shot").is_visible()

    assert points(page, "old.strong")[0] == five[0]
    person.press("Show run 1")
    assert page.locator(".accuracy-area svg .run-0").count() == 0
    assert page.locator(".accuracy-area svg .run-1.test").count() == 1
    figure = person.download("Download figure as SVG").decode()
    assert "Run 2: live (prototypes)" in figure and "Run 1:" not in figure
    person.press("Show run 1")
    assert page.locator(".accuracy-area svg .run-0").count() == 3
    person.press("By seconds")
    assert "Seconds at work" in page.locator(".accuracy-area svg").text_content()
    assert points(page, "test")[-1][0] < five[-1][0]

    # "Easier to adapt": untrained, moments, now; prototypes beside each.
    steps = page.locator(".steps-area svg")
    assert steps.locator(".untrained").count() == steps.locator(".now").count() == 2
    assert steps.locator(".moment").count() >= 6
    assert "prototypes" in steps.text_content()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.press("Copy command")
    page.locator(".maml-command").filter(has_text="--algorithm prototypes").wait_for()
    person.press("Copy link")
    page.locator(".maml-command").filter(has_text="#train=recipe=live").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")

    # "Present": a long run, steered by keys.
    person.fill({"Iterations": "20000", "Pre-training episodes": "20"})
    person.press("Start training")
    person.wait_for_state("training")
    person.press("Present")
    page.locator(".accuracy-area svg .stage").wait_for(state="attached")
    # On which side of the line the name stands depends on how long the stage took.
    page.locator(".accuracy-area svg text").filter(has_text="pre-training").wait_for()
    page.locator(".maml-training .task .cell.good").first.wait_for()
    page.keyboard.press("Space")
    person.wait_for_state("paused")
    assert page.evaluate(SMALL_TEXTS) == []
    assert not page.locator(".maml-training .log").is_visible()
    page.keyboard.press("ArrowRight")
    person.wait_for_state("training")
    page.keyboard.press("Escape")
    page.wait_for_selector(".maml-training:not(.presenting)")
    person.press("Stop training")
    person.wait_for_state("stopped")

    # The link fills in the settings elsewhere, and leaves the address.
    page.goto(link)
    page.reload()
    page.get_by_label("Prototypes", exact=True).and_(page.locator(":checked")).wait_for()
    assert page.get_by_label("ANIL", exact=True).is_checked()
    assert page.get_by_role("radio", name="Generated alphabets").is_checked()
    page.get_by_role("button", name="Length, network, seed").click()
    assert page.get_by_label("Iterations", exact=True).input_value() == "300"
    assert "#" not in page.url
