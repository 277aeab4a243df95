"""Calibration: temperature and the "none of these" score, fitted on what was not trained on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import maml.calibrate
from maml import CharacterSet, EpisodeShape, InnerLoop, evaluate
from maml.calibrate import (
    DOODLE_REJECTION_RATE,
    FALSE_REJECTION_RATE,
    calibrate,
    fit_likeness,
    fit_whitening,
    out_of_set_features,
)
from maml.config import NetworkSettings
from maml.data.episodes import EpisodeSampler
from maml.embedding import UNKNOWN_TASK_TERMS, UNKNOWN_TERMS
from maml.evaluate import FeatureTable, adapt_task
from maml.networks import SketchNet, build_model


def network(data: CharacterSet, **settings: Any) -> SketchNet:
    """Untrained, but normalised by the statistics of the drawings."""
    loop = InnerLoop(steps=3, evaluation_steps=3, rate=3.0)
    model = build_model(
        NetworkSettings(channels=8, **settings), loop, torch.Generator().manual_seed(1)
    )
    assert isinstance(model, SketchNet)
    for layer in model.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.momentum = 1.0
    with torch.no_grad():
        model.train().embed(torch.from_numpy(data.images[:, 0, None]).float() / 255)
    return model.eval()


@pytest.fixture(scope="module")
def calibrated(small_alphabets: CharacterSet) -> SketchNet:
    model = network(small_alphabets)
    calibrate(model, small_alphabets, seed=3, rounds=1)
    return model


def test_probabilities_become_honest(small_alphabets: CharacterSet, calibrated: SketchNet) -> None:
    for shape in (EpisodeShape(5, 1, 5), EpisodeShape(10, 5, 5)):
        before = evaluate(network(small_alphabets), small_alphabets, shape, tasks=30, seed=50)
        after = evaluate(calibrated, small_alphabets, shape, tasks=30, seed=50)
        # Honesty changes no answer.
        assert after.accuracy == pytest.approx(before.accuracy, abs=0.01)
        assert after.loss < before.loss
        assert after.calibration_error < 0.5 * before.calibration_error
        assert after.calibration_error < 0.1


def test_score_tells_out_of_set_queries_from_known_ones(
    small_alphabets: CharacterSet, calibrated: SketchNet
) -> None:
    sampler = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(70))
    table = FeatureTable(calibrated, small_alphabets)
    shape = EpisodeShape(5, 3, 5)
    scores: list[list[float]] = [[], []]
    for _ in range(30):
        characters, drawings = sampler.sample_rows(shape)
        features = table(characters, drawings)
        learner = adapt_task(calibrated, features[:, :3], 3)
        known = features[:, 3:].flatten(0, 1)
        strange = out_of_set_features(sampler, table, characters, 25, shape)
        for kind, queries in enumerate((known, strange)):
            scores[kind] += learner.unknown_of_features(queries).tolist()
    known_scores, strange_scores = map(np.array, scores)
    area = (strange_scores[:, None] > known_scores).mean()
    assert area > 0.7  # Features without any training do this well.
    limit = calibrated.unknown_threshold
    false_alarms, missed = (known_scores > limit).mean(), (strange_scores <= limit).mean()
    assert abs(false_alarms - FALSE_REJECTION_RATE) < 0.05
    assert missed < 0.7


def test_calibrating_touches_nothing_else(
    small_alphabets: CharacterSet, calibrated: SketchNet
) -> None:
    changed = {"temperature_weights", "unknown_weights"}
    for name, value in network(small_alphabets).state_dict().items():
        assert torch.equal(value, calibrated.state_dict()[name]) == (name not in changed), name
    assert not any(buffer.requires_grad for buffer in calibrated.buffers())


def test_same_seed_same_calibration_and_no_global_randomness(
    small_alphabets: CharacterSet, calibrated: SketchNet
) -> None:
    state = torch.get_rng_state()
    other = network(small_alphabets)
    # An earlier calibration leaves no trace.
    other.temperature_weights.fill_(1)
    other.unknown_weights.fill_(1)
    calibrate(other, small_alphabets, seed=3, rounds=1)
    assert torch.equal(other.temperature_weights, calibrated.temperature_weights)
    assert torch.equal(other.unknown_weights, calibrated.unknown_weights)
    assert torch.equal(torch.get_rng_state(), state)


def test_temperature_is_fitted_on_mixed_tasks_alone(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = tuple(
        EpisodeShape(shape.ways, shape.shots, 5, False) if shape.within_alphabet else shape
        for shape in maml.calibrate._SHAPES
    )
    seen: list[int] = []
    fit = maml.calibrate._fit_temperature

    def counted(answered: list[Any]) -> torch.Tensor:
        seen.append(len(answered))
        return fit(answered)

    monkeypatch.setattr(maml.calibrate, "_fit_temperature", counted)
    calibrate(network(small_alphabets), small_alphabets, seed=3, rounds=1)
    monkeypatch.setattr(maml.calibrate, "_SHAPES", shapes)
    calibrate(network(small_alphabets), small_alphabets, seed=3, rounds=1)
    assert seen[1] == 2 * seen[0] > 0


def test_temperature_is_the_one_that_fits_best() -> None:
    """Logits that were sharpened by a known amount for each size are softened by it again."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.4, 0.3, -0.2])
    answered = []
    for ways in (2, 5, 20):
        for shots in (1, 5):
            honest = torch.randn(4000, ways, generator=generator) * 1.5
            labels = honest.softmax(1).multinomial(1, generator=generator)[:, 0]
            size = torch.tensor([1.0, math.log(ways), math.log(shots)])
            sharpened = honest * (size @ truth).exp()
            answered.append((sharpened, labels, size.expand(len(labels), -1)))
    found = maml.calibrate._fit_temperature(answered)
    torch.testing.assert_close(found, truth, rtol=0, atol=0.06)


def test_tasks_have_thirty_sizes() -> None:
    sizes = {(one.ways, one.shots, one.within_alphabet) for one in maml.calibrate._SHAPES}
    assert sizes == {
        (ways, shots, within)
        for ways in (2, 3, 5, 10, 20)
        for shots in (1, 2, 5)
        for within in (False, True)
    }
    assert {one.queries for one in maml.calibrate._SHAPES} == {5}


def test_each_task_weighs_alike_in_the_temperature() -> None:
    """However many queries it has."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([1.0, math.log(5), 0.0])
    tasks = []
    for sharpness in (0.5, 2.0):
        honest = torch.randn(400, 5, generator=generator) * 1.5
        labels = honest.softmax(1).multinomial(1, generator=generator)[:, 0]
        tasks.append((honest * sharpness, labels, size.expand(400, -1)))

    def temperature(*answered: Any) -> float:
        return float((maml.calibrate._fit_temperature(list(answered)) @ size).exp())

    plain = temperature(*tasks)
    assert temperature(tasks[0]) < plain < temperature(tasks[1])
    larger = tuple(torch.cat([part] * 9) for part in tasks[1])
    assert temperature(tasks[0], larger) == pytest.approx(plain, rel=1e-3)
    assert temperature(tasks[0], *[tasks[1]] * 9) > 1.1 * plain


def asked(known: torch.Tensor, outside: torch.Tensor, rate: float) -> Any:
    return maml.calibrate._Asked([], known, outside, rate)


def test_score_is_the_logistic_regression_where_no_task_differs() -> None:
    generator = torch.Generator().manual_seed(0)
    terms = torch.randn(40000, UNKNOWN_TERMS, generator=generator)
    terms[:, list(UNKNOWN_TASK_TERMS)] = 0  # They tell nothing; the first one is the constant.
    terms[:, 0] = 1
    truth = torch.zeros(UNKNOWN_TERMS)
    truth[[1, 2, 11]] = torch.tensor([2.0, -0.5, 1.0])
    outside = (terms @ truth).sigmoid().bernoulli(generator=generator)
    known, strange = terms[outside == 0], terms[outside == 1]
    weights, limit = maml.calibrate._fit_unknown([asked(known, strange, 0.05)])
    torch.testing.assert_close(weights[1:], truth[1:], rtol=0, atol=0.1)
    assert float(limit) == 0.5
    assert float((known @ weights > 0).float().mean()) == pytest.approx(0.05, abs=0.005)
    assert 0.3 < float((strange @ weights > 0).float().mean()) < 0.7


def test_each_kind_of_task_has_its_share_refused() -> None:
    """Known drawings of the second set are further off, as its likeness tells."""
    generator = torch.Generator().manual_seed(0)

    def drawn(shift: float, likeness: float) -> torch.Tensor:
        terms = torch.zeros(30000, UNKNOWN_TERMS)
        terms[:, 0], terms[:, 8] = 1, likeness
        terms[:, 1] = shift + torch.randn(30000, generator=generator)
        return terms

    near, far = (drawn(0, 0.8), drawn(-4, 0.8)), (drawn(-2, 0.4), drawn(-4, 0.4))
    weights, _ = maml.calibrate._fit_unknown([asked(*near, 0.05), asked(*far, 0.07)])
    for (known, _), rate in ((near, 0.05), (far, 0.07)):
        assert float((known @ weights > 0).float().mean()) == pytest.approx(rate, abs=0.01)
    assert float((near[1] @ weights > 0).float().mean()) > 0.9


def test_likeness_is_expected_by_kind_of_drawing(small_alphabets: CharacterSet) -> None:
    """After the fit it tells a set whose drawings are all alike from one where they differ."""
    alike = replace(
        small_alphabets, images=small_alphabets.images[:, :1].repeat(small_alphabets.drawings, 1)
    )
    unlike = replace(small_alphabets, images=small_alphabets.images[::-1, :, ::-1].copy())
    shuffled = np.random.default_rng(0).permuted(unlike.images, axis=0)
    unlike = replace(unlike, images=shuffled)
    model = network(small_alphabets)
    fit_likeness(model, (alike, unlike))
    with torch.no_grad():
        expected = [
            model.likeness(
                model.embed(torch.from_numpy(data.images[:, 0, None].copy()).float() / 255),
                torch.arange(len(data)),
            ).mean()
            for data in (alike, unlike)
        ]
    assert float(expected[0]) > float(expected[1]) + 0.1
    assert float(expected[0]) < 1.05


def test_whitening_evens_out_how_drawings_of_a_class_differ(small_alphabets: CharacterSet) -> None:
    model = network(small_alphabets, whitened=True, adaptable=0)
    images = torch.from_numpy(small_alphabets.images).flatten(0, 1)[:, None].float() / 255
    plain = network(small_alphabets, adaptable=0)
    with torch.no_grad():
        torch.testing.assert_close(model.embed(images), plain.embed(images))  # identity so far

    def variances() -> torch.Tensor:
        """Within the classes, of the main directions."""
        with torch.no_grad():
            vectors = model.embed(images).unflatten(0, small_alphabets.images.shape[:2])
        apart = (vectors - vectors.mean(dim=1, keepdim=True)).flatten(0, 1)
        return torch.linalg.svdvals(apart).square()

    before = variances()
    whitening = model.stages[-1]
    assert isinstance(whitening, nn.Linear)
    fit_whitening(model, [small_alphabets])
    once = whitening.weight.clone()
    after = variances()
    assert float(after[0] / after.sum()) < 0.6 * float(before[0] / before.sum())

    # Fitted again it is the same, whatever was there; a set of fewer drawings weighs as much.
    fit_whitening(model, [small_alphabets])
    torch.testing.assert_close(whitening.weight, once)
    few = small_alphabets.choose(range(3))
    fit_whitening(model, [small_alphabets, few])
    both = whitening.weight.clone()
    fit_whitening(model, [few, small_alphabets])
    torch.testing.assert_close(whitening.weight, both)
    assert (both - once).abs().max() > 0.01

    with pytest.raises(ValueError, match="settings.whitened"):
        fit_whitening(plain, [small_alphabets])


def test_fits_are_those_of_a_network_in_use(small_alphabets: CharacterSet) -> None:
    """A network in training mode is fitted as if it were not, and keeps its statistics."""
    settings: dict[str, Any] = {"whitened": True, "adaptable": 0}
    rested, training = network(small_alphabets, **settings), network(small_alphabets, **settings)
    training.train()
    for model in (rested, training):
        fit_likeness(model, [small_alphabets])
        fit_whitening(model, [small_alphabets])
    assert all(layer.training for layer in training.modules())
    assert float(rested.likeness_weights.abs().max()) > 0.01
    for name, value in rested.state_dict().items():
        assert torch.equal(training.state_dict()[name], value), name


@pytest.mark.parametrize("kind", ["characters", "doodles"])
def test_the_rate_of_rejection_is_that_of_the_drawings(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    words = replace(small_alphabets, alphabets=("doodles",) * len(small_alphabets))
    fit = maml.calibrate._fit_unknown
    rates: list[float] = []

    def seen(sets: Any) -> Any:
        rates.extend(one.rate for one in sets)
        return fit(sets)

    monkeypatch.setattr(maml.calibrate, "_fit_unknown", seen)
    model = network(small_alphabets)
    if kind == "doodles":
        calibrate(model, words, seed=3, rounds=1)
        assert rates == [DOODLE_REJECTION_RATE]
    else:
        calibrate(model, small_alphabets, seed=3, rounds=1, doodles=words)
        assert rates == [FALSE_REJECTION_RATE, DOODLE_REJECTION_RATE]


def test_doodles_weigh_as_much_and_change_the_calibration(
    small_alphabets: CharacterSet, calibrated: SketchNet
) -> None:
    words = small_alphabets.choose(range(0, len(small_alphabets), 2))
    words = replace(words, alphabets=("doodles",) * len(words))
    model = network(small_alphabets)
    calibrate(model, small_alphabets, seed=3, rounds=1, doodles=words)
    assert not torch.equal(model.unknown_weights, calibrated.unknown_weights)
    assert not torch.equal(model.temperature_weights, calibrated.temperature_weights)


def test_out_of_set_queries_are_not_of_the_task_but_of_its_alphabet() -> None:
    data = CharacterSet(
        np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 28, 28), np.uint8),
        tuple(map(str, range(12))),
        ("a",) * 6 + ("b",) * 6,
        (True,) * 12,
    )

    class Stem:
        def __call__(self, characters: torch.Tensor, drawings: torch.Tensor) -> torch.Tensor:
            assert int(drawings.max()) < 4
            return characters[:, None, None]

    sampler = EpisodeSampler(data, torch.Generator().manual_seed(0))
    task = torch.tensor([1, 2, 3])
    for within, wanted in ((True, {0, 4, 5}), (False, {0, 4, 5, 6, 7, 8, 9, 10, 11})):
        shape = EpisodeShape(3, 1, 1, within_alphabet=within)
        found = out_of_set_features(sampler, Stem(), task, 200, shape)  # type: ignore[arg-type]
        assert found.shape == (200, 1)
        assert set(found.flatten().tolist()) == wanted
    # An alphabet that is used up: they come from the others.
    whole = torch.arange(6)
    shape = EpisodeShape(6, 1, 1, within_alphabet=True)
    found = out_of_set_features(sampler, Stem(), whole, 200, shape)  # type: ignore[arg-type]
    assert set(found.flatten().tolist()) == set(range(6, 12))


def test_there_are_always_characters_outside_a_task(small_alphabets: CharacterSet) -> None:
    """Tasks of all ten characters are left out."""
    calibrate(network(small_alphabets), small_alphabets.choose(list(range(10))), seed=3, rounds=1)


def test_temperature_is_of_the_answers_after_the_last_step(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, taken = network(small_alphabets), list[torch.Tensor]()
    fit = maml.calibrate._fit_temperature

    def noted(answered: list[Any]) -> torch.Tensor:
        taken.append(answered[0][0])
        return fit(answered)

    monkeypatch.setattr(maml.calibrate, "_fit_temperature", noted)
    calibrate(model, small_alphabets, seed=3, rounds=1)

    plain = network(small_alphabets)  # without a temperature
    shape = maml.calibrate._SHAPES[0]
    sampler = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(3))
    features = FeatureTable(plain, small_alphabets)(*sampler.sample_rows(shape))
    learner = adapt_task(plain, features[:, : shape.shots], 3)
    queries = features[:, shape.shots :].flatten(0, 1)
    expected = learner.predict_features(queries).probabilities
    earlier = learner.at_step(2).predict_features(queries).probabilities
    assert torch.allclose(taken[0].exp(), expected, atol=1e-6)
    assert not torch.allclose(taken[0].exp(), earlier, atol=1e-3)
