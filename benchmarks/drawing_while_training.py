"""Drawing while a training runs in the same page: ``python benchmarks/drawing_while_training.py``.

Starts the app, draws without a training, then starts each recipe in the Train tab, goes back to the
Draw tab and draws again.  Prints from the end of a stroke to the answer on the page, the steps a
second of the training meanwhile, watched and unwatched, and what comes to a page that watches.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from browser import chromium, running_app
from playwright.sync_api import Page
from stroke_to_answer import (
    QUERY_PAD,
    opened,
    row,
    stroke,
    symbols_with_drawings,
    times,
)

RECIPES = {"live": "See it learn (two minutes)", "notebook": "The original notebook"}


def drawn(page: Page, count: int) -> list[float]:
    """Milliseconds from the end of each stroke to its answer."""
    rng = np.random.default_rng(1)
    for k in range(count + 5):
        if k % 5 == 0:
            page.get_by_role("button", name="Clear", exact=True).click()
            page.wait_for_timeout(300)
        stroke(page, QUERY_PAD, rng)
        page.wait_for_timeout(120)
    return times(page)[5:]


def steps(page: Page) -> int:
    return int(page.locator(".maml-training").get_attribute("data-iteration") or 0)


class Traffic:
    """Counts the bytes that come from the server to a page."""

    def __init__(self, page: Page) -> None:
        self.received = 0
        self._own: set[str] = set()
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        network.on("Network.requestWillBeSent", self._begin)
        network.on("Network.dataReceived", self._take)

    def _begin(self, event: dict[str, Any]) -> None:
        if event["request"]["url"].startswith("data:"):  # a picture that the page has already
            self._own.add(event["requestId"])

    def _take(self, event: dict[str, Any]) -> None:
        # What is streamed has no length on the wire of its own.
        length = event["encodedDataLength"] or event["dataLength"]
        self.received += 0 if event["requestId"] in self._own else length


def watched(page: Page, rounds: int = 4, seconds: float = 8.0) -> str:
    """What it costs the training that somebody watches, and what comes to the page meanwhile."""
    traffic = Traffic(page)
    taken = {"Draw": 0, "Train": 0}
    spent = {"Draw": 0.0, "Train": 0.0}
    received = 0
    for _ in range(rounds):
        for tab in taken:
            # Whoever does not watch is told less often: counted are the steps that Train shows.
            before, began, came = steps(page), time.perf_counter(), traffic.received
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(1000 * seconds)
            page.get_by_role("tab", name="Train").click()
            page.wait_for_timeout(1000)
            taken[tab] += steps(page) - before
            spent[tab] += time.perf_counter() - began
            received += traffic.received - came if tab == "Train" else 0
    alone, seen = (taken[tab] / spent[tab] for tab in taken)
    return (
        f"{alone:.1f} steps a second unwatched, {seen:.1f} watched ({100 * (seen / alone - 1):+.1f}"
        f" %); {received / spent['Train'] / 1000:.1f} kB a second to a page that watches"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=int, default=60, help="strokes of each row")
    parser.add_argument("--data", choices=["omniglot", "generated"], default="omniglot")
    options = parser.parse_args()
    with running_app() as url, chromium() as browser:
        print("| new drawing, 5 symbols x 5 drawings | median | 95 % | wanted |")
        print("|---|---|---|---|")
        page = opened(browser, url, symbols_with_drawings(5, 5))
        print(row("without a training", drawn(page, options.strokes), "- / 120"), flush=True)
        notes = []
        for recipe, label in RECIPES.items():
            page.get_by_role("tab", name="Train").click()
            page.get_by_role("radio", name=label).check()
            if options.data == "generated":
                page.get_by_role("radio", name="Generated alphabets").check()
            page.get_by_role("button", name="Start training").click()
            page.wait_for_selector(".maml-training[data-state=training]", timeout=120_000)
            seen = watched(page)
            page.get_by_role("tab", name="Draw").click()
            before, began = steps(page), time.perf_counter()
            print(
                row(f"while {recipe} trains", drawn(page, options.strokes), "- / 200"), flush=True
            )
            meanwhile = (steps(page) - before) / (time.perf_counter() - began)
            notes.append(f"{recipe}: {seen}; {meanwhile:.1f} steps a second while drawing")
            page.get_by_role("tab", name="Train").click()
            page.get_by_role("button", name="Stop training").click()
            page.wait_for_selector(".maml-training[data-state=stopped]")
        print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
