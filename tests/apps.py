"""Apps for a test file of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.browser import free_port, start_app, stop_app


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
    yield port
    stop_app(app)
    assert "Traceback" not in log.read_text(), log.read_text()
