"""`maml train --log`: the records of a run arrive where people keep their runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from trainings import small_recipe

from maml.trackers import tracked

RECORDS: list[dict[str, Any]] = [
    {"iteration": 1, "mode": "train", "loss": 1.5, "acc": 20.0, "time": 10.0},
    {
        "iteration": 1,
        "mode": "test",
        "loss": 1.0,
        "acc": 50.0,
        "time": 11.0,
        "others": {"20-way": 9.0},
    },
]


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is an extra that is not installed")


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    with tracked("tensorboard", tmp_path, small_recipe(1)) as log:
        for record in RECORDS:
            log(record)
    reading: Any = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    kept = {name: found.Scalars(name)[0] for name in found.Tags()["scalars"]}
    assert {name: one.value for name, one in kept.items()} == {
        "train/loss": 1.5,
        "train/acc": 20.0,
        "test/loss": 1.0,
        "test/acc": 50.0,
        "test/acc 20-way": 9.0,
    }
    assert kept["test/acc"].step == 1 and kept["test/acc"].wall_time == 11.0


@needs("trackio")
@pytest.mark.filterwarnings("ignore")
def test_trackio_gets_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    with tracked("trackio", tmp_path / "my-run", small_recipe(1)) as log:
        for record in RECORDS:
            log(record)
    storage: Any = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    train, test = storage.get_logs("maml-sketchpad", "my-run")
    assert train["train/loss"] == 1.5 and train["train/acc"] == 20 and train["step"] == 1
    assert test["test/acc"] == 50 and test["test/acc 20-way"] == 9


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with (
        pytest.raises(ValueError, match=r"pip install 'maml-sketchpad\[trackio\]'; got"),
        tracked("trackio", tmp_path, small_recipe(1)),
    ):
        pass
