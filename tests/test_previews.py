"""Previews: on characters never trained on, before and after adapting, and not too often."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import small_recipe

from maml.config import LARGEST_SEED, EpisodeShape, Recipe
from maml.data.characters import CharacterSet
from maml.networks import build_model
from maml.sessions import previews as module
from maml.sessions.events import Preview, SolvedTask
from maml.sessions.previews import PREVIEW_SECONDS, PREVIEW_SHARE, Previews

RECIPE = small_recipe(10, split="alphabets", evaluation=EpisodeShape(5, 2, 3))


def pictures(strip: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pictures of a strip, (rows, ways, 28, 28)."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip))))
    rows, ways = picture.shape[0] // 28, picture.shape[1] // 28
    return picture.reshape(rows, 28, ways, 28).swapaxes(1, 2)


def make(data: CharacterSet, recipe: Recipe = RECIPE) -> Previews:
    generator = torch.Generator().manual_seed(0)
    model = build_model(recipe.network, recipe.training.inner, generator)
    return Previews(model, data, recipe)


def test_the_largest_seed_has_previews_too(small_alphabets: CharacterSet) -> None:
    assert make(small_alphabets, replace(RECIPE, seed=LARGEST_SEED)).take(1).tasks == 12


def test_the_tasks_are_of_characters_never_trained_on(small_alphabets: CharacterSet) -> None:
    # Every drawing to train on is one black square.
    images = small_alphabets.images.copy()
    images[list(small_alphabets.background)] = 255
    previews = make(replace(small_alphabets, images=images))
    for _ in range(3):
        for task in previews.take(1).solved:
            for strip in (task.support, task.queries):
                inked = (pictures(strip) > 0).mean(axis=(2, 3))
                assert inked.min() > 0 and inked.max() < 0.9


def test_pictures_and_answers_belong_to_the_same_tasks(small_alphabets: CharacterSet) -> None:
    preview = make(small_alphabets).take(17)
    assert preview.iteration == 17 and preview.protocol == "5-way 2-shot"
    assert len(preview.accuracy_by_step) == RECIPE.training.inner.evaluation_steps + 1
    assert len(preview.solved) == 2 and preview.tasks == 12
    for task in preview.solved:
        assert pictures(task.support).shape == (1, 5, 28, 28)
        assert pictures(task.queries).shape == (3, 5, 28, 28)
        for rows in (task.answers, task.before):
            assert len(rows) == task.ways == 5 and {len(row) for row in rows} == {3}
            assert {answer for row in rows for answer in row} <= set(range(5))


def right(tasks: tuple[SolvedTask, ...], what: str) -> float:
    hits = [
        answer == way
        for task in tasks
        for way, row in enumerate(getattr(task, what))
        for answer in row
    ]
    return sum(hits) / len(hits)


def test_before_is_before_adapting_and_answers_are_after(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With as many tasks as are shown, accuracy can be counted from what is shown.
    monkeypatch.setattr(module, "_TASKS", 2)
    previews = make(small_alphabets)
    differs = False
    for _ in range(3):
        preview = previews.take(0)
        assert right(preview.solved, "before") == pytest.approx(
            preview.accuracy_by_step[0], abs=1e-4
        )
        assert right(preview.solved, "answers") == pytest.approx(
            preview.accuracy_by_step[-1], abs=1e-4
        )
        differs |= any(task.before != task.answers for task in preview.solved)
    assert differs


def test_looking_changes_nothing(small_alphabets: CharacterSet) -> None:
    previews = make(small_alphabets)
    model = previews._model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    tasks = [previews.take(0), previews.take(0)]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert tasks[0].solved != tasks[1].solved, "every preview is of fresh tasks"


def test_previews_take_a_tenth_of_the_time_at_most(
    small_alphabets: CharacterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    previews = make(small_alphabets)
    now, cost = [1000.0], [0.01]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sample = previews._sampler.sample

    def slow_sample(shape: EpisodeShape) -> Any:
        now[0] += cost[0] / 12
        return sample(shape)

    monkeypatch.setattr(previews._sampler, "sample", slow_sample)

    def rest_after_one() -> float:
        taken: Preview = previews.take(0)
        assert taken.tasks == 12
        began = now[0]
        while not previews.due():
            now[0] += 0.01
        return now[0] - began

    assert previews.due()
    assert rest_after_one() == pytest.approx(PREVIEW_SECONDS, abs=0.02)
    cost[0] = 3.0
    assert rest_after_one() == pytest.approx(3.0 / PREVIEW_SHARE, abs=0.02)
