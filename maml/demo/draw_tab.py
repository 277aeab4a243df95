"""The Draw tab: wires the sketchpad to the answers."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from maml.demo.sketchpad import Sketchpad
from maml.demo.strings import worded
from maml.sessions.answers import (
    DrawSession,
    LoadModel,
    Refusal,
    adapt_and_classify,
    answer,
    find_mixups,
)
from maml.sessions.document import Document
from maml.sessions.export import pack_learner

_SESSION_SECONDS = 3600


def build_draw_tab(load_model: LoadModel, session_weights: gr.State) -> Sketchpad:
    """Put the Draw tab's component and its events into the surrounding blocks.

    Args:
        load_model: gives the network; called with what `session_weights` holds.
        session_weights: None, or the path of a checkpoint for this session only.

    Returns:
        The sketchpad; its event ``language`` tells that the page's language changed.
    """
    sketchpad = Sketchpad(elem_id="sketchpad")
    memory = gr.State(None, time_to_live=_SESSION_SECONDS)
    one_answer = threading.Lock()

    def on_ask(
        document: Document, session: DrawSession | None, weights: str | None
    ) -> tuple[Any, DrawSession]:
        session = session or DrawSession()
        with one_answer:
            news = answer(document, session, load_model(weights))
        return gr.update(answer=json.dumps(news)), session

    def on_check(
        document: Document, session: DrawSession | None, weights: str | None
    ) -> Iterator[Any]:
        try:
            for news in find_mixups(document, session or DrawSession(), load_model(weights)):
                yield gr.update(mixups=json.dumps(news))
        except Refusal as refusal:
            news = {"revision": document.revision, "problems": [refusal.record]}
            yield gr.update(mixups=json.dumps(news))

    inputs = [sketchpad, memory, session_weights]
    # Past the queue, which would open a stream of messages for each stroke and bring the whole page
    # up to date five times; a visitor's page has at most one question of either kind under way.
    for event in (sketchpad.ask, sketchpad.live):
        event(
            on_ask,
            inputs,
            [sketchpad, memory],
            trigger_mode="always_last",
            show_progress="hidden",
            queue=False,
            api_visibility="private",
        )
    sketchpad.check(
        on_check,
        inputs,
        sketchpad,
        trigger_mode="always_last",
        show_progress="hidden",
        concurrency_id="check",
        concurrency_limit=1,
        api_visibility="private",
    )

    def on_export(document: Document, session: DrawSession | None, weights: str | None) -> str:
        try:
            packed = pack_learner(document, session or DrawSession(), load_model(weights))
        except Refusal as refusal:
            text = worded(refusal.record, document.language)
            raise gr.Error(text, print_exception=False) from refusal
        folder = Path(tempfile.mkdtemp(dir=_cache(package)))
        path = folder / "adapted-network.zip"
        path.write_bytes(packed)
        return str(path)

    # The page takes the file from this hidden component, which Gradio serves it through.
    package = gr.File(visible="hidden")
    sketchpad.export(
        on_export,
        inputs,
        package,
        trigger_mode="once",
        show_progress="hidden",
        concurrency_id="infer",
        api_visibility="private",
    ).success(None, package, None, js=_OFFER_FILE)

    def adapt_and_classify_(
        symbols: list[dict[str, Any]], queries: list[dict[str, Any]], steps: int | None = None
    ) -> dict[str, Any]:
        try:
            return adapt_and_classify(load_model(None), symbols, queries, steps)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    gr.api(
        adapt_and_classify_,
        api_name="adapt_and_classify",
        api_description=_API_DESCRIPTION,
        concurrency_id="infer",
        concurrency_limit=1,
    )
    return sketchpad


_OFFER_FILE = """(file) => {
    if (!file) return;
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name || "adapted-network.zip";
    link.click();
}"""

_API_DESCRIPTION = (
    "Adapts to a few examples of 2 to 20 symbols and names further drawings. "
    'A drawing is {"strokes": [[[x, y], ...], ...]} (x to the right, y downwards, any unit) or '
    '{"picture": "data:image/png;base64,..."}. symbols: [{"name": "...", "examples": [drawing, '
    "...]}, ...]; queries: [drawing, ...]; steps: 0 to 20, or null. Gives names; answers with "
    "name (null: none of these), probabilities, unknown; trajectory with loss and accuracy."
)


def _cache(component: gr.File) -> str:
    """The component's folder of files that Gradio serves and later deletes."""
    Path(component.GRADIO_CACHE).mkdir(parents=True, exist_ok=True)
    return component.GRADIO_CACHE
