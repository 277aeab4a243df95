"""The sketchpad's document: what is accepted, what is refused and why."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import maml
from maml.demo.sketchpad import Sketchpad
from maml.demo.strings import STRINGS
from maml.sessions.document import (
    LARGEST_PICTURE,
    LARGEST_TEXT,
    Drawing,
    example_sets,
    parse_document,
    parse_drawing,
    parse_text,
)

LINE = [[100, 100], [900, 900]]


def picture(form: str = "PNG", size: tuple[int, int] = (60, 60)) -> str:
    """A data URL of a cross."""
    image = Image.new("L", size, 255)
    pen = ImageDraw.Draw(image)
    pen.line([(10, 10), (50, 50)], fill=0, width=4)
    pen.line([(50, 10), (10, 50)], fill=0, width=4)
    file = io.BytesIO()
    image.save(file, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def document(**changes: Any) -> dict[str, Any]:
    """A sound document with two symbols."""
    return {
        "version": 1,
        "revision": 4,
        "language": "en",
        "steps": 3,
        "query": [LINE],
        "symbols": [
            {"id": 1, "name": "Tree", "examples": [{"strokes": [LINE]}], "pad": [[[5, 6]]]},
            {"id": 2, "name": "月 🌙", "examples": [{"picture": picture()}], "pad": []},
        ],
        **changes,
    }


def test_a_sound_document_is_read_whole() -> None:
    read = parse_document(document())
    assert [symbol.name for symbol in read.symbols] == ["Tree", "月 🌙"]
    line = ((100.0, 100.0), (900.0, 900.0))
    assert read.symbols[0].drawings == (Drawing((line,)), Drawing((((5.0, 6.0),),)))
    assert read.symbols[1].drawings[0].picture is not None
    assert read.query == Drawing((line,))
    assert (read.steps, read.revision, read.language, read.taught) == (3, 4, "en", (0, 1))


def test_empty_pads_are_no_drawings() -> None:
    read = parse_document(
        {"version": 1, "symbols": [{"name": "Tree", "examples": [], "pad": []}], "query": []}
    )
    assert read.symbols[0].drawings == () and read.query is None and read.steps is None
    assert read.taught == ()


def spoilt(path: list[Any], value: Any) -> dict[str, Any]:
    """A sound document with another value at `path`."""
    whole: Any = document()
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return whole


REFUSALS: list[tuple[Any, str]] = [
    (None, "the document is None; wanted a JSON object"),
    ([], "wanted a JSON object"),
    (spoilt(["version"], 2), "has version 2; wanted 1"),
    (spoilt(["version"], None), "has version None"),
    (spoilt(["symbols"], {}), "symbols: {} came; wanted a list"),
    (
        spoilt(["symbols"], [{"name": str(k)} for k in range(21)]),
        "21 entries came; 20 are the most",
    ),
    (spoilt(["symbols", 0], "x"), "symbol 1 is 'x'"),
    (spoilt(["symbols", 0, "name"], "  "), "symbol 1 has the name"),
    (spoilt(["symbols", 0, "name"], "x" * 501), "wanted 1 to 500 characters"),
    (spoilt(["symbols", 0, "name"], "a\x00b"), "control character"),
    (spoilt(["symbols", 0, "name"], "\ud800"), "half a character"),
    (spoilt(["symbols", 0, "name"], "月 🌙"), "Symbols 1 and 2 are both named"),
    (spoilt(["symbols", 0, "examples"], [{"strokes": [LINE]}] * 20), "has 21 drawings"),
    (spoilt(["symbols", 0, "examples"], [{"strokes": []}]), "example 1 has no stroke"),
    (spoilt(["symbols", 0, "examples"], [7]), "example 1 is 7"),
    (spoilt(["symbols", 0, "pad"], [[[1, 2, 3]]]), r"pad, stroke 1 has the point \[1, 2, 3\]"),
    (spoilt(["symbols", 0, "pad"], [[[1, float("nan")]]]), "two finite numbers"),
    (spoilt(["symbols", 0, "pad"], [[[1, float("inf")]]]), "two finite numbers"),
    (spoilt(["symbols", 0, "pad"], [[[1, 1e9]]]), "two finite numbers"),
    (spoilt(["symbols", 0, "pad"], [[[1, 10**400]]]), "two finite numbers"),
    (spoilt(["symbols", 0, "pad"], [[[True, 1]]]), "two finite numbers"),
    (spoilt(["symbols", 0, "pad"], [[["1", 1]]]), "two finite numbers"),
    (spoilt(["query"], [[[1, 1]]] * 65), "65 entries came; 64 are the most"),
    (spoilt(["query"], [[[1, 1]] * 2049]), "2049 entries came; 2048 are the most"),
    (spoilt(["query"], [[[1, 1]] * 1025] * 2), "the query has 2050 points"),
    (spoilt(["steps"], 21), "steps is 21; wanted a whole number from 0 to 20"),
    (spoilt(["steps"], True), "steps is True"),
    (spoilt(["revision"], -1), "revision is -1"),
    (spoilt(["language"], "xx"), "language is 'xx'"),
    (spoilt(["symbols", 1, "examples", 0], {"picture": "data:image/svg+xml;base64,AA"}), "no pict"),
    (spoilt(["symbols", 1, "examples", 0], {"picture": 5}), "is no picture"),
    (
        spoilt(
            ["symbols", 1, "examples", 0],
            {"picture": "data:image/png;base64," + "A" * LARGEST_PICTURE},
        ),
        "at most 40000 characters",
    ),
    (
        spoilt(["symbols", 1, "examples", 0], {"picture": "data:image/png;base64,AAAAA"}),
        "base64 is broken",
    ),
]


@pytest.mark.parametrize(("value", "reason"), REFUSALS)
def test_an_unsound_document_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_document(value)


def test_text_that_is_no_document_is_refused() -> None:
    assert parse_document(parse_text(json.dumps(document()))) == parse_document(document())
    for text, reason in (
        ("<img src=x onerror=alert(1)>", "is no JSON document"),
        ("[" * 100_000, "is no JSON document"),
        (" " * (LARGEST_TEXT + 1), "10000001 characters came"),
    ):
        with pytest.raises(ValueError, match=reason):
            parse_text(text)


def test_the_component_takes_a_language_and_nothing_else() -> None:
    pad = Sketchpad()
    assert pad.preprocess({"language": "zh"}) == "zh"
    for payload in (None, "zh", {"language": ["zh"]}, {"language": "xx"}, {}):
        assert pad.preprocess(payload) == "en"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_each_kind_become_the_ink_of_their_cross(form: str) -> None:
    ink = parse_drawing({"picture": picture(form)}).ink()
    strokes = maml.strokes_to_image([[(0, 0), (1, 1)], [(1, 0), (0, 1)]])
    assert ink.shape == (28, 28)
    assert np.abs(ink - strokes).mean() < 0.05
    assert np.abs(strokes).mean() > 0.1


def test_a_picture_that_lies_about_itself_is_refused_when_it_is_opened() -> None:
    drawing = parse_drawing({"picture": "data:image/png;base64,AAAA"})
    with pytest.raises(ValueError, match="could not be opened"):
        drawing.ink()
    whole = base64.b64decode(picture().partition(",")[2])
    with pytest.raises(ValueError, match="could not be opened"):
        Drawing(picture=whole[: len(whole) // 2]).ink()
    wide = parse_drawing({"picture": picture(size=(600, 60))})
    with pytest.raises(ValueError, match="600 x 60 pixels came; shrink it to at most 512"):
        wide.ink()
    with pytest.raises(ValueError, match="no ink"):
        blank = io.BytesIO()
        Image.new("L", (40, 40), 255).save(blank, "PNG")
        Drawing(picture=blank.getvalue()).ink()


def test_equal_drawings_have_equal_keys_and_others_do_not() -> None:
    one, same = parse_drawing({"strokes": [LINE]}), parse_drawing({"strokes": [LINE]})
    other = parse_drawing({"strokes": [LINE, [[5, 5]]]})
    assert one.key == same.key != other.key


def test_the_example_sets_are_sound_and_named_in_both_languages() -> None:
    sets = example_sets()
    assert [one["key"] for one in sets] == ["runes", "planets", "letters"]
    for one in sets:
        read = parse_document(one["document"])
        assert len(read.symbols) >= 5 and read.query is not None
        assert all(len(symbol.drawings) >= 2 for symbol in read.symbols)
        assert f"set_{one['key']}" in STRINGS["en"]
        for language in ("en", "zh"):
            names = [symbol["names"][language] for symbol in one["document"]["symbols"]]
            assert len(set(names)) == len(names)


def test_every_text_exists_in_both_languages_with_the_same_places_for_values() -> None:
    import re

    assert STRINGS["en"].keys() == STRINGS["zh"].keys()
    for key, text in STRINGS["en"].items():
        places = set(re.findall(r"\{\w+\}", text))
        assert set(re.findall(r"\{\w+\}", STRINGS["zh"][key])) == places, key


def test_the_schema_is_complete_enough_for_gradio_to_launch() -> None:
    def walk(schema: dict[str, Any]) -> None:
        if schema.get("type") == "array":
            assert "items" in schema, json.dumps(schema)
            walk(schema["items"])
        for part in schema.get("properties", {}).values():
            walk(part)

    walk(Sketchpad().api_info())
