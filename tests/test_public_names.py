"""The public names, called as the documentation writes them: a contract with other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import maml
from maml import CharacterSet, EpisodeShape, InnerLoop, MetaTraining
from maml.config import NetworkSettings
from maml.networks import build_model


def strokes(kind: str, shift: float = 0.0) -> list[np.ndarray]:
    """A cross, a ring or a zigzag, as a pen would draw it."""
    drawn: list[Any]
    if kind == "cross":
        drawn = [[(0, 0), (9, 10)], [(9, 0), (0, 10)]]
    elif kind == "ring":
        angle = np.linspace(0, 2 * np.pi, 40)
        drawn = [np.stack([5 + 5 * np.cos(angle), 5 + 5 * np.sin(angle)], axis=1)]
    else:
        drawn = [[(0, 0), (3, 10), (6, 0), (9, 10)]]
    return [np.asarray(stroke) * (1 + shift / 10, 1) + shift for stroke in drawn]


def test_names_are_all_there() -> None:
    for name in maml.__all__:
        assert getattr(maml, name) is not None
    assert {
        "load_pretrained", "strokes_to_image", "image_to_ink", "SupportSet", "adapt",
        "load_omniglot", "load_quickdraw", "meta_train", "evaluate", "EpisodeShape", "Episode",
        "EpisodeSampler", "NetworkSettings", "Pretraining", "Recipe", "RECIPES", "TrainingRun",
        "build_model", "save_model", "read_support", "read_picture", "generate_alphabets",
    } <= set(maml.__all__)  # fmt: skip


def test_from_drawings_to_answers() -> None:
    model = maml.load_pretrained()
    names = ("cross", "ring", "zigzag")
    images = np.stack([maml.strokes_to_image(strokes(name)) for name in names])
    assert images.shape == (3, 28, 28)
    assert images.dtype == np.float32
    support = maml.SupportSet(images, np.arange(3), names)
    learner = maml.adapt(model, support, steps=5)
    assert [record.step for record in learner.trajectory] == list(range(6))
    assert learner.trajectory[-1].accuracy == 1.0

    queries = np.stack([maml.strokes_to_image(strokes(name, 2.5)) for name in names])
    answer = learner.predict(queries)
    assert tuple(answer.probabilities.shape) == (3, 3)
    torch.testing.assert_close(answer.probabilities.sum(1), torch.ones(3))
    assert answer.probabilities.argmax(1).tolist() == [0, 1, 2]
    assert tuple(answer.unknown.shape) == (3,)
    assert answer.names == names
    # Something else altogether is less known than what was taught.
    other = maml.strokes_to_image([[(0, 0), (0, 10)], [(3, 0), (3, 10)], [(6, 0), (6, 10)]])
    assert float(learner.predict(other).unknown) > float(answer.unknown.max())


def test_pictures_and_strokes_are_preprocessed_alike() -> None:
    picture = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(picture).ellipse((40, 40, 160, 160), outline="black", width=6)
    ink = maml.image_to_ink(picture)
    assert ink.shape == (28, 28)
    drawn = maml.strokes_to_image(strokes("ring"))
    assert float((ink * drawn).sum() / np.linalg.norm(ink) / np.linalg.norm(drawn)) > 0.85


def test_training_and_evaluating(small_alphabets: CharacterSet) -> None:
    settings = MetaTraining(
        shapes=(EpisodeShape(3, 1, 2),),
        inner=InnerLoop(steps=1, evaluation_steps=1),
        iterations=2,
        meta_batch=1,
        evaluation=EpisodeShape(3, 1, 2),
        evaluation_tasks=2,
    )
    generator = torch.Generator().manual_seed(0)
    model = build_model(NetworkSettings(channels=4), settings.inner, generator)
    records = []
    for record in maml.meta_train(model, small_alphabets, settings, generator):
        records.append(record)
    assert [type(record) for record in records] == [
        maml.MetaStep, maml.MetaStep, maml.EvaluationResult
    ]  # fmt: skip
    ways, shots, queries = 3, 2, 4
    result = maml.evaluate(model, small_alphabets, EpisodeShape(ways, shots, queries), tasks=5)
    assert 0 <= result.accuracy <= 1
    assert result.interval > 0
    assert result.tasks == 5
    assert not result.transductive


def test_omniglot(omniglot_dir: Path) -> None:
    data = maml.load_omniglot(root=None)
    assert data.images.shape == (1623, 20, 28, 28)
    assert data.images.dtype == np.uint8
    assert data.images.max() == 255
    assert len(data.characters) == len(data.alphabets) == 1623
    sizes = {
        (protocol, part): len(data.split(protocol, part))
        for protocol in ("alphabets", "notebook")
        for part in ("train", "test")
    }
    assert sizes == {
        ("alphabets", "train"): 964, ("alphabets", "test"): 659,
        ("notebook", "train"): 1200, ("notebook", "test"): 423,
    }  # fmt: skip
    assert not set(data.split("alphabets", "train").alphabets) & set(
        data.split("alphabets", "test").alphabets
    )


def test_shipped_weights_know_new_alphabets(omniglot_dir: Path) -> None:
    """A floor only; the suite states the figures."""
    test = maml.load_omniglot().split("alphabets", "test").choose(range(0, 659, 9))
    result = maml.evaluate(maml.load_pretrained(), test, EpisodeShape(5, 1, 5), tasks=60)
    assert result.accuracy > 0.95
