"""Kill -9 at random moments: ``python -m benchmarks.kills [KILLS]``, half of them of each kind.

A training on the command line is killed, resumed, killed: its records must have no gap and no step
twice, and in the end be those of a run that nobody disturbed.  The app is killed while it starts,
answers and trains: the next one must start, answer, and have cleared away what was left, and no
training process may outlive its app.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.browser import ROOT, free_port, start_app, stop_app
from benchmarks.trainer import Page
from benchmarks.verdict import end_with

_STEPS = 100_000
_ENDS_SECONDS = 15.0


def _train(folder: Path, iterations: int) -> subprocess.Popen[bytes]:
    words = ["-m", "maml", "train", "--recipe", "notebook", "--source", "generated", "--resume"]
    words += ["--iterations", str(iterations), "--save-every", "0.2", "--threads", "1"]
    # The evaluations of the recipe would be most of the time.
    words += ["--set", "evaluation_tasks=10", "--set", "epoch=20", "--out", str(folder)]
    return subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _records(folder: Path) -> list[tuple[Any, ...]]:
    """What was recorded, without times; a last line that was cut short does not count."""
    records = []
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            try:
                one = json.loads(line)
            except ValueError:
                break
            records.append((one["iteration"], one["mode"], one["loss"], one["acc"]))
    return records


def kill_trainings(kills: int, seed: int, longest: float = 6.0) -> tuple[int, list[str]]:
    """The steps that were taken, and what went wrong."""
    rng = random.Random(seed)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        for number in range(kills):
            training = _train(folder, _STEPS)
            before = len(_records(folder))
            began = time.monotonic()
            # The moment counts from the first new record on in two of three, else from the start.
            wait_for_it = rng.random() < 0.67 or number == kills - 1
            while wait_for_it and training.poll() is None and time.monotonic() - began < 120:
                if len(_records(folder)) != before and (folder / "state.safetensors").exists():
                    break
                time.sleep(0.05)
            time.sleep(rng.uniform(0, longest / 3 if wait_for_it else longest))
            if training.poll() is not None:
                assert training.stderr is not None
                wrong.append(f"kill {number}: it ended by itself: {training.stderr.read()!r}")
            training.kill()
            training.communicate()
            wrong += [f"kill {number}: {one}" for one in gaps(_records(folder))]
        steps = max((one[0] for one in _records(folder)), default=0)
        finish = _train(folder, steps + 5)
        refused = finish.communicate()[1]
        if finish.returncode != 2:
            wrong.append(f"a run of another length was resumed: {refused!r}")
        # The same steps without a kill, until as many records are there.
        straight = Path(name) / "straight"
        undisturbed = _train(straight, _STEPS)
        deadline = time.monotonic() + 300
        while len(_records(straight)) < len(_records(folder)) and time.monotonic() < deadline:
            if undisturbed.poll() is not None:
                break
            time.sleep(0.2)
        undisturbed.kill()
        undisturbed.communicate()
        common = min(len(_records(straight)), len(_records(folder)))
        if _records(straight)[:common] != _records(folder)[:common] or not common:
            wrong.append("the records are not those of an undisturbed run")
    return steps, wrong


def gaps(records: list[tuple[Any, ...]]) -> list[str]:
    """Steps that are missing from a run's records, or there twice."""
    steps = [one[0] for one in records if one[1] == "train"]
    if steps != list(range(1, len(steps) + 1)):
        return [f"the steps are not 1 to {len(steps)}: {steps[:3]} ... {steps[-5:]}"]
    return []


def kill_apps(kills: int, seed: int, longest: float = 12.0) -> list[str]:
    """What went wrong."""
    rng = random.Random(seed)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tmp"
        folder.mkdir()
        port = free_port()
        environment = {**os.environ, "TMPDIR": str(folder), "GRADIO_SERVER_PORT": str(port)}
        log = Path(name) / "app.log"
        for number in range(kills):
            with log.open("ab") as out:
                app = subprocess.Popen(
                    [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out
                )
            moment = time.monotonic() + rng.uniform(0, longest)
            with contextlib.suppress(Exception):  # it is not up yet, or has no training
                while time.monotonic() < moment - 0.5:
                    time.sleep(0.3)
                    page = Page(f"http://127.0.0.1:{port}", f"kill-{number}")
                    page.start()
                    break
            time.sleep(max(0.0, moment - time.monotonic()))
            workers = _workers(app.pid)
            if app.poll() is not None:
                wrong.append(f"kill {number}: the app ended by itself with {app.returncode}")
            app.kill()
            app.wait()
            deadline = time.monotonic() + _ENDS_SECONDS
            while any(map(_alive, workers)) and time.monotonic() < deadline:
                time.sleep(0.1)
            if any(map(_alive, workers)):
                wrong.append(f"kill {number}: a training outlives its app")
        os.environ["TMPDIR"], before = str(folder), os.environ.get("TMPDIR")
        try:
            app = start_app(log, port)
        finally:
            os.environ.pop("TMPDIR")
            if before is not None:
                os.environ["TMPDIR"] = before
        owners = [path.read_text().strip() for path in folder.glob("maml-sketchpad-*/owner")]
        if owners != [str(app.pid)] * 2:
            wrong.append(f"folders of dead processes are left: {owners}")
        stop_app(app)
        left = [path.name for path in folder.glob("maml-*")]
        if left:
            wrong.append(f"left behind: {left}")
        if "Traceback" in log.read_text():
            wrong.append("a traceback: " + log.read_text()[-1500:])
        shutil.rmtree(folder)
    return wrong


def _workers(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(path.parent.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    trainings = given.kills // 2
    steps, wrong = kill_trainings(trainings, given.seed)
    print(f"{trainings} kills of a training: {steps} steps, {len(wrong)} things wrong", flush=True)
    more = kill_apps(given.kills - trainings, given.seed)
    print(f"{given.kills - trainings} kills of the app: {len(more)} things wrong")
    end_with(wrong + more)


if __name__ == "__main__":
    main()
