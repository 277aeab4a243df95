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
from maml.config import NetworkSettings, Recipe, from_plain
from maml.model import MetaNetwork
from maml.recipes import RECIPES
from maml.runs import RunFolder, log_record, notebook_line, train_in_folder

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
    return list(train_in_folder(folder, chosen, data, data_name="test alphabets", **options))


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
    folder.forget_after(1)
    assert folder.metrics.read_text() == lines[0] + "\n"


# A whole run -------------------------------------------------------------------------------------


def test_folder_holds_records_state_and_weights(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "new" / "run")
    seen: list[MetaNetwork] = []
    records = run(folder, small_alphabets, recipe(), watch=seen.append)
    names = sorted(file.name for file in folder.path.iterdir())
    assert names == ["metrics.jsonl", "model.json", "model.safetensors", "state.safetensors"]
    wanted = [
        log_record(record, record.iteration / 2 if isinstance(record, EvaluationResult) else 0)
        for record in records
    ]
    assert figures(folder) == [{k: v for k, v in w.items() if k != "time"} for w in wanted]
    assert [w["mode"] for w in wanted] == ["train", "train", "test", "train", "train", "test"]

    model = load_pretrained(folder.weights)
    for name, value in seen[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    told = model.provenance
    assert told["recipe"] == "tiny"
    assert told["seed"] == 6
    assert told["framing"] == "fit"
    assert from_plain(Recipe, told["settings"]) == recipe()
    assert told["parameters"] == sum(p.numel() for p in model.parameters())
    assert told["data"]["name"] == "test alphabets"
    assert told["data"]["training_alphabets"] == ["Generated_01", "Generated_02"]
    assert told["data"]["evaluated_in_training_on"] == ["Generated_03", "Generated_04"]
    assert told["data"]["held_out_of_training"] is False
    last = records[-1]
    assert told["last_evaluation_in_training"] == {
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
    with pytest.raises(ValueError, match="belongs to a run with seed 6, but seed 7 came"):
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


def test_resuming_where_nothing_was_kept_starts_over(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    whole, folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    run(whole, small_alphabets, recipe())
    training = train_in_folder(folder, recipe(), small_alphabets, data_name="")
    next(training)
    training.close()  # type: ignore[attr-defined]
    assert len(folder.records()) == 1
    assert not folder.state.exists()
    run(folder, small_alphabets, recipe(), resume=True)
    assert figures(folder) == figures(whole)


def test_time_at_work_leaves_pauses_out() -> None:
    records = [{"time": t} for t in (0.0, 2.0, 5.0, 5000.0, 5001.5)]
    assert maml.runs._seconds_at_work(records) == pytest.approx(6.5)
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
    return [sys.executable, "-c", PROGRAM, "train", "--recipe", name, "--data", "synthetic",
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


def test_asked_to_end_it_ends_with_a_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "stopped")
    child = subprocess.Popen(
        command(folder.path, "notebook"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(folder.records()) < 2:
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130
    assert errors == "maml: stopped\n"
