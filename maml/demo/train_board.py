"""The board that shows a training while it runs: a Gradio component that draws itself."""

from __future__ import annotations

import functools
from typing import Any

from maml.demo.component import AssetComponent, asset, drop_stub, page_settings, script_of
from maml.demo.terms import quotations
from maml.demo.train_strings import TRAIN_STRINGS
from maml.sessions.document import Language
from maml.sessions.progress import BROKEN, OVER

_SCRIPTS = (
    "dom.js",
    "words.js",
    "chart.js",
    "terms.js",
    "train_runs.js",
    "train_curves.js",
    "train_steps.js",
    "train_tasks.js",
    "train_present.js",
    "train_board.js",
)


@functools.cache
def _script() -> str:
    values = {
        "STRINGS": TRAIN_STRINGS,
        "STYLE": asset("base.css") + asset("train_board.css"),
        "OVER": sorted(OVER),
        "BROKEN": sorted(BROKEN),
        "QUOTATIONS": quotations(),
    }
    return script_of("TRAIN_CONSTANTS", values, *_SCRIPTS)


class TrainingBoard(AssetComponent):
    """State, curves, tasks just solved, accuracy by inner step, log and earlier runs.

    Python shows things through props: `live`, `run`, `solved`, `earlier`, each JSON text (Gradio
    would wrap every array in a proxy and compare all of it), and `language`.  The page's event
    ``remove`` brings the number of a run; ``pause`` and ``unpause`` come of keys.
    """

    page_events = frozenset({"remove", "pause", "unpause"})

    def __init__(
        self,
        value: Any = None,
        *,
        live: str | None = None,
        run: str | None = None,
        solved: str | None = None,
        earlier: str | None = None,
        language: Language = "en",
        **settings: Any,
    ) -> None:
        super().__init__(
            value=value,
            live=live,
            run=run,
            solved=solved,
            earlier=earlier,
            language=language,
            **page_settings("train_board.html", _script(), settings),
        )

    def preprocess(self, payload: Any) -> int | None:  # type: ignore[override]
        """The number of the run to remove, or None if what came is no such number."""
        number = payload.get("remove") if isinstance(payload, dict) else None
        return number if isinstance(number, int) and not isinstance(number, bool) else None

    def api_info(self) -> dict[str, Any]:
        """What the page sends."""
        return {"type": "object", "properties": {"remove": {"type": "integer"}}}

    def example_payload(self) -> Any:
        """The first run."""
        return {"remove": 1}

    def example_value(self) -> Any:
        """The first run."""
        return self.example_payload()


drop_stub(__file__)
