"""The examples, run with a reader's arguments; they use public names only."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from typing import Protocol

import pytest
import torch
from PIL import Image, ImageDraw

import maml

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


class Run(Protocol):
    """Runs an example; returns the lines that it prints."""

    def __call__(self, name: str, *arguments: str | Path) -> list[str]: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(name: str, *arguments: str | Path) -> list[str]:
        path = str(ROOT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        with torch.random.fork_rng():
            runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_use_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert [name for name in imported if name.startswith("maml")] == ["maml"]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "maml"
    }
    assert used and used <= set(maml.__all__)


def picture(path: Path, kind: str, shift: int = 0) -> Path:
    image = Image.new("RGB", (120, 110), "white")
    pen = ImageDraw.Draw(image)
    x, y = 30 + shift, 25 + shift
    if kind == "ring":
        pen.ellipse((x, y, x + 50, y + 50), outline="black", width=5)
    elif kind == "cross":
        pen.line((x, y, x + 50, y + 50), "black", 5)
        pen.line((x + 50, y, x, y + 50), "black", 5)
    else:
        for row in range(4):
            pen.line((x, y + 16 * row, x + 50, y + 16 * row), "black", 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def test_adapt_folder(tmp_path: Path, run: Run) -> None:
    for kind in ("cross", "ring"):
        for number in range(3):
            picture(tmp_path / "symbols" / kind / f"{number}.png", kind, 4 * number)
    queries = [picture(tmp_path / f"{kind}.png", kind, 2) for kind in ("ring", "cross", "bars")]
    saved = tmp_path / "learner.safetensors"
    lines = run("adapt_folder.py", tmp_path / "symbols", *queries, "--save", saved)
    assert [line.partition(" (")[0] for line in lines] == [
        f"{queries[0]}: ring",
        f"{queries[1]}: cross",
        f"{queries[2]}: none of these",
    ]
    assert all(
        re.search(r"\(cross \d+ %, ring \d+ %, none of these \d+ %\)$", line) for line in lines
    )
    inks = [maml.read_picture(path) for path in queries]
    assert maml.AdaptedLearner.load(saved).predict(inks).winners == ("ring", "cross", None)


def test_evaluate_callable(run: Run) -> None:
    given = ["--data", "generated", "--alphabets", "2", "--tasks", "6"]
    lines = run("evaluate_callable.py", *given)
    number = r"(\d+\.\d\d) \+- \d+\.\d\d %"
    shown = [re.fullmatch(rf"(.*), 5-way 1-shot: {number}", line) for line in lines]
    figures = {found[1]: float(found[2]) for found in shown if found}
    assert list(figures) == ["nearest neighbour", "class means", "MAML"]
    assert 20 < figures["class means"] < figures["MAML"]
    data = maml.generate_alphabets(2).split("alphabets", "test")
    again = maml.evaluate(maml.load_pretrained(), data, maml.EpisodeShape(5, 1, 5), tasks=6)
    assert figures["MAML"] == pytest.approx(100 * again.accuracy, abs=0.01)


@pytest.mark.parametrize("options", [[], ["--first-order"]])
def test_own_module_is_trained_saved_and_loaded(
    tmp_path: Path, run: Run, options: list[str]
) -> None:
    out = tmp_path / "own.safetensors"
    steps = ["--iterations", "25" if options else "30"]
    before, after, loaded = run("own_module.py", "--out", out, *steps, *options)
    accuracies = []
    for name, line in (("before", before), ("after", after)):
        match = re.fullmatch(rf"{name}: (\d+\.\d) \+- (\d+\.\d) % \(4-way 2-shot\)", line)
        assert match, line
        accuracies.append(float(match[1]))
    assert accuracies[1] > accuracies[0] + (5 if options else 20)
    assert re.fullmatch(r"loaded: \d+ of 20 right on one more task", loaded)
    assert out.exists() and out.with_suffix(".json").exists()
