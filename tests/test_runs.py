"""A run's folder: records, weights with their provenance, and going on after a kill."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import maml.runs
from maml import (
    CharacterSet,
    EpisodeShape,
    EvaluationResult,
    InnerLoop,
    MetaStep,
    MetaTraining,
    load_pretrained,
)
from maml.checkpoint import load_training_iteration
from maml.config import NetworkSettings, Recipe, from_plain
from maml.recipes import RECIPES
from maml.runs import RunFolder, TrainingRun, log_record, notebook_line

STEP = MetaStep("meta", 9, 300, 8 / 300, 0.987, 0.6917, 0.094)
RESULT = EvaluationResult("5-way 3-shot", 0.921, 0.01, 420, 0.2517, (0.2, 0.921), 0.1, True, 300)


def recipe(**changes: Any) -> Recipe:
    training = MetaTraining(
        shapes=(EpisodeShape(3, 2, 2),),
        inner=InnerLoop(steps=1, evaluation_steps=1),
        meta_batch=1,
        iterations=4,
        epoch=2,
        evaluation=EpisodeShape(3, 2, 2),
        evaluation_tasks=2,
    )
    plain = Recipe("tiny", "for tests", "fit", NetworkSettings(channels=4), training, seed=6)
    return dataclasses.replace(plain, **changes)


def run(folder: RunFolder, data: CharacterSet, chosen: Recipe, **options: Any) -> list[Any]:
    return list(TrainingRun(folder.path, chosen, data, **options).records())


def figures(folder: RunFolder) -> list[dict[str, Any]]:
    """Records without their times."""
    return [{k: v for k, v in record.items() if k != "time"} for record in folder.records()]


# Records -----------------------------------------------------------------------------------------


def test_records_are_the_notebooks() -> None:
    before = time.time()
    record = log_record(STEP, 0.0)
    assert before <= record.pop("time") <= time.time()
    assert record == {
        "epoch": 8 / 300,
        "loss": 0.987,
        "acc": pytest.approx(69.17),
        "mode": "train",
        "iteration": 9,
    }
    tested = log_record(RESULT, 1.0)
    assert (tested["epoch"], tested["mode"], tested["acc"]) == (1.0, "test", pytest.approx(92.1))
    early = dataclasses.replace(STEP, stage="pretraining")
    assert log_record(early, 0.0)["mode"] == "pretraining"


def test_lines_are_the_notebooks() -> None:
    training = RECIPES["notebook"].training
    line = "[Epoch 0.03] Train Loss: 0.99 | Acc: 69.17 | Time: 0.09"
    assert notebook_line(STEP, training) == line
    shown = [n for n in range(1, 14)
             if notebook_line(dataclasses.replace(STEP, iteration=n), training)]  # fmt: skip
    assert shown == [1, 5, 9, 13]
    assert notebook_line(RESULT, training) == "[Epoch 1.00] Test Loss: 0.25 | Acc: 92.10"


def test_line_cut_short_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.records() == []
    lines = [json.dumps({"iteration": n, "acc": n}) for n in range(1, 4)]
    folder.metrics.write_text("\n".join(lines)[:-4])
    assert [record["iteration"] for record in folder.records()] == [1, 2]


def test_records_that_a_resumed_run_makes_again_are_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    told = [(1, "train"), (2, "train"), (2, "test"), (3, "train"), (4, "train"), (4, "test")]
    lines = [json.dumps({"iteration": n, "mode": mode}) + "\n" for n, mode in told]
    folder.metrics.write_text("".join(lines))
    folder.forget_from(4)
    assert folder.metrics.read_text() == "".join(lines[:5])
    folder.forget_from(2)  # Its evaluation is made again: it may be missing.
    assert folder.metrics.read_text() == "".join(lines[:2])


# A whole run -------------------------------------------------------------------------------------


def test_folder_holds_records_state_and_weights(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "new" / "run")
    training = TrainingRun(folder.path, recipe(), small_alphabets)
    assert training.folder == folder
    records, seen = [], []
    for record in training.records():
        records.append(record)
        seen.append(training.iteration)
    assert seen == [record.iteration for record in records] == [1, 2, 2, 3, 4, 4]
    assert training.last_evaluation is records[-1]
    names = sorted(file.name for file in folder.path.iterdir())
    assert names == ["metrics.jsonl", "model.json", "model.safetensors", "state.safetensors"]
    wanted = [
        log_record(record, record.iteration / 2 if isinstance(record, EvaluationResult) else 0)
        for record in records
    ]
    assert figures(folder) == [{k: v for k, v in w.items() if k != "time"} for w in wanted]
    assert [w["mode"] for w in wanted] == ["train", "train", "test", "train", "train", "test"]

    model = load_pretrained(folder.weights)
    for name, value in training.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    told = model.provenance
    assert told["recipe"] == "tiny"
    assert told["seed"] == 6
    assert told["framing"] == "fit"
    assert from_plain(Recipe, told["settings"]) == recipe()
    assert told["parameters"] == sum(p.numel() for p in model.parameters())
    assert (told["iteration"], told["iterations"]) == (4, 4)
    assert told["data"]["name"] == "generated alphabets"
    assert told["data"]["training_alphabets"] == ["Generated_01", "Generated_02"]
    assert told["data"]["evaluated_in_training_on"] == ["Generated_03", "Generated_04"]
    assert told["data"]["held_out_of_training"] is False
    last = records[-1]
    assert told["last_evaluation_in_training"] == {
        "iteration": 4,
        "protocol": "3-way 2-shot",
        "accuracy": last.accuracy,
        "interval": last.interval,
        "tasks": 2,
        "transductive": False,
    }
    assert told["made_with"]["torch"] == torch.__version__


def test_folder_of_another_run_is_left_alone(small_alphabets: CharacterSet, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    run(folder, small_alphabets, recipe())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="holds a run already; go on with --resume, or choose"):
        run(folder, small_alphabets, recipe())
    other = recipe(seed=7)
    with pytest.raises(ValueError, match="run with seed 6; resume .*; got seed 7"):
        run(folder, small_alphabets, other, resume=True)
    training = dataclasses.replace(recipe().training, meta_batch=2)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        run(folder, small_alphabets, recipe(training=training), resume=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_finished_run_that_is_resumed_says_its_figure_again(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    first = run(folder, small_alphabets, recipe())
    records, told = figures(folder), load_pretrained(folder.weights).provenance
    # As if it had been killed between its last state and its weights.
    folder.weights.unlink()
    folder.weights.with_suffix(".json").unlink()
    assert run(folder, small_alphabets, recipe(), resume=True) == first[-1:]
    assert figures(folder) == records
    again = load_pretrained(folder.weights).provenance
    for key in ("last_evaluation_in_training", "settings", "parameters"):
        assert again[key] == told[key]


def test_weights_can_be_written_in_the_course_of_a_run(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    training = TrainingRun(tmp_path, recipe(), small_alphabets)
    records = training.records()
    for _ in range(4):  # Steps 1 and 2, an evaluation, step 3.
        next(records)
    training.save_weights()
    loaded = load_pretrained(training.folder.weights)
    for name, value in training.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    told = loaded.provenance
    assert (told["iteration"], told["iterations"]) == (3, 4)
    assert told["last_evaluation_in_training"]["iteration"] == 2
    assert training.last_evaluation is not None
    assert told["last_evaluation_in_training"]["accuracy"] == training.last_evaluation.accuracy
    records.close()


@pytest.mark.parametrize("taken", range(1, 7))
def test_stopped_run_continues_with_the_next_step(
    taken: int, small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    """Stopped after each of its records in turn, between a step and its evaluation too."""
    whole, folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    run(whole, small_alphabets, recipe())
    training = TrainingRun(folder.path, recipe(), small_alphabets)
    records = training.records()
    for _ in range(taken):
        last = next(records)
    records.close()
    assert load_training_iteration(folder.state) == training.iteration == last.iteration
    assert not folder.weights.exists()
    resumed = TrainingRun(folder.path, recipe(), small_alphabets, resume=True)
    assert resumed.iteration == last.iteration
    first = next(resumed.records())
    at_epoch_end = last.iteration % 2 == 0
    assert first.iteration == last.iteration + (0 if at_epoch_end else 1)
    assert isinstance(first, EvaluationResult) == at_epoch_end
    run(folder, small_alphabets, recipe(), resume=True)
    assert figures(folder) == figures(whole)
    model, other = load_pretrained(folder.weights), load_pretrained(whole.weights)
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_resuming_where_nothing_was_kept_starts_over(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    whole, folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    run(whole, small_alphabets, recipe())
    records = TrainingRun(folder.path, recipe(), small_alphabets).records()
    next(records)
    records.close()
    folder.state.unlink()
    run(folder, small_alphabets, recipe(), resume=True)
    assert figures(folder) == figures(whole)


def test_run_that_diverges_says_so_and_leaves_its_last_sound_state(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    training = TrainingRun(tmp_path, recipe(), small_alphabets, save_every=0)
    records = training.records()
    for _ in range(3):
        next(records)
    with torch.no_grad():
        next(training.model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="no longer a number at step 3.*smaller inner or outer"):
        next(records)
    assert load_training_iteration(training.folder.state) == 1
    assert run(training.folder, small_alphabets, recipe(), resume=True)[-1].iteration == 4


def test_time_at_work_leaves_pauses_out() -> None:
    times = [0.0, 2.0, 5.0, 5000.0, 5001.5]
    assert maml.runs._seconds_at_work(times) == pytest.approx(6.5)
    assert maml.runs._seconds_at_work([]) == 0


# kill -9 -----------------------------------------------------------------------------------------

# The real command line on smaller data, and on recipes that end sooner.
PROGRAM = """
import dataclasses, functools, sys
import maml.__main__ as program
import maml.runs
from maml.calibrate import calibrate
from maml.config import EpisodeShape, NetworkSettings, Pretraining
from maml.recipes import RECIPES
from maml.data.synthetic import generate_alphabets

maml.train.calibrate = functools.partial(calibrate, rounds=1)
program.load_generated = functools.partial(generate_alphabets, 4, 6, 10)
for name, recipe in list(RECIPES.items()):
    changes = dict(evaluation_tasks=2, epoch=4)
    if name == "flagship":
        changes.update(
            validation=1, evaluation=EpisodeShape(3, 1, 2),
            shapes=(EpisodeShape(4, 1, 2), EpisodeShape(3, 2, 2, within_alphabet=True)),
            first_order_iterations=2, multi_step_iterations=4,
            pretraining=Pretraining(5, ways=5, drawings=3, precision="bfloat16"),
        )
        recipe = dataclasses.replace(recipe, network=NetworkSettings(channels=4))
    training = dataclasses.replace(recipe.training, **changes)
    RECIPES[name] = dataclasses.replace(recipe, training=training)
sys.exit(program.main())
"""


def command(folder: Path, name: str, *more: str) -> list[str]:
    lengths = ["--iterations", "9"] + (["--episodes", "5"] if name == "flagship" else [])
    return [sys.executable, "-c", PROGRAM, "train", "--recipe", name, "--data", "generated",
            "--out", str(folder), "--save-every", "0", *lengths, *more]  # fmt: skip


@pytest.mark.parametrize(("name", "lines"), [("notebook", 4), ("flagship", 3)])
def test_killed_run_that_is_resumed_is_the_unbroken_run(
    tmp_path: Path, name: str, lines: int, unbroken: dict[str, RunFolder]
) -> None:
    """Killed in the outer loop, and in pre-training of 5 steps, which the resumed run ends."""
    folder = RunFolder(tmp_path / "killed")
    child = subprocess.Popen(command(folder.path, name), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while len(folder.records()) < lines:
            assert child.poll() is None, "It ended before it could be killed."
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not folder.weights.exists()
    whole = unbroken[name]
    assert lines <= len(folder.records()) < len(whole.records())
    subprocess.run(command(folder.path, name, "--resume"), check=True, stdout=subprocess.DEVNULL)
    assert figures(folder) == figures(whole)
    model, other = load_pretrained(folder.weights), load_pretrained(whole.weights)
    for key, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """The same runs, left in peace."""
    names = ("notebook", "flagship")
    folders = {name: RunFolder(tmp_path_factory.mktemp(name) / "run") for name in names}
    children = [
        subprocess.Popen(command(folder.path, name), stdout=subprocess.DEVNULL)
        for name, folder in folders.items()
    ]
    assert [child.wait() for child in children] == [0, 0]
    assert [record["mode"] for record in folders["flagship"].records()] == [
        *["pretraining"] * 5, "test", *["train"] * 4, "test", *["train"] * 4, "test",
        "train", "test",
    ]  # fmt: skip
    return folders


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_saves_and_ends_with_a_line(
    tmp_path: Path, number: signal.Signals, unbroken: dict[str, RunFolder]
) -> None:
    folder = RunFolder(tmp_path / "stopped")
    child = subprocess.Popen(
        [*command(folder.path, "notebook"), "--save-every", "1000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(folder.records()) < 2:
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(number)
    _, errors = child.communicate()
    assert child.returncode == 130
    assert errors == "maml: stopped\n"
    assert load_training_iteration(folder.state) == folder.records()[-1]["iteration"]
    assert not folder.weights.exists()
    subprocess.run(
        command(folder.path, "notebook", "--resume"), check=True, stdout=subprocess.DEVNULL
    )
    assert figures(folder) == figures(unbroken["notebook"])
