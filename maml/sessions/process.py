"""A training in a process of its own, so that drawing stays quick while it runs: the app's side.

`TrainingProcess` starts `maml.sessions.worker` as a program.  That reads a `Job` and then commands
from its standard input, and writes events to its standard output (see `maml.sessions.events`).

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maml.config import SOURCES, Recipe, Source
from maml.plain import from_plain, to_plain
from maml.sessions.events import Command, Event, EventError, ProcessEnded, from_line

NICENESS = 19
"""Of a training: everything else goes first."""
_KEPT_ERROR_LINES = 40


@dataclass(frozen=True)
class Job:
    """What a training process is to do.

    Args:
        recipe: what to train and how.
        source: of the characters.
        folder: of the run.
        device: to train on.
        resume: continue from the state in the folder.
        root: folder that holds the characters; None looks where `load_omniglot` or `load_quickdraw`
            does.
    """

    recipe: Recipe
    source: Source
    folder: Path
    device: str = "cpu"
    resume: bool = False
    root: str | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(
                f"the characters must be one of {', '.join(SOURCES)}; got {self.source!r}"
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


Receive = Callable[[Event | ProcessEnded], None]
"""Takes in what a training says."""


def start_program(command: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a program that waits for a job, at low priority; by default the one that trains.

    Raises:
        OSError: if it cannot be started.
    """
    package = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    # Threads that wait for work must sleep: spinning, they would take the cores from drawing.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "passive"}
    # In a group of its own it does not see the terminal's Ctrl-C.  A session of its own would be a
    # scheduling group of its own on Linux (autogroup), in which a low priority means nothing.
    program = subprocess.Popen(
        command or [sys.executable, "-P", "-m", "maml.sessions.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        process_group=0,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with contextlib.suppress(OSError, AttributeError):  # Windows has no such priorities
        os.setpriority(os.PRIO_PROCESS, program.pid, NICENESS)
    return program


class TrainingProcess:
    """A running training.

    Args:
        job: what it is to do.
        receive: called with each event, on a thread of this object's own; the last one is
            `ProcessEnded`.
        program: waits for a job already; None starts one.

    Raises:
        OSError: if the process cannot be started.
    """

    def __init__(
        self, job: Job, receive: Receive, program: subprocess.Popen[str] | None = None
    ) -> None:
        self._process = start_program() if program is None else program
        self._receive = receive
        self._errors: deque[str] = deque(maxlen=_KEPT_ERROR_LINES)
        self._listener = threading.Thread(target=self._listen_to_errors, daemon=True)
        self._listener.start()
        threading.Thread(target=self._listen, daemon=True).start()
        self._write(job.to_line())

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def tell(self, command: Command) -> None:
        """Send a command; one that has just ended does not hear it."""
        self._write(command.to_line())

    def kill(self) -> None:
        """End at once."""
        self._process.kill()

    def abandon(self, seconds: float = 1.0) -> None:
        """End it without waiting: close its input, and kill it if that did not help in time."""
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

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _listen_to_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            for line in errors:
                self._errors.append(line.rstrip())

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break  # cut short by the end of the process
                try:
                    event = from_line(line)
                except EventError as error:
                    # It speaks another language than the app: nothing it says can be relied on.
                    self._process.kill()
                    self._errors.append(str(error))
                    break
                self._receive(event)
        status = self._process.wait()
        self._hang_up()
        self._listener.join(1.0)
        self._receive(ProcessEnded(status, tuple(self._errors)))
