"""The first minute of a visitor, in Chromium: ``python -m benchmarks.smoke URL [--train]``.

Loads the example set, asks for one of its symbols, draws on, and with --train starts a training on
generated alphabets and waits for its first step.  Fails with what went wrong.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from playwright.sync_api import Browser

from benchmarks.browser import chromium

_PATIENCE = 180_000


def smoke(browser: Browser, url: str, *, train: bool = False) -> dict[str, float]:
    """Seconds until the page is ready, answers, and trains.

    Raises:
        AssertionError: if the page has an error.
        playwright.sync_api.TimeoutError: if something does not come.
    """
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    took: dict[str, float] = {}
    began = time.perf_counter()

    def note(what: str) -> None:
        took[what] = round(time.perf_counter() - began, 1)

    page.goto(url)
    page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
    note("ready")
    page.locator(".tools .primary").click()
    page.wait_for_function("/%/.test(document.querySelector('#answer').textContent)")
    note("answered")
    with page.expect_response(lambda response: response.url.endswith("/sketchpad/answer")) as asked:
        _stroke(page)
    assert asked.value.status == 200, asked.value.text()
    note("drawn")
    if train:
        page.get_by_role("tab", name="Train", exact=True).click()
        page.wait_for_selector(".maml-training[data-ready=yes]")
        page.get_by_role("radio", name="Generated alphabets").check()
        page.get_by_role("button", name="Start training", exact=True).click()
        page.wait_for_function(
            """() => { const board = document.querySelector('.maml-training').dataset;
            return Number(board.iteration) > 0 || ['failed', 'died'].includes(board.state); }"""
        )
        state = page.locator(".maml-training").get_attribute("data-state")
        assert state not in ("failed", "died"), page.locator(".maml-training").inner_text()[:300]
        note("trained")
        page.get_by_role("button", name="Stop training", exact=True).click()
        page.wait_for_selector(".maml-training[data-state=stopped]")
    assert not errors, errors
    context.close()
    return took


def _stroke(page: Any) -> None:
    """A line across the pad that asks."""
    pad = page.get_by_role("img", name="Drawing pad for the new drawing", exact=True)
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for k in range(9):
        page.mouse.move(
            box["x"] + box["width"] * (0.2 + 0.07 * k), box["y"] + box["height"] * (0.2 + 0.07 * k)
        )
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--train", action="store_true", help="train for a few steps too")
    given = parser.parse_args()
    with chromium() as browser:
        took = smoke(browser, given.url, train=given.train)
    print(", ".join(f"{what} after {seconds:g} s" for what, seconds in took.items()))


if __name__ == "__main__":
    main()
