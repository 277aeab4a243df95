"""A training in a process of its own: its figures, its obedience, and that nothing is left."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maml.checkpoint import load_pretrained
from maml.config import InnerLoop, NetworkSettings, Recipe
from maml.recipes import RECIPES
from maml.runs import RunFolder
from maml.sessions.form import recipe_of, values_of
from maml.sessions.process import Job, TrainingProcess

ROOT = Path(__file__).parents[1]


def recipe(iterations: int, **changes: Any) -> Recipe:
    """A small recipe of the notebook's kind."""
    base = RECIPES["notebook"]
    training = replace(base.training, iterations=iterations, epoch=10, evaluation_tasks=4)
    network = NetworkSettings("notebook", channels=4, ways=5)
    return replace(base, network=network, training=replace(training, **changes))


class Listener:
    """Keeps what a training process sends."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.changed = threading.Condition()

    def __call__(self, record: dict[str, Any]) -> None:
        with self.changed:
            self.records.append(record)
            self.changed.notify_all()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["kind"] == kind]

    def wait(self, arrived: Callable[[], Any], seconds: float = 240) -> None:
        with self.changed:
            assert self.changed.wait_for(arrived, seconds), self.records[-3:]

    def wait_for(self, kind: str, seconds: float = 240) -> dict[str, Any]:
        self.wait(lambda: self.of(kind), seconds)
        return self.of(kind)[-1]

    def wait_for_step(self, iteration: int) -> None:
        self.wait(lambda: any(one["iteration"] >= iteration for one in self.of("step")))


def start(job: Job) -> tuple[TrainingProcess, Listener]:
    listener = Listener()
    return TrainingProcess(job, listener), listener


def figures(folder: RunFolder) -> list[tuple[Any, ...]]:
    return [
        (record["iteration"], record["mode"], record["loss"], record["acc"])
        for record in folder.records()
    ]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that waits to be buried has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until_gone(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def test_the_figures_are_those_of_the_command_line(tmp_path: Path) -> None:
    values = {**values_of(RECIPES["quick"]), "pretraining": 3, "iterations": 4, "seed": 5}
    chosen = recipe_of("quick", values)
    process, listener = start(Job(chosen, "generated", tmp_path / "page"))
    settings = ["--recipe", "quick", "--episodes", "3", "--iterations", "4", "--seed", "5"]
    subprocess.run(
        [sys.executable, "-m", "maml", "train", *settings, "--data", "synthetic", "--out", "line"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    ended = listener.wait_for("ended")
    assert ended["status"] == 0, ended
    by_line = figures(RunFolder(tmp_path / "line"))
    assert [row[0] for row in by_line] == [1, 2, 3, 3, 4, 5, 6, 7, 7]
    assert figures(RunFolder(tmp_path / "page")) == by_line
    sent = [(one["iteration"], one["loss"]) for one in listener.of("step")]
    assert sent == [(row[0], row[2]) for row in by_line if row[1] != "test"]
    assert listener.of("test")[-1]["accuracy"] == pytest.approx(by_line[-1][3] / 100)
    assert not process.running


def test_it_rests_goes_on_stops_and_is_taken_up_again_with_the_same_figures(tmp_path: Path) -> None:
    whole, heard = start(Job(recipe(30), "generated", tmp_path / "whole"))
    process, listener = start(Job(recipe(30), "generated", tmp_path / "broken"))
    listener.wait_for_step(3)
    process.pause()
    rested = listener.wait_for("paused")["iteration"]
    time.sleep(0.5)
    assert listener.of("step")[-1]["iteration"] == rested
    process.go_on()
    listener.wait_for_step(rested + 2)
    process.stop()
    assert process.wait(10)
    stopped = listener.wait_for("stopped")["iteration"]
    assert rested < stopped < 30
    folder = RunFolder(tmp_path / "broken")
    assert load_pretrained(folder.weights).provenance["iteration"] == stopped
    again, listener = start(Job(recipe(30), "generated", folder.path, resume=True))
    listener.wait_for("finished")
    assert again.wait(10)
    heard.wait_for("ended")
    assert not whole.running
    assert figures(folder) == figures(RunFolder(tmp_path / "whole"))


def test_it_leaves_a_core_to_the_app_and_shows_tasks_just_solved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    process, listener = start(Job(recipe(1000), "generated", tmp_path))
    glance = listener.wait_for("glance")
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    assert listener.of("begun")[0]["threads"] == max(1, (cores or 1) - 1)
    process.abandon()
    assert len(glance["by_step"]) == 6 and 0 <= min(glance["by_step"]) <= 1
    task = glance["shown"][0]
    assert len(task["answers"]) == task["ways"] == 5
    assert {answer for row in task["answers"] for answer in row} <= set(range(5))
    queries = np.asarray(Image.open(io.BytesIO(base64.b64decode(task["queries"]))))
    assert queries.shape == (3 * 28, 5 * 28) and queries.max() > 200
    support = np.asarray(Image.open(io.BytesIO(base64.b64decode(task["support"]))))
    assert support.shape == (28, 5 * 28)
    wait_until_gone(process.pid, 5)


def test_killed_it_says_so_and_its_records_stay(tmp_path: Path) -> None:
    process, listener = start(Job(recipe(1000), "generated", tmp_path))
    listener.wait_for_step(3)
    os.kill(process.pid, signal.SIGKILL)
    assert listener.wait_for("ended", 5)["status"] == -signal.SIGKILL
    assert len(RunFolder(tmp_path).records()) >= 3


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_does_not_outlive_the_app(tmp_path: Path, ending: signal.Signals) -> None:
    script = (
        "import sys, threading\n"
        "from maml.sessions.process import Job, TrainingProcess\n"
        "job = Job.from_line(sys.stdin.readline())\n"
        "begun = threading.Event()\n"
        "process = TrainingProcess(job, lambda record: record['kind'] == 'step' and begun.set())\n"
        "begun.wait()\n"
        "sys.stdout.write(f'{process.pid}\\n')\n"
        "sys.stdout.flush()\n"
        "threading.Event().wait()\n"
    )
    app = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with app:
        assert app.stdin is not None and app.stdout is not None
        app.stdin.write(Job(recipe(100_000), "generated", tmp_path).to_line())
        app.stdin.flush()
        pid = int(app.stdout.readline())
        assert not gone(pid)
        app.send_signal(ending)
        try:
            app.wait(10)
            wait_until_gone(pid, 5)
        finally:
            app.kill()


def failure(job: Job) -> str:
    process, listener = start(job)
    text = listener.wait_for("failed")["text"]
    assert process.wait(10)
    assert isinstance(text, str)
    return text


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    job = Job(recipe(10), "omniglot", tmp_path / "run", root=str(tmp_path / "nowhere"))
    assert "nowhere" in failure(job)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "file" in failure(Job(recipe(10), "generated", tmp_path / "file" / "run"))


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path) -> None:
    wild = recipe(50, inner=InnerLoop(steps=3, evaluation_steps=3, rate=1e5), outer_rate=9e5)
    assert "smaller inner or outer rate" in failure(Job(wild, "generated", tmp_path))


def test_a_job_survives_its_line(tmp_path: Path) -> None:
    job = Job(recipe(3), "generated", tmp_path, device="cpu", resume=True, root="/data")
    assert Job.from_line(job.to_line()) == job
    assert json.loads(job.to_line())["recipe"]["seed"] == job.recipe.seed
    with pytest.raises(ValueError, match="one of omniglot, generated; 'mnist' came"):
        Job(recipe(3), "mnist", tmp_path)  # type: ignore[arg-type]
