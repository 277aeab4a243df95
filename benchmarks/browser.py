"""What benchmarks and tests of the page share: a freshly started app and a Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine, whatever proxies the environment names."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, else the one that Playwright fetched.

    The headless shell comes first: without the parts of a window it opens a page in half the time.
    """
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    system = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=system,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_app(
    log: Path, port: int, program: Sequence[str] = ("app.py",)
) -> subprocess.Popen[bytes]:
    """Start the app as a person would and wait until it answers; what it says goes to `log`.

    Args:
        log: a file, which is added to.
        port: to listen on.
        program: what Python runs.
    """
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    with log.open("ab") as out:
        # In a session of its own its trainings give way to it, and not to all else that runs here.
        app = subprocess.Popen(
            [sys.executable, *program],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + 300
    while app.poll() is None and time.monotonic() < deadline:
        try:
            with _DIRECTLY.open(f"http://127.0.0.1:{port}/config", timeout=5):
                return app
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    app.kill()
    app.wait()
    raise RuntimeError(f"The app did not start:\n{log.read_text()}")


def stop_app(app: subprocess.Popen[bytes]) -> None:
    """Ask the app to stop, and see to it."""
    app.terminate()
    try:
        app.wait(15)
    except subprocess.TimeoutExpired:
        app.kill()
        app.wait()


@contextmanager
def running_app() -> Iterator[str]:
    """The address of a freshly started app."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        app = start_app(Path(folder) / "app.log", port)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            stop_app(app)
