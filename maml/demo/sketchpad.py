"""The sketchpad: a Gradio component that draws its own cards."""

from __future__ import annotations

import functools
from typing import Any

import gradio as gr

from maml.demo.component import AssetComponent, asset, drop_stub, page_settings, script_of
from maml.demo.strings import STRINGS
from maml.sessions.document import VERSION, Document, example_sets, parse_document, parse_text

_SCRIPTS = ("svg.js", "document.js", "pads.js", "storage.js", "curves.js", "view.js", "entry.js")

# ---- the component ---------------------------------------------------------------------------


@functools.cache
def _script() -> str:
    style = asset("base.css") + asset("sketchpad.css")
    values = {"STRINGS": STRINGS, "SETS": example_sets(), "STYLE": style}
    return script_of("SKETCH_CONSTANTS", values, *_SCRIPTS)


class Sketchpad(AssetComponent):
    """Cards to draw on, a pad to ask with, the answer and the adaptation's curves.

    Its value comes from the page as a document's JSON text and reaches a listener as a `Document`.
    Python answers through props: ``gr.update(answer=...)``, ``gr.update(mixups=...)``, both JSON
    text; the page drops what is older than its own last change.  Another value of ``weights`` makes
    it ask again.
    """

    page_events = frozenset({"ask", "live", "check", "export", "language"})

    def __init__(
        self,
        value: Any = None,
        *,
        answer: str | None = None,
        mixups: str | None = None,
        weights: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            value=value,
            answer=answer,
            mixups=mixups,
            weights=weights,
            **page_settings("sketchpad.html", _script(), settings),
        )

    def preprocess(self, payload: Any) -> Document:  # type: ignore[override]
        """Check what the page sent.

        Raises:
            gr.Error: if it is no sound document.
        """
        try:
            return parse_document(parse_text(payload) if isinstance(payload, str) else payload)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def api_info(self) -> dict[str, Any]:
        """The document's JSON schema."""
        number = {"type": "number"}
        stroke = {"type": "array", "items": {"type": "array", "items": number}}
        strokes = {"type": "array", "items": stroke}
        drawing = {
            "type": "object",
            "properties": {"strokes": strokes, "picture": {"type": "string"}},
        }
        symbol = {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "examples": {"type": "array", "items": drawing},
                "pad": strokes,
            },
        }
        return {
            "type": "object",
            "properties": {
                "version": {"type": "integer"},
                "symbols": {"type": "array", "items": symbol},
                "query": strokes,
                "steps": {"type": "integer"},
            },
        }

    def example_payload(self) -> Any:
        """A document without drawings."""
        return {"version": VERSION, "symbols": [], "query": [], "steps": None}

    def example_value(self) -> Any:
        """A document without drawings."""
        return self.example_payload()


drop_stub(__file__)
