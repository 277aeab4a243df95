"""The sketchpad: a Gradio component that draws its own cards.

No drawing library is used.  Those that come with a Python package serve other purposes: Gradio's
`gr.Sketchpad` (Pixi) sends pictures and starts a WebGL application for each pad, Bokeh's freehand
tool gives points but is part of a plot, `streamlit-drawable-canvas` (fabric.js) belongs to another
framework.  This page needs the points of the pen, twenty pads, and pens, palms and fingers told
apart: `assets/pads.js`, on pointer events and a 2D canvas.  A library would add smooth outlines,
which only the eye sees: the network gets 28 x 28 pixels.
"""

from __future__ import annotations

import functools
from typing import Any

from maml.demo.component import AssetComponent, asset, drop_stub, page_settings, script_of
from maml.demo.strings import STRINGS
from maml.sessions.document import (
    PAGE_LIMITS,
    PICTURE_PATTERN,
    VERSION,
    Language,
    example_sets,
    language_of,
)

_SCRIPTS = (
    "dom.js",
    "times.js",
    "words.js",
    "icons.js",
    "document.js",
    "link.js",
    "pads.js",
    "pad_keys.js",
    "storage.js",
    "server.js",
    "hints.js",
    "chart.js",
    "replay.js",
    "preview.js",
    "share.js",
    "card.js",
    "teach_panel.js",
    "ask_picture.js",
    "ask_panel.js",
    "drawing_map.js",
    "adapt_panel.js",
    "compare_panel.js",
    "mistakes_panel.js",
    "keep_panel.js",
    "dock.js",
    "view.js",
    "entry.js",
)


_STYLES = ("base.css", "palette.css", "sketchpad.css", "cards.css", "ask.css", "compare.css")


@functools.cache
def _script() -> str:
    constants = {
        "STRINGS": STRINGS,
        "SETS": example_sets(),
        "STYLE": "".join(map(asset, _STYLES)),
        "DOCUMENT": {"VERSION": VERSION, "LIMITS": PAGE_LIMITS, "PICTURE": PICTURE_PATTERN},
    }
    return script_of("SKETCH_CONSTANTS", constants, *_SCRIPTS)


class Sketchpad(AssetComponent):
    """Cards to draw on, a pad to ask with, the answer and the adaptation's curves.

    Its script asks the app's own routes (`maml.demo.service`), past Gradio's events.  The one event
    ``language`` brings the page's language.  Another key in ``weights`` makes the page ask again;
    "" stands for the shipped weights.
    """

    page_events = frozenset({"language"})

    def __init__(self, value: Any = None, *, weights: str = "", **settings: Any) -> None:
        super().__init__(
            value=value, weights=weights, **page_settings("sketchpad.html", _script(), settings)
        )

    def preprocess(self, payload: Any) -> Language:
        """The page's language; English if what came is none."""
        return language_of(payload)

    def api_info(self) -> dict[str, Any]:
        """What the page sends."""
        return {"type": "object", "properties": {"language": {"type": "string"}}}

    def example_payload(self) -> Any:
        """A page in English."""
        return {"language": "en"}

    def example_value(self) -> Any:
        """A page in English."""
        return self.example_payload()


drop_stub(__file__)
