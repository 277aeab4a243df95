"""Generated alphabets: characters made of pen strokes, drawn by simulated writers.

A substitute for Omniglot that needs no download.  Each alphabet has a *style* (a grid of anchor
points, curvature and joints of strokes, strokes shared by many characters), each character is a
*plan* (ideal strokes on that grid), and each writer draws every character of an alphabet with their
own slant, proportions, size, rounding of corners, wobble and pen.  Everything follows from the
seed, and an alphabet does not depend on the number of alphabets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import correlate1d, gaussian_filter

from maml import drawing as preprocessing
from maml.config import Framing
from maml.data.characters import CharacterSet
from maml.data.stored import cache_folder, read_stored, store
from maml.data.strokes import PenDrawing
from maml.drawing import FRAMINGS, INK_SIZE, image_to_ink, strokes_to_image

Points = NDArray[np.float64]
"""Points of a line, (n, 2): x to the right, y downwards.  A plan's lie in about [-1, 1]."""

_FRAME = 105
"""Side of the paper in pixels, as in Omniglot."""
_POINTS = 40
"""Points of a drawn stroke."""
_ALIKE = 0.72
"""Blurred plans with a greater cosine count as the same character."""
_BLOT = 0.19
"""Plans that cover a greater share of their picture are rejected."""
_RETRACED = 0.2
"""Plans of which a greater share retraces a line are rejected."""


def generate_alphabets(
    alphabets: int = 10,
    characters: int = 20,
    drawings: int = 20,
    seed: int = 0,
    *,
    framing: Framing = "fit",
) -> CharacterSet:
    """Generate alphabets in the shape of Omniglot.

    Args:
        alphabets: how many; the first three fifths of them (at least one, and not all of two or
            more) are background, for training.
        characters: of each alphabet.
        drawings: of each character, each by a different writer.
        seed: the same seed gives the same alphabets.
        framing: how ink is placed in its picture, see `maml.drawing.Framing`.

    Returns:
        The characters; `images` is uint8 (alphabets x characters, drawings, 28, 28), 255 = ink.

    Raises:
        ValueError: if a number is not a whole number of at least 1 (the seed: 0), or the framing
            is unknown.
    """
    images: list[NDArray[np.uint8]] = []
    names: list[str] = []
    owners: list[str] = []
    for drawing, pen in _draw(alphabets, characters, drawings, seed):
        picture = Image.new("1", (_FRAME, _FRAME), 1)
        brush = ImageDraw.Draw(picture)
        for stroke in drawing.strokes:
            placed = [(x, y) for x, y in stroke]
            brush.line(placed, fill=0, width=round(pen), joint="curve")
            for x, y in (placed[0], placed[-1]):
                brush.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=0)
        images.append(np.rint(image_to_ink(picture, framing) * 255).astype(np.uint8))
        if drawing.drawing == 0:
            names.append(drawing.character)
            owners.append(drawing.alphabet)
    background = min(max(1, round(alphabets * 0.6)), max(1, alphabets - 1)) * characters
    return CharacterSet(
        np.stack(images).reshape(-1, drawings, INK_SIZE, INK_SIZE),
        tuple(names),
        tuple(owners),
        tuple(row < background for row in range(len(names))),
        "generated alphabets",
    )


def load_generated(*, framing: Framing = "fit", cache: Path | None = None) -> CharacterSet:
    """`generate_alphabets` with its defaults, cached on disk.

    Args:
        framing: how ink is placed in its picture, see `maml.drawing.Framing`.
        cache: folder of the cache; by default the user's cache folder.

    Raises:
        ValueError: if the framing is unknown.
    """
    if framing not in FRAMINGS:
        raise ValueError(f"Unknown framing {framing!r}; choose one of {', '.join(FRAMINGS)}.")
    makers = (Path(__file__), Path(preprocessing.__file__))
    digest = hashlib.sha256(b"".join(maker.read_bytes() for maker in makers)).hexdigest()
    path = (cache or cache_folder()) / f"generated-{framing}-{digest[:16]}.npz"
    data = read_stored(path)
    if data is None:
        data = generate_alphabets(framing=framing)
        store(data, path)
    return data


def draw_alphabets(
    alphabets: int = 10, characters: int = 20, drawings: int = 20, seed: int = 0
) -> list[PenDrawing]:
    """The strokes behind `generate_alphabets`, for tests and examples that need pen strokes.

    Args:
        alphabets, characters, drawings, seed: as in `generate_alphabets`.

    Returns:
        All drawings, by alphabet, character and drawing; points in pixels of a 105 x 105 paper.

    Raises:
        ValueError: as `generate_alphabets`.
    """
    return [drawing for drawing, _ in _draw(alphabets, characters, drawings, seed)]


@dataclass(frozen=True)
class _Style:
    """What the characters of one alphabet have in common."""

    anchors: Points
    """End points of pen moves."""
    strokes: NDArray[np.float64]
    """Probability of one, two, three and four strokes."""
    diagonal: float
    """Odds of a diagonal pen move against a vertical or horizontal one."""
    bow: float
    """Share of pen moves that are curved."""
    loop: float
    """Share of pen moves that end in a small loop."""
    dot: float
    """Share of further strokes that are dots."""
    softness: float
    """Rounding of the corners between moves, in points of a drawn stroke."""
    shared: tuple[Points, ...]
    """Strokes that recur in many characters: a stem, a bar, a bow."""


@dataclass(frozen=True)
class _Writer:
    """How one writer draws; lengths are in units of a plan unless stated otherwise."""

    size: float
    """A plan's unit, as a share of the paper."""
    aspect: float
    slant: float
    turn: float
    """Radians."""
    rounding: float
    """Of corners, in points of a drawn stroke."""
    wobble: float
    looseness: float
    """Deviation of strokes from the plan."""
    pen: float
    """Width in pixels."""


def _draw(
    alphabets: int, characters: int, drawings: int, seed: int
) -> Iterator[tuple[PenDrawing, float]]:
    """Every drawing and the width of its pen in pixels."""
    numbers = {"alphabets": alphabets, "characters": characters, "drawings": drawings}
    for name, number in {**numbers, "seed": seed}.items():
        least = 0 if name == "seed" else 1
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, not {number!r}.")
    for alphabet in range(alphabets):
        name = f"Generated_{alphabet + 1:02d}"
        plans = _alphabet(np.random.default_rng([seed, alphabet, 0]), characters)
        generators = [
            np.random.default_rng([seed, alphabet, 1, index]) for index in range(drawings)
        ]
        writers = [_writer(rng) for rng in generators]
        for number, plan in enumerate(plans, start=1):
            for index, (writer, rng) in enumerate(zip(writers, generators, strict=True)):
                strokes = _written_by(plan, writer, rng)
                character = f"{name}/character{number:02d}"
                yield PenDrawing(name, character, index, strokes), writer.pen


def _style(rng: np.random.Generator) -> _Style:
    columns = np.linspace(-0.7, 0.7, rng.integers(2, 4)) * rng.uniform(0.85, 1.25)
    rows = np.linspace(-1, 1, rng.integers(3, 5))
    rows[1:-1] += rng.uniform(-0.12, 0.12, len(rows) - 2)
    style = _Style(
        anchors=np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2),
        strokes=rng.dirichlet([3, 4, 2.5, 1.5]),
        diagonal=rng.uniform(0.1, 0.7),
        bow=rng.beta(1.2, 1.2),
        loop=rng.uniform(0, 0.18),
        dot=rng.uniform(0, 0.2),
        softness=rng.uniform(0.4, 2.5),
        shared=(),
    )
    shared = tuple(_stroke(rng, style, [], moves=1) for _ in range(rng.integers(1, 4)))
    return replace(style, shared=shared)


def _alphabet(rng: np.random.Generator, characters: int) -> list[tuple[Points, ...]]:
    """Plans of characters of one style, all different."""
    style = _style(rng)
    plans: list[tuple[Points, ...]] = []
    pictures: list[NDArray[np.float32]] = []
    strictness = 1.0
    while len(plans) < characters:
        if strictness == 1:
            count = int(rng.choice([1, 2, 3, 4], p=style.strokes))
        plan = _plan(rng, style, count)
        ink = strokes_to_image(plan)
        picture = gaussian_filter(ink, 1.2)
        picture /= np.linalg.norm(picture)
        likest = max((float((picture * other).sum()) for other in pictures), default=0.0)
        fault = max(likest / _ALIKE, float(ink.mean()) / _BLOT, _retraced(plan) / _RETRACED)
        if fault * strictness < 1:
            plans.append(plan)
            pictures.append(picture)
            strictness = 1.0
        else:
            strictness *= 0.998  # A style may run out of good characters: relax the limits.
    return plans


def _retraced(plan: tuple[Points, ...]) -> float:
    """Share of the points that lie next to another part of the drawing."""
    steps = [np.linalg.norm(np.diff(stroke, axis=0), axis=1) for stroke in plan]
    # A large gap between strokes: the end of one is not a neighbour of the start of the next.
    way = np.cumsum(np.concatenate([np.concatenate([[9.0], step]) for step in steps]))
    points = np.concatenate(plan)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    beside = (distance < 0.12) & (np.abs(way[:, None] - way) > 0.4)
    return float(beside.any(axis=1).mean())


def _plan(rng: np.random.Generator, style: _Style, count: int) -> tuple[Points, ...]:
    strokes: list[Points] = []
    while len(strokes) < count:
        if strokes and rng.random() < style.dot:
            strokes.append(_dot(rng, style))
        elif count > 1 and not strokes and rng.random() < 0.5:
            strokes.append(style.shared[rng.integers(len(style.shared))])
        else:
            moves = int(rng.integers(2, 5)) if count == 1 else int(rng.integers(1, 3))
            strokes.append(_stroke(rng, style, strokes, moves))
    return tuple(strokes)


def _dot(rng: np.random.Generator, style: _Style) -> Points:
    place = rng.choice(style.anchors) + rng.normal(0, 0.12, 2)
    return np.stack([place, place + rng.normal(0, 0.06, 2)])


def _stroke(rng: np.random.Generator, style: _Style, others: list[Points], moves: int) -> Points:
    """One stroke: the pen moves from anchor to anchor, straight or bowed, perhaps with a loop."""
    if others and rng.random() < 0.75:  # most strokes touch an earlier one
        other = others[rng.integers(len(others))]
        place = other[rng.choice([0, len(other) // 2, len(other) - 1])]
    else:
        place = rng.choice(style.anchors)
    line = [place[None]]
    heading, side = np.zeros(2), rng.choice([-1, 1])
    for _ in range(moves):
        away = style.anchors - place
        far = np.linalg.norm(away, axis=1)
        # Avoid moving straight back along the line just drawn.
        weight = (far > 0.4) & (away @ heading > -0.75 * far)
        weight = weight * np.where(np.abs(away).min(axis=1) < 0.05, 1, style.diagonal)
        goal = rng.choice(style.anchors, p=weight / weight.sum())
        move = goal - place
        across = np.array([-move[1], move[0]])
        t = np.linspace(0, 1, 9)[1:, None]
        bulge = 0.0
        if rng.random() < style.bow:
            side = side if rng.random() < 0.7 else -side  # Most curves keep turning one way.
            bulge = side * rng.uniform(0.2, 0.55)
        line.append(place + t * move + 4 * t * (1 - t) * bulge * across)
        heading = line[-1][-1] - line[-1][-2]
        heading = heading / np.linalg.norm(heading)
        if rng.random() < style.loop:
            radius = rng.uniform(0.15, 0.45)
            centre = side * np.array([-heading[1], heading[0]])
            angle = np.linspace(0, 2 * np.pi, 13)[1:, None]
            line.append(goal + radius * (np.sin(angle) * heading + (1 - np.cos(angle)) * centre))
        place = goal
    return _resample(_round(_resample(np.concatenate(line)), style.softness))


def _writer(rng: np.random.Generator) -> _Writer:
    return _Writer(
        size=rng.uniform(0.28, 0.44),
        aspect=np.exp(rng.normal(0, 0.13)),
        slant=rng.normal(0.05, 0.14),
        turn=rng.normal(0, 0.06),
        rounding=rng.uniform(0.3, 1.6),
        wobble=rng.gamma(3, 0.005),
        looseness=rng.gamma(4, 0.015),
        pen=rng.uniform(2, 4),
    )


def _written_by(
    plan: tuple[Points, ...], writer: _Writer, rng: np.random.Generator
) -> tuple[Points, ...]:
    """Draw a plan once, on paper of 105 x 105 pixels."""
    loose = writer.looseness
    # The whole character is deformed a little, all strokes together, ...
    bend = rng.normal(0, loose, (2, 6))
    strokes = []
    for ideal in plan:
        x, y = ideal.T
        terms = np.stack([x * x - 0.5, x * y, y * y - 0.5, x, y, np.sin(2 * x + y)])
        line = ideal + (bend @ terms).T
        # ... and each stroke is shifted, scaled, and shortened or extended a little.
        middle = line.mean(axis=0)
        grow = 1 + rng.normal(0, loose, 2)
        line = (line - middle) * grow @ _turn(rng.normal(0, loose)) + middle
        line = line + rng.normal(0, 0.8 * loose, 2)
        line = _round(_stretch_ends(line, rng.normal(0, loose, 2)), writer.rounding)
        # Short strokes wobble less.
        reach = min(1.0, float(np.ptp(line, axis=0).max()))
        strokes.append(line + _waves(rng, len(line)) * writer.wobble * reach)
    frame = np.array([[writer.aspect, 0], [-writer.slant, 1 / writer.aspect]]) @ _turn(writer.turn)
    drawn = np.concatenate(strokes) @ frame * (writer.size * rng.uniform(0.92, 1.08) * _FRAME)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    room = (_FRAME - 8) / max(float((high - low).max()), _FRAME - 8)
    place = _FRAME / 2 + rng.normal(0, 4, 2)
    drawn = (drawn - (low + high) / 2) * room
    reach = (high - low) / 2 * room + 4
    drawn += np.clip(place, reach, _FRAME - reach)
    return tuple(np.split(drawn, np.cumsum([len(stroke) for stroke in strokes])[:-1]))


def _turn(angle: float) -> Points:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def _resample(line: Points) -> Points:
    """Equally spaced points along a line."""
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    even = np.linspace(0, way[-1], _POINTS)
    return np.stack([np.interp(even, way, line[:, axis]) for axis in (0, 1)], axis=1)


def _round(line: Points, width: float) -> Points:
    """Smooth corners by a Gaussian of `width` points; both ends stay in place."""
    reach = min(len(line) - 1, int(4 * width) + 1)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    before = 2 * line[0] - line[reach:0:-1]
    after = 2 * line[-1] - line[-2 : -reach - 2 : -1]
    padded = np.concatenate([before, line, after])
    smooth: Points = correlate1d(padded, bell / bell.sum(), axis=0)[reach : reach + len(line)]
    return smooth


def _stretch_ends(line: Points, amounts: Points) -> Points:
    """Shift both ends along the line; the shift fades towards its middle."""
    t = np.linspace(0, 1, len(line))[:, None]
    first, last = line[1] - line[0], line[-1] - line[-2]
    first = first / max(float(np.linalg.norm(first)), 1e-9)
    last = last / max(float(np.linalg.norm(last)), 1e-9)
    return line - amounts[0] * first * (1 - t) ** 4 + amounts[1] * last * t**4


def _waves(rng: np.random.Generator, count: int) -> Points:
    """Slow wobble along a stroke, of about unit amplitude."""
    order = np.arange(1, 7)
    t = np.linspace(0, 1, count)[:, None]
    waves = np.sin(np.pi * order * t + rng.uniform(0, 2 * np.pi, (2, 1, 6)))
    mixed: Points = (waves * rng.normal(0, 1, (2, 1, 6)) / np.sqrt(order)).sum(axis=2).T
    return mixed
