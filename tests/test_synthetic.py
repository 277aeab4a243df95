"""Generated alphabets: seeded, in Omniglot's shape, and learnable like handwriting."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from maml.data import synthetic
from maml.data.characters import CharacterSet
from maml.data.strokes import PenDrawing
from maml.data.synthetic import draw_alphabets, generate_alphabets, load_generated
from maml.drawing import strokes_to_image

SMALL: dict[str, Any] = {"alphabets": 3, "characters": 5, "drawings": 4}


@pytest.fixture(scope="module")
def data() -> CharacterSet:
    return generate_alphabets(**SMALL, seed=3)


@pytest.fixture(scope="module")
def drawings() -> list[PenDrawing]:
    return draw_alphabets(**SMALL, seed=3)


def test_the_ones_that_come_as_they_are_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = functools.partial(generate_alphabets, **SMALL)
    monkeypatch.setattr(synthetic, "generate_alphabets", few)
    first = load_generated(framing="frame", cache=tmp_path)
    np.testing.assert_array_equal(first.images, few(framing="frame").images)
    monkeypatch.setattr(synthetic, "generate_alphabets", None)
    again = load_generated(framing="frame", cache=tmp_path)
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.characters, again.alphabets) == (first.characters, first.alphabets)
    assert again.background == first.background
    monkeypatch.setattr(synthetic, "generate_alphabets", few)
    assert not np.array_equal(load_generated(cache=tmp_path).images, first.images)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="Unknown framing 'crop'"):
        load_generated(framing="crop", cache=tmp_path)  # type: ignore[arg-type]


def test_same_shape_and_names_as_omniglot(data: CharacterSet) -> None:
    assert data.images.shape == (15, 4, 28, 28)
    assert data.images.dtype == np.uint8
    assert data.images.max() == 255
    assert data.characters[0] == "Generated_01/character01"
    assert data.characters[-1] == "Generated_03/character05"
    assert len(set(data.characters)) == 15
    assert data.alphabets[5] == "Generated_02"


def test_background_and_evaluation_share_no_alphabet(data: CharacterSet) -> None:
    train, test = data.split("alphabets", "train"), data.split("alphabets", "test")
    assert set(train.alphabets) == {"Generated_01", "Generated_02"}
    assert set(test.alphabets) == {"Generated_03"}
    for alphabets, background in ((1, 1), (2, 1), (5, 3), (6, 4)):
        wanted = [True] * background + [False] * (alphabets - background)
        assert list(generate_alphabets(alphabets, 1, 1).background) == wanted


def test_the_seed_decides_everything(data: CharacterSet) -> None:
    np.testing.assert_array_equal(generate_alphabets(**SMALL, seed=3).images, data.images)
    other = generate_alphabets(**SMALL, seed=4).images
    assert (other != data.images).any(axis=(2, 3)).all()


def test_an_alphabet_does_not_depend_on_how_many_there_are(data: CharacterSet) -> None:
    first = generate_alphabets(alphabets=1, characters=5, drawings=4, seed=3)
    np.testing.assert_array_equal(first.images, data.images[:5])


def test_pictures_are_their_strokes(data: CharacterSet, drawings: list[PenDrawing]) -> None:
    assert [drawing.character for drawing in drawings[::4]] == list(data.characters)
    assert [drawing.drawing for drawing in drawings[:5]] == [0, 1, 2, 3, 0]
    pictures = data.images.reshape(-1, 28, 28) / 255
    inks = np.stack([strokes_to_image(drawing.strokes) for drawing in drawings])
    distance = np.abs(inks[:, None] - pictures).mean(axis=(2, 3))
    assert (distance.argmin(axis=1) == np.arange(60)).mean() > 0.95
    assert np.diag(distance).mean() < 0.04


def test_the_pen_stays_on_the_paper_and_moves_smoothly(drawings: list[PenDrawing]) -> None:
    for drawing in drawings:
        points = np.concatenate(drawing.strokes)
        assert points.min() > 0
        assert points.max() < 105
        steps = [np.diff(stroke, axis=0) for stroke in drawing.strokes]
        assert max(np.linalg.norm(step, axis=1).max() for step in steps) < 20
    assert {len(drawing.strokes) for drawing in draw_alphabets(3, 20, 1)} == {1, 2, 3, 4}


def test_every_hand_has_its_pen_and_no_drawing_is_a_copy() -> None:
    framed = generate_alphabets(alphabets=1, characters=8, drawings=6, seed=1, framing="frame")
    flat = framed.images.reshape(48, -1)
    assert len(np.unique(flat, axis=0)) == 48
    # Within an alphabet the same hands draw all characters, some with a broader pen than others.
    ink = framed.images.mean(axis=(2, 3))
    hands = (ink / ink.mean(axis=1, keepdims=True)).mean(axis=0)
    assert hands.max() / hands.min() > 1.3
    share = (generate_alphabets(1, 8, 6, seed=1).images > 127).mean(axis=(2, 3))
    assert 0.01 < share.min() < share.max() < 0.35


def test_drawings_of_a_character_are_alike_but_not_too_alike() -> None:
    data = generate_alphabets(alphabets=5, characters=20, drawings=2, seed=11)
    blurred = gaussian_filter(data.images / 255.0, (0, 0, 1, 1)).reshape(100, 2, -1)
    blurred /= np.linalg.norm(blurred, axis=2, keepdims=True)
    right = []
    for alphabet in range(5):
        support, query = blurred[alphabet * 20 : alphabet * 20 + 20].transpose(1, 0, 2)
        right.append(((query @ support.T).argmax(axis=1) == np.arange(20)).mean())
    # The nearest picture tells 20 characters of one alphabet apart neither always nor by chance.
    assert 0.5 < np.mean(right) < 0.97


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"alphabets": 0}, "alphabets must be a whole number of at least 1, not 0"),
        ({"characters": 2.5}, r"characters must be a whole number of at least 1, not 2\.5"),
        ({"drawings": -1}, "drawings must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_numbers_that_make_no_alphabet(numbers: dict[str, Any], message: str) -> None:
    for function in (generate_alphabets, draw_alphabets):
        with pytest.raises(ValueError, match=message):
            function(**numbers)


def test_unknown_framing() -> None:
    with pytest.raises(ValueError, match="Unknown framing 'crop'"):
        generate_alphabets(1, 1, 1, framing="crop")  # type: ignore[arg-type]


def test_a_set_of_characters_is_shown_in_one_line(small_alphabets: CharacterSet) -> None:
    shown = "CharacterSet('generated alphabets': 24 characters of 4 alphabets, 10 drawings each)"
    assert repr(small_alphabets) == shown
    assert "of 1 alphabet," in repr(small_alphabets.choose(range(6)))
