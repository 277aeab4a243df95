"""The sketchpad: a Gradio component that draws its own cards."""

from __future__ import annotations

import functools
from typing import Any, cast, get_args

from maml.demo.component import AssetComponent, asset, drop_stub, page_settings, script_of
from maml.demo.strings import STRINGS
from maml.sessions.document import Language, example_sets

_SCRIPTS = (
    "svg.js",
    "document.js",
    "pads.js",
    "storage.js",
    "server.js",
    "curves.js",
    "view.js",
    "entry.js",
)

# ---- the component ---------------------------------------------------------------------------


@functools.cache
def _script() -> str:
    style = asset("base.css") + asset("sketchpad.css")
    values = {"STRINGS": STRINGS, "SETS": example_sets(), "STYLE": style}
    return script_of("SKETCH_CONSTANTS", values, *_SCRIPTS)


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
        language = payload.get("language") if isinstance(payload, dict) else None
        return cast(Language, language) if language in get_args(Language) else "en"

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
