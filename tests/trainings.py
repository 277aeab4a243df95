"""What tests of trainings share: a small recipe, real processes, and waiting for them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from maml.config import NetworkSettings, Recipe
from maml.recipes import RECIPES
from maml.runs import RunFolder
from maml.sessions import events, process
from maml.sessions.process import Job, Receive, TrainingProcess

PATIENCE = 240.0
"""Seconds."""
SCRIPTED = (sys.executable, str(Path(__file__).with_name("scripted_trainer.py")))
"""Starts a stand-in for the trainer."""

EventType = TypeVar("EventType")


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def small_recipe(iterations: int, **changes: Any) -> Recipe:
    """A small recipe of the notebook's kind; `changes` are of its training."""
    base = RECIPES["notebook"]
    training = replace(base.training, iterations=iterations, epoch=10, evaluation_tasks=4)
    network = NetworkSettings("notebook", channels=4, ways=5)
    return replace(base, network=network, training=replace(training, **changes))


class Listener:
    """Keeps what a training process sends."""

    def __init__(self) -> None:
        self.events: list[events.Event | events.ProcessEnded] = []
        self.changed = threading.Condition()

    def __call__(self, event: events.Event | events.ProcessEnded) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def of(self, kind: type[EventType]) -> list[EventType]:
        """The events of one class so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, arrived: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait until something is true of the events."""
        with self.changed:
            assert self.changed.wait_for(arrived, seconds), self.events[-3:]

    def wait_for(self, kind: type[EventType], seconds: float = PATIENCE) -> EventType:
        """Wait for an event of a class; returns the last one."""
        self.wait(lambda: self.of(kind), seconds)
        return self.of(kind)[-1]

    def wait_for_step(self, iteration: int) -> None:
        """Wait until a step was taken."""
        self.wait(lambda: any(one.iteration >= iteration for one in self.of(events.StepTaken)))


def start(job: Job) -> tuple[TrainingProcess, Listener]:
    """Start a real training process, which need not give way to other tests."""
    listener = Listener()
    return TrainingProcess(job, listener, program_of_equal_rank()), listener


def program_of_equal_rank(command: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A program that waits for a job, at the priority of the tests themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "NICENESS", 0)
        return process.start_program(command)


def scripted(job: Job, receive: Receive) -> TrainingProcess:
    """Start a training that only seems to be one."""
    return TrainingProcess(job, receive, program_of_equal_rank(SCRIPTED))


def figures(folder: RunFolder) -> list[tuple[Any, ...]]:
    """What a run recorded, without the times."""
    return [
        (record["iteration"], record["mode"], record["loss"], record["acc"])
        for record in folder.records()
    ]


def wait_until(reached: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that waits for its parent to notice has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
