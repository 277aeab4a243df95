"""Apps that tests share, each for a file of its own or for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.browser import free_port, start_app, stop_app

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


@dataclass
class SharedApp:
    """A running app whose log is read after each test, so that a fault is that test's.

    Args:
        port: it listens on.
        log: what it says.
    """

    port: int
    log: Path
    _read: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def check_log(self) -> None:
        """The log holds no traceback since it was last checked."""
        said = self.log.read_bytes()[self._read :]
        self._read += len(said)
        assert b"Traceback" not in said, said.decode(errors="replace")


@contextmanager
def shared_app(
    folder: Path, program: Sequence[str] = ("app.py",), **variables: str
) -> Iterator[SharedApp]:
    """An app for several tests; arguments as for `quiet_app`."""
    with quiet_app(folder, program, **variables) as port:
        yield SharedApp(port, folder / "app.log")


@contextmanager
def quiet_app(
    folder: Path, program: Sequence[str] = ("app.py",), **variables: str
) -> Iterator[int]:
    """The port of an app whose log must hold no traceback in the end.

    Args:
        folder: of its log.
        program: what Python runs.
        variables: of its environment.
    """
    log, port = folder / "app.log", free_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        app = start_app(log, port, program)
    try:
        yield port
    finally:
        stop_app(app)
    assert "Traceback" not in log.read_text(), log.read_text()
