"""How the Draw tab feels, measured in Chromium: ``python benchmarks/stroke_to_answer.py``.

Starts the app, draws with the mouse and prints a table: from the end of a stroke to the answer on
the page, from a new example to the changed answer, the first answer, the opening of the page, and
scrolling on an emulated phone.  Each time ends with the next frame after the answer is on the page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
from browser import chromium, running_app
from playwright.sync_api import Page

KEY = "maml-sketchpad.document.v1"
QUERY_PAD = "Drawing pad for the new drawing"

# Runs in every page: when a stroke ends, note how long it takes until its answer is painted.
PROBE = """
window.probe = {times: [], began: null};
addEventListener('pointerup', () => { window.probe.began = performance.now(); }, true);
new MutationObserver(() => {
    const root = document.querySelector('.maml-sketchpad');
    const probe = window.probe;
    if (!root || probe.began === null) return;
    if (Number(root.dataset.answered) < Number(root.dataset.asked)) return;
    const began = probe.began;
    probe.began = null;
    requestAnimationFrame(() => probe.times.push(performance.now() - began));
}).observe(document, {subtree: true, attributes: true, attributeFilter: ['data-answered']});
window.shift = 0;
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: 'layout-shift', buffered: true});
"""


def symbols_with_drawings(ways: int, drawings: int, seed: int = 0) -> dict[str, Any]:
    """A document of made-up symbols, each of two to four random strokes drawn by a shaky hand."""
    rng = np.random.default_rng(seed)

    def drawn(strokes: list[np.ndarray]) -> list[list[list[int]]]:
        shaken = [stroke + rng.normal(0, 18, stroke.shape) for stroke in strokes]
        return [np.clip(np.rint(stroke), 0, 1000).astype(int).tolist() for stroke in shaken]

    symbols = []
    for way in range(ways):
        strokes = []
        for _ in range(int(rng.integers(2, 5))):
            ends = rng.uniform(120, 880, (3, 2))
            share = np.linspace(0, 1, 14)[:, None]
            strokes.append(
                (1 - share) ** 2 * ends[0] + 2 * share * (1 - share) * ends[1] + share**2 * ends[2]
            )
        examples = [{"strokes": drawn(strokes)} for _ in range(drawings)]
        symbols.append({"id": way + 1, "name": f"Sign {way + 1}", "examples": examples, "pad": []})
    return {
        "format": "maml-sketchpad",
        "version": 1,
        "steps": None,
        "symbols": symbols,
        "query": symbols[0]["examples"][0]["strokes"][:1],
    }


def opened(browser: Any, url: str, document: dict[str, Any] | None = None, **settings: Any) -> Page:
    """A page whose browser has kept `document`, ready to draw on."""
    context = browser.new_context(locale="en-GB", **settings)
    context.add_init_script(PROBE)
    if document is not None:
        text = json.dumps(json.dumps(document))
        context.add_init_script(
            f"localStorage.getItem('{KEY}') || localStorage.setItem('{KEY}', {text})"
        )
    page: Page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
    if document is not None:
        page.wait_for_function("/%/.test(document.querySelector('#answer').textContent)")
    return page


def stroke(page: Page, label: str, rng: np.random.Generator, wait: bool = True) -> None:
    """One stroke of twelve moves, about a tenth of a second long."""
    pad = page.get_by_role("img", name=label, exact=True)
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    before = page.evaluate("window.probe.times.length")
    ends = rng.uniform(0.1, 0.9, (2, 2))
    for k in range(13):
        x, y = ends[0] + (ends[1] - ends[0]) * k / 12
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if k == 0:
            page.mouse.down()
    page.mouse.up()
    if wait:
        page.wait_for_function(f"window.probe.times.length > {before}", timeout=20000)


def times(page: Page) -> list[float]:
    """What was noted since the last call, in milliseconds."""
    noted: list[float] = page.evaluate("window.probe.times.splice(0)")
    return noted


def query_strokes(browser: Any, url: str, count: int) -> list[float]:
    page = opened(browser, url, symbols_with_drawings(5, 5))
    rng = np.random.default_rng(1)
    for k in range(count + 5):
        if k % 5 == 0:
            page.get_by_role("button", name="Clear", exact=True).click()
            page.wait_for_timeout(300)
        stroke(page, QUERY_PAD, rng)
        page.wait_for_timeout(120)
    noted = times(page)[5:]
    page.context.close()
    return noted


def new_examples(browser: Any, url: str, ways: int, drawings: int, count: int) -> list[float]:
    page = opened(browser, url, symbols_with_drawings(ways, drawings - 1))
    rng = np.random.default_rng(2)
    times(page)
    for k in range(count + 2):
        stroke(page, f"Drawing pad for Sign {1 + k % ways}", rng)
        page.wait_for_timeout(150)
    noted = times(page)[2:]
    page.context.close()
    return noted


def first_answer(browser: Any, url: str) -> tuple[float, float, float]:
    """Milliseconds until the pads are ready and from the click to the answer; layout shift."""
    began = time.perf_counter()
    page = opened(browser, url, viewport={"width": 1280, "height": 900})
    ready = time.perf_counter() - began
    page.wait_for_timeout(1000)
    shift = page.evaluate("window.shift")
    clicked = page.evaluate(
        """async () => {
        const answer = document.querySelector('#answer');
        const button = [...document.querySelectorAll('button')]
            .find((one) => one.textContent === 'Load example set');
        const began = performance.now();
        button.click();
        while (!answer.textContent.includes('%')) await new Promise(requestAnimationFrame);
        return performance.now() - began; }"""
    )
    page.context.close()
    return 1000 * ready, clicked, shift


def scribble(browser: Any, url: str) -> tuple[int, bool]:
    """How many of 30 strokes without a pause arrive, and whether the last answer is the last's."""
    page = opened(browser, url, symbols_with_drawings(5, 5))
    page.get_by_role("button", name="Clear", exact=True).click()
    rng = np.random.default_rng(3)
    for _ in range(30):
        stroke(page, QUERY_PAD, rng, wait=False)
    page.wait_for_timeout(1500)
    kept = json.loads(page.evaluate(f"localStorage.getItem('{KEY}')"))
    root = page.locator(".maml-sketchpad")
    settled = root.get_attribute("data-answered") == root.get_attribute("data-asked")
    page.context.close()
    return len(kept["query"]), settled


def scrolling(browser: Any, url: str) -> tuple[float, float]:
    """Median time of a frame and share of frames over 50 ms: a slow phone scrolls 20 cards."""
    page = opened(
        browser,
        url,
        symbols_with_drawings(20, 5),
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
    )
    cdp = page.context.new_cdp_session(page)
    cdp.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.wait_for_timeout(1000)
    page.evaluate(
        """() => { window.frames_ = []; let last = performance.now();
        const tick = (now) => { window.frames_.push(now - last); last = now;
            window.scrolling_ = requestAnimationFrame(tick); };
        requestAnimationFrame(tick); }"""
    )
    for direction in (-1, 1):
        cdp.send(
            "Input.synthesizeScrollGesture",
            {"x": 8, "y": 500, "yDistance": direction * 3500, "speed": 1800},
        )
    frames = page.evaluate("window.frames_.slice(2)")
    page.context.close()
    return statistics.median(frames), sum(frame > 50 for frame in frames) / len(frames)


def row(what: str, noted: list[float], limits: str) -> str:
    return (
        f"| {what} | {statistics.median(noted):.0f} ms | "
        f"{np.percentile(noted, 95):.0f} ms | {limits} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=int, default=60, help="strokes of the first row")
    count = parser.parse_args().strokes
    with running_app() as url, chromium() as browser:
        print("| from the end of a stroke to the answer on the page | median | 95 % | wanted |")
        print("|---|---|---|---|")
        print(row("new drawing, 5 symbols x 5", query_strokes(browser, url, count), "60 / 120"))
        print(row("new example, 5 x 5", new_examples(browser, url, 5, 5, 20), "- / 200"))
        print(row("new example, 20 x 5", new_examples(browser, url, 20, 5, 20), "- / 250"))
        ready, clicked, shift = first_answer(browser, url)
        print(f"\npage opened, pads ready: {ready:.0f} ms (wanted 2000); layout shift {shift:.3f}")
        print(f"first answer after one click: {clicked:.0f} ms (wanted 1000)")
        kept, settled = scribble(browser, url)
        print(f"scribbler: {kept} of 30 strokes kept, the last one wins: {settled}")
        median, slow = scrolling(browser, url)
        print(
            f"scrolling 20 cards, phone, CPU slowed 4x: {median:.0f} ms a frame, "
            f"{100 * slow:.1f} % of frames over 50 ms"
        )


if __name__ == "__main__":
    main()
