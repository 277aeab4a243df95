"""Trainings that several processes share, each time by torchrun and real processes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from parallel_program import SMALL, STEPS, small_alphabets, write_pretraining_gradient
from safetensors.torch import load_file

from maml.checkpoint import load_training_iteration
from maml.parallel import ALONE, joined
from maml.runs import TrainingRun

TESTS = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}


def training(folder: Path, *arguments: str) -> list[str]:
    """The command by which two processes train."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [str(TESTS / "parallel_program.py"), str(folder), "train", "--source", "generated"]
    return [sys.executable, *start, *words, "--out", str(folder / "run"), *arguments]


def train_alone(
    folder: Path, recipe: str, resume: bool = False, until: float = math.inf
) -> list[dict[str, Any]]:
    """Train in this process, to the end or up to some step; returns the records."""
    run = TrainingRun(folder / "run", SMALL[recipe], small_alphabets(), resume=resume)
    with closing(run.records()) as taken:
        for record in taken:
            if record.iteration > until:
                break
    return records(folder)


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two processes that found a gradient and trained to the end."""
    folder = tmp_path_factory.mktemp("together")
    words = training(folder, "--recipe", "meta")
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path, together: Path) -> None:
    expected = train_alone(tmp_path, "meta")
    found = records(together)
    for key in ("mode", "iteration", "epoch"):
        assert [one[key] for one in found] == [one[key] for one in expected]
    assert len(found) > STEPS
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    left, right = (
        load_file(folder / "run" / "model.safetensors") for folder in (tmp_path, together)
    )
    assert left.keys() == right.keys()
    # What is added to all rows of the head changes no softmax: the gradient of their start is
    # nothing but rounding.
    for name in left.keys() - {"head_start"}:
        assert float((left[name] - right[name]).abs().max()) < 1e-5, name


@pytest.mark.slow
def test_two_processes_find_the_gradient_of_a_pretraining_episode(
    tmp_path: Path, together: Path
) -> None:
    write_pretraining_gradient(tmp_path, ALONE)
    left, right = (load_file(folder / "gradient.safetensors") for folder in (tmp_path, together))
    assert not any(right[name].any() for name in right.keys() - left.keys())
    assert float(left["stages.0.0.weight"].abs().max()) > 0.01
    for name, tensor in left.items():
        assert torch.allclose(right[name], tensor, rtol=1e-9, atol=1e-9), name


@pytest.mark.slow
def test_a_lost_process_ends_the_run_which_one_process_resumes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    parts.mkdir()
    started = subprocess.Popen(
        training(parts, "--recipe", "long", "--save-every", "1000"),
        env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_steps(parts, 6)
        os.kill(int((parts / "process-1").read_text()), signal.SIGKILL)
        _, said = started.communicate(timeout=120)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
    told = [line for line in said.splitlines() if line.startswith("maml:")]
    assert told == [
        "maml: Another process of the training has ended; what was saved can be resumed with "
        "--resume, by any number of processes."
    ]
    before = records(parts)
    last = before[-1]["iteration"]
    assert load_training_iteration(parts / "run" / "state.safetensors") == last
    assert 6 <= last < 200

    expected = train_alone(whole, "long", until=last + 10)
    found = train_alone(parts, "long", resume=True, until=last + 10)
    assert found[-1]["iteration"] > last
    assert [one["iteration"] for one in found] == [one["iteration"] for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def wait_for_steps(folder: Path, steps: int) -> None:
    metrics = folder / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count('"train"') < steps:
        assert time.monotonic() < deadline, "the training did not get that far"
        time.sleep(0.02)


def test_one_process_needs_no_others() -> None:
    with joined("cpu") as processes:
        assert processes is ALONE
        assert processes.leads


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with (
        pytest.raises(ValueError, match="WORLD_SIZE must be a whole number; got 'two'"),
        joined("cpu"),
    ):
        pass
