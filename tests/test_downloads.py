"""Files to take away hold what a run recorded."""

from __future__ import annotations

import csv
import io
import json
import re
import runpy
import shlex
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trainings import small_recipe

import maml.__main__ as program
from maml.arguments import source_of
from maml.config import SOURCES, Source
from maml.data.synthetic import load_generated
from maml.recipes import RECIPES
from maml.runs import TrainingRun
from maml.sessions import downloads, events
from maml.sessions.form import recipe_of, values_of
from maml.sessions.process import Job
from maml.sessions.training import Training


def make(folder: Path, number: int, records: int, seed: int = 1227) -> Training:
    recipe = replace(small_recipe(10), seed=seed)
    training = Training(number, Job(recipe, "generated", folder / f"run-{number}"))
    training.folder.path.mkdir()
    lines = [
        {
            "epoch": k / 10,
            "loss": 1 / k,
            "acc": 10.0 * k,
            "mode": "train",
            "time": k,
            "iteration": k,
        }
        for k in range(1, records + 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    training.folder.metrics.write_text(text)
    return training


def test_the_table_has_every_record_of_every_run(tmp_path: Path) -> None:
    trainings = [make(tmp_path, 1, 3), make(tmp_path, 2, 2, seed=5)]
    rows = list(csv.DictReader(io.StringIO(downloads.records_table(trainings).decode())))
    assert [(row["run"], row["iteration"]) for row in rows] == [
        ("1", "1"),
        ("1", "2"),
        ("1", "3"),
        ("2", "1"),
        ("2", "2"),
    ]
    assert {row["recipe"] for row in rows} == {"notebook"}
    assert {row["data"] for row in rows} == {"generated"}
    assert json.loads(rows[-1]["settings"])["seed"] == 5
    assert "seed" not in json.loads(rows[0]["settings"])
    assert rows[1]["time"] == "1970-01-01T00:00:02.000+00:00"
    assert (
        float(rows[1]["loss"]) == 0.5 and float(rows[1]["acc"]) == 20 and rows[1]["mode"] == "train"
    )


def texts_of(svg: bytes) -> set[str]:
    return set(re.findall(r"<!-- (.*?) -->", svg.decode()))


def trained(folder: Path, number: int, name: str) -> Training:
    """A training with a few steps and a test."""
    training = make(folder, number, 0)
    training.job = replace(training.job, recipe=replace(training.job.recipe, name=name))
    for iteration in range(1, 6):
        training._receive(events.StepTaken("meta", iteration, 1.0, 0.4, None))
    training._receive(events.Evaluated(5, 0.5, 0.1, None, "line"))
    return training


def test_the_figure_shows_every_run_and_names_its_data(tmp_path: Path) -> None:
    trainings = [trained(tmp_path, 1, "notebook"), trained(tmp_path, 2, "live")]
    assert downloads.figure(trainings).startswith(b"\x89PNG")
    texts = texts_of(downloads.figure(trainings, "svg"))
    assert {"Accuracy (%)", "Loss (nats)", "Step", "chance", "0", "100"} <= texts
    for number, name in ((1, "notebook"), (2, "live (maml)")):
        for kind in ("training", "test"):
            start = f"Run {number}: {name} on generated alphabets"
            assert any(one.startswith(start) and f"{kind} tasks" in one for one in texts)


def test_only_the_notebook_alone_is_cut_off_at_70_percent(tmp_path: Path) -> None:
    notebook, live = trained(tmp_path, 1, "notebook"), trained(tmp_path, 2, "live")
    assert "20" not in texts_of(downloads.figure([notebook], "svg"))
    assert "20" in texts_of(downloads.figure([notebook, live], "svg"))
    assert "20" in texts_of(downloads.figure([live], "svg"))


def test_the_command_names_every_change(tmp_path: Path) -> None:
    training = make(tmp_path, 4, 0, seed=5)
    words = shlex.split(downloads.train_command(training))
    assert words[:6] == ["python", "-m", "maml", "train", "--recipe", "notebook"]
    assert {"seed=5", "channels=4", "iterations=10", "epoch=10"} <= set(words)
    assert words[-4:] == ["--data", "synthetic", "--out", "run-4"]
    training._receive(events.Begun(0, 3))
    assert "--threads 3" in downloads.train_command(training)
    training.job = replace(training.job, source="omniglot", device="cuda:0")
    command = downloads.train_command(training)
    assert "--data" not in command and "--device cuda:0" in command


@pytest.mark.parametrize("source", SOURCES)
def test_the_command_describes_the_very_recipe(tmp_path: Path, source: Source) -> None:
    training = make(tmp_path, 1, 0)
    values = {**values_of(RECIPES["live"]), "seed": 5, "shots": 2}
    training.job = replace(training.job, recipe=recipe_of("live", values, source), source=source)
    words = shlex.split(downloads.train_command(training))
    assert words[:4] == ["python", "-m", "maml", "train"]
    options = program.parse(words[3:])
    assert program._recipe(options) == training.job.recipe and source_of(options)[0] == source


def test_the_checkpoints_readme_has_commands_that_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make(tmp_path, 3, 1)
    with pytest.raises(ValueError, match="Run 3 has no weights yet"):
        downloads.checkpoint(training)
    run = TrainingRun(tmp_path / "short", small_recipe(2), load_generated(framing="frame"))
    for _ in run.records():
        pass
    for path in (run.folder.weights, run.folder.weights.with_suffix(".json")):
        shutil.copy2(path, training.folder.path)
    with zipfile.ZipFile(io.BytesIO(downloads.checkpoint(training))) as package:
        assert sorted(package.namelist()) == ["README.md", "model.json", "model.safetensors"]
        package.extractall(tmp_path / "zip")
    readme = (tmp_path / "zip" / "README.md").read_text()
    assert "Run 3" in readme and "generated alphabets, after step 2 of 2" in readme
    assert downloads.train_command(training) in readme
    commands = re.findall(r"^    python (-m maml evaluate .*)$", readme, re.MULTILINE)
    assert len(commands) == 1
    monkeypatch.chdir(tmp_path / "zip")
    assert program.main([*shlex.split(commands[0])[2:], "--tasks", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == "5-way 3-shot"
    lines = [line[4:] for line in readme.splitlines() if line.startswith("    ")]
    begin = lines.index("import maml")
    images = [np.eye(28, dtype=np.float32), np.full((28, 28), 0.5, np.float32)] * 3
    given = {
        "images": np.stack(images[:5]),
        "labels": [0, 1, 2, 3, 4],
        "names": tuple("abcde"),
        "more_images": np.stack(images),
    }
    script = tmp_path / "zip" / "use.py"
    script.write_text("\n".join(lines[begin : begin + 4]))
    result = runpy.run_path(str(script), given)
    assert len(result["answer"].probabilities) == 6
