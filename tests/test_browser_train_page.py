"""How the Train tab looks, in a real Chromium: contrast, targets, order, what can be pressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
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


SMALL_TEXTS = """() => {
    const found = [];
    const texts = document.createTreeWalker(document.querySelector(".maml-training"),
        NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode.parentElement;
        if (!texts.currentNode.textContent.trim() || !node.checkVisibility()) continue;
        const scale = node.ownerSVGElement ? node.getScreenCTM().a : 1;
        const size = scale * parseFloat(getComputedStyle(node).fontSize);
        if (size < 18) found.push([texts.currentNode.textContent, size]);
    }
    return found;
}"""


def points(page: Any, line: str) -> list[tuple[float, float]]:
    """The points of a line in the chart of accuracies."""
    text = page.locator(f".accuracy-area .{line} polyline").first.get_attribute("points")
    pairs = (place.split(",") for place in (text or "").split())
    return [(float(x), float(y)) for x, y in pairs]


def fill(page: Any, **values: str) -> None:
    for label, value in values.items():
        field = page.get_by_label(label.replace("_", " "), exact=True)
        field.fill(value)
        field.press("Tab")


def in_state(page: Any, state: str) -> None:
    page.wait_for_selector(f".maml-training[data-state={state}]", timeout=240_000)


def test_a_lecture_hall_compares_two_algorithms_and_sees_every_curve(open_page: Any) -> None:
    """One story, since every training takes a while."""
    page = open_page(viewport={"width": 1920, "height": 1080})
    page.get_by_role("radio", name="Generated alphabets").check()
    page.get_by_label("Prototypes", exact=True).check()
    page.get_by_role("button", name="Length, network, seed").click()
    fill(page, Width="8", Iterations="90", Iterations_of_an_epoch="30", Test_tasks="10")
    page.evaluate("""() => {
        const caption = document.querySelector("#train-caption");
        window.captions = [];
        new MutationObserver(() => window.captions.push(caption.textContent))
            .observe(caption, { childList: true });
    }""")
    page.get_by_role("button", name="Start training", exact=True).click()
    page.get_by_text("then 1 more").wait_for(timeout=60_000)
    legend = page.locator(".maml-training .runs li")
    legend.filter(has_text="Run 2: See it learn, Prototypes").wait_for(timeout=240_000)
    legend.filter(has_text="Run 1: See it learn, ANIL").wait_for()
    in_state(page, "finished")
    page.wait_for_function("() => /starting point it learns/.test(window.captions.at(-1))")
    assert any("one step is enough" in text for text in page.evaluate("window.captions"))

    # Both test curves begin at the untrained network; the 20-way one lies below.
    five, twenty = points(page, "test"), points(page, "other")
    assert len(five) == len(twenty) == 4 and five[0][0] == twenty[0][0] == 40
    assert all(below[1] > above[1] for above, below in zip(five, twenty, strict=True))
    assert page.get_by_text("test tasks, 20-way 1-shot").is_visible()

    # Both runs start from the same network and see the same tests.
    assert points(page, "old.strong")[0] == five[0]
    page.get_by_role("button", name="Show run 1", exact=True).click()
    assert page.locator(".accuracy-area svg .run-0").count() == 0
    assert page.locator(".accuracy-area svg .run-1.test").count() == 1
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download figure as SVG", exact=True).click()
    figure = Path(taken.value.path()).read_text(encoding="utf-8")
    assert "Run 2: live (prototypes)" in figure and "Run 1:" not in figure
    page.get_by_role("button", name="Show run 1", exact=True).click()
    assert page.locator(".accuracy-area svg .run-0").count() == 3
    page.get_by_role("button", name="By seconds", exact=True).click()
    assert "Seconds at work" in page.locator(".accuracy-area svg").text_content()
    assert points(page, "test")[-1][0] < five[-1][0]

    # "Easier to adapt": untrained, moments, now; prototypes beside each.
    steps = page.locator(".steps-area svg")
    assert steps.locator(".untrained").count() == steps.locator(".now").count() == 2
    assert steps.locator(".moment").count() >= 6
    assert "prototypes" in steps.text_content()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy command", exact=True).click()
    page.locator(".maml-command").filter(has_text="--algorithm prototypes").wait_for()
    page.get_by_role("button", name="Copy link", exact=True).click()
    page.locator(".maml-command").filter(has_text="#train=recipe=live").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")

    # "Present": a long run, steered by keys.
    fill(page, **{"Iterations": "20000", "Pre-training episodes": "20"})
    page.get_by_role("button", name="Start training", exact=True).click()
    in_state(page, "training")
    page.get_by_role("button", name="Present", exact=True).click()
    page.locator(".accuracy-area svg .stage").wait_for(state="attached")
    # On which side of the line the name stands depends on how long the stage took.
    page.locator(".accuracy-area svg text").filter(has_text="pre-training").wait_for()
    page.locator(".maml-training .task .cell.good").first.wait_for()
    page.keyboard.press("Space")
    in_state(page, "paused")
    assert page.evaluate(SMALL_TEXTS) == []
    assert not page.locator(".maml-training .log").is_visible()
    page.keyboard.press("ArrowRight")
    in_state(page, "training")
    page.keyboard.press("Escape")
    page.wait_for_selector(".maml-training:not(.presenting)")
    page.get_by_role("button", name="Stop training", exact=True).click()
    in_state(page, "stopped")

    # The link fills in the settings elsewhere, and leaves the address.
    page.goto(link)
    page.reload()
    page.get_by_label("Prototypes", exact=True).and_(page.locator(":checked")).wait_for()
    assert page.get_by_label("ANIL", exact=True).is_checked()
    assert page.get_by_role("radio", name="Generated alphabets").is_checked()
    page.get_by_role("button", name="Length, network, seed").click()
    assert page.get_by_label("Iterations", exact=True).input_value() == "90"
    assert "#" not in page.url


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
