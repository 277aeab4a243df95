"""The Draw tab in a real Chromium, by mouse and by touch, against the real app."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import ROOT, free_port, start_app, stop_app

Strokes = Sequence[Sequence[tuple[float, float]]]
LOST_CONNECTION = ("Failed to load resource", "AbortError")
"""What Gradio's client notes when a page is left while an event is under way."""

# In shares of the pad, as an imagined hand draws them.
CROSS: Strokes = [[(0.2, 0.2), (0.5, 0.52), (0.8, 0.8)], [(0.8, 0.22), (0.5, 0.5), (0.2, 0.8)]]
CROSS_AGAIN: Strokes = [[(0.25, 0.15), (0.8, 0.85)], [(0.85, 0.2), (0.2, 0.75)]]
CUP: Strokes = [[(0.2, 0.2), (0.22, 0.6), (0.5, 0.85), (0.78, 0.6), (0.8, 0.2)]]
CUP_AGAIN: Strokes = [[(0.25, 0.25), (0.24, 0.65), (0.5, 0.8), (0.75, 0.62), (0.72, 0.22)]]
HAT: Strokes = [[(0.15, 0.8), (0.5, 0.2), (0.85, 0.8)], [(0.3, 0.6), (0.7, 0.6)]]


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running app."""
    port = free_port()
    log = tmp_path_factory.mktemp("app") / "app.log"
    app = start_app(log, port)
    yield f"http://127.0.0.1:{port}"
    stop_app(app)
    lines = log.read_text().splitlines()
    failed = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    assert not failed, "\n".join(lines[max(0, failed[0] - 1) : failed[0] + 60])


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

    def reload(self) -> None:
        """Reload; what the page that is left says of events cut off is no error of the app."""
        before = len(self.errors)
        self.page.reload()
        self.page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        cut_off = ("AbortError: signal is aborted", "Unexpected error Connection errored out")
        self.errors[before:] = [
            error for error in self.errors[before:] if not error.startswith(cut_off)
        ]

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        button = self.button(name)
        if not self.touch:
            button.click()
            return
        # Chromium recognises a tap, and clicks, some time after the finger has left.
        self.page.evaluate(
            """() => { window.clicked = false;
            addEventListener('click', () => (window.clicked = true), {once: true}); }"""
        )
        button.tap()
        self.page.wait_for_function("window.clicked")

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
            """start => { const text = document.querySelector('#answer')?.textContent.trim() ?? '';
            return text.startsWith(start) && /[0-9] ?%/.test(text); }""",
            arg=start,
            timeout=10000,
        )
        return self.answer()

    def kept(self) -> dict[str, Any]:
        """The document that the browser keeps, once it has been written."""
        self.page.wait_for_selector(".maml-sketchpad[data-kept=yes]")
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


ROOM = """() => {
    const root = document.querySelector('.maml-sketchpad');
    const high = (one) => [one.offsetTop, one.offsetHeight];
    return [root.querySelector('.layout').offsetTop,
        ...[...root.querySelectorAll('.panel:is(.ask, .adapt, .teach)')]
            .map((one) => one.offsetHeight),
        ...[...root.querySelectorAll('.card, .ask .pad-frame')].map(high)]; }"""
"""What decides where the pads lie, whether the page is scrolled or not."""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_moves_under_the_pen(visitors: MakeVisitor, width: int) -> None:
    visitor = visitors(touch=width < 800, viewport={"width": width, "height": 800})
    room = visitor.page.evaluate(ROOM)
    rows = visitor.page.locator(".ask .row")
    for pad, strokes in (
        ("Symbol A", CROSS[:1]),
        ("Symbol A", CROSS[1:]),
        ("Symbol B", CUP),
        ("the new drawing", CUP_AGAIN),
    ):
        visitor.draw(pad, strokes)
        assert visitor.page.evaluate(ROOM) == room, pad
    visitor.wait_for_answer("Symbol B")
    assert visitor.page.evaluate(ROOM) == room and rows.count() == 3
    visitor.press("Clear")
    assert visitor.page.evaluate(ROOM) == room
    field = visitor.page.get_by_label("Name of Symbol B")
    field.fill("A cup that is never empty " * 10)
    field.press("Enter")
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.wait_for_answer("A cup")
    assert visitor.page.evaluate(ROOM) == room
    visitor.press("Add symbol")  # moves the pads, but no pen is at work
    visitor.press("Remove Symbol B")
    message = visitor.page.get_by_text("Symbol B removed")
    message.wait_for()
    box = message.bounding_box()
    assert 0 < box["y"] < box["y"] + box["height"] <= 800  # seen wherever the page is scrolled
    assert visitor.page.evaluate(ROOM) == room
    visitor.draw("Symbol A", CROSS)  # and the message is gone
    assert visitor.page.evaluate(ROOM) == room


def swipe(visitor: Visitor, name: str, by: int) -> None:
    """Move a finger upwards over a pad, as one who scrolls does."""
    box = visitor.pad(name).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9
    visitor._touch("touchStart", (x, y))
    for k in range(1, 13):
        visitor._touch("touchMove", (x, y - by * k / 12))
        visitor.page.wait_for_timeout(16)
    visitor._touch("touchEnd", None)
    visitor.page.wait_for_timeout(300)


def test_a_swipe_over_a_taught_pad_scrolls_and_draws_nothing(visitors: MakeVisitor) -> None:
    visitor = visitors(touch=True)
    pad = visitor.pad("Symbol A")
    visitor.draw("Symbol A", CROSS[:1])
    assert pad.get_attribute("data-pad") == "awake"
    visitor.draw("Symbol A", CROSS[1:])  # strokes in a row are natural
    assert len(visitor.kept()["symbols"][0]["pad"]) == 2
    visitor.draw("Symbol B", CUP)  # another pad's turn
    assert pad.get_attribute("data-pad") == "resting"
    before = visitor.kept()
    top = visitor.page.evaluate("scrollY")
    swipe(visitor, "Symbol A", 120)
    assert visitor.page.evaluate("scrollY") > top + 60
    assert visitor.kept() == before
    visitor.draw("Symbol A", [[(0.5, 0.5)]])  # a tap wakes it and draws nothing
    assert pad.get_attribute("data-pad") == "awake" and visitor.kept() == before
    visitor.draw("Symbol A", CROSS_AGAIN[:1])
    assert len(visitor.kept()["symbols"][0]["pad"]) == 3
    visitor.page.wait_for_selector("[data-symbol='1'] canvas[data-pad=resting]", timeout=5000)
    visitor.press("Clear Symbol A")
    visitor.draw("Symbol A", CROSS[:1])  # an empty pad draws at once
    assert len(visitor.kept()["symbols"][0]["pad"]) == 1


def test_a_mouse_always_draws(visitors: MakeVisitor) -> None:
    visitor = visitors()
    teach_cross_and_cup(visitor)
    visitor.draw("Symbol A", CUP)
    assert len(visitor.kept()["symbols"][0]["pad"]) == 3


SHEET = """() => {
    const box = (one) => document.querySelector(one).getBoundingClientRect();
    const [answer, pad] = [box('#answer'), box('.ask canvas.pad')];
    const rows = [...document.querySelectorAll('.ask .row')]
        .map((one) => one.getBoundingClientRect());
    const bottom = box('.dock').top;
    const seen = [answer, pad, ...rows].every((one) => one.top >= 0 && one.bottom <= bottom + 1);
    return [seen, answer.bottom <= pad.top + 1, answer.left >= pad.right]; }"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), (844, 390), (360, 780)])
def test_a_phone_teaches_first_and_asks_in_a_sheet(
    visitors: MakeVisitor, width: int, height: int
) -> None:
    visitor = visitors(touch=True, viewport={"width": width, "height": height})
    page = visitor.page
    teach, ask = (page.locator(f".panel.{one}").bounding_box()["y"] for one in ("teach", "ask"))
    assert teach < ask and visitor.button("Ask").is_disabled()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    for scrolled in (0, 700, 10_000):
        page.evaluate(f"scrollTo(0, {scrolled})")
        visitor.press("Ask")
        page.wait_for_timeout(300)
        seen, above, beside = page.evaluate(SHEET)
        assert seen and (above or beside), scrolled
        assert above == (height > width)
        visitor.press("Close Ask")
        assert not page.evaluate("document.querySelector('.asking')")
    visitor.press("Ask")
    visitor.press("Clear")
    visitor.draw("the new drawing", HAT)
    assert len(visitor.kept()["query"]) == 2
    visitor.press("Ask")  # closes it too
    assert not page.evaluate("document.querySelector('.asking')")


def test_messages_fade_and_cover_nothing(visitor: Visitor) -> None:
    visitor.press("Load example set")
    message = visitor.page.get_by_text("Runes loaded.")
    message.wait_for()
    shown = message.evaluate(
        """one => { const box = one.getBoundingClientRect();
        const under = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return [under[0] === one, one.closest('.dock').getBoundingClientRect().bottom]; }"""
    )
    assert shown == [True, visitor.page.viewport_size["height"]]
    message.wait_for(state="detached", timeout=8000)
    drop_picture(visitor, 0, lines=False)
    visitor.page.get_by_text("no line can be seen in the picture").wait_for()
    visitor.press("Undo")  # and what the message speaks of is over
    visitor.page.wait_for_function("!document.querySelector('.status').textContent", timeout=2000)


def hint(visitor: Visitor) -> str:
    shown = visitor.page.locator(".first-hint:visible")
    return str(shown.inner_text()) if shown.count() else ""


def test_a_newcomer_is_led_by_one_hint_at_a_time(visitor: Visitor) -> None:
    assert hint(visitor).startswith("1 of 3") and visitor.page.locator(".hinted").count() == 1
    visitor.draw("Symbol A", CROSS)
    assert hint(visitor).startswith("2 of 3")
    assert visitor.page.locator(".hinted").get_attribute("aria-label") == "Symbol B"
    visitor.draw("Symbol B", CUP)
    assert hint(visitor).startswith("3 of 3")
    assert visitor.page.locator(".hinted").get_attribute("aria-label") == "Ask"
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.wait_for_answer("Symbol B")
    assert hint(visitor) == "" and visitor.page.locator(".hinted").count() == 0
    visitor.press("Clear all")
    visitor.reload()
    assert hint(visitor) == ""  # once done, never again


def test_hints_can_be_sent_away(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.press("Dismiss hint")
    assert hint(visitor) == ""
    visitor.draw("Symbol A", CROSS)
    assert hint(visitor) == "" and not visitor.button("Dismiss hint").is_visible()


def test_after_an_example_set_comes_a_drawing_of_ones_own(visitor: Visitor) -> None:
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    visitor.page.get_by_text("Now draw one of these yourself").wait_for(timeout=8000)
    visitor.draw("the new drawing", CROSS[:1])
    assert len(visitor.kept()["query"]) == 1  # the set's own question made room
    visitor.draw("the new drawing", CROSS[1:])
    assert len(visitor.kept()["query"]) == 2
    visitor.wait_for_answer("Gift")
    assert hint(visitor) == ""
    visitor.press("Undo")
    visitor.press("Undo")
    visitor.wait_for_answer("Elk")


def test_without_a_server_the_drawing_waits_and_is_answered_later(visitors: MakeVisitor) -> None:
    visitor = visitors()
    teach_cross_and_cup(visitor)
    visitor.page.context.set_offline(True)
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.page.wait_for_function(
        "document.querySelector('#answer').textContent.startsWith('No connection')", timeout=20000
    )
    assert len(visitor.kept()["query"]) == 1
    visitor.page.context.set_offline(False)
    visitor.wait_for_answer("Symbol B")


@pytest.mark.parametrize(
    ("width", "theme", "locale"),
    [
        (1366, "light", "en-GB"),
        (1366, "dark", "zh-CN"),
        (390, "light", "zh-CN"),
        (390, "dark", "en-GB"),
    ],
)
def test_nothing_keeps_people_from_using_the_page(
    visitors: MakeVisitor, width: int, theme: str, locale: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    visitor = visitors(
        touch=width < 800,
        locale=locale,
        viewport={"width": width, "height": 800},
        path=f"/?__theme={theme}",
    )
    visitor.page.locator(".tools .primary").click()
    visitor.wait_for_answer("")
    while len(visitor.kept()["symbols"]) < 20:  # every colour is seen
        visitor.page.locator(".cards > .add").click()
    visitor.page.locator(".bars > .button").click()
    visitor.page.wait_for_timeout(6000)  # the message is gone
    found = Axe().run(visitor.page).response["violations"]
    severe = [one for one in found if one["impact"] in ("serious", "critical")]
    assert severe == [], json.dumps(severe, indent=1)[:4000]


COLOURS = """() => {
    const root = document.querySelector('.maml-sketchpad');
    const probe = document.createElement('span');
    root.append(probe);
    const rgb = (name) => { probe.style.color = `var(${name})`;
        return getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(Number); };
    const symbols = Array.from({length: 20}, (_, k) => rgb(`--symbol-${k + 1}`));
    return {symbols, grounds: ['--paper', '--ground', '--pad-paper'].map(rgb),
        texts: ['--text', '--faint', '--accent', '--good', '--bad'].map(rgb)}; }"""


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two colours, by WCAG 2.2."""

    def luminance(colour: Sequence[float]) -> float:
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in (part / 255 for part in colour)
        ]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_has_contrast(visitors: MakeVisitor, theme: str) -> None:
    colours = visitors(path=f"/?__theme={theme}").page.evaluate(COLOURS)
    for colour in colours["symbols"] + colours["texts"]:
        assert min(contrast(colour, ground) for ground in colours["grounds"][:2]) >= 4.5, colour
    assert len({tuple(colour) for colour in colours["symbols"]}) == 20


def test_one_click_and_a_newcomer_sees_an_answer(visitor: Visitor) -> None:
    began = time.monotonic()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    assert time.monotonic() - began < 3
    visitor.page.wait_for_function(
        "document.querySelectorAll('.curves svg[role=img]').length === 3", timeout=3000
    )


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
    remove = visitor.button("Remove example 1 of Symbol A")
    visitor.press("Example 1 of Symbol A")
    assert visitor.page.get_by_role("dialog").is_visible()
    assert visitor.kept()["symbols"][0]["examples"] == kept["examples"]
    visitor.press("Close")
    assert not remove.is_visible()
    visitor.press("Example 1 of Symbol A")
    assert remove.inner_text() == "Remove example 1 of Symbol A"
    visitor.press("Remove example 1 of Symbol A")
    assert not visitor.page.get_by_role("dialog").is_visible()
    after = visitor.kept()["symbols"][0]["examples"]
    assert after == kept["examples"][1:]
    visitor.press("Undo")
    assert visitor.kept()["symbols"][0]["examples"] == kept["examples"]


def test_the_answer_follows_the_pen_before_the_stroke_ends(visitors: MakeVisitor) -> None:
    visitor = visitors()
    teach_cross_and_cup(visitor)
    pad = visitor.pad("the new drawing")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    mouse = visitor.page.mouse
    mouse.move(box["x"] + 20, box["y"] + 20)
    mouse.down()
    for k in range(12):
        mouse.move(box["x"] + 20 + 10 * k, box["y"] + 20 + 10 * k)
        visitor.page.wait_for_timeout(60)
    visitor.wait_for_answer("")  # while the button is still down
    assert visitor.kept()["query"] == []
    mouse.up()
    assert len(visitor.kept()["query"]) == 1


def test_a_scribblers_strokes_all_arrive_and_the_last_answer_wins(visitors: MakeVisitor) -> None:
    visitor = visitors()
    teach_cross_and_cup(visitor)
    for k in range(12):
        visitor.draw("the new drawing", [[(0.1 + 0.05 * k, 0.1), (0.2 + 0.05 * k, 0.9)]])
    assert len(visitor.kept()["query"]) == 12
    visitor.page.wait_for_function(
        """() => { const data = document.querySelector('.maml-sketchpad').dataset;
        return data.asked === data.answered; }"""
    )
    visitor.wait_for_answer("")


def test_taps_leave_dots_and_strokes_end_at_the_edge(visitor: Visitor) -> None:
    visitor.draw("Symbol A", [[(0.5, 0.5)]])
    assert visitor.kept()["symbols"][0]["pad"] == [[[500, 500]]]
    # Out on the right, and back in further down, in one movement.
    visitor.draw("Symbol B", [[(0.5, 0.2), (1.3, 0.2), (1.3, 0.8), (0.5, 0.8)]])
    first, second = visitor.kept()["symbols"][1]["pad"]
    assert first[0] == [500, 200] and first[-1] == [1000, 200]
    assert second[0] == [1000, 800] and second[-1] == [500, 800]


def test_a_corner_stays_a_corner(visitor: Visitor) -> None:
    visitor.draw("Symbol A", HAT[:1])
    assert visitor.kept()["symbols"][0]["pad"] == [[[150, 800], [500, 200], [850, 800]]]
    inked = """pad => { const side = pad.width, context = pad.getContext('2d');
        return [[150, 800], [500, 200], [325, 500], [500, 400]].map(([x, y]) =>
            context.getImageData(x * side / 1000, y * side / 1000, 1, 1).data[3] > 0); }"""
    assert visitor.pad("Symbol A").evaluate(inked) == [True, True, True, False]


def test_once_a_pen_was_seen_palms_are_ignored(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.page.evaluate(
        """() => {
        const pad = document.querySelector('canvas.pad');
        pad.setPointerCapture = () => {};
        window.point = (kind, type, id, share) => {
            const box = pad.getBoundingClientRect();
            pad.dispatchEvent(new PointerEvent(kind, {pointerType: type, pointerId: id,
                bubbles: true, clientX: box.left + share * box.width,
                clientY: box.top + share * box.height}));
        }; }"""
    )

    def point(*what: Any) -> None:
        visitor.page.evaluate("what => window.point(...what)", list(what))

    pad = visitor.page.locator("canvas.pad").first.get_attribute("aria-label")
    place = {"Symbol A": 0, "the new drawing": None}[pad.removeprefix("Drawing pad for ")]

    def strokes() -> int:
        kept = visitor.kept()
        return len(kept["query"] if place is None else kept["symbols"][place]["pad"])

    point("pointerdown", "touch", 1, 0.9)  # a palm first
    point("pointermove", "touch", 1, 0.8)
    point("pointerdown", "pen", 2, 0.1)
    point("pointermove", "pen", 2, 0.3)
    point("pointermove", "touch", 1, 0.7)
    point("pointerup", "touch", 1, 0.7)
    point("pointerup", "pen", 2, 0.3)
    assert strokes() == 1
    point("pointerdown", "touch", 3, 0.5)
    point("pointerup", "touch", 3, 0.5)
    assert strokes() == 1
    point("pointerdown", "pen", 4, 0.5)
    point("pointerup", "pen", 4, 0.5)
    assert strokes() == 2


def test_undo_brings_back_everything_even_a_cleared_page(visitor: Visitor) -> None:
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    before = visitor.kept()
    visitor.press("Clear all")
    assert [one["pad"] for one in visitor.kept()["symbols"]] == [[], []]
    visitor.press("Undo")
    assert visitor.kept() == before
    visitor.wait_for_answer("Elk")
    visitor.press("Remove Elk")
    visitor.page.wait_for_function(
        "!document.querySelector('#answer').textContent.startsWith('Elk')", timeout=10000
    )
    visitor.page.keyboard.press("Control+z")
    visitor.wait_for_answer("Elk")
    visitor.page.keyboard.press("Control+Shift+z")
    assert len(visitor.kept()["symbols"]) == len(before["symbols"]) - 1


def test_the_slider_chooses_the_steps_and_asks_again(visitor: Visitor) -> None:
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    slider = visitor.page.get_by_role("slider", name="Gradient steps")
    slider.focus()
    slider.press("Home")  # no step: no idea
    visitor.page.wait_for_function("document.querySelector('#answer').textContent.match(/20 ?%/)")
    assert "every symbol is as likely" in visitor.answer()
    assert visitor.page.locator(".row.winner").count() == 0
    assert visitor.button("Play adaptation").is_disabled()
    slider.press("End")
    visitor.wait_for_answer("Elk")
    assert visitor.kept()["steps"] == 20
    labels = [one.get_attribute("aria-label") for one in visitor.page.locator(".chart").all()]
    assert all("20 steps" in str(label) for label in labels)


FILMED = """() => {
    const film = window.film = [];
    const tick = () => {
        const fills = [...document.querySelectorAll('.rows .fill')];
        const dot = document.querySelector('.map circle');
        film.push([performance.now(), fills.map((one) => Number(one.style.transform.slice(7, -1))),
            Number(dot?.getAttribute('cx') ?? 0)]);
        window.filming = requestAnimationFrame(tick);
    };
    tick(); }"""
"""Notes each frame's bars and the first dot of the map."""


def film(visitor: Visitor) -> list[tuple[float, list[float], float]]:
    """What was filmed: the time, the bars and the dot, once for each change of the bars."""
    visitor.page.evaluate("cancelAnimationFrame(window.filming)")
    frames = visitor.page.evaluate("window.film.splice(0)")
    return [now for before, now in zip(frames, frames[1:], strict=False) if now[1] != before[1]]


def test_the_bars_move_from_chance_to_the_answer_as_it_adapts(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    visitor.page.wait_for_timeout(1500)
    visitor.page.evaluate(FILMED)
    visitor.draw("Wealth", [[(0.2, 0.9)]])
    visitor.page.wait_for_timeout(1500)
    frames = film(visitor)
    began, chance, middle = frames[0]
    ended, known, place = frames[-1]
    assert chance == pytest.approx([0.2] * 5, abs=0.02) and known[4] > 0.9
    assert 300 < ended - began < 900 and len(frames) > 5
    assert place != pytest.approx(middle, abs=3)
    # On request it is played again, more slowly.
    visitor.page.evaluate(FILMED)
    visitor.press("Play adaptation")
    visitor.page.wait_for_timeout(2600)
    frames = film(visitor)
    assert frames[0][1] == pytest.approx([0.2] * 5, abs=0.02) and frames[-1][1] == known
    assert frames[-1][0] - frames[0][0] > 1000
    # Another stroke of the question changes nothing that was learnt: nothing is replayed.
    visitor.page.evaluate(FILMED)
    visitor.draw("the new drawing", [[(0.5, 0.5), (0.5, 0.6)]])
    visitor.page.wait_for_timeout(800)
    assert all(frame[1] != pytest.approx([0.2] * 5, abs=0.02) for frame in film(visitor))


def test_who_wants_no_motion_sees_the_answer_at_once(visitors: MakeVisitor) -> None:
    visitor = visitors(reduced_motion="reduce")
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    visitor.page.wait_for_timeout(300)
    visitor.page.evaluate(FILMED)
    visitor.press("Play adaptation")
    visitor.page.wait_for_timeout(500)
    assert film(visitor) == []


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1920, 1080)])
def test_question_answer_and_adaptation_fit_on_one_screen(
    visitors: MakeVisitor, width: int, height: int
) -> None:
    visitor = visitors(viewport={"width": width, "height": height})
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    page = visitor.page
    page.wait_for_selector(".map[role=img]")
    assert page.evaluate("scrollY") == 0
    dock = page.locator(".dock").bounding_box()
    assert dock["y"] + dock["height"] == height
    for one in (".ask canvas.pad", "#answer", ".ask .rows", ".row.unknown", ".figures", ".slider"):
        box = page.locator(one).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= dock["y"], one
    assert page.locator(".maml-header").bounding_box()["height"] < 120
    boxes = [one.bounding_box() for one in page.locator(".panel").all()]
    right = max(box["x"] + box["width"] for box in boxes)
    assert width - right < 60  # the window is used whole
    labels = page.locator(".curve_loss .chart").get_attribute("aria-label")
    assert "from 1.6 to" in labels  # the mean cross-entropy of five symbols at chance is ln 5


def test_visiting_train_and_coming_back_moves_nothing(visitors: MakeVisitor) -> None:
    visitor = visitors(viewport={"width": 1366, "height": 768})
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    visitor.page.wait_for_timeout(1500)
    places = """() => [...document.querySelectorAll('.panel, .pad, .maml-header, .dock, .tools')]
        .map((one) => Object.values(one.getBoundingClientRect().toJSON()))"""
    before = visitor.page.evaluate(places)
    visitor.page.get_by_role("tab", name="Train").click()
    visitor.page.locator(".maml-header").get_by_role("button", name="切换到中文").wait_for()
    visitor.page.wait_for_timeout(800)
    visitor.page.get_by_role("tab", name="Draw").click()
    visitor.page.wait_for_timeout(500)
    assert [one for one in visitor.page.evaluate(places) if any(one)][: len(before)] == before


def test_the_network_is_seen_beside_each_drawing(visitor: Visitor) -> None:
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    visitor.page.wait_for_function(
        "[...document.querySelectorAll('canvas.ink')].every((one) => one.dataset.seen === 'yes')"
    )
    lit = visitor.page.locator("canvas.ink").evaluate_all(
        """all => all.map((one) => one.getContext('2d').getImageData(0, 0, 28, 28).data
        .filter((value, i) => i % 4 === 0 && value > 127).length)"""
    )
    assert len(lit) == 16 and all(20 < count < 400 for count in lit)


def test_a_wrong_answer_becomes_an_example_in_one_click(visitor: Visitor) -> None:
    teach_cross_and_cup(visitor)
    visitor.draw("the new drawing", HAT)
    visitor.wait_for_answer("")
    visitor.press("This is a Symbol B")
    kept = visitor.kept()
    assert len(kept["symbols"][1]["examples"]) == 1 and kept["query"] == []
    visitor.draw("the new drawing", HAT)
    visitor.wait_for_answer("Symbol B")
    visitor.press("This is a new symbol")
    assert len(visitor.kept()["symbols"]) == 3
    visitor.press("Undo")
    assert len(visitor.kept()["symbols"]) == 2 and len(visitor.kept()["query"]) == len(HAT)


def test_pictures_are_examples_too(visitor: Visitor, tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    for name, strokes in (("cross", CROSS), ("cup", CUP)):
        image = Image.new("RGB", (900, 700), "white")
        pen = ImageDraw.Draw(image)
        for stroke in strokes:
            pen.line([(x * 900, y * 700) for x, y in stroke], fill="navy", width=30)
        image.save(tmp_path / f"{name}.png")
        image.save(tmp_path / f"{name}.jpg")
    add = "input[type=file][aria-label='Add a picture to {}']"
    visitor.page.set_input_files(
        add.format("Symbol A"), [tmp_path / "cross.png", tmp_path / "cross.jpg"]
    )
    visitor.page.set_input_files(add.format("Symbol B"), tmp_path / "cup.png")
    visitor.page.wait_for_function("document.querySelectorAll('.tile').length === 3")
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.wait_for_answer("Symbol B")
    (tmp_path / "no.png").write_bytes(b"not a picture")
    visitor.page.set_input_files(add.format("Symbol B"), tmp_path / "no.png")
    visitor.page.get_by_text("The picture could not be read: no.png").wait_for()


PICTURE_FILE = """(async (lines = true) => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 80;
    const pen = canvas.getContext('2d');
    pen.fillStyle = 'white'; pen.fillRect(0, 0, 80, 80);
    pen.lineWidth = 6;
    if (lines) pen.strokeRect(20, 20, 40, 40);
    const blob = await new Promise((done) => canvas.toBlob(done));
    const data = new DataTransfer();
    data.items.add(new File([blob], 'square.png', {type: 'image/png'}));
    return data; })"""
"""A function of the page that gives a picture file as the clipboard or a drag holds it."""


def drop_picture(visitor: Visitor, number: int, lines: bool = True) -> bool:
    """Drag a picture file onto the card of that number; tells whether the card takes it."""
    taken: bool = visitor.page.evaluate(
        f"""async ([number, lines]) => {{
        const dataTransfer = await {PICTURE_FILE}(lines);
        const pad = document.querySelectorAll('.card canvas.pad')[number];
        const event = (type) => new DragEvent(type, {{dataTransfer, bubbles: true,
            cancelable: true}});
        const taken = !pad.dispatchEvent(event('dragover'));
        return taken && !pad.dispatchEvent(event('drop')); }}""",
        [number, lines],
    )
    return taken


def test_a_picture_is_dropped_onto_a_card(visitors: MakeVisitor) -> None:
    visitor = visitors()
    assert drop_picture(visitor, 1)
    visitor.page.get_by_text("Picture added to Symbol B.").wait_for()
    kept = visitor.kept()["symbols"]
    assert kept[0]["examples"] == [] and "picture" in kept[1]["examples"][0]


def test_what_the_server_finds_is_said_in_chinese_too(visitors: MakeVisitor) -> None:
    visitor = visitors(locale="zh-CN")
    drop_picture(visitor, 0, lines=False)
    visitor.page.get_by_text("符号 A 的第 1 幅未采用：图片中看不到线条。").wait_for()


def test_a_picture_is_pasted_onto_the_card_under_the_pointer(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.pad("Symbol B").hover()
    visitor.page.evaluate(
        PICTURE_FILE
        + """().then((data) =>
        document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data})))"""
    )
    visitor.page.wait_for_function("document.querySelectorAll('.tile').length === 1")
    kept = visitor.kept()["symbols"]
    assert kept[0]["examples"] == [] and "picture" in kept[1]["examples"][0]


def test_mix_ups_are_named_and_their_drawings_shown(visitor: Visitor) -> None:
    for symbol, strokes in (
        ("Symbol A", CROSS),
        ("Symbol A", CROSS_AGAIN),
        ("Symbol B", CUP),
        ("Symbol B", CUP_AGAIN),
        ("Symbol B", CROSS),  # out of place
    ):
        visitor.draw(symbol, strokes)
        visitor.press(f"Another example of {symbol}")
    visitor.press("Find mix-ups")
    visitor.page.get_by_text("of 5 drawings were recognised from the others").wait_for()
    visitor.page.get_by_text("Drawing 3 of Symbol B looks most out of place").wait_for()
    pair = visitor.page.locator(".pair")
    assert "Symbol A and Symbol B were confused" in pair.inner_text()
    shown = visitor.page.locator(".pair-drawings")
    assert not shown.is_visible()
    pair.click()
    assert shown.locator("canvas").count() == 5
    assert shown.get_by_label("Drawing 3 of Symbol B").is_visible()


def test_a_set_goes_to_a_file_and_back(visitor: Visitor, tmp_path: Path) -> None:
    visitor.press("Load example set")
    name = visitor.page.get_by_label("Name of Elk")
    name.fill("麋鹿 🦌 \u05d0")
    name.press("Enter")
    before = visitor.kept()
    with visitor.page.expect_download() as started:
        visitor.press("Save set")
    started.value.save_as(tmp_path / "set.json")
    assert started.value.suggested_filename == "symbols.maml.json"
    visitor.press("Clear all")
    opener = "input[type=file][aria-label='Open set']"
    visitor.page.set_input_files(opener, tmp_path / "set.json")
    visitor.page.get_by_text("set.json opened").wait_for()
    assert visitor.kept() == before
    visitor.wait_for_answer("麋鹿 🦌 \u05d0")
    for content, reason in (
        ("hello", "is not JSON"),
        ('{"a": 1}', "not a set of symbols made by"),
        (json.dumps({**before, "version": 9}), "has version 9"),
        (json.dumps({**before, "query": [[[1, 5000]]]}), "has the point [1,5000]"),
    ):
        (tmp_path / "other.json").write_text(content)
        visitor.page.set_input_files(opener, tmp_path / "other.json")
        visitor.page.get_by_text(reason).wait_for()
        assert visitor.kept() == before


def test_the_adapted_network_is_downloaded_and_runs(visitors: MakeVisitor, tmp_path: Path) -> None:
    import zipfile

    from PIL import Image, ImageDraw

    visitor = visitors()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    with visitor.page.expect_download() as started:
        visitor.press("Download network")
    started.value.save_as(tmp_path / "network.zip")
    with zipfile.ZipFile(tmp_path / "network.zip") as archive:
        archive.extractall(tmp_path)
    query = visitor.kept()["query"]
    image = Image.new("L", (1000, 1000), 255)
    for stroke in query:
        ImageDraw.Draw(image).line([tuple(point) for point in stroke], fill=0, width=25)
    image.save(tmp_path / "query.png")
    printed = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "query.png")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(printed)["name"] == "Elk"


def test_drawings_survive_a_reload_and_a_restart_of_the_server(
    browser: Any, tmp_path: Path
) -> None:
    port = free_port()
    log = tmp_path / "app.log"
    app = start_app(log, port)
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    try:
        visitor = Visitor(context.new_page()).open(f"http://127.0.0.1:{port}")
        visitor.draw("Symbol A", CROSS)
        visitor.draw("Symbol B", CUP)
        visitor.draw("the new drawing", CUP_AGAIN)
        visitor.wait_for_answer("Symbol B")
        visitor.reload()
        visitor.wait_for_answer("Symbol B")
        stop_app(app)
        app = start_app(log, port)
        visitor.reload()
        visitor.wait_for_answer("Symbol B")
    finally:
        context.close()
        stop_app(app)


def test_two_people_never_see_each_others_symbols(visitors: MakeVisitor) -> None:
    one, other = visitors(), visitors(touch=True)
    one.draw("Symbol A", CROSS)
    other.draw("Symbol A", CUP)
    one.draw("Symbol B", CUP)
    other.draw("Symbol B", CROSS)
    one.draw("the new drawing", CUP_AGAIN)
    other.draw("the new drawing", CUP_AGAIN)
    one.wait_for_answer("Symbol B")
    other.wait_for_answer("Symbol A")
    name = other.page.get_by_label("Name of Symbol A")
    name.fill("A secret")
    name.press("Enter")
    other.wait_for_answer("A secret")
    one.reload()
    one.wait_for_answer("Symbol B")
    assert "A secret" not in one.page.content()


HOSTILE = (
    "<img src=x onerror=window.hit=1>",
    "${window.hit=1}{{window.hit}}`",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "long " + "name" * 123,
)


@pytest.mark.parametrize("name", HOSTILE, ids=["tag", "template", "bidi", "long"])
def test_hostile_names_are_harmless_and_readable(visitors: MakeVisitor, name: str) -> None:
    visitor = visitors(touch=True)
    teach_cross_and_cup(visitor)
    field = visitor.page.get_by_label("Name of Symbol B")
    field.fill(name)
    field.press("Enter")
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.wait_for_answer(name)
    visitor.reload()
    visitor.wait_for_answer(name)
    assert visitor.kept()["symbols"][1]["name"] == name
    assert visitor.page.evaluate("window.hit") is None
    wide = "document.documentElement.scrollWidth - window.innerWidth"
    assert visitor.page.evaluate(wide) <= 0
    assert visitor.page.get_by_role("button", name=f"Remove {name}", exact=True).is_visible()


def test_the_page_speaks_chinese_by_the_browser_and_by_the_switch(visitors: MakeVisitor) -> None:
    visitor = visitors(locale="zh-CN")
    visitor.page.get_by_role("tab", name="绘制").wait_for()
    visitor.page.get_by_role("button", name="载入示例").click()
    visitor.wait_for_answer("麋鹿")
    visitor.page.get_by_role("button", name="Switch to English").click()
    visitor.page.get_by_role("tab", name="Draw").wait_for()
    assert visitor.page.get_by_text("Your drawings stay in this browser").is_visible()
    visitor.wait_for_answer("麋鹿")  # names are the person's own
    visitor.reload()
    visitor.page.get_by_role("button", name="Load example set").wait_for()
    visitor.press("切换到中文")
    visitor.page.get_by_text("你的画只留在这个浏览器").wait_for()


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_every_screen(visitors: MakeVisitor, width: int, theme: str) -> None:
    visitor = visitors(
        touch=width < 800, viewport={"width": width, "height": 800}, path=f"/?__theme={theme}"
    )
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    page = visitor.page
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    sizes = page.locator(".maml-sketchpad :is(button, select, input:not([hidden])):visible")
    tabs = page.locator("button[role=tab]:visible, .maml-header button, footer button:visible")
    small = sizes.or_(tabs).evaluate_all(
        """all => all.map((one) => [one.outerHTML.slice(0, 120), one.getBoundingClientRect()])
        .filter(([_, box]) => box.width < 43.5 || box.height < 43.5).map(([html]) => html)"""
    )
    assert small == []
    ink, paper = page.locator("canvas.pad").first.evaluate(
        """pad => { const style = getComputedStyle(pad);
        return [style.getPropertyValue('--pad-ink'), style.backgroundColor]; }"""
    )
    dark_paper = sum(map(int, re.findall(r"\d+", paper)[:3])) < 200
    assert dark_paper == (theme == "dark") and (ink.strip() > "#8") == dark_paper


def test_the_keyboard_reaches_everything_but_drawing(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    page = visitor.page
    wanted = page.locator(
        ".maml-sketchpad :is(button:enabled, select, input:not([hidden])):visible"
    ).count()
    page.get_by_role("combobox", name="Example set").focus()
    seen = set()
    for _ in range(wanted + 20):
        focus = page.evaluate(
            """() => { const one = document.activeElement;
            if (!one.closest('.maml-sketchpad')) return null;
            const style = getComputedStyle(one);
            return [one.getAttribute('aria-label') || one.textContent, style.outlineStyle,
                parseFloat(style.outlineWidth)]; }"""
        )
        if focus is None:
            break
        label, outline, width = focus
        assert outline == "solid" and width >= 2, label
        seen.add(label)
        page.keyboard.press("Tab")
    assert len(seen) == wanted
    page.get_by_role("button", name="Remove Wealth", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_text("Wealth removed. Undo brings it back.").wait_for()


def test_a_drawing_like_none_of_them_gets_an_honest_answer(visitors: MakeVisitor) -> None:
    visitor = visitors()
    for _ in range(3):
        for symbol, strokes in (("Symbol A", CROSS), ("Symbol B", CUP)):
            visitor.draw(symbol, strokes)
            visitor.press(f"Another example of {symbol}")
    stroke = [(0.2 + 0.6 * (k % 2), 0.1 + 0.08 * k) for k in range(11)]
    visitor.draw("the new drawing", [stroke, [(0.1, 0.5), (0.9, 0.5)]])
    visitor.wait_for_answer("None of these")
    assert visitor.page.get_by_role("meter", name="None of these").is_visible()


def human_strokes(folder: Path) -> list[list[Strokes]]:
    """Real people's pens: characters of the data set, each a few drawings, in shares of the pad."""
    import zipfile

    characters: dict[str, list[Strokes]] = {}
    with zipfile.ZipFile(folder / "strokes_background_small1.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.startswith("__") or not name.endswith(".txt"):
                continue
            strokes: list[list[tuple[float, float]]] = [[]]
            for line in archive.read(name).decode().splitlines():
                if line.startswith("BREAK"):
                    strokes.append([])
                elif not line.startswith("START") and line.strip():
                    x, y, _ = map(float, line.split(","))
                    share = (min(max(x / 105, 0.02), 0.98), min(max(-y / 105, 0.02), 0.98))
                    strokes[-1].append(share)
            kept = [stroke[::3] + stroke[-1:] for stroke in strokes if stroke]
            characters.setdefault(str(Path(name).parent), []).append(kept)
            if len(characters) > 12:
                break
    return list(characters.values())[:12]


def test_real_peoples_pens_are_understood(visitors: MakeVisitor, omniglot_dir: Path) -> None:
    if not (omniglot_dir / "strokes_background_small1.zip").exists():
        pytest.skip("the data set's pen strokes are not at hand")
    people = human_strokes(omniglot_dir)
    visitor = visitors()
    for letter, character in zip("AB", (people[0], people[5]), strict=True):
        visitor.draw(f"Symbol {letter}", character[0])
        visitor.press(f"Another example of Symbol {letter}")
        visitor.draw(f"Symbol {letter}", character[1])
    for letter, character in zip("AB", (people[0], people[5]), strict=True):
        visitor.draw("the new drawing", character[4])
        visitor.wait_for_answer(f"Symbol {letter}")
        visitor.press("Clear")


SYMBOLS = [
    {"name": "cross", "examples": [{"strokes": CROSS}, {"strokes": CROSS_AGAIN}]},
    {"name": "cup", "examples": [{"strokes": CUP}]},
]


def test_the_endpoint_serves_python_clients(app_url: str) -> None:
    from gradio_client import Client

    client = Client(app_url, verbose=False)
    try:
        result = client.predict(
            SYMBOLS, [{"strokes": CUP_AGAIN}, {"strokes": CROSS}], 5, api_name="/adapt_and_classify"
        )
        assert [one["name"] for one in result["answers"]] == ["cup", "cross"]
        assert result["names"] == ["cross", "cup"]
        assert sum(result["answers"][0]["probabilities"]) == pytest.approx(1, abs=1e-3)
        assert len(result["trajectory"]) == 6
        described = client.view_api(return_format="dict", print_info=False)
        assert set(described["named_endpoints"]) == {"/adapt_and_classify"}
        with pytest.raises(Exception, match="symbol 1 has no examples"):
            client.predict(
                [{"name": "a"}, {"name": "b"}],
                [{"strokes": CUP}],
                None,
                api_name="/adapt_and_classify",
            )
    finally:
        client.close()


def test_the_endpoint_serves_curl(app_url: str) -> None:
    url = f"{app_url}/gradio_api/call/adapt_and_classify"
    data = json.dumps({"data": [SYMBOLS, [{"strokes": CUP_AGAIN}], None]}).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        event = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{url}/{event}", timeout=30) as response:
        text = response.read().decode()
    assert text.startswith("event: complete")
    (result,) = json.loads(text.partition("data: ")[2])
    assert result["answers"][0]["name"] == "cup"


def test_the_example_of_the_readme_runs(app_url: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "gradio_client" in block]
    script = tmp_path / "example.py"
    script.write_text(example.replace("http://127.0.0.1:7860", app_url))
    printed = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip().endswith("cup")


def test_the_page_asks_nobody_else_and_keeps_to_its_policy(visitors: MakeVisitor) -> None:
    visitor = visitors()
    page = visitor.page
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.add_init_script(
        """window.violations = [];
        addEventListener('securitypolicyviolation', (event) =>
            window.violations.push(event.violatedDirective + ' ' + event.blockedURI));"""
    )
    visitor.reload()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    visitor.press("Find mix-ups")
    page.locator(".verdict").first.wait_for()
    with page.expect_download():
        visitor.press("Download network")
    page.get_by_role("tab", name="Train").click()
    visitor.button("Start training").wait_for()
    assert page.evaluate("window.violations") == []
    own = page.url.rstrip("/")
    assert len(asked) > 20
    assert {url for url in asked if not url.startswith((own, "data:", "blob:"))} == set()


def test_twenty_tabs_of_one_browser_work(visitors: MakeVisitor) -> None:
    first = visitors()
    context, url = first.page.context, first.page.url
    tabs = [first, *(Visitor(context.new_page()).open(url) for _ in range(19))]
    for tab in tabs:
        tab.page.bring_to_front()
        tab.press("Load example set")
        tab.wait_for_answer("Elk")
    tabs[0].page.bring_to_front()
    tabs[0].press("Clear")
    tabs[0].draw("the new drawing", CUP)
    tabs[0].wait_for_answer("")
    assert [error for tab in tabs[1:] for error in tab.errors] == []
