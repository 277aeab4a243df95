"""What the server knows of a visitor's trainings.  Nothing here knows of Gradio.

A `Run` gathers the records of one training into what the page shows; a `TrainSession` holds the
runs of one visitor; `TrainingSlots` says whose turn it is.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import threading
import time
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from maml.config import (
    LARGEST_WAYS,
    RECIPES,
    EpisodeShape,
    InnerLoop,
    MetaTraining,
    NetworkSettings,
    Pretraining,
    Recipe,
)
from maml.demo.training_process import Job, Source, TrainingProcess
from maml.plots import accuracy_figure
from maml.runs import RunFolder

State = Literal[
    "waiting",  # for its turn
    "preparing",  # the process starts, data are read
    "training",
    "evaluating",
    "paused",
    "stopping",
    "stopped",  # by its owner
    "limit",  # by the limit on minutes
    "finished",
    "lost",  # the page fell silent
    "failed",  # the process said why
    "died",  # the process ended without a word
]
_OVER: frozenset[State] = frozenset({"stopped", "limit", "finished", "lost", "failed", "died"})

_POINTS = 300
"""Points of a curve on the page; its file has them all."""
_KEPT_LINES = 80
_RATE_SECONDS = 8.0
_STOP_SECONDS = 4.0
_SILENCE_SECONDS = 3.5
"""A page that is there says so every second; one that has been silent for longer is gone.  The end
of a connection is not always seen: a network may simply stop carrying anything."""
_LOOK_SECONDS = 0.5
"""At most this much of the time between two looks counts as silence: when the app itself stands
still, on a machine that is too busy, it cannot hear the page either."""
_FIRST_WORD_SECONDS = 20.0
"""How long it may take until a page speaks for the first time."""
_PAUSE_MINUTES = 15.0
"""A run that rests longer than this makes room for others; it can go on later."""
_LONGEST_RUNS = 12
DRAWINGS = 20
"""Drawings of each character, in Omniglot as in the generated alphabets."""


# ---- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One number or switch on the page.

    Args:
        key: its name in a mapping of values, and of its texts.
        low: the smallest value that makes sense on the page; None for a switch.
        high: the greatest.
        whole: whether only whole numbers do.
    """

    key: str
    low: float | None = None
    high: float | None = None
    whole: bool = True

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.low is None


SETTINGS: tuple[Setting, ...] = (
    Setting("ways", 2, LARGEST_WAYS),
    Setting("shots", 1, 10),
    Setting("queries", 1, 15),
    Setting("within_alphabet"),
    Setting("inner_steps", 1, 10),
    Setting("evaluation_steps", 0, 20),
    Setting("inner_rate", 0.0001, 100, whole=False),
    Setting("learned_rates"),
    Setting("second_order"),
    Setting("outer_rate", 0.00001, 0.1, whole=False),
    Setting("cosine"),
    Setting("meta_batch", 1, 32),
    Setting("pretraining", 0, 50_000),
    Setting("augment"),
    Setting("channels", 4, 128),
    Setting("iterations", 0, 100_000),
    Setting("epoch", 1, 10_000),
    Setting("evaluation_tasks", 10, 2_000),
    Setting("seed", 0, 2**31 - 1),
)
"""Every setting of a recipe that the page offers, in the order of the page."""


def values_of(recipe: Recipe) -> dict[str, Any]:
    """What the page shows for a recipe, by the keys of `SETTINGS`."""
    training = recipe.training
    shape = training.shapes[0]
    return {
        "ways": shape.ways,
        "shots": shape.shots,
        "queries": shape.queries,
        "within_alphabet": shape.within_alphabet,
        "inner_steps": training.inner.steps,
        "evaluation_steps": training.inner.evaluation_steps,
        "inner_rate": training.inner.rate,
        "learned_rates": training.inner.learned_rates,
        "second_order": training.inner.second_order,
        "outer_rate": training.outer_rate,
        "cosine": training.cosine,
        "meta_batch": training.meta_batch,
        "pretraining": training.pretraining.episodes if training.pretraining else 0,
        "augment": training.augment,
        "channels": recipe.network.channels,
        "iterations": training.iterations,
        "epoch": training.epoch,
        "evaluation_tasks": training.evaluation_tasks,
        "seed": recipe.seed,
    }


def recipe_of(name: str, values: Mapping[str, Any]) -> Recipe:
    """The recipe that the page's values describe; unchanged values give the named one itself.

    Args:
        name: of the recipe that the values started from.
        values: by the keys of `SETTINGS`.

    Raises:
        ValueError: if a value is out of range, or the values cannot work together.
    """
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}; there are {', '.join(RECIPES)}.")
    base = RECIPES[name]
    checked = {setting.key: _checked(setting, values.get(setting.key)) for setting in SETTINGS}
    if checked == values_of(base):
        return base
    recipe = _rebuilt(base, checked)
    _check_together(recipe)
    return recipe


def _checked(setting: Setting, value: Any) -> Any:
    name = setting.key.replace("_", " ")
    if setting.is_switch:
        return bool(value)
    assert setting.low is not None and setting.high is not None
    fits = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and setting.low <= value <= setting.high
        and (not setting.whole or value == int(value))
    )
    if not fits:
        kind = "a whole number" if setting.whole else "a number"
        raise ValueError(
            f"{name} must be {kind} from {setting.low:g} to {setting.high:,}; {value!r} came."
        )
    return int(value) if setting.whole else float(value)


def _rebuilt(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    training = base.training
    shape = EpisodeShape(
        values["ways"], values["shots"], values["queries"], values["within_alphabet"]
    )
    # A recipe may mix several shapes; who asks for another one trains on that alone.
    same_shape = shape == training.shapes[0]
    episodes = values["pretraining"]
    pretraining = training.pretraining or Pretraining(episodes=1, ways=20)
    return replace(
        base,
        network=NetworkSettings(
            kind=base.network.kind,
            channels=values["channels"],
            ways=values["ways"] if base.network.kind == "notebook" else base.network.ways,
            adaptable=base.network.adaptable,
        ),
        training=MetaTraining(
            shapes=training.shapes if same_shape else (shape,),
            inner=InnerLoop(
                steps=values["inner_steps"],
                evaluation_steps=values["evaluation_steps"],
                rate=values["inner_rate"],
                learned_rates=values["learned_rates"],
                second_order=values["second_order"],
            ),
            meta_batch=values["meta_batch"],
            iterations=values["iterations"],
            epoch=values["epoch"],
            outer_rate=values["outer_rate"],
            cosine=values["cosine"],
            first_order_iterations=training.first_order_iterations,
            multi_step_iterations=training.multi_step_iterations,
            pretraining=replace(pretraining, episodes=episodes) if episodes else None,
            augment=values["augment"],
            split=training.split,
            validation=training.validation,
            evaluation=training.evaluation if same_shape else shape,
            evaluation_tasks=values["evaluation_tasks"],
            transductive=training.transductive,
        ),
        seed=values["seed"],
    )


def _check_together(recipe: Recipe) -> None:
    """Refuse what the settings classes allow one by one but no data or network can serve."""
    training = recipe.training
    for shape in (*training.shapes, training.evaluation):
        if shape.drawings > DRAWINGS:
            raise ValueError(
                f"{shape.shots} shots and {shape.queries} queries need {shape.drawings} drawings "
                f"of each character, but there are {DRAWINGS}; ask for fewer."
            )
    if recipe.network.kind == "notebook":
        if training.pretraining is not None:
            raise ValueError(
                "The notebook's network has a head for a fixed number of ways and cannot be "
                "pre-trained; set pre-training to 0 or take another recipe."
            )
        if training.inner.learned_rates:
            raise ValueError(
                "The notebook's network has no learned inner rates; switch them off or take "
                "another recipe."
            )
        if any(shape.within_alphabet for shape in training.shapes):
            raise ValueError(
                "Tasks within one alphabet may have fewer ways, and the notebook's network has a "
                "fixed number; switch that off or take another recipe."
            )


def changes_of(recipe: Recipe) -> dict[str, Any]:
    """The settings in which a recipe departs from the one it is named after."""
    base = values_of(RECIPES[recipe.name])
    return {key: value for key, value in values_of(recipe).items() if value != base[key]}


# ---- curves --------------------------------------------------------------------------------------


class ThinnedCurve:
    """Means over equal stretches of a series, so that it stays short however long it grows.

    Args:
        total: how long the series will be; that many steps give at most `points` points.
        points: how many.
    """

    def __init__(self, total: int, points: int = _POINTS) -> None:
        self._stretch = max(1, math.ceil(total / points))
        self._points: list[list[float]] = []
        self._sums: list[float] = []
        self._count = 0

    def add(self, step: int, *values: float) -> None:
        """Append the values of a step."""
        self._sums = [a + b for a, b in zip(self._sums or [0.0] * len(values), values, strict=True)]
        self._count += 1
        if step % self._stretch == 0:
            means = (total / self._count for total in self._sums)
            self._points.append([step, *(_short(value) for value in means)])
            self._sums, self._count = [], 0

    def points(self) -> list[list[float]]:
        """What is kept: [step, mean, mean, ...], a stretch that is not full left out."""
        return list(self._points)


def _short(value: float) -> float:
    return round(value, 4) if math.isfinite(value) else 1e6


# ---- a run ---------------------------------------------------------------------------------------


class Run:
    """One training of one visitor: what is known of it, and how to steer it.

    Records come in on the training process's thread and are read on the page's: every method takes
    the lock.

    Args:
        number: counted from 1 within the session.
        job: what it is to do.
        limit_minutes: how long it may take, pauses included; 0 for as long as it takes.
    """

    def __init__(self, number: int, job: Job, limit_minutes: float = 0) -> None:
        self.number = number
        self.job = job
        self.limit_minutes = limit_minutes
        self.folder = RunFolder(job.folder)
        self.changed = threading.Condition()
        self.state: State = "waiting"
        self.place = 0
        self.text = ""
        self.process: TrainingProcess | None = None
        self.iteration = 0
        self.saved = 0
        self.glances = 0
        self.accuracy: float | None = None
        self.interval = 0.0
        self._glance: dict[str, Any] | None = None
        self._first_steps: dict[str, Any] | None = None
        self._steps: dict[str, Any] | None = None
        self._data: dict[str, Any] | None = None
        self._stage = "meta"
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._pace: deque[tuple[float, int]] = deque()
        self._began: float | None = None
        self._ended: float | None = None
        self._rested: float | None = None
        self._stopped_at: float | None = None
        self._over_limit = False
        self._train = self._new_curve()
        self._test: list[list[float]] = []

    @property
    def recipe(self) -> Recipe:
        """What it trains, and how."""
        return self.job.recipe

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in _OVER

    @property
    def ended(self) -> bool:
        """Whether it is over and its process gone."""
        return self.over and (self.process is None or not self.process.running)

    @property
    def can_go_on(self) -> bool:
        """Whether it ended before its time and may be taken up again."""
        return (
            self.state in ("stopped", "limit", "lost", "died")
            and self.iteration < self.recipe.training.total
        )

    @property
    def has_weights(self) -> bool:
        """Whether there are weights to draw with."""
        return self.folder.weights.exists()

    # -- steering

    def start(self, *, resume: bool = False) -> None:
        """Start its process.

        Raises:
            OSError: if that cannot be done.
        """
        with self.changed:
            self.state, self.text = "preparing", ""
            self._began = time.monotonic()
            self._ended = self._rested = self._stopped_at = None
            self._over_limit = False
            self._pace.clear()
        self.job = replace(self.job, resume=resume)
        if resume:
            self._recall()
        self.process = TrainingProcess(self.job, self.receive)

    def pause(self) -> None:
        """Rest after the step at hand."""
        if self.process is not None and self.state in ("training", "evaluating"):
            self.process.pause()

    def go_on(self) -> None:
        """End the rest."""
        if self.process is not None and self.state == "paused":
            self.process.go_on()

    def stop(self) -> None:
        """End it; one that still waits for its turn leaves the queue."""
        with self.changed:
            if self.state == "waiting":
                self.state = "stopped"
            elif not self.over and self.process is not None:
                self.state = "stopping"
                self._stopped_at = time.monotonic()
                self.process.stop()
            self.changed.notify_all()

    def abandon(self, state: State = "stopped") -> None:
        """End it at once: probably nobody is there to see how."""
        if self.process is not None and self.process.running:
            self.process.abandon()
        with self.changed:
            if not self.over:
                self.state = state
                self._ended = time.monotonic()

    def keep_time(self) -> None:
        """Stop it at its limit, and after a rest that is too long; force what does not obey."""
        now = time.monotonic()
        with self.changed:
            began, rested, stopped = self._began, self._rested, self._stopped_at
            active = not self.over and self.state not in ("waiting", "stopping")
        if active and began is not None:
            if self.limit_minutes and now - began > 60 * self.limit_minutes:
                self._over_limit = True
                self.stop()
            elif rested is not None and now - rested > 60 * _PAUSE_MINUTES:
                self.stop()
        if stopped is not None and now - stopped > _STOP_SECONDS and self.process is not None:
            self.process.kill()

    # -- what comes in

    def receive(self, record: dict[str, Any]) -> None:
        """Take in a record of the training process."""
        with self.changed:
            kind = record.pop("kind")
            getattr(self, f"_on_{kind.replace(' ', '_')}")(record)
            self.changed.notify_all()

    def _enter(self, state: State) -> None:
        if self.state != "stopping" and not self.over:
            self.state = state

    def _on_data(self, record: dict[str, Any]) -> None:
        self._data = record

    def _on_begun(self, record: dict[str, Any]) -> None:
        self._data = None
        self._forget_after(record["iteration"] - 1)
        self._enter("training")

    def _on_step(self, record: dict[str, Any]) -> None:
        self._enter("training")
        self.iteration = record["iteration"]
        self._stage = record["stage"]
        self._train.add(self.iteration, 100 * record["accuracy"], record["loss"])
        now = time.monotonic()
        if not self._pace or now - self._pace[-1][0] > 0.25:
            self._pace.append((now, self.iteration))
            while len(self._pace) > 2 and now - self._pace[0][0] > _RATE_SECONDS:
                self._pace.popleft()
        if record["line"]:
            self._lines.append(record["line"])

    def _on_evaluating(self, record: dict[str, Any]) -> None:
        self._enter("evaluating")

    def _on_test(self, record: dict[str, Any]) -> None:
        self._enter("training")
        self.accuracy, self.interval = record["accuracy"], record["interval"]
        self._add_test(record["iteration"], record["accuracy"], record["loss"], record["interval"])
        self._lines.append(record["line"])

    def _add_test(self, iteration: int, accuracy: float, loss: float, interval: float) -> None:
        self._test.append([iteration, _short(100 * accuracy), _short(loss), _short(100 * interval)])

    def _on_glance(self, record: dict[str, Any]) -> None:
        steps = {"iteration": record["iteration"], "by_step": record["by_step"]}
        self._first_steps = self._first_steps or steps
        self._steps = steps
        self._glance = record
        self.glances += 1

    def _on_saved(self, record: dict[str, Any]) -> None:
        self.saved = record["iteration"]

    def _on_paused(self, record: dict[str, Any]) -> None:
        self._enter("paused")
        self._rested = time.monotonic()
        self._pace.clear()

    def _on_going_on(self, record: dict[str, Any]) -> None:
        self._rested = None
        self._enter("training")

    def _on_stopped(self, record: dict[str, Any]) -> None:
        self.state = "limit" if self._over_limit else "stopped"

    def _on_finished(self, record: dict[str, Any]) -> None:
        self.state = "finished"
        self.saved = record["iteration"]

    def _on_failed(self, record: dict[str, Any]) -> None:
        self.state, self.text = "failed", record["text"]

    def _on_ended(self, record: dict[str, Any]) -> None:
        self._ended = time.monotonic()
        if self.state == "stopping":
            self.state = "limit" if self._over_limit else "stopped"
        elif not self.over:
            self.state = "died"
            self.text = next((line for line in reversed(record["errors"]) if line.strip()), "")

    def _new_curve(self) -> ThinnedCurve:
        return ThinnedCurve(self.recipe.training.total)

    def _forget_after(self, iteration: int) -> None:
        """A resumed run takes again the steps after its last checkpoint."""
        if self.iteration > iteration:
            self._recall(iteration)

    def _recall(self, last: int | None = None) -> None:
        """Draw the curves anew from the run's file, up to a step."""
        self._train, self._test = self._new_curve(), []
        for record in self.folder.records():
            if last is not None and record["iteration"] > last:
                break
            if record["mode"] == "test":
                self._add_test(record["iteration"], record["acc"] / 100, record["loss"], 0.0)
            else:
                self._train.add(record["iteration"], record["acc"], record["loss"])
        if last is not None:
            self.iteration = last

    # -- what goes out

    def wait(self, seconds: float) -> None:
        """Wait for news, at most so long."""
        with self.changed:
            self.changed.wait(seconds)

    def live(self) -> dict[str, Any]:
        """What changes all the time, plain values for the page; its curves are in `outline`."""
        with self.changed:
            training = self.recipe.training
            before = training.pretraining.episodes if training.pretraining else 0
            stage_end = before if self._stage == "pretraining" else training.total
            rate = self._rate()
            running = self.state in ("training", "evaluating")
            now = self._ended or time.monotonic()
            return {
                "number": self.number,
                "state": self.state,
                "place": self.place,
                "text": self.text,
                "data": self._data if self.state == "preparing" else None,
                "stage": self._stage,
                "two_stages": before > 0 and training.iterations > 0,
                "iteration": self.iteration,
                "iterations": training.total,
                "rate": round(rate, 2) if rate and running else None,
                "left": round((stage_end - self.iteration) / rate) if rate and running else None,
                "seconds": round(now - self._began) if self._began is not None else 0,
                "limit": self.limit_minutes,
                "saved": self.saved,
                "lines": list(self._lines)[-12:],
                "first_steps": self._first_steps,
                "steps": self._steps,
            }

    def outline(self) -> dict[str, Any]:
        """What stays of it beside later runs: its settings and curves."""
        with self.changed:
            return {
                "number": self.number,
                "state": self.state,
                "recipe": self.recipe.name,
                "source": self.job.source,
                "changes": changes_of(self.recipe),
                "iterations": self.recipe.training.total,
                "accuracy": self.accuracy,
                "train": self._train.points(),
                "test": list(self._test),
                "chance": 100 / self.recipe.training.evaluation.ways,
            }

    def glance(self) -> dict[str, Any] | None:
        """The tasks that were solved last."""
        return self._glance

    def _rate(self) -> float | None:
        if len(self._pace) < 2:
            return None
        (before, first), (after, last) = self._pace[0], self._pace[-1]
        return (last - first) / (after - before) if after - before > 0.5 else None


# ---- a visitor -----------------------------------------------------------------------------------


class TrainSession:
    """The trainings of one visitor.

    Args:
        folder: a folder of its own, made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[Run] = []
        self._numbers = 0
        self._copies = 0
        self._silence = 0.0
        self._looked = 0.0
        self._has_spoken = False
        self.watched = True

    @property
    def current(self) -> Run | None:
        """The latest run."""
        return self.runs[-1] if self.runs else None

    @property
    def earlier(self) -> list[Run]:
        """Those before it."""
        return self.runs[:-1]

    @property
    def busy(self) -> bool:
        """Whether the latest run has not ended."""
        return self.current is not None and not self.current.over

    def hear(self, watched: bool = True) -> None:
        """Note that the page is there, and whether anybody can see the board."""
        self._silence, self._has_spoken, self.watched = 0.0, True, watched

    def expect_page(self) -> None:
        """From now on the page has to say that it is there."""
        self._silence, self._has_spoken, self.watched = 0.0, False, True
        self._looked = time.monotonic()

    def look_for_page(self) -> bool:
        """Whether the page has been heard of of late; to be asked a few times a second."""
        now = time.monotonic()
        self._silence += min(now - self._looked, _LOOK_SECONDS)
        self._looked = now
        return self._silence <= (_SILENCE_SECONDS if self._has_spoken else _FIRST_WORD_SECONDS)

    def add(self, recipe: Recipe, source: Source, device: str, limit_minutes: float) -> Run:
        """Begin a run; it waits for its turn.

        Raises:
            ValueError: if one is not over yet.
        """
        if self.busy:
            raise ValueError("Your training is still running; stop it before you start another.")
        self._numbers += 1
        job = Job(recipe, source, self.folder / f"run-{self._numbers}", device)
        run = Run(self._numbers, job, limit_minutes)
        self.runs.append(run)
        while len(self.runs) > _LONGEST_RUNS:
            self.remove(self.runs[0].number)
        return run

    def remove(self, number: int) -> None:
        """Forget a run that is over, and its files.

        Raises:
            ValueError: if there is none of that number, or it is not over.
        """
        run = next((one for one in self.runs if one.number == number), None)
        if run is None:
            raise ValueError(f"There is no run {number}.")
        if not run.over:
            raise ValueError(f"Run {number} is not over; stop it first.")
        self.runs.remove(run)
        shutil.rmtree(run.folder.path, ignore_errors=True)

    def close(self) -> None:
        """End what runs and remove the files."""
        for run in self.runs:
            run.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- files to take away

    def csv(self) -> Path:
        """All records of all runs, every step of them, as one table."""
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["run", "recipe", "data", "settings", *_COLUMNS])
        for run in self.runs:
            settings = json.dumps(changes_of(run.recipe))
            head = [run.number, run.recipe.name, run.job.source, settings]
            for record in run.folder.records():
                writer.writerow([*head, *(record[column] for column in _COLUMNS)])
        return self._file("maml-runs.csv", table.getvalue().encode())

    def figure(self, run: Run) -> Path:
        """The notebook's figure of a run."""
        lowest = 70.0 if run.recipe.name == "notebook" else 0.0
        return self._file("maml-accs.png", accuracy_figure(run.folder.records(), lowest=lowest))

    def checkpoint(self, run: Run) -> Path:
        """The weights of a run and their provenance, zipped.

        Raises:
            ValueError: if it has none yet.
        """
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as package:
            for path in self._weights(run):
                package.write(path, path.name)
        return self._file(f"maml-run-{run.number}.zip", content.getvalue())

    def frozen_weights(self, run: Run) -> Path:
        """A copy of a run's weights that later steps leave as it is.

        Raises:
            ValueError: if it has none yet.
        """
        self._copies += 1
        folder = self.folder / f"drawing-{self._copies}"
        folder.mkdir(parents=True)
        for path in self._weights(run):
            shutil.copy2(path, folder / path.name)
        return folder / run.folder.weights.name

    def _weights(self, run: Run) -> tuple[Path, Path]:
        if not run.has_weights:
            raise ValueError(f"Run {run.number} has no weights yet; wait for its first steps.")
        return run.folder.weights, run.folder.weights.with_suffix(".json")

    def _file(self, name: str, content: bytes) -> Path:
        folder = self.folder / "files"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        return path


_COLUMNS = ("iteration", "epoch", "mode", "loss", "acc", "time")


# ---- whose turn it is ----------------------------------------------------------------------------


class TrainingSlots:
    """A queue: so many train at a time, the others wait in the order in which they came.

    Args:
        at_a_time: how many.
        longest_queue: how many may wait.
    """

    def __init__(self, at_a_time: int = 1, longest_queue: int = 16) -> None:
        if at_a_time < 1:
            raise ValueError(f"At least one training must be possible; {at_a_time} came.")
        self._at_a_time = at_a_time
        self._longest = longest_queue
        self._lock = threading.Lock()
        self._queue: list[object] = []

    def join(self) -> object:
        """Take a place; returns the ticket.

        Raises:
            ValueError: if the queue is full.
        """
        with self._lock:
            if len(self._queue) >= self._at_a_time + self._longest:
                raise ValueError(
                    f"{self._longest} people are waiting to train already; try again later."
                )
            ticket = object()
            self._queue.append(ticket)
            return ticket

    def place(self, ticket: object) -> int:
        """How many must end before it is this ticket's turn; 0: now."""
        with self._lock:
            return max(0, self._queue.index(ticket) - self._at_a_time + 1)

    def leave(self, ticket: object) -> None:
        """Give the place up, whether it came to a turn or not."""
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)


def follow(
    run: Run, slots: TrainingSlots, *, resume: bool = False, every: float = 0.25
) -> Iterator[None]:
    """See a run through: wait for its turn, start it, and keep its time.

    Closing the generator, at whatever point, ends the run and gives its place to the next.

    Args:
        run: that waits for its turn.
        slots: whose turn it is.
        resume: go on from the last checkpoint.
        every: seconds between two yields.

    Yields:
        None, whenever the page should be brought up to date; last when the run is over.

    Raises:
        ValueError: if the queue is full.
    """
    run.state = "waiting"
    ticket = slots.join()
    try:
        while (place := slots.place(ticket)) and not run.over:
            run.place = place
            yield
            run.wait(every)
        run.place = 0
        if not run.over:
            try:
                run.start(resume=resume)
            except OSError as error:
                run.receive({"kind": "failed", "text": str(error)})
        while not run.ended:
            run.keep_time()
            yield
            run.wait(every) if run.state in ("preparing", "paused") else time.sleep(every)
        yield
    finally:
        run.abandon()
        slots.leave(ticket)


def limit_from_environment() -> float:
    """The most minutes a run may take here: `MAML_TRAINING_MINUTES`, else 10 on a Space, else 0.

    Raises:
        ValueError: if the variable holds no number of minutes.
    """
    text = os.environ.get("MAML_TRAINING_MINUTES")
    if text is None:
        return 10.0 if os.environ.get("SPACE_ID") else 0.0
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1
    if not 0 <= minutes < 1e6:
        raise ValueError(f"MAML_TRAINING_MINUTES must be a number of minutes; {text!r} came.")
    return minutes
