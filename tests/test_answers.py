"""Answers to the page and to the API, on a real network, without a page."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from drawings import BAR, CROSS, ROUND, TILTED, parsed, picture, untrained_network

import maml
from maml.demo.strings import worded
from maml.model import MetaNetwork
from maml.networks import build_model
from maml.recipes import RECIPES
from maml.sessions.answers import LARGEST_QUERIES, adapt_and_classify, answer
from maml.sessions.document import example_sets, parse_document
from maml.sessions.draw_session import DrawSession
from maml.sessions.refusal import Refusal


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    """The product's network, untrained: one small step on it is a nearest class mean."""
    return untrained_network()


def test_the_answer_is_that_of_the_library(model: MetaNetwork) -> None:
    news = answer(parsed(), DrawSession(), model)
    inks = np.stack([maml.strokes_to_image(ROUND), maml.strokes_to_image(CROSS)])
    support = maml.SupportSet(torch.from_numpy(inks), torch.tensor([0, 1]), ("Round", "Cross"))
    learner = maml.adapt(model, support, steps=1)
    expected = learner.predict(inks[1][None])
    assert news["probabilities"] == pytest.approx(expected.probabilities[0].tolist(), abs=1e-4)
    assert news["unknown"] == pytest.approx(float(expected.unknown[0]), abs=1e-4)
    assert news["path"][0] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert news["path"][-1] == news["probabilities"]
    assert news["shares"] == pytest.approx(expected.shares[0].tolist(), abs=1e-4)
    assert news["shares_path"][-1] == news["shares"] and len(news["shares_path"]) == 2
    for step, shares in enumerate(news["shares_path"]):
        stepped = learner.at_step(step).predict(inks[1][None])
        assert shares == pytest.approx(stepped.shares[0].tolist(), abs=1e-4)
    assert (news["revision"], news["symbols"]) == (7, [3, 8])
    assert [one["loss"] for one in news["trajectory"]] == pytest.approx(
        [one.loss / 2 for one in learner.trajectory], abs=1e-4
    )
    assert news["trajectory"][0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert [one["accuracy"] for one in news["trajectory"]] == [
        one.accuracy for one in learner.trajectory
    ]
    assert news["leader"] == 8 and news["problems"] == []
    json.dumps(news, allow_nan=False)


def test_ink_is_framed_as_the_weights_are_used_to_it(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = DrawSession()
    unseen = [[3, 0], [8, 0]]
    fitted = answer(parsed(unseen=unseen), session, model)
    monkeypatch.setattr(model, "framing", "frame")
    framed = answer(parsed(unseen=unseen), DrawSession(), model)
    inks = np.stack([maml.strokes_to_image(one, "frame") for one in (ROUND, CROSS)])
    support = maml.SupportSet(torch.from_numpy(inks), torch.tensor([0, 1]), ("Round", "Cross"))
    expected = maml.adapt(model, support, steps=1).predict(inks[1][None]).probabilities[0]
    assert framed["probabilities"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert framed["query_ink"] != fitted["query_ink"]
    assert [a["ink"] == b["ink"] for a, b in zip(framed["inks"], fitted["inks"], strict=True)] == [
        False,
        False,
    ]


def test_none_of_these_is_decided_by_the_threshold(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = DrawSession()
    unknown = answer(parsed(), session, model)["unknown"]
    for limit, winner in ((unknown + 0.01, 8), (unknown - 0.01, None)):
        monkeypatch.setattr(type(model), "unknown_threshold", limit)
        news = answer(parsed(), session, model)
        assert (news["winner"], news["leader"]) == (winner, 8)
        largest = news["shares"].index(max(news["shares"]))
        assert [3, 8, None][largest] == winner and sum(news["shares"]) == pytest.approx(1, abs=1e-5)
        assert news["threshold"] == limit


def test_too_few_symbols_or_no_question_give_no_answer(model: MetaNetwork) -> None:
    one = parsed(symbols=[{"name": "Round", "pad": ROUND}, {"name": "Empty"}], unseen=[[1, 0]])
    news = answer(one, DrawSession(), model)
    assert "probabilities" not in news and "trajectory" not in news
    assert len(news["inks"]) == 1 and news["query_ink"]
    waiting = answer(parsed(query=[]), DrawSession(), model)
    assert "probabilities" not in waiting and len(waiting["trajectory"]) == 2
    assert "query_ink" not in waiting


def test_without_a_wish_the_trained_number_of_steps_is_taken(model: MetaNetwork) -> None:
    news = answer(parsed(steps=None), DrawSession(), model)
    assert news["steps"] == model.inner.evaluation_steps == len(news["trajectory"]) - 1


def test_before_the_first_step_no_symbol_is_claimed(model: MetaNetwork) -> None:
    news = answer(parsed(steps=0, map=True), DrawSession(), model)
    assert len(news["trajectory"]) == 1 and news["probabilities"] == [0.5, 0.5]
    assert news["leader"] is None and news["winner"] is None and "map" not in news


def test_the_map_is_sent_when_the_page_wants_it(model: MetaNetwork) -> None:
    session = DrawSession()
    asked = answer(parsed(steps=3), session, model)
    assert "map" not in asked and len(asked["query_places"]) == 4
    news = answer(parsed(steps=3, map=True), session, model)
    steps, examples = len(news["map"]), len(news["map"][0])
    assert (steps, examples) == (4, 2)
    assert news["map"][0] == [[0, 0], [0, 0]]  # the untrained head is at chance
    # The query is the very drawing that Cross was taught with.
    assert news["query_places"] == asked["query_places"]
    assert news["query_places"][-1] == pytest.approx(news["map"][-1][1], abs=0.002)
    assert max(abs(x) for x, _ in news["map"][-1]) == 1


def test_inks_are_sent_that_the_page_asks_for(model: MetaNetwork) -> None:
    session = DrawSession()
    assert answer(parsed(), session, model)["inks"] == []
    symbols = [{"id": 4, "name": "Cross", "examples": [{"strokes": BAR}], "pad": CROSS}]
    news = answer(parsed(symbols=symbols, unseen=[[4, 1], [9, 0], [4, 2]]), session, model)
    (one,) = news["inks"]
    assert (one["symbol"], one["drawing"]) == (4, 1)
    sent = np.frombuffer(base64.b64decode(one["ink"]), np.uint8).reshape(28, 28) / 255
    assert np.abs(sent - maml.strokes_to_image(CROSS)).max() < 0.01
    assert answer(parsed(unseen=[[8, 0]]), session, model)["inks"]  # as often as it asks


@pytest.mark.parametrize(
    ("example", "english", "chinese"),
    [
        ("data:image/png;base64,AAAA", "could not be opened", "无法打开图片"),
        (picture(side=600), "more than 512 pixels a side", "边长超过 512 像素"),
        (picture([]), "no line can be seen", "看不到线条"),
    ],
)
def test_a_drawing_without_ink_is_named_and_the_others_are_used(
    model: MetaNetwork, example: str, english: str, chinese: str
) -> None:
    symbols = [
        {"name": "Round", "pad": ROUND, "examples": [{"strokes": ROUND}, {"picture": example}]},
        {"name": "Cross", "pad": CROSS},
    ]
    news = answer(parsed(symbols=symbols, unseen=[[1, 1], [1, 2]]), DrawSession(), model)
    (problem,) = news["problems"]
    in_english = worded(problem, "en")
    assert "Drawing 2 of Round is left out: " in in_english and english in in_english
    in_chinese = worded(problem, "zh")
    assert "Round 的第 2 幅未采用：" in in_chinese and chinese in in_chinese
    assert len(news["probabilities"]) == 2
    assert [one["drawing"] for one in news["inks"]] == [2]  # its place is among all drawings


def test_weights_for_another_number_of_symbols_say_so_in_the_pages_language() -> None:
    recipe = RECIPES["notebook"]
    network = build_model(recipe.network, recipe.training.inner, torch.Generator().manual_seed(0))
    (problem,) = answer(parsed(), DrawSession(), network)["problems"]
    assert problem == {"code": "wrong_ways", "wanted": 5, "found": 2}
    assert "exactly 5 symbols apart, but 2 have drawings" in worded(problem, "en")
    assert "只能区分正好 5 个符号" in worded(problem, "zh")


def test_what_is_not_a_number_goes_as_null_and_is_spoken_of() -> None:
    recipe = RECIPES["flagship"]
    broken = build_model(recipe.network, recipe.training.inner, torch.Generator().manual_seed(0))
    with torch.no_grad():
        next(broken.stages.parameters()).fill_(math.nan)  # type: ignore[union-attr]
    news = answer(parsed(), DrawSession(), broken)
    assert [one["loss"] for one in news["trajectory"]] == [None, None]
    assert news["path"] == [[None, None], [None, None]]
    assert "winner" not in news and "probabilities" not in news
    assert [one["code"] for one in news["problems"]] == ["no_finite_answer"]
    json.dumps(news, allow_nan=False)


def test_the_example_sets_are_answered_rightly_by_the_shipped_weights() -> None:
    shipped = maml.load_pretrained()
    for one, right in zip(example_sets(), ("Elk", "Mars", "Olo", "Cat"), strict=True):
        read = parse_document(one["document"])
        names = {symbol.id: symbol.name for symbol in read.symbols}
        assert names[answer(read, DrawSession(), shipped)["winner"]] == right


# ---- the API -----------------------------------------------------------------------------------

SYMBOLS: list[dict[str, Any]] = [
    {"name": "Round", "examples": [{"strokes": ROUND}]},
    {"name": "Cross", "examples": [{"strokes": CROSS}, {"picture": picture(TILTED)}]},
]


def test_the_api_answers_each_query_as_the_page_would(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[dict[str, Any]] = [
        {"strokes": BAR},
        {"picture": picture()},
        {"strokes": ROUND},
    ]
    result = adapt_and_classify(model, SYMBOLS, queries, 2)
    assert result["names"] == ["Round", "Cross"] and len(result["trajectory"]) == 3
    for query, one in zip((BAR, ROUND), result["answers"][::2], strict=True):
        news = answer(parsed(symbols=SYMBOLS, query=query, steps=2), DrawSession(), model)
        assert one["probabilities"] == pytest.approx(news["probabilities"], abs=2e-4)
        assert one["shares"] == pytest.approx(news["shares"], abs=2e-4)
        assert one["unknown"] == pytest.approx(news["unknown"], abs=2e-4)
    lowest, *_, highest = sorted(one["unknown"] for one in result["answers"])
    monkeypatch.setattr(type(model), "unknown_threshold", (lowest + highest) / 2)
    names = [one["name"] for one in adapt_and_classify(model, SYMBOLS, queries, 2)["answers"]]
    assert None in names and set(names) & {"Round", "Cross"}


@pytest.mark.parametrize(
    ("symbols", "queries", "reason"),
    [
        (SYMBOLS[:1], [{"strokes": BAR}], "Draw two symbols first"),
        ([{"name": "a"}, {"name": "b"}], [{"strokes": BAR}], "symbol 1 has no examples"),
        (SYMBOLS, [], f"queries: expected 1 to {LARGEST_QUERIES} entries, got 0."),
        (SYMBOLS, [{"strokes": BAR}] * 101, "queries: expected 1 to 100 entries, got 101."),
        (SYMBOLS, [{"strokes": BAR}, {}], "query 2, strokes: expected a list, got None."),
        (SYMBOLS, [{"picture": picture([])}], "query 1: no line can be seen in the picture."),
        (
            [SYMBOLS[0], {"name": "b", "examples": [{"strokes": BAR}, {"picture": picture([])}]}],
            [{"strokes": BAR}],
            "symbol 2, example 2: no line can be seen in the picture.",
        ),
    ],
)
def test_the_api_refuses_with_the_reason(
    model: MetaNetwork, symbols: Any, queries: Any, reason: str
) -> None:
    with pytest.raises(Refusal) as refused:
        adapt_and_classify(model, symbols, queries)
    assert reason in worded(refused.value.record, "en")
    assert len(adapt_and_classify(model, SYMBOLS, [{"strokes": BAR}] * 100)["answers"]) == 100


def test_a_picture_is_asked_about_like_an_example(model: MetaNetwork) -> None:
    asked = picture(TILTED, side=90)
    news = answer(parsed(query=[], picture=asked), DrawSession(), model)
    alone = [{"id": 1, "name": "It", "examples": [{"picture": asked}]}]
    taught = answer(parsed(symbols=alone, unseen=[[1, 0]]), DrawSession(), model)
    assert news["query_ink"] == taught["inks"][0]["ink"] and news["winner"] == 8
    strokes_first = answer(parsed(query=ROUND, picture=asked), DrawSession(), model)
    assert strokes_first["winner"] == 3
    blank = answer(parsed(query=[], picture=picture([])), DrawSession(), model)
    reason = {"code": "picture_blank"}
    assert blank["problems"] == [{"code": "query_left_out", "reason": reason}]
    assert "query_ink" not in blank and "shares" not in blank and len(blank["trajectory"]) == 2
    assert worded(blank["problems"][0], "en").endswith("no line can be seen in the picture.")
    with pytest.raises(Refusal, match="not_a_picture"):
        parsed(query=[], picture="data:text/html,x")
