"""The suite: its figures against the same done by hand, on small sets and an untrained network."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from maml import CharacterSet, EpisodeShape, InnerLoop, SupportSet, adapt, evaluate, suite
from maml.config import NetworkSettings
from maml.data.episodes import EpisodeSampler
from maml.data.quickdraw import load_quickdraw
from maml.data.synthetic import generate_alphabets
from maml.evaluate import FeatureTable, evaluate_table
from maml.networks import SketchNet, build_model
from maml.suite import Measurement, specialist


@pytest.fixture(scope="module")
def model() -> SketchNet:
    loop = InnerLoop(steps=2, evaluation_steps=2, rate=3.0, learned_rates=True)
    model = build_model(NetworkSettings(channels=8), loop, torch.Generator().manual_seed(1))
    assert isinstance(model, SketchNet)
    return model.eval()


@pytest.fixture(scope="module")
def characters() -> CharacterSet:
    return generate_alphabets(alphabets=2, characters=12, drawings=15, seed=3)


def test_a_figure_is_a_row_of_a_table() -> None:
    row = Measurement("5-way 1-shot", 98.765, "%", 0.152, 2000, {"pixels": 83.614})
    assert str(row) == "| 5-way 1-shot | 98.77 +- 0.15 % | 2000 | pixels 83.61 |"
    assert str(Measurement("largest change", 2e-7, "")) == "| largest change | 2.0e-07  |  |  |"
    assert str(Measurement("AUROC", 0.98321, "")) == "| AUROC | 0.9832  |  |  |"


def test_a_specialist_learns_its_size_and_leaves_the_model_alone(
    model: SketchNet, small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "_SPECIALIST_STEPS", 6)
    before = copy.deepcopy(model.state_dict())
    shape = EpisodeShape(3, 2, 5)
    special = specialist(model, small_alphabets, shape)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    background = small_alphabets.split("alphabets", "train")
    general = evaluate(model, background, shape, tasks=100)
    assert evaluate(special, background, shape, tasks=100).loss < general.loss


def test_baselines_are_asked_the_very_tasks_of_the_evaluation(
    model: SketchNet, characters: CharacterSet
) -> None:
    shape, tasks = EpisodeShape(4, 3, 2), 5
    pixels = suite._blurred(characters)
    table = FeatureTable(model, characters)
    result = evaluate_table(table, shape, tasks, steps=2)
    sampler = EpisodeSampler(characters, torch.Generator().manual_seed(0))
    near, means, steps = [], [], []  # accuracies of each task
    for _ in range(tasks):
        episode = sampler.sample(shape)
        support, queries = (
            model.embed(part).detach() for part in (episode.support_images, episode.query_images)
        )
        prototypes = functional.normalize(support.view(4, 3, -1).mean(dim=1), dim=-1)
        nearest = (blurred(episode.query_images) @ blurred(episode.support_images).T).argmax(1) // 3
        support_set = SupportSet(episode.support_images, episode.support_labels, "abcd")
        path = adapt(model, support_set, steps=2).predict_path(episode.query_images).argmax(2)
        near.append(float((nearest == episode.query_labels).float().mean()))
        means.append(
            float(((queries @ prototypes.T).argmax(1) == episode.query_labels).float().mean())
        )
        steps.append((path == episode.query_labels).float().mean(1).numpy())
    pixel = suite._pixel_accuracy(table, pixels, shape, tasks)
    assert pixel == pytest.approx(100 * np.mean(near))
    assert pixel > 50
    assert result.prototypes == pytest.approx(np.mean(means))
    assert min(means) < max(means) <= 1
    for step, (gain, half) in enumerate(result.gain_by_step):
        gains = np.array([path[step] for path in steps]) - np.array(means)
        assert gain == pytest.approx(np.mean(gains), abs=1e-6)
        assert half == pytest.approx(1.96 * np.std(gains, ddof=1) / tasks**0.5, abs=1e-6)
    assert len(result.gain_by_step) == 3
    assert evaluate_table(table, shape, tasks, prototypes=False).prototypes is None


def blurred(images: torch.Tensor) -> torch.Tensor:
    """Ink blurred as the suite blurs it."""
    whole = (images * 255).round().to(torch.uint8).numpy()
    names = tuple(map(str, range(len(whole))))
    data = CharacterSet(whole, names, ("a",) * len(whole), (True,) * len(whole))
    return suite._blurred(data).flatten(0, 1)


def test_steps_are_those_of_one_learner_that_takes_ten(
    model: SketchNet, characters: CharacterSet
) -> None:
    table = FeatureTable(model, characters)
    rows = [
        row
        for row in suite._steps(table, table, tasks=30)
        if row.measure.startswith("5-way 1-shot")
    ]
    assert [row.measure for row in rows] == [f"5-way 1-shot, step {k}" for k in (0, 1, 3, 5, 10)]
    assert rows[0].value == pytest.approx(20, abs=0.01)  # from chance
    for row, step in list(zip(rows, (0, 1, 3, 5, 10), strict=True))[1:3]:
        alone = evaluate(model, characters, EpisodeShape(5, 1, 5), tasks=30, steps=step)
        assert row.value == pytest.approx(100 * alone.accuracy, abs=1e-4)


def test_unequal_shots_are_answered_from_as_many_examples(
    model: SketchNet, small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "_SPECIALIST_STEPS", 6)
    data = generate_alphabets(alphabets=1, characters=10, drawings=15, seed=5)
    special = specialist(model, small_alphabets, EpisodeShape(10, 5, 5))
    copies = {EpisodeShape(10, 5, 5): FeatureTable(special, data)}
    row = next(suite._unequal_shots(FeatureTable(model, data), copies.__getitem__, tasks=2))
    images = torch.from_numpy(data.images).float() / 255
    counts = range(1, 11)
    means = []
    for asked in (model, special):
        sampler = EpisodeSampler(data, torch.Generator().manual_seed(0))
        accuracies = []
        for _ in range(2):
            characters, drawings = sampler.sample_rows(EpisodeShape(10, 10, 5))
            chosen = images[characters[:, None], drawings]
            support = SupportSet(
                torch.cat([chosen[way, :count] for way, count in enumerate(counts)]),
                torch.arange(10).repeat_interleave(torch.tensor(counts)),
                tuple("abcdefghij"),
            )
            answers = adapt(asked, support).predict(chosen[:, 10:].flatten(0, 1))
            hits = answers.probabilities.argmax(1) == torch.arange(10).repeat_interleave(5)
            accuracies.append(float(hits.float().mean()))
        means.append(pytest.approx(100 * np.mean(accuracies), abs=1e-3))
    assert row.value == means[0]
    assert row.baselines == {"meta-trained further on 10-way 5-shot": means[1]}


def test_answers_of_an_untrained_network_depend_on_no_order_either(
    model: SketchNet, characters: CharacterSet
) -> None:
    rows = list(suite._invariance(model, characters))
    assert len(rows) == 3
    assert all(row.value < 1e-5 for row in rows)


def test_doodles_are_those_of_the_test_words(model: SketchNet, quickdraw_dir: Path) -> None:
    doodles = load_quickdraw(quickdraw_dir)
    *measured, area, error, _, _ = suite._doodles(model, doodles, tasks=3)
    rows, errors = measured[::2], measured[1::2]
    shapes = ["5-way 1-shot", "5-way 5-shot", "5-way 10-shot", "20-way 1-shot", "20-way 5-shot"]
    assert [row.measure for row in rows] == [f"{shape}, doodles" for shape in shapes]
    words = doodles.split("doodles", "test")
    for row, calibration, shape in zip(rows, errors, shapes, strict=True):
        ways, shots = (int(number) for number in re.findall(r"\d+", shape))
        wanted = evaluate(model, words, EpisodeShape(ways, shots, 5), tasks=3)
        assert row.value == pytest.approx(100 * wanted.accuracy)
        assert row.baselines["above prototypes"] == pytest.approx(100 * wanted.gain_by_step[-1][0])
        assert calibration.measure == f"{shape}, doodles, calibration error"
        assert calibration.value == pytest.approx(100 * wanted.calibration_error)
    assert area.measure == "5-way 5-shot, doodles, none of these, AUROC"
    assert error.measure.startswith("5-way 5-shot, doodles, half of the queries out of set")


def test_pens_and_hands_unlike_any_are_of_examples_and_queries(
    model: SketchNet, characters: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = characters.choose(range(20))
    pictures = [
        Image.fromarray(255 - ink).resize((56, 56)) for ink in few.images.reshape(-1, 28, 28)
    ]
    monkeypatch.setattr(suite, "original_pictures", lambda data, root: iter(pictures))
    unlike, again = (suite._unlike_hands(few, None) for _ in range(2))
    assert np.array_equal(unlike.images, again.images)  # from a seed
    assert unlike.images.shape == few.images.shape
    assert np.abs(unlike.images.astype(int) - few.images).mean() > 10
    table, other = FeatureTable(model, few), FeatureTable(model, unlike)
    (row,) = suite._unlike(table, other, tasks=4)
    shape = EpisodeShape(20, 1, 5)
    assert row.value == pytest.approx(100 * evaluate(model, unlike, shape, tasks=4).accuracy)
    as_drawn = 100 * evaluate(model, few, shape, tasks=4).accuracy
    assert row.baselines["as drawn"] == pytest.approx(as_drawn)


def test_out_of_set_queries_are_scored_higher_than_known_drawings(
    model: SketchNet,
) -> None:
    data = generate_alphabets(alphabets=3, characters=12, drawings=12, seed=9)
    every = list(suite._unknown(FeatureTable(model, data), tasks=20))
    rows, calibration = every[::2], every[1::2]
    assert [row.unit for row in rows] == [""] * 3
    for row, error in zip(rows, calibration, strict=True):
        assert error.measure.endswith("calibration error of the shares")
        # By the largest share, known drawings are named or refused as the threshold says.
        refused, accepted = row.baselines.values()
        right = error.baselines["largest share is right"] / 100
        assert 0 < right <= 1 - (refused + accepted) / 2 + 1e-6
        assert 0 < error.value < 60
    assert rows[0].value > max(rows[1].value, rows[2].value) > 0.5  # of more examples
    for first, second in pairwise(rows):
        assert set(first.baselines) == set(second.baselines)
