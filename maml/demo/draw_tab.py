"""The Draw tab: the sketchpad, and the endpoint that does the same for programs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import gradio as gr

from maml.demo.sketchpad import Sketchpad
from maml.demo.strings import worded
from maml.sessions.answers import LoadModel, adapt_and_classify
from maml.sessions.refusal import Refusal


def build_draw_tab(load_model: LoadModel, arithmetic: AbstractContextManager[object]) -> Sketchpad:
    """Put the Draw tab's component and its public endpoint into the surrounding blocks.

    Args:
        load_model: gives the network; called with None.
        arithmetic: held while the endpoint adapts and predicts.

    Returns:
        The sketchpad; its event ``language`` tells that the page's language changed.
    """
    sketchpad = Sketchpad(elem_id="sketchpad")

    def adapt_and_classify_(
        symbols: list[dict[str, Any]], queries: list[dict[str, Any]], steps: int | None = None
    ) -> dict[str, Any]:
        try:
            return adapt_and_classify(
                load_model(None), symbols, queries, steps, arithmetic=arithmetic
            )
        except Refusal as refusal:
            raise gr.Error(worded(refusal.record, "en"), print_exception=False) from refusal

    gr.api(
        adapt_and_classify_,
        api_name="adapt_and_classify",
        api_description=_API_DESCRIPTION,
        concurrency_id="infer",
        concurrency_limit=1,
    )
    return sketchpad


_API_DESCRIPTION = (
    "Adapts to a few examples of 2 to 20 symbols and names further drawings. "
    'A drawing is {"strokes": [[[x, y], ...], ...]} (x to the right, y downwards, any unit) or '
    '{"picture": "data:image/png;base64,..."}. symbols: [{"name": "...", "examples": [drawing, '
    "...]}, ...]; queries: [drawing, ...]; steps: 0 to 20, or null. Gives names; answers with "
    "name (null: none of these), probabilities, unknown; trajectory with loss and accuracy."
)
