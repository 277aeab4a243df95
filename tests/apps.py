"""Apps for tests: real processes, and what they have started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from scripted_app import CLOSED, HEARD, LEAPT
from trainings import wait_until

from benchmarks.browser import free_port, start_app, stop_app
from maml.sessions.worker import PROCESS_NAME

SCRIPTED_APP = (str(Path(__file__).with_name("scripted_app.py")),)
"""What Python runs for an app whose trainings are scripted."""
UNHURRIED = (
    "-c",
    """
import runpy
import maml.demo.rates, maml.demo.service
maml.demo.service._PATIENCE_SECONDS = 600
maml.demo.rates.RateLimit.__init__.__defaults__ = (lambda: 0.0,)
runpy.run_path("app.py", run_name="__main__")
""",
)
"""A program: the app on a machine that may be as slow as it likes: no question comes too late, and
no time passes in which an address may do more again."""


class App:
    """A running app.

    Args:
        process: of the app.
        port: that it listens on.
        log: what it says.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log
        self.url = f"http://127.0.0.1:{port}"
        self._read = 0

    def check_log(self) -> None:
        """Its log holds no traceback since it was last checked: a fault is that test's."""
        said = self.log.read_bytes()[self._read :]
        self._read += len(said)
        assert b"Traceback" not in said, said.decode(errors="replace")

    def trainings(self) -> list[int]:
        """Its training processes that have not ended."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                state = (folder / "stat").read_text().rpartition(")")[2].split()
                name = (folder / "comm").read_text().strip()
            except (OSError, NotADirectoryError):
                continue
            if name == PROCESS_NAME and state[0] != "Z" and int(state[1]) == self.process.pid:
                found.append(int(folder.name))
        return found

    def wait_until_nothing_trains(self) -> None:
        wait_until(lambda: not self.trainings())

    def leap(self) -> None:
        """Let all visitors have been silent for longer, in an app that is scripted."""
        leaps = self._times_said(LEAPT)
        os.kill(self.process.pid, signal.SIGUSR1)
        wait_until(lambda: self._times_said(LEAPT) > leaps)

    def close_idle_sessions(self) -> None:
        """Close the sessions in which nothing runs, in an app that is scripted."""
        times = self._times_said(CLOSED)
        os.kill(self.process.pid, signal.SIGUSR2)
        wait_until(lambda: self._times_said(CLOSED) > times)

    def lose_the_silent(self) -> None:
        """Leap until nothing trains: a page's last word may arrive after a leap and undo it."""

        def lost() -> bool:
            self.leap()
            return not self.trainings()

        wait_until(lost)

    def wait_until_heard(self) -> None:
        """Wait until a page has said that it is there, to an app that is scripted."""
        words = self._times_said(HEARD)
        wait_until(lambda: self._times_said(HEARD) > words)

    def _times_said(self, line: str) -> int:
        return self.log.read_text().count(line)


def records_of(training: int) -> int:
    """How many records a training process has written, 0 before it opens their file."""
    for link in Path(f"/proc/{training}/fd").iterdir():
        with suppress(FileNotFoundError):
            if link.readlink().name == "metrics.jsonl":
                return len(link.read_text().splitlines())
    return 0


@contextmanager
def running(folder: Path, program: Sequence[str] = ("app.py",), **variables: str) -> Iterator[App]:
    """An app whose log must hold no traceback in the end.

    Args:
        folder: of its log.
        program: what Python runs.
        variables: of its environment.
    """
    log, port = folder / "app.log", free_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        app = App(start_app(log, port, program), port, log)
    try:
        yield app
    finally:
        stop_app(app.process)
    app.check_log()


@contextmanager
def quiet_app(
    folder: Path, program: Sequence[str] = ("app.py",), **variables: str
) -> Iterator[int]:
    """The port of an app, as `running` starts it."""
    with running(folder, program, **variables) as app:
        yield app.port
