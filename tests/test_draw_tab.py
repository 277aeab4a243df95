"""Answers, the session's memory, the leave-one-out check: without a page, on a real network."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import maml
from maml.demo.strings import worded
from maml.model import MetaNetwork, build_model
from maml.recipes import RECIPES
from maml.sessions import answers
from maml.sessions.answers import DrawSession, Refusal, answer, find_mixups
from maml.sessions.document import example_sets, parse_document
from maml.sessions.export import pack_learner

ROUND = [
    [[int(500 + 300 * np.cos(a)), int(500 + 300 * np.sin(a))] for a in np.linspace(0, 6.2, 24)]
]
CROSS = [[[200, 200], [800, 800]], [[800, 200], [200, 800]]]
BAR = [[[500, 100], [505, 900]]]


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    """The product's network, untrained: one small step on it is a nearest class mean."""
    recipe = RECIPES["flagship"]
    network = build_model(recipe.network, recipe.training.inner, torch.Generator().manual_seed(0))
    return network.eval()


def document(**changes: Any) -> Any:
    return parse_document(
        {
            "version": 1,
            "revision": 7,
            "steps": 1,
            "symbols": [
                {"name": "Empty", "examples": [], "pad": []},
                {"name": "Round", "examples": [{"strokes": ROUND}], "pad": []},
                {"name": "Cross", "examples": [], "pad": CROSS},
            ],
            "query": CROSS,
            **changes,
        }
    )


def test_the_answer_is_that_of_the_library(model: MetaNetwork) -> None:
    news = answer(document(), DrawSession(), model)
    inks = np.stack([maml.strokes_to_image(ROUND), maml.strokes_to_image(CROSS)])
    learner = maml.adapt(
        model, maml.SupportSet(inks, torch.tensor([0, 1]), ("Round", "Cross")), steps=1
    )
    expected = learner.predict(inks[1][None])
    assert news["probabilities"] == pytest.approx(expected.probabilities[0].tolist(), abs=1e-4)
    assert news["unknown"] == pytest.approx(float(expected.unknown[0]), abs=1e-4)
    assert news["path"][0] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert news["path"][-1] == news["probabilities"]
    assert (news["revision"], news["slots"], news["names"]) == (7, [1, 2], ["Round", "Cross"])
    assert [one["loss"] for one in news["trajectory"]] == pytest.approx(
        [one.loss for one in learner.trajectory], abs=1e-4
    )
    assert news["leader"] == int(expected.probabilities[0].argmax())


def test_ink_is_framed_as_the_weights_are_used_to_it(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = DrawSession()
    fitted = answer(document(), session, model)
    monkeypatch.setattr(model, "provenance", {"framing": "frame"})
    framed = answer(document(), session, model)
    inks = np.stack([maml.strokes_to_image(one, "frame") for one in (ROUND, CROSS)])
    learner = maml.adapt(
        model, maml.SupportSet(inks, torch.tensor([0, 1]), ("Round", "Cross")), steps=1
    )
    expected = learner.predict(inks[1][None]).probabilities[0].tolist()
    assert framed["probabilities"] == pytest.approx(expected, abs=1e-4)
    assert framed["queryInk"] != fitted["queryInk"]
    assert len(framed["inks"]) == 2  # the page gets the pictures anew
    monkeypatch.setattr(model, "provenance", {})
    assert answer(document(), session, model)["probabilities"] == fitted["probabilities"]


def test_none_of_these_is_the_learners_word(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, none in ((1.1, False), (-0.1, True)):
        monkeypatch.setattr(type(model), "unknown_threshold", limit)
        news = answer(document(), DrawSession(), model)
        assert (news["winner"] is None) is none
        assert news["threshold"] == limit


def test_too_few_symbols_or_no_question_give_no_answer(model: MetaNetwork) -> None:
    one = document(symbols=[{"name": "Round", "pad": ROUND}, {"name": "Empty"}])
    news = answer(one, DrawSession(), model)
    assert "probabilities" not in news and "trajectory" not in news
    assert len(news["inks"]) == 1 and news["queryInk"]
    waiting = answer(document(query=[]), DrawSession(), model)
    assert "probabilities" not in waiting and len(waiting["trajectory"]) == 2


def test_without_a_wish_the_trained_number_of_steps_is_taken(model: MetaNetwork) -> None:
    news = answer(document(steps=None), DrawSession(), model)
    assert news["steps"] == model.inner.evaluation_steps == len(news["trajectory"]) - 1
    assert len(answer(document(steps=0), DrawSession(), model)["trajectory"]) == 1


def test_a_stroke_on_the_query_pad_does_not_adapt_anew(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted: list[int] = []
    real = answers.adapt_features

    def counted(*args: Any) -> Any:
        adapted.append(1)
        return real(*args)

    monkeypatch.setattr(answers, "adapt_features", counted)
    session = DrawSession()
    answer(document(), session, model)
    answer(document(query=ROUND), session, model)
    renamed = [{"name": "Disc", "pad": ROUND}, {"name": "Cross", "pad": CROSS}]
    assert answer(document(symbols=renamed), session, model)["names"] == ["Disc", "Cross"]
    assert len(adapted) == 1
    answer(document(symbols=[*renamed, {"name": "Bar", "pad": BAR}]), session, model)
    answer(document(steps=2), session, model)
    assert len(adapted) == 3


def test_a_new_example_costs_one_look_not_all(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    real = model.features
    monkeypatch.setattr(model, "features", lambda inks: looked.append(len(inks)) or real(inks))
    session = DrawSession()
    news = answer(document(query=[]), session, model)
    assert looked == [2]
    answer(document(query=BAR), session, model)
    symbols = [
        {"name": "Round", "examples": [{"strokes": ROUND}, {"strokes": BAR}]},
        {"name": "Cross", "pad": CROSS},
        {"name": "Dot", "pad": [[[5, 5]]]},
    ]
    answer(document(symbols=symbols, query=BAR), session, model)  # the question became an example
    assert looked == [2, 1, 1]
    again = answer(document(query=[]), session, model)
    assert again["trajectory"] == news["trajectory"] and looked == [2, 1, 1]


def test_each_ink_is_sent_once(model: MetaNetwork) -> None:
    session = DrawSession()
    first = answer(document(), session, model)["inks"]
    assert [(one["symbol"], one["drawing"]) for one in first] == [(1, 0), (2, 0)]
    assert answer(document(), session, model)["inks"] == []


def picture(side: int, colour: str = "white") -> dict[str, str]:
    file = io.BytesIO()
    Image.new("L", (side, side), colour).save(file, "PNG")
    return {"picture": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()}


@pytest.mark.parametrize(
    ("example", "english", "chinese"),
    [
        ({"picture": "data:image/png;base64,AAAA"}, "could not be opened", "无法打开图片"),
        (picture(600), "more than 512 pixels a side", "边长超过 512 像素"),
        (picture(100), "no line can be seen", "看不到线条"),
    ],
)
def test_a_drawing_without_ink_is_named_and_the_others_are_used(
    model: MetaNetwork, example: Any, english: str, chinese: str
) -> None:
    symbols = [
        {"name": "Round", "pad": ROUND, "examples": [example]},
        {"name": "Cross", "pad": CROSS},
    ]
    news = answer(document(symbols=symbols), DrawSession(), model)
    (problem,) = news["problems"]
    in_english = worded(problem, "en")
    assert "Drawing 1 of Round is left out" in in_english and english in in_english
    assert len(news["probabilities"]) == 2
    in_chinese = worded(problem, "zh")
    assert "Round 的第 1 幅未采用" in in_chinese and chinese in in_chinese


def test_weights_for_another_number_of_symbols_say_so_in_the_pages_language() -> None:
    recipe = RECIPES["notebook"]
    network = build_model(recipe.network, recipe.training.inner, torch.Generator().manual_seed(0))
    session = DrawSession()
    (problem,) = answer(document(), session, network)["problems"]
    assert problem == {"code": "wrong_ways", "wanted": 5, "found": 2}
    assert "exactly 5 symbols apart, but 2 have drawings" in worded(problem, "en")
    assert "只能区分正好 5 个符号" in worded(problem, "zh")
    with pytest.raises(Refusal, match="wrong_ways"):
        next(find_mixups(document(), session, network))
    with pytest.raises(Refusal, match="missing_two"):
        pack_learner(document(symbols=[]), session, network)


def test_the_memory_of_a_session_stays_small(model: MetaNetwork) -> None:
    session = DrawSession()
    for steps in range(8):
        answer(document(steps=steps), session, model)
    assert len(session.learners) == 4


def test_the_check_names_the_pair_and_the_odd_drawing(model: MetaNetwork) -> None:
    tilted = [[[x + 20, y - 10] for x, y in stroke] for stroke in CROSS]
    symbols = [
        {"name": "Empty"},
        # A cross among the round ones is out of place.
        {"name": "Round", "examples": [{"strokes": ROUND}, {"strokes": tilted}], "pad": ROUND},
        {"name": "Cross", "examples": [{"strokes": CROSS}, {"strokes": tilted}], "pad": []},
        {"name": "Bar", "examples": [{"strokes": BAR}], "pad": []},
    ]
    *_, found = find_mixups(document(symbols=symbols), DrawSession(), model)
    assert (found["done"], found["total"]) == (5, 5)
    assert found["pairs"][0]["a"] == 1 and found["pairs"][0]["b"] == 2
    assert found["oddest"]["symbol"] == 1 and found["oddest"]["drawing"] == 1
    assert {"symbol": 1, "drawing": 1} in [
        {key: one[key] for key in ("symbol", "drawing")} for one in found["mistakes"]
    ]
    assert found["right"] == 5 - len(found["mistakes"])


def test_the_example_sets_are_answered_rightly_by_the_shipped_weights() -> None:
    shipped = maml.load_pretrained()
    for one, right in zip(example_sets(), ("Elk", "Mars", "Olo"), strict=True):
        news = answer(parse_document(one["document"]), DrawSession(), shipped)
        assert news["winner"] is not None and news["names"][news["winner"]] == right
