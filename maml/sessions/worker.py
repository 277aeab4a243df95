"""A training in a process of its own: the training's side.

Reads a `Job` and then commands from standard input, and writes events to standard output.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import torch

from maml.config import MetaTraining
from maml.data.characters import CharacterSet
from maml.data.omniglot import load_omniglot, omniglot_is_at_hand
from maml.data.quickdraw import load_quickdraw
from maml.data.synthetic import load_generated
from maml.evaluate import EvaluationResult
from maml.plain import finite
from maml.runs import TrainingRun, leave_a_core, notebook_line
from maml.sessions import events
from maml.sessions.events import Command, Event, to_line
from maml.sessions.previews import Previews
from maml.sessions.process import Job
from maml.train import MetaStep

_PATIENCE_SECONDS = 300.0
"""A process that gets no job for so long ends."""
PROCESS_NAME = "maml-training"
"""Of a process that has a job, where the system has names for them."""
SAVE_SECONDS = 5.0
"""Between two writes of the state: as much is lost, at most, when the process is killed."""


class StopNow(GeneratorExit):
    """Raised in the middle of an evaluation that the process is told to stop.

    An evaluation changes nothing, so the records may be closed there as between two steps: for the
    generators that make them it is as if that had been done.
    """


class NoData(Exception):
    """The characters cannot be loaded; the text says why."""


class Channel:
    """Events out, commands in.  Ends the process when the commands end.

    Attributes:
        job: what came first.
        running: cleared while the training is to rest.
        stopped: set when it is to end.
        interruptible: whether it may be stopped right here, and not only between two records.
    """

    def __init__(self) -> None:
        # What libraries print must not get among the events.
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.job = _wait_for_job()
        self.stopped = threading.Event()
        self.running = threading.Event()
        self.running.set()
        self.interruptible = False
        signal.signal(signal.SIGINT, self._interrupt)
        threading.Thread(target=self._obey, daemon=True).start()

    def send(self, event: Event) -> None:
        """Send an event; without anybody to receive it the process ends."""
        try:
            self._out.write(to_line(event))
            self._out.flush()
        except OSError:
            os._exit(0)

    def _obey(self) -> None:
        for line in sys.stdin:
            try:
                command = Command.from_line(line)
            except ValueError as error:
                self.send(events.Failed(str(error)))
                os._exit(1)
            if command is Command.PAUSE:
                self.running.clear()
            else:
                if command is Command.STOP:
                    self.stopped.set()
                    interrupt_main(signal.SIGINT)
                self.running.set()
        os._exit(0)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interruptible and self.stopped.is_set():
            self.interruptible = False
            raise StopNow


def _wait_for_job() -> Job:
    """The job; ends the process if none comes, or the app is gone."""
    patience = threading.Timer(_PATIENCE_SECONDS, os._exit, [0])
    patience.daemon = True
    patience.start()
    with contextlib.suppress(NoData, OSError, ValueError):
        if not select.select([sys.stdin], [], [], 0)[0]:
            _omniglot_at_hand()
    line = sys.stdin.readline()
    patience.cancel()
    if not line:
        os._exit(0)
    with contextlib.suppress(OSError):  # Linux: what "top" shows tells it from one that waits
        Path("/proc/self/comm").write_text(PROCESS_NAME)
    return Job.from_line(line)


@functools.cache
def _omniglot_at_hand() -> CharacterSet | None:
    """Omniglot as most recipes want it, read while nobody waits; None if it would be downloaded.

    Raises:
        NoData: if it is damaged.
    """
    if not omniglot_is_at_hand():
        return None
    try:
        return load_omniglot(framing="fit")
    except (ValueError, OSError) as error:
        raise NoData(str(error)) from error


def main() -> int:
    """Do the job that comes on standard input; returns the exit status."""
    leave_a_core()
    channel = Channel()
    try:
        for event in train(channel):
            channel.send(event)
    except NoData as error:
        channel.send(events.Failed(_text_of(error), "data"))
        return 1
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        channel.send(events.Failed(_text_of(error)))
        return 1
    return 0


def _text_of(error: Exception) -> str:
    text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
    return text or type(error).__name__


def train(channel: Channel) -> Iterator[Event]:
    """Do the channel's job; pause and stop as it says.

    Yields:
        Everything that happens; last `Finished` or `Stopped`.

    Raises:
        NoData: as `load_characters`.
        ValueError, OSError: as `TrainingRun.records`.
    """
    job = channel.job
    data = load_characters(
        job, lambda task, done, total: channel.send(events.DataProgress(task, done, total))
    )
    run = TrainingRun(
        job.folder,
        job.recipe,
        data,
        device=job.device,
        resume=job.resume,
        save_every=SAVE_SECONDS,
    )
    previews = Previews(run.model, data, job.recipe)

    def save() -> Event:
        run.save_weights()
        return events.Saved(run.iteration)

    yield events.Begun(run.iteration, torch.get_num_threads())
    # Closing the records saves the state.
    with contextlib.closing(run.records()) as records:
        if not run.iteration:
            yield previews.take(0)
        evaluates = job.recipe.training.evaluate_untrained and not run.iteration
        if evaluates:
            yield events.EvaluationBegun(run.iteration)
        while (record := _next(records, channel, interruptible=evaluates)) is not None:
            yield _told(record, job.recipe.training)
            iteration = record.iteration
            if isinstance(record, EvaluationResult) or previews.due():
                yield previews.take(iteration)
                yield save()
            if not channel.running.is_set() and not channel.stopped.is_set():
                yield save()
                yield events.Paused(iteration)
                channel.running.wait()
                if not channel.stopped.is_set():
                    yield events.Continued(iteration)
            if channel.stopped.is_set():
                break
            evaluates = _evaluates_after(record, job.recipe.training)
            if evaluates:
                yield events.EvaluationBegun(iteration)
    if channel.stopped.is_set():
        yield save()
        yield events.Stopped(run.iteration)
    else:
        yield events.Finished(run.iteration)


Record = MetaStep | EvaluationResult


def _next(records: Iterator[Record], channel: Channel, *, interruptible: bool) -> Record | None:
    """The next record; None after the last one, or if the process is told to stop meanwhile."""
    try:
        try:
            channel.interruptible = interruptible
            if interruptible and channel.stopped.is_set():
                return None
            return next(records, None)
        finally:
            channel.interruptible = False
    except StopNow:
        return None


def _evaluates_after(record: Record, training: MetaTraining) -> bool:
    if not isinstance(record, MetaStep):
        return False
    outer = record.iteration - training.pretraining_episodes
    return record.iteration == training.total or (outer >= 0 and outer % training.epoch == 0)


def _told(record: Record, training: MetaTraining) -> Event:
    """What the app is told of a record."""
    line = notebook_line(record, training)
    iteration, loss = record.iteration, finite(record.loss)
    if isinstance(record, MetaStep):
        return events.StepTaken(record.stage, iteration, loss, record.accuracy, line)
    assert line is not None
    others = {other.protocol: other.accuracy for other in record.others}
    interval = finite(record.interval)
    return events.Evaluated(iteration, record.accuracy, interval, loss, line, others)


def load_characters(job: Job, progress: Callable[[str, int, int], None]) -> CharacterSet:
    """The characters of a job.

    Args:
        job: says which.
        progress: called as ``progress(task, done, total)``, a few times a second.

    Raises:
        NoData: if they are not at hand and cannot be fetched, or are damaged.
    """
    if job.source == "generated":
        progress("generating", 0, 0)
        return load_generated(framing=job.recipe.framing)
    if job.source == "omniglot" and job.root is None and job.recipe.framing == "fit":
        known = _omniglot_at_hand()
        if known is not None:
            return known
    load = load_quickdraw if job.source == "quickdraw" else load_omniglot
    try:
        return load(job.root, framing=job.recipe.framing, progress=progress)
    except (ValueError, OSError) as error:
        raise NoData(str(error)) from error


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Everything is saved and sent; whoever is next in the queue need not wait for clearing up.
    os._exit(status)
