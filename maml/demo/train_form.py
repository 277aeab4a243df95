"""The Train tab's form: recipe, characters, and every setting of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import torch

from maml.config import SOURCES, Algorithm, Recipe, Source
from maml.demo.terms import terms_line
from maml.demo.train_strings import TRAIN_STRINGS
from maml.demo.translated import Settings, TranslatedComponents, explanation
from maml.recipes import DEFAULT_RECIPE, RECIPES
from maml.sessions.document import Language
from maml.sessions.form import (
    ALGORITHMS,
    SETTINGS,
    algorithm_of,
    checked_algorithms,
    checked_source,
    named_recipe,
    recipes_of,
    shown,
    values_of,
)
from maml.sessions.links import link_of, read_link
from maml.sessions.sources import Sources

_GROUPS = {
    "group_tasks": ("ways", "shots", "queries", "within_alphabet"),
    "group_loops": (
        "inner_steps",
        "evaluation_steps",
        "inner_rate",
        "outer_rate",
        "meta_batch",
        "second_order",
        "learned_rates",
        "cosine",
        "augment",
    ),
    "group_run": ("iterations", "epoch", "evaluation_tasks", "pretraining", "channels", "seed"),
}


@dataclass(frozen=True)
class Choice:
    """What the form says, checked.

    Args:
        recipes: what to train and how, one after another.
        source: of the characters.
        device: to train on.
        limit_minutes: 0 for no limit.
    """

    recipes: tuple[Recipe, ...]
    source: Source
    device: str
    limit_minutes: float


class TrainForm:
    """Fields for a recipe's name, its settings, and where and how long it runs.

    The components are put into the surrounding blocks by `choices` and `settings`, in this order.

    Args:
        most_minutes: limit of the server; 0 for none.
        sources: knows which characters are at hand.
    """

    def __init__(self, most_minutes: float, sources: Sources) -> None:
        self._most_minutes = most_minutes
        self._sources = sources
        self._devices = ["cpu", *(f"cuda:{one}" for one in range(torch.cuda.device_count()))]

    def choices(self, texts: TranslatedComponents) -> None:
        """Put in what to train on what."""
        self.recipe = texts.add(
            gr.Radio(value=DEFAULT_RECIPE, choices=_recipe_choices("en")),
            lambda language: {
                **explanation("recipe", language),
                "choices": _recipe_choices(language),
            },
        )
        own = algorithm_of(RECIPES[DEFAULT_RECIPE])
        self.algorithms = texts.add(
            gr.CheckboxGroup(value=[own or ""], choices=[*ALGORITHMS], visible=own is not None),
            _algorithms_say,
        )
        self.source = texts.add(
            gr.Radio(value=self._sources.default(), choices=[*SOURCES]), self.source_says
        )

    def settings(self, texts: TranslatedComponents) -> None:
        """Put in the settings of a recipe."""
        values = values_of(RECIPES[DEFAULT_RECIPE])
        fields: dict[str, Any] = {}
        for group, keys in _GROUPS.items():
            accordion = texts.labelled(gr.Accordion(open=group == "group_tasks"), group)
            with accordion:
                if f"terms_{group}" in TRAIN_STRINGS["en"]:
                    terms_line(texts, f"terms_{group}")
            with accordion, gr.Row(elem_classes="maml-settings"):
                for key in keys:
                    fields[key] = texts.explained(_field(key, values[key]), key)
                if group == "group_run":
                    self.device = texts.explained(
                        gr.Dropdown(value="cpu", choices=self._devices, min_width=140), "device"
                    )
                    self.minutes = texts.add(
                        gr.Number(value=self._most_minutes, min_width=140), self._minutes_says
                    )
        self.fields = [fields[setting.key] for setting in SETTINGS]

    @property
    def inputs(self) -> list[Any]:
        """The components whose values `read` takes, in its order."""
        return [self.recipe, self.source, self.device, self.minutes, self.algorithms, *self.fields]

    def fill(self, name: str) -> list[Any]:
        """Values of `algorithms` and `fields` for a recipe.

        Raises:
            ValueError: if there is no such recipe.
        """
        recipe = named_recipe(name)
        algorithm, values = algorithm_of(recipe), values_of(recipe)
        chosen = gr.update(visible=algorithm is not None, value=[algorithm] if algorithm else [])
        return [chosen, *(values[setting.key] for setting in SETTINGS)]

    def fill_for(self, name: str, before: Any, chosen: Any, values: Sequence[Any]) -> list[Any]:
        """Values of `fields` for the first of the algorithms; what was changed stays changed.

        Args:
            name: of the recipe.
            before, chosen: values of `algorithms` that `values` are for, and from now on.
            values: of `fields`.

        Raises:
            ValueError: as `checked_algorithms`.
        """
        old, *_ = [*checked_algorithms(name, before), None]
        new, *_ = [*checked_algorithms(name, chosen), None]
        base, target = values_of(named_recipe(name, old)), values_of(named_recipe(name, new))
        return [
            target[setting.key] if value == base[setting.key] else value
            for setting, value in zip(SETTINGS, values, strict=True)
        ]

    def read_recipes(
        self, name: str, source: str, algorithms: Any, values: Sequence[Any]
    ) -> tuple[Recipe, ...]:
        """The recipes that the form describes.

        Args:
            name: of the recipe that the values started from.
            source, algorithms, values: of `source`, `algorithms` and `fields`.

        Raises:
            ValueError: as `checked_algorithms` and `recipes_of`, or the source is unknown.
        """
        keys = (setting.key for setting in SETTINGS)
        chosen: tuple[Algorithm, ...] = checked_algorithms(name, algorithms)
        given = dict(zip(keys, values, strict=True))
        return recipes_of(name, chosen, given, checked_source(source))

    def link(self, name: str, source: str, algorithms: Any, values: Sequence[Any]) -> str:
        """The settings as the fragment of a link.

        Args:
            name, source, algorithms, values: of `inputs`.

        Raises:
            ValueError: as `link_of`.
        """
        return link_of(name, checked_source(source), algorithms, values)

    def follow(self, fragment: str) -> tuple[dict[Any, Any], list[Algorithm]]:
        """Updates of the components for a link, and the algorithms that the fields are for.

        Raises:
            ValueError: as `read_link`.
        """
        linked = read_link(fragment)
        chosen = list(linked.algorithms)
        fields = {
            field: linked.values[setting.key]
            for field, setting in zip(self.fields, SETTINGS, strict=True)
        }
        return {
            self.recipe: linked.recipe,
            self.source: linked.source,
            self.algorithms: gr.update(value=chosen, visible=bool(chosen)),
            **fields,
        }, chosen

    def read(
        self, name: str, source: str, device: str, minutes: Any, algorithms: Any, *values: Any
    ) -> Choice:
        """Check what the form says.

        Args:
            name, source, device, minutes, algorithms, values: of `inputs`.

        Raises:
            ValueError: if something cannot be; the text says what.
        """
        recipes = self.read_recipes(name, source, algorithms, values)
        checked = checked_source(source)
        if device not in self._devices:
            raise ValueError(
                f"the device must be one of {', '.join(self._devices)}; got {shown(device)}"
            )
        return Choice(recipes, checked, device, self._limit(minutes))

    def _limit(self, minutes: Any) -> float:
        """The limit of a run: what was asked for, within what is allowed."""
        number = isinstance(minutes, (int, float)) and not isinstance(minutes, bool)
        if not number or not 0 <= minutes < 1e6:
            raise ValueError(f"minutes must be 0 (no limit) or more; got {shown(minutes)}")
        if not self._most_minutes:
            return float(minutes)
        return min(float(minutes), self._most_minutes) if minutes else self._most_minutes

    def source_says(self, language: Language) -> Settings:
        """Label and choices of `source`; one that is not at hand says so."""
        words = TRAIN_STRINGS[language]
        names = {name: words[f"source_{name}"] for name in SOURCES}
        for name, size in self._sources.to_download().items():
            names[name] = words["to_download"].format(name=names[name], size=size)
        return {"label": words["source"], "choices": [(text, name) for name, text in names.items()]}

    def _minutes_says(self, language: Language) -> Settings:
        words, most = TRAIN_STRINGS[language], self._most_minutes
        info = (
            words["minutes_capped"].format(minutes=f"{most:g}") if most else words["minutes_info"]
        )
        return {"label": words["minutes"], "info": info}


def _algorithms_say(language: Language) -> Settings:
    words = TRAIN_STRINGS[language]
    choices = [(words[f"algorithm_{name}"], name) for name in ALGORITHMS]
    return {**explanation("algorithms", language), "choices": choices}


def _recipe_choices(language: Language) -> list[tuple[str, str]]:
    names = (DEFAULT_RECIPE, *(name for name in RECIPES if name != DEFAULT_RECIPE))
    return [(TRAIN_STRINGS[language][f"recipe_{name}"], name) for name in names]


def _field(key: str, value: Any) -> Any:
    setting = next(one for one in SETTINGS if one.key == key)
    if setting.is_switch:
        return gr.Checkbox(value=value, min_width=140)
    return gr.Number(value=value, step=1 if setting.whole else 0.001, min_width=140)
