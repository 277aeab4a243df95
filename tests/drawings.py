"""Drawings and documents that several test files share."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from maml.model import MetaNetwork
from maml.networks import build_model
from maml.recipes import RECIPES
from maml.sessions.document import Document, parse_document

Strokes = list[list[list[int]]]

LINE = [[100, 100], [900, 900]]
ROUND: Strokes = [
    [[int(500 + 300 * np.cos(a)), int(500 + 300 * np.sin(a))] for a in np.linspace(0, 6.2, 24)]
]
CROSS: Strokes = [[[200, 200], [800, 800]], [[800, 200], [200, 800]]]
TILTED: Strokes = [[[x + 20, y - 10] for x, y in stroke] for stroke in CROSS]
BAR: Strokes = [[[500, 100], [505, 900]]]


def picture(strokes: Strokes = CROSS, form: str = "PNG", side: int = 60, pen: int = 4) -> str:
    """A data URL of a picture, dark on white, of strokes in a square of 1000."""
    image = Image.new("L", (side, side), 255)
    for stroke in strokes:
        line = [(x * side / 1000, y * side / 1000) for x, y in stroke]
        ImageDraw.Draw(image).line(line, fill=0, width=pen)
    file = io.BytesIO()
    image.save(file, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def document(**changes: Any) -> dict[str, Any]:
    """What the page sends: Round and Cross are taught, a cross is asked about."""
    return {
        "version": 1,
        "revision": 7,
        "steps": 1,
        "symbols": [
            {"id": 5, "name": "Empty", "examples": [], "pad": []},
            {"id": 3, "name": "Round", "examples": [{"strokes": ROUND}], "pad": []},
            {"id": 8, "name": "Cross", "examples": [], "pad": CROSS},
        ],
        "query": CROSS,
        **changes,
    }


def parsed(**changes: Any) -> Document:
    """`document`, checked."""
    return parse_document(document(**changes))


def untrained_network(seed: int = 0) -> MetaNetwork:
    """The product's network with fresh parameters, ready to be adapted."""
    recipe = RECIPES["flagship"]
    generator = torch.Generator().manual_seed(seed)
    return build_model(recipe.network, recipe.training.inner, generator).eval()
