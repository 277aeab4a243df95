"""Preprocessing: strokes or a picture -> ink, the same for the data set, uploads and drawings.

*Ink* is the input of the networks: a float32 picture of 28 x 28 pixels, 0 for paper and 1 for ink.
Only this module deals with polarity, centring, scale and pen width.

Preprocessing has three stages: find the ink (`_find_ink`: polarity, transparency, shadows), frame
it (`_fit` or `_whole_frame`), and shrink it to 28 x 28.  Strokes are ink already and start with the
second stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ExifTags, Image, ImageDraw, ImageOps
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import skeletonize

from maml.config import Framing

FRAMINGS: tuple[Framing, ...] = get_args(Framing)
"""How ink is placed in its 28 x 28 picture.

"fit": the bounding box of the ink is scaled to 20 pixels and centred, and every line is redrawn
with a standard pen, so that size, position and line width do not matter.  "frame": the whole
picture is shrunk as it is, as in published Omniglot protocols.
"""
INK_SIZE = 28
"""Side of an ink picture, in pixels."""
FIT_SIDE = 20
"""Longer side of the ink's bounding box after ``"fit"``, in pixels of the ink picture."""
PEN_WIDTH = 2.0
"""Width of the standard pen of ``"fit"``, in pixels of the ink picture."""
PREPROCESSING_VERSION = 1
"""Increased whenever the same picture would give different ink; part of the keys of ink caches."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FRAME_SIDE, _FRAME_PEN = 17.0, 1.3
"""The averages in Omniglot's pictures under ``"frame"`` of what `FIT_SIDE` and `PEN_WIDTH` fix."""
_OVERSAMPLING = 4
_CANVAS = INK_SIZE * _OVERSAMPLING
_FIT_CANVAS = FIT_SIDE * _OVERSAMPLING
_LARGEST_SIDE = 512
_EMPTY = "There is no ink in this {thing}: {reason}. Draw at least one dot or line."


def strokes_to_image(strokes: Sequence[ArrayLike], framing: Framing = "fit") -> NDArray[np.float32]:
    """Turn pen strokes into ink.

    Args:
        strokes: the strokes of one drawing, each of shape (n_points, 2) with columns x (to the
            right) and y (downwards), in any unit and anywhere in the plane.  A stroke of one point
            is a dot.  Strokes without points are ignored.
        framing: ``"fit"`` or ``"frame"``, see `FRAMINGS`; take `MetaNetwork.framing`.  Strokes have
            no frame of their own: under ``"frame"`` they get Omniglot's average size and pen width,
            centred.

    Returns:
        Ink, float32 of shape (28, 28), values in [0, 1].

    Raises:
        ValueError: if there is no point at all, a stroke has another shape, a coordinate is not a
            finite number, or the framing is unknown.
    """
    _check_framing(framing)
    lines = [_stroke(points, index) for index, points in enumerate(strokes)]
    lines = [line for line in lines if len(line)]
    if not lines:
        raise ValueError(_EMPTY.format(thing="drawing", reason="it has no stroke with a point"))
    points = np.concatenate(lines)
    low, high = points.min(axis=0), points.max(axis=0)
    # Half of each end first: the difference of two huge coordinates must not overflow.
    centre = low / 2 + high / 2
    half = float(np.max(high / 2 - low / 2))
    side, width = (FIT_SIDE, PEN_WIDTH) if framing == "fit" else (_FRAME_SIDE, _FRAME_PEN)
    reach = side * _OVERSAMPLING / 2
    scale = reach / half if half > 0 and math.isfinite(reach / half) else 0.0
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    pen = ImageDraw.Draw(canvas)
    for line in lines:
        placed = [(x, y) for x, y in (line - centre) * scale + (_CANVAS - 1) / 2]
        if len(placed) == 1:
            pen.point(placed, fill=255)
        else:
            pen.line(placed, fill=255, width=1)
    return _with_pen(np.asarray(canvas) > 0, width)


def _check_framing(framing: Framing) -> None:
    if framing not in FRAMINGS:
        raise ValueError(f"Unknown framing {framing!r}; choose one of {', '.join(FRAMINGS)}.")


def image_to_ink(picture: Any, framing: Framing = "fit") -> NDArray[np.float32]:
    """Turn a picture of a drawing into ink.

    Dark lines on light paper and light lines on a dark ground both become ink; transparency counts
    as paper; uneven light, as in a photograph of paper, is evened out.

    Args:
        picture: a PIL image of any mode, or an array: (height, width) or (height, width, 3 or 4),
            bool, unsigned integers, or floats in [0, 1].  EXIF orientation is applied.
        framing: ``"fit"`` or ``"frame"``, see `FRAMINGS`; take `MetaNetwork.framing`.

    Returns:
        Ink, float32 of shape (28, 28), values in [0, 1].

    Raises:
        ValueError: if the picture has no ink (all pixels alike, or only noise and shading),
            no pixels, another shape or non-finite values, or if the framing is unknown.
    """
    _check_framing(framing)
    ink = _find_ink(_luminance(picture))
    return _fit(ink) if framing == "fit" else _whole_frame(ink)


def _stroke(points: ArrayLike, index: int) -> NDArray[np.float64]:
    try:
        line = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Stroke {index} is not a list of (x, y) points: {error}. "
            "Each stroke must be an array of shape (n_points, 2)."
        ) from error
    if line.size == 0:
        return np.empty((0, 2))
    if line.ndim != 2 or line.shape[1] != 2:
        raise ValueError(
            f"Stroke {index} has shape {line.shape}; each stroke must have shape (n_points, 2), "
            "one row of x and y for each point."
        )
    if not np.isfinite(line).all():
        raise ValueError(
            f"Stroke {index} holds a coordinate that is not a finite number; leave out such points."
        )
    return line


def _luminance(picture: Any) -> NDArray[np.float32]:
    """Convert to one float channel in [0, 1], transparent parts as contrasting paper."""
    image = picture if isinstance(picture, Image.Image) else _image_from_array(picture)
    if 0 in image.size:
        raise ValueError(f"The picture has no pixels: its size is {image.size}.")
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)  # as phones write it
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("The picture holds values that are not finite numbers.")
        span = float(values.max() - values.min())
        return _shrink((values - values.min()) / span if span else np.zeros_like(values))
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255
        grey, alpha = rgba[..., :3] @ _LUMA, rgba[..., 3]
        weight = float(alpha.sum())
        dark = weight == 0 or float((grey * alpha).sum()) / weight < 0.5
        paper = 1.0 if dark else 0.0
        return _shrink((grey * alpha + paper * (1 - alpha)).astype(np.float32))
    return _shrink(np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255))


def _image_from_array(picture: ArrayLike) -> Image.Image:
    try:
        array = np.asarray(picture)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"The picture cannot be made an array: {error}") from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(
            "A picture array must have the shape (height, width) or (height, width, 3 or 4) and at "
            f"least one pixel; got {array.shape}."
        )
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ValueError("The picture holds values that are not finite numbers.")
        if array.min() < 0 or array.max() > 1:
            raise ValueError(
                f"A float picture must lie in [0, 1], but its values run from {array.min():g} to "
                f"{array.max():g}; divide by the largest possible value first."
            )
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        if array.ndim == 3:  # PIL knows such depth in grey only.
            array = (array >> 8).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(
            f"A picture array must be of dtype bool, uint8, uint16 or float; got {array.dtype}."
        )
    return Image.fromarray(array)


def _shrink(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Limit the size of large photographs; lines stay several pixels wide."""
    factor = math.ceil(max(grey.shape) / _LARGEST_SIDE)
    # A whole factor: else a fine line is spread over one or two pixels, by where it happens to lie.
    return np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey


def _find_ink(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Separate ink from paper: 1 on ink, 0 on paper, soft edges in between."""
    if float(grey.max() - grey.min()) < 0.05:
        raise ValueError(_EMPTY.format(thing="picture", reason="all its pixels are alike"))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    # Most pixels are paper; in a near tie the border decides.
    middle = (float(grey.max()) + float(grey.min())) / 2
    light_share = float((grey > middle).mean())
    if 0.4 < light_share < 0.6:
        light_share = float((border > middle).mean())
    darkness = 1 - grey if light_share >= 0.5 else grey
    if bool(np.isin(darkness, (0, 1)).all()):
        return darkness  # Two levels only, as in Omniglot: no threshold needed.
    uneven = float(np.ptp(np.quantile(darkness, (0.02, 0.5)))) > 0.05
    if uneven:
        darkness = _even_light(darkness)
    low = float(np.median(darkness[darkness <= _threshold(darkness)]))
    contrast = np.clip(darkness - low, 0, None)
    inked = contrast > _threshold(contrast)
    height = float(np.median(contrast[inked])) if inked.any() else 0.0
    # Noise and shading also split into two classes, but with low contrast or of similar size.
    share = float(inked.mean())
    if (share > 0.25 and height < 0.06) or (uneven and (share > 0.4 or height < 0.03)):
        raise ValueError(_EMPTY.format(thing="picture", reason="it shows only noise and shading"))
    ink: NDArray[np.float32] = np.clip(contrast / height, 0, 1).astype(np.float32)
    return ink


def _threshold(values: NDArray[np.float32]) -> float:
    """Otsu's threshold, at the upper edge of its bin, so that the whole bin lies below."""
    bins = 256
    return float(threshold_otsu(values, nbins=bins)) + float(np.ptp(values)) / (2 * bins)


def _even_light(darkness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove slow changes of brightness (a shadow, a lamp), specks and noise."""
    size = max(5, round(max(darkness.shape) / 6))
    ground = ndimage.gaussian_filter(
        ndimage.grey_opening(darkness, size=(size, size), mode="nearest"), size / 4, mode="nearest"
    )
    level = np.clip(darkness - ground, 0, None)
    level = np.where(level > _threshold(level), level, 0)
    pieces, count = ndimage.label(level > 0, structure=np.ones((3, 3)))
    area = ndimage.sum_labels(np.ones_like(level), pieces, np.arange(1, count + 1))
    if count:
        smallest = 0.02 * float(area.max())
        level = np.where(np.isin(pieces, np.flatnonzero(area >= smallest) + 1), level, 0)
    return np.asarray(level, dtype=np.float32)


def _fit(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the ink's bounding box to the middle of a large canvas and redraw it there."""
    rows, columns = np.nonzero(ink > 0.5)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    side = max(bottom - top, right - left)
    scale = _FIT_CANVAS / side
    centre = np.array([left + right, top + bottom]) / 2
    if 1 / scale > 1.5:
        # Sampling would leave gaps in fine lines: make them wider than a sampling step first.
        width = int(1 / scale) + 1
        solid = np.pad(ink > 0.4, width).astype(np.float32)
        ink, centre = ndimage.maximum_filter(solid, size=width), centre + width
    x, y = centre - _CANVAS / 2 / scale
    picture = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    canvas = picture.transform(
        (_CANVAS, _CANVAS),
        Image.Transform.AFFINE,
        (1 / scale, 0, x, 0, 1 / scale, y),
        Image.Resampling.BILINEAR,
    )
    lines = skeletonize(np.asarray(canvas) > 127)
    return _with_pen(lines, PEN_WIDTH)


def _with_pen(lines: NDArray[np.bool_], width: float) -> NDArray[np.float32]:
    """Draw one-pixel lines on the large canvas with a pen of that width, then shrink to ink."""
    reach = width / 2 * _OVERSAMPLING + 0.5
    # Farther from the lines than that there is no ink, and distances need not be known.
    near = tuple(
        slice(max(0, inked[0] - math.ceil(reach)), inked[-1] + math.ceil(reach) + 1)
        for inked in (np.flatnonzero(lines.any(axis=axis)) for axis in (1, 0))
    )
    inked = np.zeros(lines.shape)
    inked[near] = np.clip(reach - ndimage.distance_transform_edt(~lines[near]), 0, 1)
    small = inked.reshape(INK_SIZE, _OVERSAMPLING, INK_SIZE, _OVERSAMPLING).mean(axis=(1, 3))
    return small.astype(np.float32)


def _whole_frame(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shrink the whole picture, made square with paper around it."""
    height, width = ink.shape
    side = max(height, width)
    square = np.zeros((side, side), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = ink
    small = Image.fromarray(square).resize((INK_SIZE, INK_SIZE), Image.Resampling.BOX)
    return np.clip(np.asarray(small), 0, 1)
