"""Teaching in a real Chromium against the real app: the first minute, cards, examples, pictures."""

from __future__ import annotations

from pathlib import Path

from page import (
    CROSS,
    CROSS_AGAIN,
    CUP,
    CUP_AGAIN,
    DESK,
    PATIENCE_MS,
    PICTURE_FILE,
    MakeVisitor,
    Visitor,
    drop_picture,
    teach_cross_and_cup,
)


def hint(visitor: Visitor) -> str:
    shown = visitor.page.locator(".first-hint:visible")
    return str(shown.inner_text()) if shown.count() else ""


def test_a_newcomer_is_led_by_one_hint_at_a_time(visitors: MakeVisitor) -> None:
    visitor = visitors(touch=True)
    assert hint(visitor).startswith("1 of 3") and visitor.page.locator(".hinted").count() == 1
    visitor.draw("Symbol A", CROSS)
    assert hint(visitor).startswith("2 of 3")
    assert visitor.page.locator(".hinted").get_attribute("aria-label") == "Symbol B"
    visitor.draw("Symbol B", CUP)
    assert hint(visitor).startswith("3 of 3")
    assert visitor.page.locator(".hinted").get_attribute("aria-label") == "Ask"
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.wait_for_answer("Symbol B")
    assert hint(visitor) == "" and visitor.page.locator(".hinted").count() == 0
    visitor.press("Clear all")
    visitor.reload()
    assert hint(visitor) == ""  # once done, never again


def test_hints_can_be_sent_away(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.press("Dismiss hint")
    assert hint(visitor) == ""
    visitor.draw("Symbol A", CROSS)
    assert hint(visitor) == "" and not visitor.button("Dismiss hint").is_visible()


def test_messages_fade_and_after_an_example_set_comes_a_drawing_of_ones_own(
    visitors: MakeVisitor,
) -> None:
    visitor = visitors(touch=True)
    page = visitor.page
    phone = page.viewport_size
    visitor.press("Load example set")
    message = page.get_by_text("Runes loaded.")
    message.wait_for()
    for size in (DESK["viewport"], phone):
        page.set_viewport_size(size)
        shown = message.evaluate(
            """one => { const box = one.getBoundingClientRect();
            const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
            return [document.elementsFromPoint(x, y)[0] === one,
                one.closest('.dock').getBoundingClientRect().bottom]; }"""
        )
        assert shown == [True, size["height"]], "the message covers the page or is covered"
    visitor.show_for(message=1)
    visitor.press("Load example set")
    page.get_by_text("Now draw one of these yourself").wait_for()  # the message has gone by itself
    assert not message.is_visible()
    visitor.wait_for_answer("Elk")
    visitor.show_for(message=PATIENCE_MS)
    visitor.draw("the new drawing", CROSS[:1])
    assert len(visitor.kept()["query"]) == 1  # the set's own question made room
    visitor.draw("the new drawing", CROSS[1:])
    assert len(visitor.kept()["query"]) == 2
    visitor.wait_for_answer("Gift")
    assert hint(visitor) == ""
    visitor.press("Undo")
    visitor.press("Undo")
    visitor.wait_for_answer("Elk")
    drop_picture(visitor, 0, lines=False)
    page.get_by_text("no line can be seen in the picture").wait_for()
    visitor.press("Undo")  # and what the message speaks of is over
    page.wait_for_function("!document.querySelector('.status').textContent")


def test_cards_are_added_named_removed_and_moved(visitors: MakeVisitor) -> None:
    visitor = visitors(touch=True)
    visitor.press("Add symbol")
    name = visitor.page.get_by_label("Name of Symbol C")
    name.fill("Moon")
    name.press("Enter")
    visitor.press("Move Moon earlier")
    visitor.press("Remove Symbol A")
    assert [one["name"] for one in visitor.kept()["symbols"]] == ["Moon", "Symbol B"]
    visitor.press("Undo")
    visitor.press("Undo")
    names = [one["name"] for one in visitor.kept()["symbols"]]
    assert names == ["Symbol A", "Symbol B", "Moon"]
    visitor.press("Redo")
    visitor.press("Redo")
    assert [one["name"] for one in visitor.kept()["symbols"]] == ["Moon", "Symbol B"]


def test_another_example_goes_among_the_thumbnails_and_can_be_removed(
    visitors: MakeVisitor,
) -> None:
    visitor = visitors(touch=True)
    visitor.draw("Symbol A", CROSS)
    visitor.press("Another example of Symbol A")
    visitor.draw("Symbol A", CROSS_AGAIN)
    visitor.press("Another example of Symbol A")
    kept = visitor.kept()["symbols"][0]
    assert len(kept["examples"]) == 2 and kept["pad"] == []
    remove = visitor.button("Remove example 1 of Symbol A")
    visitor.press("Example 1 of Symbol A")
    assert visitor.page.get_by_role("dialog").is_visible()
    assert visitor.kept()["symbols"][0]["examples"] == kept["examples"]
    visitor.press("Close")
    assert not remove.is_visible()
    visitor.press("Example 1 of Symbol A")
    assert remove.inner_text() == "Remove example 1 of Symbol A"
    visitor.press("Remove example 1 of Symbol A")
    assert not visitor.page.get_by_role("dialog").is_visible()
    after = visitor.kept()["symbols"][0]["examples"]
    assert after == kept["examples"][1:]
    visitor.press("Undo")
    assert visitor.kept()["symbols"][0]["examples"] == kept["examples"]


def test_undo_brings_back_everything_even_a_cleared_page(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.page.wait_for_selector(".maml-sketchpad[data-answered]")
    assert visitor.kept()["steps"] > 0, "as many as the first answer says"
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    before = visitor.kept()
    visitor.press("Clear all")
    assert [one["pad"] for one in visitor.kept()["symbols"]] == [[], []]
    visitor.press("Undo")
    assert visitor.kept() == before
    visitor.wait_for_answer("Elk")
    visitor.press("Remove Elk")
    visitor.page.wait_for_function(
        "!document.querySelector('#answer').textContent.startsWith('Elk')"
    )
    visitor.page.keyboard.press("Control+z")
    visitor.wait_for_answer("Elk")
    visitor.page.keyboard.press("Control+Shift+z")
    assert len(visitor.kept()["symbols"]) == len(before["symbols"]) - 1


def test_pictures_are_examples_too(visitors: MakeVisitor, tmp_path: Path) -> None:
    visitor = visitors()
    from PIL import Image, ImageDraw

    for name, strokes in (("cross", CROSS), ("cup", CUP)):
        image = Image.new("RGB", (900, 700), "white")
        pen = ImageDraw.Draw(image)
        for stroke in strokes:
            pen.line([(x * 900, y * 700) for x, y in stroke], fill="navy", width=30)
        image.save(tmp_path / f"{name}.png")
        image.save(tmp_path / f"{name}.jpg")
    add = "input[type=file][aria-label='Add a picture to {}']"
    visitor.page.set_input_files(
        add.format("Symbol A"), [tmp_path / "cross.png", tmp_path / "cross.jpg"]
    )
    visitor.page.set_input_files(add.format("Symbol B"), tmp_path / "cup.png")
    visitor.page.wait_for_function("document.querySelectorAll('.tile').length === 3")
    visitor.draw("the new drawing", CUP_AGAIN)
    visitor.wait_for_answer("Symbol B")
    (tmp_path / "no.png").write_bytes(b"not a picture")
    visitor.page.set_input_files(add.format("Symbol B"), tmp_path / "no.png")
    visitor.page.get_by_text("The picture could not be read: no.png").wait_for()


def test_pictures_are_dropped_and_pasted(visitors: MakeVisitor) -> None:
    visitor = visitors()
    page = visitor.page
    assert drop_picture(visitor, 1)
    page.get_by_text("Picture added to Symbol B.").wait_for()
    kept = visitor.kept()["symbols"]
    assert kept[0]["examples"] == [] and "picture" in kept[1]["examples"][0]
    visitor.press("Undo")
    page.wait_for_function("document.querySelectorAll('.tile').length === 0")
    # What is pasted goes onto the card under the pointer.
    visitor.pad("Symbol B").hover()
    paste = (
        PICTURE_FILE
        + """().then((data) =>
        document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data})))"""
    )
    page.evaluate(paste)
    page.wait_for_function("document.querySelectorAll('.tile').length === 1")
    kept = visitor.kept()["symbols"]
    assert kept[0]["examples"] == [] and "picture" in kept[1]["examples"][0]
    assert not visitor.button("Take a photo to ask with").is_visible()  # a phone's button
    # On the pad of the question either one asks.
    teach_cross_and_cup(visitor)
    taught = visitor.kept()["symbols"]
    visitor.pad("the new drawing").hover()
    page.evaluate(paste)
    visitor.wait_for_answer("")
    assert "picture" in visitor.kept() and visitor.kept()["symbols"] == taught
    visitor.press("Clear")
    assert "picture" not in visitor.kept() and "%" not in visitor.answer()
    page.evaluate(
        f"""async () => {{
        const dataTransfer = await {PICTURE_FILE}();
        const event = new DragEvent('drop', {{dataTransfer, bubbles: true, cancelable: true}});
        document.querySelector('.ask canvas.pad').dispatchEvent(event); }}"""
    )
    visitor.wait_for_answer("")
    assert "picture" in visitor.kept() and visitor.kept()["symbols"] == taught


def test_a_picture_is_asked_about(visitors: MakeVisitor, tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    visitor = visitors(touch=True)
    page = visitor.page
    for name, strokes in (("cup", CUP_AGAIN), ("blank", [])):
        image = Image.new("RGB", (900, 700), "white")
        for stroke in strokes:
            line = [(x * 900, y * 700) for x, y in stroke]
            ImageDraw.Draw(image).line(line, fill="navy", width=30)
        image.save(tmp_path / f"{name}.png")
    teach_cross_and_cup(visitor)
    with page.expect_file_chooser() as chosen:
        visitor.press("Ask with a picture")
    chosen.value.set_files(tmp_path / "cup.png")
    visitor.wait_for_answer("Symbol B")
    assert page.get_by_role("img", name="The picture that is asked about").is_visible()
    assert visitor.kept()["picture"].startswith("data:image/png")
    visitor.press("This is a Symbol B")
    kept = visitor.kept()
    assert "picture" in kept["symbols"][1]["examples"][0] and "picture" not in kept
    visitor.press("Undo")
    visitor.reload()
    visitor.wait_for_answer("Symbol B")  # it is kept like a drawing
    visitor.draw("the new drawing", CROSS_AGAIN)  # and makes room for one
    visitor.wait_for_answer("Symbol A")
    assert "picture" not in visitor.kept()
    photo = visitor.button("Take a photo to ask with")
    assert photo.is_visible()
    camera = page.locator("input[aria-label='Take a photo to ask with']")
    assert camera.get_attribute("capture") == "environment"
    camera.set_input_files(tmp_path / "blank.png")
    page.get_by_text("cannot be asked about: no line can be seen in the picture").wait_for()
    camera.set_input_files(tmp_path / "cup.png")
    visitor.wait_for_answer("Symbol B")
