"""The exported network runs by itself and answers as the page does."""

from __future__ import annotations

import base64
import functools
import io
import json
import math
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from drawings import CROSS, ROUND, TILTED, document, picture
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


@functools.cache
def not_asked_for(required: str) -> list[str]:
    """Modules that an environment with these requirements, and what they need, would lack."""
    wanted = [Requirement(line) for line in required.splitlines()]
    there: set[str] = set()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        if name in there or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        there.add(name)
        wanted += map(Requirement, metadata.distribution(name).requires or ())
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners}
    ]


def run(folder: Path, *runs: list[str]) -> list[tuple[int, str, str]]:
    """Run the exported program in a fresh process that lacks all that the zip does not ask for.

    Args:
        folder: the unpacked zip.
        runs: the arguments of each run; one after the other, all in this process.

    Returns:
        The status, the output and the errors of each.
    """
    left_out = not_asked_for((folder / "requirements.txt").read_text())
    assert {"gradio", "matplotlib", "huggingface_hub", "pydantic", "pytest"} <= set(left_out)
    code = (
        f"import contextlib, io, json, runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({left_out!r}))\n"
        f"sys.path[0] = {str(folder)!r}\n"
        f"for arguments in json.loads(sys.argv[1]):\n"
        f"    sys.argv, status = ['run.py', *arguments], 0\n"
        f"    out, errors = io.StringIO(), io.StringIO()\n"
        f"    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):\n"
        f"        try: runpy.run_path({str(folder / 'run.py')!r}, run_name='__main__')\n"
        f"        except SystemExit as ended: status = ended.code or 0\n"
        f"    print(json.dumps([status, out.getvalue(), errors.getvalue()]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(runs)],
        cwd=folder.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    return [(one[0], one[1], one[2]) for one in map(json.loads, ran.stdout.splitlines())]


RENAMED = [{**SYMBOLS[0], "name": "Disc"}, *SYMBOLS[1:]]


@pytest.fixture(scope="module")
def ran(model: MetaNetwork, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str, str]]:
    """What the exported program did: with queries, with no argument, for help, with bad files."""
    folder = tmp_path_factory.mktemp("export")
    session = DrawSession()
    answer(parse_document(document(symbols=SYMBOLS, steps=3)), session, model)
    packed = pack_learner(parse_document(document(symbols=RENAMED, steps=3)), session, model)
    for name, strokes in QUERIES.items():
        url = picture(strokes, side=300, pen=8)
        (folder / f"{name}.png").write_bytes(base64.b64decode(url.partition(",")[2]))
    (folder / "no.png").write_text("hello")
    (folder / "blank.png").write_bytes(base64.b64decode(picture([]).partition(",")[2]))
    unreadable = ["no.png", "gone.png", "blank.png", "bar.png"]
    queries = [f"{name}.png" for name in QUERIES]
    return run(unpacked(packed, folder / "adapted network"), queries, [], ["--help"], unreadable)


@pytest.mark.process
def test_the_exported_network_answers_as_the_page_does(
    model: MetaNetwork, ran: list[tuple[int, str, str]]
) -> None:
    status, out, errors = ran[0]
    assert status == 0, errors
    assert "Cross ✚" in out, "names stand as they were written"
    printed = [json.loads(line) for line in out.splitlines()]
    expected = adapt_and_classify(
        model,
        [{"name": one["name"], "examples": one["examples"]} for one in RENAMED[:2]],
        [{"picture": picture(strokes, side=300, pen=8)} for strokes in QUERIES.values()],
        3,
    )
    for name, one, page in zip(QUERIES, printed, expected["answers"], strict=True):
        assert (one["file"], one["name"]) == (f"{name}.png", page["name"])
        assert list(one["probabilities"]) == ["Disc", "Cross ✚"]
        shares = list(one["probabilities"].values())
        assert shares == pytest.approx(page["probabilities"], abs=1e-4)
        assert one["unknown"] == pytest.approx(page["unknown"], abs=1e-4)
        assert one["shares"] == pytest.approx(page["shares"], abs=1e-4)
    assert [one["name"] for one in printed] == ["Cross ✚", "Disc", None]


@pytest.mark.process
def test_the_program_says_how_it_is_used_and_what_it_cannot_read(
    ran: list[tuple[int, str, str]],
) -> None:
    bare, helped, (status, out, errors) = ran[1:]
    assert (bare[0], helped[0]) == (2, 0)
    assert "python run.py picture.png" in bare[1] == helped[1]
    assert status == 1 and json.loads(out)["file"] == "bar.png"
    told = errors.splitlines()
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
    assert not (folder / "maml" / "demo").exists() and len(packed) < 1e7


def test_what_cannot_be_exported_is_refused(model: MetaNetwork) -> None:
    with pytest.raises(Refusal, match="missing_two"):
        pack_learner(parse_document(document(symbols=SYMBOLS[:1])), DrawSession(), model)
    broken = maml.load_pretrained()
    with torch.no_grad():
        for tensor in broken.parameters():
            tensor.fill_(math.nan)
    with pytest.raises(Refusal, match="no_finite_answer"):
        pack_learner(parse_document(document()), DrawSession(), broken)
