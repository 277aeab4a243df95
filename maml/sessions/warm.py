"""A program that is started before anybody presses start, so that a training begins at once."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence

from maml.sessions.process import Job, Receive, TrainingProcess, start_program

FRESH_SECONDS = 240.0
"""A program that has waited for so long is used no more; it ends by itself a little later."""


class WarmStart:
    """Keeps one program that has its modules and characters loaded, and waits for a job.

    Args:
        command: the program and its arguments; empty for `maml.sessions.worker`.
    """

    def __init__(self, command: Sequence[str] = ()) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._program: subprocess.Popen[str] | None = None
        self._started = 0.0
        self._closed = False

    def prepare(self) -> None:
        """Start a program unless one waits; somebody may soon want to train."""
        with self._lock:
            if self._closed or self._waits():
                return
            self._discard()
            try:
                self._program = start_program(self._command)
            except OSError:
                return  # the training says what is wrong
            self._started = time.monotonic()

    def launch(self, job: Job, receive: Receive) -> TrainingProcess:
        """Start a training, in the program that waits if there is one.

        Raises:
            OSError: if the process cannot be started.
        """
        with self._lock:
            program = self._program if self._waits() else None
            if program is None:
                self._discard()
            self._program = None
        return TrainingProcess(job, receive, program or start_program(self._command))

    def close(self) -> None:
        """End the program that waits, and start none any more."""
        with self._lock:
            self._closed = True
            self._discard()

    def _waits(self) -> bool:
        fresh = time.monotonic() - self._started < FRESH_SECONDS
        return self._program is not None and fresh and self._program.poll() is None

    def _discard(self) -> None:
        if self._program is None:
            return
        self._program.kill()
        self._program.wait()
        for pipe in (self._program.stdin, self._program.stdout, self._program.stderr):
            if pipe is not None:
                pipe.close()
        self._program = None
