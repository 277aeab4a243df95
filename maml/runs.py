"""Training runs that are kept in a folder, so that they can be resumed.

metrics.jsonl         one line for each gradient step or evaluation
state.safetensors     what is needed to resume
model.safetensors     the weights, with model.json beside them
"""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import subprocess
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import torch

from maml.checkpoint import (
    load_training_iteration,
    load_training_settings,
    save_model,
    write_atomically,
)
from maml.config import Algorithm, MetaTraining, Recipe
from maml.data.characters import CharacterSet
from maml.evaluate import EvaluationResult
from maml.networks import build_model
from maml.parallel import ALONE, Processes
from maml.plain import finite, to_plain
from maml.recipes import RECIPES, live
from maml.train import MetaStep, meta_train, training_parts

_PRINT_EVERY = 4
"""The notebook prints every fourth iteration."""
_LONGEST_STEP = 600.0
"""Seconds between two records; a longer gap is a pause."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files."""

    path: Path

    @property
    def metrics(self) -> Path:
        """Records, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """What is needed to resume."""
        return self.path / "state.safetensors"

    @property
    def weights(self) -> Path:
        """The weights."""
        return self.path / "model.safetensors"

    def records(self) -> list[dict[str, Any]]:
        """The records so far, without a last line that a crash cut short."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def forget_from(self, iteration: int) -> None:
        """Drop the records that a run resumed after `iteration` steps makes again.

        These are the records of later steps, and an evaluation after the very step: a run that is
        resumed at the end of an epoch starts with it.
        """
        kept = [
            record
            for record in self.records()
            if record["iteration"] < iteration
            or (record["iteration"] == iteration and record["mode"] != "test")
        ]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_atomically(self.metrics, text.encode())


def recipe_of_run(folder: RunFolder) -> Recipe:
    """The recipe of the run whose state is in a folder, as a whole.

    Returns:
        One of `maml.RECIPES` with the run's seed; or, of a run with other settings or by a recipe
        of an earlier version, one called "unnamed".

    Raises:
        ValueError: if the state is broken.
    """
    network, training, seed = load_training_settings(folder.state)
    algorithms: tuple[Algorithm, ...] = get_args(Algorithm)
    for recipe in (*RECIPES.values(), *map(live, algorithms)):
        if (recipe.network, recipe.training) == (network, training):
            return replace(recipe, seed=seed)
    return Recipe(
        name="unnamed",
        summary="resumed from its checkpoint",
        framing="frame" if network.kind == "notebook" else "fit",
        network=network,
        training=training,
        seed=seed,
    )


def log_record(record: MetaStep | EvaluationResult, epochs: float) -> dict[str, Any]:
    """A record in the notebook's format, {epoch, loss, acc, mode, time}, and its iteration.

    Args:
        record: what training yielded.
        epochs: for an evaluation, the epochs done.

    Returns:
        Plain values; `acc` in percent, `time` in seconds since 1970, `mode` "train" or "test"
        ("pretraining" before the outer loop).  An evaluation on several shapes has `others` as
        well: the accuracy in percent by the name of the shape.
    """
    if isinstance(record, MetaStep):
        mode = "train" if record.stage == "meta" else "pretraining"
        epoch = record.epoch
    else:
        mode, epoch = "test", epochs
    entry: dict[str, Any] = {
        "epoch": epoch,
        "loss": record.loss,
        "acc": 100 * record.accuracy,
        "mode": mode,
        "time": time.time(),
        "iteration": record.iteration,
    }
    if isinstance(record, EvaluationResult) and record.others:
        entry["others"] = {other.protocol: 100 * other.accuracy for other in record.others}
    return entry


def notebook_line(record: MetaStep | EvaluationResult, training: MetaTraining) -> str | None:
    """The line that the notebook prints for a record; None for those it does not print."""
    shown = f"Loss: {record.loss:.2f} | Acc: {100 * record.accuracy:.2f}"
    if isinstance(record, EvaluationResult):
        return f"[Epoch {training.epochs(record.iteration):.2f}] Test {shown}"
    if (record.iteration - 1) % _PRINT_EVERY:
        return None
    part = "Train" if record.stage == "meta" else "Pretraining"
    return f"[Epoch {record.epoch:.2f}] {part} {shown} | Time: {record.seconds:.2f}"


def leave_a_core() -> None:
    """Use one thread fewer than there are cores, in the whole process.

    Results depend on the thread count; reproduce with the same number.  The free core answers
    visitors who draw meanwhile.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores - 1)))


class TrainingRun:
    """A training by a recipe, kept in a folder.

    Args:
        folder: of the run; made if it does not exist.
        recipe: what to train and how.
        data: the characters, in the recipe's framing.
        device: to train on.
        resume: continue from the state in the folder, if there is one.
        save_every: seconds between two writes of the state.
        processes: that share the training, see `maml.parallel`; the first one writes.

    Attributes:
        folder: the paths of the run's files.
        model: the network in training.  Look at it between two records only, and do not change it.
        iteration: gradient steps behind `model`.
        last_evaluation: the latest evaluation, or None before the first.

    Raises:
        ValueError: if the folder holds a run already and `resume` is not set, or the state in it
            is broken.
    """

    def __init__(
        self,
        folder: str | Path,
        recipe: Recipe,
        data: CharacterSet,
        *,
        device: str = "cpu",
        resume: bool = False,
        save_every: float = 30.0,
        processes: Processes = ALONE,
    ) -> None:
        self.folder = RunFolder(Path(folder))
        self.recipe = recipe
        self.data = data
        self.device = device
        self.last_evaluation: EvaluationResult | None = None
        if not resume and processes.leads and self.folder.metrics.exists():
            raise ValueError(
                f"{self.folder.path} holds a run already; go on with --resume, or choose another "
                "folder."
            )
        self._resume = resume
        self._save_every = save_every
        self._processes = processes
        self._generator = torch.Generator().manual_seed(recipe.seed)
        inner = recipe.training.inner
        self.model = build_model(recipe.network, inner, self._generator).to(device)
        self.model.framing = recipe.framing
        found = resume and self.folder.state.exists()
        self.iteration = load_training_iteration(self.folder.state) if found else 0
        self._seconds = 0.0

    def records(self) -> Generator[MetaStep | EvaluationResult, None, None]:
        """Train, and write each record down before it is yielded.  Call it once.

        Closing the iterator between two records saves the state, so that a resumed run continues
        with the very next step.  When it ends, the weights are saved.

        Yields:
            What `maml.meta_train` yields.

        Raises:
            ValueError: if the data does not serve the recipe, or the state in the folder belongs
                to another run.
            OSError: if the folder cannot be written to; what was written stays whole.
        """
        training = meta_train(
            self.model,
            self.data,
            self.recipe.training,
            self._generator,
            checkpoint=self.folder.state,
            save_every=self._save_every,
            resume=self._resume,
            processes=self._processes,
        )
        if not self._processes.leads:
            with closing(training):
                yield from training
            return
        # Not before `meta_train` has found the state to be this run's.
        self.folder.forget_from(self.iteration)
        times = [entry["time"] for entry in self.folder.records()]
        self._seconds = _seconds_at_work(times)
        with closing(training), self.folder.metrics.open("ab", buffering=0) as metrics:
            for record in training:
                entry = log_record(record, self.recipe.training.epochs(record.iteration))
                _append(metrics, json.dumps(entry) + "\n")
                times = [*times[-1:], entry["time"]]
                self._seconds += _seconds_at_work(times)
                self.iteration = record.iteration
                if isinstance(record, EvaluationResult):
                    self.last_evaluation = record
                yield record
        self.save_weights()

    def save_weights(self) -> None:
        """Write the weights as they are now, with their provenance beside them.

        Raises:
            OSError: if the folder cannot be written to; what was written stays whole.
        """
        last = self.last_evaluation
        record = {
            **self._origin,
            "iteration": self.iteration,
            "made_with": {**software(self.device), "hours": round(self._seconds / 3600, 2)},
            "last_evaluation_in_training": None
            if last is None
            else {
                "iteration": last.iteration,
                "protocol": last.protocol,
                "accuracy": last.accuracy,
                "interval": finite(last.interval),
                "tasks": last.tasks,
                "transductive": last.transductive,
                "others": [
                    {
                        "protocol": other.protocol,
                        "accuracy": other.accuracy,
                        "interval": finite(other.interval),
                        "tasks": other.tasks,
                    }
                    for other in last.others
                ],
            },
        }
        save_model(self.folder.weights, self.model, record)

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """The part of the provenance that does not change in the course of the run."""
        recipe = self.recipe
        training, held_out = training_parts(self.data, recipe.training)
        return {
            "recipe": recipe.name,
            "framing": recipe.framing,
            "seed": recipe.seed,
            "commit": commit_of_code(),
            "settings": to_plain(recipe),
            "parameters": sum(tensor.numel() for tensor in self.model.parameters()),
            "iterations": recipe.training.total,
            "data": {
                "name": self.data.name,
                "split": recipe.training.split,
                "training_alphabets": sorted(set(training.alphabets)),
                "evaluated_in_training_on": sorted(set(held_out.alphabets)),
                "held_out_of_training": recipe.training.holds_out,
            },
        }


def _append(file: io.FileIO, line: str) -> None:
    """Write a line without buffering; buffered data would fail again when the file is closed."""
    data = line.encode()
    try:
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot write {file.name!s}: {error.strerror}. Free space or choose another folder",
        ) from error


def _seconds_at_work(times: list[float]) -> float:
    """The time between records, without the pauses between a stop and its resumption."""
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return sum(gap for gap in gaps if gap < _LONGEST_STEP)


def software(device: str) -> dict[str, Any]:
    """Versions, device and threads, as plain JSON values."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "higher": metadata.version("higher"),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def commit_of_code() -> str:
    """The commit of the code that runs, "+" behind it if files were changed since.

    Returns:
        "unknown" outside a checkout, also where an installed package lies inside another project's.
    """
    here = Path(__file__).resolve().parent
    try:
        top, head, changes = (
            subprocess.run(
                ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for words in (
                ["rev-parse", "--show-toplevel"],
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--", "."],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    if Path(top).resolve() != here.parent:
        return "unknown"
    return head + ("+" if changes else "")
