"""Keeps the page and its trainings together: a Gradio component without a face."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from maml.demo.component import AssetComponent, drop_stub, page_settings, script_of

_KEY = "maml-sketchpad.trainings"
"""Where the browser keeps the token of its trainings."""
LINK = "#train="
"""How the fragment of a link with settings begins."""


@functools.cache
def _script() -> str:
    return script_of("PULSE_CONSTANTS", {"KEY": _KEY, "LINK": LINK}, "train_pulse.js")


@dataclass(frozen=True)
class Arrival:
    """A page that asks for its trainings.

    Args:
        token: that the browser kept, or "".
        first: whether the page has just been opened.
        link: settings that its address carries, or "".
    """

    token: str
    first: bool
    link: str = ""


class TrainPulse(AssetComponent):
    """Says that the page is there, and finds its trainings again after a reload.

    It stands outside the tabs, whose contents are not made before they are opened.  Python sets
    props: `token` (kept in the browser), `running` (whether to say every second that the page is
    there) and `told` (another value with each update of the board).  The page's event ``arrive``
    brings the token, when the page opens and when updates stay away; ``seen`` comes when the board
    is seen for the first time; ``watched`` and ``unwatched`` come every second, as the board can be
    seen or not, and whenever that changes.
    """

    page_events = frozenset({"arrive", "seen", "watched", "unwatched"})

    def __init__(
        self,
        value: Any = None,
        *,
        token: str = "",
        running: bool = False,
        told: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(
            value=value,
            token=token,
            running=running,
            told=told,
            **page_settings("train_pulse.html", _script(), settings),
        )

    def preprocess(self, payload: Any) -> Arrival:  # type: ignore[override]
        """What the page says of itself."""
        said = payload if isinstance(payload, dict) else {}
        token, link = (
            value if isinstance(value := said.get(key), str) else "" for key in ("token", "link")
        )
        return Arrival(token, said.get("first") is True, link)

    def api_info(self) -> dict[str, Any]:
        """What the page sends."""
        properties = {
            "token": {"type": "string"},
            "first": {"type": "boolean"},
            "link": {"type": "string"},
        }
        return {"type": "object", "properties": properties}

    def example_payload(self) -> Any:
        """A page that opens for the first time."""
        return {"token": "", "first": True}

    def example_value(self) -> Any:
        """A page that opens for the first time."""
        return self.example_payload()


drop_stub(__file__)
