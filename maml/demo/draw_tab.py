"""The Draw tab: the sketchpad, and the endpoint that does the same for programs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import gradio as gr

from maml.config import LARGEST_WAYS
from maml.demo.sketchpad import Sketchpad
from maml.demo.strings import worded
from maml.sessions import answers
from maml.sessions.answers import LARGEST_QUERIES, LoadModel
from maml.sessions.document import LARGEST_DRAWINGS, LARGEST_STEPS
from maml.sessions.refusal import Refusal

_CALLS = 2
"""Calls of the endpoint that are served at a time."""
_PATIENCE_SECONDS = 5.0
"""A call that has waited so long for others is refused."""


class DrawingGiven(TypedDict, total=False):
    """A drawing as programs send it: one of the two."""

    strokes: list[list[list[float]]]
    picture: str


class SymbolGiven(TypedDict):
    """A symbol as programs send it."""

    name: str
    examples: list[DrawingGiven]


class AnswerGiven(TypedDict):
    """What the endpoint says of a query."""

    name: str | None
    shares: list[float | None]
    probabilities: list[float | None]
    unknown: float | None


class StepGiven(TypedDict):
    """What the endpoint says of a gradient step."""

    loss: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Classified:
    """What the endpoint answers; its text is JSON, since agents get the text of a result."""

    names: list[str]
    answers: list[AnswerGiven]
    trajectory: list[StepGiven]

    def __str__(self) -> str:
        return json.dumps(vars(self))


def build_draw_tab(load_model: LoadModel, arithmetic: AbstractContextManager[object]) -> Sketchpad:
    """Put the Draw tab's component and its public endpoint into the surrounding blocks.

    Args:
        load_model: gives the network; called with None.
        arithmetic: held while the endpoint adapts and predicts.

    Returns:
        The sketchpad; its event ``language`` tells that the page's language changed.
    """
    sketchpad = Sketchpad()

    places = threading.Semaphore(_CALLS)

    @contextmanager
    def a_place() -> Iterator[None]:
        if not places.acquire(timeout=_PATIENCE_SECONDS):
            raise Refusal("endpoint_busy")
        try:
            yield
        finally:
            places.release()

    def adapt_and_classify(  # an agent sees the name
        symbols: list[SymbolGiven], queries: list[DrawingGiven], steps: int | None = None
    ) -> Classified:
        given: tuple[Any, Any] = symbols, queries  # from outside: of any type
        try:
            with a_place():
                result: Any = answers.adapt_and_classify(
                    load_model(None), *given, steps, arithmetic=arithmetic
                )
                return Classified(**result)
        except Refusal as refusal:
            raise gr.Error(worded(refusal.record, "en"), print_exception=False) from refusal

    # Gradio takes the type of an answer as it stands in the signature, where it is a text.
    adapt_and_classify.__annotations__["return"] = Classified
    # Not queued, since it keeps nothing between calls: agents get their answer in the response.
    gr.api(
        adapt_and_classify,
        api_name="adapt_and_classify",
        api_description=_API_DESCRIPTION,
        queue=False,
    )
    _bound_schema()
    return sketchpad


def _bound_schema() -> None:
    """Say in the endpoint's schema what it refuses beyond; hints of types cannot."""
    blocks = gr.context.Context.root_block
    assert blocks is not None
    (endpoint,) = (one for one in blocks.fns.values() if one.api_name == "adapt_and_classify")
    symbols, queries, steps = (cast(Any, one).api_info() for one in endpoint.inputs)
    symbols |= {"minItems": 2, "maxItems": LARGEST_WAYS}
    examples = symbols["items"]["properties"]["examples"]
    examples |= {"minItems": 1, "maxItems": LARGEST_DRAWINGS}
    queries |= {"minItems": 1, "maxItems": LARGEST_QUERIES}
    steps["oneOf"][1] |= {"minimum": 0, "maximum": LARGEST_STEPS}


_API_DESCRIPTION = (
    "Adapts to a few examples of 2 to 20 symbols and names further drawings. "
    'A drawing is {"strokes": [[[x, y], ...], ...]} (x to the right, y downwards, any unit) or '
    '{"picture": "data:image/png;base64,..."}. symbols: [{"name": "...", "examples": [drawing, '
    "...]}, ...]; queries: [drawing, ...]; steps: 0 to 20, or null. Gives names; answers with "
    "name (null: none of these), shares (of each symbol and, last, of none of these; they sum to "
    "1), probabilities, unknown; trajectory with loss and accuracy."
)
