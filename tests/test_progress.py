"""What a run shows, event by event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from trainings import Clock, small_recipe

from maml.recipes import RECIPES
from maml.runs import RunFolder
from maml.sessions import events
from maml.sessions.progress import BROKEN, OVER, RESUMABLE, RunProgress, State


@pytest.fixture
def progress(tmp_path: Path) -> RunProgress:
    return RunProgress(small_recipe(100), RunFolder(tmp_path / "run"))


def step(iteration: int, accuracy: float = 0.5, loss: float | None = 1.0) -> events.StepTaken:
    return events.StepTaken("meta", iteration, loss, accuracy, None)


def preview(iteration: int, *accuracies: float) -> events.Preview:
    return events.Preview(iteration, "5-way 3-shot", 12, accuracies, ())


def write_records(folder: RunFolder, records: list[dict[str, Any]]) -> None:
    folder.path.mkdir(exist_ok=True)
    folder.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_states_of_a_run_that_goes_well(progress: RunProgress) -> None:
    seen = [progress.state]

    def take(*taken: events.Event) -> None:
        for event in taken:
            progress.take(event)
            seen.append(progress.state)

    progress.begin()
    take(events.DataProgress("generating", 0, 0))
    assert progress.live()["data"] == {
        "task": "generating",
        "done": 0,
        "total": 0,
        "kind": "data",
    }
    take(events.Begun(0, 1), step(1), events.EvaluationBegun(10))
    take(events.Evaluated(10, 0.4, 0.1, 1.5, "[Epoch 1.00] Test"), events.Paused(10))
    take(events.Continued(10), step(100), events.Finished(100))
    assert seen == [
        "waiting",
        "preparing",
        "training",
        "training",
        "evaluating",
        "training",
        "paused",
        "training",
        "training",
        "finished",
    ]
    assert progress.live()["data"] is None
    progress.take(events.ProcessEnded(0, ("a warning",)))
    assert progress.state == "finished" and progress.text == "" and not progress.resumable


@pytest.mark.parametrize("end", ["stopped", "limit", "lost"])
def test_a_run_that_was_told_to_stop_ends_as_it_was_told(progress: RunProgress, end: State) -> None:
    progress.begin()
    progress.take(events.Begun(0, 1))
    progress.stop(end)
    for event in (step(1), events.EvaluationBegun(1), events.Paused(1), events.Continued(1)):
        progress.take(event)
        assert progress.state == "stopping"
    progress.take(events.Stopped(1))
    progress.take(events.ProcessEnded(0, ()))
    assert progress.state == end and progress.resumable


def test_a_run_that_is_killed_while_it_stops_has_stopped(progress: RunProgress) -> None:
    progress.begin()
    progress.stop("limit")
    progress.take(events.ProcessEnded(-9, ("Killed",)))
    assert progress.state == "limit" and progress.text == ""


def test_a_process_that_ends_without_a_word_has_died(progress: RunProgress) -> None:
    progress.begin()
    progress.take(step(7))
    progress.take(events.ProcessEnded(-9, ("first", "out of memory", " ")))
    assert progress.state == "died" and progress.text == "out of memory" and progress.resumable


def test_a_process_that_says_why_has_failed(progress: RunProgress) -> None:
    progress.begin()
    progress.take(events.Failed("No space left"))
    progress.take(events.ProcessEnded(1, ("Traceback",)))
    assert progress.state == "failed" and progress.text == "No space left"
    assert not progress.without_data


def test_characters_that_cannot_be_loaded_are_a_failure_of_their_own(progress: RunProgress) -> None:
    progress.begin()
    progress.take(events.Failed("No route to host", "data"))
    assert progress.state == "failed" and progress.live()["without_data"]


def test_the_first_reason_counts(progress: RunProgress) -> None:
    progress.begin()
    progress.end("lost")
    progress.take(events.Stopped(3))
    assert progress.state == "lost"


def test_only_what_has_steps_left_can_be_resumed(progress: RunProgress) -> None:
    assert set(get_args(State)) >= OVER >= RESUMABLE and OVER >= BROKEN
    progress.begin()
    progress.take(step(99))
    resumable = [progress.resumable]
    progress.end("stopped")
    resumable.append(progress.resumable)
    progress.take(step(100))
    resumable.append(progress.resumable)
    assert resumable == [False, True, False]


def test_curves_and_tests_are_those_of_the_events(progress: RunProgress) -> None:
    progress.take(step(1, 0.25, 2.0))
    progress.take(step(2, 0.5, None))
    progress.take(events.Evaluated(2, 0.45, 0.1, 1.25, "line"))
    progress.take(events.Evaluated(2, 0.45, 0.1, None, "line"))
    curves = progress.curves()
    assert curves["train"] == [[1, 25.0, 2.0], [2, 50.0, None]]
    assert curves["test"] == [[2, 45.0, 1.25], [2, 45.0, None]]
    assert curves["chance"] == 20
    assert progress.accuracy == 0.45 and progress.live()["lines"] == ["line", "line"]
    json.dumps({**progress.live(), **curves}, allow_nan=False)


def test_a_resumed_run_keeps_its_curve_and_takes_lost_steps_again(progress: RunProgress) -> None:
    progress.begin()
    for iteration in range(1, 13):
        progress.take(step(iteration))
    progress.end("died")
    write_records(
        progress.folder,
        [
            *({"iteration": k, "mode": "train", "acc": k, "loss": 0.5} for k in range(1, 11)),
            {"iteration": 10, "mode": "test", "acc": 33.0, "loss": float("nan")},
            *({"iteration": k, "mode": "train", "acc": k, "loss": 0.5} for k in range(11, 13)),
        ],
    )
    progress.begin()
    assert [point[0] for point in progress.curves()["train"]] == list(range(1, 13))
    assert progress.state == "preparing" and progress.iteration == 12
    # The evaluation after the last step that is kept is made again.
    progress.take(events.Begun(10, 1))
    assert progress.iteration == 10
    assert progress.curves()["train"] == [[k, float(k), 0.5] for k in range(1, 11)]
    assert progress.curves()["test"] == []
    progress.take(events.Evaluated(10, 0.33, 0.1, None, "line"))
    progress.take(step(11))
    assert progress.curves()["test"] == [[10, 33.0, None]]
    assert [point[0] for point in progress.curves()["train"]] == list(range(1, 12))


def test_the_first_and_the_latest_preview_are_kept(progress: RunProgress) -> None:
    assert progress.live()["steps"] is None and progress.preview is None
    for event in (preview(1, 0.2, 0.3), preview(5, 0.3, 0.6), preview(9, 0.4, 0.9)):
        progress.take(event)
    live = progress.live()
    assert live["first_steps"] == {"iteration": 1, "by_step": (0.2, 0.3)}
    assert live["steps"] == {"iteration": 9, "by_step": (0.4, 0.9)}
    assert progress.preview == preview(9, 0.4, 0.9)


def test_pace_and_time_left(progress: RunProgress, clock: Clock) -> None:
    progress.begin()
    assert progress.live()["rate"] is None
    for iteration in range(1, 21):
        clock.now += 0.5
        progress.take(step(iteration))
    live = progress.live()
    assert live["rate"] == 2 and live["left"] == 40 and live["seconds"] == 10
    progress.take(events.Paused(20))
    rested = [progress.rested_since]
    assert progress.live()["rate"] is None
    clock.now += 100
    progress.take(events.Continued(20))
    rested.append(progress.rested_since)
    assert rested == [1010, None]
    live = progress.live()
    assert live["rate"] == 2 and live["left"] == 40, "a rest says nothing about the pace"


def test_the_time_left_is_steady_whatever_evaluations_take(tmp_path: Path, clock: Clock) -> None:
    """Ten steps a second, and after every hundredth an evaluation of three seconds."""
    progress = RunProgress(small_recipe(2000), RunFolder(tmp_path / "run"))
    progress.begin()
    began = clock.now
    for iteration in range(1, 2001):
        clock.now += 0.1
        progress.take(step(iteration))
        if iteration % 100 == 0:
            clock.now += 3
            progress.take(events.Evaluated(iteration, 0.5, 0.1, 1.0, "line"))
        left = progress.live()["left"]
        if iteration > 200 and left is not None:
            true = 0.13 * (2000 - iteration)
            assert left == pytest.approx(true, rel=0.2, abs=4), iteration
    assert clock.now - began == pytest.approx(260)


def test_the_time_stands_still_when_a_run_has_ended(progress: RunProgress, clock: Clock) -> None:
    assert progress.live()["seconds"] == 0
    progress.begin()
    clock.now += 7
    progress.take(events.Finished(100))
    clock.now += 50
    progress.take(events.ProcessEnded(0, ()))
    assert progress.live()["seconds"] == 7


def test_the_time_left_of_a_stage_is_that_of_the_stage(tmp_path: Path, clock: Clock) -> None:
    progress = RunProgress(RECIPES["quick"], RunFolder(tmp_path))
    progress.begin()
    for iteration in range(1, 51):
        clock.now += 0.1
        progress.take(events.StepTaken("pretraining", iteration, 1.0, 0.5, None))
    live = progress.live()
    assert live["two_stages"] and live["stage"] == "pretraining"
    assert live["rate"] == pytest.approx(10, rel=0.1) and live["left"] == pytest.approx(20, rel=0.1)
    assert live["iterations"] == 850


def test_chance_is_that_of_the_test_tasks(tmp_path: Path) -> None:
    progress = RunProgress(RECIPES["flagship"], RunFolder(tmp_path))
    assert progress.curves()["chance"] == 5


@pytest.mark.parametrize(
    ("data", "shown"), [(events.DataProgress("download", 3, 9), True), (None, False)]
)
def test_data_are_shown_only_while_they_are_read(
    progress: RunProgress, data: events.DataProgress | None, shown: bool
) -> None:
    progress.begin()
    if data:
        progress.take(data)
    assert (progress.live()["data"] is not None) == shown


def test_only_the_last_lines_are_kept(progress: RunProgress) -> None:
    for k in range(1, 30):
        progress.take(events.StepTaken("meta", k, 1.0, 0.5, f"line {k}"))
    assert progress.live()["lines"] == [f"line {k}" for k in range(18, 30)]
