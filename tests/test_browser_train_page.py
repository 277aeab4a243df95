"""How the Train tab looks, in a real Chromium: contrast, targets, order, what can be pressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from page import DARK, STILL, Profiles

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


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
LAPTOP = {"viewport": {"width": 1366, "height": 900}}


@pytest.fixture
def open_page(profiles: Profiles, app_url: str) -> Iterator[Any]:
    contexts = []

    def open_page(theme: str = "light", **settings: Any) -> Any:
        page = profiles.page(**settings)
        contexts.append(page.context)
        page.goto(f"{app_url}/?__theme={theme}")
        page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
        page.get_by_role("tab", name="Train", exact=True).click()
        page.wait_for_selector(".maml-training[data-ready=yes]")
        return page

    yield open_page
    for context in contexts:
        profiles.take_back(context)


@pytest.mark.parametrize(
    ("settings", "opened"), [(PHONE, "light"), (LAPTOP, "dark")], ids=["phone", "laptop"]
)
def test_texts_stand_out_targets_are_large_and_the_run_controls_stay_in_sight(
    open_page: Any, settings: dict[str, Any], opened: str
) -> None:
    page = open_page(opened, **settings)
    start = page.get_by_role("button", name="Start training")
    sideways = {"width": settings["viewport"]["width"], "height": 390}
    for size in (sideways, settings["viewport"]):
        page.set_viewport_size(size)
        page.evaluate("scrollTo(0, 0)")
        lowest = size["height"] - 44
        assert 0 <= start.bounding_box()["y"] <= lowest, f"before anything is scrolled, {size}"
    page.get_by_role("button", name="Length, network, seed").click()
    page.get_by_label("Seed", exact=True).scroll_into_view_if_needed()
    assert 0 <= start.bounding_box()["y"] <= lowest
    for group in ("Inner and outer loop", "Push to the Hugging Face Hub"):
        page.get_by_role("button", name=group).click()
    page.get_by_label("Access token").wait_for()
    for dark in (opened == "dark", opened != "dark"):
        page.evaluate(DARK, dark)
        page.wait_for_function(STILL)
        assert page.evaluate(CONTRAST) == [], dark
        assert page.evaluate(TARGETS) == [], dark


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


def test_a_term_opens_where_it_stands_with_its_line_of_code(open_page: Any) -> None:
    page = open_page(**LAPTOP)
    term = page.locator(".maml-terms [data-term=support]")
    term.focus()
    page.keyboard.press("Enter")
    text = page.get_by_role("dialog", name="Support")
    assert "inner loop adapts to these alone" in text.inner_text()
    assert abs(text.bounding_box()["y"] - term.bounding_box()["y"]) < 200
    address = text.get_by_role("link").evaluate("(link) => link.href")
    source = page.request.get(address.partition("#")[0]).text()
    assert text.locator("code").inner_text() in source
    page.keyboard.press("Escape")
    text.wait_for(state="hidden")
    assert term.evaluate("(node) => node === document.activeElement")
