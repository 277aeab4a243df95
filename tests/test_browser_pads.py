"""Drawing in a real Chromium, by mouse, finger, pen and keyboard, against the real app."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from page import (
    CROSS,
    CROSS_AGAIN,
    CUP,
    CUP_AGAIN,
    FRAMES,
    HAT,
    MakeVisitor,
    Visitor,
    real_people,
    teach_cross_and_cup,
)


def test_two_symbols_are_drawn_and_a_third_drawing_is_named(visitor: Visitor) -> None:
    assert "Draw two symbols" in visitor.answer()
    teach_cross_and_cup(visitor)
    visitor.draw("the new drawing", CUP_AGAIN)
    text = visitor.wait_for_answer("Symbol B")
    assert re.search(r"\d %", text)
    visitor.press("Clear")
    assert "%" not in visitor.answer()
    visitor.draw("the new drawing", CROSS_AGAIN)
    visitor.wait_for_answer("Symbol A")


def test_an_empty_pads_invitation_goes_as_soon_as_the_pen_comes_down(visitors: MakeVisitor) -> None:
    visitor = visitors()
    pad, invitation = visitor.pad("Symbol A"), visitor.page.get_by_text("Draw here").first
    box = pad.bounding_box()
    assert invitation.is_visible()
    visitor.page.mouse.move(box["x"] + 30, box["y"] + 30)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + 90, box["y"] + 90)
    assert not invitation.is_visible(), "before the stroke has ended"
    visitor.page.mouse.up()
    visitor.press("Undo")
    invitation.wait_for()


ROOM = """() => {
    const root = document.querySelector('.maml-sketchpad');
    const high = (one) => [one.offsetTop, one.offsetHeight];
    return [root.querySelector('.layout').offsetTop,
        ...[...root.querySelectorAll('.panel:is(.ask, .adapt, .teach)')]
            .map((one) => one.offsetHeight),
        ...[...root.querySelectorAll('.card, .ask .pad-frame')].map(high)]; }"""
"""What decides where the pads lie, whether the page is scrolled or not."""


@pytest.mark.parametrize("widths", [(390, 320), (1280,)], ids=["phone", "desk"])
def test_nothing_moves_under_the_pen(visitors: MakeVisitor, widths: tuple[int, ...]) -> None:
    visitor = visitors(touch=len(widths) > 1)

    def at_each_width(look: Any) -> list[Any]:
        seen = []
        for width in widths:
            visitor.page.set_viewport_size({"width": width, "height": 800})
            seen.append(look())
        return seen

    def rooms() -> list[Any]:
        return at_each_width(lambda: visitor.page.evaluate(ROOM))

    room = rooms()
    rows = visitor.page.locator(".ask .row")
    for pad, strokes in (
        ("Symbol A", CROSS[:1]),
        ("Symbol A", CROSS[1:]),
        ("Symbol B", CUP),
        ("the new drawing", CUP_AGAIN),
    ):
        visitor.draw(pad, strokes)
        assert rooms() == room, pad
    visitor.wait_for_answer("Symbol B")
    assert rooms() == room and rows.count() == 3
    visitor.press("Clear")
    assert rooms() == room
    field = visitor.page.get_by_label("Name of Symbol B")
    field.fill("A cup that is never empty " * 10)
    field.press("Enter")
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.wait_for_answer("A cup")
    assert rooms() == room
    visitor.press("Add symbol")  # moves the pads, but no pen is at work
    visitor.press("Remove Symbol B")
    message = visitor.page.get_by_text("Symbol B removed")
    message.wait_for()
    for box in at_each_width(message.bounding_box):  # seen wherever the page is scrolled
        assert 0 < box["y"] < box["y"] + box["height"] <= 800
    assert rooms() == room
    visitor.draw("Symbol A", CROSS)  # and the message is gone
    assert rooms() == room


def swipe(visitor: Visitor, name: str, by: int) -> None:
    """Move a finger upwards over a pad, as one who scrolls does; the page follows."""
    top = visitor.page.evaluate("scrollY")
    box = visitor.pad(name).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9
    visitor._touch("touchStart", (x, y))
    for k in range(1, 13):
        visitor._touch("touchMove", (x, y - by * k / 12))
        visitor.page.evaluate(FRAMES)
    visitor._touch("touchEnd", None)
    visitor.page.wait_for_function("least => scrollY > least", arg=top + by / 2)


def test_a_swipe_over_a_taught_pad_scrolls_and_draws_nothing(visitors: MakeVisitor) -> None:
    visitor = visitors(touch=True)
    pad = visitor.pad("Symbol A")
    visitor.draw("Symbol A", CROSS[:1])
    assert pad.get_attribute("data-pad") == "awake"
    visitor.draw("Symbol A", CROSS[1:])  # strokes in a row are natural
    assert len(visitor.kept()["symbols"][0]["pad"]) == 2
    visitor.draw("Symbol B", CUP)  # another pad's turn
    assert pad.get_attribute("data-pad") == "resting"
    before = visitor.kept()
    swipe(visitor, "Symbol A", 120)
    assert visitor.kept() == before
    visitor.draw("Symbol A", [[(0.5, 0.5)]])  # a tap wakes it and draws nothing
    assert pad.get_attribute("data-pad") == "awake" and visitor.kept() == before
    visitor.show_for(rest=1)
    visitor.draw("Symbol A", CROSS_AGAIN[:1])
    assert len(visitor.kept()["symbols"][0]["pad"]) == 3
    visitor.page.wait_for_selector("[data-symbol='1'] canvas[data-pad=resting]")  # by itself
    visitor.press("Clear Symbol A")
    visitor.draw("Symbol A", CROSS[:1])  # an empty pad draws at once
    assert len(visitor.kept()["symbols"][0]["pad"]) == 1


def test_a_mouse_always_draws_and_every_stroke_arrives(visitors: MakeVisitor) -> None:
    visitor = visitors()
    teach_cross_and_cup(visitor)
    # The answer follows the pen before the stroke ends.
    pad = visitor.pad("the new drawing")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    mouse = visitor.page.mouse
    mouse.move(box["x"] + 20, box["y"] + 20)
    mouse.down()
    for k in range(12):
        mouse.move(box["x"] + 20 + 10 * k, box["y"] + 20 + 10 * k)
    visitor.wait_for_answer("")  # while the button is still down
    assert visitor.kept()["query"] == []
    mouse.up()
    assert len(visitor.kept()["query"]) == 1
    # A scribbler's strokes all arrive, and the last answer wins.
    visitor.press("Clear")
    for k in range(12):
        visitor.draw("the new drawing", [[(0.1 + 0.05 * k, 0.1), (0.2 + 0.05 * k, 0.9)]])
    assert len(visitor.kept()["query"]) == 12
    visitor.wait_until_answered()
    visitor.wait_for_answer("")
    # A pad whose turn is over rests from fingers only.
    visitor.draw("Symbol A", CUP)
    assert len(visitor.kept()["symbols"][0]["pad"]) == 3


def test_taps_leave_dots_strokes_end_at_the_edge_and_corners_stay_corners(
    visitor: Visitor,
) -> None:
    visitor.draw("Symbol A", [[(0.5, 0.5)]])
    assert visitor.kept()["symbols"][0]["pad"] == [[[500, 500]]]
    # Out on the right, and back in further down, in one movement.
    visitor.draw("Symbol B", [[(0.5, 0.2), (1.3, 0.2), (1.3, 0.8), (0.5, 0.8)]])
    first, second = visitor.kept()["symbols"][1]["pad"]
    assert first[0] == [500, 200] and first[-1] == [1000, 200]
    assert second[0] == [1000, 800] and second[-1] == [500, 800]
    visitor.press("Clear Symbol A")
    visitor.draw("Symbol A", HAT[:1])
    assert visitor.kept()["symbols"][0]["pad"] == [[[150, 800], [500, 200], [850, 800]]]
    inked = """pad => { const side = pad.width, context = pad.getContext('2d');
        return [[150, 800], [500, 200], [325, 500], [500, 400]].map(([x, y]) =>
            context.getImageData(x * side / 1000, y * side / 1000, 1, 1).data[3] > 0); }"""
    assert visitor.pad("Symbol A").evaluate(inked) == [True, True, True, False]


def test_once_a_pen_was_seen_palms_are_ignored(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.page.evaluate(
        """() => {
        const pad = document.querySelector('canvas.pad');
        pad.setPointerCapture = () => {};
        window.point = (kind, type, id, share) => {
            const box = pad.getBoundingClientRect();
            pad.dispatchEvent(new PointerEvent(kind, {pointerType: type, pointerId: id,
                bubbles: true, clientX: box.left + share * box.width,
                clientY: box.top + share * box.height}));
        }; }"""
    )

    def point(*what: Any) -> None:
        visitor.page.evaluate("what => window.point(...what)", list(what))

    pad = visitor.page.locator("canvas.pad").first.get_attribute("aria-label")
    place = {"Symbol A": 0, "the new drawing": None}[pad.removeprefix("Drawing pad for ")]

    def strokes() -> int:
        kept = visitor.kept()
        return len(kept["query"] if place is None else kept["symbols"][place]["pad"])

    point("pointerdown", "touch", 1, 0.9)  # a palm first
    point("pointermove", "touch", 1, 0.8)
    point("pointerdown", "pen", 2, 0.1)
    point("pointermove", "pen", 2, 0.3)
    point("pointermove", "touch", 1, 0.7)
    point("pointerup", "touch", 1, 0.7)
    point("pointerup", "pen", 2, 0.3)
    assert strokes() == 1
    point("pointerdown", "touch", 3, 0.5)
    point("pointerup", "touch", 3, 0.5)
    assert strokes() == 1
    point("pointerdown", "pen", 4, 0.5)
    point("pointerup", "pen", 4, 0.5)
    assert strokes() == 2


def press_keys(visitor: Visitor, *keys: str) -> None:
    """Press keys; "8 ArrowDown" presses one eight times."""
    for key in keys:
        times, _, name = key.rpartition(" ")
        for _ in range(int(times or 1)):
            visitor.page.keyboard.press(name)


def tab_to(visitor: Visitor, label: str) -> None:
    for _ in range(80):
        if visitor.page.evaluate("document.activeElement.getAttribute('aria-label')") == label:
            return
        visitor.page.keyboard.press("Tab")
    raise AssertionError(f"no way leads to {label}")


def test_a_keyboard_alone_teaches_and_asks(visitors: MakeVisitor) -> None:
    visitor = visitors()
    tab_to(visitor, "Drawing pad for Symbol A")
    status = visitor.page.locator(".dock .status")
    assert "Arrow keys move the pen" in status.inner_text()
    press_keys(visitor, "10 ArrowLeft", "Space", "20 ArrowRight")
    assert "Pen down" in status.inner_text()
    press_keys(visitor, "Space")
    assert visitor.kept()["symbols"][0]["pad"] == [[[300, 500], [700, 500]]]  # 2 % a step
    press_keys(visitor, "Space", "3 ArrowUp", "Control+z", "Space", "40 ArrowDown", "Space")
    # The unfinished stroke was taken back; the next one ends at the edge.
    assert visitor.kept()["symbols"][0]["pad"][1:] == [[[700, 440], [700, 1000]]]
    press_keys(visitor, "Control+z")
    assert len(visitor.kept()["symbols"][0]["pad"]) == 1
    tab_to(visitor, "Drawing pad for Symbol B")
    press_keys(visitor, "10 ArrowUp", "Space", "20 ArrowDown", "Tab")  # leaving lifts the pen
    assert visitor.kept()["symbols"][1]["pad"] == [[[500, 300], [500, 700]]]
    tab_to(visitor, "Drawing pad for the new drawing")
    press_keys(visitor, "12 ArrowUp", "Space", "22 ArrowDown")
    visitor.wait_for_answer("Symbol B")  # while the pen is still down
    press_keys(visitor, "Control+z")
    visitor.page.wait_for_function("!document.querySelector('#answer').textContent.match('%')")
    press_keys(visitor, "22 ArrowUp", "Space", "22 ArrowDown")
    assert visitor.kept()["query"] == []
    press_keys(visitor, "Space")
    assert visitor.kept()["query"] == [[[500, 260], [500, 700]]]
    visitor.wait_for_answer("Symbol B")


def test_real_peoples_pens_are_understood(visitors: MakeVisitor, omniglot_dir: Path) -> None:
    people = real_people(omniglot_dir)
    visitor = visitors()
    for letter, character in zip("AB", (people[0], people[5]), strict=True):
        visitor.draw(f"Symbol {letter}", character[0], between=1)
        visitor.press(f"Another example of Symbol {letter}")
        visitor.draw(f"Symbol {letter}", character[1], between=1)
    for letter, character in zip("AB", (people[0], people[5]), strict=True):
        visitor.draw("the new drawing", character[4], between=1)
        visitor.wait_for_answer(f"Symbol {letter}")
        visitor.press("Clear")
