"""Files to take away hold what a run recorded."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trainings import small_recipe

from maml.checkpoint import save_model
from maml.model import build_model
from maml.plots import accuracy_figure
from maml.sessions import downloads
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
    assert (
        float(rows[1]["loss"]) == 0.5 and float(rows[1]["acc"]) == 20 and rows[1]["mode"] == "train"
    )


def test_only_the_notebooks_figure_begins_at_70_percent(tmp_path: Path) -> None:
    training = make(tmp_path, 1, 3)
    records = training.folder.records()
    assert downloads.figure(training) == accuracy_figure(records, lowest=70)
    renamed = replace(training.job, recipe=replace(training.job.recipe, name="quick"))
    training.job = renamed
    assert downloads.figure(training) == accuracy_figure(records, lowest=0)


def test_the_checkpoint_holds_weights_and_their_provenance(tmp_path: Path) -> None:
    training = make(tmp_path, 3, 1)
    with pytest.raises(ValueError, match="Run 3 has no weights yet"):
        downloads.checkpoint(training)
    recipe = training.job.recipe
    model = build_model(recipe.network, recipe.training.inner, torch.Generator())
    save_model(training.folder.weights, model, {"recipe": "notebook"})
    with zipfile.ZipFile(io.BytesIO(downloads.checkpoint(training))) as package:
        assert sorted(package.namelist()) == ["model.json", "model.safetensors"]
        assert package.read("model.safetensors") == training.folder.weights.read_bytes()
        assert json.loads(package.read("model.json"))["recipe"] == "notebook"
