"""A run's folder: records, state and weights of one training, written so that it can go on.

metrics.jsonl         one line a gradient step or evaluation
state.safetensors     what a run needs to go on
model.safetensors     the finished weights, with model.json beside them
"""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from maml.checkpoint import load_training_iteration, save_model, write_atomically
from maml.config import MetaTraining, Recipe, to_plain
from maml.data.characters import CharacterSet
from maml.evaluate import EvaluationResult
from maml.model import MetaNetwork, build_model
from maml.train import MetaStep, meta_train, training_parts

_PRINT_EVERY = 4
"""The notebook prints every fourth iteration."""
_LONGEST_STEP = 600.0
"""Seconds between two records beyond which a run must have stood still."""


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie."""

    path: Path

    @property
    def metrics(self) -> Path:
        """Records, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """What the run needs to go on."""
        return self.path / "state.safetensors"

    @property
    def weights(self) -> Path:
        """The finished weights."""
        return self.path / "model.safetensors"

    def records(self) -> list[dict[str, Any]]:
        """What was recorded so far; a last line cut short by a crash is passed over."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def forget_after(self, iteration: int) -> None:
        """Drop the records of steps that will be taken again."""
        kept = [record for record in self.records() if record["iteration"] <= iteration]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_atomically(self.metrics, text.encode())


def log_record(record: MetaStep | EvaluationResult, epochs: float) -> dict[str, Any]:
    """A record as the notebook logged it, {epoch, loss, acc, mode, time}, and where it belongs.

    Args:
        record: what training yielded.
        epochs: for an evaluation, the epochs done.

    Returns:
        Plain values; `acc` in percent, `time` in seconds since 1970, `mode` "train" or "test"
        ("pretraining" before the outer loop).
    """
    if isinstance(record, MetaStep):
        mode = "train" if record.stage == "meta" else "pretraining"
        epoch = record.epoch
    else:
        mode, epoch = "test", epochs
    return {
        "epoch": epoch,
        "loss": record.loss,
        "acc": 100 * record.accuracy,
        "mode": mode,
        "time": time.time(),
        "iteration": record.iteration,
    }


def notebook_line(record: MetaStep | EvaluationResult, training: MetaTraining) -> str | None:
    """The line that the notebook prints for a record; None for those it passes over."""
    shown = f"Loss: {record.loss:.2f} | Acc: {100 * record.accuracy:.2f}"
    if isinstance(record, EvaluationResult):
        before = training.pretraining.episodes if training.pretraining else 0
        epoch = max(0, record.iteration - before) / training.epoch
        return f"[Epoch {epoch:.2f}] Test {shown}"
    if (record.iteration - 1) % _PRINT_EVERY:
        return None
    part = "Train" if record.stage == "meta" else "Pretraining"
    return f"[Epoch {record.epoch:.2f}] {part} {shown} | Time: {record.seconds:.2f}"


def leave_a_core() -> None:
    """Compute with a thread fewer than there are cores, in this whole process.

    Threads round sums each in its own way: a run has the same figures wherever it is started only
    if all take as many.  The core that is left answers whoever draws meanwhile.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores - 1)))


def train_in_folder(
    folder: RunFolder,
    recipe: Recipe,
    data: CharacterSet,
    *,
    data_name: str,
    device: str = "cpu",
    resume: bool = False,
    save_every: float = 30.0,
    watch: Callable[[MetaNetwork], None] | None = None,
) -> Iterator[MetaStep | EvaluationResult]:
    """`meta_train` by a recipe, recorded in a folder, ending in weights with their provenance.

    Args:
        folder: of the run.
        recipe: what to train and how.
        data: framed as the recipe wants it.
        data_name: what the data is, for the provenance.
        device: to train on.
        resume: go on from the folder's state, if there is one.
        save_every: seconds between writes of the state.
        watch: called once, before the first step, with the network that is going to be trained,
            for those who want to look at it between steps; they must leave it as it is.

    Yields:
        What `meta_train` yields.

    Raises:
        ValueError: if the folder holds a run already and `resume` is not asked for, or what
            `meta_train` raises.
        OSError: if the folder cannot be written to; what was written stays whole.
    """
    if not resume and folder.metrics.exists():
        raise ValueError(
            f"{folder.path} holds a run already; go on with --resume, or choose another folder."
        )
    generator = torch.Generator().manual_seed(recipe.seed)
    model = build_model(recipe.network, recipe.training.inner, generator).to(device)
    if watch is not None:
        watch(model)
    taken = load_training_iteration(folder.state) if resume and folder.state.exists() else 0
    pretraining = recipe.training.pretraining
    before = pretraining.episodes if pretraining else 0
    training = meta_train(
        model,
        data,
        recipe.training,
        generator,
        checkpoint=folder.state,
        save_every=save_every,
        resume=resume,
    )
    folder.forget_after(taken)  # Not before `meta_train` has found the state to be this run's.
    finished = taken == recipe.training.total
    last: EvaluationResult | None = None
    with folder.metrics.open("ab", buffering=0) as metrics:
        for record in training:
            epochs = max(0, record.iteration - before) / recipe.training.epoch
            if not finished:  # Else this is its last evaluation, which stands there already.
                _append(metrics, json.dumps(log_record(record, epochs)) + "\n")
            if isinstance(record, EvaluationResult):
                last = record
            yield record
    seconds = _seconds_at_work(folder.records())
    save_model(
        folder.weights, model, provenance(model, recipe, data, data_name, device, seconds, last)
    )


def _append(file: io.FileIO, line: str) -> None:
    """Write a line at once; what is buffered would fail a second time when the file is closed."""
    data = line.encode()
    try:
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot write {file.name!s}: {error.strerror}. Free space or choose another folder",
        ) from error


def provenance(
    model: MetaNetwork,
    recipe: Recipe,
    data: CharacterSet,
    data_name: str,
    device: str,
    seconds: float,
    last: EvaluationResult | None,
) -> dict[str, Any]:
    """How weights were made, as plain JSON values."""
    training, held_out = training_parts(data, recipe.training)
    return {
        "recipe": recipe.name,
        "framing": recipe.framing,
        "seed": recipe.seed,
        "commit": commit_of_code(),
        "settings": to_plain(recipe),
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "data": {
            "name": data_name,
            "split": recipe.training.split,
            "training_alphabets": sorted(set(training.alphabets)),
            "evaluated_in_training_on": sorted(set(held_out.alphabets)),
            "held_out_of_training": recipe.training.validation > 0,
        },
        "made_with": {**software(device), "hours": round(seconds / 3600, 2)},
        "last_evaluation_in_training": None
        if last is None
        else {
            "protocol": last.protocol,
            "accuracy": last.accuracy,
            "interval": last.interval,
            "tasks": last.tasks,
            "transductive": last.transductive,
        },
    }


def _seconds_at_work(records: list[dict[str, Any]]) -> float:
    """The time between records, pauses between a stop and its resumption left out."""
    times = [record["time"] for record in records]
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return sum(gap for gap in gaps if gap < _LONGEST_STEP)


def software(device: str) -> dict[str, Any]:
    """What computes here, as plain JSON values."""
    return {
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
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
