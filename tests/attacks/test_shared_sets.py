"""Whatever stands in a link's fragment is a sound set or refused in one line, and costs little."""

from __future__ import annotations

import base64
import gzip
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from maml.demo.component import script_of
from maml.demo.strings import worded
from maml.sessions.document import PAGE_LIMITS, PICTURE_PATTERN, VERSION, parse_document

Read = Callable[[list[bytes]], list[dict[str, Any]]]

READ = """async (fragments) => {
    const results = [];
    for (const fragment of fragments) {
        try {
            results.push({document: await SketchLink.read(fragment)});
        } catch (error) {
            if (!(error instanceof SketchDocument.DocumentError)) throw error;
            results.push({problem: error.record});
        }
    }
    if (Object.keys(Object.prototype).length || {}.examples) throw new Error('polluted');
    return results; }"""


def number(value: int) -> bytes:
    """A number as links have it (LEB128)."""
    low, rest = value & 127, value >> 7
    return bytes([low]) if not rest else bytes([low | 128]) + number(rest)


def sound(name: bytes = b"Elk", dx: int = 200, dy: int = 400) -> bytes:
    """A set before it is packed: two symbols with a stroke each; steps are half the numbers."""
    strokes = b"\1\2" + b"".join(map(number, (dx, dy, 3, 6)))
    symbols = number(len(name)) + name + b"\1" + strokes + b"\0", b"\x03Sun\0" + strokes
    return b"\1\1\6\2" + b"".join(symbols) + strokes


@pytest.fixture(scope="module")
def read(browser: Any) -> Iterator[Read]:
    """Reads packed sets in a page that has the links' scripts alone."""
    document = {"VERSION": VERSION, "LIMITS": PAGE_LIMITS, "PICTURE": PICTURE_PATTERN}
    page = browser.new_page()
    page.add_script_tag(
        content=script_of("SKETCH_CONSTANTS", {"DOCUMENT": document}, "document.js", "link.js")
    )

    def read(packed: list[bytes]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = page.evaluate(
            READ, ["#set=" + base64.urlsafe_b64encode(one).decode().rstrip("=") for one in packed]
        )
        return found

    yield read
    page.close()


def test_a_set_that_another_program_wrote_is_read(read: Read) -> None:
    (found,) = read([zlib.compress(sound("麋鹿".encode()))])
    stroke = [[100, 200], [98, 203]]
    assert found["document"] == {
        "version": 1,
        "symbols": [
            {"id": 1, "name": "麋鹿", "examples": [{"strokes": [stroke]}], "pad": []},
            {"id": 2, "name": "Sun", "examples": [], "pad": [stroke]},
        ],
        "query": [stroke],
        "picture": None,
        "steps": 5,
    }


HOSTILE = {
    "nothing": b"",
    "no zlib": b"hello, world",
    "gzip": gzip.compress(sound()),
    "without a checksum": zlib.compress(sound(), wbits=-15),
    "a wrong checksum": zlib.compress(sound())[:-1] + b"\0",
    "cut off": zlib.compress(sound())[:-9],
    "more behind it": zlib.compress(sound()) + b"\0",
    "another set behind it": zlib.compress(sound()) * 2,
    "more inside": zlib.compress(sound() + b"\0"),
    "less inside": zlib.compress(sound()[:-1]),
    "an empty set inside": zlib.compress(b""),
    "JSON inside": zlib.compress(b'{"version": 1, "__proto__": {"examples": []}}'),
    "a grid of no width": zlib.compress(b"\1\0" + sound()[2:]),
    "far too many symbols": zlib.compress(b"\1\1\6" + number(2**28 - 1) + sound()[4:]),
    "a number without end": zlib.compress(b"\1\1\6" + b"\xff" * 60),
    "twenty-one symbols": zlib.compress(b"\1\1\6\x15" + b"\1A\0\0" * 21 + b"\0"),
    "too many empty strokes": zlib.compress(b"\1\1\6\1\1A\0" + number(9000) + b"\0" * 9001),
    "a stroke without points": zlib.compress(b"\1\1\6\1\1A\0\1\0\0"),
    "too many steps": zlib.compress(b"\1\1\x7f" + sound()[3:]),
    "half a character": zlib.compress(sound("é".encode()[:1])),
    "half a surrogate pair": zlib.compress(sound("\ud800".encode("utf-8", "surrogatepass"))),
    "a control character": zlib.compress(sound(b"a\0b")),
    "a name that is too long": zlib.compress(sound(b"a" * 501)),
    "no name": zlib.compress(sound(b"")),
    "the same name twice": zlib.compress(sound(b"Sun")),
    "a point outside the pad": zlib.compress(sound(dx=2002)),
    "a point far outside": zlib.compress(sound(dx=2**28 - 2, dy=2**28 - 1)),
    "a bomb": zlib.compress(bytes(5_500_000), 9),
    "a bomb of names": zlib.compress(b"\1\1\6\1" + number(5_000_000) + b"a" * 5_000_000, 9),
    "a bomb beyond the longest link": zlib.compress(bytes(60_000_000), 9),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_set_is_refused_in_one_line(read: Read, kind: str) -> None:
    (found,) = read([HOSTILE[kind]])
    for language in ("en", "zh"):
        text = worded(found["problem"], language)
        assert text and "\n" not in text and len(text) < 250
    assert ("link" in worded(found["problem"], "en")) == (found["problem"]["code"] == "bad_link")


def test_a_link_of_a_later_version_says_so(read: Read) -> None:
    (found,) = read([zlib.compress(b"\2" + sound()[1:])])
    assert found["problem"]["code"] == "newer_link"


@pytest.mark.parametrize("name", ["__proto__", "constructor", "<img onerror=alert(1)>", "${x}"])
def test_a_hostile_name_is_only_a_name(read: Read, name: str) -> None:
    (found,) = read([zlib.compress(sound(name.encode()))])
    assert found["document"]["symbols"][0]["name"] == name


def test_a_spoilt_set_is_read_or_refused_and_the_server_takes_what_is_read(read: Read) -> None:
    chance = random.Random(1227)
    packed = []
    for _ in range(1500):
        spoilt = bytearray(sound() * chance.randint(1, 2))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(spoilt))
            kind = chance.randrange(3)
            if kind == 0:
                spoilt[place] = chance.choice([0, 1, 2, 127, 128, 255, chance.randrange(256)])
            elif kind == 1:
                del spoilt[place : place + chance.randint(1, 3)]
            else:
                spoilt[place:place] = chance.randbytes(chance.randint(1, 4))
        packed.append(zlib.compress(bytes(spoilt)))
    results = read(packed)
    for found in results:
        if "document" in found:
            parse_document(found["document"])
        else:
            assert worded(found["problem"], "en") and worded(found["problem"], "zh")
    assert 20 < sum("document" in found for found in results) < 1200
