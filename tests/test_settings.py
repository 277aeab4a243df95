"""Variables of the environment: each is checked before anything is loaded, and named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maml.sessions.scratch import ScratchFolder
from maml.sessions.settings import ServerSettings, SettingError


def read(**environment: str) -> ServerSettings:
    return ServerSettings.from_environment(environment)


def test_without_variables_the_defaults_hold() -> None:
    assert read() == ServerSettings()
    assert read(SPACE_ID="someone/space") == ServerSettings(training_minutes=10.0, proxies=1)
    assert read(MAML_WEIGHTS="", MAML_RUNS="", OMNIGLOT_DIR="") == ServerSettings()


def test_variables_are_read(tmp_path: Path) -> None:
    assert read(
        MAML_WEIGHTS="someone/weights@main",
        MAML_TRAININGS="2",
        MAML_TRAINING_MINUTES="2.5",
        MAML_GRACE_SECONDS="5",
        MAML_RUNS=str(tmp_path / "new" / "runs"),
        MAML_PROXIES="2",
        GRADIO_SERVER_NAME="127.0.0.1",
        GRADIO_SERVER_PORT="7861",
        GRADIO_ROOT_PATH="/sketch",
        MAML_RUNS_MEGABYTES="50",
        MAML_MCP="1",
    ) == ServerSettings(
        "someone/weights@main", 2, 2.5, 5.0, tmp_path / "new" / "runs", 2, 50, mcp=True
    )
    assert (tmp_path / "new" / "runs").is_dir()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("MAML_TRAININGS", "abc", "must be a whole number from 1 to 64"),
        ("MAML_TRAININGS", "", "must be a whole number"),
        ("MAML_TRAININGS", "0", "must be a whole number"),
        ("MAML_TRAININGS", "-1", "must be a whole number"),
        ("MAML_TRAININGS", "1.5", "must be a whole number"),
        ("MAML_TRAININGS", "9" * 5000, "must be a whole number"),
        ("MAML_TRAININGS", "\u0663", "must be a whole number"),
        ("MAML_TRAINING_MINUTES", "soon", "must be a number of minutes"),
        ("MAML_TRAINING_MINUTES", "", "must be a number of minutes"),
        ("MAML_TRAINING_MINUTES", "-1", "must be a number of minutes"),
        ("MAML_TRAINING_MINUTES", "nan", "must be a number of minutes"),
        ("MAML_TRAINING_MINUTES", "inf", "must be a number of minutes"),
        ("MAML_GRACE_SECONDS", "long", "must be a number of seconds above 0"),
        ("MAML_GRACE_SECONDS", "0", "must be a number of seconds above 0"),
        ("MAML_PROXIES", "many", "must be a whole number from 0 to 10"),
        ("MAML_RUNS_MEGABYTES", "9", "must be a whole number from 10"),
        ("MAML_MCP", "yes", "must be 1 or 0"),
        ("MAML_RUNS", "/etc/passwd", "must be a folder that can be written to"),
        ("MAML_RUNS", "/etc/passwd/runs", "must be a folder that can be written to"),
        ("GRADIO_TEMP_DIR", "/proc/none", "must be a folder that can be written to"),
        ("OMNIGLOT_DIR", "/nowhere", "must be a folder that is there"),
        ("QUICKDRAW_DIR", "/etc/passwd", "must be a folder that is there"),
        ("GRADIO_SERVER_PORT", "abc", "must be a whole number from 1 to 65535"),
        ("GRADIO_SERVER_PORT", "", "must be a whole number from 1 to 65535"),
        ("GRADIO_SERVER_PORT", "70000", "must be a whole number from 1 to 65535"),
        ("GRADIO_NUM_PORTS", "x", "must be a whole number"),
        ("GRADIO_SERVER_NAME", "203.0.113.1", "must be a name or an address of this machine"),
        ("GRADIO_SERVER_NAME", "no such name", "must be a name or an address of this machine"),
        ("GRADIO_ROOT_PATH", "sketch", "must be a path that begins with /"),
        ("GRADIO_ROOT_PATH", "http://[", "GRADIO_ROOT_PATH"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_variable(name: str, text: str, reason: str) -> None:
    with pytest.raises(SettingError) as refused:
        read(**{name: text})
    message = str(refused.value)
    assert message.startswith(name) and reason in message and message.endswith(f"got {text!r}")


def test_a_scratch_folder_is_removed_by_its_owner(tmp_path: Path) -> None:
    scratch = ScratchFolder(tmp_path)
    assert (scratch.path / "owner").read_text() == f"{os.getpid()}\n"
    (scratch.path / "session" / "run").mkdir(parents=True)
    scratch.remove()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_processes_are_removed_and_others_are_not(tmp_path: Path) -> None:
    dead = tmp_path / "maml-sketchpad-dead"
    (dead / "session").mkdir(parents=True)
    (dead / "owner").write_text(f"{os.getpid()}\n")  # the number is used again, by this process
    somebodys = tmp_path / "maml-sketchpad-of-mine"
    somebodys.mkdir()
    living = ScratchFolder(tmp_path)
    another = ScratchFolder(tmp_path)
    assert not dead.exists() and somebodys.exists()
    assert living.path.exists() and another.path.exists()
    living.remove()
    another.remove()


def test_a_setting_that_needs_a_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not read(MAML_MCP="0").mcp
    with pytest.raises(SettingError, match="MAML_MCP needs the package mcp: pip install"):
        read(MAML_MCP="1")
