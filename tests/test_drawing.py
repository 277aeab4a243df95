"""From drawings and pictures to ink: numbers for what must not matter, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw

from maml import CharacterSet, image_to_ink, strokes_to_image
from maml.data.omniglot import load_omniglot
from maml.data.strokes import load_strokes
from maml.drawing import FIT_SIDE

Ink = NDArray[np.float32]
Strokes = list[NDArray[np.float64]]

LETTER: Strokes = [
    np.array([[100.0, 60], [200, 240], [300, 60]]),
    np.array([[140.0, 150], [260, 150]]),
]


def painted(
    size: tuple[int, int] = (400, 300), width: int = 8, ink: int = 20, paper: int = 255
) -> Image.Image:
    picture = Image.new("L", size, paper)
    pen = ImageDraw.Draw(picture)
    for stroke in LETTER:
        pen.line([(x, y) for x, y in stroke], fill=ink, width=width)
    return picture


def photographed(
    light: float, grain: float, *, lamp: bool = False, drawn: bool = True, seed: int = 0
) -> NDArray[np.uint8]:
    """Paper in uneven light: a slope from left to right, a soft shadow, and the camera's grain."""
    y, x = np.mgrid[0:300, 0:400]
    paper = np.asarray(painted(ink=50, paper=200) if drawn else Image.new("L", (400, 300), 200))
    shade = 1 - light * x / 400
    if lamp:
        shade = shade * (1 - 0.4 * np.exp(-(((x - 250) / 120) ** 2) - ((y - 100) / 90) ** 2))
    noise = np.random.default_rng(seed).normal(0, grain, (300, 400))
    return np.clip(paper * shade + noise, 0, 255).astype(np.uint8)


def alike(first: Ink, second: Ink) -> float:
    """Cosine of two inks: 1 for the same."""
    return float((first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second))


def box(ink: Ink) -> tuple[int, int, int, int]:
    """First and last row and column with ink."""
    rows, columns = np.flatnonzero(ink.max(1) > 0.5), np.flatnonzero(ink.max(0) > 0.5)
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def assert_ink(ink: Ink) -> None:
    assert ink.shape == (28, 28)
    assert ink.dtype == np.float32
    assert ink.flags.writeable
    assert 0 <= ink.min() <= ink.max() <= 1
    assert ink.max() > 0.9


@pytest.fixture(scope="module")
def letter() -> Ink:
    return image_to_ink(painted())


# Strokes -----------------------------------------------------------------------------------------


def test_ink_is_centred_and_of_one_size_and_pen() -> None:
    ink = strokes_to_image([np.array([[0.0, 0], [10, 0], [10, 10], [0, 10], [0, 0]])])
    assert_ink(ink)
    # The line runs along a square of 20 pixels, its pen is 2 wide: ink from 3 to 25.
    assert box(ink) == (3, 24, 3, 24)
    assert np.all(ink[14, [3, 4, 23, 24]] > 0.6)
    assert ink[14, 3:5].sum() == pytest.approx(2, abs=0.15)
    assert ink[8:20, 8:20].max() == 0
    np.testing.assert_allclose(ink, ink.T, atol=0.3)


def test_strokes_point_right_and_down() -> None:
    ink = strokes_to_image([np.array([[0.0, 0], [4, 0]]), np.array([[0.0, 0], [0, 10]])])
    rows, columns = np.indices(ink.shape)
    # An upright line on the left, with a short bar to the right at its top.
    top = ink[:8].sum(0) @ np.arange(28) / ink[:8].sum()
    bottom = ink[20:].sum(0) @ np.arange(28) / ink[20:].sum()
    assert top > bottom + 1.5


@pytest.mark.parametrize("factor", [1e-6, 0.01, 3.0, 1e9])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (-5e3, 7e3)])
def test_size_and_place_of_strokes_do_not_matter(factor: float, shift: tuple[float, float]) -> None:
    moved = [(stroke + shift) * factor for stroke in LETTER]
    np.testing.assert_allclose(strokes_to_image(moved), strokes_to_image(LETTER), atol=0.15)
    assert alike(strokes_to_image(moved), strokes_to_image(LETTER)) > 0.99


def test_order_direction_and_density_of_strokes_do_not_matter() -> None:
    plain = strokes_to_image(LETTER)
    backwards = [stroke[::-1] for stroke in LETTER[::-1]]
    dense = [
        np.concatenate([np.linspace(a, b, 50) for a, b in zip(s, s[1:], strict=False)])
        for s in LETTER
    ]
    assert alike(strokes_to_image(backwards), plain) > 0.99
    assert alike(strokes_to_image(dense), plain) > 0.98
    kinds = ([s.tolist() for s in LETTER], tuple(LETTER), [s.astype(np.float32) for s in LETTER])
    for strokes in kinds:
        assert np.array_equal(strokes_to_image(strokes), plain)


@pytest.mark.parametrize(
    "strokes",
    [
        [np.array([[7.0, 9.0]])],
        [[(7, 9), (7, 9)]],
        [[(7, 9)], [(7, 9)], []],
        [[(1e300, -1e300)]],
        [[(5e-324, 0), (0, 0)]],
    ],
    ids=["dot", "tap", "two taps", "far dot", "the smallest line"],
)
def test_dots_and_taps_are_a_dot_in_the_middle(strokes: Any) -> None:
    ink = strokes_to_image(strokes)
    assert_ink(ink)
    assert box(ink) == (13, 14, 13, 14)
    assert ink.sum() == pytest.approx(np.pi * 1**2, abs=0.8)  # A disc 2 pixels across.


@pytest.mark.parametrize("points", [[(0, 5), (9, 5)], [(-1e308, 5), (1e308, 5)]])
def test_straight_line(points: Any) -> None:
    ink = strokes_to_image([points])
    assert_ink(ink)
    assert box(ink) == (13, 14, 3, 24)
    across = strokes_to_image([[(y, x) for x, y in points]])
    assert alike(across, ink.T) > 0.95


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], "no ink in this drawing: it has no stroke with a point. Draw at least one dot"),
        ([[], np.empty((0, 2))], "no ink in this drawing"),
        ([[(0, 0)], [(1, float("nan"))]], "Stroke 1 holds a coordinate that is not a finite"),
        ([[(float("inf"), 0)]], "Stroke 0 holds a coordinate that is not a finite"),
        (
            [[(0, 0, 0)]],
            r"Stroke 0 has shape \(1, 3\); each stroke must have shape \(n_points, 2\)",
        ),
        ([[1, 2, 3]], r"Stroke 0 has shape \(3,\)"),
        ([[(0, 0), (1,)]], "Stroke 0 is not a list of .* points"),
        ([["a"]], "Stroke 0 is not a list of .* points"),
    ],
)
def test_what_is_no_drawing_is_refused(strokes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        strokes_to_image(strokes)


# Pictures ----------------------------------------------------------------------------------------


def test_strokes_and_their_picture_agree(letter: Ink) -> None:
    assert alike(strokes_to_image(LETTER), letter) > 0.97


def test_strokes_of_people_and_their_pictures_agree(omniglot_dir: Path) -> None:
    """Omniglot's pen recordings against pictures painted of them with a plain pen."""
    drawings = load_strokes(omniglot_dir / "strokes_background_small1.zip")
    cosines = []
    for drawing in list(drawings)[::200]:
        picture = Image.new("L", (105, 105), 255)
        pen = ImageDraw.Draw(picture)
        for stroke in drawing.strokes:
            pen.line([(x, y) for x, y in stroke], fill=0, width=3, joint="curve")
        cosines.append(alike(strokes_to_image(drawing.strokes), image_to_ink(picture)))
    assert len(cosines) > 10
    assert np.mean(cosines) > 0.9


def test_dark_on_light_and_light_on_dark_are_the_same(letter: Ink) -> None:
    for picture in (painted(ink=235, paper=0), painted(ink=200, paper=60), painted(ink=90)):
        assert alike(image_to_ink(picture), letter) > 0.99
    inverse = Image.eval(painted(), lambda value: 255 - value)
    assert np.array_equal(image_to_ink(inverse), letter)


@pytest.mark.parametrize("factor", [0.25, 0.6, 1.7])
def test_size_of_a_picture_does_not_matter(letter: Ink, factor: float) -> None:
    size = round(400 * factor), round(300 * factor)
    picture = painted(width=16).resize(size, Image.Resampling.LANCZOS)
    assert alike(image_to_ink(picture), letter) > 0.95


def test_place_in_a_picture_does_not_matter(letter: Ink) -> None:
    for place in ((0, 0), (500, 50), (250, 400)):
        sheet = Image.new("L", (900, 700), 255)
        sheet.paste(painted(), place)
        assert alike(image_to_ink(sheet), letter) > 0.97


@pytest.mark.parametrize("width", [1, 2, 3, 8, 24])
def test_thickness_of_the_pen_does_not_matter(letter: Ink, width: int) -> None:
    ink = image_to_ink(painted(width=width))
    assert alike(ink, letter) > (0.95 if width < 24 else 0.85)
    assert ink.sum() == pytest.approx(letter.sum(), rel=0.1)


@pytest.mark.parametrize("factor", [0.8, 1, 1.5, 2, 2.4, 4, 7.9])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_fine_lines_of_large_pictures_have_no_gaps(factor: float, width: int) -> None:
    picture = Image.new("L", (round(400 * factor), round(300 * factor)), 255)
    pen = ImageDraw.Draw(picture)
    for stroke in LETTER:
        pen.line([(x * factor, y * factor) for x, y in stroke], fill=0, width=width)
    drawn = strokes_to_image(LETTER)
    ink = image_to_ink(picture)
    assert alike(ink, drawn) > 0.95
    assert ink.sum() > 0.92 * drawn.sum()


@pytest.mark.parametrize(
    ("light", "grain", "lamp"),
    [(0.25, 0, False), (0.5, 4, False), (0.5, 8, True), (0.0, 8, False), (0.3, 0, True)],
)
def test_photograph_of_paper(letter: Ink, light: float, grain: float, lamp: bool) -> None:
    ink = image_to_ink(photographed(light, grain, lamp=lamp))
    assert_ink(ink)
    assert alike(ink, letter) > 0.97


@pytest.mark.parametrize("width", [1, 2, 3])
def test_fine_line_on_an_even_slope_of_light(width: int) -> None:
    """Rounding to whole greys leaves ripples, which are not ink."""
    slope = 1 - 60 / 255 * np.arange(400) / 400
    picture = (np.asarray(painted(width=width, ink=50, paper=200)) * slope).astype(np.uint8)
    assert alike(image_to_ink(picture), image_to_ink(painted(width=width))) > 0.95


@pytest.mark.parametrize("grain", [0, 1, 4, 8])
@pytest.mark.parametrize("light", [0.0, 0.1, 0.25, 0.5])
def test_photograph_of_blank_paper_is_refused(light: float, grain: float) -> None:
    with pytest.raises(ValueError, match="no ink in this picture: .*Draw at least one"):
        image_to_ink(photographed(light, grain, drawn=False))


def test_a_single_pixel_is_a_dot() -> None:
    for size, place in (((28, 28), (3, 20)), ((900, 1200), (400, 7)), ((2, 1), (0, 0))):
        picture = np.full(size, 255, np.uint8)
        picture[place] = 0
        ink = image_to_ink(picture)
        assert box(ink) == (13, 14, 13, 14)
        assert ink.sum() < 6


def test_huge_picture(letter: Ink) -> None:
    huge = painted(width=10).resize((6000, 4500), Image.Resampling.BILINEAR)
    ink = image_to_ink(huge)
    assert alike(ink, letter) > 0.95
    whole = image_to_ink(huge, "frame")
    assert alike(whole, image_to_ink(painted(), "frame")) > 0.97


def test_long_and_narrow_pictures() -> None:
    strip = np.full((3, 800), 255, np.uint8)
    strip[1, 100:700] = 0
    for picture in (strip, strip.T):
        ink = image_to_ink(picture)
        short, long = sorted([ink.max(0).sum(), ink.max(1).sum()])
        assert long > 0.7 * FIT_SIDE
        assert short < 4


def test_whole_frame_keeps_place_and_size() -> None:
    picture = np.full((56, 56), 255, np.uint8)
    picture[0:10, 20:24] = 0
    ink = image_to_ink(picture, "frame")
    wanted = np.zeros((28, 28), np.float32)
    wanted[0:5, 10:12] = 1
    np.testing.assert_allclose(ink, wanted, atol=1e-6)
    # What is not square gets paper on both sides of the shorter way.
    wide = np.full((28, 56), 255, np.uint8)
    wide[0:2, 0:2] = 0
    assert image_to_ink(wide, "frame")[7, 0] == pytest.approx(1)
    assert image_to_ink(wide, "frame").sum() == pytest.approx(1)


# Files and modes ---------------------------------------------------------------------------------


def drawn_on_nothing(colour: tuple[int, int, int]) -> Image.Image:
    """Ink of a colour on a transparent ground, as drawing programs save it."""
    picture = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    for stroke in LETTER:
        pen.line([(x, y) for x, y in stroke], fill=(*colour, 255), width=8)
    return picture


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 30), (255, 255, 0)])
def test_transparency_is_paper_for_ink_of_any_colour(
    letter: Ink, colour: tuple[int, int, int]
) -> None:
    picture = drawn_on_nothing(colour)
    for converted in (picture, picture.convert("LA"), np.asarray(picture)):
        assert alike(image_to_ink(converted), letter) > 0.99
    palette = picture.quantize(8)
    assert palette.has_transparency_data
    assert alike(image_to_ink(palette), letter) > 0.99


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_any_mode(letter: Ink, mode: str) -> None:
    source = painted().convert("RGB") if mode not in ("I", "F", "LA", "PA") else painted()
    picture = source.convert(mode)
    assert picture.mode == mode
    assert alike(image_to_ink(picture), letter) > 0.97


def test_sixteen_bits(letter: Ink) -> None:
    """Also where only the lower bits are used, as some scanners do."""
    grey = np.asarray(painted()).astype(np.uint16)
    for values in (grey * 257, grey * 4):
        assert Image.fromarray(values).mode == "I;16"
        for picture in (Image.fromarray(values), values):
            assert alike(image_to_ink(picture), letter) > 0.99
    colours = np.stack([grey * 257] * 3, axis=-1)
    assert alike(image_to_ink(colours), letter) > 0.99


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a,
        lambda a: a > 128,
        lambda a: a.astype(np.float64) / 255,
        lambda a: (a / 255).astype(np.float16),
        lambda a: a[..., None],
        lambda a: np.stack([a] * 3, -1),
        lambda a: np.stack([a, a, a, np.full_like(a, 255)], -1),
        lambda a: a.tolist() if False else a[::-1][::-1],
    ],
    ids=["uint8", "bool", "float64", "float16", "one channel", "rgb", "rgba", "view"],
)
def test_any_array(letter: Ink, convert: Callable[[Any], Any]) -> None:
    assert alike(image_to_ink(convert(np.asarray(painted()))), letter) > 0.97


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 40}),
        ("WEBP", {"quality": 40}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
def test_files(letter: Ink, file_format: str, options: dict[str, Any]) -> None:
    for picture in (painted(), Image.fromarray(photographed(0.4, 3))):
        file = io.BytesIO()
        picture.convert("RGB").save(file, file_format, **options)
        with Image.open(file) as opened:
            assert alike(image_to_ink(opened), letter) > 0.95


def test_transparent_webp_file(letter: Ink) -> None:
    file = io.BytesIO()
    drawn_on_nothing((255, 255, 255)).save(file, "WEBP", lossless=True)
    with Image.open(file) as opened:
        assert alike(image_to_ink(opened), letter) > 0.99


def test_pictures_of_a_tilted_camera_are_turned_upright(letter: Ink) -> None:
    for orientation, turn in ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90)):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        file = io.BytesIO()
        painted().transpose(turn).save(file, "JPEG", exif=exif)
        with Image.open(file) as opened:
            assert alike(image_to_ink(opened), letter) > 0.95


def test_pictures_are_left_as_they_were() -> None:
    picture = drawn_on_nothing((0, 0, 0))
    before = picture.tobytes()
    image_to_ink(picture)
    assert picture.tobytes() == before
    array = photographed(0.5, 4)
    copy = array.copy()
    image_to_ink(array)
    assert np.array_equal(array, copy)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (
            np.full((30, 30), 255, np.uint8),
            "no ink in this picture: all its pixels are alike",
        ),
        (np.zeros((30, 30), np.uint8), "no ink in this picture"),
        (np.zeros((1, 1), np.uint8), "no ink in this picture"),
        (np.full((9, 9), 0.5), "no ink in this picture"),
        (Image.new("RGBA", (20, 20), (9, 9, 9, 0)), "no ink in this picture"),
        (Image.new("F", (20, 20), 3.5), "no ink in this picture"),
        (Image.new("L", (0, 5)), r"no pixels: its size is \(0, 5\)"),
        (np.zeros((0, 5), np.uint8), r"have the shape \(height, width\).*; got \(0, 5\)"),
        (np.zeros(5, np.uint8), r"at least one pixel; got \(5,\)"),
        (np.zeros((5, 5, 2), np.uint8), r"at least one pixel; got \(5, 5, 2\)"),
        (np.zeros((2, 5, 5, 3), np.uint8), r"at least one pixel; got \(2, 5, 5, 3\)"),
        (np.full((5, 5), 200.0), r"must lie in \[0, 1\], but its values run from 200 to 200"),
        (np.full((5, 5), -0.5), "run from -0.5 to -0.5; divide by the largest"),
        (np.full((5, 5), np.nan), "values that are not finite"),
        (Image.fromarray(np.full((5, 5), np.inf, np.float32)), "values that are not finite"),
        (np.zeros((5, 5), np.int32), "dtype bool, uint8, uint16 or float; got int32"),
        (np.array([["a"]]), "uint16 or float; got <U1"),
        (None, r"at least one pixel; got \(\)"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, message: str) -> None:
    for framing in ("fit", "frame"):
        with pytest.raises(ValueError, match=message):
            image_to_ink(picture, framing)


def test_unknown_framing_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown framing 'crop'; choose one of fit, frame"):
        image_to_ink(painted(), "crop")  # type: ignore[arg-type]


def test_ink_of_ink_is_much_the_same(small_alphabets: CharacterSet) -> None:
    cosines = [
        alike(image_to_ink(picture), picture / np.float32(255))
        for picture in small_alphabets.images[::3, 0]
    ]
    assert np.mean(cosines) > 0.8


def test_strokes_get_the_size_and_pen_of_the_pictures_that_were_trained_on() -> None:
    strokes = [[(0, 0), (1000, 0), (1000, 1000), (0, 1000), (0, 0)]]

    def reach(ink: Ink) -> int:
        rows = np.flatnonzero(ink.max(axis=1) > 0.5)
        return int(rows[-1] - rows[0] + 1)

    fitted, framed = strokes_to_image(strokes), strokes_to_image(strokes, "frame")
    np.testing.assert_array_equal(fitted, strokes_to_image(strokes, "fit"))
    assert reach(fitted) == 22 and reach(framed) == 18
    assert framed.sum() == pytest.approx(fitted.sum() * (17 / 20) * (1.3 / 2), rel=0.1)
    with pytest.raises(ValueError, match="Unknown framing 'crop'"):
        strokes_to_image(strokes, "crop")  # type: ignore[arg-type]


def test_omniglots_pens_under_frame_look_like_its_pictures(omniglot_dir: Path) -> None:
    """As much ink, and as large: its own strokes, drawn by our pen, and its pictures."""
    data = load_omniglot(omniglot_dir, framing="frame")
    rows = {name: row for row, name in enumerate(data.characters)}
    drawings = load_strokes(omniglot_dir / "strokes_background_small1.zip")[::50]
    inks = [strokes_to_image(one.strokes, "frame") for one in drawings]
    pictures = [data.images[rows[one.character], one.drawing] / 255 for one in drawings]
    assert np.mean(inks) == pytest.approx(np.mean(pictures), rel=0.15)

    def side(ink: Ink) -> int:
        return max(int(np.ptp(np.flatnonzero(ink.max(axis=axis) > 0.3))) for axis in (0, 1))

    assert np.mean(list(map(side, inks))) == pytest.approx(
        np.mean(list(map(side, pictures))), abs=2
    )
