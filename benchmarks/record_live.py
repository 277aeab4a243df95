"""Film two minutes of the recipe `live` for the README: ``python benchmarks/record_live.py``.

Starts the app, trains in a real Chromium as a lecture hall sees it ("Present"), and writes
`docs/train-live.webp`.  Take it on a machine that does nothing else: the film shows the pace.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import ROOT, chromium, running_app
from film import save_film
from PIL import Image
from playwright.sync_api import Page

SCREEN = {"width": 1920, "height": 1080}
WIDTH = 960  # pixels of the film
EVERY = 1.0  # seconds from one frame to the next
SPEED = 6.0  # times as fast as it was
AT_THE_END = 4.0  # seconds that the last frame stays
LONGEST = 420.0  # seconds
QUALITIES = (60, 45, 30, 20)


def frame_of(page: Page) -> Image.Image:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    height = round(WIDTH * picture.height / picture.width)
    return picture.resize((WIDTH, height), Image.Resampling.LANCZOS)


@contextmanager
def presented_run() -> Iterator[Page]:
    """A page that presents a run of `live`, which has just been started."""
    with running_app() as url, chromium() as browser:
        page = browser.new_page(locale="en-GB", viewport=SCREEN)
        page.goto(url)
        page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        page.get_by_role("tab", name="Train", exact=True).click()
        page.wait_for_selector(".maml-training[data-ready=yes]")
        page.wait_for_timeout(8000)  # as long as a teacher needs to begin
        page.get_by_role("button", name="Start training", exact=True).click()
        page.get_by_role("button", name="Present", exact=True).click()
        yield page


def film(page: Page) -> list[Image.Image]:
    frames = []
    began = time.monotonic()
    while time.monotonic() - began < LONGEST:
        frames.append(frame_of(page))
        state = page.locator(".maml-training").get_attribute("data-state")
        if state == "finished":
            page.wait_for_timeout(1000)
            return [*frames, frame_of(page)]
        page.wait_for_timeout(1000 * max(0.05, began + EVERY * len(frames) - time.monotonic()))
    raise SystemExit(f"expected the run to finish within {LONGEST:g} s; got state {state}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "docs" / "train-live.webp")
    file = parser.parse_args().file
    with presented_run() as page:
        frames = film(page)
    durations = [round(1000 * EVERY / SPEED)] * len(frames)
    durations[-1] = round(1000 * AT_THE_END)
    save_film(file, frames, durations, QUALITIES)


if __name__ == "__main__":
    main()
