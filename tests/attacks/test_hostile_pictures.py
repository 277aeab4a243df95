"""Picture files made to break whoever opens them: each is left out by name, and nothing else is."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from maml.demo.strings import worded
from maml.model import MetaNetwork
from maml.networks import build_model
from maml.recipes import RECIPES
from maml.sessions.answers import answer
from maml.sessions.document import LARGEST_PICTURE, Drawing, parse_document
from maml.sessions.draw_session import DrawSession
from maml.sessions.refusal import Refusal

CROSS = [[[200, 200], [800, 800]], [[800, 200], [200, 800]]]
BAR = [[[500, 100], [505, 900]]]
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*between: bytes, width: int = 40, height: int = 40, mode: int = 0, depth: int = 8) -> bytes:
    """A PNG with a black bar; `between` are further chunks before its pixels."""
    head = struct.pack(">IIBBBBB", width, height, depth, mode, 0, 0, 0)
    rows = (b"\0" + b"\xff" * 15 + b"\0" * 5 + b"\xff" * 20) * 40
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return SIGNATURE + chunk(b"IHDR", head) + b"".join(between) + pixels + chunk(b"IEND", b"")


def jpeg(exif: bytes) -> bytes:
    file = io.BytesIO()
    image = Image.new("L", (40, 40), 255)
    image.paste(0, (15, 5, 20, 35))
    image.save(file, "JPEG", exif=b"Exif\0\0" + exif)
    return file.getvalue()


def tiff(entries: int, body: bytes) -> bytes:
    return b"MM\0*" + struct.pack(">IH", 8, entries) + body


HOSTILE: dict[str, Callable[[], bytes]] = {
    "palette without PLTE": lambda: png(mode=3),
    "palette without PLTE but transparent": lambda: png(chunk(b"tRNS", b"\0" * 300), mode=3),
    "transparency of the wrong length": lambda: png(chunk(b"tRNS", b"\1")),
    "zTXt bomb": lambda: png(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 20_000_000, 9))),
    "zTXt of no method": lambda: png(chunk(b"zTXt", b"a\0\7rubbish")),
    "iTXt cut short": lambda: png(chunk(b"iTXt", b"a\0\1\0")),
    "iCCP bomb": lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 20_000_000, 9))),
    "iCCP rubbish": lambda: png(chunk(b"iCCP", b"a\0\0rubbish")),
    "eXIf rubbish": lambda: png(chunk(b"eXIf", b"MM\0*\0\0")),
    "eXIf that ends in an entry": lambda: png(chunk(b"eXIf", tiff(9, b"\1\x12\0\3\0\0"))),
    "acTL of no frames": lambda: png(chunk(b"acTL", b"\0\0")),
    "acTL of very many frames": lambda: png(chunk(b"acTL", b"\x7f" * 8)),
    "pHYs cut short": lambda: png(chunk(b"pHYs", b"\1")),
    "gAMA cut short": lambda: png(chunk(b"gAMA", b"\1")),
    "IHDR of 0 x 0": lambda: png(width=0, height=0),
    "IHDR of 2^31": lambda: png(width=2**31 - 1, height=2**31 - 1),
    "IHDR of 512 x 512 without the pixels": lambda: png(width=512, height=512),
    "IHDR of no colour mode": lambda: png(mode=7),
    "IHDR of no depth": lambda: png(depth=3),
    "IHDR cut short": lambda: SIGNATURE + chunk(b"IHDR", b"\0\0"),
    "chunk that is longer than the file": lambda: SIGNATURE + b"\x7f\xff\xff\xffIHDR",
    "wrong checksum": lambda: png()[:40] + b"\0\0\0\0" + png()[44:],
    "pixel bomb": lambda: png(width=60_000, height=60_000),
    "pixels that do not unpack": lambda: png().replace(b"\x78\x9c", b"\x78\x00", 1),
    "EXIF rubbish": lambda: jpeg(b"rubbish"),
    "EXIF whose orientation is no number": lambda: jpeg(
        tiff(1, struct.pack(">HHI4s", 0x0112, 2, 4, b"abc\0"))
    ),
    "EXIF whose orientation is a fraction": lambda: jpeg(
        tiff(1, struct.pack(">HHII", 0x0112, 5, 1, 2**31))
    ),
    "EXIF that points at itself": lambda: jpeg(tiff(1, struct.pack(">HHII", 0x8769, 4, 1, 8))),
    "JPEG header alone": lambda: b"\xff\xd8\xff",
    "JPEG of no size": lambda: b"\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\0\1\1\x11\0\xff\xd9",
    "WebP header alone": lambda: b"RIFF\xff\xff\xff\xffWEBPVP8X",
    "WebP of a wrong chunk": lambda: b"RIFF\x20\0\0\0WEBPVP8L\xff\xff\xff\x7f" + b"\0" * 24,
    "GIF under another name": lambda: b"GIF89a\1\0\1\0\0\0\0;",
    "SVG under another name": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PostScript under another name": lambda: b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n",
    "nothing": lambda: b"",
}


@pytest.fixture(scope="module")
def model() -> MetaNetwork:
    recipe = RECIPES["flagship"]
    return build_model(
        recipe.network, recipe.training.inner, torch.Generator().manual_seed(0)
    ).eval()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_is_left_out_and_the_others_answer(name: str, model: MetaNetwork) -> None:
    content = HOSTILE[name]()
    picture = "data:image/png;base64," + base64.b64encode(content).decode()
    assert len(picture) <= LARGEST_PICTURE
    try:
        ink = Drawing(picture=content).ink("fit")
    except Refusal as refusal:
        assert refusal.record["code"] in (
            "picture_unreadable",
            "picture_too_large",
            "picture_blank",
        )
    else:  # a decoder may overlook what is wrong
        assert ink.shape == (28, 28) and 0 <= ink.min() <= ink.max() <= 1
        return
    symbols = [
        {"name": "bar", "examples": [{"strokes": BAR}]},
        {"name": "cross", "examples": [{"picture": picture}, {"strokes": CROSS}]},
    ]
    asked = {"version": 1, "symbols": symbols, "query": CROSS}
    if not content:
        with pytest.raises(Refusal, match="not_a_picture"):
            parse_document(asked)
        return
    news = answer(parse_document(asked), DrawSession(), model)
    (problem,) = news["problems"]
    assert worded(problem, "en").startswith("Drawing 1 of cross is left out")
    assert len(news["probabilities"]) == 2
