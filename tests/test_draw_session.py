"""What the server remembers of a visitor: nothing is computed twice, nothing grows without end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from drawings import BAR, CROSS, ROUND, document

from maml.model import MetaNetwork, build_model
from maml.recipes import RECIPES
from maml.sessions import draw_session
from maml.sessions.answers import answer
from maml.sessions.document import Document, Drawing, parse_document
from maml.sessions.draw_session import DrawSession


def network(seed: int) -> MetaNetwork:
    recipe = RECIPES["flagship"]
    return build_model(
        recipe.network, recipe.training.inner, torch.Generator().manual_seed(seed)
    ).eval()


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    """The product's network, untrained."""
    return network(0)


def parsed(**changes: Any) -> Document:
    return parse_document(document(**changes))


@pytest.fixture
def adapted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each adaptation."""
    counted: list[int] = []
    real = draw_session.adapt_features

    def counting(*args: Any) -> Any:
        counted.append(1)
        return real(*args)

    monkeypatch.setattr(draw_session, "adapt_features", counting)
    return counted


def test_a_stroke_on_the_query_pad_or_a_new_name_does_not_adapt_anew(
    model: MetaNetwork, adapted: list[int]
) -> None:
    session = DrawSession()
    answer(parsed(), session, model)
    answer(parsed(query=ROUND), session, model)
    renamed = [{"name": "Disc", "pad": ROUND}, {"name": "Cross", "pad": CROSS}]
    answer(parsed(symbols=renamed), session, model)
    assert len(adapted) == 1
    answer(parsed(symbols=[*renamed, {"name": "Bar", "pad": BAR}]), session, model)
    answer(parsed(steps=2), session, model)
    answer(parsed(symbols=renamed[::-1]), session, model)
    assert len(adapted) == 4


def test_other_weights_adapt_anew(model: MetaNetwork, adapted: list[int]) -> None:
    session = DrawSession()
    own = answer(parsed(), session, model)
    others = answer(parsed(), session, network(1))
    assert len(adapted) == 2 and own["probabilities"] != others["probabilities"]
    assert answer(parsed(), session, model)["probabilities"] == own["probabilities"]
    assert len(adapted) == 2


@pytest.fixture
def looked(model: MetaNetwork, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each use of the stem by the number of pictures."""
    counted: list[int] = []
    real = model.features

    def counting(inks: torch.Tensor) -> torch.Tensor:
        counted.append(len(inks))
        return real(inks)

    monkeypatch.setattr(model, "features", counting)
    return counted


def test_a_new_example_costs_one_look_not_all(model: MetaNetwork, looked: list[int]) -> None:
    session = DrawSession()
    news = answer(parsed(query=[]), session, model)
    assert looked == [2]
    answer(parsed(query=BAR), session, model)
    symbols = [
        {"name": "Round", "examples": [{"strokes": ROUND}, {"strokes": BAR}]},
        {"name": "Cross", "pad": CROSS},
        {"name": "Dot", "pad": [[[5, 5]]]},
    ]
    answer(parsed(symbols=symbols, query=BAR), session, model)  # the question became an example
    assert looked == [2, 1, 1]
    again = answer(parsed(query=[]), session, model)
    assert again["trajectory"] == news["trajectory"] and looked == [2, 1, 1]


def test_ink_is_made_once(model: MetaNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = Drawing.ink

    def counting(drawing: Drawing, framing: Any) -> Any:
        made.append(framing)
        return real(drawing, framing)

    monkeypatch.setattr(Drawing, "ink", counting)
    session = DrawSession()
    for _ in range(3):
        answer(parsed(unseen=[[3, 0], [8, 0]]), session, model)
    assert made == ["fit", "fit"]
    monkeypatch.setattr(model, "provenance", {"framing": "frame"})
    answer(parsed(), session, model)
    assert made == ["fit", "fit", "frame", "frame"]


def test_the_memory_of_a_session_stays_small(
    model: MetaNetwork, looked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw_session, "_KEPT_DRAWINGS", 6)
    session = DrawSession()
    for steps in range(8):
        answer(parsed(steps=steps, query=[[[steps, 5], [100, 900]]]), session, model)
    assert len(session.learners) == draw_session._KEPT_LEARNERS == 4
    assert len(session.inks) == len(session.seen) == 6
    kept = {key for _, key in session.seen}
    asked = [Drawing((((steps, 5.0), (100.0, 900.0)),)) for steps in range(8)]
    # The examples were used all the time, so the oldest queries went.
    assert looked == [2] + [1] * 8
    assert [drawing.key in kept for drawing in asked] == [False] * 4 + [True] * 4


def test_a_whole_document_stays_in_memory() -> None:
    assert draw_session._KEPT_DRAWINGS > 20 * 20 + 1
