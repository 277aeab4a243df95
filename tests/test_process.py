"""A training in a process of its own, from the app's side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from trainings import (
    PATIENCE,
    SCRIPTED,
    Listener,
    gone,
    scripted,
    small_recipe,
    wait_until,
)

from maml.sessions import events
from maml.sessions.events import Command
from maml.sessions.process import Job, TrainingProcess, start_program
from maml.sessions.warm import WarmStart
from maml.sessions.worker import PROCESS_NAME

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]


def start_scripted(folder: Path) -> tuple[TrainingProcess, Listener]:
    listener = Listener()
    return scripted(Job(small_recipe(10_000), "generated", folder), listener), listener


def test_killed_it_says_so(tmp_path: Path) -> None:
    process, listener = start_scripted(tmp_path)
    listener.wait_for_step(3)
    os.kill(process.pid, signal.SIGKILL)
    assert listener.wait_for(events.ProcessEnded).status == -signal.SIGKILL


def processor_seconds(pid: int) -> float:
    """That a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's process files")
def test_everything_else_goes_before_a_training() -> None:
    """On the processor that both want, another process gets nearly all."""
    core = {min(os.sched_getaffinity(0))}
    loop = [sys.executable, "-c", "import sys\nsys.stdin.readline()\nwhile True: pass"]
    training = start_program(loop)
    other = subprocess.Popen(loop, stdin=subprocess.PIPE, text=True)
    with training, other:
        try:
            for program in (training, other):
                os.sched_setaffinity(program.pid, core)
            for program in (training, other):
                assert program.stdin is not None
                program.stdin.write("go\n")
                program.stdin.flush()
            wait_until(lambda: processor_seconds(other.pid) > 1.5)
            share = processor_seconds(training.pid) / processor_seconds(other.pid)
        finally:
            training.kill()
            other.kill()
    assert share < 0.15


def test_it_does_not_outlive_the_app(tmp_path: Path) -> None:
    """However the app ends; Ctrl-C reaches its process group, as in a terminal."""
    script = (
        "import sys, threading\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from trainings import scripted\n"
        "from maml.sessions.events import StepTaken\n"
        "from maml.sessions.process import Job\n"
        "job = Job.from_line(sys.stdin.readline())\n"
        "begun = threading.Event()\n"
        "process = scripted(job, lambda event: isinstance(event, StepTaken) and begun.set())\n"
        "begun.wait()\n"
        "try:\n"
        "    print(process.pid, flush=True)\n"
        "    threading.Event().wait()\n"
        "except KeyboardInterrupt:\n"
        "    print(process.running, flush=True)\n"
        "    raise\n"
    )
    endings = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    apps = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        for _ in endings
    ]
    for app, ending in zip(apps, endings, strict=True):
        with app:
            assert app.stdin is not None and app.stdout is not None
            job = Job(small_recipe(10_000), "generated", tmp_path / ending.name)
            app.stdin.write(job.to_line())
            app.stdin.flush()
            pid = int(app.stdout.readline())
            assert not gone(pid)
            os.killpg(app.pid, ending)
            if ending == signal.SIGINT:
                assert app.stdout.readline() == "True\n", "the training did not see it"
            app.wait(PATIENCE)
            wait_until(partial(gone, pid))


def test_a_program_finds_the_library_before_what_the_app_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = start_program([sys.executable, "-c", "import sys; print(sys.path)"])
    found, _ = program.communicate()
    assert f"{str(ROOT)!r}, {str(tmp_path)!r}" in found


def test_one_that_does_not_obey_is_ended_by_force(tmp_path: Path) -> None:
    process, listener = start_scripted(tmp_path)
    listener.wait_for_step(1)
    os.kill(process.pid, signal.SIGSTOP)
    process.abandon(0.1)
    assert process.wait(PATIENCE)
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
    assert process.wait(PATIENCE)
    wait_until(lambda: heard and isinstance(heard[-1], events.ProcessEnded))
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


def test_the_app_does_not_wait_for_a_program_that_is_slow_to_start(tmp_path: Path) -> None:
    stopped = start_program([sys.executable, "-c", "import time; time.sleep(600)"])
    os.kill(stopped.pid, signal.SIGSTOP)
    process = TrainingProcess(Job(small_recipe(1), "generated", tmp_path), Listener(), stopped)
    assert process.running
    process.kill()
    assert process.wait(PATIENCE)


def test_a_program_that_waits_takes_the_next_job_and_no_other(tmp_path: Path) -> None:
    warm, listener = WarmStart(SCRIPTED), Listener()
    warm.prepare()
    waiting = warm._program
    warm.prepare()
    assert waiting is not None and warm._program is waiting, "one is enough"
    process = warm.launch(Job(small_recipe(10_000), "generated", tmp_path / "a"), listener)
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
    assert process.wait(PATIENCE) and other.wait(PATIENCE)
    warm.prepare()
    last = warm._program
    warm.close()
    assert last is not None and gone(last.pid)
    warm.prepare()
    assert warm._program is None
