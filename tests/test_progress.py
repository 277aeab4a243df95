"""What a run shows, event by event."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from trainings import Clock, small_recipe

from maml.config import Pretraining
from maml.recipes import RECIPES
from maml.runs import RunFolder
from maml.sessions import events
from maml.sessions.progress import BROKEN, OVER, RESUMABLE, RunProgress, State
from maml.sessions.stages import caption_of, stages_of


@pytest.fixture
def progress(tmp_path: Path) -> RunProgress:
    return RunProgress(small_recipe(100), RunFolder(tmp_path / "run"))


def step(iteration: int, accuracy: float = 0.5, loss: float | None = 1.0) -> events.StepTaken:
    return events.StepTaken("meta", iteration, loss, accuracy, None)


def preview(iteration: int, *accuracies: float) -> events.Preview:
    return events.Preview(iteration, "5-way 3-shot", 12, accuracies, (), 0.3)


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


def test_curves_and_tests_are_those_of_the_events(progress: RunProgress, clock: Clock) -> None:
    progress.take(events.Begun(0, 1))
    clock.now += 3
    progress.take(step(1, 0.25, 2.0))
    progress.take(events.Paused(1))
    clock.now += 50
    progress.take(events.Continued(1))
    clock.now += 2
    progress.take(step(2, 0.5, None))
    clock.now += 4
    progress.take(events.Evaluated(2, 0.45, 0.1, None, "line", {"20-way 1-shot": 0.25}))
    progress.take(events.Evaluated(2, 0.45, 0.1, None, "line"))
    curves = progress.curves()
    assert curves["train"] == [[1, 25.0, 2.0, 3.0], [2, 50.0, None, 9.0]], "a rest is no work"
    assert curves["test"] == 2 * [[2, 45.0, None, 9.0]]
    assert curves["others"] == {"20-way 1-shot": [[2, 25.0, 9.0]]}
    assert curves["protocol"] == "5-way 3-shot" and curves["chances"] == {"5-way 3-shot": 20}
    assert curves["stages"] == [{"name": "meta", "last": 100}]
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
            {"iteration": 0, "mode": "test", "acc": 20.0, "loss": 1.5, "others": {"20-way": 5.0}},
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
    assert [point[:3] for point in progress.curves()["train"]] == [
        [k, float(k), 0.5] for k in range(1, 11)
    ]
    assert [point[:3] for point in progress.curves()["test"]] == [[0, 20.0, 1.5]]
    assert [point[:2] for point in progress.curves()["others"]["20-way"]] == [[0, 5.0]]
    progress.take(events.Evaluated(10, 0.33, 0.1, None, "line"))
    progress.take(step(11))
    assert [point[:3] for point in progress.curves()["test"]][1:] == [[10, 33.0, None]]
    assert [point[0] for point in progress.curves()["train"]] == list(range(1, 12))


def test_the_untrained_start_chosen_moments_and_the_latest_preview_are_kept(
    progress: RunProgress,
) -> None:
    assert progress.curves()["moments"] == [] and progress.preview is None
    kept = []
    for iteration in (0, 1, 4, 5, 8, 11, 20, 24, 25, 49, 60, 70):
        progress.take(preview(iteration, 0.2, 0.5))
        kept.append([one["iteration"] for one in progress.curves()["moments"]])
    assert kept[0] == [0] and kept[1] == [0, 1] and kept[3] == [0, 4, 5]
    assert kept[-1] == [0, 4, 8, 20, 25, 60, 70]
    latest = progress.curves()["moments"][-1]
    assert latest == {"iteration": 70, "by_step": (0.2, 0.5), "prototypes": 0.3}


def test_captions_follow_the_run() -> None:
    flagship, live = RECIPES["flagship"].training, RECIPES["live"].training
    episodes = flagship.pretraining_episodes
    for training, iteration, caption in (
        (live, 0, "untrained"),
        (live, 1, "start_one"),
        (live, 1399, "start_one"),
        (live, 1400, "anil"),
        (live, 2799, "anil"),
        (live, 2800, "decay"),
        (live, 4200, "finished"),
        (flagship, 0, "pretraining"),
        (flagship, episodes, "first_order"),
        (flagship, episodes + 100, "multi_step"),
        (flagship, episodes + 200, "maml"),
        (flagship, episodes + 400, "decay"),
        (RECIPES["notebook"].training, 1, "start"),
    ):
        assert caption_of(training, iteration) == f"caption_{caption}"
    assert [(span.name, span.last) for span in stages_of(flagship)] == [
        ("pretraining", episodes),
        ("meta", episodes + 500),
    ]


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
    base = RECIPES["flagship"]
    training = replace(base.training, pretraining=Pretraining(250), iterations=600)
    progress = RunProgress(replace(base, training=training), RunFolder(tmp_path))
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
    assert progress.curves()["chances"] == {"20-way 1-shot within one alphabet": 5}


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
