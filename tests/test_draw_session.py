"""What the server remembers of a visitor: nothing is computed twice, nothing grows without end."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from drawings import BAR, CROSS, ROUND, TILTED, document, parsed, picture, untrained_network
from PIL import Image

from maml.model import MetaNetwork
from maml.sessions import draw_session
from maml.sessions.answers import adapt_and_classify, answer
from maml.sessions.document import (
    Drawing,
    ForgottenDrawing,
    Known,
    parse_document,
    parse_drawing,
)
from maml.sessions.draw_session import DrawSession, InkBudget, see_together
from maml.sessions.export import pack_learner
from maml.sessions.mixups import find_mixups
from maml.sessions.refusal import Refusal


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    """The product's network, untrained."""
    return untrained_network()


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
    others = answer(parsed(), session, untrained_network(1))
    assert len(adapted) == 2 and own["probabilities"] != others["probabilities"]
    assert answer(parsed(), session, model)["probabilities"] == own["probabilities"]
    assert len(adapted) == 3  # the latest learner alone is kept


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


def test_queries_of_several_visitors_are_embedded_in_one_pass(
    model: MetaNetwork, looked: list[int]
) -> None:
    drawings = [parse_drawing({"strokes": strokes}, ()) for strokes in (CROSS, ROUND, BAR)]
    sessions = [DrawSession() for _ in drawings]
    see_together(model, list(zip(sessions, drawings, strict=True)))
    assert looked == [3]
    for session, drawing in zip(sessions, drawings, strict=True):
        found = session.features(model, [drawing])
        assert looked == [3]
        torch.testing.assert_close(found, DrawSession().features(model, [drawing]))
        looked.pop()
    see_together(model, list(zip(sessions, drawings, strict=True)))
    assert looked == [3]


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
    monkeypatch.setattr(model, "framing", "frame")
    answer(parsed(), session, model)
    assert made == ["fit", "fit", "frame", "frame"]


def test_a_picture_without_ink_is_opened_once(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    real = Image.open

    def counting(*args: Any, **settings: Any) -> Any:
        opened.append(1)
        return real(*args, **settings)

    monkeypatch.setattr(Image, "open", counting)
    broken = {"picture": "data:image/png;base64,AAAA"}
    symbols = [{"name": "Round", "pad": ROUND, "examples": [broken]}, {"name": "X", "pad": CROSS}]
    session = DrawSession()
    first, second = (answer(parsed(symbols=symbols), session, model) for _ in range(2))
    assert len(opened) == 1
    (problem,) = first["problems"]
    assert problem["reason"] == {"code": "picture_unreadable"} and second["problems"] == [problem]


def test_a_budget_of_ink_is_kept_and_later_questions_go_on(model: MetaNetwork) -> None:
    pictures = [{"picture": picture(TILTED, side=side)} for side in range(40, 50)]
    symbols = [
        {"name": "Round", "pad": ROUND},
        {"name": "Cross", "examples": pictures[:5]},
        {"name": "Other", "examples": pictures[5:]},
    ]
    asked, session = parsed(symbols=symbols), DrawSession()
    budget = InkBudget(pictures=4, seconds=60.0)
    waiting, ways = [], []
    for _ in range(4):
        news = answer(asked, session, model, budget=budget)
        waiting.append(news["waiting"])
        ways.append(len(news["symbols"]))
        assert not news["problems"]
    assert waiting == [6, 2, 0, 0] and ways == [2, 3, 3, 3]
    slow = answer(asked, DrawSession(), model, budget=InkBudget(100, seconds=-1.0))
    assert slow["waiting"] == 11 and "symbols" not in slow


def test_ink_is_made_before_the_lock_is_taken(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()
    real = Drawing.ink

    def checking(drawing: Drawing, framing: Any) -> Any:
        assert not lock.locked()
        return real(drawing, framing)

    monkeypatch.setattr(Drawing, "ink", checking)
    asked = parsed(symbols=[{"name": "A", "pad": ROUND}, {"name": "B", "pad": CROSS}], query=BAR)
    assert answer(asked, DrawSession(), model, arithmetic=lock)["path"]
    assert list(find_mixups(asked, DrawSession(), model, arithmetic=lock))
    assert pack_learner(asked, DrawSession(), model, arithmetic=lock)


def test_adapting_and_answering_hold_the_lock(
    model: MetaNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, held = threading.Lock(), []

    def watched(function: Any) -> Any:
        def watching(*args: Any, **named: Any) -> Any:
            held.append(lock.locked())
            return function(*args, **named)

        return watching

    monkeypatch.setattr(draw_session, "adapt_features", watched(draw_session.adapt_features))
    monkeypatch.setattr(model, "features", watched(model.features))
    asked = parsed(symbols=[{"name": "A", "examples": [{"strokes": ROUND}, {"strokes": TILTED}]},
                            {"name": "B", "pad": CROSS}], query=BAR)  # fmt: skip
    answer(asked, DrawSession(), model, arithmetic=lock)
    assert len(held) == 3  # looks at the examples, adapts to them, looks at the question
    list(find_mixups(asked, DrawSession(), model, arithmetic=lock))
    pack_learner(asked, DrawSession(), model, arithmetic=lock)
    symbols = [{"name": "A", "examples": [{"strokes": ROUND}]},
               {"name": "B", "examples": [{"strokes": CROSS}]}]  # fmt: skip
    adapt_and_classify(model, symbols, [{"strokes": BAR}], arithmetic=lock)
    assert all(held) and not lock.locked()


def test_the_memory_of_a_session_stays_small(
    model: MetaNetwork, looked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw_session, "_KEPT_DRAWINGS", 4)
    session = DrawSession()
    for steps in range(8):
        answer(parsed(steps=steps, query=[[[steps, 5], [100, 900]]]), session, model)
    assert len(session.learners) == draw_session._KEPT_LEARNERS == 1
    assert len(session.inks) == len(session.seen) == 6
    assert 6 * 28 * 28 * 4 < session.nbytes < 500_000
    kept = {key for _, key in session.seen}
    asked = [Drawing((((steps, 5.0), (100.0, 900.0)),)) for steps in range(8)]
    # The examples were used all the time, so the oldest queries went.
    assert looked == [2] + [1] * 8
    assert [one.key in kept for one in asked] == [False] * 4 + [True] * 4


def test_what_a_session_holds_is_counted_whole(model: MetaNetwork) -> None:
    session = DrawSession()
    for query in (ROUND, CROSS, BAR):  # what one answer leaves for the next one counts as well
        answer(parsed(query=query), session, model)
    passed: set[int] = set()
    stack: list[object] = [session.inks, session.seen, session.learners]
    held: dict[int, int] = {}  # bytes by address
    while stack:
        one = stack.pop()
        if id(one) in passed or isinstance(one, (torch.nn.Module, type)):
            continue
        passed.add(id(one))
        if isinstance(one, torch.Tensor):
            storage = one.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, np.ndarray):
            held[one.ctypes.data] = one.nbytes
        else:
            stack += gc.get_referents(one)
    assert 0.97 * sum(held.values()) <= session.nbytes <= 1.1 * sum(held.values())


def test_a_whole_document_stays_in_memory(model: MetaNetwork) -> None:
    drawings = [{"strokes": [[[k, 10], [500, 900], [k, 990]]]} for k in range(60)]
    symbols = [{"name": str(k), "examples": drawings[20 * k : 20 * k + 20]} for k in range(3)]
    session = DrawSession()
    asked = parsed(symbols=symbols)
    answer(asked, session, model)
    assert all(session.has_ink(model, one) for symbol in asked.symbols for one in symbol.drawings)


def test_a_drawing_is_sent_once_and_named_by_its_number(model: MetaNetwork) -> None:
    known: Known = OrderedDict()
    whole = [
        {"name": "Round", "examples": [{"strokes": ROUND, "id": 1}]},
        {"name": "Cross", "examples": [{"strokes": CROSS, "id": 2}]},
    ]
    named = [
        {"name": "Round", "examples": [{"same": 1}]},
        {"name": "Cross", "examples": [{"same": 2}]},
    ]
    session = DrawSession()
    with pytest.raises(ForgottenDrawing):
        parse_document(document(symbols=named), known)
    first = answer(parse_document(document(symbols=whole), known), session, model)
    again = answer(parse_document(document(symbols=named), known), session, model)
    assert again["probabilities"] == first["probabilities"]
    # Another visitor's caches do not have it, and neither do other weights' inks.
    with pytest.raises(ForgottenDrawing):
        answer(parse_document(document(symbols=named), known), DrawSession(), model)
    for number in (3, "1", None, [1], True, 1.0):
        odd = [{"name": "Round", "examples": [{"same": number}]}]
        with pytest.raises(ForgottenDrawing):
            parse_document(document(symbols=odd), known)
    with pytest.raises(Refusal):
        parse_document(document(symbols=named))  # only with a memory
    for k in range(3, 1200):
        parse_drawing({"strokes": [[[k, k]]], "id": k}, (), known)
    assert len(known) == 1000 and 1 not in known
