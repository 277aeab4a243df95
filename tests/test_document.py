"""The page's document: what is accepted, what is refused and why."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from drawings import CROSS, LINE, picture
from PIL import Image

import maml
from maml.demo.strings import STRINGS, worded
from maml.sessions.document import (
    LARGEST_PICTURE,
    LARGEST_TEXT,
    Drawing,
    example_sets,
    language_of,
    parse_document,
    parse_drawing,
    parse_drawings,
    parse_text,
)
from maml.sessions.refusal import Refusal


def document(**changes: Any) -> dict[str, Any]:
    """A sound document with two symbols."""
    return {
        "version": 1,
        "revision": 4,
        "language": "en",
        "steps": 3,
        "query": [LINE],
        "unseen": [[9, 1]],
        "symbols": [
            {"id": 9, "name": "Tree", "examples": [{"strokes": [LINE]}], "pad": [[[5, 6]]]},
            {"id": 2, "name": "月 🌙", "examples": [{"picture": picture()}], "pad": []},
        ],
        **changes,
    }


def test_a_sound_document_is_read_whole() -> None:
    read = parse_document(document())
    assert [(symbol.id, symbol.name) for symbol in read.symbols] == [(9, "Tree"), (2, "月 🌙")]
    line = ((100.0, 100.0), (900.0, 900.0))
    assert read.symbols[0].drawings == (Drawing((line,)), Drawing((((5.0, 6.0),),)))
    assert read.symbols[1].drawings[0].picture is not None
    assert read.query == Drawing((line,)) and read.unseen == ((9, 1),)
    assert (read.steps, read.revision, read.language) == (3, 4, "en")


def test_empty_pads_are_no_drawings_and_ids_may_be_left_out() -> None:
    read = parse_document(
        {"version": 1, "symbols": [{"name": "Tree", "examples": [], "pad": []}, {"name": "Moon"}]}
    )
    assert read.symbols[0].drawings == () and read.query is None and read.steps is None
    assert [symbol.id for symbol in read.symbols] == [1, 2]


def test_the_limits_themselves_are_allowed() -> None:
    full = [[[k, 1] for k in range(32)]] * 64  # 64 strokes, 2,048 points
    symbols = [{"name": str(k), "examples": [{"strokes": [LINE]}] * 20} for k in range(20)]
    symbols[0]["name"] = "x" * 500
    read = parse_document(document(symbols=symbols, query=full, steps=20, unseen=[[1, 0]] * 400))
    assert len(read.symbols) == 20 and len(read.symbols[19].drawings) == 20
    assert read.query is not None and len(read.query.strokes) == 64


def spoilt(path: list[Any], value: Any) -> dict[str, Any]:
    """A sound document with another value at `path`."""
    whole: Any = document()
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return whole


STROKE = ["symbols", 0, "pad"]
EXAMPLE = ["symbols", 1, "examples", 0]
REFUSALS: list[tuple[Any, str]] = [
    (None, "the document: expected a JSON object, got None."),
    ([], "the document: expected a JSON object, got []."),
    (spoilt(["version"], 2), "Expected a document of version 1; it has version 2."),
    (spoilt(["version"], None), "it has version None."),
    (spoilt(["symbols"], {}), "symbols: expected a list, got {}."),
    (
        spoilt(["symbols"], [{"name": str(k)} for k in range(21)]),
        "symbols: expected 0 to 20 entries, got 21.",
    ),
    (spoilt(["symbols", 0], "x"), "symbol 1: expected a JSON object, got 'x'."),
    (spoilt(["symbols", 0, "name"], "  "), "symbol 1: expected a name of 1 to 500 characters"),
    (spoilt(["symbols", 0, "name"], "x" * 501), "expected a name of 1 to 500 characters"),
    (spoilt(["symbols", 0, "name"], "a\x00b"), "symbol 1: the name holds a control character"),
    (spoilt(["symbols", 0, "name"], "\ud800"), "symbol 1: the name holds half a surrogate pair"),
    (spoilt(["symbols", 0, "name"], "月 🌙"), "symbol 2: another symbol is named 月 🌙 too"),
    (spoilt(["symbols", 0, "id"], 2), "symbol 2: another symbol has the id 2 too"),
    (spoilt(["symbols", 0, "id"], 0), "id: expected a whole number from 1 to"),
    (spoilt(["symbols", 0, "examples"], [{"strokes": [LINE]}] * 20), "Tree is full"),
    (
        spoilt(["symbols", 0, "examples"], [{"strokes": [LINE]}] * 21),
        "symbol 1, examples: expected 0 to 20 entries, got 21.",
    ),
    (spoilt(["symbols", 0, "examples"], [{"strokes": []}]), "symbol 1, example 1 has no stroke"),
    (
        spoilt(["symbols", 0, "examples"], [7]),
        "symbol 1, example 1: expected a JSON object, got 7.",
    ),
    (spoilt(STROKE, [[[1, 2, 3]]]), "symbol 1, pad, stroke 1 has the point [1, 2, 3]; expected"),
    (spoilt(STROKE, [[[1, 2]], [[1, float("nan")]]]), "stroke 2 has the point [1, nan]"),
    (spoilt(STROKE, [[[1, float("inf")]]]), "two finite numbers of at most 1,000,000"),
    (spoilt(STROKE, [[[1, 1e9]]]), "two finite numbers"),
    (spoilt(STROKE, [[[-1e9, 1]]]), "two finite numbers"),
    (spoilt(STROKE, [[[1, 10**400]]]), "two finite numbers"),
    (spoilt(STROKE, [[[True, 1]]]), "two finite numbers"),
    (spoilt(STROKE, [[["1", 1]]]), "two finite numbers"),
    (spoilt(["query"], [[[1, 1]]] * 65), "the query, strokes: expected 0 to 64 entries, got 65."),
    (spoilt(["query"], [[[1, 1]] * 2049]), "stroke 1: expected 0 to 2048 entries, got 2049."),
    (spoilt(["query"], [[[1, 1]] * 1025] * 2), "the query: expected at most 2048 points, got 2050"),
    (spoilt(["steps"], 21), "steps: expected a whole number from 0 to 20, got 21."),
    (spoilt(["steps"], True), "steps: expected a whole number from 0 to 20, got True."),
    (spoilt(["revision"], -1), "revision: expected a whole number from 0 to"),
    (spoilt(["language"], "xx"), "Expected one of en, zh as language, got 'xx'."),
    (spoilt(["unseen"], [[9]]), "unseen: expected [symbol, drawing], got [9]."),
    (spoilt(["unseen"], [[9, 20]]), "unseen: expected a whole number from 0 to 19, got 20."),
    (spoilt(["unseen"], [[9, 0]] * 401), "unseen: expected 0 to 400 entries, got 401."),
    (
        spoilt(EXAMPLE, {"picture": "data:image/svg+xml;base64,AA"}),
        "symbol 2, example 1: expected a PNG, JPEG or WebP as a base64 data URL",
    ),
    (spoilt(EXAMPLE, {"picture": 5}), "characters, got 5."),
    (
        spoilt(EXAMPLE, {"picture": "data:image/png;base64," + "A" * LARGEST_PICTURE}),
        "of at most 40000 characters",
    ),
    (spoilt(EXAMPLE, {"picture": "data:image/png;base64,AAAAA"}), "base64 data URL"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSALS)
def test_an_unsound_document_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_document(value)
    assert reason in worded(refused.value.record, "en")
    assert worded(refused.value.record, "zh") != worded(refused.value.record, "en")


def test_text_that_is_no_document_is_refused() -> None:
    assert parse_text('{"a": [1]}') == {"a": [1]}
    for text, reason in (
        ("<img src=x onerror=alert(1)>", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (" " * (LARGEST_TEXT + 1), "Expected at most 10000000 characters, got 10000001."),
    ):
        with pytest.raises(Refusal) as refused:
            parse_text(text)
        assert reason in worded(refused.value.record, "en")


def test_the_language_of_an_unsound_document_is_known_if_it_names_one() -> None:
    unsound: list[object] = [{"language": "zh"}, {"language": ["zh"]}, {}, None, []]
    assert [language_of(one) for one in unsound] == ["zh", "en", "en", "en", "en"]


def test_a_list_of_drawings_has_its_own_limits() -> None:
    one = {"strokes": [LINE]}
    assert len(parse_drawings([one] * 3, "in_query_number", 1, 3)) == 3
    for value, reason in (
        ([], "queries: expected 1 to 3 entries, got 0."),
        ([one] * 4, "queries: expected 1 to 3 entries, got 4."),
        ({}, "queries: expected a list, got {}."),
        ([one, 5], "query 2: expected a JSON object, got 5."),
    ):
        with pytest.raises(Refusal) as refused:
            parse_drawings(value, "in_query_number", 1, 3)
        assert worded(refused.value.record, "en") == reason


# ---- drawings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_each_kind_become_the_ink_of_their_cross(form: str) -> None:
    ink = parse_drawing({"picture": picture(form=form)}, ()).ink("fit")
    strokes = maml.strokes_to_image(CROSS)
    assert ink.shape == (28, 28)
    assert np.abs(ink - strokes).mean() < 0.05
    assert np.abs(strokes).mean() > 0.1


def test_ink_is_framed_as_asked() -> None:
    for framing in ("fit", "frame"):
        ink = parse_drawing({"strokes": CROSS}, ()).ink(framing)
        assert np.array_equal(ink, maml.strokes_to_image(CROSS, framing))


def bytes_of(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def blank() -> bytes:
    file = io.BytesIO()
    Image.new("L", (40, 40), 255).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0", "the picture could not be opened"),
        (bytes_of(picture())[:-40], "the picture could not be opened"),
        (bytes_of(picture(side=513)), "more than 512 pixels a side; got 513 × 513."),
        (blank(), "no line can be seen"),
    ],
)
def test_a_picture_that_gives_no_ink_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        Drawing(picture=content).ink("fit")
    assert reason in worded(refused.value.record, "en")


def test_the_largest_picture_is_accepted() -> None:
    assert Drawing(picture=bytes_of(picture(side=512, pen=30))).ink("fit").max() > 0.5


def test_equal_drawings_have_equal_keys_and_others_do_not() -> None:
    points = ((0.0, 0.0), (1.0, 2.0), (3.0, 4.0), (5.0, 6.0))
    drawings = [
        Drawing((points,)),
        Drawing((points[:2], points[2:])),  # the pen was lifted
        Drawing((points[:1], points[1:])),
        Drawing((points[::-1],)),
        Drawing((points[2:], points[:2])),
        Drawing((points[:3],)),
        Drawing(((), points)),
        Drawing(picture=b"one"),
        Drawing(picture=b"other"),
        Drawing(picture=b""),
        Drawing(),
    ]
    assert len({drawing.key for drawing in drawings}) == len(drawings)
    assert Drawing((points,)).key == Drawing((tuple(points),)).key


# ---- words and sets ----------------------------------------------------------------------------


def test_a_place_in_a_document_is_worded_in_each_language() -> None:
    with pytest.raises(Refusal) as refused:
        parse_document(spoilt(["symbols", 1, "examples", 0], {"strokes": [[[0, 0]], 4]}))
    record = refused.value.record
    assert worded(record, "en") == "symbol 2, example 1, stroke 2: expected a list, got 4."
    assert worded(record, "zh") == "第 2 个符号，第 1 个示例，第 2 笔：应为列表，实际为 4。"


def test_the_example_sets_are_sound_and_named_in_both_languages() -> None:
    sets = example_sets()
    assert [one["key"] for one in sets] == ["runes", "planets", "letters", "doodles"]
    for one in sets:
        read = parse_document(one["document"])
        assert len(read.symbols) >= 5 and read.query is not None
        assert all(len(symbol.drawings) >= 2 for symbol in read.symbols)
        assert f"set_{one['key']}" in STRINGS["en"]
        for language in ("en", "zh"):
            names = [symbol["names"][language] for symbol in one["document"]["symbols"]]
            assert len(set(names)) == len(names)
