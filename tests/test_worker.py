"""A training in a process of its own, from the training's side: figures, commands, saving."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from trainings import PATIENCE, figures, small_recipe, start, wait_until

from maml.checkpoint import load_pretrained, load_training_iteration
from maml.config import InnerLoop
from maml.data.synthetic import load_generated
from maml.data.words import CHOOSE_WORDS, WORDS, part_of
from maml.evaluate import EvaluationResult
from maml.recipes import RECIPES
from maml.runs import RunFolder, TrainingRun
from maml.sessions import events
from maml.sessions.downloads import train_command
from maml.sessions.events import Command
from maml.sessions.form import recipe_of, values_of
from maml.sessions.process import Job
from maml.sessions.training import Training
from maml.sessions.worker import SAVE_SECONDS

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]


def test_the_figures_are_those_of_the_command_line(tmp_path: Path) -> None:
    values = {**values_of(RECIPES["live"]), "pretraining": 3, "iterations": 4, "seed": 5}
    values["evaluation_tasks"] = 10
    chosen = recipe_of("live", values)
    job = Job(chosen, "generated", tmp_path / "page")
    process, listener = start(job)
    training = Training(1, job)
    training._receive(listener.wait_for(events.Begun))
    python, *command = shlex.split(train_command(training))
    assert python == "python"
    subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    ended = listener.wait_for(events.ProcessEnded)
    assert ended.status == 0, ended
    by_line = figures(RunFolder(tmp_path / "run-1"))
    assert [row[0] for row in by_line] == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7]
    assert figures(RunFolder(tmp_path / "page")) == by_line
    sent = [(one.iteration, one.loss) for one in listener.of(events.StepTaken)]
    assert sent == [(row[0], row[2]) for row in by_line if row[1] != "test"]
    last = listener.of(events.Evaluated)[-1]
    assert last.accuracy == pytest.approx(by_line[-1][3] / 100)
    assert [one.iteration for one in listener.of(events.EvaluationBegun)] == [0, 3, 7]
    assert not process.running


def test_real_doodles_train(
    tmp_path: Path, quickdraw_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in WORDS if part_of(word) == "train"][40:70]
    (tmp_path / "doodles").mkdir()
    for name in (f"{word}.ndjson" for word in (*words, *CHOOSE_WORDS)):
        (tmp_path / "doodles" / name).symlink_to(quickdraw_dir.resolve() / name)
    monkeypatch.setenv("QUICKDRAW_DIR", str(tmp_path / "doodles"))
    values = {**values_of(RECIPES["live"]), "evaluation_tasks": 10}
    job = Job(recipe_of("live", values, "quickdraw"), "quickdraw", tmp_path / "page")
    process, listener = start(job)
    listener.wait_for_step(5)
    process.tell(Command.STOP)
    assert process.wait(PATIENCE)
    told = load_pretrained(RunFolder(tmp_path / "page").weights).provenance["data"]
    assert (told["name"], told["split"]) == ("Quick, Draw!", "doodles")


@pytest.mark.slow
def test_it_rests_stops_and_is_resumed_at_the_very_step(tmp_path: Path) -> None:
    whole, heard = start(Job(small_recipe(30), "generated", tmp_path / "whole"))
    process, listener = start(Job(small_recipe(30), "generated", tmp_path / "broken"))
    listener.wait_for_step(3)
    process.tell(Command.PAUSE)
    rested = listener.wait_for(events.Paused).iteration
    process.tell(Command.CONTINUE)
    listener.wait_for_step(rested + 2)
    after_rest = listener.events[listener.events.index(events.Paused(rested)) + 1]
    assert after_rest == events.Continued(rested)
    process.tell(Command.STOP)
    assert process.wait(PATIENCE)
    stopped = listener.wait_for(events.Stopped).iteration
    assert rested < stopped < 30
    folder = RunFolder(tmp_path / "broken")
    assert load_training_iteration(folder.state) == stopped
    assert load_pretrained(folder.weights).provenance["iteration"] == stopped
    again, listener = start(Job(small_recipe(30), "generated", folder.path, resume=True))
    listener.wait_for(events.Finished)
    assert again.wait(PATIENCE)
    assert listener.of(events.Begun)[0].iteration == stopped
    assert listener.of(events.StepTaken)[0].iteration == stopped + 1
    heard.wait_for(events.ProcessEnded)
    assert not whole.running
    assert figures(folder) == figures(RunFolder(tmp_path / "whole"))


def test_stopped_while_it_rests_it_saves_and_ends(tmp_path: Path) -> None:
    process, listener = start(Job(small_recipe(1000), "generated", tmp_path))
    listener.wait_for_step(2)
    process.tell(Command.PAUSE)
    rested = listener.wait_for(events.Paused).iteration
    process.tell(Command.STOP)
    assert process.wait(PATIENCE)
    assert listener.wait_for(events.Stopped).iteration == rested
    assert listener.of(events.Continued) == []
    assert load_training_iteration(RunFolder(tmp_path).state) == rested


def test_stopped_in_an_evaluation_it_does_not_wait_for_its_end(tmp_path: Path) -> None:
    recipe = small_recipe(100, evaluation_tasks=1_000_000)
    process, listener = start(Job(recipe, "generated", tmp_path))
    assert listener.wait_for(events.EvaluationBegun).iteration == 10
    process.tell(Command.STOP)
    assert process.wait(PATIENCE)
    assert listener.wait_for(events.Stopped).iteration == 10
    folder = RunFolder(tmp_path)
    assert load_training_iteration(folder.state) == 10
    assert load_pretrained(folder.weights).provenance["iteration"] == 10


@pytest.mark.slow
def test_killed_it_is_resumed_where_it_was_saved(tmp_path: Path) -> None:
    assert SAVE_SECONDS <= 5, "so much is lost at most"
    folder = RunFolder(tmp_path)
    process, listener = start(Job(small_recipe(1_000_000), "generated", tmp_path))
    wait_until(lambda: folder.state.exists() and load_training_iteration(folder.state) > 0)
    os.kill(process.pid, signal.SIGKILL)
    listener.wait_for(events.ProcessEnded)
    kept = load_training_iteration(folder.state)
    data = load_generated(framing="frame")
    resumed = TrainingRun(tmp_path, small_recipe(1_000_000), data, resume=True).records()
    with closing(resumed):
        first = next(resumed)
        if isinstance(first, EvaluationResult):  # killed while one was due, it makes up for it
            first = next(resumed)
        assert first.iteration == kept + 1


def test_it_leaves_a_core_to_the_app_and_ends_at_an_unknown_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    process, listener = start(Job(small_recipe(1000), "generated", tmp_path))
    begun = listener.wait_for(events.Begun)
    assert begun == events.Begun(0, max(1, (cores or 1) - 1))
    preview = listener.wait_for(events.Preview)
    assert len(preview.accuracy_by_step) == 6
    # A command that it does not know ends it.
    process._write("jump\n")
    assert (
        "expected one of pause, continue, stop, got 'jump'" in listener.wait_for(events.Failed).text
    )
    assert process.wait(PATIENCE)


def failure(job: Job, reason: str = "training") -> str:
    process, listener = start(job)
    failed = listener.wait_for(events.Failed)
    assert process.wait(PATIENCE) and failed.reason == reason
    return failed.text


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    job = Job(small_recipe(10), "omniglot", tmp_path / "run", root=str(tmp_path / "nowhere"))
    assert "nowhere" in failure(job, "data")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "file" in failure(Job(small_recipe(10), "generated", tmp_path / "file" / "run"))


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path) -> None:
    inner = InnerLoop(steps=3, evaluation_steps=3, rate=1e5)
    wild = small_recipe(50, inner=inner, outer_rate=9e5)
    assert "smaller inner or outer rate" in failure(Job(wild, "generated", tmp_path))
