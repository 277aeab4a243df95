"""How the Train tab looks, in a real Chromium: contrast, targets, order, what can be pressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.browser import running_app

CONTRAST = """() => {
    const numbers = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = (colour) => {
        const [r, g, b] = colour.map((value) => value / 255)
            .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = numbers(getComputedStyle(node).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.99) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const weak = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode.parentElement;
        const text = texts.currentNode.textContent.trim();
        if (!text || !node.checkVisibility() || node.closest(":disabled, svg")) continue;
        const colour = numbers(getComputedStyle(node).color).slice(0, 3);
        const [a, b] = [light(colour), light(behind(node))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) weak.push([ratio, text]);
    }
    return weak;
}"""
TARGETS = """() => [...document.querySelectorAll(".maml-train :is(button, input, label)")]
    .filter((node) => node.checkVisibility() && !node.matches("label *"))
    .map((node) => node.closest(".wrap-inner") ?? node) // all of a list opens it
    .map((node) => [node.textContent.trim() || node.ariaLabel, node.getBoundingClientRect()])
    .filter(([_, box]) => box.height && (box.height < 44 || box.width < 44))
    .map(([name, box]) => [name, box.width, box.height])"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_app() as address:
        yield address


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Any]:
    contexts = []

    def open_page(theme: str = "light", **settings: Any) -> Any:
        contexts.append(browser.new_context(locale="en-GB", **settings))
        page = contexts[-1].new_page()
        page.goto(f"{url}/?__theme={theme}")
        page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        page.get_by_role("tab", name="Train", exact=True).click()
        page.wait_for_selector(".maml-training[data-ready=yes]")
        return page

    yield open_page
    for context in contexts:
        context.close()


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
LAPTOP = {"viewport": {"width": 1366, "height": 900}}


@pytest.mark.parametrize("settings", [PHONE, LAPTOP], ids=["phone", "laptop"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_and_targets_are_large(
    open_page: Any, settings: dict[str, Any], theme: str
) -> None:
    page = open_page(theme, **settings)
    for group in ("Inner and outer loop", "Length, network, seed", "Push to the Hugging Face Hub"):
        page.get_by_role("button", name=group).click()
    page.get_by_label("Seed", exact=True).wait_for()
    page.get_by_label("Access token").wait_for()
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(TARGETS) == []


def test_on_a_phone_curves_come_before_settings_and_settings_before_downloads(
    open_page: Any,
) -> None:
    page = open_page(**PHONE)
    tops = [
        page.get_by_role("button", name="Start training").bounding_box()["y"],
        page.locator(".maml-training .chart").first.bounding_box()["y"],
        page.get_by_label("Ways", exact=True).bounding_box()["y"],
        page.get_by_role("button", name="Download figure", exact=True).bounding_box()["y"],
    ]
    assert tops == sorted(tops)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("settings", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_the_run_controls_stay_in_sight(open_page: Any, settings: dict[str, Any]) -> None:
    page = open_page(**settings)
    page.get_by_role("button", name="Length, network, seed").click()
    page.get_by_label("Seed", exact=True).scroll_into_view_if_needed()
    box = page.get_by_role("button", name="Start training").bounding_box()
    assert 0 <= box["y"] < settings["viewport"]["height"] - 44


def test_what_would_do_nothing_cannot_be_pressed(open_page: Any) -> None:
    page = open_page(**LAPTOP)
    page.get_by_role("button", name="Push to the Hugging Face Hub").click()

    def enabled(name: str) -> bool:
        return bool(page.get_by_role("button", name=name, exact=True).is_enabled())

    assert enabled("Start training")
    for name in (
        "Pause",
        "Stop training",
        "Draw with these weights",
        "Download checkpoint",
        "Download figure",
        "Download all runs as CSV",
        "Push to Hub",
    ):
        assert not enabled(name), name
