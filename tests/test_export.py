"""The exported network runs by itself and answers as the page does."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from drawings import BAR, CROSS, ROUND, TILTED, document, picture

import maml
from maml.model import MetaNetwork
from maml.sessions.answers import adapt_and_classify, answer
from maml.sessions.document import parse_document
from maml.sessions.draw_session import DrawSession
from maml.sessions.export import pack_learner
from maml.sessions.refusal import Refusal

SYMBOLS: list[dict[str, Any]] = [
    {"id": 1, "name": "Round", "examples": [{"strokes": ROUND}, {"picture": picture(ROUND)}]},
    {"id": 2, "name": "Cross ✚", "examples": [{"strokes": CROSS}]},
    {"id": 3, "name": "Empty"},
]
QUERIES = {"tilted": TILTED, "round": ROUND, "bar": [[[500, 100], [505, 900]], [[1, 1]]]}


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    return maml.load_pretrained()


def unpacked(packed: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the exported program in a fresh process that lacks all that the zip does not ask for."""
    left_out = ("gradio", "matplotlib", "huggingface_hub", "starlette", "pytest")
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({left_out!r}))\n"
        f"sys.path[0] = {str(folder)!r}; sys.argv[0] = 'run.py'\n"
        f"runpy.run_path({str(folder / 'run.py')!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )


def test_the_exported_network_answers_as_the_page_does(model: MetaNetwork, tmp_path: Path) -> None:
    session = DrawSession()
    renamed = [{**SYMBOLS[0], "name": "Disc"}, *SYMBOLS[1:]]
    answer(parse_document(document(symbols=SYMBOLS, steps=3)), session, model)
    packed = pack_learner(parse_document(document(symbols=renamed, steps=3)), session, model)
    folder = unpacked(packed, tmp_path / "adapted network")
    for name, strokes in QUERIES.items():
        url = picture(strokes, side=300, pen=8)
        (tmp_path / f"{name}.png").write_bytes(base64.b64decode(url.partition(",")[2]))
    ran = run(folder, *(f"{name}.png" for name in QUERIES))
    assert ran.returncode == 0, ran.stderr
    printed = [json.loads(line) for line in ran.stdout.splitlines()]
    expected = adapt_and_classify(
        model,
        [{"name": one["name"], "examples": one["examples"]} for one in renamed[:2]],
        [{"picture": picture(strokes, side=300, pen=8)} for strokes in QUERIES.values()],
        3,
    )
    for name, one, page in zip(QUERIES, printed, expected["answers"], strict=True):
        assert (one["file"], one["name"]) == (f"{name}.png", page["name"])
        assert list(one["probabilities"]) == ["Disc", "Cross ✚"]
        shares = list(one["probabilities"].values())
        assert shares == pytest.approx(page["probabilities"], abs=1e-4)
        assert one["unknown"] == pytest.approx(page["unknown"], abs=1e-4)
    assert [one["name"] for one in printed] == ["Cross ✚", "Disc", None]


def test_the_program_says_how_it_is_used_and_what_it_cannot_read(
    model: MetaNetwork, tmp_path: Path
) -> None:
    packed = pack_learner(parse_document(document()), DrawSession(), model)
    folder = unpacked(packed, tmp_path / "network")
    bare, helped = run(folder), run(folder, "--help")
    assert (bare.returncode, helped.returncode) == (2, 0)
    assert "python run.py picture.png" in bare.stdout == helped.stdout
    (tmp_path / "no.png").write_text("hello")
    (tmp_path / "blank.png").write_bytes(base64.b64decode(picture([]).partition(",")[2]))
    (tmp_path / "bar.png").write_bytes(base64.b64decode(picture(BAR).partition(",")[2]))
    ran = run(folder, "no.png", "gone.png", "blank.png", "bar.png")
    assert ran.returncode == 1 and json.loads(ran.stdout)["file"] == "bar.png"
    told = ran.stderr.splitlines()
    assert [line.partition(":")[0] for line in told] == ["no.png", "gone.png", "blank.png"]


def test_the_zip_says_what_it_is_and_holds_nothing_else(model: MetaNetwork, tmp_path: Path) -> None:
    packed = pack_learner(parse_document(document(symbols=SYMBOLS)), DrawSession(), model)
    folder = unpacked(packed, tmp_path)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "tells 2 symbols apart: Round, Cross ✚." in readme
    assert "adapted to 3 drawings in 1" in readme
    assert "python -m pip install -r requirements.txt" in readme
    required = (folder / "requirements.txt").read_text().split()
    assert f"torch>={torch.__version__.partition('+')[0]}" in required
    assert not any("+" in line for line in required)
    assert {one.name for one in folder.iterdir()} == {
        *("adapted.safetensors", "run.py", "requirements.txt", "LICENSE", "README.md", "maml"),
    }
    assert not (folder / "maml" / "demo").exists() and len(packed) < 5e6


def test_what_cannot_be_exported_is_refused(model: MetaNetwork) -> None:
    with pytest.raises(Refusal, match="missing_two"):
        pack_learner(parse_document(document(symbols=SYMBOLS[:1])), DrawSession(), model)
    broken = maml.load_pretrained()
    with torch.no_grad():
        for tensor in broken.parameters():
            tensor.fill_(math.nan)
    with pytest.raises(Refusal, match="no_finite_answer"):
        pack_learner(parse_document(document()), DrawSession(), broken)
