"""Figures, drawn by matplotlib without a display and returned as picture files.

pyplot is not used.  The style is global to the process while a figure is drawn, so a lock lets one
thread draw at a time.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maml.adapt import AdaptationStep

ImageFormat = Literal["png", "svg", "pdf"]

RUN_COLOURS = ("#b4480f", "#2f5fd0", "#177a4c", "#a63a87", "#7a6500", "#10788c")
"""Of the runs' curves, in turn; the Train tab has the same."""

_STYLE = threading.Lock()


def accuracy_figure(
    records: Sequence[Mapping[str, Any]], *, lowest: float = 70.0, image_format: ImageFormat = "png"
) -> bytes:
    """The notebook's figure: accuracy on training and on test tasks over the epochs.

    Args:
        records: log records with `epoch`, `acc` (percent) and `mode`; those whose mode is neither
            "train" nor "test" are ignored.
        lowest: where the accuracy axis begins, percent; it ends at 100.
        image_format: "png", "svg" or "pdf".

    Returns:
        The content of a picture file.

    Raises:
        ValueError: if a record lacks a field, `lowest` is not in [0, 100), or the format is
            unknown.
    """
    if not 0 <= lowest < 100:
        raise ValueError(f"The accuracy axis must begin in [0, 100); got {lowest!r}.")
    curves: dict[str, list[tuple[float, float]]] = {"train": [], "test": []}
    for number, record in enumerate(records, start=1):
        if missing := {"epoch", "acc", "mode"} - record.keys():
            raise ValueError(
                f"Record {number} has no {', '.join(sorted(missing))}; a log record needs epoch, "
                "acc and mode."
            )
        if record["mode"] in curves:
            curves[record["mode"]].append((float(record["epoch"]), float(record["acc"])))
    with _canvas() as (figure, axes):
        for mode, points in curves.items():
            epochs, accuracies = zip(*points, strict=True) if points else ((), ())
            # A lone point makes no line: mark it.
            marker = "o" if len(points) == 1 else None
            axes.plot(epochs, accuracies, marker=marker, label=mode.capitalize())
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Accuracy")
        axes.set_ylim(lowest, 100)
        figure.legend(ncol=2, loc="lower right")
        return _file(figure, image_format)


Curve = Sequence[Sequence[float | None]]
"""Points (step, accuracy in percent, loss in nats); None stands for what is not a number."""


@dataclass(frozen=True)
class RunCurves:
    """The curves of one run.

    Args:
        name: for the legend.
        train: on training tasks, in every stage.
        test: on test tasks.
        chance: accuracy of guessing on the test tasks, percent.
        stages: name and last step of each stage.
        others: accuracy (step, percent) on test tasks of further shapes, by the shape in words.
        other_chances: accuracy of guessing on these, percent.
        colour: of its lines; "" takes one of `RUN_COLOURS` by its place.
    """

    name: str
    train: Curve
    test: Curve
    chance: float
    stages: Sequence[tuple[str, int]]
    others: Mapping[str, Curve] = field(default_factory=dict)
    other_chances: Sequence[float] = ()
    colour: str = ""


def runs_figure(
    runs: Sequence[RunCurves],
    *,
    title: str = "",
    lowest: float = 0.0,
    image_format: ImageFormat = "png",
) -> bytes:
    """Accuracy and loss of runs by their steps, with stages and chance.

    Args:
        runs: one colour each; test tasks are drawn strongly, training tasks faintly.
        title: above both.
        lowest: where the accuracy axis begins, percent; it ends at 100.
        image_format: "png", "svg" or "pdf".

    Returns:
        The content of a picture file.

    Raises:
        ValueError: if there is no run, `lowest` is not in [0, 100), or the format is unknown.
    """
    if not runs:
        raise ValueError("There is nothing to draw: pass at least one run; got none.")
    if not 0 <= lowest < 100:
        raise ValueError(f"The accuracy axis must begin in [0, 100); got {lowest!r}.")
    with _canvas((12, 5), columns=2) as (figure, both):
        for number, run in enumerate(runs):
            colour = run.colour or RUN_COLOURS[number % len(RUN_COLOURS)]
            for column, axes in enumerate(both, start=1):
                _draw_run(axes, run, column, colour)
        accuracy, loss = both
        chances = {level for run in runs for level in (run.chance, *run.other_chances)}
        for chance in sorted(chances):
            accuracy.axhline(chance, color="0.4", linestyle=":", linewidth=1.2, label="chance")
        accuracy.set_ylabel("Accuracy (%)")
        accuracy.set_ylim(lowest, 100)
        loss.set_ylabel("Loss (nats)")
        loss.set_ylim(bottom=0)
        for axes in both:
            axes.set_xlabel("Step")
            axes.set_xlim(left=0)
        if title:
            figure.suptitle(title)
        handles = dict(zip(*reversed(accuracy.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles, loc="outside lower center", ncol=2)
        return _file(figure, image_format)


def _draw_run(axes: Any, run: RunCurves, column: int, colour: str) -> None:
    for points, where, style in (
        (run.train, "training tasks", {"alpha": 0.45, "linewidth": 1}),
        (run.test, "test tasks", {"linewidth": 2, "marker": "o", "markersize": 3}),
    ):
        steps = [point[0] for point in points]
        heights = [math.nan if point[column] is None else point[column] for point in points]
        axes.plot(steps, heights, color=colour, label=f"{run.name}: {where}", **style)
    for shape, points in run.others.items() if column == 1 else ():
        axes.plot(
            [point[0] for point in points],
            [math.nan if point[1] is None else point[1] for point in points],
            color=colour,
            linestyle="--",
            linewidth=1.6,
            label=f"{run.name}: test tasks, {shape}",
        )
    last = max((point[0] or 0 for point in (*run.train, *run.test)), default=0)
    for (name, end), (after, _) in zip(run.stages, run.stages[1:], strict=False):
        if last < end:
            break
        axes.axvline(end, color=colour, linestyle="--", linewidth=1)
        for text, side, shift in ((name, "right", -4), (after, "left", 4)):
            axes.annotate(
                text,
                (end, 0.01),
                xycoords=("data", "axes fraction"),
                xytext=(shift, 2),
                textcoords="offset points",
                ha=side,
                fontsize=8,
                color=colour,
            )


def adaptation_figure(
    trajectory: Sequence[AdaptationStep], *, image_format: ImageFormat = "png"
) -> bytes:
    """How the inner loop learned a support set: loss and accuracy at each step.

    Args:
        trajectory: what an adapted learner recorded, step 0 first.
        image_format: "png", "svg" or "pdf".

    Returns:
        The content of a picture file.

    Raises:
        ValueError: if the trajectory is empty or the format is unknown.
    """
    if not trajectory:
        raise ValueError("The trajectory is empty; pass the trajectory of an adapted learner.")
    steps = [record.step for record in trajectory]
    with _canvas() as (figure, axes):
        (loss,) = axes.plot(steps, [record.loss for record in trajectory], "C0o-", label="Loss")
        axes.set_xlabel("Inner step")
        axes.set_ylabel("Support loss (nats)")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent = axes.twinx()
        percent.grid(False)
        accuracies = [100 * record.accuracy for record in trajectory]
        (accuracy,) = percent.plot(steps, accuracies, "C1s--", label="Accuracy")
        percent.set_ylabel("Support accuracy (%)")
        percent.set_ylim(0, 105)
        figure.legend(handles=[loss, accuracy], ncol=2, loc="lower right")
        return _file(figure, image_format)


@contextmanager
def _canvas(size: tuple[float, float] = (6, 4), columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """An empty figure in the notebook's style, by default in its size, and its axes."""
    with _STYLE, matplotlib.style.context("bmh"):
        figure = Figure(figsize=size, layout="tight" if columns == 1 else "constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(1, columns)


def _file(figure: Figure, image_format: ImageFormat) -> bytes:
    if image_format not in (formats := get_args(ImageFormat)):
        raise ValueError(f"Unknown format {image_format!r}; choose one of {', '.join(formats)}.")
    content = io.BytesIO()
    figure.savefig(content, format=image_format, dpi=150)
    return content.getvalue()
