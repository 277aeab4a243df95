"""Files of trainings to take away: a table, a figure, the weights."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

from maml.plots import accuracy_figure
from maml.sessions.form import changes_of
from maml.sessions.training import Training

_COLUMNS = ("iteration", "epoch", "mode", "loss", "acc", "time")


def records_table(trainings: Iterable[Training]) -> bytes:
    """Every record of the trainings, as CSV with a header."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["run", "recipe", "data", "settings", *_COLUMNS])
    for training in trainings:
        job = training.job
        settings = json.dumps(changes_of(job.recipe))
        head = [training.number, job.recipe.name, job.source, settings]
        for record in training.folder.records():
            writer.writerow([*head, *(record[column] for column in _COLUMNS)])
    return table.getvalue().encode()


def figure(training: Training) -> bytes:
    """The notebook's figure of a training, as PNG."""
    lowest = 70.0 if training.job.recipe.name == "notebook" else 0.0
    return accuracy_figure(training.folder.records(), lowest=lowest)


def checkpoint(training: Training) -> bytes:
    """The weights of a training and their provenance, zipped.

    Raises:
        ValueError: if it has none yet.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as package:
        for path in weights_of(training):
            package.write(path, path.name)
    return content.getvalue()


def weights_of(training: Training) -> tuple[Path, Path]:
    """The files of a training's latest weights: `.safetensors` and `.json`.

    Raises:
        ValueError: if it has none yet.
    """
    if not training.has_weights:
        raise ValueError(f"Run {training.number} has no weights yet; wait for its first steps.")
    return training.folder.weights, training.folder.weights.with_suffix(".json")
