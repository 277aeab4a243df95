"""One training of a visitor: what it is to do, the process that does it, what is known of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from maml.runs import RunFolder
from maml.sessions import events
from maml.sessions.form import algorithm_of, changes_of
from maml.sessions.process import Job, Receive, TrainingProcess
from maml.sessions.progress import RunProgress, State

STOP_SECONDS = 10.0
"""A process that has not stopped so long after it was told to is killed."""
PAUSE_MINUTES = 15.0
"""A training that rests longer than this is stopped, to make room for others."""


class Training:
    """One training of one visitor, and how to steer it.

    Events come in on a thread of the training process and are read on the page's: every method
    takes the lock.

    Args:
        number: counted from 1 within the session.
        job: what it is to do.
        limit_minutes: how long it may take, pauses included; 0 for as long as it takes.
        launch: starts its process.
    """

    def __init__(
        self,
        number: int,
        job: Job,
        limit_minutes: float = 0,
        launch: Callable[[Job, Receive], TrainingProcess] = TrainingProcess,
    ) -> None:
        self.number = number
        self.job = job
        self.limit_minutes = limit_minutes
        self.folder = RunFolder(job.folder)
        self.changed = threading.Condition()
        self.process: TrainingProcess | None = None
        self._launch = launch
        self._progress = RunProgress(job.recipe, self.folder)
        self._process_gone = True
        self._stopped_at: float | None = None

    @property
    def state(self) -> State:
        """What it does now."""
        return self._progress.state

    @property
    def iteration(self) -> int:
        """Gradient steps taken."""
        return self._progress.iteration

    @property
    def threads(self) -> int:
        """Threads that it computes with; 0 before it has begun."""
        return self._progress.threads

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._progress.over

    @property
    def ended(self) -> bool:
        """Whether it is over, its process is gone, and the last event has come in."""
        return self.over and self._process_gone

    @property
    def resumable(self) -> bool:
        """Whether it ended before its last step and may be resumed."""
        return self._progress.resumable

    @property
    def without_data(self) -> bool:
        """Whether it failed because its characters could not be loaded."""
        return self._progress.without_data

    @property
    def has_weights(self) -> bool:
        """Whether there are weights to draw with."""
        return self.folder.weights.exists()

    # ---- steering

    def wait_for_turn(self, *, resume: bool = False) -> None:
        """It is in the queue; `resume`: to continue from its saved state."""
        with self.changed:
            self.job = replace(self.job, resume=resume)
            self._progress.wait_for_turn()
            self.changed.notify_all()

    def start(self) -> None:
        """Start its process; what the system refuses becomes the reason why it failed."""
        with self.changed:
            self._stopped_at = None
            self._progress.begin()
            try:
                self.process = self._launch(self.job, self._receive)
                self._process_gone = False
            except OSError as error:
                self._progress.end("failed", str(error))
            self.changed.notify_all()

    def pause(self) -> None:
        """Rest after the step at hand."""
        if self.process is not None and self.state in ("training", "evaluating"):
            self.process.tell(events.Command.PAUSE)

    def unpause(self) -> None:
        """End the rest."""
        if self.process is not None and self.state == "paused":
            self.process.tell(events.Command.CONTINUE)

    def stop(self, end: State = "stopped") -> None:
        """Save and end it; one that still waits for its turn leaves the queue.

        Args:
            end: the state in which it will have ended.
        """
        with self.changed:
            if self.state == "waiting":
                self._progress.end(end)
            elif self.state == "preparing":
                self.abandon(end)  # there is nothing yet that could be saved
            elif not self.over and self.state != "stopping" and self.process is not None:
                self._progress.stop(end)
                self._stopped_at = time.monotonic()
                self.process.tell(events.Command.STOP)
            self.changed.notify_all()

    def abandon(self, end: State = "stopped") -> None:
        """End it at once, without waiting for its process."""
        with self.changed:
            self._progress.end(end)  # before its process ends, which would be a death
            self.changed.notify_all()
        if self.process is not None and self.process.running:
            self.process.abandon()

    def await_end(self, seconds: float) -> None:
        """Wait until its process has ended, and kill one that has not within `seconds`."""
        if self.process is not None and not self.process.wait(seconds):
            self.process.kill()
            self.process.wait(1.0)

    def keep_time(self) -> None:
        """Stop it at its limit and after too long a rest; kill a process that does not obey."""
        with self.changed:
            if self.process is None or self.ended:
                return
            if self._stopped_at is not None:
                if time.monotonic() - self._stopped_at > STOP_SECONDS:
                    self.process.kill()
            elif not self.over:
                rested = self._progress.rested_since
                if self.limit_minutes and self._progress.seconds > 60 * self.limit_minutes:
                    self.stop("limit")
                elif rested is not None and time.monotonic() - rested > 60 * PAUSE_MINUTES:
                    self.stop()

    def _receive(self, event: events.Event | events.ProcessEnded) -> None:
        with self.changed:
            self._progress.take(event)
            self._process_gone = isinstance(event, events.ProcessEnded)
            self.changed.notify_all()

    # ---- what the page shows

    def wait(self, seconds: float) -> None:
        """Wait for news, at most so long."""
        with self.changed:
            self.changed.wait(seconds)

    def live(self) -> dict[str, Any]:
        """What changes all the time, plain values for the page; its curves are in `outline`."""
        with self.changed:
            return {
                "number": self.number,
                "limit": self.limit_minutes,
                "source": self.job.source,
                **self._progress.live(),
            }

    def outline(self) -> dict[str, Any]:
        """What stays of it beside later runs: its settings and curves."""
        with self.changed:
            return {
                "number": self.number,
                "state": self.state,
                "recipe": self.job.recipe.name,
                "algorithm": algorithm_of(self.job.recipe),
                "source": self.job.source,
                "changes": changes_of(self.job.recipe),
                "iterations": self.job.recipe.training.total,
                "accuracy": self._progress.accuracy,
                **self._progress.curves(),
            }

    def solved_tasks(self) -> list[dict[str, Any]]:
        """The test tasks that were solved last, as plain values."""
        preview = self._progress.preview
        return [asdict(task) for task in preview.solved] if preview else []
