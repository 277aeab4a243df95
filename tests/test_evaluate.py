"""Evaluation: figures by hand, a perfect and a guessing learner, one query at a time."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maml import CharacterSet, EpisodeShape, InnerLoop, SupportSet, adapt, evaluate
from maml.config import NetworkSettings
from maml.data.episodes import EpisodeSampler
from maml.evaluate import (
    FeatureTable,
    adapt_task,
    calibration_error,
    evaluate_table,
    mean_and_interval,
)
from maml.model import MetaNetwork
from maml.networks import build_model

SHAPE = EpisodeShape(ways=3, shots=2, queries=4)


def network(kind: str = "sketch", steps: int = 3) -> MetaNetwork:
    loop = InnerLoop(steps=3, evaluation_steps=steps, rate=0.1 if kind == "notebook" else 3.0)
    settings = NetworkSettings(kind, channels=8, ways=3)  # type: ignore[arg-type]
    return build_model(settings, loop, torch.Generator().manual_seed(1))


class Oracle(MetaNetwork):
    """A plain linear layer on the pixels: knows all about characters of one pixel each."""

    normalisation = "frozen"

    def __init__(self, rate: float) -> None:
        super().__init__(NetworkSettings(), InnerLoop(steps=1, evaluation_steps=1, rate=rate))
        self.anchor = nn.Parameter(torch.zeros(1))

    def task_network(self, ways: int) -> tuple[nn.Module, list[Tensor]]:
        head = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, ways, bias=False))
        return head, [torch.zeros(ways, 28 * 28)]


def pixels(characters: int = 10, drawings: int = 8) -> CharacterSet:
    images = np.zeros((characters, drawings, 28, 28), np.uint8)
    images[np.arange(characters), :, np.arange(characters), 5] = 255
    names = tuple(map(str, range(characters)))
    return CharacterSet(images, names, ("only",) * characters, (True,) * characters)


# Figures by hand ---------------------------------------------------------------------------------


def test_mean_and_interval_by_hand() -> None:
    mean, interval = mean_and_interval(np.array([0.8, 1.0, 0.6, 0.8]))
    assert mean == pytest.approx(0.8)
    # Squared deviations 0, 0.04, 0.04, 0: variance 0.08 / 3, of a mean of four.
    assert interval == pytest.approx(1.96 * math.sqrt(0.08 / 3 / 4))
    mean, interval = mean_and_interval(np.array([0.7]))
    assert mean == pytest.approx(0.7) and math.isnan(interval), "one task says nothing of others"


def test_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        mean, interval = mean_and_interval(rng.binomial(25, 0.9, 200) / 25)
        covered += abs(mean - 0.9) <= interval
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0, 0.0])
    hit = np.array([True, True, True, False, True, False, True, False])
    # Of ten bins: [0.5, 0.6) is off by 0.05, [0.9, 1] says 0.96 and is right in 4 of 5.
    wanted = (2 * 0.05 + 5 * abs(0.96 - 0.8) + 1 * 0) / 8
    assert calibration_error(confidence, hit, bins=10) == pytest.approx(wanted)
    assert calibration_error(np.ones(5), np.ones(5, bool)) == 0
    assert calibration_error(np.ones(5), np.zeros(5, bool)) == 1
    # Errors of opposite sign in two bins do not cancel.
    both = calibration_error(np.array([0.2, 0.8]), np.array([True, False]))
    assert both == pytest.approx(0.8)
    # The last bin is one of its own.
    both = calibration_error(np.array([0.85, 0.95]), np.array([True, False]), bins=10)
    assert both == pytest.approx((0.15 + 0.95) / 2)


def test_perfect_learner() -> None:
    result = evaluate(Oracle(rate=1000.0), pixels(), SHAPE, tasks=20)
    assert result.accuracy == 1
    assert result.interval == 0
    assert result.loss == pytest.approx(0, abs=1e-6)
    assert result.calibration_error == pytest.approx(0, abs=1e-6)
    assert result.tasks == 20
    assert result.protocol == "3-way 2-shot"
    assert not result.transductive
    # Before the first step all ways are alike, and the first of three is taken.
    assert result.accuracy_by_step == pytest.approx((1 / 3, 1))


def test_a_result_is_frozen_and_rests_on_a_thousand_tasks() -> None:
    result = evaluate(Oracle(rate=1000.0), pixels(), SHAPE, tasks=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.accuracy = 0.5  # type: ignore[misc]
    assert inspect.signature(evaluate).parameters["tasks"].default == 1000


def test_learner_that_learns_nothing_is_at_chance() -> None:
    """With pictures that carry nothing every answer is a third for each way."""
    blank = pixels(drawings=8)
    blank.images[:] = 100
    result = evaluate(Oracle(rate=0.001), blank, SHAPE, tasks=15)
    assert result.accuracy == pytest.approx(1 / 3)
    assert result.loss == pytest.approx(math.log(3), rel=1e-3)
    assert result.calibration_error == pytest.approx(0, abs=1e-3)


def test_noise_is_guessed() -> None:
    """Pictures of pure noise: right as often as chance allows, within the interval."""
    noise = pixels(12, 8)
    noise.images[:] = np.random.default_rng(0).integers(0, 256, noise.images.shape)
    result = evaluate(Oracle(rate=0.01), noise, EpisodeShape(3, 1, 5), tasks=60)
    assert abs(result.accuracy - 1 / 3) < 2 * result.interval
    assert 0.01 < result.interval < 0.06


# Figures agree with what a user would see --------------------------------------------------------


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
def test_figures_are_those_of_adapt_and_predict_one_by_one(
    small_alphabets: CharacterSet, kind: str
) -> None:
    model = network(kind)
    result = evaluate(model, small_alphabets, SHAPE, tasks=4, seed=9)
    sampler = EpisodeSampler(small_alphabets, torch.Generator().manual_seed(9))
    accuracies, losses, tops, hits = [], [], [], []
    by_step: list[list[float]] = []
    for _ in range(4):
        characters, drawings = sampler.sample_rows(SHAPE)
        ink = torch.from_numpy(small_alphabets.images)[characters[:, None], drawings] / 255
        labels = torch.arange(3).repeat_interleave(2)
        learner = adapt(model, SupportSet(ink[:, :2].flatten(0, 1), labels, tuple("abc")))
        paths = [learner.predict_path(query) for query in ink[:, 2:].flatten(0, 1)]
        path = torch.cat(paths, dim=1)
        targets = torch.arange(3).repeat_interleave(4)
        right = (path.argmax(2) == targets).float()
        by_step.append(right.mean(1).tolist())
        accuracies.append(by_step[-1][-1])
        losses += (-path[-1][torch.arange(12), targets].log()).tolist()
        tops += path[-1].amax(1).tolist()
        hits += right[-1].bool().tolist()
    mean, interval = mean_and_interval(np.array(accuracies))
    assert result.accuracy == pytest.approx(mean)
    assert result.interval == pytest.approx(interval)
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert result.accuracy_by_step == pytest.approx(np.mean(by_step, axis=0))
    assert result.accuracy_by_step[-1] == pytest.approx(result.accuracy)
    wanted = calibration_error(np.array(tops), np.array(hits))
    assert result.calibration_error == pytest.approx(wanted, abs=1e-3)


def test_transductive_figures_differ_for_batch_statistics_only(
    small_alphabets: CharacterSet,
) -> None:
    for kind in ("notebook", "sketch"):
        model = network(kind)
        alone = evaluate(model, small_alphabets, SHAPE, tasks=3)
        together = evaluate(model, small_alphabets, SHAPE, tasks=3, transductive=True)
        assert together.transductive
        assert not alone.transductive
        assert (alone.loss != together.loss) == (kind == "notebook")


def test_evaluating_leaves_model_and_global_randomness_untouched(
    small_alphabets: CharacterSet,
) -> None:
    for kind in ("notebook", "sketch"):
        model = network(kind)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = torch.get_rng_state()
        first = evaluate(model, small_alphabets, SHAPE, tasks=2)
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert evaluate(model, small_alphabets, SHAPE, tasks=2) == first
        assert evaluate(model, small_alphabets, SHAPE, tasks=2, seed=1) != first


def test_steps_asked_for_are_taken(small_alphabets: CharacterSet) -> None:
    model = network(steps=2)
    assert len(evaluate(model, small_alphabets, SHAPE, tasks=1).accuracy_by_step) == 3
    assert len(evaluate(model, small_alphabets, SHAPE, tasks=1, steps=0).accuracy_by_step) == 1
    longer = evaluate(model, small_alphabets, SHAPE, tasks=2, steps=6)
    shorter = evaluate(model, small_alphabets, SHAPE, tasks=2, steps=4)
    assert longer.accuracy_by_step[:5] == shorter.accuracy_by_step


def test_tasks_within_an_alphabet_may_be_smaller(small_alphabets: CharacterSet) -> None:
    shape = EpisodeShape(20, 1, 2, within_alphabet=True)
    result = evaluate(network(), small_alphabets, shape, tasks=3, steps=0)
    assert result.accuracy == pytest.approx(1 / 6)  # Six characters an alphabet, all alike yet.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 0}, "tasks must be a whole number from 1 .*; got 0"),
        ({"tasks": -3}, "tasks must be .*; got -3"),
        ({"steps": -1}, "steps must be a whole number from 0 to 100; got -1"),
        ({"steps": 101}, "steps must be .*; got 101"),
        ({"seed": -1}, "seed must be .*; got -1"),
        ({"seed": 2**64}, "seed must be "),
        ({"shape": EpisodeShape(25, 1, 1)}, "25 ways need as many characters; .*; got 24"),
        ({"shape": EpisodeShape(3, 9, 2)}, "need 11 drawings of each character"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    small_alphabets: CharacterSet, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(network(), small_alphabets, **{"shape": SHAPE, "tasks": 1, **options})


def test_features_of_all_tasks_are_computed_together_and_once(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    stem = FeatureTable._stem

    def counting(self: FeatureTable, images: Tensor) -> Tensor:
        if len(images):
            looked.append(len(images))
        return stem(self, images)

    monkeypatch.setattr(FeatureTable, "_stem", counting)
    table = FeatureTable(network(), small_alphabets)
    first = evaluate_table(table, SHAPE, 8)
    assert len(looked) == 2  # examples, then questions
    assert sum(looked) <= small_alphabets.images[:, :, 0, 0].size
    assert evaluate_table(table, SHAPE, 8) == first
    assert len(looked) == 2


@pytest.mark.parametrize(("name", "value"), [("tasks", 0), ("steps", 101), ("seed", -1)])
def test_tables_refuse_the_same(small_alphabets: CharacterSet, name: str, value: int) -> None:
    table = FeatureTable(network(), small_alphabets)
    with pytest.raises(ValueError, match=f"{name} must be a whole number .*; got {value}"):
        evaluate_table(table, SHAPE, **{"tasks": 1, name: value})  # type: ignore[arg-type]


def test_fixed_network_refuses_other_ways(small_alphabets: CharacterSet) -> None:
    with pytest.raises(ValueError, match="built for 3 ways, but the task has 4"):
        evaluate(network("notebook"), small_alphabets, EpisodeShape(4, 1, 1), tasks=1)


# The table of features ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["notebook", "sketch"])
def test_table_holds_the_features_of_each_drawing(small_alphabets: CharacterSet, kind: str) -> None:
    model = network(kind)
    table = FeatureTable(model, small_alphabets)
    characters, drawings = torch.tensor([7, 2]), torch.tensor([[1, 0, 9], [4, 4, 2]])
    found = table(characters, drawings)
    model.eval()
    for row, character in enumerate(characters.tolist()):
        for column, drawing in enumerate(drawings[row].tolist()):
            ink = torch.from_numpy(small_alphabets.images[character, drawing]).float() / 255
            wanted = model.stem(ink[None, None])[0]
            torch.testing.assert_close(found[row, column], wanted, rtol=1e-4, atol=1e-4)


def test_queries_of_another_table(small_alphabets: CharacterSet) -> None:
    """The same drawings inked otherwise: here all blank, so that every answer is the same."""
    model = network()
    table = FeatureTable(model, small_alphabets)
    blank = CharacterSet(
        np.zeros_like(small_alphabets.images),
        small_alphabets.characters,
        small_alphabets.alphabets,
        small_alphabets.background,
    )
    result = evaluate_table(table, SHAPE, 5, query_table=FeatureTable(model, blank))
    assert result.accuracy == pytest.approx(1 / 3)
    assert evaluate_table(table, SHAPE, 5) == evaluate(model, small_alphabets, SHAPE, 5)


def test_task_of_unequal_shots(small_alphabets: CharacterSet) -> None:
    model = network()
    table = FeatureTable(model, small_alphabets)
    features = table(torch.tensor([0, 1, 2]), torch.tensor([[0, 1], [0, 1], [0, 1]]))
    even = adapt_task(model, features, 2)
    assert even.steps == 2
    assert even.names == ("0", "1", "2")
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    by_hand = adapt_task(model, features.flatten(0, 1), 2, labels)
    assert by_hand.trajectory == even.trajectory
    fewer = adapt_task(model, features.flatten(0, 1)[:5], 2, labels[:5])
    assert fewer.ways == 3
    assert fewer.trajectory != even.trajectory
