"""The Draw tab in a real Chromium, by mouse and by touch, against the real app."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
Strokes = Sequence[Sequence[tuple[float, float]]]

# In shares of the pad, as an imagined hand draws them.
CROSS: Strokes = [[(0.2, 0.2), (0.5, 0.52), (0.8, 0.8)], [(0.8, 0.22), (0.5, 0.5), (0.2, 0.8)]]
CROSS_AGAIN: Strokes = [[(0.25, 0.15), (0.8, 0.85)], [(0.85, 0.2), (0.2, 0.75)]]
CUP: Strokes = [[(0.2, 0.2), (0.22, 0.6), (0.5, 0.85), (0.78, 0.6), (0.8, 0.2)]]
CUP_AGAIN: Strokes = [[(0.25, 0.25), (0.24, 0.65), (0.5, 0.8), (0.75, 0.62), (0.72, 0.22)]]
HAT: Strokes = [[(0.15, 0.8), (0.5, 0.2), (0.85, 0.8)], [(0.3, 0.6), (0.7, 0.6)]]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_app(log: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the app as a person would and wait until it answers."""
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("ab") as out:
        app = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if app.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5):
                return app
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    app.kill()
    app.wait()
    raise RuntimeError(f"The app did not start:\n{log.read_text()}")


def stop_app(app: subprocess.Popen[bytes]) -> None:
    app.terminate()
    try:
        app.wait(15)
    except subprocess.TimeoutExpired:
        app.kill()
        app.wait()


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running app."""
    port = free_port()
    log = tmp_path_factory.mktemp("app") / "app.log"
    app = start_app(log, port)
    yield f"http://127.0.0.1:{port}"
    stop_app(app)
    assert "Traceback" not in log.read_text(), log.read_text()


class Visitor:
    """One person's page, with hands that draw on it."""

    def __init__(self, page: Any, touch: bool = False) -> None:
        self.page = page
        self.touch = touch
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.errors.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        if touch:
            self.cdp = page.context.new_cdp_session(page)

    def open(self, url: str) -> Visitor:
        self.page.goto(url)
        self.page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        return self

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        button = self.button(name)
        button.tap() if self.touch else button.click()

    def pad(self, name: str) -> Any:
        return self.page.get_by_role("img", name=f"Drawing pad for {name}", exact=True)

    def draw(self, name: str, strokes: Strokes) -> None:
        """Draw on the pad of that name, with mouse or finger."""
        pad = self.pad(name)
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()

        def place(point: tuple[float, float]) -> tuple[float, float]:
            x, y = point
            return box["x"] + x * box["width"], box["y"] + y * box["height"]

        for stroke in strokes:
            dense = [
                (x0 + (x1 - x0) * k / 4, y0 + (y1 - y0) * k / 4)
                for (x0, y0), (x1, y1) in zip(stroke, stroke[1:], strict=False)
                for k in range(4)
            ] + [stroke[-1]]
            points = [place(point) for point in dense]
            if self.touch:
                self._touch("touchStart", points[0])
                for point in points[1:]:
                    self._touch("touchMove", point)
                self._touch("touchEnd", None)
            else:
                self.page.mouse.move(*points[0])
                self.page.mouse.down()
                for point in points[1:]:
                    self.page.mouse.move(*point)
                self.page.mouse.up()

    def _touch(self, kind: str, point: tuple[float, float] | None) -> None:
        places = [] if point is None else [{"x": point[0], "y": point[1]}]
        self.cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def answer(self) -> str:
        return str(self.page.locator("#answer").inner_text()).replace("\n", " ")

    def wait_for_answer(self, start: str) -> str:
        """Wait until the answer begins so and holds a percentage; returns its text."""
        self.page.wait_for_function(
            """start => { const text = document.querySelector('#answer').textContent.trim();
            return text.startsWith(start) && /[0-9] ?%/.test(text); }""",
            arg=start,
            timeout=10000,
        )
        return self.answer()

    def kept(self) -> dict[str, Any]:
        """The document that the browser keeps, once it has been written."""
        self.page.wait_for_timeout(350)
        text = self.page.evaluate("localStorage.getItem('maml-sketchpad.document.v1')")
        document: dict[str, Any] = json.loads(text)
        return document


MakeVisitor = Callable[..., Visitor]


@pytest.fixture
def visitors(browser: Any, app_url: str) -> Iterator[MakeVisitor]:
    """Makes people, each with a browser profile of their own; no page may have an error."""
    made: list[Visitor] = []

    def make(*, touch: bool = False, path: str = "", **settings: Any) -> Visitor:
        wanted = {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **settings}
        if touch:
            wanted = {**wanted, "has_touch": True, "viewport": {"width": 390, "height": 844}}
            wanted |= settings
        context = browser.new_context(**wanted)
        visitor = Visitor(context.new_page(), touch)
        made.append(visitor)
        return visitor.open(app_url + path)

    yield make
    errors = [error for visitor in made for error in visitor.errors]
    for visitor in made:
        visitor.page.context.close()
    assert not errors


@pytest.fixture(params=["mouse", "touch"])
def visitor(request: pytest.FixtureRequest, visitors: MakeVisitor) -> Visitor:
    """One person at a desk, and one with a phone."""
    return visitors(touch=request.param == "touch")


def teach_cross_and_cup(visitor: Visitor) -> None:
    visitor.draw("Symbol A", CROSS)
    visitor.draw("Symbol B", CUP)


def test_two_symbols_are_drawn_and_a_third_drawing_is_named(visitor: Visitor) -> None:
    assert "Draw two symbols" in visitor.answer()
    teach_cross_and_cup(visitor)
    visitor.draw("the new drawing", CUP_AGAIN)
    text = visitor.wait_for_answer("Symbol B")
    assert re.search(r"\d %", text)
    visitor.press("Clear")
    assert "%" not in visitor.answer()
    visitor.draw("the new drawing", CROSS_AGAIN)
    visitor.wait_for_answer("Symbol A")


def test_one_click_and_a_newcomer_sees_an_answer(visitor: Visitor) -> None:
    began = time.monotonic()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    assert time.monotonic() - began < 3
    assert visitor.page.locator(".curves svg[role=img]").count() == 3


def test_cards_are_added_named_removed_and_moved(visitor: Visitor) -> None:
    visitor.press("Add symbol")
    name = visitor.page.get_by_label("Name of Symbol C")
    name.fill("Moon")
    name.press("Enter")
    visitor.press("Move Moon earlier")
    visitor.press("Remove Symbol A")
    assert [one["name"] for one in visitor.kept()["symbols"]] == ["Moon", "Symbol B"]
    visitor.press("Undo")
    visitor.press("Undo")
    names = [one["name"] for one in visitor.kept()["symbols"]]
    assert names == ["Symbol A", "Symbol B", "Moon"]
    visitor.press("Redo")
    visitor.press("Redo")
    assert [one["name"] for one in visitor.kept()["symbols"]] == ["Moon", "Symbol B"]


def test_another_example_goes_among_the_thumbnails_and_can_be_removed(visitor: Visitor) -> None:
    visitor.draw("Symbol A", CROSS)
    visitor.press("Another example of Symbol A")
    visitor.draw("Symbol A", CROSS_AGAIN)
    visitor.press("Another example of Symbol A")
    kept = visitor.kept()["symbols"][0]
    assert len(kept["examples"]) == 2 and kept["pad"] == []
    visitor.press("Remove example 1 of Symbol A")
    after = visitor.kept()["symbols"][0]["examples"]
    assert after == kept["examples"][1:]
    visitor.press("Undo")
    assert visitor.kept()["symbols"][0]["examples"] == kept["examples"]
