"""Settings travel in a link, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from maml.recipes import RECIPES, live
from maml.sessions.form import values_of
from maml.sessions.links import LinkedSettings, link_of, read_link


@pytest.mark.parametrize(
    ("recipe", "algorithms", "changes"),
    [
        ("live", ("anil",), {}),
        ("live", ("maml", "prototypes"), {"iterations": 100, "inner_rate": 0.5, "augment": False}),
        ("notebook", (), {"seed": 3}),
        ("flagship", (), {"ways": 7, "cosine": False}),
    ],
)
def test_settings_survive_their_link(recipe: str, algorithms: Any, changes: dict[str, Any]) -> None:
    base = live(algorithms[0]) if algorithms else RECIPES[recipe]
    values = {**values_of(base), **changes}
    fragment = link_of(recipe, "generated", algorithms, [*values.values()])
    assert read_link(fragment) == LinkedSettings(recipe, "generated", algorithms, values)
    assert len(fragment.split("&")) == 2 + bool(algorithms) + len(changes)


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("", "the recipe must be one of .*; got ''"),
        ("recipe=slow", "the recipe must be one of .*; got 'slow'"),
        ("recipe=live&source=mnist", "must be one of omniglot, quickdraw, generated; got 'mnist'"),
        ("recipe=live&algorithms=sgd", "the algorithms must be of"),
        ("recipe=live&ways=", None),
        ("recipe=live&ways=two", "ways must be a number, true or false; got 'two'"),
        ("recipe=live&ways=1", "ways must be a whole number from 2 to 20; got 1"),
        ("recipe=live&ways=" + "[" * 1500, "ways must be a number, true or false"),
        ("recipe=live&channels=1e999", "channels must be a whole number"),
        ("recipe=live&pretraining=%3Cb%3E", "must be a number, true or false"),
        ("recipe=live&path=%2Fetc", "a setting must be one of ways, .*; got 'path'"),
        ("recipe=live&x=" + "1" * 3000, "2000 characters at most"),
    ],
)
def test_nonsense_in_a_link_is_refused(fragment: str, message: str | None) -> None:
    if message is None:  # an empty value is left out by the parser
        assert read_link(fragment).values == values_of(RECIPES["live"])
        return
    with pytest.raises(ValueError, match=message):
        read_link(fragment)
