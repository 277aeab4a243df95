"""The settings of a training as the fragment of a link, which no server sees."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from maml.config import Algorithm, Source
from maml.sessions.form import (
    SETTINGS,
    checked_algorithms,
    checked_source,
    named_recipe,
    recipes_of,
    shown,
    values_of,
)

_LONGEST = 2000


@dataclass(frozen=True)
class LinkedSettings:
    """What a link says.

    Args:
        recipe: its name.
        source: of the characters.
        algorithms: to compare; empty for a recipe that leaves no choice.
        values: by the keys of `SETTINGS`.
    """

    recipe: str
    source: Source
    algorithms: tuple[Algorithm, ...]
    values: Mapping[str, Any]


def link_of(recipe: str, source: Source, algorithms: Sequence[str], values: Sequence[Any]) -> str:
    """The fragment that `read_link` understands; what the recipe says anyway is left out.

    Args:
        recipe: its name.
        source: of the characters.
        algorithms: to compare.
        values: in the order of `SETTINGS`.

    Raises:
        ValueError: if the settings cannot work.
    """
    chosen = checked_algorithms(recipe, algorithms)
    keys = (setting.key for setting in SETTINGS)
    given = dict(zip(keys, values, strict=True))
    recipes_of(recipe, chosen, given, source)
    base = _base(recipe, chosen)
    changes = {key: json.dumps(value) for key, value in given.items() if value != base[key]}
    method = {"algorithms": ",".join(chosen)} if chosen else {}
    return urlencode({"recipe": recipe, "source": source, **method, **changes}, safe=",")


def read_link(fragment: str) -> LinkedSettings:
    """The settings of a fragment.

    Raises:
        ValueError: if it is none of `link_of`, or its settings cannot work.
    """
    if len(fragment) > _LONGEST:
        raise ValueError(f"a link has {_LONGEST} characters at most; got {len(fragment)}")
    said = dict(parse_qsl(fragment))
    recipe, source = said.pop("recipe", ""), checked_source(said.pop("source", "omniglot"))
    named_recipe(recipe)
    own = named_recipe(recipe).training.algorithm
    chosen = checked_algorithms(recipe, said.pop("algorithms", own).split(","))
    values = _base(recipe, chosen)
    for key, text in said.items():
        if key not in values:
            raise ValueError(f"a setting must be one of {', '.join(values)}; got {shown(key)}")
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{key} must be a number, true or false; got {shown(text)}") from error
    recipes_of(recipe, chosen, values, source)
    return LinkedSettings(recipe, source, chosen, values)


def _base(recipe: str, chosen: Sequence[Algorithm]) -> dict[str, Any]:
    return values_of(named_recipe(recipe, chosen[0] if chosen else None))
