"""Whatever arrives as a document is read or refused, and breaks no visitor."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from maml.demo.strings import worded
from maml.model import MetaNetwork
from maml.networks import build_model
from maml.recipes import RECIPES
from maml.sessions.answers import answer
from maml.sessions.document import ForgottenDrawing, parse_document, parse_text
from maml.sessions.draw_session import InkBudget
from maml.sessions.memory import Visitor
from maml.sessions.refusal import Refusal

ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([1e308, -1e308, 5e-324, -0.0, 2**53, 2**63]),
    st.text(max_size=8),
    st.sampled_from(["__proto__", "constructor", "../../etc/passwd", "\x00", "\ud800", "a" * 501]),
)
ANYTHING = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner)
)
POINT = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(list)
STROKES = st.lists(st.lists(POINT, min_size=1, max_size=8), min_size=1, max_size=3)
KEYS = [
    "version", "revision", "language", "steps", "query", "symbols", "unseen", "id", "name",
    "examples", "pad", "strokes", "picture", "same", "__proto__",
]  # fmt: skip


def sound(strokes: list[Any], other: list[Any]) -> dict[str, Any]:
    symbols = [
        {"id": 1, "name": "one", "examples": [{"strokes": strokes, "id": 1}], "pad": []},
        {"id": 2, "name": "two", "examples": [{"strokes": other, "id": 2}], "pad": strokes},
    ]
    return {"version": 1, "revision": 3, "steps": 1, "symbols": symbols, "query": other}


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A sound document with something else at one to three of its places."""
    whole: Any = sound(draw(STROKES), draw(STROKES))
    for _ in range(draw(st.integers(1, 3))):
        place = whole
        while True:
            if isinstance(place, dict) and place:
                key: Any = draw(st.sampled_from([*place, *KEYS]))
            elif isinstance(place, list) and place:
                key = draw(st.integers(0, len(place) - 1))
            else:
                break
            inner = place.get(key) if isinstance(place, dict) else place[key]
            if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
                place[key] = draw(ANYTHING)
                break
            place = inner
    return whole


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    return small_network()


def small_network() -> MetaNetwork:
    recipe = RECIPES["flagship"]
    network = replace(recipe.network, channels=8, test_time_views=1)
    return build_model(network, recipe.training.inner, torch.Generator().manual_seed(0)).eval()


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(documents())
def test_a_spoilt_document_is_answered_or_refused_in_words(
    model: MetaNetwork, document: Any
) -> None:
    visitor = Visitor()
    try:
        news = answer(parse_document(document, visitor.drawings), visitor.session, model)
    except Refusal as refusal:
        assert worded(refusal.record, "en") and worded(refusal.record, "zh")
        json.dumps(refusal.record)
    except ForgottenDrawing:
        pass
    else:
        json.dumps(news, allow_nan=False)
        assert all(worded(problem, "en") for problem in news["problems"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=60), ANYTHING.map(lambda value: json.dumps(value))))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_document(parse_text(text))
    except Refusal as refusal:
        assert worded(refusal.record, "en")


class Session(RuleBasedStateMachine):
    """A visitor who teaches, takes back, asks, and names drawings by their numbers.

    Whatever went before, the answer is that of a visitor who sends everything at once.
    """

    model = small_network()

    @initialize()
    def arrive(self) -> None:
        self.visitor = Visitor()
        self.examples: list[list[tuple[int, Any]]] = [[], []]
        self.numbers = 0
        self.query: Any = []

    @rule(symbol=st.integers(0, 1), strokes=STROKES)
    def teach(self, symbol: int, strokes: Any) -> None:
        if len(self.examples[symbol]) < 4:
            self.numbers += 1
            self.examples[symbol].append((self.numbers, strokes))

    @rule(symbol=st.integers(0, 1))
    def take_back(self, symbol: int) -> None:
        self.examples[symbol] = self.examples[symbol][1:]

    @rule(strokes=STROKES)
    def draw(self, strokes: Any) -> None:
        self.query = strokes

    def document(self, known: Any) -> dict[str, Any]:
        symbols = [
            {
                "id": place + 1,
                "name": f"symbol {place}",
                "examples": [
                    {"same": number} if number in known else {"strokes": strokes, "id": number}
                    for number, strokes in examples
                ],
            }
            for place, examples in enumerate(self.examples)
        ]
        return {"version": 1, "symbols": symbols, "query": self.query, "steps": 1}

    @rule()
    def ask(self) -> None:
        asked = parse_document(self.document(set(self.visitor.drawings)), self.visitor.drawings)
        news = answer(asked, self.visitor.session, self.model)
        afresh = answer(parse_document(self.document(())), Visitor().session, self.model)
        for key in ("symbols", "problems", "steps"):
            assert news.get(key) == afresh.get(key), key
        for key in ("probabilities", "unknown"):
            # Pictures seen in other batches differ by rounding.
            assert news.get(key) == pytest.approx(afresh.get(key), abs=3e-4), key

    @precondition(lambda self: self.numbers > 0)
    @rule()
    def ask_in_parts(self) -> None:
        asked = parse_document(self.document(()), self.visitor.drawings)
        budget = InkBudget(pictures=0, seconds=60.0)
        assert answer(asked, self.visitor.session, self.model, budget=budget)["waiting"] == 0

    @rule(document=documents())
    def send_rubbish(self, document: Any) -> None:
        # With numbers of its own, or it would rightly replace what they stood for.
        text = json.dumps(document).replace('"id": ', '"id": 9')
        with contextlib.suppress(Refusal, ForgottenDrawing):
            answer(
                parse_document(parse_text(text), self.visitor.drawings),
                self.visitor.session,
                self.model,
            )

    @invariant()
    def the_caches_stay_small(self) -> None:
        assert self.visitor.session.nbytes < 500_000
        assert len(self.visitor.drawings) <= 1000


Session.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestSession = Session.TestCase
