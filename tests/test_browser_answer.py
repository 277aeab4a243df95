"""Asking in a real Chromium against the real app: the answer, its bars, curves and comparisons."""

from __future__ import annotations

import re

import pytest
from page import (
    CROSS,
    CROSS_AGAIN,
    CUP,
    CUP_AGAIN,
    FRAMES,
    HAT,
    PATIENCE_MS,
    MakeVisitor,
    Visitor,
    teach_cross_and_cup,
)

SHEET = """() => {
    const box = (one) => document.querySelector(one).getBoundingClientRect();
    const [answer, pad] = [box('#answer'), box('.ask canvas.pad')];
    const rows = [...document.querySelectorAll('.ask .row')]
        .map((one) => one.getBoundingClientRect());
    const low = box('.dock').top + 1;
    const seen = [answer, pad, ...rows].every((one) => one.top >= 0 && one.bottom <= low);
    return seen && [answer.bottom <= pad.top + 1, answer.left >= pad.right]; }"""
"""Once all of the sheet is seen: whether the answer is above the pad, or beside it."""

PHONES = ((390, 844), (844, 390), (360, 780))


def test_a_phone_teaches_first_and_asks_in_a_sheet(visitors: MakeVisitor) -> None:
    visitor = visitors(touch=True)
    page = visitor.page
    assert visitor.button("Ask").is_disabled()
    for width, height in PHONES:
        page.set_viewport_size({"width": width, "height": height})
        teach, ask = (page.locator(f".panel.{one}").bounding_box()["y"] for one in ("teach", "ask"))
        assert teach < ask, (width, height)
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    for width, height in PHONES:
        page.set_viewport_size({"width": width, "height": height})
        for scrolled in (0, 10_000):
            page.evaluate(f"scrollTo(0, {scrolled})")
            visitor.press("Ask")
            above, beside = page.wait_for_function(SHEET).json_value()
            assert above or beside, (width, height, scrolled)
            assert above == (height > width)
            visitor.press("Close Ask")
            assert not page.evaluate("document.querySelector('.asking')")
        visitor.press("Ask")
        visitor.press("Clear")
        visitor.draw("the new drawing", HAT)
        assert len(visitor.kept()["query"]) == 2
        visitor.press("Ask")  # closes it too
        assert not page.evaluate("document.querySelector('.asking')")
        visitor.wait_for_answer("")


def test_without_a_server_the_drawing_waits_and_is_answered_later(visitors: MakeVisitor) -> None:
    visitor = visitors()
    teach_cross_and_cup(visitor)
    visitor.page.context.set_offline(True)
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.page.wait_for_function(
        "document.querySelector('#answer').textContent.startsWith('No connection')"
    )
    assert len(visitor.kept()["query"]) == 1
    visitor.page.context.set_offline(False)
    visitor.wait_for_answer("Symbol B")


def test_one_click_and_a_newcomer_sees_an_answer_and_what_the_network_sees(
    visitors: MakeVisitor,
) -> None:
    visitor = visitors(touch=True)
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    visitor.page.wait_for_function(
        "document.querySelectorAll('.curves svg[role=img]').length === 3"
    )
    visitor.page.wait_for_function(
        "[...document.querySelectorAll('canvas.ink')].every((one) => one.dataset.seen === 'yes')"
    )
    lit = visitor.page.locator("canvas.ink").evaluate_all(
        """all => all.map((one) => one.getContext('2d').getImageData(0, 0, 28, 28).data
        .filter((value, i) => i % 4 === 0 && value > 127).length)"""
    )
    assert len(lit) == 16 and all(20 < count < 400 for count in lit)


def test_the_slider_chooses_the_steps_and_asks_again(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    slider = visitor.page.get_by_role("slider", name="Gradient steps")
    slider.focus()
    slider.press("Home")  # no step: no idea
    visitor.page.wait_for_function("document.querySelector('#answer').textContent.match(/20 ?%/)")
    assert "every symbol is as likely" in visitor.answer()
    assert visitor.page.locator(".row.winner").count() == 0
    play = visitor.button("Play adaptation")
    play.and_(visitor.page.locator(":disabled")).wait_for()  # a frame after the answer
    slider.press("End")
    visitor.wait_for_answer("Elk")
    assert visitor.kept()["steps"] == 20
    play.and_(visitor.page.locator(":enabled")).wait_for()
    labels = [one.get_attribute("aria-label") for one in visitor.page.locator(".chart").all()]
    assert all("20 steps" in str(label) for label in labels)


STANDING = """() => [
    [...document.querySelectorAll('.rows .fill')].map((fill) =>
        Number(fill.style.transform.slice(7, -1))),
    Number(document.querySelector('.map circle')?.getAttribute('cx') ?? 0),
    Boolean(document.querySelector('.replaying'))]"""
"""The bars, where the map's first dot is, and whether a replay is under way."""

CHANCE = pytest.approx([0.2] * 5, abs=0.02)


def test_the_bars_move_from_chance_to_the_answer_as_it_adapts(visitors: MakeVisitor) -> None:
    visitor = visitors()
    page = visitor.page
    times = page.evaluate("mamlTimes")
    assert 300 <= times["replay"] < 900 and times["slowReplay"] > 2 * times["replay"]
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    page.wait_for_selector(".map circle")
    # With all the time there is, the replay stands where it begins.
    visitor.show_for(replay=1000 * PATIENCE_MS)
    visitor.draw("Wealth", [[(0.2, 0.9)]])
    page.wait_for_selector(".replaying")
    page.evaluate(FRAMES)
    bars, middle, _ = page.evaluate(STANDING)
    assert bars == CHANCE
    # On request it is played again, at a pace of its own; here it takes no time.
    visitor.show_for(slowReplay=1)
    visitor.press("Play adaptation")
    page.wait_for_selector(".replaying", state="detached")
    known, place, _ = page.evaluate(STANDING)
    assert known[4] > 0.9 and place != pytest.approx(middle, abs=3)
    visitor.show_for(slowReplay=1000 * PATIENCE_MS)
    visitor.press("Play adaptation")
    assert page.evaluate(STANDING)[0] == CHANCE
    # On its way it passes what lies between.
    visitor.show_for(slowReplay=PATIENCE_MS // 3)
    visitor.press("Play adaptation")
    page.wait_for_function(
        "() => document.querySelectorAll('.rows .fill')[4].style.transform.slice(7, -1) > 0.25"
    )
    bars, _, replaying = page.evaluate(STANDING)
    assert replaying and 0.25 < bars[4] < known[4]
    # Who wants no motion sees the answer at once.
    page.emulate_media(reduced_motion="reduce")
    visitor.press("Play adaptation")
    assert page.evaluate(STANDING) == [known, place, False]
    page.emulate_media(reduced_motion="no-preference")
    # Another stroke of the question changes nothing that was learnt: nothing is replayed.
    visitor.draw("the new drawing", [[(0.5, 0.5), (0.5, 0.6)]])
    visitor.wait_until_answered()
    assert not page.evaluate(STANDING)[2]


STARTS = {
    "en": ["Untrained", "Two minutes", "Shipped"],
    "zh": ["未训练", "两分钟", "随附网络"],
}


def test_starting_points_answer_side_by_side(visitors: MakeVisitor) -> None:
    visitor = visitors()
    page = visitor.page
    toggle = page.get_by_role("switch", name="Compare starting points")
    toggle.focus()
    toggle.press("Space")  # a keyboard turns it on
    assert toggle.get_attribute("aria-checked") == "true"
    charts = page.locator(".compare .chart[role=img]")
    assert charts.count() == 0  # nothing was asked yet
    visitor.press("Load example set")
    shown = "document.querySelector('.compare').dataset.compared"
    page.wait_for_function(shown)
    told = page.locator(".start")

    def compared(language: str) -> None:
        names = told.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        assert names == STARTS[language]
        assert all(len(one) > 8 for one in told.locator(".note").all_inner_texts())
        answers = told.locator(".start-answer").all_inner_texts()
        assert all(re.search(r"\d ?%", one) for one in answers)
        # What is shown of the shipped weights is the page's own answer.
        assert answers[2].split() == page.locator("#answer").inner_text().split()
        described = told.locator(".chart").evaluate_all(
            "all => all.map((one) => one.getAttribute('aria-label'))"
        )
        assert len(described) == 6 and all("5" in one for one in described)
        assert len(set(described)) == 6  # from each start another curve

    compared("en")
    toggle.click()
    assert toggle.get_attribute("aria-checked") == "false" and told.count() == 0
    toggle.click()  # and on again: it asks anew
    page.wait_for_function(shown)
    compared("en")
    steps = page.locator(".slider input")
    other = f"seen => {shown} !== seen"
    seen = page.evaluate(shown)
    steps.fill("0")
    page.wait_for_function(other, arg=seen)
    assert told.locator(".start-winner").all_inner_texts() == ["Not adapted yet"] * 3
    # The same in Chinese, where it stays on.
    visitor.press("切换到中文")
    toggle = page.get_by_role("switch", name="对比不同起点")
    assert toggle.get_attribute("aria-checked") == "true"
    page.wait_for_function(shown)
    assert told.locator(".start-winner").all_inner_texts() == ["尚未适应"] * 3
    seen = page.evaluate(shown)
    steps.fill("5")
    page.wait_for_function(other, arg=seen)
    compared("zh")
    visitor.press("清除")  # no question, no comparison
    page.wait_for_function(f"!{shown}")
    assert charts.count() == 0
    toggle.click()
    assert toggle.get_attribute("aria-checked") == "false" and told.count() == 0


def test_a_wrong_answer_becomes_an_example_in_one_click(visitors: MakeVisitor) -> None:
    visitor = visitors()
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


def test_mix_ups_are_named_and_their_drawings_shown(visitors: MakeVisitor) -> None:
    visitor = visitors(touch=True)
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
    assert visitor.page.get_by_text(
        "Another drawing would help Symbol A most: it has 2"
    ).is_visible()
    pair = visitor.page.locator(".pair")
    assert "Symbol A and Symbol B were confused" in pair.inner_text()
    shown = visitor.page.locator(".pair-drawings")
    assert not shown.is_visible()
    pair.tap()
    assert shown.locator("canvas").count() == 5
    assert shown.get_by_label("Drawing 3 of Symbol B").is_visible()


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
    assert sum(shown_shares(visitor, "None of these")) == pytest.approx(1, abs=1e-3)


def shown_shares(visitor: Visitor, none: str) -> list[float]:
    """The lengths of the answer's bars in their order, "none of these" last, once they stand."""
    visitor.page.wait_for_function("!document.querySelector('.ask .replaying')")
    rows = visitor.page.locator(".ask .distribution .row")
    assert visitor.page.locator(".ask .mark").count() == 0
    assert rows.last.locator(".row-name").inner_text() == none
    found: list[float] = rows.locator(".fill").evaluate_all(
        "fills => fills.map((fill) => Number(/scaleX\\((.*)\\)/.exec(fill.style.transform)[1]))"
    )
    told = rows.get_by_role("meter").evaluate_all(
        "bars => bars.map((bar) => Number(bar.getAttribute('aria-valuenow')))"
    )
    assert told == [pytest.approx(100 * share, abs=0.51) for share in found]
    return found


def test_all_bars_make_up_one_whole(visitors: MakeVisitor) -> None:
    visitor = visitors(locale="en-US")
    page = visitor.page
    visitor.press("Load example set")
    page.locator(".ask .row.winner").wait_for()
    for none, label in (
        ("None of these", "How likely each answer is"),
        ("都不是", "各答案的可能性"),
    ):
        if none == "都不是":
            page.locator(".slider input").fill("5")
            visitor.press("切换到中文")
            page.locator(".ask .row.winner").wait_for()
        assert page.get_by_role("group", name=label).get_by_role("meter").count() == 6
        winner = page.locator("#answer .winner-name").inner_text()
        shares = shown_shares(visitor, none)
        names = page.locator(".ask .row-name").all_inner_texts()
        assert len(shares) == len(names) == 6
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert names[shares.index(max(shares))] == winner != none
        # Before the first step the symbols share what "none of these" leaves them.
        page.locator(".slider input").fill("0")
        page.locator("#answer.quiet").wait_for()
        shares = shown_shares(visitor, none)
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert shares[:5] == [pytest.approx(shares[0], abs=1e-3)] * 5
