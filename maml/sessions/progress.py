"""What a training run shows while it goes on."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any, Literal

from maml.config import Recipe
from maml.runs import RunFolder
from maml.sessions.form import changes_of
from maml.sessions.process import Job, TrainingProcess

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
_PAUSE_MINUTES = 15.0
"""A run that rests longer than this makes room for others; it can go on later."""

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
            before = training.pretraining_episodes
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
