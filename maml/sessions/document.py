"""The sketchpad: a Gradio component that draws its own cards, and the reading of what it sends.

The page's part lives in `assets/` and is put together in `_script`.  Its value is one small,
versioned JSON document (`assets/document.js` describes it); `parse_document` checks every byte of
it, because a client can send anything.

No drawing library is used.  Those that come with a Python package are made for other work: Gradio's
`gr.Sketchpad` (Pixi) sends pictures and starts a WebGL application for each pad, Bokeh's freehand
tool gives points but is part of a plot, `streamlit-drawable-canvas` (fabric.js) belongs to another
framework.  Wanted here are the points of the pen, twenty pads on a page, and pens, palms and
fingers told apart: the 230 lines of `assets/pads.js`, on pointer events and a 2D canvas.  What a
library would add, smooth outlines, is for the eye alone: the network sees 28 x 28 pixels.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import warnings
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maml.config import LARGEST_WAYS, Framing
from maml.drawing import image_to_ink, strokes_to_image

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
LARGEST_REVISION = 2**53
LARGEST_TEXT = 10_000_000

_PICTURE = re.compile(r"data:image/(png|jpeg|webp);base64,([A-Za-z0-9+/]+={0,2})")
_NUMBERS = (int, float)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class PictureError(ValueError):
    """A picture that gives no ink.

    Args:
        text: what is wrong with it.
        code: the same for the page, which has its own words for it in each language: "unreadable",
            "too_large" or "blank".
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


# ---- what the page sends ---------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """One drawing: strokes, or the bytes of a picture.

    Args:
        strokes: each a tuple of (x, y), x to the right and y downwards; empty for a picture.
        picture: PNG, JPEG or WebP; None for strokes.
        framing: of the ink, as the network is used to it.
    """

    strokes: tuple[tuple[tuple[float, float], ...], ...] = ()
    picture: bytes | None = None
    framing: Framing = "fit"

    @cached_property
    def key(self) -> bytes:
        """A digest of the content: equal drawings have equal keys."""
        digest = hashlib.blake2b(self.framing.encode(), digest_size=16)
        if self.picture is not None:
            digest.update(self.picture)
        for stroke in self.strokes:
            digest.update(array("d", chain.from_iterable(stroke)).tobytes() + b"|")
        return digest.digest()

    def ink(self) -> NDArray[np.float32]:
        """The 28 x 28 picture that the network sees.

        Raises:
            PictureError: if the picture cannot be opened, is too large, or is blank.
        """
        if self.picture is None:
            return strokes_to_image([np.asarray(stroke) for stroke in self.strokes], self.framing)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(self.picture), formats=("PNG", "JPEG", "WEBP"))
                if max(image.size) > LARGEST_PICTURE_SIDE:
                    raise PictureError(
                        f"A picture of {image.size[0]} x {image.size[1]} pixels came; "
                        f"shrink it to at most {LARGEST_PICTURE_SIDE} a side.",
                        "too_large",
                    )
                image.load()
        except (
            UnidentifiedImageError,
            OSError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise PictureError(
                "A picture could not be opened; send a whole PNG, JPEG or WebP.", "unreadable"
            ) from error
        try:
            return image_to_ink(image, self.framing)
        except ValueError as error:
            raise PictureError(str(error), "blank") from error


@dataclass(frozen=True)
class Symbol:
    """A symbol with its drawings, the one on its pad last."""

    name: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Document:
    """What a person has drawn.

    Args:
        symbols: in their order on the page, those without drawings included.
        query: the drawing that is asked about, or None.
        steps: gradient steps, or None for those the weights were trained for.
        revision: number of the question; the answer bears it too.
        language: of the page.
    """

    symbols: tuple[Symbol, ...]
    query: Drawing | None = None
    steps: int | None = None
    revision: int = 0
    language: Language = "en"

    def framed(self, framing: Framing) -> Document:
        """The same document, its ink framed as a network is used to it."""
        symbols = tuple(
            replace(one, drawings=tuple(replace(one, framing=framing) for one in one.drawings))
            for one in self.symbols
        )
        query = self.query and replace(self.query, framing=framing)
        return replace(self, symbols=symbols, query=query)

    @property
    def taught(self) -> tuple[int, ...]:
        """Places of the symbols that have a drawing."""
        return tuple(place for place, one in enumerate(self.symbols) if one.drawings)


def parse_document(value: object) -> Document:
    """Check a document and make it immutable.

    Args:
        value: what JSON gave.

    Raises:
        ValueError: says where it is wrong, what stands there and what was wanted.
    """
    document = _mapping(value, "the document")
    if document.get("version") != VERSION:
        raise ValueError(
            f"The document has version {_short(document.get('version'))}; "
            f"wanted {VERSION}. Reload the page or save the set again."
        )
    symbols = tuple(
        _symbol(symbol, f"symbol {place}")
        for place, symbol in enumerate(_list(document.get("symbols"), "symbols", LARGEST_WAYS), 1)
    )
    names = [symbol.name for symbol in symbols]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(
                f"Symbols {names.index(name) + 1} and {place + 1} are both named {_short(name)}; "
                "each needs a name of its own."
            )
    query = _strokes(document.get("query", []), "the query")
    language = document.get("language", "en")
    if language not in ("en", "zh"):
        raise ValueError(f"language is {_short(language)}; wanted 'en' or 'zh'.")
    steps = document.get("steps")
    return Document(
        symbols=symbols,
        query=Drawing(query) if query else None,
        steps=None if steps is None else _whole(steps, "steps", LARGEST_STEPS),
        revision=_whole(document.get("revision", 0), "revision", LARGEST_REVISION),
        language=cast(Language, language),
    )


def parse_text(text: str) -> object:
    """What stands in JSON text.

    Raises:
        ValueError: if the text is too long or no JSON.
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"{len(text)} characters came; {LARGEST_TEXT} are the most.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_short(text)} is no JSON document.") from error


def parse_drawing(value: object, where: str = "the drawing") -> Drawing:
    """Check one drawing: ``{"strokes": [[[x, y], ...], ...]}`` or ``{"picture": "data:..."}``.

    Raises:
        ValueError: says what is wrong.
    """
    drawing = _mapping(value, where)
    if "picture" in drawing:
        return Drawing(picture=_picture(drawing["picture"], where))
    strokes = _strokes(drawing.get("strokes"), where)
    if not strokes:
        raise ValueError(f"{where} has no stroke; draw at least one dot or line.")
    return Drawing(strokes)


def _symbol(value: object, where: str) -> Symbol:
    symbol = _mapping(value, where)
    name = check_name(symbol.get("name"), where)
    drawings = [
        parse_drawing(drawing, f"{where}, example {number}")
        for number, drawing in enumerate(
            _list(symbol.get("examples", []), f"{where}, examples", LARGEST_DRAWINGS), 1
        )
    ]
    pad = _strokes(symbol.get("pad", []), f"{where}, pad")
    if pad:
        drawings.append(Drawing(pad))
    if len(drawings) > LARGEST_DRAWINGS:
        raise ValueError(f"{where} has {len(drawings)} drawings; {LARGEST_DRAWINGS} are the most.")
    return Symbol(name, tuple(drawings))


def check_name(value: object, where: str) -> str:
    """A symbol's name: 1 to 500 characters, none of them a control character.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= LARGEST_NAME:
        raise ValueError(
            f"{where} has the name {_short(value)}; wanted 1 to {LARGEST_NAME} characters."
        )
    if _CONTROL.search(value):
        raise ValueError(f"The name of {where} holds a control character; leave it out.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The name of {where} holds half a character; leave it out.") from error
    return value


def _strokes(value: object, where: str) -> tuple[tuple[tuple[float, float], ...], ...]:
    strokes = tuple(
        tuple(_point(point, f"{where}, stroke {number}") for point in points)
        for number, points in enumerate(_list(value, f"{where}, strokes", LARGEST_STROKES), 1)
        if _list(points, f"{where}, stroke {number}", LARGEST_POINTS)
    )
    count = sum(len(stroke) for stroke in strokes)
    if count > LARGEST_POINTS:
        raise ValueError(f"{where} has {count} points; {LARGEST_POINTS} are the most.")
    return strokes


def _point(value: object, where: str) -> tuple[float, float]:
    if type(value) is list and len(value) == 2:
        x, y = value
        # Comparing refuses what is not a number too; a bool is of another type.
        if (
            type(x) in _NUMBERS
            and type(y) in _NUMBERS
            and -LARGEST_COORDINATE <= x <= LARGEST_COORDINATE
            and -LARGEST_COORDINATE <= y <= LARGEST_COORDINATE
        ):
            return float(x), float(y)
    raise ValueError(
        f"{where} has the point {_short(value)}; wanted [x, y], two finite numbers "
        f"of at most {LARGEST_COORDINATE:g}."
    )


def _picture(value: object, where: str) -> bytes:
    match = (
        _PICTURE.fullmatch(value)
        if isinstance(value, str) and len(value) <= LARGEST_PICTURE
        else None
    )
    if match is None:
        raise ValueError(
            f"{where} is no picture; wanted a data URL of PNG, JPEG or WebP in base64, "
            f"at most {LARGEST_PICTURE} characters."
        )
    try:
        return base64.b64decode(match[2], validate=True)
    except ValueError as error:
        raise ValueError(f"{where}: the picture's base64 is broken ({error}).") from error


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_short(value)}; wanted a JSON object.")
    return value


def _list(value: object, where: str, most: int) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: {_short(value)} came; wanted a list.")
    if len(value) > most:
        raise ValueError(f"{where}: {len(value)} entries came; {most} are the most.")
    return value


def _whole(value: object, name: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name} is {_short(value)}; wanted a whole number from 0 to {most}.")
    return value


def example_sets() -> list[dict[str, Any]]:
    """The built-in example sets: ``[{"key": ..., "document": {...}}, ...]``."""
    text = resources.files("maml.sessions").joinpath("examples.json").read_text(encoding="utf-8")
    sets: list[dict[str, Any]] = json.loads(text)
    return sets


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
