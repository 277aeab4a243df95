"""Serve the app as a Space does, and use it: ``python -m benchmarks.space_check``.

A clean copy of what git tracks, `requirements.txt` alone in a new environment, code that cannot be
written to, two cores, a home that is thrown away, port 7860 of all addresses, and, if root starts
it, a user without rights: nobody, or where nobody may not run the interpreter root without its
capabilities, whom read-only files bind as well.  Chromium then draws and trains there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.browser import ROOT, chromium
from benchmarks.smoke import smoke

PORT = 7860
_NOBODY = 65534
_START_SECONDS = 180.0


def clean_copy(folder: Path) -> None:
    """What git tracks, as it is now, without rights to write."""
    folder.mkdir()
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def new_environment(folder: Path, python: str, requirements: Path) -> None:
    """Make an environment with nothing but the requirements."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
    install += ["--disable-pip-version-check", "-r", str(requirements)]
    subprocess.run(install, check=True)


def without_rights(python: Path) -> tuple[str, list[str]]:
    """Whom the app is run as, and the words that stand before the command."""
    if os.geteuid() != 0:
        return "this user", []
    nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    for user, words in (
        ("nobody", nobody),
        ("root without capabilities", ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]),
    ):
        # A program that it starts must start as well: a training is one.
        code = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
        probe = subprocess.run([*words, str(python), "-c", code], capture_output=True)
        if probe.returncode == 0:
            return user, words
    raise RuntimeError("setpriv (util-linux) is needed to give up root's rights")


def serve(python: Path, code: Path, home: Path, log: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the app with the environment of a Space and wait until it answers."""
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    environment = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": str(port),
        "SPACE_ID": "someone/maml-sketchpad",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    cores = sorted(os.sched_getaffinity(0))[:2]
    with log.open("wb") as out:
        app = subprocess.Popen(
            [
                *("taskset", "-c", ",".join(map(str, cores))),
                *without_rights(python)[1],
                *(str(python), "app.py"),
            ],
            cwd=code,
            env=environment,
            stdout=out,
            stderr=out,
        )
    deadline = time.monotonic() + _START_SECONDS
    while app.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5):
                return app
        except OSError:
            time.sleep(0.3)
    app.kill()
    raise RuntimeError(f"The app did not start:\n{log.read_text()}")


def check(python: Path, folder: Path, port: int) -> str:
    """Serve a clean copy below a folder and use it; what is worth telling."""
    code, log = folder / "code", folder / "app.log"
    clean_copy(code)
    before = {path: path.stat().st_mtime_ns for path in code.rglob("*")}
    began = time.monotonic()
    app = serve(python, code, folder / "home", log, port)
    started = time.monotonic() - began
    try:
        with chromium() as browser:
            took = smoke(browser, f"http://127.0.0.1:{port}", train=True)
    finally:
        app.terminate()
        app.wait(15)
    assert {path: path.stat().st_mtime_ns for path in code.rglob("*")} == before, "code was changed"
    left = [path.name for path in (folder / "home").glob("maml-*")]
    assert not left, f"{left} are left behind"
    text = log.read_text()
    assert "Traceback" not in text, text
    user, _ = without_rights(python)
    steps = ", ".join(f"{what} after {seconds:g} s" for what, seconds in took.items())
    return f"as {user}: serves after {started:.1f} s; {steps}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="makes the new environment")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--environment", type=Path, help="made there and kept; used if it is there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="space-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        began = time.monotonic()
        environment = given.environment or folder / "environment"
        python = environment / "bin" / "python"
        if not python.exists():
            new_environment(environment, given.python, ROOT / "requirements.txt")
            took = time.monotonic() - began
            print(f"requirements.txt alone: installed in {took:.0f} s", flush=True)
        print(check(python, folder, given.port))


if __name__ == "__main__":
    main()
