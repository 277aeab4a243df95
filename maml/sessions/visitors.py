"""What the server knows of a visitor's trainings.  Nothing here knows of Gradio.

A `Run` gathers the records of one training into what the page shows; a `TrainSession` holds the
runs of one visitor; `TrainingSlots` says whose turn it is.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from maml.config import Recipe
from maml.plots import accuracy_figure
from maml.sessions.form import changes_of
from maml.sessions.process import Job, Source
from maml.sessions.progress import Run

_SILENCE_SECONDS = 3.5
"""A page that is there says so every second; one that has been silent for longer is gone.  The end
of a connection is not always seen: a network may simply stop carrying anything."""
_LOOK_SECONDS = 0.5
"""At most this much of the time between two looks counts as silence: when the app itself stands
still, on a machine that is too busy, it cannot hear the page either."""
_FIRST_WORD_SECONDS = 20.0
"""How long it may take until a page speaks for the first time."""
_LONGEST_RUNS = 12


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
