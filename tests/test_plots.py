"""Figures: the curves stand where the figures say, and no global state of matplotlib is left."""

from __future__ import annotations

import dataclasses
import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

import maml
from maml.adapt import AdaptationStep
from maml.plots import (
    RUN_COLOURS,
    ImageFormat,
    RunCurves,
    accuracy_figure,
    adaptation_figure,
    runs_figure,
)

BLUE, RED = (0x34, 0x8A, 0xBD), (0xA6, 0x06, 0x28)
PAPER = (0xEE, 0xEE, 0xEE)
"""The colours of matplotlib's style bmh."""


def level(mode: str, accuracy: float) -> list[dict[str, object]]:
    return [
        {"epoch": epoch, "loss": 0.5, "acc": accuracy, "mode": mode, "time": 0.0}
        for epoch in (0, 5, 10)
    ]


def height(content: bytes, colour: tuple[int, int, int]) -> float:
    """How high a level line of that colour stands in the axes, 0 at the bottom and 1 at the top."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    axes = np.flatnonzero((pixels == PAPER).all(axis=2).mean(axis=1) > 0.3)
    inside = pixels[axes[0] : axes[-1] + 1]
    rows = np.flatnonzero((inside == colour).all(axis=2).sum(axis=1) > 100)
    return 1 - float(rows.mean()) / len(inside)


def test_accuracy_curves_stand_between_70_and_100() -> None:
    content = accuracy_figure(level("train", 85) + level("test", 94))
    assert height(content, BLUE) == pytest.approx(0.5, abs=0.01)
    assert height(content, RED) == pytest.approx(0.8, abs=0.01)


def test_accuracy_axis_can_begin_lower() -> None:
    content = accuracy_figure(level("train", 85) + level("test", 40), lowest=0)
    assert height(content, BLUE) == pytest.approx(0.85, abs=0.01)
    assert height(content, RED) == pytest.approx(0.4, abs=0.01)


def test_accuracy_figure_names_its_axes_and_curves() -> None:
    content = accuracy_figure(level("train", 85), image_format="svg").decode()
    for text in ("Epoch", "Accuracy", "Train", "Test", "70", "100"):
        assert f"<!-- {text} -->" in content


def test_records_of_other_modes_are_passed_over() -> None:
    bare = accuracy_figure(level("train", 85))
    assert accuracy_figure(level("pretraining", 99) + level("train", 85)) == bare
    assert accuracy_figure(level("train", 86)) != bare


def test_unfinished_runs_can_be_drawn() -> None:
    assert Image.open(io.BytesIO(accuracy_figure([]))).size == (900, 600)
    lone = accuracy_figure(level("test", 90)[:1])
    assert lone != accuracy_figure([])


def test_adaptation_curves() -> None:
    steps = [AdaptationStep(step, loss=1.0, accuracy=0.42) for step in range(4)]
    content = adaptation_figure(steps)
    assert height(content, RED) == pytest.approx(0.4, abs=0.01)
    text = adaptation_figure(steps, image_format="svg").decode()
    for label in ("Inner step", "Support loss (nats)", "Support accuracy (%)"):
        assert f"<!-- {label} -->" in text
    # Steps are whole numbers.
    assert "<!-- 3 -->" in text
    assert "<!-- 0.5 -->" not in text.split("Inner step")[0]


@pytest.mark.parametrize(
    ("image_format", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_formats(image_format: ImageFormat, head: bytes) -> None:
    assert accuracy_figure(level("test", 90), image_format=image_format).startswith(head)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="Record 2 has no acc, mode"):
        accuracy_figure([*level("test", 90)[:1], {"epoch": 1}])
    with pytest.raises(ValueError, match=r"must begin in \[0, 100\); got 100"):
        accuracy_figure([], lowest=100)
    with pytest.raises(ValueError, match="Unknown format 'bmp'; choose one of png, svg, pdf"):
        accuracy_figure([], image_format="bmp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="trajectory is empty"):
        adaptation_figure([])


def test_threads_do_not_disturb_one_another() -> None:
    before = dict(matplotlib.rcParams)
    wanted = accuracy_figure(level("train", 85))
    with ThreadPoolExecutor(4) as pool:
        figures = list(pool.map(lambda _: accuracy_figure(level("train", 85)), range(8)))
    assert all(figure == wanted for figure in figures)
    assert dict(matplotlib.rcParams) == before


STAGES = (("pre-training", 10), ("meta-training", 30))


def run_curves(accuracy: float, name: str = "Run 1", last: int = 30) -> RunCurves:
    train = [[step, accuracy, 1.0] for step in range(1, last + 1)]
    return RunCurves(name, train, [[last, accuracy, None]], 20.0, STAGES)


def texts_of(runs: list[RunCurves], lowest: float = 0.0) -> set[str]:
    content = runs_figure(runs, title="Title", lowest=lowest, image_format="svg").decode()
    return set(re.findall(r"<!-- (.*?) -->", content))


def test_a_figure_of_runs_names_everything_in_it() -> None:
    texts = texts_of([run_curves(50), run_curves(60, "Run 2")])
    assert {"Title", "Step", "Accuracy (%)", "Loss (nats)", "chance"} <= texts
    assert {"Run 1: training tasks", "Run 1: test tasks", "Run 2: test tasks"} <= texts
    assert {"pre-training", "meta-training"} <= texts
    assert {"0", "100"} <= texts


def test_runs_have_the_train_tabs_colours() -> None:
    style = (Path(maml.__file__).parent / "demo" / "assets" / "train_board.css").read_text()
    light = style.partition(".dark")[0]
    assert tuple(re.findall(r"--run-\d: (#[0-9a-f]{6})", light)) == RUN_COLOURS
    curves = [run_curves(50), dataclasses.replace(run_curves(60), colour=RUN_COLOURS[4])]
    content = runs_figure(curves, image_format="svg").decode()
    drawn = {colour for colour in RUN_COLOURS if f"stroke: {colour}" in content}
    assert drawn == {RUN_COLOURS[0], RUN_COLOURS[4]}


def test_a_stage_that_was_not_reached_is_not_marked() -> None:
    assert "meta-training" not in texts_of([run_curves(50, last=9)])


def test_a_figure_of_runs_begins_where_it_is_told() -> None:
    assert "40" in texts_of([run_curves(90)])
    assert "40" not in texts_of([run_curves(90)], lowest=70)
    with pytest.raises(ValueError, match=r"\[0, 100\); got 100"):
        runs_figure([run_curves(90)], lowest=100)
    with pytest.raises(ValueError, match="at least one run"):
        runs_figure([])
