"""Starting points compared: what is shown is what the library computes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from drawings import BAR, CROSS, ROUND, TILTED, parsed, picture, untrained_network

import maml
from maml.adapt import AdaptedLearner
from maml.sessions.draw_session import DrawSession
from maml.sessions.starts import StartingPoint, compare_starts, starting_points


@pytest.fixture(scope="module")
def points() -> tuple[StartingPoint, ...]:
    return starting_points()


def test_the_starting_points_are_an_untrained_a_live_and_the_shipped_network(
    points: tuple[StartingPoint, ...],
) -> None:
    untrained, live, shipped = (point.model for point in points)
    assert [point.name for point in points] == ["untrained", "live", "shipped"]
    assert shipped.provenance["recipe"] == "flagship" and not shipped.training
    assert untrained.settings == live.settings and untrained.inner == live.inner
    recipe = maml.RECIPES["live"]
    fresh = maml.build_model(
        recipe.network, recipe.training.inner, torch.Generator().manual_seed(recipe.seed)
    )
    began, ended = untrained.state_dict(), live.state_dict()
    for name, tensor in fresh.state_dict().items():
        if name.startswith("stages."):
            assert torch.equal(began[name], tensor) and not torch.equal(ended[name], tensor)


def test_each_answer_is_that_of_the_library_from_that_start(
    points: tuple[StartingPoint, ...],
) -> None:
    shipped = points[-1].model
    inks = np.stack([maml.strokes_to_image(one) for one in (ROUND, CROSS)])
    support = maml.SupportSet(torch.from_numpy(inks), torch.tensor([0, 1]), ("Round", "Cross"))
    query = maml.strokes_to_image(TILTED)[None]
    # Whether or not the page draws with the shipped network makes no difference.
    for page in (shipped, untrained_network()):
        news = compare_starts(parsed(query=TILTED, steps=3), DrawSession(), points, page)
        assert news["symbols"] == [3, 8] and news["revision"] == 7
        for start, point in zip(news["starts"], points, strict=True):
            learner: AdaptedLearner = maml.adapt(point.model, support, steps=3)
            assert start["name"] == point.name
            for step, shares in enumerate(start["shares_path"]):
                expected = learner.at_step(step).predict(query).shares[0].tolist()
                assert shares == pytest.approx(expected, abs=1e-4)
            assert len(start["shares_path"]) == len(start["trajectory"]) == 4
            assert [one["loss"] for one in start["trajectory"]] == pytest.approx(
                [one.loss / 2 for one in learner.trajectory], abs=1e-4
            )
            assert start["trajectory"][0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
        json.dumps(news, allow_nan=False)
    assert news["starts"][-1]["winner"] == news["starts"][-1]["leader"] == 8


def test_as_many_steps_are_taken_as_the_page_takes(points: tuple[StartingPoint, ...]) -> None:
    for steps, taken in ((None, points[-1].model.inner.evaluation_steps), (0, 0), (2, 2)):
        news = compare_starts(parsed(steps=steps), DrawSession(), points, points[-1].model)
        assert [len(start["trajectory"]) - 1 for start in news["starts"]] == [taken] * 3
        assert all((start["leader"] is None) == (taken == 0) for start in news["starts"])


def test_without_symbols_or_a_question_there_is_nothing_to_compare(
    points: tuple[StartingPoint, ...],
) -> None:
    one = [{"id": 3, "name": "Round", "examples": [{"strokes": ROUND}, {"strokes": BAR}]}]
    blank = [*one, {"id": 4, "name": "Blank", "examples": [{"picture": picture([])}]}]
    cases: list[dict[str, Any]] = [
        {"query": []},
        {"query": [], "picture": picture([])},
        {"symbols": one},
        {"symbols": blank},
    ]
    for changes in cases:
        news = compare_starts(parsed(**changes), DrawSession(), points, points[-1].model)
        assert news["starts"] == [] and news["waiting"] == 0


def test_comparing_keeps_what_the_page_needs(points: tuple[StartingPoint, ...]) -> None:
    session, shipped = DrawSession(), points[-1].model
    compare_starts(parsed(), session, points, shipped)
    assert {model for model, _ in session.seen} == {shipped}
    learners = list(session.learners.values())
    compare_starts(parsed(revision=8), session, points, shipped)
    assert list(session.learners.values()) == learners
