"""Files of trainings to take away: a table, a figure, the weights."""

from __future__ import annotations

import csv
import io
import json
import shlex
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maml.config import Source
from maml.plots import RUN_COLOURS, ImageFormat, RunCurves, runs_figure
from maml.recipes import RECIPES
from maml.sessions.form import algorithm_of, changes_of
from maml.sessions.stages import stages_of
from maml.sessions.training import Training

_COLUMNS = ("iteration", "epoch", "mode", "loss", "acc", "others", "time")

_NAMES: dict[Source, str] = {
    "omniglot": "Omniglot",
    "quickdraw": "doodles of Quick, Draw!",
    "generated": "generated alphabets",
}
_OPTIONS: dict[Source, list[str]] = {
    "omniglot": [],
    "quickdraw": ["--source", "quickdraw"],
    "generated": ["--data", "synthetic"],
}
_README = """\
# Run {number}: weights trained with MAML Sketchpad

Recipe `{recipe}`{changes}, characters: {data}, after step {iteration:,} of {iterations:,}.

These commands work where MAML Sketchpad is installed, in the folder of this file.

Measure the weights on characters that they were not trained on:

    {evaluate}

Draw with them in the browser, in a checkout of MAML Sketchpad (give the file's full path):

    MAML_WEIGHTS=/path/to/model.safetensors python app.py

Use them in Python:

    import maml
    model = maml.load_pretrained("model.safetensors")
    learner = maml.adapt(model, maml.SupportSet(images, labels, names))
    answer = learner.predict(more_images)

Repeat the training (the same number of threads gives the same figures):

    {train}

| file | content |
|---|---|
| `model.safetensors` | the weights |
| `model.json` | how they were made |
"""


def records_table(trainings: Iterable[Training]) -> bytes:
    """Every record of the trainings, as CSV with a header; times are in UTC, as ISO 8601."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["run", "recipe", "algorithm", "data", "settings", *_COLUMNS])
    for training in trainings:
        job = training.job
        settings = json.dumps(changes_of(job.recipe))
        head = [
            training.number,
            job.recipe.name,
            job.recipe.training.algorithm,
            job.source,
            settings,
        ]
        for record in training.folder.records():
            at = datetime.fromtimestamp(record["time"], tz=UTC)
            others = json.dumps(record["others"]) if "others" in record else ""
            shown = {**record, "time": at.isoformat(timespec="milliseconds"), "others": others}
            writer.writerow([*head, *(shown[column] for column in _COLUMNS)])
    return table.getvalue().encode()


def figure(trainings: Sequence[Training], image_format: ImageFormat = "png") -> bytes:
    """Accuracy and loss of trainings, in the page's colours.

    Raises:
        ValueError: if there is none.
    """
    only_notebook = {training.job.recipe.name for training in trainings} == {"notebook"}
    runs = [_curves_of(training) for training in trainings]
    return runs_figure(
        runs,
        title="Meta-training with MAML Sketchpad",
        lowest=70.0 if only_notebook else 0.0,
        image_format=image_format,
    )


def _curves_of(training: Training) -> RunCurves:
    outline = training.outline()
    names = {"pretraining": "pre-training", "meta": "meta-training"}
    stages = [(names[span.name], span.last) for span in stages_of(training.job.recipe.training)]
    chance, *other_chances = outline["chances"].values()
    changes = "".join(f", {key}={value}" for key, value in outline["changes"].items())
    algorithm = f" ({outline['algorithm']})" if _other_algorithm(training) else ""
    data = _NAMES[training.job.source]
    return RunCurves(
        name=f"Run {training.number}: {outline['recipe']}{algorithm} on {data}{changes}",
        train=outline["train"],
        test=outline["test"],
        chance=chance,
        stages=stages,
        others=outline["others"],
        other_chances=other_chances,
        colour=RUN_COLOURS[(training.number - 1) % len(RUN_COLOURS)],
    )


def train_command(training: Training) -> str:
    """The command line that repeats a training to the letter, on this machine or one like it."""
    job = training.job
    words = ["python", "-m", "maml", "train", "--recipe", job.recipe.name]
    if _other_algorithm(training):
        words += ["--algorithm", job.recipe.training.algorithm]
    for key, value in changes_of(job.recipe).items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    words += _OPTIONS[job.source]
    if job.device != "cpu":
        words += ["--device", job.device]
    if training.threads:
        words += ["--threads", str(training.threads)]
    return shlex.join([*words, "--out", f"run-{training.number}"])


def _other_algorithm(training: Training) -> str:
    """The algorithm, if it is not the recipe's own."""
    recipe = training.job.recipe
    own = RECIPES[recipe.name].training.algorithm
    algorithm = algorithm_of(recipe) or own
    return algorithm if algorithm != own else ""


def checkpoint(training: Training) -> bytes:
    """The weights of a training, their provenance, and a README, zipped.

    Raises:
        ValueError: if it has no weights yet.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as package:
        weights, record = weights_of(training)
        package.write(weights, weights.name)
        text = record.read_text(encoding="utf-8")
        package.writestr(record.name, text)
        package.writestr("README.md", _readme(training, json.loads(text)))
    return content.getvalue()


def _readme(training: Training, provenance: Mapping[str, Any]) -> str:
    recipe = training.job.recipe
    shape = recipe.training.evaluation
    words = ["python", "-m", "maml", "evaluate", "--weights", "model.safetensors"]
    words += ["--ways", str(shape.ways), "--shots", str(shape.shots)]
    words += ["--within-alphabet"] if shape.within_alphabet else []
    words += _OPTIONS[training.job.source]
    changes = ", ".join(f"{key} {value}" for key, value in changes_of(recipe).items())
    return _README.format(
        number=training.number,
        recipe=recipe.name,
        changes=(f" ({_other_algorithm(training)})" if _other_algorithm(training) else "")
        + (f" with {changes}" if changes else ""),
        data=provenance["data"]["name"],
        iteration=provenance["iteration"],
        iterations=provenance["iterations"],
        evaluate=shlex.join(words),
        train=train_command(training),
    )


def weights_of(training: Training) -> tuple[Path, Path]:
    """The files of a training's latest weights: `.safetensors` and `.json`.

    Raises:
        ValueError: if it has none yet.
    """
    if not training.has_weights:
        raise ValueError(f"Run {training.number} has no weights yet; wait for its first steps.")
    return training.folder.weights, training.folder.weights.with_suffix(".json")
