"""People at the page in a real Chromium: their browsers, their hands and what they draw."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Strokes = Sequence[Sequence[tuple[float, float]]]

# In shares of the pad, as an imagined hand draws them.
CROSS: Strokes = [[(0.2, 0.2), (0.5, 0.52), (0.8, 0.8)], [(0.8, 0.22), (0.5, 0.5), (0.2, 0.8)]]
CROSS_AGAIN: Strokes = [[(0.25, 0.15), (0.8, 0.85)], [(0.85, 0.2), (0.2, 0.75)]]
CUP: Strokes = [[(0.2, 0.2), (0.22, 0.6), (0.5, 0.85), (0.78, 0.6), (0.8, 0.2)]]
CUP_AGAIN: Strokes = [[(0.25, 0.25), (0.24, 0.65), (0.5, 0.8), (0.75, 0.62), (0.72, 0.22)]]
HAT: Strokes = [[(0.15, 0.8), (0.5, 0.2), (0.85, 0.8)], [(0.3, 0.6), (0.7, 0.6)]]

PHONE = {"has_touch": True, "viewport": {"width": 390, "height": 844}}
DESK = {"viewport": {"width": 1280, "height": 900}}

DARK = "dark => document.body.classList.toggle('dark', dark)"
"""Changes the theme of an open page, as `?__theme=` chooses it when the page opens."""

STILL = "document.getAnimations().every((one) => one.playState !== 'running')"
"""Whether no colour or size is on its way to another."""


VISITS = 8
"""After so many a profile gets a new page: the process of an old one has grown."""
PATIENCE_MS = 90_000
"""How long a page may take, on a machine that does other work at the same time."""


LEISURE = f"window.mamlTimes = {{message: {PATIENCE_MS}, rest: {PATIENCE_MS}}};"
"""On the pages of tests a message stays and no pad rests before one has looked."""

FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Waits until what has just changed is on the screen."""


def new_profile(browser: Any, **settings: Any) -> Any:
    """A profile of the browser that keeps nothing of any other."""
    context = browser.new_context(**{"locale": "en-GB", **settings})
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(LEISURE)
    return context


def note_errors(page: Any, errors: list[str]) -> None:
    """Add what a page's scripts raise to the errors, with the place it comes from."""
    page.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}"))


class Profiles:
    """Browser profiles of an app's visitors, emptied and used again.

    A page opens three times as fast in a profile that has the app's files in its cache.
    """

    def __init__(self, browser: Any, url: str) -> None:
        self._browser = browser
        self._url = url
        self._free: dict[str, list[Any]] = {}
        self._keys: dict[Any, str] = {}
        self._visits: Counter[Any] = Counter()

    def page(self, viewport: dict[str, int], **settings: Any) -> Any:
        """An empty page of a profile with these settings that keeps nothing of anybody."""
        key = json.dumps(settings, sort_keys=True)
        free = self._free.setdefault(key, [])
        if not free:
            context = new_profile(self._browser, **settings)
            self._keys[context] = key
            free.append(context.new_page())
        page = free.pop()
        page.set_viewport_size(viewport)
        return page

    def take_back(self, context: Any) -> None:
        """Empty a profile whose visitor has gone."""
        self._visits[context] += 1
        if self._visits[context] % VISITS == 0:
            for worn in context.pages:
                worn.close()
        page = (context.pages or [context.new_page()])[0]
        for other in context.pages[1:]:
            other.close()
        context.set_offline(False)
        context.clear_permissions()
        page.emulate_media(reduced_motion="null")
        page.goto("about:blank")
        page.mouse.move(0, 0)
        devtools = context.new_cdp_session(page)
        devtools.send("Storage.clearDataForOrigin", {"origin": self._url, "storageTypes": "all"})
        devtools.detach()
        self._free[self._keys[context]].append(page)

    def close(self) -> None:
        for context in self._keys:
            context.close()


class Visitor:
    """One person's page, with hands that draw on it."""

    def __init__(self, page: Any, touch: bool = False) -> None:
        self.page = page
        self.touch = touch
        self.errors: list[str] = []
        self._left = False
        page.on("pageerror", lambda error: self._note(f"{error}\n{error.stack}"))
        page.on(
            "console",
            lambda message: self._note(message.text) if message.type == "error" else None,
        )
        if touch:
            self.cdp = page.context.new_cdp_session(page)

    def _note(self, error: str) -> None:
        if not self._left and "Failed to load resource" not in error:
            self.errors.append(error)

    def leave(self) -> list[str]:
        """All that the page has raised; what it raises from now on is noted no more."""
        if not self.page.is_closed():
            self.page.evaluate("0")  # what was raised before has been told by then
        self._left = True
        return self.errors

    def show_for(self, **times: int) -> None:
        """Change how many milliseconds things are shown, see `assets/times.js`."""
        self.page.evaluate("times => Object.assign(mamlTimes, times)", times)

    def wait_until_answered(self) -> None:
        """Wait until the newest question has its answer."""
        self.page.wait_for_function(
            """() => { const { dataset } = document.querySelector('.maml-sketchpad');
            return dataset.asked === dataset.answered; }"""
        )

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

    def draw(self, name: str, strokes: Strokes, between: int = 4) -> None:
        """Draw on the pad of that name, with mouse or finger.

        Args:
            name: of the pad.
            strokes: in shares of the pad.
            between: moves of the hand from each point to the next one.
        """
        pad = self.pad(name)
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()

        def place(point: tuple[float, float]) -> tuple[float, float]:
            x, y = point
            return box["x"] + x * box["width"], box["y"] + y * box["height"]

        for stroke in strokes:
            dense = [
                (x0 + (x1 - x0) * k / between, y0 + (y1 - y0) * k / between)
                for (x0, y0), (x1, y1) in zip(stroke, stroke[1:], strict=False)
                for k in range(between)
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
        )
        return self.answer()

    def kept(self) -> dict[str, Any]:
        """The document that the browser keeps, once it has been written."""
        self.page.wait_for_selector(".maml-sketchpad[data-kept=yes]")
        text = self.page.evaluate("localStorage.getItem('maml-sketchpad.document.v1')")
        document: dict[str, Any] = json.loads(text)
        return document


MakeVisitor = Callable[..., Visitor]


def teach_cross_and_cup(visitor: Visitor) -> None:
    visitor.draw("Symbol A", CROSS)
    visitor.draw("Symbol B", CUP)


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


def human_strokes(folder: Path) -> list[list[Strokes]]:
    """Real people's pens: characters of the data set, each a few drawings, in shares of the pad."""
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


def real_people(folder: Path) -> list[Any]:
    if not (folder / "strokes_background_small1.zip").exists():
        pytest.skip("the data set's pen strokes are not at hand")
    return human_strokes(folder)
