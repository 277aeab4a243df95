"""The training process's side of a training."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maml.adapt import adapt
from maml.config import EpisodeShape, Recipe
from maml.data.characters import CharacterSet
from maml.data.episodes import EpisodeSampler, SupportSet
from maml.data.omniglot import load_omniglot
from maml.data.synthetic import load_generated
from maml.evaluate import EvaluationResult
from maml.model import MetaNetwork
from maml.runs import TrainingRun, leave_a_core, notebook_line
from maml.sessions.process import Job
from maml.train import MetaStep, training_parts

_NICENESS = 19
_SAVE_SECONDS = 5.0
_GLANCE_SECONDS = 2.0
_GLANCE_SHARE = 0.1
"""At most this share of the time goes into glances at tasks just solved."""
_GLANCE_TASKS = 12
_SHOWN_TASKS = 2
_SHOWN_QUERIES = 3

# ---- the process's side --------------------------------------------------------------------------


class _Channel:
    """Records out, commands in.  Ends the process when the commands end."""

    def __init__(self) -> None:
        # What libraries print must not get among the records.
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.job = Job.from_line(sys.stdin.readline())
        self.stopped = threading.Event()
        self.running = threading.Event()
        self.running.set()
        threading.Thread(target=self._obey, daemon=True).start()

    def send(self, kind: str, **content: Any) -> None:
        try:
            self._out.write(json.dumps({"kind": kind, **content}) + "\n")
            self._out.flush()
        except OSError:
            os._exit(0)  # nobody listens any more

    def _obey(self) -> None:
        for line in sys.stdin:
            word = json.loads(line)["do"]
            if word == "pause":
                self.running.clear()
            else:
                if word == "stop":
                    self.stopped.set()
                self.running.set()
        os._exit(0)


def main() -> int:
    """Do the job that comes on standard input; returns the exit status."""
    _give_way()
    channel = _Channel()
    try:
        for kind, content in work(channel.job, channel.running, channel.stopped, channel.send):
            channel.send(kind, **content)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
        channel.send("failed", text=text or type(error).__name__)
        return 1
    return 0


def _give_way() -> None:
    """Let everything else go first, and leave it a core of its own."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICENESS)
    leave_a_core()


def work(
    job: Job, running: threading.Event, stopped: threading.Event, send: Callable[..., None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train as the job says.

    Args:
        job: what to do.
        running: cleared while the training is to rest.
        stopped: set when it is to end.
        send: called like `send("data", task=..., done=..., total=...)` while data is being read.

    Yields:
        Kinds and contents of records: "begun", "step", "test" (an evaluation), "evaluating",
        "glance" (tasks just solved), "saved", "paused", "going on", and last "finished" or
        "stopped".

    Raises:
        ValueError, OSError: as `maml.runs.TrainingRun`.
    """
    recipe = job.recipe
    data = load_characters(
        job, lambda task, done, total: send("data", task=task, done=done, total=total)
    )
    run = TrainingRun(
        job.folder, recipe, data, device=job.device, resume=job.resume, save_every=_SAVE_SECONDS
    )
    with closing(run.records()) as records:
        yield from _watched(run, records, running, stopped)


def _watched(
    run: TrainingRun,
    records: Iterator[MetaStep | EvaluationResult],
    running: threading.Event,
    stopped: threading.Event,
) -> Iterator[tuple[str, dict[str, Any]]]:
    training = run.recipe.training
    glances: _Glances | None = None

    def save(iteration: int) -> tuple[str, dict[str, Any]]:
        run.save_weights()
        return "saved", {"iteration": iteration}

    for record in records:
        iteration = record.iteration
        if glances is None:
            glances = _Glances(run.model, run.data, run.recipe)
            yield "begun", {"iteration": iteration, "threads": torch.get_num_threads()}
        if isinstance(record, MetaStep):
            yield "step", {**asdict(record), "line": notebook_line(record, training)}
            outer = iteration - training.pretraining_episodes
            if iteration == record.iterations or (outer >= 0 and outer % training.epoch == 0):
                yield "evaluating", {"iteration": iteration}
        else:
            yield "test", {**asdict(record), "line": notebook_line(record, training)}
        if isinstance(record, EvaluationResult) or glances.due():
            yield "glance", {"iteration": iteration, **glances.take()}
            yield save(iteration)
        if not running.is_set() and not stopped.is_set():
            yield save(iteration)
            yield "paused", {"iteration": iteration}
            running.wait()
            if not stopped.is_set():
                yield "going on", {"iteration": iteration}
        if stopped.is_set():
            yield save(iteration)
            yield "stopped", {"iteration": iteration}
            return
    yield "finished", {"iteration": training.total}


def load_characters(job: Job, progress: Callable[[str, int, int], None]) -> CharacterSet:
    """The characters of a job.

    Args:
        job: says which.
        progress: called as ``progress(task, done, total)``, a few times a second.

    Raises:
        ValueError, OSError: as `load_omniglot`.
    """
    if job.source == "generated":
        progress("generating", 0, 0)
        return load_generated(framing=job.recipe.framing)
    return load_omniglot(job.root, framing=job.recipe.framing, progress=progress)


class _Glances:
    """Looks, now and then, at how the network does on fresh test tasks, one query at a time."""

    def __init__(self, model: MetaNetwork, data: CharacterSet, recipe: Recipe) -> None:
        self._model = model
        _, held_out = training_parts(data, recipe.training)
        # A generator of its own: looking must not change what is trained.
        self._sampler = EpisodeSampler(held_out, torch.Generator().manual_seed(recipe.seed + 3))
        asked = recipe.training.evaluation
        self._shape = EpisodeShape(
            asked.ways, asked.shots, min(asked.queries, 5), asked.within_alphabet
        )
        self._device = next(model.parameters()).device
        self._next = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def take(self) -> dict[str, Any]:
        """Accuracy by inner step over a dozen tasks, and two of them as pictures."""
        began = time.monotonic()
        by_step: list[NDArray[np.float64]] = []
        shown: list[dict[str, Any]] = []
        for number in range(_GLANCE_TASKS):
            episode = self._sampler.sample(self._shape).to(self._device)
            names = tuple(str(way) for way in range(episode.ways))
            support = SupportSet(episode.support_images, episode.support_labels, names)
            path = adapt(self._model, support).predict_path(episode.query_images).cpu()
            labels = episode.query_labels.cpu()
            right = (path.argmax(dim=-1) == labels).double().mean(dim=1)
            by_step.append(right.numpy())
            if number < _SHOWN_TASKS:
                answers = path[-1].argmax(dim=-1).reshape(episode.ways, -1)
                before = path[0].argmax(dim=-1).reshape(episode.ways, -1)
                queries = episode.query_images.unflatten(0, (episode.ways, -1))[:, :_SHOWN_QUERIES]
                shown.append(
                    {
                        "ways": episode.ways,
                        "support": _strip(
                            episode.support_images.unflatten(0, (episode.ways, -1))[:, :1]
                        ),
                        "queries": _strip(queries),
                        "answers": answers[:, :_SHOWN_QUERIES].tolist(),
                        "before": before[:, :_SHOWN_QUERIES].tolist(),
                    }
                )
        cost = time.monotonic() - began
        self._next = time.monotonic() + max(_GLANCE_SECONDS, cost / _GLANCE_SHARE)
        by_step_mean = np.mean(by_step, axis=0)
        return {
            "protocol": str(self._shape),
            "tasks": _GLANCE_TASKS,
            "by_step": [round(float(value), 4) for value in by_step_mean],
            "shown": shown,
        }


def _strip(images: torch.Tensor) -> str:
    """Pictures (ways, k, 1, 28, 28) as one PNG, a column for each way, in base64."""
    picture = images[:, :, 0].permute(1, 2, 0, 3).flatten(0, 1).flatten(1, 2)
    levels = picture.mul(255).round().byte().cpu().numpy()
    content = io.BytesIO()
    Image.fromarray(levels).save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


if __name__ == "__main__":
    sys.exit(main())
