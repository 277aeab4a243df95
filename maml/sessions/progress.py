"""What a run shows while it goes on: state, curves, previews, pace."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, assert_never

from maml.config import Recipe
from maml.runs import RunFolder
from maml.sessions import events
from maml.sessions.curves import Point, ThinnedCurve, WorkClock, rounded
from maml.sessions.stages import caption_of, stages_of
from maml.train import Stage

State = Literal[
    "waiting",  # for its turn
    "preparing",  # the process starts and reads the data
    "training",
    "evaluating",
    "paused",
    "stopping",
    "stopped",  # by its owner
    "limit",  # by the limit on minutes
    "full",  # by the limit on the disk
    "finished",
    "lost",  # the page fell silent
    "failed",  # the process said why
    "died",  # the process ended without a word
]
OVER: frozenset[State] = frozenset(
    {"stopped", "limit", "full", "finished", "lost", "failed", "died"}
)
"""States in which a run has ended."""
BROKEN: frozenset[State] = frozenset({"full", "lost", "failed", "died"})
"""Those of them that its owner did not ask for."""
RESUMABLE: frozenset[State] = frozenset({"stopped", "limit", "full", "lost", "died"})
"""Those of them from which it may be resumed, if there are steps left."""

_KEPT_LINES = 12
_PACE_SECONDS = 8.0
_STEADY_SECONDS = 60.0
_PACE_INTERVAL = 0.25
_MOMENTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Shares of a run after which its starting point is kept for comparison: most is learned early."""


class Pace:
    """How fast steps are taken; rests are left out, evaluations are not."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._rested_since: float | None = None

    def note(self, iteration: int) -> None:
        """A step was taken just now."""
        now = time.monotonic()
        if self._marks and now - self._marks[-1][0] <= _PACE_INTERVAL:
            return
        self._marks.append((now, iteration))
        while len(self._marks) > 2 and now - self._marks[0][0] > _STEADY_SECONDS:
            self._marks.popleft()

    def rest(self) -> None:
        """A rest begins."""
        self._rested_since = time.monotonic()

    def wake(self) -> None:
        """The rest is over: it did not happen."""
        if self._rested_since is not None:
            rest = time.monotonic() - self._rested_since
            self._marks = deque((at + rest, iteration) for at, iteration in self._marks)
        self._rested_since = None

    def clear(self) -> None:
        """Forget what was: another stage has begun, or the run was started anew."""
        self._marks.clear()
        self._rested_since = None

    def rate(self) -> float | None:
        """Steps a second in the last few seconds, or None while too little is known."""
        return self._rate(_PACE_SECONDS)

    def steady_rate(self) -> float | None:
        """Steps a second over a longer time, from which to tell the time that is left."""
        return self._rate(_STEADY_SECONDS)

    def _rate(self, seconds: float) -> float | None:
        if len(self._marks) < 2:
            return None
        after, last = self._marks[-1]
        before, first = next(mark for mark in self._marks if after - mark[0] <= seconds)
        return (last - first) / (after - before) if after - before > 0.5 else None


class RunProgress:
    """Gathers the events of a run into what the page shows.  Not safe for threads by itself.

    Args:
        recipe: of the run.
        folder: of the run, whose records draw the curves anew when it is resumed.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        self.recipe = recipe
        self.folder = folder
        self.state: State = "waiting"
        self.text = ""
        self.iteration = 0
        self.saved = 0
        self.threads = 0
        self.accuracy: float | None = None
        self.rested_since: float | None = None
        self.without_data = False
        self.preview: events.Preview | None = None
        self._moments: list[events.Preview] = []
        self._data: events.DataProgress | None = None
        self._stage: Stage = "meta"
        self._end: State = "stopped"
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._pace = Pace()
        self._began: float | None = None
        self._ended: float | None = None
        self._train = self._new_curve()
        self._test: list[Point] = []
        self._others: dict[str, list[Point]] = {}
        self._clock = WorkClock()

    @property
    def over(self) -> bool:
        """Whether the run has ended, one way or another."""
        return self.state in OVER

    @property
    def resumable(self) -> bool:
        """Whether it ended before its last step and may be resumed."""
        return self.state in RESUMABLE and self.iteration < self.recipe.training.total

    @property
    def seconds(self) -> float:
        """Since its process was started; pauses count, waiting for a turn does not."""
        if self._began is None:
            return 0.0
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    # ---- what happens to it

    def wait_for_turn(self) -> None:
        """It is in the queue, for the first time or to be resumed."""
        self.state, self.text = "waiting", ""

    def begin(self) -> None:
        """Its process is being started."""
        self.state, self.text = "preparing", ""
        self._began, self._ended, self.rested_since = time.monotonic(), None, None
        self._pace.clear()

    def stop(self, end: State) -> None:
        """It was told to stop; `end` is the state in which it will have ended."""
        self.state, self._end = "stopping", end

    def end(self, state: State, text: str = "") -> None:
        """It has ended; of several reasons the first counts."""
        if not self.over:
            self.state, self.text = state, text
        if self._ended is None:
            self._ended = time.monotonic()

    def take(self, event: events.Event | events.ProcessEnded) -> None:
        """Take in an event of the training process."""
        match event:
            case events.DataProgress():
                self._data = event
            case events.Begun():
                self._data = None
                self.threads = event.threads
                if event.iteration or self.iteration:
                    self._draw_anew(event.iteration)
                self._clock.work(event.iteration)
                self._enter("training")
            case events.StepTaken():
                self._enter("training")
                if event.stage != self._stage:
                    self._pace.clear()
                self.iteration, self._stage = event.iteration, event.stage
                self._clock.note(event.iteration)
                self._train.add(event.iteration, 100 * event.accuracy, event.loss)
                self._pace.note(event.iteration)
                if event.line:
                    self._lines.append(event.line)
            case events.EvaluationBegun():
                self._enter("evaluating")
            case events.Evaluated():
                self._enter("training")
                self.accuracy = event.accuracy
                self._clock.note(event.iteration)
                self._add_test(event.iteration, event.accuracy, event.loss)
                self._add_others(event.iteration, event.others)
                self._lines.append(event.line)
            case events.Preview():
                self._keep_moment(event)
                self.preview = event
            case events.Saved():
                self.saved = event.iteration
            case events.Paused():
                self._enter("paused")
                self.rested_since = time.monotonic()
                self._pace.rest()
                self._clock.rest()
            case events.Continued():
                self.rested_since = None
                self._pace.wake()
                self._clock.work()
                self._enter("training")
            case events.Stopped():
                self.end(self._end)
            case events.Finished():
                self.saved = event.iteration
                self.end("finished")
            case events.Failed():
                self.without_data = event.reason == "data"
                self.end("failed", event.text)
            case events.ProcessEnded():
                if self.state == "stopping":
                    self.end(self._end)
                last = next((line for line in reversed(event.errors) if line.strip()), "")
                self.end("died", last)
            case _:
                assert_never(event)

    def _enter(self, state: State) -> None:
        if self.state != "stopping" and not self.over:
            self.state = state

    def _add_test(self, iteration: int, accuracy: float, loss: float | None) -> None:
        self._test.append(
            [iteration, rounded(100 * accuracy), None if loss is None else rounded(loss)]
        )

    def _add_others(self, iteration: int, accuracies: Mapping[str, float]) -> None:
        for protocol, accuracy in accuracies.items():
            self._others.setdefault(protocol, []).append([iteration, rounded(100 * accuracy)])

    def _keep_moment(self, preview: events.Preview) -> None:
        """Keep the untrained start, and the first one after each of the chosen moments."""
        last = self._moments[-1].iteration if self._moments else -1
        marks = [0, *(share * self.recipe.training.total for share in _MOMENTS)]
        if any(last < mark <= preview.iteration for mark in marks):
            self._moments.append(preview)

    def _new_curve(self) -> ThinnedCurve:
        return ThinnedCurve(self.recipe.training.total)

    def _draw_anew(self, last: int) -> None:
        """Draw the curves from what the run's file holds of the first `last` steps."""
        self._train, self._test, self._others = self._new_curve(), [], {}
        for record in self.folder.records():
            is_test = record["mode"] == "test"
            # An evaluation after the last step that is kept is made again.
            if record["iteration"] > last or (is_test and record["iteration"] == last):
                break
            if is_test:
                self._add_test(record["iteration"], record["acc"] / 100, record["loss"])
                others = record.get("others", {})
                self._add_others(
                    record["iteration"], {name: acc / 100 for name, acc in others.items()}
                )
            else:
                self._train.add(record["iteration"], record["acc"], record["loss"])
        self.iteration = last

    # ---- what the page shows

    def live(self) -> dict[str, Any]:
        """What changes all the time, as plain values."""
        total = self.recipe.training.total
        before = self.recipe.training.pretraining_episodes
        stage_end = before if self._stage == "pretraining" else total
        running = self.state in ("training", "evaluating")
        rate = self._pace.rate() if running else None
        steady = self._pace.steady_rate() if running else None
        return {
            "state": self.state,
            "text": self.text,
            "without_data": self.without_data,
            "data": asdict(self._data) if self._data and self.state == "preparing" else None,
            "stage": self._stage,
            "two_stages": 0 < before < total,
            "iteration": self.iteration,
            "iterations": total,
            "rate": round(rate, 2) if rate else None,
            "left": round((stage_end - self.iteration) / steady) if steady else None,
            "seconds": round(self.seconds),
            "saved": self.saved,
            "lines": list(self._lines),
            "caption": caption_of(self.recipe.training, self.iteration),
            "inner_steps": self.recipe.training.inner.evaluation_steps,
        }

    def curves(self) -> dict[str, Any]:
        """What grows with the run, as plain values.

        Returns:
            Curves `train` and `test` of points [step, accuracy (percent), loss (nats), seconds at
            work], and `others` of [step, accuracy, seconds] by the shape of their tasks; `protocol`
            (shape of the tasks of `test`), `chances` (percent, by shape), `stages` and `moments`,
            the inner-step curves of chosen starting points, the latest one last.
        """
        training = self.recipe.training
        shapes = (training.evaluation, *training.further_evaluations)
        latest = [self.preview] if self.preview and self.preview not in self._moments else []
        return {
            "train": self._timed(self._train.points()),
            "test": self._timed(self._test),
            "others": {name: self._timed(points) for name, points in self._others.items()},
            "protocol": str(training.evaluation),
            "chances": {str(shape): rounded(100 / shape.ways) for shape in shapes},
            "stages": [asdict(span) for span in stages_of(training)],
            "moments": [_moment(one) for one in (*self._moments, *latest)],
        }

    def _timed(self, points: Sequence[Point]) -> list[Point]:
        return [[*point, self._clock.after(point[0])] for point in points]


def _moment(preview: events.Preview) -> dict[str, Any]:
    return {
        "iteration": preview.iteration,
        "by_step": preview.accuracy_by_step,
        "prototypes": preview.prototypes,
    }
