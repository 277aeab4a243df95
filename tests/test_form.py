"""Settings of the page: what they change in a recipe, and what they leave."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from maml.config import Algorithm, EpisodeShape, Pretraining, Recipe
from maml.plain import to_plain
from maml.recipes import RECIPES, live
from maml.sessions.form import (
    ALGORITHMS,
    SETTINGS,
    algorithm_of,
    changes_of,
    recipe_of,
    recipes_of,
    values_of,
)

OTHER: dict[str, Any] = {
    "ways": 7,
    "shots": 4,
    "queries": 2,
    "inner_steps": 4,
    "evaluation_steps": 9,
    "inner_rate": 0.7,
    "outer_rate": 0.002,
    "meta_batch": 3,
    "pretraining": 77,
    "channels": 24,
    "iterations": 1234,
    "epoch": 56,
    "evaluation_tasks": 78,
    "seed": 99,
}
"""A value for each number that no recipe has."""

TASKS = {"training.shapes", "training.evaluation"}
PLACES: dict[str, set[str]] = {
    "ways": TASKS,
    "shots": TASKS,
    "queries": TASKS,
    "within_alphabet": TASKS,
    "inner_steps": {"training.inner.steps"},
    "evaluation_steps": {"training.inner.evaluation_steps"},
    "inner_rate": {"training.inner.rate"},
    "learned_rates": {"training.inner.learned_rates"},
    "second_order": {"training.inner.second_order"},
    "outer_rate": {"training.outer_rate"},
    "cosine": {"training.cosine"},
    "meta_batch": {"training.meta_batch"},
    "pretraining": {"training.pretraining.episodes"},
    "augment": {"training.augment"},
    "channels": {"network.channels"},
    "iterations": {"training.iterations"},
    "epoch": {"training.epoch"},
    "evaluation_tasks": {"training.evaluation_tasks"},
    "seed": {"seed"},
}
"""Where in a recipe each setting stands."""


def leaves(value: Any, place: str = "") -> dict[str, Any]:
    """The values of a recipe by their place; task shapes are taken as a whole."""
    if isinstance(value, dict) and place != "training.evaluation":
        return {
            key: leaf
            for name, inner in value.items()
            for key, leaf in leaves(inner, f"{place}.{name}".lstrip(".")).items()
        }
    return {place: value}


def changed_places(before: Recipe, after: Recipe) -> set[str]:
    old, new = leaves(to_plain(before)), leaves(to_plain(after))
    return {place for place in old | new if old.get(place) != new.get(place)}


def refused(name: str, key: str) -> bool:
    """Whether a setting is none that the recipe's network can have."""
    fixed = {"pretraining", "learned_rates", "within_alphabet"}
    return RECIPES[name].network.kind == "notebook" and key in fixed


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_left_alone_is_that_recipe(name: str) -> None:
    values = values_of(RECIPES[name])
    assert set(values) == {setting.key for setting in SETTINGS} == set(PLACES)
    assert recipe_of(name, values) == RECIPES[name]
    assert changes_of(RECIPES[name]) == {}


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_setting_changes_what_it_says_and_nothing_else(name: str, key: str) -> None:
    base = RECIPES[name]
    values = values_of(base)
    other = not values[key] if isinstance(values[key], bool) else OTHER[key]
    if refused(name, key):
        with pytest.raises(ValueError, match="notebook"):
            recipe_of(name, {**values, key: other})
        return
    recipe = recipe_of(name, {**values, key: other})
    expected = set(PLACES[key])
    if key == "ways" and base.network.kind == "notebook":
        expected.add("network.ways")
    if PLACES[key] is TASKS and base.training.further_evaluations:
        expected.add("training.further_evaluations")
    if key == "evaluation_tasks" and base.training.final_evaluation_tasks:
        expected.add("training.final_evaluation_tasks")
    if key == "pretraining" and base.training.pretraining is None:
        expected = {f"training.pretraining.{field.name}" for field in fields(Pretraining)}
    assert changed_places(base, recipe) == expected
    assert changes_of(recipe) == {key: other}
    assert values_of(recipe) == {**values, key: other}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_lies_within_the_ranges_of_the_page(name: str) -> None:
    values = values_of(RECIPES[name])
    for setting in SETTINGS:
        if setting.low is None or setting.high is None:
            assert isinstance(values[setting.key], bool), setting.key
        else:
            assert setting.low <= values[setting.key] <= setting.high, setting.key


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_of_live_can_be_shown_and_changed(algorithm: Algorithm) -> None:
    values = values_of(live(algorithm))
    for setting in SETTINGS:
        if setting.low is not None and setting.high is not None:
            assert setting.low <= values[setting.key] <= setting.high, setting.key
    (recipe,) = recipes_of("live", [algorithm], {**values, "seed": 9})
    assert changes_of(recipe) == {"seed": 9} and algorithm_of(recipe) == algorithm


def test_several_changes_at_once() -> None:
    values = {**values_of(RECIPES["live"]), "ways": 7, "shots": 2.0, "inner_rate": 1, "seed": 9}
    recipe = recipe_of("live", values)
    assert recipe.training.shapes == (EpisodeShape(7, 2, 3),)
    assert recipe.training.evaluation == EpisodeShape(7, 2, 3)
    assert recipe.training.further_evaluations == ()
    assert changes_of(recipe) == {"ways": 7, "shots": 2, "inner_rate": 1.0, "seed": 9}


def test_the_flagship_keeps_its_mix_of_tasks_unless_another_shape_is_asked_for() -> None:
    base = RECIPES["flagship"]
    values = {**values_of(base), "iterations": 10}
    assert recipe_of("flagship", values).training.shapes == base.training.shapes
    asked = recipe_of("flagship", {**values, "ways": 3}).training
    assert [shape.ways for shape in asked.shapes] == [3]
    assert asked.pretraining == base.training.pretraining


def test_without_pretraining_episodes_there_is_no_pretraining() -> None:
    values = {**values_of(RECIPES["flagship"]), "pretraining": 0}
    assert recipe_of("flagship", values).training.pretraining is None


@pytest.mark.parametrize("name", RECIPES)
def test_doodles_have_words_of_their_own_for_testing_and_fewer_drawings(name: str) -> None:
    values = values_of(RECIPES[name])
    training = recipe_of(name, values, "quickdraw").training
    assert training == replace(RECIPES[name].training, split="doodles")
    recipe_of(name, {**values, "shots": 5, "queries": 15})
    with pytest.raises(ValueError, match="need 20 drawings of each character, but there are 15"):
        recipe_of(name, {**values, "shots": 5, "queries": 15}, "quickdraw")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("live", {"ways": 1}, "ways must be a whole number from 2 to 20; got 1"),
        ("live", {"ways": 21}, "ways must be a whole number from 2 to 20; got 21"),
        ("live", {"ways": 2.5}, "ways must be a whole number from 2 to 20; got 2.5"),
        ("live", {"ways": True}, "ways must be a whole number from 2 to 20; got True"),
        ("live", {"seed": True}, "seed must be a whole number from 0 to .*; got True"),
        ("live", {"seed": None}, "seed must be a whole number from 0 to .*; got None"),
        ("live", {"inner_rate": float("nan")}, "inner rate must be a number from .*; got nan"),
        ("live", {"cosine": "yes"}, "cosine must be on or off; got 'yes'"),
        ("live", {"shots": 10, "queries": 15}, "need 25 drawings of each character, .* are 20"),
        ("live", {"iterations": 0, "pretraining": 0}, "nothing to train"),
        ("other", {}, "the recipe must be one of .*; got 'other'"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(
    name: str, changes: dict[str, Any], message: str
) -> None:
    values = {**values_of(RECIPES.get(name, RECIPES["live"])), **changes}
    with pytest.raises(ValueError, match=message):
        recipe_of(name, values)
