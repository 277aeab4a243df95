"""What leaves the page and comes back, in a real Chromium against the real app: files, links, the
endpoint for programs; and who sees what."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import subprocess
import sys
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from page import (
    CROSS,
    CROSS_AGAIN,
    CUP,
    CUP_AGAIN,
    MakeVisitor,
    Strokes,
    Visitor,
    drop_picture,
    new_profile,
    real_people,
    teach_cross_and_cup,
)
from PIL import Image, ImageDraw

from benchmarks.browser import ROOT


def test_a_set_goes_to_a_file_and_back(visitors: MakeVisitor, tmp_path: Path) -> None:
    visitor = visitors()
    visitor.press("Load example set")
    name = visitor.page.get_by_label("Name of Elk")
    name.fill("麋鹿 🦌 \u05d0")
    name.press("Enter")
    visitor.wait_for_answer("麋鹿 🦌 \u05d0")  # which also sets the number of steps
    before = visitor.kept()
    with visitor.page.expect_download() as started:
        visitor.press("Save set")
    started.value.save_as(tmp_path / "set.json")
    assert started.value.suggested_filename == "symbols.maml.json"
    visitor.press("Clear all")
    opener = "input[type=file][aria-label='Open set']"
    visitor.page.set_input_files(opener, tmp_path / "set.json")
    visitor.page.get_by_text("set.json opened").wait_for()
    assert visitor.kept() == before
    visitor.wait_for_answer("麋鹿 🦌 \u05d0")
    for content, reason in (
        ("hello", "is not JSON"),
        ('{"a": 1}', "not a set of symbols made by"),
        (json.dumps({**before, "version": 9}), "has version 9"),
        (json.dumps({**before, "query": [[[1, 5000]]]}), "has the point [1,5000]"),
    ):
        (tmp_path / "other.json").write_text(content)
        visitor.page.set_input_files(opener, tmp_path / "other.json")
        visitor.page.get_by_text(reason).wait_for()
        assert visitor.kept() == before


def real_set(people: list[Any]) -> str:
    """A saved set: five symbols with three drawings each, and a question about the first."""

    def drawing(strokes: Strokes) -> list[list[list[int]]]:
        return [[[round(1000 * x), round(1000 * y)] for x, y in stroke] for stroke in strokes]

    symbols = [
        {"name": f"Symbol {letter}", "examples": [{"strokes": drawing(one)} for one in some[:3]]}
        for letter, some in zip("ABCDE", people, strict=False)
    ]
    query = drawing(people[0][7])
    return json.dumps({"version": 1, "steps": 5, "symbols": symbols, "query": query})


def test_a_set_travels_in_a_link_that_no_server_sees(
    visitors: MakeVisitor, omniglot_dir: Path, tmp_path: Path
) -> None:
    import zxingcpp
    from PIL import Image

    (tmp_path / "set.json").write_text(real_set(real_people(omniglot_dir)))
    one, other = visitors(), visitors(touch=True)
    one.page.context.grant_permissions(["clipboard-write", "clipboard-read"])
    one.page.set_input_files("input[type=file][aria-label='Open set']", tmp_path / "set.json")
    one.wait_for_answer("Symbol A")
    one.press("Copy link")
    dialog = one.page.get_by_role("dialog", name="Link copied")
    link = dialog.get_by_label("Link").input_value()
    assert one.page.evaluate("navigator.clipboard.readText()") == link
    assert len(link) <= 8000 and link.startswith(f"{one.page.url}#set=")
    code = dialog.get_by_role("img", name="QR code of this set")
    code.screenshot(path=tmp_path / "code.png")
    one.page.set_viewport_size({"width": 844, "height": 390})  # a phone held sideways
    box = code.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 390
    (read,) = zxingcpp.read_barcodes(Image.open(tmp_path / "code.png"))
    assert read.text.startswith(f"{one.page.url}#set=") and len(read.text) <= 1400
    one.press("Close")

    asked: list[Any] = []
    other.page.on("request", lambda request: asked.append((request.url, request.post_data)))
    other.draw("Symbol A", CUP)
    before = other.kept()
    for address, choice in ((link, "Not now"), (read.text, "Open the set")):
        other.page.evaluate("address => { location.href = address; }", address)
        offered = other.page.get_by_role("dialog", name="A shared set")
        assert "Symbols: 5, drawings: 15." in offered.inner_text()
        assert other.kept() == before and "#set" in other.page.url
        other.press(choice)
        other.page.wait_for_url(lambda url: "#" not in url)
    other.wait_for_answer("Symbol A")
    assert [len(symbol["examples"]) for symbol in other.kept()["symbols"]] == [3] * 5
    other.page.goto("about:blank")
    other.page.goto(link)  # a page that opens with it
    other.press("Open the set")
    other.wait_for_answer("Symbol A")
    assert other.kept() == one.kept()
    assert "set=" not in json.dumps(asked)
    other.press("Undo")
    assert len(other.kept()["symbols"]) == 5


def test_what_fits_into_no_link_is_offered_as_a_file(visitors: MakeVisitor, tmp_path: Path) -> None:
    visitor = visitors()
    assert visitor.button("Copy link").is_disabled()
    opener = "input[type=file][aria-label='Open set']"
    chance = random.Random(1)
    scribbles = [[[chance.randint(0, 1000) for _ in "xy"] for _ in range(400)] for _ in range(20)]
    examples = [{"strokes": [scribble]} for scribble in scribbles]
    symbol = {"name": "Scribbles", "examples": examples}
    (tmp_path / "large.json").write_text(json.dumps({"version": 1, "symbols": [symbol]}))
    drop_picture(visitor, 0)
    visitor.press("Copy link")  # of a picture alone
    visitor.page.get_by_text("this set has none. Save it as a file instead.").wait_for()
    visitor.press("Close")
    visitor.draw("Symbol B", CUP)
    visitor.press("Copy link")
    visitor.page.get_by_text("Pictures left out: 1.").wait_for()
    visitor.press("Close")
    visitor.page.set_input_files(opener, tmp_path / "large.json")
    visitor.page.get_by_text("large.json opened").wait_for()
    visitor.press("Copy link")
    dialog = visitor.page.get_by_role("dialog", name="No link for this set")
    assert "and 8000 fit" in dialog.inner_text()
    with visitor.page.expect_download() as started:
        dialog.get_by_role("button", name="Save set").click()
    assert started.value.suggested_filename == "symbols.maml.json"


def test_many_pictures_are_read_one_question_after_another(
    visitors: MakeVisitor, tmp_path: Path
) -> None:
    """And all of them are on the map in the end."""
    visitor = visitors()
    symbols = []
    for name, across in (("Upright", False), ("Level", True)):
        examples = []
        for place in range(13):
            picture = Image.new("L", (40, 40), 255)
            ImageDraw.Draw(picture).line((8 + place, 5, 8 + place, 35), width=4)
            data = BytesIO()
            (picture.transpose(Image.Transpose.ROTATE_90) if across else picture).save(data, "PNG")
            code = base64.b64encode(data.getvalue()).decode()
            examples.append({"picture": "data:image/png;base64," + code})
        symbols.append({"name": name, "examples": examples})
    query = [[[500, 100], [500, 900]]]
    saved = {"version": 1, "steps": 5, "symbols": symbols, "query": query}
    (tmp_path / "many.json").write_text(json.dumps(saved))
    visitor.page.set_input_files("input[type=file][aria-label='Open set']", tmp_path / "many.json")
    visitor.wait_for_answer("Upright")
    visitor.page.wait_for_function("document.querySelectorAll('.map circle').length === 26 + 1")


def test_a_broken_link_is_refused_in_one_line(visitors: MakeVisitor) -> None:
    visitor = visitors()
    visitor.draw("Symbol A", CROSS)
    before = visitor.kept()
    for fragment in ("#set=", "#set=AAAA", "#set=" + "A" * 9000, "#set=%3Cimg%20src=x%3E"):
        visitor.page.evaluate("fragment => { location.hash = fragment; }", fragment)
        visitor.page.get_by_text("This link holds no set that can be read").wait_for()
        visitor.page.wait_for_url(lambda url: "#" not in url)
        assert visitor.page.get_by_role("dialog").count() == 0
        visitor.press("Undo")
        visitor.press("Redo")  # and the message is gone
        assert visitor.kept() == before


def test_the_adapted_network_is_downloaded_and_runs(visitors: MakeVisitor, tmp_path: Path) -> None:
    import zipfile

    from PIL import Image, ImageDraw

    visitor = visitors()
    visitor.press("Load example set")
    visitor.wait_for_answer("Elk")
    with visitor.page.expect_download() as started:
        visitor.press("Download network")
    started.value.save_as(tmp_path / "network.zip")
    with zipfile.ZipFile(tmp_path / "network.zip") as archive:
        archive.extractall(tmp_path)
    query = visitor.kept()["query"]
    image = Image.new("L", (1000, 1000), 255)
    for stroke in query:
        ImageDraw.Draw(image).line([tuple(point) for point in stroke], fill=0, width=25)
    image.save(tmp_path / "query.png")
    printed = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "query.png")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(printed)["name"] == "Elk"


def test_two_people_never_see_each_others_symbols(visitors: MakeVisitor) -> None:
    one, other = visitors(), visitors(touch=True)
    one.draw("Symbol A", CROSS)
    other.draw("Symbol A", CUP)
    one.draw("Symbol B", CUP)
    other.draw("Symbol B", CROSS)
    one.draw("the new drawing", CUP_AGAIN)
    other.draw("the new drawing", CUP_AGAIN)
    one.wait_for_answer("Symbol B")
    other.wait_for_answer("Symbol A")
    name = other.page.get_by_label("Name of Symbol A")
    name.fill("A secret")
    name.press("Enter")
    other.wait_for_answer("A secret")
    one.reload()
    one.wait_for_answer("Symbol B")
    assert "A secret" not in one.page.content()


HOSTILE = (
    "<img src=x onerror=window.hit=1>",
    "${window.hit=1}{{window.hit}}`",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "long " + "name" * 123,
)


def test_hostile_names_are_harmless_and_readable(visitors: MakeVisitor) -> None:
    visitor = visitors(touch=True)
    teach_cross_and_cup(visitor)
    visitor.draw("the new drawing", CUP_AGAIN)
    before = "Symbol B"
    for name in HOSTILE:
        visitor.wait_for_answer(before)
        field = visitor.page.get_by_label(f"Name of {before}", exact=True)
        field.fill(name)
        field.press("Enter")
        visitor.wait_for_answer(name)
        visitor.reload()
        visitor.wait_for_answer(name)
        assert visitor.kept()["symbols"][1]["name"] == name
        assert visitor.page.evaluate("window.hit") is None, name
        wide = "document.documentElement.scrollWidth - window.innerWidth"
        assert visitor.page.evaluate(wide) <= 0, name
        assert visitor.button(f"Remove {name}").is_visible(), name
        before = name


SYMBOLS = [
    {"name": "cross", "examples": [{"strokes": CROSS}, {"strokes": CROSS_AGAIN}]},
    {"name": "cup", "examples": [{"strokes": CUP}]},
]


def test_the_endpoint_serves_python_clients(app_url: str) -> None:
    from gradio_client import Client

    client = Client(app_url, verbose=False)
    try:
        result = client.predict(
            SYMBOLS, [{"strokes": CUP_AGAIN}, {"strokes": CROSS}], 5, api_name="/adapt_and_classify"
        )
        assert [one["name"] for one in result["answers"]] == ["cup", "cross"]
        assert result["names"] == ["cross", "cup"]
        assert sum(result["answers"][0]["probabilities"]) == pytest.approx(1, abs=1e-3)
        assert len(result["trajectory"]) == 6
        described = client.view_api(return_format="dict", print_info=False)
        assert set(described["named_endpoints"]) == {"/adapt_and_classify"}
        (returned,) = described["named_endpoints"]["/adapt_and_classify"]["returns"]
        declared = returned["type"]["properties"]
        assert set(declared) == set(result)
        for part in ("answers", "trajectory"):
            assert set(declared[part]["items"]["properties"]) == set(result[part][0])
        with pytest.raises(Exception, match="symbol 1 has no examples"):
            client.predict(
                [{"name": "a"}, {"name": "b"}],
                [{"strokes": CUP}],
                None,
                api_name="/adapt_and_classify",
            )
    finally:
        client.close()


def test_the_endpoint_serves_curl(app_url: str) -> None:
    url = f"{app_url}/gradio_api/call/adapt_and_classify"
    data = json.dumps({"data": [SYMBOLS, [{"strokes": CUP_AGAIN}], None]}).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        event = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{url}/{event}", timeout=30) as response:
        text = response.read().decode()
    assert text.startswith("event: complete")
    (result,) = json.loads(text.partition("data: ")[2])
    assert result["answers"][0]["name"] == "cup"


def test_the_example_for_programs_runs(app_url: str, tmp_path: Path) -> None:
    document = (ROOT / "docs" / "hosting.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example.replace("http://127.0.0.1:7860", app_url))
    printed = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip().endswith("cup")


def test_many_tabs_of_one_browser_work(visitors: MakeVisitor) -> None:
    """More than the six connections that a browser opens to an app."""
    first = visitors()
    tabs = [first]
    while len(tabs) < 8:  # as with a middle click
        with first.page.context.expect_page() as opened:
            first.page.evaluate("window.open(location.href)")
        tabs.append(Visitor(opened.value))
        tabs[-1].page.wait_for_selector(".maml-sketchpad[data-ready=yes]")
    for tab in (tabs[7], tabs[3], tabs[0]):  # all others stay connected
        tab.page.bring_to_front()
        tab.press("Load example set")
        tab.wait_for_answer("Elk")
    tabs[0].page.bring_to_front()
    tabs[0].press("Clear")
    tabs[0].draw("the new drawing", CUP)
    tabs[0].wait_for_answer("")
    assert [error for tab in tabs[1:] for error in tab.leave()] == []


def test_the_page_asks_nobody_else_and_keeps_to_its_policy(browser: Any, app_url: str) -> None:
    with new_profile(browser) as context:
        visitor = Visitor(context.new_page())
        page = visitor.page
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(request.url))
        page.add_init_script(
            """window.violations = [];
            addEventListener('securitypolicyviolation', (event) =>
                window.violations.push(event.violatedDirective + ' ' + event.blockedURI));"""
        )
        visitor.open(app_url)
        visitor.press("Load example set")
        visitor.wait_for_answer("Elk")
        visitor.press("Find mix-ups")
        page.locator(".verdict").first.wait_for()
        with page.expect_download():
            visitor.press("Download network")
        page.get_by_role("tab", name="Train").click()
        visitor.button("Start training").wait_for()
        assert page.evaluate("window.violations") == []
        own = page.url.rstrip("/")
        assert len(asked) > 20
        assert {url for url in asked if not url.startswith((own, "data:", "blob:"))} == set()
        assert visitor.errors == []
