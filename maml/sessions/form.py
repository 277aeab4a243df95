"""Settings of the page, and the recipe they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from maml.config import LARGEST_WAYS, EpisodeShape, Pretraining, Recipe
from maml.recipes import RECIPES

DRAWINGS = 20
"""Drawings of each character, in Omniglot as in the generated alphabets."""


@dataclass(frozen=True)
class Setting:
    """One number or switch on the page.

    Args:
        key: its name in a mapping of values, and of its texts.
        low: the smallest value that makes sense on the page; None for a switch.
        high: the greatest.
        whole: whether it takes whole numbers only.
    """

    key: str
    low: float | None = None
    high: float | None = None
    whole: bool = True

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return self.low is None


SETTINGS: tuple[Setting, ...] = (
    Setting("ways", 2, LARGEST_WAYS),
    Setting("shots", 1, 10),
    Setting("queries", 1, 15),
    Setting("within_alphabet"),
    Setting("inner_steps", 1, 10),
    Setting("evaluation_steps", 0, 20),
    Setting("inner_rate", 0.0001, 100, whole=False),
    Setting("learned_rates"),
    Setting("second_order"),
    Setting("outer_rate", 0.00001, 0.1, whole=False),
    Setting("cosine"),
    Setting("meta_batch", 1, 32),
    Setting("pretraining", 0, 50_000),
    Setting("augment"),
    Setting("channels", 4, 128),
    Setting("iterations", 0, 100_000),
    Setting("epoch", 1, 10_000),
    Setting("evaluation_tasks", 10, 2_000),
    Setting("seed", 0, 2**31 - 1),
)
"""Every setting of a recipe that the page offers, in the order of the page."""


def values_of(recipe: Recipe) -> dict[str, Any]:
    """What the page shows for a recipe, by the keys of `SETTINGS`."""
    training = recipe.training
    shape = training.shapes[0]
    return {
        "ways": shape.ways,
        "shots": shape.shots,
        "queries": shape.queries,
        "within_alphabet": shape.within_alphabet,
        "inner_steps": training.inner.steps,
        "evaluation_steps": training.inner.evaluation_steps,
        "inner_rate": training.inner.rate,
        "learned_rates": training.inner.learned_rates,
        "second_order": training.inner.second_order,
        "outer_rate": training.outer_rate,
        "cosine": training.cosine,
        "meta_batch": training.meta_batch,
        "pretraining": training.pretraining_episodes,
        "augment": training.augment,
        "channels": recipe.network.channels,
        "iterations": training.iterations,
        "epoch": training.epoch,
        "evaluation_tasks": training.evaluation_tasks,
        "seed": recipe.seed,
    }


def recipe_of(name: str, values: Mapping[str, Any]) -> Recipe:
    """The recipe that the page's values describe.

    Whatever the page does not offer stays as in the named recipe.  A recipe may mix task shapes,
    of which the page shows the first: if the shape is changed, all tasks take the changed one, in
    training and evaluation alike.

    Args:
        name: of the recipe that the values started from.
        values: by the keys of `SETTINGS`.

    Raises:
        ValueError: if a value is out of range, or the values cannot work together.
    """
    if name not in RECIPES:
        raise ValueError(f"the recipe must be one of {', '.join(RECIPES)}; got {name!r}")
    base = RECIPES[name]
    checked = {setting.key: _checked(setting, values.get(setting.key)) for setting in SETTINGS}
    recipe = _changed(base, checked)
    _check_drawings(recipe)
    return recipe


def _checked(setting: Setting, value: Any) -> Any:
    name = setting.key.replace("_", " ")
    if setting.is_switch:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be on or off; got {value!r}")
        return value
    assert setting.low is not None and setting.high is not None
    fits = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and setting.low <= value <= setting.high
        and (not setting.whole or value == int(value))
    )
    if not fits:
        kind = "a whole number" if setting.whole else "a number"
        raise ValueError(
            f"{name} must be {kind} from {setting.low:g} to {setting.high:,}; got {value!r}"
        )
    return int(value) if setting.whole else float(value)


def _changed(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    training = base.training
    shape = EpisodeShape(
        values["ways"], values["shots"], values["queries"], values["within_alphabet"]
    )
    same_shape = shape == training.shapes[0]
    network = replace(base.network, channels=values["channels"])
    if base.network.kind == "notebook":
        network = replace(network, ways=shape.ways)
    return replace(
        base,
        network=network,
        training=replace(
            training,
            shapes=training.shapes if same_shape else (shape,),
            evaluation=training.evaluation if same_shape else shape,
            inner=replace(
                training.inner,
                steps=values["inner_steps"],
                evaluation_steps=values["evaluation_steps"],
                rate=values["inner_rate"],
                learned_rates=values["learned_rates"],
                second_order=values["second_order"],
            ),
            pretraining=_pretraining(training.pretraining, values["pretraining"]),
            outer_rate=values["outer_rate"],
            cosine=values["cosine"],
            meta_batch=values["meta_batch"],
            augment=values["augment"],
            iterations=values["iterations"],
            epoch=values["epoch"],
            evaluation_tasks=values["evaluation_tasks"],
        ),
        seed=values["seed"],
    )


def _pretraining(base: Pretraining | None, episodes: int) -> Pretraining | None:
    if not episodes:
        return None
    return replace(base, episodes=episodes) if base else Pretraining(episodes=episodes, ways=20)


def _check_drawings(recipe: Recipe) -> None:
    """Say before any data is loaded what the sampler would say afterwards."""
    for shape in (*recipe.training.shapes, recipe.training.evaluation):
        if shape.drawings > DRAWINGS:
            raise ValueError(
                f"{shape.shots} shots and {shape.queries} queries need {shape.drawings} drawings "
                f"of each character, but there are {DRAWINGS}; ask for fewer."
            )


def changes_of(recipe: Recipe) -> dict[str, Any]:
    """The settings in which a recipe differs from the one it is named after."""
    base = values_of(RECIPES[recipe.name])
    return {key: value for key, value in values_of(recipe).items() if value != base[key]}
