"""The search for mix-ups leaves each drawing out in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from drawings import BAR, CROSS, ROUND, TILTED, parsed, picture, untrained_network

from maml.model import MetaNetwork
from maml.networks import build_model
from maml.recipes import RECIPES
from maml.sessions import mixups
from maml.sessions.answers import answer
from maml.sessions.document import Drawing, Symbol
from maml.sessions.draw_session import DrawSession
from maml.sessions.mixups import find_mixups, without
from maml.sessions.refusal import Refusal


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    """The product's network, untrained: one small step on it is a nearest class mean."""
    return untrained_network()


SYMBOLS: list[dict[str, Any]] = [
    {"id": 9, "name": "Empty"},
    {
        "id": 4,
        "name": "Round",
        # A cross among the round ones is out of place; a blank picture has no ink.
        "examples": [{"strokes": ROUND}, {"picture": picture([])}, {"strokes": TILTED}],
        "pad": ROUND,
    },
    {"id": 2, "name": "Cross", "examples": [{"strokes": CROSS}, {"strokes": TILTED}], "pad": []},
    {"id": 7, "name": "Bar", "examples": [{"strokes": BAR}], "pad": []},
]


def test_the_check_names_the_pair_and_the_odd_drawing(model: MetaNetwork) -> None:
    *_, found = find_mixups(parsed(symbols=SYMBOLS), DrawSession(), model)
    assert (found["revision"], found["done"], found["total"]) == (7, 5, 5)
    assert found["pairs"] == [{"a": 2, "b": 4, "count": len(found["mistakes"])}]
    assert (found["oddest"]["symbol"], found["oddest"]["drawing"]) == (4, 2)
    assert (4, 2) in [(one["symbol"], one["drawing"]) for one in found["mistakes"]]
    assert found["right"] == 5 - len(found["mistakes"]) and found["none"] == 0
    assert found["oddest"]["share"] < 0.5
    # Bar has one drawing; the others have more.
    assert found["wanting"] == {"symbol": 7, "drawings": 1, "fewest": True, "share": None}


def test_each_drawing_is_judged_as_the_page_would_judge_it() -> None:
    """With "none of these" among the answers."""
    wary = untrained_network()
    wary.get_buffer("unknown_limit").fill_(0.0005)
    read = parsed(symbols=SYMBOLS)
    *_, found = find_mixups(read, DrawSession(), wary)
    sound, *_ = DrawSession().sound(read, wary)
    said: list[tuple[int, int | None, float]] = []
    for way, symbol in enumerate(sound):
        for drawing in symbol.drawings if len(symbol.drawings) > 1 else ():
            asked = replace(read, symbols=tuple(without(sound, symbol, drawing)), query=drawing)
            news = answer(asked, DrawSession(), wary)
            said.append((symbol.id, news["winner"], news["shares"][way]))
    wrong = [(own, share) for own, winner, share in said if winner != own]
    assert [(one["symbol"], one["share"]) for one in found["mistakes"]] == [
        (own, pytest.approx(share, abs=1e-3)) for own, share in wrong
    ]
    assert found["none"] == sum(winner is None for _, winner, _ in said) > 0
    assert found["right"] + found["none"] + sum(one["count"] for one in found["pairs"]) == 5


def test_of_symbols_with_as_many_drawings_the_one_in_most_doubt_wants_another() -> None:
    def wanting(*counts: int, taken: int = 0) -> dict[str, Any]:
        drawing = Drawing(strokes=(((0.0, 0.0),),))
        symbols = [Symbol(id, str(id), (drawing,) * count) for id, count in enumerate(counts, 1)]
        own = {1: [0.9, 0.8], 2: [0.9, 0.2], 3: [0.6, 0.6]}
        return mixups._wanting(symbols, own, Counter({taken: 0.7}))

    least_sure = {"symbol": 2, "drawings": 2, "fewest": False, "share": 0.55}
    assert wanting(2, 2, 2) == least_sure
    assert wanting(2, 3, 3)["symbol"] == 1 and wanting(2, 3, 3)["fewest"]
    # What takes others' drawings for its own is in doubt too.
    assert wanting(2, 2, 2, taken=3)["symbol"] == 3


def test_each_drawing_in_turn_is_missing_from_what_is_learnt(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[list[list[bytes]]] = []
    real = DrawSession.adapted

    def watched(
        self: DrawSession, model: MetaNetwork, symbols: Sequence[Symbol], steps: int | None
    ) -> Any:
        learnt.append([[drawing.key for drawing in symbol.drawings] for symbol in symbols])
        assert steps == 1
        return real(self, model, symbols, steps)

    monkeypatch.setattr(DrawSession, "adapted", watched)
    read = parsed(symbols=[one for one in SYMBOLS if one["id"] != 4])
    list(find_mixups(read, DrawSession(), model))
    (cross, tilted), (bar,) = ([one.key for one in symbol.drawings] for symbol in read.symbols[1:])
    assert learnt == [[[tilted], [bar]], [[cross], [bar]]]


def test_two_equal_drawings_are_left_out_one_at_a_time(model: MetaNetwork) -> None:
    twice = [
        {"id": 1, "name": "Round", "examples": [{"strokes": ROUND}, {"strokes": ROUND}]},
        {"id": 2, "name": "Cross", "pad": CROSS},
    ]
    *_, found = find_mixups(parsed(symbols=twice), DrawSession(), model)
    assert found["total"] == 2 and found["right"] == 2


def test_progress_is_told_and_ends_with_the_result(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixups, "_REPORT_EVERY", 0.0)
    told = list(find_mixups(parsed(symbols=SYMBOLS), DrawSession(), model))
    assert [one["done"] for one in told] == [0, 1, 2, 3, 4, 5]
    assert ["right" in one for one in told] == [False] * 5 + [True]


def test_the_check_refuses_what_the_network_cannot_tell_apart() -> None:
    recipe = RECIPES["notebook"]
    network = build_model(recipe.network, recipe.training.inner, torch.Generator().manual_seed(0))
    with pytest.raises(Refusal, match="wrong_ways"):
        next(find_mixups(parsed(), DrawSession(), network))
    with pytest.raises(Refusal, match="missing_two"):
        next(find_mixups(parsed(symbols=[]), DrawSession(), network))
