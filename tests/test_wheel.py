"""The wheel: built, installed into an environment of its own, and used away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import maml
from maml.checkpoint import BUNDLED_NAMES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TIDY = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyi", ".*")


def requirements(name: str) -> Iterator[Requirement]:
    """The pinned requirements of a file."""
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-r"):
            yield Requirement(text)


@pytest.mark.parametrize(
    ("file", "ranges"),
    [
        ("requirements.txt", PROJECT["dependencies"]),
        ("requirements-dev.txt", PROJECT["optional-dependencies"]["dev"]),
    ],
)
def test_every_pin_lies_in_its_range(file: str, ranges: list[str]) -> None:
    pins = {pin.name: pin for pin in requirements(file)}
    allowed = {requirement.name: requirement for requirement in map(Requirement, ranges)}
    assert pins.keys() == allowed.keys()
    for name, pin in pins.items():
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert exact.version in allowed[name].specifier, f"{pin} is outside {allowed[name]}"
        bounds = {bound.operator for bound in allowed[name].specifier}
        assert bounds in ({">=", "<"}, {">="}), f"{allowed[name]} is not a range"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made of: a build leaves files in its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("maml", "weights"):
        shutil.copytree(ROOT / name, source / name, ignore=TIDY)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_carries_every_file(wheel: Path) -> None:
    def below(folder: Path) -> Iterator[Path]:
        for path in folder.iterdir():
            if path.name in TIDY(str(folder), [path.name]):
                continue
            if path.is_dir():
                yield from below(path)
            else:
                yield path

    expected = {str(path.relative_to(ROOT)) for path in below(ROOT / "maml")}
    expected |= {f"maml/{path.relative_to(ROOT)}" for path in below(ROOT / "weights")}
    assert {
        "maml/py.typed",
        *(f"maml/weights/{name}.safetensors" for name in BUNDLED_NAMES),
    } <= expected
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert carried == expected


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it.

    The dependencies are those of this environment, lent by a .pth file: they take gigabytes and
    minutes to install.  What lies beside them (an editable install of the checkout) is not lent,
    since a .pth file that was reached by another one is not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(installed: Path, *command: str, cwd: Path) -> str:
    """Run a program of the environment somewhere else; its standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["GRADIO_ANALYTICS_ENABLED"] = "False"
    program = [str(installed / "bin" / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


WATCHED = """
import sys

ROOT, LENT, *ARGUMENTS = sys.argv[1:]


def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith(ROOT + "/"):
        if not str(arguments[0]).startswith(LENT):
            sys.exit(f"{arguments[0]} of the checkout was opened")


sys.addaudithook(watch)
"""
"""The start of a program that fails as soon as a file of the checkout is opened."""


def run_watched(installed: Path, program: str, *arguments: str, cwd: Path) -> str:
    path = cwd / "program.py"
    path.write_text(WATCHED + program)
    lent = sysconfig.get_path("purelib")
    return run(installed, "python", str(path), str(ROOT), lent, *arguments, cwd=cwd)


@pytest.mark.slow
def test_the_console_script_explains_itself(installed: Path, tmp_path: Path) -> None:
    printed = run(installed, "maml", "--help", cwd=tmp_path)
    assert printed.startswith("usage: maml ")
    assert "evaluate" in printed


@pytest.mark.slow
def test_evaluate_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    program = "from maml.__main__ import main\nsys.exit(main(ARGUMENTS))\n"
    options = ["evaluate", "--data", "synthetic", "--tasks", "3"]
    printed = run_watched(installed, program, *options, cwd=tmp_path)
    assert len(printed.splitlines()) == 4
    assert "5-way 1-shot" in printed


@pytest.mark.slow
def test_app_and_weights_load_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    program = """
import gradio
import maml
import maml.demo

maml.load_pretrained("live")
model = maml.load_pretrained()
demo = maml.demo.build_demo()
digits = len(model.provenance["sha256"])
print(maml.__file__, maml.__version__, digits, isinstance(demo, gradio.Blocks))
"""
    file, version, digits, is_page = run_watched(installed, program, cwd=tmp_path).split()
    assert Path(file).is_relative_to(installed)
    assert version == maml.__version__
    assert digits == "64"
    assert is_page == "True"


@pytest.mark.slow
def test_a_run_of_an_installed_package_names_no_commit(installed: Path, tmp_path: Path) -> None:
    """Even if the environment lies in a checkout of something else."""
    shutil.copytree(installed, tmp_path / "env", symlinks=True)
    for words in (
        ["init", "--quiet"],
        ["-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--allow-empty", "-qm", "First"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    program = "from maml.runs import commit_of_code\nprint(commit_of_code())\n"
    (tmp_path / "program.py").write_text(program)
    printed = run(tmp_path / "env", "python", "program.py", cwd=tmp_path)
    assert printed == "unknown\n"


@pytest.mark.slow
def test_the_version_is_said_once(installed: Path, tmp_path: Path) -> None:
    assert "version" not in PROJECT
    program = "from importlib import metadata\nprint(metadata.version('maml-sketchpad'))\n"
    (tmp_path / "program.py").write_text(program)
    assert run(installed, "python", "program.py", cwd=tmp_path) == f"{maml.__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["lowest", "newest"])
def test_it_runs_with_the_versions_at_both_ends_of_its_ranges(
    versions: str, wheel: Path, tmp_path: Path
) -> None:
    """Takes gigabytes and minutes: whole environments are installed from the package index."""
    lowest = {}
    for requirement in map(Requirement, PROJECT["dependencies"]):
        (least,) = (one.version for one in requirement.specifier if one.operator == ">=")
        lowest[requirement.name] = least
    bounds = tmp_path / "constraints.txt"
    pins = lowest.items() if versions == "lowest" else ()
    bounds.write_text("".join(f"{name}=={version}\n" for name, version in pins))
    own = tmp_path / "environment"
    venv.create(own, with_pip=True)
    pip = [str(own / "bin" / "python"), "-m", "pip", "install", "--quiet", "-c", str(bounds)]
    subprocess.run([*pip, str(wheel)], check=True)
    printed = run(own, "maml", "evaluate", "--data", "synthetic", "--tasks", "3", cwd=tmp_path)
    assert "5-way 1-shot" in printed
    program = "import maml.demo; print(type(maml.demo.build_demo()).__name__)"
    assert run(own, "python", "-c", program, cwd=tmp_path) == "SketchpadApp\n"
