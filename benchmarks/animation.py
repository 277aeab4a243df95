"""Film the Draw tab for the README: ``python benchmarks/animation.py``.

Real people's strokes, doodles of Quick, Draw! (CC BY 4.0) in QUICKDRAW_DIR, are drawn on the real
page: three things, one drawing each, then other people's drawings.  The words are test words: the
shipped weights never saw a drawing of them.  Writes `docs/draw.webp`.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import ROOT, chromium, running_app
from film import save_film
from PIL import Image
from playwright.sync_api import Page

WINDOW = {"width": 1600, "height": 900}
WIDTH = 960  # pixels of the film
QUALITIES = (60, 45, 30)
SHORTEST = 0.08  # seconds of a frame
AT_THE_END = 3.0  # seconds that the last frame stays
BETWEEN_POINTS = 10  # milliseconds
STEP = 0.06  # of the pad, from one point to the next
COVERED = 0.76  # of the pad, by a drawing

Strokes = list[list[tuple[float, float]]]

TAUGHT = (("Cone", "ice cream", 14), ("Bow", "bowtie", 3), ("Boat", "sailboat", 5))
ASKED = (("Boat", "sailboat", 12), ("Cone", "ice cream", 3), ("None of these", "chair", 1))
"""What the page calls it, a test word, and the number of a recognised drawing of it."""

POINTER = """() => {
    const pen = document.createElement('div');
    pen.innerHTML = `<svg viewBox="0 0 24 24" width="30" height="30">
        <path d="M3 21l1-5L16 4l4 4L8 20z" fill="#ffcf4d" stroke="#22211f" stroke-width="1.6"
        stroke-linejoin="round"/></svg>`;
    pen.style.cssText = 'position:fixed;z-index:99;pointer-events:none;left:-99px;top:-99px';
    document.body.append(pen);
    addEventListener('pointermove', (event) => {
        pen.style.left = event.clientX - 4 + 'px';
        pen.style.top = event.clientY - 26 + 'px';
    }, true); }"""
"""Shows where the mouse is: the browser's own pointer is in no picture of the page."""


class Film:
    """Frames of a page, with the times they came at."""

    def __init__(self, page: Page) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self._cdp = page.context.new_cdp_session(page)
        self._cdp.on("Page.screencastFrame", self._frame)

    def _frame(self, event: dict[str, Any]) -> None:
        self.frames.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))
        self._cdp.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    @contextmanager
    def running(self) -> Iterator[None]:
        self._cdp.send("Page.startScreencast", {"format": "png"})
        yield
        self._cdp.send("Page.stopScreencast")

    def save(self, path: Path) -> None:
        """Write a film that plays for ever."""
        kept = self.frames[:1]
        for frame in self.frames[1:]:
            # Of frames that follow too fast, the last one is kept, at the first one's time.
            if frame[0] - kept[-1][0] < SHORTEST:
                kept[-1] = (kept[-1][0], frame[1])
            else:
                kept.append(frame)
        times = [when for when, _ in kept] + [kept[-1][0] + AT_THE_END]
        durations = [
            round(1000 * (after - now)) for now, after in zip(times, times[1:], strict=False)
        ]
        height = round(WIDTH * WINDOW["height"] / WINDOW["width"])
        pictures = [
            Image.open(io.BytesIO(data)).convert("RGB").resize((WIDTH, height), Image.LANCZOS)
            for _, data in kept
        ]
        save_film(path, pictures, durations, QUALITIES)


def doodle(folder: Path, word: str, number: int) -> Strokes:
    """A recognised drawing of a word, in shares of the pad."""
    lines = (folder / f"{word}.ndjson").read_text(encoding="utf-8").splitlines()
    drawings = [one["drawing"] for one in map(json.loads, lines) if one["recognized"]]
    strokes = [list(zip(*stroke[:2], strict=True)) for stroke in drawings[number]]
    points = [point for stroke in strokes for point in stroke]
    low, high = (tuple(map(bound, zip(*points, strict=True))) for bound in (min, max))
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    side = max(b - a for a, b in zip(low, high, strict=True)) / COVERED
    return [
        [(0.5 + (x - middle[0]) / side, 0.5 + (y - middle[1]) / side) for x, y in stroke]
        for stroke in strokes
    ]


def way(stroke: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """A pen's way along a stroke, in small steps."""
    yield stroke[0]
    for (x0, y0), (x1, y1) in zip(stroke, stroke[1:], strict=False):
        steps = max(1, round(math.hypot(x1 - x0, y1 - y0) / STEP))
        for k in range(1, steps + 1):
            yield x0 + (x1 - x0) * k / steps, y0 + (y1 - y0) * k / steps


def draw(page: Page, pad: str, strokes: Strokes) -> None:
    """Draw on the pad of that name."""
    box = page.get_by_role("img", name=f"Drawing pad for {pad}", exact=True).bounding_box()
    assert box is not None
    for stroke in strokes:
        for number, (x, y) in enumerate(way(stroke)):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if number == 0:
                page.mouse.down()
            page.wait_for_timeout(BETWEEN_POINTS)
        page.mouse.up()
        page.wait_for_timeout(100)


def play(page: Page, folder: Path) -> None:
    """Teach three things, and ask about three drawings."""
    page.wait_for_timeout(500)
    for name, word, number in TAUGHT:
        draw(page, name, doodle(folder, word, number))
        page.wait_for_timeout(400)
    page.wait_for_timeout(800)
    for place, (name, word, number) in enumerate(ASKED):
        if place:
            page.get_by_role("button", name="Clear", exact=True).click()
        draw(page, "the new drawing", doodle(folder, word, number))
        page.wait_for_function(
            "start => document.querySelector('#answer').textContent.trim().startsWith(start)",
            arg=name,
        )
        page.wait_for_timeout(1500)
        if not place:
            page.get_by_role("button", name="Play adaptation", exact=True).click()
            page.wait_for_timeout(2400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=ROOT / "docs" / "draw.webp")
    path = parser.parse_args().path
    folder = Path(os.environ.get("QUICKDRAW_DIR", ""))
    if not (folder / "sailboat.ndjson").exists():
        parser.error(f"expected Quick, Draw!'s files in QUICKDRAW_DIR; got {str(folder)!r}")
    with running_app() as url, chromium() as browser:
        page = browser.new_page(locale="en-GB", viewport=WINDOW)
        page.goto(f"{url}/?__theme=light")
        page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        page.evaluate(POINTER)
        page.get_by_role("button", name="Dismiss hint", exact=True).click()
        page.get_by_role("button", name="Add symbol", exact=True).click()
        for letter, (name, _, _) in zip("ABC", TAUGHT, strict=True):
            page.get_by_label(f"Name of Symbol {letter}").fill(name)
            page.keyboard.press("Enter")
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.wait_for_timeout(1000)
        film = Film(page)
        began = time.monotonic()
        with film.running():
            play(page, folder)
        print(f"filmed for {time.monotonic() - began:.1f} s")
    film.save(path)


if __name__ == "__main__":
    main()
