"""One training of a visitor: steered, limited, killed, resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from trainings import PATIENCE, gone, scripted, small_recipe, wait_until

from maml.checkpoint import load_pretrained
from maml.sessions import training as module
from maml.sessions.process import Job
from maml.sessions.training import Training

pytestmark = pytest.mark.process


def make(folder: Path, limit_minutes: float = 0) -> Training:
    job = Job(small_recipe(10_000), "generated", folder)
    return Training(1, job, limit_minutes, scripted)


def keep_until(training: Training, reached: Callable[[], object]) -> None:
    """Keep a training's time until something is true."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, training.live()
        training.keep_time()
        training.wait(0.05)


def saved(training: Training) -> int:
    return int(training.folder.state.read_text())


def steps_of(training: Training) -> list[float]:
    return [point[0] for point in training.outline()["train"]]


def test_it_trains_rests_stops_and_is_resumed_at_the_very_step(tmp_path: Path) -> None:
    training = make(tmp_path)
    assert not training.over and not training.has_weights
    training.pause()  # too early: nothing happens
    training.unpause()
    training.start()
    keep_until(training, lambda: training.outline()["test"] and training.has_weights)
    live = training.live()
    assert live["iterations"] == 10_000 and live["iteration"] >= 10 and live["number"] == 1
    outline = training.outline()
    assert 100 * outline["accuracy"] == pytest.approx(outline["test"][-1][1], abs=0.01)
    first = outline["moments"][0]
    steps = training.job.recipe.training.inner.evaluation_steps
    assert first["iteration"] == 0 and len(first["by_step"]) == 1 + steps
    assert any(line.startswith("[Epoch 1.00] Test Loss:") for line in live["lines"])
    assert len(training.solved_tasks()) == 2
    training.pause()
    keep_until(training, lambda: training.state == "paused")
    training.unpause()
    keep_until(training, lambda: training.state == "training")
    with training.changed:  # no event comes in meanwhile
        training.stop()
        assert training.live()["state"] == "stopping"
    keep_until(training, lambda: training.ended)
    assert training.live()["state"] == "stopped" and training.resumable
    stopped = training.iteration
    assert saved(training) == stopped

    training.wait_for_turn(resume=True)
    assert training.state == "waiting" and not training.over
    training.start()
    keep_until(training, lambda: len(steps_of(training)) > 1)
    recorded = [one["iteration"] for one in training.folder.records() if one["mode"] == "train"]
    assert recorded == list(range(1, len(recorded) + 1))
    drawn = steps_of(training)
    assert drawn == sorted(set(drawn)) and drawn[0] <= 50 and training.iteration > stopped
    process = training.process
    assert process is not None
    training.abandon("lost")
    assert training.live()["state"] == "lost" and process.wait(PATIENCE)
    keep_until(training, lambda: training.ended)
    assert training.live()["state"] == "lost"


def test_stopped_while_it_waits_it_never_starts(tmp_path: Path) -> None:
    training = make(tmp_path)
    training.stop()
    assert training.state == "stopped" and training.ended and training.process is None
    assert not training.has_weights and training.outline()["train"] == []


def test_past_its_limit_it_is_stopped_and_saved(tmp_path: Path) -> None:
    training = make(tmp_path, limit_minutes=100)
    training.start()
    keep_until(training, lambda: training.iteration > 2)
    assert training.state == "training" and training.live()["limit"] == 100
    training.limit_minutes = 1e-6
    keep_until(training, lambda: training.ended)
    assert training.live()["state"] == "limit" and training.resumable
    assert saved(training) == training.iteration


def test_stopped_before_its_first_step_it_ends_at_once(tmp_path: Path) -> None:
    training = make(tmp_path)
    with training.changed:  # no event comes in meanwhile
        training.start()
        assert training.state == "preparing"
        training.stop()
        assert training.live()["state"] == "stopped"
    keep_until(training, lambda: training.ended)
    assert training.resumable and training.iteration == 0


def test_a_rest_that_is_too_long_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make(tmp_path)
    training.start()
    keep_until(training, lambda: training.iteration > 2)
    training.pause()
    keep_until(training, lambda: training.state == "paused")
    training.keep_time()
    assert training.live()["state"] == "paused"
    monkeypatch.setattr(module, "PAUSE_MINUTES", 0.0)
    keep_until(training, lambda: training.ended)
    assert training.state == "stopped" and training.resumable


def test_one_that_does_not_obey_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 1e9)
    training = make(tmp_path)
    training.start()
    keep_until(training, lambda: training.iteration > 2)
    assert training.process is not None
    pid = training.process.pid
    os.kill(pid, signal.SIGSTOP)
    training.stop()
    training.keep_time()
    assert training.state == "stopping" and not gone(pid), "it has its time"
    monkeypatch.setattr(module, "STOP_SECONDS", 0.0)
    keep_until(training, lambda: training.ended)
    assert gone(pid) and training.state == "stopped"


def test_one_that_dies_says_so_and_can_be_resumed(tmp_path: Path) -> None:
    training = make(tmp_path)
    training.start()
    keep_until(training, lambda: training.iteration > 2)
    assert training.process is not None
    training.process.kill()
    keep_until(training, lambda: training.ended)
    assert training.state == "died" and training.resumable
    assert len(training.folder.records()) >= training.iteration


def test_abandoned_it_does_not_die_however_soon_its_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make(tmp_path)
    training.start()
    keep_until(training, lambda: training.iteration > 2)
    process = training.process
    assert process is not None
    abandon = process.abandon

    def abandon_and_see_it_end() -> None:
        abandon()
        wait_until(lambda: training._process_gone)

    monkeypatch.setattr(process, "abandon", abandon_and_see_it_end)
    training.abandon("lost")
    assert training.state == "lost" and training.ended


def test_a_process_that_cannot_be_started_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    training = Training(1, Job(small_recipe(1), "generated", tmp_path))
    training.start()
    assert training.state == "failed" and training.ended
    assert "No such file" in training.live()["text"]


@pytest.mark.slow
def test_a_full_disk_ends_it_with_a_clear_word_and_leaves_its_figures(
    small_disk: Callable[[str], Path],
) -> None:
    disk = small_disk("4m")
    training = Training(1, Job(small_recipe(100_000), "generated", disk / "run"))
    training.start()
    keep_until(training, lambda: training.iteration > 2 and training.has_weights)
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(1000)):
            pass
    keep_until(training, lambda: training.ended)
    assert training.state == "failed"
    text = training.live()["text"]
    assert text.startswith(f"Cannot write {disk / 'run'}")
    assert "No space left on device. Free space or choose another folder" in text
    assert len(training.folder.records()) >= training.iteration - 1
    assert load_pretrained(training.folder.weights).provenance["iteration"] > 0
