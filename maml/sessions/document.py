"""The document that the page sends, checked.

A document is one small, versioned JSON object (`maml/demo/assets/document.js` describes it).
`parse_document` checks every value of it, because a client can send anything; what comes out is
immutable.  Everything that is refused raises a `Refusal`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import reprlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import chain
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maml.config import LARGEST_WAYS, Framing
from maml.drawing import image_to_ink, strokes_to_image
from maml.sessions.refusal import Refusal

Language = Literal["en", "zh"]
"""Languages of the page."""

VERSION = 1
LARGEST_NAME = 500
LARGEST_DRAWINGS = 20
LARGEST_STROKES = 64
LARGEST_POINTS = 2048
LARGEST_PICTURE = 40_000
LARGEST_PICTURE_SIDE = 512
LARGEST_STEPS = 20
LARGEST_COORDINATE = 1_000_000.0
LARGEST_NUMBER = 2**53
LARGEST_TEXT = 10_000_000
LARGEST_FILE = 8_000_000
_LARGEST_UNSEEN = LARGEST_WAYS * LARGEST_DRAWINGS

PICTURE_PATTERN = r"data:image/(png|jpeg|webp);base64,([A-Za-z0-9+/]+={0,2})"
"""The whole of a picture's data URL, for Python and JavaScript alike."""

PAGE_LIMITS = {
    "symbols": LARGEST_WAYS,
    "drawings": LARGEST_DRAWINGS,
    "strokes": LARGEST_STROKES,
    "points": LARGEST_POINTS,
    "name": LARGEST_NAME,
    "picture": LARGEST_PICTURE,
    "steps": LARGEST_STEPS,
    "file": LARGEST_FILE,
}
"""What the page's scripts may not exceed: symbols; drawings of a symbol; strokes and points of a
drawing; characters of a name, of a picture's data URL and of a file; gradient steps."""

_PICTURE = re.compile(PICTURE_PATTERN)
_NUMBERS = (int, float)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Where = tuple[dict[str, Any], ...]
"""A place in a document, outermost part first; each part a record that can be worded."""

Known = OrderedDict[int, bytes]
"""Keys of drawings by the numbers that a page gives them, those used last at the end."""
_LARGEST_KNOWN = 1000

Strokes = tuple[tuple[tuple[float, float], ...], ...]


class ForgottenDrawing(Exception):
    """A question names a drawing that the server does not remember: it has to be sent whole."""


# ---- the checked document ----------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """One drawing: strokes, or the bytes of a picture.

    Args:
        strokes: each a tuple of (x, y), x to the right and y downwards; empty for a picture.
        picture: PNG, JPEG or WebP; None for strokes.
        digest: the key of a drawing whose content is not at hand; None where it is.
    """

    strokes: Strokes = ()
    picture: bytes | None = None
    digest: bytes | None = None

    @cached_property
    def key(self) -> bytes:
        """A digest of the content: equal drawings have equal keys."""
        if self.digest is not None:
            return self.digest
        digest = hashlib.blake2b(digest_size=16)
        if self.picture is not None:
            digest.update(b"picture" + self.picture)
        for stroke in self.strokes:
            # The length keeps one long stroke apart from two short ones.
            digest.update(len(stroke).to_bytes(4, "little"))
            digest.update(array("d", chain.from_iterable(stroke)).tobytes())
        return digest.digest()

    def ink(self, framing: Framing) -> NDArray[np.float32]:
        """The picture (28, 28) that a network of that framing sees.

        Raises:
            Refusal: if a picture cannot be opened, is too large, or is blank.
            ForgottenDrawing: if there is only a digest.
        """
        if self.digest is not None:
            raise ForgottenDrawing
        if self.picture is None:
            return strokes_to_image([np.asarray(stroke) for stroke in self.strokes], framing)
        # A file is somebody's: whatever its decoders raise means that it cannot be read.
        try:
            image = Image.open(io.BytesIO(self.picture), formats=("PNG", "JPEG", "WEBP"))
            if max(image.size) > LARGEST_PICTURE_SIDE:
                raise Refusal(
                    "picture_too_large",
                    most=LARGEST_PICTURE_SIDE,
                    found=f"{image.size[0]} × {image.size[1]}",
                )
            image.load()
            image.getexif()
            image.convert("RGBA")
        except Refusal:
            raise
        except Exception as error:
            raise Refusal("picture_unreadable") from error
        try:
            return image_to_ink(image, framing)
        except ValueError as error:
            raise Refusal("picture_blank") from error
        except Exception as error:
            raise Refusal("picture_unreadable") from error


@dataclass(frozen=True)
class Symbol:
    """A symbol with its drawings, the one on its pad last.

    Args:
        id: the page's number for it; unique in a document.
        name: unique in a document.
        drawings: in the page's order.
    """

    id: int
    name: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Document:
    """What a person has drawn.

    Args:
        symbols: in their order on the page, those without drawings included.
        query: the drawing that is asked about, or None.
        steps: gradient steps, or None for those the weights were trained for.
        revision: number of the question; the answer carries it too.
        language: of the page.
        unseen: drawings whose ink the page does not have yet, as (symbol's id, place among its
            drawings).
        wants_map: whether the page lacks the examples' places on the map.
    """

    symbols: tuple[Symbol, ...]
    query: Drawing | None = None
    steps: int | None = None
    revision: int = 0
    language: Language = "en"
    unseen: tuple[tuple[int, int], ...] = ()
    wants_map: bool = False

    @property
    def drawings(self) -> list[Drawing]:
        """All drawings: the examples, symbol by symbol, and the query."""
        return drawings_of(self.symbols) + ([] if self.query is None else [self.query])


def drawings_of(symbols: Sequence[Symbol]) -> list[Drawing]:
    """The drawings of all symbols, symbol by symbol."""
    return [drawing for symbol in symbols for drawing in symbol.drawings]


# ---- checking ----------------------------------------------------------------------------------


def parse_document(value: object, known: Known | None = None) -> Document:
    """Check a document and make it immutable.

    Args:
        value: what JSON gave.
        known: digests of drawings by the page's ids for them; gains those that the document brings.

    Raises:
        Refusal: says what is wrong, and where.
        ForgottenDrawing: if the document names a drawing that is not known.
    """
    document = _mapping(value, (_part("in_document"),))
    version = document.get("version")
    if version != VERSION:
        raise Refusal("wrong_version", wanted=VERSION, found=_short(version))
    symbols = tuple(
        _symbol(symbol, place, known)
        for place, symbol in enumerate(
            _list(document.get("symbols"), (_part("in_symbols"),), LARGEST_WAYS), 1
        )
    )
    _require_unique(symbols)
    query = _query(document)
    language = document.get("language", "en")
    if language not in get_args(Language):
        raise Refusal("wrong_language", wanted="en, zh", found=_short(language))
    steps = document.get("steps")
    unseen = _list(
        document.get("unseen", []), (_part("in_unseen"),), LARGEST_WAYS * LARGEST_DRAWINGS
    )
    return Document(
        symbols=symbols,
        query=query,
        steps=None if steps is None else _whole(steps, "steps", 0, LARGEST_STEPS),
        revision=_whole(document.get("revision", 0), "revision", 0, LARGEST_NUMBER),
        language=cast(Language, language),
        unseen=tuple(_unseen(one) for one in unseen),
        wants_map=document.get("map") is True,
    )


def _query(document: Mapping[str, Any]) -> Drawing | None:
    """What is asked about: strokes ``query``, else the ``picture``."""
    where = (_part("in_query"),)
    strokes = _strokes(document.get("query", []), where)
    if strokes:
        return Drawing(strokes)
    picture = document.get("picture")
    return None if picture is None else Drawing(picture=_picture(picture, where))


def parse_text(text: str) -> object:
    """What stands in JSON text.

    Raises:
        Refusal: if the text is too long or not JSON.
    """
    if len(text) > LARGEST_TEXT:
        raise Refusal("too_large", most=LARGEST_TEXT, found=len(text))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal("not_json", found=_short(text)) from error


def language_of(value: object) -> Language:
    """The language of a document that may be unsound; English if it names none."""
    language = value.get("language") if isinstance(value, dict) else None
    return cast(Language, language) if language in get_args(Language) else "en"


def parse_drawing(value: object, where: Where, known: Known | None = None) -> Drawing:
    """Check one drawing: ``{"strokes": [[[x, y], ...], ...]}`` or ``{"picture": "data:..."}``.

    With `known` it may have an ``id`` to be remembered by; ``{"same": id}`` stands for it later.

    Raises:
        Refusal: says what is wrong.
        ForgottenDrawing: if it names a drawing that is not known.
    """
    drawing = _mapping(value, where)
    if known is not None and "same" in drawing:
        return _known(drawing["same"], known)
    if "picture" in drawing:
        read = Drawing(picture=_picture(drawing["picture"], where))
    else:
        read = Drawing(_strokes(drawing.get("strokes"), where))
        if not read.strokes:
            raise Refusal("no_stroke", where=list(where))
    number = drawing.get("id")
    if known is not None and type(number) is int and 0 <= number <= LARGEST_NUMBER:
        known[number] = read.key
        known.move_to_end(number)
        while len(known) > _LARGEST_KNOWN:
            known.popitem(last=False)
    return read


def _known(number: object, known: Known) -> Drawing:
    if type(number) is not int:
        raise ForgottenDrawing
    try:
        known.move_to_end(number)
        return Drawing(digest=known[number])
    except KeyError:
        raise ForgottenDrawing from None


def parse_drawings(value: object, code: str, least: int, most: int) -> tuple[Drawing, ...]:
    """Check a list of drawings.

    Args:
        value: what JSON gave.
        code: of the words for one drawing's place, such as "in_query_number".
        least: smallest number of drawings.
        most: largest number of drawings.

    Raises:
        Refusal: says what is wrong.
    """
    found = _list(value, (_part("in_queries"),), most, least)
    return tuple(parse_drawing(one, (_part(code, number),)) for number, one in enumerate(found, 1))


def _symbol(value: object, place: int, known: Known | None) -> Symbol:
    where = (_part("in_symbol", place),)
    symbol = _mapping(value, where)
    name = _name(symbol.get("name"), where)
    examples = _list(symbol.get("examples", []), (*where, _part("in_examples")), LARGEST_DRAWINGS)
    drawings = [
        parse_drawing(drawing, (*where, _part("in_example", number)), known)
        for number, drawing in enumerate(examples, 1)
    ]
    pad = _strokes(symbol.get("pad", []), (*where, _part("in_pad")))
    if pad:
        drawings.append(Drawing(pad))
    if len(drawings) > LARGEST_DRAWINGS:
        raise Refusal("too_many_drawings", name=name, limit=LARGEST_DRAWINGS)
    number = _whole(symbol.get("id", place), "id", 1, LARGEST_NUMBER)
    return Symbol(number, name, tuple(drawings))


def _require_unique(symbols: Sequence[Symbol]) -> None:
    names: set[str] = set()
    numbers: set[int] = set()
    for place, symbol in enumerate(symbols, 1):
        where = [_part("in_symbol", place)]
        if symbol.name in names:
            raise Refusal("same_name", where=where, name=symbol.name)
        if symbol.id in numbers:
            raise Refusal("same_id", where=where, found=symbol.id)
        names.add(symbol.name)
        numbers.add(symbol.id)


def _name(value: object, where: Where) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= LARGEST_NAME:
        raise Refusal("bad_name", where=list(where), most=LARGEST_NAME, found=_short(value))
    if _CONTROL.search(value):
        raise Refusal("control_character", where=list(where))
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refusal("half_character", where=list(where)) from error
    return value


def _strokes(value: object, where: Where) -> Strokes:
    strokes = []
    count = 0
    for number, points in enumerate(
        _list(value, (*where, _part("in_strokes")), LARGEST_STROKES), 1
    ):
        stroke = (*where, _part("in_stroke", number))
        if _list(points, stroke, LARGEST_POINTS):
            strokes.append(tuple(_points(points, stroke)))
            count += len(points)
    if count > LARGEST_POINTS:
        raise Refusal("too_many_points", where=list(where), most=LARGEST_POINTS, found=count)
    return tuple(strokes)


def _points(points: Sequence[Any], where: Where) -> Iterator[tuple[float, float]]:
    for point in points:
        if type(point) is list and len(point) == 2:
            x, y = point
            # Comparing refuses what is not a number too; a bool is of another type.
            if (
                type(x) in _NUMBERS
                and type(y) in _NUMBERS
                and -LARGEST_COORDINATE <= x <= LARGEST_COORDINATE
                and -LARGEST_COORDINATE <= y <= LARGEST_COORDINATE
            ):
                yield float(x), float(y)
                continue
        raise Refusal(
            "not_a_point",
            where=list(where),
            most=f"{LARGEST_COORDINATE:,.0f}",
            found=_short(point),
        )


def _picture(value: object, where: Where) -> bytes:
    fits = isinstance(value, str) and len(value) <= LARGEST_PICTURE
    match = _PICTURE.fullmatch(cast(str, value)) if fits else None
    if match is None:
        raise Refusal("not_a_picture", where=list(where), most=LARGEST_PICTURE, found=_short(value))
    try:
        return base64.b64decode(match[2], validate=True)
    except ValueError as error:
        raise Refusal(
            "not_a_picture", where=list(where), most=LARGEST_PICTURE, found=_short(value)
        ) from error


def _unseen(value: object) -> tuple[int, int]:
    if type(value) is not list or len(value) != 2:
        raise Refusal("not_a_pair", where=[_part("in_unseen")], found=_short(value))
    return (
        _whole(value[0], "unseen", 1, LARGEST_NUMBER),
        _whole(value[1], "unseen", 0, LARGEST_DRAWINGS - 1),
    )


def _mapping(value: object, where: Where) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Refusal("not_an_object", where=list(where), found=_short(value))
    return value


def _list(value: object, where: Where, most: int, least: int = 0) -> Sequence[Any]:
    if not isinstance(value, list):
        raise Refusal("not_a_list", where=list(where), found=_short(value))
    if not least <= len(value) <= most:
        raise Refusal("wrong_count", where=list(where), least=least, most=most, found=len(value))
    return value


def _whole(value: object, field: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Refusal("not_whole", field=field, least=least, most=most, found=_short(value))
    return value


def _part(code: str, number: int | None = None) -> dict[str, Any]:
    return {"code": code} if number is None else {"code": code, "number": number}


def _short(value: object) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


# ---- the built-in sets -------------------------------------------------------------------------


def example_sets() -> list[dict[str, Any]]:
    """The built-in example sets: ``[{"key": ..., "document": {...}}, ...]``."""
    text = resources.files("maml.sessions").joinpath("examples.json").read_text(encoding="utf-8")
    sets: list[dict[str, Any]] = json.loads(text)
    return sets
