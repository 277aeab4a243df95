"""How the app starts and ends, as a process: in one line if it cannot, and without leftovers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import maml
from benchmarks.browser import ROOT, free_port, start_app

pytestmark = pytest.mark.process


def cannot_start(**environment: str) -> str:
    """What the app says as it gives up."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "app.py"],
        cwd=ROOT,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 2, run.stderr
    return reason(run.stderr)


def reason(errors: str) -> str:
    """What stands in the one line of an app that gives up."""
    (line,) = errors.splitlines()
    assert line.startswith("MAML Sketchpad cannot start: ")
    return line.removeprefix("MAML Sketchpad cannot start: ")


# Loading these is most of a start.  A copy of a process that has them runs the app from its first
# line on.
_COPIES = """
import json, os, runpy, signal, sys
import gradio, scipy.ndimage, torch
for line in sys.stdin:
    if not os.fork():
        signal.alarm(120)
        weights, errors = json.loads(line)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
        os.environ["MAML_WEIGHTS"] = weights
        runpy.run_path("app.py", run_name="__main__")
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""

Refuse = Callable[[Path], str]


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refuse]:
    """What the app says as it gives up with weights that it cannot use."""
    said = tmp_path_factory.mktemp("said") / "errors"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _COPIES],
        cwd=ROOT,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as copies:

        def refuse(weights: Path) -> str:
            said.unlink(missing_ok=True)
            assert copies.stdin is not None and copies.stdout is not None
            copies.stdin.write(json.dumps([str(weights), str(said)]) + "\n")
            copies.stdin.flush()
            status = copies.stdout.readline()
            assert status == "2\n", (status, said.read_text())
            return reason(said.read_text())

        yield refuse
        assert copies.stdin is not None
        copies.stdin.close()


def bad_weights(folder: Path, name: str) -> Path:
    good = Path(maml.__file__).parents[1] / "weights" / "flagship.safetensors"
    weights = folder / "weights.safetensors"
    content = good.read_bytes()
    record = good.with_suffix(".json").read_bytes()
    if name == "cut":
        content = content[: len(content) // 2]
    elif name == "changed":
        content = content[:-4] + b"\0\0\0\1"
    elif name == "no header":
        content = b"\xff" * 8 + content[8:]
    elif name == "deep header":
        deep = b"[" * 100_000
        content = len(deep).to_bytes(8, "little") + deep
    elif name == "odd record":
        record = b'{"recipe": ["a", "list"], "sha256": 5}'
    weights.write_bytes(content)
    weights.with_suffix(".json").write_bytes(record)
    return weights


def test_a_variable_that_makes_no_sense_is_named_in_one_line() -> None:
    assert cannot_start(MAML_TRAININGS="abc") == (
        "MAML_TRAININGS must be a whole number from 1 to 64; got 'abc'"
    )
    assert cannot_start(GRADIO_SERVER_PORT="abc").startswith("GRADIO_SERVER_PORT must be")


@pytest.mark.parametrize("name", ["cut", "changed", "no header", "deep header", "odd record"])
def test_weights_that_cannot_be_used_are_named_in_one_line(
    name: str, tmp_path: Path, refusal: Refuse
) -> None:
    line = refusal(bad_weights(tmp_path, name))
    assert line.startswith("MAML_WEIGHTS: ") and "weights" in line


def test_weights_that_are_not_there_are_named_in_one_line(tmp_path: Path, refusal: Refuse) -> None:
    assert str(tmp_path) in refusal(tmp_path / "none.safetensors")
    assert "MAML_WEIGHTS" in refusal(tmp_path)


def start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[subprocess.Popen[bytes], int]:
    """An app whose temporary files go to `folder`, and its port."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(folder))
    port = free_port()
    app = start_app(folder.parent / "app.log", port)
    return app, port


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith("maml-")]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT]
)
def test_a_signal_ends_the_app_soon_and_nothing_is_left(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what an app before it has left, which was killed."""
    folder = tmp_path / "tmp"
    left: list[str] = []
    if number == signal.SIGTERM:
        app, _ = start(folder, monkeypatch)
        app.kill()
        app.wait()
        left = left_in(folder)
        assert len(left) == 2
    app, port = start(folder, monkeypatch)
    # A page listens to its heartbeat.
    with socket.create_connection(("127.0.0.1", port), timeout=10) as page:
        page.sendall(b"GET /gradio_api/heartbeat/somebody HTTP/1.1\r\nHost: x\r\n\r\n")
        assert page.recv(1000)
        assert len(left_in(folder)) == 2 and not set(left) & set(left_in(folder))
        app.send_signal(number)
        assert app.wait(60) == 0  # while the page still listens
    assert left_in(folder) == []
    assert "Traceback" not in (tmp_path / "app.log").read_text()
