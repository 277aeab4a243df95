"""Events and commands survive their line; what is no event is refused and says why."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from maml.config import MetaTraining
from maml.evaluate import EvaluationResult
from maml.plain import finite
from maml.sessions import events
from maml.sessions.events import Command, Event, EventError, from_line, to_line
from maml.sessions.worker import _told

TASK = events.SolvedTask(2, "c3VwcG9ydA==", "cXVlcmllcw==", ((0, 1), (1, 1)), ((0, 0), (1, 0)))
EVENTS: tuple[Event, ...] = (
    events.DataProgress("generating", 0, 0),
    events.Begun(1, 2),
    events.StepTaken("meta", 3, 0.25, 0.5, "[Epoch 0.03]"),
    events.StepTaken("pretraining", 4, None, 0.5, None),
    events.EvaluationBegun(10),
    events.Evaluated(10, 0.75, 0.01, 0.5, "[Epoch 1.00]"),
    events.Evaluated(0, 0.5, 0.01, 0.5, "[Epoch 0.00]", {"20-way 1-shot": 0.25}),
    events.Preview(12, "2-way 1-shot", 12, (0.5, 0.75), (TASK,), 0.75),
    events.Saved(12),
    events.Paused(13),
    events.Continued(13),
    events.Stopped(14),
    events.Finished(30),
    events.Failed("No route to host", "data"),
    events.Failed("Cannot write /runs: 空间不足\nsecond line"),
)


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_survives_its_line(event: Event) -> None:
    line = to_line(event)
    assert line.endswith("\n") and line.count("\n") == 1
    assert json.loads(line)["kind"] == event.kind
    assert from_line(line) == event
    with pytest.raises(FrozenInstanceError):
        event.kind = "other"  # type: ignore


def test_what_is_no_number_goes_as_null() -> None:
    assert finite(1.5) == 1.5
    for value in (math.nan, math.inf, -math.inf):
        assert finite(value) is None
        assert finite({"a": [1, (value, "b", True)]}) == {"a": [1, [None, "b", True]]}
        line = to_line(events.StepTaken("meta", 1, value, 0.5, None))
        assert json.loads(line)["loss"] is None


def test_an_evaluation_on_one_task_is_told_without_an_interval() -> None:
    result = EvaluationResult("5-way 1-shot", 0.75, math.nan, 1, 0.5, (0.2, 0.75), 0.1)
    event = _told(result, MetaTraining())
    assert isinstance(event, events.Evaluated)
    assert event.interval is None
    assert from_line(to_line(event)) == event


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "got ''"),
        ('{"kind": "saved", "iter', "got .*iter"),
        ("[1]", "should be an object"),
        ("{}", "discriminator 'kind'"),
        ('{"kind": "exploded", "iteration": 1}', "'exploded'"),
        ('{"kind": "saved"}', "saved.iteration: .*required"),
        ('{"kind": "saved", "iteration": "1"}', "saved.iteration: .*integer"),
        ('{"kind": "saved", "iteration": 1.5}', "saved.iteration: .*integer"),
        ('{"kind": "saved", "iteration": true}', "saved.iteration: .*integer"),
        ('{"kind": "saved", "iteration": 1, "text": "x"}', "saved.text: "),
        (
            '{"kind": "step", "stage": "rest", "iteration": 1, "loss": 1, "accuracy": 1, '
            '"line": null}',
            "step.stage: ",
        ),
        ('{"kind": "ended", "status": 0, "errors": []}', "'ended'"),
    ],
)
def test_what_is_no_event_is_refused(line: str, message: str) -> None:
    with pytest.raises(EventError, match=f"expected an event of a training process.*{message}"):
        from_line(line)


def test_a_long_line_is_not_repeated_whole() -> None:
    with pytest.raises(EventError) as caught:
        from_line("x" * 10_000)
    assert len(str(caught.value)) < 300


def test_a_command_survives_its_line() -> None:
    assert [command.to_line() for command in Command] == ["pause\n", "continue\n", "stop\n"]
    assert [Command.from_line(command.to_line()) for command in Command] == list(Command)
    with pytest.raises(ValueError, match="expected one of pause, continue, stop, got 'jump'"):
        Command.from_line("jump\n")
