"""Settings from a page, curves that stay short, runs, and whose turn it is."""

from __future__ import annotations

import contextlib
import csv
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maml.checkpoint import load_pretrained
from maml.config import EpisodeShape, Recipe
from maml.recipes import RECIPES
from maml.sessions.form import SETTINGS, changes_of, recipe_of, values_of
from maml.sessions.process import Job
from maml.sessions.progress import Run, ThinnedCurve
from maml.sessions.visitors import TrainingSlots, TrainSession, follow, limit_from_environment

# ---- settings


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_left_alone_is_the_recipe_itself(name: str) -> None:
    values = values_of(RECIPES[name])
    assert set(values) == {setting.key for setting in SETTINGS}
    assert recipe_of(name, values) is RECIPES[name]
    assert changes_of(RECIPES[name]) == {}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_lies_within_the_ranges_of_the_page(name: str) -> None:
    values = values_of(RECIPES[name])
    for setting in SETTINGS:
        if not setting.is_switch:
            assert setting.low <= values[setting.key] <= setting.high, setting.key


def test_changed_values_make_a_changed_recipe() -> None:
    values = {**values_of(RECIPES["quick"]), "ways": 7, "shots": 2.0, "inner_rate": 1, "seed": 9}
    recipe = recipe_of("quick", values)
    assert recipe.training.shapes == (EpisodeShape(7, 2, 5),)
    assert recipe.training.evaluation == EpisodeShape(7, 2, 5)
    assert recipe.training.inner.rate == 1.0 and recipe.seed == 9
    assert recipe.training.multi_step_iterations == RECIPES["quick"].training.multi_step_iterations
    assert changes_of(recipe) == {"ways": 7, "shots": 2, "inner_rate": 1.0, "seed": 9}


def test_the_flagship_keeps_its_mix_of_tasks_unless_another_shape_is_asked_for() -> None:
    base = RECIPES["flagship"]
    values = {**values_of(base), "iterations": 10}
    assert recipe_of("flagship", values).training.shapes == base.training.shapes
    asked = recipe_of("flagship", {**values, "ways": 3}).training
    assert [shape.ways for shape in asked.shapes] == [3]
    assert asked.pretraining == base.training.pretraining


def test_the_notebooks_network_has_as_many_ways_as_its_tasks() -> None:
    values = {**values_of(RECIPES["notebook"]), "ways": 8}
    assert recipe_of("notebook", values).network.ways == 8


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("quick", {"ways": 1}, "ways must be a whole number from 2 to 20; 1 came"),
        ("quick", {"ways": 2.5}, "ways must be a whole number from 2 to 20; 2.5 came"),
        ("quick", {"seed": None}, "seed must be a whole number from 0 to .*; None came"),
        ("quick", {"inner_rate": float("nan")}, "inner rate must be a number from .*; nan came"),
        ("quick", {"shots": 10, "queries": 15}, "need 25 drawings of each character, .* are 20"),
        ("quick", {"iterations": 0, "pretraining": 0}, "nothing to train"),
        ("notebook", {"pretraining": 10}, "cannot be pre-trained"),
        ("notebook", {"learned_rates": True}, "no learned inner rates"),
        ("notebook", {"within_alphabet": True}, "fixed number"),
        ("other", {}, "There is no recipe 'other'; there are"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(
    name: str, changes: dict[str, Any], message: str
) -> None:
    values = {**values_of(RECIPES.get(name, RECIPES["quick"])), **changes}
    with pytest.raises(ValueError, match=message):
        recipe_of(name, values)


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAML_TRAINING_MINUTES", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert limit_from_environment() == 0
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert limit_from_environment() == 10
    monkeypatch.setenv("MAML_TRAINING_MINUTES", "2.5")
    assert limit_from_environment() == 2.5
    monkeypatch.setenv("MAML_TRAINING_MINUTES", "soon")
    with pytest.raises(ValueError, match="must be a number of minutes; 'soon' came"):
        limit_from_environment()


# ---- curves


def test_a_curve_stays_short_and_keeps_the_means() -> None:
    curve = ThinnedCurve(total=10_000, points=100)
    for step in range(1, 10_001):
        curve.add(step, step, -step)
    points = curve.points()
    assert len(points) == 100
    assert points[0] == [100, 50.5, -50.5]
    assert points[-1] == [10_000, 9950.5, -9950.5]


def test_a_short_curve_keeps_every_step() -> None:
    curve = ThinnedCurve(total=3)
    for step, value in ((1, 20.0), (2, float("nan")), (3, 40.0)):
        curve.add(step, value)
    assert curve.points() == [[1, 20.0], [2, 1e6], [3, 40.0]]


# ---- whose turn it is


def test_who_comes_first_trains_first() -> None:
    slots = TrainingSlots(at_a_time=2, longest_queue=1)
    first, second, third = slots.join(), slots.join(), slots.join()
    assert [slots.place(one) for one in (first, second, third)] == [0, 0, 1]
    with pytest.raises(ValueError, match="1 people are waiting"):
        slots.join()
    slots.leave(first)
    assert slots.place(third) == 0
    slots.leave(first)  # a second time changes nothing
    assert slots.place(slots.join()) == 1


# ---- the page


def test_a_page_that_falls_silent_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    session = TrainSession(tmp_path)

    def is_there_after(seconds: float, look: float = 0.25) -> bool:
        there = True
        for _ in range(round(seconds / look)):
            now[0] += look
            there = session.look_for_page()
        return there

    session.expect_page()
    assert is_there_after(15)  # it is still loading
    session.hear()
    assert is_there_after(3)
    assert not is_there_after(1)
    session.hear()
    assert is_there_after(0.25)
    # An app that stood still could not have heard it.
    assert is_there_after(60, look=30) and is_there_after(2) and not is_there_after(1)
    session.expect_page()
    assert not is_there_after(25)


# ---- runs


def small(iterations: int) -> Recipe:
    base = RECIPES["notebook"]
    training = replace(base.training, iterations=iterations, epoch=10, evaluation_tasks=4)
    return replace(base, training=training)


def until(updates: Iterator[None], reached: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        next(updates)


def test_a_run_waits_trains_is_stopped_and_leaves_files(tmp_path: Path) -> None:
    """One story, since a process takes a while to start."""
    slots = TrainingSlots()
    mine, theirs = TrainSession(tmp_path / "mine"), TrainSession(tmp_path / "theirs")
    run = mine.add(small(5000), "generated", "cpu", 0)
    other = theirs.add(small(5000), "generated", "cpu", 0)
    updates, waiting = follow(run, slots, every=0.05), follow(other, slots, every=0.05)
    next(updates)
    next(waiting)
    assert other.live()["state"] == "waiting" and other.live()["place"] == 1
    with pytest.raises(ValueError, match="still running"):
        mine.add(small(10), "generated", "cpu", 0)
    with pytest.raises(ValueError, match="is not over"):
        mine.remove(1)
    until(updates, lambda: run.outline()["test"] and run.has_weights)
    other.stop()  # leaves the queue
    assert list(waiting) == [None] and other.state == "stopped" and other.process is None

    live = run.live()
    assert live["iterations"] == 5000 and live["iteration"] >= 10
    assert run.outline()["chance"] == 20 and len(live["steps"]["by_step"]) == 6
    assert any(line.startswith("[Epoch 1.00] Test Loss:") for line in live["lines"])
    run.stop()
    assert list(updates)[-1] is None
    assert run.state == "stopped" and run.can_go_on
    assert run.process is not None and not run.process.running

    with mine.csv().open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(run.folder.records())
    assert {row["run"] for row in rows} == {"1"} and rows[0]["mode"] == "train"
    assert "iterations" in json.loads(rows[0]["settings"])
    assert mine.figure(run).read_bytes().startswith(b"\x89PNG")
    with zipfile.ZipFile(mine.checkpoint(run)) as package:
        assert sorted(package.namelist()) == ["model.json", "model.safetensors"]
    weights = mine.frozen_weights(run)
    assert load_pretrained(weights).provenance["iteration"] == run.saved

    # taken up again it goes on where it was; closing the generator ends it at once
    again = follow(run, slots, resume=True, every=0.05)
    reached = run.saved
    until(again, lambda: run.state == "training" and run.iteration > reached + 3)
    steps = [point[0] for point in run.outline()["train"]]
    assert steps == sorted(set(steps))
    process = run.process
    assert process is not None
    again.close()
    assert process.wait(5) and run.state == "stopped"
    assert slots.place(slots.join()) == 0

    mine.remove(1)
    assert mine.runs == [] and not run.folder.path.exists()
    mine.close()
    assert not mine.folder.exists()


def test_a_run_that_dies_says_so_and_one_past_its_limit_is_stopped(tmp_path: Path) -> None:
    run = Run(1, Job(small(5000), "generated", tmp_path / "run"))
    updates = follow(run, TrainingSlots(), every=0.05)
    until(updates, lambda: run.iteration > 2)
    assert run.process is not None
    run.process.kill()
    list(updates)
    assert run.state == "died" and run.can_go_on and len(run.outline()["train"]) >= 0
    assert len(run.folder.records()) >= run.iteration

    hasty = Run(2, Job(small(5000), "generated", tmp_path / "hasty"), limit_minutes=0.001)
    list(follow(hasty, TrainingSlots(), every=0.05))
    assert hasty.state == "limit" and hasty.live()["limit"] == 0.001


def test_a_full_disk_ends_a_run_with_a_clear_word_and_leaves_its_figures(
    small_disk: Callable[[str], Path],
) -> None:
    disk = small_disk("4m")
    run = Run(1, Job(small(200), "generated", disk / "run"))
    updates = follow(run, TrainingSlots(), every=0.05)
    until(updates, lambda: run.iteration > 2 and run.has_weights)
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(1000)):
            pass
    list(updates)
    assert run.state == "failed"
    assert run.live()["text"].startswith(f"Cannot write {disk / 'run'}")
    assert "No space left on device. Free space or choose another folder" in run.text
    assert [point[0] for point in run.outline()["train"]] == list(range(1, run.iteration + 1))
    assert len(run.folder.records()) >= run.iteration - 1
    assert load_pretrained(run.folder.weights).provenance["iteration"] > 0
