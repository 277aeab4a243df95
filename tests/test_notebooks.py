"""The notebooks run from top to bottom, on generated alphabets and for a few steps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = (ROOT / "docs" / f"omniglot-notebook{suffix}.ipynb" for suffix in ("", ".zh"))
QUICKLY = {
    "EPOCHS, ITERATIONS, TEST_TASKS": "2, 3, 4",
    "DATA": '"generated"',
    "    characters": 'maml.generate_alphabets(4, 6, 10, framing="frame")',
}


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def code(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(path, "code"))


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    program = code(ENGLISH)
    for name, value in QUICKLY.items():
        program, changed = re.subn(f"^{name} = .*$", f"{name} = {value}", program, flags=re.M)
        assert changed
    program += "\nplot(log).save('curves.png')\n"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    number = r"\d+\.\d\d"
    lines = ended.stdout.splitlines()
    assert lines[1] == "4981"
    shown = [line for line in lines if line.startswith("[Epoch")]
    line = rf"\[Epoch {number}\] (Train|Test) Loss: {number} \| Acc: {number}( \| Time: {number})?"
    assert len(shown) == 4 and all(re.fullmatch(line, one) for one in shown)
    assert lines[-6].startswith("0 ") and lines[-1].startswith("5 ")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_both_languages_have_the_same_code_and_figures() -> None:
    for kind in ("source", "outputs"):
        english, chinese = (
            [cell[kind] for cell in cells(path, "code")] for path in (ENGLISH, CHINESE)
        )
        assert english == chinese
    assert len(cells(ENGLISH, "markdown")) == len(cells(CHINESE, "markdown"))


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_it_shows_what_it_printed_and_links_lead_somewhere(path: Path) -> None:
    shown = [cell["outputs"] for cell in cells(path, "code") if cell["outputs"]]
    assert len(shown) == 5 and [len(output) for output in shown] == [1, 1, 2, 1, 1]
    assert "image/png" in shown[2][1]["data"]
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])):
            assert "://" in target or (path.parent / target).exists(), target
