"""A training in a process of its own, so that drawing stays quick while it runs.

This file has two sides.  The app's side is `TrainingProcess`: it starts the file as a program and
hands on what comes back.  The other side is `main`: it reads a `Job` and then commands from
standard input, one JSON object a line, and writes plain records to standard output likewise.

The process must not outlive the app.  It ends when its standard input does, and the system closes
that however the app dies.  (Linux could send a signal on the parent's death, but it means the
parent's *thread*, and the app's worker threads come and go.)
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from maml.config import Recipe, from_plain, to_plain

Source = Literal["omniglot", "generated"]
SOURCE_NAMES: dict[Source, str] = {"omniglot": "Omniglot", "generated": "generated alphabets"}
"""What the provenance calls the data."""

Receive = Callable[[dict[str, Any]], None]

_KEPT_ERROR_LINES = 40


@dataclass(frozen=True)
class Job:
    """What a training process is to do.

    Args:
        recipe: what to train and how.
        source: of the characters.
        folder: of the run.
        device: to train on.
        resume: go on from the folder's state.
        root: folder that holds Omniglot; None looks where `load_omniglot` does.
    """

    recipe: Recipe
    source: Source
    folder: Path
    device: str = "cpu"
    resume: bool = False
    root: str | None = None

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise ValueError(
                f"Data must be one of {', '.join(get_args(Source))}; {self.source!r} came."
            )

    def to_line(self) -> str:
        """The job as one line of JSON."""
        plain = {**vars(self), "recipe": to_plain(self.recipe), "folder": str(self.folder)}
        return json.dumps(plain) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Job:
        """The job that `to_line` wrote."""
        plain = json.loads(line)
        recipe = from_plain(Recipe, plain.pop("recipe"))
        return cls(recipe=recipe, folder=Path(plain.pop("folder")), **plain)


# ---- the app's side ------------------------------------------------------------------------------


class TrainingProcess:
    """A running training.

    Args:
        job: what it is to do.
        receive: called with each record, on a thread of this object's own; the last record has the
            kind "ended", and carries the exit status and the last lines of standard error.

    Raises:
        OSError: if the process cannot be started.
    """

    def __init__(self, job: Job, receive: Receive) -> None:
        package = Path(__file__).resolve().parents[2]
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        # Threads that wait for work must sleep: spinning, they would take the cores from drawing.
        environment = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "passive"}
        # In a session of its own it does not see the terminal's Ctrl-C.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "maml.sessions.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._receive = receive
        self._errors: deque[str] = deque(maxlen=_KEPT_ERROR_LINES)
        self._listener = threading.Thread(target=self._listen_to_errors, daemon=True)
        self._listener.start()
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell_line(job.to_line())

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def pause(self) -> None:
        """Rest after the step at hand."""
        self._tell("pause")

    def go_on(self) -> None:
        """End the rest."""
        self._tell("go on")

    def stop(self) -> None:
        """Write the weights as they are and end, after the step at hand."""
        self._tell("stop")

    def kill(self) -> None:
        """End at once."""
        self._process.kill()

    def abandon(self, seconds: float = 1.0) -> None:
        """End without waiting for it: by the end of its input, and after `seconds` by force."""
        self._hang_up()
        killer = threading.Timer(seconds, self._process.kill)
        killer.daemon = True
        killer.start()

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False if it has not within `seconds`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()

    def _tell(self, word: str) -> None:
        self._tell_line(json.dumps({"do": word}) + "\n")

    def _tell_line(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has just ended
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _listen_to_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            for line in errors:
                self._errors.append(line.rstrip())

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as records:
            for line in records:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # cut short by the end of the process
                self._receive(record)
        status = self._process.wait()
        self._hang_up()
        self._listener.join(1.0)
        self._receive({"kind": "ended", "status": status, "errors": list(self._errors)})
