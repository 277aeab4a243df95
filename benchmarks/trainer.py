"""A page at the Train tab without a browser: it speaks to the app as Gradio's page does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import requests

from maml.recipes import RECIPES
from maml.sessions.form import values_of


class Page:
    """Speaks to the app as Gradio's page does.

    Args:
        url: of the app.
        session: the session hash, which a page makes up.
        address: that the proxy saw.
    """

    def __init__(self, url: str, session: str, address: str = "198.51.100.1") -> None:
        self._url, self._session = url, session
        self._headers = {"X-Forwarded-For": address}
        config = requests.get(f"{url}/config", timeout=30).json()
        self._components = {one["id"]: one for one in config["components"]}
        self._events = config["dependencies"]
        self.token = ""
        self.states: list[str] = []
        self.errors: list[str] = []

    def _event(self, name: str, component: Callable[[dict[str, Any]], bool]) -> int:
        for event in self._events_of(name, component):
            return int(event["id"])
        raise LookupError(name)

    def _events_of(
        self, name: str, component: Callable[[dict[str, Any]], bool]
    ) -> Iterator[dict[str, Any]]:
        for event in self._events:
            for target, kind in event["targets"]:
                if kind == name and target and component(self._components[target]["props"]):
                    yield event

    def _body(self, event: int, data: list[Any]) -> dict[str, Any]:
        return {"fn_index": event, "data": data, "session_hash": self._session}

    def join(self, event: int, data: list[Any]) -> int:
        body = self._body(event, data)
        answer = requests.post(
            f"{self._url}/gradio_api/queue/join", json=body, headers=self._headers, timeout=30
        )
        return answer.status_code

    def start(self, **changes: Any) -> None:
        """Press the button that starts a training; listen to what comes of it."""
        values = {**values_of(RECIPES["live"]), "channels": 4, "pretraining": 0, **changes}
        form = ["live", "generated", "cpu", 0, ["anil"], *values.values()]
        self.join(
            self._event("click", lambda it: it.get("value") == "Start training"),
            [None, None, *form],
        )
        self.listen()

    def arrive(self) -> None:
        """Ask for the board again, and listen."""
        given = [{"token": self.token, "first": False}, None]
        for event in self._events_of("arrive", lambda it: True):
            self.join(int(event["id"]), given[: len(event["inputs"])])
        self.listen()

    def speak(self) -> None:
        """Say that the page is there."""
        body = self._body(
            self._event("unwatched", lambda it: True), [{"token": self.token, "first": False}, None]
        )
        answer = requests.post(
            f"{self._url}/gradio_api/run/predict", json=body, headers=self._headers, timeout=30
        )
        assert answer.status_code == 200, answer.text

    def press(self, name: str) -> None:
        """Press a button that steers."""
        self.join(self._event("click", lambda it: it.get("value") == name), [None])

    def listen(self) -> None:
        """Take in messages on a thread of its own until they end or are cut off."""
        self._stream = requests.get(
            f"{self._url}/gradio_api/queue/data",
            params={"session_hash": self._session},
            headers=self._headers,
            stream=True,
            timeout=30,
        )
        self._listener = threading.Thread(target=self._take_in, args=(self._stream,), daemon=True)
        self._listener.start()

    def _take_in(self, stream: requests.Response) -> None:
        try:
            for line in stream.iter_lines():
                if line.startswith(b"data:"):
                    self._take(json.loads(line[5:]))
        except (requests.RequestException, AttributeError, ValueError):
            pass  # the connection was cut

    def _take(self, message: dict[str, Any]) -> None:
        output = message.get("output") or {}
        if output.get("error"):
            self.errors.append(str(output["error"]))
        text = json.dumps(output)
        if '"token": "' in text and not self.token:
            self.token = text.partition('"token": "')[2].partition('"')[0]
        for state in ("waiting", "preparing", "training", "stopped", "lost"):
            if f'\\"state\\": \\"{state}\\"' in text:
                self.states.append(state)

    def cut(self) -> None:
        """Break the connection."""
        self._stream.close()
        self._listener.join(5)
