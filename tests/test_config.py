"""Settings: what is refused, what is derived, the recipes, the way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from maml import EpisodeShape, InnerLoop, MetaTraining
from maml.config import LARGEST_SEED, NetworkSettings, Pretraining, Recipe
from maml.plain import from_plain, to_plain
from maml.recipes import RECIPES


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (EpisodeShape, {"ways": 1}, "ways must be a whole number from 2 to 1000; got 1"),
        (EpisodeShape, {"shots": 0}, "shots must be a whole number from 1 to 1000; got 0"),
        (EpisodeShape, {"queries": 2.0}, r"queries must be a whole number .*; got 2\.0"),
        (EpisodeShape, {"ways": True}, "ways must be a whole number .*; got True"),
        (EpisodeShape, {"ways": "5"}, "ways must be a whole number .*; got '5'"),
        (EpisodeShape, {"within_alphabet": 1}, "within_alphabet must be True or False; got 1"),
        (InnerLoop, {"steps": 0}, "inner steps must be a whole number from 1 to 100; got 0"),
        (InnerLoop, {"evaluation_steps": 101}, "evaluation steps .* from 0 to 100; got 101"),
        (InnerLoop, {"rate": 0}, "inner rate must be a positive number .*; got 0"),
        (InnerLoop, {"rate": float("nan")}, "inner rate must be a positive number .*; got nan"),
        (InnerLoop, {"rate": float("inf")}, "inner rate must be a positive number .*; got inf"),
        (InnerLoop, {"rate": "0.1"}, "inner rate must be a positive number .*; got '0.1'"),
        (InnerLoop, {"learned_rates": "yes"}, "learned_rates must be True or False; got 'yes'"),
        (InnerLoop, {"second_order": None}, "second_order must be True or False; got None"),
        (
            NetworkSettings,
            {"kind": "resnet"},
            "kind must be one of notebook, sketch, live, module; got 'resnet'",
        ),
        (NetworkSettings, {"channels": 1}, "channels must be a whole number from 2 to 512; got 1"),
        (NetworkSettings, {"channels": 513}, "channels must be .* to 512; got 513"),
        (NetworkSettings, {"ways": 21}, "ways must be a whole number from 2 to 20; got 21"),
        (NetworkSettings, {"head": "dot"}, "head must be one of linear, cosine; got 'dot'"),
        (NetworkSettings, {"kind": "notebook", "head": "cosine"}, "kind 'sketch' or 'live'; got"),
        (NetworkSettings, {"head_scale": 0}, "head_scale must be a positive number .*; got 0"),
        (NetworkSettings, {"adaptable": 7}, "adaptable stages .* from 0 to 6; got 7"),
        (NetworkSettings, {"whitened": True}, "0 adaptable stages .* got 'sketch' with 1"),
        (
            NetworkSettings,
            {"kind": "live", "adaptable": 0, "whitened": True},
            "Only .* 'sketch' .* got 'live' with 0",
        ),
        (Pretraining, {"episodes": 0}, "pre-training episodes .*; got 0"),
        (Pretraining, {"episodes": 1, "ways": 1}, "pre-training ways .*; got 1"),
        (Pretraining, {"episodes": 1, "drawings": 1}, "pre-training drawings .* 2 to 20; got 1"),
        (Pretraining, {"episodes": 1, "rate": -1}, "pre-training rate .*; got -1"),
        (Pretraining, {"episodes": 1, "precision": "float16"}, "of float32, bfloat16; got 'float1"),
        (MetaTraining, {"shapes": ()}, "at least one EpisodeShape; got none"),
        (MetaTraining, {"meta_batch": 0}, "meta-batch .*; got 0"),
        (MetaTraining, {"iterations": -1}, "iterations must be .*; got -1"),
        (MetaTraining, {"iterations": 0}, "nothing to train: iterations is 0"),
        (MetaTraining, {"epoch": 0}, "iterations of an epoch .*; got 0"),
        (MetaTraining, {"outer_rate": 0.0}, r"outer rate .*; got 0\.0"),
        (MetaTraining, {"first_order_iterations": -1}, "first-order iterations .*; got -1"),
        (MetaTraining, {"multi_step_iterations": -1}, "multi-step iterations .*; got -1"),
        (MetaTraining, {"split": "lake"}, "split must be one of .*, doodles; got 'lake'"),
        (MetaTraining, {"validation": 16}, "validation alphabets .* from 0 to 15; got 16"),
        (MetaTraining, {"evaluation_tasks": 0}, "evaluation tasks .*; got 0"),
        (MetaTraining, {"cosine": 1}, "cosine must be True or False; got 1"),
        (MetaTraining, {"augment": "no"}, "augment must be True or False; got 'no'"),
        (MetaTraining, {"transductive": 0}, "transductive must be True or False; got 0"),
    ],
)
def test_values_out_of_range_are_refused(
    kind: type[Any], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed must be a whole number from 0 to 18446744073709551615; got -1"),
        ({"seed": 2**64}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number .*; got None"),
        ({"framing": "crop"}, "framing must be one of fit, frame; got 'crop'"),
    ],
)
def test_ill_recipes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPES["live"], **changes)


def test_limits_are_allowed() -> None:
    EpisodeShape(2, 1, 1)
    InnerLoop(steps=100, evaluation_steps=0, rate=1)
    NetworkSettings("notebook", channels=1, ways=20, adaptable=0)
    MetaTraining(iterations=0, pretraining=Pretraining(1))
    dataclasses.replace(RECIPES["live"], seed=LARGEST_SEED)


def test_derived_values() -> None:
    assert EpisodeShape(5, 3, 6).drawings == 9
    assert str(EpisodeShape(5, 3, 6)) == "5-way 3-shot"
    assert str(EpisodeShape(20, 1, 5, within_alphabet=True)) == "20-way 1-shot within one alphabet"
    assert MetaTraining(iterations=7).total == 7
    assert MetaTraining(iterations=7, pretraining=Pretraining(5)).total == 12


def test_settings_are_frozen() -> None:
    for settings in (EpisodeShape(), InnerLoop(), NetworkSettings(), MetaTraining()):
        name = dataclasses.fields(settings)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(settings, name, 3)


def test_notebook_recipe_is_the_notebook_to_the_letter() -> None:
    recipe = RECIPES["notebook"]
    training = recipe.training
    assert training.shapes == (EpisodeShape(ways=5, shots=3, queries=6),)
    assert training.evaluation == EpisodeShape(ways=5, shots=3, queries=6)
    assert training.meta_batch == 4
    assert recipe.network == NetworkSettings("notebook", channels=16, ways=5)
    assert training.outer_rate == 1e-3
    assert not training.cosine
    assert training.inner == InnerLoop(
        steps=3,
        evaluation_steps=5,
        rate=0.1,
        learned_rates=False,
        second_order=True,
        engine="higher",
    )
    assert training.epoch == 1200 // 4 == 300
    assert training.iterations == 10 * 300
    assert training.evaluation_tasks == 105 * 4
    assert training.transductive
    assert training.split == "notebook"
    assert not training.augment
    assert training.pretraining is None
    assert training.first_order_iterations == training.multi_step_iterations == 0
    assert training.validation == 0
    assert recipe.framing == "frame"
    assert recipe.seed == 1227


def test_flagship_never_sees_the_test_alphabets() -> None:
    recipe = RECIPES["flagship"]
    assert recipe.training.split == "alphabets"
    assert recipe.training.validation > 0
    assert not recipe.training.transductive
    assert recipe.network.kind == "sketch"


def test_recipes_know_their_names() -> None:
    assert set(RECIPES) == {"notebook", "flagship", "live"}
    assert all(name == recipe.name and recipe.summary for name, recipe in RECIPES.items())


@pytest.mark.parametrize("name", ["notebook", "flagship", "live"])
def test_recipes_survive_json(name: str) -> None:
    recipe = RECIPES[name]
    text = json.dumps(to_plain(recipe))
    assert from_plain(Recipe, json.loads(text)) == recipe
    assert json.dumps(to_plain(from_plain(Recipe, json.loads(text)))) == text


@pytest.mark.parametrize(
    ("kind", "plain", "message"),
    [
        (InnerLoop, {"stepps": 3}, r"InnerLoop has no setting stepps; it has \['steps'"),
        (InnerLoop, [3], r"InnerLoop must be a JSON object; got \[3\]"),
        (InnerLoop, {"steps": "3"}, "inner steps must be a whole number .*; got '3'"),
        (MetaTraining, {"inner": {"rate": -1}}, "inner rate must be a positive number .*; got -1"),
        (MetaTraining, {"inner": 5}, "InnerLoop must be a JSON object; got 5"),
        (MetaTraining, {"shapes": [{"ways": 0}]}, "ways must be .*; got 0"),
        (MetaTraining, {"shapes": 4}, "shapes must be a list; got 4"),
        (Pretraining, {}, "Pretraining cannot be made of {}.*episodes"),
    ],
)
def test_ill_json_is_refused(kind: type[Any], plain: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(kind, plain)
