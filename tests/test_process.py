"""A training in a process of its own, from the app's side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trainings import Listener, gone, small_recipe, start, wait_until

from maml.runs import RunFolder
from maml.sessions import events
from maml.sessions.events import Command
from maml.sessions.process import Job, TrainingProcess, start_program
from maml.sessions.warm import WarmStart
from maml.sessions.worker import PROCESS_NAME

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]


def test_killed_it_says_so_and_its_records_stay(tmp_path: Path) -> None:
    process, listener = start(Job(small_recipe(1000), "generated", tmp_path))
    listener.wait_for_step(3)
    os.kill(process.pid, signal.SIGKILL)
    assert listener.wait_for(events.ProcessEnded, 5).status == -signal.SIGKILL
    assert len(RunFolder(tmp_path).records()) >= 3


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_does_not_outlive_the_app(tmp_path: Path, ending: signal.Signals) -> None:
    script = (
        "import sys, threading\n"
        "from maml.sessions.events import StepTaken\n"
        "from maml.sessions.process import Job, TrainingProcess\n"
        "job = Job.from_line(sys.stdin.readline())\n"
        "begun = threading.Event()\n"
        "receive = lambda event: isinstance(event, StepTaken) and begun.set()\n"
        "process = TrainingProcess(job, receive)\n"
        "begun.wait()\n"
        "sys.stdout.write(f'{process.pid}\\n')\n"
        "sys.stdout.flush()\n"
        "threading.Event().wait()\n"
    )
    app = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with app:
        assert app.stdin is not None and app.stdout is not None
        app.stdin.write(Job(small_recipe(100_000), "generated", tmp_path).to_line())
        app.stdin.flush()
        pid = int(app.stdout.readline())
        assert not gone(pid)
        app.send_signal(ending)
        try:
            app.wait(10)
            wait_until(lambda: gone(pid), 5)
        finally:
            app.kill()


def test_a_program_finds_the_library_before_what_the_app_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = start_program([sys.executable, "-c", "import sys; print(sys.path)"])
    found, _ = program.communicate()
    assert f"{str(ROOT)!r}, {str(tmp_path)!r}" in found


def test_one_that_does_not_obey_is_ended_by_force(tmp_path: Path) -> None:
    process, listener = start(Job(small_recipe(100_000), "generated", tmp_path))
    listener.wait_for_step(1)
    os.kill(process.pid, signal.SIGSTOP)
    process.abandon(0.5)
    assert process.wait(5)
    process.tell(Command.STOP)  # nobody hears it, and nothing happens


def test_a_process_that_speaks_another_language_is_ended(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "sys.stdin.readline()\n"
        'print(\'{"kind": "saved", "iteration": 1}\', flush=True)\n'
        "print('hello', flush=True)\n"
        'print(\'{"kind": "saved", "iteration": 2}\', flush=True)\n'
        "time.sleep(60)\n"
    )
    heard: list[events.Event | events.ProcessEnded] = []
    impostor = start_program([sys.executable, "-c", script])
    process = TrainingProcess(Job(small_recipe(1), "generated", tmp_path), heard.append, impostor)
    assert process.wait(10)
    wait_until(lambda: heard and isinstance(heard[-1], events.ProcessEnded), 10)
    saved, ended = heard
    assert saved == events.Saved(1)
    assert isinstance(ended, events.ProcessEnded)
    assert "expected an event of a training process, got 'hello'" in ended.errors[-1]


def test_a_job_survives_its_line(tmp_path: Path) -> None:
    job = Job(small_recipe(3), "generated", tmp_path, device="cpu", resume=True, root="/data")
    assert Job.from_line(job.to_line()) == job
    assert json.loads(job.to_line())["recipe"]["seed"] == job.recipe.seed
    with pytest.raises(ValueError, match="one of omniglot, quickdraw, generated; got 'mnist'"):
        Job(small_recipe(3), "mnist", tmp_path)  # type: ignore[arg-type]


def test_the_app_starts_it_quickly(tmp_path: Path) -> None:
    """The app's side must not wait for the process to import anything."""
    began = time.monotonic()
    process, _ = start(Job(small_recipe(1), "generated", tmp_path))
    assert time.monotonic() - began < 1
    process.kill()
    assert process.wait(5)


def test_a_program_that_waits_takes_the_next_job_and_no_other(tmp_path: Path) -> None:
    warm, listener = WarmStart(), Listener()
    warm.prepare()
    waiting = warm._program
    warm.prepare()
    assert waiting is not None and warm._program is waiting, "one is enough"
    process = warm.launch(Job(small_recipe(100_000), "generated", tmp_path / "a"), listener)
    listener.wait_for_step(1)
    assert process.pid == waiting.pid
    if Path("/proc").is_dir():
        assert Path(f"/proc/{process.pid}/comm").read_text().strip() == PROCESS_NAME
    process.kill()
    # One that has ended meanwhile is replaced.
    warm.prepare()
    spare = warm._program
    assert spare is not None and spare.pid != process.pid
    spare.kill()
    spare.wait()
    other = warm.launch(Job(small_recipe(1), "generated", tmp_path / "b"), listener)
    assert other.pid != spare.pid
    other.kill()
    assert process.wait(5) and other.wait(5)
    warm.prepare()
    last = warm._program
    warm.close()
    assert last is not None and gone(last.pid)
    warm.prepare()
    assert warm._program is None
