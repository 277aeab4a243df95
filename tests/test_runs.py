"""A run's folder: records, weights with their provenance, and going on after a kill."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_program import SMALL, brief_calibration
from run_program import small_alphabets as alphabets_of
from safetensors.torch import save_file
from test_checkpoint import parts

import maml.runs
import maml.train
from maml import (
    CharacterSet,
    EpisodeShape,
    EvaluationResult,
    InnerLoop,
    MetaStep,
    MetaTraining,
    load_pretrained,
)
from maml.checkpoint import load_training_iteration, save_training
from maml.config import NetworkSettings, Pretraining, Recipe
from maml.data.synthetic import generate_alphabets
from maml.networks import build_model
from maml.plain import from_plain
from maml.recipes import RECIPES
from maml.runs import (
    RunFolder,
    TrainingRun,
    commit_of_code,
    leave_a_core,
    log_record,
    notebook_line,
    recipe_of_run,
)
from maml.sessions.hub import model_card

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


def test_further_results_stand_in_the_record() -> None:
    assert "others" not in log_record(RESULT, 1.0)
    other = dataclasses.replace(RESULT, protocol="20-way 1-shot", accuracy=0.5)
    record = log_record(dataclasses.replace(RESULT, others=(other,)), 1.0)
    assert record["acc"] == pytest.approx(92.1) and record["others"] == {"20-way 1-shot": 50.0}


def test_a_run_knows_its_recipe(tmp_path: Path, small_alphabets: CharacterSet) -> None:
    """Also one by the settings of an earlier version, whose state names none that came later."""
    live = RECIPES["live"]
    former = Recipe(
        name="former",
        summary="",
        framing="fit",
        network=NetworkSettings("sketch", channels=4),
        training=MetaTraining(
            shapes=(EpisodeShape(5, 1, 5),), iterations=3, epoch=2, evaluation_tasks=2,
            pretraining=Pretraining(1, ways=4, drawings=3), augment=True,
        ),
        seed=7,
    )  # fmt: skip
    for recipe, name in ((replace(live, seed=5), "live"), (former, "unnamed")):
        folder = RunFolder(tmp_path / name)
        model = build_model(recipe.network, recipe.training.inner, torch.Generator())
        generator = torch.Generator().manual_seed(recipe.seed).get_state()
        save_training(folder.state, model, {}, generator, 0, recipe.training)
        found = recipe_of_run(folder)
        assert replace(found, name="", summary="") == replace(recipe, name="", summary="")
        assert found.name == name
    run = TrainingRun(tmp_path / "former", former, small_alphabets)
    records = run.records()
    kept = [next(records) for _ in range(3)]
    records.close()
    tensors, metadata = parts(run.folder.state)
    settings = json.loads(metadata["settings"])
    for later in (
        "balanced",
        "further_evaluations",
        "final_evaluation_tasks",
        "evaluate_untrained",
    ):
        del settings[later]
    save_file(tensors, run.folder.state, {**metadata, "settings": json.dumps(settings)})
    found = recipe_of_run(run.folder)
    resumed = TrainingRun(run.folder.path, found, small_alphabets, resume=True)
    rest = list(resumed.records())
    whole = list(TrainingRun(tmp_path / "whole", former, small_alphabets).records())
    assert [without_time(one) for one in kept + rest] == [without_time(one) for one in whole]
    (run.folder.state).write_bytes(b"no state")
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        recipe_of_run(run.folder)


def without_time(record: MetaStep | EvaluationResult) -> MetaStep | EvaluationResult:
    return replace(record, seconds=0) if isinstance(record, MetaStep) else record


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
        "others": [],
    }
    assert told["made_with"]["torch"] == torch.__version__
    assert told["made_with"]["python"] == platform.python_version()
    assert told["made_with"]["hours"] == 0.0
    assert told["commit"] == commit_of_code()


def test_an_evaluation_on_one_task_is_recorded_without_an_interval(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    training = dataclasses.replace(
        recipe().training,
        evaluation_tasks=1,
        further_evaluations=(EpisodeShape(2, 1, 1),),
    )
    folder = RunFolder(tmp_path)
    run(folder, small_alphabets, recipe(training=training))
    text = folder.weights.with_suffix(".json").read_text()
    last = json.loads(text, parse_constant=pytest.fail)["last_evaluation_in_training"]
    assert last["interval"] is None and last["others"][0]["interval"] is None
    card = model_card("anna/symbols", json.loads(text))
    assert f"- Measured accuracy: {100 * last['accuracy']:.2f} % (3-way 2-shot" in card


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


@pytest.fixture(scope="module")
def whole(small_alphabets: CharacterSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of the tiny recipe, left in peace."""
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    run(folder, small_alphabets, recipe())
    return folder


@pytest.mark.parametrize("taken", range(1, 7))
def test_stopped_run_continues_with_the_next_step(
    taken: int, small_alphabets: CharacterSet, tmp_path: Path, whole: RunFolder
) -> None:
    """Stopped after each of its records in turn, between a step and its evaluation too."""
    folder = RunFolder(tmp_path / "stopped")
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
    small_alphabets: CharacterSet, tmp_path: Path, whole: RunFolder
) -> None:
    folder = RunFolder(tmp_path / "broken")
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


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def command(folder: Path, name: str, *more: str) -> list[str]:
    """The real command line on recipes that end soon."""
    lengths = ["--iterations", "9"] + (["--episodes", "5"] if name == "flagship" else [])
    program = Path(__file__).with_name("run_program.py")
    return [sys.executable, str(program), "train", "--recipe", name, "--data", "generated",
            "--out", str(folder), "--save-every", "0", *lengths, *more]  # fmt: skip


def train_here(folder: RunFolder, name: str, resume: bool = False) -> None:
    """The same training in this process, to its end."""
    threads = torch.get_num_threads()
    leave_a_core()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maml.train, "calibrate", brief_calibration)
            data = alphabets_of(framing=SMALL[name].framing)
            run(folder, data, SMALL[name], resume=resume)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        pytest.param("notebook", 4, marks=pytest.mark.slow),
        pytest.param("flagship", 3, marks=pytest.mark.process),
    ],
)
def test_killed_run_that_is_resumed_is_the_unbroken_run(
    tmp_path: Path, name: str, lines: int, unbroken: dict[str, RunFolder]
) -> None:
    """Killed in the outer loop, and in pre-training of 5 steps, which the resumed run ends."""
    folder = RunFolder(tmp_path / "killed")
    child = subprocess.Popen(command(folder.path, name), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
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
    if name == "notebook":
        words = command(folder.path, name, "--resume")
        subprocess.run(words, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    else:
        train_here(folder, name, resume=True)
    assert figures(folder) == figures(whole)
    model, other = load_pretrained(folder.weights), load_pretrained(whole.weights)
    for key, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """The same runs, left in peace."""
    names = ("notebook", "flagship")
    folders = {name: RunFolder(tmp_path_factory.mktemp(name) / "run") for name in names}
    for name, folder in folders.items():
        train_here(folder, name)
    assert [record["mode"] for record in folders["flagship"].records()] == [
        *["pretraining"] * 5, "test", *["train"] * 4, "test", *["train"] * 4, "test",
        "train", "test",
    ]  # fmt: skip
    return folders


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.process),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_asked_to_end_it_saves_and_ends_with_a_line(
    tmp_path: Path, number: signal.Signals, unbroken: dict[str, RunFolder]
) -> None:
    folder = RunFolder(tmp_path / "stopped")
    child = subprocess.Popen(
        [*command(folder.path, "notebook"), "--save-every", "1000"],
        env=ENVIRONMENT,
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
    train_here(folder, "notebook", resume=True)
    assert figures(folder) == figures(unbroken["notebook"])


def test_a_record_is_written_down_before_it_is_seen(
    small_alphabets: CharacterSet, tmp_path: Path
) -> None:
    training = TrainingRun(tmp_path, recipe(), small_alphabets)
    with closing(training.records()) as records:
        for number, record in enumerate(records, start=1):
            written = training.folder.records()
            assert len(written) == number
            assert written[-1]["iteration"] == record.iteration


def test_the_commit_is_that_of_the_checkout() -> None:
    root = Path(__file__).parents[1]
    asked = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    done = subprocess.run(asked, capture_output=True, text=True)
    top, _, head = done.stdout.strip().partition("\n")
    in_checkout = done.returncode == 0 and Path(top).resolve() == root.resolve()
    assert commit_of_code().rstrip("+") == (head if in_checkout else "unknown")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_on_a_gpu(name: str, tmp_path: Path) -> None:
    whole = RECIPES[name]
    pretraining = whole.training.pretraining and replace(whole.training.pretraining, episodes=2)
    training = replace(
        whole.training,
        iterations=3,
        epoch=3,
        evaluation_tasks=2,
        final_evaluation_tasks=0,
        split="alphabets",
        validation=0,
        pretraining=pretraining,
    )
    data = generate_alphabets(alphabets=8, characters=20, drawings=12)
    run = TrainingRun(tmp_path, replace(whole, training=training), data, device="cuda")
    assert all(math.isfinite(record.loss) for record in run.records())
    assert next(run.model.parameters()).device.type == "cuda"
    assert load_pretrained(run.folder.weights).settings == whole.network


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds to no core")
def test_a_core_is_left_to_visitors(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    try:
        for cores, wanted in (({0, 1, 2}, 2), ({0}, 1), (set(range(64)), 4)):
            monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: cores)
            torch.set_num_threads(4)
            leave_a_core()
            assert torch.get_num_threads() == wanted
    finally:
        torch.set_num_threads(threads)
