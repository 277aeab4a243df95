"""Settings of the page, and the recipe they describe."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from maml.config import (
    LARGEST_WAYS,
    SOURCES,
    Algorithm,
    EpisodeShape,
    Pretraining,
    Recipe,
    Source,
)
from maml.data.quickdraw import DRAWINGS as DOODLES
from maml.recipes import RECIPES, live

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlong, _SHORT.maxother, _SHORT.maxstring = 1, 40, 60, 60

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
"""What the recipe `live` may be trained by."""
MOST_ALGORITHMS = 3
"""Of one comparison: more curves than these cannot be told apart."""

DRAWINGS: Mapping[Source, int] = {"omniglot": 20, "quickdraw": DOODLES, "generated": 20}
"""Drawings of each character, by where the characters come from."""


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
    Setting("outer_rate", 0.00001, 1, whole=False),
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


def recipe_of(name: str, values: Mapping[str, Any], source: Source = "omniglot") -> Recipe:
    """The recipe that the page's values describe.

    Whatever the page does not offer stays as in the named recipe.  A recipe may mix task shapes,
    of which the page shows the first: if the shape is changed, all tasks take the changed one, in
    training and evaluation alike.  If the number of evaluation tasks is changed, it holds for the
    evaluation at the end as well.

    Args:
        name: of the recipe that the values started from.
        values: by the keys of `SETTINGS`.
        source: of the characters; doodles are split by their own words, whatever the recipe says.

    Raises:
        ValueError: if a value is out of range, or the values cannot work together.
    """
    return changed(named_recipe(name), values, source)


def changed(base: Recipe, values: Mapping[str, Any], source: Source = "omniglot") -> Recipe:
    """`recipe_of`, of any recipe.

    Raises:
        ValueError: if a value is out of range, or the values cannot work together.
    """
    checked = {setting.key: _checked(setting, values.get(setting.key)) for setting in SETTINGS}
    recipe = _changed(base, checked)
    _check_drawings(recipe, DRAWINGS[source])
    return of_source(recipe, source)


def of_source(recipe: Recipe, source: Source) -> Recipe:
    """A recipe as it trains on the characters of a source."""
    if source != "quickdraw":
        return recipe
    return replace(recipe, training=replace(recipe.training, split="doodles"))


def recipes_of(
    name: object,
    algorithms: Sequence[Algorithm],
    values: Mapping[str, Any],
    source: Source = "omniglot",
) -> tuple[Recipe, ...]:
    """The recipes of a comparison: what was changed on the page is changed in each of them.

    Args:
        name: of the recipe that the values started from.
        algorithms: as `checked_algorithms` returns them; the values started from the first one's.
        values: by the keys of `SETTINGS`.
        source: of the characters.

    Raises:
        ValueError: as `recipe_of`.
    """
    first, *others = [named_recipe(name, one) for one in algorithms] or [named_recipe(name)]
    base = values_of(first)
    changes = {key: value for key, value in values.items() if value != base[key]}
    return (
        changed(first, values, source),
        *(changed(other, {**values_of(other), **changes}, source) for other in others),
    )


def checked_algorithms(name: object, chosen: object) -> tuple[Algorithm, ...]:
    """The algorithms to compare, in the order of `ALGORITHMS`; none for another recipe than `live`.

    Raises:
        ValueError: if one is unknown, or there are too few or too many.
    """
    if name != "live":
        return ()
    if not isinstance(chosen, (list, tuple)) or not all(one in ALGORITHMS for one in chosen):
        raise ValueError(f"the algorithms must be of {', '.join(ALGORITHMS)}; got {shown(chosen)}")
    if not 1 <= len(set(chosen)) <= MOST_ALGORITHMS:
        raise ValueError(f"choose 1 to {MOST_ALGORITHMS} algorithms; got {len(set(chosen))}")
    return tuple(one for one in ALGORITHMS if one in chosen)


def named_recipe(name: object, algorithm: Algorithm | None = None) -> Recipe:
    """The recipe with a name; `algorithm`: of the recipe `live`, another one than its own.

    Raises:
        ValueError: if there is none.
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise ValueError(f"the recipe must be one of {', '.join(RECIPES)}; got {shown(name)}")
    return RECIPES[name] if algorithm is None else live(algorithm)


def checked_source(source: object) -> Source:
    """The source of that name.

    Raises:
        ValueError: if there is none.
    """
    for name in SOURCES:
        if source == name:
            return name
    raise ValueError(f"the characters must be one of {', '.join(SOURCES)}; got {shown(source)}")


def algorithm_of(recipe: Recipe) -> Algorithm | None:
    """The algorithm that was chosen for a recipe; None for one that leaves no choice."""
    return recipe.training.algorithm if recipe.name == "live" else None


def shown(value: object) -> str:
    """A value as a message shows it: on one line, and not all of a long one."""
    return _SHORT.repr(value)


def _checked(setting: Setting, value: Any) -> Any:
    name = setting.key.replace("_", " ")
    if setting.is_switch:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be on or off; got {shown(value)}")
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
            f"{name} must be {kind} from {setting.low:g} to {setting.high:,}; got {shown(value)}"
        )
    return int(value) if setting.whole else float(value)


def _changed(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    training = base.training
    shape = EpisodeShape(
        values["ways"], values["shots"], values["queries"], values["within_alphabet"]
    )
    same_shape = shape == training.shapes[0]
    same_tasks = values["evaluation_tasks"] == training.evaluation_tasks
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
            further_evaluations=training.further_evaluations if same_shape else (),
            final_evaluation_tasks=training.final_evaluation_tasks if same_tasks else 0,
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


def _check_drawings(recipe: Recipe, drawings: int) -> None:
    """Say before any data is loaded what the sampler would say afterwards."""
    training = recipe.training
    for shape in (*training.shapes, training.evaluation, *training.further_evaluations):
        if shape.drawings > drawings:
            raise ValueError(
                f"{shape.shots} shots and {shape.queries} queries need {shape.drawings} drawings "
                f"of each character, but there are {drawings}; ask for fewer."
            )


def changes_of(recipe: Recipe) -> dict[str, Any]:
    """The settings in which a recipe differs from the one it is named after."""
    base = values_of(named_recipe(recipe.name, algorithm_of(recipe)))
    return {key: value for key, value in values_of(recipe).items() if value != base[key]}
